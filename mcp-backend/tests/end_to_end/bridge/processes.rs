//! Processes: who gets one, with which environment, how many, and how they end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Bridge, SERVER, is_gone, is_running, pid, said, session, stateless};
use crate::backend::{command, eventually};
use crate::mcp::{self, Client, SessionClient, StatelessClient};
use crate::wire::Answer;

#[test]
fn each_session_has_a_process_and_each_person_without_sessions() {
    let bridge = Bridge::start("sessions");
    let (mut one, mut two) = (session(&bridge), session(&bridge));
    assert_ne!(pid(&mut one), pid(&mut two));
    assert_eq!(pid(&mut one), pid(&mut one));
    let without = Bridge::start("stateless");
    let of = |person: &str| {
        let answer = without.ask_as(
            person,
            "tools/call",
            json!({ "name": "environment", "arguments": {} }),
        );
        said(&mcp::message(&answer)["result"])["pid"].as_u64()
    };
    assert_eq!(of("alice"), of("alice"));
    assert_ne!(of("alice"), of("bob"));
}

#[test]
fn a_process_gets_the_environment_and_folder_that_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().canonicalize().expect("a path");
    let mut bridge = command();
    bridge.env("PASSED_ON", "p").env("SECRET", "s");
    let options = [
        "--env",
        "PASSED_ON",
        "--env",
        "GIVEN=a=b",
        "--env",
        "NOT_THERE",
        "--working-directory",
        here.to_str().expect("UTF-8"),
    ];
    let bridge = Bridge::spawn(bridge, &options, &["python3", SERVER, "sessions"]);
    let said = said(&session(&bridge).call("environment", json!({})));
    let environment = &said["environment"];
    assert_eq!(environment["PASSED_ON"], "p");
    assert_eq!(environment["GIVEN"], "a=b");
    assert_eq!(
        environment["PATH"].is_string(),
        std::env::var("PATH").is_ok()
    );
    assert_eq!(environment["SECRET"], Value::Null);
    assert_eq!(environment["NOT_THERE"], Value::Null);
    assert_eq!(said["folder"].as_str(), here.to_str());
    assert_eq!(bridge.events("variable_not_set").len(), 1);
}

#[test]
fn an_idle_process_is_stopped_and_its_session_goes_on_with_another() {
    let bridge = Bridge::start_with("sessions", &["--idle", "0.3"]);
    let mut client = session(&bridge);
    client.ask("logging/setLevel", json!({ "level": "error" }));
    let first = pid(&mut client);
    is_gone(first);
    assert_ne!(pid(&mut client), first);
    let heard = said(&client.call("heard", json!({}))).to_string();
    for told in [
        "initialize",
        "notifications/initialized",
        "logging/setLevel",
    ] {
        assert!(heard.contains(told), "{told}: {heard}");
    }
    // A call under way is use, however long it takes.
    assert_eq!(
        said(&client.call("sleep", json!({ "seconds": 1 }))),
        "slept"
    );
}

#[test]
fn there_are_no_more_processes_than_allowed_and_an_idle_one_makes_room() {
    let bridge = Bridge::start_with("sessions", &["--processes", "2"]);
    let mut first = session(&bridge);
    let of_first = pid(&mut first);
    let mut busy = session(&bridge);
    let sleeping = sleep_in_background(&bridge, &busy, 3);
    std::thread::sleep(Duration::from_millis(300));
    let third = session(&bridge);
    assert!(!is_running(of_first), "the first, idle, has made room");
    // The first comes back: the third, idle now, makes room.
    assert_ne!(pid(&mut first), of_first);
    drop(third);
    assert_eq!(
        said(&mcp::message(&sleeping.join().expect("a thread"))["result"]),
        "slept"
    );
    assert!(pid(&mut busy) > 0);

    let one = Bridge::start_with("stateless", &["--processes", "1"]);
    std::thread::scope(|threads| {
        let busy = threads.spawn(|| {
            let sleep = json!({ "name": "sleep", "arguments": { "seconds": 2 } });
            one.ask_as("alice", "tools/call", sleep)
        });
        eventually("a call under way", || {
            (one.events("process_started").len() >= 3).then_some(())
        });
        std::thread::sleep(Duration::from_millis(500));
        let refused = one.ask_as("bob", "tools/list", json!({}));
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(busy.join().expect("a thread").status, 200);
    });
    assert_eq!(one.ask_as("bob", "tools/list", json!({})).status, 200);
}

fn sleep_in_background(
    bridge: &Bridge,
    client: &SessionClient,
    seconds: u32,
) -> std::thread::JoinHandle<Answer> {
    let (address, session) = (bridge.address, client.session.clone());
    let call = json!({ "name": "sleep", "arguments": { "seconds": seconds } });
    std::thread::spawn(move || {
        let headers = [("mcp-session-id", session.as_str())];
        mcp::post(address, &headers, &mcp::request(1, "tools/call", call))
    })
}

#[test]
fn a_crash_is_told_to_who_waits_and_the_session_goes_on() {
    let bridge = Bridge::start("sessions");
    let mut client = session(&bridge);
    let first = pid(&mut client);
    let crashed = client.ask("tools/call", json!({ "name": "die", "arguments": {} }));
    assert_eq!(crashed["error"]["code"], -32603);
    let text = crashed["error"]["message"].as_str().expect("a text");
    assert!(text.contains("ended (exit code 3)"), "{text}");
    assert_ne!(pid(&mut client), first);
    let bridge = Bridge::start("stateless");
    let crashed = stateless(&bridge).ask("tools/call", json!({ "name": "die", "arguments": {} }));
    assert_eq!(crashed["error"]["code"], -32603, "{crashed}");
}

#[test]
fn to_leave_is_to_cancel_without_sessions_and_not_with_them() {
    let (bridge, without) = (Bridge::start("sessions"), Bridge::start("stateless"));
    stateless(&without).call("heard", json!({}));
    let call = json!({ "name": "mute", "arguments": {} });
    let leave = |bridge: &Bridge, headers: &[(&str, &str)], message: &Value| {
        let mut all = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        all.extend_from_slice(headers);
        leave_early(bridge.address, &all, &message.to_string());
    };
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "mute"),
    ];
    leave(
        &without,
        &headers,
        &mcp::request(1, "tools/call", StatelessClient::with_meta(call.clone())),
    );
    let mut client = stateless(&without);
    eventually("the cancellation", || {
        let heard = said(&client.call("heard", json!({}))).to_string();
        heard.contains("notifications/cancelled").then_some(())
    });

    let mut client = session(&bridge);
    let id = client.session.clone();
    let headers = [("mcp-session-id", id.as_str())];
    leave(&bridge, &headers, &mcp::request(77, "tools/call", call));
    std::thread::sleep(Duration::from_millis(300));
    let heard = said(&client.call("heard", json!({}))).to_string();
    assert!(
        heard.contains("mute") && !heard.contains("notifications/cancelled"),
        "{heard}"
    );
    // Its own word counts, and reaches the process under the number that it knows.
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 77 } });
    assert_eq!(mcp::post(bridge.address, &headers, &cancel).status, 202);
    let heard = said(&client.call("heard", json!({})));
    let lines: Vec<Value> = heard
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| serde_json::from_str(line.as_str().expect("a line")).expect("JSON"))
        .collect();
    let mute = lines
        .iter()
        .find(|line| line["params"]["name"] == "mute")
        .expect("the call");
    let cancelled = lines
        .iter()
        .find(|line| line["method"] == "notifications/cancelled")
        .expect("its end");
    assert_eq!(cancelled["params"]["requestId"], mute["id"]);
}

/// Sends a request, waits until it is surely under way, and closes the connection.
fn leave_early(address: std::net::SocketAddr, headers: &[(&str, &str)], body: &str) {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).expect("a connection");
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .expect("a sent request");
    std::thread::sleep(Duration::from_millis(800));
}

#[test]
fn nothing_is_left_behind_however_the_bridge_ends() {
    for end in ["-TERM", "-KILL", "stdin"] {
        let mut bridge = Bridge::start("sessions");
        let family = said(&session(&bridge).call("family", json!({})));
        let members = ["pid", "child"].map(|name| family[name].as_u64().expect("a number"));
        assert!(members.iter().all(|member| is_running(*member)));
        let started = Instant::now();
        match end {
            "stdin" => bridge.stdin = None,
            signal => {
                let id = bridge.child.id().to_string();
                let status = std::process::Command::new("kill")
                    .args([signal, &id])
                    .status();
                assert!(status.expect("kill runs").success());
            }
        }
        let status = bridge.ended();
        assert_eq!(status.success(), end != "-KILL", "{end}");
        // The child ignores SIGTERM, so that only the end of the whole group can end it.
        for member in members {
            is_gone(member);
        }
        assert!(started.elapsed() < Duration::from_secs(12), "{end}");
    }
}
