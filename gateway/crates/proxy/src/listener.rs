//! What wraps Pingora's app: connections under their caps, and every request under its watchdog.
//!
//! Owns: connections and who answers them. Not: what is answered (`hooks`), how long a request may
//! stay unended (`watchdog`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ProxyState;
use super::hooks::Hooks;
use super::metered::{self, Meter, Metered};
use super::peer;
use super::watchdog::RequestWatchdog;
use gateway_core::reason::Reason;

/// How many requests one HTTP/2 connection may have open.
const H2_STREAMS: u32 = 100;

/// How many connections without a place are answered at once; each takes a file meanwhile.
const FAREWELLS: usize = 32;

/// How long each of them may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers connections.
pub(super) struct Listener {
    inner: Arc<Guarded>,
    limits: Arc<ConnectionLimits>,
    state: Arc<ProxyState>,
}

impl Listener {
    pub(super) fn new(state: Arc<ProxyState>, conf: &Arc<ServerConf>) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(state.settings.timeouts.idle);
        let inner = Guarded {
            proxy: Arc::new(http_proxy(conf, Hooks::new(Arc::clone(&state)))),
            state: Arc::clone(&state),
            options,
        };
        Self {
            inner: Arc::new(inner),
            limits: Arc::clone(&state.connection_limits),
            state,
        }
    }

    /// Gives a connection a place and a task that answers it, or turns it away. Whoever is turned
    /// away costs nothing but that.
    pub(super) fn take(&self, socket: TcpStream, peer: SocketAddr, shutdown: &ShutdownWatch) {
        let settings = &self.state.settings;
        let counted =
            Some(peer.ip()).filter(|ip| !peer::is_trusted(*ip, &settings.trusted_proxies));
        let permit = self.limits.take(
            counted,
            settings.connections,
            settings.connections_per_address,
        );
        let permit = match permit {
            Ok(permit) => permit,
            Err(crowd) => {
                self.limits
                    .turn_away(socket, Refusal::of(crowd, settings.bound));
                return;
            }
        };
        // Without it answers are a little later.
        let _ = socket.set_nodelay(true);
        let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
        // A new cell is empty.
        let _ = digest.peer_addr.set(Some(peer.into()));
        let mut stream = L4Stream::from(socket);
        stream.set_socket_digest(digest);
        let meter = Meter::new(&self.state.budget, counted, settings.request_header);
        let stream = Box::new(Metered::new(stream, Arc::clone(&meter)));
        let (inner, shutdown) = (Arc::clone(&self.inner), shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let answering = ServerApp::process_new(&inner, stream, &shutdown);
            let mut next = meter.clone().during(answering).await;
            while let Some(stream) = next {
                let answering = ServerApp::process_new(&inner, stream, &shutdown);
                next = meter.clone().during(answering).await;
            }
        });
    }

    /// What is left to do once no connection is taken any more.
    pub(super) async fn clean_up(&self) {
        ServerApp::cleanup(&*self.inner).await;
    }
}

/// The app within: every request under its guard.
struct Guarded {
    proxy: Arc<HttpProxy<Hooks>>,
    state: Arc<ProxyState>,
    options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for Guarded {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if let Some(meter) = Meter::current() {
            meter.head_begins();
        }
        let timeouts = self.state.settings.timeouts;
        // A connection that has carried a request may first stay idle.
        let deadline = match session.take_connection_user_context() {
            Some(_) => timeouts.idle + timeouts.head,
            None => timeouts.head,
        };
        let watchdog = Arc::new(RequestWatchdog::default());
        let answer = Arc::clone(&watchdog).during(self.proxy.process_new_http(session, shutdown));
        tokio::select! {
            biased;
            reusable = answer => reusable,
            () = watchdog.cut(deadline) => None,
        }
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = H2Options::new();
        options.max_concurrent_streams(H2_STREAMS);
        Some(options)
    }
}

/// How many connections there are, and from where.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    taken: Mutex<Taken>,
    farewells: Arc<Semaphore>,
    said: Mutex<Said>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            taken: Mutex::default(),
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
            said: Mutex::default(),
        }
    }
}

/// When it was last said in the log that connections are refused, and how many were since.
#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    unsaid: u64,
}

/// What bounds the connections in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `limits.connections`.
    Setting,
    /// `limits.memory` is not enough for so many.
    Memory,
    /// The limit of open files is not.
    OpenFiles,
}

/// Which cap is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    All,
    Address,
}

/// What is said to whom no place is left for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    reason: Reason,
    limit: &'static str,
}

impl Refusal {
    const fn of(crowd: Crowd, bound: Bound) -> Self {
        let full = Reason::ConnectionsFull;
        let (status, reason, limit) = match (crowd, bound) {
            (Crowd::Address, _) => (
                "429 Too Many Requests",
                full,
                "limits.connections_per_address",
            ),
            (Crowd::All, Bound::Setting) => ("503 Service Unavailable", full, "limits.connections"),
            (Crowd::All, Bound::Memory) => ("503 Service Unavailable", full, "limits.memory"),
            (Crowd::All, Bound::OpenFiles) => (
                "503 Service Unavailable",
                Reason::OpenFilesExhausted,
                "open files of the process",
            ),
        };
        Self {
            status,
            reason,
            limit,
        }
    }
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    address: Option<IpAddr>,
}

impl ConnectionLimits {
    fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        most: usize,
        most_each: usize,
    ) -> Result<ConnectionPermit, Crowd> {
        let address = address.map(network);
        let mut taken = self.taken.lock();
        if taken.all >= most {
            return Err(Crowd::All);
        }
        if let Some(address) = address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= most_each {
                return Err(Crowd::Address);
            }
            *count += 1;
        }
        taken.all += 1;
        Ok(ConnectionPermit {
            limits: Arc::clone(self),
            address,
        })
    }

    /// Answers a connection that there is no place for, after its first bytes: a client that has
    /// asked nothing yet expects no answer. Of very many at once the others are just closed.
    fn turn_away(&self, mut socket: TcpStream, refusal: Refusal) {
        self.say(refusal);
        let Ok(permit) = Arc::clone(&self.farewells).try_acquire_owned() else {
            return;
        };
        let answer = metered::answer(refusal.status, refusal.reason, true);
        tokio::spawn(async move {
            let _permit = permit;
            let farewell = async {
                let mut scratch = [0; 2048];
                if !matches!(socket.read(&mut scratch).await, Ok(1..)) {
                    return;
                }
                let written = socket.write_all(&answer).await;
                if written.is_err() || socket.shutdown().await.is_err() {
                    return;
                }
                // What it still sends is thrown away, or else the answer would be with it.
                while matches!(socket.read(&mut scratch).await, Ok(1..)) {}
            };
            let _ = timeout(FAREWELL, farewell).await;
        });
    }

    /// At most a line a second: who is refused must not fill the log.
    fn say(&self, refusal: Refusal) {
        let mut said = self.said.lock();
        said.unsaid += 1;
        if said.at.is_some_and(|at| at.elapsed() < FAREWELL) {
            return;
        }
        let refused = std::mem::take(&mut said.unsaid);
        said.at = Some(Instant::now());
        drop(said);
        let reason = refusal.reason;
        log::warn!(
            event = "connection_refused", reason = reason.code(), hint = reason.remedy(),
            limit = refusal.limit, refused = refused;
            "{}", reason.sentence()
        );
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.limits.taken.lock();
        taken.all -= 1;
        if let Some(address) = self.address
            && let Some(count) = taken.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// One holder of IPv6 addresses has at least a /64 of them.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_capped_in_all_and_for_each_address() {
        let limits = Arc::new(ConnectionLimits::default());
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let first = limits.take(ip("192.0.2.1"), 3, 2);
        let second = limits.take(ip("::ffff:192.0.2.1"), 3, 2);
        assert!(first.is_ok() && second.is_ok());
        let full = limits.take(ip("192.0.2.1"), 3, 2);
        assert_eq!(full.unwrap_err(), Crowd::Address);
        let other = limits.take(ip("192.0.2.2"), 3, 2);
        assert!(other.is_ok());
        assert_eq!(limits.take(None, 3, 2).unwrap_err(), Crowd::All);
        drop(first);
        assert!(limits.take(ip("192.0.2.1"), 3, 2).is_ok());
        drop((second, other));
        assert_eq!(limits.taken.lock().all, 0);
        assert!(limits.taken.lock().by_address.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
