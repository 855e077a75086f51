//! Signing keys: a new one takes over while tokens of the old one are good, a revoked one counts nowhere, and
//! what appears in the keys folder is taken up without a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Gateway;
use tests::http;
use tests::mcp::{initialize, send};
use tests::operator::{command, done, token};

async fn status(gateway: &Gateway, token: &str) -> Result<u16> {
    Ok(send(&gateway.url("/mcp"), token, &initialize())
        .await?
        .status)
}

/// Numbers and states of the keys, as `gateway keys ls` has them.
async fn keys(gateway: &Gateway) -> Result<Vec<(u64, String)>> {
    let listed = done(gateway, &["keys", "ls", "--json"], "").await?.json();
    let keys = listed["keys"].as_array().context("no keys")?;
    let state = |key: &Value| Some((key["key"].as_u64()?, key["state"].as_str()?.to_owned()));
    keys.iter()
        .map(|key| state(key).context("no key"))
        .collect()
}

async fn until_keys(gateway: &Gateway, expected: &[(u64, &str)]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found = keys(gateway).await?;
        let found: Vec<(u64, &str)> = found
            .iter()
            .map(|(n, state)| (*n, state.as_str()))
            .collect();
        if found == expected {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "{found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The numbers of the keys that backends verify by.
async fn published(gateway: &Gateway) -> Result<Vec<u64>> {
    let reply = http::get(&gateway.url("/.well-known/biscuit-web-keys")).await?;
    let keys = reply.json();
    let keys = keys.as_array().context("no list")?;
    Ok(keys
        .iter()
        .filter_map(|key| key["key_id"].as_u64())
        .collect())
}

#[tokio::test]
async fn a_new_key_signs_and_tokens_of_the_old_one_are_good_until_they_end() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (client, old) = fixture.signed_in().await?;
    assert_eq!(keys(&fixture.gateway).await?, [(1, "signs".to_owned())]);
    let rotated = done(&fixture.gateway, &["keys", "rotate"], "").await?;
    assert!(
        rotated.out.contains("made key 2: it signs from now on"),
        "{rotated:?}"
    );
    until_keys(&fixture.gateway, &[(1, "verifies"), (2, "signs")]).await?;
    assert_eq!(published(&fixture.gateway).await?, [1, 2]);
    let new = client.sign_in(&fixture.owner).await?;
    for round in ["running", "restarted"] {
        assert_eq!(status(&fixture.gateway, &old).await?, 200, "{round}");
        assert_eq!(status(&fixture.gateway, &new).await?, 200, "{round}");
        fixture.gateway.restart().await?;
    }
    // It is the new key that the new token needs.
    done(&fixture.gateway, &["keys", "revoke", "2"], "").await?;
    assert_eq!(status(&fixture.gateway, &old).await?, 200);
    assert_eq!(status(&fixture.gateway, &new).await?, 401);
    until_keys(&fixture.gateway, &[(1, "signs"), (2, "revoked")]).await?;
    assert_eq!(published(&fixture.gateway).await?, [1]);
    let last = command(&fixture.gateway, &["keys", "revoke", "1"], "").await?;
    assert_eq!(last.code, 1, "{last:?}");
    assert!(last.errors.contains("keys rotate --now"), "{last:?}");
    Ok(())
}

#[tokio::test]
async fn in_an_emergency_all_that_a_key_signed_is_refused_at_once() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (client, old) = fixture.signed_in().await?;
    assert_eq!(
        status(&fixture.gateway, &old).await?,
        200,
        "it is remembered"
    );
    done(&fixture.gateway, &["keys", "rotate", "--now"], "").await?;
    assert_eq!(status(&fixture.gateway, &old).await?, 401);
    let new = client.sign_in(&fixture.owner).await?;
    assert_eq!(status(&fixture.gateway, &new).await?, 200);
    fixture.gateway.restart().await?;
    assert_eq!(status(&fixture.gateway, &old).await?, 401);
    assert_eq!(status(&fixture.gateway, &new).await?, 200);
    assert_eq!(published(&fixture.gateway).await?, [2]);
    Ok(())
}

#[tokio::test]
async fn replicas_take_a_key_up_by_themselves_and_all_know_it_before_one_signs() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let (client, old) = fixture.signed_in().await?;
    let replica = fixture.replica(|setup| setup).await?;
    let rotated = done(&fixture.gateway, &["keys", "rotate"], "").await?;
    assert!(
        rotated.out.contains("when every replica knows it"),
        "{rotated:?}"
    );
    // The commands read the keys folder that the replicas share.
    let ask = async |gateway: &Gateway| -> Result<Value> {
        let token = token(&fixture.gateway)?;
        let reply = http::ask(
            "GET",
            &gateway.admin_url("/v1/keys"),
            &[("authorization", &format!("Bearer {token}"))],
        )
        .await?;
        Ok(reply.json())
    };
    let begun = Instant::now();
    loop {
        let keys = ask(&replica).await?;
        if keys["keys"][1]["state"] == "waits" && keys["keys"][0]["state"] == "signs" {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "{keys}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(published(&replica).await?, [1, 2]);
    done(&fixture.gateway, &["keys", "rotate", "--now"], "").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(status(&fixture.gateway, &old).await?, 401);
    let new = client.sign_in(&fixture.owner).await?;
    assert_eq!(status(&fixture.gateway, &new).await?, 200);
    assert_eq!(published(&replica).await?, [3]);
    Ok(())
}

#[tokio::test]
async fn a_key_that_somebody_puts_into_the_folder_is_taken_up_without_a_restart() -> Result<()> {
    let fixture = Fixture::start().await?;
    let made = fixture.gateway.folder().join("signing-7.key");
    let words = ["keys", "create", &made.display().to_string()];
    let (code, public, errors) =
        tests::program::run(&tests::program::binary("gateway"), &words, "").await?;
    assert_eq!(code, 0, "{errors}");
    assert_eq!(public.trim().len(), 64);
    std::fs::rename(&made, fixture.gateway.folder().join("keys/signing-7.key"))?;
    until_keys(&fixture.gateway, &[(1, "verifies"), (7, "signs")]).await?;
    // One that can't be read changes nothing.
    std::fs::write(fixture.gateway.folder().join("keys/signing-8.key"), "x")?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    until_keys(&fixture.gateway, &[(1, "verifies"), (7, "signs")]).await?;
    fixture.gateway.logged("signing_keys_kept").await?;
    let log = fixture.gateway.log().join("\n");
    assert_eq!(log.matches("signing_keys_kept").count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn the_number_of_a_key_is_never_another_keys() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let gateway = &mut fixture.gateway;
    let file = |gateway: &Gateway, number: u32| {
        let name = format!("keys/signing-{number}.key");
        gateway.folder().join(name)
    };
    for number in [2, 3] {
        let rotated = done(gateway, &["keys", "rotate"], "").await?;
        let made = format!("made key {number}:");
        assert!(rotated.out.contains(&made), "{rotated:?}");
        done(gateway, &["keys", "revoke", &number.to_string()], "").await?;
        std::fs::remove_file(file(gateway, number))?;
        until_keys(gateway, &[(1, "signs")]).await?;
    }
    gateway.restart().await?;
    let rotated = done(gateway, &["keys", "rotate"], "").await?;
    assert!(rotated.out.contains("made key 4:"), "{rotated:?}");
    gateway.restart().await?;
    until_keys(gateway, &[(1, "verifies"), (4, "signs")]).await
}

/// Such as one whose volume is not mounted.
#[tokio::test]
async fn a_folder_without_keys_takes_none_away_and_what_is_revoked_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let (client, old) = fixture.signed_in().await?;
    for _ in 0..2 {
        done(gateway, &["keys", "rotate"], "").await?;
    }
    let new = client.sign_in(&fixture.owner).await?;
    let admin_token = token(gateway)?;
    let (keys, away) = (gateway.folder().join("keys"), gateway.folder().join("away"));
    std::fs::create_dir(&away)?;
    for entry in std::fs::read_dir(&keys)? {
        let entry = entry?;
        std::fs::rename(entry.path(), away.join(entry.file_name()))?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(status(gateway, &old).await?, 200);
    assert_eq!(status(gateway, &new).await?, 200);
    gateway.logged("signing_keys_kept").await?;
    let log = gateway.log().join("\n");
    assert_eq!(log.matches("signing_keys_kept").count(), 1, "{log}");
    let ready = http::get(&gateway.admin_url("/readyz")).await?;
    assert_eq!(ready.status, 200, "{}", ready.text);
    ensure!(
        ready.text.contains("keys: those of before stay in use")
            && ready.text.contains("holds no signing key any more"),
        "{}",
        ready.text
    );
    // Each of them is revoked, and what is wrong is told.
    let bearer = format!("Bearer {admin_token}");
    let revoke = http::client()
        .post(gateway.admin_url("/v1/keys/revoke"))
        .header("authorization", bearer)
        .json(&serde_json::json!({"keys": [1, 3]}));
    let revoked = http::send(revoke).await?;
    assert_eq!(revoked.status, 503, "{}", revoked.text);
    ensure!(
        revoked.text.contains("holds no signing key any more")
            && revoked.text.contains("key 1, 3 is revoked"),
        "{}",
        revoked.text
    );
    assert_eq!(status(gateway, &old).await?, 401);
    assert_eq!(status(gateway, &new).await?, 401);
    // And neither of them signs on.
    let next = client.sign_in(&fixture.owner).await?;
    assert_eq!(status(gateway, &next).await?, 200);
    for entry in std::fs::read_dir(&away)? {
        let entry = entry?;
        std::fs::rename(entry.path(), keys.join(entry.file_name()))?;
    }
    until_keys(gateway, &[(1, "revoked"), (2, "signs"), (3, "revoked")]).await?;
    assert_eq!(status(gateway, &next).await?, 200);
    let begun = Instant::now();
    loop {
        let ready = http::get(&gateway.admin_url("/readyz")).await?;
        if !ready.text.contains("keys:") {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "{}", ready.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_token_of_the_commands_is_changed_while_the_gateway_runs() -> Result<()> {
    let fixture = Fixture::start().await?;
    let old = token(&fixture.gateway)?;
    done(&fixture.gateway, &["keys", "rotate", "--admin-token"], "").await?;
    let new = token(&fixture.gateway)?;
    assert_ne!(old, new);
    keys(&fixture.gateway).await?;
    for (token, status) in [(old, 401), (new, 200)] {
        let reply = http::ask(
            "GET",
            &fixture.gateway.admin_url("/v1/keys"),
            &[("authorization", &format!("Bearer {token}"))],
        )
        .await?;
        assert_eq!(reply.status, status);
    }
    Ok(())
}
