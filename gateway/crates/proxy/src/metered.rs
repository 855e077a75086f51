//! A client's connection, counted: the head of a request is read up to a bound and on the budget,
//! and what is more is answered here, because nothing behind has seen a request yet.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use gateway_lane::Handover;
use http::StatusCode;
use parking_lot::Mutex;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::control_frames::ControlFrames;
use super::in_flight::{Budget, FREE, Full, Hold};
use super::transport::Transport;
use gateway_core::reason::Reason;

/// What of a head is not counted: more than nearly all heads have.
pub(super) const FREE_HEAD: usize = 8 * 1024;

/// How much is read at once. What is read into is as large as the rest of a body, and takes memory
/// only as far as it was written to: small while nothing that comes is on the budget.
const READ_AT_ONCE: usize = 4 * 1024;

/// The same once what comes is on the budget.
const READ_OF_LARGE: usize = 32 * 1024;

/// After its answer, what a client still sends is thrown away up to here and for this long, so that
/// it can read the answer before the connection is reset.
const MOST_DRAINED: usize = 256 * 1024;
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// How many clients are told at once that their head is too much.
static FAREWELLS: Semaphore = Semaphore::const_new(32);

/// How much is read of a connection in one turn. Frames of HTTP/2 that ask for no answer cost much for
/// their size: a connection that floods with them must not keep a thread to itself.
const TURN: usize = 16 * 1024;

/// What is written in small pieces, a head and a short body, goes out in one of up to this size.
const WRITTEN_TOGETHER: usize = 1460;

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
    /// What comes now.
    reading: Reading,
    hold: Hold,
}

/// A part of a request, and how many bytes of it have come.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Head(usize),
    /// What is behind a head.
    Body(usize),
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
                reading: Reading::Head(0),
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
        if let Reading::Body(_) = state.reading {
            state.hold.release();
            state.reading = Reading::Head(0);
        }
    }

    /// What comes now is no head any more. What it takes stays counted: the request refers to it.
    pub(super) fn head_is_read(&self) {
        self.state.lock().reading = Reading::Body(0);
    }

    /// How many bytes may be read next.
    fn room(&self) -> Result<usize, TooMuch> {
        match self.state.lock().reading {
            Reading::Head(read) if read >= self.most => Err(TooMuch::Large),
            Reading::Head(read) => Ok(READ_AT_ONCE.min(self.most - read)),
            Reading::Body(read) if read < FREE => Ok(READ_AT_ONCE),
            Reading::Body(_) => Ok(READ_OF_LARGE),
        }
    }

    fn count(&self, bytes: usize) -> Result<(), TooMuch> {
        let mut state = self.state.lock();
        match &mut state.reading {
            Reading::Head(read) => {
                *read += bytes;
                let beyond = read.saturating_sub(FREE_HEAD);
                state.hold.grow_to(beyond).map_err(TooMuch::Full)
            }
            Reading::Body(read) => {
                *read = read.saturating_add(bytes);
                Ok(())
            }
        }
    }
}

/// A connection with its meter.
#[derive(Debug)]
pub(super) struct Metered<T: Transport> {
    /// Gone once a head was too much: what has read so far of it is told that it is closed, so that
    /// nothing is kept for it while the client reads its answer.
    inner: Option<BufWriter<T>>,
    /// What was read of it before, which comes first.
    ahead: Bytes,
    id: UniqueIDType,
    digest: Arc<SocketDigest>,
    meter: Arc<Meter>,
    /// Of HTTP/2.
    frames: Option<Box<Frames>>,
}

/// What is counted of a connection of HTTP/2.
#[derive(Debug)]
struct Frames {
    control: ControlFrames,
    /// How much may still be read before others get their turn.
    turn: usize,
}

impl<T: Transport> Metered<T> {
    pub(super) fn new(connection: Handover<T>, peer: SocketAddr, meter: Arc<Meter>) -> Self {
        let Handover { io, bytes, .. } = connection;
        let id = io.as_raw_fd();
        let digest = SocketDigest::from_raw_fd(id);
        // A new cell is empty.
        let _ = digest.peer_addr.set(Some(peer.into()));
        Self {
            id,
            inner: Some(BufWriter::with_capacity(WRITTEN_TOGETHER, io)),
            ahead: bytes,
            digest: Arc::new(digest),
            meter,
            frames: None,
        }
    }

    /// The same for a connection that begins with a preface of this length and goes on in frames.
    pub(super) fn with_frames(mut self, preface: usize) -> Self {
        self.frames = Some(Box::new(Frames {
            control: ControlFrames::new(preface, Instant::now()),
            turn: TURN,
        }));
        self
    }

    /// The connection itself, if it is open and everything that was read and written is through.
    pub(super) fn into_idle(mut self: Box<Self>) -> Result<T, Box<Self>> {
        match self.inner.take() {
            Some(inner) if self.ahead.is_empty() && inner.buffer().is_empty() => {
                Ok(inner.into_inner())
            }
            inner => {
                self.inner = inner;
                Err(self)
            }
        }
    }

    fn writer(&mut self) -> io::Result<Pin<&mut BufWriter<T>>> {
        let inner = self.inner.as_mut();
        inner
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn refuse(&mut self, why: &TooMuch) {
        let (status, reason, retry) = match why {
            TooMuch::Large => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Reason::HeaderTooLarge,
                false,
            ),
            TooMuch::Full(full) => (full.status(), Reason::InFlightFull, true),
        };
        log::info!(
            event = "head_refused", reason = reason.code(), hint = reason.remedy();
            "{}", reason.sentence()
        );
        let Some(inner) = self.inner.take() else {
            return;
        };
        self.meter.state.lock().hold.release();
        // Of very many at once the others are just closed.
        if let Ok(permit) = FAREWELLS.try_acquire() {
            tokio::spawn(async move {
                let _permit = permit;
                let answer = answer(status, reason, retry);
                let _ = timeout(FAREWELL, farewell(inner, &answer)).await;
            });
        }
    }
}

/// Writes the answer, then throws away what comes until the client has read it.
async fn farewell<T: Transport>(mut stream: BufWriter<T>, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    AsyncWriteExt::shutdown(&mut stream).await?;
    let mut scratch = [0; 2048];
    let mut drained = 0;
    while drained < MOST_DRAINED {
        match stream.read(&mut scratch).await? {
            0 => break,
            read => drained += read,
        }
    }
    Ok(())
}

/// A whole answer for a connection on which no request was read; it is closed afterwards.
pub(super) fn answer(status: StatusCode, reason: Reason, retry: bool) -> Vec<u8> {
    let body = body(reason).to_string();
    let retry = if retry { "Retry-After: 5\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n{retry}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The body of such an answer.
pub(super) fn body(reason: Reason) -> serde_json::Value {
    serde_json::json!({
        "error": reason.code(),
        "error_description": format!("{} {}", reason.sentence(), reason.remedy()),
        "reason": reason.code(),
    })
}

impl<T: Transport> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(Ok(()));
        };
        let before = buf.filled().len();
        if let Some(frames) = &mut this.frames
            && frames.turn == 0
        {
            frames.turn = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let counted = match this.meter.room() {
            Ok(room) if !this.ahead.is_empty() => {
                let read = room.min(buf.remaining()).min(this.ahead.len());
                buf.put_slice(&this.ahead[..read]);
                this.ahead.advance(read);
                if this.ahead.is_empty() {
                    this.ahead = Bytes::new();
                }
                this.meter.count(read)
            }
            Ok(room) if room >= buf.remaining() => {
                ready!(Pin::new(inner).poll_read(cx, buf))?;
                this.meter.count(buf.filled().len() - before)
            }
            Ok(room) => {
                let mut piece = ReadBuf::new(buf.initialize_unfilled_to(room));
                ready!(Pin::new(inner).poll_read(cx, &mut piece))?;
                let read = piece.filled().len();
                buf.advance(read);
                this.meter.count(read)
            }
            Err(why) => Err(why),
        };
        if let Some(frames) = &mut this.frames {
            let read = &buf.filled()[before..];
            frames.turn = frames.turn.saturating_sub(read.len());
            if !frames.control.allow(read, Instant::now()) {
                log::info!(event = "connection_flooded"; "a connection of HTTP/2 that asked for nothing, again and again, was closed");
                this.inner = None;
                buf.set_filled(before);
            }
        }
        if let Err(why) = counted {
            buf.set_filled(before);
            this.refuse(&why);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }
}

impl<T: Transport> Drop for Metered<T> {
    /// Of an answer that is broken off the client has what was written: as much as goes at once.
    fn drop(&mut self) {
        if let Some(inner) = &mut self.inner {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let _ = Pin::new(inner).poll_flush(&mut context);
        }
    }
}

#[async_trait]
impl<T: Transport> Shutdown for Metered<T> {
    async fn shutdown(&mut self) {
        if let Some(inner) = &mut self.inner {
            // It writes what it holds first.
            let _ = timeout(FAREWELL, AsyncWriteExt::shutdown(inner)).await;
        }
    }
}

impl<T: Transport> UniqueID for Metered<T> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<T: Transport> Ssl for Metered<T> {}

#[async_trait]
impl<T: Transport> Peek for Metered<T> {}

impl<T: Transport> GetTimingDigest for Metered<T> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<T: Transport> GetProxyDigest for Metered<T> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl<T: Transport> GetSocketDigest for Metered<T> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}
