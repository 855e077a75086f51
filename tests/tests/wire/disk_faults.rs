//! Faults around the embedded store: a disk that is full or stops answering, and a clock that is an hour off.
//! Each is an outage that says so (503 with `Retry-After`), keeps what was acknowledged, and ends by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tests::clock::Clock;
use tests::fixture::{Fixture, StoreKind};
use tests::http::{self, Reply};
use tests::mcp::{initialize, send};
use tests::operator::done;
use tests::small_disk::SmallDisk;

/// How long it may take until all is well again.
const RECOVERY: Duration = Duration::from_secs(15);

/// A gateway whose store is on this disk, and its audit log in this folder.
async fn on(disk: &SmallDisk, elsewhere: &TempDir) -> Result<Fixture> {
    let store = disk.path().join("state").display().to_string();
    let audit = elsewhere.path().join("audit.jsonl");
    Fixture::with(StoreKind::Embedded, |mut setup| {
        setup.store = Some(format!("file:{store}"));
        setup.more(&format!(
            "[audit]\nfile = \"{}\"\n[limits]\nregistrations_per_hour = 100000\n",
            audit.display()
        ))
    })
    .await
}

async fn register(fixture: &Fixture) -> Result<Reply> {
    // Each another: the same app that registers twice is one.
    let metadata = json!({
        "client_name": format!("Client {}", rand::random::<u64>()),
        "redirect_uris": ["https://client.example.com/callback"],
        "token_endpoint_auth_method": "none",
    });
    http::post_json(&fixture.url("/register"), &metadata).await
}

/// An outage that says so, and that waiting helps.
fn assert_outage(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert_ne!(reply.header("retry-after"), "", "no Retry-After");
}

async fn until_well(fixture: &Fixture) -> Result<()> {
    let begun = Instant::now();
    loop {
        let ready = http::get(&fixture.gateway.admin_url("/readyz")).await?;
        if ready.status == 200 && register(fixture).await?.status == 201 {
            return Ok(());
        }
        ensure!(begun.elapsed() < RECOVERY, "not well again: {}", ready.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_clock_that_steps_an_hour_ends_no_good_token_of_longer_life_and_locks_nobody_out()
-> Result<()> {
    let clock = Clock::new()?;
    let fixture = Fixture::with(StoreKind::Embedded, |mut setup| {
        setup.environment = clock.environment();
        setup.more("[tokens]\naccess_ttl = \"3h\"\n[limits]\nregistrations_per_hour = 100000\n")
    })
    .await?;
    let (client, token) = fixture.signed_in().await?;
    let works = async |what: &str| -> Result<()> {
        until_well(&fixture).await.context(what.to_owned())?;
        let call = send(&fixture.url("/mcp"), &token, &initialize()).await?;
        ensure!(call.status == 200, "{what}: {}", call.text);
        let again = client.sign_in(&fixture.owner).await?;
        let call = send(&fixture.url("/mcp"), &again, &initialize()).await?;
        ensure!(call.status == 200, "{what}, anew: {}", call.text);
        Ok(())
    };
    works("before").await?;
    clock.put_ahead(Duration::from_secs(3600))?;
    works("an hour ahead").await?;
    clock.put_ahead(Duration::ZERO)?;
    works("an hour back").await
}

mod on_a_small_disk {
    use super::*;

    #[tokio::test]
    #[ignore = "mounts a file system, which takes root"]
    async fn a_full_disk_refuses_what_would_be_kept_serves_calls_and_mends_itself() -> Result<()> {
        let (disk, elsewhere) = (SmallDisk::mount("12m").await?, tempfile::tempdir()?);
        let mut fixture = on(&disk, &elsewhere).await?;
        let (client, token) = fixture.signed_in().await?;
        disk.fill()?;
        // The file has some room of its own; then there is none.
        let mut acknowledged = Vec::new();
        let refused = loop {
            let reply = register(&fixture).await?;
            if reply.status != 201 {
                break reply;
            }
            let id = reply.json()["client_id"].as_str().map(str::to_owned);
            acknowledged.push(id.context("no id")?);
            ensure!(acknowledged.len() < 9_000, "it never fills");
        };
        assert_outage(&refused);
        let ready = http::get(&fixture.gateway.admin_url("/readyz")).await?;
        assert_eq!(ready.status, 503, "{}", ready.text);
        let call = send(&fixture.url("/mcp"), &token, &initialize()).await?;
        assert_eq!(call.status, 200, "a call needs no room");
        disk.clear()?;
        until_well(&fixture).await?;
        // Nothing acknowledged is lost, also not for who starts after it.
        fixture.gateway.crash_and_restart().await?;
        let known = client.sign_in(&fixture.owner).await?;
        assert_eq!(
            send(&fixture.url("/mcp"), &known, &initialize())
                .await?
                .status,
            200
        );
        for id in acknowledged.iter().rev().take(20) {
            done(&fixture.gateway, &["clients", "show", id], "")
                .await
                .context("it is lost")?;
        }
        Ok(())
    }

    #[tokio::test]
    #[ignore = "mounts a file system, which takes root"]
    async fn a_disk_that_does_not_answer_is_an_outage_within_seconds_and_mends_itself() -> Result<()>
    {
        let (disk, elsewhere) = (SmallDisk::mount_ext4(24).await?, tempfile::tempdir()?);
        let fixture = on(&disk, &elsewhere).await?;
        let (_, token) = fixture.signed_in().await?;
        disk.freeze().await?;
        let begun = Instant::now();
        let refused = register(&fixture).await;
        let took = begun.elapsed();
        let call = send(&fixture.url("/mcp"), &token, &initialize()).await;
        disk.thaw().await?;
        assert_outage(&refused?);
        assert!(took < Duration::from_secs(10), "it took {took:?}");
        assert_eq!(call?.status, 200, "a call waits for no disk");
        until_well(&fixture).await
    }
}
