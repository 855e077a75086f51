//! Calls and streams that go on all the time, while something happens to the gateway: on connections that
//! are kept, on new ones, and on streams that are opened again when they end. Everything that goes wrong
//! with one of them is noted. Nothing is ever sent twice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::mcp::call;

/// For anything that is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between an end of a stream and the next one, as the farewell asks for.
const AGAIN: Duration = Duration::from_millis(100);

/// How much goes on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// The Host of its public URL.
    pub host: String,
    /// What is shown.
    pub token: String,
    /// Callers that keep their connection.
    pub kept: usize,
    /// Callers that open one for each call.
    pub fresh: usize,
    /// Between two calls of one of them.
    pub pause: Duration,
    /// Streams.
    pub streams: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Calls that were answered 200, with the whole answer.
    pub answered: AtomicU64,
    /// The longest that one took, in milliseconds.
    pub longest: AtomicU64,
    /// Streams that ended properly, told when to come again.
    pub ended: AtomicU64,
    /// Streams that are open.
    pub open: AtomicU64,
    problems: Mutex<Vec<String>>,
}

impl Tally {
    /// Everything that went wrong.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock();
        problems.expect("no holder of this lock panics").clone()
    }

    fn problem(&self, what: &str, error: &anyhow::Error) {
        let problem = format!("{what}: {error:#}");
        let problems = self.problems.lock();
        problems
            .expect("no holder of this lock panics")
            .push(problem);
    }
}

/// Load that goes on until it is stopped.
pub struct SteadyLoad {
    /// What came of it so far.
    pub tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl SteadyLoad {
    /// Begins.
    pub fn start(plan: &Plan) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for number in 0..plan.kept + plan.fresh {
            let caller = Caller {
                plan: plan.clone(),
                tally: Arc::clone(&tally),
                stop: Arc::clone(&stop),
            };
            // Not all at the same moment.
            let callers = u32::try_from(plan.kept + plan.fresh).unwrap_or(1);
            let first = plan.pause * u32::try_from(number).unwrap_or(0) / callers;
            let is_kept = number < plan.kept;
            tasks.spawn(async move { caller.call_on(first, is_kept).await });
        }
        for _ in 0..plan.streams {
            let caller = Caller {
                plan: plan.clone(),
                tally: Arc::clone(&tally),
                stop: Arc::clone(&stop),
            };
            tasks.spawn(async move { caller.listen_on().await });
        }
        Self { tally, stop, tasks }
    }

    /// Waits until so many streams are open.
    pub async fn await_streams(&self, count: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.tally.open.load(Ordering::Relaxed) < count {
            ensure!(
                Instant::now() < deadline,
                "{} streams are open: {:?}",
                self.tally.open.load(Ordering::Relaxed),
                self.tally.problems()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends the calls when they are answered, and the streams at once.
    pub async fn stop(mut self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.tally
    }
}

type Connection = SendRequest<Full<Bytes>>;

struct Caller {
    plan: Plan,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

impl Caller {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> Result<Connection> {
        let socket = TcpStream::connect(self.plan.address).await;
        let socket = socket.context("no connection")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: Method, body: String) -> Result<Request<Full<Bytes>>> {
        let request = Request::builder()
            .method(method)
            .uri("/mcp")
            .header("Host", &self.plan.host)
            .header("Authorization", format!("Bearer {}", self.plan.token))
            .header("MCP-Protocol-Version", crate::mcp::REVISION);
        let request = if body.is_empty() {
            request.header("Accept", "text/event-stream")
        } else {
            request
                .header("Accept", "application/json, text/event-stream")
                .header("Content-Type", "application/json")
        };
        Ok(request.body(Full::new(Bytes::from(body)))?)
    }

    async fn call_on(&self, first: Duration, is_kept: bool) {
        tokio::time::sleep(first).await;
        let mut kept = None;
        while !self.is_stopped() {
            let begun = Instant::now();
            match tokio::time::timeout(PATIENCE, self.call(&mut kept)).await {
                Ok(Ok(())) => {
                    self.tally.answered.fetch_add(1, Ordering::Relaxed);
                    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.tally.longest.fetch_max(took, Ordering::Relaxed);
                }
                Ok(Err(error)) => self.tally.problem("call", &error),
                Err(_) => self.tally.problem("call", &anyhow::anyhow!("no answer")),
            }
            if !is_kept {
                kept = None;
            }
            tokio::time::sleep(self.plan.pause.saturating_sub(begun.elapsed())).await;
        }
    }

    /// A call, on the connection that was kept unless it was closed in an orderly way.
    async fn call(&self, kept: &mut Option<Connection>) -> Result<()> {
        let mut connection = match kept.take() {
            Some(mut connection) => match connection.ready().await {
                Ok(()) => connection,
                Err(_) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let body = call(1, "echo", &serde_json::json!({"text": "steady"})).to_string();
        let answer = connection
            .send_request(self.request(Method::POST, body)?)
            .await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(
            status == 200,
            "status {status}: {}",
            String::from_utf8_lossy(&body)
        );
        ensure!(
            body.windows(6).any(|part| part == b"steady"),
            "another answer: {}",
            String::from_utf8_lossy(&body)
        );
        *kept = Some(connection);
        Ok(())
    }

    async fn listen_on(&self) {
        while !self.is_stopped() {
            if let Err(error) = self.listen().await {
                self.tally.problem("stream", &error);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One stream to its end, which must be a proper one after a word when to come again.
    async fn listen(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        let request = self.request(Method::GET, String::new())?;
        let answer = tokio::time::timeout(PATIENCE, connection.send_request(request));
        let answer = answer.await.context("no answer")??;
        ensure!(answer.status() == 200, "status {}", answer.status());
        self.tally.open.fetch_add(1, Ordering::Relaxed);
        let ended = self.read(answer.into_body()).await;
        self.tally.open.fetch_sub(1, Ordering::Relaxed);
        ended
    }

    async fn read(&self, mut body: hyper::body::Incoming) -> Result<()> {
        let mut last = Vec::new();
        loop {
            let frame = tokio::time::timeout(Duration::from_millis(100), body.frame());
            match frame.await {
                Err(_) if self.is_stopped() => return Ok(()),
                Err(_) => {}
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        last = data.to_vec();
                    }
                }
                Ok(Some(Err(error))) => bail!("it was cut: {error}"),
                Ok(None) => break,
            }
        }
        let last = String::from_utf8_lossy(&last);
        ensure!(last.contains("retry:"), "it ended without a word: {last:?}");
        self.tally.ended.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
