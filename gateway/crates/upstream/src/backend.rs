//! A backend, as configured.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::account::{Account, AccountUse};
use gateway_core::protocol::published::PublishedFolder;
use gateway_core::protocol::resource::Mount;
use mcp_protocol::members::Members;

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port; the name is resolved when connecting.
    Tcp {
        /// A DNS name or an IP address.
        host: String,
        /// The TCP port.
        port: u16,
        /// Whether to speak TLS, with `host` as server name.
        tls: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// Nowhere: it is other backends together, which are asked within this process.
    Within,
}

/// Other backends that are offered together under one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Which, in order, and what their tools are called.
    pub members: Members,
    /// How long a list waits for each of them.
    pub list_timeout: Duration,
    /// Above so many tools a search for them is offered in place of all of them.
    pub compact: Option<usize>,
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
    /// How it is called with everybody's own account there, if it is.
    pub account: Option<AccountUse>,
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
    /// The folder of its pages that people may open on the gateway's own origin.
    pub pages: Option<PublishedFolder>,
    /// The backends that it is together, if it is no server of its own.
    pub aggregate: Option<Arc<Aggregate>>,
}

/// The very first start of a server on stdio may take so many times as long as any other: it may have to
/// install something. `mcp-backend bridge` keeps the time, and nobody gives up before it does.
const FIRST_START: u32 = 5;

impl Backend {
    /// How long its slowest start may take until its list of tools.
    pub fn longest_start(&self) -> Duration {
        if self.is_on_stdio {
            self.start_timeout * FIRST_START
        } else {
            self.start_timeout
        }
    }

    /// Whether everybody has to call it with an account of their own there.
    pub fn wants_account(&self) -> bool {
        let account = self.account.as_ref();
        account.is_some_and(|account| !account.is_optional)
    }

    /// The header of a request in the name of an account, as it is now.
    pub fn account_line(&self, account: Option<&Account>) -> Option<(HeaderName, HeaderValue)> {
        let (how, account) = (self.account.as_ref()?, account?);
        Some((how.header.clone(), account.value()))
    }

    /// The names of the backends that it is together; none for a server of its own.
    pub fn members(&self) -> &[String] {
        let aggregate = self.aggregate.as_deref();
        aggregate.map_or(&[], |aggregate| aggregate.members.names())
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
