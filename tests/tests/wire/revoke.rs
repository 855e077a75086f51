//! `/revoke` (RFC 7009): dead at the next call, streams ended.

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::fixture::{Fixture, StoreKind};
use tests::http;
use tests::mcp::{self, LegacySession};
use tests::sse::EventStream;

async fn revocation_is_effective(store: StoreKind) -> Result<()> {
    let fixture = Fixture::on(store).await?;
    let (client, token) = fixture.signed_in().await?;
    let other = fixture.client("Bystander").await?;
    let kept = other.sign_in(&fixture.owner).await?;
    let legacy = LegacySession::open(&fixture.url("/sse"), &token).await?;
    let mut legacy = legacy.stream;
    let mut stream =
        EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(&token)).await?;
    let mut kept_stream =
        EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(&kept)).await?;
    fixture
        .backend
        .await_streams(3, Duration::from_secs(5))
        .await?;

    let start = Instant::now();
    let reply = client.revoke(&token).await?;
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    let refused = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
    assert_eq!(refused.status, 401, "the next call");
    assert!(
        refused
            .header("www-authenticate")
            .contains("error=\"invalid_token\""),
        "{}",
        refused.header("www-authenticate")
    );
    assert!(
        legacy.end(Duration::from_secs(5)).await?,
        "the SSE stream was cut instead of ended"
    );
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "the GET stream was cut instead of ended"
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "took {:?}",
        start.elapsed()
    );
    fixture
        .backend
        .await_streams(1, Duration::from_secs(2))
        .await?;

    assert_eq!(
        mcp::send(&fixture.url("/mcp"), &kept, &mcp::initialize())
            .await?
            .status,
        200,
        "another client's token died too"
    );
    fixture.backend.push(
        tests::scripted_mcp::MCP_STREAM,
        "data: {\"still\":\"here\"}\n\n",
    );
    assert_eq!(
        kept_stream.event(Duration::from_secs(5)).await?.1,
        "{\"still\":\"here\"}"
    );
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_is_dead_at_the_next_call_and_its_streams_end_on_the_embedded_store()
-> Result<()> {
    revocation_is_effective(StoreKind::Embedded).await
}

#[tokio::test]
async fn a_revoked_token_is_dead_at_the_next_call_and_its_streams_end_on_redis() -> Result<()> {
    revocation_is_effective(StoreKind::Redis).await
}

#[tokio::test]
async fn once_a_revocation_is_acknowledged_no_call_reaches_the_backend() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let fixture = Fixture::on(store).await?;
        let client = fixture.client("Client").await?;
        for round in 0..8 {
            let token = client.sign_in(&fixture.owner).await?;
            assert_eq!(client.revoke(&token).await?.status, 200);
            let late = mcp::call(1, "echo", &serde_json::json!({"marker": "TOO-LATE"}));
            let reply = mcp::send(&fixture.url("/mcp"), &token, &late).await?;
            assert_eq!(reply.status, 401, "round {round} on {store:?}");
            let arrived = fixture.backend.marked("TOO-LATE");
            assert!(
                arrived.is_empty(),
                "round {round} on {store:?}: {arrived:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_token_is_revoked_with_the_same_answer() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    for token in ["never issued", "x", &"y".repeat(3000)] {
        let reply = client.revoke(token).await?;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    }
    let reply =
        http::post_form(&fixture.url("/revoke"), &[("client_id", &client.client_id)]).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "invalid_request")
    );
    let reply = http::post_form(
        &fixture.url("/revoke"),
        &[("token", "x"), ("client_id", "nobody")],
    )
    .await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (401, "invalid_client")
    );
    Ok(())
}

#[tokio::test]
async fn a_client_cannot_revoke_the_token_of_another() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let other = fixture.client("Other").await?;
    let reply = other.revoke(&token).await?;
    assert_eq!(reply.status, 200);
    assert_eq!(
        mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize())
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_revocation_outlives_a_crash() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (client, token) = fixture.signed_in().await?;
    assert_eq!(client.revoke(&token).await?.status, 200);
    fixture.gateway.crash_and_restart().await?;
    assert_eq!(
        mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize())
            .await?
            .status,
        401
    );
    Ok(())
}
