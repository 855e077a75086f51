//! Protected resources: where a backend is mounted, the identifiers a client may use for it
//! (RFC 8707, RFC 9728), and which of them mean the same thing.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::grants::personal::PersonalToken;
use crate::text_type::shown_as_text;

/// The issuer identifier: the public origin, without path and without trailing slash. Every URL
/// that the gateway publishes starts with it; no request header ever changes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer(String);

/// Why a text is no issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Not an absolute URL.
    #[error("is not an absolute URL, such as https://mcp.example.com")]
    Url,
    /// OAuth endpoints are https (OAuth 2.1 §1.5); loopback is the exception for trying things out.
    #[error("must be https, or http on a loopback address")]
    Insecure,
    /// The well-known documents stand at the origin.
    #[error("must be an origin: no path, query, fragment or user name")]
    Excess,
}

impl Issuer {
    /// Parses a public URL.
    pub fn parse(text: &str) -> Result<Self, IssuerError> {
        let url = Url::parse(text).map_err(|_| IssuerError::Url)?;
        if names_a_user(&url)
            || url.path() != "/"
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(IssuerError::Excess);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(IssuerError::Insecure),
        }
        Ok(Self(url.origin().ascii_serialization()))
    }

    /// The identifier, byte for byte as metadata, `iss` and challenges carry it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of an absolute path.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether cookies can carry `Secure` and the `__Host-` prefix.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Host and port as in a `Host` header.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, rest)| rest)
    }

    /// The host alone; that of an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }

    /// Whether only programs on this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| is_loopback(&url))
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a URL's host is a loopback address or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether a user name or a password stands before a URL's host.
pub(crate) fn names_a_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The public place of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// The backend's name in configuration, log and consent page.
    pub name: String,
    /// Empty for `/`, else an absolute path without trailing slash, such as `/notes`.
    pub prefix: String,
}

impl Mount {
    /// The path of the Streamable HTTP endpoint.
    pub fn mcp_path(&self) -> String {
        format!("{}/mcp", self.prefix)
    }

    /// The path of the legacy SSE stream.
    pub fn sse_path(&self) -> String {
        format!("{}/sse", self.prefix)
    }

    /// The path that messages of the legacy transport are posted to.
    pub fn messages_path(&self) -> String {
        format!("{}/messages", self.prefix)
    }

    /// Whether a path of the public origin is one of this mount's: an endpoint or the prefix
    /// itself, with or without one trailing slash.
    fn owns(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        path.strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| matches!(rest, "" | "/mcp" | "/sse" | "/messages"))
    }

    /// The canonical identifier of this backend: the audience of its tokens.
    pub fn resource(&self, issuer: &Issuer) -> Resource {
        Resource(issuer.join(&self.mcp_path()))
    }
}

/// The canonical identifier of a backend, as tokens carry it: always `{issuer}{prefix}/mcp`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resource(String);

impl Resource {
    /// A resource that a token of ours names; it was canonical when it was minted.
    pub fn from_token(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

shown_as_text!(Resource);

/// A query as part of an identifier, with its question mark; empty where there is none, or none
/// that can stand in a document and in a header as it was written. One with a token in it, which
/// some clients put there by mistake, is nobody's identifier.
pub fn identifying_query(query: Option<&str>) -> String {
    const LONGEST: usize = 2048;
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"\\<>#".contains(&b);
    let has_token = |query: &str| {
        let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
        names.any(|name| name.eq_ignore_ascii_case("access_token"))
            || PersonalToken::may_stand_in(query)
    };
    match query {
        Some(query) if query.len() <= LONGEST && query.bytes().all(plain) && !has_token(query) => {
            format!("?{query}")
        }
        _ => String::new(),
    }
}

/// The mount that a path of the public origin belongs to. The origin itself (empty, or `/`)
/// belongs to the mount at `/`, or to the only one there is.
pub fn mount_at<'a>(path: &str, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts
        .iter()
        .find(|mount| mount.owns(path))
        .or(match (path, mounts) {
            ("" | "/", [only]) => Some(only),
            _ => None,
        })
}

/// The mount for a client that names no resource, as those of the revision 2025-03-26 do: the one
/// at `/`, else the first.
pub fn default_mount(mounts: &[Mount]) -> Option<&Mount> {
    mounts
        .iter()
        .find(|mount| mount.prefix.is_empty())
        .or_else(|| mounts.first())
}

/// Why a `resource` parameter names no mount (`invalid_target`, RFC 8707 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Not an absolute URI without fragment, or one that can be read in two ways.
    #[error("the resource is not an absolute URI without fragment in its normal form")]
    Malformed,
    /// Nothing is served there.
    #[error("the resource is not one that this gateway serves")]
    Unknown,
    /// Two values that mean different mounts; a token is for one.
    #[error("the resource values name different resources")]
    Several,
}

/// The mount that the `resource` values of a request mean; `None` if there are none. Scheme and
/// host in upper case, the default port and a trailing slash mean the same (RFC 3986 §6.2): real
/// clients send what their URL parser made of the identifier. A query is the backend's own matter
/// and names no other resource: the token is for the backend, whatever it is asked with.
pub fn requested_mount<'a, 'v>(
    values: impl IntoIterator<Item = &'v str>,
    issuer: &Issuer,
    mounts: &'a [Mount],
) -> Result<Option<&'a Mount>, ResourceError> {
    let mut named = None;
    for value in values.into_iter().filter(|value| !value.is_empty()) {
        let mount = mount_of(value, issuer, mounts)?;
        if named.is_some_and(|earlier| earlier != mount) {
            return Err(ResourceError::Several);
        }
        named = Some(mount);
    }
    Ok(named)
}

/// The same where what is shown, such as a code or a grant, is for one backend already: the bare origin names
/// none then. It meant that backend when it was asked for, while there was no other, and goes on to.
pub fn requested_mount_of_shown<'a, 'v>(
    values: impl IntoIterator<Item = &'v str>,
    issuer: &Issuer,
    mounts: &'a [Mount],
) -> Result<Option<&'a Mount>, ResourceError> {
    let is_origin = |value: &str| path_at(value, issuer).is_ok_and(|path| matches!(path, "" | "/"));
    let values = values.into_iter().filter(|value| !is_origin(value));
    requested_mount(values, issuer, mounts)
}

fn mount_of<'a>(
    text: &str,
    issuer: &Issuer,
    mounts: &'a [Mount],
) -> Result<&'a Mount, ResourceError> {
    mount_at(path_at(text, issuer)?, mounts).ok_or(ResourceError::Unknown)
}

/// The path of a resource at the public origin.
fn path_at<'v>(text: &'v str, issuer: &Issuer) -> Result<&'v str, ResourceError> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if !plain || text.contains('#') {
        return Err(ResourceError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| ResourceError::Malformed)?;
    let after_scheme = text.split_once("://").ok_or(ResourceError::Malformed)?.1;
    let path_and_query = after_scheme
        .find(['/', '?'])
        .map_or("", |at| &after_scheme[at..]);
    let path = path_and_query.split('?').next().unwrap_or_default();
    // The parser's own reading of the path must be the written one: no dot segments.
    if path != url.path() && !path.is_empty() || names_a_user(&url) {
        return Err(ResourceError::Malformed);
    }
    if url.origin().ascii_serialization() != issuer.as_str() {
        return Err(ResourceError::Unknown);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(name: &str, prefix: &str) -> Mount {
        Mount {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    fn issuer() -> Issuer {
        Issuer::parse("https://mcp.example.com").unwrap()
    }

    #[test]
    fn no_token_is_echoed_under_whatever_name() {
        for query in [
            "access_token=x",
            "a=b&ACCESS_TOKEN=x",
            "key=cupgw_1",
            "cupgw_",
        ] {
            assert_eq!(identifying_query(Some(query)), "", "{query}");
        }
        assert_eq!(identifying_query(Some("team=1")), "?team=1");
    }

    #[test]
    fn an_issuer_is_an_https_origin_or_http_on_loopback() {
        for (text, issuer) in [
            ("https://mcp.example.com", "https://mcp.example.com"),
            ("https://mcp.example.com/", "https://mcp.example.com"),
            ("HTTPS://MCP.Example.com:443/", "https://mcp.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(Issuer::parse(text).unwrap().as_str(), issuer);
        }
        for (text, error) in [
            ("mcp.example.com", IssuerError::Url),
            ("http://mcp.example.com", IssuerError::Insecure),
            ("ftp://localhost", IssuerError::Insecure),
            ("https://mcp.example.com/x", IssuerError::Excess),
            ("https://mcp.example.com/?x", IssuerError::Excess),
            ("https://u@mcp.example.com", IssuerError::Excess),
        ] {
            assert_eq!(Issuer::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn every_form_that_clients_send_names_its_mount() {
        let mounts = [mount("notes", ""), mount("files", "/files")];
        for (resource, name) in [
            ("https://mcp.example.com", "notes"),
            ("https://mcp.example.com/", "notes"),
            ("HTTPS://MCP.example.COM:443/mcp", "notes"),
            ("https://mcp.example.com/mcp", "notes"),
            ("https://mcp.example.com/mcp/", "notes"),
            ("https://mcp.example.com/sse/", "notes"),
            ("https://mcp.example.com/messages", "notes"),
            ("https://mcp.example.com/mcp?project=abc", "notes"),
            ("https://mcp.example.com/mcp/?a=1&b=%2F..%2F", "notes"),
            ("https://mcp.example.com/mcp?a='<\"", "notes"),
            ("https://mcp.example.com?x=/../files/mcp", "notes"),
            ("https://mcp.example.com/files/mcp?project=abc", "files"),
            ("https://mcp.example.com/files", "files"),
            ("https://mcp.example.com/files/", "files"),
            ("https://mcp.example.com/files/mcp", "files"),
            ("https://mcp.example.com/files/sse", "files"),
        ] {
            let named = requested_mount([resource], &issuer(), &mounts);
            assert_eq!(named.unwrap().unwrap().name, name, "{resource}");
        }
    }

    #[test]
    fn what_names_no_mount_is_refused() {
        let mounts = [mount("notes", ""), mount("files", "/files")];
        for (resource, error) in [
            ("https://mcp.example.com/mcp2", ResourceError::Unknown),
            ("https://mcp.example.com/MCP", ResourceError::Unknown),
            ("https://mcp.example.com/mcp//", ResourceError::Unknown),
            (
                "https://mcp.example.com/mcp2?x=/mcp",
                ResourceError::Unknown,
            ),
            (
                "https://mcp.example.com/x/../mcp?x",
                ResourceError::Malformed,
            ),
            ("https://mcp.example.com/mcp?x#y", ResourceError::Malformed),
            ("https://mcp.example.com/filesmcp", ResourceError::Unknown),
            ("https://mcp.example.com:8443/mcp", ResourceError::Unknown),
            ("http://mcp.example.com/mcp", ResourceError::Unknown),
            ("https://evil.example/mcp", ResourceError::Unknown),
            (
                "https://mcp.example.com.evil.example/mcp",
                ResourceError::Unknown,
            ),
            ("https://mcp.example.com/x/../mcp", ResourceError::Malformed),
            ("https://mcp.example.com/%2e/mcp", ResourceError::Malformed),
            ("https://mcp.example.com\\mcp", ResourceError::Malformed),
            ("https://mcp.example.com/mcp#x", ResourceError::Malformed),
            ("https://u@mcp.example.com/mcp", ResourceError::Malformed),
            ("https:mcp.example.com/mcp", ResourceError::Malformed),
            ("/mcp", ResourceError::Malformed),
            ("mcp", ResourceError::Malformed),
        ] {
            let named = requested_mount([resource], &issuer(), &mounts);
            assert_eq!(named, Err(error), "{resource}");
        }
    }

    #[test]
    fn several_values_must_mean_one_mount() {
        let mounts = [mount("notes", ""), mount("files", "/files")];
        let of = |values: &[&str]| {
            requested_mount(values.iter().copied(), &issuer(), &mounts)
                .map(|mount| mount.map(|mount| mount.name.clone()))
        };
        let (mcp, sse) = ("https://mcp.example.com/mcp", "https://mcp.example.com/sse");
        assert_eq!(of(&[mcp, sse, ""]), Ok(Some("notes".to_owned())));
        assert_eq!(
            of(&[mcp, "https://mcp.example.com/files/mcp"]),
            Err(ResourceError::Several)
        );
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[""]), Ok(None));
    }

    #[test]
    fn for_what_is_shown_the_origin_names_no_backend_and_all_else_what_it_names() {
        let mounts = [mount("notes", ""), mount("files", "/files")];
        let of = |values: &[&str]| {
            requested_mount_of_shown(values.iter().copied(), &issuer(), &mounts)
                .map(|mount| mount.map(|mount| mount.name.clone()))
        };
        for origin in [
            "https://mcp.example.com",
            "https://mcp.example.com/",
            "HTTPS://MCP.example.COM:443/",
            "https://mcp.example.com/?x=1",
        ] {
            assert_eq!(of(&[origin]), Ok(None), "{origin}");
            let files = "https://mcp.example.com/files/mcp";
            assert_eq!(of(&[origin, files]), Ok(Some("files".to_owned())));
        }
        let mcp = "https://mcp.example.com/mcp";
        assert_eq!(of(&[mcp]), Ok(Some("notes".to_owned())));
        for (other, error) in [
            ("https://evil.example/", ResourceError::Unknown),
            ("https://mcp.example.com/mail", ResourceError::Unknown),
            ("https://mcp.example.com/#x", ResourceError::Malformed),
        ] {
            assert_eq!(of(&[other]), Err(error), "{other}");
        }
    }

    #[test]
    fn the_origin_names_the_only_backend_and_no_one_of_several() {
        let only = [mount("files", "/files")];
        let several = [mount("files", "/files"), mount("mail", "/mail")];
        assert_eq!(mount_at("", &only), Some(&only[0]));
        assert_eq!(mount_at("/", &only), Some(&only[0]));
        assert_eq!(mount_at("", &several), None);
        assert_eq!(mount_at("/mcp", &only), None);
        assert_eq!(default_mount(&several), Some(&several[0]));
    }
}
