//! Errors of the OAuth endpoints: RFC 6749 §5.2, RFC 7591 §3.2.2, RFC 8707 §2, RFC 7009 §2.2.1.

use std::fmt;

use http::StatusCode;
use http::header::{HeaderName, WWW_AUTHENTICATE};
use serde_json::json;

use crate::protocol::web::{self, Response};
use crate::reason::Reason;

/// The registered error codes that the gateway uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// The client is unknown or did not authenticate.
    InvalidClient,
    /// The code is invalid, expired, used or another client's.
    InvalidGrant,
    /// The client may not use this grant type.
    UnauthorizedClient,
    /// The grant type is not served.
    UnsupportedGrantType,
    /// The response type is not served.
    UnsupportedResponseType,
    /// The scope is unknown or wider than what was granted.
    InvalidScope,
    /// The resource is unknown or malformed (RFC 8707 §2).
    InvalidTarget,
    /// The resource owner or the server refused.
    AccessDenied,
    /// A login would be needed and none was allowed (OpenID Connect `prompt=none`).
    LoginRequired,
    /// A redirect URI can't be registered (RFC 7591 §3.2.2).
    InvalidRedirectUri,
    /// The client metadata can't be registered (RFC 7591 §3.2.2).
    InvalidClientMetadata,
    /// A fault of ours that passes (RFC 6749 §4.1.2.1; 503 where a status can say it).
    TemporarilyUnavailable,
    /// Too many requests.
    SlowDown,
    /// Nobody has answered yet (RFC 8628 §3.5).
    AuthorizationPending,
    /// The app asks for an answer too often (RFC 8628 §3.5).
    PollSlowDown,
    /// Nobody answered in time (RFC 8628 §3.5).
    ExpiredToken,
}

impl ErrorCode {
    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::SlowDown | Self::PollSlowDown => "slow_down",
            Self::AuthorizationPending => "authorization_pending",
            Self::ExpiredToken => "expired_token",
        }
    }

    /// The status of a direct answer with this code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::SlowDown => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refusal of an OAuth endpoint: the code for the client, the reason for the log, and a sentence
/// that names the value at fault without repeating a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    /// For the client's program.
    pub code: ErrorCode,
    /// For the log and the documentation.
    pub reason: Reason,
    /// For the client's developer. ASCII without quotes or backslashes (RFC 6749 §5.2).
    pub description: String,
    /// For the log alone: what failed inside.
    pub cause: Option<String>,
}

impl OAuthError {
    /// A refusal described by the reason's own sentence.
    pub fn new(code: ErrorCode, reason: Reason) -> Self {
        Self::described(code, reason, reason.sentence())
    }

    /// A refusal with a sentence of its own.
    pub fn described(code: ErrorCode, reason: Reason, description: impl AsRef<str>) -> Self {
        let description = description
            .as_ref()
            .chars()
            .map(|c| match c {
                '"' | '\\' => '\'',
                ' '..='~' => c,
                _ => '?',
            })
            .take(300)
            .collect();
        Self {
            code,
            reason,
            description,
            cause: None,
        }
    }

    /// A fault of ours: 503, never a reason to forget a token or to register anew.
    pub fn fault(reason: Reason, cause: impl fmt::Display) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..Self::new(ErrorCode::TemporarilyUnavailable, reason)
        }
    }

    /// Whether it is our fault and not the client's.
    pub fn is_fault(&self) -> bool {
        self.code == ErrorCode::TemporarilyUnavailable
    }

    /// The direct answer: JSON, `no-store`, the code's status; `Retry-After` where waiting helps;
    /// a Basic challenge for a failed client authentication (RFC 6749 §5.2).
    pub fn to_response(&self) -> Response {
        let body = json!({
            "error": self.code.as_str(),
            "error_description": self.description,
        });
        let response = web::json(self.code.status(), &body);
        let response = web::with_header(response, HeaderName::from_static("pragma"), "no-cache");
        match self.code {
            ErrorCode::TemporarilyUnavailable => web::with_retry_after(response, 2),
            ErrorCode::SlowDown => web::with_retry_after(response, 60),
            ErrorCode::InvalidClient => {
                web::with_header(response, WWW_AUTHENTICATE, "Basic realm=\"token\"")
            }
            _ => response,
        }
    }
}
