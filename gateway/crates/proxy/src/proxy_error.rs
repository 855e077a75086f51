//! Why a request ends before its answer is complete.

use pingora::Error;

use super::rejection::Rejection;

/// Why a request ends before its answer is complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It is refused; nothing has been written yet.
    #[error(transparent)]
    Denied(#[from] Rejection),
    /// The connection broke, or was broken on purpose because the answer can't be completed.
    #[error(transparent)]
    Broken(#[from] Box<Error>),
}
