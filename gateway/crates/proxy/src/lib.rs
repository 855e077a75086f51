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
//! a policy.

mod accept;
mod admission;
mod audit;
mod beside;
mod body;
mod client_watch;
mod compat;
mod connection_limits;
mod context;
mod cors;
mod declined;
mod drain;
mod exchange;
mod framing;
mod hooks;
mod in_flight;
mod legacy_outbox;
mod lifetime;
mod listener;
mod mcp_error;
pub mod memory;
mod metered;
mod peer;
mod policy_input;
mod rejection;
mod relay;
mod response_head;
mod response_writer;
mod rewrite;
mod routes;
mod serve;
mod sessions;
mod streams;
mod tasks;
#[cfg(test)]
mod tests;
mod tool_list_filter;
mod upstream_head;
mod watchdog;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pingora::server::configuration::ServerConf;
use quick_cache::sync::Cache;

pub use self::accept::PublicListeners;
pub use self::connection_limits::Bound;
pub use self::drain::Drain;
pub use self::in_flight::InFlight;
pub use self::streams::{StreamView, Streams};

use gateway_core::access_token::{BackendToken, Keys, VerifiedToken};
use gateway_core::clock::Clock;
use gateway_core::policy::{PolicyHandle, ScopeTable, Scopes};
use gateway_core::protocol::resource::{Issuer, Mount, Resource};
use gateway_core::protocol::web_origin::AllowedOrigins;
use gateway_core::secret::TagKey;
use gateway_oauth::AuthorizationServer;
use gateway_store::RevocationView;
use gateway_store::journal::Journal;
use gateway_upstream::{Backend, Connections, IdentityHeaders, ProtocolSupport};

use self::compat::Translator;
use self::connection_limits::ConnectionLimits;
use self::drain::Draining;
use self::in_flight::Budget;
use self::legacy_outbox::LegacyOutboxes;
use self::listener::Listener;
use self::sessions::Sessions;
use self::tasks::Tasks;

/// How many verified tokens are remembered, so that a token's signature is checked once.
const TOKENS: usize = 16_384;

/// What the operator decides about the proxy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public origin.
    pub issuer: Issuer,
    /// Origins beside the issuer's whose pages may call the MCP endpoints.
    pub allowed_origins: AllowedOrigins,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The headers that tell a backend who is calling.
    pub identity_headers: IdentityHeaders,
    /// The largest body of an MCP request, in bytes.
    pub request_body: usize,
    /// The largest head of a request, in bytes.
    pub request_header: usize,
    /// How many bytes of unfinished requests are held at once.
    pub in_flight: InFlight,
    /// How many connections are open at once.
    pub connections: usize,
    /// What bounds them.
    pub bound: Bound,
    /// How many of them one address may hold; trusted proxies are not counted.
    pub connections_per_address: usize,
    /// The silence on an event stream after which a comment is sent.
    pub keep_alive: Duration,
    /// How long a stream may go on after the token that opened it has ended, where clients get
    /// new tokens by refreshing. Revocation ends it at once all the same.
    pub streams_outlast_tokens: Option<Duration>,
    /// The bounds on what a client may take its time for.
    pub timeouts: Timeouts,
}

/// Bounds on what a client may take its time for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the start of a connection to the end of the first request's head.
    pub head: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// For the whole body of an MCP request.
    pub body: Duration,
    /// For the whole body of a request to one of the gateway's own endpoints.
    pub endpoint_body: Duration,
    /// For one write to a client that reads slowly.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(30),
            endpoint_body: Duration::from_secs(10),
            write: Duration::from_secs(30),
        }
    }
}

/// What the proxy works with.
#[derive(Debug)]
pub struct Dependencies {
    /// Answers everything that is not for a backend.
    pub server: Arc<AuthorizationServer>,
    /// Verify access tokens.
    pub keys: Arc<Keys>,
    /// What was revoked.
    pub revocations: Arc<RevocationView>,
    /// The key for tags on session ids.
    pub tags: TagKey,
    /// The time.
    pub clock: Clock,
    /// The audit log.
    pub journal: Journal,
    /// The operator's policy.
    pub policy: PolicyHandle,
    /// The backends, in configuration order.
    pub backends: Vec<Arc<Backend>>,
    /// What each of them speaks, in the same order.
    pub protocols: Vec<Arc<ProtocolSupport>>,
    /// The connections to them, shared with the catalogue.
    pub connections: Arc<Connections>,
}

/// The proxy, ready to be given to listeners.
#[derive(Clone, Debug)]
pub struct Proxy {
    state: Arc<ProxyState>,
}

impl Proxy {
    /// Puts the proxy together. Needs no runtime.
    pub fn new(settings: Settings, dependencies: Dependencies) -> Self {
        let mounted_backends: Vec<MountedBackend> = dependencies
            .backends
            .iter()
            .zip(&dependencies.protocols)
            .map(|(backend, protocols)| {
                let scopes = &dependencies.server.settings.scopes;
                MountedBackend::of(backend, protocols, scopes, &settings)
            })
            .collect();
        let state = ProxyState {
            mounts: mounted_backends
                .iter()
                .map(|mounted| mounted.backend.mount.clone())
                .collect(),
            mounted_backends,
            sessions: Sessions::new(&dependencies.tags, &settings.issuer),
            tokens: Cache::new(TOKENS),
            backend_tokens: Cache::new(TOKENS),
            streams: Streams::default(),
            translator: Translator::default(),
            draining: Draining::default(),
            legacy_outboxes: Arc::default(),
            tasks: Tasks::default(),
            connection_limits: Arc::default(),
            budget: Arc::new(Budget::new(settings.in_flight, settings.request_body)),
            server: dependencies.server,
            keys: dependencies.keys,
            revocations: dependencies.revocations,
            clock: dependencies.clock,
            journal: dependencies.journal,
            policy: dependencies.policy,
            connections: dependencies.connections,
            settings,
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// The service that takes connections at these addresses.
    pub fn listeners(&self, conf: &Arc<ServerConf>, addresses: &[SocketAddr]) -> PublicListeners {
        PublicListeners::new(Arc::new(self.listener(conf)), addresses.to_vec())
    }

    fn listener(&self, conf: &Arc<ServerConf>) -> Listener {
        Listener::new(Arc::clone(&self.state), conf)
    }

    /// The handle that ends streams at shutdown and tells what is still running.
    pub fn drain(&self) -> Drain {
        Drain::of(&self.state.draining)
    }

    /// The live streams.
    pub fn streams(&self) -> &Streams {
        &self.state.streams
    }
}

/// Everything that a request needs, shared by all of them.
struct ProxyState {
    settings: Settings,
    server: Arc<AuthorizationServer>,
    keys: Arc<Keys>,
    revocations: Arc<RevocationView>,
    clock: Clock,
    journal: Journal,
    policy: PolicyHandle,
    mounted_backends: Vec<MountedBackend>,
    mounts: Vec<Mount>,
    connections: Arc<Connections>,
    sessions: Sessions,
    /// By SHA-256 of the token's text.
    tokens: Cache<[u8; 32], Arc<VerifiedToken>>,
    /// What backends are given, by the last revocation id of the token that it stands for.
    backend_tokens: Cache<String, Arc<BackendToken>>,
    streams: Streams,
    translator: Translator,
    draining: Draining,
    legacy_outboxes: Arc<LegacyOutboxes>,
    tasks: Tasks,
    connection_limits: Arc<ConnectionLimits>,
    budget: Arc<Budget>,
}

impl fmt::Debug for ProxyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A backend and what is known about its public place.
struct MountedBackend {
    backend: Arc<Backend>,
    protocols: Arc<ProtocolSupport>,
    resource: Resource,
    scopes: Arc<Scopes>,
}

impl MountedBackend {
    fn of(
        backend: &Arc<Backend>,
        protocols: &Arc<ProtocolSupport>,
        scopes: &ScopeTable,
        settings: &Settings,
    ) -> Self {
        Self {
            scopes: Arc::clone(scopes.at(&backend.mount.name)),
            protocols: Arc::clone(protocols),
            resource: backend.mount.resource(&settings.issuer),
            backend: Arc::clone(backend),
        }
    }
}
