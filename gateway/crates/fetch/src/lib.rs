//! Guarded outgoing requests: a small JSON document whose URL a stranger chose, and what an identity
//! provider or a backend's authorization server is asked.
//!
//! Owns: which hosts and addresses may be asked, and what an answer may cost. Not: what the
//! document means, how long it is kept (`cache`).
//!
//! Begin at [`Fetcher`].

mod cache;
mod names;
mod query;

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use self::names::Names;
use self::query::request;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::ResponseHeader;
use pingora::listeners::ALPN;
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;
use url::Url;

use gateway_core::open_files;
use mcp_protocol::media_type;

pub use self::cache::{Documents, Unusable};
pub use self::query::Body;
use gateway_core::address::is_public;

/// What one fetch may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the look-up of the name to the last byte.
    pub total: Duration,
    /// Of the body, in bytes.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(5),
            body: 64 * 1024,
        }
    }
}

/// Why a document could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Only https on its own port is asked.
    #[error("its URL is not https on port 443")]
    Scheme,
    /// The name does not resolve.
    #[error("its host name does not resolve")]
    Name,
    /// The name resolves to an address that is not public.
    #[error("its host has an address that is not public")]
    Address,
    /// No connection, or no valid certificate.
    #[error("the connection failed")]
    Connection,
    /// The fault is here: no file is left for a connection.
    #[error(
        "the gateway could not ask for it, because the limit of {0} is met (`ulimit -n`, LimitNOFILE= \
         of systemd, ulimits.nofile of compose; of the machine, `sysctl fs.file-max`)"
    )]
    NoFiles(&'static str),
    /// Not 200. Redirects are never followed: the next hop was not judged.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// Not JSON.
    #[error("the answer is not JSON")]
    MediaType,
    /// More than the limit.
    #[error("the answer is too large")]
    TooLarge,
    /// Too many others are being fetched.
    #[error("too many documents are being fetched")]
    Busy,
    /// Slower than the limit.
    #[error("the answer took too long")]
    TooSlow,
}

/// A document that came with a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// 200 or 201, or 400 or 401, with which an endpoint of OAuth says what was wrong.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
    /// `max-age`; zero where the host forbids keeping it. `None` where it says nothing.
    pub max_age: Option<Duration>,
}

/// An endpoint that the metadata document of an issuer names: with https, or at the issuer's own origin.
///
/// # Errors
///
/// A sentence that calls it by its `name`.
pub fn own_or_https(issuer: &str, name: &str, endpoint: &str) -> Result<Url, String> {
    let url = Url::parse(endpoint).map_err(|_| format!("its {name} is no URL"))?;
    let is_own = Url::parse(issuer).is_ok_and(|issuer| issuer.origin() == url.origin());
    if url.scheme() == "https" || is_own {
        Ok(url)
    } else {
        Err(format!("its {name} is not https"))
    }
}

/// Fetches documents. One connection a fetch: nothing is pooled, so that the address that was
/// judged is the address that is asked.
pub struct Fetcher {
    connector: Connector,
    names: Names,
    limits: Limits,
    /// Hosts of the operator's own network, which may have private addresses and other ports.
    private_hosts: HashSet<String>,
    /// Origins that the operator wrote with `http:`.
    plain_origins: HashSet<String>,
}

impl Fetcher {
    /// A fetcher within `limits`. `private_hosts` may have private addresses and any port.
    pub fn new(limits: Limits, private_hosts: impl IntoIterator<Item = String>) -> Self {
        Self {
            connector: Connector::new(Some(ConnectorOptions::new(0))),
            names: Names::System,
            limits,
            private_hosts: private_hosts.into_iter().collect(),
            plain_origins: HashSet::new(),
        }
    }

    /// A fetcher that trusts what the operator wrote to be where it says: those hosts may have private
    /// addresses and any port, and what is written with `http:` is asked without TLS. What others say
    /// has to be public.
    pub fn trusting(limits: Limits, written: &[Url]) -> Self {
        let hosts = written.iter().filter_map(Url::host_str);
        let plain = written.iter().filter(|url| url.scheme() == "http");
        let plain = plain.map(|url| url.origin().ascii_serialization());
        Self {
            plain_origins: plain.collect(),
            ..Self::new(limits, hosts.map(str::to_owned))
        }
    }

    /// Gets the document at `url`: 200 and nothing else.
    pub async fn get(&self, url: &Url) -> Result<Answered, FetchError> {
        let answered = self.ask(url, None, None).await?;
        match answered.status {
            StatusCode::OK => Ok(answered),
            status => Err(FetchError::Status(status)),
        }
    }

    /// Asks, within the same bounds: posts the body, or gets a document where there is none. What is
    /// sent as `Authorization` is never logged.
    pub async fn ask(
        &self,
        url: &Url,
        authorization: Option<&str>,
        body: Option<Body<'_>>,
    ) -> Result<Answered, FetchError> {
        timeout(self.limits.total, self.exchange(url, authorization, body))
            .await
            .unwrap_or(Err(FetchError::TooSlow))
    }

    async fn exchange(
        &self,
        url: &Url,
        authorization: Option<&str>,
        body: Option<Body<'_>>,
    ) -> Result<Answered, FetchError> {
        let host = url.host_str().ok_or(FetchError::Scheme)?;
        let origin = url.origin().ascii_serialization();
        let plain = self.plain_origins.contains(&origin);
        let private = plain || self.private_hosts.contains(host);
        let secure = url.scheme() == "https" && (url.port().is_none() || private);
        if !secure && !plain {
            return Err(FetchError::Scheme);
        }
        let port = url.port_or_known_default().unwrap_or(443);
        let address = self.resolve(host, port, private).await?;
        let mut peer = HttpPeer::new(address, secure, host.to_owned());
        peer.options.alpn = ALPN::H1;
        peer.options.connection_timeout = Some(self.limits.total);

        let connection = |_: Box<pingora::Error>| FetchError::Connection;
        let (mut session, _) = self
            .connector
            .get_http_session(&peer)
            .await
            .map_err(|error| {
                let cause = error.root_cause().downcast_ref::<std::io::Error>();
                match cause.and_then(open_files::limit_met) {
                    Some(limit) => FetchError::NoFiles(limit),
                    None => FetchError::Connection,
                }
            })?;
        let request = request(url, authorization, body).map_err(connection)?;
        session
            .write_request_header(Box::new(request))
            .await
            .map_err(connection)?;
        if let Some(body) = body {
            let body = Bytes::copy_from_slice(body.text().as_bytes());
            let sent = session.write_request_body(body, true).await;
            sent.map_err(connection)?;
        }
        session.finish_request_body().await.map_err(connection)?;
        session.read_response_header().await.map_err(connection)?;
        let (status, max_age) = accept(session.response_header(), self.limits.body)?;
        let mut body = Vec::new();
        while let Some(chunk) = session.read_response_body().await.map_err(connection)? {
            if body.len() + chunk.len() > self.limits.body {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answered {
            status,
            body: body.into(),
            max_age,
        })
    }

    /// One address of the host; none if a single one of them is not public, since whoever controls
    /// the name chooses their order. The connection is made to what this returns, so that a second
    /// answer of the name server is never asked for.
    async fn resolve(
        &self,
        host: &str,
        port: u16,
        private: bool,
    ) -> Result<SocketAddr, FetchError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = self.names.look_up(bare, port).await.map_err(|error| {
            match open_files::limit_met(&error) {
                Some(limit) => FetchError::NoFiles(limit),
                None => FetchError::Name,
            }
        })?;
        if !private && addresses.iter().any(|address| !is_public(address.ip())) {
            return Err(FetchError::Address);
        }
        addresses
            .iter()
            .find(|address| address.is_ipv4())
            .or(addresses.first())
            .copied()
            .ok_or(FetchError::Name)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("limits", &self.limits)
            .field("private_hosts", &self.private_hosts)
            .field("plain_origins", &self.plain_origins)
            .finish_non_exhaustive()
    }
}

type Accepted = (StatusCode, Option<Duration>);

fn accept(header: Option<&ResponseHeader>, limit: usize) -> Result<Accepted, FetchError> {
    let header = header.ok_or(FetchError::Connection)?;
    let status = header.status;
    let says_why = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED];
    let is_done = [StatusCode::OK, StatusCode::CREATED].contains(&status);
    if !is_done && !says_why.contains(&status) {
        return Err(FetchError::Status(status));
    }
    let text = |name: http::HeaderName| {
        header
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let media_type = media_type::essence(&header.headers);
    let json = media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"));
    if !json {
        return Err(if is_done {
            FetchError::MediaType
        } else {
            FetchError::Status(status)
        });
    }
    if text(CONTENT_LENGTH)
        .parse::<usize>()
        .is_ok_and(|length| length > limit)
    {
        return Err(FetchError::TooLarge);
    }
    Ok((status, max_age(text(CACHE_CONTROL))))
}

/// RFC 9111 §5.2.2, as far as a private cache of one document needs it.
fn max_age(cache_control: &str) -> Option<Duration> {
    let mut age = None;
    for directive in cache_control.split(',') {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            age = seconds
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
        let mut header = ResponseHeader::build(status, None).unwrap();
        for (name, value) in headers {
            header.insert_header(*name, *value).unwrap();
        }
        header
    }

    #[test]
    fn only_a_small_json_answer_with_200_is_taken() {
        let json = ("content-type", "application/json; charset=utf-8");
        let accepted = accept(Some(&response(200, &[json])), 10);
        assert_eq!(accepted, Ok((StatusCode::OK, None)));
        let refused = accept(Some(&response(400, &[json])), 10);
        assert_eq!(refused, Ok((StatusCode::BAD_REQUEST, None)));
        let html = ("content-type", "text/html");
        let refused = accept(Some(&response(400, &[html])), 10);
        let status = FetchError::Status(StatusCode::BAD_REQUEST);
        assert_eq!(refused, Err(status));
        assert_eq!(
            accept(
                Some(&response(302, &[json, ("location", "https://10.0.0.1/")])),
                10
            ),
            Err(FetchError::Status(StatusCode::FOUND))
        );
        assert_eq!(
            accept(Some(&response(200, &[("content-type", "text/html")])), 10),
            Err(FetchError::MediaType)
        );
        assert_eq!(
            accept(Some(&response(200, &[json, ("content-length", "11")])), 10),
            Err(FetchError::TooLarge)
        );
    }

    #[test]
    fn the_host_decides_how_long_its_document_is_kept() {
        assert_eq!(
            max_age("public, max-age=3600"),
            Some(Duration::from_secs(3600))
        );
        assert_eq!(max_age("max-age=60, no-store"), Some(Duration::ZERO));
        assert_eq!(max_age("private"), None);
        assert_eq!(max_age("max-age=x"), None);
    }

    #[tokio::test]
    async fn no_name_with_a_private_address_is_asked() {
        for host in [
            "localhost",
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "2130706433",
        ] {
            let url = Url::parse(&format!("https://{host}/client.json")).unwrap();
            let fetcher = Fetcher::new(Limits::default(), []);
            assert_eq!(fetcher.get(&url).await, Err(FetchError::Address), "{host}");
        }
    }

    /// What a name server of the attacker's answers, look-up by look-up.
    async fn asked_with(answers: &[&[&str]]) -> (Result<Answered, FetchError>, usize) {
        let answers = answers.iter().map(|answer| {
            let addresses = answer.iter().map(|address| address.parse().unwrap());
            addresses.collect::<Vec<SocketAddr>>()
        });
        let names = Names::answering(answers);
        let fetcher = Fetcher {
            names: names.clone(),
            ..Fetcher::new(
                Limits {
                    total: Duration::from_millis(500),
                    ..Limits::default()
                },
                [],
            )
        };
        let url = Url::parse("https://app.example.com/client.json").unwrap();
        (fetcher.get(&url).await, names.asked())
    }

    #[tokio::test]
    async fn no_packet_goes_to_a_private_address_whatever_the_name_server_says() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let private = listener.local_addr().unwrap().to_string();
        let mapped = format!(
            "[::ffff:127.0.0.1]:{}",
            listener.local_addr().unwrap().port()
        );
        // A public one, at a port where nobody answers.
        let public = "1.1.1.1:9";
        for answer in [
            vec![private.as_str()],
            vec![public, &private],
            vec![&private, public],
            vec![&mapped],
            vec!["[2606:4700::1111]:443", &mapped],
        ] {
            let (result, asked) = asked_with(&[&answer]).await;
            assert_eq!(result, Err(FetchError::Address), "{answer:?}");
            assert_eq!(asked, 1);
        }
        // The name turns private after it was judged: it is asked once, and never again.
        let (result, asked) = asked_with(&[&[public], &[&private], &[&private]]).await;
        assert!(matches!(
            result,
            Err(FetchError::Connection | FetchError::TooSlow)
        ));
        assert_eq!(asked, 1);
        assert_eq!(asked_with(&[&[]]).await.0, Err(FetchError::Name));
        let heard = timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(heard.is_err(), "a packet came");
    }

    #[tokio::test]
    async fn only_https_on_its_own_port_is_asked() {
        for url in [
            "http://example.com/",
            "https://example.com:8443/",
            "ftp://example.com/",
        ] {
            let fetcher = Fetcher::new(Limits::default(), []);
            assert_eq!(
                fetcher.get(&Url::parse(url).unwrap()).await,
                Err(FetchError::Scheme),
                "{url}"
            );
        }
    }
}
