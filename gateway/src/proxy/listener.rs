//! What wraps Pingora's app: caps on connections, a deadline for the head of a request, and the
//! guard that drops a request for good when its own loop can't end it.
//!
//! Owns: connections and how long a request may stay unended. Not: what is answered (`hooks`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Gateway;
use super::endings::Lease;
use super::hooks::Hooks;
use super::peer;

/// How many requests one HTTP/2 connection may have open.
const H2_STREAMS: u32 = 100;

tokio::task_local! {
    static LIFELINE: Arc<Lifeline>;
}

/// What the guard around a request knows about it.
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    head_read: Notify,
    lease: OnceLock<Lease>,
    leased: Notify,
}

impl Lifeline {
    /// The one of the request that this task answers.
    pub(super) fn current() -> Option<Arc<Self>> {
        LIFELINE.try_with(Arc::clone).ok()
    }

    /// The head has been read: its deadline is met.
    pub(super) fn head_is_read(&self) {
        self.head_read.notify_one();
    }

    /// From now on the request lasts as long as the lease.
    pub(super) fn lease(&self, lease: Lease) {
        if self.lease.set(lease).is_ok() {
            self.leased.notify_one();
        }
    }

    /// Ends when the request has to be dropped.
    async fn cut(&self, head_deadline: Duration) {
        tokio::select! {
            () = self.head_read.notified() => {}
            () = sleep(head_deadline) => return,
        }
        self.leased.notified().await;
        match self.lease.get() {
            Some(lease) => {
                let end = lease.overstayed().await;
                log::warn!(event = "request_cut", cause = end.as_str(); "a request that did not end by itself was cut off");
            }
            None => std::future::pending().await,
        }
    }
}

/// The app of one listener.
pub struct Listener {
    inner: Arc<Guarded>,
    caps: Arc<Caps>,
    gateway: Arc<Gateway>,
}

impl Listener {
    pub(super) fn new(gateway: Arc<Gateway>, conf: &Arc<ServerConf>) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(gateway.settings.timeouts.idle);
        let inner = Guarded {
            proxy: Arc::new(http_proxy(conf, Hooks::new(Arc::clone(&gateway)))),
            gateway: Arc::clone(&gateway),
            options,
        };
        Self {
            inner: Arc::new(inner),
            caps: Arc::clone(&gateway.caps),
            gateway,
        }
    }
}

#[async_trait]
impl ServerApp for Listener {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let address = stream.get_socket_digest().and_then(|digest| {
            digest
                .peer_addr()
                .and_then(|peer| peer.as_inet().map(|inet| inet.ip()))
        });
        let settings = &self.gateway.settings;
        let counted = address.filter(|ip| !peer::is_trusted(*ip, &settings.trusted_proxies));
        let Some(_seat) = self.caps.take(
            counted,
            settings.connections,
            settings.connections_per_address,
        ) else {
            log::warn!(event = "connection_refused", reason = "overloaded"; "too many connections");
            return None;
        };
        ServerApp::process_new(&self.inner, stream, shutdown).await
    }

    async fn cleanup(&self) {
        ServerApp::cleanup(&*self.inner).await;
    }
}

/// The app within: every request under its guard.
struct Guarded {
    proxy: Arc<HttpProxy<Hooks>>,
    gateway: Arc<Gateway>,
    options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for Guarded {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let timeouts = self.gateway.settings.timeouts;
        // A connection that has carried a request may first stay idle.
        let deadline = match session.take_connection_user_context() {
            Some(_) => timeouts.idle + timeouts.head,
            None => timeouts.head,
        };
        let lifeline = Arc::new(Lifeline::default());
        let answer = LIFELINE.scope(
            Arc::clone(&lifeline),
            self.proxy.process_new_http(session, shutdown),
        );
        tokio::select! {
            biased;
            reusable = answer => reusable,
            () = lifeline.cut(deadline) => None,
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
#[derive(Debug, Default)]
pub(super) struct Caps {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
struct Seat {
    caps: Arc<Caps>,
    address: Option<IpAddr>,
}

impl Caps {
    fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        most: usize,
        most_each: usize,
    ) -> Option<Seat> {
        let address = address.map(network);
        let mut taken = self.taken.lock();
        if taken.all >= most {
            return None;
        }
        if let Some(address) = address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= most_each {
                return None;
            }
            *count += 1;
        }
        taken.all += 1;
        Some(Seat {
            caps: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.caps.taken.lock();
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
fn network(address: IpAddr) -> IpAddr {
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
        let caps = Arc::new(Caps::default());
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let first = caps.take(ip("192.0.2.1"), 3, 2);
        let second = caps.take(ip("::ffff:192.0.2.1"), 3, 2);
        assert!(first.is_some() && second.is_some());
        assert!(caps.take(ip("192.0.2.1"), 3, 2).is_none());
        let other = caps.take(ip("192.0.2.2"), 3, 2);
        assert!(other.is_some());
        assert!(caps.take(None, 3, 2).is_none());
        drop(first);
        assert!(caps.take(ip("192.0.2.1"), 3, 2).is_some());
        drop((second, other));
        assert_eq!(caps.taken.lock().all, 0);
        assert!(caps.taken.lock().by_address.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
