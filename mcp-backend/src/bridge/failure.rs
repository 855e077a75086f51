//! Why a request gets no answer of the process, and what its sender is told.

use std::time::Duration;

use mcp_protocol::{Id, Message, RpcError, code};

use crate::bridge::pool::process_slots::LimitScope;

/// What whoever is refused because of a revision can do.
pub const REMEDY: &str =
    "behind the gateway (`gateway serve -- COMMAND`) clients of every revision are served";

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its exit code or signal, or why it was stopped.
    pub how: String,
    /// The last line that it wrote on stderr. For the operator: it may name what clients need not
    /// know.
    pub said: Option<String>,
}

impl End {
    /// It was asked to.
    pub fn stopped() -> Self {
        Self::new("stopped")
    }

    /// In these words.
    pub fn new(how: &str) -> Self {
        Self {
            how: how.to_owned(),
            said: None,
        }
    }

    /// For the operator.
    pub fn in_full(&self) -> String {
        match &self.said {
            Some(said) => format!("{}: {said}", self.how),
            None => self.how.clone(),
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.how)
    }
}

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
    Ended(End),
    /// It has ended again and again.
    #[error("the server's process ends soon after each start ({how}); it is started again in {} s", .again.as_secs().max(1))]
    Resting {
        /// How it ended last.
        how: End,
        /// When it will be tried again.
        again: Duration,
    },
    /// It reads nothing.
    #[error("the server's process does not read its input")]
    Deaf,
    /// It has said nothing for too long.
    #[error("the server's process has not answered within {} s; the request is cancelled", .0.as_secs())]
    Silent(Duration),
    /// All slots are taken by processes that are busy.
    #[error("{}; try again shortly", full(*.0, *.1))]
    Full(LimitScope, usize),
    /// The process refused the handshake in words of its own.
    #[error("the server refused the handshake")]
    Refused(RpcError),
}

fn full(scope: LimitScope, most: usize) -> String {
    match scope {
        LimitScope::All => "too many processes are busy".to_owned(),
        LimitScope::User => {
            format!("{most} processes of this person are busy, the most that one may have")
        }
        LimitScope::Grant => {
            format!("{most} processes of this connection are busy, the most that one may have")
        }
    }
}

impl Failure {
    /// The end of a process that it is about, or itself in words.
    pub fn end(self) -> End {
        match self {
            Self::Ended(end) => end,
            other => End::new(&other.to_string()),
        }
    }

    /// For the operator: with what the process said last.
    pub fn in_full(&self) -> String {
        let said = match self {
            Self::Ended(end) | Self::Resting { how: end, .. } => end.said.as_deref(),
            _ => None,
        };
        match said {
            Some(said) => format!("{self}. Its last line: {said}"),
            None => self.to_string(),
        }
    }

    /// The response to the request that can't be answered.
    pub fn response(&self, id: &Id) -> Message {
        self.response_to(id, false)
    }

    /// The same; the gateway's own look (`is_look`) gets it in full.
    pub fn response_to(&self, id: &Id, is_look: bool) -> Message {
        match self {
            Self::Refused(error) => Message::error(Some(id), error),
            _ => {
                let words = if is_look {
                    self.in_full()
                } else {
                    self.to_string()
                };
                Message::error(Some(id), &RpcError::new(code::INTERNAL, &words))
            }
        }
    }
}
