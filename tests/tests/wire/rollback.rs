//! A new version that is set back once, and comes again: what was given by either counts with both.
//!
//! It takes the gateway of the version before, which `GATEWAY_EARLIER` names:
//! `GATEWAY_EARLIER=/path/to/gateway cargo test -p tests --test wire rollback -- --ignored`.
//! What earlier versions wrote is read without it (`recorded`).

use std::path::PathBuf;

use anyhow::{Context, Result};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::mcp::{initialize, send};
use tests::operator::done;

async fn set_back_and_come_again(store: StoreKind) -> Result<()> {
    let earlier = std::env::var_os("GATEWAY_EARLIER").context("GATEWAY_EARLIER names none")?;
    let earlier = PathBuf::from(earlier);
    let mut fixture =
        Fixture::with(store, |setup| setup.more("[tokens]\nrefresh = true\n")).await?;
    let client = fixture.client("Client").await?;
    let mut tokens: Vec<String> = Vec::new();
    let mut refresh: Option<String> = None;
    let mut revoked: Vec<String> = Vec::new();
    for program in [None, Some(earlier), None] {
        let which = if program.is_some() {
            "earlier"
        } else {
            "today's"
        };
        fixture.gateway.setup().program = program;
        fixture.gateway.restart().await?;
        for token in &tokens {
            let call = send(&fixture.url("/mcp"), token, &initialize()).await?;
            assert_eq!(call.status, 200, "a token, with {which} version");
        }
        for token in &revoked {
            let call = send(&fixture.url("/mcp"), token, &initialize()).await?;
            assert_eq!(call.status, 401, "a revoked token, with {which} version");
        }
        if let Some(token) = refresh.take() {
            let refreshed = client.refresh(&token).await?;
            assert_eq!(
                refreshed.status, 200,
                "a refresh token, with {which} version"
            );
        }
        let page = Browser::default()
            .visit(&client.authorization().url())
            .await?;
        assert!(
            page.password_form().is_ok(),
            "the app, with {which} version"
        );
        let given = client.connect(&fixture.owner).await?;
        let text = |member: &str| given[member].as_str().map(str::to_owned).context("a token");
        tokens.push(text("access_token")?);
        refresh = Some(text("refresh_token")?);
        let other = fixture
            .client(&format!("Taken back by {which} version"))
            .await?;
        revoked.push(other.sign_in(&fixture.owner).await?);
        let words = ["grants", "revoke", "--client", &other.client_id];
        done(&fixture.gateway, &words, "").await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the gateway of an earlier version: GATEWAY_EARLIER"]
async fn a_version_is_set_back_once_and_comes_again_on_the_embedded_store() -> Result<()> {
    set_back_and_come_again(StoreKind::Embedded).await
}

#[tokio::test]
#[ignore = "needs the gateway of an earlier version: GATEWAY_EARLIER"]
async fn a_version_is_set_back_once_and_comes_again_on_redis() -> Result<()> {
    set_back_and_come_again(StoreKind::Redis).await
}
