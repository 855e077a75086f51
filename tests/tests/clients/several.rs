//! The official SDKs before several servers at one address: each lists all of them and calls one of each, with
//! progress, under one login.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::program::workspace;
use tests::recorder::Recorder;
use tests::scripted_revisions;

use crate::sdks::{Sdk, drive_with};

/// Behind the address are the document server, which speaks every revision, a server on stdin and stdout, one
/// of 2026-07-28 and one of HTTP+SSE.
async fn serves(sdk: Sdk, transport: &str) -> Result<()> {
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
