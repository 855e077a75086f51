//! A loopback proxy for a client that cannot send a token: it puts an access token into
//! every request, and the gateway's host where the client wrote the proxy's own. All
//! other bytes pass as they are, foreign hosts and origins too.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const HEAD_LIMIT: usize = 64 * 1024;

/// A listening injector. Dropping it ends it.
pub struct Injector {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Injector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Injector {
    /// Listen in front of a gateway.
    pub async fn start(gateway: SocketAddr, token: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let edit = Edit {
            ours: ["127.0.0.1", "localhost"].map(|host| format!("{host}:{port}")),
            gateway: gateway.to_string(),
            token: token.to_owned(),
        };
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let edit = edit.clone();
                tokio::spawn(async move { edit.pass(client, gateway).await });
            }
        });
        Ok(Injector { port, task })
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

#[derive(Clone)]
struct Edit {
    ours: [String; 2],
    gateway: String,
    token: String,
}

impl Edit {
    /// One request a connection, so that only its head has to be understood.
    async fn pass(&self, mut client: TcpStream, gateway: SocketAddr) -> Result<()> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(bytes.len() < HEAD_LIMIT, "a head without end");
            ensure!(client.read_buf(&mut bytes).await? > 0, "no request came");
        };
        let mut upstream = TcpStream::connect(gateway).await?;
        upstream.write_all(&self.head(&bytes[..end])?).await?;
        upstream.write_all(&bytes[end..]).await?;
        tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
        Ok(())
    }

    fn head(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        ensure!(request.parse(bytes)?.is_complete(), "half a head");
        let method = request.method.context("no method")?;
        let path = request.path.context("no path")?;
        let mut head = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        for header in request.headers {
            let mut value = header.value.to_vec();
            match header.name.to_ascii_lowercase().as_str() {
                "connection" => continue,
                "host" | "origin" => value = self.host(&value),
                _ => {}
            }
            head.extend_from_slice(header.name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(&value);
            head.extend_from_slice(b"\r\n");
        }
        let last = format!(
            "Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.token
        );
        head.extend_from_slice(last.as_bytes());
        Ok(head)
    }

    /// The proxy's own host becomes the gateway's; any other stays.
    fn host(&self, value: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(value);
        let (scheme, host) = match text.split_once("://") {
            Some((scheme, host)) => (format!("{scheme}://"), host),
            None => (String::new(), &*text),
        };
        if self.ours.iter().any(|ours| ours == host) {
            format!("{scheme}{}", self.gateway).into_bytes()
        } else {
            value.to_vec()
        }
    }
}
