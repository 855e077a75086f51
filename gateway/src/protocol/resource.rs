//! Protected resources: where a backend is mounted, the identifiers a client may use for it
//! (RFC 8707, RFC 9728), and which of them mean the same thing.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

/// The issuer identifier: the public origin, without path and without trailing slash. Every URL
/// that the gateway publishes starts with it; no request header ever changes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer(String);

/// Why a text is no issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Not an absolute URL.
    #[error("is not an absolute URL")]
    NotAUrl,
    /// OAuth endpoints are https (OAuth 2.1 §1.5); loopback is the exception for trying things out.
    #[error("must be https, or http on a loopback address")]
    NotHttps,
    /// The well-known documents stand at the origin.
    #[error("must be an origin: no path, query, fragment or user name")]
    NotAnOrigin,
}

impl Issuer {
    /// Parses a public URL.
    pub fn parse(text: &str) -> Result<Self, IssuerError> {
        let url = Url::parse(text).map_err(|_| IssuerError::NotAUrl)?;
        if !url.username().is_empty()
            || url.password().is_some()
            || url.path() != "/"
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(IssuerError::NotAnOrigin);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(IssuerError::NotHttps),
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

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
