//! Gemini CLI.

use anyhow::{Context, Result};
use serde_json::json;
use tests::mcp;
use tests::oauth::OAuthClient;
use tests::world::World;

use super::{challenged, server_metadata, sign_in, uses_tools};

/// What it registers and asks for after reading the metadata: every scope of the server.
async fn connected(world: &World, path: &str) -> Result<String> {
    let resource = challenged(world, "HEAD", path).await?;
    assert_eq!(
        resource["resource"],
        world.url(path),
        "or ResourceMismatchError"
    );
    let server = server_metadata(world, &resource).await?;
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
    let client = OAuthClient::register_with(&world.gateway.origin(), &metadata).await?;
    let request = client
        .authorization_for(&world.url(path))
        .with("scope", &scopes.join(" "));
    sign_in(world, &client, &request).await
}

#[tokio::test]
async fn gemini_begins_with_head_and_connects() -> Result<()> {
    let world = World::start().await?;
    let token = connected(&world, "/mcp").await?;
    uses_tools(&world.url("/mcp"), &token).await
}

#[tokio::test]
async fn gemini_falls_back_to_sse_on_a_404() -> Result<()> {
    let world = World::start().await?;
    let token = connected(&world, "/sse").await?;
    let post = mcp::send(&world.url("/sse"), &token, &mcp::initialize()).await?;
    assert_eq!(post.status, 404, "no other number makes it fall back");
    let mut session = mcp::LegacySession::open(&world.url("/sse"), &token).await?;
    let hello = session.request(&mcp::initialize()).await?;
    assert!(hello["result"].is_object(), "{hello}");
    Ok(())
}
