//! A session id is not authentication (V-SESS): it works for the grant that opened
//! it, on the backend that made it, and for nobody else.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{self, LegacySession, call, open_session, send};
use tests::oauth::OAuthClient;
use tests::recorder::Recorder;
use tests::scripted_mcp::{self, MCP_STREAM, SESSION};
use tests::sse::EventStream;

#[tokio::test]
async fn another_clients_session_is_unknown_on_every_method_and_its_owner_notices_nothing()
-> Result<()> {
    let fixture = Fixture::start().await?;
    let owners = fixture
        .client("The session's client")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let thiefs = fixture
        .client("Another client")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let url = fixture.url("/mcp");
    let session = open_session(&url, &owners).await?;
    let mut stream = EventStream::open(
        http::client()
            .get(&url)
            .bearer_auth(&owners)
            .header("Mcp-Session-Id", &session),
    )
    .await?;
    let attempts = [
        (
            "POST",
            mcp::post(
                &url,
                &thiefs,
                &call(1, "echo", &json!({"marker": "STOLEN"})),
            )
            .header("Mcp-Session-Id", &session),
        ),
        (
            "GET",
            http::client()
                .get(&url)
                .bearer_auth(&thiefs)
                .header("Accept", "text/event-stream")
                .header("Mcp-Session-Id", &session)
                .timeout(Duration::from_secs(3)),
        ),
        (
            "GET, resumed",
            http::client()
                .get(&url)
                .bearer_auth(&thiefs)
                .header("Accept", "text/event-stream")
                .header("Mcp-Session-Id", &session)
                .header("Last-Event-ID", "1")
                .timeout(Duration::from_secs(3)),
        ),
        (
            "DELETE",
            http::client()
                .delete(&url)
                .bearer_auth(&thiefs)
                .header("Mcp-Session-Id", &session),
        ),
    ];
    let before = fixture.backend.requests().len();
    for (what, request) in attempts {
        let reply = http::send(request).await?;
        assert!(
            [403, 404].contains(&reply.status),
            "{what}: {}",
            reply.status
        );
    }
    assert_eq!(
        fixture.backend.requests().len(),
        before,
        "an attempt reached the backend"
    );
    fixture.backend.push(MCP_STREAM, "data: undisturbed\n\n");
    assert_eq!(stream.event(Duration::from_secs(3)).await?.1, "undisturbed");
    let own =
        mcp::post(&url, &owners, &call(2, "echo", &json!({}))).header("Mcp-Session-Id", &session);
    assert_eq!(http::send(own).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_session_id_nobody_was_given_is_unknown() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let before = fixture.backend.marked("STOLEN").len();
    for id in ["made-up", SESSION, "", "../x", &"s".repeat(4000)] {
        let request = mcp::post(
            &fixture.url("/mcp"),
            &token,
            &call(1, "echo", &json!({"marker": "STOLEN"})),
        )
        .header("Mcp-Session-Id", id);
        let reply = http::send(request).await?;
        assert!(
            [400, 403, 404].contains(&reply.status),
            "{id:?}: {}",
            reply.status
        );
    }
    assert_eq!(fixture.backend.marked("STOLEN").len(), before);
    Ok(())
}

#[tokio::test]
async fn another_clients_sse_session_takes_no_messages() -> Result<()> {
    let fixture = Fixture::start().await?;
    let owners = fixture
        .client("The session's client")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let thiefs = fixture
        .client("Another client")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let mut session = LegacySession::open(&fixture.url("/sse"), &owners).await?;
    let body = call(1, "echo", &json!({"marker": "STOLEN"}));
    let reply = send(&session.endpoint, &thiefs, &body).await?;
    assert!([403, 404].contains(&reply.status), "{}", reply.status);
    let made_up = fixture.url("/messages?sessionId=made-up");
    let reply = send(&made_up, &thiefs, &body).await?;
    assert!([403, 404].contains(&reply.status), "{}", reply.status);
    assert!(fixture.backend.marked("STOLEN").is_empty());
    let answer = session
        .request(&call(2, "echo", &json!({"mine": true})))
        .await?;
    assert_eq!(answer["id"], 2);
    Ok(())
}

#[tokio::test]
async fn a_session_of_one_backend_is_unknown_at_another() -> Result<()> {
    let (one, two) = (
        Recorder::start(scripted_mcp::answer).await?,
        Recorder::start(scripted_mcp::answer).await?,
    );
    let gateway = Gateway::start(Setup::default().mounted("one", "/one", &one.url()).mounted(
        "two",
        "/two",
        &two.url(),
    ))
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let first = client
        .sign_in_for(&Owner::alice(), &gateway.url("/one/mcp"))
        .await?;
    let second = client
        .sign_in_for(&Owner::alice(), &gateway.url("/two/mcp"))
        .await?;
    let session = open_session(&gateway.url("/one/mcp"), &first).await?;
    let request = mcp::post(
        &gateway.url("/two/mcp"),
        &second,
        &call(1, "echo", &json!({"marker": "STOLEN"})),
    )
    .header("Mcp-Session-Id", &session);
    let reply = http::send(request).await?;
    assert!([403, 404].contains(&reply.status), "{}", reply.status);
    assert!(two.marked("STOLEN").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_session_ends_with_its_grant() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let first = client.sign_in(&fixture.owner).await?;
    let url = fixture.url("/mcp");
    let session = open_session(&url, &first).await?;
    assert_eq!(client.revoke(&first).await?.status, 200);
    let reply = http::send(
        mcp::post(&url, &first, &call(1, "echo", &json!({}))).header("Mcp-Session-Id", &session),
    )
    .await?;
    assert_eq!(reply.status, 401);
    Ok(())
}
