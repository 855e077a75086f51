//! A store that was wiped has forgotten what was revoked: every token of before is void at once,
//! however young it is, and new ones count at once.

use anyhow::Result;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::mcp::{initialize, message, send};
use tests::operator::{command, done};

async fn status(fixture: &Fixture, token: &str) -> Result<u16> {
    Ok(send(&fixture.url("/mcp"), token, &initialize())
        .await?
        .status)
}

/// Tokens that were taken back in each way, and one that was not.
async fn tokens(fixture: &Fixture) -> Result<Vec<(&'static str, String)>> {
    let mut tokens = Vec::new();
    let (client, token) = fixture.signed_in().await?;
    client.revoke(&token).await?;
    tokens.push(("revoked by its client", token));
    let (_, token) = fixture.signed_in().await?;
    done(&fixture.gateway, &["token", "revoke"], &token).await?;
    tokens.push(("revoked by the operator", token));
    let (client, token) = fixture.signed_in().await?;
    let words = ["grants", "revoke", "--client", &client.client_id];
    done(&fixture.gateway, &words, "").await?;
    tokens.push(("revoked with its client", token));
    let (_, token) = fixture.signed_in().await?;
    let program = tests::program::binary("gateway");
    let words = ["token", "narrow", "--tool", "search"];
    let (code, narrowed, errors) = tests::program::run(&program, &words, &token).await?;
    anyhow::ensure!(code == 0, "{errors}");
    let narrowed = narrowed.trim().to_owned();
    done(&fixture.gateway, &["token", "revoke"], &narrowed).await?;
    tokens.push(("narrowed and revoked", narrowed));
    for (how, token) in &tokens {
        assert_eq!(status(fixture, token).await?, 401, "{how}");
    }
    tokens.push(("never revoked", token));
    Ok(tokens)
}

async fn all_are_void(fixture: &Fixture, tokens: &[(&str, String)]) -> Result<()> {
    for (how, token) in tokens {
        let reply = send(&fixture.url("/mcp"), token, &initialize()).await?;
        assert_eq!(reply.status, 401, "{how}");
        assert_eq!(reply.json()["reason"], "token_older_than_store", "{how}");
    }
    Ok(())
}

#[tokio::test]
async fn a_young_revoked_token_stays_revoked_when_the_state_was_wiped() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let tokens = tokens(&fixture).await?;
    for round in 0..3 {
        std::fs::remove_dir_all(fixture.gateway.folder().join("state"))?;
        fixture.gateway.crash_and_restart().await?;
        all_are_void(&fixture, &tokens).await?;
        // What is given from now on counts, within the same second and after a restart.
        let (_, fresh) = fixture.signed_in().await?;
        assert_eq!(status(&fixture, &fresh).await?, 200, "round {round}");
        fixture.gateway.crash_and_restart().await?;
        assert_eq!(status(&fixture, &fresh).await?, 200, "round {round}");
        all_are_void(&fixture, &tokens).await?;
    }
    println!("{} young tokens, 3 wiped stores: all void", tokens.len());
    Ok(())
}

#[tokio::test]
async fn a_young_revoked_token_stays_revoked_when_redis_was_wiped() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let tokens = tokens(&fixture).await?;
    let redis = fixture.redis.as_ref().expect("this world has one");
    redis.wipe().await?;
    fixture.gateway.crash_and_restart().await?;
    all_are_void(&fixture, &tokens).await?;
    let (_, fresh) = fixture.signed_in().await?;
    let ping = message(3, "ping", &json!({}));
    assert_eq!(send(&fixture.url("/mcp"), &fresh, &ping).await?.status, 200);
    let listed = command(&fixture.gateway, &["grants", "ls"], "").await?;
    assert_eq!(listed.code, 0, "{listed:?}");
    Ok(())
}
