//! Visual Studio Code.

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::http::get;
use tests::oauth::OAuthClient;

use super::{by_document, challenged, server_metadata, sign_in, uses_tools};

const ID: &str = "https://vscode.dev/oauth/client-metadata.json";

#[tokio::test]
async fn vscode_finds_metadata_for_exactly_the_url_in_its_settings() -> Result<()> {
    let fixture = Fixture::start().await?;
    // Another `resource` than the URL is an error there, so each spelling has its own document.
    for path in ["/mcp", "/mcp/", "/sse"] {
        let resource = challenged(&fixture, "POST", path).await?;
        assert_eq!(resource["resource"], fixture.url(path));
        let address = fixture.url(&format!("/.well-known/oauth-protected-resource{path}"));
        assert_eq!(
            get(&address).await?.json(),
            resource,
            "by its well-known address"
        );
        server_metadata(&fixture, &resource).await?;
    }
    Ok(())
}

#[tokio::test]
async fn vscode_registers_four_redirect_uris_and_comes_back_on_another_port() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata = json!({
        "client_name": "Visual Studio Code",
        "client_uri": "https://code.visualstudio.com",
        // Of those that it can, those that the metadata lists: refresh is off here.
        "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
        "redirect_uris": [
            "https://insiders.vscode.dev/redirect",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
        ],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    });
    let mut client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    assert_eq!(
        client.registration["redirect_uris"],
        metadata["redirect_uris"]
    );
    for redirect in [
        "http://127.0.0.1:33418/",
        "http://127.0.0.1:51234/",
        "https://vscode.dev/redirect",
    ] {
        client.redirect_uri = redirect.into();
        let token = sign_in(&fixture, &client, &client.authorization()).await?;
        uses_tools(&fixture.url("/mcp"), &token).await?;
    }
    Ok(())
}

#[tokio::test]
async fn vscode_is_known_by_its_document() -> Result<()> {
    let fixture = Fixture::start().await?;
    for redirect in [
        "http://127.0.0.1:33418/",
        "http://127.0.0.1:40123/",
        "https://vscode.dev/redirect",
    ] {
        let client = by_document(&fixture, ID, redirect);
        let token = sign_in(&fixture, &client, &client.authorization()).await?;
        uses_tools(&fixture.url("/mcp"), &token).await?;
    }
    Ok(())
}
