//! Servers that do what no server should, and clients that do what no client should.

use serde_json::json;

use super::{Bridge, pid, said, session, stateless};
use crate::backend::{command, eventually};
use crate::mcp::{self, Client};
use crate::wire;

#[test]
fn noise_on_stdout_and_a_flood_on_stderr_change_nothing() {
    let bridge = Bridge::start("sessions");
    let mut client = session(&bridge);
    let answer = client.call("noise", json!({ "lines": 50_000 }));
    assert_eq!(said(&answer), "still well");
    eventually("the end of the flood", || {
        (!bridge.events("process_stderr_dropped").is_empty()).then_some(())
    });
    let lines = bridge.events("process_stderr");
    assert!(lines.len() < 5_000, "{} lines", lines.len());
    assert!(lines.iter().all(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.len() <= 8 * 1024)
    }));
    assert!(lines.iter().all(|line| line["server"] == "python3"));
    let odd = bridge.events("process_line_no_message");
    assert_eq!(odd.len(), 3, "{odd:?}");
    let shown = serde_json::to_string(&odd).expect("JSON");
    assert!(
        shown.contains("Server running on stdio") && !shown.contains("half"),
        "{shown}"
    );
}

#[test]
fn a_line_that_is_too_long_ends_the_process_and_the_session_goes_on() {
    let bridge = Bridge::start_with("sessions", &["--longest-line", "100000"]);
    let mut client = session(&bridge);
    let first = pid(&mut client);
    let text = "x".repeat(50_000);
    let echoed = client.call("echo", json!({ "text": text }));
    assert_eq!(said(&echoed)["text"].as_str().map(str::len), Some(50_000));
    let broken = client.ask(
        "tools/call",
        json!({ "name": "long line", "arguments": { "bytes": 200_000 } }),
    );
    let message = broken["error"]["message"].as_str().expect("a text");
    assert!(
        message.contains("a line of more than 100000 bytes"),
        "{message}"
    );
    assert_ne!(pid(&mut client), first);
}

#[test]
fn a_server_that_ends_at_once_is_not_started_over_and_over() {
    let bridge = Bridge::start("exit");
    let mut last = String::new();
    for _ in 0..12 {
        let answer = stateless(&bridge).ask("tools/list", json!({}));
        assert_eq!(answer["error"]["code"], -32603);
        last = answer["error"]["message"]
            .as_str()
            .expect("a text")
            .to_owned();
    }
    assert!(last.contains("ends soon after each start"), "{last}");
    assert!(bridge.events("process_started").len() <= 5);
    assert!(
        bridge
            .events("process_stderr")
            .iter()
            .any(|line| line["message"] == "I can't go on")
    );
    // A session is not even begun.
    let answer = mcp::post(bridge.address, &[], &mcp::initialize("2025-11-25"));
    assert!(answer.header("mcp-session-id").is_none());
    let message = mcp::message(&answer)["error"]["message"].to_string();
    assert!(message.contains("exit code 7"), "{message}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let bridge = Bridge::spawn(command(), &[], &["no-such-program"]);
    let answer = mcp::post(bridge.address, &[], &mcp::initialize("2025-11-25"));
    let message = mcp::message(&answer)["error"]["message"].to_string();
    assert!(message.contains("ended"), "{message}");
    eventually("a line of the log that names it", || {
        let log = bridge.events("process_stderr");
        log.iter()
            .any(|line| line.to_string().contains("no-such-program"))
            .then_some(())
    });
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let bridge = Bridge::start_with("silent", &["--start-timeout", "1"]);
    let answer = mcp::post(bridge.address, &[], &mcp::initialize("2025-11-25"));
    let message = mcp::message(&answer)["error"]["message"].to_string();
    assert!(message.contains("did not answer"), "{message}");
    let (bridge, mut client) = {
        let bridge = Bridge::start_with("sessions", &["--answer-timeout", "1"]);
        let client = session(&bridge);
        (bridge, client)
    };
    let silent = client.ask("tools/call", json!({ "name": "mute", "arguments": {} }));
    assert!(
        silent["error"]["message"]
            .to_string()
            .contains("has not answered"),
        "{silent}"
    );
    let heard = said(&client.call("heard", json!({}))).to_string();
    assert!(heard.contains("notifications/cancelled"), "{heard}");
    drop(bridge);
}

#[test]
fn bodies_that_are_no_messages_and_foreign_hosts_are_refused() {
    let bridge = Bridge::start_with("sessions", &["--largest-body", "10000"]);
    let json = [("content-type", "application/json")];
    let post = |headers: &[(&str, &str)], body: &str| {
        wire::exchange(bridge.address, "POST", "/mcp", headers, body).status
    };
    for body in [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{}",
        r#"{"jsonrpc":"2.0"}"#,
        "[[]]",
    ] {
        assert_eq!(post(&json, body), 400, "{body}");
    }
    assert_eq!(post(&[("content-type", "text/plain")], "{}"), 415);
    assert_eq!(post(&json, &" ".repeat(10_001)), 413);
    let foreign = [("host", "example.com"), json[0]];
    assert_eq!(post(&foreign, "{}"), 403);
    let rebound = [("origin", "https://example.com"), json[0]];
    assert_eq!(post(&rebound, "{}"), 403);
    assert_eq!(wire::get(bridge.address, "/healthz").status, 200);
    assert_eq!(bridge.events("process_started").len(), 0);
}
