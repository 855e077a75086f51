//! The HTTP+SSE transport of MCP 2024-11-05: `GET /sse` opens a stream whose first event names the
//! address to post to; answers to what is posted there come on the stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::channel::mpsc;
use futures::{SinkExt, Stream, StreamExt, stream};
use mcp_protocol::media_type;
use rmcp::ServiceExt;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions as _, ServerJsonRpcMessage};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::address::PAGES_HEADER;
use crate::http::{event_stream, not_json, too_many_sessions};
use crate::server::DocumentServer;

/// Messages that wait in a session, each way.
const WAITING_MESSAGES: usize = 16;
/// A client that does not read its answers this long gets no more questions taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// The open streams.
#[derive(Clone)]
pub struct Sessions {
    server: DocumentServer,
    limit: usize,
    ending: CancellationToken,
    open: Arc<Mutex<HashMap<SessionId, mpsc::Sender<ClientJsonRpcMessage>>>>,
}

/// Names a stream to the one who opened it: 128 random bits. Knowing it is needed to post, but
/// it is no authentication; that is the gateway's part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct SessionId(String);

/// The parameters in the address that a client posts to.
#[derive(Debug, Deserialize)]
pub struct PostQuery {
    session_id: SessionId,
}

impl Sessions {
    /// No streams yet; at most `limit`, all ended by `ending`.
    pub fn new(server: DocumentServer, limit: usize, ending: CancellationToken) -> Self {
        Self {
            server,
            limit,
            ending,
            open: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, mpsc::Sender<ClientJsonRpcMessage>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the session when its stream is dropped, for whatever reason; the MCP server behind it
/// then sees the end of its input.
struct Registered {
    sessions: Sessions,
    id: SessionId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}

/// `GET /sse`
pub async fn open(State(sessions): State<Sessions>) -> Response {
    let Ok(id) = SessionId::random() else {
        log::error!(event = "no_randomness"; "the system gives no random bytes");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (to_server, from_client) = mpsc::channel(WAITING_MESSAGES);
    let (to_client, from_server) = mpsc::channel(WAITING_MESSAGES);
    {
        let mut open = sessions.lock();
        if open.len() >= sessions.limit {
            return too_many_sessions();
        }
        open.insert(id.clone(), to_server);
    }
    let registered = Registered {
        sessions: sessions.clone(),
        id: id.clone(),
    };
    tokio::spawn(serve(sessions.clone(), to_client, from_client));

    let ending = sessions.ending.clone();
    event_stream(events(&id, from_server, ending, registered))
}

/// `POST /messages?session_id=…`
pub async fn receive(
    State(sessions): State<Sessions>,
    Query(query): Query<PostQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A page of another origin can post text, but not JSON, without asking first.
    if !media_type::is_json(&headers) {
        return not_json();
    }
    let session = sessions.lock().get(&query.session_id).cloned();
    let Some(mut session) = session else {
        return (StatusCode::NOT_FOUND, "no such session\n").into_response();
    };
    let message = match serde_json::from_slice(&body) {
        Ok(message) => told_of_pages(message, &headers),
        Err(_) => {
            let words = "the body is not a JSON-RPC message\n";
            return (StatusCode::BAD_REQUEST, words).into_response();
        }
    };
    match tokio::time::timeout(PATIENCE, session.send(message)).await {
        Ok(Ok(())) => (StatusCode::ACCEPTED, "accepted\n").into_response(),
        Ok(Err(_)) => (StatusCode::NOT_FOUND, "the session has ended\n").into_response(),
        Err(_) => {
            let later = [(header::RETRY_AFTER, "10")];
            (
                StatusCode::SERVICE_UNAVAILABLE,
                later,
                "the session is busy\n",
            )
                .into_response()
        }
    }
}

/// A message with what the gateway in front said with it: a request knows it as one of Streamable HTTP
/// does.
fn told_of_pages(mut message: ClientJsonRpcMessage, headers: &HeaderMap) -> ClientJsonRpcMessage {
    let told = headers.get(PAGES_HEADER).cloned();
    if let (ClientJsonRpcMessage::Request(request), Some(told)) = (&mut message, told) {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers.insert(PAGES_HEADER, told);
        request.request.extensions_mut().insert(parts);
    }
    message
}

async fn serve(
    sessions: Sessions,
    to_client: mpsc::Sender<ServerJsonRpcMessage>,
    from_client: mpsc::Receiver<ClientJsonRpcMessage>,
) {
    let transport = (to_client, from_client);
    let (server, ending) = (sessions.server.clone(), sessions.ending.child_token());
    match server.serve_with_ct(transport, ending).await {
        Ok(running) => drop(running.waiting().await),
        Err(error) => log::debug!(event = "session_not_started"; "{error}"),
    }
}

fn events(
    id: &SessionId,
    messages: mpsc::Receiver<ServerJsonRpcMessage>,
    ending: CancellationToken,
    registered: Registered,
) -> impl Stream<Item = Event> + use<> {
    let endpoint = Event::default()
        .event("endpoint")
        .data(format!("/messages?session_id={}", id.0));
    let messages = messages.map(move |message| {
        // Held here, the registration lives exactly as long as the stream.
        let _ = &registered;
        let json = serde_json::to_string(&message)
            .expect("MCP messages have string keys and always serialize");
        Event::default().event("message").data(json)
    });
    stream::iter([endpoint])
        .chain(messages)
        .take_until(ending.cancelled_owned())
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl SessionId {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Addresses;
    use crate::folder::Folder;
    use crate::indexer::Indexer;
    use crate::tools::Tools;

    #[tokio::test]
    async fn one_stream_too_many_is_refused_until_another_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (indexer, _) = Indexer::start(Folder::open(folder.path()).unwrap()).unwrap();
        let own = "https://example.com".parse().unwrap();
        let tools = Tools::new(indexer.library(), Addresses::new(None, own));
        let sessions = Sessions::new(DocumentServer::new(tools), 1, CancellationToken::new());
        let first = open(State(sessions.clone())).await;
        assert_eq!(first.status(), StatusCode::OK);
        let second = open(State(sessions.clone())).await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert_eq!(open(State(sessions)).await.status(), StatusCode::OK);
    }

    #[test]
    fn session_ids_are_long_and_never_the_same() {
        let ids: std::collections::HashSet<_> =
            (0..100).map(|_| SessionId::random().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.0.len() == 32));
    }
}
