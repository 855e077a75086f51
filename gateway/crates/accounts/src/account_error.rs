//! Why there is no credential.

use std::time::Duration;

use gateway_core::reason::Reason;
use gateway_store::{Lapse, StoreError};

/// Why a call can't be made with the person's own account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The person has connected none.
    #[error("{}", Reason::AccountNotConnected.sentence())]
    NotConnected,
    /// It is to be connected again.
    #[error("{}", Reason::AccountConnectAgain.sentence())]
    ConnectAgain(Lapse),
    /// It can't be used for a fault that is not the person's: nothing that they do helps, and waiting does.
    #[error("{}: {detail}", reason.sentence())]
    Unavailable {
        /// Why.
        reason: Reason,
        /// After which time it is worth to ask again.
        retry_after: Duration,
        /// What was met, without any secret.
        detail: String,
    },
}

impl AccountError {
    /// How long is waited after a fault.
    pub(crate) const PAUSE: Duration = Duration::from_secs(5);

    /// The reason to answer and to log.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotConnected => Reason::AccountNotConnected,
            Self::ConnectAgain(_) => Reason::AccountConnectAgain,
            Self::Unavailable { reason, .. } => *reason,
        }
    }

    /// Whether the person can mend it, by connecting an account.
    pub const fn is_for_person(&self) -> bool {
        matches!(self, Self::NotConnected | Self::ConnectAgain(_))
    }
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable {
            reason: error.reason(),
            retry_after: Self::PAUSE,
            detail: error.to_string(),
        }
    }
}
