//! Why a login with an identity provider fails, as facts; the page is made where it is answered.

use http::StatusCode;

use crate::fetch::FetchError;
use gateway_core::reason::Reason;
use gateway_store::StoreError;

/// Why there is no login.
#[derive(Debug)]
pub(crate) enum Failure {
    /// For this reason. What it is about stands one a line; it may hold what a stranger sent.
    Because(Reason, String),
    /// The store did not do what was asked.
    Store(StoreError),
}

impl Failure {
    pub(super) fn because(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Because(reason, detail.into())
    }

    /// `what` could not be had.
    pub(super) fn unreachable(what: &str, error: &FetchError) -> Self {
        let reason = match error {
            FetchError::NoFiles(_) => Reason::OpenFilesExhausted,
            FetchError::Busy => Reason::Overloaded,
            _ => Reason::ProviderUnreachable,
        };
        Self::Because(reason, format!("{what}: {error}"))
    }

    /// The status of the page.
    pub(super) const fn status(reason: Reason) -> StatusCode {
        match reason {
            Reason::OpenFilesExhausted | Reason::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Reason::ProviderUnreachable
            | Reason::ProviderDocumentInvalid
            | Reason::ProviderAnswerInvalid => StatusCode::BAD_GATEWAY,
            Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Reason::IdentityTaken => StatusCode::CONFLICT,
            Reason::LoginStateUnknown => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
