//! MCP servers that the recorder plays, each of one revision family alone: HTTP+SSE, Streamable HTTP with
//! sessions, and 2026-07-28.

use serde_json::{Value, json};

use crate::recorder::{Answer, Recorded, Step};
use crate::scripted_mcp::{SESSION, SSE_STREAM, reply};

/// The topic of the stream on which the stateless server tells of changes.
pub const LISTENING: &str = "listening";

/// HTTP+SSE alone: `/mcp` does not exist.
pub fn http_sse(request: &Recorded) -> Answer {
    match request.path() {
        "/sse" | "/messages" => crate::scripted_mcp::answer(request),
        _ => not_found(),
    }
}

/// Streamable HTTP with sessions alone. What is not in its session is refused.
pub fn sessions(request: &Recorded) -> Answer {
    if request.path() != "/mcp" {
        return not_found();
    }
    let message = request.json();
    let is_known = request.header("mcp-session-id") == Some(SESSION);
    match request.method.as_str() {
        "POST" if message["method"] == "initialize" || is_known => {
            crate::scripted_mcp::answer(request)
        }
        "GET" | "DELETE" if is_known => crate::scripted_mcp::answer(request),
        _ if request.header("mcp-session-id").is_some() => not_found(),
        _ => Answer::json(
            400,
            &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "Bad Request: no session"}}),
        ),
    }
}

/// 2026-07-28 alone. What lacks its headers is refused; a call of the tool `slow` is a stream that
/// stays open, and one of `mirrored` must mirror its parameter `q` as `Mcp-Param-Q`.
pub fn stateless(request: &Recorded) -> Answer {
    if request.path() != "/mcp" {
        return not_found();
    }
    if request.method != "POST" {
        return Answer::Full(405, vec![("Allow".into(), "POST".into())], vec![]);
    }
    let message = request.json();
    let method = message["method"].as_str().unwrap_or_default();
    let refused = |code: i64, what: &str| {
        let error = json!({"code": code, "message": what});
        Answer::json(
            400,
            &json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
        )
    };
    if request.header("mcp-protocol-version") != Some("2026-07-28")
        || request.header("mcp-method") != Some(method)
    {
        return refused(-32020, "headers are missing");
    }
    let params = &message["params"];
    let envelope = &params["_meta"];
    if envelope["io.modelcontextprotocol/protocolVersion"] != "2026-07-28"
        || !envelope["io.modelcontextprotocol/clientCapabilities"].is_object()
    {
        return refused(-32602, "_meta lacks a member");
    }
    let result = |result: Value| {
        Answer::json(
            200,
            &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
        )
    };
    match (method, params["name"].as_str()) {
        ("server/discover", _) => result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "1"}},
            "instructions": "Ask.", "ttlMs": 1000, "cacheScope": "private",
        })),
        ("tools/list", _) => result(json!({
            "resultType": "complete", "ttlMs": 1000, "cacheScope": "private",
            "tools": [{"name": "mirrored", "inputSchema": {"type": "object", "properties": {"q": {"type": "string", "x-mcp-header": "Q"}}}}],
        })),
        ("tools/call", Some("slow")) => Answer::events(vec![
            Step::Send(": begun\n\n".into()),
            Step::Live("slow".into()),
        ]),
        ("tools/call", Some("mirrored"))
            if request.header("mcp-param-q") != params["arguments"]["q"].as_str() =>
        {
            refused(-32020, "Mcp-Param-Q is missing")
        }
        ("tools/call", Some("asks")) if params["inputResponses"]["who"].is_null() => {
            result(json!({
                "resultType": "input_required", "requestState": "state-1",
                "inputRequests": {"who": {"method": "elicitation/create", "params": {"message": "Who?"}}},
            }))
        }
        ("tools/call", _) => result(json!({
            "resultType": "complete", "content": [{"type": "text", "text": params.to_string()}], "n": 1.0,
        })),
        ("subscriptions/listen", _) => {
            let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
                "_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}, "notifications": params["notifications"],
            }});
            Answer::events(vec![
                Step::Send(format!("event: message\ndata: {acknowledged}\n\n")),
                Step::Live(LISTENING.into()),
            ])
        }
        (other, _) => {
            let error = json!({"code": -32601, "message": format!("no method {other}")});
            Answer::json(
                404,
                &json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
            )
        }
    }
}

/// An answer over the stream of HTTP+SSE, for scripts of a test's own.
pub fn over_stream(message: &Value) -> Answer {
    Answer::Push(
        202,
        SSE_STREAM.into(),
        format!("event: message\ndata: {}\n\n", reply(message)),
    )
}

fn not_found() -> Answer {
    Answer::json(404, &json!({"error": "not found"}))
}
