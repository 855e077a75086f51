//! Cursor.

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::http::get;
use tests::mcp;
use tests::oauth::OAuthClient;

use super::{by_document, server_metadata, sign_in, uses_tools};

const REDIRECTS: [&str; 3] = [
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "https://www.cursor.com/agents/mcp/oauth/callback",
    "http://localhost:8787/callback",
];

#[tokio::test]
async fn cursor_probes_the_path_and_then_the_root() -> Result<()> {
    let fixture = Fixture::start().await?;
    let at = "/.well-known/oauth-protected-resource";
    let path = get(&fixture.url(&format!("{at}/mcp"))).await?.json();
    assert_eq!(path["resource"], fixture.url("/mcp"));
    let root = get(&fixture.url(at)).await?.json();
    for resource in [path, root] {
        server_metadata(&fixture, &resource).await?;
    }
    Ok(())
}

#[tokio::test]
async fn cursor_registers_three_redirect_uris_at_once_and_may_use_each_without_a_state()
-> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata = json!({
        "client_name": "Cursor",
        "redirect_uris": REDIRECTS,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    let mut client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    for redirect in REDIRECTS {
        client.redirect_uri = redirect.into();
        let request = client.authorization().without("state");
        let token = sign_in(&fixture, &client, &request).await?;
        uses_tools(&fixture.url("/mcp"), &token).await?;
    }
    Ok(())
}

#[tokio::test]
async fn cursor_is_known_by_its_document() -> Result<()> {
    let fixture = Fixture::start().await?;
    for redirect in REDIRECTS {
        let client = by_document(
            &fixture,
            "https://cursor.com/oauth/mcp-client.json",
            redirect,
        );
        let token = sign_in(&fixture, &client, &client.authorization()).await?;
        uses_tools(&fixture.url("/mcp"), &token).await?;
    }
    Ok(())
}

#[tokio::test]
async fn cursor_falls_back_to_sse() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = by_document(
        &fixture,
        "https://cursor.com/oauth/mcp-client.json",
        REDIRECTS[0],
    );
    let request = client.authorization_for(&fixture.url("/sse"));
    let token = sign_in(&fixture, &client, &request).await?;
    let post = mcp::send(&fixture.url("/sse"), &token, &mcp::initialize()).await?;
    assert!([404, 405].contains(&post.status), "{}", post.status);
    let mut session = mcp::LegacySession::open(&fixture.url("/sse"), &token).await?;
    let hello = session.request(&mcp::initialize()).await?;
    assert!(hello["result"].is_object(), "{hello}");
    Ok(())
}
