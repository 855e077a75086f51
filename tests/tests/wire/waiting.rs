//! Translated calls that wait for input, and subscriptions: what goes on with such a call, and how many
//! resources a session hears about.

use std::time::Duration;

use anyhow::Result;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp;
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp::{self, SSE_STREAM};
use tests::scripted_revisions;
use tests::sse::EventStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway that knows what its one backend speaks, and a client's token.
struct BackendFixture {
    gateway: Gateway,
    backend: Recorder,
    token: String,
}

impl BackendFixture {
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
        let body = mcp::stateless_message(id, method, params);
        mcp::post_stateless(&self.gateway.url("/mcp"), &self.token, &body)
    }

    async fn call(&self, id: u64, params: &Value) -> Result<Value> {
        let reply = http::send(self.modern(id, "tools/call", params)).await?;
        mcp::response(&reply)
    }

    /// The resources that the backend was asked to tell about.
    fn subscribed(&self) -> Vec<String> {
        let requests = self.backend.marked("resources/subscribe");
        let uri = |request: &Recorded| request.json()["params"]["uri"].to_string();
        requests.iter().map(uri).collect()
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
                if is_legacy {
                    Answer::Push(202, SSE_STREAM.into(), event(&asks))
                } else {
                    Answer::events(vec![Step::Send(event(&asks)), Step::Live("ask".into())])
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
        let place = BackendFixture::start(families, asking(families)).await?;
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

/// 256 were the most in one place and any number in others.
#[tokio::test]
async fn a_session_subscribes_to_512_resources_and_is_told_why_to_no_more() -> Result<()> {
    let place = BackendFixture::start("2026-07-28", scripted_revisions::stateless).await?;
    let mcp = place.gateway.url("/mcp");
    let session = mcp::open_session(&mcp, &place.token).await?;
    let ask = async |method: &str, at: usize| -> Result<Value> {
        let params = json!({"uri": format!("test://{at}")});
        let body = mcp::message(1, method, &params);
        let request = mcp::post(&mcp, &place.token, &body);
        let reply: Reply = http::send(request.header("Mcp-Session-Id", &session)).await?;
        mcp::response(&reply)
    };
    for at in 0..512 {
        let answer = ask("resources/subscribe", at).await?;
        assert!(answer["result"].is_object(), "{at}: {answer}");
    }
    let refused = ask("resources/subscribe", 512).await?;
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    assert!(refused["error"]["message"].to_string().contains("512"));
    // What is there already is no more, and what is given back makes room.
    assert!(ask("resources/subscribe", 0).await?["result"].is_object());
    assert!(ask("resources/unsubscribe", 0).await?["result"].is_object());
    assert!(ask("resources/subscribe", 512).await?["result"].is_object());
    Ok(())
}

/// The session behind them is one, and every stream added to what the backend had to remember.
#[tokio::test]
async fn streams_that_share_a_session_share_its_subscriptions() -> Result<()> {
    let place = BackendFixture::start("2025", |request| {
        let message = request.json();
        match message["method"].as_str() {
            Some("initialize") => {
                let mut reply = scripted_mcp::reply(&message);
                reply["result"]["capabilities"]["resources"] = json!({"subscribe": true});
                Answer::json(200, &reply).with("Mcp-Session-Id", scripted_mcp::SESSION)
            }
            Some("resources/subscribe") => Answer::json(
                200,
                &json!({"jsonrpc": "2.0", "id": message["id"], "result": {}}),
            ),
            _ => scripted_revisions::sessions(request),
        }
    })
    .await?;
    let listen = |uris: &[String]| {
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        place.modern(9, "subscriptions/listen", &params)
    };
    let named = |range: std::ops::Range<usize>| -> Vec<String> {
        range.map(|at| format!("test://{at}")).collect()
    };
    let twice = [named(0..2), named(0..2)].concat();
    let mut one = EventStream::open(listen(&twice)).await?;
    let acknowledged = one.event(PATIENCE).await?.1;
    assert_eq!(acknowledged.matches("test://").count(), 2, "{acknowledged}");
    let subscribed = async |count: usize| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while place.subscribed().len() < count && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        place.subscribed().len()
    };
    assert_eq!(subscribed(2).await, 2);
    let mut other = EventStream::open(listen(&named(1..3))).await?;
    other.event(PATIENCE).await?;
    for too_many in [named(0..513), named(3..513)] {
        let refused = http::send(listen(&too_many)).await?;
        assert_eq!(refused.json()["error"]["code"], -32603, "{}", refused.text);
        assert!(refused.text.contains("512"), "{}", refused.text);
    }
    // Each asked for its own: one that leaves early takes nothing from the others.
    assert_eq!(subscribed(4).await, 4);
    // What streams that ended held is free again: a client goes through any number in time.
    drop((one, other));
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match EventStream::open(listen(&named(3..513))).await {
            Ok(_) => break,
            Err(error) => anyhow::ensure!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
