//! What a server speaks is passed on as it is, and what it does not speak is refused.

use serde_json::{Value, json};

use super::{Bridge, SERVER, said, session, stateless};
use crate::backend::{command, eventually};
use crate::mcp::{self, Client, STATEFUL_REVISIONS, SessionClient, StatelessClient};
use crate::wire;

fn uses(client: &mut impl Client) {
    let tools = client.ask("tools/list", json!({}));
    assert_eq!(tools["result"]["tools"][0]["name"], "echo", "{tools}");
    let echoed = client.call("echo", json!({ "é": [1, 2.5, null] }));
    assert_eq!(said(&echoed), json!({ "é": [1, 2.5, null] }));
    let unknown = client.ask("tools/call", json!({ "name": "no such tool" }));
    assert_eq!(unknown["error"]["code"], -32602);
}

/// A client of 2026-07-28 in front of a server with sessions: as from one that has never heard of it.
fn refuses_stateless(bridge: &Bridge) {
    for method in ["server/discover", "tools/list", "subscriptions/listen"] {
        let refused = stateless(bridge).answer(method, json!({}));
        assert_eq!(refused.status, 400, "{refused:?}");
        let error = &mcp::message(&refused)["error"];
        assert_eq!(error["code"], -32600, "{error}");
        let words = error["message"].to_string();
        assert!(
            words.contains("2025-11-25") && words.contains("gateway serve"),
            "{error}"
        );
    }
}

/// A client with sessions in front of a server of 2026-07-28 (Versioning).
fn refuses_sessions(bridge: &Bridge) {
    let versions: [&[(&str, &str)]; 2] = [&[], &[("mcp-protocol-version", "2025-11-25")]];
    for headers in versions {
        for message in [
            mcp::initialize("2025-11-25"),
            mcp::request(0, "tools/list", json!({})),
        ] {
            let refused = mcp::post(bridge.address, headers, &message);
            assert_eq!(refused.status, 400, "{refused:?}");
            assert!(refused.header("mcp-session-id").is_none());
            let error = &mcp::message(&refused)["error"];
            assert_eq!(error["code"], -32022, "{error}");
            assert_eq!(error["data"]["supported"], json!(["2026-07-28"]));
            let requested = if message["method"] == "initialize" || !headers.is_empty() {
                "2025-11-25"
            } else {
                ""
            };
            assert_eq!(error["data"]["requested"], requested, "{error}");
            assert!(error["message"].to_string().contains("gateway serve"));
        }
    }
}

#[test]
fn a_server_is_served_in_what_it_speaks() {
    for mode in ["sessions", "stateless", "either", "first"] {
        let bridge = Bridge::start(mode);
        if mode == "sessions" {
            refuses_stateless(&bridge);
        } else {
            let mut stateless = stateless(&bridge);
            let discovered = stateless.ask("server/discover", json!({}));
            let versions = &discovered["result"]["supportedVersions"];
            assert_eq!(versions[0], "2026-07-28", "{mode}");
            uses(&mut stateless);
        }
        if mode == "stateless" {
            refuses_sessions(&bridge);
        } else {
            for revision in STATEFUL_REVISIONS {
                let mut client = SessionClient::connect(bridge.address, revision);
                assert_eq!(client.initialized["protocolVersion"], revision, "{mode}");
                assert_eq!(client.initialized["serverInfo"]["name"], "scripted");
                uses(&mut client);
            }
        }
        // HTTP+SSE is the gateway's.
        assert_eq!(wire::get(bridge.address, "/sse").status, 404);
    }
}

#[test]
fn all_share_one_process_where_that_is_asked_for() {
    let bridge = Bridge::start_with("sessions", &["--process", "shared"]);
    let (mut one, mut other) = (session(&bridge), session(&bridge));
    uses(&mut one);
    uses(&mut other);
    assert_eq!(super::pid(&mut one), super::pid(&mut other));
    refuses_stateless(&bridge);
    assert_eq!(bridge.events("process_started").len(), 1);

    // One process has one revision family: the newer one, where there is a choice.
    for mode in ["stateless", "either", "first"] {
        let bridge = Bridge::start_with(mode, &["--process", "shared"]);
        uses(&mut stateless(&bridge));
        let pid_of = |person: &str| {
            let call = json!({ "name": "environment", "arguments": {} });
            let answer = bridge.ask_as(person, "tools/call", call);
            said(&mcp::message(&answer)["result"])["pid"].clone()
        };
        assert_eq!(pid_of("alice"), pid_of("bob"));
        refuses_sessions(&bridge);
        assert_eq!(bridge.events("process_started").len(), 1);
    }
}

/// As those made with older Rust SDKs do.
#[test]
fn a_server_that_ends_at_a_first_message_other_than_initialize_is_served() {
    // One more is asked whether the end was an accident.
    for (options, processes) in [(&[][..], 5), (&["--process", "shared"], 2)] {
        let bridge = Bridge::start_with("strict", options);
        uses(&mut session(&bridge));
        refuses_stateless(&bridge);
        uses(&mut session(&bridge));
        assert_eq!(bridge.events("initialize_first").len(), 1);
        assert_eq!(bridge.events("process_started").len(), processes);
    }
}

/// A server whose first starts fail, so many.
struct Failing {
    bridge: Bridge,
    _folder: tempfile::TempDir,
}

impl Failing {
    fn start(mode: &str, options: &[&str], failures: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let starts = folder.path().join("starts");
        let starts = starts.to_str().expect("UTF-8");
        let server = ["python3", SERVER, mode, starts, &failures.to_string()];
        Self {
            bridge: Bridge::spawn(command(), options, &server),
            _folder: folder,
        }
    }

    /// Waits until a client with sessions gets one.
    fn await_session(&self) {
        eventually("a session", || {
            let answer = mcp::post(self.bridge.address, &[], &mcp::initialize("2025-11-25"));
            answer.header("mcp-session-id").map(|_| ())
        });
    }

    /// Waits until a client without sessions is answered.
    fn await_stateless(&self) {
        eventually("an answer", || {
            let answer = stateless(&self.bridge).ask("server/discover", json!({}));
            answer["result"].is_object().then_some(())
        });
    }
}

/// Its end at `server/discover` says nothing of what it speaks, and what it then says to `initialize`
/// neither.
#[test]
fn a_server_that_ends_once_is_served_in_all_that_it_speaks() {
    for mode in ["stateless", "either", "first"] {
        let server = Failing::start(mode, &[], 1);
        server.await_stateless();
        uses(&mut stateless(&server.bridge));
        match mode {
            "stateless" => refuses_sessions(&server.bridge),
            _ => uses(&mut session(&server.bridge)),
        }
    }
    let shared = Failing::start("stateless", &["--process", "shared"], 1);
    shared.await_stateless();
    uses(&mut stateless(&shared.bridge));
}

/// The pause between two starts, which grows, does not take the turn of `initialize` away.
#[test]
fn a_server_that_ends_at_server_discover_and_is_away_at_first_is_served() {
    let server = Failing::start("strict", &[], 4);
    server.await_session();
    uses(&mut session(&server.bridge));
    refuses_stateless(&server.bridge);
}

/// A fault of the moment is no answer to what it speaks.
#[test]
fn a_server_that_answers_with_a_fault_at_first_is_served() {
    for code in [-32603, -32000] {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().join("there");
        let script = format!(
            "import json, os, runpy, sys\nif not os.path.exists({there:?}):\n    for line in sys.stdin:\n        id = json.loads(line).get('id')\n        print(json.dumps({{'jsonrpc': '2.0', 'id': id, 'error': {{'code': {code}, 'message': 'later'}}}}), flush=True)\n    sys.exit()\nsys.argv = ['s', 'stateless']\nrunpy.run_path({SERVER:?})"
        );
        let bridge = Bridge::spawn(command(), &[], &["python3", "-c", &script]);
        let refused = stateless(&bridge).answer("server/discover", json!({}));
        let error = mcp::message(&refused)["error"].clone();
        assert_eq!(error["message"], "later", "{refused:?}");
        std::fs::write(&there, "").expect("a file");
        uses(&mut stateless(&bridge));
        refuses_sessions(&bridge);
    }
}

/// That is longer than a server may be silent about `server/discover`: it is asked to initialize, too,
/// and finds both requests when it is there.
#[test]
fn a_server_that_takes_six_seconds_to_start_is_served_whatever_it_speaks() {
    let modes = ["sessions", "stateless", "either"];
    let bridges = modes.map(|mode| {
        let script = format!(
            "import time; time.sleep(6); import runpy, sys; sys.argv = ['s', '{mode}']; runpy.run_path({SERVER:?})"
        );
        let shared = ["--process", "shared"];
        Bridge::spawn(command(), &shared, &["python3", "-c", &script])
    });
    let [sessions, without, either] = &bridges;
    uses(&mut session(sessions));
    uses(&mut stateless(without));
    // It found both questions when it was there, and answered both: the second has tied it.
    uses(&mut session(either));
    for bridge in &bridges {
        assert_eq!(bridge.events("process_started").len(), 1);
    }
}

#[test]
fn order_unknown_members_and_forms_of_numbers_survive_both_ways() {
    let bridge = Bridge::start("sessions");
    let client = session(&bridge);
    let body = "{\n \"x\": [1.50],\n \"method\": \"x/verbatim\",\n \"jsonrpc\":\"2.0\",\n \"params\": {\"z\": 1E400, \"a\": 12345678901234567890123},\n \"id\": \"\\u0061\"}";
    let mut headers = client.headers().to_vec();
    headers.push(("content-type", "application/json"));
    let answer = wire::exchange(bridge.address, "POST", "/mcp", &headers, body);
    assert_eq!(
        answer.body,
        r#"{"result":{"z":1.0,"a":12345678901234567890123,"e":1E400,"u":"\u00e9"},"x":[1.50],"id":"a","jsonrpc":"2.0"}"#
    );
    let mut client = client;
    let heard = said(&client.call("heard", json!({})));
    let heard = heard.as_array().expect("lines");
    let line = heard
        .iter()
        .filter_map(Value::as_str)
        .find(|line| line.contains("x/verbatim"))
        .expect("the request");
    assert!(line.starts_with(r#"{"x":[1.50],"method":"x/verbatim","jsonrpc":"2.0","params":{"z": 1E400, "a": 12345678901234567890123},"id":"#), "{line}");
}

#[test]
fn progress_comes_on_the_stream_of_the_request_with_its_own_token() {
    let bridge = Bridge::start("sessions");
    let session = session(&bridge);
    let call = mcp::request(
        7,
        "tools/call",
        json!({ "name": "progress", "_meta": { "progressToken": "p" } }),
    );
    let answer = mcp::post(bridge.address, &session.headers(), &call);
    let progress: Vec<&str> = answer
        .body
        .lines()
        .filter(|line| line.contains("notifications/progress"))
        .collect();
    assert_eq!(progress.len(), 3, "{answer:?}");
    assert!(progress[0].contains(r#""progressToken":"p""#));
    assert_eq!(mcp::message(&answer)["id"], 7);
}

/// The header rules of 2026-07-28, Streamable HTTP, Server Validation.
#[test]
fn headers_that_differ_from_the_body_and_revisions_that_are_not_spoken_are_refused() {
    let bridge = Bridge::start("stateless");
    let params = StatelessClient::with_meta(json!({ "name": "echo", "arguments": {} }));
    let call = mcp::request(1, "tools/call", params);
    let good = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "=?base64?ZWNobw==?="),
    ];
    assert_eq!(mcp::post(bridge.address, &good, &call).status, 200);
    for (at, wrong) in [
        (0, "2025-11-25"),
        (1, "tools/list"),
        (1, "TOOLS/CALL"),
        (2, "other"),
        (2, "=?base64?!?="),
    ] {
        let mut headers = good;
        headers[at].1 = wrong;
        let answer = mcp::post(bridge.address, &headers, &call);
        assert_eq!(answer.status, 400, "{headers:?}");
        assert_eq!(mcp::message(&answer)["error"]["code"], -32020);
    }
    for missing in 0..3 {
        let mut headers = good.to_vec();
        headers.remove(missing);
        let answer = mcp::post(bridge.address, &headers, &call);
        assert_eq!(answer.status, 400, "{headers:?}");
        assert_eq!(mcp::message(&answer)["error"]["code"], -32020);
    }

    let mut old = call.clone();
    old["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("1900-01-01");
    let mut headers = good;
    headers[0].1 = "1900-01-01";
    let answer = mcp::post(bridge.address, &headers, &old);
    assert_eq!(answer.status, 400);
    let error = &mcp::message(&answer)["error"];
    assert_eq!(error["code"], -32022);
    assert_eq!(error["data"]["supported"][0], "2026-07-28");
    assert_eq!(error["data"]["requested"], "1900-01-01");

    let mut bare = call;
    bare["params"]["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    let answer = mcp::post(bridge.address, &good, &bare);
    assert_eq!(
        (answer.status, &mcp::message(&answer)["error"]["code"]),
        (400, &json!(-32602))
    );

    for gone in ["ping", "no/such", "resources/subscribe"] {
        let answer = stateless(&bridge).answer(gone, json!({}));
        assert_eq!(answer.status, 404, "{gone}");
        assert_eq!(mcp::message(&answer)["error"]["code"], -32601);
    }
    let unread = stateless(&bridge).answer("resources/read", json!({ "uri": "test://x" }));
    assert_eq!(unread.status, 400, "Mcp-Name is missing: {unread:?}");
}

#[test]
fn a_session_is_known_to_its_client_alone_and_ends_when_it_is_told_to() {
    let bridge = Bridge::start("sessions");
    let session = session(&bridge);
    let list = mcp::request(1, "tools/list", json!({}));
    let post = |headers: &[(&str, &str)]| mcp::post(bridge.address, headers, &list).status;
    assert_eq!(post(&session.headers()), 200);
    assert_eq!(post(&[]), 400);
    assert_eq!(post(&[("mcp-session-id", "0")]), 404);
    let mut stolen = session.headers().to_vec();
    stolen.push(("x-forwarded-user", "mallory"));
    assert_eq!(post(&stolen), 404);
    let mut odd = session.headers();
    odd[1].1 = "2025-11-26";
    assert_eq!(post(&odd), 400);
    let delete = || wire::exchange(bridge.address, "DELETE", "/mcp", &session.headers(), "");
    assert_eq!(delete().status, 204);
    assert_eq!(delete().status, 404);
    assert_eq!(post(&session.headers()), 404);
    assert_eq!(wire::get(bridge.address, "/mcp").status, 405);
    eventually("the end of the session's process", || {
        // The first process found out what the server speaks.
        (bridge.events("process_ended").len() == 2).then_some(())
    });
}

#[test]
fn what_changed_is_told_on_the_stream_of_a_session() {
    for options in [&[][..], &["--process", "shared"]] {
        let bridge = Bridge::start_with("sessions", options);
        let mut session = session(&bridge);
        let headers = session
            .headers()
            .map(|(name, value)| (name, value.to_owned()));
        let mut all = vec![("accept", "text/event-stream")];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        let mut stream = wire::open(bridge.address, "GET", "/mcp", &all, "");
        assert_eq!(stream.status, 200);
        if !options.is_empty() {
            session.ask("resources/subscribe", json!({ "uri": "test://a" }));
        }
        session.call("change", json!({}));
        assert_eq!(
            stream.message()["method"],
            "notifications/tools/list_changed"
        );
        assert_eq!(stream.message()["params"]["uri"], "test://a");
    }
}

/// Once too often, and again after one was given back; what is there already costs nothing.
#[test]
fn a_session_subscribes_to_so_many_resources_and_no_more() {
    for options in [&[][..], &["--process", "shared"]] {
        let bridge = Bridge::start_with("sessions", options);
        let mut session = session(&bridge);
        let mut subscribe = |method: &str, at: usize| {
            let uri = json!({ "uri": format!("test://{at}") });
            session.ask(&format!("resources/{method}"), uri)
        };
        for at in 0..512 {
            let answer = subscribe("subscribe", at);
            assert!(answer["result"].is_object(), "{at}: {answer}");
        }
        let refused = subscribe("subscribe", 512);
        assert_eq!(refused["error"]["code"], -32603, "{refused}");
        assert!(refused["error"]["message"].to_string().contains("512"));
        assert!(subscribe("subscribe", 0)["result"].is_object());
        assert!(subscribe("unsubscribe", 0)["result"].is_object());
        assert!(subscribe("subscribe", 512)["result"].is_object());
        let heard = said(&session.call("heard", json!({})));
        let lines = heard.as_array().expect("lines").iter();
        let reached = lines
            .filter(|line| line.to_string().contains("test://512"))
            .count();
        assert_eq!(reached, 1, "what is refused does not reach the server");
    }
}

fn listen(bridge: &Bridge, notifications: Value) -> wire::Streaming {
    let params = StatelessClient::with_meta(json!({ "notifications": notifications }));
    let mut message = mcp::request(0, "subscriptions/listen", params);
    message["id"] = json!("listen");
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    wire::open(
        bridge.address,
        "POST",
        "/mcp",
        &headers,
        &message.to_string(),
    )
}

#[test]
fn a_subscription_at_a_server_that_knows_them_keeps_its_clients_number() {
    let bridge = Bridge::start("stateless");
    let mut listening = listen(&bridge, json!({ "toolsListChanged": true }));
    for _ in 0..2 {
        let message = listening.message();
        assert_eq!(
            message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "listen",
            "{message}"
        );
    }
}

#[test]
fn the_messages_of_an_array_are_all_answered() {
    let bridge = Bridge::start("sessions");
    let session = SessionClient::connect(bridge.address, "2025-03-26");
    let array = json!([
        mcp::request(1, "tools/list", json!({})),
        { "jsonrpc": "2.0", "method": "notifications/x" },
        mcp::request(2, "tools/call", json!({ "name": "echo", "arguments": {} })),
    ]);
    let answer = mcp::post(bridge.address, &session.headers(), &array);
    for id in ["\"id\":1", "\"id\":2"] {
        assert!(answer.body.contains(id), "{answer:?}");
    }
}

#[test]
fn log_messages_go_to_the_request_that_asked_for_them() {
    let bridge = Bridge::start("stateless");
    let call = |level: Option<&str>| {
        let mut params =
            StatelessClient::with_meta(json!({ "name": "log", "arguments": { "who": "me" } }));
        if let Some(level) = level {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        let headers = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "log"),
        ];
        mcp::post(
            bridge.address,
            &headers,
            &mcp::request(1, "tools/call", params),
        )
        .body
    };
    assert!(!call(None).contains("notifications/message"));
    let warned = call(Some("warning"));
    assert!(warned.contains("a warning of me"), "{warned}");
    let bridge = Bridge::start("sessions");
    let session = session(&bridge);
    let message = mcp::request(
        1,
        "tools/call",
        json!({ "name": "log", "arguments": { "who": "us" } }),
    );
    let answer = mcp::post(bridge.address, &session.headers(), &message);
    assert!(answer.body.contains("a debug of us"), "{answer:?}");
}
