//! MCP calls over both transports with a bearer token: single messages, not a
//! session library. What a real SDK does is tested with the real SDKs.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::http::{self, Reply};
use crate::sse::EventStream;

/// The revision the harness speaks.
pub const REVISION: &str = "2025-11-25";

/// The revision without sessions.
pub const STATELESS: &str = "2026-07-28";

/// A JSON-RPC request.
pub fn message(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// An `initialize` request.
pub fn initialize() -> Value {
    message(
        0,
        "initialize",
        &json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "gateway-tests", "version": "1"}}),
    )
}

/// A `tools/call` request.
pub fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    message(
        id,
        "tools/call",
        &json!({"name": tool, "arguments": arguments}),
    )
}

/// A POST to a Streamable HTTP endpoint, not sent yet.
pub fn post(url: &str, token: &str, body: &Value) -> RequestBuilder {
    http::client()
        .post(url)
        .bearer_auth(token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .header("MCP-Protocol-Version", REVISION)
        .body(body.to_string())
}

/// A JSON-RPC request of 2026-07-28: with what its clients say of themselves, where `params` says
/// nothing else.
pub fn stateless_message(id: u64, method: &str, params: &Value) -> Value {
    let mut params = params.clone();
    for (key, value) in [
        ("protocolVersion", json!(STATELESS)),
        ("clientInfo", json!({"name": "modern", "version": "1"})),
        ("clientCapabilities", json!({"elicitation": {}})),
    ] {
        let said = &mut params["_meta"][format!("io.modelcontextprotocol/{key}")];
        if said.is_null() {
            *said = value;
        }
    }
    message(id, method, &params)
}

/// A POST of a message of 2026-07-28, whose headers mirror it, not sent yet.
pub fn post_stateless(url: &str, token: &str, body: &Value) -> RequestBuilder {
    let request = http::client()
        .post(url)
        .bearer_auth(token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .header("MCP-Protocol-Version", STATELESS)
        .header("Mcp-Method", body["method"].as_str().unwrap_or_default());
    let params = &body["params"];
    let mut names = ["name", "uri", "taskId"].into_iter();
    match names.find_map(|name| params[name].as_str()) {
        Some(name) => request.header("Mcp-Name", name),
        None => request,
    }
    .body(body.to_string())
}

/// POST one message and read the whole answer.
pub async fn send(url: &str, token: &str, body: &Value) -> Result<Reply> {
    http::send(post(url, token, body)).await
}

/// `initialize`; the session id as the client is given it.
pub async fn open_session(url: &str, token: &str) -> Result<String> {
    let reply = send(url, token, &initialize()).await?;
    anyhow::ensure!(
        reply.status == 200,
        "status {}: {}",
        reply.status,
        reply.text
    );
    let id = reply.header("mcp-session-id").to_owned();
    anyhow::ensure!(!id.is_empty(), "no session id: {:?}", reply.headers);
    Ok(id)
}

/// The JSON-RPC response in an answer, whether it came as JSON or as one SSE event.
pub fn response(reply: &Reply) -> Result<Value> {
    anyhow::ensure!(
        reply.status == 200,
        "status {}: {}",
        reply.status,
        reply.text
    );
    if !reply
        .header("content-type")
        .starts_with("text/event-stream")
    {
        return Ok(reply.json());
    }
    let data = |line: &str| {
        line.strip_prefix("data:")
            .map(|data| data.trim().to_owned())
    };
    let mut messages = reply
        .text
        .lines()
        .filter_map(data)
        .filter_map(|data| serde_json::from_str::<Value>(&data).ok());
    messages
        .rfind(|m| m.get("result").is_some() || m.get("error").is_some())
        .context("no response on the stream")
}

/// The older transport: one stream, and the URL it announced for messages.
pub struct LegacySession {
    /// The open stream.
    pub stream: EventStream,
    /// The announced endpoint, absolute.
    pub endpoint: String,
    token: String,
}

impl LegacySession {
    /// Open `url` and wait for its `endpoint` event.
    pub async fn open(url: &str, token: &str) -> Result<Self> {
        let mut stream = EventStream::open(http::client().get(url).bearer_auth(token)).await?;
        let (name, data) = stream.event(Duration::from_secs(10)).await?;
        anyhow::ensure!(name == "endpoint", "the first event is {name}: {data}");
        let endpoint = url::Url::parse(url)?.join(&data)?.to_string();
        Ok(LegacySession {
            stream,
            endpoint,
            token: token.into(),
        })
    }

    /// POST a message to the announced endpoint.
    pub async fn post(&self, body: &Value) -> Result<Reply> {
        http::send(post(&self.endpoint, &self.token, body)).await
    }

    /// POST a request and wait for its response on the stream.
    pub async fn request(&mut self, body: &Value) -> Result<Value> {
        let reply = self.post(body).await?;
        anyhow::ensure!(
            reply.status == 202,
            "the message was answered {}: {}",
            reply.status,
            reply.text
        );
        loop {
            let (_, data) = self.stream.event(Duration::from_secs(10)).await?;
            let message: Value = serde_json::from_str(&data)?;
            if message["id"] == body["id"] {
                return Ok(message);
            }
        }
    }
}
