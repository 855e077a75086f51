//! The consent page and its answer: what a person is asked before an app gets a code.

use http::StatusCode;

use crate::browser_session::BrowserSession;
use crate::client::Client;
use crate::oauth::AuthorizationServer;
use crate::protocol::resource::Mount;
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;

/// What a valid authorization request asks for, as far as a person is told.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub client: &'a Client,
    /// Where the code would go; already compared with the registered ones.
    pub redirect_uri: &'a str,
    /// Which backend.
    pub mount: &'a Mount,
    /// The whole request, undecoded: the form carries it and it is validated anew.
    pub raw_query: &'a str,
}

/// The consent page.
pub async fn page(
    _server: &AuthorizationServer,
    _request: &Request,
    _session: &BrowserSession,
    _asked: Asked<'_>,
) -> Response {
    web::text(StatusCode::SERVICE_UNAVAILABLE, Reason::Internal.sentence())
}

/// `POST /consent`.
pub async fn submit(_server: &AuthorizationServer, _request: &Request) -> Response {
    web::text(StatusCode::SERVICE_UNAVAILABLE, Reason::Internal.sentence())
}
