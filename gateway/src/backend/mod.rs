//! The backends: where each is, and what it offers. One exchange with a backend is `proxy`'s; the
//! connection it runs on, and the tools that the consent page shows, are here.

mod catalogue;

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

pub use self::catalogue::Catalogue;

use crate::protocol::resource::Mount;

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
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long it may take until the head of its response.
    pub response_timeout: Duration,
}
