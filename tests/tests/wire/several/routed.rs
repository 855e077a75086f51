//! Prompts, resources, completions, questions and ends of calls: each reaches its member.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::http;
use tests::mcp;
use tests::recorder::{Answer, Recorded, Recorder};
use tests::scripted_revisions;
use tests::sse::EventStream;

use super::{World, arrived};

#[tokio::test]
async fn prompts_and_their_completions_go_to_their_member_under_its_own_name() -> Result<()> {
    let world = World::start().await?;
    let listed = world.result("prompts/list", json!({})).await?;
    assert_eq!(listed["prompts"], json!([{"name": "notes_sum_up"}]));
    let got = world
        .result("prompts/get", json!({"name": "notes_sum_up"}))
        .await?;
    assert_eq!(got["description"], "sum_up");
    let params = json!({
        "ref": {"type": "ref/prompt", "name": "notes_sum_up"},
        "argument": {"name": "a", "value": "b"},
    });
    let completed = world.result("completion/complete", params).await?;
    let said = completed["completion"]["values"][0]
        .as_str()
        .unwrap_or_default();
    assert!(said.contains("\"sum_up\""), "{completed}");
    let session = mcp::open_session(&world.gateway.url("/mcp"), &world.token).await?;
    let get = mcp::message(1, "prompts/get", &json!({"name": "notes_sum_up"}));
    let answer = world.in_session(&session, &get).await?;
    assert_eq!(answer["result"]["description"], "sum_up");
    let unknown = world
        .ask(&world.token, "prompts/get", json!({"name": "sum_up"}))
        .await?;
    assert_eq!(mcp::response(&unknown)?["error"]["code"], -32602);
    Ok(())
}

#[tokio::test]
async fn a_resource_is_the_first_members_that_lists_it_or_has_a_template_for_it() -> Result<()> {
    let world = World::start().await?;
    let listed = world.result("resources/list", json!({})).await?;
    let uris: Vec<&str> = listed["resources"]
        .as_array()
        .context("resources")?
        .iter()
        .filter_map(|resource| resource["uri"].as_str())
        .collect();
    assert_eq!(uris, ["notes://1", "both://1"]);
    let templates = world.result("resources/templates/list", json!({})).await?;
    assert_eq!(
        templates["resourceTemplates"][0]["uriTemplate"],
        "notes://{id}"
    );
    for uri in ["notes://1", "both://1", "notes://7"] {
        let read = world.result("resources/read", json!({"uri": uri})).await?;
        assert_eq!(read["contents"][0]["text"], "of notes", "{uri}");
    }
    assert!(
        arrived(&world.mail, "resources/read").is_empty(),
        "it is not asked"
    );
    let params = json!({
        "ref": {"type": "ref/resource", "uri": "notes://{id}"},
        "argument": {"name": "id", "value": "7"},
    });
    let completed = world.result("completion/complete", params).await?;
    assert!(
        completed.to_string().contains("notes://{id}"),
        "{completed}"
    );
    Ok(())
}

#[tokio::test]
async fn a_name_that_nobody_has_reaches_nobody() -> Result<()> {
    let world = World::start().await?;
    for name in ["echo", "notes", "notes_", "Notes_echo", "nobody_echo", ""] {
        let reply = world
            .ask(&world.token, "tools/call", json!({"name": name}))
            .await?;
        if !name.is_empty() {
            assert_eq!(
                mcp::response(&reply)?["error"]["code"],
                -32602,
                "{name}: {}",
                reply.text
            );
        }
    }
    assert!(arrived(&world.notes, "tools/call").is_empty());
    assert!(arrived(&world.mail, "tools/call").is_empty());
    assert!(arrived(&world.old, "tools/call").is_empty());
    Ok(())
}

/// What a request of 2026-07-28 has to say of itself is asked for where all are asked, too.
#[tokio::test]
async fn a_request_without_what_its_revision_demands_is_none() -> Result<()> {
    let world = World::start().await?;
    for missing in ["protocolVersion", "clientCapabilities"] {
        let mut body = mcp::stateless_message(1, "tools/list", &json!({}));
        let meta = &mut body["params"]["_meta"];
        let meta = meta.as_object_mut().context("_meta")?;
        meta.remove(&format!("io.modelcontextprotocol/{missing}"));
        let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
        let reply = http::send(request).await?;
        assert_eq!(reply.status, 400, "{missing}: {}", reply.text);
        assert_eq!(reply.json()["error"]["code"], -32602, "{}", reply.text);
    }
    Ok(())
}

fn form(message: &str) -> Value {
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": {}}})
}

/// A server on stdin and stdout asks in the middle of a call: the client is asked, and the call goes on.
#[tokio::test]
async fn what_a_member_asks_comes_to_the_client_and_the_answer_back_to_it() -> Result<()> {
    let world = World::start().await?;
    let arguments = json!({"questions": [form("first")]});
    let call = json!({"name": "program_ask", "arguments": arguments});
    let asked = world.result("tools/call", call).await?;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    assert_eq!(asked["inputRequests"]["question"], form("first"));
    let retry = json!({
        "name": "program_ask", "arguments": arguments, "requestState": asked["requestState"],
        "inputResponses": {"question": {"action": "accept", "content": {"n": 1.0}}},
    });
    let done = world.result("tools/call", retry).await?;
    assert!(
        done["content"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .contains("accept"),
        "{done}"
    );

    // A client with sessions is asked on the stream of its call.
    let mut hello = mcp::initialize();
    hello["params"]["capabilities"] = json!({"elicitation": {}});
    let begun = mcp::send(&world.gateway.url("/mcp"), &world.token, &hello).await?;
    let session = begun.header("mcp-session-id").to_owned();
    let post = |body: &Value| {
        let request = mcp::post(&world.gateway.url("/mcp"), &world.token, body);
        request.header("Mcp-Session-Id", &session)
    };
    for (tool, more) in [("program_ask", arguments), ("mail_asks", json!({}))] {
        let mut stream = EventStream::open(post(&mcp::call(5, tool, &more))).await?;
        let (_, question) = stream.event(Duration::from_secs(10)).await?;
        let question: Value = serde_json::from_str(&question)?;
        assert_eq!(question["method"], "elicitation/create", "{tool}");
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {}}});
        let taken = http::send(post(&answer)).await?;
        assert_eq!(taken.status, 202, "{}", taken.text);
        let (_, done) = stream.event(Duration::from_secs(10)).await?;
        let done: Value = serde_json::from_str(&done)?;
        assert!(done["result"].is_object(), "{tool}: {done}");
    }
    Ok(())
}

#[tokio::test]
async fn progress_comes_under_the_clients_own_token_and_log_messages_as_they_are_wanted()
-> Result<()> {
    let world = World::start().await?;
    let params = json!({
        "name": "program_progress", "arguments": {},
        "_meta": {"progressToken": "mine"},
    });
    let reply = world.ask(&world.token, "tools/call", params).await?;
    assert_eq!(
        reply.text.matches("\"progressToken\":\"mine\"").count(),
        3,
        "{}",
        reply.text
    );
    let params = json!({
        "name": "program_log", "arguments": {"who": "me"},
        "_meta": {"io.modelcontextprotocol/logLevel": "warning"},
    });
    let reply = world.ask(&world.token, "tools/call", params).await?;
    assert!(reply.text.contains("a warning of me"), "{}", reply.text);
    assert!(!reply.text.contains("a debug of me"), "{}", reply.text);
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_cancels_its_call_at_the_member() -> Result<()> {
    let world = World::start().await?;
    let body = mcp::stateless_message(1, "tools/call", &json!({"name": "mail_slow"}));
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
    let stream = EventStream::open(request).await?;
    world.mail.await_streams(1, Duration::from_secs(5)).await?;
    drop(stream);
    world.mail.await_streams(0, Duration::from_secs(5)).await?;
    Ok(())
}

/// What a server asks back about a resource is answered to that server and no other, whoever lists it by then.
#[tokio::test]
async fn an_answer_about_a_resource_goes_to_the_member_that_asked() -> Result<()> {
    let world = World::start().await?;
    world.mail.play(|request| {
        let message = request.json();
        let answer = |result: Value| {
            let response = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            Answer::json(200, &response)
        };
        match message["method"].as_str() {
            Some("resources/list") => answer(json!({
                "resultType": "complete", "resources": [{"uri": "odd://1", "name": "odd"}],
            })),
            Some("resources/read") if message["params"]["inputResponses"].is_null() => {
                answer(json!({
                    "resultType": "input_required", "requestState": "of mail",
                    "inputRequests": {"who": {"method": "elicitation/create", "params": {"message": "Who?"}}},
                }))
            }
            Some("resources/read") => answer(json!({
                "resultType": "complete", "contents": [{"uri": message["params"]["uri"], "text": "secret"}],
            })),
            _ => scripted_revisions::stateless(request),
        }
    });
    let asked = world
        .result("resources/read", json!({"uri": "odd://1"}))
        .await?;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let retry = |state: Value| {
        let mut params = json!({
            "uri": "odd://1",
            "inputResponses": {"who": {"action": "accept", "content": {"password": "p"}}},
        });
        if !state.is_null() {
            params["requestState"] = state;
        }
        params
    };
    let reads = |member: &Recorder| arrived(member, "resources/read").len();
    let before = (reads(&world.notes), reads(&world.mail), reads(&world.old));
    for foreign in [
        Value::Null,
        json!("of mail"),
        json!("member mail=b2YgbWFpbA~x"),
    ] {
        let refused = world
            .ask(&world.token, "resources/read", retry(foreign))
            .await?;
        assert_eq!(
            mcp::response(&refused)?["error"]["code"],
            -32602,
            "{}",
            refused.text
        );
    }
    let after = (reads(&world.notes), reads(&world.mail), reads(&world.old));
    assert_eq!(before, after, "nobody sees an answer that nobody asked for");
    let read = world
        .result("resources/read", retry(asked["requestState"].clone()))
        .await?;
    assert_eq!(read["contents"][0]["text"], "secret", "{read}");
    let after = (reads(&world.notes), reads(&world.mail), reads(&world.old));
    assert_eq!(after, (before.0, before.1 + 1, before.2));
    let last = arrived(&world.mail, "resources/read");
    let last = last.last().context("it arrived")?.json();
    assert_eq!(last["params"]["requestState"], "of mail");
    Ok(())
}

#[tokio::test]
async fn tasks_reach_no_member() -> Result<()> {
    let world = World::start().await?;
    for (method, params, code) in [
        ("tasks/get", json!({"taskId": "t"}), -32601),
        (
            "tasks/update",
            json!({"taskId": "t", "inputResponses": {}}),
            -32601,
        ),
        (
            "tools/call",
            json!({"name": "notes_echo", "task": {}}),
            -32602,
        ),
    ] {
        let body = mcp::stateless_message(1, method, &params);
        let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
        let reply = http::send(request).await?;
        let answer: Value = serde_json::from_str(&reply.text)?;
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
        for member in [&world.notes, &world.mail, &world.old] {
            assert!(arrived(member, method).is_empty(), "{method}");
        }
    }
    Ok(())
}

/// What a header of a client's own says is for the one server that a request is for.
#[tokio::test]
async fn a_clients_own_headers_reach_the_member_that_it_calls_and_no_other() -> Result<()> {
    let world = World::start().await?;
    for (method, params) in [
        ("tools/list", json!({})),
        ("resources/read", json!({"uri": "odd://1"})),
        (
            "tools/call",
            json!({"name": "mail_anything", "arguments": {}}),
        ),
    ] {
        let body = mcp::stateless_message(1, method, &params);
        let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
        http::send(request.header("X-Mail-Key", "secret")).await?;
    }
    let has_it = |request: &Recorded| request.header("x-mail-key").is_some();
    let called = arrived(&world.mail, "tools/call");
    assert!(called.len() == 1 && called.iter().all(has_it));
    for member in [&world.notes, &world.mail, &world.old] {
        for method in ["tools/list", "resources/list"] {
            let asked = arrived(member, method);
            assert!(!asked.is_empty(), "{method} of {}", member.url());
            assert!(!asked.iter().any(has_it), "{method}");
        }
    }
    let read = arrived(&world.notes, "resources/read");
    assert!(!read.is_empty() && !read.iter().any(has_it));
    Ok(())
}
