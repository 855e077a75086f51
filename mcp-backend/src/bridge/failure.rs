//! Why a request gets no answer of the process, and what its sender is told.

use std::time::Duration;

use eras::{Id, Message, RpcError, code};

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// No process can be made.
    #[error("the server's process can't be started: {0}")]
    NotStarted(String),
    /// It said hello neither in the one way nor in the other.
    #[error("the server's process did not answer `initialize` within {} s", .0.as_secs())]
    NoHello(Duration),
    /// It ended before it answered.
    #[error("the server's process ended ({0}); it is started again at the next request")]
    Ended(String),
    /// It has ended again and again.
    #[error("the server's process ends soon after each start ({how}); it is started again in {} s", .again.as_secs().max(1))]
    Resting {
        /// How it ended last.
        how: String,
        /// When it will be tried again.
        again: Duration,
    },
    /// It reads nothing.
    #[error("the server's process does not read its input")]
    Deaf,
    /// It has said nothing for too long.
    #[error("the server's process has not answered within {} s; the request is cancelled", .0.as_secs())]
    Silent(Duration),
    /// All places are taken by processes that are busy.
    #[error("too many processes are busy; try again shortly")]
    Full,
    /// The process refused the handshake in words of its own.
    #[error("the server refused the handshake")]
    Refused(RpcError),
}

impl Failure {
    /// The response to the request that can't be answered.
    pub fn response(&self, id: Option<&Id>) -> Message {
        match self {
            Self::Refused(error) => Message::error(id, error),
            other => Message::error(id, &RpcError::new(code::INTERNAL, &other.to_string())),
        }
    }
}
