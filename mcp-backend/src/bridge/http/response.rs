//! HTTP responses: an answer alone as JSON, an answer with something before it as an event stream.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use mcp_protocol::{Id, Message, RpcError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::bridge::connection::exchange::{Exchange, ServerMessage};
use crate::http::event_stream;

/// An answer that takes longer than this comes as an event stream, which can be kept alive.
const SOON: Duration = Duration::from_secs(5);

/// What a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepts {
    json: bool,
    events: bool,
}

impl Accepts {
    /// Reads `Accept`. None at all, or one that names neither, is taken for both.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let names = |wanted: &[&str]| {
            headers
                .get_all(header::ACCEPT)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .filter_map(|part| part.split(';').next())
                .map(str::trim)
                .any(|part| wanted.iter().any(|name| part.eq_ignore_ascii_case(name)))
        };
        let json = names(&["application/json", "application/*", "*/*"]);
        let events = names(&["text/event-stream", "text/*", "*/*"]);
        let neither = !json && !events;
        Self {
            json: json || neither,
            events: events || neither,
        }
    }

    /// Whether it takes single messages.
    pub fn json(self) -> bool {
        self.json
    }

    /// Whether it takes event streams.
    pub fn events(self) -> bool {
        self.events
    }
}

/// What an exchange gives, as a stream.
pub fn heard(exchange: Exchange) -> BoxStream<'static, ServerMessage> {
    stream::unfold(exchange, async |mut exchange| {
        exchange.next().await.map(|heard| (heard, exchange))
    })
    .boxed()
}

/// The response to a request. `status` is that of an answer which comes alone.
pub async fn respond(
    mut heard: BoxStream<'static, ServerMessage>,
    accepts: Accepts,
    status: impl Fn(&Message) -> StatusCode,
) -> Response {
    if !accepts.events {
        while let Some(next) = heard.next().await {
            if let ServerMessage::Answer(answer) = next {
                return json(status(&answer), &answer);
            }
        }
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let first = match timeout(SOON, heard.next()).await {
        Ok(Some(ServerMessage::Answer(answer))) if accepts.json => {
            return json(status(&answer), &answer);
        }
        Ok(Some(heard)) => Some(heard.into_message()),
        Ok(None) => return StatusCode::BAD_GATEWAY.into_response(),
        Err(_) => None,
    };
    events(stream::iter(first).chain(heard.map(ServerMessage::into_message)))
}

/// A response with one message.
pub fn json(status: StatusCode, message: &Message) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(message.to_string()),
    )
        .into_response()
}

/// A refusal in words of JSON-RPC.
pub fn refuse(status: StatusCode, id: Option<&Id>, error: &RpcError) -> Response {
    json(status, &Message::error(id, error))
}

/// What comes out of a channel, as a stream.
pub fn received<T: Send + 'static>(
    messages: mpsc::Receiver<T>,
) -> impl Stream<Item = T> + Send + use<T> {
    stream::unfold(messages, |mut messages| async move {
        messages.recv().await.map(|message| (message, messages))
    })
}

/// An event stream of messages that is kept alive.
pub fn events(messages: impl Stream<Item = Message> + Send + 'static) -> Response {
    event_stream(
        messages.map(|message| Event::default().event("message").data(message.to_string())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: Option<&str>) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::ACCEPT, value.parse().unwrap());
        }
        let accepts = Accepts::from_headers(&headers);
        (accepts.json, accepts.events)
    }

    #[test]
    fn a_client_gets_what_it_takes() {
        assert_eq!(accepts(None), (true, true));
        assert_eq!(
            accepts(Some("application/json, text/event-stream")),
            (true, true)
        );
        assert_eq!(accepts(Some("*/*;q=0.8")), (true, true));
        assert_eq!(
            accepts(Some("Application/JSON; charset=utf-8")),
            (true, false)
        );
        assert_eq!(accepts(Some("text/event-stream")), (false, true));
        assert_eq!(accepts(Some("text/html")), (true, true));
    }
}
