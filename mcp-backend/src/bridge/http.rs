//! The routes of the bridge, and what holds for all of them.

pub mod response;
pub mod stateful;
pub mod stateless;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware;
use axum::routing::{any, get};
use mcp_protocol::{Message, Object};
use tokio_util::sync::CancellationToken;

use crate::bridge::pool::Pool;
use crate::bridge::pool::process_slots::Owner;
use crate::bridge::session::Session;
use crate::hosts::Hosts;
use crate::http::only_our_hosts;
use crate::sse::SessionId;

/// What the gateway calls itself.
const GATEWAY: &str = "cupcake-gateway";

/// The headers that say for whom a request is.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    /// Names the person.
    pub user: HeaderName,
    /// Names the client.
    pub client: HeaderName,
    /// Names the grant.
    pub grant: HeaderName,
}

/// What the routes need.
#[derive(Clone, Debug)]
pub struct BridgeState {
    /// The servers.
    pub pool: Arc<Pool>,
    /// Names answered to.
    pub hosts: Arc<Hosts>,
    /// The headers that say for whom a request is; `None` where nobody trustworthy sets them.
    pub identity: Option<IdentityHeaders>,
    /// Ends all streams.
    pub ending: CancellationToken,
    /// Numbers for sessions; 0 is none.
    pub numbers: Arc<AtomicU64>,
}

impl BridgeState {
    /// For whom a request is, as far as is known.
    pub fn owner(&self, headers: &HeaderMap) -> Owner {
        let Some(identity) = &self.identity else {
            return Owner::default();
        };
        let value = |name: &HeaderName| {
            let value = headers.get(name).map(|value| value.as_bytes());
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        Owner {
            user: value(&identity.user),
            client: value(&identity.client),
            grant: value(&identity.grant),
        }
    }

    /// Whether a request is the gateway's own look at what the server offers. On an address where
    /// it is believed it names who calls in every other one, and says who it is itself in this.
    pub fn is_look(&self, owner: &Owner, info: Option<&Object>, capabilities: &Object) -> bool {
        self.identity.is_some()
            && owner.is_nobody()
            && capabilities.is_empty()
            && info.is_some_and(|info| info.text("name").as_deref() == Some(GATEWAY))
    }

    /// A session for the sender of a request. `None`: the system gives no random bytes.
    pub fn new_session(&self, headers: &HeaderMap) -> Option<Session> {
        let Ok(id) = SessionId::random() else {
            log::error!(event = "no_randomness"; "the system gives no random bytes");
            return None;
        };
        Some(Session::new(
            id.to_string(),
            self.owner(headers),
            self.numbers.fetch_add(1, Ordering::Relaxed),
        ))
    }
}

/// The routes; `largest_body` in bytes.
pub fn router(bridge: BridgeState, largest_body: usize) -> Router {
    let hosts = Arc::clone(&bridge.hosts);
    Router::new()
        .route("/mcp", any(stateful::any))
        .route("/mcp/", any(stateful::any))
        .with_state(bridge)
        .layer(DefaultBodyLimit::max(largest_body))
        .layer(middleware::from_fn_with_state(hosts, only_our_hosts))
        // Asked by address, with whatever Host; tells nothing.
        .route("/healthz", get(|| async { "ok\n" }))
}

/// The messages of a body. A line break in them can only stand between values, and would end a
/// message on stdio.
pub fn messages(body: &[u8]) -> Option<Vec<Message>> {
    let text = std::str::from_utf8(body).ok()?;
    let messages = if text.contains(['\n', '\r']) {
        Message::parse_all(text.replace(['\n', '\r'], " ").trim())
    } else {
        Message::parse_all(text.trim())
    };
    messages.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_its_sender_wrote() {
        let body = b"{\r\n \"jsonrpc\": \"2.0\",\n \"id\": 1,\n \"method\": \"m\",\n \"params\": {\n \"text\": \"a\\nb\", \"n\": 1.0 }}\n";
        let line = messages(body).unwrap()[0].to_string();
        assert!(!line.contains(['\n', '\r']), "{line}");
        assert!(line.contains(r#""a\nb", "n": 1.0"#), "{line}");
        assert!(messages(b"\xff").is_none());
    }
}
