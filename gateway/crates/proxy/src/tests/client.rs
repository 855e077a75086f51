//! A client that writes the bytes it is given and reads answers strictly.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    /// Whether the body ended as its framing says.
    pub(super) complete: bool,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A connection of a client.
pub(super) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, bytes: &str) {
        // The other side may have closed already; what it said is what is looked at.
        let _ = self.stream.write_all(bytes.as_bytes()).await;
    }

    /// Reads on; false at the end of the connection.
    async fn read_more(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let read = timeout(Duration::from_secs(10), self.stream.read(&mut buffer)).await;
        let count = read.expect("an answer or an end within 10 s").unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Reads a whole answer. `head_only` for an answer to HEAD.
    pub(super) async fn reply(&mut self, head_only: bool) -> Option<Reply> {
        let head = loop {
            let (status, head) = self.head().await?;
            if status >= 200 {
                break head;
            }
        };
        let mut reply = Reply {
            status: status(&head),
            head,
            body: String::new(),
            complete: true,
        };
        if head_only || matches!(reply.status, 204 | 304) {
            return Some(reply);
        }
        let length = reply
            .header("content-length")
            .map(|text| text.parse::<usize>().unwrap());
        let body = match length {
            Some(length) => self.exactly(length).await,
            None if reply.header("transfer-encoding") == Some("chunked") => self.chunks().await,
            None => (self.everything().await, true),
        };
        reply.complete = body.1;
        reply.body = String::from_utf8(body.0).unwrap();
        Some(reply)
    }

    /// Reads the head of an answer.
    pub(super) async fn head(&mut self) -> Option<(u16, String)> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                return Some((status(&head), head));
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// Reads until the bytes so far, chunk framing included, hold `text`.
    pub(super) async fn until(&mut self, text: &str) -> String {
        while !String::from_utf8_lossy(&self.unread).contains(text) {
            assert!(
                self.read_more().await,
                "ended without {text:?}: {:?}",
                self.so_far()
            );
        }
        self.so_far()
    }

    pub(super) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// Everything until the connection ends.
    pub(super) async fn everything(&mut self) -> Vec<u8> {
        while self.read_more().await {}
        std::mem::take(&mut self.unread)
    }

    async fn exactly(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.unread.len() < length {
            if !self.read_more().await {
                return (std::mem::take(&mut self.unread), false);
            }
        }
        (self.unread.drain(..length).collect(), true)
    }

    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let size = loop {
                if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                    let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                    break usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16)
                        .unwrap();
                }
                if !self.read_more().await {
                    return (body, false);
                }
            };
            let (chunk, complete) = self.exactly(size + 2).await;
            if !complete {
                return (body, false);
            }
            if size == 0 {
                return (body, true);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// One request on its own connection.
pub(super) async fn ask(address: SocketAddr, request: &str) -> Reply {
    let mut client = Client::connect(address).await;
    client.send(request).await;
    client
        .reply(request.starts_with("HEAD "))
        .await
        .expect("an answer")
}
