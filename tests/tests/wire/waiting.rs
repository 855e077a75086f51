//! Translated calls that wait for input: what goes on with such a call.

use anyhow::Result;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp;
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp::SSE_STREAM;
use tests::scripted_revisions;

/// A gateway that knows what its one backend speaks, and a client's token.
struct Place {
    gateway: Gateway,
    backend: Recorder,
    token: String,
}

impl Place {
    async fn start(
        families: &str,
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let backend = Recorder::start(script).await?;
        let setup = Setup {
            only_more: true,
            ..Setup::default()
        };
        let gateway = Gateway::start(setup.more(&format!(
            "[[backend]]\nname = \"main\"\npath = \"/\"\nurl = \"{}\"\neras = [\"{families}\"]\n",
            backend.url()
        )))
        .await?;
        let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
        let token = client.sign_in(&Owner::alice()).await?;
        Ok(Self {
            gateway,
            backend,
            token,
        })
    }

    /// A request of 2026-07-28.
    fn modern(&self, id: u64, method: &str, params: &Value) -> RequestBuilder {
        let mut params = params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "modern", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        });
        let request = http::client()
            .post(self.gateway.url("/mcp"))
            .bearer_auth(&self.token)
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json")
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", method);
        match params["name"].as_str() {
            Some(name) => request.header("Mcp-Name", name),
            None => request,
        }
        .body(mcp::message(id, method, &params).to_string())
    }

    async fn call(&self, id: u64, params: &Value) -> Result<Value> {
        let reply = http::send(self.modern(id, "tools/call", params)).await?;
        mcp::response(&reply)
    }
}

/// A call of any tool asks for a name before it is answered; over HTTP+SSE or within a session.
fn asking(families: &'static str) -> impl Fn(&Recorded) -> Answer {
    move |request| {
        let message = request.json();
        let event = |message: &Value| format!("event: message\ndata: {message}\n\n");
        let is_legacy = families == "2024-11-05";
        match (&*request.method, message["method"].as_str()) {
            ("POST", Some("tools/call")) => {
                let asks = json!({"jsonrpc": "2.0", "id": format!("ask-{}", message["id"]), "method": "elicitation/create", "params": {"message": "Who?"}});
                match is_legacy {
                    true => Answer::Push(202, SSE_STREAM.into(), event(&asks)),
                    false => {
                        Answer::events(vec![Step::Send(event(&asks)), Step::Live("ask".into())])
                    }
                }
            }
            ("POST", None) if message["id"].is_string() => {
                let call = message["id"]
                    .as_str()
                    .and_then(|id| id.strip_prefix("ask-"));
                let call: u64 = call.and_then(|id| id.parse().ok()).unwrap_or_default();
                let result = json!({"jsonrpc": "2.0", "id": call, "result": {"content": [{"type": "text", "text": message["result"]["content"]["name"]}]}});
                let topic = if is_legacy { SSE_STREAM } else { "ask" };
                Answer::Push(202, topic.into(), event(&result))
            }
            _ if is_legacy => scripted_revisions::http_sse(request),
            _ => scripted_revisions::sessions(request),
        }
    }
}

/// Method and name were compared alone: what a policy had judged was another call.
#[tokio::test]
async fn an_answer_moves_no_call_but_the_one_that_asked() -> Result<()> {
    for families in ["2025", "2024-11-05"] {
        let place = Place::start(families, asking(families)).await?;
        let arguments = json!({"path": "/tmp/a", "n": 1});
        let first = place
            .call(1, &json!({"name": "erase", "arguments": arguments}))
            .await?;
        let asked = &first["result"];
        assert_eq!(asked["resultType"], "input_required", "{families}: {first}");
        let retry = |more: Value| {
            let mut params = json!({
                "name": "erase", "requestState": asked["requestState"],
                "inputResponses": {"question": {"action": "accept", "content": {"name": "Ada"}}},
            });
            for (name, value) in more.as_object().expect("an object") {
                params[name] = value.clone();
            }
            params
        };
        for other in [
            json!({"arguments": {"path": "/home", "n": 1}}),
            json!({"arguments": {"path": "/tmp/a", "n": 2}}),
            json!({"arguments": {"path": "/tmp/a", "n": "1"}}),
            json!({"arguments": {"path": "/tmp/a"}}),
            json!({"arguments": {"path": "/tmp/a", "n": 1, "force": true}}),
            json!({"arguments": {}}),
            json!({}),
            json!({"arguments": arguments, "task": {}}),
        ] {
            let refused = place.call(2, &retry(other.clone())).await?;
            assert_eq!(refused["error"]["code"], -32602, "{other}: {refused}");
        }
        assert!(place.backend.marked("Ada").is_empty(), "{families}");
        // The same in other letters is the same.
        let same = json!({"arguments": {"path": "/tmp/a", "n": 1.0}});
        let done = place.call(3, &retry(same)).await?;
        assert!(done["result"].to_string().contains("Ada"), "{done}");
        assert_eq!(place.backend.marked("Ada").len(), 1, "{families}");
    }
    Ok(())
}
