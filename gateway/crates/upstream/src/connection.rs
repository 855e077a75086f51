//! Connections to backends, on Pingora's connector: names resolved without blocking, connections
//! kept for a short while, every step bounded in time.
//!
//! Owns: opening, sending, reading, giving back. Not: what is sent (`proxy`, `client`).

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, RetryType};
use tokio::time::{Instant, sleep, timeout};

use super::account::Account;
use super::backend::{Address, Backend};
use super::within::Answering;
use gateway_core::open_files;

/// Kept connections are closed after this: before uvicorn and Node close theirs at 5 s, so that
/// hardly any request meets a connection that is just being closed.
pub const IDLE: Duration = Duration::from_secs(4);

/// How long a resolved name is used before it is asked again.
pub const RESOLVED: Duration = Duration::from_secs(5);

/// A backend that answers before it has read the whole request gets this long to say it.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// How long a program that was started beside us may take until it listens: long enough for one
/// that has to install itself first.
const COMES_UP: Duration = Duration::from_secs(20);

/// The pause before a connection to such a one is tried again.
const COMES_UP_PAUSE: Duration = Duration::from_millis(50);

/// Marks pool keys that no other connection has.
const FRESH: u64 = 1 << 63;

/// Opens connections to backends and keeps them.
pub struct Connections {
    connector: Connector,
    /// Answers what is asked of backends that are offered together.
    pub(super) within: OnceLock<Box<Answering>>,
    resolved: Mutex<HashMap<(String, u16), Resolved>>,
    opened: AtomicU64,
    /// Since when there are connections: since the start.
    since: Instant,
}

#[derive(Clone)]
struct Resolved {
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            within: OnceLock::new(),
            connector: Connector::new(Some(ConnectorOptions::new(open_files::kept(
                open_files::limit(),
            )))),
            resolved: Mutex::default(),
            opened: AtomicU64::new(0),
            since: Instant::now(),
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// Whether a kept connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// A kept one, or else a new one.
    Reuse,
    /// A new one: the kept one turned out to be dead.
    Fresh,
}

/// Why an exchange with a backend came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its name can't be resolved, or it does not take connections.
    #[error("can't connect: {0}")]
    Unreachable(String),
    /// No file is left for a connection to it: the fault is here. Which limit is met.
    #[error("no file is left for a connection: the limit of {0} is met")]
    NoFiles(&'static str),
    /// Connecting, or its answer, took too long.
    #[error("no answer in time: {0}")]
    TimedOut(&'static str),
    /// It closed the connection before the whole request was sent, so it ran nothing.
    #[error("the connection broke before the request was sent: {0}")]
    NotSent(String),
    /// It closed the connection before the first byte of an answer. Whether it ran the request is
    /// unknown.
    #[error("the connection broke before an answer: {0}")]
    NoAnswer(String),
    /// It broke off, or what it says is not HTTP.
    #[error("the answer is broken: {0}")]
    Broken(String),
    /// Its answer would have to be held, and too much is. The setting whose bound is reached.
    #[error("its answer can't be held in memory: {0} is reached")]
    Full(&'static str),
    /// It did nothing wrong: this is beyond a limit of the gateway's own.
    #[error("{0}")]
    Limit(String),
}

/// A connection to a backend, good for one request. Boxed within: it is moved through the futures
/// of a stream, which would have room for every copy.
pub struct Connection {
    session: Box<HttpSession>,
    /// Whom it is kept for; nobody, within this process.
    peer: Option<Box<HttpPeer>>,
    reused: bool,
    sent: bool,
}

impl Connections {
    /// A connection to `backend`, within its connect timeout. A program that was just started
    /// beside us need not listen yet: it is tried again within that time. One that was used in the
    /// name of an account is given to the same account alone.
    pub async fn open(
        &self,
        backend: &Backend,
        account: Option<&Account>,
        pooling: Pooling,
    ) -> Result<Connection, Failure> {
        let mut met = Failure::TimedOut("connecting");
        // Boxed: it happens seldom, and is large.
        let opened = Box::pin(async {
            loop {
                match self.open_any(backend, account, pooling).await {
                    Err(failure @ Failure::Unreachable(_)) if self.comes_up(backend) => {
                        met = failure;
                        sleep(COMES_UP_PAUSE).await;
                    }
                    opened => return opened,
                }
            }
        });
        let opened = timeout(backend.connect_timeout, opened).await;
        opened.unwrap_or(Err(met))
    }

    /// Whether the program of a backend was started so recently that it need not listen yet.
    pub(super) fn comes_up(&self, backend: &Backend) -> bool {
        backend.starts_with_us && self.since.elapsed() < COMES_UP
    }

    async fn open_any(
        &self,
        backend: &Backend,
        account: Option<&Account>,
        pooling: Pooling,
    ) -> Result<Connection, Failure> {
        let shared = shared_by(backend, account);
        match &backend.address {
            Address::Unix(path) => {
                let path = path
                    .to_str()
                    .ok_or_else(|| Failure::Unreachable("the socket's path is not UTF-8".into()))?;
                let peer = HttpPeer::new_uds(path, false, String::new())
                    .map_err(|error| Failure::Unreachable(brief(&error)))?;
                self.connect(backend, peer, (shared, pooling)).await
            }
            Address::Within => Err(Failure::Unreachable(
                "nobody in particular asks several backends at once".to_owned(),
            )),
            Address::Tcp { host, port, tls } => {
                let mut failure = Failure::Unreachable("the name has no address".to_owned());
                for (rank, address) in self.resolve(host, *port).await?.into_iter().enumerate() {
                    let peer = HttpPeer::new(address, *tls, host.clone());
                    match self.connect(backend, peer, (shared, pooling)).await {
                        Ok(connection) => {
                            if rank > 0 {
                                self.prefer(host, *port, address);
                            }
                            return Ok(connection);
                        }
                        Err(other) => failure = other,
                    }
                }
                Err(failure)
            }
        }
    }

    /// Where `backend` listens, in the order in which it is to be tried, within its connect timeout; for a
    /// transport of its own. Nothing for a unix socket.
    ///
    /// # Errors
    ///
    /// Its name can't be resolved.
    pub async fn addresses(&self, backend: &Backend) -> Result<Vec<SocketAddr>, Failure> {
        let Address::Tcp { host, port, .. } = &backend.address else {
            return Ok(Vec::new());
        };
        let resolving = self.resolve(host, *port);
        timeout(backend.connect_timeout, resolving)
            .await
            .unwrap_or(Err(Failure::TimedOut("connecting")))
    }

    /// Until when a backend that does not listen may just be starting.
    pub fn comes_up_until(&self, backend: &Backend) -> Option<std::time::Instant> {
        let is_starting = self.comes_up(backend);
        is_starting.then(|| self.since.into_std() + COMES_UP)
    }

    async fn connect(
        &self,
        backend: &Backend,
        mut peer: HttpPeer,
        (shared, pooling): (u64, Pooling),
    ) -> Result<Connection, Failure> {
        peer.options.connection_timeout = Some(backend.connect_timeout);
        peer.options.total_connection_timeout = Some(backend.connect_timeout);
        peer.group_key = match pooling {
            Pooling::Reuse => shared,
            Pooling::Fresh => FRESH | self.opened.fetch_add(1, Ordering::Relaxed),
        };
        let (session, reused) = self
            .connector
            .get_http_session(&peer)
            .await
            .map_err(|error| match error.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                    Failure::TimedOut("connecting")
                }
                _ => match lack_of_files(&error) {
                    Some(limit) => Failure::NoFiles(limit),
                    None => Failure::Unreachable(brief(&error)),
                },
            })?;
        peer.group_key = shared;
        Ok(Connection {
            session: Box::new(session),
            peer: Some(Box::new(peer)),
            reused,
            sent: false,
        })
    }

    /// Takes back a connection whose response was read to its end. One that can't be used again
    /// is closed.
    pub async fn release(&self, connection: Connection) {
        let Connection { session, peer, .. } = connection;
        let Some(peer) = peer else {
            return;
        };
        Box::pin(
            self.connector
                .release_http_session(*session, &*peer, Some(IDLE)),
        )
        .await;
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let key = (host.to_owned(), port);
        let known = self.resolved.lock().get(&key).cloned();
        if let Some(known) = &known
            && known.at.elapsed() < RESOLVED
        {
            return Ok(known.addresses.clone());
        }
        match tokio::net::lookup_host((host, port)).await {
            Ok(found) => {
                let mut addresses: Vec<SocketAddr> = found.collect();
                // The one that worked stays first, or else its kept connections would be useless.
                if let Some(last) = known.and_then(|known| known.addresses.first().copied())
                    && let Some(at) = addresses.iter().position(|address| *address == last)
                {
                    addresses.swap(0, at);
                }
                let at = Instant::now();
                let resolved = Resolved {
                    at,
                    addresses: addresses.clone(),
                };
                self.resolved.lock().insert(key, resolved);
                Ok(addresses)
            }
            // The name service is away; the addresses of before may well be good.
            Err(_) if known.is_some() => Ok(known.map(|known| known.addresses).unwrap_or_default()),
            Err(error) => Err(match open_files::limit_met(&error) {
                Some(limit) => Failure::NoFiles(limit),
                None => Failure::Unreachable(format!("resolving the name: {error}")),
            }),
        }
    }

    fn prefer(&self, host: &str, port: u16, address: SocketAddr) {
        let mut resolved = self.resolved.lock();
        if let Some(known) = resolved.get_mut(&(host.to_owned(), port))
            && let Some(at) = known.addresses.iter().position(|other| *other == address)
        {
            known.addresses.swap(0, at);
        }
    }
}

/// Whoever has the same of these shares kept connections: all who call a backend, or one account
/// there. A server may take whom a connection was opened for as the one who speaks on it.
fn shared_by(backend: &Backend, account: Option<&Account>) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.mount.name.hash(&mut hasher);
    account.map(Account::number).hash(&mut hasher);
    hasher.finish() & !FRESH
}

impl Connection {
    /// One that nobody else ever uses.
    pub(super) fn unshared(session: HttpSession) -> Self {
        Self {
            session: Box::new(session),
            peer: None,
            reused: false,
            sent: false,
        }
    }

    /// Whether it has carried a request before.
    pub const fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request whole. `head` must carry the framing of `body`.
    pub async fn send(&mut self, head: RequestHeader, body: Option<Bytes>) -> Result<(), Failure> {
        let sending = async {
            self.session.write_request_header(Box::new(head)).await?;
            if let Some(body) = body
                && !body.is_empty()
            {
                self.session.write_request_body(body, true).await?;
            }
            self.session.finish_request_body().await
        };
        let sent: Result<(), Box<Error>> = sending.await;
        match sent {
            Ok(()) => {
                self.sent = true;
                Ok(())
            }
            // It may have answered without reading all of it (413): the answer counts.
            Err(error) => match timeout(EARLY_ANSWER, self.session.read_response_header()).await {
                Ok(Ok(())) if self.response().status.as_u16() >= 200 => {
                    self.sent = true;
                    Ok(())
                }
                _ => Err(Failure::NotSent(brief(&error))),
            },
        }
    }

    /// Reads the head of the final response; informational ones are skipped. Waits for as long as
    /// it takes: the caller knows what else may end the wait.
    pub async fn read_head(&mut self) -> Result<&ResponseHeader, Failure> {
        while self
            .session
            .response_header()
            .is_none_or(|head| head.status.is_informational())
        {
            if self
                .session
                .response_header()
                .is_some_and(|head| head.status.as_u16() == 101)
            {
                return Err(Failure::Broken("it switched protocols unasked".to_owned()));
            }
            self.session.read_response_header().await.map_err(|error| {
                match (error.etype(), &error.retry) {
                    (_, RetryType::ReusedOnly) | (ErrorType::ConnectionClosed, _) => {
                        Failure::NoAnswer(brief(&error))
                    }
                    _ => Failure::Broken(brief(&error)),
                }
            })?;
        }
        Ok(self.response())
    }

    /// The head that was read.
    fn response(&self) -> &ResponseHeader {
        self.session
            .response_header()
            .expect("callers have read the head")
    }

    /// The next bytes of the body, `None` at its end. Safe to drop and call again.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, Failure> {
        self.session
            .read_response_body()
            .await
            .map_err(|error| Failure::Broken(brief(&error)))
    }

    /// Closes the connection at once, which tells the backend that nobody listens any more.
    pub async fn abandon(mut self) {
        self.session.shutdown().await;
    }
}

fn lack_of_files(error: &Error) -> Option<&'static str> {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.and_then(open_files::limit_met)
}

/// What went wrong, without addresses of ours in it: kind and context.
fn brief(error: &Error) -> String {
    let cause = match error.root_cause().downcast_ref::<std::io::Error>() {
        Some(cause) => format!(": {}", cause.kind()),
        None => String::new(),
    };
    format!("{}{cause}", error.etype().as_str())
}
