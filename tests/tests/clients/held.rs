//! What a person takes back at `/account` is gone for an app that is in the middle of something.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::Fixture;
use tests::mcp::{initialize, send};
use tests::program::{Program, workspace};
use tests::recorder::Answer;
use tests::scripted_mcp;

#[tokio::test]
async fn an_sdk_loses_its_stream_and_its_running_call_when_the_person_presses_revoke() -> Result<()>
{
    let fixture = Fixture::start().await?;
    // A call that asks to be held is never answered.
    fixture.backend.play(|request| {
        if request.json()["params"]["arguments"]["hold"] == json!(true) {
            Answer::Silence
        } else {
            scripted_mcp::answer(request)
        }
    });
    let tests = workspace().join("tests");
    let python = tests.join(".work/python-v1/bin/python");
    assert!(
        python.exists(),
        "{} is missing: `tests/run` installs it",
        python.display()
    );
    let folder = tempfile::tempdir()?;
    let storage = folder.path().join("storage.json");
    let arguments = [
        tests.join("clients/python_hold.py").display().to_string(),
        "--url".into(),
        fixture.url("/mcp"),
        "--transport".into(),
        "http".into(),
        "--phase".into(),
        "first".into(),
        "--storage".into(),
        storage.display().to_string(),
    ];
    let environment = [
        ("OWNER_NAME".to_owned(), fixture.owner.name.clone()),
        ("OWNER_PASSWORD".to_owned(), fixture.owner.password.clone()),
        ("ALLOW_EVERYTHING".to_owned(), "1".to_owned()),
        ("no_proxy".to_owned(), "*".to_owned()),
    ];
    let sdk = Program::start(&python, folder.path(), &arguments, &environment)?;
    let patience = Duration::from_secs(60);
    let holding = sdk.stdout.wait(patience, |line| line == "holding").await;
    holding.with_context(|| sdk.last_words())?;
    fixture
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(&storage)?)?;
    let token = stored["tokens"]["access_token"]
        .as_str()
        .context("no token")?;

    let mut browser = Browser::default();
    let login = browser.visit(&fixture.url("/account").parse()?).await?;
    let page = browser
        .log_in(&login, &fixture.owner.name, &fixture.owner.password)
        .await?;
    assert!(page.words().contains("“A held app”"), "{}", page.words());
    let pressed = Instant::now();
    let done = browser
        .submit(&page.form_with_button("Revoke access")?)
        .await?;
    assert!(done.words().contains("lost its access"), "{}", done.words());
    // For the client itself, at the same time.
    let ended = sdk.stdout.wait(patience, |line| line == "ended").await;
    ended.with_context(|| sdk.last_words())?;
    // The five seconds are what is promised of a revocation.
    assert!(
        pressed.elapsed() < Duration::from_secs(5),
        "{:?}",
        pressed.elapsed()
    );
    // The stream is closed towards the backend, too.
    fixture
        .backend
        .await_streams(0, Duration::from_secs(5))
        .await?;
    let next = send(&fixture.url("/mcp"), token, &initialize()).await?;
    assert_eq!(next.status, 401, "{}", next.text);
    assert!(
        pressed.elapsed() < Duration::from_secs(5),
        "{:?}",
        pressed.elapsed()
    );
    let report = sdk
        .stdout
        .wait(patience, |line| line.starts_with('{'))
        .await
        .with_context(|| sdk.last_words())?;
    let report: Value = serde_json::from_str(&report)?;
    assert_eq!(report["ok"], true, "{report}\n{}", sdk.last_words());
    assert_ne!(report["running"], "answered", "{report}");
    // It asks for a login, as it should, and gets none from here.
    let next = report["next"].as_str().unwrap_or_default();
    assert!(next.contains("a new login was asked for"), "{report}");
    Ok(())
}
