//! Tokens that their holders narrowed, offline and with every tool that can: the gateway allows
//! exactly what is left, and takes nothing else (issue: Narrowing; V-BDOS, V-B3P).

mod flood;
mod recipes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::{KeyPair, UnverifiedBiscuit};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Gateway;
use tests::http::{self, Reply};
use tests::mcp::{self, call, initialize, message, send};
use tests::program::{binary, run, workspace};
use tests::verifier;

/// `gateway token …` with a token on standard input; its whole standard output.
async fn token_command(arguments: &[&str], token: &str) -> Result<String> {
    let arguments: Vec<String> = ["token"]
        .iter()
        .chain(arguments)
        .map(|word| (*word).to_owned())
        .collect();
    let (code, out, errors) = run(&binary("gateway"), &arguments, token).await?;
    anyhow::ensure!(code == 0, "{arguments:?} ended with {code}: {errors}");
    Ok(out.trim().to_owned())
}

async fn narrow(token: &str, arguments: &[&str]) -> Result<String> {
    let arguments: Vec<&str> = ["narrow"].iter().chain(arguments).copied().collect();
    token_command(&arguments, token).await
}

fn reason(reply: &Reply) -> String {
    reply.json()["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Calls a tool; status and reason.
async fn tried(
    fixture: &Fixture,
    token: &str,
    tool: &str,
    arguments: Value,
) -> Result<(u16, String)> {
    let reply = send(&fixture.url("/mcp"), token, &call(1, tool, &arguments)).await?;
    // A refused call is answered within MCP, so that its session goes on.
    let within = reply.json()["result"]["_meta"]["reason"]
        .as_str()
        .map(str::to_owned);
    let reason = match reply.status {
        200 => within.unwrap_or_default(),
        _ => reason(&reply),
    };
    Ok((reply.status, reason))
}

fn refused(reason: &str) -> (u16, String) {
    (200, reason.to_owned())
}

fn allowed() -> (u16, String) {
    (200, String::new())
}

fn append(token: &str, code: &str) -> Result<String> {
    Ok(UnverifiedBiscuit::from_base64(token)?
        .append(BlockBuilder::new().code(code)?)?
        .to_base64()?)
}

#[tokio::test]
async fn a_token_narrowed_by_the_command_allows_exactly_what_was_left() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let child = narrow(
        &token,
        &[
            "--tool",
            "echo",
            "--tool",
            "look",
            "--argument",
            "path=/public/",
            "--for",
            "15m",
        ],
    )
    .await?;
    let path = |path: &str| json!({"path": path, "marker": "child"});
    assert_eq!(
        tried(&fixture, &child, "echo", path("/public/a")).await?,
        allowed()
    );
    let reached = fixture.backend.marked("child").len();
    for (tool, arguments) in [
        ("erase", path("/public/a")),
        ("echo", path("/secret")),
        ("echo", path("/public/../secret")),
        ("echo", path("/public/%2e%2e/secret")),
        ("echo", json!({"marker": "child"})),
        ("echo", json!({"marker": "child", "path": ["/public/a"]})),
        (
            "echo",
            json!({"marker": "child", "path": "/public/a", "Path": "/secret"}),
        ),
        (
            "echo",
            json!({"marker": "child", "nested": {"path": "/public/a"}}),
        ),
    ] {
        let got = tried(&fixture, &child, tool, arguments.clone()).await?;
        assert_eq!(got, refused("token_narrowed"), "{tool} {arguments}");
    }
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"marker":"child","path":"/public/a","path":"/secret"}}}"#;
    let reply = http::send(mcp::post(&fixture.url("/mcp"), &child, &json!({})).body(twice)).await?;
    assert_eq!(reply.status, 400, "{}", reply.text);
    // What opens a session goes on; what may do anything does not.
    for (method, is_refused) in [
        ("initialize", false),
        ("ping", false),
        ("tools/list", false),
        ("resources/read", true),
        ("prompts/get", true),
        ("completion/complete", true),
        ("tasks/result", true),
        ("tools/call_many", true),
    ] {
        let params = json!({"uri": "x", "name": "x", "protocolVersion": mcp::REVISION});
        let reply = send(&fixture.url("/mcp"), &child, &message(2, method, &params)).await?;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text);
        let error = reply.json()["error"]["data"]["reason"].is_string();
        assert_eq!(error, is_refused, "{method}: {}", reply.text);
    }
    assert_eq!(
        fixture.backend.marked("child").len(),
        reached,
        "something got through"
    );
    // The parent is what it was.
    assert_eq!(
        tried(&fixture, &token, "erase", json!({})).await?,
        allowed()
    );
    Ok(())
}

#[tokio::test]
async fn narrowing_a_narrowed_token_never_gives_anything_back() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let one = narrow(&token, &["--tool", "echo", "--read-only"]).await?;
    let two = narrow(
        &one,
        &["--tool", "echo", "--tool", "erase", "--backend", "main"],
    )
    .await?;
    let sealed = narrow(&two, &["--seal"]).await?;
    for token in [&one, &two, &sealed] {
        assert_eq!(tried(&fixture, token, "echo", json!({})).await?, allowed());
        assert_eq!(
            tried(&fixture, token, "erase", json!({})).await?,
            refused("token_narrowed")
        );
    }
    assert!(narrow(&sealed, &["--tool", "echo"]).await.is_err());
    let reads = narrow(&token, &["--read-only"]).await?;
    assert_eq!(tried(&fixture, &reads, "look", json!({})).await?, allowed());
    assert_eq!(
        tried(&fixture, &reads, "erase", json!({})).await?,
        refused("token_narrowed")
    );
    let elsewhere = narrow(&token, &["--backend", "files"]).await?;
    assert_eq!(
        tried(&fixture, &elsewhere, "echo", json!({})).await?,
        (401, "token_wrong_audience".to_owned())
    );
    let exact = narrow(&token, &["--argument-is", "dry_run=true"]).await?;
    assert_eq!(
        tried(&fixture, &exact, "erase", json!({"dry_run": true})).await?,
        allowed()
    );
    for arguments in [
        json!({"dry_run": false}),
        json!({"dry_run": "true"}),
        json!({}),
    ] {
        assert_eq!(
            tried(&fixture, &exact, "erase", arguments).await?,
            refused("token_narrowed")
        );
    }
    let shown = token_command(&["inspect"], &two).await?;
    assert!(shown.contains("narrows: 2 conditions"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn a_stream_and_a_call_end_with_the_narrowed_life_and_with_the_ancestor() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (client, token) = fixture.signed_in().await?;
    let child = narrow(&token, &["--for", "3s"]).await?;
    let started = Instant::now();
    let session = mcp::open_session(&fixture.url("/mcp"), &child).await?;
    let stream = http::client()
        .get(fixture.url("/mcp"))
        .bearer_auth(&child)
        .header("Accept", "text/event-stream")
        .header("Mcp-Session-Id", session)
        .send()
        .await?;
    assert_eq!(stream.status(), 200);
    // Ended properly: the body is complete.
    tokio::time::timeout(Duration::from_secs(10), stream.text()).await??;
    let lived = started.elapsed();
    assert!(lived < Duration::from_secs(8), "{lived:?}");
    assert_eq!(
        tried(&fixture, &child, "echo", json!({})).await?,
        (401, "token_expired".to_owned())
    );
    let grandchild = narrow(&narrow(&token, &["--tool", "echo"]).await?, &["--seal"]).await?;
    assert_eq!(
        tried(&fixture, &grandchild, "echo", json!({})).await?,
        allowed()
    );
    assert_eq!(client.revoke(&token).await?.status, 200);
    assert_eq!(
        tried(&fixture, &grandchild, "echo", json!({})).await?,
        (401, "grant_revoked".to_owned())
    );
    Ok(())
}

/// Runs one of the documented recipes.
async fn recipe(interpreter: PathBuf, arguments: &[String], token: &str) -> Result<(i32, String)> {
    assert!(
        interpreter.exists(),
        "{} is missing: `tests/run` installs it",
        interpreter.display()
    );
    let (code, out, errors) = run(&interpreter, arguments, token).await?;
    Ok((code, format!("{}{errors}", out.trim())))
}

fn script(name: &str) -> String {
    let path = workspace().join("tests/narrowing").join(name);
    path.display().to_string()
}

fn python() -> PathBuf {
    workspace().join("tests/.work/python-narrowing/bin/python")
}

fn node() -> PathBuf {
    std::env::var_os("TEST_NODE")
        .map_or_else(|| workspace().join("tests/.work/node"), PathBuf::from)
}

#[tokio::test]
async fn a_tool_that_needs_an_approval_runs_only_with_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let public = token_command(&["approver-key", &file("approver")], "").await?;
    token_command(&["approver-key", &file("stranger")], "").await?;
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(&format!(
            "approval_required = [\"erase\"]\n[approvers]\n\"release team\" = \"{public}\"\n"
        ))
    })
    .await?;
    let (_, token) = fixture.signed_in().await?;
    let approve = async |key: &str, tool: &str, lasts: &str| {
        let file = file(key);
        token_command(
            &["approve", "--key", &file, "--tool", tool, "--for", lasts],
            &token,
        )
        .await
    };
    assert_eq!(
        tried(&fixture, &token, "erase", json!({})).await?,
        refused("approval_missing")
    );
    assert_eq!(tried(&fixture, &token, "echo", json!({})).await?, allowed());
    let approved = approve("approver", "erase", "1h").await?;
    assert_eq!(
        tried(&fixture, &approved, "erase", json!({})).await?,
        allowed()
    );
    for (key, tool, lasts, expected) in [
        ("approver", "echo", "1h", refused("approval_missing")),
        ("approver", "erase", "0s", refused("approval_missing")),
        (
            "stranger",
            "erase",
            "1h",
            (401, "token_narrowing_refused".to_owned()),
        ),
    ] {
        let token = approve(key, tool, lasts).await?;
        assert_eq!(
            tried(&fixture, &token, "erase", json!({})).await?,
            expected,
            "{key} {tool}"
        );
    }
    // An approval widens nothing that was narrowed, and a holder can't write one.
    let narrowed = narrow(&approved, &["--tool", "echo"]).await?;
    assert_eq!(
        tried(&fixture, &narrowed, "erase", json!({})).await?,
        refused("token_narrowed")
    );
    let own = append(&token, "approved(\"erase\", 2099-01-01T00:00:00Z)")?;
    assert_eq!(
        tried(&fixture, &own, "erase", json!({})).await?,
        (401, "token_narrowing_refused".to_owned())
    );
    Ok(())
}

/// A gateway whose two backends are told who calls.
async fn told() -> Result<Fixture> {
    Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("token_header = \"X-Gateway-Token\"\n")
    })
    .await
}

async fn keys(gateway: &Gateway) -> Result<HashMap<u32, String>> {
    let reply = http::get(&gateway.url("/.well-known/biscuit-web-keys")).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.header("cache-control").contains("max-age"));
    verifier::keys(&reply.text)
}

#[tokio::test]
async fn a_backend_can_check_offline_who_calls() -> Result<()> {
    let fixture = told().await?;
    let (client, token) = fixture.signed_in().await?;
    let keys = keys(&fixture.gateway).await?;
    let mut request = mcp::post(
        &fixture.url("/mcp"),
        &token,
        &call(1, "echo", &json!({"marker": "who"})),
    );
    for spelling in ["X-Gateway-Token", "x_gateway_token", "X.Gateway-Token"] {
        request = request.header(spelling, "forged");
    }
    assert_eq!(http::send(request).await?.status, 200);
    let arrived = fixture.backend.marked("who");
    let seen = &arrived[0];
    assert!(
        seen.headers.iter().all(|(_, value)| value != "forged"),
        "{:?}",
        seen.headers
    );
    let passed = seen
        .header("x-gateway-token")
        .context("no token")?
        .to_owned();
    assert!(
        seen.headers
            .iter()
            .all(|(_, value)| !value.contains(&token))
    );

    // In Rust.
    // A backend has no clock but the system's.
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now();
    let caller = verifier::who_calls(&passed, &keys, "main", now)?;
    assert_eq!(
        (caller.user.as_str(), caller.client.as_str()),
        (fixture.owner.name.as_str(), client.client_id.as_str())
    );
    assert!(caller.grant.starts_with("g_"));
    let later = now + Duration::from_secs(301);
    assert!(verifier::who_calls(&passed, &keys, "main", later).is_err());
    assert!(verifier::who_calls(&passed, &keys, "files", now).is_err());
    assert!(verifier::who_calls(&token, &keys, "main", now).is_err());
    let other = HashMap::from([(1, KeyPair::new().public().to_bytes_hex())]);
    assert!(verifier::who_calls(&passed, &other, "backend", now).is_err());
    for at in (0..passed.len()).step_by(7) {
        let mut damaged = passed.clone().into_bytes();
        damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged)?;
        assert!(
            verifier::who_calls(&damaged, &keys, "main", now).is_err(),
            "{at}"
        );
    }

    // In Python.
    let ask = async |token: &str, backend: &str| {
        let arguments = [
            script("verify.py"),
            fixture.gateway.origin(),
            backend.to_owned(),
        ];
        recipe(python(), &arguments, token).await
    };
    let (code, out) = ask(&passed, "main").await?;
    assert_eq!(code, 0, "{out}");
    let said: Value = serde_json::from_str(&out)?;
    assert_eq!(said["user"], fixture.owner.name.as_str());
    assert_eq!(said["client"], client.client_id.as_str());
    let cut = &passed[..passed.len() - 8];
    for (token, backend) in [
        (passed.as_str(), "files"),
        (token.as_str(), "main"),
        (cut, "main"),
    ] {
        let (code, out) = ask(token, backend).await?;
        assert_eq!(code, 1, "{out}");
        assert!(out.contains("refused"), "{out}");
    }

    // It opens nothing here, and nothing can be made of it.
    let reply = send(&fixture.url("/mcp"), &passed, &initialize()).await?;
    assert_eq!(reply.status, 401, "{}", reply.text);
    assert!(append(&passed, "check if backend(\"main\")").is_err());

    // The next call gets the same one: it is minted once in minutes.
    send(
        &fixture.url("/mcp"),
        &token,
        &call(2, "echo", &json!({"marker": "again"})),
    )
    .await?;
    assert_eq!(
        fixture.backend.marked("again")[0].header("x-gateway-token"),
        Some(passed.as_str())
    );
    Ok(())
}

#[tokio::test]
async fn the_command_refuses_what_would_be_no_narrowing() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for arguments in [
        &[][..],
        &["--argument", "path"],
        &["--for", "soon"],
        &["--until", "x"],
    ] {
        assert!(narrow(&token, arguments).await.is_err(), "{arguments:?}");
    }
    assert!(narrow("nonsense", &["--tool", "echo"]).await.is_err());
    // No token in a file that others could have put there is read by mistake.
    assert!(!Path::new("token").exists());
    Ok(())
}
