//! What a server asks its client, in front of clients of both revision families.

use serde_json::{Value, json};

use super::{Bridge, said};
use crate::mcp;
use crate::wire::{self, Answer};

fn form(message: &str) -> Value {
    json!({ "method": "elicitation/create", "params": { "message": message, "requestedSchema": {} } })
}

/// A call of `ask` by a client of 2026-07-28 that can be asked.
fn call(bridge: &Bridge, person: &str, questions: &[Value], more: Value) -> Answer {
    let mut params = json!({
        "name": "ask",
        "arguments": { "questions": questions },
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "sampling": {} },
        },
    });
    for (name, value) in more.as_object().expect("an object") {
        params[name] = value.clone();
    }
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "ask"),
        ("x-forwarded-user", person),
    ];
    mcp::post(
        bridge.address,
        &headers,
        &mcp::request(9, "tools/call", params),
    )
}

fn result(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    mcp::message(answer)["result"].clone()
}

#[test]
fn a_question_to_a_stateless_client_is_a_round_trip_of_the_same_call() {
    let bridge = Bridge::start("sessions");
    let questions = [form("first"), form("second")];
    let asked = result(&call(&bridge, "alice", &questions, json!({})));
    assert_eq!(asked["resultType"], "input_required");
    assert_eq!(asked["inputRequests"]["question"], questions[0]);

    // A retry that answers nothing is asked again.
    let state = asked["requestState"].clone();
    let again = result(&call(
        &bridge,
        "alice",
        &questions,
        json!({ "requestState": state }),
    ));
    assert_eq!(again["inputRequests"], asked["inputRequests"]);

    let answered = json!({ "question": { "action": "accept", "content": { "n": 1.0 } } });
    let retry = |state: &Value| json!({ "requestState": state, "inputResponses": answered });
    let second = result(&call(
        &bridge,
        "alice",
        &questions,
        retry(&again["requestState"]),
    ));
    assert_eq!(
        second["inputRequests"]["question"], questions[1],
        "{second}"
    );
    let done = result(&call(
        &bridge,
        "alice",
        &questions,
        retry(&second["requestState"]),
    ));
    assert_eq!(done["resultType"], "complete");
    let accepted = json!({ "action": "accept", "content": { "n": 1.0 } });
    assert_eq!(said(&done), json!([accepted, accepted]));

    let spent = call(&bridge, "alice", &questions, retry(&second["requestState"]));
    assert_eq!(mcp::message(&spent)["error"]["code"], -32602);
}

#[test]
fn the_state_of_a_question_is_worth_nothing_to_others_or_for_another_request() {
    let bridge = Bridge::start("sessions");
    let questions = [form("secret?")];
    let asked = result(&call(&bridge, "alice", &questions, json!({})));
    let retry = json!({
        "requestState": asked["requestState"],
        "inputResponses": { "question": { "action": "accept" } },
    });
    for (person, questions) in [
        ("mallory", &[form("secret?")][..]),
        ("alice", &[form("other")]),
    ] {
        let answer = call(&bridge, person, questions, retry.clone());
        assert_eq!(mcp::message(&answer)["error"]["code"], -32602, "{person}");
    }
    let done = result(&call(&bridge, "alice", &questions, retry));
    assert_eq!(said(&done), json!([{ "action": "accept" }]));
}

#[test]
fn what_a_client_has_not_declared_it_is_not_asked() {
    let bridge = Bridge::start("sessions");
    let roots = json!({ "method": "roots/list", "params": {} });
    let done = result(&call(&bridge, "alice", &[roots], json!({})));
    assert_eq!(said(&done)[0]["code"], -32601, "{done}");

    let shared = Bridge::start_with("sessions", &["--process", "shared"]);
    let done = result(&call(&shared, "alice", &[form("anybody?")], json!({})));
    assert_eq!(said(&done)[0]["code"], -32601, "{done}");
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
