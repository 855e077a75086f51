//! A client of HTTPS, over HTTP/2 or HTTP/1.1 on one connection, that trusts the authority of the test
//! alone.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::http::Reply;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one server.
#[derive(Clone)]
pub struct HttpsClient {
    address: SocketAddr,
    host: String,
    roots: Arc<RootCertStore>,
}

/// One of its connections.
pub struct HttpsConnection {
    sender: Sender,
    authority: String,
    scheme: &'static str,
    /// The server's certificate, with TLS.
    pub certificate: Option<CertificateDer<'static>>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl HttpsClient {
    /// A client of what listens at `address` and calls itself `host`.
    pub fn new(authority: &Path, address: SocketAddr, host: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority)? {
            roots.add(certificate?)?;
        }
        Ok(Self {
            address,
            host: host.to_owned(),
            roots: Arc::new(roots),
        })
    }

    /// TLS, with these protocols to choose from.
    pub async fn connect(&self, protocols: &[&[u8]]) -> Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(self.host.clone())?;
        let socket = TcpStream::connect(self.address).await.context("connect")?;
        socket.set_nodelay(true)?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, socket);
        tokio::time::timeout(PATIENCE, handshake)
            .await
            .context("no handshake")?
            .context("the handshake failed")
    }

    /// A connection of HTTP/1.1 or HTTP/2, which the server must agree to.
    pub async fn open(&self, version: Version) -> Result<HttpsConnection> {
        let protocol: &[u8] = match version {
            Version::HTTP_2 => b"h2",
            _ => b"http/1.1",
        };
        let stream = self.connect(&[protocol]).await?;
        let session = stream.get_ref().1;
        ensure!(
            session.alpn_protocol() == Some(protocol),
            "another protocol"
        );
        let certificate = session.peer_certificates().context("no certificate")?[0]
            .clone()
            .into_owned();
        let authority = format!("{}:{}", self.host, self.address.port());
        let mut connection = HttpsConnection::on(stream, version, &authority, "https").await?;
        connection.certificate = Some(certificate);
        Ok(connection)
    }
}

impl HttpsConnection {
    /// A connection without TLS of HTTP/2, by prior knowledge, or HTTP/1.1.
    pub async fn plain(address: SocketAddr, version: Version, authority: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await.context("connect")?;
        socket.set_nodelay(true)?;
        Self::on(socket, version, authority, "http").await
    }

    async fn on(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: Version,
        authority: &str,
        scheme: &'static str,
    ) -> Result<Self> {
        let io = TokioIo::new(stream);
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::One(sender)
        };
        Ok(Self {
            sender,
            authority: authority.to_owned(),
            scheme,
            certificate: None,
        })
    }

    /// Whether the server takes one more request on it: it has not said that it closes the connection.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request; its answer with a body that is still to be read.
    pub async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response<Incoming>> {
        let is_two = matches!(self.sender, Sender::Two(_));
        let target = if is_two {
            format!("{}://{}{path}", self.scheme, self.authority)
        } else {
            path.to_owned()
        };
        let mut request = Request::builder().method(method).uri(target);
        if !is_two {
            request = request.header("Host", &self.authority);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned())))?;
        let answered = async {
            match &mut self.sender {
                Sender::One(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Two(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        Ok(tokio::time::timeout(PATIENCE, answered)
            .await
            .context("no answer")??)
    }

    /// The same, read to its end.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply> {
        let start = Instant::now();
        let response = self.begin(method, path, headers, body).await?;
        let (parts, body) = response.into_parts();
        let collected = tokio::time::timeout(PATIENCE, body.collect());
        let bytes = collected.await.context("no end of the body")??.to_bytes();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = parts.headers.iter();
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
                .collect(),
            text: text(&bytes),
            took: start.elapsed(),
        })
    }
}
