//! Why an access token is refused.

use crate::reason::Reason;

/// Why a token is refused. All of them are 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No Biscuit, or one of ours that lacks a fact.
    #[error("malformed")]
    Malformed,
    /// Not signed with the key that it names.
    #[error("bad signature")]
    BadSignature,
    /// It names a key that is not here.
    #[error("unknown key")]
    UnknownKey,
    /// A block that was appended is none of those that are taken.
    #[error("an appended block that is not of the closed form")]
    Attenuation,
}

impl TokenError {
    /// For the log.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed => Reason::TokenMalformed,
            Self::BadSignature => Reason::TokenBadSignature,
            Self::UnknownKey => Reason::TokenKeyUnknown,
            Self::Attenuation => Reason::TokenNarrowingRefused,
        }
    }
}
