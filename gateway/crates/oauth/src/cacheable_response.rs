//! Public documents: short caching, and `304` for who has the present one (RFC 9110 §13.1.2).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};

use gateway_core::protocol::web::{self, Request, Response};

/// How long a copy may be used without asking, in seconds: a changed configuration reaches every
/// client within minutes.
const MAX_AGE: &str = "public, max-age=300";

/// Answers with a document.
pub(super) fn answer(request: &Request, media_type: &str, body: impl Into<Bytes>) -> Response {
    let body = body.into();
    let digest = Sha256::digest(&body);
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..12]));
    let response = if holds(&request.headers, &etag) {
        web::empty(StatusCode::NOT_MODIFIED)
    } else {
        web::with_header(Response::new(body), CONTENT_TYPE, media_type)
    };
    let response = web::with_header(response, ETAG, &etag);
    web::with_header(response, CACHE_CONTROL, MAX_AGE)
}

/// Answers with a JSON document.
pub(super) fn json(request: &Request, media_type: &str, value: &serde_json::Value) -> Response {
    answer(request, media_type, value.to_string())
}

/// Weak comparison, as `If-None-Match` asks for.
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|held| held == "*" || held.strip_prefix("W/").unwrap_or(held) == etag)
}
