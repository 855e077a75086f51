//! What a server asks its client in the middle of a call.

use serde_json::{Value, json};

use super::{Bridge, said};
use crate::mcp::{self, Client};
use crate::wire;

fn form(message: &str) -> Value {
    json!({ "method": "elicitation/create", "params": { "message": message, "requestedSchema": {} } })
}

#[test]
fn where_nobody_can_be_asked_the_server_is_told_so() {
    let question = json!({ "questions": [form("anybody?"), { "method": "ping", "params": {} }] });
    let shared = Bridge::start_with("sessions", &["--process", "shared"]);
    let stateless = Bridge::start("stateless");
    for done in [
        super::session(&shared).call("ask", question.clone()),
        super::stateless(&stateless).call("ask", question.clone()),
    ] {
        let answers = said(&done);
        assert_eq!(answers[0]["code"], -32601, "{done}");
        assert_eq!(answers[1], json!({}), "a sign of life can be given");
    }
}

#[test]
fn a_session_is_asked_on_the_stream_of_its_call() {
    let bridge = Bridge::start("sessions");
    let session = super::session(&bridge);
    let message = mcp::request(
        5,
        "tools/call",
        json!({ "name": "ask", "arguments": { "questions": [form("name?")] } }),
    );
    let headers = session.headers();
    let all = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        headers[0],
        headers[1],
    ];
    let mut stream = wire::open(bridge.address, "POST", "/mcp", &all, &message.to_string());
    let question = stream.message();
    assert_eq!(question["method"], "elicitation/create");
    let answer =
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
    assert_eq!(
        mcp::post(bridge.address, &session.headers(), &answer).status,
        202
    );
    let done = stream.message();
    assert_eq!(done["id"], 5);
    assert_eq!(said(&done["result"]), json!([{ "action": "decline" }]));
}
