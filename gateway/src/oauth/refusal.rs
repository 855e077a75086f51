//! The error page: names what was wrong, why, and what to do next; never redirects.

use http::StatusCode;

use crate::oauth::{AuthorizationServer, browser};
use crate::pages::{self, Refusal};
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;
use crate::store::StoreError;

/// An error page. `detail` names the values that were wrong, one a line; it may hold what a
/// stranger sent. A status of 503 or 429 carries `Retry-After`.
pub fn page(
    server: &AuthorizationServer,
    request: &Request,
    status: StatusCode,
    reason: Reason,
    detail: Option<&str>,
) -> Response {
    answer(server, request, status, reason, detail, None)
}

/// An error page with a link that opens the page of `authorization_request` again.
pub(super) fn page_with_way_back(
    server: &AuthorizationServer,
    request: &Request,
    status: StatusCode,
    reason: Reason,
    authorization_request: Option<&str>,
) -> Response {
    answer(server, request, status, reason, None, authorization_request)
}

/// The page for a store that did not answer: nothing is the person's fault, and trying again
/// helps.
pub fn store_unavailable(
    server: &AuthorizationServer,
    request: &Request,
    error: &StoreError,
) -> Response {
    let reason = Reason::StoreUnavailable;
    log::error!(
        event = "store_unavailable", reason, hint = reason.remedy(), error:% = error,
        request_id = request.request_id.as_str(); "{}", reason.sentence()
    );
    page(
        server,
        request,
        StatusCode::SERVICE_UNAVAILABLE,
        reason,
        None,
    )
}

/// The page for more passwords than the gateway hashes at a time.
pub(super) fn overloaded(server: &AuthorizationServer, request: &Request) -> Response {
    let reason = Reason::Overloaded;
    log::warn!(
        event = "overloaded", reason, hint = reason.remedy(), request_id = request.request_id.as_str(); "{}", reason.sentence()
    );
    page(
        server,
        request,
        StatusCode::SERVICE_UNAVAILABLE,
        reason,
        None,
    )
}

fn answer(
    server: &AuthorizationServer,
    request: &Request,
    status: StatusCode,
    reason: Reason,
    detail: Option<&str>,
    reopen: Option<&str>,
) -> Response {
    let page = Refusal {
        frame: browser::frame(server, request),
        status,
        reason,
        detail,
        reopen,
    }
    .page();
    let response = pages::respond(status, page, server.settings.issuer.is_https());
    match status {
        StatusCode::SERVICE_UNAVAILABLE => web::with_retry_after(response, 2),
        StatusCode::TOO_MANY_REQUESTS => web::with_retry_after(response, 60),
        _ => response,
    }
}
