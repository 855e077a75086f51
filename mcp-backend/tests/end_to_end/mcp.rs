//! MCP clients of the revisions there are, in the few lines each needs.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::wire::{self, Answer, Streaming};

pub(crate) const STATEFUL_REVISIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
pub(crate) const STATELESS: &str = "2026-07-28";

/// A client that can ask something and gets the whole JSON-RPC answer.
pub(crate) trait Client {
    fn ask(&mut self, method: &str, params: Value) -> Value;

    /// Calls a tool; its result.
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        );
        answer
            .get("result")
            .unwrap_or_else(|| panic!("a result in {answer}"))
            .clone()
    }

    /// Searches; the results.
    fn search(&mut self, query: &str) -> Vec<Value> {
        let result = self.call("search", json!({ "query": query }));
        result["structuredContent"]["results"]
            .as_array()
            .expect("a list of results")
            .clone()
    }
}

/// Streamable HTTP with a session, up to 2025-11-25.
pub(crate) struct SessionClient {
    pub(crate) address: SocketAddr,
    pub(crate) session: String,
    pub(crate) initialized: Value,
    revision: String,
    asked: u64,
}

/// Streamable HTTP without sessions, 2026-07-28.
pub(crate) struct StatelessClient {
    pub(crate) address: SocketAddr,
}

/// HTTP+SSE, 2024-11-05.
pub(crate) struct LegacyClient {
    pub(crate) address: SocketAddr,
    pub(crate) stream: Streaming,
    pub(crate) endpoint: String,
    asked: u64,
}

pub(crate) fn initialize(revision: &str) -> Value {
    request(
        0,
        "initialize",
        json!({
            "protocolVersion": revision,
            "capabilities": {},
            "clientInfo": { "name": "end-to-end", "version": "1" },
        }),
    )
}

pub(crate) fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(crate) fn initialized() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

/// Posts a message as every revision of Streamable HTTP does.
pub(crate) fn post(address: SocketAddr, headers: &[(&str, &str)], message: &Value) -> Answer {
    let mut all = vec![
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    all.extend_from_slice(headers);
    wire::exchange(address, "POST", "/mcp", &all, &message.to_string())
}

/// The JSON-RPC message of an answer, be it JSON or a stream of events.
pub(crate) fn message(answer: &Answer) -> Value {
    let json = if answer
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"))
    {
        answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .rfind(|data| !data.is_empty())
            .expect("data")
    } else {
        &answer.body
    };
    serde_json::from_str(json).unwrap_or_else(|_| panic!("JSON in {answer:?}"))
}

impl SessionClient {
    pub(crate) fn connect(address: SocketAddr, revision: &str) -> Self {
        let answer = post(address, &[], &initialize(revision));
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = answer
            .header("mcp-session-id")
            .expect("a session")
            .to_owned();
        let initialized_result = message(&answer)["result"].clone();
        let client = Self {
            address,
            session,
            initialized: initialized_result,
            revision: revision.to_owned(),
            asked: 0,
        };
        let answer = post(address, &client.headers(), &initialized());
        assert_eq!(answer.status, 202, "{answer:?}");
        client
    }

    pub(crate) fn headers(&self) -> [(&str, &str); 2] {
        [
            ("mcp-session-id", &self.session),
            ("mcp-protocol-version", &self.revision),
        ]
    }
}

impl Client for SessionClient {
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let answer = post(
            self.address,
            &self.headers(),
            &request(self.asked, method, params),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        let message = message(&answer);
        assert_eq!(message["id"], self.asked);
        message
    }
}

impl StatelessClient {
    pub(crate) fn with_meta(mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "end-to-end", "version": "1" },
        });
        params
    }

    pub(crate) fn answer(&self, method: &str, params: Value) -> Answer {
        let name = params["name"].as_str().map(str::to_owned);
        let mut headers = vec![("mcp-protocol-version", STATELESS), ("mcp-method", method)];
        if let Some(name) = &name {
            headers.push(("mcp-name", name));
        }
        post(
            self.address,
            &headers,
            &request(1, method, Self::with_meta(params)),
        )
    }
}

impl Client for StatelessClient {
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer.header("mcp-session-id").is_none(), "{answer:?}");
        message(&answer)
    }
}

impl LegacyClient {
    /// Opens the stream without saying anything on it.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut stream = wire::open(
            address,
            "GET",
            "/sse",
            &[("accept", "text/event-stream")],
            "",
        );
        assert_eq!(stream.status, 200);
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        let first = stream.event().expect("the first event");
        assert_eq!(first.name, "endpoint");
        Self {
            address,
            stream,
            endpoint: first.data,
            asked: 0,
        }
    }

    pub(crate) fn connect(address: SocketAddr, revision: &str) -> (Self, Value) {
        let mut client = Self::open(address);
        assert_eq!(client.post(&initialize(revision)).status, 202);
        let answer = client.stream.message();
        assert_eq!(client.post(&initialized()).status, 202);
        (client, answer["result"].clone())
    }

    pub(crate) fn post(&self, message: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        wire::exchange(
            self.address,
            "POST",
            &self.endpoint,
            &headers,
            &message.to_string(),
        )
    }
}

impl Client for LegacyClient {
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let answer = self.post(&request(self.asked, method, params));
        assert_eq!(answer.status, 202, "{answer:?}");
        loop {
            // Other things may be said on the stream before.
            let message = self.stream.message();
            if message.get("method").is_none() {
                assert_eq!(message["id"], self.asked);
                return message;
            }
        }
    }
}
