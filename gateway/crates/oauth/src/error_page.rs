//! The error page: names what was wrong, why, and what to do next; never redirects. And how a form
//! that is not taken ends there.

use http::StatusCode;

use crate::audited::audited;
use crate::identity::Overloaded;
use crate::pages::{self, Refusal};
use crate::server::Settings;
use crate::{browser, error_response};
use gateway_core::audit::{Event, Record};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_store::StoreError;
use gateway_store::journal::Unwritable;

/// An error page. `detail` names the values that were wrong, one a line; it may hold what a
/// stranger sent. A status of 503 or 429 carries `Retry-After`.
pub fn page(
    settings: &Settings,
    request: &Request,
    status: StatusCode,
    reason: Reason,
    detail: Option<&str>,
) -> Response {
    explained(settings, request, status, reason, detail, None)
}

/// An error page with a link that opens the page of `authorization_request` again, where there is one.
pub(super) fn explained(
    settings: &Settings,
    request: &Request,
    status: StatusCode,
    reason: Reason,
    detail: Option<&str>,
    authorization_request: Option<&str>,
) -> Response {
    let page = Refusal {
        frame: browser::frame(settings, request),
        status,
        reason,
        detail,
        reopen: authorization_request,
    }
    .page();
    let response = pages::respond(status, page, settings.issuer.is_https());
    let record = Record::refused(Event::Page, reason, status.is_server_error());
    let response = audited(response, record);
    if status == StatusCode::TOO_MANY_REQUESTS {
        web::with_retry_after(response, 60)
    } else {
        response
    }
}

/// The page of a form that is not taken, which is logged under `event`.
pub(super) fn refused(
    settings: &Settings,
    request: &Request,
    event: &str,
    reason: Reason,
) -> Refused {
    log(event, request, reason);
    page(settings, request, StatusCode::FORBIDDEN, reason, None).into()
}

/// One log line for a form that was not taken.
pub(super) fn log(event: &str, request: &Request, reason: Reason) {
    log::warn!(
        event = event,
        reason = reason,
        hint = reason.remedy(),
        peer:% = request.peer,
        request_id = request.request_id.as_str();
        "{}", reason.sentence()
    );
}

/// What ends the way of a form through its checks.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// A page that says what was wrong; already logged, so that this text is never read.
    #[error("answered")]
    Answered(Box<Response>),
    /// The store did not do what was asked. Nothing is the user's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More passwords wait than the gateway hashes at a time.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// Something would have been given, and the audit log can't be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// Whether it may be done can't be known.
    #[error("{}", .0.sentence())]
    Unknown(Reason),
}

impl Refused {
    /// The page. Logs what is a fault of ours.
    pub(super) fn page(self, settings: &Settings, request: &Request) -> Response {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let cause = self.to_string();
        let reason = match self {
            Self::Answered(response) => return *response,
            Self::Unwritable(error) => {
                let reason = error_response::audit_unavailable(request, error).reason;
                return page(settings, request, status, reason, None);
            }
            Self::Store(error) => error.reason(),
            Self::Overloaded(_) => Reason::Overloaded,
            Self::Unknown(reason) => reason,
        };
        log::error!(
            event = "page_failed",
            reason = reason,
            hint = reason.remedy(),
            cause = cause.as_str(),
            request_id = request.request_id.as_str();
            "{}", reason.sentence()
        );
        page(settings, request, status, reason, None)
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self::Answered(Box::new(response))
    }
}
