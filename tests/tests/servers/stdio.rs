//! Servers on stdin and stdout, which the gateway itself puts behind HTTP for clients of all three
//! revision families: as one line, and in a configuration file.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::mcp::{self, call, open_session, response};
use tests::oauth::OAuthClient;
use tests::sdk::Sdk::{PythonV1, PythonV2, TypeScriptV1, TypeScriptV2};
use tests::sdk::Transport::{Http, Sse};
use tests::sdk::{self, Sdk, Transport};
use tests::server::{Launch, Lock};

/// The clients of each revision family, and the revision that they agree on with a server of 2025-11-25.
const CELLS: [(Sdk, Transport, &str); 5] = [
    (TypeScriptV1, Sse, "2025-11-25"),
    (TypeScriptV1, Http, "2025-11-25"),
    (PythonV1, Http, "2025-11-25"),
    (TypeScriptV2, Http, "2026-07-28"),
    (PythonV2, Http, "2026-07-28"),
];

fn path(transport: Transport) -> &'static str {
    match transport {
        Http => "/mcp",
        Sse => "/sse",
    }
}

fn everything() -> Vec<String> {
    Launch::npm("@modelcontextprotocol/server-everything/dist/index.js")
        .arg("stdio")
        .words()
}

#[tokio::test]
async fn a_server_on_stdio_in_one_line_serves_clients_of_every_era_also_after_a_restart()
-> Result<()> {
    let mut gateway = Gateway::start(Setup {
        stdio: everything(),
        ..Setup::default()
    })
    .await?;
    let owner = Owner::alice();
    let sum = ("get-sum", json!({"a": 2, "b": 40}));
    let long = (
        "trigger-long-running-operation",
        json!({"duration": 2, "steps": 2}),
    );
    for (sdk, transport, revision) in CELLS {
        let url = gateway.url(path(transport));
        let calls = [sum.clone(), long.clone()];
        let seen = sdk::call(sdk, transport, &url, &owner, &calls)
            .await
            .with_context(|| format!("{sdk:?}\n{}", gateway.log().join("\n")))?;
        assert_eq!(seen.protocol, revision, "{sdk:?}");
        assert!(seen.tools.len() >= 10, "{:?}", seen.tools);
        assert!(seen.text(0).contains("42"), "{}", seen.text(0));
        assert!(seen.text(1).contains("completed"), "{}", seen.text(1));
    }

    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let token = client.sign_in(&owner).await?;
    let mcp = gateway.url("/mcp");
    for _ in 0..2 {
        let session = open_session(&mcp, &token).await?;
        let ask = mcp::post(&mcp, &token, &call(1, sum.0, &sum.1));
        let reply = tests::http::send(ask.header("Mcp-Session-Id", session)).await?;
        assert!(response(&reply)?.to_string().contains("42"), "{reply:?}");
        gateway.restart().await?;
    }
    Ok(())
}

#[tokio::test]
async fn several_servers_on_stdio_stand_in_one_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("note.txt"), "flour and sugar")?;
    let here = folder.path().display().to_string();
    let memory = folder.path().join("memory.jsonl");
    let files = Launch::npm("@modelcontextprotocol/server-filesystem/dist/index.js").arg(&here);
    let remember = Launch::npm("@modelcontextprotocol/server-memory/dist/index.js");
    let time = Launch::python(Lock::PythonV2, "mcp-server-time");
    let mut more = String::new();
    for (name, server, extra) in [
        (
            "files",
            files.words(),
            format!("working_directory = {here:?}\n"),
        ),
        (
            "memory",
            remember.words(),
            format!(
                "environment = [\"MEMORY_FILE_PATH={}\"]\nprocess = \"shared\"\n",
                memory.display()
            ),
        ),
        ("time", time.words(), String::new()),
    ] {
        more += &format!(
            "[[backend]]\nname = \"{name}\"\npath = \"/{name}\"\nstdio = {server:?}\n{extra}\n"
        );
    }
    let gateway = Gateway::start(Setup::default().more(&more)).await?;
    let owner = Owner::alice();
    let ask = async |sdk, transport, path: &str, name: &str, arguments: Value| {
        let url = gateway.url(path);
        sdk::call(sdk, transport, &url, &owner, &[(name, arguments)])
            .await
            .with_context(|| format!("{path}\n{}", gateway.log().join("\n")))
    };
    let note = json!({"path": folder.path().join("note.txt")});
    for (sdk, transport, path) in [
        (TypeScriptV1, Http, "/files/mcp"),
        (PythonV2, Http, "/files/mcp"),
        (TypeScriptV1, Sse, "/files/sse"),
    ] {
        let seen = ask(sdk, transport, path, "read_text_file", note.clone()).await?;
        assert_eq!(seen.text(0), "flour and sugar");
    }
    let entity =
        json!({"entities": [{"name": "cake", "entityType": "food", "observations": ["sweet"]}]});
    ask(TypeScriptV2, Http, "/memory/mcp", "create_entities", entity).await?;
    let seen = ask(PythonV1, Sse, "/memory/sse", "read_graph", json!({})).await?;
    assert!(seen.results[0].to_string().contains("sweet"), "{seen:?}");
    assert!(std::fs::read_to_string(&memory)?.contains("cake"));
    let noon =
        json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Kolkata"});
    for sdk in [PythonV2, TypeScriptV1] {
        let seen = ask(sdk, Http, "/time/mcp", "convert_time", noon.clone()).await?;
        assert!(seen.text(0).contains("+5.5h"), "{}", seen.text(0));
    }
    Ok(())
}

#[tokio::test]
async fn nothing_of_a_server_on_stdio_outlives_a_killed_gateway() -> Result<()> {
    let mut gateway = Gateway::start(Setup {
        stdio: everything(),
        ..Setup::default()
    })
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    open_session(&gateway.url("/mcp"), &token).await?;
    let socket = gateway.folder().join("state").join("documents.sock");
    let is_served = || processes_that_name(&socket.display().to_string());
    assert!(!is_served().is_empty(), "the bridge names its socket");
    gateway.program().kill().await?;
    for _ in 0..100 {
        if is_served().is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("still there: {:?}", is_served());
}

/// The command lines in which a text stands.
fn processes_that_name(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect()
}
