//! Why a backend's tools are not known.

use std::time::Duration;

use super::account::NoAccount;
use super::connection::Failure;

/// Why a backend's tools are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// There is no backend of this name.
    #[error("no backend has this name")]
    UnknownBackend,
    /// The exchange failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It is called with everybody's own account there, and there is none to ask in the name of.
    #[error("no account there to ask in the name of: {0}")]
    NoAccount(#[from] NoAccount),
    /// It has not answered yet.
    #[error("the backend has not answered within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// Its program does not run, in the words of the bridge before it.
    #[error("{0}")]
    NotRunning(String),
    /// It refused, with this status.
    #[error("the backend refused with status {0}")]
    Refused(u16),
    /// It answers, but its list of tools is none.
    #[error("the backend's answer to tools/list can't be read: {0}")]
    BadList(&'static str),
    /// It answers, but not what MCP says.
    #[error("the backend was not understood: {0}")]
    NotUnderstood(String),
}
