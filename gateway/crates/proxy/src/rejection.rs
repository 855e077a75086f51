//! Why the edge refuses a request, and the one match that makes the answer of it: status,
//! challenge (RFC 6750 §3, RFC 9728 §5.1), JSON body.

use http::StatusCode;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::json;

use super::challenge::Challenge;
use super::in_flight::Full;
use super::mcp_error::RefusedCall;
use gateway_core::policy::{Refusal, TokenRejection};
use gateway_core::protocol::web::{self, Response};
use gateway_core::reason::Reason;
use gateway_upstream::Failure;
use mcp_protocol::calls::{Call, HEADER_MISMATCH};
use mcp_protocol::jsonrpc::Id;

/// JSON-RPC: internal error.
const INTERNAL: i64 = -32603;

/// Why a request is refused. Facts; what they mean in HTTP is below.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    #[error("{0}")]
    Ambiguous(&'static str),
    #[error("{0}")]
    AmbiguousPath(&'static str),
    #[error("nothing is served here")]
    NotFound,
    #[error("the method is not served here")]
    Method(&'static str),
    #[error("the origin {0} is not allowed")]
    Origin(String),
    #[error("the host is another one")]
    Host,
    #[error("no token")]
    NoToken,
    #[error("malformed token")]
    MalformedToken,
    #[error("{0}")]
    Token(TokenRejection),
    #[error("{}", .0.refusal())]
    Refused(Box<RefusedCall>),
    #[error("{0}")]
    BadMessage(String),
    #[error("{0}")]
    HeaderMismatch(&'static str, Option<Id>),
    #[error("not JSON")]
    MediaType,
    #[error("compressed")]
    Compressed,
    #[error("too large")]
    TooLarge,
    #[error("more would be held at once than {} allows", .0.setting())]
    InFlight(Full),
    #[error("too slow")]
    TooSlow,
    #[error("not this user's session")]
    SessionUnknown,
    #[error("{0}")]
    Upstream(Failure, Option<Id>),
    #[error("the backend asks for authentication")]
    UpstreamRefusedUs,
    #[error("the backend redirects elsewhere")]
    UpstreamRedirects,
    #[error("the backend's answer can't be passed on")]
    UpstreamUnusable,
    #[error("a value for the backend can't be put in a header")]
    Unspeakable,
    #[error("the audit log can't be written")]
    AuditDown,
    #[error("the gateway shuts down")]
    Leaving,
}

impl Rejection {
    /// For log and documentation.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Ambiguous(_) => Reason::RequestAmbiguous,
            Self::AmbiguousPath(_) => Reason::PathAmbiguous,
            Self::NotFound => Reason::NotFound,
            Self::Method(_) => Reason::MethodNotAllowed,
            Self::Origin(_) => Reason::OriginNotAllowed,
            Self::Host => Reason::HostNotOurs,
            Self::NoToken => Reason::TokenMissing,
            Self::MalformedToken => Reason::TokenMalformed,
            Self::Token(TokenRejection::Invalid(reason)) => *reason,
            Self::Token(TokenRejection::Unknown) => Reason::StoreUnavailable,
            Self::Refused(call) => call.refusal().reason(),
            Self::BadMessage(_) | Self::HeaderMismatch(..) => Reason::MessageMalformed,
            Self::MediaType => Reason::MediaTypeWrong,
            Self::Compressed => Reason::BodyCompressed,
            Self::TooLarge => Reason::BodyTooLarge,
            Self::TooSlow => Reason::BodyTooSlow,
            Self::InFlight(_) => Reason::InFlightFull,
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::Upstream(Failure::NoFiles(_), _) => Reason::OpenFilesExhausted,
            Self::Upstream(Failure::Unreachable(_), _) => Reason::UpstreamUnreachable,
            Self::Upstream(Failure::TimedOut("connecting"), _) => Reason::UpstreamUnreachable,
            Self::Upstream(Failure::TimedOut(_), _) => Reason::UpstreamTimeout,
            Self::Upstream(Failure::Full(_), _) => Reason::InFlightFull,
            Self::Upstream(Failure::Limit(_), _) => Reason::TranslationLimit,
            Self::Upstream(..) | Self::UpstreamRedirects | Self::UpstreamUnusable => {
                Reason::UpstreamFailed
            }
            Self::UpstreamRefusedUs => Reason::UpstreamRefusedUs,
            Self::Unspeakable => Reason::Internal,
            Self::AuditDown => Reason::AuditUnavailable,
            Self::Leaving => Reason::Overloaded,
        }
    }

    /// The statement of the operator's policy that it rests on; empty where it rests on none.
    pub(super) fn rule(&self) -> String {
        match self {
            Self::Refused(call) => call.refusal().rule().map(ToString::to_string),
            _ => None,
        }
        .unwrap_or_default()
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Ambiguous(_)
            | Self::AmbiguousPath(_)
            | Self::BadMessage(_)
            | Self::HeaderMismatch(..) => StatusCode::BAD_REQUEST,
            Self::NoToken | Self::MalformedToken | Self::Token(TokenRejection::Invalid(_)) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Token(TokenRejection::Unknown)
            | Self::AuditDown
            | Self::Leaving
            | Self::InFlight(Full::All)
            | Self::Upstream(Failure::NoFiles(_) | Failure::Full(_), _) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::InFlight(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unspeakable => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::Refused(call) => call.status(),
            Self::NotFound | Self::SessionUnknown => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType | Self::Compressed => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Upstream(Failure::TimedOut(_), _) => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(..)
            | Self::UpstreamRefusedUs
            | Self::UpstreamRedirects
            | Self::UpstreamUnusable => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether the fault is ours or the backend's rather than the client's.
    pub(super) fn is_fault(&self) -> bool {
        self.status().is_server_error()
    }

    /// The answer. `challenge` is absent where no token would help, because no backend is there.
    pub(super) fn response(&self, challenge: Option<&Challenge>, request_id: &str) -> Response {
        let status = self.status();
        if status == StatusCode::ACCEPTED {
            return web::empty(status);
        }
        let within = self.answer_within(challenge, request_id);
        let response = match self.rpc_error() {
            None if within.is_some() => web::json(status, &within),
            Some((id, code)) => web::json(status, &self.error(id, code, request_id)),
            None => web::json(
                status,
                &ErrorBody {
                    error: self.error_code().unwrap_or(self.reason().code()),
                    error_description: self.description(),
                    reason: self.reason().code(),
                    request_id,
                },
            ),
        };
        let response = match self {
            Self::Method(allow) => web::with_header(response, ALLOW, allow),
            Self::Token(TokenRejection::Unknown) | Self::AuditDown | Self::Leaving => {
                web::with_retry_after(response, 2)
            }
            Self::Refused(_) if status.is_server_error() => web::with_retry_after(response, 5),
            Self::Upstream(..) | Self::InFlight(_) => web::with_retry_after(response, 5),
            _ => response,
        };
        match (challenge, status) {
            (Some(challenge), StatusCode::UNAUTHORIZED) => {
                web::with_header(response, WWW_AUTHENTICATE, &self.challenge(challenge))
            }
            (Some(challenge), StatusCode::FORBIDDEN) if self.error_code().is_some() => {
                web::with_header(response, WWW_AUTHENTICATE, &self.challenge(challenge))
            }
            _ => response,
        }
    }

    /// As the answer to a request, where that can't be the HTTP status any more.
    pub(super) fn as_error(&self, id: Option<&Id>, request_id: &str) -> serde_json::Value {
        self.error(id, INTERNAL, request_id)
    }

    fn error(&self, id: Option<&Id>, code: i64, request_id: &str) -> serde_json::Value {
        json!({
            "jsonrpc": "2.0",
            "id": id.map_or(json!(null), |id| match id {
                Id::Text(text) => json!(text),
                Id::Number(number) => json!(number),
                Id::Large(number) => json!(number),
            }),
            "error": {
                "code": code,
                "message": self.description(),
                "data": {"reason": self.reason().code(), "request_id": request_id},
            },
        })
    }

    /// The call that is refused, if it is one alone.
    pub(super) fn single_call(&self) -> Option<&Call> {
        self.only_call().filter(|call| !call.method.is_empty())
    }

    /// The same, also where it is a response of the client's.
    pub(super) fn only_call(&self) -> Option<&Call> {
        match self {
            Self::Refused(call) => match call.refused.calls.as_slice() {
                [call] => Some(call),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the client waits for no answer to what is refused, and is told that it was taken.
    pub(super) fn is_swallowed(&self) -> bool {
        matches!(self, Self::Refused(call) if call.is_swallowed())
    }

    /// The answer to a refused call, within MCP.
    pub(super) fn answer_within(
        &self,
        challenge: Option<&Challenge>,
        request_id: &str,
    ) -> Option<serde_json::Value> {
        let Self::Refused(call) = self else {
            return None;
        };
        // To connect again changes nothing about the operator's policy and scopes.
        let is_final = matches!(call.refusal(), Refusal::Policy(..) | Refusal::Unscoped(_));
        let challenge = challenge
            .filter(|_| !is_final)
            .map(|challenge| self.challenge(challenge));
        call.answer(&self.description(), challenge.as_deref(), request_id)
    }

    /// RFC 6750 §3: a request without credentials learns no error code.
    fn challenge(&self, challenge: &Challenge) -> String {
        let error = match self {
            Self::NoToken => String::new(),
            _ => format!(
                "error=\"{}\", error_description=\"{}\", ",
                self.error_code().unwrap_or("insufficient_scope"),
                self.reason().sentence(),
            ),
        };
        let scope = match self {
            Self::Refused(call) => call.needed_scope(),
            _ => None,
        };
        format!(
            "Bearer {error}resource_metadata=\"{}\", scope=\"{}\"",
            challenge.resource_metadata,
            scope.unwrap_or(&challenge.scope),
        )
    }

    /// The code of RFC 6750 §3.1, for what is about the token.
    fn error_code(&self) -> Option<&'static str> {
        match self {
            Self::NoToken | Self::MalformedToken | Self::Token(TokenRejection::Invalid(_)) => {
                Some("invalid_token")
            }
            Self::Refused(call) if call.needed_scope().is_some() => Some("insufficient_scope"),
            _ => None,
        }
    }

    /// What is answered in JSON-RPC: the mismatch that 2026-07-28 has a code for, and a backend's
    /// failure to answer a request whose id is known.
    fn rpc_error(&self) -> Option<(Option<&Id>, i64)> {
        match self {
            Self::HeaderMismatch(_, id) => Some((id.as_ref(), HEADER_MISMATCH)),
            Self::Upstream(_, Some(id)) => Some((Some(id), INTERNAL)),
            _ => None,
        }
    }

    fn description(&self) -> String {
        let sentence = self.reason().sentence();
        match self {
            Self::Ambiguous(what) | Self::AmbiguousPath(what) | Self::HeaderMismatch(what, _) => {
                format!("{sentence} In particular: {what}.")
            }
            Self::BadMessage(what) => format!("{sentence} In particular: {what}."),
            Self::Origin(_) => format!("{sentence} {}", self.reason().remedy()),
            Self::InFlight(full) => format!("{sentence} The limit is {}.", full.setting()),
            Self::Upstream(Failure::Full(setting), _) => {
                format!("{sentence} The limit is {setting}.")
            }
            Self::Upstream(Failure::NoFiles(_), _) => {
                format!("{sentence} {}", self.reason().remedy())
            }
            Self::NoToken => format!("{sentence} WWW-Authenticate tells where to log in."),
            Self::Refused(call) if call.needed_scope().is_none() => {
                format!("{sentence} {}", self.reason().remedy())
            }
            _ => sentence.to_owned(),
        }
    }
}

impl From<Full> for Rejection {
    fn from(full: Full) -> Self {
        Self::InFlight(full)
    }
}

impl From<TokenRejection> for Rejection {
    fn from(rejection: TokenRejection) -> Self {
        Self::Token(rejection)
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_description: String,
    reason: &'a str,
    request_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp_error::Delivery;
    use gateway_core::policy::Refused;
    use gateway_core::protocol::scope::Scope;

    fn challenge() -> Challenge {
        Challenge {
            resource_metadata: "https://h/.well-known/oauth-protected-resource/mcp".to_owned(),
            scope: Scope::parse("mcp"),
        }
    }

    fn header(rejection: &Rejection) -> Option<String> {
        let response = rejection.response(Some(&challenge()), "r1");
        let value = response.headers().get(WWW_AUTHENTICATE)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn without_a_token_the_challenge_names_no_error() {
        assert_eq!(
            header(&Rejection::NoToken).unwrap(),
            "Bearer resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\", scope=\"mcp\""
        );
    }

    #[test]
    fn a_token_that_does_not_count_is_named_as_such() {
        let rejection = Rejection::Token(TokenRejection::Invalid(Reason::TokenExpired));
        assert_eq!(
            header(&rejection).unwrap(),
            "Bearer error=\"invalid_token\", error_description=\"The access token is past its lifetime.\", \
             resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\", scope=\"mcp\""
        );
        assert_eq!(rejection.response(Some(&challenge()), "r1").status(), 401);
    }

    #[test]
    fn a_missing_right_is_403_with_the_scope_that_is_needed() {
        let rejection = Rejection::Refused(Box::new(RefusedCall {
            refused: Refused {
                refusal: Refusal::Scope(Scope::parse("write read")),
                calls: Vec::new(),
            },
            is_stateless: false,
            is_batch: false,
            delivery: Delivery::Response,
        }));
        assert_eq!(rejection.response(Some(&challenge()), "r1").status(), 403);
        let challenge = header(&rejection).unwrap();
        assert!(challenge.starts_with("Bearer error=\"insufficient_scope\", "));
        assert!(challenge.ends_with("/mcp\", scope=\"read write\""));
        assert_eq!(header(&Rejection::Origin("null".to_owned())), None);
    }

    #[test]
    fn a_fault_of_ours_never_looks_like_a_bad_token() {
        for (rejection, status) in [
            (Rejection::Token(TokenRejection::Unknown), 503),
            (
                Rejection::Upstream(Failure::TimedOut("the answer"), None),
                504,
            ),
            (
                Rejection::Upstream(Failure::Unreachable("x".into()), None),
                502,
            ),
            (Rejection::UpstreamRefusedUs, 502),
        ] {
            let response = rejection.response(Some(&challenge()), "r1");
            assert_eq!(response.status(), status);
            assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
            assert!(rejection.is_fault());
        }
    }

    #[test]
    fn every_sentence_of_a_challenge_is_a_quoted_string() {
        for reason in Reason::ALL {
            let sentence = reason.sentence();
            let quotable = |c: char| (' '..='~').contains(&c) && c != '"' && c != '\\';
            assert!(sentence.chars().all(quotable), "{sentence}");
        }
    }

    #[test]
    fn a_header_mismatch_is_answered_with_its_json_rpc_code() {
        let rejection = Rejection::HeaderMismatch("x", Some(Id::Number(3)));
        let response = rejection.response(None, "r1");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                &body["id"],
                &body["error"]["code"]
            ),
            (400, &json!(3), &json!(-32020))
        );
    }
}
