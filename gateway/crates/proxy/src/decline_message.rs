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

use mcp_protocol::jsonrpc::Body;
use mcp_protocol::{Message, RpcError, code};

use super::request::{McpBody, McpRequest};
use gateway_core::policy::{AccessToken, Permit, Refusal, Refused};
use mcp_protocol::calls::Call;

/// What is sent instead of a refused request.
pub(super) struct DeclineMessage {
    pub(super) permit: Permit,
    pub(super) body: McpBody,
}

impl DeclineMessage {
    /// What a refused request, with the backend's own names in it, means for a backend that waits for
    /// something in it; `None` where none does.
    pub(super) fn new(
        refused: &Refused,
        token: &AccessToken,
        request: &McpRequest,
    ) -> Option<Self> {
        let body = request.body.as_ref()?;
        let has_answers = refused.calls.iter().any(Call::is_asked_for);
        // Whether anything waits for it only the translation knows.
        let comes_again =
            request.is_stateless && refused.calls.iter().any(|call| call.tool().is_some());
        if !has_answers && !comes_again {
            return None;
        }
        let body = if has_answers {
            errors(&body.messages, &refused.calls, &why(&refused.refusal))
        } else {
            body.clone()
        };
        let permit = refused.decline(token.clone())?;
        Some(Self { permit, body })
    }
}

/// How the backend is told why: as a client does that does not answer such questions; or that of an internal
/// error, where it could not be decided.
pub(super) fn why(refusal: &Refusal) -> RpcError {
    let code = match refusal {
        Refusal::Policy(_, decision) if decision.is_failed() => code::INTERNAL,
        _ => code::METHOD_NOT_FOUND,
    };
    RpcError::new(code, "What this asks for is not answered here")
}

/// An error for each answer in a body.
fn errors(messages: &Body, calls: &[Call], error: &RpcError) -> McpBody {
    let answers = messages
        .messages()
        .iter()
        .zip(calls)
        .filter(|(_, call)| call.is_asked_for());
    let mut errors = answers.map(|(message, _)| Message::error(message.id().as_ref(), error));
    let messages = match (messages, errors.next()) {
        (Body::One(_), Some(error)) => Body::One(error),
        (_, first) => Body::Batch(first.into_iter().chain(errors).collect()),
    };
    McpBody {
        bytes: messages.to_bytes(),
        messages,
    }
}
