//! What is examined: the URL as a user types it into ChatGPT, and the URLs that follow from it.

use url::{Host, Url};

/// An MCP URL and its neighbours.
#[derive(Clone, Debug)]
pub struct Target {
    /// As typed; clients compare `resource` with it.
    pub(super) typed: String,
    /// The URL that speaks Streamable HTTP.
    pub(super) mcp: Url,
    /// The older transport's URL beside it.
    pub(super) sse: Url,
}

/// Why a URL can't be examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL at all, or of another scheme.
    #[error("not an http or https URL, such as https://mcp.example.com/mcp")]
    NotHttp,
    /// Clients send it as `resource`, which may not have one (RFC 8707 §2).
    #[error("an MCP URL has no fragment, no query and no user name")]
    Decorated,
}

impl Target {
    /// Reads the URL. A bare origin stands for its `/mcp`.
    pub fn parse(typed: &str) -> Result<Self, TargetError> {
        let typed = typed.trim();
        let mut url = Url::parse(typed).map_err(|_| TargetError::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(TargetError::NotHttp);
        }
        let decorated = url.query().is_some() || url.fragment().is_some();
        if decorated || !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Decorated);
        }
        let mut typed = typed.to_owned();
        if url.path() == "/" {
            url.set_path("/mcp");
            typed = url.to_string();
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let (mut mcp, mut sse) = (url.clone(), url.clone());
        if let Some(prefix) = path.strip_suffix("/sse") {
            mcp.set_path(&format!("{prefix}/mcp"));
        } else {
            let prefix = path.strip_suffix("/mcp").unwrap_or(&path);
            sse.set_path(&format!("{prefix}/sse"));
        }
        Ok(Self { typed, mcp, sse })
    }

    /// The URL of a path on the same origin.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.mcp.clone();
        url.set_path(path);
        url
    }

    /// The path that was typed, for the well-known URLs made from it.
    pub(super) fn path(&self) -> String {
        match Url::parse(&self.typed) {
            Ok(url) => url.path().to_owned(),
            Err(_) => self.mcp.path().to_owned(),
        }
    }

    /// Whether `resource` names what was typed: as typed, or as a URL library spells it.
    pub(super) fn is_named_by(&self, resource: &str) -> bool {
        resource == self.typed || Url::parse(&self.typed).is_ok_and(|url| url.as_str() == resource)
    }

    /// Scheme, host and port, as `issuer` spells them.
    pub(super) fn origin(&self) -> String {
        self.mcp.origin().ascii_serialization()
    }

    /// The host, bare of brackets.
    pub(super) fn host(&self) -> &str {
        host_and_port(&self.mcp).0
    }

    /// The port, given or of the scheme.
    pub(super) fn port(&self) -> u16 {
        host_and_port(&self.mcp).1
    }

    /// Whether the URL itself names this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.mcp)
    }
}

/// Whom a URL leads to: the host, bare of brackets, and the port, given or of the scheme.
pub(super) fn host_and_port(url: &Url) -> (&str, u16) {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, url.port_or_known_default().unwrap_or(443))
}

/// Whether a URL names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbours_of_an_mcp_url_follow_from_it() {
        for (typed, mcp, sse) in [
            ("https://h.example/mcp", "/mcp", "/sse"),
            ("https://h.example/mcp/", "/mcp/", "/sse"),
            ("https://h.example/notes/mcp", "/notes/mcp", "/notes/sse"),
            ("https://h.example/notes/sse", "/notes/mcp", "/notes/sse"),
            ("https://h.example", "/mcp", "/sse"),
            ("https://h.example/", "/mcp", "/sse"),
        ] {
            let target = Target::parse(typed).unwrap();
            assert_eq!(target.mcp.path(), mcp, "{typed}");
            assert_eq!(target.sse.path(), sse, "{typed}");
        }
    }

    #[test]
    fn resource_is_compared_with_what_was_typed() {
        let target = Target::parse("https://H.example/mcp").unwrap();
        assert!(target.is_named_by("https://H.example/mcp"));
        assert!(target.is_named_by("https://h.example/mcp"));
        assert!(!target.is_named_by("https://h.example/mcp/"));
        assert!(!target.is_named_by("https://h.example"));
    }

    #[test]
    fn what_is_no_mcp_url_is_refused() {
        assert_eq!(
            Target::parse("mcp.example.com").err(),
            Some(TargetError::NotHttp)
        );
        assert_eq!(
            Target::parse("ftp://h/mcp").err(),
            Some(TargetError::NotHttp)
        );
        for url in ["https://h/mcp?x=1", "https://h/mcp#x", "https://u:p@h/mcp"] {
            assert_eq!(
                Target::parse(url).err(),
                Some(TargetError::Decorated),
                "{url}"
            );
        }
    }
}
