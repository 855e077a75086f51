//! A store that was wiped has forgotten what was revoked: every token of before is void at once,
//! however young it is, and new ones count at once.

use anyhow::Result;
use serde_json::json;
use tests::mcp::{initialize, message, send};
use tests::operator::{command, done};
use tests::world::{StoreKind, World};

async fn status(world: &World, token: &str) -> Result<u16> {
    Ok(send(&world.url("/mcp"), token, &initialize()).await?.status)
}

/// Tokens that were taken back in each way, and one that was not.
async fn tokens(world: &World) -> Result<Vec<(&'static str, String)>> {
    let mut tokens = Vec::new();
    let (client, token) = world.signed_in().await?;
    client.revoke(&token).await?;
    tokens.push(("revoked by its client", token));
    let (_, token) = world.signed_in().await?;
    done(&world.gateway, &["token", "revoke"], &token).await?;
    tokens.push(("revoked by the operator", token));
    let (client, token) = world.signed_in().await?;
    let words = ["grants", "revoke", "--client", &client.client_id];
    done(&world.gateway, &words, "").await?;
    tokens.push(("revoked with its client", token));
    let (_, token) = world.signed_in().await?;
    let program = tests::program::binary("gateway");
    let words = ["token", "narrow", "--tool", "search"];
    let (code, narrowed, errors) = tests::program::run(&program, &words, &token).await?;
    anyhow::ensure!(code == 0, "{errors}");
    let narrowed = narrowed.trim().to_owned();
    done(&world.gateway, &["token", "revoke"], &narrowed).await?;
    tokens.push(("narrowed and revoked", narrowed));
    for (how, token) in &tokens {
        assert_eq!(status(world, token).await?, 401, "{how}");
    }
    tokens.push(("never revoked", token));
    Ok(tokens)
}

async fn all_are_void(world: &World, tokens: &[(&str, String)]) -> Result<()> {
    for (how, token) in tokens {
        let reply = send(&world.url("/mcp"), token, &initialize()).await?;
        assert_eq!(reply.status, 401, "{how}");
        assert_eq!(reply.json()["reason"], "token_older_than_store", "{how}");
    }
    Ok(())
}

#[tokio::test]
async fn a_young_revoked_token_stays_revoked_when_the_state_was_wiped() -> Result<()> {
    let mut world = World::start().await?;
    let tokens = tokens(&world).await?;
    for round in 0..3 {
        std::fs::remove_dir_all(world.gateway.folder().join("state"))?;
        world.gateway.crash_and_restart().await?;
        all_are_void(&world, &tokens).await?;
        // What is given from now on counts, within the same second and after a restart.
        let (_, fresh) = world.signed_in().await?;
        assert_eq!(status(&world, &fresh).await?, 200, "round {round}");
        world.gateway.crash_and_restart().await?;
        assert_eq!(status(&world, &fresh).await?, 200, "round {round}");
        all_are_void(&world, &tokens).await?;
    }
    println!("{} young tokens, 3 wiped stores: all void", tokens.len());
    Ok(())
}

#[tokio::test]
async fn a_young_revoked_token_stays_revoked_when_redis_was_wiped() -> Result<()> {
    let mut world = World::on(StoreKind::Redis).await?;
    let tokens = tokens(&world).await?;
    let redis = world.redis.as_ref().expect("this world has one");
    redis.wipe().await?;
    world.gateway.crash_and_restart().await?;
    all_are_void(&world, &tokens).await?;
    let (_, fresh) = world.signed_in().await?;
    let ping = message(3, "ping", &json!({}));
    assert_eq!(send(&world.url("/mcp"), &fresh, &ping).await?.status, 200);
    let listed = command(&world.gateway, &["grants", "ls"], "").await?;
    assert_eq!(listed.code, 0, "{listed:?}");
    Ok(())
}
