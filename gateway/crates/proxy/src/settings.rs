//! What the operator decides about the proxy.

use std::time::Duration;

use ipnet::IpNet;

use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::web_origin::AllowedOrigins;
use gateway_core::secret::SecretHash;
use gateway_upstream::IdentityHeaders;

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
    /// Whether plain requests for MCP are served by the lane; otherwise all go through Pingora.
    pub lane: bool,
    /// Whether HTTP/2 is spoken without TLS with clients that begin with it.
    pub h2c: bool,
    /// The silence on an event stream after which a comment is sent.
    pub keep_alive: Duration,
    /// How long a stream may go on after the token that opened it has ended, where clients get
    /// new tokens by refreshing. Revocation ends it at once all the same.
    pub streams_outlast_tokens: Option<Duration>,
    /// What opens the stream by which the gateway asks at its public URL whether events come through;
    /// without it nobody can.
    pub stream_probe: Option<SecretHash>,
    /// The bounds on what a client may take its time for.
    pub timeouts: Timeouts,
}

/// How many bytes of unfinished requests are held at once.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// All together.
    pub all: usize,
    /// From one address; trusted proxies are not counted.
    pub per_address: usize,
    /// With tokens of one grant.
    pub per_grant: usize,
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
