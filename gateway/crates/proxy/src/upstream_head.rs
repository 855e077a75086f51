//! The head of a request to a backend: what the client sent, without what is not its to say, and
//! with who is calling.

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;

use super::headers::SESSION;
use gateway_core::access_token::Claims;
use gateway_traces::Propagated;
use gateway_upstream::{Backend, IdentityHeaders};

/// Never forwarded: hop-by-hop (RFC 9110 §7.6.1), credentials for the gateway itself, what only a
/// proxy may say, and what would keep answers from being looked into.
const NEVER: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "mcp-session-id",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Never forwarded, by how they start: what proxies that log people in say of them, and what browsers
/// say of the page that asks.
const NEVER_STARTING: &[&str] = &[
    "x-authenticated-",
    "x-forwarded-",
    "x-remote-",
    "x-webauth-",
    "x-auth-request-",
    "remote-",
    "sec-fetch-",
    "access-control-request-",
];

/// A request to a backend, before its head is spelled out.
pub(super) struct UpstreamHead<'a> {
    pub(super) method: &'a Method,
    /// Path and query at the backend.
    pub(super) target: &'a str,
    pub(super) client_headers: &'a HeaderMap,
    /// The backend's own session id.
    pub(super) session: Option<&'a str>,
    pub(super) body_length: Option<usize>,
    pub(super) backend: &'a Backend,
    pub(super) identity: &'a IdentityHeaders,
    pub(super) claims: &'a Claims,
    /// The token that says so, where the backend is to have one.
    pub(super) token: Option<&'a str>,
    /// The value of its own header that calls in the name of the person's account there, where there is
    /// one.
    pub(super) account: Option<&'a HeaderValue>,
    /// What it is told of the trace, in place of what the client said.
    pub(super) trace: Option<&'a Propagated>,
}

/// Spells the head out. `None` if a value of ours is no header value, which a login name with
/// control characters would be; none is ever registered.
pub(super) fn build(input: &UpstreamHead<'_>) -> Option<RequestHeader> {
    let mut headers = headers(input)?;
    if let Some(length) = input.body_length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut head =
        RequestHeader::build_no_case(input.method.clone(), input.target.as_bytes(), None).ok()?;
    for (name, value) in &headers {
        head.append_header(name.clone(), value.clone()).ok()?;
    }
    Some(head)
}

/// The headers of the request, but for those that frame it. `None` as for [`build`].
fn headers(input: &UpstreamHead<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(input.client_headers.len() + 8);
    let mut are_values = true;
    each(input, |name, value| match HeaderValue::from_bytes(value) {
        Ok(mut value) => {
            value.set_sensitive(secrets(input.backend).any(|secret| secret == name));
            headers.append(name.clone(), value);
        }
        Err(_) => are_values = false,
    });
    are_values.then_some(headers)
}

/// The headers that may say what lets somebody in at a backend: nothing prints them, and no client says them.
fn secrets(backend: &Backend) -> impl Iterator<Item = &HeaderName> {
    let account = backend.account.as_ref().map(|account| &account.header);
    let configured = backend.headers.iter().map(|(name, _)| name);
    configured.chain(&backend.token_header).chain(account)
}

/// Tells the headers of the request one by one, but for those that frame it. That each value can be one is for
/// whoever writes them.
pub(super) fn each(input: &UpstreamHead<'_>, mut line: impl FnMut(&HeaderName, &[u8])) {
    let ours = ours(input);
    // What stands later stands for whatever has its name and stands above.
    for (at, (name, value)) in ours.iter().enumerate() {
        if ours[at + 1..].iter().all(|(later, _)| later != name) {
            line(name, value);
        }
    }
    for (name, value) in input.client_headers {
        if ours.iter().all(|(own, _)| own != name) && !is_dropped(name, input) {
            line(name, value.as_bytes());
        }
    }
}

/// The headers that the gateway writes itself.
fn ours<'a>(input: &UpstreamHead<'a>) -> Vec<(HeaderName, &'a [u8])> {
    let mut ours = Vec::with_capacity(input.backend.headers.len() + 8);
    ours.push((HOST, input.backend.host.as_bytes()));
    if let Some(accept) = explicit_accept(input.method, input.client_headers) {
        ours.push((ACCEPT, accept.as_bytes()));
    }
    if let Some(session) = input.session {
        ours.push((SESSION, session.as_bytes()));
    }
    let configured = input.backend.headers.iter();
    ours.extend(configured.map(|(name, value)| (name.clone(), value.as_bytes())));
    if let Some(trace) = input.trace {
        let headers = trace.headers();
        ours.extend(headers.map(|(name, value)| (name, value.as_bytes())));
    }
    // Last, so that nothing above can stand in for them.
    let identity = input.identity;
    for (name, value) in [
        (&identity.user, input.claims.user_name.as_str()),
        (&identity.client, input.claims.client.as_str()),
        (&identity.grant, input.claims.grant.as_str()),
    ] {
        ours.push((name.clone(), value.as_bytes()));
    }
    if let (Some(name), Some(token)) = (&input.backend.token_header, input.token) {
        ours.push((name.clone(), token.as_bytes()));
    }
    if let (Some(how), Some(value)) = (&input.backend.account, input.account) {
        ours.push((how.header.clone(), value.as_bytes()));
    }
    ours
}

/// What strict servers want to read where a client takes anything, which it says by `*/*` or by
/// saying nothing (RFC 9110 §12.5.1). `None` where it is particular.
fn explicit_accept(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|range| {
            range
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or(range)
                .trim_ascii()
        })
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_some() && !ranges.any(|range| range == b"*/*") {
        return None;
    }
    match *method {
        Method::POST => Some("application/json, text/event-stream"),
        Method::GET => Some("text/event-stream"),
        _ => None,
    }
}

fn is_dropped(name: &HeaderName, input: &UpstreamHead<'_>) -> bool {
    if input.trace.is_some() && Propagated::NAMES.contains(name) {
        return true;
    }
    let name = name.as_str();
    is_never_forwarded(name)
        || is_named_by_connection(name, input.client_headers)
        || is_identity(name, input.identity)
        || secrets(input.backend).any(|own| is_spelling_of(name, own.as_str()))
}

fn is_never_forwarded(name: &str) -> bool {
    NEVER.iter().any(|never| is_spelling_of(name, never))
        || NEVER_STARTING.iter().any(|start| {
            name.len() >= start.len()
                && name.is_char_boundary(start.len())
                && is_spelling_of(&name[..start.len()], start)
        })
}

fn is_identity(name: &str, identity: &IdentityHeaders) -> bool {
    [&identity.user, &identity.client, &identity.grant]
        .into_iter()
        .any(|own| is_spelling_of(name, own.as_str()))
}

/// Whether a server that turns header names into variables (CGI, WSGI: `_` for `-`) could take
/// `name` for `of`. Names are lower case already.
fn is_spelling_of(name: &str, of: &str) -> bool {
    name.len() == of.len()
        && name
            .bytes()
            .zip(of.bytes())
            .all(|(a, b)| a == b || is_joint(a) && is_joint(b))
}

/// What such servers turn into the same character.
const fn is_joint(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.')
}

/// Whether the Connection header says that `name` is for this hop only (RFC 9110 §7.6.1).
pub(super) fn is_named_by_connection(name: &str, headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// The query that goes on to a backend. One that may hold a token goes nowhere (OAuth 2.1 §5.1: a
/// token in a query is no token, and ours are for nobody else).
pub(super) fn forwarded_query(query: Option<&str>) -> Option<&str> {
    let query = query.filter(|query| !query.is_empty())?;
    let decoded: String = url::form_urlencoded::parse(query.as_bytes())
        .map(|(name, _)| name.to_ascii_lowercase() + "&")
        .collect();
    (!decoded.contains("token")).then_some(query)
}

#[cfg(test)]
mod tests;
