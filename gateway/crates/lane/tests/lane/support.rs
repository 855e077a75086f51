//! A service that decides by the path, a backend that says what it is told to, and a client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gateway_lane::{
    Address, Admission, Answer, Backend, End, Ending, Events, Exchange, Failed, Forward, Handover,
    Head, HeadDecision, HeadWriter, Lane, Limits, Outcome, ResponseHead, ResponsePlan, Service,
    Unfit,
};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// No test waits for longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a backend does when it has read a request.
#[derive(Clone, Debug)]
pub(crate) enum BackendStep {
    Says(&'static str),
    SaysBytes(Vec<u8>),
    Waits(u64),
    Closes,
    /// Waits until the other side ends, and notes that.
    WatchesEnd,
}

pub(crate) struct Script {
    backend: Arc<Backend>,
    ended: watch::Receiver<bool>,
    drained: watch::Receiver<bool>,
    outcomes: Arc<Mutex<Vec<String>>>,
}

pub(crate) struct Scripted {
    backend: Arc<Backend>,
    ended: watch::Receiver<bool>,
    outcomes: Arc<Mutex<Vec<String>>>,
    path: String,
    method: http::Method,
    headers: http::HeaderMap,
    tail: Vec<u8>,
}

pub(crate) struct Rig {
    pub(crate) lane: Arc<Lane<Script>>,
    pub(crate) received: Arc<Mutex<Vec<String>>>,
    pub(crate) outcomes: Arc<Mutex<Vec<String>>>,
    pub(crate) end: watch::Sender<bool>,
    pub(crate) drain: watch::Sender<bool>,
    handed_over: mpsc::UnboundedReceiver<Vec<u8>>,
    hands_over: mpsc::UnboundedSender<Vec<u8>>,
}

impl Rig {
    /// `answers(n, request)`: what the backend does with the nth request of all.
    pub(crate) async fn new(
        limits: Limits,
        answers: impl Fn(usize, &str) -> Vec<BackendStep> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(listener, Arc::clone(&received), Arc::new(answers)));
        let mut rig = Self::at(limits, address);
        rig.received = received;
        rig
    }

    pub(crate) fn at(limits: Limits, address: SocketAddr) -> Self {
        Self::with_backend(limits, address, |_| {})
    }

    pub(crate) fn with_backend(
        limits: Limits,
        address: SocketAddr,
        adjust: impl FnOnce(&mut Backend),
    ) -> Self {
        let (end, ended) = watch::channel(false);
        let (drain, drained) = watch::channel(false);
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let mut backend = Backend {
            id: 7,
            addresses: vec![Address::Tcp(address)],
            connect_time: Duration::from_secs(5),
            response_time: Duration::from_millis(1500),
            comes_up_until: None,
        };
        adjust(&mut backend);
        let script = Script {
            backend: Arc::new(backend),
            ended,
            drained,
            outcomes: Arc::clone(&outcomes),
        };
        let (hands_over, handed_over) = mpsc::unbounded_channel();
        Self {
            lane: Lane::new(script, limits, || std::time::UNIX_EPOCH),
            received: Arc::default(),
            outcomes,
            end,
            drain,
            handed_over,
            hands_over,
        }
    }

    /// A client's end of a connection that the lane serves.
    pub(crate) fn connect(&self) -> DuplexStream {
        self.connect_within(256 * 1024)
    }

    /// The same for one that takes so many bytes without reading them.
    pub(crate) fn connect_within(&self, unread: usize) -> DuplexStream {
        let (client, served) = duplex(unread);
        let hands_over = self.hands_over.clone();
        let other_road = move |handover: Handover<DuplexStream>, ()| {
            tokio::spawn(async move {
                let mut all = Vec::new();
                let mut stream = handover.io;
                all.extend_from_slice(&handover.bytes);
                let _ = stream.write_all(b"the other road").await;
                let _ = stream.read_to_end(&mut all).await;
                let _ = hands_over.send(all);
            });
        };
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = gateway_lane::Connection::new(served, peer);
        gateway_lane::spawn(Arc::clone(&self.lane), connection, (), other_road);
        client
    }

    /// What the other road got of the next connection that went there.
    pub(crate) async fn handed_over(&mut self) -> Vec<u8> {
        timeout(PATIENCE, self.handed_over.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// Everything that comes back for these bytes, until the connection ends.
    pub(crate) async fn all_of(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        client.write_all(bytes).await.unwrap();
        read_all(&mut client).await
    }

    pub(crate) fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until an exchange came to an end of this kind.
    pub(crate) async fn ends(&self, outcome: &str) {
        for _ in 0..200 {
            let outcomes = self.outcomes.lock().unwrap().clone();
            if outcomes.iter().any(|met| met.contains(outcome)) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{outcome} is not among {:?}", self.outcomes.lock().unwrap());
    }

    /// Waits until the backend has noticed this.
    pub(crate) async fn notices(&self, what: &str) {
        for _ in 0..200 {
            if self.received().iter().any(|met| met.contains(what)) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{what} is not among {:?}", self.received());
    }
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nX-Sent: yes\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn last_post(path: &str, body: &str) -> String {
    post(path, body).replacen("X-Sent: yes", "X-Sent: yes\r\nConnection: close", 1)
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n")
}

/// Short times, so that tests of them are short.
/// What a decision takes that is slow: much longer than a busy machine needs to notice what it is to notice.
pub(crate) const SLOW: Duration = Duration::from_secs(3);

pub(crate) fn limits() -> Limits {
    Limits {
        head_time: Duration::from_millis(400),
        body_time: Duration::from_millis(400),
        idle: Duration::from_millis(800),
        linger: Duration::from_millis(100),
        ..Limits::default()
    }
}

pub(crate) async fn read_all(client: &mut DuplexStream) -> String {
    let mut all = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut all))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads until what came ends like this.
pub(crate) async fn read_until(client: &mut DuplexStream, end: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        while !all.ends_with(end.as_bytes()) {
            if client.read_buf(&mut all).await.unwrap() == 0 {
                break;
            }
        }
    };
    let in_time = timeout(PATIENCE, reading).await;
    let text = String::from_utf8_lossy(&all).into_owned();
    assert!(
        in_time.is_ok(),
        "only {text:?} came, which does not end in {end:?}"
    );
    text
}

async fn serve<F>(listener: TcpListener, received: Arc<Mutex<Vec<String>>>, answers: Arc<F>)
where
    F: Fn(usize, &str) -> Vec<BackendStep> + Send + Sync + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        received.lock().unwrap().push("(connected)".to_owned());
        tokio::spawn(answer(stream, Arc::clone(&received), Arc::clone(&answers)));
    }
}

async fn answer<F>(mut stream: TcpStream, received: Arc<Mutex<Vec<String>>>, answers: Arc<F>)
where
    F: Fn(usize, &str) -> Vec<BackendStep>,
{
    loop {
        let Some(request) = read_request(&mut stream).await else {
            return;
        };
        let at = {
            let mut received = received.lock().unwrap();
            let before = received.iter().filter(|met| !met.starts_with('('));
            let at = before.count();
            received.push(request.clone());
            at
        };
        for does in answers(at, &request) {
            match does {
                BackendStep::Says(text) => drop(stream.write_all(text.as_bytes()).await),
                BackendStep::SaysBytes(bytes) => drop(stream.write_all(&bytes).await),
                BackendStep::Waits(millis) => sleep(Duration::from_millis(millis)).await,
                BackendStep::Closes => return,
                BackendStep::WatchesEnd => {
                    let _ = stream.read(&mut [0; 1]).await;
                    received.lock().unwrap().push("(ended)".to_owned());
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut all).await.ok()? == 0 {
            return None;
        }
    }
}

impl Service for Script {
    type Exchange = Scripted;

    type Memory = ();

    async fn begin(
        &self,
        head: &Head<'_>,
        _peer: SocketAddr,
        (): &mut (),
    ) -> HeadDecision<Scripted> {
        if head.target().starts_with("/other") {
            return HeadDecision::OtherRoad;
        }
        if head.target().starts_with("/stranger") {
            let answer = plain(StatusCode::UNAUTHORIZED, "who?");
            return HeadDecision::Answer(answer);
        }
        if head.target().starts_with("/slow-begin") {
            sleep(SLOW).await;
        }
        HeadDecision::Exchange(Scripted {
            backend: Arc::clone(&self.backend),
            ended: self.ended.clone(),
            outcomes: Arc::clone(&self.outcomes),
            path: head.target().to_owned(),
            method: head.method().clone(),
            headers: head.to_header_map(),
            tail: Vec::new(),
        })
    }

    fn is_draining(&self) -> bool {
        *self.drained.borrow()
    }

    async fn draining(&self) {
        told(self.drained.clone()).await;
    }
}

/// Waits until somebody says so.
async fn told(mut said: watch::Receiver<bool>) {
    if said.wait_for(|said| *said).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn plain(status: StatusCode, text: &'static str) -> Answer {
    Answer {
        status,
        body: Bytes::from_static(text.as_bytes()),
        ..Answer::default()
    }
}

impl Exchange for Scripted {
    async fn admit(&mut self, body: &Bytes) -> Admission {
        if self.path.starts_with("/slow-admit") {
            sleep(SLOW).await;
        }
        let ended = self.ended.clone();
        let ending: Ending = Box::pin(async move {
            told(ended).await;
            End {
                cause: "revoked",
                farewell: Some(Bytes::from_static(b": bye\n\n")),
            }
        });
        match self.path.as_str() {
            "/refused" => Admission::Answer(plain(StatusCode::FORBIDDEN, "no")),
            "/late-other" => Admission::OtherRoad,
            path => Admission::Forward(Forward {
                backend: Arc::clone(&self.backend),
                apart: None,
                target: path.to_owned(),
                body: (self.method == http::Method::POST).then(|| body.clone()),
                is_repeatable: path.contains("repeat"),
                ending: Some(ending),
            }),
        }
    }

    async fn resend(&mut self) -> Result<(), Answer> {
        self.outcomes.lock().unwrap().push("asked".to_owned());
        if self.path.contains("never") {
            return Err(plain(StatusCode::FORBIDDEN, "not again"));
        }
        Ok(())
    }

    fn write_request(&mut self, out: &mut HeadWriter<'_>) {
        out.header("host", b"backend");
        for (name, value) in &self.headers {
            if name.as_str().starts_with("x-") || name == "date" {
                out.header(name.as_str(), value.as_bytes());
            }
        }
        if self.path == "/spoiled" {
            out.header("x-user", b"a\r\nx-admin: yes");
        }
    }

    fn respond(&mut self, head: &ResponseHead<'_>, out: &mut HeadWriter<'_>) -> ResponsePlan {
        for (name, value) in head.headers() {
            if name.starts_with("x-") || name == "content-type" {
                out.header(name, value);
            }
        }
        match (head.header("x-plan"), head.header("content-type")) {
            (Some(b"collect"), _) => ResponsePlan::Collect(100),
            (Some(b"ask"), _) => ResponsePlan::Ask,
            (Some(b"resend"), _) => ResponsePlan::Resend("/moved".to_owned()),
            (Some(b"answer"), _) => ResponsePlan::Answer(plain(StatusCode::BAD_GATEWAY, "instead")),
            (_, Some(b"text/event-stream")) => ResponsePlan::Events(Events {
                keep_alive: Duration::from_millis(500),
                is_filtered: self.path.contains("filter"),
                waits: self.method == http::Method::GET,
            }),
            _ => ResponsePlan::Pass,
        }
    }

    async fn judge(&mut self, body: Bytes) -> Result<Bytes, Answer> {
        if self.path.starts_with("/slow-judge") {
            self.outcomes.lock().unwrap().push("judges".to_owned());
            std::future::pending::<()>().await;
        }
        match &body[..] {
            b"bad" => Err(plain(StatusCode::BAD_GATEWAY, "unfit")),
            body => Ok(body.to_ascii_uppercase().into()),
        }
    }

    async fn filter(&mut self, events: Bytes, _is_end: bool) -> Result<Bytes, Unfit> {
        if events.windows(4).any(|four| four == b"slow") {
            self.outcomes.lock().unwrap().push("judges".to_owned());
            std::future::pending::<()>().await;
        }
        if events.windows(3).any(|three| three == b"bad") {
            Err(Unfit {
                what: "bad events".to_owned(),
                last: self
                    .path
                    .contains("proper")
                    .then(|| Bytes::from_static(b"data: sorry\n\n")),
            })
        } else {
            Ok(events.to_ascii_uppercase().into())
        }
    }

    fn advance(&mut self, written: &[u8]) -> bool {
        self.tail.extend_from_slice(written);
        let last = self.tail.len().saturating_sub(2);
        self.tail.drain(..last);
        self.tail == b"\n\n"
    }

    fn refuse(&mut self, why: &Failed) -> Answer {
        Answer {
            status: StatusCode::BAD_GATEWAY,
            body: format!("failed: {why}").into(),
            ..Answer::default()
        }
    }

    fn hold(&mut self, bytes: usize) -> bool {
        let outcome = format!("held {}", bytes > 0);
        self.outcomes.lock().unwrap().push(outcome);
        !self.path.contains("full")
    }

    fn becomes_stream(&mut self) {
        self.outcomes.lock().unwrap().push("stream".to_owned());
    }

    fn finished(&mut self, outcome: &Outcome) {
        let outcome = format!("{outcome:?}");
        self.outcomes.lock().unwrap().push(outcome);
    }
}
