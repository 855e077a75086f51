//! The backends: where each is, and what it offers. One exchange with a backend is the proxy's; the
//! connection it runs on, and the tools that the consent page shows, are here.
//!
//! Owns: connections to backends, what each speaks and offers, and what is remembered of that. Not: a
//! client's exchange with one (`gateway-proxy`). A crate of its own because the consent page of
//! `gateway-oauth` lists tools, and `gateway-proxy` stands above that.
//!
//! Begin at [`Catalogue`].

mod catalogue;
mod client;
mod connection;
mod lookout;
mod protocol_support;
mod redirect;
mod request;
mod tool;
mod tool_cache;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

pub use self::catalogue::{Catalogue, CatalogueError};
pub use self::connection::{Connection, Connections, Failure, IDLE, Pooling, RESOLVED};
pub use self::lookout::{BackendStatus, Lookout, Observation};
pub use self::protocol_support::ProtocolSupport;
pub use self::redirect::{Redirect, redirect};
pub use self::request::{Reached, Request, RequestError};
pub use self::tool::{Annotations, Shown, Tool, ToolListing, doubled};
pub use self::tool_cache::ToolCache;

use gateway_core::protocol::resource::Mount;

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port; the name is resolved when connecting.
    Tcp {
        /// A DNS name or an IP address.
        host: String,
        /// The port.
        port: u16,
        /// Whether to speak TLS, with `host` as server name.
        tls: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// One backend, as configured.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its name and public place.
    pub mount: Mount,
    /// Where it is.
    pub address: Address,
    /// The `Host` header it gets: the authority of its configured URL.
    pub host: String,
    /// The path of its Streamable HTTP endpoint.
    pub mcp_path: String,
    /// The path of its legacy SSE stream.
    pub sse_path: String,
    /// Headers of the operator's that every request to it carries, such as its own credential.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The tools of it that need an approval.
    pub approval_required: BTreeSet<String>,
    /// The header that carries a token of who calls, if it is to have one. Every spelling of it
    /// that a client sends is dropped.
    pub token_header: Option<HeaderName>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long it may take until the head of its response.
    pub response_timeout: Duration,
    /// How long it may take from its start to its list of tools.
    pub start_timeout: Duration,
    /// It speaks on stdin and stdout, behind a bridge of ours: it can't be told who calls.
    pub is_on_stdio: bool,
    /// Its program is started beside us, and may take a while to listen.
    pub starts_with_us: bool,
}

/// The very first start of a server on stdio may take so many times as long as any other: it may have to
/// install something. `mcp-backend bridge` keeps the time, and nobody gives up before it does.
const FIRST_START: u32 = 5;

impl Backend {
    /// How long its slowest start may take until its list of tools.
    pub fn longest_start(&self) -> Duration {
        match self.is_on_stdio {
            true => self.start_timeout * FIRST_START,
            false => self.start_timeout,
        }
    }

    /// Its origin as a URL, for resolving what it calls its own paths.
    pub fn origin(&self) -> String {
        let scheme = match &self.address {
            Address::Tcp { tls: true, .. } => "https",
            _ => "http",
        };
        format!("{scheme}://{}", self.host)
    }
}

/// The names of the headers that tell a backend who is calling. Every spelling of them that a
/// client sends is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// Carries the person's login name.
    pub user: HeaderName,
    /// Carries the client identifier.
    pub client: HeaderName,
    /// Carries the grant's name.
    pub grant: HeaderName,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            user: HeaderName::from_static("x-forwarded-user"),
            client: HeaderName::from_static("x-forwarded-client"),
            grant: HeaderName::from_static("x-forwarded-grant"),
        }
    }
}

/// Where messages go that a backend's legacy stream names an endpoint for, as path and query at this
/// backend: absolute, or relative to the path and query of that stream (`stream`), which are those of a
/// redirect where it was redirected (RFC 3986 §5.1.3). It may call itself by another name than we do,
/// such as its public one: messages go to the configured address in any case. `None` for what is no
/// URL of http.
pub fn endpoint_path(backend: &Backend, stream: &str, text: &str) -> Option<String> {
    let base = url::Url::parse(&backend.origin()).ok()?;
    let resolved = base.join(stream).ok()?.join(text).ok()?;
    matches!(resolved.scheme(), "http" | "https").then(|| path_and_query(&resolved))
}

fn path_and_query(url: &url::Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}
