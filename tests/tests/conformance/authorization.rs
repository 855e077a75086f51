//! Authorization server scenarios: the gateway passes all of them, the browser's part
//! through the real login and consent pages.

use anyhow::{Context, Result};
use serde_json::json;
use tests::browser::Browser;
use tests::fixture::Fixture;
use tests::http;
use tests::oauth::OAuthClient;
use tests::program::free_port;
use url::Url;

use crate::suite::{Suite, count};

#[tokio::test]
async fn the_gateway_conforms_as_an_authorization_server() -> Result<()> {
    let fixture = Fixture::start().await?;
    let port = free_port().to_string();
    let metadata = json!({
        "client_name": "Conformance",
        "redirect_uris": [format!("http://127.0.0.1:{port}/callback")],
        "token_endpoint_auth_method": "none",
    });
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    let issuer = fixture.gateway.issuer();
    let resource = fixture.url("/mcp");
    let suite = Suite::start(&[
        "authorization",
        "--url",
        &issuer,
        "--client-id",
        &client.client_id,
        "--resource",
        &resource,
        "--port",
        &port,
    ])?;
    let asked = format!("{issuer}/authorize?");
    let url = suite
        .line(|line| line.trim().starts_with(&asked))
        .await
        .context("no authorization URL was printed")?;

    let mut browser = Browser::default();
    let login = browser.visit(&Url::parse(url.trim())?).await?;
    let consent = browser
        .log_in(&login, &fixture.owner.name, &fixture.owner.password)
        .await?;
    let callback = browser
        .answer(&consent, "Allow")
        .await?
        .location()
        .context("no redirect to the client")?;
    http::get(callback.as_str()).await?;

    let (code, found) = suite.end().await?;
    assert_eq!(code, 0, "{found:#?}");
    assert_eq!(found.len(), 2, "both scenarios ran: {found:#?}");
    assert_eq!(
        count(&found, "FAILURE") + count(&found, "WARNING"),
        0,
        "{found:#?}"
    );
    assert!(count(&found, "SUCCESS") >= 3, "{found:#?}");
    Ok(())
}
