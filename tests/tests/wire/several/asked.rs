//! What members ask of the app beside forms, and resources that it is told about.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::recorder::{Answer, Recorded};
use tests::scripted_mcp::{self, MCP_STREAM};
use tests::scripted_revisions::{self, LISTENING};
use tests::sse::EventStream;
use tests::{http, mcp};

use super::{World, arrived, notes};

const PATIENCE: Duration = Duration::from_secs(15);

/// What a server asks for a completion of a model and for the folders of the app.
fn questions() -> [(Value, Value); 2] {
    [
        (
            json!({"method": "sampling/createMessage", "params": {"maxTokens": 5, "messages": [
                {"role": "user", "content": {"type": "text", "text": "Sum it up"}},
            ]}}),
            json!({"model": "m", "role": "assistant", "content": {"type": "text", "text": "All in all"}}),
        ),
        (
            json!({"method": "roots/list", "params": {}}),
            json!({"roots": [{"uri": "file:///home/alice"}]}),
        ),
    ]
}

fn capabilities() -> Value {
    json!({"sampling": {}, "roots": {}, "elicitation": {}})
}

/// Parameters that are none may be left out.
fn params_of(message: &Value) -> Value {
    let params = message["params"].as_object().cloned();
    Value::Object(params.unwrap_or_default())
}

async fn event(stream: &mut EventStream) -> Result<Value> {
    let (_, data) = stream.event(PATIENCE).await?;
    Ok(serde_json::from_str(&data)?)
}

/// In the middle of a call, by a server on stdin and stdout.
#[tokio::test]
async fn a_member_samples_and_asks_for_roots_of_clients_of_both_revisions() -> Result<()> {
    let world = World::start().await?;
    // A client with sessions is asked on the stream of its call.
    let mut hello = mcp::initialize();
    hello["params"]["capabilities"] = capabilities();
    let begun = mcp::send(&world.gateway.url("/mcp"), &world.token, &hello).await?;
    let session = begun.header("mcp-session-id").to_owned();
    let post = |body: &Value| {
        let request = mcp::post(&world.gateway.url("/mcp"), &world.token, body);
        request.header("Mcp-Session-Id", &session)
    };
    for (question, answer) in questions() {
        let arguments = json!({"questions": [question]});
        let call = post(&mcp::call(5, "program_ask", &arguments));
        let mut stream = EventStream::open(call).await?;
        let asked = event(&mut stream).await?;
        assert_eq!(asked["method"], question["method"], "{asked}");
        assert_eq!(params_of(&asked), params_of(&question), "{asked}");
        let response = json!({"jsonrpc": "2.0", "id": asked["id"], "result": answer});
        let taken = http::send(post(&response)).await?;
        assert_eq!(taken.status, 202, "{}", taken.text);
        let done = event(&mut stream).await?;
        let text = done["result"]["content"][0]["text"].as_str();
        let heard: Value = serde_json::from_str(text.unwrap_or_default())?;
        assert_eq!(heard, json!([answer]), "{done}");
    }

    // One of 2026-07-28 calls again with what it was asked for.
    for (question, answer) in questions() {
        let params = json!({
            "name": "program_ask",
            "arguments": {"questions": [question]},
            "_meta": {"io.modelcontextprotocol/clientCapabilities": capabilities()},
        });
        let asked = world.result("tools/call", params.clone()).await?;
        let put = &asked["inputRequests"]["question"];
        assert_eq!(put["method"], question["method"], "{asked}");
        assert_eq!(params_of(put), params_of(&question), "{asked}");
        let mut retry = params;
        retry["requestState"] = asked["requestState"].clone();
        retry["inputResponses"] = json!({"question": answer});
        let done = world.result("tools/call", retry).await?;
        let text = done["content"][0]["text"].as_str().unwrap_or_default();
        let heard: Value = serde_json::from_str(text)?;
        assert_eq!(heard, json!([answer]), "{done}");
    }
    Ok(())
}

/// A member of each kind with a resource of its own, that tells of its changes.
async fn with_resources() -> Result<World> {
    let world = World::start().await?;
    world.mail.play(|request| {
        let message = request.json();
        match message["method"].as_str() {
            Some("resources/list") => Answer::json(
                200,
                &json!({"jsonrpc": "2.0", "id": message["id"], "result": {
                    "resultType": "complete", "ttlMs": 1000, "cacheScope": "private",
                    "resources": [{"uri": "mail://inbox", "name": "inbox"}],
                }}),
            ),
            _ => scripted_revisions::stateless(request),
        }
    });
    world.notes.play(|request| {
        let message = request.json();
        let answer = |result: Value| {
            let response = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            Answer::json(200, &response)
        };
        match message["method"].as_str() {
            Some("initialize") => answer(json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}, "resources": {"subscribe": true}},
                "serverInfo": {"name": "notes", "version": "1"},
            }))
            .with("Mcp-Session-Id", scripted_mcp::SESSION),
            Some("resources/subscribe" | "resources/unsubscribe") => answer(json!({})),
            _ => notes(request),
        }
    });
    Ok(world)
}

/// Has each member tell that its resource changed, and one that nobody asked for.
fn change(world: &World, subscription: &Value) {
    let updated = |uri: &str, meta: Value| {
        let message = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri, "_meta": meta}});
        format!("event: message\ndata: {message}\n\n")
    };
    let meta = json!({"io.modelcontextprotocol/subscriptionId": subscription});
    world.mail.push(LISTENING, &updated("mail://inbox", meta));
    for uri in ["notes://2", "notes://1"] {
        world.notes.push(MCP_STREAM, &updated(uri, json!({})));
    }
}

/// Reads until both resources were told of; nothing else of them is.
async fn both_updated(stream: &mut EventStream) -> Result<()> {
    let mut told = Vec::new();
    while told.len() < 2 {
        let message = event(stream).await?;
        if message["method"] == "notifications/resources/updated" {
            told.push(
                message["params"]["uri"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    told.sort();
    assert_eq!(told, ["mail://inbox", "notes://1"]);
    Ok(())
}

async fn subscribed(world: &World, found: impl Fn(&[Recorded], &[Recorded]) -> bool) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mail = arrived(&world.mail, "subscriptions/listen");
        let notes = arrived(&world.notes, "resources/subscribe");
        if found(&mail, &notes) && world.mail.open_streams() > 0 && world.notes.open_streams() > 0 {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "{mail:?} {notes:?}\n{}",
            world.gateway.log().join("\n")
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn names_inbox(requests: &[Recorded]) -> bool {
    let asked = |request: &Recorded| {
        request.json()["params"]["notifications"]["resourceSubscriptions"]
            == json!(["mail://inbox"])
    };
    requests.iter().any(asked)
}

fn names_one(requests: &[Recorded]) -> bool {
    requests
        .iter()
        .any(|request| request.json()["params"]["uri"] == "notes://1")
}

#[tokio::test]
async fn each_member_is_subscribed_to_for_its_own_resources_by_a_client_of_2026() -> Result<()> {
    let world = with_resources().await?;
    let params = json!({"notifications": {"resourceSubscriptions": ["notes://1", "mail://inbox"]}});
    let body = mcp::stateless_message(9, "subscriptions/listen", &params);
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
    let mut stream = EventStream::open(request).await?;
    let first = event(&mut stream).await?;
    let mut granted = first["params"]["notifications"]["resourceSubscriptions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    granted.sort_by_key(Value::to_string);
    assert_eq!(granted, [json!("mail://inbox"), json!("notes://1")]);
    subscribed(&world, |mail, notes| names_inbox(mail) && names_one(notes)).await?;
    change(&world, &json!(9));
    both_updated(&mut stream).await
}

#[tokio::test]
async fn and_by_one_with_a_session() -> Result<()> {
    let world = with_resources().await?;
    let session = mcp::open_session(&world.gateway.url("/mcp"), &world.token).await?;
    let get = http::client()
        .get(world.gateway.url("/mcp"))
        .bearer_auth(&world.token)
        .header("Accept", "text/event-stream")
        .header("Mcp-Session-Id", &session);
    let mut stream = EventStream::open(get).await?;
    for (id, uri) in [(2, "mail://inbox"), (3, "notes://1")] {
        let subscribe = mcp::message(id, "resources/subscribe", &json!({"uri": uri}));
        let answer = world.in_session(&session, &subscribe).await?;
        assert!(answer["result"].is_object(), "{answer}");
    }
    subscribed(&world, |mail, notes| names_inbox(mail) && names_one(notes)).await?;
    let mail = arrived(&world.mail, "subscriptions/listen");
    let subscription = mail.last().map(|it| it.json()["id"].clone());
    change(&world, &subscription.unwrap_or_default());
    both_updated(&mut stream).await
}
