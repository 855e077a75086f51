//! claude.ai, Claude Desktop and the mobile apps: one client on Anthropic's servers.

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::http::{self, ask};
use tests::mcp;
use tests::oauth::OAuthClient;

use super::{by_document, challenged, lists, server_metadata, sign_in, uses_tools};

const ID: &str = "https://claude.ai/oauth/mcp-oauth-client-metadata";
const REDIRECTS: [&str; 2] = [
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.com/api/mcp/auth_callback",
];

#[tokio::test]
async fn claude_knocks_with_a_post_and_finds_the_url_that_was_typed() -> Result<()> {
    let fixture = Fixture::start().await?;
    for path in ["/mcp", "/mcp/", "/sse"] {
        for method in ["POST", "GET", "HEAD"] {
            let resource = challenged(&fixture, method, path).await?;
            assert_eq!(resource["resource"], fixture.url(path), "{method}");
            let server = server_metadata(&fixture, &resource).await?;
            assert_eq!(server["client_id_metadata_document_supported"], true);
            assert!(lists(
                &server,
                "token_endpoint_auth_methods_supported",
                "none"
            ));
        }
    }
    Ok(())
}

#[tokio::test]
async fn claude_connects_with_either_of_its_redirect_uris() -> Result<()> {
    let fixture = Fixture::start().await?;
    for redirect in REDIRECTS {
        let client = by_document(&fixture, ID, redirect);
        let request = client
            .authorization()
            .with("scope", "mcp offline_access")
            .with("prompt", "consent");
        let token = sign_in(&fixture, &client, &request).await?;
        uses_tools(&fixture.url("/mcp"), &token).await?;
    }
    Ok(())
}

#[tokio::test]
async fn claude_connects_by_sse_after_a_post_that_is_not_found() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = by_document(&fixture, ID, REDIRECTS[0]);
    let request = client.authorization_for(&fixture.url("/sse"));
    let token = sign_in(&fixture, &client, &request).await?;
    let post = mcp::send(&fixture.url("/sse"), &token, &mcp::initialize()).await?;
    assert_eq!(post.status, 404, "the backend's own: {}", post.text);
    let mut session = mcp::LegacySession::open(&fixture.url("/sse"), &token).await?;
    let tools = session
        .request(&mcp::message(1, "tools/list", &json!({})))
        .await?;
    assert!(tools["result"]["tools"].is_array(), "{tools}");
    Ok(())
}

#[tokio::test]
async fn claude_registers_anew_on_every_connection_and_is_told_when_it_is_unknown() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata = json!({
        "client_name": "Claude",
        "redirect_uris": REDIRECTS,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "mcp offline_access",
    });
    let origin = fixture.gateway.origin();
    let first = OAuthClient::register_with(&origin, &metadata).await?;
    let again = OAuthClient::register_with(&origin, &metadata).await?;
    let token = sign_in(&fixture, &again, &again.authorization()).await?;
    uses_tools(&fixture.url("/mcp"), &token).await?;
    sign_in(&fixture, &first, &first.authorization()).await?;
    // What makes it register again: 401 `invalid_client`, in JSON.
    let mut stranger = first;
    stranger.client_id = "c_nobody-has-this-one".into();
    let reply = stranger.redeem("no-code", &"v".repeat(43)).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (401, "invalid_client")
    );
    Ok(())
}

#[tokio::test]
async fn claude_finds_the_endpoints_where_it_guesses_them() -> Result<()> {
    let fixture = Fixture::start().await?;
    // Without metadata it makes up these three on the MCP URL's origin.
    for (method, path) in [
        ("GET", "/authorize"),
        ("POST", "/token"),
        ("POST", "/register"),
    ] {
        let reply = ask(method, &fixture.url(path), &[]).await?;
        assert!(
            (400..=401).contains(&reply.status),
            "{method} {path}: {}",
            reply.status
        );
    }
    let resource = challenged(&fixture, "POST", "/mcp").await?;
    let server = server_metadata(&fixture, &resource).await?;
    for (member, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
    ] {
        assert_eq!(server[member], fixture.url(path));
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_was_dropped_is_a_404_and_claude_starts_another() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = by_document(&fixture, ID, REDIRECTS[0]);
    let token = sign_in(&fixture, &client, &client.authorization()).await?;
    let url = fixture.url("/mcp");
    let stale = mcp::post(&url, &token, &mcp::call(1, "look", &json!({})))
        .header("Mcp-Session-Id", "a-session-of-yesterday");
    assert_eq!(http::send(stale).await?.status, 404);
    uses_tools(&url, &token).await
}
