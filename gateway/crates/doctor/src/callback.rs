//! The redirect URI of the test client: a listener on loopback, for a flow in the operator's own
//! browser (RFC 8252 §7.3).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

/// The port that the test client registers, so that every run is the same client.
pub(super) const PORT: u16 = 38475;
const PATH: &str = "/callback";

/// A request line is not longer, and a browser does not take longer to send it.
const LINE_LIMIT: usize = 8 * 1024;
const LINE_PATIENCE: Duration = Duration::from_secs(5);

const PAGE: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Gateway doctor</title>\
    <p>The doctor has the answer. You can close this page.";

/// The redirect URI on a port.
pub(super) fn redirect_uri(port: u16) -> Url {
    let mut url = Url::parse("http://127.0.0.1/callback").expect("a constant URL");
    // Refused only for URLs that can't have a port.
    let _ = url.set_port(Some(port));
    url
}

/// Listens for the browser to come back.
pub(super) struct Callback {
    listener: TcpListener,
    port: u16,
}

impl Callback {
    /// Listens on the usual port, or on any when that is taken.
    pub(super) async fn listen() -> io::Result<Self> {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = match TcpListener::bind(address(PORT)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(address(0)).await?,
        };
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn redirect_uri(&self) -> Url {
        redirect_uri(self.port)
    }

    /// The URL that a browser comes back with, `None` when none does in time. Others that knock
    /// (prefetches, icons, another state) are turned away.
    pub(super) async fn landing(&self, state: &str, patience: Duration) -> Option<Url> {
        let deadline = Instant::now() + patience;
        loop {
            let accepted = timeout_at(deadline, self.listener.accept()).await;
            let (stream, _) = accepted.ok()?.ok()?;
            let answered = timeout(LINE_PATIENCE, self.answer(stream, state)).await;
            if let Ok(Some(url)) = answered {
                return Some(url);
            }
        }
    }

    async fn answer(&self, mut stream: TcpStream, state: &str) -> Option<Url> {
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            if head.len() > LINE_LIMIT || stream.read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let url = landing_url(&head, &self.redirect_uri()).filter(|url| {
            url.query_pairs()
                .any(|(key, value)| key == "state" && value == state)
        });
        let (status, page) = match &url {
            Some(_) => ("200 OK", PAGE),
            None => ("404 Not Found", ""),
        };
        let reply = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{page}",
            page.len()
        );
        // The landing counts even if the browser does not wait for its page.
        let _ = stream.write_all(reply.as_bytes()).await;
        let _ = stream.shutdown().await;
        url
    }
}

/// The URL of a GET for the callback path.
fn landing_url(head: &[u8], redirect_uri: &Url) -> Option<Url> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let path = target.split('?').next()?;
    redirect_uri.join(target).ok().filter(|_| path == PATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn knock(port: u16, target: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn only_a_callback_with_the_state_is_taken() {
        let callback = Callback::listen().await.unwrap();
        let port = callback.port;
        let browser = tokio::spawn(async move {
            let mut replies = Vec::new();
            for target in [
                "/favicon.ico",
                "/callback?code=a&state=other",
                "/callback?code=b&state=s%20",
            ] {
                replies.push(knock(port, target).await);
            }
            replies
        });
        let url = callback
            .landing("s ", Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!(url.query(), Some("code=b&state=s%20"));
        assert!(url.as_str().starts_with(callback.redirect_uri().as_str()));
        let replies = browser.await.unwrap();
        assert!(replies[0].starts_with("HTTP/1.1 404"), "{replies:?}");
        assert!(replies[1].starts_with("HTTP/1.1 404"), "{replies:?}");
        assert!(
            replies[2].contains("You can close this page"),
            "{replies:?}"
        );
    }

    #[tokio::test]
    async fn waiting_ends() {
        let callback = Callback::listen().await.unwrap();
        assert_eq!(callback.landing("s", Duration::from_millis(20)).await, None);
    }
}
