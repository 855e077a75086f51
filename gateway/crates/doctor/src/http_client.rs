//! The client: one connection a request, nothing followed, nothing repeated, everything recorded.
//!
//! It speaks through hyper and tokio-rustls rather than through Pingora, which the gateway itself
//! is made of: an observer from outside does not share the eyes of what it looks at, and it needs
//! the exact reason of a failed TLS handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mcp_protocol::media_type;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Position, Url};

use super::exchange::{Answer, Exchange, Failure, Reader, TlsFailure};
use super::stream_recorder::StreamRecorder;
use super::target::host_and_port;

/// No document or page that is examined is larger.
const BODY_LIMIT: usize = 1024 * 1024;

/// What the doctor calls itself.
const USER_AGENT: &str = concat!("cupcake-gateway-doctor/", env!("CARGO_PKG_VERSION"));

/// Makes exchanges and keeps them.
pub(super) struct HttpClient {
    tls: Arc<ClientConfig>,
    /// For one exchange, from the look-up of the name to the last byte.
    pub(super) patience: Duration,
    log: Mutex<Vec<Exchange>>,
}

/// A request to be made.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    reader: Reader,
}

impl Ask {
    pub(super) fn new(method: Method, url: &Url) -> Self {
        Self {
            method,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            reader: Reader::Program,
        }
    }

    pub(super) fn get(url: &Url) -> Self {
        Self::new(Method::GET, url).with("accept", "application/json")
    }

    /// A form, as browsers and token requests send it.
    pub(super) fn form<N, V>(url: &Url, fields: &[(N, V)]) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut ask =
            Self::new(Method::POST, url).with("content-type", "application/x-www-form-urlencoded");
        ask.body = body.into();
        ask
    }

    pub(super) fn json(url: &Url, body: &serde_json::Value) -> Self {
        let mut ask = Self::new(Method::POST, url).with("content-type", "application/json");
        ask.body = body.to_string().into();
        ask
    }

    /// Sets a header. One that can't be a header is left out: then the answer shows it.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// As a browser asks for a page.
    pub(super) fn for_browser(mut self) -> Self {
        self.reader = Reader::Browser;
        self.with("accept", "text/html,application/xhtml+xml")
    }

    fn exchange(&self, outcome: Result<Answer, Failure>) -> Exchange {
        Exchange {
            method: self.method.clone(),
            url: self.url.clone(),
            reader: self.reader,
            outcome,
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        let target = &self.url[Position::BeforePath..Position::AfterQuery];
        let authority = &self.url[Position::BeforeHost..Position::AfterPort];
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(target)
            .header("host", authority)
            .header("user-agent", USER_AGENT)
            .body(Full::new(self.body.clone()))
            .map_err(broken)?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }
}

/// A response whose body is still to come.
pub(super) struct Opened {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) started: Instant,
    /// Ends the connection when it is dropped.
    pub(super) connection: Connection,
}

/// A connection's task; it ends with this value.
pub(super) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpClient {
    pub(super) fn new(tls: Arc<ClientConfig>, patience: Duration) -> Self {
        Self {
            tls,
            patience,
            log: Mutex::default(),
        }
    }

    /// One exchange to its end.
    pub(super) async fn send(&self, ask: Ask) -> Exchange {
        let whole = async { read(self.open(&ask).await?).await };
        let outcome = within(self.patience, whole).await;
        self.record(&ask, outcome)
    }

    /// One exchange after the other.
    pub(super) async fn send_all(&self, asks: impl IntoIterator<Item = Ask>) -> Vec<Exchange> {
        let mut exchanges = Vec::new();
        for ask in asks {
            exchanges.push(self.send(ask).await);
        }
        exchanges
    }

    fn record(&self, ask: &Ask, outcome: Result<Answer, Failure>) -> Exchange {
        let exchange = ask.exchange(outcome);
        self.log.lock().push(exchange.clone());
        exchange
    }

    /// Opens an event stream and follows it in the background. Any other answer is an exchange.
    pub(super) async fn follow(&self, ask: Ask) -> Result<StreamRecorder, Exchange> {
        let ask = ask.with("accept", "text/event-stream, application/json");
        let outcome = match within(self.patience, self.open(&ask)).await {
            Ok(opened) if is_event_stream(&opened) => return Ok(StreamRecorder::follow(opened)),
            Ok(opened) => within(self.patience, read(opened)).await,
            Err(failure) => Err(failure),
        };
        Err(self.record(&ask, outcome))
    }

    /// Everything that was exchanged so far.
    pub(super) fn log(&self) -> Vec<Exchange> {
        self.log.lock().clone()
    }

    /// Sends the request and reads the head of the answer.
    async fn open(&self, ask: &Ask) -> Result<Opened, Failure> {
        let started = Instant::now();
        let (host, port) = host_and_port(&ask.url);
        let stream = dial(host, port, self.patience / 3).await?;
        let (mut sender, connection) = if ask.url.scheme() == "https" {
            handshake(encrypt(self.tls.clone(), host, stream).await?).await?
        } else {
            handshake(stream).await?
        };
        let response = sender.send_request(ask.request()?).await;
        let (head, body) = response.map_err(broken)?.into_parts();
        Ok(Opened {
            status: head.status,
            headers: head.headers,
            body,
            started,
            connection,
        })
    }
}

/// What comes of work that may take so long.
pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let outcome = timeout(patience, work).await;
    outcome.unwrap_or(Err(Failure::TimedOut(patience)))
}

fn is_event_stream(opened: &Opened) -> bool {
    opened.status == StatusCode::OK && media_type::is_event_stream(&opened.headers)
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}

async fn handshake<S>(stream: S) -> Result<(http1::SendRequest<Full<Bytes>>, Connection), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let task = tokio::spawn(async move {
        // How it ended shows on the request.
        let _ = connection.await;
    });
    Ok((sender, Connection(task)))
}

async fn read(mut opened: Opened) -> Result<Answer, Failure> {
    let mut body = Vec::new();
    while let Some(frame) = opened.body.frame().await {
        let frame = frame.map_err(broken)?;
        if let Ok(bytes) = frame.into_data() {
            body.extend_from_slice(&bytes);
        }
        if body.len() > BODY_LIMIT {
            return Err(Failure::TooLarge(BODY_LIMIT));
        }
    }
    Ok(Answer {
        status: opened.status,
        headers: opened.headers,
        body: body.into(),
        took: opened.started.elapsed(),
    })
}

/// The addresses of a name.
pub(super) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found
        .map_err(|error| Failure::Name(error.to_string()))?
        .collect();
    if addresses.is_empty() {
        return Err(Failure::Name("no address".to_owned()));
    }
    Ok(addresses)
}

/// Connects to one address.
pub(super) async fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, String> {
    match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

/// Connects to the first address of a name that takes connections.
async fn dial(host: &str, port: u16, patience: Duration) -> Result<TcpStream, Failure> {
    let mut failures = Vec::new();
    for address in resolve(host, port).await? {
        match connect(address, patience).await {
            Ok(stream) => return Ok(stream),
            Err(failure) => failures.push(format!("{address}: {failure}")),
        }
    }
    Err(Failure::Connect(failures.join(", ")))
}

/// Makes a TLS connection of a plain one.
pub(super) async fn encrypt(
    config: Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::Tls(TlsFailure::Other("not a name for TLS".to_owned())))?;
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| Failure::Tls(tls_failure(&error)))
}

fn tls_failure(error: &std::io::Error) -> TlsFailure {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(why)) => TlsFailure::Certificate(why.to_string()),
        Some(
            why @ (rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(
                rustls::AlertDescription::ProtocolVersion
                | rustls::AlertDescription::HandshakeFailure,
            )),
        ) => TlsFailure::Protocol(why.to_string()),
        _ => TlsFailure::Other(error.to_string()),
    }
}
