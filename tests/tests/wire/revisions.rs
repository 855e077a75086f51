//! Clients of one revision family in front of backends of another: what arrives at the backend, what comes
//! back, and what ends it. Backends are scripted, so that each header is seen; real ones are in
//! `tests/cells`.

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
    let wanted = format!("\"eras\":\"{families}\"");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !gateway.log().iter().any(|line| line.contains(&wanted)) {
        ensure!(
            Instant::now() < deadline,
            "{families} was not found out\n{}",
            gateway.log().join("\n")
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
    drop(running);

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

// --- a client of HTTP+SSE -----------------------------------------------------------------------

#[tokio::test]
async fn a_refused_call_is_told_on_a_stream_that_the_gateway_holds() -> Result<()> {
    for (families, script) in [
        (
            "2025",
            scripted_revisions::sessions as fn(&Recorded) -> Answer,
        ),
        ("2026-07-28", scripted_revisions::stateless),
    ] {
        let cell = Cell::start(families, script).await?;
        let reader = cell
            .client
            .sign_in_choosing(&Owner::alice(), |form| form.choose("tools", "today"))
            .await?;
        let mut legacy = LegacySession::open(&cell.gateway.url("/sse"), &reader).await?;
        legacy.request(&mcp::initialize()).await?;
        let refused = legacy.request(&mcp::call(3, "other", &json!({}))).await?;
        assert_eq!(refused["result"]["isError"], true, "{families}: {refused}");
        assert!(cell.arrived("tools/call").is_empty());
        let pong = legacy.request(&mcp::message(4, "ping", &json!({}))).await?;
        assert_eq!(pong["id"], 4, "{families}: {pong}");
    }
    Ok(())
}

#[tokio::test]
async fn an_http_sse_client_uses_a_backend_with_sessions() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let mut legacy = LegacySession::open(&cell.gateway.url("/sse"), &cell.token).await?;
    let hello = legacy.request(&mcp::initialize()).await?;
    assert_eq!(hello["result"]["serverInfo"]["name"], "scripted");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(legacy.post(&initialized).await?.status, 202);
    let called = legacy
        .request(&mcp::call(3, "echo", &json!({"q": 2})))
        .await?;
    assert!(called["result"].is_object(), "{called}");
    let arrived = &cell.arrived("tools/call")[0];
    assert_eq!(arrived.header("mcp-session-id"), Some(SESSION));
    assert_eq!(arrived.header("mcp-protocol-version"), Some(mcp::REVISION));
    assert_eq!(arrived.path(), "/mcp");

    cell.backend.await_streams(1, PATIENCE).await?;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    cell.backend
        .push(MCP_STREAM, &format!("event: message\ndata: {changed}\n\n"));
    assert_eq!(legacy.stream.event(PATIENCE).await?.1, changed);

    let LegacySession { stream, .. } = legacy;
    drop(stream);
    eventually("the session to be ended", || {
        cell.backend.requests().iter().any(|request| {
            request.method == "DELETE"
                && request.header("x-forwarded-grant").is_some()
                && request.header("mcp-session-id") == Some(SESSION)
        })
    })
    .await
}

#[tokio::test]
async fn an_http_sse_client_uses_a_stateless_backend_until_its_grant_ends() -> Result<()> {
    let cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    let mut legacy = LegacySession::open(&cell.gateway.url("/sse"), &cell.token).await?;
    let early = legacy
        .request(&mcp::message(9, "tools/list", &json!({})))
        .await?;
    assert!(early["error"].is_object(), "{early}");
    legacy.request(&mcp::initialize()).await?;
    let listed = legacy
        .request(&mcp::message(4, "tools/list", &json!({})))
        .await?;
    assert_eq!(listed["result"]["tools"][0]["name"], "mirrored");
    let unknown = legacy
        .request(&mcp::message(5, "no/such", &json!({})))
        .await?;
    assert_eq!(unknown["error"]["code"], -32601);

    let other = OAuthClient::register(&cell.gateway.origin(), "Another").await?;
    let stolen = other.sign_in(&Owner::alice()).await?;
    let reply = mcp::send(&legacy.endpoint, &stolen, &mcp::initialize()).await?;
    assert_eq!(reply.status, 404, "{}", reply.text);

    cell.client.revoke(&cell.token).await?;
    assert!(legacy.stream.end(PATIENCE).await?, "cut instead of ended");
    assert_eq!(legacy.post(&mcp::initialize()).await?.status, 401);
    Ok(())
}

// --- a client of 2026-07-28 ---------------------------------------------------------------------

#[tokio::test]
async fn a_stateless_client_uses_a_backend_with_sessions() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let params = json!({"name": "echo", "arguments": {"q": 1.0}});
    for id in [4, 4, 5] {
        let reply = http::send(cell.stateless(&modern(id, "tools/call", params.clone()))).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let reply = reply.json();
        assert_eq!(reply["id"], id);
        assert_eq!(reply["result"]["resultType"], "complete");
        assert_eq!(
            reply["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
            "scripted"
        );
    }
    let listed = http::send(cell.stateless(&modern(6, "tools/list", json!({})))).await?;
    assert_eq!(listed.json()["result"]["cacheScope"], "private");
    assert_eq!(listed.json()["result"]["ttlMs"], 0);

    assert_eq!(cell.arrived("initialize").len(), 1, "one session is shared");
    let calls = cell.arrived("tools/call");
    let ids: std::collections::HashSet<String> = calls
        .iter()
        .map(|call| call.json()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 3, "ids do not meet");
    let arrived = &calls[0];
    assert_eq!(arrived.header("mcp-session-id"), Some(SESSION));
    assert_eq!(arrived.header("mcp-protocol-version"), Some("2025-11-25"));
    assert_eq!(arrived.header("mcp-method"), None);
    let meta = &arrived.json()["params"]["_meta"];
    assert_eq!(
        meta.as_object().map(serde_json::Map::len),
        Some(1),
        "{meta}"
    );
    assert_ne!(meta["progressToken"], "mine");
    Ok(())
}

#[tokio::test]
async fn what_is_not_of_2026_07_28_is_refused_as_it_says() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let bare = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let cases = [
        (bare, 400, -32602),
        (modern(2, "ping", json!({})), 404, -32601),
        (
            modern(3, "logging/setLevel", json!({"level": "info"})),
            404,
            -32601,
        ),
        (modern(4, "no/such", json!({})), 404, -32601),
        (
            modern(5, "tools/call", json!({"name": "a", "requestState": "x~y"})),
            200,
            -32602,
        ),
    ];
    for (body, status, code) in cases {
        let reply = http::send(cell.stateless(&body)).await?;
        assert_eq!(reply.status, status, "{body}: {}", reply.text);
        assert_eq!(reply.json()["error"]["code"], code, "{}", reply.text);
        assert_eq!(reply.json()["id"], body["id"]);
    }
    let mut later = modern(6, "tools/list", json!({}));
    later["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2027-01-01");
    let reply = http::send(
        cell.stateless(&later)
            .header("MCP-Protocol-Version", "2027-01-01"),
    )
    .await?;
    assert_eq!(reply.status, 400, "{}", reply.text);
    Ok(())
}

#[tokio::test]
async fn a_session_that_the_backend_forgot_is_remade_without_a_word() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let list = modern(1, "tools/list", json!({}));
    assert_eq!(http::send(cell.stateless(&list)).await?.status, 200);
    cell.backend.play(|request| {
        let message = request.json();
        if message["method"] == "initialize" {
            return Answer::json(200, &scripted_mcp::reply(&message))
                .with("Mcp-Session-Id", "second");
        }
        match request.header("mcp-session-id") {
            Some("second") => scripted_mcp::answer(request),
            _ => Answer::json(404, &json!({"error": "no such session"})),
        }
    });
    let reply = http::send(cell.stateless(&list)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.json()["result"]["tools"].is_array());
    Ok(())
}

#[tokio::test]
async fn a_stateless_client_that_goes_cancels_its_call() -> Result<()> {
    let cell = Cell::start("2025", |request| match request.json()["method"].as_str() {
        Some("tools/call") => Answer::events(vec![
            tests::recorder::Step::Send(": begun\n\n".into()),
            tests::recorder::Step::Live("slow".into()),
        ]),
        _ => scripted_revisions::sessions(request),
    })
    .await?;
    let call = cell.stateless(&modern(1, "tools/call", json!({"name": "slow"})));
    let running = tokio::spawn(call.send());
    cell.backend.await_streams(1, PATIENCE).await?;
    running.abort();
    cell.backend.await_streams(0, PATIENCE).await?;
    eventually("the cancellation", || {
        let calls = cell.arrived("tools/call");
        cell.arrived("notifications/cancelled")
            .iter()
            .any(|told| told.json()["params"]["requestId"] == calls[0].json()["id"])
    })
    .await
}

#[tokio::test]
async fn a_stateless_client_hears_progress_and_is_asked_over_http_sse() -> Result<()> {
    let cell = Cell::start("2024-11-05", |request| {
        let message = request.json();
        let event = |message: &Value| format!("event: message\ndata: {message}\n\n");
        match message["method"].as_str() {
            Some("tools/call") => {
                let token = &message["params"]["_meta"]["progressToken"];
                let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
                let asks = json!({"jsonrpc": "2.0", "id": format!("ask-{}", message["id"]), "method": "elicitation/create", "params": {"message": "Who?"}});
                Answer::Push(202, SSE_STREAM.into(), event(&progress) + &event(&asks))
            }
            // The answer to the question: what it says is the call's result.
            None if message["id"].as_str().is_some_and(|id| id.starts_with("ask-")) => {
                let call: u64 = message["id"].as_str().and_then(|id| id[4..].parse().ok()).unwrap_or_default();
                let result = json!({"jsonrpc": "2.0", "id": call, "result": {"content": [{"type": "text", "text": message["result"]["content"]["name"]}]}});
                Answer::Push(202, SSE_STREAM.into(), event(&result))
            }
            _ => scripted_revisions::http_sse(request),
        }
    })
    .await?;
    let call = modern(1, "tools/call", json!({"name": "greet"}));
    let mut stream = EventStream::open(cell.stateless(&call)).await?;
    let progress: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    assert_eq!(progress["params"]["progressToken"], "mine");
    let asked: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    let asked = &asked["result"];
    assert_eq!(asked["resultType"], "input_required");
    let (name, request) = asked["inputRequests"]
        .as_object()
        .and_then(|requests| requests.iter().next())
        .expect("it asks");
    assert_eq!(request["method"], "elicitation/create");

    let answers = json!({name: {"action": "accept", "content": {"name": "Ada"}}});
    let retry = |state: &Value, tool: &str| {
        modern(
            2,
            "tools/call",
            json!({"name": tool, "inputResponses": answers, "requestState": state}),
        )
    };
    let state = &asked["requestState"];
    // It belongs to this call, this client and nobody else.
    let other = http::send(cell.stateless(&retry(state, "erase"))).await?;
    assert_eq!(other.json()["error"]["code"], -32602, "{}", other.text);
    let reply = http::send(cell.stateless(&retry(state, "greet"))).await?;
    let reply = mcp::response(&reply)?;
    assert_eq!(reply["id"], 2);
    assert_eq!(reply["result"]["content"][0]["text"], "Ada");
    let again = http::send(cell.stateless(&retry(state, "greet"))).await?;
    assert_eq!(again.json()["error"]["code"], -32602, "{}", again.text);
    Ok(())
}

// --- limited tokens -----------------------------------------------------------------------------

/// The same token, for this tool alone.
fn narrowed(token: &str, tool: &str) -> Result<String> {
    let check = format!("check if tool(\"{tool}\")");
    Ok(UnverifiedBiscuit::from_base64(token)?
        .append(BlockBuilder::new().code(check)?)?
        .to_base64()?)
}

/// Its tool `greet` asks for a name before it answers; over HTTP+SSE or within a session.
fn greeter(request: &Recorded) -> Answer {
    let message = request.json();
    let event = |message: &Value| format!("event: message\ndata: {message}\n\n");
    let is_legacy = request.path() == "/messages";
    match (request.method.as_str(), message["method"].as_str()) {
        ("POST", Some("tools/call")) => {
            let asks = json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {"message": "Who?"}});
            if is_legacy {
                Answer::Push(202, SSE_STREAM.into(), event(&asks))
            } else {
                Answer::events(vec![Step::Send(event(&asks)), Step::Live("greet".into())])
            }
        }
        ("POST", None) if message["id"] == 7 => {
            let name = json!({"content": [{"type": "text", "text": message["result"]["content"]["name"]}]});
            let result = event(&json!({"jsonrpc": "2.0", "id": 1, "result": name}));
            let topic = if is_legacy { SSE_STREAM } else { "greet" };
            Answer::Push(202, topic.into(), result)
        }
        _ => scripted_mcp::answer(request),
    }
}

fn named(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": "Ada"}}})
}

#[tokio::test]
async fn a_limited_session_client_is_asked_across_eras() -> Result<()> {
    for (families, tool) in [("2026-07-28", "asks"), ("2024-11-05", "greet")] {
        let mut cell = Cell::start(families, move |request| match families {
            "2026-07-28" => scripted_revisions::stateless(request),
            _ if request.path() == "/mcp" => scripted_revisions::http_sse(request),
            _ => greeter(request),
        })
        .await?;
        cell.token = narrowed(&cell.token, tool)?;
        let hello = http::send(cell.post(&mcp::initialize())).await?;
        let capabilities = &hello.json()["result"]["capabilities"];
        assert!(capabilities["tools"].is_object(), "{}", hello.text);
        assert!(
            capabilities
                .get("resources")
                .is_none_or(|it| *it == json!({}))
        );
        let session = hello.header("mcp-session-id").to_owned();
        let call = cell
            .post(&mcp::call(1, tool, &json!({})))
            .header("Mcp-Session-Id", &session);
        let mut stream = EventStream::open(call).await?;
        let question: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
        assert_eq!(question["method"], "elicitation/create", "{families}");
        // What was not asked, and in no other session, goes no further.
        let again = http::send(cell.post(&mcp::initialize())).await?;
        let other = again.header("mcp-session-id").to_owned();
        for (session, id) in [(&session, &json!(7)), (&other, &question["id"])] {
            assert_eq!(cell.send(session, &named(id)).await?.status, 202);
        }
        let reply = cell.send(&session, &named(&question["id"])).await?;
        assert_eq!(reply.status, 202, "{families}: {}", reply.text);
        let (_, data) = stream.event(PATIENCE).await?;
        assert!(data.contains("Ada"), "{families}: {data}");
        assert_eq!(serde_json::from_str::<Value>(&data)?["id"], 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_limited_client_of_http_sse_is_asked_across_eras() -> Result<()> {
    for (families, tool) in [("2026-07-28", "asks"), ("2025", "greet")] {
        let mut cell = Cell::start(families, move |request| match families {
            "2026-07-28" => scripted_revisions::stateless(request),
            _ if request.method == "POST" && request.header("mcp-session-id") == Some(SESSION) => {
                greeter(request)
            }
            _ => scripted_revisions::sessions(request),
        })
        .await?;
        cell.token = narrowed(&cell.token, tool)?;
        let mut legacy = LegacySession::open(&cell.gateway.url("/sse"), &cell.token).await?;
        legacy.request(&mcp::initialize()).await?;
        let called = mcp::call(1, tool, &json!({}));
        assert_eq!(legacy.post(&called).await?.status, 202);
        let question: Value = serde_json::from_str(&legacy.stream.event(PATIENCE).await?.1)?;
        assert_eq!(question["method"], "elicitation/create", "{families}");
        for id in [&json!(7), &question["id"]] {
            assert_eq!(legacy.post(&named(id)).await?.status, 202, "{families}");
        }
        let (_, data) = legacy.stream.event(PATIENCE).await?;
        assert!(data.contains("Ada"), "{families}: {data}");
    }
    Ok(())
}

#[tokio::test]
async fn a_limited_stateless_client_is_asked_as_it_is_and_across_eras() -> Result<()> {
    for (families, tool) in [("2026-07-28", "asks"), ("2024-11-05", "greet")] {
        let mut cell = Cell::start(families, move |request| match families {
            "2026-07-28" => scripted_revisions::stateless(request),
            _ if request.path() == "/mcp" => scripted_revisions::http_sse(request),
            // The gateway's own requests have ids of their own.
            _ => match request.json()["method"].as_str() {
                Some("tools/call") => {
                    let asks = json!({"jsonrpc": "2.0", "id": format!("ask-{}", request.json()["id"]), "method": "elicitation/create", "params": {"message": "Who?"}});
                    Answer::Push(202, SSE_STREAM.into(), format!("data: {asks}\n\n"))
                }
                None if request.method == "POST" => {
                    let message = request.json();
                    let call = message["id"].as_str().and_then(|id| id.strip_prefix("ask-"));
                    let call: u64 = call.and_then(|id| id.parse().ok()).unwrap_or_default();
                    let result = json!({"jsonrpc": "2.0", "id": call, "result": {"content": [{"type": "text", "text": message["result"]["content"]["name"]}]}});
                    Answer::Push(202, SSE_STREAM.into(), format!("data: {result}\n\n"))
                }
                _ => scripted_revisions::http_sse(request),
            },
        })
        .await?;
        cell.token = narrowed(&cell.token, tool)?;
        let call = modern(1, "tools/call", json!({"name": tool}));
        let reply = http::send(cell.stateless(&call)).await?;
        let asked = mcp::response(&reply)?["result"].clone();
        assert_eq!(asked["resultType"], "input_required", "{families}: {asked}");
        let requests = asked["inputRequests"].as_object();
        let (name, _) = requests.and_then(|all| all.iter().next()).expect("it asks");
        let retry = |tool: &str| {
            let answers = json!({name: {"action": "accept", "content": {"name": "Ada"}}});
            let state = &asked["requestState"];
            let params = json!({"name": tool, "inputResponses": answers, "requestState": state});
            modern(2, "tools/call", params)
        };
        let other = http::send(cell.stateless(&retry("erase"))).await?;
        assert_eq!(other.json()["result"]["isError"], true, "{}", other.text);
        let reply = http::send(cell.stateless(&retry(tool))).await?;
        let reply = mcp::response(&reply)?;
        assert!(
            reply["result"].to_string().contains("Ada"),
            "{families}: {reply}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_limited_stateless_client_listens_to_changes_of_its_tools_alone() -> Result<()> {
    let mut cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    cell.token = narrowed(&cell.token, "asks")?;
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": ["file:///etc/passwd"],
    });
    let mut body = modern(6, "subscriptions/listen", json!({"notifications": wanted}));
    body["params"]["Notifications"] = wanted;
    let mut stream = EventStream::open(cell.stateless(&body)).await?;
    let acknowledged: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    let left = json!({"toolsListChanged": true});
    assert_eq!(acknowledged["params"]["notifications"], left);
    let arrived = cell.arrived("subscriptions/listen")[0].json();
    let meta = &body["params"]["_meta"];
    assert_eq!(
        arrived["params"],
        json!({"_meta": meta, "notifications": left})
    );
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    cell.backend.push(
        scripted_revisions::LISTENING,
        &format!("event: message\ndata: {changed}\n\n"),
    );
    assert_eq!(stream.event(PATIENCE).await?.1, changed);
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
