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

    /// A fault that is asked about again after this pause.
    pub(crate) fn after(retry_after: Duration, reason: Reason, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::Unavailable {
            reason,
            retry_after,
            detail,
        }
    }

    /// A fault that may be over in a moment.
    pub(crate) fn passing(reason: Reason, detail: impl Into<String>) -> Self {
        Self::after(Self::PAUSE, reason, detail)
    }

    /// Nobody can mend it by connecting: what is exchanged is nobody's to connect.
    pub(crate) fn exchange_refused() -> Self {
        let detail = "the backend refuses what its authorization server gave for who calls";
        Self::passing(Reason::AccountRefused, detail)
    }

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
        Self::passing(error.reason(), error.to_string())
    }
}
