//! Each transport and revision, and how the program starts and ends.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backend::{Backend, Documents, command, eventually, outcome, wait_for};
use crate::mcp::{self, Client, LegacyClient, STATEFUL_REVISIONS, SessionClient, StatelessClient};
use crate::wire;

fn started() -> (Documents, Backend) {
    let documents = Documents::new(&[("a.md", "# Cakes\n\nFlour and sugar.\n")]);
    let backend = Backend::start(documents.path());
    (documents, backend)
}

fn assert_serves(client: &mut impl Client) {
    let tools = client.ask("tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().expect("tools").len();
    assert_eq!(tools, 2);
    let found = client.search("flour");
    let result = client.call("fetch", json!({ "id": found[0]["id"] }));
    assert_eq!(result["structuredContent"]["title"], "Cakes");
}

#[test]
fn every_revision_with_sessions_is_served() {
    let (_documents, backend) = started();
    for revision in STATEFUL_REVISIONS {
        let mut client = SessionClient::connect(backend.address, revision);
        assert_eq!(client.initialized["protocolVersion"], revision);
        assert_serves(&mut client);
    }
}

#[test]
fn the_revision_without_sessions_is_served() {
    let (_documents, backend) = started();
    let mut client = StatelessClient {
        address: backend.address,
    };
    let discovered = client.ask("server/discover", json!({}));
    let versions = discovered["result"]["supportedVersions"]
        .as_array()
        .unwrap();
    assert!(versions.contains(&Value::from("2026-07-28")));
    assert_serves(&mut client);
    let called = client.call("search", json!({ "query": "flour" }));
    assert_eq!(called["resultType"], "complete");
}

#[test]
fn a_header_that_names_another_tool_than_the_body_is_refused() {
    let (_documents, backend) = started();
    let params = StatelessClient::with_meta(json!({ "name": "fetch", "arguments": { "id": "x" } }));
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "search"),
    ];
    let answer = mcp::post(
        backend.address,
        &headers,
        &mcp::request(1, "tools/call", params),
    );
    assert_eq!(answer.status, 400);
    assert_eq!(mcp::message(&answer)["error"]["code"], -32020);
}

#[test]
fn a_session_has_a_stream_and_can_be_ended() {
    let (_documents, backend) = started();
    let client = SessionClient::connect(backend.address, "2025-06-18");
    let mut headers = client.headers().to_vec();
    headers.push(("accept", "text/event-stream"));
    let stream = wire::open(backend.address, "GET", "/mcp", &headers, "");
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));

    let ended = wire::exchange(backend.address, "DELETE", "/mcp", &client.headers(), "");
    assert_eq!(ended.status, 204, "{ended:?}");
    let after = mcp::post(
        backend.address,
        &client.headers(),
        &mcp::request(9, "tools/list", json!({})),
    );
    assert_eq!(after.status, 404);
}

#[test]
fn a_session_that_nobody_started_is_not_found() {
    let (_documents, backend) = started();
    let headers = [
        ("mcp-session-id", "00000000-0000-4000-8000-000000000000"),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    let answer = mcp::post(
        backend.address,
        &headers,
        &mcp::request(1, "tools/list", json!({})),
    );
    assert_eq!(answer.status, 404);
}

#[test]
fn the_older_transport_is_served() {
    let (_documents, backend) = started();
    for revision in ["2024-11-05", "2025-06-18"] {
        let (mut client, initialized) = LegacyClient::connect(backend.address, revision);
        assert_eq!(initialized["protocolVersion"], revision);
        assert!(
            client.endpoint.starts_with("/messages?session_id="),
            "{}",
            client.endpoint
        );
        assert_serves(&mut client);
    }
}

#[test]
fn paths_with_a_slash_at_the_end_are_the_same() {
    let (_documents, backend) = started();
    let mut stream = wire::open(backend.address, "GET", "/sse/", &[], "");
    assert_eq!(stream.event().unwrap().name, "endpoint");
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let answer = wire::exchange(
        backend.address,
        "POST",
        "/mcp/",
        &headers,
        &mcp::initialize("2025-06-18").to_string(),
    );
    assert_eq!(answer.status, 200);
}

#[test]
fn posting_to_the_stream_is_not_allowed() {
    let (_documents, backend) = started();
    let answer = wire::exchange(
        backend.address,
        "POST",
        "/sse",
        &[("content-type", "application/json")],
        "{}",
    );
    assert_eq!(answer.status, 405);
}

#[test]
fn sessions_of_the_older_transport_are_unguessable_and_end_with_their_stream() {
    let (_documents, backend) = started();
    let (client, _) = LegacyClient::connect(backend.address, "2024-11-05");
    let id = client.endpoint.rsplit('=').next().unwrap();
    assert_eq!(id.len(), 32);
    let (other, _) = LegacyClient::connect(backend.address, "2024-11-05");
    assert_ne!(client.endpoint, other.endpoint);

    let LegacyClient {
        address,
        stream,
        endpoint,
        ..
    } = client;
    drop(stream);
    let ping = mcp::request(1, "ping", json!({})).to_string();
    eventually("the end of the session", || {
        let answer = wire::exchange(
            address,
            "POST",
            &endpoint,
            &[("content-type", "application/json")],
            &ping,
        );
        (answer.status == 404).then_some(())
    });
}

#[test]
fn streams_end_properly_and_at_once_on_sigterm() {
    let (_documents, mut backend) = started();
    let (mut legacy, _) = LegacyClient::connect(backend.address, "2024-11-05");
    let session = SessionClient::connect(backend.address, "2025-06-18");
    let mut headers = session.headers().to_vec();
    headers.push(("accept", "text/event-stream"));
    let mut stream = wire::open(backend.address, "GET", "/mcp", &headers, "");

    let start = Instant::now();
    backend.terminate();
    // A stream that is cut instead of ended fails inside `event`.
    assert_eq!(legacy.stream.event(), None);
    while stream.event().is_some() {}
    assert!(backend.ended().success());
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn more_streams_are_held_than_the_usual_limit_of_open_files_allows() {
    let documents = Documents::new(&[("a.md", "# Cakes\n\nFlour and sugar.\n")]);
    let backend = Backend::start_with_few_files(documents.path(), 64);
    let streams: Vec<_> = (0..150)
        .map(|_| LegacyClient::open(backend.address))
        .collect();
    assert_serves(&mut StatelessClient {
        address: backend.address,
    });
    drop(streams);
}

#[test]
fn it_ends_when_stdin_closes() {
    let (_documents, mut backend) = started();
    let (_client, _) = LegacyClient::connect(backend.address, "2024-11-05");
    backend.close_stdin();
    assert!(backend.ended().success());
}

#[test]
fn stdio_speaks_only_the_protocol_on_stdout_and_ends_with_stdin() {
    let documents = Documents::new(&[("a.md", "# Cakes\n\nFlour and sugar.\n")]);
    let mut child = command()
        .arg("--documents")
        .arg(documents.path())
        .args(["--stdio", "--base-url", "https://docs.example.com"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut ask = |message: Value| {
        writeln!(stdin, "{message}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let answer = ask(mcp::initialize("2025-11-25"));
    assert_eq!(answer["result"]["serverInfo"]["name"], "mcp-backend");
    let answer = ask(mcp::request(
        1,
        "tools/call",
        json!({ "name": "search", "arguments": { "query": "flour" } }),
    ));
    let first = &answer["result"]["structuredContent"]["results"][0];
    assert_eq!(
        first["url"],
        format!(
            "https://docs.example.com/documents/{}",
            first["id"].as_str().unwrap()
        )
    );
    drop(stdin);
    assert!(wait_for(&mut child).success());
}

#[test]
fn the_health_check_tells_by_its_exit_code() {
    let (_documents, mut backend) = started();
    let address = backend.address.to_string();
    let healthcheck = || {
        outcome(command().args(["healthcheck", "--listen", &address]))
            .0
            .code()
    };
    assert_eq!(healthcheck(), Some(0));
    assert_eq!(
        outcome(
            command()
                .arg("healthcheck")
                .env("MCP_BACKEND_LISTEN", &address)
        )
        .0
        .code(),
        Some(0)
    );
    backend.terminate();
    backend.ended();
    assert_eq!(healthcheck(), Some(1));
}

#[test]
fn a_start_that_cannot_be_says_why() {
    let (status, log) = outcome(command().args(["--documents", "/no/such/folder"]));
    assert_eq!(status.code(), Some(1));
    assert!(
        log.contains("/no/such/folder") && log.contains("--documents"),
        "{log}"
    );

    let (documents, backend) = started();
    let address = backend.address.to_string();
    let (status, log) = outcome(
        command()
            .arg("--documents")
            .arg(documents.path())
            .args(["--listen", &address]),
    );
    assert_eq!(status.code(), Some(1));
    assert!(log.contains(&address), "{log}");
}
