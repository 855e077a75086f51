//! The official SDKs: each goes from discovery to a fetched document, and again after a
//! kill of the gateway with what it stored.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::program::workspace;
use tests::readme_tables;
use tests::redis::Redis;

use crate::drive::SHOWN;

/// One SDK's driver: interpreter and script.
#[derive(Clone, Copy)]
pub(crate) enum Sdk {
    PythonV1,
    PythonV2,
    TypeScriptV1,
    TypeScriptV2,
}

impl Sdk {
    /// As in the table, and the version that is pinned.
    fn name_and_version(self) -> Result<(&'static str, String)> {
        let python = |version: &str| {
            let pins = workspace().join(format!("tests/clients/python-{version}/requirements.txt"));
            let pins = std::fs::read_to_string(pins)?;
            let pin = pins.lines().find_map(|line| line.strip_prefix("mcp=="));
            let version = pin.and_then(|pin| pin.split_whitespace().next());
            anyhow::Ok(version.context("mcp is not pinned")?.to_owned())
        };
        let node = |package: &str| {
            let lock = std::fs::read_to_string(workspace().join("tests/package.json"))?;
            let lock: Value = serde_json::from_str(&lock)?;
            let version = lock["dependencies"][package].as_str();
            anyhow::Ok(version.context("the SDK is not pinned")?.to_owned())
        };
        Ok(match self {
            Sdk::PythonV1 => ("Python SDK 1", python("v1")?),
            Sdk::PythonV2 => ("Python SDK 2", python("v2")?),
            Sdk::TypeScriptV1 => ("TypeScript SDK 1", node("@modelcontextprotocol/sdk")?),
            Sdk::TypeScriptV2 => ("TypeScript SDK 2", node("@modelcontextprotocol/client")?),
        })
    }

    fn command(self) -> (PathBuf, PathBuf) {
        let tests = workspace().join("tests");
        let python = |version: &str| tests.join(format!(".work/python-{version}/bin/python"));
        let node = std::env::var_os("TEST_NODE")
            .map(PathBuf::from)
            .unwrap_or_else(|| tests.join(".work/node"));
        match self {
            Sdk::PythonV1 => (python("v1"), tests.join("clients/python_v1.py")),
            Sdk::PythonV2 => (python("v2"), tests.join("clients/python_v2.py")),
            Sdk::TypeScriptV1 => (node, tests.join("clients/ts_v1.mjs")),
            Sdk::TypeScriptV2 => (node, tests.join("clients/ts_v2.mjs")),
        }
    }
}

/// Run a driver to its end; its report.
async fn drive(sdk: Sdk, arguments: &[&str], owner: Option<&Owner>) -> Result<Value> {
    drive_with(sdk, arguments, owner, &[]).await
}

/// The same with more in its environment.
pub(crate) async fn drive_with(
    sdk: Sdk,
    arguments: &[&str],
    owner: Option<&Owner>,
    environment: &[(&str, &str)],
) -> Result<Value> {
    let (interpreter, script) = sdk.command();
    assert!(
        interpreter.exists(),
        "{} is missing: `tests/run` installs it",
        interpreter.display()
    );
    let mut command = tokio::process::Command::new(interpreter);
    command
        .arg(script)
        .args(arguments)
        .kill_on_drop(true)
        .env_remove("OWNER_NAME")
        .env_remove("OWNER_PASSWORD")
        .envs(environment.iter().copied());
    // A proxy of the machine is not asked for the way to loopback.
    for variable in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(variable);
    }
    if let Some(owner) = owner {
        command
            .env("OWNER_NAME", &owner.name)
            .env("OWNER_PASSWORD", &owner.password);
    }
    let output = tokio::time::timeout(Duration::from_secs(270), command.output())
        .await
        .context("the driver hangs")??;
    let out = String::from_utf8_lossy(&output.stdout);
    let report: Value = out
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    anyhow::ensure!(
        output.status.success() && report["ok"] == true,
        "{out}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(report)
}

/// Both phases on a store; the embedded one's outcome goes into the table.
async fn works_before_and_after_a_kill(sdk: Sdk, transport: &str, store: StoreKind) -> Result<()> {
    let outcome = both_phases(sdk, transport, store).await;
    if store == StoreKind::Embedded {
        let (name, version) = sdk.name_and_version()?;
        let protocol = outcome.as_ref().map_or("", |protocol| protocol);
        let transport = match transport {
            "sse" => "HTTP+SSE".to_owned(),
            _ => format!("Streamable HTTP, {protocol}"),
        };
        readme_tables::note(name, &version, &transport, outcome.is_ok().then_some(SHOWN))?;
    }
    outcome.map(|_| ())
}

/// The revision that the client and the backend agreed on.
async fn both_phases(sdk: Sdk, transport: &str, store: StoreKind) -> Result<String> {
    let mut protocol = String::new();
    let redis = if store == StoreKind::Redis {
        Some(Redis::start().await?)
    } else {
        None
    };
    let mut gateway = Gateway::start(Setup {
        store: redis.as_ref().map(Redis::url),
        ..Setup::default()
    })
    .await?;
    let folder = tempfile::tempdir()?;
    let storage = folder.path().join("storage.json").display().to_string();
    let url = gateway.url(if transport == "sse" { "/sse" } else { "/mcp" });
    let arguments = |phase| {
        [
            "--url",
            &url,
            "--transport",
            transport,
            "--storage",
            &storage,
            "--phase",
            phase,
        ]
        .map(String::from)
    };
    for phase in ["first", "again"] {
        let arguments = arguments(phase);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let owner = Owner::alice();
        let report = drive(sdk, &arguments, (phase == "first").then_some(&owner))
            .await
            .with_context(|| format!("phase {phase}\n{}", gateway.log().join("\n")))?;
        assert_eq!(
            report["tools"],
            serde_json::json!(["fetch", "search"]),
            "{report}"
        );
        assert!(
            report["results"]
                .as_u64()
                .is_some_and(|results| results > 0),
            "{report}"
        );
        report["protocol"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut protocol);
        if phase == "first" {
            gateway.crash_and_restart().await?;
        }
    }
    Ok(protocol)
}

/// Logs in, rests until the access token of a minute has ended, makes four calls at once and goes
/// on after a restart; between any two phases the gateway is started anew.
async fn stays_connected_by_refreshing(sdk: Sdk, transport: &str, store: StoreKind) -> Result<()> {
    let redis = if store == StoreKind::Redis {
        Some(Redis::start().await?)
    } else {
        None
    };
    let setup = Setup {
        store: redis.as_ref().map(Redis::url),
        ..Setup::default()
    };
    let setup = setup.more("[tokens]\nrefresh = true\naccess_ttl = \"60s\"\n");
    let mut gateway = Gateway::start(setup).await?;
    let folder = tempfile::tempdir()?;
    let storage = folder.path().join("storage.json").display().to_string();
    let url = gateway.url(if transport == "sse" { "/sse" } else { "/mcp" });
    // The Python SDKs refresh when they think that the token has ended, and know it only where
    // they logged in; the TypeScript SDKs when it is refused, half a minute of leeway later.
    let (phases, proactive): (&[(&str, &str)], bool) = match sdk {
        Sdk::PythonV1 | Sdk::PythonV2 => (&[("first", "62"), ("again", "0")], true),
        Sdk::TypeScriptV1 | Sdk::TypeScriptV2 => {
            (&[("first", "0"), ("again", "93"), ("again", "0")], false)
        }
    };
    for (phase, linger) in phases {
        let arguments = [
            "--url",
            &url,
            "--transport",
            transport,
            "--storage",
            &storage,
            "--phase",
            phase,
            "--linger",
            linger,
        ];
        let owner = Owner::alice();
        let report = drive(sdk, &arguments, (*phase == "first").then_some(&owner))
            .await
            .with_context(|| format!("phase {phase} {linger}\n{}", gateway.log().join("\n")))?;
        if *linger != "0" {
            println!("{report}");
            let refreshes = report["refreshes"].as_u64().unwrap_or_default();
            let expected = if proactive { 1 } else { 4 };
            assert_eq!(refreshes, expected, "{report}");
            // A call that comes late, on a busy machine, finds the token that another one has got, and
            // refreshes with that.
            let successors = report["successors"].as_u64().unwrap_or_default();
            assert!((1..expected.max(2)).contains(&successors), "{report}");
            let exchanged = |line: &&String| line.contains("a refresh token was exchanged");
            let seen = |log: &[String]| log.iter().filter(exchanged).count() as u64;
            let all = |log: &[String]| (seen(log) >= refreshes).then_some(());
            gateway.eventually_logged(all).await?;
            let log = gateway.log();
            assert_eq!(seen(&log), refreshes, "{}", log.join("\n"));
        }
        gateway.restart().await?;
    }
    Ok(())
}

macro_rules! refresh_tests {
    ($($name:ident: $sdk:ident, $transport:literal, $store:ident;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            stays_connected_by_refreshing(Sdk::$sdk, $transport, StoreKind::$store).await
        }
    )*};
}

refresh_tests! {
    four_parallel_refreshes_of_the_typescript_sdk_v1_succeed_over_http: TypeScriptV1, "http", Redis;
    four_parallel_refreshes_of_the_typescript_sdk_v1_succeed_over_sse: TypeScriptV1, "sse", Embedded;
    four_parallel_refreshes_of_the_typescript_sdk_v2_succeed_over_http: TypeScriptV2, "http", Embedded;
    the_python_sdk_v1_refreshes_before_its_token_ends: PythonV1, "http", Embedded;
    the_python_sdk_v2_refreshes_before_its_token_ends: PythonV2, "http", Redis;
}

macro_rules! sdk_tests {
    ($($name:ident: $sdk:ident, $transport:literal, $store:ident;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            works_before_and_after_a_kill(Sdk::$sdk, $transport, StoreKind::$store).await
        }
    )*};
}

sdk_tests! {
    the_python_sdk_v1_works_over_http_on_the_embedded_store: PythonV1, "http", Embedded;
    the_python_sdk_v1_works_over_sse_on_the_embedded_store: PythonV1, "sse", Embedded;
    the_python_sdk_v1_works_over_http_on_redis: PythonV1, "http", Redis;
    the_python_sdk_v1_works_over_sse_on_redis: PythonV1, "sse", Redis;
    the_python_sdk_v2_works_over_http_on_the_embedded_store: PythonV2, "http", Embedded;
    the_python_sdk_v2_works_over_sse_on_the_embedded_store: PythonV2, "sse", Embedded;
    the_python_sdk_v2_works_over_http_on_redis: PythonV2, "http", Redis;
    the_python_sdk_v2_works_over_sse_on_redis: PythonV2, "sse", Redis;
    the_typescript_sdk_v1_works_over_http_on_the_embedded_store: TypeScriptV1, "http", Embedded;
    the_typescript_sdk_v1_works_over_sse_on_the_embedded_store: TypeScriptV1, "sse", Embedded;
    the_typescript_sdk_v1_works_over_http_on_redis: TypeScriptV1, "http", Redis;
    the_typescript_sdk_v1_works_over_sse_on_redis: TypeScriptV1, "sse", Redis;
    the_typescript_sdk_v2_works_over_http_on_the_embedded_store: TypeScriptV2, "http", Embedded;
    the_typescript_sdk_v2_works_over_sse_on_the_embedded_store: TypeScriptV2, "sse", Embedded;
    the_typescript_sdk_v2_works_over_http_on_redis: TypeScriptV2, "http", Redis;
    the_typescript_sdk_v2_works_over_sse_on_redis: TypeScriptV2, "sse", Redis;
}

/// A person ticks one tool; the SDK sees that one, and calling another reaches nobody.
async fn sees_the_chosen_tool_alone(sdk: Sdk, transport: &str) -> Result<()> {
    let fixture = Fixture::start().await?;
    let folder = tempfile::tempdir()?;
    let storage = folder.path().join("storage.json").display().to_string();
    let url = fixture.url(if transport == "sse" { "/sse" } else { "/mcp" });
    let arguments = [
        "--url",
        &url,
        "--transport",
        transport,
        "--storage",
        &storage,
        "--phase",
        "first",
    ];
    let environment = [("CHOSEN", "look"), ("FORBIDDEN", "erase")];
    let report = drive_with(sdk, &arguments, Some(&fixture.owner), &environment)
        .await
        .with_context(|| fixture.gateway.log().join("\n"))?;
    assert_eq!(report["tools"], serde_json::json!(["look"]), "{report}");
    let refused = report["refused"].as_str().unwrap_or_default();
    assert!(refused.contains("does not allow this tool"), "{report}");
    assert_eq!(report["allowed"], true, "{report}");
    let called: Vec<String> = fixture
        .backend
        .marked("tools/call")
        .iter()
        .map(|request| request.json()["params"]["name"].to_string())
        .collect();
    assert_eq!(called, ["\"look\""]);
    Ok(())
}

macro_rules! chosen_tests {
    ($($name:ident: $sdk:ident, $transport:literal;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            sees_the_chosen_tool_alone(Sdk::$sdk, $transport).await
        }
    )*};
}

chosen_tests! {
    the_python_sdk_v1_sees_the_chosen_tool_alone_over_http: PythonV1, "http";
    the_python_sdk_v1_sees_the_chosen_tool_alone_over_sse: PythonV1, "sse";
    the_python_sdk_v2_sees_the_chosen_tool_alone_over_http: PythonV2, "http";
    the_python_sdk_v2_sees_the_chosen_tool_alone_over_sse: PythonV2, "sse";
    the_typescript_sdk_v1_sees_the_chosen_tool_alone_over_http: TypeScriptV1, "http";
    the_typescript_sdk_v1_sees_the_chosen_tool_alone_over_sse: TypeScriptV1, "sse";
    the_typescript_sdk_v2_sees_the_chosen_tool_alone_over_http: TypeScriptV2, "http";
    the_typescript_sdk_v2_sees_the_chosen_tool_alone_over_sse: TypeScriptV2, "sse";
}

/// The first scope covers reading. A call of `erase` is refused once; the SDK asks the person for
/// the scope that the challenge names, calls again, and can still read.
async fn steps_up_by_itself(sdk: Sdk, refresh: bool) -> Result<()> {
    const SCOPES: &str = "[scope.read]\nwords = \"Read\"\nread_only = true\ndefault = true\n\
                          [scope.erase]\nwords = \"Delete\"\ntools = [\"erase\"]\n";
    let more = format!("[tokens]\nrefresh = {refresh}\n{SCOPES}");
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    let folder = tempfile::tempdir()?;
    let storage = folder.path().join("storage.json").display().to_string();
    let url = fixture.url("/mcp");
    let arguments = [
        "--url",
        &url,
        "--transport",
        "http",
        "--storage",
        &storage,
        "--phase",
        "first",
    ];
    let environment = [
        ("CALLED", "look"),
        ("STEP_UP", "erase"),
        ("LOGINS", "2"),
        ("ALLOW_EVERYTHING", "1"),
    ];
    let report = drive_with(sdk, &arguments, Some(&fixture.owner), &environment)
        .await
        .with_context(|| fixture.gateway.log().join("\n"))?;
    // Seen before it was granted: nothing else would have made the SDK call it.
    let tools = serde_json::json!(["echo", "erase", "look"]);
    assert_eq!(report["tools"], tools, "{report}");
    let texts = serde_json::json!([r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":1}"#]);
    assert_eq!(report["texts"], texts, "{report}");
    let called: Vec<String> = fixture
        .backend
        .marked("tools/call")
        .iter()
        .map(|request| request.json()["params"]["name"].to_string())
        .collect();
    assert_eq!(called, ["\"look\"", "\"erase\"", "\"look\""]);
    let log = fixture.gateway.log();
    let lines = |event: &str| -> Vec<Value> {
        let events = log
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        events
            .filter(|line: &Value| line["event"] == event)
            .collect()
    };
    let scopes: Vec<_> = lines("code_issued")
        .iter()
        .map(|line| line["scope"].to_string())
        .collect();
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(&storage)?)?;
    let is_refreshed = stored["tokens"]["refresh_token"].is_string();
    assert_eq!(is_refreshed, refresh, "the last token came without one");
    let expected = if scopes[0].contains("offline_access") {
        ["\"offline_access read\"", "\"erase offline_access read\""]
    } else {
        ["\"read\"", "\"erase read\""]
    };
    assert_eq!(scopes, expected);
    let refused = lines("refused");
    let insufficient = |line: &&Value| line["reason"] == "scope_insufficient";
    assert_eq!(
        refused.iter().filter(insufficient).count(),
        1,
        "{refused:?}"
    );
    Ok(())
}

macro_rules! step_up_tests {
    ($($name:ident: $sdk:ident, $refresh:literal;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            steps_up_by_itself(Sdk::$sdk, $refresh).await
        }
    )*};
}

// With a refresh token the TypeScript SDK 1 refreshes instead of asking for more.
step_up_tests! {
    the_python_sdk_v1_steps_up: PythonV1, false;
    the_python_sdk_v1_steps_up_with_a_refresh_token: PythonV1, true;
    the_python_sdk_v2_steps_up: PythonV2, false;
    the_python_sdk_v2_steps_up_with_a_refresh_token: PythonV2, true;
    the_typescript_sdk_v1_steps_up: TypeScriptV1, false;
    the_typescript_sdk_v2_steps_up: TypeScriptV2, false;
    the_typescript_sdk_v2_steps_up_with_a_refresh_token: TypeScriptV2, true;
}
