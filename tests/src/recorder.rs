//! A backend that writes down every request as it arrived, byte for byte in its
//! head, and plays whatever answer the test scripted: a body, a stream that waits,
//! a reset in the middle. It speaks HTTP/1.1 by hand because a library would
//! tidy up exactly what the tests want to see.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// As spelled on the request line.
    pub method: String,
    /// Path and query, as spelled on the request line.
    pub target: String,
    /// Names and values in order, names as spelled.
    pub headers: Vec<(String, String)>,
    /// The body after chunked coding was taken off.
    pub body: Vec<u8>,
}

impl Recorded {
    /// Every value of a header, whatever its case.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).first().copied()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What the recorder does with the connection.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A whole response with a Content-Length.
    Full(u16, Vec<(String, String)>, Vec<u8>),
    /// A chunked response whose body is played step by step.
    Steps(u16, Vec<(String, String)>, Vec<Step>),
    /// This status with an empty body, and then the text on every stream live under the topic.
    Push(u16, String, String),
    /// Read the request, then say nothing until the other side goes.
    Silence,
    /// Read the request, then reset the connection.
    Reset,
    /// These bytes, then close.
    Bytes(Vec<u8>),
}

/// A step of a streamed body.
#[derive(Clone, Debug)]
pub enum Step {
    /// One chunk.
    Send(String),
    /// Nothing for a while.
    Wait(Duration),
    /// Send what [`Recorder::push`] is given under this topic, until the client goes.
    Live(String),
    /// Break off without the last chunk.
    Cut,
}

impl Answer {
    /// A JSON response.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Answer::Full(
            status,
            vec![("Content-Type".into(), "application/json".into())],
            body.to_string().into_bytes(),
        )
    }

    /// An event stream.
    pub fn events(steps: Vec<Step>) -> Self {
        Answer::Steps(
            200,
            vec![("Content-Type".into(), "text/event-stream".into())],
            steps,
        )
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Answer::Full(_, headers, _) | Answer::Steps(_, headers, _) = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }
}

type Script = dyn Fn(&Recorded) -> Answer + Send + Sync;

struct Shared {
    requests: Mutex<Vec<Recorded>>,
    script: Mutex<Arc<Script>>,
    pushes: broadcast::Sender<(String, String)>,
    open_streams: AtomicUsize,
}

/// The running backend; it stops listening when dropped.
pub struct Recorder {
    shared: Arc<Shared>,
    /// Where it listens.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Recorder {
    /// Start with a script that answers each request.
    pub async fn start(
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            script: Mutex::new(Arc::new(script)),
            pushes: broadcast::channel(1024).0,
            open_streams: AtomicUsize::new(0),
        });
        let serving = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = serving.clone();
                tokio::spawn(async move { shared.serve(socket).await });
            }
        });
        Ok(Recorder {
            shared,
            address,
            accepting,
        })
    }

    /// Replace the script from the next request on.
    pub fn play(&self, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        *self
            .shared
            .script
            .lock()
            .expect("no holder of this lock panics") = Arc::new(script);
    }

    /// Everything that arrived so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared
            .requests
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    /// The same, and forgets it.
    pub fn take_requests(&self) -> Vec<Recorded> {
        let mut requests = self.shared.requests.lock();
        std::mem::take(requests.as_mut().expect("no holder of this lock panics"))
    }

    /// What arrived, but for the gateway's own look at the tools: requests whose body
    /// or headers contain `marker`.
    pub fn marked(&self, marker: &str) -> Vec<Recorded> {
        let holds = |r: &Recorded| {
            String::from_utf8_lossy(&r.body).contains(marker)
                || r.target.contains(marker)
                || r.headers.iter().any(|(_, value)| value.contains(marker))
        };
        self.requests().into_iter().filter(holds).collect()
    }

    /// Send text to every stream that is live under `topic`.
    pub fn push(&self, topic: &str, text: &str) {
        // No receiver is no error: the test asserts on what the client got.
        let _ = self.shared.pushes.send((topic.into(), text.into()));
    }

    /// Streams that are open now.
    pub fn open_streams(&self) -> usize {
        self.shared.open_streams.load(Ordering::SeqCst)
    }

    /// Wait until exactly `count` streams are open.
    pub async fn await_streams(&self, count: usize, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.open_streams() != count {
            if Instant::now() > deadline {
                bail!(
                    "{} streams open, expected {count} within {patience:?}",
                    self.open_streams()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// The value for `[[backend]] url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    async fn serve(&self, mut socket: TcpStream) {
        let mut buffer = Vec::new();
        while let Ok(Some(request)) = read_request(&mut socket, &mut buffer).await {
            let script = self
                .script
                .lock()
                .expect("no holder of this lock panics")
                .clone();
            self.requests
                .lock()
                .expect("no holder of this lock panics")
                .push(request.clone());
            // Subscribed before the script runs: a push by the script's own doing is not lost.
            let pushes = self.pushes.subscribe();
            match script(&request) {
                Answer::Full(status, headers, body) => {
                    let head_only = request.method == "HEAD" || status == 204;
                    let length = if status == 204 {
                        None
                    } else {
                        Some(body.len())
                    };
                    let mut bytes = head(status, &headers, length, false);
                    bytes.extend(if head_only { Vec::new() } else { body });
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Answer::Push(status, topic, text) => {
                    if socket
                        .write_all(&head(status, &[], Some(0), false))
                        .await
                        .is_err()
                    {
                        return;
                    }
                    let _ = self.pushes.send((topic, text));
                }
                Answer::Steps(status, headers, steps) => {
                    self.open_streams.fetch_add(1, Ordering::SeqCst);
                    let whole = self
                        .stream(
                            &mut socket,
                            &head(status, &headers, None, true),
                            steps,
                            pushes,
                        )
                        .await;
                    self.open_streams.fetch_sub(1, Ordering::SeqCst);
                    if whole.is_err() {
                        return;
                    }
                }
                Answer::Silence => return wait_until_gone(&mut socket).await,
                Answer::Reset => {
                    let _ = socket.set_zero_linger();
                    return;
                }
                Answer::Bytes(bytes) => {
                    let _ = socket.write_all(&bytes).await;
                    return;
                }
            }
        }
    }

    async fn stream(
        &self,
        socket: &mut TcpStream,
        head: &[u8],
        steps: Vec<Step>,
        mut pushes: broadcast::Receiver<(String, String)>,
    ) -> Result<()> {
        socket.write_all(head).await?;
        for step in steps {
            match step {
                Step::Send(text) => socket.write_all(&chunk(&text)).await?,
                Step::Wait(time) => tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = wait_until_gone(socket) => bail!("the client went away"),
                },
                Step::Cut => bail!("cut as scripted"),
                Step::Live(topic) => loop {
                    let (to, text) = tokio::select! {
                        pushed = pushes.recv() => pushed?,
                        () = wait_until_gone(socket) => bail!("the client went away"),
                    };
                    if to == topic {
                        socket.write_all(&chunk(&text)).await?;
                    }
                },
            }
        }
        socket.write_all(b"0\r\n\r\n").await?;
        Ok(())
    }
}

/// Returns when the other side closed; bytes that arrive meanwhile are dropped.
async fn wait_until_gone(socket: &mut TcpStream) {
    let mut ignored = [0u8; 1024];
    while matches!(socket.read(&mut ignored).await, Ok(n) if n > 0) {}
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn head(
    status: u16,
    headers: &[(String, String)],
    length: Option<usize>,
    chunked: bool,
) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        text += &format!("Content-Length: {length}\r\n");
    }
    if chunked {
        text += "Transfer-Encoding: chunked\r\n";
    }
    (text + "\r\n").into_bytes()
}

/// The next request on the connection, or `None` when it closed between two.
async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Recorded>> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at;
        }
        if !fill(socket, buffer).await? {
            return Ok(None);
        }
    };
    let head: Vec<u8> = buffer.drain(..end + 4).collect();
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next().context("no request line")?.split(' ');
    let mut request = Recorded {
        method: words.next().unwrap_or_default().into(),
        target: words.next().unwrap_or_default().into(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
            .collect(),
        body: Vec::new(),
    };
    if request.header("transfer-encoding").is_some() {
        request.body = read_chunks(socket, buffer).await?;
    } else if let Some(length) = request.header("content-length") {
        let length: usize = length.parse()?;
        while buffer.len() < length {
            if !fill(socket, buffer).await? {
                bail!("the body ended early");
            }
        }
        request.body = buffer.drain(..length).collect();
    }
    Ok(Some(request))
}

async fn read_chunks(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = find(buffer, b"\r\n") {
                break at;
            }
            if !fill(socket, buffer).await? {
                bail!("the chunks ended early");
            }
        };
        let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end])?.trim(), 16)?;
        while buffer.len() < end + 2 + size + 2 {
            if !fill(socket, buffer).await? {
                bail!("a chunk ended early");
            }
        }
        body.extend_from_slice(&buffer[end + 2..end + 2 + size]);
        buffer.drain(..end + 2 + size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn fill(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<bool> {
    let mut piece = [0u8; 16 * 1024];
    let read = socket.read(&mut piece).await?;
    buffer.extend_from_slice(&piece[..read]);
    Ok(read > 0)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
