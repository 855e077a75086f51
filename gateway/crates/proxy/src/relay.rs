//! The body of an answer on its way from a backend to a client: unbuffered, kept alive between
//! events, ended properly when something outside ends it, and never ended properly when the
//! backend broke off.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;
use tokio::time::sleep;

use super::client_watch::gone;
use super::context::RequestContext;
use super::event_filter::{EventFilter, HoldError};
use super::exchange_log::ExchangeLog;
use super::exchange_watch::{self, ExchangeWatch, Next, Patience};
use super::holder::Holder;
use super::in_flight::{Budget, Full, TAKEN, UNREAD};
use super::legacy_outbox::{LegacyOutbox, LegacyOutboxes};
use super::lifetime::{End, StreamLifetime};
use super::mcp_error::single_id;
use super::mounted_backend::MountedBackend;
use super::proxy_error::ProxyError;
use super::rejection::Rejection;
use super::response_head::Shape;
use super::response_writer::event;
use super::rewrite::EndpointRewriter;
use super::streams::{Held, StreamView, Streams};
use super::tool_list_filter::{FilterDependencies, ToolListFilter};
use gateway_core::policy::Permit;
use gateway_upstream::{Connection, Connections, Failure};
use mcp_protocol::sse::Boundary;

pub(super) struct Relay<'a> {
    pub(super) dependencies: FilterDependencies<'a>,
    pub(super) connections: &'a Connections,
    pub(super) legacy_outboxes: &'a Arc<LegacyOutboxes>,
    pub(super) streams: &'a Streams,
    pub(super) budget: &'a Arc<Budget>,
    /// How long a stream may be silent before that is filled.
    pub(super) keep_alive: Duration,
    pub(super) mounted: &'a MountedBackend,
    pub(super) context: &'a RequestContext,
    pub(super) permit: &'a Permit,
    pub(super) shape: Shape,
    pub(super) endpoint: Option<EndpointRewriter>,
    /// Of the legacy transport: opened once the endpoint is announced.
    pub(super) outbox: Option<LegacyOutbox>,
    /// The session that the answer belongs to. Of the legacy transport: where its messages go, once
    /// that is announced.
    pub(super) conversation: String,
    /// Judges events, for a restricted token.
    pub(super) filter: Option<EventFilter>,
    pub(super) waits_for_events: bool,
    pub(super) lifetime: &'a StreamLifetime,
    pub(super) status: u16,
}

/// Why the next bytes do not go on.
enum NotRelayed {
    ProxyError(ProxyError),
    Full(Full),
}

impl From<ProxyError> for NotRelayed {
    fn from(error: ProxyError) -> Self {
        Self::ProxyError(error)
    }
}

/// What goes into an answer next.
enum Piece {
    /// Bytes of the backend; `None` at their end.
    Read(Result<Option<Bytes>, Failure>),
    /// An answer of the gateway's own.
    Letter(Bytes),
}

/// How far an answer has come.
#[derive(Default)]
struct Progress {
    boundary: Boundary,
    passed: u64,
    /// The gateway's own answers that wait for the end of an event.
    letters: Vec<Bytes>,
}

impl Relay<'_> {
    /// Relays until the answer is complete or something ends it.
    pub(super) async fn run(
        mut self,
        session: &mut ServerSession,
        mut connection: Connection,
        watch: &mut ExchangeWatch<'_>,
    ) -> Result<(), ProxyError> {
        let quiet = pin!(sleep(self.patience()));
        let mut patience = Patience::new(quiet, self.patience());
        let mut progress = Progress::default();
        let mut held = self.waits_for_events.then(|| self.hold());
        loop {
            let piece = piece(&mut connection, &mut self.outbox);
            match watch.next(session, &mut patience, piece).await {
                Next::Came(Piece::Read(Ok(Some(chunk)))) => {
                    let chunk = match self.rewritten(chunk).await {
                        Ok(chunk) => chunk,
                        Err(NotRelayed::ProxyError(error)) => return Err(error),
                        Err(NotRelayed::Full(full)) => {
                            connection.abandon().await;
                            return self.give_up(session, full).await;
                        }
                    };
                    patience.renew();
                    if self.is_last(&mut connection, &mut progress, &chunk).await {
                        return self.finish(session, connection, chunk).await;
                    }
                    self.pass(session, &mut progress, chunk).await?;
                }
                Next::Came(Piece::Letter(letter)) if progress.boundary.is_between_events() => {
                    self.write(session, letter).await?;
                }
                Next::Came(Piece::Letter(letter)) => progress.letters.push(letter),
                Next::Silence if self.shape == Shape::Events => {
                    if progress.boundary.is_between_events() {
                        exchange_watch::keep_alive(session).await?;
                    }
                    held.get_or_insert_with(|| self.hold());
                    patience.renew();
                }
                Next::Came(Piece::Read(Ok(None))) => {
                    let rest = self.rest().await?;
                    return self.finish(session, connection, rest).await;
                }
                Next::Ended(end) => {
                    connection.abandon().await;
                    return self.end(session, &progress, end).await;
                }
                Next::Gone => {
                    connection.abandon().await;
                    self.log().ended("client_gone");
                    return Err(gone());
                }
                Next::Came(Piece::Read(Err(failure))) => {
                    self.log().failed(&failure);
                    return Err(aborted());
                }
                Next::Silence => {
                    self.log()
                        .failed(&Failure::TimedOut("the rest of the response"));
                    return Err(aborted());
                }
            }
        }
    }

    /// How long the backend may be silent: between events silence is filled then, within an answer of
    /// known kind it is a failure.
    fn patience(&self) -> Duration {
        match self.shape {
            Shape::Events => self.keep_alive,
            Shape::Bytes(_) | Shape::Nothing => self.mounted.backend.response_timeout,
        }
    }

    /// Whether an answer of known length ends with these bytes.
    async fn is_last(
        &self,
        connection: &mut Connection,
        progress: &mut Progress,
        chunk: &Bytes,
    ) -> bool {
        if self.shape == Shape::Events {
            progress.boundary.advance(chunk);
        }
        progress.passed += chunk.len() as u64;
        self.shape == Shape::Bytes(Some(progress.passed))
            && connection.read_body().await == Ok(None)
    }

    /// Writes the next bytes, and what waited for the end of their event.
    async fn pass(
        &self,
        session: &mut ServerSession,
        progress: &mut Progress,
        chunk: Bytes,
    ) -> Result<(), ProxyError> {
        if !chunk.is_empty() {
            self.write(session, chunk).await?;
        }
        if progress.boundary.is_between_events() {
            for letter in progress.letters.drain(..) {
                self.write(session, letter).await?;
            }
        }
        Ok(())
    }

    /// Ends an answer that may not go on: properly, where it is events.
    async fn end(
        &self,
        session: &mut ServerSession,
        progress: &Progress,
        end: End,
    ) -> Result<(), ProxyError> {
        self.log().ended(end.as_str());
        if self.shape != Shape::Events {
            return Err(aborted());
        }
        let is_between_events = progress.boundary.is_between_events();
        let farewell = is_between_events.then(exchange_watch::farewell);
        exchange_watch::end_stream(session, end, farewell).await
    }

    /// Writes the last bytes of a complete answer. The connection is given back first, so that it
    /// is there for the client's next request.
    pub(super) async fn finish(
        &self,
        session: &mut ServerSession,
        connection: Connection,
        last: Bytes,
    ) -> Result<(), ProxyError> {
        self.connections.release(connection).await;
        self.context.sent(last.len());
        session.write_response_body(last, true).await?;
        self.log().ended("done");
        Ok(())
    }

    /// Writes a piece of the answer. A client that does not take it holds memory, which is on its
    /// account for as long; where that is full the answer is broken off.
    async fn write(&self, session: &mut ServerSession, piece: Bytes) -> Result<(), ProxyError> {
        self.context.sent(piece.len());
        let mut writing = std::pin::pin!(session.write_response_body(piece, false));
        tokio::select! {
            biased;
            written = &mut writing => return Ok(written?),
            () = sleep(TAKEN) => {}
        }
        let mut hold = self.context.hold(self.budget);
        if let Err(full) = hold.grow_to(UNREAD) {
            self.log().cut(full);
            return Err(aborted());
        }
        Ok(writing.await?)
    }

    /// Ends an answer of which an event can't be held to be judged: with an answer that says so,
    /// where one request waits for one.
    async fn give_up(&self, session: &mut ServerSession, full: Full) -> Result<(), ProxyError> {
        self.log().cut(full);
        session.set_keepalive(None);
        let last = last_event(full, self.permit, self.context);
        session.write_response_body(last, true).await?;
        Ok(())
    }

    /// What goes on of the next bytes: the endpoint made public, lists cut.
    async fn rewritten(&mut self, chunk: Bytes) -> Result<Bytes, NotRelayed> {
        let mount = &self.mounted.backend.mount;
        let holder = Holder::new(self.permit.token(), mount);
        let chunk = match &mut self.endpoint {
            None => chunk,
            Some(endpoint) => endpoint
                .rewrite(
                    &chunk,
                    &self.mounted.backend,
                    holder,
                    self.dependencies.sessions,
                )
                .map_err(|unusable| self.unusable(&unusable))?,
        };
        if let Some(target) = self.endpoint.as_mut().and_then(EndpointRewriter::announced) {
            self.outbox = Some(self.legacy_outboxes.open(holder, &target));
            self.conversation = target;
        }
        let Some(mut filter) = self.filter.take() else {
            return Ok(chunk);
        };
        let passed = filter.pass(&chunk, self.tool_list_filter()).await;
        self.filter = Some(filter);
        passed.map_err(|unheld| match unheld {
            HoldError::Full(full) => NotRelayed::Full(full),
            HoldError::Unreadable(unreadable) => self.unusable(&unreadable).into(),
        })
    }

    /// What is left at the end of the backend's answer.
    async fn rest(&mut self) -> Result<Bytes, ProxyError> {
        match self.filter.take() {
            None => Ok(Bytes::new()),
            Some(filter) => filter
                .rest(self.tool_list_filter())
                .await
                .map_err(|unreadable| self.unusable(&unreadable)),
        }
    }

    fn tool_list_filter(&self) -> ToolListFilter<'_> {
        ToolListFilter {
            dependencies: self.dependencies,
            mounted: self.mounted,
            context: self.context,
            token: self.permit.token(),
            calls: self.permit.calls(),
            conversation: &self.conversation,
        }
    }

    fn unusable(&self, why: &impl std::fmt::Display) -> ProxyError {
        self.log().failed(&Failure::Broken(why.to_string()));
        aborted()
    }

    fn hold(&self) -> Held {
        let name = &self.mounted.backend.mount.name;
        let now = self.dependencies.clock.now();
        let stream = StreamView::new(name, self.permit.token().claims(), now);
        self.streams
            .hold(stream, self.lifetime.closing(), self.context)
    }

    fn log(&self) -> ExchangeLog<'_> {
        ExchangeLog {
            mounted: self.mounted,
            context: self.context,
            token: self.permit.token(),
            status: self.status,
        }
    }
}

/// What a stream of events ends with where no more of it may be held; nothing, where no request waits for
/// an answer in it.
pub(super) fn last_event(full: Full, permit: &Permit, context: &RequestContext) -> Bytes {
    let rejection = Rejection::from(full);
    let told = single_id(permit).map(|id| rejection.answer().as_error(Some(&id), &context.id));
    told.map_or(Bytes::new(), |told| event(&told))
}

/// What goes into the answer next.
async fn piece(connection: &mut Connection, outbox: &mut Option<LegacyOutbox>) -> Piece {
    tokio::select! {
        biased;
        read = connection.read_body() => Piece::Read(read),
        letter = letter(outbox) => Piece::Letter(letter),
    }
}

/// The next answer of the gateway's own for this stream; never, if it has no outbox.
async fn letter(outbox: &mut Option<LegacyOutbox>) -> Bytes {
    match outbox {
        Some(outbox) => event(&outbox.next().await),
        None => std::future::pending().await,
    }
}

/// The connection is broken off, so that nobody takes the answer for complete.
fn aborted() -> ProxyError {
    ProxyError::Broken(pingora::Error::explain(
        ErrorType::InternalError,
        "the answer can't be completed",
    ))
}
