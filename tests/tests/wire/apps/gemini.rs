//! Gemini CLI.

use anyhow::{Context, Result};
use serde_json::json;
use tests::fixture::Fixture;
use tests::mcp;
use tests::oauth::OAuthClient;

use super::{challenged, server_metadata, sign_in, uses_tools};

/// What it registers and asks for after reading the metadata: every scope of the server.
async fn connected(fixture: &Fixture, path: &str) -> Result<String> {
    let resource = challenged(fixture, "HEAD", path).await?;
    assert_eq!(
        resource["resource"],
        fixture.url(path),
        "or ResourceMismatchError"
    );
    let server = server_metadata(fixture, &resource).await?;
    let scopes = server["scopes_supported"].as_array().context("no scopes")?;
    let scopes: Vec<&str> = scopes.iter().filter_map(|scope| scope.as_str()).collect();
    let metadata = json!({
        "client_name": "Gemini CLI MCP Client",
        "redirect_uris": ["http://localhost:7777/oauth/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": scopes.join(" "),
    });
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    let request = client
        .authorization_for(&fixture.url(path))
        .with("scope", &scopes.join(" "));
    sign_in(fixture, &client, &request).await
}

#[tokio::test]
async fn gemini_begins_with_head_and_connects() -> Result<()> {
    let fixture = Fixture::start().await?;
    let token = connected(&fixture, "/mcp").await?;
    uses_tools(&fixture.url("/mcp"), &token).await
}

#[tokio::test]
async fn gemini_falls_back_to_sse_on_a_404() -> Result<()> {
    let fixture = Fixture::start().await?;
    let token = connected(&fixture, "/sse").await?;
    let post = mcp::send(&fixture.url("/sse"), &token, &mcp::initialize()).await?;
    assert_eq!(post.status, 404, "no other number makes it fall back");
    let mut session = mcp::LegacySession::open(&fixture.url("/sse"), &token).await?;
    let hello = session.request(&mcp::initialize()).await?;
    assert!(hello["result"].is_object(), "{hello}");
    Ok(())
}
