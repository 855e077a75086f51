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
//! Owns: those messages. Not: which of them is sent (`serve`), the right to send them
//! ([`Refused::decline`]).

use bytes::Bytes;
use mcp_protocol::{Object, RpcError};

use super::beside::{read, written};
use gateway_core::policy::{AccessToken, Permit, Refusal, Refused};
use mcp_protocol::calls::Call;

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
pub(super) fn why(refusal: &Refusal) -> RpcError {
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
