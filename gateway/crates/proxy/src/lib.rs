//! The proxy: Pingora's hooks, routes, admission and the exchange with a backend.
//!
//! Everything that reaches a backend goes through one loop, `exchange`, and that loop takes a
//! [`gateway_core::policy::Permit`]. Pingora's own proxy path is closed: `hooks` answers every request
//! itself and names no upstream peer.
//!
//! Owns: the listener, what reaches a backend and what comes back. Not: what is decided
//! (`gateway-core`), what a backend offers (`gateway-upstream`), the gateway's own endpoints
//! (`gateway-oauth`).
//!
//! Begin at `serve`. Each call of a pinned tool is judged by how the tool stands now, each list on its
//! way to a restricted token is cut in its text (`tool_list_filter`), and of all other methods only
//! harmless ones pass. Refusals are answered within MCP (`mcp_error`). Where the backend speaks another
//! family of revisions than the client, `compat` takes the permit: its first page says what is
//! translated, why, and what can't be. For unrestricted tokens nothing is looked into, unless there is
//! a policy. Several servers at one address are one more backend (`aggregate`), whose requests come back to
//! `serve` for each member; what limits count is taken by `call_limits` before a permit is used.

mod accept;
mod account_doubt;
mod account_refusal;
mod admission;
mod aggregate;
mod aggregates;
mod audit;
mod backend_tokens;
mod body;
mod call_limits;
mod challenge;
mod client_names;
mod client_watch;
mod compat;
mod confirmation;
mod connection_limits;
mod context;
mod control_frames;
mod cors;
mod decline_message;
mod destination;
mod drain;
mod event_filter;
mod exchange;
mod exchange_log;
mod exchange_watch;
mod framing;
mod headers;
mod holder;
mod hooks;
mod http2;
mod in_flight;
mod known_lists;
mod lane;
mod legacy_outbox;
mod lifetime;
mod listener;
mod mcp_error;
pub mod memory;
mod metered;
mod mounted_backend;
mod peer;
mod plain_port;
mod policy_input;
mod proxy_error;
mod rejection;
mod relay;
mod request;
mod response_head;
mod response_writer;
mod rewrite;
mod routes;
mod serve;
mod sessions;
mod settings;
mod state;
mod stream_probe;
mod streams;
mod tasks;
#[cfg(test)]
mod tests;
mod tls;
mod tool_list_cut;
mod tool_list_filter;
mod tool_states;
mod trace;
mod transport;
mod upstream_head;
mod watchdog;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use pingora::server::configuration::ServerConf;

pub use self::accept::{ListenSockets, PublicListeners, listen};
pub use self::drain::Drain;
pub use self::settings::{Bound, InFlight, Settings, Timeouts};
pub use self::state::Dependencies;
pub use self::stream_probe::STREAM_PROBE_PATH;
pub use self::streams::{StreamView, Streams};
pub use self::tls::ServedCertificate;

use self::compat::Translator;
use self::connection_limits::ConnectionLimits;
use self::listener::{Listener, Port};
use self::serve::Service;
use self::state::ProxyState;

/// Where connections are taken.
#[derive(Debug, Default)]
pub struct Addresses {
    /// Where clients and browsers are served.
    pub served: Vec<SocketAddr>,
    /// What they are served with there, if it is TLS.
    pub certificate: Option<Arc<ServedCertificate>>,
    /// Where plain HTTP is led to them.
    pub plain: Vec<SocketAddr>,
    /// Sockets that listen at some of them already, and do not block.
    pub open: BTreeMap<SocketAddr, TcpListener>,
    /// Where all sockets are noted that listen.
    pub sockets: ListenSockets,
}

/// The proxy, ready to be given to listeners.
#[derive(Clone, Debug)]
pub struct Proxy {
    service: Arc<Service>,
    connection_limits: Arc<ConnectionLimits>,
}

impl Proxy {
    /// Puts the proxy together. Needs no runtime.
    pub fn new(settings: Settings, dependencies: Dependencies) -> Self {
        let connection_limits = ConnectionLimits::new(&dependencies.metrics);
        let service = Service {
            state: ProxyState::new(settings, dependencies),
            translator: Translator::default(),
        };
        let service = Arc::new(service);
        aggregate::answer_for_members(&service);
        Self {
            service,
            connection_limits: Arc::new(connection_limits),
        }
    }

    /// The service that takes connections at these addresses.
    pub fn listeners(&self, conf: &Arc<ServerConf>, addresses: Addresses) -> PublicListeners {
        let port = match &addresses.certificate {
            Some(certificate) => Port::Https(tls::acceptor(certificate)),
            None => Port::Http,
        };
        let served = addresses.served.iter().map(|at| (*at, port.clone()));
        let plain = addresses.plain.iter().map(|at| (*at, Port::Redirect));
        PublicListeners {
            listener: Arc::new(self.listener(conf)),
            ports: served.chain(plain).collect(),
            open: addresses.open,
            sockets: addresses.sockets,
        }
    }

    fn listener(&self, conf: &Arc<ServerConf>) -> Listener {
        let limits = Arc::clone(&self.connection_limits);
        Listener::new(Arc::clone(&self.service), limits, conf)
    }

    /// The handle that ends streams at shutdown and tells what is still running.
    pub fn drain(&self) -> Drain {
        Drain::new(&self.service.state.draining, &self.connection_limits)
    }

    /// Sets those metrics that say how much there is at this moment.
    pub fn measure(&self) {
        let state = &self.service.state;
        let counts = state.streams.count_by_backend();
        for mounted in state.routes.backends() {
            let name = mounted.backend.mount.name.as_str();
            let count = counts.get(name).copied().unwrap_or_default();
            state.metrics.streams.with([name]).set(count);
        }
        let open = self.connection_limits.open();
        state.metrics.connections.with([]).set(open);
        state.metrics.in_flight.with([]).set(state.budget.held());
    }

    /// The live streams.
    pub fn streams(&self) -> &Streams {
        &self.service.state.streams
    }
}
