//! Why a message to a backend did not get through.

use mcp_protocol::{Id, Message, RpcError, code};

use crate::account_refusal::AccountRefusal;
use crate::rejection::Rejection;
use gateway_core::reason::Reason;
use gateway_upstream::Failure;

/// What is said where an exchange with a backend failed that is asked over a session.
pub(crate) const NO_ANSWER: &str = "The backend did not answer as it should";

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
    /// It can't be sent in the name of the person's account there. The backend did nothing wrong.
    Account(Box<AccountRefusal>),
}

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl SessionError {
    /// The response to the request `id`, which it kept from an answer.
    ///
    /// # Errors
    ///
    /// The refusal, which is answered in its own way.
    pub(super) fn response(self, id: &Id) -> Result<Message, Box<AccountRefusal>> {
        match self {
            Self::Declined(error) => Ok(Message::error(Some(id), &error)),
            Self::Account(refusal) => Err(refusal),
            Self::Failed(failure) => Ok(failed(id, &failure)),
            Self::Lost => Ok(failed(id, &lost())),
            Self::Refused(status) => Ok(failed(id, &refused(status))),
        }
    }

    /// As what the client's request comes to; `id`: of that request, where it waits for an answer.
    pub(super) fn rejection(self, id: Option<Id>) -> Rejection {
        let failure = match self {
            Self::Account(refusal) => return Rejection::Account(refusal),
            Self::Failed(failure) => failure,
            Self::Lost => lost(),
            Self::Refused(status) => refused(status),
            Self::Declined(error) => Failure::Broken(format!(
                "it refused `initialize` with error {}",
                error.code()
            )),
        };
        Rejection::Upstream(failure, id)
    }

    /// Whether the backend may be another one than it was: it did not answer as what is known of it says.
    pub(super) const fn casts_doubt(&self) -> bool {
        !matches!(self, Self::Account(_))
    }
}

fn lost() -> Failure {
    Failure::Broken("it forgot the session".to_owned())
}

fn refused(status: u16) -> Failure {
    Failure::Broken(format!("it refused with status {status}"))
}

/// The response where an exchange failed. What failed is in the log; a limit of the gateway's own is
/// not blamed on the backend.
pub(super) fn failed(id: &Id, failure: &Failure) -> Message {
    let (reason, sentence) = match failure {
        Failure::Limit(sentence) => (Reason::TranslationLimit, sentence.clone()),
        Failure::Full(setting) => {
            let reason = Reason::InFlightFull;
            let sentence = reason.sentence();
            (reason, format!("{sentence} The limit is {setting}."))
        }
        _ => (Reason::UpstreamFailed, NO_ANSWER.to_owned()),
    };
    log::warn!(
        event = "exchange_failed", reason = reason.code(), hint = reason.remedy();
        "{failure}"
    );
    Message::error(Some(id), &RpcError::new(code::INTERNAL, &sentence))
}
