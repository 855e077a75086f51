//! Clients of HTTP+SSE, in front of backends of every revision.

use super::*;

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

#[tokio::test]
async fn a_stream_ends_with_a_session_that_the_backend_forgot_so_that_its_client_begins_anew()
-> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let mut legacy = LegacySession::open(&cell.gateway.url("/sse"), &cell.token).await?;
    legacy.request(&mcp::initialize()).await?;
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(legacy.post(&initialized).await?.status, 202);
    cell.backend.play(|request| {
        if request.header("mcp-session-id").is_some() {
            return Answer::json(404, &json!({"error": "no such session"}));
        }
        scripted_revisions::sessions(request)
    });
    let lost = legacy.request(&mcp::call(3, "echo", &json!({}))).await?;
    assert_eq!(lost["error"]["code"], -32603, "{lost}");
    assert!(legacy.stream.end(PATIENCE).await?, "cut instead of ended");

    cell.backend.play(scripted_revisions::sessions);
    let mut again = LegacySession::open(&cell.gateway.url("/sse"), &cell.token).await?;
    again.request(&mcp::initialize()).await?;
    let called = again.request(&mcp::call(4, "echo", &json!({}))).await?;
    assert!(called["result"].is_object(), "{called}");
    Ok(())
}
