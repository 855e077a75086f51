//! `gateway policy dry-run`: over logs that the running gateway wrote, who gains and who loses.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::http;
use tests::mcp::{REVISION, call, message, open_session, send};
use tests::program::{binary, run, workspace};

const NOBODY: &str = "[[group]]\nname = \"staff\"\nusers = [\"somebody-else\"]\n";

fn example(name: &str) -> String {
    let path = workspace().join(format!("conf/policies/{name}.biscuit"));
    path.display().to_string()
}

/// The report on a policy once the log holds this many calls and streams, and the exit code.
async fn dry_run(fixture: &Fixture, policy: &str, read: u64) -> Result<(i32, Value)> {
    let config = fixture.gateway.folder().join("gateway.toml");
    let config = config.display().to_string();
    let arguments = [
        "policy", "dry-run", "--config", &config, "--policy", policy, "--json",
    ];
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (code, out, errors) = run(&binary("gateway"), &arguments, "").await?;
        let report: Value = serde_json::from_str(&out).context(errors)?;
        if report["read"] == read || Instant::now() > deadline {
            assert_eq!(report["read"], read, "{report:#}");
            return Ok((code, report));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Everything is allowed by the person, and called.
async fn fixture(more: &str, calls: &[Value]) -> Result<Fixture> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(more)).await?;
    let client = fixture.client("A client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "all"))
        .await?;
    for call in calls {
        send(&fixture.url("/mcp"), &token, call).await?;
    }
    Ok(fixture)
}

/// Who, what, how often.
fn rows(report: &Value, change: &str) -> Vec<(String, String, u64)> {
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (
            text("user"),
            text("what"),
            row["count"].as_u64().unwrap_or_default(),
        )
    };
    report[change]
        .as_array()
        .map_or_else(Vec::new, |rows| rows.iter().map(row).collect())
}

fn row(what: &str, count: u64) -> Vec<(String, String, u64)> {
    vec![("alice".to_owned(), what.to_owned(), count)]
}

#[tokio::test]
async fn who_would_lose_by_a_first_policy_is_told_before_it_is_in_force() -> Result<()> {
    let calls = [
        message(1, "tools/list", &json!({})),
        call(2, "look", &json!({})),
        call(3, "erase", &json!({"recursive": true})),
        call(4, "erase", &json!({"recursive": true})),
    ];
    let fixture = fixture(NOBODY, &calls).await?;
    // What a tool says of itself is known once somebody asked; the list came first.
    let (code, report) = dry_run(&fixture, &example("staff"), 4).await?;
    assert_eq!(code, 1);
    // Each call of `erase` loses, or the log does not know what the tool said of itself; none of
    // them is as before.
    let mut changed = [rows(&report, "loses"), rows(&report, "undecided")].concat();
    changed.retain(|(_, what, _)| what == "tools/call erase");
    let count: u64 = changed.iter().map(|(.., count)| count).sum();
    assert_eq!(count, 2, "{report:#}");
    assert_eq!(report["gains"], json!([]));
    // Arguments are hashes there: of `look` that does not matter, of `erase` it does.
    let (code, report) = dry_run(&fixture, &example("arguments"), 4).await?;
    assert_eq!(
        (code, report["unchanged"].as_u64()),
        (1, Some(2)),
        "{report:#}"
    );
    assert_eq!(
        rows(&report, "undecided"),
        row("tools/call erase", 2),
        "{report:#}"
    );
    let why = report["undecided"][0]["why"].as_str().unwrap_or_default();
    assert_eq!(why, "not in the log: argument, argument_type");
    // Nobody is let in by night; the log knows the time.
    let (_, report) = dry_run(&fixture, &example("not-at-night"), 4).await?;
    assert_eq!(report["undecided"], json!([]), "{report:#}");
    let everything = fixture.gateway.folder().join("everything.biscuit");
    std::fs::write(&everything, "allow if user(\"alice\");\n")?;
    let (code, report) = dry_run(&fixture, &everything.display().to_string(), 4).await?;
    assert_eq!(
        (code, report["unchanged"].as_u64()),
        (0, Some(4)),
        "{report:#}"
    );
    std::fs::write(&everything, "allow if user(\"bob\");\n")?;
    let (_, report) = dry_run(&fixture, &everything.display().to_string(), 4).await?;
    assert_eq!(rows(&report, "loses").len(), 3, "{report:#}");
    Ok(())
}

#[tokio::test]
async fn arguments_that_are_in_the_log_are_judged() -> Result<()> {
    let calls = [
        call(1, "erase", &json!({"recursive": true})),
        call(2, "erase", &json!({"recursive": false})),
    ];
    let fixture = fixture("[audit]\narguments = \"full\"\n", &calls).await?;
    let (code, report) = dry_run(&fixture, &example("arguments"), 2).await?;
    assert_eq!(
        (code, report["unchanged"].as_u64()),
        (1, Some(1)),
        "{report:#}"
    );
    assert_eq!(
        rows(&report, "loses"),
        row("tools/call erase", 1),
        "{report:#}"
    );
    let text = std::fs::read_to_string(example("arguments"))?;
    let line = text.lines().position(|line| {
        line.starts_with("deny if tool(\"erase\"), argument(\"recursive\", true)")
    });
    let at = format!(
        "{}:{}",
        example("arguments"),
        line.context("no such statement")? + 1
    );
    assert_eq!(report["loses"][0]["why"], at);
    Ok(())
}

#[tokio::test]
async fn who_would_gain_is_told_of_what_the_old_policy_refused() -> Result<()> {
    let policy = format!("[policy]\nfile = \"{}\"\n{NOBODY}", example("staff"));
    let calls = [
        call(1, "look", &json!({})),
        call(2, "erase", &json!({})),
        call(3, "erase", &json!({})),
    ];
    let fixture = fixture(&policy, &calls).await?;
    let called = fixture.backend.marked("tools/call").len();
    assert_eq!(called, 1, "the old policy refuses erase");
    let (code, report) = dry_run(&fixture, &example("staff"), 3).await?;
    assert_eq!(
        (code, report["unchanged"].as_u64()),
        (0, Some(3)),
        "{report:#}"
    );
    let new = fixture.gateway.folder().join("new.biscuit");
    std::fs::write(
        &new,
        "deny if tool(\"look\");\nallow if client_kind(\"self_registered\");\n",
    )?;
    let (code, report) = dry_run(&fixture, &new.display().to_string(), 3).await?;
    assert_eq!(code, 1);
    assert_eq!(
        rows(&report, "gains"),
        row("tools/call erase", 2),
        "{report:#}"
    );
    assert_eq!(
        rows(&report, "loses"),
        row("tools/call look", 1),
        "{report:#}"
    );
    Ok(())
}

/// Each resource that it names is judged as one of `resources/subscribe`, too; the log has none of them.
#[tokio::test]
async fn what_a_subscription_named_is_not_guessed() -> Result<()> {
    let listen = json!({"notifications": {"resourceSubscriptions": ["test://a"]}});
    let calls = [message(1, "subscriptions/listen", &listen)];
    let fixture = fixture("", &calls).await?;
    let file = fixture.gateway.folder().join("new.biscuit");
    for (policy, undecided) in [
        ("allow if true;\n", vec![]),
        (
            "deny if method(\"resources/subscribe\");\nallow if true;\n",
            row("subscriptions/listen", 1),
        ),
    ] {
        std::fs::write(&file, policy)?;
        let (_, report) = dry_run(&fixture, &file.display().to_string(), 1).await?;
        assert_eq!(rows(&report, "undecided"), undecided, "{report:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_is_checked_with_every_fault_in_its_place() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("gateway.toml");
    std::fs::write(
        &config,
        format!("{NOBODY}[[backend]]\nurl = \"http://127.0.0.1:9\"\n"),
    )?;
    let config = config.display().to_string();
    let check = |policy: String| {
        let config = config.clone();
        async move {
            let arguments = ["policy", "check", "--config", &config, &policy];
            run(&binary("gateway"), &arguments, "").await
        }
    };
    let (code, out, errors) = check(example("staff")).await?;
    assert_eq!(
        (code, out.contains("3 statements")),
        (0, true),
        "{out}{errors}"
    );
    let wrong = folder.path().join("wrong.biscuit");
    std::fs::write(&wrong, "allow if true;\n\nallow if usr(\"alice\");\n")?;
    let (code, _, errors) = check(wrong.display().to_string()).await?;
    assert_eq!(code, 64);
    assert!(errors.contains("wrong.biscuit:3:"), "{errors}");
    assert!(errors.contains("user"), "{errors}");
    Ok(())
}

/// A world under a policy, in a file of its own, and a token for everything.
async fn under(policy: &str) -> Result<(Fixture, String, String, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit").display().to_string();
    std::fs::write(&file, policy)?;
    let more = format!("[policy]\nfile = \"{file}\"\n");
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    let client = fixture.client("A client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "all"))
        .await?;
    Ok((fixture, token, file, folder))
}

#[tokio::test]
async fn what_was_refused_without_a_method_is_judged_as_what_it_was() -> Result<()> {
    let policy = "deny if message(\"response\");\ndeny if message(\"end\");\nallow if harmless(true);\nallow if tool(\"look\");\n";
    let (fixture, token, file, folder) = under(policy).await?;
    let url = fixture.url("/mcp");
    let session = open_session(&url, &token).await?;
    let response = json!({"jsonrpc": "2.0", "id": 9, "result": {"action": "accept"}});
    let refused = send(&url, &token, &response).await?;
    // Nobody waits for an answer to an answer: it goes no further, and the session goes on.
    assert_eq!(refused.status, 202, "{}", refused.text);
    let ended = http::send(
        http::client()
            .delete(&url)
            .bearer_auth(&token)
            .header("Mcp-Session-Id", &session),
    )
    .await?;
    assert_eq!(ended.status, 403, "{}", ended.text);
    // A batch whose first message has no method: nothing in its text tells that it is one.
    let batch = json!([response, message(3, "tools/list", &json!({}))]);
    let request = http::client()
        .post(&url)
        .bearer_auth(&token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json");
    let refused = http::send(request.body(batch.to_string())).await?;
    assert_eq!(refused.json()[0]["id"], 3, "{}", refused.text);
    // Besides, the one call of the handshake.
    let (_, report) = dry_run(&fixture, &file, 4).await?;
    assert_eq!(
        (&report["gains"], &report["loses"]),
        (&json!([]), &json!([])),
        "{report:#}"
    );
    let why = report["undecided"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("batch"), "{report:#}");
    assert_eq!(report["undecided"].as_array().map(Vec::len), Some(1));
    let new = folder.path().join("new.biscuit");
    std::fs::write(&new, "deny if message(\"end\");\nallow if true;\n")?;
    let (_, report) = dry_run(&fixture, &new.display().to_string(), 4).await?;
    assert_eq!(rows(&report, "gains"), row("a response", 1), "{report:#}");
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_session_is_no_stream() -> Result<()> {
    let (fixture, token, _, folder) = under("allow if true;\n").await?;
    let url = fixture.url("/mcp");
    let session = open_session(&url, &token).await?;
    let request = http::client()
        .delete(&url)
        .bearer_auth(&token)
        .header("Mcp-Session-Id", &session);
    http::send(request).await?;
    let new = folder.path().join("new.biscuit");
    let by = async |policy: &str| {
        std::fs::write(&new, policy)?;
        dry_run(&fixture, &new.display().to_string(), 2).await
    };
    let (code, report) = by("deny if message(\"stream\");\nallow if true;\n").await?;
    assert_eq!((code, &report["loses"]), (0, &json!([])), "{report:#}");
    let (_, report) = by("deny if message(\"end\");\nallow if true;\n").await?;
    assert_eq!(
        rows(&report, "loses"),
        row("the end of a session", 1),
        "{report:#}"
    );
    Ok(())
}

#[tokio::test]
async fn scope_and_revision_are_in_the_log() -> Result<()> {
    let fixture = fixture(NOBODY, &[call(1, "look", &json!({}))]).await?;
    let new = fixture.gateway.folder().join("new.biscuit");
    for (policy, unchanged) in [
        (
            format!("allow if scope(\"mcp\"), protocol_version(\"{REVISION}\");"),
            1,
        ),
        (
            format!("allow if scope(\"other\"), protocol_version(\"{REVISION}\");"),
            0,
        ),
        (
            "allow if scope(\"mcp\"), protocol_version(\"2024-11-05\");".to_owned(),
            0,
        ),
    ] {
        std::fs::write(&new, &policy)?;
        let (_, report) = dry_run(&fixture, &new.display().to_string(), 1).await?;
        assert_eq!(report["unchanged"], unchanged, "{policy} {report:#}");
        assert_eq!(report["undecided"], json!([]), "{policy} {report:#}");
    }
    Ok(())
}
