//! No file left to open: by the gateway, at its door and behind it, and by what it starts. Whoever
//! meets it is told which limit it is and what to change, and nothing turns in circles.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::documents::DocumentSite;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::mcp::{initialize, send};
use tests::oauth::OAuthClient;
use tests::program::{forbid_files, give_files_back, leave_files};
use tests::raw;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Longer than a connection to a backend is kept.
const KEPT: Duration = Duration::from_secs(6);

const PATIENCE: Duration = Duration::from_secs(20);

/// A request that leaves its connection open.
fn request(method: &str, target: &str, address: SocketAddr, lines: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A connection that is there already, so that it takes no further file.
async fn connected(address: SocketAddr) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    let first = request("GET", "/robots.txt", address, "", "");
    ask(&mut socket, &first).await?;
    Ok(socket)
}

async fn ask(socket: &mut TcpStream, bytes: &[u8]) -> Result<raw::RawAnswer> {
    socket.write_all(bytes).await?;
    let deadline = Instant::now() + PATIENCE;
    let mut answer = raw::read_until_silent(socket, Duration::from_millis(700)).await;
    while answer.status() == 0 && !answer.closed {
        ensure!(Instant::now() < deadline, "no answer");
        answer = raw::read_until_silent(socket, Duration::from_millis(700)).await;
    }
    Ok(answer)
}

fn call(address: SocketAddr, token: &str, message: &serde_json::Value) -> Vec<u8> {
    let lines = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    );
    request("POST", "/mcp", address, &lines, &message.to_string())
}

/// Lines that have all of these words in them.
fn with_words(lines: &[String], words: &[&str]) -> usize {
    let holds = |line: &&String| words.iter().all(|word| line.contains(word));
    lines.iter().filter(holds).count()
}

/// Waits for such a line of the log.
async fn logged(gateway: &Gateway, words: &[&str]) -> Result<()> {
    let is_there = |log: &[String]| (with_words(log, words) > 0).then_some(());
    gateway.eventually_logged(is_there).await
}

async fn served_again(fixture: &Fixture, token: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = send(&fixture.url("/mcp"), token, &initialize()).await;
        if reply.is_ok_and(|reply| reply.status == 200) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "nothing is served any more");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_door_without_files_pauses_and_says_so_once_in_a_while() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    tokio::time::sleep(KEPT).await;
    let id = fixture.gateway.program().id().context("it has ended")?;
    leave_files(id, 3)?;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut socket = TcpStream::connect(fixture.gateway.address()).await?;
        socket.write_all(b"GET /").await?;
        waiting.push(socket);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = fixture.gateway.program().cpu_time()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spent = fixture.gateway.program().cpu_time()? - before;
    assert!(spent < Duration::from_millis(600), "{spent:?} of 3 s");
    let words = [
        "accept_failed",
        "open_files_exhausted",
        "open files of the process",
        "LimitNOFILE",
    ];
    logged(&fixture.gateway, &words).await?;
    let log = fixture.gateway.log();
    assert!(with_words(&log, &words) <= 3, "{log:?}");
    give_files_back(id)?;
    drop(waiting);
    served_again(&fixture, &token).await
}

#[tokio::test]
async fn a_backend_that_no_file_is_left_for_is_not_to_blame() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let address = fixture.gateway.address();
    let mut socket = connected(address).await?;
    tokio::time::sleep(KEPT).await;
    let id = fixture.gateway.program().id().context("it has ended")?;
    leave_files(id, 0)?;
    let answer = ask(&mut socket, &call(address, &token, &initialize())).await?;
    assert_eq!(answer.status(), 503, "{}", answer.text);
    for said in ["open_files_exhausted", "LimitNOFILE"] {
        assert!(answer.text.contains(said), "{}", answer.text);
    }
    let words = [
        "open_files_exhausted",
        "the limit of open files of the process is met",
    ];
    logged(&fixture.gateway, &words).await?;
    give_files_back(id)?;
    served_again(&fixture, &token).await
}

#[tokio::test]
async fn a_client_document_that_no_file_is_left_for_names_the_limit() -> Result<()> {
    let site = DocumentSite::start().await?;
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| site.known_to(setup)).await?;
    let address = fixture.gateway.address();
    let uri = "https://app.example.net/cb";
    let client_id = site.put_client("/client.json", &[uri]);
    let app = OAuthClient::known(&fixture.gateway.origin(), &client_id, uri);
    let url = app.authorization().url();
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let mut socket = connected(address).await?;
    tokio::time::sleep(KEPT).await;
    let id = fixture.gateway.program().id().context("it has ended")?;
    leave_files(id, 0)?;
    let answer = ask(&mut socket, &request("GET", &target, address, "", "")).await?;
    assert!(answer.status() >= 400, "{}", answer.text);
    let words = ["open_files_exhausted", "limit of open files of the process"];
    logged(&fixture.gateway, &words).await?;
    give_files_back(id)?;
    Ok(())
}

#[tokio::test]
async fn a_redis_that_no_file_is_left_for_names_the_limit() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let address = fixture.gateway.address();
    let id = fixture.gateway.program().id().context("it has ended")?;
    let mut socket = connected(address).await?;
    let redis = fixture.redis.as_ref().context("no Redis")?;
    // What becomes free can't be opened again, either.
    forbid_files(id)?;
    for kind in ["normal", "pubsub"] {
        redis.say(&["CLIENT", "KILL", "TYPE", kind]).await?;
    }
    let client = json!({"client_name": "A client", "redirect_uris": ["http://127.0.0.1:1/cb"]});
    let lines = "Content-Type: application/json\r\n";
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What was cut is noticed by whoever asks first.
        let register = request("POST", "/register", address, lines, &client.to_string());
        let answer = ask(&mut socket, &register).await?;
        let words = [
            "Redis can't be reached",
            "open files of the process",
            "LimitNOFILE",
        ];
        if with_words(&fixture.gateway.log(), &words) > 0 && answer.status() == 503 {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{}\n{:?}",
            answer.text,
            fixture.gateway.log()
        );
    }
    give_files_back(id)?;
    Ok(())
}

/// A server on stdio whose tools are those of nobody: it need only be started.
const SERVER: &str = r#"
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    result = {}
    if asked["method"] == "initialize":
        result = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "small", "version": "1"}}
    if asked["method"] == "tools/list":
        result = {"tools": []}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"#;

#[tokio::test]
async fn a_process_that_no_file_is_left_for_names_the_limit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = folder.path().join("server.py");
    std::fs::write(&server, SERVER)?;
    let mut gateway = Gateway::start(Setup {
        stdio: vec!["python3".into(), server.display().to_string()],
        ..Setup::default()
    })
    .await?;
    let id = gateway.program().id().context("it has ended")?;
    let client = OAuthClient::register(&gateway.origin(), "A client").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    let bridge = children(id)?
        .into_iter()
        .find(|child| is_bridge(*child))
        .context("no bridge")?;
    tokio::time::sleep(KEPT).await;
    // Enough for the gateway's connection, too few for the pipes of a process.
    leave_files(bridge, 3)?;
    let reply = send(&gateway.url("/mcp"), &token, &json!(initialize())).await?;
    assert!(
        reply.text.contains("open files of the bridge"),
        "{}: {}",
        reply.status,
        reply.text
    );
    assert!(reply.text.contains("LimitNOFILE"), "{}", reply.text);
    Ok(())
}

fn children(parent: u32) -> Result<Vec<u32>> {
    let listed = std::process::Command::new("ps")
        .args(["-o", "pid=", "--ppid", &parent.to_string()])
        .output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(listed
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect())
}

fn is_bridge(id: u32) -> bool {
    let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).contains("bridge")
}
