//! Why a message over a session did not get through.

use mcp_protocol::{Id, Message, RpcError, code};

use gateway_core::reason::Reason;
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

/// The response where an exchange failed. What failed is in the log; a limit of the gateway's own is
/// not blamed on the backend.
pub(super) fn failed(id: &Id, failure: &Failure) -> Message {
    let (reason, sentence) = match failure {
        Failure::Limit(sentence) => (Reason::TranslationLimit, sentence.clone()),
        Failure::Account(reason, sentence) => (*reason, sentence.clone()),
        Failure::Full(setting) => {
            let reason = Reason::InFlightFull;
            let sentence = reason.sentence();
            (reason, format!("{sentence} The limit is {setting}."))
        }
        _ => (
            Reason::UpstreamFailed,
            "The backend did not answer as it should".to_owned(),
        ),
    };
    log::warn!(
        event = "exchange_failed", reason = reason.code(), hint = reason.remedy();
        "{failure}"
    );
    Message::error(Some(id), &RpcError::new(code::INTERNAL, &sentence))
}
