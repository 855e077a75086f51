//! What a challenge says of a token.

use gateway_core::protocol::scope::Scope;

/// What a challenge says of the token (RFC 6750 §3).
#[derive(Clone, Copy, Debug)]
pub(super) enum BearerError<'a> {
    /// There is none; a challenge then names no error.
    NoCredentials,
    InvalidToken,
    /// The scope that would be enough.
    InsufficientScope(&'a Scope),
}

impl BearerError<'_> {
    /// The code of RFC 6750 §3.1.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::NoCredentials | Self::InvalidToken => "invalid_token",
            Self::InsufficientScope(_) => "insufficient_scope",
        }
    }
}
