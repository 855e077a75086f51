//! `/mcp`: Streamable HTTP of 2025-03-26 to 2025-11-25, with sessions. What is of 2026-07-28 goes to
//! `stateless`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use mcp_protocol::{Kind, Message, RpcError, is_stateful_revision, media_type, meta};

use super::exchange::Heard;
use super::http::{Front, first_id, messages};
use super::reply::{self, Accepts};
use super::session::{Session, Taken};
use super::stateless;
use crate::http::too_many_sessions;

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// Any request to the endpoint.
pub async fn any(
    State(front): State<Front>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match method {
        Method::POST => post(front, headers, body).await,
        Method::GET => get(&front, &headers),
        Method::DELETE => delete(&front, &headers),
        _ => not_allowed(),
    }
}

fn not_allowed() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(header::ALLOW, "GET, POST, DELETE")],
    )
        .into_response()
}

async fn post(front: Front, headers: HeaderMap, body: Bytes) -> Response {
    // A page of another origin can post text, but not JSON, without asking first.
    if !media_type::is_json(&headers) {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json\n",
        )
            .into_response();
    }
    let Some(messages) = messages(&body) else {
        return reply::refuse(
            StatusCode::BAD_REQUEST,
            None,
            PARSE_ERROR,
            "the body is not a JSON-RPC message",
        );
    };
    if let [message] = &*messages
        && is_stateless(&headers, message)
    {
        return stateless::post(front, headers, message.clone()).await;
    }
    if let Some(refusal) = unknown_version(&headers, &messages) {
        return refusal;
    }
    match &*messages {
        [message] if message.method() == "initialize" && !headers.contains_key(SESSION) => {
            initialize(front, headers, message.clone()).await
        }
        _ => in_session(front, headers, messages).await,
    }
}

/// No JSON, and no request (JSON-RPC 2.0 §5.1).
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;

/// Whether a request is of a revision without sessions: by what it says of itself in the body or in
/// its header. `initialize` selects sessions in any case (2026-07-28, Versioning).
fn is_stateless(headers: &HeaderMap, message: &Message) -> bool {
    if message.method() == "initialize" || message.kind() == Kind::Response {
        return false;
    }
    let header = headers.get(VERSION).map(HeaderValue::as_bytes);
    message.meta().has(meta::VERSION)
        || message.method() == "server/discover"
        || header.is_some_and(|version| {
            is_date(version) && version >= mcp_protocol::STATELESS.as_bytes()
        })
}

fn is_date(version: &[u8]) -> bool {
    version.len() == 10
        && version.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// 2025-06-18 and later: an unknown version is refused with 400.
fn unknown_version(headers: &HeaderMap, messages: &[Message]) -> Option<Response> {
    let version = headers.get(VERSION)?;
    if version.to_str().is_ok_and(is_stateful_revision) {
        return None;
    }
    let error = RpcError::unsupported_version(&String::from_utf8_lossy(version.as_bytes()));
    let message = Message::error(first_id(messages).as_ref(), &error);
    Some(reply::json(StatusCode::BAD_REQUEST, &message))
}

async fn initialize(front: Front, headers: HeaderMap, message: Message) -> Response {
    let Some(session) = front.new_session(&headers) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let session = Arc::new(session);
    let taken = session.take(&front.pool, message).await;
    let Taken::Known(answer) = taken else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    // Without a server there is no session.
    if session.server.get().is_none() {
        return known(&headers, answer);
    }
    let id = session.id.clone();
    if !front.pool.admit(session) {
        return too_many_sessions();
    }
    let mut response = known(&headers, answer);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(SESSION, id);
    }
    response
}

fn known(headers: &HeaderMap, answer: Message) -> Response {
    match Accepts::of(headers).json() {
        true => reply::json(StatusCode::OK, &answer),
        false => reply::events(stream::iter([reply::event(&answer)])),
    }
}

async fn in_session(front: Front, headers: HeaderMap, messages: Vec<Message>) -> Response {
    let session = match session(&front, &headers) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let is_array = messages.len() > 1;
    let mut answers: Vec<BoxStream<'static, Heard>> = Vec::new();
    for message in messages {
        match session.take(&front.pool, message).await {
            Taken::Asked(exchange) => answers.push(reply::heard(exchange)),
            Taken::Told(heard) => answers.push(reply::received(heard).boxed()),
            Taken::Known(answer) => {
                answers.push(stream::iter([Heard::Answer(answer)]).boxed());
            }
            Taken::Noted => {}
        }
    }
    let accepts = Accepts::of(&headers);
    match answers.pop() {
        None => StatusCode::ACCEPTED.into_response(),
        Some(only) if !is_array => reply::respond(only, accepts, |_| StatusCode::OK).await,
        Some(last) if accepts.events() => {
            answers.push(last);
            let all = stream::select_all(answers).map(|heard| match heard {
                Heard::Answer(message) | Heard::Notice(message) => reply::event(&message),
            });
            reply::events(all)
        }
        Some(last) => {
            answers.push(last);
            array(stream::select_all(answers)).await
        }
    }
}

/// The answers to the messages of an array, as an array.
async fn array(all: impl StreamExt<Item = Heard>) -> Response {
    let answers: Vec<String> = all
        .filter_map(async |heard| match heard {
            Heard::Answer(message) => Some(message.to_string()),
            Heard::Notice(_) => None,
        })
        .collect()
        .await;
    let body = format!("[{}]", answers.join(","));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The session that a request names.
fn session(front: &Front, headers: &HeaderMap) -> Result<Arc<Session>, Box<Response>> {
    let refuse = |status, text| Box::new(reply::refuse(status, None, INVALID_REQUEST, text));
    let Some(id) = headers.get(SESSION) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Mcp-Session-Id is missing"));
    };
    let id = id.to_str().unwrap_or_default();
    front
        .pool
        .session(id, &front.person(headers))
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, "no such session"))
}

/// The stream for what belongs to no request.
fn get(front: &Front, headers: &HeaderMap) -> Response {
    if !headers.contains_key(SESSION) {
        // Of 2026-07-28, or a probe: there is nothing to read without a session.
        return not_allowed();
    }
    if !Accepts::of(headers).events() {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    match session(front, headers) {
        Ok(session) => {
            let messages = reply::received(session.outbox.open());
            let ending = front.ending.clone().cancelled_owned();
            reply::events(
                messages
                    .map(|message| reply::event(&message))
                    .take_until(ending),
            )
        }
        Err(refusal) => *refusal,
    }
}

fn delete(front: &Front, headers: &HeaderMap) -> Response {
    if !headers.contains_key(SESSION) {
        return not_allowed();
    }
    match session(front, headers) {
        Ok(session) => {
            front.pool.end(&session.id);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => *refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(version: Option<&'static str>, text: &str) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert(VERSION, HeaderValue::from_static(version));
        }
        is_stateless(&headers, &Message::parse(text).unwrap())
    }

    #[test]
    fn a_request_says_itself_of_which_era_it_is() {
        let plain = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let with_meta = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"1900-01-01"}}}"#;
        assert!(!is(None, plain));
        assert!(!is(Some("2025-11-25"), plain));
        assert!(!is(Some("draft"), plain));
        assert!(is(Some("2026-07-28"), plain));
        assert!(is(Some("2027-01-01"), plain));
        assert!(is(None, with_meta));
        assert!(is(
            None,
            r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#
        ));
        assert!(!is(
            Some("2026-07-28"),
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#
        ));
        assert!(!is(
            Some("2026-07-28"),
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
        ));
    }
}
