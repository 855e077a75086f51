//! An answer of the client that the operator's policy refuses: the backend that waits for it is told at
//! once that nobody answers, on every transport and across revision families, and hears nothing of what was said.

use std::time::Duration;

use anyhow::Result;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{self, LegacySession, call, initialize};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp::{self, SESSION, SSE_STREAM};
use tests::scripted_revisions;
use tests::sse::EventStream;

const PATIENCE: Duration = Duration::from_secs(10);

const POLICY: &str = r#"
deny if message("response");
deny if argument("stop", true);
allow if true;
"#;

struct BackendFixture {
    gateway: Gateway,
    backend: Recorder,
    token: String,
    _folder: tempfile::TempDir,
}

impl BackendFixture {
    /// `families`: what the gateway is to have found out about the backend.
    async fn start(
        families: &str,
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.biscuit");
        std::fs::write(&file, POLICY)?;
        let more = format!("[policy]\nfile = \"{}\"\n", file.display());
        let backend = Recorder::start(script).await?;
        let gateway = Gateway::start(Setup::default().backend(&backend.url()).more(&more)).await?;
        let wanted = format!("\"eras\":\"{families}\"");
        gateway.logged(&wanted).await?;
        let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
        let token = client.sign_in(&Owner::alice()).await?;
        Ok(Self {
            gateway,
            backend,
            token,
            _folder: folder,
        })
    }

    fn post(&self, body: &Value) -> RequestBuilder {
        mcp::post(&self.gateway.url("/mcp"), &self.token, body)
    }

    /// What the backend was answered.
    fn answers(&self) -> Vec<Value> {
        let mut answers = Vec::new();
        for sent in self.backend.requests() {
            let messages = match sent.json() {
                Value::Array(messages) => messages,
                message => vec![message],
            };
            let is_answer =
                |message: &Value| message.is_object() && message.get("method").is_none();
            answers.extend(messages.into_iter().filter(is_answer));
        }
        answers
    }

    /// The backend was told of this question that nobody answers it, and of no other; and nothing that
    /// the client said.
    fn assert_declined(&self, id: &Value, case: &str) {
        let answers = self.answers();
        assert_eq!(answers.len(), 1, "{case}: {answers:?}");
        assert_eq!(&answers[0]["id"], id, "{case}: {answers:?}");
        assert_eq!(answers[0]["error"]["code"], -32601, "{case}: {answers:?}");
        assert!(self.backend.marked("Ada").is_empty(), "{case}");
    }
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

/// Its tools ask what the argument `ask` says, under an id of the backend's own, and end with what they
/// are answered; over HTTP+SSE or within a session.
fn asker(request: &Recorded) -> Answer {
    let message = request.json();
    let is_legacy = request.path() == "/messages";
    let message = match message {
        Value::Array(messages) => messages.into_iter().next().unwrap_or_default(),
        message => message,
    };
    match (request.method.as_str(), message["method"].as_str()) {
        ("POST", Some("tools/call")) => {
            let method = message["params"]["arguments"]["ask"].as_str();
            let asks = event(&json!({
                "jsonrpc": "2.0", "id": format!("ask-{}", message["id"]),
                "method": method.unwrap_or("elicitation/create"), "params": {"message": "Who?"},
            }));
            if is_legacy {
                Answer::Push(202, SSE_STREAM.into(), asks)
            } else {
                Answer::events(vec![Step::Send(asks), Step::Live("ask".into())])
            }
        }
        ("POST", None) => {
            let id = message["id"]
                .as_str()
                .and_then(|id| id.strip_prefix("ask-"));
            let id: Value = id
                .and_then(|id| serde_json::from_str(id).ok())
                .unwrap_or_default();
            let said = json!({"content": [{"type": "text", "text": message["error"]["code"].to_string()}]});
            let done = event(&json!({"jsonrpc": "2.0", "id": id, "result": said}));
            let topic = if is_legacy { SSE_STREAM } else { "ask" };
            Answer::Push(202, topic.into(), done)
        }
        _ => scripted_mcp::answer(request),
    }
}

fn in_sessions(request: &Recorded) -> Answer {
    match request.header("mcp-session-id") {
        Some(SESSION) if request.method == "POST" => asker(request),
        _ => scripted_revisions::sessions(request),
    }
}

fn over_http_sse(request: &Recorded) -> Answer {
    match request.path() {
        "/messages" => asker(request),
        _ => scripted_revisions::http_sse(request),
    }
}

/// What a client says, in words that no backend is to see.
fn said(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": "Ada"}}})
}

fn read(data: &str) -> Result<Value> {
    Ok(serde_json::from_str(data)?)
}

#[tokio::test]
async fn a_refused_answer_in_a_session_is_declined_at_once() -> Result<()> {
    for method in ["elicitation/create", "sampling/createMessage", "roots/list"] {
        let place = BackendFixture::start("2025", in_sessions).await?;
        let session = mcp::open_session(&place.gateway.url("/mcp"), &place.token).await?;
        let called = place.post(&call(3, "look", &json!({"ask": method})));
        let mut stream = EventStream::open(called.header("Mcp-Session-Id", &session)).await?;
        let asked = read(&stream.event(PATIENCE).await?.1)?;
        assert_eq!(asked["method"], method);
        let reply = place
            .post(&said(&asked["id"]))
            .header("Mcp-Session-Id", &session);
        let reply = http::send(reply).await?;
        assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{method}");
        // The call ends as the backend makes it end, long before any patience does.
        let done = read(&stream.event(PATIENCE).await?.1)?;
        assert_eq!(done["result"]["content"][0]["text"], "-32601", "{done}");
        place.assert_declined(&json!("ask-3"), method);
        place.gateway.logged("policy_denied").await?;
        // What nobody asked is told to nobody.
        let unasked = place
            .post(&said(&json!("ask-9")))
            .header("Mcp-Session-Id", &session);
        assert_eq!(http::send(unasked).await?.status, 202);
        place.assert_declined(&json!("ask-3"), method);
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_answer_over_the_legacy_stream_is_declined_at_once() -> Result<()> {
    let place = BackendFixture::start("2024-11-05", over_http_sse).await?;
    let mut session = LegacySession::open(&place.gateway.url("/sse"), &place.token).await?;
    session.request(&initialize()).await?;
    assert_eq!(
        session.post(&call(3, "look", &json!({}))).await?.status,
        202
    );
    let asked = read(&session.stream.event(PATIENCE).await?.1)?;
    let refusing =
        json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -1, "message": "Ada"}});
    assert_eq!(session.post(&refusing).await?.status, 202);
    let done = read(&session.stream.event(PATIENCE).await?.1)?;
    assert_eq!(done["result"]["content"][0]["text"], "-32601", "{done}");
    place.assert_declined(&json!("ask-3"), "legacy");
    Ok(())
}

#[tokio::test]
async fn a_refused_batch_tells_client_and_backend_what_each_waits_for() -> Result<()> {
    for with_call in [false, true] {
        let place = BackendFixture::start("2025", in_sessions).await?;
        let session = mcp::open_session(&place.gateway.url("/mcp"), &place.token).await?;
        let called = place.post(&call(3, "look", &json!({})));
        let mut stream = EventStream::open(called.header("Mcp-Session-Id", &session)).await?;
        let asked = read(&stream.event(PATIENCE).await?.1)?;
        let mut batch = vec![said(&asked["id"])];
        if with_call {
            batch.push(call(4, "erase", &json!({})));
        }
        let request = http::client()
            .post(place.gateway.url("/mcp"))
            .bearer_auth(&place.token)
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json")
            .header("Mcp-Session-Id", &session)
            .body(json!(batch).to_string());
        let reply = http::send(request).await?;
        if with_call {
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert_eq!(reply.json()[0]["id"], 4, "{}", reply.text);
            assert_eq!(reply.json()[0]["result"]["isError"], true);
            assert!(place.backend.marked("erase").is_empty());
        } else {
            assert_eq!(reply.status, 202, "{}", reply.text)
        }
        let done = read(&stream.event(PATIENCE).await?.1)?;
        assert_eq!(done["result"]["content"][0]["text"], "-32601", "{done}");
        place.assert_declined(&json!("ask-3"), "batch");
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_answer_is_declined_across_eras() -> Result<()> {
    // A session in front of HTTP+SSE.
    let place = BackendFixture::start("2024-11-05", over_http_sse).await?;
    let session = mcp::open_session(&place.gateway.url("/mcp"), &place.token).await?;
    let called = place.post(&call(3, "look", &json!({})));
    let mut stream = EventStream::open(called.header("Mcp-Session-Id", &session)).await?;
    let asked = read(&stream.event(PATIENCE).await?.1)?;
    let reply = place
        .post(&said(&asked["id"]))
        .header("Mcp-Session-Id", &session);
    assert_eq!(http::send(reply).await?.status, 202);
    let done = read(&stream.event(PATIENCE).await?.1)?;
    assert_eq!(done["result"]["content"][0]["text"], "-32601", "{done}");
    let answers = place.answers();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(place.backend.marked("Ada").is_empty());

    // HTTP+SSE in front of a session.
    let place = BackendFixture::start("2025", in_sessions).await?;
    let mut legacy = LegacySession::open(&place.gateway.url("/sse"), &place.token).await?;
    legacy.request(&initialize()).await?;
    assert_eq!(legacy.post(&call(3, "look", &json!({}))).await?.status, 202);
    let asked = read(&legacy.stream.event(PATIENCE).await?.1)?;
    assert_eq!(legacy.post(&said(&asked["id"])).await?.status, 202);
    let done = read(&legacy.stream.event(PATIENCE).await?.1)?;
    assert_eq!(done["result"]["content"][0]["text"], "-32601", "{done}");
    assert!(place.backend.marked("Ada").is_empty());

    // Either in front of a backend of 2026-07-28, which waits for nothing: the call ends with it.
    let place = BackendFixture::start("2026-07-28", scripted_revisions::stateless).await?;
    let session = mcp::open_session(&place.gateway.url("/mcp"), &place.token).await?;
    let called = place.post(&call(3, "asks", &json!({})));
    let mut stream = EventStream::open(called.header("Mcp-Session-Id", &session)).await?;
    let asked = read(&stream.event(PATIENCE).await?.1)?;
    let reply = place
        .post(&said(&asked["id"]))
        .header("Mcp-Session-Id", &session);
    assert_eq!(http::send(reply).await?.status, 202);
    let done = read(&stream.event(PATIENCE).await?.1)?;
    assert_eq!(done["error"]["code"], -32601, "{done}");
    let mut legacy = LegacySession::open(&place.gateway.url("/sse"), &place.token).await?;
    legacy.request(&initialize()).await?;
    assert_eq!(legacy.post(&call(3, "asks", &json!({}))).await?.status, 202);
    let asked = read(&legacy.stream.event(PATIENCE).await?.1)?;
    assert_eq!(legacy.post(&said(&asked["id"])).await?.status, 202);
    let done = read(&legacy.stream.event(PATIENCE).await?.1)?;
    assert_eq!(done["error"]["code"], -32601, "{done}");
    assert!(place.backend.marked("Ada").is_empty());
    Ok(())
}

/// A request of 2026-07-28.
fn modern(place: &BackendFixture, id: u64, params: &Value) -> RequestBuilder {
    let mut params = params.clone();
    params["name"] = json!("look");
    let body = mcp::stateless_message(id, "tools/call", &params);
    mcp::post_stateless(&place.gateway.url("/mcp"), &place.token, &body)
}

#[tokio::test]
async fn a_call_that_comes_again_refused_is_given_up_at_a_backend_with_sessions() -> Result<()> {
    for (families, script) in [
        ("2025", in_sessions as fn(&Recorded) -> Answer),
        ("2024-11-05", over_http_sse),
    ] {
        let place = BackendFixture::start(families, script).await?;
        let reply = http::send(modern(&place, 1, &json!({"arguments": {}}))).await?;
        let asked = mcp::response(&reply)?["result"].clone();
        assert_eq!(asked["resultType"], "input_required", "{families}: {asked}");
        let requests = asked["inputRequests"].as_object();
        let (name, _) = requests.and_then(|all| all.iter().next()).expect("it asks");
        let again = json!({
            "arguments": {"stop": true}, "requestState": asked["requestState"],
            "inputResponses": {name: {"action": "accept", "content": {"name": "Ada"}}},
        });
        let reply = http::send(modern(&place, 2, &again)).await?;
        let reply = mcp::response(&reply)?;
        assert_eq!(reply["result"]["isError"], true, "{families}: {reply}");
        let answers = place.answers();
        assert_eq!(answers.len(), 1, "{families}: {answers:?}");
        assert_eq!(
            answers[0]["error"]["code"], -32601,
            "{families}: {answers:?}"
        );
        assert!(place.backend.marked("Ada").is_empty(), "{families}");
        // It is over: the same again finds nothing that waits.
        let mut late = again.clone();
        late["arguments"] = json!({});
        let late = mcp::response(&http::send(modern(&place, 3, &late)).await?)?;
        assert_eq!(late["error"]["code"], -32602, "{families}: {late}");
    }
    Ok(())
}
