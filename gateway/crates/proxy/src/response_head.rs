//! The head of a backend's response on its way to the client. The gateway's origin is where people
//! log in, so a backend says nothing there but what an answer needs: an allow-list, no cookies, no
//! security headers, no pages.

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora::http::ResponseHeader;

use super::cors::allow_reading;
use super::headers::{SESSION, text};
use super::upstream_head::is_named_by_connection;
use mcp_protocol::media_type;

/// What a backend may say about its answer.
const PASSED: &[&str] = &[
    "allow",
    "content-encoding",
    "content-language",
    "content-type",
    "etag",
    "last-modified",
    "retry-after",
    "traceparent",
    "tracestate",
];

/// And whole families of it.
const PASSED_STARTING: &[&str] = &["mcp-", "ratelimit", "x-"];

/// But not these, which tell browsers, proxies and crawlers what to do.
const STOPPED_STARTING: &[&str] = &[
    "x-accel-",
    "x-content-",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-forwarded-",
    "x-frame-options",
    "x-permitted-cross-domain-policies",
    "x-powered-by",
    "x-robots-tag",
    "x-sendfile",
    "x-ua-compatible",
    "x-webkit-csp",
    "x-xss-protection",
];

/// The head of a backend's answer, whatever brought it here.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpstreamAnswer<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
}

impl<'a> From<&'a ResponseHeader> for UpstreamAnswer<'a> {
    fn from(head: &'a ResponseHeader) -> Self {
        Self {
            status: head.status,
            headers: &head.headers,
        }
    }
}

/// What kind of body follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Events, which may be followed and added to.
    Events,
    /// Bytes that pass as they are; of this length, if it is known.
    Bytes(Option<u64>),
    /// Nothing: HEAD, 204, 304.
    Nothing,
}

impl Shape {
    pub(super) fn from_head(head: UpstreamAnswer<'_>, is_head_request: bool) -> Self {
        if is_head_request || gateway_lane::is_bodiless(head.status) {
            return Self::Nothing;
        }
        let is_encoded = head.headers.contains_key(CONTENT_ENCODING);
        if media_type::is_event_stream(head.headers) && !is_encoded {
            return Self::Events;
        }
        let length = text(head.headers, CONTENT_LENGTH);
        Self::Bytes(length.and_then(|length| length.parse().ok()))
    }
}

/// The head of a stream of events of the gateway's own, in this version of HTTP, which pages of `origin`
/// may read.
pub(super) fn of_events(
    version: Version,
    origin: Option<&HeaderValue>,
) -> pingora::Result<ResponseHeader> {
    let events = HeaderValue::from_static("text/event-stream");
    let said = HeaderMap::from_iter([(CONTENT_TYPE, events)]);
    let mut headers = headers(&said, Shape::Events, None);
    if let Some(origin) = origin {
        allow_reading(&mut headers, origin);
    }
    framed(
        StatusCode::OK,
        headers,
        Shape::Events,
        version == Version::HTTP_11,
    )
}

/// The head of these headers with its framing. `takes_chunks` is true for HTTP/1.1 (in 1.0 the end of the
/// connection is the end of the body, HTTP/2 has frames).
pub(super) fn framed(
    status: StatusCode,
    headers: HeaderMap,
    shape: Shape,
    takes_chunks: bool,
) -> pingora::Result<ResponseHeader> {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, headers);
    let mut head = ResponseHeader::from(parts);
    match shape {
        Shape::Bytes(Some(length)) => {
            head.insert_header(CONTENT_LENGTH, HeaderValue::from(length))?
        }
        Shape::Bytes(None) | Shape::Events if takes_chunks => {
            head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
        }
        _ => {}
    }
    Ok(head)
}

/// The headers of the answer for the client, but for those that frame it. `session` is the bound form of
/// the backend's session id.
pub(super) fn headers(upstream: &HeaderMap, shape: Shape, session: Option<String>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(upstream.len() + 8);
    each(upstream, shape, session, |name, value| {
        headers.append(name.clone(), value);
    });
    headers
}

/// Tells the headers of the answer one by one; as [`headers`]. None that is the gateway's own is passed on.
pub(super) fn each(
    upstream: &HeaderMap,
    shape: Shape,
    session: Option<String>,
    mut line: impl FnMut(&HeaderName, HeaderValue),
) {
    for (name, value) in upstream {
        if is_passed(name, upstream) {
            line(name, respelled(name, value));
        }
    }
    if let Some(session) = session.and_then(|text| HeaderValue::from_str(&text).ok()) {
        line(&SESSION, session);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    line(&X_CONTENT_TYPE_OPTIONS, nosniff);
    match shape {
        Shape::Events => {
            let no_transform = HeaderValue::from_static("no-cache, no-transform");
            line(&CACHE_CONTROL, no_transform);
            let unbuffered = HeaderValue::from_static("no");
            line(&HeaderName::from_static("x-accel-buffering"), unbuffered);
        }
        _ => line(&CACHE_CONTROL, HeaderValue::from_static("no-store")),
    }
    if shape != Shape::Events && media_type::essence(upstream) != "application/json" {
        // Opened as a page it is inert and of no origin.
        let inert = HeaderValue::from_static("sandbox; default-src 'none'");
        line(&CONTENT_SECURITY_POLICY, inert);
    }
}

/// The media types of MCP in the letters in which they are registered: they have no case (RFC 9110
/// §8.3.1), but there are clients that compare them.
fn respelled(name: &HeaderName, value: &HeaderValue) -> HeaderValue {
    let Some((essence, parameters)) = Some(value)
        .filter(|_| *name == CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.split_at(text.find(';').unwrap_or(text.len())))
    else {
        return value.clone();
    };
    let known = ["application/json", "text/event-stream"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(essence.trim()));
    let respelled = known.filter(|known| *known != essence);
    respelled
        .and_then(|known| HeaderValue::from_str(&format!("{known}{parameters}")).ok())
        .unwrap_or_else(|| value.clone())
}

fn is_passed(name: &HeaderName, upstream: &HeaderMap) -> bool {
    let name = name.as_str();
    let starts = |family: &[&str]| family.iter().any(|start| name.starts_with(start));
    let is_passed = PASSED.contains(&name) || starts(PASSED_STARTING) && !starts(STOPPED_STARTING);
    is_passed && SESSION != name && !is_named_by_connection(name, upstream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(status: u16, lines: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build_no_case(status, None).unwrap();
        for (name, value) in lines {
            head.append_header(*name, value.parse::<HeaderValue>().unwrap())
                .unwrap();
        }
        head
    }

    fn passed(lines: &[(&'static str, &str)]) -> ResponseHeader {
        let upstream = upstream(200, lines);
        let shape = Shape::from_head((&upstream).into(), false);
        let headers = headers(&upstream.headers, shape, Some("s~t".to_owned()));
        framed(upstream.status, headers, shape, true).unwrap()
    }

    #[test]
    fn a_backend_sets_nothing_on_the_login_origin() {
        let head = passed(&[
            ("content-type", "application/json"),
            ("set-cookie", "__Host-session=x"),
            ("set-cookie2", "x"),
            ("content-security-policy", "default-src *"),
            ("strict-transport-security", "max-age=0"),
            ("x-frame-options", "ALLOWALL"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("clear-site-data", "\"*\""),
            ("server", "uvicorn"),
            ("location", "http://127.0.0.1:9000/"),
            ("refresh", "0;url=//x"),
            ("link", "<x>; rel=preload"),
            ("www-authenticate", "Basic"),
            ("service-worker-allowed", "/"),
            ("alt-svc", "h3"),
            ("connection", "x-foo"),
            ("x-foo", "1"),
            ("keep-alive", "timeout=5"),
            ("mcp-session-id", "raw"),
            ("report-to", "{}"),
        ]);
        let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(
            names,
            [
                "content-type",
                "mcp-session-id",
                "x-content-type-options",
                "cache-control",
                "transfer-encoding"
            ]
        );
        assert_eq!(head.headers["mcp-session-id"], "s~t");
    }

    #[test]
    fn what_the_gateway_says_of_an_answer_stands_once_whatever_the_backend_says() {
        for kind in ["text/event-stream", "text/html", "application/json"] {
            let head = passed(&[
                ("content-type", kind),
                ("mcp-session-id", "raw"),
                ("x-content-type-options", "x"),
                ("cache-control", "public"),
                ("x-accel-buffering", "yes"),
                ("content-security-policy", "default-src *"),
            ]);
            assert_eq!(head.headers.len(), head.headers.keys_len(), "{kind}");
            assert_eq!(head.headers["x-content-type-options"], "nosniff");
            assert_eq!(head.headers["mcp-session-id"], "s~t");
            assert_ne!(head.headers["cache-control"], "public");
        }
    }

    #[test]
    fn a_page_of_a_backend_is_inert() {
        for kind in [
            "text/html",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/plain",
            "application/javascript",
        ] {
            let head = passed(&[("content-type", kind), ("content-length", "5")]);
            assert_eq!(
                head.headers["content-security-policy"],
                "sandbox; default-src 'none'"
            );
            assert_eq!(head.headers["x-content-type-options"], "nosniff");
            assert_eq!(head.headers["content-length"], "5");
        }
        assert!(passed(&[]).headers.contains_key("content-security-policy"));
    }

    #[test]
    fn events_are_neither_buffered_nor_cached() {
        let head = passed(&[
            ("content-type", "Text/Event-Stream; charset=utf-8"),
            ("cache-control", "public"),
        ]);
        assert_eq!(head.headers["x-accel-buffering"], "no");
        assert_eq!(head.headers["cache-control"], "no-cache, no-transform");
        assert_eq!(head.headers["transfer-encoding"], "chunked");
        let encoded = upstream(
            200,
            &[
                ("content-type", "text/event-stream"),
                ("content-encoding", "gzip"),
            ],
        );
        assert_eq!(
            Shape::from_head((&encoded).into(), false),
            Shape::Bytes(None)
        );
    }

    #[test]
    fn what_an_answer_needs_is_passed() {
        let lines = [
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2025-11-25"),
            ("retry-after", "5"),
            ("allow", "POST"),
            ("x-ratelimit-remaining", "3"),
            ("x-backend", "yes"),
        ];
        let head = passed(&lines);
        for (name, value) in lines {
            assert_eq!(head.headers[name], value);
        }
    }

    #[test]
    fn some_answers_have_no_body() {
        assert_eq!(
            Shape::from_head((&upstream(204, &[])).into(), false),
            Shape::Nothing
        );
        assert_eq!(
            Shape::from_head(
                (&upstream(200, &[("content-type", "text/event-stream")])).into(),
                true
            ),
            Shape::Nothing
        );
        assert_eq!(
            Shape::from_head((&upstream(202, &[("content-length", "0")])).into(), false),
            Shape::Bytes(Some(0))
        );
    }
}
