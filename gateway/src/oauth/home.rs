//! `/`: what this is and which URL to give to which app. And `/assets/…`.

use http::StatusCode;

use crate::oauth::AuthorizationServer;
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;

/// `GET /`.
pub async fn page(_server: &AuthorizationServer, _request: &Request) -> Response {
    web::text(StatusCode::SERVICE_UNAVAILABLE, Reason::Internal.sentence())
}

/// `GET /assets/…`: a file of the pages, named after its content.
pub fn asset(_server: &AuthorizationServer, _request: &Request) -> Response {
    web::text(StatusCode::NOT_FOUND, Reason::NotFound.sentence())
}
