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
use tokio::time::sleep;

use super::connection_limits::{ConnectionLimits, ConnectionPermit, Refusal};
use super::hooks::Hooks;
use super::lane::{self, LaneService};
use super::memory::{self, PeakUsage};
use super::metered::{Meter, Metered};
use super::peer;
use super::serve::Service;
use super::watchdog::RequestWatchdog;

/// How often connections to backends are closed that nobody used for a while.
const SWEPT: Duration = Duration::from_secs(1);

/// How often it is looked for memory that was let go.
const LOOKED: Duration = Duration::from_secs(2);

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
        let roads = Roads {
            proxy: Arc::new(http_proxy(conf, Hooks::new(Arc::clone(&service)))),
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
    pub(super) fn take(&self, socket: TcpStream, peer: SocketAddr, shutdown: &ShutdownWatch) {
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
                self.limits
                    .turn_away(socket, Refusal::new(crowd, settings.bound));
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
        self.roads.begin(Connection::new(socket, peer), client);
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

    /// What is left to do once no connection is taken any more.
    pub(super) async fn clean_up(&self) {
        self.roads.proxy.http_cleanup().await;
    }
}

/// What goes with a connection, whichever road serves it.
struct Client {
    peer: SocketAddr,
    /// As whose it is counted.
    counted: Option<IpAddr>,
    shutdown: ShutdownWatch,
    _permit: ConnectionPermit,
}

/// Who answers: the lane, if it is on, and Pingora.
struct Roads {
    service: Arc<Service>,
    lane: Option<Arc<Lane<LaneService>>>,
    proxy: Arc<HttpProxy<Hooks>>,
}

impl Roads {
    /// Serves a connection, in tasks of its own.
    fn begin(self: &Arc<Self>, connection: Connection<TcpStream>, client: Client) {
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
    fn go_on(self: Arc<Self>, handover: Handover<TcpStream>, client: Client) {
        tokio::spawn(async move {
            if let Some(idle) = self.answer(handover, &client).await {
                self.begin(Connection::kept(idle, client.peer), client);
            }
        });
    }

    /// Answers with Pingora: what was read of the connection first, then what still comes. Without a
    /// lane it is all requests of the connection; else one, and the connection, if it may carry more.
    async fn answer(&self, handover: Handover<TcpStream>, client: &Client) -> Option<TcpStream> {
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
fn idle(stream: Stream) -> Result<TcpStream, Option<Stream>> {
    let metered = stream.into_any().downcast::<Metered>().map_err(|_| None)?;
    metered.into_idle().map_err(|metered| {
        let stream: Stream = metered;
        Some(stream)
    })
}
