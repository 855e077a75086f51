//! A whole request and a whole response, as the endpoints see them. The edge reads the one from
//! the connection and writes the other to it; endpoints never see a connection.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;

/// A request whose body has been read, within the endpoint's limit.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The canonical path.
    pub path: String,
    /// What follows the question mark, undecoded.
    pub query: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The address that limits are counted by: the peer, or what a trusted proxy said.
    pub peer: IpAddr,
    /// Names this request in the log and on error pages.
    pub request_id: String,
}

impl Request {
    /// The value of a cookie, the first if it was sent twice. Beside it there may be cookies of other sites
    /// on this domain, which are any bytes (RFC 6265 §5.4).
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let value = self
            .headers
            .get_all(http::header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .map(<[u8]>::trim_ascii)
            .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        str::from_utf8(value).ok()
    }
}

/// A response with its whole body.
pub type Response = http::Response<Bytes>;

/// A response without a body.
pub fn empty(status: StatusCode) -> Response {
    response(status, Bytes::new())
}

fn response(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// A JSON response. `no-store` is the default; public documents replace it.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Only maps with keys that are no strings fail to serialise; no body of ours has one.
    let text = serde_json::to_vec(body).expect("the gateway's own documents serialise");
    let response = response(status, Bytes::from(text));
    let response = with_header(response, CONTENT_TYPE, "application/json");
    with_header(response, CACHE_CONTROL, "no-store")
}

/// Plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let response = response(status, body.into());
    with_header(response, CONTENT_TYPE, "text/plain; charset=utf-8")
}

/// 303 to `location`: whatever the method was, the next request is a GET (OAuth 2.1 §7.5.3).
///
/// Returns 500 where `location` is no header value, which a parsed URL always is.
pub fn see_other(location: &str) -> Response {
    let Ok(value) = HeaderValue::from_str(location) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = empty(StatusCode::SEE_OTHER);
    response.headers_mut().insert(LOCATION, value);
    with_header(response, CACHE_CONTROL, "no-store")
}

/// Sets a header whose value is known to be one.
pub fn with_header(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Adds `Retry-After` in seconds.
pub fn with_retry_after(response: Response, seconds: u64) -> Response {
    with_header(response, RETRY_AFTER, &seconds.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;

    fn with_cookies(lines: &[&[u8]]) -> Request {
        let lines = lines.iter().map(|line| HeaderValue::from_bytes(line));
        Request {
            method: Method::GET,
            path: "/login".to_owned(),
            query: None,
            headers: lines.map(|line| (COOKIE, line.unwrap())).collect(),
            body: Bytes::new(),
            peer: Ipv4Addr::LOCALHOST.into(),
            request_id: String::new(),
        }
    }

    #[test]
    fn cookies_of_other_sites_hide_none_of_ours() {
        for lines in [
            &[&b"__Host-session=x"[..]][..],
            &[b"name=J\xc3\xbcrgen; __Host-session=x; last=\xff"],
            &[b"name=\xff", b"a=b; __Host-session=x"],
            &[b"__Host-session2=y;__Host-session=x;__Host-session=z"],
        ] {
            let request = with_cookies(lines);
            assert_eq!(request.cookie("__Host-session"), Some("x"), "{lines:?}");
        }
        for line in [
            &b"__Host-session=\xff"[..],
            b"__Host-session",
            b"x__Host-session=x",
        ] {
            assert_eq!(
                with_cookies(&[line]).cookie("__Host-session"),
                None,
                "{line:?}"
            );
        }
    }
}
