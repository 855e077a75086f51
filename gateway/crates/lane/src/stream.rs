//! A stream of events in a small task: two sockets, the exchange, and how far it has come. Buffers are
//! borrowed while bytes flow.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use super::backend::BackendConnection;
use super::client::Client;
use super::downstream::{Downstream, ExchangeError, poll_ended};
use super::ending::WatchedEnding;
use super::events::EventRelay;
use super::exchange::Streaming;
use super::lane::{Connection, Lane, linger};
use super::service::{End, Exchange, Failed, Outcome, Service};
use super::timer::{Timer, on_grid};

/// A stream of events whose head is written.
pub struct EventStream<IO, S: Service> {
    lane: Arc<Lane<S>>,
    client: Client<IO>,
    connection: BackendConnection,
    exchange: S::Exchange,
    relay: EventRelay,
    ending: Option<WatchedEnding>,
    is_kept: bool,
    closes: bool,
    // What the connection needs to carry on behind the stream.
    peer: SocketAddr,
    served: u32,
}

/// What happens next to a stream.
enum StreamEvent {
    Bytes,
    BackendEnded,
    BackendBroke,
    Ended(End),
    Gone,
    Quiet,
}

impl<IO, S: Service> EventStream<IO, S> {
    pub(crate) fn new(
        lane: Arc<Lane<S>>,
        connection: Connection<IO>,
        parts: (S::Exchange, Streaming, bool),
    ) -> Self {
        let (mut exchange, streaming, closes) = parts;
        let mut client = connection.client;
        client.shrink(&lane.shared.buffers);
        if let Some(pinned) = connection.pinned {
            lane.shared.pool.give(pinned);
        }
        exchange.becomes_stream();
        Self {
            client,
            connection: streaming.connection,
            relay: streaming.relay,
            ending: streaming.ending,
            is_kept: streaming.is_kept,
            exchange,
            closes,
            peer: connection.peer,
            served: connection.served,
            lane,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Service> EventStream<IO, S> {
    /// Runs the stream to its end. The connection, if it may carry another request.
    pub async fn run(mut self) -> Option<Connection<IO>> {
        let lane = Arc::clone(&self.lane);
        let (start, keep_alive) = (lane.shared.start, self.relay.events.keep_alive);
        let mut quiet = on_grid(start, keep_alive);
        let sleep = std::pin::pin!(sleep_until(quiet));
        let mut timer = Timer::new(sleep);
        let mut is_done = false;
        let outcome = loop {
            let happened = poll_fn(|context| self.poll(&mut timer, quiet, context)).await;
            let happened = match happened {
                StreamEvent::BackendEnded if self.relay.framing.end().is_ok() => StreamEvent::Bytes,
                StreamEvent::BackendEnded => StreamEvent::BackendBroke,
                happened => happened,
            };
            let passed = match happened {
                StreamEvent::Bytes => self.pass(&mut timer).await,
                StreamEvent::Quiet => self.comment(&mut timer).await.map(|()| false),
                StreamEvent::Ended(end) => Err(ExchangeError::Failed(Failed::Ended(end))),
                StreamEvent::Gone => Err(ExchangeError::Gone),
                StreamEvent::BackendBroke | StreamEvent::BackendEnded => Err(
                    ExchangeError::Failed(Failed::Broken("it broke off".to_owned())),
                ),
            };
            match passed {
                Ok(true) => {
                    is_done = true;
                    break Outcome::Done;
                }
                Ok(false) => quiet = on_grid(start, keep_alive),
                Err(ExchangeError::Failed(Failed::Ended(end))) => {
                    break self.end(end, &mut timer).await.outcome();
                }
                Err(error) => break error.outcome(),
            }
        };
        self.exchange.finished(&outcome);
        let is_resumed = is_done && !self.closes;
        let mut connection = self.into_connection(is_done);
        if is_resumed {
            return Some(connection);
        }
        if let Some(kept) = connection.pinned.take() {
            lane.shared.pool.give(kept);
        }
        if matches!(outcome, Outcome::Done | Outcome::Ended(_)) {
            // Boxed: an open stream need not have room for it.
            let lingering = Box::pin(linger(connection.client.io));
            let _ = timeout(lane.shared.limits.linger, lingering).await;
        }
        None
    }

    /// The connection behind the stream, which has ended, properly if `is_done`.
    fn into_connection(self, is_done: bool) -> Connection<IO> {
        let is_kept = is_done && self.is_kept && self.connection.buffer.is_empty();
        let (connection, buffers) = (self.connection, &self.lane.shared.buffers);
        Connection {
            client: self.client,
            peer: self.peer,
            pinned: is_kept.then(|| connection.into_idle(buffers)),
            served: self.served.saturating_add(1),
        }
    }

    fn poll(
        &mut self,
        timer: &mut Timer<'_>,
        quiet: Instant,
        context: &mut Context<'_>,
    ) -> Poll<StreamEvent> {
        let shared = &self.lane.shared;
        if let Poll::Ready(end) = poll_ended(&mut self.ending, context) {
            return Poll::Ready(StreamEvent::Ended(end));
        }
        let read = self.connection.poll_fill_idle(&shared.buffers, context);
        match read {
            Poll::Ready(Ok(0)) => return Poll::Ready(StreamEvent::BackendEnded),
            Poll::Ready(Ok(_)) => return Poll::Ready(StreamEvent::Bytes),
            Poll::Ready(Err(_)) => return Poll::Ready(StreamEvent::BackendBroke),
            Poll::Pending => {}
        }
        let read_ahead = shared.limits.read_ahead;
        if self.client.poll_gone(read_ahead, context).is_ready() {
            return Poll::Ready(StreamEvent::Gone);
        }
        timer
            .poll_passed(quiet, context)
            .map(|()| StreamEvent::Quiet)
    }

    /// Takes what came from the backend to the client: whether that was the end.
    async fn pass(&mut self, timer: &mut Timer<'_>) -> Result<bool, ExchangeError> {
        let (shared, mut out) = (&self.lane.shared, BytesMut::new());
        let (client, exchange, ending) = (&mut self.client, &mut self.exchange, &mut self.ending);
        let mut down = Downstream::new(client, exchange, timer, &shared.limits, ending);
        down.has_begun = true;
        let raw = &mut self.connection.buffer;
        let passed = self.relay.pass(&mut down, raw, &mut out).await;
        self.connection.shrink(&shared.buffers);
        passed
    }

    /// Fills silence between two events.
    async fn comment(&mut self, timer: &mut Timer<'_>) -> Result<(), ExchangeError> {
        self.exchange.kept_alive();
        if !self.relay.between {
            return Ok(());
        }
        let (limits, mut out) = (&self.lane.shared.limits, BytesMut::new());
        let (client, exchange, ending) = (&mut self.client, &mut self.exchange, &mut self.ending);
        let mut down = Downstream::new(client, exchange, timer, limits, ending);
        down.write_body(&mut out, limits.comment, true, false).await
    }

    /// Ends the stream, properly, because something outside ends it.
    async fn end(&mut self, end: End, timer: &mut Timer<'_>) -> ExchangeError {
        let limits = &self.lane.shared.limits;
        let (client, exchange, ending) = (&mut self.client, &mut self.exchange, &mut self.ending);
        let mut down = Downstream::new(client, exchange, timer, limits, ending);
        let farewell = end.farewell.clone();
        match down.end_events(self.relay.between, farewell).await {
            Ok(()) => ExchangeError::Failed(Failed::Ended(end)),
            Err(error) => error,
        }
    }
}
