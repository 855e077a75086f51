//! The audit log: everything that was given, refused or taken back is in it, it can't be changed
//! unseen, and what it could not hold was not given.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Gateway;
use tests::http;
use tests::mcp::{self, call, initialize, send};
use tests::operator::{command, done};
use tests::program::{binary, run};
use tests::small_disk::SmallDisk;

fn file(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("audit.jsonl")
}

/// The other log: calls, and what strangers did.
fn calls_of(path: &Path) -> PathBuf {
    path.with_file_name("audit-calls.jsonl")
}

async fn audited(more: &str) -> Result<Fixture> {
    Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(&format!("[audit]\nfile = \"audit.jsonl\"\n{more}\n"))
    })
    .await
}

/// Both logs.
fn text(path: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(path)? + &std::fs::read_to_string(calls_of(path))?)
}

fn records(path: &Path) -> Result<Vec<Value>> {
    text(path)?
        .lines()
        .map(|line| serde_json::from_str(line).context(line.to_owned()))
        .collect()
}

/// Calls are on disk within a fraction of a second.
async fn settled(path: &Path, found: impl Fn(&Value) -> bool) -> Result<Value> {
    let start = Instant::now();
    loop {
        if let Some(record) = records(path)?.into_iter().rev().find(&found) {
            return Ok(record);
        }
        anyhow::ensure!(
            start.elapsed() < Duration::from_secs(5),
            "not in the log:\n{}",
            text(path)?
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `gateway audit verify`: exit code and what it said.
async fn verify(gateway: &Gateway, more: &[&str]) -> Result<(i32, String)> {
    let config = gateway.folder().join("gateway.toml").display().to_string();
    let mut words = vec!["audit", "verify", "--config", &config];
    words.extend(more);
    let file = file(gateway);
    let both = [&file, &calls_of(&file)].map(|file| file.display().to_string());
    if !more.iter().any(|word| !word.starts_with("--")) {
        words.extend(both.iter().map(String::as_str));
    }
    let (code, out, errors) = run(&binary("gateway"), &words, "").await?;
    Ok((code, format!("{out}{errors}")))
}

#[tokio::test]
async fn what_was_given_refused_and_taken_back_is_written_with_who_and_why() -> Result<()> {
    let mut fixture = audited("").await?;
    let path = file(&fixture.gateway);
    let client = fixture.client("Audited").await?;
    let mut browser = Browser::default();
    let denied = client.authorization();
    client
        .walk(&mut browser, &denied, &fixture.owner, "Deny")
        .await?;
    let token = client.sign_in(&fixture.owner).await?;
    let arguments = json!({"query": "canary-in-an-argument"});
    let url = fixture.url("/mcp");
    send(&url, &token, &initialize()).await?;
    send(&url, &token, &call(7, "search", &arguments)).await?;
    send(&url, "nonsense", &initialize()).await?;
    client.redeem("no-such-code", &"v".repeat(43)).await?;
    let reused = client.authorization();
    let code = client.allow(&reused, &fixture.owner).await?.code();
    for _ in 0..2 {
        client.redeem(&code, &reused.pkce.verifier).await?;
        // Later than a client's own retry.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    client.revoke(&token).await?;
    send(&url, &token, &initialize()).await?;

    let of = |event: &str, outcome: &str| {
        let (event, outcome) = (event.to_owned(), outcome.to_owned());
        move |record: &Value| record["event"] == *event && record["outcome"] == *outcome
    };
    for event in ["registration", "login", "consent", "token", "revocation"] {
        let record = settled(&path, of(event, "allowed")).await?;
        assert!(record["request_id"].is_string(), "{record}");
        assert_eq!(record["peer"], "127.0.0.1", "{record}");
        assert_eq!(
            event == "registration",
            record["user"].is_null(),
            "{record}"
        );
    }
    let refused = settled(&path, of("consent", "refused")).await?;
    assert_eq!(refused["reason"], "user_denied");
    let ran = settled(&path, |record| record["name"] == "search").await?;
    assert_eq!(
        (&ran["event"], &ran["method"]),
        (&json!("call"), &json!("tools/call"))
    );
    settled(&path, |record| {
        record["event"] == "token" && record["grant"] == ran["grant"]
    })
    .await?;
    assert!(ran["arguments"]["hash"].is_string(), "{ran}");
    let ended = settled(&path, |record| {
        record["event"] == "revocation" && record["reason"] == "code_reused"
    })
    .await?;
    assert!(
        ended["user"].is_string() && ended["grant"].is_string(),
        "{ended}"
    );
    for reason in ["token_malformed", "code_unknown", "grant_revoked"] {
        settled(&path, |record| record["reason"] == reason).await?;
    }
    fixture.gateway.restart().await?;
    let (code, said) = verify(&fixture.gateway, &[]).await?;
    assert_eq!(code, 0, "{said}");

    // No secret is in either log: no token, code, verifier, password or argument.
    let log = fixture.gateway.log().join("\n") + &text(&path)?;
    for canary in [
        token.as_str(),
        &token[20..60],
        "canary-in-an-argument",
        &fixture.owner.password,
    ] {
        assert!(!log.contains(canary), "{canary}");
    }
    Ok(())
}

#[tokio::test]
async fn a_log_that_was_changed_anywhere_is_found_out() -> Result<()> {
    let mut fixture = audited("checkpoint_every = \"1s\"").await?;
    let path = calls_of(&file(&fixture.gateway));
    let (_, token) = fixture.signed_in().await?;
    for id in 1..20 {
        send(
            &fixture.url("/mcp"),
            &token,
            &call(id, "search", &json!({})),
        )
        .await?;
    }
    let gone = settled(&file(&fixture.gateway), |record| {
        record["event"] == "checkpoint" && record["seq"].as_u64() > Some(10)
    })
    .await?;
    fixture.gateway.restart().await?;
    let whole = std::fs::read_to_string(&path)?;
    let lines: Vec<&str> = whole.lines().collect();
    let expect = format!(
        "--expect={}:{}",
        gone["seq"],
        gone["hash"].as_str().unwrap_or_default()
    );
    assert_eq!(verify(&fixture.gateway, &[&expect]).await?.0, 0);

    let copy = fixture.gateway.folder().join("copy.jsonl");
    let name = copy.display().to_string();
    let last = lines.len() - 1;
    for at in [0, 1, 5, last - 1] {
        let mut removed = lines.clone();
        removed.remove(at);
        let changed = lines[at].replacen("\"outcome\":\"", "\"outcome\":\"x", 1);
        let mut edited = lines.clone();
        edited[at] = &changed;
        let mut moved = lines.clone();
        moved.swap(at, at + 1);
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        for (what, forged) in [
            ("removed", removed),
            ("edited", edited),
            ("moved", moved),
            ("twice", twice),
        ] {
            if what == "edited" && !lines[at].contains("\"outcome\":\"") {
                continue;
            }
            std::fs::write(&copy, forged.join("\n") + "\n")?;
            let (code, said) = verify(&fixture.gateway, &[&name]).await?;
            // The very first line can be missing because its file was rotated away: that is said.
            let expected = if (what, at) == ("removed", 0) { 1 } else { 2 };
            assert_eq!(code, expected, "{what} at {at}: {said}");
        }
    }
    // The end cut off, signatures and all: only who wrote a checkpoint's hash down can tell.
    std::fs::write(&copy, lines[..6].join("\n") + "\n")?;
    assert_eq!(verify(&fixture.gateway, &[&name, &expect]).await?.0, 2);
    // Another installation's key signs nothing here.
    std::fs::write(&copy, &whole)?;
    let foreign = format!("--public-key={}", "ab".repeat(32));
    assert_eq!(verify(&fixture.gateway, &[&name, &foreign]).await?.0, 2);
    Ok(())
}

#[tokio::test]
async fn logs_of_many_replicas_are_verified_at_once_and_the_wrong_one_is_named() -> Result<()> {
    let mut fixture = audited("checkpoint_every = \"1s\"").await?;
    let (_, token) = fixture.signed_in().await?;
    for id in 1..10 {
        send(
            &fixture.url("/mcp"),
            &token,
            &call(id, "search", &json!({})),
        )
        .await?;
    }
    fixture.gateway.restart().await?;
    let (log, archive) = (file(&fixture.gateway), tempfile::tempdir()?);
    for replica in ["one", "two/2026"] {
        let folder = archive.path().join(replica);
        std::fs::create_dir_all(&folder)?;
        for log in [&log, &calls_of(&log)] {
            let name = log.file_name().context("a name")?;
            std::fs::copy(log, folder.join(name))?;
        }
    }
    let name = archive.path().display().to_string();
    let (code, said) = verify(&fixture.gateway, &[&name]).await?;
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches(" records, numbers 1 to ").count(), 4, "{said}");
    let wrong = archive.path().join("two/2026/audit-calls.jsonl");
    let changed = std::fs::read_to_string(&wrong)?.replacen("search", "fetch!", 1);
    std::fs::write(&wrong, changed)?;
    let (code, said) = verify(&fixture.gateway, &[&name]).await?;
    assert_eq!(code, 2, "{said}");
    let broken = said.lines().find(|line| line.starts_with("BROKEN"));
    let broken = broken.context("nothing is broken")?;
    assert!(broken.contains("two/2026/audit-calls.jsonl:"), "{broken}");
    let empty = tempfile::tempdir()?;
    let empty = empty.path().display().to_string();
    assert_eq!(verify(&fixture.gateway, &[&empty]).await?.0, 64);
    Ok(())
}

#[tokio::test]
async fn kills_in_the_middle_leave_a_log_that_verifies_and_holds_what_was_acknowledged()
-> Result<()> {
    let mut fixture = audited("max_size = \"64KiB\"\nkeep = 100").await?;
    let path = file(&fixture.gateway);
    let (_, token) = fixture.signed_in().await?;
    let mut logins = 0;
    for round in 0..12 {
        let url = fixture.url("/mcp");
        let load = tokio::spawn({
            let token = token.clone();
            async move {
                for id in 0..400 {
                    if send(&url, &token, &call(id, "search", &json!({})))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
        });
        let client = fixture.client(&format!("Round {round}")).await?;
        client.sign_in(&fixture.owner).await?;
        logins += 1;
        fixture.gateway.crash_and_restart().await?;
        load.abort();
    }
    // What is written since the last checkpoint is signed.
    fixture.gateway.restart().await?;
    let mut files: Vec<String> = std::fs::read_dir(fixture.gateway.folder())?
        .filter_map(|entry| Some(entry.ok()?.path().display().to_string()))
        .filter(|name| name.contains("audit-calls.jsonl."))
        .collect();
    files.sort();
    assert!(files.len() > 1, "nothing was rotated: {files:?}");
    files.push(calls_of(&path).display().to_string());
    files.push(path.display().to_string());
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (code, said) = verify(&fixture.gateway, &files).await?;
    assert_eq!(code, 0, "{said}");
    let config = fixture.gateway.folder().join("gateway.toml");
    let config = config.display().to_string();
    let mut words = vec!["audit", "export", "--config", &config];
    words.extend(["--event", "token", "--outcome", "allowed"]);
    words.extend(&files);
    let (_, exported, _) = run(&binary("gateway"), &words, "").await?;
    assert_eq!(
        exported.lines().count(),
        logins + 1,
        "tokens that were given"
    );
    assert!(path.exists());
    Ok(())
}

#[tokio::test]
async fn strangers_cannot_push_anything_out_of_the_log() -> Result<()> {
    let fixture = audited("").await?;
    let path = file(&fixture.gateway);
    let url = fixture.url("/mcp");
    let client = http::client();
    for _ in 0..900 {
        assert_eq!(
            client.post(&url).json(&initialize()).send().await?.status(),
            401
        );
    }
    settled(&path, |record| record["reason"] == "token_missing").await?;
    let written = records(&path)?
        .iter()
        .filter(|record| record["reason"] == "token_missing")
        .count();
    assert!(written <= 600, "{written}");
    Ok(())
}

mod on_a_small_disk {
    use super::*;

    async fn on_a_full_disk(on_failure: &str) -> Result<(Fixture, SmallDisk, u16)> {
        let disk = SmallDisk::mount("256k").await?;
        let log = disk.path().join("audit.jsonl");
        let fixture = Fixture::with(StoreKind::Embedded, |setup| {
            setup.more(&format!(
                "[audit]\nfile = \"{}\"\non_failure = \"{on_failure}\"\n",
                log.display()
            ))
        })
        .await?;
        let (_, token) = fixture.signed_in().await?;
        std::fs::write(disk.path().join("filler"), vec![0; 1 << 20]).ok();
        let mut last = 0;
        // The log fails at the first record that finds no room, and says so to the next one.
        for id in 0..200 {
            last = send(
                &fixture.url("/mcp"),
                &token,
                &call(id, "search", &json!({})),
            )
            .await?
            .status;
            if last != 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((fixture, disk, last))
    }

    #[tokio::test]
    #[ignore = "mounts a file system, which takes root"]
    async fn what_the_log_cannot_hold_is_not_given_and_space_mends_it() -> Result<()> {
        let (fixture, disk, status) = on_a_full_disk("refuse").await?;
        assert_eq!(status, 503);
        let client = fixture.client("Late").await;
        assert!(client.is_err(), "a registration was given");
        let ready = http::get(&fixture.gateway.admin_url("/readyz")).await?;
        assert!(ready.text.contains("audit: FAILED"), "{}", ready.text);
        std::fs::remove_file(disk.path().join("filler"))?;
        let start = Instant::now();
        while http::get(&fixture.gateway.admin_url("/readyz"))
            .await?
            .status
            != 200
        {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "space did not mend it"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        fixture.signed_in().await?;
        let log = disk.path().join("audit.jsonl");
        let both = [&log, &calls_of(&log)].map(|file| file.display().to_string());
        let (code, said) = verify(&fixture.gateway, &[&both[0], &both[1]]).await?;
        // 1: no checkpoint signs so young a log yet.
        assert!(code < 2, "{said}");
        assert!(text(&log)?.contains("could not be written"));
        Ok(())
    }

    #[tokio::test]
    #[ignore = "mounts a file system, which takes root"]
    async fn a_command_that_gives_is_written_down_before_it_is_done_or_not_done() -> Result<()> {
        let disk = SmallDisk::mount("256k").await?;
        let log = disk.path().join("audit.jsonl");
        let table = format!("[audit]\nfile = \"{}\"\n", log.display());
        let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&table)).await?;
        std::fs::write(disk.path().join("filler"), vec![0; 1 << 20]).ok();
        let mut told = Vec::new();
        for number in 0..50 {
            let name = format!("person{number}");
            let words = ["users", "add", &name];
            let added = command(&fixture.gateway, &words, "a second correct horse").await?;
            let is_over = added.code != 0;
            told.push((name, added));
            if is_over {
                break;
            }
        }
        std::fs::remove_file(disk.path().join("filler"))?;
        let start = Instant::now();
        while http::get(&fixture.gateway.admin_url("/readyz"))
            .await?
            .status
            != 200
        {
            assert!(start.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let listed = done(&fixture.gateway, &["users", "ls"], "").await?;
        let log = std::fs::read_to_string(&log)?;
        for (name, added) in &told {
            let is_there = listed.out.contains(name.as_str());
            let is_said = added.code == 0 || added.errors.contains("it was done");
            assert_eq!(is_there, is_said, "{name} {added:?}");
            let intent = format!("about to: users add {name}, by ");
            assert!(!is_there || log.contains(&intent), "{name}: {log}");
        }
        let (_, last) = &told[told.len() - 1];
        assert_eq!(last.code, 69, "{last:?}");
        Ok(())
    }

    #[tokio::test]
    #[ignore = "mounts a file system, which takes root"]
    async fn an_operator_may_choose_to_go_on_without_the_log() -> Result<()> {
        let (fixture, _disk, status) = on_a_full_disk("continue").await?;
        assert_eq!(status, 200);
        let (_, token) = fixture.signed_in().await?;
        assert_eq!(
            mcp::send(&fixture.url("/mcp"), &token, &initialize())
                .await?
                .status,
            200
        );
        Ok(())
    }
}
