//! Apps that an identity provider connects (ID-JAG), with the official SDKs: nobody is asked, and the
//! gateway gives a token for the provider's assertion.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::identity_provider::{IdentityProvider, SECRET};
use tests::program::workspace;

/// What a driver may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const CLIENTS: &str = r#"
[[client]]
id = "helper"
name = "Helper"
redirect_uris = []
method = "client_secret_basic"
secret_hash = "123f2e8d348628c601dbe371aab264bb1cb23bbe7a13f10afd7081fed5aa547e"

[[client]]
id = "other"
name = "Other"
redirect_uris = []
method = "client_secret_basic"
secret_hash = "123f2e8d348628c601dbe371aab264bb1cb23bbe7a13f10afd7081fed5aa547e"

[scope.look]
words = "Look things up"
read_only = true

[scope.erase]
words = "Delete things for good"
tools = ["erase"]

[scope.echo]
words = "Say things again"
tools = ["echo"]
"#;

/// The tools that a driver sees, or why it sees none.
async fn drive(
    driver: &(PathBuf, &str),
    url: &str,
    issuer: &str,
    environment: &[(&str, &str)],
) -> Result<Value> {
    let (interpreter, script) = driver;
    assert!(
        interpreter.exists(),
        "{} is missing: `tests/run` installs it",
        interpreter.display()
    );
    let mut command = tokio::process::Command::new(interpreter);
    command
        .arg(workspace().join("tests/clients").join(script))
        .args([url, issuer])
        .envs(environment.iter().copied())
        .kill_on_drop(true);
    // A proxy of the machine is not asked for the way to loopback.
    for variable in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(variable);
        command.env_remove(variable.to_uppercase());
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.with_context(|| format!("{script} hangs"))??;
    let out = String::from_utf8_lossy(&output.stdout);
    let report = out.lines().last().map(serde_json::from_str);
    let errors = String::from_utf8_lossy(&output.stderr);
    report
        .and_then(Result::ok)
        .with_context(|| format!("{out}\n{errors}"))
}

async fn is_connected_by_its_provider(interpreter: &str, script: &'static str) -> Result<()> {
    let mut provider = IdentityProvider::new("oidc.mjs")?;
    let issuer = provider.issuer();
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(&format!(
            "[[login]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_id = \"rs256\"\n\
             client_secret = \"{SECRET}\"\nallow = [\"bob@example.com\"]\n\
             id_jag = {{ clients = [\"helper\", \"other\"], scopes = [\"look\", \"echo\"] }}\n{CLIENTS}"
        ))
    });
    let fixture = fixture.await?;
    let base = fixture.gateway.issuer();
    provider.arguments(&["callback", "backchannel"].map(|at| format!("{base}/login/corp/{at}")));
    provider.start().await?;
    let bob = json!({ "email": "bob@example.com", "email_verified": true });
    provider.person("bob", bob).await?;

    let driver = (workspace().join("tests/.work").join(interpreter), script);
    let url = fixture.url("/mcp");
    // What a scope would cover that the app has not is listed, so that it can ask for it.
    let all = json!(["echo", "erase", "look"]);
    let seen = drive(&driver, &url, &issuer, &[]).await?;
    assert_eq!(seen["tools"], all, "{seen}");
    for wrong in [("AUDIENCE", "https://other.example"), ("CLIENT", "other")] {
        let seen = drive(&driver, &url, &issuer, &[wrong]).await?;
        let error = seen["error"].as_str().unwrap_or_default();
        assert!(error.contains("assertion"), "{wrong:?}: {seen}");
    }

    // An assertion is good once, for whoever has it.
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("assertion").display().to_string();
    let again = [("KEPT", kept.as_str())];
    let seen = drive(&driver, &url, &issuer, &again).await?;
    assert_eq!(seen["tools"], all, "{seen}");
    let seen = drive(&driver, &url, &issuer, &again).await?;
    let error = seen["error"].as_str().unwrap_or_default();
    assert!(error.contains("assertion"), "{seen}");

    // One that names more gives no more than the operator lists, and one that names nothing of that
    // gives nothing.
    let wider = ("SCOPE", "look erase");
    let seen = drive(&driver, &url, &issuer, &[wider]).await?;
    assert_eq!(seen["tools"], all, "{seen}");
    for wrong in [&[wider, ("TOOL", "erase")][..], &[("SCOPE", "erase")]] {
        let seen = drive(&driver, &url, &issuer, wrong).await?;
        assert!(seen["error"].is_string(), "{wrong:?}: {seen}");
    }
    let calls = fixture.backend.requests().into_iter();
    let mut called = calls.filter(|call| call.json()["method"] == "tools/call");
    assert!(called.all(|call| call.json()["params"]["name"] == "look"));
    Ok(())
}

#[tokio::test]
async fn typescript_sdk_2_is_connected_by_its_provider() -> Result<()> {
    is_connected_by_its_provider("node", "id_jag.mjs").await
}

#[tokio::test]
async fn python_sdk_2_is_connected_by_its_provider() -> Result<()> {
    is_connected_by_its_provider("python-v2/bin/python", "id_jag.py").await
}
