//! Whatever apps and strangers send, the audit log keeps what gives and takes access, no line of a
//! log is long, and logs of before there were two are read as they were.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::http;
use tests::mcp::{call, initialize, message, send};
use tests::program::{binary, run};

/// No line of a log is longer, whatever was sent.
const LONGEST_LINE: usize = 16 * 1024;

async fn audited(more: &str) -> Result<Fixture> {
    let more = format!("[audit]\nfile = \"audit.jsonl\"\n{more}\n");
    Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await
}

/// The files of a log, the current one last.
fn files(fixture: &Fixture, name: &str) -> Result<Vec<PathBuf>> {
    let folder = fixture.gateway.folder();
    let rotated = format!("{name}.");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&rotated)
        })
        .collect();
    files.sort();
    files.push(folder.join(name));
    Ok(files)
}

fn records(files: &[PathBuf]) -> Result<Vec<Value>> {
    let mut records = Vec::new();
    for file in files {
        for line in std::fs::read_to_string(file)?.lines() {
            assert!(
                line.len() < LONGEST_LINE,
                "{} bytes: {}",
                line.len(),
                &line[..2000]
            );
            records.push(serde_json::from_str(line).context(line.to_owned())?);
        }
    }
    Ok(records)
}

async fn audit(words: &[&str], files: &[PathBuf], fixture: &Fixture) -> Result<(i32, String)> {
    let config = fixture.gateway.folder().join("gateway.toml");
    let config = config.display().to_string();
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let mut all = words.to_vec();
    all.extend(["--config", &config]);
    all.extend(files.iter().map(String::as_str));
    let (code, out, errors) = run(&binary("gateway"), &all, "").await?;
    Ok((code, out + &errors))
}

fn of_event<'r>(records: &'r [Value], event: &str) -> Vec<&'r Value> {
    let is_of = |record: &&Value| record["event"] == *event;
    records.iter().filter(is_of).collect()
}

/// Everything that an app can put a long text into.
fn long_messages(id: u64, text: &str) -> Vec<Value> {
    vec![
        message(id, text, &json!({})),
        message(
            id,
            &format!("tools/{text}"),
            &json!({"name": text, "uri": text}),
        ),
        call(id, text, &json!({})),
        call(id, "search", &json!({ text: text })),
        message(id, "prompts/get", &json!({"name": text})),
        message(id, "resources/read", &json!({"uri": text})),
        message(
            id,
            "resources/subscribe",
            &json!({"uri": format!("file:///{text}")}),
        ),
        message(
            id,
            "completion/complete",
            &json!({"ref": {"type": "ref/prompt", "name": text}}),
        ),
        json!({"jsonrpc": "2.0", "method": format!("notifications/{text}")}),
        json!({"jsonrpc": "2.0", "id": text, "result": {}}),
        json!([
            message(id, text, &json!({})),
            call(id + 1, text, &json!({}))
        ]),
    ]
}

#[tokio::test]
async fn whatever_an_app_calls_pushes_no_consent_out_and_no_line_is_long() -> Result<()> {
    let policy = "[policy]\nfile = \"p.biscuit\"\n";
    let text = "allow if harmless(true);\n";
    let mut fixture = audited("max_size = \"64KiB\"\nkeep = 2").await?;
    let (_, token) = fixture.signed_in().await?;
    std::fs::write(fixture.gateway.folder().join("p.biscuit"), text)?;
    let policy = policy.replace(
        "p.biscuit",
        &fixture
            .gateway
            .folder()
            .join("p.biscuit")
            .display()
            .to_string(),
    );
    fixture.gateway.setup().more.push_str(&policy);
    fixture.gateway.restart().await?;
    let url = fixture.url("/mcp");
    let mut sent = 0;
    for (unit, length) in [
        ("x", 257),
        ("ä", 4_000),
        ("x", 60_000),
        ("\u{202e}", 20_000),
        ("\"", 30_000),
        ("\u{1}", 30_000),
    ] {
        let text = unit.repeat(length);
        for round in 0..4 {
            for message in long_messages(round * 100, &text) {
                // Refused or not: it is answered.
                send(&url, &token, &message).await?;
                sent += 1;
            }
        }
    }
    for message in long_messages(1, &"x".repeat(3_900_000)).into_iter().take(6) {
        send(&url, &token, &message).await?;
        sent += 1;
    }
    fixture.gateway.restart().await?;
    let access = files(&fixture, "audit.jsonl")?;
    let kept = records(&access)?;
    for event in ["login", "consent", "token"] {
        assert_eq!(of_event(&kept, event).len(), 1, "{event}");
    }
    assert_eq!(of_event(&kept, "call").len(), 0);
    let calls = files(&fixture, "audit-calls.jsonl")?;
    let written = records(&calls)?;
    assert!(calls.len() > 1, "nothing was rotated");
    let whole: usize = calls.iter().map(|file| size(file)).sum();
    assert!(whole < 4 * 64 * 1024, "{whole} bytes are kept");
    let cut = written.iter().filter(|record| {
        let name = record["name"].as_str().or(record["method"].as_str());
        name.is_some_and(|name| name.contains("bytes, sha256 "))
    });
    assert!(cut.count() > 10);
    for line in fixture.gateway.log() {
        assert!(
            line.len() < LONGEST_LINE,
            "{} bytes in the other log",
            line.len()
        );
    }
    let all = [access, calls].concat();
    let (code, said) = audit(&["audit", "verify"], &all, &fixture).await?;
    // 1: files of calls were rotated away, which is said; of those that give access none was.
    let is_rotated = said.contains("audit-calls.jsonl: numbers 1 to ");
    assert_eq!(code, i32::from(is_rotated), "{said}");
    assert!(!said.contains("audit.jsonl: numbers 1 to "), "{said}");
    let words = ["audit", "export", "--event", "consent"];
    let (_, exported) = audit(&words, &all, &fixture).await?;
    assert_eq!(exported.lines().count(), 1, "{exported}");
    println!("{sent} messages with a long text: every record is short, every consent is there");
    Ok(())
}

fn size(path: &Path) -> usize {
    let length = path.metadata().map(|metadata| metadata.len());
    usize::try_from(length.unwrap_or_default()).unwrap_or(usize::MAX)
}

#[tokio::test]
async fn one_grant_writes_so_much_in_an_hour_and_the_rest_is_counted() -> Result<()> {
    const CALLS: u64 = 6_400;
    let mut fixture = audited("").await?;
    let (_, token) = fixture.signed_in().await?;
    let (url, client) = (fixture.url("/mcp"), http::client());
    let body = message(1, "ping", &json!({})).to_string();
    let mut workers = Vec::new();
    for _ in 0..8 {
        let (url, token, body, client) = (url.clone(), token.clone(), body.clone(), client.clone());
        workers.push(tokio::spawn(async move {
            for _ in 0..CALLS / 8 {
                let request = client.post(&url).bearer_auth(&token);
                let request = request.header("content-type", "application/json");
                let request = request.header("accept", "application/json, text/event-stream");
                let reply = request.body(body.clone()).send().await?;
                reply.bytes().await?;
            }
            anyhow::Ok(())
        }));
    }
    for worker in workers {
        worker.await??;
    }
    // Another tool of the same grant, and whatever gives access, is written still.
    send(&url, &token, &call(2, "search", &json!({}))).await?;
    let (_, other) = fixture.signed_in().await?;
    send(&url, &other, &initialize()).await?;
    fixture.gateway.restart().await?;
    let calls = records(&files(&fixture, "audit-calls.jsonl")?)?;
    let pings: Vec<&Value> = calls.iter().filter(|it| it["method"] == "ping").collect();
    let one_by_one = of_event(&calls, "call")
        .into_iter()
        .filter(|record| record["method"] == "ping")
        .count();
    assert!((6_000..=6_010).contains(&one_by_one), "{one_by_one}");
    let counted: u64 = pings
        .iter()
        .filter(|record| record["event"] == "unwritten")
        .filter_map(|record| {
            record["detail"]
                .as_str()?
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    assert_eq!(one_by_one as u64 + counted, CALLS);
    assert!(calls.iter().any(|record| record["name"] == "search"));
    let access = records(&files(&fixture, "audit.jsonl")?)?;
    assert_eq!(of_event(&access, "consent").len(), 2);
    println!("{CALLS} calls of one grant: {one_by_one} lines, {counted} counted");
    Ok(())
}

#[tokio::test]
async fn a_log_of_before_there_were_two_is_gone_on_with_and_read_with_the_new_one() -> Result<()> {
    let mut fixture = audited("checkpoint_every = \"1s\"").await?;
    let (_, token) = fixture.signed_in().await?;
    let url = fixture.url("/mcp");
    for id in 0..5 {
        send(&url, &token, &call(id, "search", &json!({}))).await?;
    }
    let folder = fixture.gateway.folder();
    let (old, calls) = (folder.join("audit.jsonl"), folder.join("audit-calls.jsonl"));
    let start = Instant::now();
    while of_event(&records(std::slice::from_ref(&calls))?, "call").len() < 5 {
        anyhow::ensure!(start.elapsed() < Duration::from_secs(5), "not in the log");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // One file, one chain, calls in it: a log as earlier versions wrote it.
    std::fs::rename(&calls, &old)?;
    fixture.gateway.restart().await?;
    let one = [old.clone()];
    let (code, said) = audit(&["audit", "verify"], &one, &fixture).await?;
    assert_eq!(code, 0, "{said}");
    send(&url, &token, &call(9, "fetch", &json!({}))).await?;
    fixture.signed_in().await?;
    fixture.gateway.restart().await?;
    let both = [old, calls];
    let (code, said) = audit(&["audit", "verify"], &both, &fixture).await?;
    assert_eq!(code, 0, "{said}");
    let (_, exported) = audit(&["audit", "export"], &both, &fixture).await?;
    let exported: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).context(line.to_owned()))
        .collect::<Result<_>>()?;
    assert_eq!(of_event(&exported, "call").len(), 6);
    assert_eq!(of_event(&exported, "consent").len(), 1);
    let times: Vec<&str> = exported
        .iter()
        .filter_map(|it| it["time"].as_str())
        .collect();
    assert!(times.is_sorted(), "two logs are told in the order of time");
    let policy = folder.join("new.biscuit");
    std::fs::write(
        &policy,
        "allow if harmless(true); allow if tool(\"fetch\");\n",
    )?;
    let policy = policy.display().to_string();
    let words = ["policy", "dry-run", "--json", "--policy", &policy];
    let (_, report) = audit(&words, &both, &fixture).await?;
    let report: Value = serde_json::from_str(&report).context(report.clone())?;
    assert_eq!(report["read"], 6, "{report:#}");
    assert_eq!(
        report["loses"][0]["what"], "tools/call search",
        "{report:#}"
    );
    assert_eq!(report["loses"][0]["count"], 5, "{report:#}");
    // A line of either is missed.
    for path in &both {
        let whole = std::fs::read_to_string(path)?;
        let mut lines: Vec<&str> = whole.lines().collect();
        lines.remove(2);
        std::fs::write(path, lines.join("\n") + "\n")?;
        let (code, said) = audit(&["audit", "verify"], &both, &fixture).await?;
        assert_eq!(code, 2, "{said}");
        std::fs::write(path, whole)?;
    }
    Ok(())
}
