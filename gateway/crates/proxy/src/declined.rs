//! What a backend is told where a client's answer to its question is refused. It would wait for that
//! answer until its own patience ends, and its call, its client and a person before it would wait with it.
//! So it hears at once that nobody answers, in the words of JSON-RPC and of the gateway; of what the
//! client said nothing goes on.
//!
//! | the answer comes | the backend is told |
//! |---|---|
//! | as a message of its own (2024-11-05 to 2025-11-25) | an error under the id of its question, where the answer would have gone |
//! | in a batch with calls (2025-03-26) | the same, and the client is told that its calls are refused |
//! | with a call that comes again (2026-07-28), for a backend with sessions | the same, and that nobody waits for the call any more |
//! | so, for a backend of 2026-07-28 | nothing: it waits for nothing |
//!
//! Owns: those messages, and which of them is sent. Not: the right to send them
//! ([`Refused::decline`]).

use std::time::Duration;

use bytes::Bytes;
use mcp_protocol::{Message, Object, RpcError};
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::admission::Admitted;
use super::audit::AdmissionEvent;
use super::beside::{read, written};
use super::compat::TranslationPlan;
use super::context::{ProxyError, RequestContext};
use super::mounted_backend::MountedBackend;
use super::peer;
use super::rejection::Rejection;
use super::state::ProxyState;
use gateway_core::policy::{AccessToken, Permit, Refusal, Refused};
use mcp_protocol::calls::Call;

/// The client's own answer does not wait for longer until the backend has taken this.
const PATIENCE: Duration = Duration::from_secs(5);

/// *Method not found*: what a client says that does not answer such questions (JSON-RPC 2.0 §5.1).
const METHOD_NOT_FOUND: i64 = -32601;

/// *Internal error*, where it could not be decided.
const INTERNAL: i64 = -32603;

/// What is sent instead of a refused request.
pub(super) struct Declined {
    pub(super) permit: Permit,
    pub(super) body: Bytes,
}

impl Declined {
    /// What a refused request means for a backend that waits for something in it; `None` where none
    /// does. `body` is that of the request, with the backend's own names in it.
    pub(super) fn of(
        refused: &Refused,
        token: &AccessToken,
        body: &Bytes,
        is_stateless: bool,
    ) -> Option<Self> {
        let has_answers = refused.calls.iter().any(Call::is_asked_for);
        // Whether anything waits for it only the translation knows.
        let comes_again = is_stateless && refused.calls.iter().any(|call| call.tool().is_some());
        if !has_answers && !comes_again {
            return None;
        }
        let body = match has_answers {
            true => Bytes::from(errors(body, &refused.calls, &why(&refused.refusal))?),
            false => body.clone(),
        };
        let permit = refused.decline(token.clone())?;
        Some(Self { permit, body })
    }
}

/// How the backend is told why.
fn why(refusal: &Refusal) -> RpcError {
    let code = match refusal {
        Refusal::Policy(_, decision) if decision.is_failed() => INTERNAL,
        _ => METHOD_NOT_FOUND,
    };
    RpcError::new(code, "What this asks for is not answered here")
}

/// An error for each answer in a body.
fn errors(body: &Bytes, calls: &[Call], error: &RpcError) -> Option<String> {
    let (messages, is_batch) = read(std::str::from_utf8(body).ok()?)?;
    if messages.len() != calls.len() {
        return None;
    }
    let answers = messages
        .iter()
        .zip(calls)
        .filter(|(_, call)| call.is_asked_for());
    let errors = answers
        .map(|(message, _)| {
            let id = message.raw("id")?;
            let told = Object::new().with("jsonrpc", "2.0").with("id", id);
            Some(told.with("error", &error.object()))
        })
        .collect::<Option<Vec<Object>>>()?;
    Some(written(&errors, is_batch))
}

impl ProxyState {
    /// Sees to it that the backend is told. Where the client waits for no answer of its own, what is left to
    /// do is the exchange of what is given back; else the denial is its answer.
    pub(super) async fn decline(
        &self,
        session: &mut ServerSession,
        context: &RequestContext,
        mounted: &MountedBackend,
        plan: &TranslationPlan,
        admitted: Admitted,
        rejection: Rejection,
    ) -> Result<Admitted, ProxyError> {
        if rejection.is_swallowed() {
            let refused = AdmissionEvent::Refused {
                rejection: &rejection,
                status: 202,
                head: session.req_header(),
                peer: peer::address_of(session, &self.settings.trusted_proxies),
            };
            let (backend, now) = (&mounted.backend.mount.name, self.clock.now());
            // It is refused already, whether or not the audit log can be written.
            let _ = self.admissions.tell(&refused, context, backend, now);
            return Ok(admitted);
        }
        let head = session.req_header().clone();
        let told = async {
            match plan {
                TranslationPlan::Through if !admitted.permit.calls().is_empty() => {
                    self.tell(&head, mounted, &admitted).await;
                }
                TranslationPlan::Stateless(_) => {
                    let text = std::str::from_utf8(admitted.body.as_deref().unwrap_or_default());
                    let message = text.ok().and_then(|text| Message::parse(text).ok());
                    if let (Some(message), Rejection::Refused(call)) = (message, &rejection) {
                        let error = why(call.refusal());
                        let headers = &head.headers;
                        self.give_up(headers, mounted, admitted.permit, &message, &error)
                            .await;
                    }
                }
                _ => {}
            }
        };
        // It is refused all the same where the backend takes nothing: its own patience is left then.
        let _ = timeout(PATIENCE, told).await;
        Err(rejection.into())
    }
}
