//! A stand-in for a vendor's language model, so that a client which only calls tools
//! when a model asks for it needs no account: it asks for one call of one tool, then
//! repeats what came back. Three dialects: Anthropic's Messages, Google's contents, and the
//! Chat Completions that most others speak, all as event streams.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

/// A listening model. Dropping it ends it.
pub struct Model {
    port: u16,
    seen: Arc<ModelState>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct ModelState {
    tool: String,
    arguments: Value,
    /// Rest that long after the first result, and ask once more.
    again_after: Option<Duration>,
    offered: Mutex<BTreeSet<String>>,
    results: Mutex<Vec<String>>,
}

impl Model {
    /// A model that asks for the offered tool whose name ends with `tool`.
    pub async fn start(tool: &str, arguments: Value) -> Result<Self> {
        Self::with(tool, arguments, None).await
    }

    /// The same, and after this pause it asks for the same call again.
    pub async fn asking_twice(tool: &str, arguments: Value, pause: Duration) -> Result<Self> {
        Self::with(tool, arguments, Some(pause)).await
    }

    async fn with(tool: &str, arguments: Value, again_after: Option<Duration>) -> Result<Self> {
        let seen = Arc::new(ModelState {
            tool: tool.into(),
            arguments,
            again_after,
            ..ModelState::default()
        });
        let app = Router::new()
            .fallback(get(async || r#"{"data": []}"#).post(answer))
            .with_state(seen.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Model {
            port,
            seen,
            serving,
        })
    }

    /// Where it listens, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The names of all tools that the client offered so far.
    pub fn offered(&self) -> BTreeSet<String> {
        self.seen.offered.lock().expect("no holder panics").clone()
    }

    /// What the tool gave, as the client passed it on.
    pub fn results(&self) -> Vec<String> {
        self.seen.results.lock().expect("no holder panics").clone()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(seen): State<Arc<ModelState>>, uri: Uri, body: Bytes) -> impl IntoResponse {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tools = request["tools"].as_array().into_iter().flatten();
    let offered: Vec<String> = tools
        .flat_map(|tool| match tool["functionDeclarations"].as_array() {
            Some(declared) => declared.iter().collect(),
            None => vec![tool],
        })
        .filter_map(|tool| tool["name"].as_str().or(tool["function"]["name"].as_str()))
        .map(String::from)
        .collect();
    let wanted = offered
        .iter()
        .find(|name| name.ends_with(&seen.tool))
        .cloned();
    seen.offered
        .lock()
        .expect("no holder panics")
        .extend(offered);
    let result = tool_result(&request);
    let results = {
        let mut results = seen.results.lock().expect("no holder panics");
        results.extend(result.clone());
        results.len()
    };
    let again = seen.again_after.filter(|_| results == 1);
    if let (Some(pause), Some(_)) = (again, &result) {
        tokio::time::sleep(pause).await;
    }
    // A client may take a second call of one id for the first one.
    let id = format!("call_{}", results + 1);
    let call = wanted.filter(|_| result.is_none() || again.is_some());
    let said = result.unwrap_or_else(|| "Nothing to do.".into());
    let text = if uri.path().ends_with("/messages") {
        messages(call, &id, &seen.arguments, &said)
    } else if uri.path().ends_with("GenerateContent") {
        contents(call, &id, &seen.arguments, &said)
    } else {
        completions(call, &id, &seen.arguments, &said)
    };
    ([(CONTENT_TYPE, "text/event-stream")], text)
}

/// The result of the tool, when the conversation ends with one.
fn tool_result(request: &Value) -> Option<String> {
    if let Some(contents) = request["contents"].as_array() {
        let mut parts = contents.last()?["parts"].as_array()?.iter();
        let part = parts.find(|part| part.get("functionResponse").is_some())?;
        return Some(part["functionResponse"]["response"].to_string());
    }
    let last = request["messages"].as_array()?.last()?;
    if last["role"] == "tool" {
        return Some(last["content"].to_string());
    }
    let items = last["content"].as_array()?;
    items
        .iter()
        .find(|item| item["type"] == "tool_result")
        .map(|item| item["content"].to_string())
}

fn messages(call: Option<String>, id: &str, arguments: &Value, said: &str) -> String {
    let event = |data: Value| {
        format!(
            "event: {}\ndata: {data}\n\n",
            data["type"].as_str().unwrap_or_default()
        )
    };
    let (block, delta, stop) = match call {
        Some(name) => (
            json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": arguments.to_string()}),
            "tool_use",
        ),
        None => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": said}),
            "end_turn",
        ),
    };
    let message = json!({"id": "message_1", "type": "message", "role": "assistant", "model": "scripted", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
    [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ]
    .map(event)
    .concat()
}

fn contents(call: Option<String>, id: &str, arguments: &Value, said: &str) -> String {
    let part = match call {
        Some(name) => json!({"functionCall": {"id": id, "name": name, "args": arguments}}),
        None => json!({"text": said}),
    };
    let candidate =
        json!({"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"});
    let usage = json!({"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2});
    let chunk =
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "scripted"});
    format!("data: {chunk}\n\n")
}

fn completions(call: Option<String>, id: &str, arguments: &Value, said: &str) -> String {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({"id": "chunk", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [choice]});
        format!("data: {chunk}\n\n")
    };
    let (delta, finish) = match call {
        Some(name) => {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            let call = json!({"index": 0, "id": id, "type": "function", "function": function});
            (
                json!({"role": "assistant", "tool_calls": [call]}),
                "tool_calls",
            )
        }
        None => (json!({"role": "assistant", "content": said}), "stop"),
    };
    chunk(delta, Value::Null) + &chunk(json!({}), finish.into()) + "data: [DONE]\n\n"
}
