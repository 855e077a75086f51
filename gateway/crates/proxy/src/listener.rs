//! Connections under their caps: served by the lane for as long as their requests are plain. One that
//! is not is served by Pingora's proxy under its watchdog, and its connection then comes back.
//!
//! Owns: connections and who answers them. Not: what is answered (`hooks`), how long a request may
//! stay unended (`watchdog`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway_lane::{Connection, Handover, Lane};
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::connection_limits::{ConnectionLimits, ConnectionPermit, Refusal};
use super::hooks::Hooks;
use super::http2::Http2;
use super::lane::{self, LaneService};
use super::memory::{self, PeakUsage};
use super::metered::{Meter, Metered};
use super::serve::Service;
use super::transport::{Encrypted, Transport};
use super::watchdog::RequestWatchdog;
use super::{http2, peer, plain_port, tls};

/// How often connections to backends are closed that nobody used for a while.
const SWEPT: Duration = Duration::from_secs(1);

/// How often it is looked for memory that was let go.
const LOOKED: Duration = Duration::from_secs(2);

/// What is spoken where a connection came in.
#[derive(Clone)]
pub(super) enum Port {
    /// HTTP/1.1 as it is.
    Http,
    /// TLS, and in it HTTP/2 or HTTP/1.1.
    Https(TlsAcceptor),
    /// HTTP/1.1, of which nothing is served but the way to the port beside it.
    Redirect,
}

/// Answers connections.
pub(super) struct Listener {
    roads: Arc<Roads>,
    limits: Arc<ConnectionLimits>,
}

impl Listener {
    pub(super) fn new(
        service: Arc<Service>,
        limits: Arc<ConnectionLimits>,
        conf: &Arc<ServerConf>,
    ) -> Self {
        let lane = service.state.settings.lane;
        let proxy = Arc::new(http_proxy(conf, Hooks::new(Arc::clone(&service))));
        let roads = Roads {
            http2: Http2 {
                service: Arc::clone(&service),
                limits: Arc::clone(&limits),
                proxy: Arc::clone(&proxy),
            },
            proxy,
            lane: lane.then(|| lane::open(&service)),
            service,
        };
        Self {
            roads: Arc::new(roads),
            limits,
        }
    }

    /// Gives a connection a place and a task that answers it, or turns it away. Whoever is turned
    /// away costs nothing but that.
    pub(super) fn take(
        &self,
        port: &Port,
        socket: TcpStream,
        peer: SocketAddr,
        shutdown: &ShutdownWatch,
    ) {
        let settings = &self.roads.service.state.settings;
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
                let refusal = Refusal::new(crowd, settings.bound);
                match port {
                    Port::Http | Port::Redirect => self.limits.turn_away(socket, refusal),
                    // No answer of ours could be read without a handshake, which costs much more
                    // than the connection.
                    Port::Https(_) => self.limits.record(refusal),
                }
                return;
            }
        };
        // Without it answers are a little later.
        let _ = socket.set_nodelay(true);
        let client = Client {
            peer,
            counted,
            shutdown: shutdown.clone(),
            _permit: permit,
        };
        let roads = Arc::clone(&self.roads);
        match port {
            Port::Http => roads.begin(Connection::new(socket, peer), client),
            Port::Https(acceptor) => {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { roads.encrypt(&acceptor, socket, client).await });
            }
            Port::Redirect => {
                tokio::spawn(
                    async move { plain_port::serve(&roads.service, socket, client).await },
                );
            }
        }
    }

    /// Closes connections to backends that nobody used for a while, and gives memory back that nobody
    /// uses; without end.
    pub(super) async fn sweep(&self) {
        tokio::join!(self.close_unused(), self.give_memory_back());
    }

    async fn close_unused(&self) {
        let Some(lane) = &self.roads.lane else {
            return;
        };
        loop {
            sleep(SWEPT).await;
            lane.sweep();
        }
    }

    async fn give_memory_back(&self) {
        let (mut peak, budget) = (PeakUsage::default(), &self.roads.service.state.budget);
        loop {
            sleep(LOOKED).await;
            if peak.has_fallen(self.limits.open(), budget.held()) {
                // It takes a while, and needs nothing of ours.
                let _ = tokio::task::spawn_blocking(memory::give_back).await;
            }
        }
    }

    /// Ends once another process takes the connections that come.
    pub(super) async fn taken_over(&self) {
        self.roads.service.state.draining.taken_over().await;
    }

    /// What is left to do once no connection is taken any more.
    pub(super) async fn clean_up(&self) {
        self.roads.proxy.http_cleanup().await;
    }
}

/// What goes with a connection, whichever road serves it.
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    /// As whose it is counted.
    pub(super) counted: Option<IpAddr>,
    pub(super) shutdown: ShutdownWatch,
    _permit: ConnectionPermit,
}

/// Who answers: the lane, if it is on, and Pingora.
struct Roads {
    service: Arc<Service>,
    lane: Option<Arc<Lane<LaneService>>>,
    proxy: Arc<HttpProxy<Hooks>>,
    http2: Http2,
}

impl Roads {
    /// Serves a connection that begins with a TLS handshake, for which it has as long as for a head.
    async fn encrypt(self: Arc<Self>, acceptor: &TlsAcceptor, socket: TcpStream, client: Client) {
        let patience = self.service.state.settings.timeouts.head;
        let encrypted: Encrypted = match timeout(patience, acceptor.accept(socket)).await {
            Ok(Ok(encrypted)) => Box::new(encrypted),
            Ok(Err(error)) => {
                // Whoever looks whether somebody listens is such a client, too.
                log::debug!(event = "handshake_failed", client = client.peer.ip().to_string(); "{error}");
                return;
            }
            Err(_) => return,
        };
        if tls::speaks_h2(&encrypted) {
            let unread = Connection::new(encrypted, client.peer).into_unread();
            self.serve_h2(unread, client).await;
        } else {
            self.begin(Connection::new(encrypted, client.peer), client);
        }
    }

    /// Serves a connection of HTTP/2. What is read of it is bounded by its own windows.
    async fn serve_h2<T: Transport>(&self, unread: Handover<T>, client: Client) {
        let state = &self.service.state;
        let meter = Meter::new(&state.budget, client.counted, state.settings.request_header);
        meter.head_is_read();
        let metered = Metered::new(unread, client.peer, meter);
        let stream = Box::new(metered.with_frames(http2::PREFACE.len()));
        self.http2.serve(stream, client).await;
    }

    /// Serves a connection, in tasks of its own.
    fn begin<T: Transport>(self: &Arc<Self>, connection: Connection<T>, client: Client) {
        let roads = Arc::clone(self);
        match &self.lane {
            Some(lane) => {
                let other_road = move |handover, client| roads.go_on(handover, client);
                gateway_lane::spawn(Arc::clone(lane), connection, client, other_road);
            }
            None => roads.go_on(connection.into_unread(), client),
        }
    }

    /// Serves a connection with Pingora until it is idle.
    fn go_on<T: Transport>(self: Arc<Self>, mut handover: Handover<T>, client: Client) {
        tokio::spawn(async move {
            if self.begins_h2c(&mut handover).await {
                self.serve_h2(handover, client).await;
                return;
            }
            if let Some(idle) = self.answer(handover, &client).await {
                self.begin(Connection::kept(idle, client.peer), client);
            }
        });
    }

    /// Whether a connection without TLS begins as one of HTTP/2 does (RFC 9113 §3.3): as much of it is read
    /// as tells. Only where that is configured: otherwise nothing is read.
    async fn begins_h2c<T: Transport>(&self, handover: &mut Handover<T>) -> bool {
        let settings = &self.service.state.settings;
        if !settings.h2c || !handover.is_first || T::IS_ENCRYPTED {
            return false;
        }
        let reading = http2::has_preface(&mut handover.io, &mut handover.bytes);
        timeout(settings.timeouts.head, reading)
            .await
            .unwrap_or(false)
    }

    /// Answers with Pingora: what was read of the connection first, then what still comes. Without a
    /// lane it is all requests of the connection; else one, and the connection, if it may carry more.
    async fn answer<T: Transport>(&self, handover: Handover<T>, client: &Client) -> Option<T> {
        let state = &self.service.state;
        let meter = Meter::new(&state.budget, client.counted, state.settings.request_header);
        let metered = Metered::new(handover, client.peer, Arc::clone(&meter));
        let answering = async {
            let mut session = ServerSession::new_http1(Box::new(metered));
            session.set_keepalive(Some(state.settings.timeouts.idle.as_secs()));
            loop {
                let reused = self.answer_one(session, &client.shutdown).await?;
                let (stream, settings) = reused.consume();
                let stream = match &self.lane {
                    Some(_) => match idle(stream) {
                        Ok(idle) => return Some(idle),
                        Err(stream) => stream?,
                    },
                    None => stream,
                };
                session = ServerSession::new_http1(stream);
                if let Some(settings) = settings {
                    settings.apply_to_session(&mut session);
                }
            }
        };
        meter.clone().during(answering).await
    }

    /// Answers one request under its guard.
    async fn answer_one(
        &self,
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
}

/// The connection under a stream of Pingora's that waits for its next request.
fn idle<T: Transport>(stream: Stream) -> Result<T, Option<Stream>> {
    let metered = stream.into_any().downcast::<Metered<T>>();
    let metered = metered.map_err(|_| None)?;
    metered.into_idle().map_err(|metered| {
        let stream: Stream = metered;
        Some(stream)
    })
}
