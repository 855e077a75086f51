//! `/mcp` for 2026-07-28, in front of a server that speaks it: no sessions, each request says all
//! there is to know, and passes as it is.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mcp_protocol::to_stateful::Caller;
use mcp_protocol::{
    Id, Kind, Message, Object, RevisionFamily, RpcError, STATELESS, code, decode_value,
    standard_headers,
};

use crate::bridge::connection::Asking;
use crate::bridge::connection::exchange::{Exchange, OnLeave};
use crate::bridge::failure::{Failure, REMEDY};
use crate::bridge::http::BridgeState;
use crate::bridge::http::response::{self, Accepts};
use crate::bridge::pool::process_slots::Owner;

/// A message of 2026-07-28.
pub async fn post(bridge: BridgeState, headers: HeaderMap, message: Message) -> Response {
    let Some(id) = message.id() else {
        // The revision has no notifications from clients over HTTP.
        return StatusCode::ACCEPTED.into_response();
    };
    if message.kind() != Kind::Request {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let caller = match Caller::from_message(&message) {
        Ok(caller) => caller,
        Err(refused) => {
            return response::json(StatusCode::BAD_REQUEST, &refused.response(Some(&id)));
        }
    };
    if let Err(why) = check_headers(&headers, &message) {
        let error = RpcError::new(code::HEADER_MISMATCH, &format!("Header mismatch: {why}"));
        return response::refuse(StatusCode::BAD_REQUEST, Some(&id), &error);
    }
    let owner = bridge.owner(&headers);
    let info: Option<Object> = serde_json::from_str(caller.client_info().get()).ok();
    let is_look = bridge.is_look(&owner, info.as_ref(), &caller.capabilities);
    match ask(&bridge, &owner, caller, message, is_look).await {
        Ok(Some(asked)) => {
            let accepts = Accepts::from_headers(&headers);
            response::respond(response::heard(asked), accepts, status).await
        }
        Ok(None) => response::refuse(StatusCode::BAD_REQUEST, Some(&id), &not_spoken()),
        Err(failure) => failed(&failure, &id, is_look),
    }
}

/// Asks the server; `None` if it does not speak the revision.
async fn ask(
    bridge: &BridgeState,
    owner: &Owner,
    caller: Caller,
    message: Message,
    is_look: bool,
) -> Result<Option<Exchange>, Failure> {
    let families = bridge.pool.families().await?;
    if !families.has(RevisionFamily::Stateless) {
        return Ok(None);
    }
    // Where the server has sessions, too, the process for looks has one.
    let server = if is_look && !families.has(RevisionFamily::Stateful) {
        bridge.pool.lookout()
    } else {
        bridge.pool.of_caller(owner, caller)
    };
    let open = server.open_beside().await?;
    let asking = Asking {
        owner: 0,
        on_leave: OnLeave::Cancel,
        patience: server.config().silence,
    };
    open.connection.ask(message, asking).await.map(Some)
}

/// What a server with sessions answers that has never heard of this revision: a client that knows
/// older ones goes on with `initialize` (2026-07-28, Versioning, Backward Compatibility).
fn not_spoken() -> RpcError {
    let spoken = mcp_protocol::STATEFUL_REVISIONS.join(", ");
    let sentence = format!(
        "Unsupported protocol version {STATELESS}: the server has sessions, which begin with `initialize` ({spoken}); {REMEDY}"
    );
    RpcError::new(code::INVALID_REQUEST, &sentence)
}

/// The response where there is no answer; the gateway's own look gets it in full.
fn failed(failure: &Failure, id: &Id, is_look: bool) -> Response {
    let answer = failure.response_to(id, is_look);
    match failure {
        Failure::Full(..) => {
            let response = response::json(StatusCode::SERVICE_UNAVAILABLE, &answer);
            ([(header::RETRY_AFTER, "5")], response).into_response()
        }
        _ => response::json(status(&answer), &answer),
    }
}

/// The status that the revision demands for an answer.
fn status(answer: &Message) -> StatusCode {
    let status = answer.failure().map_or(200, |error| error.status(false));
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

/// The headers that mirror the body must be there and say the same (Server Validation).
fn check_headers(headers: &HeaderMap, message: &Message) -> Result<(), String> {
    for (header, value) in standard_headers(message) {
        let mut given = headers.get_all(header).iter();
        let Some(first) = given.next() else {
            return Err(format!("{header} is missing"));
        };
        if given.next().is_some() {
            return Err(format!("{header} stands twice"));
        }
        let decoded = std::str::from_utf8(first.as_bytes())
            .ok()
            .and_then(decode_value);
        if decoded.is_none() || decoded != decode_value(&value) {
            return Err(format!("{header} differs from the body"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sea é","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

    fn check(lines: &[(&'static str, &'static str)]) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check_headers(&headers, &Message::parse(CALL).unwrap())
    }

    #[test]
    fn headers_say_what_the_body_says() {
        let version = ("mcp-protocol-version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "=?base64?c2VhIMOp?=");
        assert_eq!(check(&[version, method, name]), Ok(()));
        for wrong in [
            &[method, name][..],
            &[version, name],
            &[version, method],
            &[version, method, name, name],
            &[("mcp-protocol-version", "2025-11-25"), method, name],
            &[version, ("mcp-method", "Tools/Call"), name],
            &[version, method, ("mcp-name", "sea")],
            &[version, method, ("mcp-name", "=?base64?!?=")],
        ] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }
}
