//! The official SDKs before several servers at one address: each lists all of them and calls one of each, with
//! progress, under one login.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::desktop_client::DesktopClient;
use tests::gateway::{Gateway, Owner, Setup};
use tests::program::workspace;
use tests::recorder::Recorder;
use tests::scripted_revisions;

use crate::drive::{PATIENCE, PLACES, names, node, package};
use crate::sdks::{Sdk, drive_with};

/// Behind the address are the document server, which speaks every revision, a server on stdin and stdout, one
/// of 2026-07-28 and one of HTTP+SSE.
struct Several {
    gateway: Gateway,
    _modern: Recorder,
    _old: Recorder,
}

impl Several {
    async fn start() -> Result<Self> {
        let modern = Recorder::start(scripted_revisions::stateless).await?;
        let old = Recorder::start(scripted_revisions::http_sse).await?;
        let server = workspace().join("mcp-backend/tests/end_to_end/bridge/server.py");
        let documents = format!("127.0.0.1:{}", tests::program::free_port());
        let command = [
            tests::program::binary("mcp-backend").display().to_string(),
            "--documents".into(),
            workspace().join("conf/documents").display().to_string(),
            "--listen".into(),
            documents.clone(),
            "--until-stdin-closes".into(),
        ];
        let tables = format!(
            "[[backend]]\nname = \"documents\"\npath = \"/documents\"\nurl = \"http://{documents}\"\ncommand = {command:?}\n\
             [[backend]]\nname = \"program\"\npath = \"/program\"\nstdio = [\"python3\", {:?}, \"sessions\"]\n\
             [[backend]]\nname = \"all\"\npath = \"/\"\nmembers = [\"documents\", \"modern\", \"old\", \"program\"]\n",
            server.display().to_string()
        );
        let setup = Setup::default()
            .mounted("modern", "/modern", &modern.url())
            .mounted("old", "/old", &old.url())
            .more(&tables);
        let gateway = Gateway::start(setup).await?;
        Ok(Self {
            gateway,
            _modern: modern,
            _old: old,
        })
    }
}

async fn serves(sdk: Sdk, transport: &str) -> Result<()> {
    let several = Several::start().await?;
    let gateway = &several.gateway;
    let folder = tempfile::tempdir()?;
    let storage = folder.path().join("storage.json").display().to_string();
    let url = gateway.url(if transport == "sse" { "/sse" } else { "/mcp" });
    let calls = json!([
        {"name": "documents_search", "arguments": {"query": "gateway"}},
        {"name": "modern_anything", "arguments": {"n": 1}},
        {"name": "old_echo", "arguments": {"n": 2}},
        {"name": "program_progress", "arguments": {}},
    ])
    .to_string();
    let arguments = [
        "--url",
        &url,
        "--transport",
        transport,
        "--storage",
        &storage,
        "--phase",
        "first",
        "--calls",
        &calls,
    ];
    let report = drive_with(
        sdk,
        &arguments,
        Some(&Owner::alice()),
        &[("ALLOW_EVERYTHING", "1")],
    )
    .await
    .with_context(|| gateway.log().join("\n"))?;
    let tools: Vec<&str> = report["tools"]
        .as_array()
        .context("tools")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for tool in [
        "documents_fetch",
        "documents_search",
        "modern_mirrored",
        "old_echo",
        "program_echo",
    ] {
        assert!(tools.contains(&tool), "{tool}: {report}");
    }
    let called = report["called"].as_array().context("called")?;
    assert_eq!(called.len(), 4, "{report}");
    for (result, part) in called
        .iter()
        .zip(["Cupcake Gateway", "anything", "2", "done"])
    {
        assert!(result.to_string().contains(part), "{part}: {result}");
    }
    let progress = called[3]["progress"].as_array().map(Vec::len);
    assert_eq!(progress, Some(3), "{report}");
    Ok(())
}

#[tokio::test]
async fn the_python_sdk_1_uses_several_servers_at_one_address() -> Result<()> {
    serves(Sdk::PythonV1, "http").await
}

#[tokio::test]
async fn the_python_sdk_2_uses_several_servers_at_one_address() -> Result<()> {
    serves(Sdk::PythonV2, "http").await
}

#[tokio::test]
async fn the_typescript_sdk_1_uses_several_servers_at_one_address() -> Result<()> {
    serves(Sdk::TypeScriptV1, "http").await
}

#[tokio::test]
async fn the_typescript_sdk_1_uses_them_over_the_older_transport() -> Result<()> {
    serves(Sdk::TypeScriptV1, "sse").await
}

#[tokio::test]
async fn the_typescript_sdk_2_uses_several_servers_at_one_address() -> Result<()> {
    serves(Sdk::TypeScriptV2, "http").await
}

/// By its user's browser, with the preset of the consent page; and after a kill, with nobody there.
#[tokio::test]
async fn mcp_remote_uses_several_servers_at_one_address() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let mut several = Several::start().await?;
    let desktop = DesktopClient::new(&Owner::alice())?;
    let url = several.gateway.url("/mcp");
    let script = package("mcp-remote/dist/proxy.js").display().to_string();
    let mut opened = Vec::new();
    for again in [false, true] {
        if again {
            opened = desktop.opened();
            desktop.leave()?;
            several.gateway.crash_and_restart().await?;
        }
        let mut proxy = desktop.converse(&node(), &[&script, &url, "--allow-http"])?;
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}});
        proxy.ask("initialize", hello, PATIENCE).await?;
        proxy.tell("notifications/initialized").await?;
        let listed = proxy.ask("tools/list", json!({}), PATIENCE).await?;
        let mut tools = names(&listed["tools"]);
        tools.retain(|tool| tool.starts_with("documents_"));
        tools.sort();
        assert_eq!(tools, ["documents_fetch", "documents_search"], "{listed}");
        let call = json!({"name": "documents_search", "arguments": {"query": "gateway"}});
        let found = proxy.ask("tools/call", call, PATIENCE).await?;
        assert!(found.to_string().contains("Cupcake Gateway"), "{found}");
    }
    assert_eq!(desktop.opened(), opened, "a login that was not due");
    Ok(())
}
