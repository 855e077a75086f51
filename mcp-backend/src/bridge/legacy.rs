//! HTTP+SSE of 2024-11-05: `GET /sse` opens a stream whose first event names the address to post to;
//! everything that the server says comes on the stream.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use mcp_protocol::{Message, media_type};
use serde::Deserialize;
use tokio::time::timeout;

use super::exchange::Heard;
use super::http::{Front, messages};
use super::pool::Pool;
use super::reply;
use super::session::{Session, Taken};
use crate::http::too_many_sessions;

/// How long the response to a post waits until the message has gone to the process.
const IN_ORDER: Duration = Duration::from_secs(2);

/// The query of a post.
#[derive(Debug, Deserialize)]
pub struct PostQuery {
    session_id: String,
}

/// Ends the session when its stream is dropped, for whatever reason.
struct Registered {
    pool: Arc<Pool>,
    id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.pool.end(&self.id);
    }
}

/// `GET /sse`
pub async fn open(State(front): State<Front>, headers: HeaderMap) -> Response {
    let Some(session) = front.new_session(&headers) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let session = Arc::new(session);
    let stream = session.outbox.open();
    if !front.pool.admit(Arc::clone(&session)) {
        return too_many_sessions();
    }
    let registered = Registered {
        pool: front.pool,
        id: session.id.clone(),
    };
    let endpoint = Event::default()
        .event("endpoint")
        .data(format!("/messages?session_id={}", session.id));
    let messages = reply::received(stream).map(move |message| {
        // Held here, the registration lives exactly as long as the stream.
        let _ = &registered;
        reply::event(&message)
    });
    reply::events(
        stream::iter([endpoint])
            .chain(messages)
            .take_until(front.ending.cancelled_owned()),
    )
}

/// `POST /messages?session_id=…`
pub async fn receive(
    State(front): State<Front>,
    Query(query): Query<PostQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !media_type::is_json(&headers) {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json\n",
        )
            .into_response();
    }
    let person = front.person(&headers);
    let Some(session) = front.pool.session(&query.session_id, &person) else {
        return (StatusCode::NOT_FOUND, "no such session\n").into_response();
    };
    let Some(messages) = messages(&body) else {
        return (
            StatusCode::BAD_REQUEST,
            "the body is not a JSON-RPC message\n",
        )
            .into_response();
    };
    let taking = tokio::spawn(async move {
        for message in messages {
            answer_on_stream(&front.pool, &session, message).await;
        }
    });
    // The answer comes on the stream, however long a process takes to start. But who waits for this
    // response before the next post gets both to the process in that order.
    let _ = timeout(IN_ORDER, taking).await;
    (StatusCode::ACCEPTED, "accepted\n").into_response()
}

async fn answer_on_stream(pool: &Pool, session: &Arc<Session>, message: Message) {
    match session.take(pool, message).await {
        Taken::Noted => {}
        Taken::Known(answer) => say(session, answer).await,
        Taken::Asked(exchange) => say_all(session, reply::heard(exchange)),
        Taken::Told(heard) => say_all(session, reply::received(heard).boxed()),
    }
}

fn say_all(session: &Arc<Session>, mut heard: BoxStream<'static, Heard>) {
    let session = Arc::clone(session);
    tokio::spawn(async move {
        while let Some(Heard::Notice(message) | Heard::Answer(message)) = heard.next().await {
            say(&session, message).await;
        }
    });
}

async fn say(session: &Session, message: Message) {
    if let Some(stream) = session.outbox.stream() {
        // It may have closed: then nobody is there to be told.
        let _ = stream.send(message).await;
    }
}
