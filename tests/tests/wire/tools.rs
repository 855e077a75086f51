//! Consent over tools: what a person chose is what a client sees and may call, whatever the
//! transport and the revision, and only as it was when it was chosen.

mod changed;

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::Fixture;
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession, call, initialize, message, response, send};
use tests::recorder::{Answer, Recorded, Step};
use tests::scripted_mcp;

/// A token for these tools of the scripted backend.
async fn token_for(fixture: &Fixture, tools: &[&str]) -> Result<String> {
    let client = fixture.client("A choosing client").await?;
    client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(tools))
        .await
}

fn list(id: u64) -> Value {
    message(id, "tools/list", &json!({}))
}

fn names(answer: &Value) -> Vec<String> {
    let tools = answer["result"]["tools"].as_array();
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    tools.map_or_else(Vec::new, |tools| tools.iter().map(name).collect())
}

async fn listed(fixture: &Fixture, token: &str) -> Result<Vec<String>> {
    Ok(names(&response(
        &send(&fixture.url("/mcp"), token, &list(5)).await?,
    )?))
}

/// A refused call within MCP: its reason.
fn refusal(answer: &Value) -> String {
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let reason = answer["result"]["_meta"]["reason"].as_str();
    reason.unwrap_or_default().to_owned()
}

/// What reached the backend of `tools/call`, however it was spelled.
fn calls(fixture: &Fixture) -> usize {
    let is_call = |request: &&Recorded| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        text.contains("tools/call") || text.contains("arguments")
    };
    fixture.backend.requests().iter().filter(is_call).count()
}

async fn raw(fixture: &Fixture, token: &str, version: &str, body: &str) -> Result<Reply> {
    let mut request = http::client()
        .post(fixture.url("/mcp"))
        .bearer_auth(token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .body(body.to_owned());
    if !version.is_empty() {
        request = request.header("MCP-Protocol-Version", version);
    }
    http::send(request).await
}

#[tokio::test]
async fn an_app_that_registered_itself_gets_the_reading_tools_unless_the_person_wants_more()
-> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let token = client.sign_in_choosing(&fixture.owner, |_| Ok(())).await?;
    assert_eq!(listed(&fixture, &token).await?, ["echo", "look"]);
    for (choice, tools) in [
        ("read", &["echo", "look"][..]),
        ("today", &["echo", "look", "erase"]),
        ("all", &["echo", "look", "erase"]),
    ] {
        let token = client
            .sign_in_choosing(&fixture.owner, |form| form.choose("tools", choice))
            .await?;
        assert_eq!(listed(&fixture, &token).await?, tools, "{choice}");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_was_not_allowed_never_reaches_the_backend_however_it_is_spelled() -> Result<()>
{
    let fixture = Fixture::start().await?;
    let token = token_for(&fixture, &["look"]).await?;
    assert_eq!(listed(&fixture, &token).await?, ["look"]);
    let reply = send(&fixture.url("/mcp"), &token, &call(1, "erase", &json!({}))).await?;
    assert_eq!(refusal(&response(&reply)?), "tool_not_allowed");
    let is_no_name = |name: &str| name.contains(r"\u0000") || name.trim() != name;
    for name in [
        r"erase",
        r"\u0065rase",
        r"Look",
        r"LOOK",
        r"look\u0000",
        r"look\u0000erase",
        r" look",
        r"look ",
        r"l\u043e\u043ek",
        r"loo\u212a",
        r"ｌook",
        r"",
        r"echo",
    ] {
        let call = |id: &str, extra: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{{}}{extra}}}}}"#
            )
        };
        for version in ["", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let reply = raw(&fixture, &token, version, &call("1", "")).await?;
            // A name with a control character, or with a blank around it, is none.
            let expected = if is_no_name(name) { 400 } else { 200 };
            assert_eq!(reply.status, expected, "{name}: {}", reply.text);
            if expected == 200 {
                assert_eq!(refusal(&reply.json()), "tool_not_allowed", "{name}");
            }
        }
        // Twice is no call at all, and neither is a method in another spelling.
        for body in [
            call("1", r#","name":"look""#),
            call("1", r#","Name":"look""#),
            call("1", r#","n\u0061me":"look""#),
            call("1", r#","name\u0000":"look""#),
        ] {
            let reply = raw(&fixture, &token, "", &body).await?;
            assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        }
        for method in [r"Tools\/Call", r"tools\/call\u0000", r"tools\/call "] {
            let body = call("1", "").replace("tools/call", method);
            let reply = raw(&fixture, &token, "", &body).await?;
            assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        }
        if is_no_name(name) {
            continue;
        }
        let escaped = call("1", "").replace("tools/call", r"t\u006fols\/call");
        assert_eq!(
            refusal(&raw(&fixture, &token, "", &escaped).await?.json()),
            "tool_not_allowed"
        );
        let batch = format!(
            "[{},{},{}]",
            mcp::call(1, "look", &json!({})),
            list(2),
            call("3", "")
        );
        let answer = raw(&fixture, &token, "2025-03-26", &batch).await?.json();
        assert_eq!(answer.as_array().map(Vec::len), Some(3), "{answer}");
        assert_eq!(refusal(&answer[0]), "tool_not_allowed");
        assert_eq!(answer[1]["error"]["code"], -32600);
        assert_eq!(refusal(&answer[2]), "tool_not_allowed");
    }
    assert_eq!(calls(&fixture), 0);
    let body = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"n\u0061me":"l\u006fok","arguments":{"a":1.50}}}"#;
    let reply = raw(&fixture, &token, "", body).await?;
    assert!(
        response(&reply)?["result"]["isError"].is_null(),
        "{}",
        reply.text
    );
    let arrived = fixture.backend.requests();
    assert_eq!(arrived.last().map(|r| r.body.clone()), Some(body.into()));
    Ok(())
}

#[tokio::test]
async fn a_list_is_cut_in_json_in_events_and_in_batches_and_the_rest_is_as_it_was() -> Result<()> {
    let fixture = Fixture::start().await?;
    let token = token_for(&fixture, &["look"]).await?;
    let everything = fixture
        .client("Client")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let result = |id: &str| {
        let tool = |name: &str| {
            scripted_mcp::reply(&list(1))["result"]["tools"]
                .as_array()
                .unwrap()
                .iter()
                .find(|tool| tool["name"] == name)
                .unwrap()
                .to_string()
        };
        format!(
            r#"{{ "jsonrpc":"2.0", "id":{id},"result":{{"x":1.50,"tools":[ {} , {},{}],"nextCursor":"n","ttlMs":5,"cacheScope":"public"}}}}"#,
            tool("echo"),
            tool("look"),
            tool("erase")
        )
    };
    let cut = |id: &str| {
        let whole = result(id);
        let (start, end) = (
            whole.find("{\"annotations").unwrap(),
            whole.find("],\"nextCursor").unwrap(),
        );
        let look = whole[start..end]
            .split(" , ")
            .nth(1)
            .unwrap()
            .split(",{\"annotations")
            .next()
            .unwrap();
        format!("{}{look}{}", &whole[..start], &whole[end..]).replace("public", "private")
    };
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"erase"}]}}"#;
    let events = move |id: &str, line: &str| {
        format!(
            ": hello{line}{line}event: message{line}data: {notice}{line}{line}id: 7{line}data: {}{line}retry: 5{line}{line}",
            result(id)
        )
    };
    for line in ["\n", "\r\n", "\r"] {
        for step in [1, 7, 100_000] {
            fixture
                .backend
                .play(move |request| match request.json()["method"].as_str() {
                    Some("tools/list") => {
                        let text = events(&request.json()["id"].to_string(), line);
                        let chunks = text
                            .as_bytes()
                            .chunks(step)
                            .map(|chunk| Step::Send(String::from_utf8_lossy(chunk).into_owned()));
                        Answer::events(chunks.collect())
                    }
                    _ => scripted_mcp::answer(request),
                });
            let reply = send(&fixture.url("/mcp"), &token, &list(3)).await?;
            assert_eq!(
                response(&reply)?,
                serde_json::from_str::<Value>(&cut("3"))?,
                "{step}"
            );
            assert!(reply.text.contains(&cut("3")), "{}", reply.text);
            assert!(
                reply.text.contains(notice)
                    && reply.text.contains("id: 7")
                    && reply.text.contains("retry: 5")
            );
            assert!(!reply.text.contains("Delete something"));
            let whole = send(&fixture.url("/mcp"), &everything, &list(3)).await?;
            assert_eq!(whole.text, events("3", line));
        }
    }
    fixture.backend.play(move |request| match request.json() {
        Value::Array(_) => Answer::Full(
            200,
            vec![("Content-Type".into(), "application/json".into())],
            format!("[{},{}]", result("1"), result("\"b\"")).into_bytes(),
        ),
        message if message["method"] == "tools/list" => Answer::Full(
            200,
            vec![("Content-Type".into(), "application/json".into())],
            result(&message["id"].to_string()).into_bytes(),
        ),
        _ => scripted_mcp::answer(request),
    });
    let reply = send(&fixture.url("/mcp"), &token, &list(3)).await?;
    assert_eq!(reply.text, cut("3"));
    let batch = format!(
        "[{},{}]",
        list(1),
        list(1).to_string().replace("\"id\":1", "\"id\":\"b\"")
    );
    let reply = raw(&fixture, &token, "2025-03-26", &batch).await?;
    assert_eq!(reply.text, format!("[{},{}]", cut("1"), cut("\"b\"")));
    let whole = send(&fixture.url("/mcp"), &everything, &list(3)).await?;
    assert_eq!(whole.text, result("3"));
    Ok(())
}

#[tokio::test]
async fn a_list_that_can_be_read_in_two_ways_is_not_passed_on() -> Result<()> {
    let fixture = Fixture::start().await?;
    let token = token_for(&fixture, &["look"]).await?;
    let utf16: Vec<u8> = r#"{"jsonrpc":"2.0","id":3,"result":{"tools":[{"name":"secret"}]}}"#
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for body in [
        br#"{"jsonrpc":"2.0","id":3,"result":{"tools":[],"tools":[{"name":"secret"}]}}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":3,"result":{"tools":[],"Tools":[{"name":"secret"}]}}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":3,"result":{"tools":[{"name":"secret"}],}}"#.to_vec(),
        b"{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"x\":\"\xff\",\"tools\":[{\"name\":\"secret\"}]}}".to_vec(),
        b"<tools>secret</tools>".to_vec(),
        utf16,
    ] {
        for kind in ["application/json", "text/event-stream"] {
            let body = match kind {
                "text/event-stream" => [b"data: ".to_vec(), body.clone(), b"\n\n".to_vec()].concat(),
                _ => body.clone(),
            };
            if kind == "text/event-stream" && (body.contains(&0) || body.starts_with(b"data: <")) {
                // Not read as JSON by anybody: events are UTF-8.
                continue;
            }
            let shown = String::from_utf8_lossy(&body).into_owned();
            fixture.backend.play(move |request| match request.json()["method"].as_str() {
                Some("tools/list") => Answer::Full(200, vec![("Content-Type".into(), kind.into())], body.clone()),
                _ => scripted_mcp::answer(request),
            });
            match send(&fixture.url("/mcp"), &token, &list(3)).await {
                Ok(reply) => {
                    assert!(!reply.text.contains("secret"), "{shown}");
                    if kind == "application/json" {
                        assert_eq!(reply.status, 502, "{shown}");
                    }
                }
                Err(_) => assert_eq!(kind, "text/event-stream", "{shown}"),
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn over_the_legacy_stream_lists_are_cut_and_refusals_are_told() -> Result<()> {
    let fixture = Fixture::start().await?;
    let token = token_for(&fixture, &["look"]).await?;
    let mut session = LegacySession::open(&fixture.url("/sse"), &token).await?;
    session.request(&initialize()).await?;
    assert_eq!(names(&session.request(&list(4)).await?), ["look"]);
    let answer = session.request(&call(5, "erase", &json!({}))).await?;
    assert_eq!(refusal(&answer), "tool_not_allowed");
    let answer = session
        .request(&message(6, "resources/read", &json!({"uri": "x:y"})))
        .await?;
    assert_eq!(answer["error"]["code"], -32601);
    assert_eq!(calls(&fixture), 0);
    let answer = session.request(&call(7, "look", &json!({}))).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    // A list that comes unasked, or under another id, is a list.
    let unasked = json!({"jsonrpc": "2.0", "id": 99, "result": {"tools": [{"name": "erase"}]}});
    fixture
        .backend
        .push(scripted_mcp::SSE_STREAM, &format!("data: {unasked}\n\n"));
    let (_, data) = session.stream.event(Duration::from_secs(5)).await?;
    assert_eq!(
        serde_json::from_str::<Value>(&data)?["result"]["tools"],
        json!([])
    );
    Ok(())
}

#[tokio::test]
async fn what_is_no_chosen_tool_is_refused_and_the_session_goes_on() -> Result<()> {
    let fixture = Fixture::start().await?;
    let token = token_for(&fixture, &["look"]).await?;
    let everything = fixture
        .client("Client")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    for method in [
        "resources/read",
        "prompts/get",
        "completion/complete",
        "tasks/result",
        "anything/else",
    ] {
        let body = message(3, method, &json!({"name": "look", "uri": "x:y"}));
        let before = fixture.backend.requests().len();
        let answer = response(&send(&fixture.url("/mcp"), &token, &body).await?)?;
        assert_eq!(answer["error"]["code"], -32601, "{method}");
        assert_eq!(answer["error"]["data"]["reason"], "rpc_method_not_allowed");
        assert_eq!(fixture.backend.requests().len(), before, "{method}");
        send(&fixture.url("/mcp"), &everything, &body).await?;
        assert_eq!(fixture.backend.requests().len(), before + 1, "{method}");
    }
    let before = fixture.backend.requests().len();
    for body in [
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        message(4, "ping", &json!({})),
    ] {
        let reply = send(&fixture.url("/mcp"), &token, &body).await?;
        assert!([200, 202].contains(&reply.status), "{body}: {}", reply.text);
    }
    assert_eq!(fixture.backend.requests().len(), before + 2);
    Ok(())
}

#[tokio::test]
async fn a_shorter_list_for_an_older_revision_hides_nothing() -> Result<()> {
    let fixture = Fixture::start().await?;
    let token = token_for(&fixture, &["look", "echo"]).await?;
    fixture.backend.play(|request| {
        let message = request.json();
        if message["method"] != "tools/list" || request.header("x-test").is_none() {
            return scripted_mcp::answer(request);
        }
        let mut reply = scripted_mcp::reply(&message);
        for tool in reply["result"]["tools"].as_array_mut().unwrap() {
            let tool = tool.as_object_mut().unwrap();
            tool.remove("title");
            tool.remove("annotations");
            if tool["name"] == "echo" {
                tool.insert("description".into(), json!("Something else"));
            }
        }
        Answer::json(200, &reply)
    });
    let request = mcp::post(&fixture.url("/mcp"), &token, &list(3)).header("X-Test", "old");
    let answer = response(&http::send(request).await?)?;
    assert_eq!(names(&answer), ["look"]);
    assert!(answer["result"]["tools"][0].get("title").is_none());
    Ok(())
}

#[tokio::test]
async fn no_tool_and_an_unknown_backend_are_no_consent() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let nothing = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&[]))
        .await;
    assert!(
        format!("{:#}", nothing.unwrap_err()).contains("Nothing was allowed: no tool is ticked")
    );
    let fixture = Fixture::start().await?;
    fixture.backend.play(|_| Answer::Full(500, vec![], vec![]));
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    let words = page.words();
    assert!(
        words.contains("could not be asked for its tools"),
        "{words}"
    );
    assert!(page.form_with_button("Allow").is_err());
    assert!(page.form_with_button("Deny").is_ok());
    Ok(())
}
