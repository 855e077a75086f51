//! A client of 2026-07-28 in front of a backend with sessions: the gateway holds one session for
//! all that the client says, and remakes it without a word when it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_protocol::to_stateful::{self, Caller, Passing, ServerInfo};
use mcp_protocol::{CallIdentity, Id, Kind, LATEST_STATEFUL, Message, RpcError, code, meta};
use pingora::protocols::http::ServerSession;
use sha2::{Digest as _, Sha256};

use super::downstream::Downstream;
use super::pending_call::{PendingCall, Running, named};
use super::response_stream::{MessageSender, ResponseStream};
use super::session_error::SessionError;
use super::session_pool::{Key, Owner};
use super::shared_session::SharedSession;
use super::suspended_calls::SuspendedCalls;
use super::translator::Translator;
use super::upstream_client::UpstreamClient;
use super::upstream_session::{UpstreamSession, Wire};
use crate::account_refusal::AccountRefusal;
use crate::proxy_error::ProxyError;
use crate::rejection::Rejection;
use crate::sessions::StateTags;

/// Who the backend of a session is.
pub(super) fn server_of(upstream_session: &UpstreamSession) -> Option<ServerInfo> {
    upstream_session
        .hello
        .outcome()
        .and_then(|result| ServerInfo::from_initialized(&result))
}

/// Statuses of 2026-07-28, for responses of the method `M` that are the whole answer.
fn status_of(message: &Message) -> u16 {
    message.failure().map_or(200, |error| error.status(false))
}

/// Who waits for the answer to a call.
struct Asker {
    upstream: Arc<UpstreamClient>,
    /// Of the client's request.
    id: Id,
    caller: Caller,
    states: StateTags,
}

impl Translator {
    /// One request or notification of a stateless client.
    pub(super) async fn take_stateless(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        wire: Wire,
        message: Message,
    ) -> Result<(), ProxyError> {
        let Some(id) = message.id().filter(|_| message.kind() == Kind::Request) else {
            // The core has no notifications of clients, and nobody waits for others.
            return downstream.accept(session, 202).await;
        };
        let caller = match Caller::from_message(&message) {
            Ok(caller) => caller,
            Err(refused) => {
                let refusal = refused.response(Some(&id));
                return downstream.respond(session, &refusal, 400, None).await;
            }
        };
        let shared = self.shared(downstream, wire, &caller);
        let asker = Asker {
            upstream,
            id: id.clone(),
            caller,
            states: StateTags::new(&downstream.state.sessions, downstream.holder()),
        };
        if let Some(state) = to_stateful::request_state(&message) {
            let responses = self.retried(&state, asker, message);
            return downstream
                .answer(session, responses, Some(&id), status_of)
                .await;
        }
        let request = match to_stateful::request(message.clone()) {
            Ok(request) => request,
            Err(error) => {
                let status = error.status(false);
                let refusal = Message::error(Some(&id), &error);
                return downstream.respond(session, &refusal, status, None).await;
            }
        };
        if matches!(message.method(), "server/discover" | "subscriptions/listen") {
            return self
                .over_session(downstream, session, asker, &shared, &message)
                .await;
        }
        let pending = self.pending(shared, &asker, request, &message);
        let responses = self.passing(pending, asker);
        downstream
            .answer(session, responses, Some(&id), status_of)
            .await
    }

    /// What is answered of the session itself, not over it: who its backend is, and what it says
    /// unasked.
    async fn over_session(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        asker: Asker,
        shared: &SharedSession,
        message: &Message,
    ) -> Result<(), ProxyError> {
        let Asker { upstream, id, .. } = asker;
        let opened = downstream
            .while_wanted(session, shared.upstream_session(&upstream))
            .await?
            .inspect_err(|error| downstream.doubt(error));
        let upstream_session = match opened {
            Ok(upstream_session) => upstream_session,
            Err(declined @ SessionError::Declined(_)) => {
                let refusal = declined.response(&id).map_err(Rejection::Account)?;
                return downstream.respond(session, &refusal, 200, None).await;
            }
            Err(error) => return Err(error.rejection(Some(id)).into()),
        };
        if message.method() == "server/discover" {
            let server = server_of(&upstream_session).ok_or(Rejection::UpstreamUnusable)?;
            let discovered = Message::result(&id, &server.discovered());
            return downstream.respond(session, &discovered, 200, None).await;
        }
        self.subscribe(downstream, session, upstream, upstream_session, message)
            .await
    }

    /// Begins the call `message`, which the backend gets as `request`.
    fn pending(
        &self,
        shared: SharedSession,
        Asker {
            upstream, caller, ..
        }: &Asker,
        request: Message,
        message: &Message,
    ) -> PendingCall {
        let number = Id::number(self.requests.fetch_add(1, Ordering::Relaxed));
        let request = match caller.progress_token {
            Some(_) => to_stateful::with_progress_token(request, &number),
            None => request,
        }
        .with_id(&number);
        let level = message
            .meta()
            .text(meta::LOG_LEVEL)
            .map(|level| LevelRequest {
                number: self.requests.fetch_add(1, Ordering::Relaxed),
                level,
            });
        let upstream_session = Running::default();
        let running = Arc::clone(&upstream_session);
        PendingCall {
            responses: calling(
                shared.clone(),
                Arc::clone(upstream),
                request,
                level,
                running,
            ),
            upstream_session,
            shared,
            method: message.method().to_owned(),
            name: named(message),
            identity: (!caller.capabilities.is_empty())
                .then(|| CallIdentity::from_message(message)),
        }
    }

    /// The session behind what this caller says.
    fn shared(&self, downstream: &Downstream<'_>, wire: Wire, caller: &Caller) -> SharedSession {
        SharedSession {
            pool: Arc::clone(&self.pool),
            key: Key {
                owner: Owner::new(downstream.holder()),
                name: URL_SAFE_NO_PAD.encode(Sha256::digest(caller.identity())),
            },
            wire,
            initialize: to_stateful::initialize(caller, &Id::text("gateway"), LATEST_STATEFUL),
            lifetime: downstream.lifetime.clone(),
        }
    }

    /// What is answered to a retry: the call that waits for it goes on, if it is the same again.
    fn retried(&self, state: &str, asker: Asker, retry: Message) -> ResponseStream {
        let suspended_call = asker
            .states
            .unbind(state)
            .and_then(|name| self.suspended_calls.resume(&name, &retry));
        match suspended_call {
            Some(call) => self.resumed(call, asker, retry),
            None => {
                let sentence = "requestState is unknown here, has run out, or is of a call with other parameters";
                let error = RpcError::new(code::INVALID_PARAMS, sentence);
                ResponseStream::one(Message::error(Some(&asker.id), &error))
            }
        }
    }

    /// What of a call's messages is for the client, until it is answered or asked back.
    fn passing(&self, pending: PendingCall, asker: Asker) -> ResponseStream {
        let suspended_calls = Arc::clone(&self.suspended_calls);
        ResponseStream::try_spawn(move |out| pass_on(suspended_calls, pending, asker, out))
    }

    /// Goes on with a call that waited for the client's answer.
    fn resumed(
        &self,
        (pending, asked): (PendingCall, Message),
        asker: Asker,
        retry: Message,
    ) -> ResponseStream {
        let table = Arc::clone(&self.suspended_calls);
        ResponseStream::try_spawn(move |out| async move {
            let Some(answer) = to_stateful::answer(&retry, &asked) else {
                // It answered nothing, so it is asked again.
                park(&table, pending, asked, &asker, &out).await;
                return Ok(());
            };
            let upstream_session = pending.upstream_session.lock().clone();
            let told = match upstream_session {
                Some(upstream_session) => upstream_session.notify(&asker.upstream, &answer).await,
                None => Err(SessionError::Lost),
            };
            match told {
                Ok(()) => pass_on(table, pending, asker, out).await,
                Err(error) => {
                    let _ = out.send(error.response(&asker.id)?).await;
                    Ok(())
                }
            }
        })
    }
}

/// From which level on a call wants log messages, and the id to say so under.
pub(super) struct LevelRequest {
    number: u64,
    level: String,
}

/// Calls over the session; where the backend has forgotten it, once more over a new one: a lost
/// session ran nothing.
pub(super) fn calling(
    shared: SharedSession,
    upstream: Arc<UpstreamClient>,
    request: Message,
    level: Option<LevelRequest>,
    running: Running,
) -> ResponseStream {
    ResponseStream::try_spawn(move |out| async move {
        let id = request.id().unwrap_or_else(|| Id::number(0));
        let mut may_repeat = true;
        let error = loop {
            let upstream_session = match shared.upstream_session(&upstream).await {
                Ok(upstream_session) => upstream_session,
                Err(error) => break error,
            };
            *running.lock() = Some(Arc::clone(&upstream_session));
            if let Some(LevelRequest { number, level }) = &level {
                upstream_session.set_level(&upstream, *number, level).await;
            }
            match upstream_session
                .call(&upstream, request.clone(), out.clone())
                .await
            {
                Ok(()) => return Ok(()),
                Err(SessionError::Lost) if may_repeat => {
                    may_repeat = false;
                    shared.lost(&upstream_session);
                }
                Err(error) => break error,
            }
        };
        let _ = out.send(error.response(&id)?).await;
        Ok(())
    })
}

async fn pass_on(
    suspended_calls: Arc<SuspendedCalls>,
    mut pending: PendingCall,
    asker: Asker,
    out: MessageSender,
) -> Result<(), Box<AccountRefusal>> {
    let Asker {
        upstream,
        id,
        caller,
        ..
    } = &asker;
    while let Some(message) = pending.responses.messages.recv().await {
        if message.kind() == Kind::Response {
            let server = pending
                .upstream_session
                .lock()
                .as_deref()
                .and_then(server_of);
            let response = match server {
                Some(server) => {
                    to_stateful::response(id, &pending.method, &message, &server, caller)
                }
                None => message.with_id(id),
            };
            let _ = out.send(response).await;
            return Ok(());
        }
        match to_stateful::pass(message, &pending.method, caller) {
            Passing::On(message) => {
                let message = match &caller.progress_token {
                    Some(token) if message.progressed().is_some() => progress(message, token),
                    _ => message,
                };
                if out.send(message).await.is_err() {
                    return Ok(());
                }
            }
            Passing::Dropped => {}
            Passing::Answered(answer) => {
                let upstream_session = pending.upstream_session.lock().clone();
                if let Some(upstream_session) = upstream_session {
                    let _ = upstream_session.notify(upstream, &answer).await;
                }
            }
            Passing::Asks(asked) => {
                park(&suspended_calls, pending, asked, &asker, &out).await;
                return Ok(());
            }
        }
    }
    pending.responses.refusal().await.map_or(Ok(()), Err)
}

/// A progress notification under the client's own token.
fn progress(mut message: Message, token: &Id) -> Message {
    message.edit_params(|params| params.set(meta::PROGRESS_TOKEN, token));
    message
}

/// Keeps the call and asks the client.
async fn park(
    suspended_calls: &Arc<SuspendedCalls>,
    pending: PendingCall,
    asked: Message,
    Asker { id, states, .. }: &Asker,
    out: &MessageSender,
) {
    let lifetime = pending.shared.lifetime.clone();
    let owner = pending.shared.key.owner.clone();
    let answer = match suspended_calls.keep(pending, asked.clone(), owner, lifetime) {
        Some(name) => {
            let state = states.bind(&name);
            Message::result(id, &to_stateful::input_required(&asked, &state))
        }
        None => {
            let error = RpcError::new(code::INTERNAL, "Too many calls wait for input");
            Message::error(Some(id), &error)
        }
    };
    let _ = out.send(answer).await;
}
