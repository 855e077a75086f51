//! Connections under their caps: served by the lane for as long as their requests are plain, then by
//! Pingora's app, every request of it under its watchdog.
//!
//! Owns: connections and who answers them. Not: what is answered (`hooks`), how long a request may
//! stay unended (`watchdog`).

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_lane::{Handover, Lane};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::connection_limits::{ConnectionLimits, ConnectionPermit, Refusal};
use super::hooks::Hooks;
use super::lane::{self, LaneService};
use super::metered::{Meter, Metered};
use super::peer;
use super::serve::Service;
use super::watchdog::RequestWatchdog;

/// How many requests one HTTP/2 connection may have open.
const H2_STREAMS: u32 = 100;

/// How often connections to backends are closed that nobody used for a while.
const SWEPT: Duration = Duration::from_secs(1);

/// Answers connections.
pub(super) struct Listener {
    inner: Arc<Guarded>,
    limits: Arc<ConnectionLimits>,
    service: Arc<Service>,
    /// What plain requests are served by, if they are.
    lane: Option<Arc<Lane<LaneService>>>,
}

impl Listener {
    pub(super) fn new(
        service: Arc<Service>,
        limits: Arc<ConnectionLimits>,
        conf: &Arc<ServerConf>,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(service.state.settings.timeouts.idle);
        let inner = Guarded {
            proxy: Arc::new(http_proxy(conf, Hooks::new(Arc::clone(&service)))),
            service: Arc::clone(&service),
            options,
        };
        let lane = service.state.settings.lane;
        Self {
            inner: Arc::new(inner),
            limits,
            lane: lane.then(|| lane::open(&service)),
            service,
        }
    }

    /// Gives a connection a place and a task that answers it, or turns it away. Whoever is turned
    /// away costs nothing but that.
    pub(super) fn take(&self, socket: TcpStream, peer: SocketAddr, shutdown: &ShutdownWatch) {
        let settings = &self.service.state.settings;
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
                    .turn_away(socket, Refusal::new(crowd, settings.bound));
                return;
            }
        };
        // Without it answers are a little later.
        let _ = socket.set_nodelay(true);
        let (inner, shutdown) = (Arc::clone(&self.inner), shutdown.clone());
        let other_road = move |handover: Handover<TcpStream>, permit: ConnectionPermit| {
            let answering = answer(inner, handover, (peer, counted), shutdown);
            tokio::spawn(async move {
                let _permit = permit;
                answering.await;
            });
        };
        match &self.lane {
            Some(lane) => gateway_lane::spawn(Arc::clone(lane), socket, peer, permit, other_road),
            None => {
                let nothing_read = Handover {
                    io: socket,
                    bytes: Bytes::new(),
                };
                other_road(nothing_read, permit);
            }
        }
    }

    /// Closes connections to backends that nobody used for a while; without end.
    pub(super) async fn sweep(&self) {
        loop {
            sleep(SWEPT).await;
            if let Some(lane) = &self.lane {
                lane.sweep();
            }
        }
    }

    /// What is left to do once no connection is taken any more.
    pub(super) async fn clean_up(&self) {
        ServerApp::cleanup(&*self.inner).await;
    }
}

/// Answers a connection with Pingora: what was read of it first, then what still comes. `peer` is whose it
/// is, and as whose it is counted.
async fn answer(
    app: Arc<Guarded>,
    handover: Handover<TcpStream>,
    (peer, counted): (SocketAddr, Option<IpAddr>),
    shutdown: ShutdownWatch,
) {
    let Handover { io, bytes } = handover;
    let state = &app.service.state;
    let digest = SocketDigest::from_raw_fd(io.as_raw_fd());
    // A new cell is empty.
    let _ = digest.peer_addr.set(Some(peer.into()));
    let mut stream = L4Stream::from(io);
    stream.set_socket_digest(digest);
    stream.rewind(&bytes);
    drop(bytes);
    let meter = Meter::new(&state.budget, counted, state.settings.request_header);
    let stream = Box::new(Metered::new(stream, Arc::clone(&meter)));
    let answering = ServerApp::process_new(&app, stream, &shutdown);
    let mut next = meter.clone().during(answering).await;
    while let Some(stream) = next {
        let answering = ServerApp::process_new(&app, stream, &shutdown);
        next = meter.clone().during(answering).await;
    }
}

/// The app within: every request under its guard.
struct Guarded {
    proxy: Arc<HttpProxy<Hooks>>,
    service: Arc<Service>,
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
        let timeouts = self.service.state.settings.timeouts;
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
