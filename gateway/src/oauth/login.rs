//! `/login` and `/logout`: from a password to a browser session, and its end.

use http::StatusCode;

use crate::browser_session::BrowserSession;
use crate::clock::Timestamp;
use crate::oauth::AuthorizationServer;
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;
use crate::secret::SecretHash;
use crate::store::StoreError;

/// The session that the request's cookie stands for: not expired, and of a person whose password
/// is still the one it was opened with.
pub async fn session(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Option<(SecretHash, BrowserSession)>, StoreError> {
    let Some(cookie) = request.cookie("session") else {
        return Ok(None);
    };
    let hash = crate::secret::Secret::presented(cookie).hash();
    let session = server.records.session(&hash, now).await?;
    Ok(session.map(|session| (hash, session)))
}

/// The login page. `authorization_request` is the raw query that `/authorize` goes on with
/// afterwards; `None` leads to the start page.
pub fn page(
    _server: &AuthorizationServer,
    _request: &Request,
    _authorization_request: Option<&str>,
) -> Response {
    web::text(StatusCode::SERVICE_UNAVAILABLE, Reason::Internal.sentence())
}

/// `POST /login`.
pub async fn submit(server: &AuthorizationServer, request: &Request) -> Response {
    page(server, request, None)
}

/// `POST /logout`: ends the session; goes on to `/authorize` if the form names a request.
pub async fn logout(server: &AuthorizationServer, request: &Request) -> Response {
    page(server, request, None)
}
