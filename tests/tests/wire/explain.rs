//! `gateway explain`: for each example policy, and for tokens of a running gateway, what it answers
//! and what the gateway then does.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::mcp::{call, response, send};
use tests::program::{binary, run, workspace};

/// The end of a configuration in which every example policy can be read.
const GROUND: &str = r#"
[[group]]
name = "staff"
users = ["alice"]
[[network]]
name = "office"
addresses = ["192.0.2.0/24"]
[approvers]
ops = "ed25519/d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
[[client]]
id = "our-editor"
name = "Our editor"
redirect_uris = ["http://127.0.0.1/callback"]
"#;

fn example(name: &str) -> PathBuf {
    workspace().join(format!("conf/policies/{name}.biscuit"))
}

/// Exit code and answer.
async fn explain(config: &str, arguments: &[&str], input: &str) -> Result<(i32, Value)> {
    let mut all = vec!["explain", "--config", config, "--json"];
    all.extend(arguments);
    let (code, out, errors) = run(&binary("gateway"), &all, input).await?;
    let answer = serde_json::from_str(&out).unwrap_or_else(|_| json!(errors));
    Ok((code, answer))
}

/// A folder with a configuration around an example policy.
fn configured(policy: &str) -> Result<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("gateway.toml");
    let policy = example(policy);
    let toml = format!(
        "[policy]\nfile = \"{}\"\n{GROUND}[[backend]]\nurl = \"http://127.0.0.1:9\"\n",
        policy.display()
    );
    std::fs::write(&path, toml)?;
    Ok((folder, path.display().to_string()))
}

#[tokio::test]
async fn each_example_policy_is_explained_by_its_own_statements() -> Result<()> {
    // The question, the reason against it, and what decides: a rule, or a check that does not hold.
    let questions: &[(&str, &str, &str, &str)] = &[
        (
            "staff",
            "--user alice --tool erase --label destructive",
            "",
            "allow if group(\"staff\")",
        ),
        (
            "staff",
            "--user bob --tool look --label read-only",
            "",
            "allow if read_only(true)",
        ),
        (
            "staff",
            "--user bob --tool erase --label destructive",
            "policy_denied",
            "",
        ),
        (
            "staff",
            "--user bob --method tools/list",
            "",
            "allow if harmless(true)",
        ),
        (
            "one-folder",
            "--user bob --client our-editor --tool read_file --argument path=/public/a --offline",
            "",
            "allow if client($app), limited_to",
        ),
        (
            "one-folder",
            "--user bob --client our-editor --tool read_file --argument path=/secret --offline",
            "policy_denied",
            "deny if client($app), limited_to",
        ),
        (
            "one-folder",
            r#"--user bob --client our-editor --tool read_file --arguments {"path":"/public/../secret"} --offline"#,
            "policy_failed",
            "",
        ),
        (
            "not-at-night",
            "--user bob --tool look --at 2026-11-24T12:00:00Z --offline",
            "",
            "allow if true",
        ),
        (
            "not-at-night",
            "--user bob --tool look --at 2026-11-24T23:00:00Z --offline",
            "policy_denied",
            "check if harmless(true) or hour",
        ),
        (
            "not-at-night",
            "--user bob --tool look --at 2026-11-22T12:00:00Z --offline",
            "policy_denied",
            "check if harmless(true) or weekday",
        ),
        (
            "arguments",
            "--user bob --tool erase --argument recursive=false --offline",
            "",
            "allow if true",
        ),
        (
            "arguments",
            "--user bob --tool erase --argument recursive=true --offline",
            "policy_denied",
            "deny if tool(\"erase\"), argument(\"recursive\", true)",
        ),
        (
            "arguments",
            "--user bob --tool send_mail --argument to[0]=x@evil.example --offline",
            "policy_denied",
            "deny if tool(\"send_mail\")",
        ),
        (
            "approval",
            "--user bob --tool look --address 192.0.2.7 --offline",
            "",
            "allow if true",
        ),
        (
            "approval",
            "--user bob --tool deploy --address 192.0.2.7 --offline",
            "policy_denied",
            "deny if tool(\"deploy\")",
        ),
        (
            "approval",
            "--user bob --tool look --address 198.51.100.1 --offline",
            "policy_denied",
            "check if network(\"office\")",
        ),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (policy, arguments, reason, statement) in questions {
        let (_folder, config) = configured(policy)?;
        let words: Vec<&str> = arguments.split(' ').collect();
        let (code, answer) = explain(&config, &words, "").await?;
        let asked = format!("{policy} {arguments}: {answer:#}");
        assert_eq!(code, i32::from(!reason.is_empty()), "{asked}");
        assert_eq!(
            answer["reason"].as_str().unwrap_or_default(),
            *reason,
            "{asked}"
        );
        if !statement.is_empty() {
            let place = if answer["unmet"][0].is_object() {
                &answer["unmet"][0]
            } else {
                &answer["rule"]
            };
            let text = std::fs::read_to_string(example(policy))?;
            let line = text.lines().position(|line| line.starts_with(statement));
            let line = line.context("no such statement")? + 1;
            let at = format!("{}:{line}", example(policy).display());
            assert_eq!(place["at"], at, "{asked}");
        }
        assert!(
            !answer["facts"].as_array().is_none_or(Vec::is_empty),
            "{asked}"
        );
        seen.insert(policy.to_string());
    }
    let files = std::fs::read_dir(workspace().join("conf/policies"))?.count();
    assert_eq!(seen.len(), files, "an example policy is asked nothing");
    Ok(())
}

#[tokio::test]
async fn a_token_of_the_running_gateway_is_explained_as_the_gateway_decides() -> Result<()> {
    let more = "[scope.read]\nwords = \"Read\"\nread_only = true\ndefault = true\n\
                [scope.erase]\nwords = \"Delete\"\ntools = [\"erase\"]\n";
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(more)).await?;
    let config = fixture.gateway.folder().join("gateway.toml");
    let config = config.display().to_string();
    let client = fixture.client("A client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    let narrow = ["token", "narrow", "--tool", "echo"];
    let (_, narrowed, _) = run(&binary("gateway"), &narrow, &token).await?;
    for (token, tool, reason) in [
        (token.as_str(), "look", ""),
        (&token, "echo", "tool_not_allowed"),
        (&token, "erase", "scope_insufficient"),
        (narrowed.trim(), "echo", "tool_not_allowed"),
        (narrowed.trim(), "look", "token_narrowed"),
    ] {
        let arguments = ["--token", "-", "--tool", tool];
        let (code, answer) = explain(&config, &arguments, token).await?;
        assert_eq!(
            answer["reason"].as_str().unwrap_or_default(),
            reason,
            "{tool}: {answer:#}"
        );
        assert_eq!(code, i32::from(!reason.is_empty()));
        assert!(
            !answer.to_string().contains(&token[..40]),
            "the token is printed"
        );
        let reply = send(&fixture.url("/mcp"), token, &call(1, tool, &json!({}))).await?;
        let said = match reply.status {
            403 => reply.json()["reason"].clone(),
            _ => response(&reply)?["result"]["_meta"]["reason"].clone(),
        };
        assert_eq!(said.as_str().unwrap_or_default(), reason, "{tool}");
    }
    let arguments = ["--token", "-", "--tool", "erase"];
    let (_, answer) = explain(&config, &arguments, &token).await?;
    assert_eq!(answer["needed_scope"], "erase read", "{answer:#}");
    // Another installation's token, and one that has ended.
    let other = Fixture::start().await?;
    let (_, foreign) = other.signed_in().await?;
    let (code, answer) = explain(&config, &["--token", "-", "--tool", "look"], &foreign).await?;
    assert_eq!(
        (code, &answer["reason"]),
        (1, &json!("token_bad_signature"))
    );
    let late = [
        "--token",
        "-",
        "--tool",
        "look",
        "--at",
        "2100-01-01T00:00:00Z",
    ];
    let (code, answer) = explain(&config, &late, &token).await?;
    assert_eq!((code, &answer["reason"]), (1, &json!("token_expired")));
    Ok(())
}

#[tokio::test]
async fn what_is_no_question_ends_with_2_and_says_why() -> Result<()> {
    let (_folder, config) = configured("staff")?;
    for (arguments, words) in [
        (&["--tool", "x"][..], "--user"),
        (&["--user", "a"], "--tool"),
        (
            &["--user", "a", "--tool", "x", "--backend", "none"],
            "no backend",
        ),
        (
            &["--user", "a", "--tool", "x", "--arguments", "{"],
            "no JSON",
        ),
        (
            &[
                "--user",
                "a",
                "--tool",
                "x",
                "--arguments",
                r#"{"a":1,"a":2}"#,
            ],
            "no client could",
        ),
        (&["--token", "-", "--tool", "x"], "holds no keys"),
    ] {
        let (code, said) = explain(&config, arguments, "nonsense").await?;
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.to_string().contains(words), "{arguments:?}: {said}");
    }
    Ok(())
}
