//! Why the edge refuses a request, and the one match that makes the answer of it: status,
//! challenge (RFC 6750 §3, RFC 9728 §5.1), body, when to come again.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::json;

use self::bearer::BearerError;
use super::account_refusal::AccountRefusal;
use super::call_limits::LimitRefusal;
use super::challenge::Challenge;
use super::headers::SESSION;
use super::in_flight::Full;
use super::lifetime::End;
use super::mcp_error::{RefusedCall, only};
use gateway_core::policy::{Refusal, TokenRejection};
use gateway_core::protocol::web::{self, Response};
use gateway_core::reason::Reason;
use gateway_upstream::Failure;
use mcp_protocol::calls::Call;
use mcp_protocol::{Id, code};

/// Why a request is refused. Facts; what they mean for whom it is answered is
/// [`Rejection::answer`].
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
    Token(#[from] TokenRejection),
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
    #[error("{}", .0.reason().sentence())]
    Account(Box<AccountRefusal>),
    /// Nobody is told: its person is waited for, and the request begins anew.
    #[error("an account at the backend is being connected")]
    AccountAwaited,
    #[error("the account at the backend was disconnected meanwhile")]
    AccountEnded,
    #[error("no key signs tokens")]
    NoSigningKey,
    #[error("{}", .0.sentence())]
    Limit(Box<LimitRefusal>),
    #[error("the audit log can't be written")]
    AuditDown,
    #[error("the gateway shuts down")]
    Leaving,
}

impl Rejection {
    /// What it means for whom it is answered: the one place where that is decided.
    pub(super) fn answer(&self) -> RefusalAnswer<'_> {
        let answer = RefusalAnswer::new;
        match self {
            Self::Ambiguous(what) => {
                answer(StatusCode::BAD_REQUEST, Reason::RequestAmbiguous).in_particular(what)
            }
            Self::AmbiguousPath(what) => {
                answer(StatusCode::BAD_REQUEST, Reason::PathAmbiguous).in_particular(what)
            }
            Self::NotFound => answer(StatusCode::NOT_FOUND, Reason::NotFound),
            Self::Method(allow) => RefusalAnswer {
                allow: Some(allow),
                ..answer(StatusCode::METHOD_NOT_ALLOWED, Reason::MethodNotAllowed)
            },
            Self::Origin(_) => {
                answer(StatusCode::FORBIDDEN, Reason::OriginNotAllowed).with(Detail::Remedy)
            }
            Self::Host => answer(StatusCode::MISDIRECTED_REQUEST, Reason::HostNotOurs),
            Self::NoToken => RefusalAnswer {
                detail: Detail::WhereToLogIn,
                ..RefusalAnswer::of_token(BearerError::NoCredentials, Reason::TokenMissing)
            },
            Self::MalformedToken => {
                RefusalAnswer::of_token(BearerError::InvalidToken, Reason::TokenMalformed)
            }
            Self::Token(TokenRejection::Invalid(reason)) => {
                RefusalAnswer::of_token(BearerError::InvalidToken, *reason)
            }
            Self::Token(TokenRejection::Unknown(reason)) => {
                answer(StatusCode::SERVICE_UNAVAILABLE, *reason).retry_after(2)
            }
            Self::Refused(call) => RefusalAnswer::of_call(call),
            Self::BadMessage(what) => {
                answer(StatusCode::BAD_REQUEST, Reason::MessageMalformed).in_particular(what)
            }
            Self::HeaderMismatch(what, id) => RefusalAnswer {
                body: Body::JsonRpc(id.as_ref(), code::HEADER_MISMATCH),
                ..answer(StatusCode::BAD_REQUEST, Reason::MessageMalformed).in_particular(what)
            },
            Self::MediaType => answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, Reason::MediaTypeWrong),
            Self::Compressed => answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, Reason::BodyCompressed),
            Self::TooLarge => answer(StatusCode::PAYLOAD_TOO_LARGE, Reason::BodyTooLarge),
            Self::TooSlow => answer(StatusCode::REQUEST_TIMEOUT, Reason::BodyTooSlow),
            Self::InFlight(full) => answer(full.status(), Reason::InFlightFull)
                .with(Detail::Limit(full.setting()))
                .retry_after(5),
            Self::SessionUnknown => answer(StatusCode::NOT_FOUND, Reason::SessionUnknown),
            Self::Upstream(failure, id) => RefusalAnswer::of_failure(failure, id.as_ref()),
            Self::UpstreamRedirects | Self::UpstreamUnusable => {
                answer(StatusCode::BAD_GATEWAY, Reason::UpstreamFailed)
            }
            Self::UpstreamRefusedUs => answer(StatusCode::BAD_GATEWAY, Reason::UpstreamRefusedUs),
            Self::Account(refusal) => RefusalAnswer::of_account(refusal),
            Self::AccountAwaited | Self::AccountEnded => {
                answer(StatusCode::FORBIDDEN, Reason::AccountConnectAgain).with(Detail::Remedy)
            }
            Self::Limit(refusal) => RefusalAnswer::of_limit(refusal),
            Self::Unspeakable => answer(StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal),
            Self::NoSigningKey => {
                answer(StatusCode::SERVICE_UNAVAILABLE, Reason::SigningKeyMissing)
                    .with(Detail::Remedy)
                    .retry_after(5)
            }
            Self::AuditDown => {
                answer(StatusCode::SERVICE_UNAVAILABLE, Reason::AuditUnavailable).retry_after(2)
            }
            Self::Leaving => {
                answer(StatusCode::SERVICE_UNAVAILABLE, Reason::Overloaded).retry_after(2)
            }
        }
    }

    /// For log and documentation.
    pub(super) fn reason(&self) -> Reason {
        self.answer().reason
    }

    /// Whether the fault is ours or the backend's rather than the client's.
    pub(super) fn is_fault(&self) -> bool {
        self.answer().status.is_server_error()
    }

    /// The statement of the operator's policy that it rests on; empty where it rests on none.
    pub(super) fn rule(&self) -> String {
        match self {
            Self::Refused(call) => call.refusal().rule().map(ToString::to_string),
            _ => None,
        }
        .unwrap_or_default()
    }

    /// What the audit record says of it: the statement or the limit that it rests on.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::Refused(call) => call.refusal().rule().map(|rule| format!("policy {rule}")),
            Self::Limit(refusal) => refusal.limit().map(|limit| format!("limit {limit}")),
            _ => None,
        }
    }

    /// The call that is refused, if it is one alone.
    pub(super) fn single_call(&self) -> Option<&Call> {
        self.only_call().filter(|call| !call.method.is_empty())
    }

    /// The same, also where it is a response of the client's.
    pub(super) fn only_call(&self) -> Option<&Call> {
        match self {
            Self::Refused(call) => only(&call.refused.calls),
            Self::Account(refusal) => only(&refusal.asked.calls),
            Self::Limit(refusal) => only(&refusal.calls),
            _ => None,
        }
    }

    /// The calls that are refused.
    pub(super) fn calls(&self) -> &[Call] {
        match self {
            Self::Refused(call) => &call.refused.calls,
            Self::Account(refusal) => &refusal.asked.calls,
            Self::Limit(refusal) => &refusal.calls,
            _ => &[],
        }
    }

    /// The setting of the limit that it rests on, or the name of one of calls, if it rests on one.
    pub(super) fn limit(&self) -> Option<&str> {
        match self {
            Self::InFlight(full) => Some(full.setting()),
            Self::Limit(refusal) => refusal.limit(),
            Self::TooLarge => Some("limits.request_body"),
            Self::Upstream(Failure::Full(setting), _) => Some(setting),
            Self::Upstream(Failure::NoFiles(limit), _) => Some(limit),
            _ => None,
        }
    }

    /// Whether the client waits for no answer to what is refused, and is told that it was taken.
    pub(super) fn is_swallowed(&self) -> bool {
        matches!(self, Self::Refused(call) if call.is_swallowed())
    }
}

/// What is answered to a refusal, and what its log line and audit record say of it.
#[derive(Debug)]
pub(super) struct RefusalAnswer<'a> {
    pub(super) status: StatusCode,
    pub(super) reason: Reason,
    /// For what is about the token.
    bearer_error: Option<BearerError<'a>>,
    body: Body<'a>,
    detail: Detail<'a>,
    /// In seconds.
    retry_after: Option<u64>,
    /// The methods that are served.
    allow: Option<&'static str>,
}

/// The form of the body.
#[derive(Debug)]
enum Body<'a> {
    /// An error of HTTP, as OAuth spells it.
    Http,
    /// An error of JSON-RPC, to the request of this id.
    JsonRpc(Option<&'a Id>, i64),
    /// What MCP answers to the refused call; where it has no answer, an error of HTTP.
    Mcp(&'a RefusedCall),
    /// What it answers to a call that can't be made with its person's account there.
    Account(&'a AccountRefusal),
    /// What it answers where a limit is reached.
    Limit(&'a LimitRefusal),
}

/// What is said behind the reason's sentence.
#[derive(Debug)]
enum Detail<'a> {
    Nothing,
    InParticular(&'a str),
    /// This instead of the reason's sentence.
    Words(Cow<'a, str>),
    Limit(&'a str),
    Remedy,
    WhereToLogIn,
}

impl<'a> RefusalAnswer<'a> {
    const fn new(status: StatusCode, reason: Reason) -> Self {
        Self {
            status,
            reason,
            bearer_error: None,
            body: Body::Http,
            detail: Detail::Nothing,
            retry_after: None,
            allow: None,
        }
    }

    fn of_token(error: BearerError<'a>, reason: Reason) -> Self {
        Self {
            bearer_error: Some(error),
            ..Self::new(StatusCode::UNAUTHORIZED, reason)
        }
    }

    fn of_call(call: &'a RefusedCall) -> Self {
        let status = call.status();
        let needed = call.needed_scope();
        Self {
            bearer_error: needed.map(BearerError::InsufficientScope),
            body: Body::Mcp(call),
            detail: match needed {
                Some(_) if !status.is_success() => Detail::Nothing,
                _ => Detail::Remedy,
            },
            retry_after: status.is_server_error().then_some(5),
            ..Self::new(status, call.refusal().reason())
        }
    }

    fn with(self, detail: Detail<'a>) -> Self {
        Self { detail, ..self }
    }

    fn in_particular(self, what: &'a str) -> Self {
        self.with(Detail::InParticular(what))
    }

    fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// As a response. `challenge` is absent where no token would help, because no backend is there.
    pub(super) fn response(&self, challenge: Option<&Challenge>, request_id: &str) -> Response {
        // Nobody waits for it here.
        if self.status == StatusCode::ACCEPTED {
            return web::empty(self.status);
        }
        let mut response = match &self.body {
            Body::JsonRpc(id, code) => {
                web::json(self.status, &self.rpc_error(*id, *code, request_id))
            }
            Body::Mcp(_) | Body::Account(_) | Body::Limit(_) | Body::Http => {
                match self.within_mcp(challenge, request_id) {
                    Some(answer) => web::json(self.status, &answer),
                    None => web::json(self.status, &self.http_error(request_id)),
                }
            }
        };
        if let Body::Account(AccountRefusal { asked, .. }) = &self.body
            && let Some(session) = &asked.session
        {
            response = web::with_header(response, SESSION, session);
        }
        if let Some(allow) = self.allow {
            response = web::with_header(response, ALLOW, allow);
        }
        if let Some(seconds) = self.retry_after {
            response = web::with_retry_after(response, seconds);
        }
        match (challenge, self.bearer_error) {
            (Some(challenge), Some(_)) if !self.status.is_success() => {
                web::with_header(response, WWW_AUTHENTICATE, &self.challenge(challenge))
            }
            _ => response,
        }
    }

    /// As the answer to a request, where that can't be the HTTP status any more.
    pub(super) fn as_error(&self, id: Option<&Id>, request_id: &str) -> serde_json::Value {
        self.rpc_error(id, code::INTERNAL, request_id)
    }

    /// The answer to a refused call, within MCP.
    pub(super) fn within_mcp(
        &self,
        challenge: Option<&Challenge>,
        request_id: &str,
    ) -> Option<serde_json::Value> {
        let call = match self.body {
            Body::Mcp(call) => call,
            Body::Account(refusal) => return refusal.answer(request_id),
            Body::Limit(refusal) => return refusal.answer(&self.description(), request_id),
            Body::Http | Body::JsonRpc(..) => return None,
        };
        // To connect again changes nothing about the operator's policy and scopes.
        let is_final = matches!(call.refusal(), Refusal::Policy(..) | Refusal::Unscoped(_));
        let challenge = challenge
            .filter(|_| !is_final)
            .map(|challenge| self.challenge(challenge));
        call.answer(&self.description(), challenge.as_deref(), request_id)
    }

    fn rpc_error(&self, id: Option<&Id>, code: i64, request_id: &str) -> serde_json::Value {
        json!({
            "jsonrpc": "2.0",
            "id": id,
            "error": {
                "code": code,
                "message": self.description(),
                "data": {"reason": self.reason.code(), "request_id": request_id},
            },
        })
    }

    fn http_error<'r>(&self, request_id: &'r str) -> ErrorBody<'r> {
        let reason = self.reason.code();
        ErrorBody {
            error: self.bearer_error.map_or(reason, BearerError::code),
            error_description: self.description(),
            reason,
            request_id,
        }
    }

    /// RFC 6750 §3: a request without credentials learns no error code.
    fn challenge(&self, challenge: &Challenge) -> String {
        let named = |code| {
            let sentence = self.reason.sentence();
            format!("error=\"{code}\", error_description=\"{sentence}\", ")
        };
        let (error, scope) = match self.bearer_error {
            Some(BearerError::NoCredentials) => (String::new(), &challenge.scope),
            Some(error @ BearerError::InsufficientScope(scope)) => (named(error.code()), scope),
            Some(error @ BearerError::InvalidToken) => (named(error.code()), &challenge.scope),
            None => (named("insufficient_scope"), &challenge.scope),
        };
        format!(
            "Bearer {error}resource_metadata=\"{}\", scope=\"{scope}\"",
            challenge.resource_metadata,
        )
    }

    fn description(&self) -> String {
        let sentence = self.reason.sentence();
        match &self.detail {
            Detail::Nothing => sentence.to_owned(),
            Detail::Words(words) => words.clone().into_owned(),
            Detail::InParticular(what) => format!("{sentence} In particular: {what}."),
            Detail::Limit(setting) => format!("{sentence} The limit is {setting}."),
            Detail::Remedy => format!("{sentence} {}", self.reason.remedy()),
            Detail::WhereToLogIn => format!("{sentence} WWW-Authenticate tells where to log in."),
        }
    }
}

/// What ends an exchange before its answer has begun.
pub(super) fn rejected_by(end: End) -> Rejection {
    match end {
        End::Revoked => Rejection::Token(TokenRejection::Invalid(Reason::GrantRevoked)),
        End::Expired => Rejection::Token(TokenRejection::Invalid(Reason::TokenExpired)),
        End::AccountEnded => Rejection::AccountEnded,
        End::LimitReached | End::Closed | End::Shutdown => Rejection::Leaving,
    }
}

impl From<Full> for Rejection {
    fn from(full: Full) -> Self {
        Self::InFlight(full)
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_description: String,
    reason: &'a str,
    request_id: &'a str,
}

mod bearer;
mod fault;
#[cfg(test)]
mod tests;
