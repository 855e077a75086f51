//! Why a login with an identity provider fails, as facts; the page is made where it is answered.

use http::StatusCode;
use url::Url;

use super::settings::Provider;
use crate::error_response::loggable;
use gateway_core::grants::UserId;
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_fetch::FetchError;
use gateway_store::StoreError;

/// Why there is no login.
#[derive(Debug)]
pub(crate) enum Failure {
    /// For this reason. What it is about stands one a line; it may hold what a stranger sent.
    Because(Reason, String),
    /// The provider does not take this code or refresh token, now or later. Its own words.
    GrantGone(String),
    /// The store did not do what was asked.
    Store(StoreError),
}

impl Failure {
    /// One line of the log, with the request and the person as far as they are known.
    pub(super) fn log(
        event: &str,
        provider: &Provider,
        reason: Reason,
        detail: &str,
        request: Option<&Request>,
        user: Option<&UserId>,
    ) {
        let peer = request.map(|request| request.peer.to_string());
        log::warn!(
            event = event, reason = reason, hint = reason.remedy(), provider = provider.name.as_str(),
            user = user.map(UserId::as_str), detail = loggable(detail).as_str(), peer = peer.as_deref(),
            request_id = request.map(|request| request.request_id.as_str());
            "{}", reason.sentence()
        );
    }

    pub(super) fn because(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Because(reason, detail.into())
    }

    /// The reason and what it is about.
    pub(crate) fn explained(self) -> Result<(Reason, String), StoreError> {
        match self {
            Self::Because(reason, detail) => Ok((reason, detail)),
            Self::GrantGone(detail) => Ok((Reason::ProviderRefused, detail)),
            Self::Store(error) => Err(error),
        }
    }

    /// What a token endpoint says with an error (RFC 6749 §5.2, §4.1.2.1).
    pub(super) fn of_token_endpoint(error: Option<&str>, described: Option<&str>) -> Self {
        let said = error.unwrap_or("refused without saying why");
        let described = described.unwrap_or_default();
        let detail = format!("the token endpoint said: {said}\n{described}");
        match error {
            Some("invalid_grant") => Self::GrantGone(detail),
            // The last is GitHub's.
            Some("invalid_client" | "unauthorized_client" | "incorrect_client_credentials") => {
                Self::Because(Reason::ProviderClientRefused, detail)
            }
            Some("temporarily_unavailable" | "server_error") => {
                Self::Because(Reason::ProviderUnreachable, detail)
            }
            _ => Self::Because(Reason::ProviderRefused, detail),
        }
    }

    /// `what` could not be had: the one rule for everything that a provider is asked.
    pub(super) fn of_fetch(what: &str, error: &FetchError) -> Self {
        let reason = match error {
            FetchError::NoFiles(_) => Reason::OpenFilesExhausted,
            FetchError::Busy => Reason::Overloaded,
            // It is there, and has no time.
            FetchError::Status(StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) => {
                Reason::ProviderUnreachable
            }
            FetchError::Status(status) if status.is_client_error() => Reason::ProviderRefused,
            FetchError::Status(status) if !status.is_server_error() => {
                Reason::ProviderAnswerInvalid
            }
            FetchError::MediaType | FetchError::TooLarge => Reason::ProviderAnswerInvalid,
            _ => Reason::ProviderUnreachable,
        };
        Self::Because(reason, format!("{what}: {error}"))
    }

    /// The same for what a provider says of itself: an answer that is no use is a wrong document.
    pub(super) fn of_document(url: &Url, error: &FetchError) -> Self {
        match Self::of_fetch(url.as_str(), error) {
            Self::Because(Reason::ProviderRefused | Reason::ProviderAnswerInvalid, detail) => {
                Self::Because(Reason::ProviderDocumentInvalid, detail)
            }
            failure => failure,
        }
    }

    /// The status of the page.
    pub(super) const fn status(reason: Reason) -> StatusCode {
        match reason {
            Reason::OpenFilesExhausted | Reason::Overloaded | Reason::ProviderClientRefused => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Reason::ProviderUnreachable
            | Reason::ProviderDocumentInvalid
            | Reason::ProviderAnswerInvalid => StatusCode::BAD_GATEWAY,
            Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Reason::IdentityTaken => StatusCode::CONFLICT,
            Reason::LoginStateUnknown | Reason::RequestMalformed => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether for this reason a provider could not be asked, through no fault of the person's: who waits
/// for its answer is told to wait, and not to log in, which would fail as well.
pub(crate) const fn is_absence(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ProviderUnreachable
            | Reason::ProviderClientRefused
            | Reason::Overloaded
            | Reason::OpenFilesExhausted
    )
}

/// Whether for this reason nothing is wrong with what was presented: the provider or the gateway could
/// not say.
pub(crate) const fn is_fault(reason: Reason) -> bool {
    matches!(
        Failure::status(reason),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE
    )
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_grant_that_is_gone_is_forgotten_and_our_own_fault_is_said_to_be_ours() {
        let of = |error| match Failure::of_token_endpoint(error, None) {
            Failure::GrantGone(_) => None,
            Failure::Because(reason, _) => Some(reason),
            Failure::Store(error) => panic!("{error}"),
        };
        assert_eq!(of(Some("invalid_grant")), None);
        for (error, reason) in [
            (Some("invalid_client"), Reason::ProviderClientRefused),
            (Some("unauthorized_client"), Reason::ProviderClientRefused),
            (Some("temporarily_unavailable"), Reason::ProviderUnreachable),
            (Some("server_error"), Reason::ProviderUnreachable),
            (Some("invalid_request"), Reason::ProviderRefused),
            (None, Reason::ProviderRefused),
        ] {
            assert_eq!(of(error), Some(reason), "{error:?}");
        }
    }

    #[test]
    fn who_refuses_is_not_away() {
        let of = |error: FetchError| {
            let url = Url::parse("https://login.example.com/x").unwrap();
            let reasons = [
                Failure::of_fetch("x", &error),
                Failure::of_document(&url, &error),
            ];
            reasons.map(|failure| failure.explained().unwrap().0)
        };
        use Reason::{
            ProviderAnswerInvalid, ProviderDocumentInvalid, ProviderRefused, ProviderUnreachable,
        };
        for status in [400, 401, 403, 404] {
            let status = FetchError::Status(StatusCode::from_u16(status).unwrap());
            assert_eq!(of(status), [ProviderRefused, ProviderDocumentInvalid]);
        }
        for status in [408, 429, 500, 503] {
            let status = FetchError::Status(StatusCode::from_u16(status).unwrap());
            assert_eq!(of(status), [ProviderUnreachable; 2]);
        }
        let expected = [ProviderAnswerInvalid, ProviderDocumentInvalid];
        assert_eq!(of(FetchError::Status(StatusCode::FOUND)), expected);
        assert_eq!(of(FetchError::MediaType), expected);
        assert_eq!(of(FetchError::TooSlow), [ProviderUnreachable; 2]);
    }
}
