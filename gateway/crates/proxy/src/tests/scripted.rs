//! A backend that does as it is told, byte for byte, and records what arrived.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::sleep;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct RecordedRequest {
    pub(super) head: String,
    pub(super) body: String,
    /// Which request of its connection, from 0.
    pub(super) turn: usize,
}

impl RecordedRequest {
    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }
}

/// What to do with a request.
pub(super) enum Act {
    /// Writes these bytes and waits for the next request.
    Answer(String),
    /// Writes these bytes and closes.
    AnswerAndClose(String),
    /// Closes without a word.
    Close,
    /// Writes these bytes, each after its pause, and then waits for the other side to close.
    Stream(Vec<(u64, String)>),
}

/// A JSON answer.
pub(super) fn json(body: &str) -> Act {
    Act::Answer(response(200, "Content-Type: application/json\r\n", body))
}

pub(super) fn response(status: u16, lines: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The head of an event stream, which ends with its connection.
pub(super) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

#[derive(Clone)]
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<RecordedRequest>>>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

impl Scripted {
    pub(super) async fn start(
        act: impl Fn(&RecordedRequest) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            open: Arc::default(),
            accepted: Arc::default(),
        };
        let (act, accepting) = (Arc::new(act), backend.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (act, backend) = (Arc::clone(&act), accepting.clone());
                backend.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    backend.open.fetch_add(1, Ordering::SeqCst);
                    backend.converse(stream, &*act).await;
                    backend.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        backend
    }

    async fn converse(
        &self,
        mut stream: TcpStream,
        act: &(impl Fn(&RecordedRequest) -> Act + ?Sized),
    ) {
        let mut unread = Vec::new();
        for turn in 0.. {
            let Some(asked) = read(&mut stream, &mut unread, turn).await else {
                return;
            };
            self.asked.lock().push(asked.clone());
            match act(&asked) {
                Act::Answer(bytes) => {
                    if stream.write_all(bytes.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Act::AnswerAndClose(bytes) => {
                    let _ = stream.write_all(bytes.as_bytes()).await;
                    let _ = stream.shutdown().await;
                    return;
                }
                Act::Close => return,
                Act::Stream(parts) => {
                    for (pause, bytes) in parts {
                        sleep(Duration::from_millis(pause)).await;
                        if stream.write_all(bytes.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    let _ = stream.read(&mut [0]).await;
                    return;
                }
            }
        }
    }

    /// A unix socket that leads to it.
    pub(super) fn socket(&self) -> PathBuf {
        let path = std::env::temp_dir().join(format!(
            "edge-{}-{}.sock",
            std::process::id(),
            self.address.port()
        ));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let address = self.address;
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut tcp = TcpStream::connect(address).await.unwrap();
                    let _ = copy_bidirectional(&mut socket, &mut tcp).await;
                });
            }
        });
        path
    }

    /// What has arrived.
    pub(super) fn asked(&self) -> Vec<RecordedRequest> {
        self.asked.lock().clone()
    }

    /// How many connections there were.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open.
    pub(super) async fn all_closed_within(&self, millis: u64) -> bool {
        for _ in 0..millis / 10 {
            if self.open.load(Ordering::SeqCst) == 0 {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

async fn read(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    turn: usize,
) -> Option<RecordedRequest> {
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end + 2]).into_owned();
            let asked = RecordedRequest {
                head,
                body: String::new(),
                turn,
            };
            let length = asked
                .headers("content-length")
                .first()
                .map_or(0, |text| text.parse().unwrap());
            if unread.len() >= end + 4 + length {
                let message: Vec<u8> = unread.drain(..end + 4 + length).collect();
                let body = String::from_utf8_lossy(&message[end + 4..]).into_owned();
                return Some(RecordedRequest { body, ..asked });
            }
        }
        let mut buffer = vec![0; 64 * 1024];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => unread.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
