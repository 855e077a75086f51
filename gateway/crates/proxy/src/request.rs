//! A request for a backend, read once: which endpoint it is for, its revision, its session as the client
//! names it, its messages and their bytes. Whoever asks about it afterwards (admission, policy, audit,
//! translation, exchange) asks this value, and nobody its transport: the two things that a transport
//! hands over are a [`RequestHead`] and the bytes of a body.
//!
//! Owns: what a request says. Not: whether it may (`admission`), nor how its bytes came here (`serve`).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method};
use ipnet::IpNet;
use pingora::protocols::http::ServerSession;

use super::rejection::Rejection;
use super::routes::{McpEndpoint, is_own_host};
use super::settings::Settings;
use super::{body, peer};
use mcp_protocol::Kind;
use mcp_protocol::calls::{self, Call, MirrorHeaders, Version};
use mcp_protocol::jsonrpc::{self, Body, Keep};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The head of a request, whatever brought it here.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The authority in its target, which HTTP/2 has in place of a Host.
    pub(super) authority: Option<&'a str>,
    /// The address at the other end of the connection; `None` for a unix socket.
    pub(super) connection: Option<IpAddr>,
}

impl<'a> RequestHead<'a> {
    /// That which `session` has read.
    pub(super) fn from_session(session: &'a ServerSession) -> Self {
        let head = session.req_header();
        let address = session.client_addr().and_then(|address| address.as_inet());
        Self {
            method: &head.method,
            headers: &head.headers,
            authority: head.uri.authority().map(http::uri::Authority::as_str),
            connection: address.map(std::net::SocketAddr::ip),
        }
    }

    /// Whether its Host names this gateway. A trusted proxy may have put its own name for it there.
    pub(super) fn check_host(&self, settings: &Settings) -> Result<(), Rejection> {
        let named = self.headers.get(HOST).and_then(|host| host.to_str().ok());
        let trusted = &settings.trusted_proxies;
        match named.or(self.authority) {
            // HTTP/1.0 without Host; later versions have been refused.
            None => Ok(()),
            Some(_)
                if self
                    .connection
                    .is_some_and(|peer| peer::is_trusted(peer, trusted)) =>
            {
                Ok(())
            }
            Some(authority) if is_own_host(authority, &settings.issuer) => Ok(()),
            Some(_) => Err(Rejection::Host),
        }
    }

    /// Whether the endpoint takes its method. `/sse` is no endpoint for messages; 404 is what makes
    /// clients fall back to GET there.
    pub(super) fn check_method(&self, endpoint: McpEndpoint) -> Result<(), Rejection> {
        match (endpoint, self.method) {
            (McpEndpoint::Mcp, &(Method::GET | Method::HEAD | Method::POST | Method::DELETE)) => {
                Ok(())
            }
            (McpEndpoint::Mcp, _) => Err(Rejection::Method("GET, HEAD, POST, DELETE, OPTIONS")),
            (McpEndpoint::Sse, &(Method::GET | Method::HEAD)) => Ok(()),
            (McpEndpoint::Sse, &Method::POST) => Err(Rejection::NotFound),
            (McpEndpoint::Sse, _) => Err(Rejection::Method("GET, HEAD, OPTIONS")),
            (McpEndpoint::Messages, &Method::POST) => Ok(()),
            (McpEndpoint::Messages, _) => Err(Rejection::Method("POST, OPTIONS")),
        }
    }

    /// Whether its body, if it has one, is of a form that is taken. Only POST has a body here; one on
    /// another method would be dropped by some and read by others.
    pub(super) fn check_body(&self) -> Result<(), Rejection> {
        if self.method == Method::POST {
            return body::check_form(self.headers);
        }
        let length = self.headers.get(CONTENT_LENGTH);
        let is_declared = length.is_some_and(|length| length != "0");
        if is_declared || self.headers.contains_key(TRANSFER_ENCODING) {
            return Err(Rejection::Ambiguous("this method has no body"));
        }
        Ok(())
    }

    /// The address that it is counted under.
    pub(super) fn address(&self, trusted: &[IpNet]) -> IpAddr {
        peer::address(self.connection, self.headers, trusted)
    }

    /// The revision of MCP that it names in its header.
    pub(super) fn protocol_version(&self) -> Option<String> {
        let text = self.headers.get(VERSION)?;
        Version::parse(text.as_bytes())?;
        text.to_str().ok().map(str::to_owned)
    }

    /// The headers that mirror its message.
    pub(super) fn mirror(&self) -> MirrorHeaders<'a> {
        let value = |name: &HeaderName| self.headers.get(name).map(|value| value.as_bytes());
        MirrorHeaders {
            version: value(&VERSION),
            method: value(&METHOD),
            name: value(&NAME),
        }
    }

    /// Whether it says that it is of a revision whose headers mirror its message.
    pub(super) fn is_mirrored(&self) -> bool {
        is_mirrored(self.headers)
    }
}

/// Whether headers say that they mirror a message.
pub(super) fn is_mirrored(headers: &HeaderMap) -> bool {
    let version = headers.get(VERSION).map(|value| value.as_bytes());
    let only = MirrorHeaders {
        version,
        method: None,
        name: None,
    };
    only.are_binding()
}

/// A request for a backend.
#[derive(Debug)]
pub(super) struct McpRequest {
    pub(super) endpoint: McpEndpoint,
    pub(super) method: Method,
    /// Whether it says that it is of 2026-07-28 or later.
    pub(super) is_stateless: bool,
    /// What is posted; `None` for a stream, or the end of a session.
    pub(super) body: Option<McpBody>,
}

/// The messages of a request, and the bytes that they stand in.
#[derive(Clone, Debug)]
pub(super) struct McpBody {
    pub(super) bytes: Bytes,
    pub(super) messages: Body,
}

impl McpRequest {
    /// A request whose body was not read yet.
    pub(super) fn new(endpoint: McpEndpoint, head: RequestHead<'_>) -> Self {
        Self {
            endpoint,
            method: head.method.clone(),
            is_stateless: endpoint == McpEndpoint::Mcp && head.is_mirrored(),
            body: None,
        }
    }

    /// Reads the body, judging each message. `keep`: what is asked of its arguments.
    pub(super) fn read_body(
        &mut self,
        head: RequestHead<'_>,
        bytes: Bytes,
        keep: Keep<'_>,
    ) -> Result<&mut McpBody, Rejection> {
        let mirror = head.mirror();
        let messages = jsonrpc::judge_and_keep(&bytes, calls::takes_batches(mirror.version), keep)
            .map_err(|refused| Rejection::BadMessage(refused.0))?;
        for message in messages.messages() {
            calls::check_shape(message, self.is_stateless)
                .map_err(|what| Rejection::BadMessage(what.to_owned()))?;
            // Mirrored headers are a rule of Streamable HTTP: on the legacy transport clients of
            // 2026-07-28 send its version and none of them.
            if self.endpoint == McpEndpoint::Mcp {
                mirror.check(message).map_err(|what| {
                    let id = message.id().filter(|_| message.kind() == Kind::Request);
                    Rejection::HeaderMismatch(what, id)
                })?;
            }
        }
        Ok(self.body.insert(McpBody { bytes, messages }))
    }

    /// Whether it is a batch.
    pub(super) fn is_batch(&self) -> bool {
        self.body
            .as_ref()
            .is_some_and(|body| body.messages.is_batch())
    }

    /// The bytes of its body.
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        self.body.as_ref().map(|body| &body.bytes)
    }
}

impl McpBody {
    /// What each message asks for.
    pub(super) fn calls(&mut self) -> Vec<Call> {
        let messages = self.messages.messages_mut();
        messages.iter_mut().map(Call::from_message).collect()
    }

    /// Takes over the bytes of its messages, after they were changed.
    pub(super) fn spell_again(&mut self) {
        self.bytes = self.messages.to_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        endpoint: McpEndpoint,
        version: Option<&str>,
        body: &'static [u8],
    ) -> Result<Vec<Call>, Rejection> {
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert(VERSION, version.parse().unwrap());
        }
        let head = RequestHead {
            method: &Method::POST,
            headers: &headers,
            authority: None,
            connection: None,
        };
        let mut request = McpRequest::new(endpoint, head);
        let body = request.read_body(head, Bytes::from_static(body), Keep::Nothing)?;
        Ok(body.calls())
    }

    #[test]
    fn methods_are_those_of_the_transports() {
        let check = |endpoint, method: &Method| {
            let head = RequestHead {
                method,
                headers: &HeaderMap::new(),
                authority: None,
                connection: None,
            };
            head.check_method(endpoint)
        };
        for (endpoint, method, expected) in [
            (McpEndpoint::Mcp, Method::POST, Ok(())),
            (McpEndpoint::Mcp, Method::DELETE, Ok(())),
            (McpEndpoint::Sse, Method::GET, Ok(())),
            (McpEndpoint::Sse, Method::POST, Err(Rejection::NotFound)),
            (McpEndpoint::Messages, Method::POST, Ok(())),
            (
                McpEndpoint::Messages,
                Method::GET,
                Err(Rejection::Method("POST, OPTIONS")),
            ),
        ] {
            assert_eq!(check(endpoint, &method), expected);
        }
        for method in ["TRACE", "CONNECT", "PUT", "PATCH", "get", "post", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for endpoint in [McpEndpoint::Mcp, McpEndpoint::Sse, McpEndpoint::Messages] {
                assert!(check(endpoint, &method).is_err(), "{method} {endpoint:?}");
            }
        }
    }

    #[test]
    fn a_batch_is_judged_by_the_version_of_its_request() {
        let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a"}}]"#;
        assert_eq!(read(McpEndpoint::Mcp, None, batch).unwrap().len(), 2);
        let calls = read(McpEndpoint::Mcp, Some("2025-03-26"), batch).unwrap();
        assert_eq!(calls[1].tool(), Some("a"));
        assert!(matches!(
            read(McpEndpoint::Mcp, Some("2025-06-18"), batch),
            Err(Rejection::BadMessage(_))
        ));
    }

    #[test]
    fn mirrored_headers_are_asked_for_on_streamable_http_alone() {
        let message = br#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
        assert!(matches!(
            read(McpEndpoint::Mcp, Some("2026-07-28"), message),
            Err(Rejection::HeaderMismatch(..))
        ));
        let read = read(McpEndpoint::Messages, Some("2026-07-28"), message);
        assert_eq!(read.unwrap().len(), 1);
    }
}
