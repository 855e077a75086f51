//! `/setup`: the first owner sets name and password with the code from the terminal.

use http::StatusCode;

use crate::oauth::AuthorizationServer;
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;

/// `GET /setup?code=…`; 404 once there is an owner.
pub async fn page(_server: &AuthorizationServer, _request: &Request) -> Response {
    web::text(StatusCode::SERVICE_UNAVAILABLE, Reason::Internal.sentence())
}

/// `POST /setup`.
pub async fn submit(server: &AuthorizationServer, request: &Request) -> Response {
    page(server, request).await
}
