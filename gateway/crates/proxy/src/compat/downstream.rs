//! What a client gets: one response as JSON, or events as they come, kept alive between them and
//! ended by what ends every exchange.

use std::pin::pin;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use mcp_protocol::{Id, Kind, Message};
use pingora::protocols::http::ServerSession;
use tokio::time::{sleep, timeout};

use super::response_stream::ResponseStream;
use super::session_error::SessionError;
use crate::client_watch::gone;
use crate::context::RequestContext;
use crate::cors::allow_reading;
use crate::exchange_watch::{self, ExchangeWatch, Next, Patience};
use crate::headers::SESSION;
use crate::holder::Holder;
use crate::lifetime::{self, StreamLifetime};
use crate::mounted_backend::MountedBackend;
use crate::policy_input;
use crate::proxy_error::ProxyError;
use crate::rejection::Rejection;
use crate::response_head;
use crate::response_writer;
use crate::state::ProxyState;
use crate::streams::{Held, StreamView};
use crate::tool_list_filter::ToolListFilter;
use gateway_core::policy::AccessToken;
use gateway_core::protocol::web::Response;
use gateway_upstream::Failure;
use mcp_protocol::calls::Call;

/// The client's side of one translated exchange.
pub(super) struct Downstream<'a> {
    pub(super) state: &'a ProxyState,
    pub(super) mounted: &'a MountedBackend,
    pub(super) context: &'a RequestContext,
    pub(super) lifetime: StreamLifetime,
    pub(super) token: AccessToken,
    /// What the exchange is for; empty for a stream.
    pub(super) calls: Vec<Call>,
    /// The gateway's own name of the session or stream; empty where there is none.
    pub(super) conversation: String,
    /// What is translated into what, for the log.
    pub(super) plan: &'static str,
}

/// The HTTP status of a response that is the whole answer.
pub(super) type StatusOf = fn(&Message) -> u16;

/// In revisions with sessions every response is a 200.
pub(super) const fn always_ok(_: &Message) -> u16 {
    200
}

impl Downstream<'_> {
    /// Whose it is.
    pub(super) fn holder(&self) -> Holder<'_> {
        Holder::new(&self.token, &self.mounted.backend.mount)
    }

    /// Answers a request with its response, or with events if something comes before it or it takes
    /// long.
    pub(super) async fn answer(
        &self,
        session: &mut ServerSession,
        mut responses: ResponseStream,
        id: Option<&Id>,
        status: StatusOf,
    ) -> Result<(), ProxyError> {
        let revoked = pin!(self.lifetime.ended());
        let leaving = pin!(lifetime::shutdown(&self.state.draining, false));
        let mut watch = ExchangeWatch::new(revoked, leaving);
        let first = timeout(self.state.settings.keep_alive, responses.messages.recv());
        let first = match watch.before_answer(session, first).await? {
            Ok(Some(message)) if message.kind() == Kind::Response => {
                return self
                    .respond(session, &message, status(&message), None)
                    .await;
            }
            Ok(Some(message)) => Some(message),
            // Nobody is at fault: it is answered as where that happens later, on the stream.
            Ok(None) if responses.is_cancelled() => None,
            Ok(None) => {
                return Err(match responses.refusal().await {
                    Some(refusal) => Rejection::Account(refusal).into(),
                    None => broken_off(id).into(),
                });
            }
            // It takes long.
            Err(_) => None,
        };
        self.begin(session).await?;
        if let Some(message) = first {
            let event = self.event(&message).await?;
            self.write(session, event).await?;
        }
        self.relay(session, &mut watch, responses, EndOfStream::default())
            .await
    }

    /// Waits for the backend for as long as the client does and may.
    pub(super) async fn while_wanted<T>(
        &self,
        session: &mut ServerSession,
        work: impl Future<Output = T>,
    ) -> Result<T, ProxyError> {
        exchange_watch::while_wanted(&self.state.draining, &self.lifetime, session, work).await
    }

    /// Waits for what the backend is asked for the request `id`: where that fails, the request does.
    pub(super) async fn while_wanted_or_refused<T>(
        &self,
        session: &mut ServerSession,
        id: Option<&Id>,
        work: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, ProxyError> {
        let done = self.while_wanted(session, work).await?;
        done.map_err(|error| {
            self.doubt(&error);
            error.rejection(id.cloned()).into()
        })
    }

    /// Answers with events until somebody ends them. `first` goes out before any message.
    pub(super) async fn stream(
        &self,
        session: &mut ServerSession,
        responses: ResponseStream,
        first: Option<Bytes>,
        farewell: Option<&Message>,
    ) -> Result<(), ProxyError> {
        let revoked = pin!(self.lifetime.ended());
        let leaving = pin!(lifetime::session_shutdown(&self.state.draining));
        let mut watch = ExchangeWatch::new(revoked, leaving);
        self.begin(session).await?;
        if let Some(first) = first {
            self.write(session, first).await?;
        }
        let end = EndOfStream {
            _held: Some(self.hold()),
            farewell: farewell.map(response_writer::event),
        };
        self.relay(session, &mut watch, responses, end).await
    }

    /// Answers with one response, and the id of the session that it begins.
    pub(super) async fn respond(
        &self,
        session: &mut ServerSession,
        message: &Message,
        status: u16,
        gateway_session: Option<&str>,
    ) -> Result<(), ProxyError> {
        let mut response = Response::new(Bytes::from(self.spelled(message).await?));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some(own) = gateway_session
            && let Ok(value) = HeaderValue::from_str(own)
        {
            response.headers_mut().insert(SESSION, value);
        }
        self.finish(session, response, status).await
    }

    /// A message as this client may see it: lists of tools cut to what its token allows.
    async fn spelled(&self, message: &Message) -> Result<String, ProxyError> {
        let text = message.to_string();
        if !policy_input::cuts_lists(
            &self.state.policy,
            &self.state.catalogue,
            &self.token,
            self.mounted,
        ) {
            return Ok(text);
        }
        let filter = ToolListFilter {
            dependencies: self.state.filter_dependencies(),
            mounted: self.mounted,
            context: self.context,
            token: &self.token,
            calls: &self.calls,
            conversation: &self.conversation,
        };
        match filter.judge(&text).await {
            Ok(None) => Ok(text),
            Ok(Some(cut)) => Ok(cut),
            Err(unreadable) => Err(ProxyError::Broken(pingora::Error::explain(
                pingora::ErrorType::InternalError,
                unreadable.to_string(),
            ))),
        }
    }

    async fn event(&self, message: &Message) -> Result<Bytes, ProxyError> {
        let text = self.spelled(message).await?;
        Ok(response_writer::event(&text))
    }

    async fn write(&self, session: &mut ServerSession, event: Bytes) -> Result<(), ProxyError> {
        self.context.sent(event.len());
        Ok(session.write_response_body(event, false).await?)
    }

    /// Answers that a message was taken, or a session ended.
    pub(super) async fn accept(
        &self,
        session: &mut ServerSession,
        status: u16,
    ) -> Result<(), ProxyError> {
        self.finish(session, Response::new(Bytes::new()), status)
            .await
    }

    async fn finish(
        &self,
        session: &mut ServerSession,
        mut response: Response,
        status: u16,
    ) -> Result<(), ProxyError> {
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(origin) = &self.context.allowed_origin {
            allow_reading(response.headers_mut(), origin);
        }
        self.context.answered(None);
        self.context.sent(response.body().len());
        response_writer::write(session, response).await?;
        self.log("done", status);
        Ok(())
    }

    async fn begin(&self, session: &mut ServerSession) -> Result<(), ProxyError> {
        self.context.answered(None);
        let origin = self.context.allowed_origin.as_ref();
        let head = response_head::of_events(session.req_header().version, origin)?;
        Ok(session.write_response_header(Box::new(head)).await?)
    }

    async fn relay(
        &self,
        session: &mut ServerSession,
        watch: &mut ExchangeWatch<'_>,
        mut responses: ResponseStream,
        end: EndOfStream,
    ) -> Result<(), ProxyError> {
        let keep_alive = self.state.settings.keep_alive;
        let quiet = pin!(sleep(keep_alive));
        let mut patience = Patience::new(quiet, keep_alive);
        loop {
            let message = responses.messages.recv();
            match watch.next(session, &mut patience, message).await {
                Next::Came(Some(message)) => {
                    patience.renew();
                    let event = self.event(&message).await?;
                    self.write(session, event).await?;
                }
                Next::Silence => {
                    patience.renew();
                    exchange_watch::keep_alive(session).await?;
                }
                Next::Came(None) => {
                    // Its head is written: it is told as what any other answer is.
                    let refusal = responses.refusal().await;
                    if let Some(answer) = refusal.and_then(|it| it.answer(&self.context.id)) {
                        self.write(session, response_writer::event(&answer)).await?;
                    }
                    session.write_response_body(Bytes::new(), true).await?;
                    let is_cancelled = responses.is_cancelled();
                    self.log(if is_cancelled { "cancelled" } else { "done" }, 200);
                    return Ok(());
                }
                Next::Ended(why) => {
                    drop(responses);
                    self.log(why.as_str(), 200);
                    let farewell = end.farewell.unwrap_or_else(exchange_watch::farewell);
                    return exchange_watch::end_stream(session, why, Some(farewell)).await;
                }
                Next::Gone => {
                    self.log("client_gone", 200);
                    return Err(gone());
                }
            }
        }
    }

    /// What a message that did not get through says of the backend: it may be another one than it was.
    pub(super) fn doubt(&self, error: &SessionError) {
        if error.casts_doubt() {
            self.mounted.protocols.invalidate();
        }
    }

    fn hold(&self) -> Held {
        let name = &self.mounted.backend.mount.name;
        let stream = StreamView::new(name, self.token.claims(), self.state.clock.now());
        let closing = self.lifetime.closing();
        self.state.streams.hold(stream, closing, self.context)
    }

    fn log(&self, outcome: &'static str, status: u16) {
        let context = self.context;
        context.ended(outcome, status);
        log::info!(
            event = "exchanged", outcome = outcome, status = status, translated = self.plan, backend = self.mounted.backend.mount.name,
            user = context.user(), client = context.client(), grant = context.grant(), call = context.call,
            ms = u64::try_from(context.started.elapsed().as_millis()).unwrap_or(u64::MAX), request_id = context.id, trace_id = context.trace_id();
            "translated exchange with a backend"
        );
    }
}

/// What a stream has until its end, and what it says then.
#[derive(Default)]
struct EndOfStream {
    _held: Option<Held>,
    farewell: Option<Bytes>,
}

/// A response that never came.
pub(super) fn broken_off(id: Option<&Id>) -> Rejection {
    Rejection::Upstream(Failure::Broken("no answer".to_owned()), id.cloned())
}
