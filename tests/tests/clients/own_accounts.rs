//! A client without its person's account at the backend: one that opens addresses is asked to, in both
//! revisions, and its call goes on; any other shows the address in a sentence.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::desktop_client::DesktopClient;
use tests::gateway::Owner;
use tests::own_accounts::{World, connect_at, key, link};
use tests::program::workspace;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::drive::{PATIENCE, PLACES, node, package};

async fn is_asked_and_goes_on(revision: &str) -> Result<()> {
    let _place = PLACES.acquire().await?;
    let world = World::start(1).await?;
    let token = world.sign_in_without(&world.alice).await?;
    let script = workspace().join("tests/clients/elicited.mjs");
    let settings = json!({"url": world.url(), "token": token, "revision": revision});
    let mut client = tokio::process::Command::new(workspace().join("tests/.work/node"))
        .arg(script)
        .arg(settings.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = client.stdin.take().context("its input")?;
    let mut lines = BufReader::new(client.stdout.take().context("its output")?).lines();
    let mut addresses = 0;
    let report: Value = loop {
        let line = timeout(PATIENCE, lines.next_line()).await??;
        let line = line.context("it ended without a report")?;
        if !line.starts_with("http") {
            break serde_json::from_str(&line)?;
        }
        addresses += 1;
        connect_at(&mut Browser::default(), &line, &world.alice, &key("alice")).await?;
        input.write_all(b"done\n").await?;
    };
    assert_eq!(report["text"], "alice", "{report}");
    assert_eq!(report["asked"][0]["mode"], "url", "{report}");
    assert_eq!(addresses, 1, "asked once: {report}");
    Ok(())
}

#[tokio::test]
async fn typescript_sdk_2_is_asked_in_2025_11_25() -> Result<()> {
    is_asked_and_goes_on("2025-11-25").await
}

#[tokio::test]
async fn typescript_sdk_2_is_asked_in_2026_07_28() -> Result<()> {
    is_asked_and_goes_on("2026-07-28").await
}

#[tokio::test]
async fn mcp_remote_shows_the_address_in_a_sentence() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let world = World::start(1).await?;
    let token = world.sign_in_without(&world.alice).await?;
    let desktop = DesktopClient::new(&Owner::alice())?;
    let script = package("mcp-remote/dist/proxy.js").display().to_string();
    let (url, header) = (world.url(), format!("Authorization: Bearer {token}"));
    let arguments = [&*script, &url, "--allow-http", "--header", &header];
    let mut proxy = desktop.converse(&node(), &arguments)?;
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}});
    proxy.ask("initialize", hello, PATIENCE).await?;
    proxy.tell("notifications/initialized").await?;
    let call = json!({"name": "whoami", "arguments": {}});
    let told = proxy.ask("tools/call", call.clone(), PATIENCE).await?;
    let told = told.to_string();
    let address = link(&told).with_context(|| told.clone())?;
    connect_at(
        &mut Browser::default(),
        address,
        &world.alice,
        &key("alice"),
    )
    .await?;
    let found = proxy.ask("tools/call", call, PATIENCE).await?;
    assert!(found.to_string().contains("alice"), "{found}");
    Ok(())
}
