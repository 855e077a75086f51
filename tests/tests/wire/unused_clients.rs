//! What strangers register does not stay for ever, and an app that comes late finds its way back.

use anyhow::{Context, Result};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::operator::done;
use tests::redis::Redis;

/// The time in milliseconds, as Redis has it.
async fn now(redis: &Redis) -> Result<u128> {
    let script = "local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000)";
    let now = redis.say(&["EVAL", script, "0"]).await?;
    Ok(now.trim_start_matches(':').parse()?)
}

/// When a client's record ends, in hours from now, rounded up.
async fn lifetime(redis: &Redis, client: &str) -> Result<u128> {
    let key = format!("gateway:client:{client}");
    let script = "return redis.call('HGET', KEYS[1], 'expires') + 0";
    let ends = redis.say(&["EVAL", script, "1", &key]).await?;
    let ends: u128 = ends.trim_start_matches(':').parse()?;
    Ok(ends.saturating_sub(now(redis).await?) / 1000 / 3600 + 1)
}

#[tokio::test]
async fn a_client_that_nobody_allowed_anything_is_forgotten_and_registers_again() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Redis, |setup| {
        setup.more("[clients]\nunused_for = \"36h\"\n")
    })
    .await?;
    let redis = fixture.redis.as_ref().context("this world has one")?;
    let (unused, used) = (
        fixture.client("Unused").await?,
        fixture.client("Used").await?,
    );
    for client in [&unused, &used] {
        assert_eq!(lifetime(redis, &client.client_id).await?, 36);
    }
    // Registering the same again begins its time anew.
    let key = format!("gateway:client:{}", unused.client_id);
    let soon = (now(redis).await? + 60_000).to_string();
    redis.say(&["HSET", &key, "expires", &soon]).await?;
    let again = fixture.client("Unused").await?;
    assert_eq!(again.client_id, unused.client_id);
    assert_eq!(lifetime(redis, &unused.client_id).await?, 36);
    // One that a person allows something stays for 90 days, also if it registers again.
    used.sign_in(&fixture.owner).await?;
    assert_eq!(lifetime(redis, &used.client_id).await?, 90 * 24);
    fixture.client("Used").await?;
    assert_eq!(lifetime(redis, &used.client_id).await?, 90 * 24);

    let past = (now(redis).await? - 1).to_string();
    redis.say(&["HSET", &key, "expires", &past]).await?;
    let page = Browser::default()
        .open(&unused.authorization().url())
        .await?;
    assert_eq!(page.reply.status, 400, "{}", page.words());
    let words = page.words();
    assert!(words.contains("register anew"), "{words}");
    let code = unused.redeem("code", "verifier").await?;
    assert_eq!(code.error(), "invalid_client", "{}", code.text);
    let again = fixture.client("Unused").await?;
    again.sign_in(&fixture.owner).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_of_the_configuration_is_never_forgotten() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(
            "[clients]\nunused_for = \"1h\"\n[[client]]\nid = \"mine\"\nname = \"Mine\"\n\
             redirect_uris = [\"http://127.0.0.1:1/callback\"]\n",
        )
    })
    .await?;
    let listed = done(&fixture.gateway, &["clients", "ls", "--json"], "").await?;
    let clients = listed.json();
    assert_eq!(clients["clients"][0]["id"], "mine", "{clients}");
    Ok(())
}
