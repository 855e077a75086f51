//! `/mcp`: Streamable HTTP of 2025-03-26 to 2025-11-25, with sessions, in front of a server that has
//! them. What is of 2026-07-28 goes to `stateless`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use mcp_protocol::calls::Version;
use mcp_protocol::{
    Id, Kind, Message, RevisionFamily, RpcError, STATEFUL_REVISIONS, code, is_stateful_revision,
    media_type, meta,
};

use crate::bridge::connection::exchange::ServerMessage;
use crate::bridge::http::response::{self, Accepts};
use crate::bridge::http::stateless;
use crate::bridge::http::{BridgeState, messages};
use crate::bridge::session::{MessageOutcome, Session, no_sessions, not_in_sessions};
use crate::http::{not_json, too_many_sessions};

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// Any request to the endpoint.
pub async fn any(
    State(bridge): State<BridgeState>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match method {
        Method::POST => post(bridge, headers, body).await,
        Method::GET => get(&bridge, &headers),
        Method::DELETE => delete(&bridge, &headers),
        _ => not_allowed(),
    }
}

fn not_allowed() -> Response {
    let allowed = [(header::ALLOW, "GET, POST, DELETE")];
    (StatusCode::METHOD_NOT_ALLOWED, allowed).into_response()
}

async fn post(bridge: BridgeState, headers: HeaderMap, body: Bytes) -> Response {
    // A page of another origin can post text, but not JSON, without asking first.
    if !media_type::is_json(&headers) {
        return not_json();
    }
    let Some(messages) = messages(&body) else {
        let error = RpcError::new(code::PARSE_ERROR, "the body is not a JSON-RPC message");
        return response::refuse(StatusCode::BAD_REQUEST, None, &error);
    };
    if let [message] = &*messages
        && is_stateless(&headers, message)
    {
        return stateless::post(bridge, headers, message.clone()).await;
    }
    if let Some(refusal) = unknown_version(&bridge, &headers, &messages) {
        return refusal;
    }
    match &*messages {
        [message] if message.method() == "initialize" && !headers.contains_key(SESSION) => {
            initialize(bridge, headers, message.clone()).await
        }
        _ => in_session(bridge, headers, messages).await,
    }
}

/// Whether a request is of a revision without sessions: by what it says of itself in the body or in
/// its header. `initialize` selects sessions in any case (2026-07-28, Versioning).
fn is_stateless(headers: &HeaderMap, message: &Message) -> bool {
    if message.method() == "initialize" || message.kind() == Kind::Response {
        return false;
    }
    let header = headers.get(VERSION).map(HeaderValue::as_bytes);
    message.meta().has(meta::VERSION)
        || message.method() == "server/discover"
        || header.and_then(Version::parse) >= Some(Version::V2026_07_28)
}

/// A revision that the server is known not to speak: 2025-06-18 and later, 400.
fn unknown_version(
    bridge: &BridgeState,
    headers: &HeaderMap,
    messages: &[Message],
) -> Option<Response> {
    let version = headers.get(VERSION).map(HeaderValue::as_bytes);
    let named = String::from_utf8_lossy(version.unwrap_or_default());
    // `initialize` names it in the body alone.
    let initialize = messages
        .iter()
        .find(|message| message.method() == "initialize");
    let families = bridge.pool.known_families();
    let error = if families.is_some_and(|known| !known.has(RevisionFamily::Stateful)) {
        initialize.map_or_else(|| not_in_sessions(&named), no_sessions)
    } else if version.is_none() || is_stateful_revision(&named) {
        return None;
    } else {
        let spoken = STATEFUL_REVISIONS.join(", ");
        let sentence = format!("Unsupported protocol version {named} (supported: {spoken})");
        RpcError::new(code::INVALID_REQUEST, &sentence)
    };
    let id = messages.iter().find_map(Message::id);
    let status = StatusCode::BAD_REQUEST;
    Some(response::refuse(status, id.as_ref(), &error))
}

async fn initialize(bridge: BridgeState, headers: HeaderMap, message: Message) -> Response {
    let id = message.id().unwrap_or_else(|| Id::number(0));
    let Some(session) = bridge.new_session(&headers) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let params = message.params();
    let is_look = bridge.is_look(
        &session.owner,
        params.object("clientInfo").as_ref(),
        &params.object("capabilities").unwrap_or_default(),
    );
    let begun = match bridge.pool.families().await {
        Ok(families) if !families.has(RevisionFamily::Stateful) => {
            let error = no_sessions(&message);
            return response::refuse(StatusCode::BAD_REQUEST, Some(&id), &error);
        }
        Ok(_) => session.begin(&bridge.pool, &message, is_look).await,
        Err(failure) => Err(failure),
    };
    let result = match begun {
        Ok(result) => result,
        Err(failure) => return known(&headers, &failure.response_to(&id, is_look)),
    };
    let name = HeaderValue::from_str(&session.id);
    if !bridge.pool.admit(Arc::new(session)) {
        return too_many_sessions();
    }
    let mut response = known(&headers, &Message::result(&id, &result));
    if let Ok(name) = name {
        response.headers_mut().insert(SESSION, name);
    }
    response
}

fn known(headers: &HeaderMap, answer: &Message) -> Response {
    if Accepts::from_headers(headers).json() {
        response::json(StatusCode::OK, answer)
    } else {
        response::events(stream::iter([answer.clone()]))
    }
}

async fn in_session(bridge: BridgeState, headers: HeaderMap, messages: Vec<Message>) -> Response {
    let session = match session(&bridge, &headers) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let is_array = messages.len() > 1;
    let mut answers: Vec<BoxStream<'static, ServerMessage>> = Vec::new();
    for message in messages {
        match session.handle(message).await {
            MessageOutcome::Forwarded(exchange) => answers.push(response::heard(exchange)),
            MessageOutcome::Answered(answer) => {
                answers.push(stream::iter([ServerMessage::Answer(answer)]).boxed());
            }
            MessageOutcome::Accepted => {}
        }
    }
    let accepts = Accepts::from_headers(&headers);
    match answers.pop() {
        None => StatusCode::ACCEPTED.into_response(),
        Some(only) if !is_array => response::respond(only, accepts, |_| StatusCode::OK).await,
        Some(last) if accepts.events() => {
            answers.push(last);
            let all = stream::select_all(answers).map(ServerMessage::into_message);
            response::events(all)
        }
        Some(last) => {
            answers.push(last);
            array(stream::select_all(answers)).await
        }
    }
}

/// The answers to the messages of an array, as an array.
async fn array(all: impl StreamExt<Item = ServerMessage>) -> Response {
    let answers: Vec<String> = all
        .filter_map(async |heard| match heard {
            ServerMessage::Answer(message) => Some(message.to_string()),
            ServerMessage::Notice(_) => None,
        })
        .collect()
        .await;
    let body = format!("[{}]", answers.join(","));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The session that a request names.
fn session(bridge: &BridgeState, headers: &HeaderMap) -> Result<Arc<Session>, Box<Response>> {
    let refuse = |status, text| {
        let error = RpcError::new(code::INVALID_REQUEST, text);
        Box::new(response::refuse(status, None, &error))
    };
    let Some(id) = headers.get(SESSION) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Mcp-Session-Id is missing"));
    };
    let id = id.to_str().unwrap_or_default();
    let owner = bridge.owner(headers);
    bridge
        .pool
        .session(id, &owner.user_and_client())
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, "no such session"))
}

/// The stream for what belongs to no request.
fn get(bridge: &BridgeState, headers: &HeaderMap) -> Response {
    if !headers.contains_key(SESSION) {
        // Of 2026-07-28, or a probe: there is nothing to read without a session.
        return not_allowed();
    }
    if !Accepts::from_headers(headers).events() {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    match session(bridge, headers) {
        Ok(session) => {
            let messages = response::received(session.outbox.open());
            let ending = bridge.ending.clone().cancelled_owned();
            response::events(messages.take_until(ending))
        }
        Err(refusal) => *refusal,
    }
}

fn delete(bridge: &BridgeState, headers: &HeaderMap) -> Response {
    if !headers.contains_key(SESSION) {
        return not_allowed();
    }
    match session(bridge, headers) {
        Ok(session) => {
            bridge.pool.end(&session.id);
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
    fn a_request_tells_of_which_revision_family_it_is() {
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
