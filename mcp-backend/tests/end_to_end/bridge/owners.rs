//! Processes by whose they are: nobody takes all of them, idle ones end first, and the gateway's own
//! look has one that is kept for it.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Bridge, SERVER, is_running, said};
use crate::backend::{command, eventually};
use crate::mcp;
use crate::wire::Answer;

/// A session of somebody's.
struct BridgeSession {
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

impl BridgeSession {
    fn open(bridge: &Bridge, user: &str, grant: &str) -> (Self, Answer) {
        let mut headers = vec![
            ("x-forwarded-user".to_owned(), user.to_owned()),
            ("x-forwarded-client".to_owned(), "app".to_owned()),
            ("x-forwarded-grant".to_owned(), grant.to_owned()),
        ];
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } });
        let initialize = mcp::request(1, "initialize", params);
        let own: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let answer = mcp::post(bridge.address, &own, &initialize);
        if let Some(session) = answer.header("mcp-session-id") {
            headers.push(("mcp-session-id".to_owned(), session.to_owned()));
        }
        let of = Self {
            address: bridge.address,
            headers,
        };
        (of, answer)
    }

    fn call(&self, name: &str, arguments: Value) -> Answer {
        let own = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let message = mcp::request(
            2,
            "tools/call",
            json!({ "name": name, "arguments": arguments }),
        );
        mcp::post(self.address, &own.collect::<Vec<_>>(), &message)
    }

    fn pid(&self) -> u64 {
        let answer = self.call("environment", json!({}));
        said(&mcp::message(&answer)["result"])["pid"]
            .as_u64()
            .expect("a number")
    }

    /// Keeps its process busy.
    fn busy(self, seconds: u32) -> JoinHandle<Answer> {
        std::thread::spawn(move || self.call("sleep", json!({ "seconds": seconds })))
    }
}

fn refusal(answer: &Answer) -> String {
    let message = mcp::message(answer);
    let text = message["error"]["message"].as_str();
    text.unwrap_or_else(|| panic!("not refused: {message}"))
        .to_owned()
}

const LIMITS: [&str; 6] = [
    "--processes",
    "5",
    "--processes-per-person",
    "3",
    "--processes-per-connection",
    "2",
];

#[test]
fn one_connection_or_person_does_not_take_all_processes() {
    let bridge = Bridge::start_with("sessions", &LIMITS);
    let mut busy: Vec<_> = (0..2)
        .map(|_| BridgeSession::open(&bridge, "alice", "g1").0.busy(6))
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let refused = refusal(&BridgeSession::open(&bridge, "alice", "g1").1);
    assert!(
        refused.contains("2 processes of this connection"),
        "{refused}"
    );
    busy.push(BridgeSession::open(&bridge, "alice", "g2").0.busy(6));
    std::thread::sleep(Duration::from_millis(500));
    let refused = refusal(&BridgeSession::open(&bridge, "alice", "g3").1);
    assert!(refused.contains("3 processes of this person"), "{refused}");
    // Others are served all the while.
    let (bob, _) = BridgeSession::open(&bridge, "bob", "g5");
    assert!(bob.pid() > 0);
    let (carol, _) = BridgeSession::open(&bridge, "carol", "g6");
    assert!(carol.pid() > 0);
    for call in busy {
        assert_eq!(call.join().expect("a thread").status, 200);
    }
}

/// A call of a client without sessions that takes so many seconds. Whose it is: person, grant, and what the
/// program calls itself.
fn without(
    address: SocketAddr,
    (user, grant, program): (&str, &str, &str),
    seconds: u32,
) -> Answer {
    let call = json!({ "name": "sleep", "arguments": { "seconds": seconds } });
    let mut params = mcp::StatelessClient::with_meta(call);
    params["_meta"]["io.modelcontextprotocol/clientInfo"]["name"] = json!(program);
    let headers = [
        ("mcp-protocol-version", mcp::STATELESS),
        ("mcp-method", "tools/call"),
        ("mcp-name", "sleep"),
        ("x-forwarded-user", user),
        ("x-forwarded-client", "app"),
        ("x-forwarded-grant", grant),
    ];
    mcp::post(address, &headers, &mcp::request(1, "tools/call", params))
}

#[test]
fn without_sessions_one_connection_or_person_does_not_take_all_processes() {
    let bridge = Bridge::start_with("stateless", &LIMITS);
    let address = bridge.address;
    assert_eq!(without(address, ("carol", "g6", "one"), 0).status, 200);
    let busy = |whose| {
        let call = std::thread::spawn(move || without(address, whose, 6));
        std::thread::sleep(Duration::from_millis(500));
        call
    };
    let refused = |whose, why: &str| {
        let refused = without(address, whose, 0);
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.header("retry-after").is_some());
        assert!(refusal(&refused).contains(why), "{refused:?}");
    };
    let mut calls = vec![busy(("alice", "g1", "one")), busy(("alice", "g1", "two"))];
    refused(("alice", "g1", "three"), "2 processes of this connection");
    calls.push(busy(("alice", "g2", "four")));
    refused(("alice", "g3", "five"), "3 processes of this person");
    // Others are served all the while.
    assert_eq!(without(address, ("bob", "g5", "one"), 0).status, 200);
    for call in calls {
        assert_eq!(call.join().expect("a thread").status, 200);
    }
}

#[test]
fn whoever_is_at_a_bound_has_an_idle_one_of_their_own_stopped() {
    let limits = ["--processes", "8", "--processes-per-connection", "2"];
    let bridge = Bridge::start_with("sessions", &limits);
    let (bob, _) = BridgeSession::open(&bridge, "bob", "g9");
    let of_bob = bob.pid();
    let (first, _) = BridgeSession::open(&bridge, "alice", "g1");
    let (second, _) = BridgeSession::open(&bridge, "alice", "g1");
    let (of_first, of_second) = (first.pid(), second.pid());
    let (third, _) = BridgeSession::open(&bridge, "alice", "g1");
    assert!(third.pid() > 0);
    assert!(
        !is_running(of_first),
        "the longest idle of the same connection"
    );
    assert!(is_running(of_second) && is_running(of_bob));
    // Its session goes on, with another process.
    assert_ne!(first.pid(), of_first);
}

/// One that opens sessions without end ends its own.
#[test]
fn sessions_without_end_cost_nobody_else_theirs() {
    let bridge = Bridge::start_with("sessions", &["--process", "shared"]);
    let (bob, _) = BridgeSession::open(&bridge, "bob", "g9");
    let (first, _) = BridgeSession::open(&bridge, "alice", "g1");
    for _ in 0..520 {
        let (_, opened) = BridgeSession::open(&bridge, "alice", "g1");
        assert_eq!(opened.status, 200, "{opened:?}");
    }
    assert!(bob.pid() > 0);
    assert_eq!(first.call("environment", json!({})).status, 404);
}

/// The gateway's own look: it names nobody, and says who it is.
fn hello() -> Value {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "cupcake-gateway", "version": "1" } });
    mcp::request(1, "initialize", params)
}

/// The answer to its last question, or to the first that was refused.
fn look(bridge: &Bridge) -> Answer {
    let begun = mcp::post(bridge.address, &[], &hello());
    let Some(session) = begun.header("mcp-session-id") else {
        return begun;
    };
    let headers = [("mcp-session-id", session)];
    let listed = mcp::post(
        bridge.address,
        &headers,
        &mcp::request(2, "tools/list", json!({})),
    );
    let ended = crate::wire::exchange(bridge.address, "DELETE", "/mcp", &headers, "");
    assert_eq!(ended.status, 204);
    listed
}

#[test]
fn a_look_at_a_server_without_sessions_is_without_one() {
    let bridge = Bridge::start_with("stateless", &["--warm-up"]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "cupcake-gateway", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message = mcp::request(1, "tools/list", json!({ "_meta": meta }));
    let headers = [
        ("mcp-protocol-version", mcp::STATELESS),
        ("mcp-method", "tools/list"),
    ];
    assert_eq!(look(&bridge).status, 400);
    for _ in 0..3 {
        let listed = mcp::message(&mcp::post(bridge.address, &headers, &message));
        assert!(listed["result"]["tools"].is_array(), "{listed}");
    }
    // One more tried whether there are sessions.
    assert_eq!(bridge.events("process_started").len(), 2);
    let alice = bridge.ask_as("alice", "tools/list", json!({}));
    assert_eq!(alice.status, 200, "{alice:?}");
    assert_eq!(bridge.events("process_started").len(), 3);
}

#[test]
fn all_looks_of_the_gateway_share_the_process_that_was_started_first() {
    let bridge = Bridge::start_with("sessions", &["--warm-up"]);
    for _ in 0..3 {
        let listed = mcp::message(&look(&bridge));
        assert!(listed["result"]["tools"].is_array(), "{listed}");
    }
    assert_eq!(bridge.events("process_started").len(), 1);
    // Nobody else gets it.
    let (alice, _) = BridgeSession::open(&bridge, "alice", "g1");
    assert!(alice.pid() > 0);
    assert_eq!(bridge.events("process_started").len(), 2);
}

/// What it says to the bridge's own `initialize` tells that it has sessions, and it may know others.
#[test]
fn a_server_that_refuses_the_bridge_is_looked_at_by_the_gateway_itself() {
    let bridge = Bridge::start("picky");
    let listed = mcp::message(&look(&bridge));
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    assert_eq!(
        refusal(&BridgeSession::open(&bridge, "alice", "g1").1),
        "I don't know you"
    );
}

#[test]
fn a_server_that_refuses_the_bridge_is_no_fault() {
    let bridge = Bridge::start_with("picky", &["--warm-up"]);
    eventually("the refusal to be told", || {
        (bridge.events("server_refuses_the_bridge").len() == 1).then_some(())
    });
    assert!(bridge.events("server_does_not_answer").is_empty());
}

#[test]
fn a_program_that_ends_at_once_is_told_in_full_to_the_operator_alone() {
    let script = "import sys; print('first', file=sys.stderr); print('no key: s3cret', file=sys.stderr); sys.exit(9)";
    let bridge = Bridge::spawn(command(), &["--warm-up"], &["python3", "-c", script]);
    let sentence = eventually("the end to be told", || {
        let told = bridge.events("server_does_not_answer");
        told.first().map(|line| line["message"].to_string())
    });
    assert!(sentence.contains("exit code 9"), "{sentence}");
    assert!(
        sentence.contains("Its last line: no key: s3cret"),
        "{sentence}"
    );
    let full = refusal(&look(&bridge));
    assert!(
        full.contains("exit code 9") && full.contains("s3cret"),
        "{full}"
    );
    let (_, opened) = BridgeSession::open(&bridge, "alice", "g1");
    let told = refusal(&opened);
    assert!(
        told.contains("exit code 9") && !told.contains("s3cret"),
        "{told}"
    );
    // However many ask, it is started ever less often.
    for at in 0..30 {
        BridgeSession::open(&bridge, "alice", &format!("g{at}"));
    }
    assert!(bridge.events("process_started").len() < 8);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let bridge = Bridge::spawn(command(), &[], &["no-such-program-anywhere"]);
    let full = refusal(&look(&bridge));
    assert!(full.contains("could not be started"), "{full}");
    assert!(full.contains("no-such-program-anywhere"), "{full}");
}

/// The scripted server, which takes so many seconds to start.
fn slow(mode: &str, seconds: u32) -> String {
    format!(
        "import time; time.sleep({seconds}); import runpy, sys; sys.argv = ['s', '{mode}']; runpy.run_path({SERVER:?})"
    )
}

/// Asks for a session, and leaves before there is an answer.
fn leave_after(address: SocketAddr, patience: Duration) {
    use std::io::Write as _;
    let body = hello().to_string();
    let mut socket = std::net::TcpStream::connect(address).expect("a connection");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).expect("a request");
    std::thread::sleep(patience);
}

#[test]
fn who_gives_up_waiting_does_not_end_a_start() {
    // One for all, so that the process which finds out what the server speaks goes on.
    let shared = ["--process", "shared"];
    let bridge = Bridge::spawn(command(), &shared, &["python3", "-c", &slow("sessions", 2)]);
    leave_after(bridge.address, Duration::from_millis(700));
    let listed = mcp::message(&look(&bridge));
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    assert_eq!(bridge.events("process_started").len(), 1);
}

/// A second process tries whether there are sessions, and its start is no other's to begin again.
#[test]
fn who_gives_up_waiting_does_not_end_the_finding_out() {
    let bridge = Bridge::spawn(command(), &[], &["python3", "-c", &slow("either", 1)]);
    leave_after(bridge.address, Duration::from_millis(1_600));
    let (alice, _) = BridgeSession::open(&bridge, "alice", "g1");
    assert!(alice.pid() > 0);
    assert_eq!(bridge.events("process_started").len(), 3);
}
