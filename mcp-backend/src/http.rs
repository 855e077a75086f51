//! Everything served over HTTP: the routes, and what holds for all of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt};
use mcp_protocol::calls::Version;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use crate::catalog::Library;
use crate::hosts::Hosts;
use crate::server::DocumentServer;
use crate::sse::{self, Sessions};
use crate::viewer;

/// A larger request body is refused with 413 (bytes).
pub const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// Silence on a stream is broken this often, so that nothing between us and the client cuts it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Sessions at once of each transport.
pub const MOST_SESSIONS: usize = 4_096;
/// A Streamable HTTP session without any request this long is ended. Long, because a client that
/// only waits is not gone, and not every client starts again after a 404.
const IDLE_SESSION: Duration = Duration::from_secs(8 * 60 * 60);

/// What is served.
pub struct Served {
    /// Speaks MCP.
    pub server: DocumentServer,
    /// Shown by the viewer.
    pub library: Arc<Library>,
    /// Names answered to.
    pub hosts: Hosts,
    /// Ends all streams.
    pub ending: CancellationToken,
}

/// The routes.
pub fn router(served: Served) -> Router {
    let Served {
        server,
        library,
        hosts,
        ending,
    } = served;

    let sessions = Arc::new(sessions());
    let streamable = streamable(
        server.clone(),
        &hosts,
        Arc::clone(&sessions),
        ending.clone(),
    );
    let streamable = Router::new()
        .route_service("/mcp", streamable.clone())
        .route_service("/mcp/", streamable)
        .layer(middleware::from_fn_with_state(sessions, around_sessions));

    let legacy = Sessions::new(server, MOST_SESSIONS, ending);
    let legacy = Router::new()
        .route("/sse", get(sse::open))
        .route("/sse/", get(sse::open))
        .route("/messages", post(sse::receive))
        .route("/messages/", post(sse::receive))
        .with_state(legacy);

    let viewer = Router::new()
        .route("/documents/style.css", get(viewer::style))
        .route("/documents/{id}", get(viewer::page))
        .with_state(library);

    Router::new()
        .merge(streamable)
        .merge(legacy)
        .merge(viewer)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(
            Arc::new(hosts),
            only_our_hosts,
        ))
        // Asked by address, with whatever Host; tells nothing.
        .route("/healthz", get(|| async { "ok\n" }))
}

fn sessions() -> LocalSessionManager {
    let mut config = SessionConfig::default();
    config.keep_alive = Some(IDLE_SESSION);
    let mut sessions = LocalSessionManager::default();
    sessions.session_config = config;
    sessions
}

fn streamable(
    server: DocumentServer,
    hosts: &Hosts,
    sessions: Arc<LocalSessionManager>,
    ending: CancellationToken,
) -> StreamableHttpService<DocumentServer, LocalSessionManager> {
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts.names())
        .with_sse_keep_alive(Some(KEEP_ALIVE))
        .with_max_request_body_bytes(LARGEST_BODY)
        .with_cancellation_token(ending);
    StreamableHttpService::new(move || Ok(server.clone()), sessions, config)
}

/// Refuses what is not for this server.
pub async fn only_our_hosts(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    match hosts.admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(foreign) => (StatusCode::FORBIDDEN, format!("{foreign}\n")).into_response(),
    }
}

/// What `rmcp` leaves to us: refuses to start a session when there are too many (those that exist
/// go on), ends one with a status that clients expect, and asks proxies not to buffer.
async fn around_sessions(
    State(sessions): State<Arc<LocalSessionManager>>,
    request: Request,
    next: Next,
) -> Response {
    let is_delete = request.method() == Method::DELETE;
    if may_start_session(request.method(), request.headers())
        && sessions.sessions.read().await.len() >= MOST_SESSIONS
    {
        return too_many_sessions();
    }
    let mut response = next.run(request).await;
    if is_delete && response.status() == StatusCode::ACCEPTED {
        // The session has ended; "accepted" makes the Python SDK warn that it may not have.
        return StatusCode::NO_CONTENT.into_response();
    }
    response
        .headers_mut()
        .insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    response
}

/// An event stream that is kept alive.
pub fn event_stream(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let stream = Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keepalive"));
    ([("x-accel-buffering", "no")], stream).into_response()
}

/// The answer to a body of another kind.
pub fn not_json() -> Response {
    let words = "the body must be application/json\n";
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, words).into_response()
}

/// The answer to one client too many.
pub fn too_many_sessions() -> Response {
    let later = [(header::RETRY_AFTER, "60")];
    (
        StatusCode::SERVICE_UNAVAILABLE,
        later,
        "too many sessions\n",
    )
        .into_response()
}

fn may_start_session(method: &Method, headers: &HeaderMap) -> bool {
    let version = headers.get("mcp-protocol-version");
    let version = version.and_then(|version| Version::parse(version.as_bytes()));
    let is_stateless = version >= Some(Version::V2026_07_28);
    method == Method::POST && !is_stateless && !headers.contains_key("mcp-session-id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_without_a_session_may_start_one() {
        let with = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        assert!(may_start_session(&Method::POST, &with(&[])));
        assert!(may_start_session(
            &Method::POST,
            &with(&[("mcp-protocol-version", "2025-06-18")])
        ));
        assert!(!may_start_session(
            &Method::POST,
            &with(&[("mcp-protocol-version", "2026-07-28")])
        ));
        assert!(!may_start_session(
            &Method::POST,
            &with(&[("mcp-session-id", "x")])
        ));
        assert!(!may_start_session(&Method::GET, &with(&[])));
    }
}
