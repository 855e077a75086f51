//! Clients of one revision family in front of backends of another: what arrives at the backend, what comes
//! back, and what ends it. Backends are scripted, so that each header is seen; real ones are in
//! `tests/cells`.

mod http_sse_clients;
mod limited;
mod newer_words;
mod stateless_clients;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use biscuit_auth::UnverifiedBiscuit;
use biscuit_auth::builder::BlockBuilder;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp::{MCP_STREAM, SESSION, SSE_STREAM};
use tests::sse::EventStream;
use tests::{scripted_mcp, scripted_revisions};

const PATIENCE: Duration = Duration::from_secs(5);

/// A gateway that knows what its backend speaks.
struct Cell {
    gateway: Gateway,
    backend: Recorder,
    client: OAuthClient,
    token: String,
}

impl Cell {
    async fn start(
        families: &str,
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::with(families, script, Setup::default()).await
    }

    async fn with(
        families: &str,
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
        setup: Setup,
    ) -> Result<Self> {
        let backend = Recorder::start(script).await?;
        let gateway = Gateway::start(setup.backend(&backend.url())).await?;
        known(&gateway, families).await?;
        let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
        let token = client.sign_in(&Owner::alice()).await?;
        Ok(Self {
            gateway,
            backend,
            client,
            token,
        })
    }

    fn post(&self, body: &Value) -> RequestBuilder {
        mcp::post(&self.gateway.url("/mcp"), &self.token, body)
    }

    async fn send(&self, session: &str, body: &Value) -> Result<Reply> {
        http::send(self.post(body).header("Mcp-Session-Id", session)).await
    }

    /// A request of 2026-07-28.
    fn stateless(&self, body: &Value) -> RequestBuilder {
        mcp::post_stateless(&self.gateway.url("/mcp"), &self.token, body)
    }

    /// What arrived with this method, but for the gateway's own questions.
    fn arrived(&self, method: &str) -> Vec<Recorded> {
        self.backend
            .requests()
            .into_iter()
            .filter(|request| request.header("x-forwarded-grant").is_some())
            .filter(|request| request.json()["method"] == method)
            .collect()
    }
}

async fn known(gateway: &Gateway, families: &str) -> Result<()> {
    gateway.logged(&format!("\"eras\":\"{families}\"")).await?;
    Ok(())
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// A request body of 2026-07-28.
fn modern(id: u64, method: &str, params: Value) -> Value {
    let mut params = params;
    params["_meta"]["progressToken"] = json!("mine");
    mcp::stateless_message(id, method, &params)
}

// --- a client with sessions, a stateless backend ------------------------------------------------

#[tokio::test]
async fn a_session_client_uses_a_stateless_backend() -> Result<()> {
    let cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    assert_eq!(hello.status, 200, "{}", hello.text);
    let result = &hello.json()["result"];
    assert_eq!(result["protocolVersion"], mcp::REVISION);
    assert_eq!(result["serverInfo"]["name"], "scripted");
    assert_eq!(result["instructions"], "Ask.");
    let session = hello.header("mcp-session-id").to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(cell.send(&session, &initialized).await?.status, 202);

    let call = r#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"sea é","arguments":{"n":1.50,"big":12345678901234567890123},"x-own":[1]},"x-top":1}"#;
    let request = mcp::post(&cell.gateway.url("/mcp"), &cell.token, &json!({}));
    let reply = http::send(
        request
            .header("Mcp-Session-Id", &session)
            .header("X-Forwarded-User", "mallory")
            .body(call),
    )
    .await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["id"], "7");
    assert!(reply.text.contains("\"n\":1.0"), "{}", reply.text);
    assert!(!reply.text.contains("resultType"), "{}", reply.text);

    let arrived = cell.arrived("tools/call");
    let arrived = &arrived[0];
    assert_eq!(arrived.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(arrived.header("mcp-method"), Some("tools/call"));
    assert_eq!(arrived.header("mcp-name"), Some("=?base64?c2VhIMOp?="));
    assert_eq!(arrived.header("mcp-session-id"), None);
    assert_eq!(arrived.header("authorization"), None);
    assert_eq!(arrived.header_values("x-forwarded-user"), ["alice"]);
    let body = String::from_utf8_lossy(&arrived.body);
    for survives in [
        "\"n\":1.50",
        "12345678901234567890123",
        "\"x-own\":[1]",
        "\"x-top\":1",
    ] {
        assert!(body.contains(survives), "{survives} in {body}");
    }
    assert!(
        body.contains(
            r#""io.modelcontextprotocol/clientInfo":{"name":"gateway-tests","version":"1"}"#
        ),
        "{body}"
    );

    let pong = cell
        .send(&session, &mcp::message(8, "ping", &json!({})))
        .await?;
    assert_eq!(pong.json()["result"], json!({}));
    assert!(cell.arrived("ping").is_empty());
    Ok(())
}

#[tokio::test]
async fn the_first_request_to_a_backend_that_woke_late_goes_the_right_way() -> Result<()> {
    let mut cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    cell.backend.play(|_| Answer::json(503, &json!({})));
    cell.gateway.crash_and_restart().await?;
    // Long enough that the gateway's own next question is seconds away.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cell.backend.play(scripted_revisions::stateless);
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    assert_eq!(hello.status, 200, "{}", hello.text);
    assert_eq!(
        hello.json()["result"]["protocolVersion"],
        mcp::REVISION,
        "{}",
        hello.text
    );
    Ok(())
}

#[tokio::test]
async fn a_session_in_front_of_a_stateless_backend_survives_a_restart_and_is_bound() -> Result<()> {
    let mut cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    let session = hello.header("mcp-session-id").to_owned();
    cell.gateway.crash_and_restart().await?;
    let call = mcp::call(1, "echo", &json!({"q": 1}));
    let reply = cell.send(&session, &call).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);

    let other = OAuthClient::register(&cell.gateway.origin(), "Another").await?;
    let stolen = other.sign_in(&Owner::alice()).await?;
    let reply = http::send(
        mcp::post(&cell.gateway.url("/mcp"), &stolen, &call).header("Mcp-Session-Id", &session),
    )
    .await?;
    assert_eq!(reply.status, 404, "{}", reply.text);
    for forged in [
        "e30~x".to_owned(),
        format!("x{session}"),
        session[1..].to_owned(),
    ] {
        assert_eq!(cell.send(&forged, &call).await?.status, 404, "{forged}");
    }
    let bodies = cell.arrived("tools/call");
    assert_eq!(bodies.len(), 1, "only its owner's call arrived");
    Ok(())
}

#[tokio::test]
async fn a_session_client_hears_of_changes_and_its_stream_ends_with_the_grant() -> Result<()> {
    let cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    let session = hello.header("mcp-session-id").to_owned();
    let open = http::client()
        .get(cell.gateway.url("/mcp"))
        .bearer_auth(&cell.token)
        .header("Accept", "text/event-stream")
        .header("Mcp-Session-Id", &session);
    let mut stream = EventStream::open(open).await?;
    cell.backend.await_streams(1, PATIENCE).await?;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"listen"}}}"#;
    cell.backend.push(
        scripted_revisions::LISTENING,
        &format!("event: message\ndata: {changed}\n\n"),
    );
    let (_, data) = stream.event(PATIENCE).await?;
    assert_eq!(
        data,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#
    );
    // A resource that is named later is asked for by a new subscription.
    let subscribe = mcp::message(2, "resources/subscribe", &json!({"uri": "file:///a"}));
    assert_eq!(cell.send(&session, &subscribe).await?.status, 200);
    eventually("a subscription to the resource", || {
        cell.arrived("subscriptions/listen").iter().any(|listen| {
            listen.json()["params"]["notifications"]["resourceSubscriptions"]
                == json!(["file:///a"])
        })
    })
    .await?;
    cell.backend.await_streams(1, PATIENCE).await?;

    cell.client.revoke(&cell.token).await?;
    assert!(stream.end(PATIENCE).await?, "cut instead of ended");
    cell.backend.await_streams(0, PATIENCE).await?;
    let refused = cell
        .send(&session, &mcp::message(3, "tools/list", &json!({})))
        .await?;
    assert_eq!(refused.status, 401);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_call_and_a_client_that_goes_end_the_call_at_a_stateless_backend() -> Result<()>
{
    let cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    let session = hello.header("mcp-session-id").to_owned();
    let slow = cell
        .post(&mcp::call(1, "slow", &json!({})))
        .header("Mcp-Session-Id", &session);
    let running = tokio::spawn(slow.send());
    cell.backend.await_streams(1, PATIENCE).await?;
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(cell.send(&session, &cancelled).await?.status, 202);
    cell.backend.await_streams(0, PATIENCE).await?;
    // It expects no response, and the backend is not blamed.
    let ended = running.await??;
    assert_eq!(ended.status(), 200);
    assert!(!ended.text().await?.contains("data:"), "a response");
    cell.gateway.logged("\"outcome\":\"cancelled\"").await?;

    let slow = cell
        .post(&mcp::call(2, "slow", &json!({})))
        .header("Mcp-Session-Id", &session);
    let running = tokio::spawn(slow.send());
    cell.backend.await_streams(1, PATIENCE).await?;
    running.abort();
    cell.backend.await_streams(0, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn parameters_are_mirrored_for_a_client_that_knows_nothing_of_it() -> Result<()> {
    let cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    let session = hello.header("mcp-session-id").to_owned();
    for id in 1..=2 {
        let call = mcp::call(id, "mirrored", &json!({"q": "us-west1"}));
        let reply = cell.send(&session, &call).await?;
        assert!(reply.json()["result"].is_object(), "{}", reply.text);
    }
    // Refused once; then the tools were asked for, and the second call needed no asking.
    assert_eq!(cell.arrived("tools/call").len(), 3);
    assert_eq!(cell.arrived("tools/list").len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_question_of_a_stateless_backend_reaches_a_session_client() -> Result<()> {
    let cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    let session = hello.header("mcp-session-id").to_owned();
    let call = cell
        .post(&mcp::call(1, "asks", &json!({})))
        .header("Mcp-Session-Id", &session);
    let mut stream = EventStream::open(call).await?;
    let (_, data) = stream.event(PATIENCE).await?;
    let question: Value = serde_json::from_str(&data)?;
    assert_eq!(question["method"], "elicitation/create");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Ada"}}});
    assert_eq!(cell.send(&session, &answer).await?.status, 202);
    let (_, data) = stream.event(PATIENCE).await?;
    assert!(data.contains(r#"\"action\":\"accept\""#), "{data}");
    assert!(data.contains(r#"\"requestState\":\"state-1\""#), "{data}");
    assert_eq!(serde_json::from_str::<Value>(&data)?["id"], 1);
    Ok(())
}

#[tokio::test]
async fn a_message_array_is_refused_where_it_would_have_to_be_translated() -> Result<()> {
    let cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    let session = hello.header("mcp-session-id").to_owned();
    let array = json!([
        mcp::message(1, "tools/list", &json!({})),
        mcp::message(2, "ping", &json!({}))
    ]);
    let request = http::client()
        .post(cell.gateway.url("/mcp"))
        .bearer_auth(&cell.token)
        .header("Content-Type", "application/json")
        .header("Mcp-Session-Id", session)
        .body(array.to_string());
    assert_eq!(http::send(request).await?.status, 400);
    Ok(())
}

// --- a client with sessions, a backend of HTTP+SSE ----------------------------------------------

#[tokio::test]
async fn a_session_client_uses_a_backend_of_http_sse() -> Result<()> {
    let mut cell = Cell::start("2024-11-05", scripted_revisions::http_sse).await?;
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    assert_eq!(hello.json()["result"]["serverInfo"]["name"], "scripted");
    let session = hello.header("mcp-session-id").to_owned();
    cell.backend.await_streams(1, PATIENCE).await?;
    let called = cell
        .send(&session, &mcp::call(5, "echo", &json!({"q": 1})))
        .await?;
    assert_eq!(mcp::response(&called)?["id"], 5);
    assert!(called.text.contains("\\\"q\\\":1"), "{}", called.text);
    assert_eq!(cell.arrived("tools/call")[0].path(), "/messages");

    // What is said unasked goes to the stream of the client.
    let open = http::client()
        .get(cell.gateway.url("/mcp"))
        .bearer_auth(&cell.token)
        .header("Mcp-Session-Id", &session);
    let mut stream = EventStream::open(open).await?;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    cell.backend
        .push(SSE_STREAM, &format!("event: message\ndata: {changed}\n\n"));
    assert_eq!(stream.event(PATIENCE).await?.1, changed);

    let ended = http::send(
        http::client()
            .delete(cell.gateway.url("/mcp"))
            .bearer_auth(&cell.token)
            .header("Mcp-Session-Id", &session),
    )
    .await?;
    assert_eq!(ended.status, 200);
    cell.backend.await_streams(0, PATIENCE).await?;

    // A held session does not survive the gateway; the client is told to begin anew.
    let hello = http::send(cell.post(&mcp::initialize())).await?;
    let session = hello.header("mcp-session-id").to_owned();
    cell.gateway.restart().await?;
    let lost = cell
        .send(&session, &mcp::message(6, "tools/list", &json!({})))
        .await?;
    assert_eq!(lost.status, 404, "{}", lost.text);
    Ok(())
}

#[tokio::test]
async fn a_held_stream_of_a_backend_ends_with_the_grant() -> Result<()> {
    let cell = Cell::start("2024-11-05", scripted_revisions::http_sse).await?;
    http::send(cell.post(&mcp::initialize())).await?;
    cell.backend.await_streams(1, PATIENCE).await?;
    cell.client.revoke(&cell.token).await?;
    cell.backend.await_streams(0, PATIENCE).await
}

#[tokio::test]
async fn held_sessions_are_bounded() -> Result<()> {
    let cell = Cell::start("2024-11-05", scripted_revisions::http_sse).await?;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let hello = http::send(cell.post(&mcp::initialize())).await?;
        sessions.push(hello.header("mcp-session-id").to_owned());
    }
    cell.backend.await_streams(16, PATIENCE).await?;
    let list = mcp::message(1, "tools/list", &json!({}));
    assert_eq!(cell.send(&sessions[0], &list).await?.status, 404);
    assert_eq!(cell.send(&sessions[19], &list).await?.status, 200);
    Ok(())
}

// --- who may fall back, does --------------------------------------------------------------------

#[tokio::test]
async fn a_client_that_knows_older_revisions_falls_back_byte_for_byte() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let discover = modern(1, "server/discover", json!({}));
    for _ in 0..2 {
        let refused = http::send(cell.stateless(&discover)).await?;
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert_eq!(
            refused.text,
            r#"{"error":{"code":-32000,"message":"Bad Request: no session"},"id":null,"jsonrpc":"2.0"}"#
        );
        let hello = http::send(cell.post(&mcp::initialize())).await?;
        assert_eq!(hello.status, 200);
        tokio::time::sleep(Duration::from_millis(2100)).await;
    }
    let arrived = cell.arrived("server/discover");
    assert_eq!(arrived[0].body, discover.to_string().into_bytes());
    assert_eq!(arrived.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_fall_back_is_answered_when_it_comes_again() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let discover = modern(1, "server/discover", json!({}));
    assert_eq!(http::send(cell.stateless(&discover)).await?.status, 400);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let answered = http::send(cell.stateless(&discover)).await?;
    assert_eq!(answered.status, 200, "{}", answered.text);
    assert_eq!(
        answered.json()["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    Ok(())
}

#[tokio::test]
async fn an_operator_may_fix_the_eras_and_answer_discover_at_once() -> Result<()> {
    let backend = Recorder::start(scripted_revisions::sessions).await?;
    let setup = Setup::default().more(&format!(
        "[[backend]]\nname = \"main\"\npath = \"/\"\nurl = \"{}\"\neras = [\"2025\"]\nanswer_discover = true\n",
        backend.url()
    ));
    // The setup's own backend stands where it does no harm.
    let gateway = Gateway::start(setup.mounted("other", "/other", &backend.url())).await?;
    let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    let cell = Cell {
        gateway,
        backend,
        client,
        token,
    };
    let answered = http::send(cell.stateless(&modern(1, "server/discover", json!({})))).await?;
    assert_eq!(answered.status, 200, "{}", answered.text);
    Ok(())
}
