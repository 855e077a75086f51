//! A client's connection, counted: the head of a request is read up to a bound and on the budget,
//! and what is more is answered here, because nothing behind has seen a request yet.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::in_flight::{Budget, Full, Hold};
use crate::reason::Reason;

/// What of a head is not counted: more than nearly all heads have.
const FREE_HEAD: usize = 8 * 1024;

/// After its answer, what a client still sends is thrown away up to here, so that it can read the
/// answer before the connection is reset. The time for it is that of the head.
const MOST_DRAINED: usize = 256 * 1024;

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// Counts the head of each request of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How much of a head has come; absent behind it.
    head: Option<usize>,
    hold: Hold,
}

/// Why a head is not read on.
enum TooMuch {
    Large,
    Full(Full),
}

impl Meter {
    pub(super) fn new(budget: &Arc<Budget>, address: Option<IpAddr>, most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::new(State {
                head: Some(0),
                hold: budget.hold(address, ""),
            }),
        })
    }

    /// Runs what answers the connection, so that [`Meter::current`] finds its meter.
    pub(super) async fn during<F: Future>(self: Arc<Self>, answering: F) -> F::Output {
        METER.scope(self, answering).await
    }

    /// The one of the connection that this task answers.
    pub(super) fn current() -> Option<Arc<Self>> {
        METER.try_with(Arc::clone).ok()
    }

    /// What comes now is a head.
    pub(super) fn head_begins(&self) {
        let mut state = self.state.lock();
        if state.head.is_none() {
            state.hold.release();
            state.head = Some(0);
        }
    }

    /// What comes now is no head any more. What it takes stays counted: the request refers to it.
    pub(super) fn head_is_read(&self) {
        self.state.lock().head = None;
    }

    /// How many bytes may be read next; no bound behind a head.
    fn room(&self) -> Result<usize, TooMuch> {
        match self.state.lock().head {
            None => Ok(usize::MAX),
            Some(read) if read >= self.most => Err(TooMuch::Large),
            Some(read) => Ok(self.most - read),
        }
    }

    fn count(&self, bytes: usize) -> Result<(), TooMuch> {
        let mut state = self.state.lock();
        let Some(read) = state.head else {
            return Ok(());
        };
        let read = read + bytes;
        state.head = Some(read);
        state
            .hold
            .grow_to(read.saturating_sub(FREE_HEAD))
            .map_err(TooMuch::Full)
    }
}

/// A connection with its meter.
#[derive(Debug)]
pub(super) struct Metered {
    inner: Stream,
    meter: Arc<Meter>,
    /// Once a head is too much: what is still to be written of the answer.
    farewell: Option<Farewell>,
}

#[derive(Debug)]
struct Farewell {
    answer: Vec<u8>,
    written: usize,
    is_ended: bool,
    drained: usize,
}

impl Metered {
    pub(super) const fn new(inner: Stream, meter: Arc<Meter>) -> Self {
        Self {
            inner,
            meter,
            farewell: None,
        }
    }

    fn refuse(&mut self, why: &TooMuch) {
        let (status, reason, retry) = match why {
            TooMuch::Large => (
                "431 Request Header Fields Too Large",
                Reason::HeaderTooLarge,
                false,
            ),
            TooMuch::Full(Full::All) => ("503 Service Unavailable", Reason::InFlightFull, true),
            TooMuch::Full(_) => ("429 Too Many Requests", Reason::InFlightFull, true),
        };
        log::info!(
            event = "head_refused", reason = reason.code(), hint = reason.remedy();
            "{}", reason.sentence()
        );
        self.farewell = Some(Farewell {
            answer: answer(status, reason, retry),
            written: 0,
            is_ended: false,
            drained: 0,
        });
    }

    /// Writes the answer, then throws away what comes until the client has read it.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else {
            return Poll::Ready(Ok(()));
        };
        while farewell.written < farewell.answer.len() {
            let rest = &farewell.answer[farewell.written..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Ok(())),
                written => farewell.written += written,
            }
        }
        if !farewell.is_ended {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            farewell.is_ended = true;
        }
        let mut scratch = [0; 2048];
        while farewell.drained < MOST_DRAINED {
            let mut piece = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
            match piece.filled().len() {
                0 => break,
                read => farewell.drained += read,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A whole answer for a connection on which no request was read; it is closed afterwards.
pub(super) fn answer(status: &str, reason: Reason, retry: bool) -> Vec<u8> {
    let body = serde_json::json!({
        "error": reason.code(),
        "error_description": format!("{} {}", reason.sentence(), reason.remedy()),
        "reason": reason.code(),
    })
    .to_string();
    let retry = if retry { "Retry-After: 5\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n{retry}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_none() {
            let before = buf.filled().len();
            let counted = match this.meter.room() {
                Ok(room) if room >= buf.remaining() => {
                    ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                    this.meter.count(buf.filled().len() - before)
                }
                Ok(room) => {
                    let mut scratch = [0; 2048];
                    let end = room.min(scratch.len());
                    let mut piece = ReadBuf::new(&mut scratch[..end]);
                    ready!(Pin::new(&mut this.inner).poll_read(cx, &mut piece))?;
                    buf.put_slice(piece.filled());
                    this.meter.count(piece.filled().len())
                }
                Err(why) => Err(why),
            };
            match counted {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(why) => this.refuse(&why),
            }
            buf.set_filled(before);
        }
        this.poll_farewell(cx)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Metered {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Metered {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Metered {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for Metered {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buf).await
    }
}

impl GetTimingDigest for Metered {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Metered {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Metered {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}
