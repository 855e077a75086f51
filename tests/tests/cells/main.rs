//! Client revision families × kinds of backends, by real SDK clients in front of real servers: each cell lists
//! the tools, calls some, hears of progress and changes, answers a question, meets an error, and is
//! refused after its grant was revoked. A function a cell.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::oauth::OAuthClient;
use tests::program::{Program, free_port, workspace};

/// A server of one revision family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// HTTP+SSE only.
    HttpSse,
    /// Streamable HTTP with sessions only.
    Sessions,
    /// 2026-07-28 only.
    Stateless,
}

/// A client of one revision family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// The TypeScript SDK 1.x over HTTP+SSE.
    TypeScriptV1Sse,
    /// The TypeScript SDK 1.x over Streamable HTTP.
    TypeScriptV1,
    /// The Python SDK 1.x over Streamable HTTP.
    PythonV1,
    /// The Python SDK 2.x, pinned to 2026-07-28.
    PythonV2,
    /// The TypeScript SDK 2.x, pinned to 2026-07-28.
    TypeScriptV2,
}

fn python(version: &str) -> PathBuf {
    workspace().join(format!("tests/.work/python-{version}/bin/python"))
}

fn node() -> PathBuf {
    std::env::var_os("TEST_NODE")
        .map(PathBuf::from)
        .unwrap_or_else(|| workspace().join("tests/.work/node"))
}

impl Server {
    /// What the gateway is to find out about it.
    fn families(self) -> &'static str {
        match self {
            Self::HttpSse => "2024-11-05",
            Self::Sessions => "2025",
            Self::Stateless => "2026-07-28",
        }
    }

    async fn start(self) -> Result<(Program, String)> {
        let port = free_port().to_string();
        let servers = workspace().join("tests/servers/cells");
        let (interpreter, arguments) = match self {
            Self::HttpSse => (python("v1"), vec!["sessions.py", "sse", &port]),
            Self::Sessions => (python("v1"), vec!["sessions.py", "streamable-http", &port]),
            Self::Stateless => (python("v2"), vec!["stateless.py", &port]),
        };
        let program = Program::start(&interpreter, &servers, &arguments, &[])?;
        let address = format!("127.0.0.1:{port}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            ensure!(
                Instant::now() < deadline,
                "the server does not listen\n{}",
                program.last_words()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok((program, format!("http://{address}")))
    }
}

impl Client {
    fn is_stateless(self) -> bool {
        matches!(self, Self::PythonV2 | Self::TypeScriptV2)
    }

    /// Its report: what it prints last.
    async fn run(self, gateway: &Gateway, token: &str) -> Result<Value> {
        let (interpreter, script, transport) = match self {
            Self::TypeScriptV1Sse => (node(), "ts_v1.mjs", Some("sse")),
            Self::TypeScriptV1 => (node(), "ts_v1.mjs", Some("http")),
            Self::PythonV1 => (python("v1"), "python_v1.py", None),
            Self::PythonV2 => (python("v2"), "python_v2.py", None),
            Self::TypeScriptV2 => (node(), "ts_v2.mjs", Some("http")),
        };
        ensure!(
            interpreter.exists(),
            "{} is missing: `tests/run` installs it",
            interpreter.display()
        );
        let url = gateway.url(match transport {
            Some("sse") => "/sse",
            _ => "/mcp",
        });
        let mut command = tokio::process::Command::new(interpreter);
        command
            .arg(workspace().join("tests/clients/cells").join(script))
            .args(transport)
            .arg(&url)
            .env("TOKEN", token)
            .kill_on_drop(true);
        for variable in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(variable);
            command.env_remove(variable.to_uppercase());
        }
        let output = tokio::time::timeout(Duration::from_secs(120), command.output())
            .await
            .context("the client hangs")??;
        let out = String::from_utf8_lossy(&output.stdout);
        out.lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .with_context(|| format!("{out}\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}

async fn works(client: Client, server: Server) -> Result<()> {
    let (program, url) = server.start().await?;
    let gateway = Gateway::start(Setup::default().backend(&url)).await?;
    let known = format!("\"eras\":\"{}\"", server.families());
    gateway.logged(&known).await?;
    let registered = OAuthClient::register(&gateway.origin(), "A cell's client").await?;
    let token = registered.sign_in(&Owner::alice()).await?;

    let report = client.run(&gateway, &token).await?;
    let context = || {
        format!(
            "{report}\n{}\n{}",
            gateway.log().join("\n"),
            program.last_words()
        )
    };
    assert_eq!(report["ok"], true, "{}", context());
    assert_eq!(
        report["tools"],
        json!(["add", "count", "fail", "greet", "grow"]),
        "{}",
        context()
    );
    assert_eq!(report["added"], "5", "{}", context());
    assert_eq!(report["count"], "3", "{}", context());
    let progress: Vec<f64> = serde_json::from_value(report["progress"].clone())?;
    assert_eq!(progress, [1.0, 2.0, 3.0], "{}", context());
    assert_eq!(report["failed"], true, "{}", context());
    assert_eq!(report["greeted"], "Hello Ada", "{}", context());
    // The Python SDK 1.x declares no `tools.listChanged`, so a subscription is not granted it.
    let is_told = server == Server::Stateless || !client.is_stateless();
    assert_eq!(report["changed"] == true, is_told, "{}", context());
    if client.is_stateless() {
        assert_eq!(report["protocol"], "2026-07-28", "{}", context());
    }

    let revoked = registered.revoke(&token).await?;
    assert_eq!(revoked.status, 200);
    let refused = client.run(&gateway, &token).await?;
    assert_eq!(refused["ok"], false, "{refused}");
    // Not every SDK says the status; the log does.
    let is_401 = |line: &String| line.contains("\"refused\"") && line.contains("\"status\":401");
    let told = |log: &[String]| log.iter().any(is_401).then_some(());
    let told = gateway.eventually_logged(told).await;
    told.with_context(|| refused.to_string())
}

macro_rules! cells {
    ($($name:ident: $client:ident, $server:ident;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            works(Client::$client, Server::$server).await
        }
    )*};
}

cells! {
    http_sse_to_http_sse: TypeScriptV1Sse, HttpSse;
    http_sse_to_sessions: TypeScriptV1Sse, Sessions;
    http_sse_to_stateless: TypeScriptV1Sse, Stateless;
    sessions_to_http_sse: PythonV1, HttpSse;
    sessions_to_sessions: PythonV1, Sessions;
    sessions_to_stateless: PythonV1, Stateless;
    stateless_to_http_sse: PythonV2, HttpSse;
    stateless_to_sessions: PythonV2, Sessions;
    stateless_to_stateless: PythonV2, Stateless;
    typescript_sessions_to_http_sse: TypeScriptV1, HttpSse;
    typescript_sessions_to_stateless: TypeScriptV1, Stateless;
    typescript_stateless_to_http_sse: TypeScriptV2, HttpSse;
    typescript_stateless_to_sessions: TypeScriptV2, Sessions;
}
