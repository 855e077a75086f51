//! Why a request ends before its answer is complete.

use pingora::Error;

use super::rejection::Rejection;

/// Why a request ends before its answer is complete.
#[derive(Debug)]
pub(super) enum ProxyError {
    /// It is refused; nothing has been written yet.
    Denied(Rejection),
    /// The connection broke, or was broken on purpose because the answer can't be completed.
    Broken(Box<Error>),
}

impl From<Rejection> for ProxyError {
    fn from(rejection: Rejection) -> Self {
        Self::Denied(rejection)
    }
}

impl From<Box<Error>> for ProxyError {
    fn from(error: Box<Error>) -> Self {
        Self::Broken(error)
    }
}
