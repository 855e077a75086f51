//! Why an authorization server gave nothing, as facts.

use gateway_core::reason::Reason;
use gateway_fetch::FetchError;
use gateway_store::StoreError;
use http::StatusCode;
use url::Url;

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// For this reason. What it is about stands one a line; it may hold what a stranger sent, and no
    /// secret.
    Because(Reason, String),
    /// The authorization server does not take this code or refresh token, now or later. Its error code.
    GrantGone(String),
    /// It does not take the gateway for the client that it says it is. Its error code.
    ClientGone(String),
    /// The store did not do what was asked.
    Store(StoreError),
}

impl Failure {
    pub(crate) fn because(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Because(reason, detail.into())
    }

    /// What it says of itself or the backend of it is no use.
    pub(crate) fn unusable(detail: impl Into<String>) -> Self {
        Self::because(Reason::AccountServerUnusable, detail)
    }

    /// What it answered there is no use.
    pub(crate) fn invalid_answer(at: &Url, what: &str) -> Self {
        Self::because(Reason::AccountAnswerInvalid, format!("{at}: {what}"))
    }

    /// The reason and what it is about.
    ///
    /// # Errors
    ///
    /// What the store met.
    pub fn explained(self) -> Result<(Reason, String), StoreError> {
        match self {
            Self::Because(reason, detail) => Ok((reason, detail)),
            Self::GrantGone(detail) | Self::ClientGone(detail) => {
                Ok((Reason::AccountRefused, detail))
            }
            Self::Store(error) => Err(error),
        }
    }

    /// What a token endpoint says with an error (RFC 6749 §5.2).
    pub(crate) fn of_token_endpoint(error: Option<&str>) -> Self {
        let detail = format!("the token endpoint said: {}", code(error));
        match error {
            // The last ones are GitHub's and Slack's.
            Some(
                "invalid_grant"
                | "bad_refresh_token"
                | "bad_verification_code"
                | "invalid_refresh_token"
                | "token_revoked",
            ) => Self::GrantGone(detail),
            Some("invalid_client" | "unauthorized_client" | "incorrect_client_credentials") => {
                Self::ClientGone(detail)
            }
            Some("temporarily_unavailable" | "server_error") => {
                Self::because(Reason::AccountServerUnreachable, detail)
            }
            _ => Self::because(Reason::AccountRefused, detail),
        }
    }

    /// `what` could not be had.
    pub(crate) fn of_fetch(what: &Url, error: &FetchError) -> Self {
        let reason = match error {
            FetchError::NoFiles(_) => Reason::OpenFilesExhausted,
            FetchError::Busy => Reason::Overloaded,
            FetchError::Status(StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) => {
                Reason::AccountServerUnreachable
            }
            FetchError::Status(status) if status.is_client_error() => Reason::AccountRefused,
            FetchError::Status(status) if !status.is_server_error() => Reason::AccountAnswerInvalid,
            FetchError::MediaType | FetchError::TooLarge => Reason::AccountAnswerInvalid,
            FetchError::Scheme | FetchError::Address => Reason::AccountServerUnusable,
            _ => Reason::AccountServerUnreachable,
        };
        // Neither query nor fragment: they may hold what nobody is to read.
        let mut plain = what.clone();
        plain.set_query(None);
        let advice = match error {
            FetchError::Address => {
                "\nwhere that is meant, say backend.account.issuer or its endpoints: what the operator writes may have a private address"
            }
            _ => "",
        };
        Self::because(reason, format!("{plain}: {error}{advice}"))
    }

    /// Whether waiting helps, and nothing is wrong with what was presented.
    pub(crate) const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Because(
                Reason::AccountServerUnreachable
                    | Reason::UpstreamUnreachable
                    | Reason::Overloaded
                    | Reason::OpenFilesExhausted,
                _
            ) | Self::Store(_)
        )
    }
}

/// The code of an error, as it may be logged and shown. Its description is not: a server may repeat in it what
/// it was sent, which is a code, a token or a secret.
pub(crate) fn code(said: Option<&str>) -> &str {
    /// No code that anybody defined is longer.
    const LONGEST: usize = 64;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match said {
        None => "nothing",
        Some(said) if said.len() <= LONGEST && !said.is_empty() && said.bytes().all(is_plain) => {
            said
        }
        Some(_) => "what is no error code",
    }
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
    fn of_what_a_server_says_of_its_refusal_a_code_alone_is_told() {
        for said in ["invalid_grant", "urn.example.no-way"] {
            assert_eq!(code(Some(said)), said);
        }
        assert_eq!(code(None), "nothing");
        for said in [
            "",
            "the refresh token rt hunter2 is unknown",
            "a\nb",
            "rt=hunter2",
            "\u{202e}code",
            &"x".repeat(65),
        ] {
            assert_eq!(code(Some(said)), "what is no error code", "{said}");
        }
    }

    #[test]
    fn only_a_grant_that_is_gone_is_forgotten_and_who_is_away_does_not_refuse() {
        let of = Failure::of_token_endpoint;
        assert!(matches!(of(Some("invalid_grant")), Failure::GrantGone(_)));
        assert!(matches!(of(Some("invalid_client")), Failure::ClientGone(_)));
        assert!(of(Some("server_error")).is_absence());
        for error in [Some("invalid_request"), Some("access_denied"), None] {
            let failure = of(error);
            assert!(!failure.is_absence(), "{failure:?}");
            assert!(matches!(
                failure,
                Failure::Because(Reason::AccountRefused, _)
            ));
        }
        let url = Url::parse("https://as.example/token?code=hunter2").expect("it is a URL");
        for error in [
            FetchError::TooSlow,
            FetchError::Connection,
            FetchError::Name,
        ] {
            assert!(Failure::of_fetch(&url, &error).is_absence(), "{error}");
        }
        for status in [500, 502, 503, 429] {
            let status = StatusCode::from_u16(status).expect("it is a status");
            assert!(Failure::of_fetch(&url, &FetchError::Status(status)).is_absence());
        }
        let refused = Failure::of_fetch(&url, &FetchError::Address);
        assert!(!refused.is_absence() && !format!("{refused:?}").contains("hunter2"));
    }
}
