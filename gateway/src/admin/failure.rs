//! How a request of the operator's fails: one reason, one sentence, one status.

use std::borrow::Cow;

use http::StatusCode;

use super::outcome::Subject;
use crate::operator_api::{self, QueryError};
use gateway_core::protocol::web::{self, Response};
use gateway_core::reason::Reason;
use gateway_oauth::identity::Overloaded;
use gateway_oauth::revoke_all::CutOff;
use gateway_store::StoreError;
use gateway_store::journal::Unwritable;

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) sentence: String,
    /// What the operator can do; `None` where nothing is to be added.
    remedy: Option<Cow<'static, str>>,
    /// What it concerned, where that is known: part of it may have been done.
    about: Option<Box<Subject>>,
}

impl Failure {
    pub(super) fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        // That of a path that leads nowhere is for people who look for an MCP server.
        let remedy = (reason != Reason::NotFound).then(|| reason.remedy().into());
        Self {
            reason,
            sentence: sentence.into(),
            remedy,
            about: None,
        }
    }

    /// What the operator can do; empty where nothing is to be added.
    pub(super) fn remedy(&self) -> &str {
        self.remedy.as_deref().unwrap_or_default()
    }

    /// The same failure, of an operation that concerned this.
    #[must_use]
    pub(super) fn about(self, about: &Subject) -> Self {
        Self {
            about: Some(Box::new(about.clone())),
            ..self
        }
    }

    /// Makes a failure of an error of an operation that concerned this.
    pub(super) fn of<E: Into<Self>>(about: &Subject) -> impl Fn(E) -> Self {
        move |error| {
            let failure: Self = error.into();
            failure.about(about)
        }
    }

    /// What it concerned, as far as that is known.
    pub(super) fn concerned(&self) -> Subject {
        self.about.as_deref().cloned().unwrap_or_default()
    }

    /// How many grants were revoked, where none can have been missed; else what was done, and that it may
    /// not be all.
    pub(super) fn unless_complete(cut: CutOff, done: &str, about: &Subject) -> Result<usize, Self> {
        let revoked = cut.grants;
        cut.complete().map_err(|error| {
            let sentence = format!(
                "{done} and {revoked} grants revoked, but a record that may belong to it is left: {error}"
            );
            Self::new(error.reason(), sentence).about(about)
        })
    }

    /// There is no such one; the command `lists` says which there are.
    pub(super) fn unknown(what: &str, id: &str, lists: &str) -> Self {
        Self {
            remedy: Some(format!("`gateway {lists}` says which there are.").into()),
            ..Self::new(Reason::NotFound, format!("there is no {what} {id:?}"))
        }
    }

    pub(super) fn malformed(sentence: impl Into<String>) -> Self {
        Self::new(Reason::RequestMalformed, sentence)
    }

    pub(super) const fn status(&self) -> StatusCode {
        match self.reason {
            Reason::AdminTokenWrong => StatusCode::UNAUTHORIZED,
            Reason::AdminRequestForeign => StatusCode::FORBIDDEN,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Reason::MediaTypeWrong => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Reason::UserExists
            | Reason::InConfiguration
            | Reason::LastWayIn
            | Reason::LastSigningKey
            | Reason::KeysFolderUnwritable
            | Reason::UserDisabled
            | Reason::ProviderDecides
            | Reason::PasswordLoginOff => StatusCode::CONFLICT,
            Reason::RequestMalformed | Reason::PasswordTooWeak => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether it is ours.
    pub(super) fn is_fault(&self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    pub(super) fn to_response(&self) -> Response {
        let body = operator_api::Refusal {
            error: self.reason.code().to_owned(),
            message: self.sentence.clone(),
            remedy: self.remedy.as_deref().map(str::to_owned),
        };
        let response = web::json(self.status(), &body);
        if self.is_fault() {
            web::with_retry_after(response, 2)
        } else {
            response
        }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.sentence())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

impl From<Unwritable> for Failure {
    fn from(error: Unwritable) -> Self {
        Self::new(Reason::AuditUnavailable, error.to_string())
    }
}

impl From<Overloaded> for Failure {
    fn from(error: Overloaded) -> Self {
        Self::new(Reason::Overloaded, error.to_string())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::malformed(error.to_string())
    }
}
