//! Why a message over a session did not get through.

use mcp_protocol::{Id, Message, RpcError};

use super::stateless_upstream::failed;
use gateway_upstream::Failure;

/// Why a message did not get through.
#[derive(Debug)]
pub(super) enum SessionError {
    /// The backend no longer knows the session: a new one is needed. It ran nothing.
    Lost,
    /// The exchange failed.
    Failed(Failure),
    /// The backend refused with this status, in words that are not MCP.
    Refused(u16),
    /// The backend refused `initialize` in words of MCP: its error.
    Declined(RpcError),
}

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl SessionError {
    /// The response to the request `id`, which it kept from an answer.
    pub(super) fn response(self, id: &Id) -> Message {
        match self {
            Self::Declined(error) => Message::error(Some(id), &error),
            other => failed(id, &other.failure()),
        }
    }

    /// As a failure of the backend.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Lost => Failure::Broken("it forgot the session".to_owned()),
            Self::Refused(status) => Failure::Broken(format!("it refused with status {status}")),
            Self::Declined(error) => Failure::Broken(format!(
                "it refused `initialize` with error {}",
                error.code()
            )),
        }
    }
}
