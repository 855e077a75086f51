//! Where a request goes: one canonical path, then an endpoint of our own, a backend, or nothing.
//! What is decided about a path and what is forwarded can't differ, because every path that could
//! be read in two ways is refused.

use std::sync::Arc;

use http::Method;

use super::mounted_backend::MountedBackend;
use gateway_core::protocol::resource::{Issuer, Mount};
use gateway_oauth::endpoint::{Endpoint, MatchedEndpoint};

/// A request target that has one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Whether it named this gateway itself, in which case the Host header says nothing (RFC 9112
    /// §3.2.2).
    pub(super) names_host: bool,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

/// The target can be read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct AmbiguousTarget(pub(super) &'static str);

impl<'a> Target<'a> {
    /// Reads a request target: origin-form, or absolute-form that names this gateway (RFC 9112
    /// §3.2). No segment is empty or a dot segment, and nothing is percent-encoded: no path that
    /// is served here needs it.
    pub(super) fn read(raw: &'a [u8], issuer: &Issuer) -> Result<Self, AmbiguousTarget> {
        let text =
            std::str::from_utf8(raw).map_err(|_| AmbiguousTarget("the target is not ASCII"))?;
        let names_host = !text.starts_with('/');
        let text = origin_form(text, issuer)?;
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:/".contains(&b);
        if !path.bytes().all(plain) {
            return Err(AmbiguousTarget(
                "the path has a character that is read in several ways",
            ));
        }
        let mut segments = path.split('/');
        if segments.next() != Some("") {
            return Err(AmbiguousTarget("the path is not absolute"));
        }
        let mut segments = segments.peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            if matches!(segment, "." | "..") || (segment.is_empty() && !is_last) {
                return Err(AmbiguousTarget("the path has an empty or a dot segment"));
            }
        }
        if query.is_some_and(|query| !query.bytes().all(|b| b.is_ascii_graphic() && b != b'#')) {
            return Err(AmbiguousTarget(
                "the query has a character that must be encoded",
            ));
        }
        Ok(Self {
            names_host,
            path,
            query,
        })
    }
}

fn origin_form<'a>(text: &'a str, issuer: &Issuer) -> Result<&'a str, AmbiguousTarget> {
    if text.starts_with('/') {
        return Ok(text);
    }
    let rest = text
        .split_once("://")
        .filter(|(scheme, _)| {
            ["http", "https"]
                .iter()
                .any(|own| scheme.eq_ignore_ascii_case(own))
        })
        .map(|(_, rest)| rest)
        .ok_or(AmbiguousTarget("the target is neither a path nor a URL"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if !is_own_host(authority, issuer) {
        return Err(AmbiguousTarget("the target names another host"));
    }
    match rest {
        "" => Ok("/"),
        rest if rest.starts_with('/') => Ok(rest),
        _ => Err(AmbiguousTarget("the target has no path")),
    }
}

/// Whether a Host names this gateway: the public name with any port, an address, `localhost`, or a
/// name without a dot, which only a local network resolves. A page on another name that was made to
/// resolve to this gateway (DNS rebinding) sends its own name.
pub(super) fn is_own_host(authority: &str, issuer: &Issuer) -> bool {
    let host = without_port(authority);
    let is_address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>()
        .is_ok();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_local = !host.is_empty() && host.bytes().all(is_name);
    is_address
        || is_local
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.eq_ignore_ascii_case(without_port(issuer.authority()))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Which of a backend's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum McpEndpoint {
    /// Streamable HTTP.
    Mcp,
    /// The stream of the legacy transport.
    Sse,
    /// The messages of the legacy transport.
    Messages,
}

impl McpEndpoint {
    pub(super) const ALL: [Self; 3] = [Self::Mcp, Self::Sse, Self::Messages];

    /// What metrics call it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Sse => "sse",
            Self::Messages => "messages",
        }
    }
}

/// Where a request goes.
pub(super) enum Route<'a> {
    Endpoint(MatchedEndpoint),
    Backend(BackendRoute<'a>),
    Nowhere,
}

/// What a request for a backend asked for.
#[derive(Clone, Copy)]
pub(super) struct BackendRoute<'a> {
    pub(super) mounted: &'a Arc<MountedBackend>,
    pub(super) endpoint: McpEndpoint,
    pub(super) target: Target<'a>,
}

impl BackendRoute<'_> {
    /// The path that its backend's endpoint has here, as the operator's configuration makes it.
    pub(super) fn path(self) -> String {
        let mount = &self.mounted.backend.mount;
        match self.endpoint {
            McpEndpoint::Mcp => mount.mcp_path(),
            McpEndpoint::Sse => mount.sse_path(),
            McpEndpoint::Messages => mount.messages_path(),
        }
    }

    /// The same, for as long as somebody has it.
    pub(super) fn to_owned(self) -> OwnedRoute {
        OwnedRoute {
            mounted: Arc::clone(self.mounted),
            endpoint: self.endpoint,
            names_host: self.target.names_host,
            path: self.target.path.into(),
            query: self.target.query.map(Into::into),
        }
    }
}

/// A [`BackendRoute`] that outlives the request's head.
#[derive(Clone)]
pub(super) struct OwnedRoute {
    pub(super) mounted: Arc<MountedBackend>,
    pub(super) endpoint: McpEndpoint,
    names_host: bool,
    path: Arc<str>,
    query: Option<Arc<str>>,
}

impl OwnedRoute {
    /// The route as others take it.
    pub(super) fn route(&self) -> BackendRoute<'_> {
        BackendRoute {
            mounted: &self.mounted,
            endpoint: self.endpoint,
            target: Target {
                names_host: self.names_host,
                path: &self.path,
                query: self.query.as_deref(),
            },
        }
    }
}

/// What is served at which path.
pub(super) struct Routes {
    backends: Vec<Arc<MountedBackend>>,
    mounts: Vec<Mount>,
}

impl Routes {
    pub(super) fn new(backends: Vec<MountedBackend>) -> Self {
        let mounts = backends.iter().map(|mounted| mounted.backend.mount.clone());
        Self {
            mounts: mounts.collect(),
            backends: backends.into_iter().map(Arc::new).collect(),
        }
    }

    /// All backends, in configuration order.
    pub(super) fn backends(&self) -> &[Arc<MountedBackend>] {
        &self.backends
    }

    /// The backend of this name.
    pub(super) fn backend(&self, name: &str) -> Option<&Arc<MountedBackend>> {
        let mut backends = self.backends.iter();
        backends.find(|mounted| mounted.backend.mount.name == name)
    }

    /// The route of a canonical path. A person opens `/` with GET; everything else at the place of
    /// a backend at `/` is MCP.
    pub(super) fn route<'a>(&'a self, method: &Method, target: Target<'a>) -> Route<'a> {
        let for_people = matches!(*method, Method::GET | Method::HEAD);
        for mounted in &self.backends {
            let prefix = &mounted.backend.mount.prefix;
            if let Some(endpoint) = mcp_endpoint(target.path, prefix, for_people) {
                return Route::Backend(BackendRoute {
                    mounted,
                    endpoint,
                    target,
                });
            }
        }
        match Endpoint::find(target.path, &self.mounts) {
            Some(matched) => Route::Endpoint(matched),
            None => Route::Nowhere,
        }
    }
}

fn mcp_endpoint(path: &str, prefix: &str, for_people: bool) -> Option<McpEndpoint> {
    let rest = path.strip_prefix(prefix)?;
    match rest.strip_suffix('/').unwrap_or(rest) {
        "/mcp" => Some(McpEndpoint::Mcp),
        "/sse" => Some(McpEndpoint::Sse),
        "/messages" => Some(McpEndpoint::Messages),
        "" if prefix.is_empty() && !for_people => Some(McpEndpoint::Mcp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        Issuer::parse("https://mcp.example.com:8443").unwrap()
    }

    fn read(raw: &str) -> Option<(String, Option<String>)> {
        Target::read(raw.as_bytes(), &issuer())
            .ok()
            .map(|target| (target.path.to_owned(), target.query.map(str::to_owned)))
    }

    #[test]
    fn plain_paths_pass_unchanged() {
        for path in [
            "/",
            "/mcp",
            "/mcp/",
            "/notes/mcp",
            "/.well-known/oauth-protected-resource/notes/mcp/",
            "/a.b/..c/...",
            "/~x",
        ] {
            assert_eq!(read(path), Some((path.to_owned(), None)), "{path}");
        }
        assert_eq!(
            read("/a?b=/../%2f;?"),
            Some(("/a".into(), Some("b=/../%2f;?".into())))
        );
        assert_eq!(read("/a?"), Some(("/a".into(), Some(String::new()))));
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        for path in [
            "",
            "*",
            "mcp",
            "//mcp",
            "/mcp//",
            "/./mcp",
            "/a/../mcp",
            "/mcp/..",
            "/mcp/.",
            "/..",
            "/%6dcp",
            "/%2e%2e/mcp",
            "/a%2fmcp",
            "/a%5cmcp",
            "/mcp%00",
            "/mcp%2500",
            "/mcp;x",
            "/mcp;/sse",
            "/a\\mcp",
            "\\mcp",
            "/mcp#x",
            "/mcp@x",
            "/mcp x",
            "/mcp\u{7f}",
            "/mcp\0",
            "/mcp\t",
            "/mçp",
            "/mcp\"",
            "/mcp<",
            "/mcp|",
            "/mcp^",
            "/mcp`",
            "/mcp{",
            "/%",
            "/%zz",
            "/a?b#c",
            "/a?b c",
            "/a?ä",
        ] {
            assert_eq!(read(path), None, "{path:?}");
        }
        assert!(Target::read(b"/mcp\xff", &issuer()).is_err());
    }

    #[test]
    fn an_absolute_form_must_name_this_gateway() {
        assert_eq!(
            read("https://mcp.example.com:8443/mcp?x=1"),
            Some(("/mcp".into(), Some("x=1".into())))
        );
        // By any name that a Host header may have, too.
        for target in [
            "http://MCP.example.com:8443/mcp",
            "HTTP://mcp.example.com/mcp",
            "http://127.0.0.1:8080/mcp",
            "http://[::1]:8080/mcp",
            "http://localhost:8080/mcp",
        ] {
            assert_eq!(read(target), Some(("/mcp".into(), None)), "{target}");
        }
        assert_eq!(
            read("http://mcp.example.com:8443"),
            Some(("/".into(), None))
        );
        for target in [
            "https://mcp.example.com.evil.example/mcp",
            "https://evil.example/mcp",
            "https://evil.example:8443/mcp",
            "https://a@mcp.example.com:8443/mcp",
            "https://mcp.example.com:8443?x",
            "ftp://mcp.example.com:8443/mcp",
            "https:///mcp",
            "https:/mcp",
            "mcp.example.com:8443",
        ] {
            assert_eq!(read(target), None, "{target}");
        }
    }

    #[test]
    fn a_foreign_host_is_told_from_our_own() {
        for host in [
            "mcp.example.com",
            "MCP.example.com:8443",
            "mcp.example.com:1",
            "127.0.0.1:80",
            "[::1]:80",
            "[::1]",
            "localhost:8080",
            "a.localhost",
            "gateway:8080",
        ] {
            assert!(is_own_host(host, &issuer()), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "a b",
            "user@localhost",
            "localhost, evil.example",
            "localhost/evil.example",
            "127.0.0.1.evil.example",
            "mcp.example.com.evil",
            "xmcp.example.com",
        ] {
            assert!(!is_own_host(host, &issuer()), "{host}");
        }
    }

    #[test]
    fn a_backend_has_three_endpoints_and_its_root_for_programs() {
        for (path, prefix, expected) in [
            ("/mcp", "", Some(McpEndpoint::Mcp)),
            ("/mcp/", "", Some(McpEndpoint::Mcp)),
            ("/sse/", "", Some(McpEndpoint::Sse)),
            ("/messages/", "", Some(McpEndpoint::Messages)),
            ("/notes/mcp", "/notes", Some(McpEndpoint::Mcp)),
            ("/notes/mcp", "", None),
            ("/notesmcp", "/notes", None),
            ("/mcp2", "", None),
            ("/MCP", "", None),
            ("/mcp/x", "", None),
            ("/mcp/.well-known/oauth-protected-resource", "", None),
            ("/messages/x", "", None),
            ("/", "", None),
            ("/notes/", "/notes", None),
        ] {
            assert_eq!(
                mcp_endpoint(path, prefix, true),
                expected,
                "{path} at {prefix}"
            );
        }
        assert_eq!(mcp_endpoint("/", "", false), Some(McpEndpoint::Mcp));
        assert_eq!(mcp_endpoint("/notes", "/notes", false), None);
        assert_eq!(mcp_endpoint("/notes2", "/notes", false), None);
        assert_eq!(mcp_endpoint("/register", "", false), None);
    }
}
