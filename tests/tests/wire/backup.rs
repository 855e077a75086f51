//! `gateway backup` and `gateway restore`: what was kept is back, what was taken back stays so unless
//! somebody says otherwise, and a file that is not whole changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Gateway;
use tests::mcp::{initialize, send};
use tests::oauth::OAuthClient;
use tests::operator::{CommandOutput, command, done};

const PASSPHRASE: &str = "a long enough passphrase\n";

/// In a store that is new, a backup waits until tokens say when they were given; no test is that patient with
/// a command.
async fn let_age() {
    tokio::time::sleep(Duration::from_secs(32)).await;
}

/// `gateway backup`, and the file that it wrote.
async fn back_up(gateway: &Gateway) -> Result<PathBuf> {
    let file = gateway.folder().join("backup.age");
    let output = done(
        gateway,
        &["backup", &file.display().to_string()],
        PASSPHRASE,
    )
    .await?;
    assert!(!output.out.contains("a long enough"), "{output:?}");
    Ok(file)
}

async fn restore(gateway: &Gateway, words: &[&str]) -> Result<CommandOutput> {
    let file = gateway.folder().join("backup.age").display().to_string();
    let words: Vec<&str> = [&["restore", &file], words].concat();
    command(gateway, &words, PASSPHRASE).await
}

async fn restored(gateway: &Gateway, words: &[&str]) -> Result<String> {
    let output = restore(gateway, words).await?;
    anyhow::ensure!(output.code == 0, "{output:?}");
    Ok(output.out)
}

async fn status(gateway: &Gateway, token: &str) -> Result<u16> {
    Ok(send(&gateway.url("/mcp"), token, &initialize())
        .await?
        .status)
}

/// Whether the gateway still knows who registered.
async fn is_registered(client: &OAuthClient) -> Result<bool> {
    let page = Browser::default()
        .visit(&client.authorization().url())
        .await?;
    Ok(page.password_form().is_ok())
}

fn lose_everything(gateway: &Gateway) -> Result<()> {
    for part in ["state", "keys"] {
        fs::remove_dir_all(gateway.folder().join(part))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_backup_of_a_running_gateway_brings_back_people_apps_and_their_tokens() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (client, token) = fixture.signed_in().await?;
    let_age().await;
    // Calls go on meanwhile: some begin and end before it is done.
    let file = {
        let mut backing_up = std::pin::pin!(back_up(&fixture.gateway));
        let (url, hello, mut calls) = (fixture.url("/mcp"), initialize(), 0);
        loop {
            let (done, reply) = tokio::select! {
                done = &mut backing_up => (Some(done?), None),
                reply = send(&url, &token, &hello) => (None, Some(reply?)),
            };
            if let Some(file) = done {
                assert!(calls > 0, "no call was answered meanwhile");
                break file;
            }
            assert_eq!(reply.map(|reply| reply.status), Some(200));
            calls += 1;
        }
    };
    let bytes = fs::read(&file)?;
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("alice") && !text.contains("ed25519-private"));
    let audit = fs::read_to_string(fixture.gateway.folder().join("state/audit/audit.jsonl"))?;
    assert!(audit.contains("about to: backup, by"), "{audit}");

    let later = fixture.client("Later").await?;
    let given_later = later.sign_in(&fixture.owner).await?;
    let gateway = &mut fixture.gateway;
    gateway.stop().await?;
    lose_everything(gateway)?;
    // Nobody knows what was taken back since: that has to be decided.
    let undecided = restore(gateway, &[]).await?;
    assert_eq!(undecided.code, 64, "{undecided:?}");
    for choice in ["--keep-connections", "--end-connections"] {
        assert!(undecided.errors.contains(choice), "{undecided:?}");
    }
    assert!(!gateway.folder().join("state/gateway.redb").exists());
    let said = restored(gateway, &["--keep-connections"]).await?;
    assert!(
        said.contains("1 person") && said.contains("good again"),
        "{said}"
    );
    gateway.start_again().await?;
    assert_eq!(status(gateway, &token).await?, 200, "an old token");
    assert!(is_registered(&client).await?, "an old registration");
    assert_eq!(status(gateway, &given_later).await?, 401, "a later token");
    assert!(!is_registered(&later).await?);
    // And it goes on from there: what was allowed then, and now.
    let again = client.sign_in(&fixture.owner).await?;
    assert_eq!(status(&fixture.gateway, &again).await?, 200);
    let grants = done(
        &fixture.gateway,
        &["grants", "ls", "--user", "alice", "--json"],
        "",
    )
    .await?;
    assert_eq!(grants.json()["grants"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[tokio::test]
async fn what_was_taken_back_since_a_backup_stays_taken_back() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let_age().await;
    let kept = fixture
        .client("Kept")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let other = fixture.client("Other").await?;
    let revoked = other.sign_in(&fixture.owner).await?;
    assert_eq!(status(&fixture.gateway, &kept).await?, 200);
    back_up(&fixture.gateway).await?;
    done(
        &fixture.gateway,
        &["grants", "revoke", "--client", &other.client_id],
        "",
    )
    .await?;
    let gateway = &mut fixture.gateway;
    assert_eq!(status(gateway, &kept).await?, 200);
    gateway.stop().await?;
    let said = restored(gateway, &["--overwrite"]).await?;
    assert!(said.contains("stays taken back"), "{said}");
    gateway.start_again().await?;
    assert_eq!(status(gateway, &kept).await?, 200);
    assert_eq!(status(gateway, &revoked).await?, 401);
    let grants = done(gateway, &["grants", "ls", "--json"], "").await?.json();
    assert_eq!(grants["grants"].as_array().map(Vec::len), Some(1));
    assert!(
        is_registered(&other).await?,
        "the app itself was not removed"
    );
    // What was there is beside it.
    assert!(
        gateway
            .folder()
            .join("state/gateway.redb.replaced")
            .exists()
    );
    Ok(())
}

#[tokio::test]
async fn a_restore_can_end_all_connections_and_keep_people_and_apps() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let_age().await;
    let (client, token) = fixture.signed_in().await?;
    back_up(&fixture.gateway).await?;
    fixture.gateway.stop().await?;
    lose_everything(&fixture.gateway)?;
    restored(&fixture.gateway, &["--end-connections"]).await?;
    let keys = fixture.gateway.folder().join("keys");
    assert!(keys.join("tags.key").exists());
    assert!(!keys.join("admin.token").exists(), "it is made anew");
    fixture.gateway.start_again().await?;
    assert_eq!(status(&fixture.gateway, &token).await?, 401);
    let grants = done(&fixture.gateway, &["grants", "ls", "--json"], "").await?;
    assert_eq!(grants.json()["grants"].as_array().map(Vec::len), Some(0));
    let token = client.sign_in(&fixture.owner).await?;
    assert_eq!(status(&fixture.gateway, &token).await?, 200);
    Ok(())
}

#[tokio::test]
async fn a_signing_key_that_was_revoked_since_stays_revoked_whatever_becomes_of_connections()
-> Result<()> {
    let mut fixture = Fixture::start().await?;
    let_age().await;
    let (_, token) = fixture.signed_in().await?;
    back_up(&fixture.gateway).await?;
    done(&fixture.gateway, &["keys", "rotate", "--now"], "").await?;
    let revoked = |listed: &CommandOutput| listed.json()["keys"][0]["state"] == "revoked";
    for choice in ["--keep-connections", "--end-connections"] {
        let gateway = &mut fixture.gateway;
        gateway.stop().await?;
        restored(gateway, &["--overwrite", choice]).await?;
        gateway.start_again().await?;
        let listed = done(gateway, &["keys", "ls", "--json"], "").await?;
        assert!(revoked(&listed), "{choice}: {listed:?}");
        assert_eq!(status(gateway, &token).await?, 401, "{choice}");
        // Its number and that of the key after it are no other key's.
        let made = done(gateway, &["keys", "rotate", "--json"], "")
            .await?
            .json();
        let expected = if choice == "--keep-connections" { 3 } else { 4 };
        assert_eq!(made["made"], expected, "{choice}");
    }
    Ok(())
}

#[tokio::test]
async fn a_code_that_a_backup_holds_is_not_good_again() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let_age().await;
    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let callback = client.allow(&request, &fixture.owner).await?;
    back_up(&fixture.gateway).await?;
    let redeemed = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    assert_eq!(redeemed.status, 200);
    fixture.gateway.stop().await?;
    restored(&fixture.gateway, &["--overwrite", "--keep-connections"]).await?;
    fixture.gateway.start_again().await?;
    let again = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    assert_eq!(
        (again.status, again.error().as_str()),
        (400, "invalid_grant")
    );
    Ok(())
}

#[tokio::test]
async fn a_restore_that_is_refused_says_why_and_changes_nothing() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let_age().await;
    let (_, token) = fixture.signed_in().await?;
    let gateway = &mut fixture.gateway;
    let file = back_up(gateway).await?;
    let running = restore(gateway, &["--overwrite"]).await?;
    assert_eq!(running.code, 69, "{running:?}");
    assert!(running.errors.contains("stop it first"), "{running:?}");
    gateway.stop().await?;

    let present = restore(gateway, &[]).await?;
    assert_eq!(present.code, 1, "{present:?}");
    assert!(present.errors.contains("--overwrite"), "{present:?}");
    let good = fs::read(&file)?;
    let name = file.display().to_string();
    let words = ["restore", &name, "--overwrite"];
    let wrong = command(
        gateway,
        &words,
        "some other passphrase
",
    )
    .await?;
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.errors.contains("passphrase is wrong"), "{wrong:?}");
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for (bytes, word) in [
        (good[..good.len() - 1].to_vec(), "damaged or cut short"),
        (good[..good.len() / 2].to_vec(), "damaged or cut short"),
        (good[..100].to_vec(), "no backup"),
        (changed, "damaged or cut short"),
        (b"hello\n".to_vec(), "no backup"),
    ] {
        fs::write(&file, &bytes)?;
        for words in [["--overwrite"], ["--check"]] {
            let refused = restore(gateway, &words).await?;
            assert_eq!(refused.code, 1, "{refused:?}");
            assert!(refused.errors.contains(word), "{word}: {refused:?}");
        }
    }
    let mut left: Vec<String> = fs::read_dir(gateway.folder().join("state"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    left.sort();
    assert_eq!(left, ["audit", "gateway.redb", "upgrade.sock"]);
    gateway.start_again().await?;
    assert_eq!(status(gateway, &token).await?, 200);

    fs::write(&file, &good)?;
    let checked = restore(gateway, &["--check"]).await?;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.out.contains("whole") && checked.out.contains("1 connection"),
        "{checked:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_backed_up_too_and_only_backups_are_written_over()
-> Result<()> {
    let mut fixture = Fixture::start().await?;
    let_age().await;
    let (_, token) = fixture.signed_in().await?;
    let gateway = &mut fixture.gateway;
    gateway.stop().await?;
    let file = back_up(gateway).await?;
    back_up(gateway).await?;
    let name = file.display().to_string();
    let weak = command(gateway, &["backup", &name], "short\n").await?;
    assert_eq!(weak.code, 64, "{weak:?}");
    fs::write(gateway.folder().join("notes"), "mine")?;
    let notes = gateway.folder().join("notes").display().to_string();
    let refused = command(gateway, &["backup", &notes], PASSPHRASE).await?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(fs::read_to_string(&notes)?, "mine");
    // From a file, as a timer has it.
    let secret = gateway.folder().join("passphrase");
    fs::write(&secret, PASSPHRASE)?;
    let secret = secret.display().to_string();
    done(
        gateway,
        &["backup", &name, "--passphrase-file", &secret],
        "",
    )
    .await?;
    lose_everything(gateway)?;
    restored(gateway, &["--keep-connections"]).await?;
    gateway.start_again().await?;
    assert_eq!(status(gateway, &token).await?, 200);
    Ok(())
}

#[tokio::test]
async fn with_redis_a_backup_has_the_keys_and_says_where_the_rest_is() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let (_, token) = fixture.signed_in().await?;
    let gateway = &mut fixture.gateway;
    let file = gateway.folder().join("backup.age").display().to_string();
    let output = done(gateway, &["backup", &file], PASSPHRASE).await?;
    assert!(output.out.contains("Redis"), "{output:?}");
    gateway.stop().await?;
    fs::remove_dir_all(gateway.folder().join("keys"))?;
    restored(gateway, &[]).await?;
    gateway.start_again().await?;
    assert_eq!(status(gateway, &token).await?, 200);
    Ok(())
}
