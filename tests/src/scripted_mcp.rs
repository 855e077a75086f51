//! The MCP server that the recorder plays when a test scripts nothing: three
//! tools, sessions for Streamable HTTP, and the older HTTP+SSE transport. Only
//! what a test of the gateway needs; protocol rules are tested on real servers.

use serde_json::{Value, json};

use crate::recorder::{Answer, Recorded, Step};

/// The session id that every `initialize` is given.
pub const SESSION: &str = "scripted-session-1";
/// The topic of the GET stream on `/mcp`, for [`crate::recorder::Recorder::push`].
pub const MCP_STREAM: &str = "mcp-stream";
/// The topic of the stream on `/sse`.
pub const SSE_STREAM: &str = "sse-stream";

/// Answer as a small MCP server would.
pub fn answer(request: &Recorded) -> Answer {
    match (request.method.as_str(), request.path()) {
        ("POST", "/mcp") => streamable(request),
        ("GET", "/mcp") => Answer::events(vec![Step::Live(MCP_STREAM.into())]),
        ("DELETE", "/mcp") => Answer::Full(200, vec![], vec![]),
        ("GET", "/sse") => {
            let first = "event: endpoint\ndata: /messages?sessionId=scripted-sse-1\n\n".to_owned();
            Answer::events(vec![Step::Send(first), Step::Live(SSE_STREAM.into())])
        }
        ("POST", "/messages") => match request.json() {
            message if message.get("id").is_some() => Answer::Push(
                202,
                SSE_STREAM.into(),
                format!("event: message\ndata: {}\n\n", reply(&message)),
            ),
            _ => Answer::Full(202, vec![], vec![]),
        },
        _ => Answer::json(404, &json!({"error": "not found"})),
    }
}

/// The response message to one request message.
pub fn reply(message: &Value) -> Value {
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        }),
        "tools/list" => {
            json!({"tools": [tool("echo", "Repeat the arguments", true), tool("look", "Read something", true), tool("erase", "Delete something", false)]})
        }
        "tools/call" => {
            json!({"content": [{"type": "text", "text": message["params"]["arguments"].to_string()}]})
        }
        "ping" => json!({}),
        other => {
            return json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": format!("no method {other}")}});
        }
    };
    json!({"jsonrpc": "2.0", "id": message["id"], "result": result})
}

fn streamable(request: &Recorded) -> Answer {
    let message = request.json();
    if message.get("id").is_none() {
        return Answer::Full(202, vec![], vec![]);
    }
    let answer = Answer::json(200, &reply(&message));
    if message["method"] == "initialize" {
        answer.with("Mcp-Session-Id", SESSION)
    } else {
        answer
    }
}

fn tool(name: &str, description: &str, reads_only: bool) -> Value {
    json!({
        "name": name,
        "title": name,
        "description": description,
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": reads_only, "destructiveHint": !reads_only},
    })
}
