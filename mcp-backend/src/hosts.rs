//! Which `Host` and `Origin` are answered: the guard against DNS rebinding, pure.
//!
//! Without it, a page in a browser could resolve its own name to this machine and read documents.

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

/// The names this server answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

/// A request that is not for this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForeignRequest {
    /// The host it names is not ours, or it names none.
    #[error("Host not allowed: add it with --allowed-host if it is one of this server's names")]
    Host,
    /// It was sent by a page from elsewhere.
    #[error("Origin not allowed")]
    Origin,
}

impl Hosts {
    /// The loopback names and these, each `NAME` (any port) or `NAME:PORT`.
    pub fn new(also: &[String]) -> Self {
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        Self(loopback.into_iter().chain(also.iter().cloned()).collect())
    }

    /// The names, for those who check again.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Judges a request by its headers.
    ///
    /// # Errors
    /// It is meant for another host, or comes from a page of another.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), ForeignRequest> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let host = host.and_then(|host| host.parse().ok());
        if hosts.next().is_some() || !host.is_some_and(|host| self.allow(&host)) {
            return Err(ForeignRequest::Host);
        }
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().ok();
            let origin = origin.and_then(|origin| origin.parse::<Uri>().ok());
            if !origin.is_some_and(|uri| uri.authority().is_some_and(|host| self.allow(host))) {
                return Err(ForeignRequest::Origin);
            }
        }
        Ok(())
    }

    fn allow(&self, authority: &Authority) -> bool {
        self.0
            .iter()
            .filter_map(|name| name.parse::<Authority>().ok())
            .any(|name| {
                name.host().eq_ignore_ascii_case(authority.host())
                    && (name.port_u16().is_none() || name.port_u16() == authority.port_u16())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn loopback_names_are_answered_and_foreign_ones_are_not() {
        let hosts = Hosts::new(&[]);
        for host in [
            "localhost",
            "LOCALHOST:9000",
            "127.0.0.1:9000",
            "[::1]:9000",
        ] {
            assert_eq!(hosts.admit(&headers(host, None)), Ok(()), "{host}");
        }
        for host in [
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "",
            "a b",
            "127.0.0.2",
            "user@example.com",
        ] {
            assert_eq!(
                hosts.admit(&headers(host, None)),
                Err(ForeignRequest::Host),
                "{host}"
            );
        }
        assert_eq!(hosts.admit(&HeaderMap::new()), Err(ForeignRequest::Host));
    }

    #[test]
    fn a_second_host_is_refused() {
        let mut two = headers("localhost", None);
        two.append(HOST, "example.com".parse().unwrap());
        assert_eq!(Hosts::new(&[]).admit(&two), Err(ForeignRequest::Host));
    }

    #[test]
    fn added_names_are_answered_on_their_port() {
        let hosts = Hosts::new(&["mcp-backend:9000".to_owned(), "docs.example.com".to_owned()]);
        assert_eq!(hosts.admit(&headers("mcp-backend:9000", None)), Ok(()));
        assert_eq!(
            hosts.admit(&headers("mcp-backend:9001", None)),
            Err(ForeignRequest::Host)
        );
        assert_eq!(hosts.admit(&headers("docs.example.com:8443", None)), Ok(()));
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let hosts = Hosts::new(&[]);
        assert_eq!(
            hosts.admit(&headers("localhost", Some("http://localhost:6274"))),
            Ok(())
        );
        for origin in [
            "https://example.com",
            "null",
            "http://localhost.example.com",
            "",
        ] {
            assert_eq!(
                hosts.admit(&headers("localhost", Some(origin))),
                Err(ForeignRequest::Origin),
                "{origin}"
            );
        }
    }
}
