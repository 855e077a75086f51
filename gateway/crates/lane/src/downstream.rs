//! The client's side of one exchange: writing to it, and noticing meanwhile that it left, that the
//! exchange was ended from outside, or that time is over.

use std::future::poll_fn;
use std::io::Write as _;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::client::Client;
use super::ending::WatchedEnding;
use super::limits::Limits;
use super::service::{End, Exchange, Failed};
use super::timer::Timer;
use super::wire::Writing;

/// What a body of chunks ends with.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

pub(crate) struct Downstream<'a, 't, IO, E> {
    pub(crate) client: &'a mut Client<IO>,
    pub(crate) exchange: &'a mut E,
    pub(crate) timer: &'a mut Timer<'t>,
    pub(crate) limits: &'a Limits,
    /// What ends the exchange from outside; nothing once it has.
    pub(crate) ending: &'a mut Option<WatchedEnding>,
    /// Whether any byte of an answer was.
    pub(crate) has_begun: bool,
}

impl<'a, 't, IO, E> Downstream<'a, 't, IO, E> {
    pub(crate) const fn new(
        client: &'a mut Client<IO>,
        exchange: &'a mut E,
        timer: &'a mut Timer<'t>,
        limits: &'a Limits,
        ending: &'a mut Option<WatchedEnding>,
    ) -> Self {
        Self {
            client,
            exchange,
            timer,
            limits,
            ending,
            has_begun: false,
        }
    }
}

/// The line before a chunk.
#[derive(Default)]
struct ChunkSize {
    line: [u8; 18],
    length: usize,
}

impl ChunkSize {
    fn new(size: usize) -> Self {
        let mut line = [0; 18];
        let mut rest = &mut line[..];
        // 16 digits and the line's end fit.
        let _ = write!(rest, "{size:x}\r\n");
        let length = 18 - rest.len();
        Self { line, length }
    }

    fn line(&self) -> &[u8] {
        self.line.get(..self.length).unwrap_or_default()
    }
}

/// Why an exchange does not go on.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    Failed(Failed),
    /// It was ended from outside in the middle of a piece, behind which nothing can be written.
    Cut(&'static str),
    Gone,
}

/// Why waiting is over before what was waited for.
#[derive(Debug)]
pub(crate) enum Interrupted {
    Ended(End),
    Gone,
    Late,
}

impl Interrupted {
    /// The same, where being late is a failure.
    pub(crate) fn or_late(self, late: Failed) -> ExchangeError {
        match self {
            Self::Ended(end) => ExchangeError::Failed(Failed::Ended(end)),
            Self::Gone => ExchangeError::Gone,
            Self::Late => ExchangeError::Failed(late),
        }
    }
}

/// Whether something outside ends an exchange. Once it has it is not asked again.
pub(crate) fn poll_ended(
    ending: &mut Option<WatchedEnding>,
    context: &mut Context<'_>,
) -> Poll<End> {
    let Some(waiting) = ending else {
        return Poll::Pending;
    };
    let end = ready!(waiting.poll(context));
    *ending = None;
    Poll::Ready(end)
}

impl<IO: AsyncRead + AsyncWrite + Unpin, E: Exchange> Downstream<'_, '_, IO, E> {
    /// Whether the exchange may go on and the client is there, as far as that is known by now.
    pub(crate) async fn is_wanted(&mut self) -> Result<(), ExchangeError> {
        poll_fn(|context| {
            if let Poll::Ready(end) = poll_ended(self.ending, context) {
                return Poll::Ready(Err(ExchangeError::Failed(Failed::Ended(end))));
            }
            match self.client.poll_gone(self.limits.read_ahead, context) {
                Poll::Ready(()) => Poll::Ready(Err(ExchangeError::Gone)),
                Poll::Pending => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// Waits for what the exchange makes of an answer, for as long as that may go on and the client is
    /// there. Boxed: most answers pass as they are.
    pub(crate) async fn decided<'e, T, F: Future<Output = T>>(
        &'e mut self,
        deadline: Instant,
        decide: impl FnOnce(&'e mut E) -> F,
    ) -> Result<T, Interrupted> {
        let (client, ending, timer) = (&mut *self.client, &mut *self.ending, &mut *self.timer);
        let read_ahead = self.limits.read_ahead;
        let mut deciding = Box::pin(decide(self.exchange));
        poll_fn(|context| {
            if let Poll::Ready(end) = poll_ended(ending, context) {
                return Poll::Ready(Err(Interrupted::Ended(end)));
            }
            if let Poll::Ready(decided) = deciding.as_mut().poll(context) {
                return Poll::Ready(Ok(decided));
            }
            if client.poll_gone(read_ahead, context).is_ready() {
                return Poll::Ready(Err(Interrupted::Gone));
            }
            let passed = timer.poll_passed(deadline, context);
            passed.map(|()| Err(Interrupted::Late))
        })
        .await
    }

    /// Waits for `what`, for as long as the exchange may go on and the client is there.
    pub(crate) async fn watched<T>(
        &mut self,
        deadline: Instant,
        mut what: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Interrupted> {
        poll_fn(|context| {
            if let Poll::Ready(end) = poll_ended(self.ending, context) {
                return Poll::Ready(Err(Interrupted::Ended(end)));
            }
            if let Poll::Ready(result) = what(context) {
                return Poll::Ready(Ok(result));
            }
            let read_ahead = self.limits.read_ahead;
            if self.client.poll_gone(read_ahead, context).is_ready() {
                return Poll::Ready(Err(Interrupted::Gone));
            }
            let passed = self.timer.poll_passed(deadline, context);
            passed.map(|()| Err(Interrupted::Late))
        })
        .await
    }

    /// Writes pieces of an answer, one behind the other.
    pub(crate) async fn write<const N: usize>(
        &mut self,
        pieces: [&[u8]; N],
    ) -> Result<(), ExchangeError> {
        let mut writing = Writing::new(pieces);
        let mut is_held = false;
        let begun = Instant::now();
        loop {
            let patience = if is_held {
                self.limits.write_time
            } else {
                self.limits.stall
            };
            let written = poll_fn(|context| {
                if let Poll::Ready(end) = poll_ended(self.ending, context) {
                    return Poll::Ready(Err(Interrupted::Ended(end)));
                }
                if let Poll::Ready(written) = writing.poll(&mut self.client.io, context) {
                    return Poll::Ready(Ok(written));
                }
                let passed = self.timer.poll_passed(begun + patience, context);
                passed.map(|()| Err(Interrupted::Late))
            })
            .await;
            self.has_begun |= writing.has_begun();
            match written {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return Err(ExchangeError::Gone),
                Err(Interrupted::Late) if !is_held => {
                    is_held = true;
                    if !self.exchange.hold(writing.left()) {
                        // Who takes no answer takes no other one.
                        self.has_begun = true;
                        return Err(ExchangeError::Failed(Failed::Full));
                    }
                }
                Err(Interrupted::Ended(end)) if writing.has_begun() => {
                    return Err(ExchangeError::Cut(end.cause));
                }
                Err(Interrupted::Late | Interrupted::Gone) => return Err(ExchangeError::Gone),
                Err(interrupted) => return Err(interrupted.or_late(Failed::Full)),
            }
        }
        if is_held {
            self.exchange.hold(0);
        }
        Ok(())
    }

    /// Writes the next bytes of a body, behind what `out` holds, and its end with the last of them.
    pub(crate) async fn write_body(
        &mut self,
        out: &mut BytesMut,
        data: &[u8],
        is_chunked: bool,
        is_last: bool,
    ) -> Result<(), ExchangeError> {
        let size = if is_chunked && !data.is_empty() {
            ChunkSize::new(data.len())
        } else {
            ChunkSize::default()
        };
        let tail: &[u8] = match (is_chunked, data.is_empty(), is_last) {
            (true, true, true) => LAST_CHUNK,
            (true, false, true) => b"\r\n0\r\n\r\n",
            (true, false, false) => b"\r\n",
            _ => b"",
        };
        if !(out.is_empty() && data.is_empty() && tail.is_empty()) {
            self.write([&out[..], size.line(), data, tail]).await?;
            self.exchange.sent(data.len());
        }
        out.clear();
        Ok(())
    }

    /// Ends a stream of events properly, with a last word if it stands between two of them. The
    /// exchange, which may have been ended, is not asked any more.
    pub(crate) async fn end_events(
        &mut self,
        between: bool,
        last: Option<Bytes>,
    ) -> Result<(), ExchangeError> {
        let last = last.filter(|_| between).unwrap_or_default();
        let size = ChunkSize::new(last.len());
        let mut writing = if last.is_empty() {
            Writing::new([&[], &[], LAST_CHUNK])
        } else {
            Writing::new([size.line(), &last, b"\r\n0\r\n\r\n"])
        };
        let deadline = Instant::now() + self.limits.linger;
        poll_fn(|context| {
            if let Poll::Ready(written) = writing.poll(&mut self.client.io, context) {
                return Poll::Ready(written.map_err(|_| ExchangeError::Gone));
            }
            let passed = self.timer.poll_passed(deadline, context);
            passed.map(|()| Err(ExchangeError::Gone))
        })
        .await
    }
}
