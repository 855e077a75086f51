//! A collector of OpenTelemetry, asked by OTLP over HTTP in protobuf.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost_0_14::Message as _;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// From connecting to the end of the answer.
const TOTAL: Duration = Duration::from_secs(10);

/// The most that is read of an answer, in bytes.
const MOST_ANSWER: usize = 64 * 1024;

/// What a collector may ask us to wait at most.
const MOST_PAUSE: Duration = Duration::from_secs(60);

/// Where spans are posted, and with which headers.
#[derive(Clone)]
pub struct Endpoint {
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The URL of an endpoint can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is none.
    #[error("is no URL, such as http://127.0.0.1:4318/v1/traces")]
    NoUrl,
    /// It is of another scheme.
    #[error("must be http:// or https://: OTLP over HTTP; that over gRPC has another port")]
    Scheme,
    /// It holds a credential.
    #[error("has a user name or password in it: a credential goes to a header of headers_file")]
    Credential,
}

impl Endpoint {
    /// Takes a URL. One without a path means OTLP's own, `/v1/traces`. `headers` go with each request, as a
    /// credential does.
    ///
    /// # Errors
    ///
    /// It can't be asked: what is wrong with it.
    pub fn new(url: &str, headers: Vec<(HeaderName, HeaderValue)>) -> Result<Self, EndpointError> {
        let url: Uri = url.trim().parse().map_err(|_| EndpointError::NoUrl)?;
        let authority = url.authority().ok_or(EndpointError::NoUrl)?;
        match url.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(EndpointError::Scheme),
            None => return Err(EndpointError::NoUrl),
        }
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credential);
        }
        let mut parts = url.into_parts();
        if parts.path_and_query.as_ref().is_none_or(|it| it == "/") {
            parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/v1/traces"));
        }
        let url = Uri::from_parts(parts).map_err(|_| EndpointError::NoUrl)?;
        Ok(Self { url, headers })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("headers", &names)
            .finish()
    }
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    #[error("it did not answer within 10 s")]
    TooSlow,
    #[error("it answered {0}")]
    Status(StatusCode, Option<Duration>),
}

impl Failure {
    /// Whether the same may be taken later; by the specification of OTLP, Failures.
    pub(crate) const fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TooSlow => true,
            Self::Status(status, _) => matches!(status.as_u16(), 429 | 502..=504),
        }
    }

    /// How long it asks us to wait.
    pub(crate) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Status(_, pause) => pause.map(|pause| pause.min(MOST_PAUSE)),
            _ => None,
        }
    }
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The collector that spans are sent to.
pub(crate) struct Collector {
    endpoint: Endpoint,
    client: HttpClient,
}

impl Collector {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            client: client(endpoint.url.scheme_str() == Some("https")),
            endpoint,
        }
    }

    /// Sends a batch. Tells how many of its spans the collector did not want.
    pub(crate) async fn send(&self, batch: Bytes) -> Result<u64, Failure> {
        timeout(TOTAL, self.exchange(batch))
            .await
            .unwrap_or(Err(Failure::TooSlow))
    }

    async fn exchange(&self, batch: Bytes) -> Result<u64, Failure> {
        let mut request = Request::new(Full::new(batch));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.url.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let agent = concat!("cupcake-gateway/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(self.endpoint.headers.iter().cloned());
        let unreachable = |error: &dyn Error| Failure::Unreachable(causes(error));
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let pause = answer.headers().get(RETRY_AFTER).and_then(seconds);
        // What it says of a failure is not looked at: it might say anything.
        let body = Limited::new(answer.into_body(), MOST_ANSWER)
            .collect()
            .await;
        if !status.is_success() {
            return Err(Failure::Status(status, pause));
        }
        // One whose answer breaks off, or is no message of OTLP, has taken it all the same: sent again,
        // every span would be there twice.
        let told = body.ok().map(|body| body.to_bytes());
        let told = told.and_then(|told| ExportTraceServiceResponse::decode(told).ok());
        let rejected = told.and_then(|told| told.partial_success);
        let rejected = rejected.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or_default())
    }
}

/// A client; with TLS it trusts the authorities of this machine. One that can't be read is one less, and what
/// is missing shows at the first handshake.
fn client(is_secure: bool) -> HttpClient {
    let mut roots = RootCertStore::empty();
    if is_secure {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(1)
        .build(connector)
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    value
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// An error with what it rests on: a client's own says no more than that it could not connect.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_http_and_has_a_path() {
        let url = |text: &str| Endpoint::new(text, Vec::new()).map(|it| it.url.to_string());
        for text in ["http://a:4318", "http://a:4318/", "http://a:4318/v1/traces"] {
            assert_eq!(
                url(text).as_deref(),
                Ok("http://a:4318/v1/traces"),
                "{text}"
            );
        }
        let own = "https://otlp.example/own/path?tenant=1";
        assert_eq!(url(own).as_deref(), Ok(own));
        assert_eq!(url("grpc://a:4317"), Err(EndpointError::Scheme));
        assert_eq!(url("127.0.0.1:4318"), Err(EndpointError::NoUrl));
        assert_eq!(url("http://u:p@a/"), Err(EndpointError::Credential));
    }

    #[test]
    fn what_a_header_says_is_not_printed() {
        let header = (
            HeaderName::from_static("x-key"),
            HeaderValue::from_static("hunter2"),
        );
        let endpoint = Endpoint::new("http://a", vec![header]).unwrap();
        let printed = format!("{endpoint:?}");
        assert!(
            printed.contains("x-key") && !printed.contains("hunter2"),
            "{printed}"
        );
    }

    #[test]
    fn only_what_passes_is_sent_again() {
        let status = |code| Failure::Status(StatusCode::from_u16(code).unwrap(), None);
        for code in [429, 502, 503, 504] {
            assert!(status(code).is_temporary(), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 413, 500, 501] {
            assert!(!status(code).is_temporary(), "{code}");
        }
        let patient = Failure::Status(StatusCode::TOO_MANY_REQUESTS, Some(Duration::MAX));
        assert_eq!(patient.pause(), Some(MOST_PAUSE));
    }
}
