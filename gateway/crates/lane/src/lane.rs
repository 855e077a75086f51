//! One connection: request after request, until it ends, becomes a stream or goes the other road.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::backend::{BackendConnection, Pool};
use super::buffers::Buffers;
use super::client::{Client, while_there};
use super::date::{self, Dates};
use super::downstream::{Downstream, ExchangeError};
use super::ending::WatchedEnding;
use super::exchange::{ActiveExchange, Relayed, Streaming};
use super::head::{Head, Index};
use super::limits::Limits;
use super::receive::{BodyRead, Received};
use super::response::is_bodiless;
use super::service::{
    Admission, Answer, Exchange, Failed, Forward, HeadDecision, Outcome, Service,
};
use super::stream::EventStream;
use super::timer::Timer;
use super::writer::{BodyFraming, HeadWriter};

/// How much is thrown away of what a client still sends after its last answer.
const MOST_LINGERED: usize = 256 * 1024;

/// Serves connections. What they share is here.
#[derive(Debug)]
pub struct Lane<S> {
    pub(crate) service: S,
    pub(crate) shared: Shared,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) buffers: Buffers,
    pub(crate) pool: Pool,
    dates: Dates,
    now: fn() -> SystemTime,
    /// Where the grid of deadlines begins.
    pub(crate) start: Instant,
}

impl Shared {
    /// The date for the head of an answer.
    pub(crate) fn date(&self) -> [u8; date::LENGTH] {
        self.dates.at((self.now)())
    }
}

/// A client's connection between two requests.
#[derive(Debug)]
pub struct Connection<IO> {
    pub(crate) client: Client<IO>,
    pub(crate) peer: SocketAddr,
    pub(crate) pinned: Option<BackendConnection>,
    pub(crate) served: u32,
}

/// A connection whose next request is not for this lane, on its way to the other road.
#[derive(Debug)]
pub struct Handover<IO> {
    /// The connection itself.
    pub io: IO,
    /// What was read from it and not answered, which is to be read first there: from the first byte of a
    /// request.
    pub bytes: Bytes,
    /// Whether no request of it was answered here.
    pub is_first: bool,
}

/// What becomes of a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is returned"
)]
pub enum Next<IO, S: Service> {
    /// It is closed.
    Closed,
    /// It goes the other road.
    Handover(Handover<IO>),
    /// It carries a stream now, which wants a small task of its own.
    Stream(EventStream<IO, S>),
}

impl<IO> Connection<IO> {
    /// A connection on which nothing was read yet.
    pub fn new(io: IO, peer: SocketAddr) -> Self {
        Self {
            client: Client::new(io),
            peer,
            pinned: None,
            served: 0,
        }
    }

    /// For the other road, if the lane serves nothing.
    pub fn into_unread(self) -> Handover<IO> {
        Handover {
            io: self.client.io,
            bytes: Bytes::new(),
            is_first: true,
        }
    }

    /// A connection that comes back from the other road, between two requests.
    pub fn kept(io: IO, peer: SocketAddr) -> Self {
        Self {
            served: 1,
            ..Self::new(io, peer)
        }
    }
}

/// What one round of a connection led to.
enum Step<E> {
    Again,
    Close,
    /// With what was taken from the front of what came.
    OtherRoad(Bytes),
    Stream(Box<(E, Streaming)>),
}

impl<S: Service> Lane<S> {
    /// A lane for requests about which `service` decides; `now` tells the time of day. Needs no
    /// runtime.
    pub fn new(service: S, limits: Limits, now: fn() -> SystemTime) -> Arc<Self> {
        Arc::new(Self {
            service,
            shared: Shared {
                buffers: Buffers::new(limits.buffers),
                pool: Pool::new(limits.kept, limits.kept_for),
                dates: Dates::new(),
                now,
                start: Instant::now(),
                limits,
            },
        })
    }

    /// Closes connections to backends that have been idle for too long. To be called now and then:
    /// otherwise they wait until another one becomes idle.
    pub fn sweep(&self) {
        self.shared.pool.sweep();
    }

    /// Serves a connection for as long as it is the lane's. What it holds of a connection that becomes
    /// a stream or goes the other road is dropped when this returns: continue in another task.
    pub async fn serve<IO>(self: &Arc<Self>, mut connection: Connection<IO>) -> Next<IO, S>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut index, mut memory) = (Index::default(), S::Memory::default());
        let sleep = std::pin::pin!(sleep(self.shared.limits.head_time));
        let mut timer = Timer::new(sleep);
        let mut draining = std::pin::pin!(self.service.draining());
        loop {
            let read = self
                .shared
                .read_head(&mut connection, &mut index, &mut timer, draining.as_mut())
                .await;
            let step = match read {
                Received::Head if index.length <= self.shared.limits.body => {
                    let about = (&index, &mut memory);
                    self.step(&mut connection, about, &mut timer).await
                }
                Received::Head | Received::OtherRoad => Step::OtherRoad(Bytes::new()),
                Received::Nothing => Step::Close,
            };
            match step {
                Step::Again => connection.served = connection.served.saturating_add(1),
                Step::Close => {
                    if let Some(pinned) = connection.pinned.take() {
                        self.shared.pool.give(pinned);
                    }
                    let _ = timeout(self.shared.limits.linger, linger(connection.client.io)).await;
                    return Next::Closed;
                }
                Step::OtherRoad(taken) => {
                    if let Some(pinned) = connection.pinned.take() {
                        self.shared.pool.give(pinned);
                    }
                    return Next::Handover(Handover {
                        bytes: connection.client.put_back(&taken),
                        is_first: connection.served == 0,
                        io: connection.client.io,
                    });
                }
                Step::Stream(parts) => {
                    let (exchange, streaming) = *parts;
                    let closes = index.closes || self.is_last(connection.served);
                    let lane = Arc::clone(self);
                    let parts = (exchange, streaming, closes);
                    return Next::Stream(EventStream::new(lane, connection, parts));
                }
            }
        }
    }

    /// Whether a connection that has carried so many requests ends with the next answer.
    fn is_last(&self, served: u32) -> bool {
        served.saturating_add(1) >= self.shared.limits.requests || self.service.is_draining()
    }

    /// One request, from its head to the end of its answer.
    async fn step<IO>(
        &self,
        connection: &mut Connection<IO>,
        (index, memory): (&Index, &mut S::Memory),
        timer: &mut Timer<'_>,
    ) -> Step<S::Exchange>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let closes = index.closes || self.is_last(connection.served);
        let raw = connection.client.take(index.end);
        let head = Head::new(&raw, index);
        let read_ahead = self.shared.limits.read_ahead;
        let beginning = self.service.begin(&head, connection.peer, memory);
        let mut exchange = match while_there(&mut connection.client, read_ahead, beginning).await {
            None => return Step::Close,
            Some(HeadDecision::Exchange(exchange)) => exchange,
            Some(HeadDecision::OtherRoad) => return Step::OtherRoad(raw),
            Some(HeadDecision::Answer(answer)) => {
                let closes = closes || answer.closes;
                let is_written = self.answer(connection, &answer, closes, timer).await;
                let is_kept = is_written && !closes;
                let is_kept = is_kept && self.shared.discard(connection, index.length, timer).await;
                return Step::after(is_kept);
            }
        };
        let body = self
            .shared
            .read_body(connection, &mut exchange, index.length, timer);
        match body.await {
            BodyRead::Whole => {}
            read @ (BodyRead::Late | BodyRead::Full) => {
                let why = match read {
                    BodyRead::Full => Failed::Full,
                    _ => Failed::SlowBody,
                };
                let answer = exchange.refuse(&why);
                let is_written = self.answer(connection, &answer, true, timer).await;
                exchange.finished(&outcome(&answer, is_written));
                return Step::Close;
            }
            BodyRead::Gone => {
                exchange.finished(&Outcome::ClientGone);
                return Step::Close;
            }
        }
        let body = connection.client.take(index.length);
        let request = Request {
            method: head.method().clone(),
            head: raw,
            body,
            closes,
        };
        self.admitted(connection, exchange, request, timer).await
    }

    async fn admitted<IO>(
        &self,
        connection: &mut Connection<IO>,
        mut exchange: S::Exchange,
        request: Request,
        timer: &mut Timer<'_>,
    ) -> Step<S::Exchange>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut closes = request.closes;
        let read_ahead = self.shared.limits.read_ahead;
        let admitting = exchange.admit(&request.body);
        let admission = while_there(&mut connection.client, read_ahead, admitting).await;
        let answer = match admission {
            None => {
                exchange.finished(&Outcome::ClientGone);
                return Step::Close;
            }
            Some(Admission::OtherRoad) => {
                exchange.finished(&Outcome::OtherRoad);
                return Step::OtherRoad(request.all());
            }
            Some(Admission::Answer(answer)) => answer,
            Some(Admission::Forward(forward)) => {
                let method = request.into_method();
                let work = (&mut exchange, closes);
                let relayed = self.forward(connection, work, method, forward, timer).await;
                match relayed {
                    Ok(Relayed::Answer(answer)) => answer,
                    Ok(Relayed::Done) => {
                        exchange.finished(&Outcome::Done);
                        return Step::after(!closes);
                    }
                    Ok(Relayed::Stream(streaming)) => {
                        return Step::Stream(Box::new((exchange, *streaming)));
                    }
                    Err((ExchangeError::Failed(failed), false)) => exchange.refuse(&failed),
                    Err((error, _)) => {
                        exchange.finished(&error.outcome());
                        return Step::Close;
                    }
                }
            }
        };
        closes |= answer.closes;
        let is_written = self.answer(connection, &answer, closes, timer).await;
        exchange.finished(&outcome(&answer, is_written));
        Step::after(is_written && !closes)
    }

    /// The exchange with the backend; an error with whether an answer has begun.
    async fn forward<IO>(
        &self,
        connection: &mut Connection<IO>,
        work: (&mut S::Exchange, bool),
        method: Method,
        mut forward: Forward,
        timer: &mut Timer<'_>,
    ) -> Result<Relayed, (ExchangeError, bool)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (exchange, closes) = work;
        let (shared, client) = (&self.shared, &mut connection.client);
        let mut ending = forward.ending.take().map(WatchedEnding::new);
        let mut out = shared.buffers.take();
        let mut work = ActiveExchange {
            shared,
            down: Downstream::new(client, exchange, timer, &shared.limits, &mut ending),
            pinned: &mut connection.pinned,
            out: &mut out,
            method,
            closes,
        };
        let relayed = work.forward(forward).await;
        let has_begun = work.down.has_begun;
        self.shared.buffers.give(out);
        relayed.map_err(|error| (error, has_begun))
    }

    /// Writes an answer of the gateway's own: whether the client took it.
    async fn answer<IO>(
        &self,
        connection: &mut Connection<IO>,
        answer: &Answer,
        closes: bool,
        timer: &mut Timer<'_>,
    ) -> bool
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut out = self.shared.buffers.take();
        let mut writer = HeadWriter::response(&mut out, answer.status, &self.shared.date());
        for (name, value) in &answer.headers {
            writer.header(name.as_str(), value.as_bytes());
        }
        let body = if is_bodiless(answer.status) {
            BodyFraming::None
        } else {
            BodyFraming::Length(answer.body.len() as u64)
        };
        let content = match body {
            BodyFraming::None => &[],
            _ => &answer.body[..],
        };
        let is_spelled = writer.end(body, closes);
        let io = &mut connection.client.io;
        let deadline = Instant::now() + self.shared.limits.write_time;
        let mut writing = super::wire::Writing::new([&out[..], content]);
        let is_written = is_spelled
            && poll_fn(|context| {
                if let Poll::Ready(written) = writing.poll(io, context) {
                    return Poll::Ready(written.is_ok());
                }
                timer.poll_passed(deadline, context).map(|()| false)
            })
            .await;
        self.shared.buffers.give(out);
        is_written
    }
}

/// A request that was read whole, as it came.
struct Request {
    method: Method,
    head: Bytes,
    body: Bytes,
    closes: bool,
}

impl Request {
    fn all(self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.head.len() + self.body.len());
        all.extend_from_slice(&self.head);
        all.extend_from_slice(&self.body);
        all.freeze()
    }

    /// What is left of it once it is admitted.
    fn into_method(self) -> Method {
        self.method
    }
}

impl<E> Step<E> {
    const fn after(is_kept: bool) -> Self {
        if is_kept { Self::Again } else { Self::Close }
    }
}

impl ExchangeError {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Failed(Failed::Ended(end)) => Outcome::Ended(end.cause),
            Self::Failed(failed) => Outcome::Failed(failed),
            Self::Cut(cause) => Outcome::Ended(cause),
            Self::Gone => Outcome::ClientGone,
        }
    }
}

const fn outcome(answer: &Answer, is_written: bool) -> Outcome {
    if is_written {
        Outcome::Answered(answer.status)
    } else {
        Outcome::ClientGone
    }
}

/// Closes a connection so that its client can read the last answer first.
pub(crate) async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut scratch, mut thrown_away) = ([0; 1024], 0);
    if io.shutdown().await.is_err() {
        return;
    }
    while let Ok(read) = io.read(&mut scratch).await {
        thrown_away += read;
        if read == 0 || thrown_away > MOST_LINGERED {
            return;
        }
    }
}
