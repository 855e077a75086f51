//! Translation: a client of one revision family of MCP in front of a backend of another. Where the backend
//! speaks the client's revision family nothing here runs, and the bytes pass as they are (`exchange`).
//!
//! | client | HTTP+SSE only | 2025 only | 2026-07-28 only |
//! |---|---|---|---|
//! | 2024-11-05, HTTP+SSE | as it is | `legacy_sse` over a session | `legacy_sse`, stateless calls |
//! | 2025, sessions | `gateway_session` over a held stream | as it is | `gateway_session`, nothing kept |
//! | 2026-07-28 | `stateless_client` over a held stream | `stateless_client` over a held session | as it is |
//!
//! # What is chosen, and why
//!
//! *Unknown passes.* What a backend speaks is asked in the background
//! ([`gateway_upstream::ProtocolSupport`]). Until that is known, and for every revision family about which the backend did
//! not answer, requests pass as they are. A backend of two revision families gets both as they are.
//!
//! *`server/discover` is special.* Most clients of 2026-07-28 know older revisions, too. They ask
//! `server/discover` first; a backend that does not know it refuses, and they fall back to
//! `initialize`, which passes byte for byte and loses nothing. Answering in the backend's stead
//! would keep them from that. So the refusal passes the first time. A client that comes back with
//! `server/discover` and has not said `initialize` in between knows nothing older: it is answered
//! from then on, and so is every other request of 2026-07-28 at any time, because no client that
//! could fall back sends one after a refusal. `backend[].answer_discover` answers the first time.
//! That memory belongs to the grant, not to the client id, which several programs may have; it is
//! bounded and each replica's own, and losing it costs one refusal.
//!
//! *As little as possible is kept.* A session in front of a stateless backend is written into its
//! id, tagged for user, client and backend: replicas agree on it and a restart does not end it;
//! only the log level, resource subscriptions and questions on their way are in memory. A session
//! with a backend is held in memory, bounded, ended when idle, revoked or expired. When a stateless
//! client's is lost, it is remade without a word; when it is another client's, the answer is 404
//! and the client begins anew. Streams and what is posted for them meet on one replica: several
//! replicas need a balancer that keeps a client on one of them, as HTTP+SSE always did.
//!
//! # What can't be translated
//!
//! | what | what is answered |
//! |---|---|
//! | an answer of more than 64 MiB, more than 1,024 requests of a session at once | -32603 that names the limit |
//! | subscriptions of one session to more than 512 resources at once, or with URIs of more than 128 KiB together | -32603 that names the limit |
//! | a message array (2025-03-26) | 400 |
//! | `Last-Event-ID`: translated streams have no event ids | ignored; a new stream begins |
//! | a backend's question to a stateless client outside of `tools/call`, `prompts/get`, `resources/read`, or not declared by it | the backend gets -32601 |
//! | two questions of a backend at once, in one call of a stateless client | asked one after the other |
//! | a `requestState` after a restart, after 10 minutes, or with other parameters than the call had | -32602 |
//! | `GET` for a stateless backend that never speaks unasked | 405 |
//! | a resource in `subscriptions/listen`, where policy or token refuses `resources/subscribe` of it | the whole request is refused, as that one would be |
//! | a level of log messages, where policy or token refuses `logging/setLevel` | the backend is not told |
//! | a version later than 2026-07-28 | -32022 with the one that is spoken |
//! | capabilities of a client larger than a session id has room for (3 KiB) | 400 |
//!
//! One session stands behind all that a stateless client says under the same name, with the same
//! capabilities and under the same grant: a backend that keeps state per session shares it between
//! that person's conversations in that client. The crate [`mcp_protocol`] lists what is lost in messages.

mod discover_fallbacks;
mod downstream;
mod gateway_session;
mod legacy_sse;
mod legacy_streams;
mod param_headers;
mod pending_call;
mod plan;
mod response_stream;
mod session_error;
mod session_pool;
pub(super) mod session_state;
mod shared_session;
mod stateless_client;
mod stateless_upstream;
mod subscription;
mod suspended_calls;
mod translator;
mod unconnected;
mod upstream_client;
mod upstream_session;
mod waiting_session;

use std::sync::Arc;

use http::HeaderMap;
use mcp_protocol::jsonrpc::Body;
use mcp_protocol::{Message, RpcError, to_stateful};
use pingora::protocols::http::ServerSession;
use rand::rngs::OsRng;

pub(super) use self::param_headers::FULL_LIST;
pub(super) use self::plan::{TranslationPlan, family};
pub(super) use self::session_error::NO_ANSWER;
pub(super) use self::translator::Translator;
pub(super) use self::upstream_client::{LARGEST, Reader};

use self::downstream::Downstream;
use self::plan::UpstreamProtocol;
use self::session_state::SessionState;
use self::upstream_client::UpstreamClient;
use self::upstream_session::Wire;
use super::account_doubt;
use super::admission::Admitted;
use super::context::RequestContext;
use super::holder::Holder;
use super::mounted_backend::MountedBackend;
use super::proxy_error::ProxyError;
use super::rejection::Rejection;
use super::request::McpBody;
use super::sessions::StateTags;
use super::state::ProxyState;
use gateway_core::secret;

impl Translator {
    /// Exchanges one request of a client with a backend of another revision family.
    pub(super) async fn translate(
        &self,
        state: &ProxyState,
        session: &mut ServerSession,
        context: &RequestContext,
        mounted: &MountedBackend,
        plan: TranslationPlan,
        admitted: Admitted,
    ) -> Result<(), ProxyError> {
        let asked = account_doubt::asked(state, mounted, &admitted);
        let Admitted {
            permit,
            lifetime,
            request,
            account,
            ..
        } = admitted;
        let message = request.body.map(only_message).transpose()?;
        let conversation = match &plan {
            TranslationPlan::GatewaySession(name)
            | TranslationPlan::WaitingSession(name, _)
            | TranslationPlan::LegacyMessage(name) => name.clone(),
            TranslationPlan::LegacyStream(_) => secret::identifier("", &mut OsRng),
            _ => String::new(),
        };
        let downstream = Downstream {
            state,
            mounted,
            context,
            lifetime,
            token: permit.token().clone(),
            calls: permit.calls().to_vec(),
            conversation,
            plan: plan.name(),
        };
        if plan == TranslationPlan::Unconnected {
            return unconnected::stream(&downstream, session, message).await;
        }
        let headers = &session.req_header().headers;
        let hold = context.hold(&state.budget);
        let caller = (permit, downstream.lifetime.clone(), account, asked.clone());
        let upstream = UpstreamClient::new(state, mounted, context, caller, headers, hold)?;
        let translated = self.serve(&downstream, session, upstream, plan, message);
        translated.await.map_err(|error| match error {
            ProxyError::Denied(Rejection::AccountEnded) => account_doubt::ended(asked).into(),
            error => error,
        })
    }

    async fn serve(
        &self,
        downstream: &Downstream<'_>,
        session: &mut ServerSession,
        upstream: Arc<UpstreamClient>,
        plan: TranslationPlan,
        message: Option<Message>,
    ) -> Result<(), ProxyError> {
        match (plan, message) {
            (TranslationPlan::LegacyStream(protocol), _) => {
                self.open_legacy_stream(downstream, session, protocol).await
            }
            (TranslationPlan::LegacyMessage(name), Some(message)) => {
                self.post_to_legacy_stream(downstream, session, &name, upstream, message)
                    .await
            }
            (TranslationPlan::Begin(UpstreamProtocol::Stateless), Some(message)) => {
                self.begin_stateless(downstream, session, upstream, &message)
                    .await
            }
            (TranslationPlan::Begin(UpstreamProtocol::HttpSse), Some(message)) => {
                self.begin_over_stream(downstream, session, upstream, message)
                    .await
            }
            (TranslationPlan::GatewaySession(text), message) => {
                let written = SessionState::read(&text).ok_or(Rejection::SessionUnknown)?;
                self.in_gateway_session(downstream, session, upstream, written, message)
                    .await
            }
            (TranslationPlan::WaitingSession(text, protocol), message) => {
                let written = SessionState::read(&text).ok_or(Rejection::SessionUnknown)?;
                let asked = (protocol, message);
                self.in_waiting_session(downstream, session, upstream, written, asked)
                    .await
            }
            (TranslationPlan::Stateless(protocol), Some(message)) => {
                let wire = match protocol {
                    UpstreamProtocol::HttpSse => Wire::HttpSse,
                    _ => Wire::Streamable,
                };
                self.take_stateless(downstream, session, upstream, wire, message)
                    .await
            }
            // `plan` names no other pair.
            _ => Err(Rejection::NotFound.into()),
        }
    }

    /// Gives up a call of a stateless client that waits for what a refused `retry` was to answer: the
    /// backend is told so, and that nobody waits for the call any more.
    pub(super) async fn give_up(
        &self,
        state: &ProxyState,
        headers: &HeaderMap,
        context: &RequestContext,
        mounted: &MountedBackend,
        admitted: Admitted,
        error: &RpcError,
    ) {
        let client_asked = account_doubt::asked(state, mounted, &admitted);
        let Admitted {
            permit,
            lifetime,
            request,
            account,
            ..
        } = admitted;
        let Some(Body::One(retry)) = request.body.map(|body| body.messages) else {
            return;
        };
        let retry = &retry;
        let claims = permit.token().claims();
        let holder = Holder::new(permit.token(), &mounted.backend.mount);
        let states = StateTags::new(&state.sessions, holder);
        let suspended_calls = to_stateful::request_state(retry)
            .and_then(|presented| states.unbind(&presented))
            .and_then(|name| self.suspended_calls.give_up(&name, retry));
        let Some((pending, asked)) = suspended_calls else {
            return;
        };
        let upstream_session = pending.upstream_session.lock().clone();
        let hold = state.budget.hold(None, claims.grant.as_str());
        let caller = (permit, lifetime, account, client_asked);
        let upstream = UpstreamClient::new(state, mounted, context, caller, headers, hold);
        if let (Some(upstream_session), Some(id), Ok(upstream)) =
            (upstream_session, asked.id(), upstream)
        {
            // Dropped then, the call is cancelled.
            let _ = upstream_session
                .notify(&upstream, &Message::error(Some(&id), error))
                .await;
        }
    }
}

fn only_message(body: McpBody) -> Result<Message, Rejection> {
    match body.messages {
        Body::One(message) => Ok(message),
        Body::Batch(_) => {
            let what = "message arrays are not translated for a backend of another revision";
            Err(Rejection::BadMessage(what.to_owned()))
        }
    }
}
