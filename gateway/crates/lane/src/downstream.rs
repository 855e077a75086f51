//! The client's side of one exchange: writing to it, and noticing meanwhile that it left, that the
//! exchange was ended from outside, or that time is over.

use std::future::poll_fn;
use std::io::Write as _;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::client::Client;
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
    /// Bytes of the answer's body that were written.
    pub(crate) sent: u64,
    /// Whether any byte of an answer was.
    pub(crate) has_begun: bool,
    /// Whether the exchange was ended from outside; it is not asked again.
    pub(crate) is_over: bool,
}

impl<'a, 't, IO, E> Downstream<'a, 't, IO, E> {
    pub(crate) const fn new(
        client: &'a mut Client<IO>,
        exchange: &'a mut E,
        timer: &'a mut Timer<'t>,
        limits: &'a Limits,
    ) -> Self {
        Self {
            client,
            exchange,
            timer,
            limits,
            sent: 0,
            has_begun: false,
            is_over: false,
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
pub(crate) enum Stop {
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
    pub(crate) fn or_late(self, late: Failed) -> Stop {
        match self {
            Self::Ended(end) => Stop::Failed(Failed::Ended(end)),
            Self::Gone => Stop::Gone,
            Self::Late => Stop::Failed(late),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, E: Exchange> Downstream<'_, '_, IO, E> {
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if self.is_over {
            return Poll::Pending;
        }
        let ended = self.exchange.poll_ended(context);
        self.is_over = ended.is_ready();
        ended
    }

    /// Waits for `what`, for as long as the exchange may go on and the client is there.
    pub(crate) async fn watched<T>(
        &mut self,
        deadline: Instant,
        mut what: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Interrupted> {
        poll_fn(|context| {
            if let Poll::Ready(end) = self.poll_ended(context) {
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
    pub(crate) async fn write<const N: usize>(&mut self, pieces: [&[u8]; N]) -> Result<(), Stop> {
        self.has_begun = true;
        let mut writing = Writing::new(pieces);
        let mut is_held = false;
        let begun = Instant::now();
        loop {
            let patience = match is_held {
                true => self.limits.write_time,
                false => self.limits.stall,
            };
            let written = poll_fn(|context| {
                if let Poll::Ready(end) = self.poll_ended(context) {
                    return Poll::Ready(Err(Interrupted::Ended(end)));
                }
                if let Poll::Ready(written) = writing.poll(&mut self.client.io, context) {
                    return Poll::Ready(Ok(written));
                }
                let passed = self.timer.poll_passed(begun + patience, context);
                passed.map(|()| Err(Interrupted::Late))
            })
            .await;
            match written {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return Err(Stop::Gone),
                Err(Interrupted::Late) if !is_held => {
                    is_held = true;
                    if !self.exchange.hold(writing.left()) {
                        return Err(Stop::Failed(Failed::Full));
                    }
                }
                Err(Interrupted::Ended(end)) if writing.has_begun() => {
                    return Err(Stop::Cut(end.cause));
                }
                Err(Interrupted::Late | Interrupted::Gone) => return Err(Stop::Gone),
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
    ) -> Result<(), Stop> {
        let size = match is_chunked && !data.is_empty() {
            true => ChunkSize::new(data.len()),
            false => ChunkSize::default(),
        };
        let tail: &[u8] = match (is_chunked, data.is_empty(), is_last) {
            (true, true, true) => LAST_CHUNK,
            (true, false, true) => b"\r\n0\r\n\r\n",
            (true, false, false) => b"\r\n",
            _ => b"",
        };
        if !(out.is_empty() && data.is_empty() && tail.is_empty()) {
            self.write([&out[..], size.line(), data, tail]).await?;
        }
        self.sent += data.len() as u64;
        out.clear();
        Ok(())
    }

    /// Ends a stream of events properly, with a last word if it stands between two of them. The
    /// exchange, which may have been ended, is not asked any more.
    pub(crate) async fn end_events(
        &mut self,
        between: bool,
        last: Option<Bytes>,
    ) -> Result<(), Stop> {
        let last = last.filter(|_| between).unwrap_or_default();
        let size = ChunkSize::new(last.len());
        let mut writing = match last.is_empty() {
            true => Writing::new([&[], &[], LAST_CHUNK]),
            false => Writing::new([size.line(), &last, b"\r\n0\r\n\r\n"]),
        };
        let deadline = Instant::now() + self.limits.linger;
        poll_fn(|context| {
            if let Poll::Ready(written) = writing.poll(&mut self.client.io, context) {
                return Poll::Ready(written.map_err(|_| Stop::Gone));
            }
            let passed = self.timer.poll_passed(deadline, context);
            passed.map(|()| Err(Stop::Gone))
        })
        .await
    }
}
