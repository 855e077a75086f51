//! The endpoints: method and path of each, written once. Metadata prints them, routes match them.

use http::StatusCode;

use crate::oauth::AuthorizationServer;
use crate::protocol::resource::Mount;
use crate::protocol::web::{self, Request, Response};

/// Something that the gateway itself answers on the public listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/healthz`
    Health,
}

impl Endpoint {
    /// The endpoint at a canonical path, if the gateway answers there itself. Everything under
    /// `/.well-known/` is the gateway's, known or not.
    pub fn find(path: &str, _mounts: &[Mount]) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            _ => None,
        }
    }

    /// The largest body that the endpoint reads, in bytes.
    pub const fn body_limit(&self) -> usize {
        64 * 1024
    }
}

/// One match from endpoint to file.
pub(super) async fn answer(
    _server: &AuthorizationServer,
    endpoint: Endpoint,
    _request: &Request,
) -> Response {
    match endpoint {
        Endpoint::Health => web::text(StatusCode::OK, "ok\n"),
    }
}
