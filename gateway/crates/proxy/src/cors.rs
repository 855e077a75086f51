//! What pages of other origins may do (CORS): preflights, and the lines that let a page read an
//! answer.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::headers::text;
use super::request::RequestHead;
use super::settings::Settings;
use gateway_core::protocol::web::{self, Response};

/// Headers that a page may send to an MCP endpoint (beside those that need no permission).
const SENT: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID";

/// Headers of an answer that a page may read.
const READ: &str = "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, Retry-After";

/// Whoever it is: there is nothing in a refusal that a browser would have to add something of the
/// person's for, and a page that can't read it can't tell anybody what to do.
pub(super) const ANYBODY: HeaderValue = HeaderValue::from_static("*");

/// What the Origin header of a request means for it.
pub(super) enum Origin {
    Absent,
    Allowed(HeaderValue),
    /// As far as it can be shown.
    Foreign(String),
}

/// What the Origin header means, where there is one.
pub(super) fn origin(headers: &HeaderMap, settings: &Settings) -> Origin {
    let Some(origin) = headers.get(ORIGIN) else {
        return Origin::Absent;
    };
    let text = origin.to_str().unwrap_or_default();
    let is_allowed = text == settings.issuer.as_str() || settings.allowed_origins.contain(text);
    // Its own copy: the header's value may be a part of the whole head, and a stream keeps this.
    match HeaderValue::from_str(text) {
        Ok(origin) if is_allowed => Origin::Allowed(origin),
        _ => Origin::Foreign(text.chars().take(100).collect()),
    }
}

/// The answer to a CORS preflight. It carries no credentials and is asked for none; a page must be
/// able to send the request that is answered with where to log in.
pub(super) fn preflight(head: RequestHead<'_>, origin: Option<&HeaderValue>) -> Option<Response> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = web::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    allow_reading(headers, origin.unwrap_or(&ANYBODY));
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE"),
    );
    let asked = text(head.headers, ACCESS_CONTROL_REQUEST_HEADERS);
    if let Ok(value) = HeaderValue::from_str(&sendable(asked.unwrap_or_default())) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, value);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    Some(response)
}

/// The headers that a page may send; of the family `Mcp-Param-*` those that it asks for.
fn sendable(asked: &str) -> String {
    let mut list = SENT.to_owned();
    for name in asked.split(',').map(str::trim) {
        let is_parameter =
            name.len() > 10 && name.as_bytes()[..10].eq_ignore_ascii_case(b"mcp-param-");
        if is_parameter
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            list.push_str(", ");
            list.push_str(name);
        }
    }
    list
}

/// Lets a page of an origin read the answer.
pub(super) fn allow_reading(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(READ),
    );
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_send_mirrored_parameters_and_nothing_odd() {
        assert_eq!(sendable(""), SENT);
        assert_eq!(
            sendable("mcp-param-q, x-evil"),
            format!("{SENT}, mcp-param-q")
        );
        assert_eq!(
            sendable("mcp-param-, mcp-param-a\u{7f}, ä-param-abcdef"),
            SENT
        );
    }
}
