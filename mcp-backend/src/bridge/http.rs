//! The routes of the bridge, and what holds for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use eras::{Id, Message};
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use super::session::Session;
use super::{legacy, streamable};
use crate::hosts::Hosts;
use crate::sse::SessionId;

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Front {
    /// The servers.
    pub pool: Arc<Pool>,
    /// Names answered to.
    pub hosts: Arc<Hosts>,
    /// The headers that say for whom a request is; `None` where nobody trustworthy sets them.
    pub identity: Option<(HeaderName, HeaderName)>,
    /// Ends all streams.
    pub ending: CancellationToken,
    /// Numbers for sessions; 0 is none.
    pub numbers: Arc<AtomicU64>,
}

impl Front {
    /// For whom a request is, as far as is known: a person and the client that acts for it.
    pub fn person(&self, headers: &HeaderMap) -> String {
        let Some((user, client)) = &self.identity else {
            return String::new();
        };
        let value = |name: &HeaderName| {
            let value = headers.get(name).map(|value| value.as_bytes());
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        format!("{}\n{}", value(user), value(client))
    }

    /// A session for the sender of a request. `None`: the system gives no random bytes.
    pub fn new_session(&self, headers: &HeaderMap) -> Option<Session> {
        let Ok(id) = SessionId::random() else {
            log::error!(event = "no_randomness"; "the system gives no random bytes");
            return None;
        };
        Some(Session::new(
            id.to_string(),
            self.person(headers),
            self.numbers.fetch_add(1, Ordering::Relaxed),
        ))
    }
}

/// The routes; `largest_body` in bytes.
pub fn router(front: Front, largest_body: usize) -> Router {
    let hosts = Arc::clone(&front.hosts);
    Router::new()
        .route("/mcp", any(streamable::any))
        .route("/mcp/", any(streamable::any))
        .route("/sse", get(legacy::open))
        .route("/sse/", get(legacy::open))
        .route("/messages", post(legacy::receive))
        .route("/messages/", post(legacy::receive))
        .with_state(front)
        .layer(DefaultBodyLimit::max(largest_body))
        .layer(middleware::from_fn_with_state(hosts, only_our_hosts))
        // Asked by address, with whatever Host; tells nothing.
        .route("/healthz", get(|| async { "ok\n" }))
}

async fn only_our_hosts(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    match hosts.admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(foreign) => (StatusCode::FORBIDDEN, format!("{foreign}\n")).into_response(),
    }
}

/// The messages of a body: one, or those of an array, which 2025-03-26 has. A line break in them can
/// only stand between values, and would end a message on stdio.
pub fn messages(body: &[u8]) -> Option<Vec<Message>> {
    let text = std::str::from_utf8(body).ok()?;
    let one_line;
    let text = if text.contains(['\n', '\r']) {
        one_line = text.replace(['\n', '\r'], " ");
        one_line.trim()
    } else {
        text.trim()
    };
    if !text.starts_with('[') {
        return Message::parse(text).ok().map(|message| vec![message]);
    }
    let all: Vec<eras::Object> = serde_json::from_str(text).ok()?;
    let all: Option<Vec<_>> = all.into_iter().map(|one| Message::of(one).ok()).collect();
    all.filter(|all| !all.is_empty())
}

/// The identifier of the first request among some messages, for an answer to all.
pub fn first_id(messages: &[Message]) -> Option<Id> {
    messages.iter().find_map(Message::id)
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
    }

    #[test]
    fn an_array_is_its_messages() {
        let body = br#" [{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","id":7,"method":"b"}]"#;
        let all = messages(body).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(first_id(&all), Some(Id::number(7)));
        for body in [&b"[]"[..], b"[1]", b"", b"1", b"{}", b"\xff"] {
            assert!(messages(body).is_none());
        }
    }
}
