//! Tokens for chosen tools, across revisions.

use super::*;

/// The same token, for this tool alone.
fn narrowed(token: &str, tool: &str) -> Result<String> {
    let check = format!("check if tool(\"{tool}\")");
    Ok(UnverifiedBiscuit::from_base64(token)?
        .append(BlockBuilder::new().code(check)?)?
        .to_base64()?)
}

/// Its tool `greet` asks for a name before it answers; over HTTP+SSE or within a session.
fn greeter(request: &Recorded) -> Answer {
    let message = request.json();
    let event = |message: &Value| format!("event: message\ndata: {message}\n\n");
    let is_legacy = request.path() == "/messages";
    match (request.method.as_str(), message["method"].as_str()) {
        ("POST", Some("tools/call")) => {
            let asks = json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {"message": "Who?"}});
            if is_legacy {
                Answer::Push(202, SSE_STREAM.into(), event(&asks))
            } else {
                Answer::events(vec![Step::Send(event(&asks)), Step::Live("greet".into())])
            }
        }
        ("POST", None) if message["id"] == 7 => {
            let name = json!({"content": [{"type": "text", "text": message["result"]["content"]["name"]}]});
            let result = event(&json!({"jsonrpc": "2.0", "id": 1, "result": name}));
            let topic = if is_legacy { SSE_STREAM } else { "greet" };
            Answer::Push(202, topic.into(), result)
        }
        _ => scripted_mcp::answer(request),
    }
}

fn named(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": "Ada"}}})
}

#[tokio::test]
async fn a_limited_session_client_is_asked_across_eras() -> Result<()> {
    for (families, tool) in [("2026-07-28", "asks"), ("2024-11-05", "greet")] {
        let mut cell = Cell::start(families, move |request| match families {
            "2026-07-28" => scripted_revisions::stateless(request),
            _ if request.path() == "/mcp" => scripted_revisions::http_sse(request),
            _ => greeter(request),
        })
        .await?;
        cell.token = narrowed(&cell.token, tool)?;
        let hello = http::send(cell.post(&mcp::initialize())).await?;
        let capabilities = &hello.json()["result"]["capabilities"];
        assert!(capabilities["tools"].is_object(), "{}", hello.text);
        assert!(
            capabilities
                .get("resources")
                .is_none_or(|it| *it == json!({}))
        );
        let session = hello.header("mcp-session-id").to_owned();
        let call = cell
            .post(&mcp::call(1, tool, &json!({})))
            .header("Mcp-Session-Id", &session);
        let mut stream = EventStream::open(call).await?;
        let question: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
        assert_eq!(question["method"], "elicitation/create", "{families}");
        // What was not asked, and in no other session, goes no further.
        let again = http::send(cell.post(&mcp::initialize())).await?;
        let other = again.header("mcp-session-id").to_owned();
        for (session, id) in [(&session, &json!(7)), (&other, &question["id"])] {
            assert_eq!(cell.send(session, &named(id)).await?.status, 202);
        }
        let reply = cell.send(&session, &named(&question["id"])).await?;
        assert_eq!(reply.status, 202, "{families}: {}", reply.text);
        let (_, data) = stream.event(PATIENCE).await?;
        assert!(data.contains("Ada"), "{families}: {data}");
        assert_eq!(serde_json::from_str::<Value>(&data)?["id"], 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_limited_client_of_http_sse_is_asked_across_eras() -> Result<()> {
    for (families, tool) in [("2026-07-28", "asks"), ("2025", "greet")] {
        let mut cell = Cell::start(families, move |request| match families {
            "2026-07-28" => scripted_revisions::stateless(request),
            _ if request.method == "POST" && request.header("mcp-session-id") == Some(SESSION) => {
                greeter(request)
            }
            _ => scripted_revisions::sessions(request),
        })
        .await?;
        cell.token = narrowed(&cell.token, tool)?;
        let mut legacy = LegacySession::open(&cell.gateway.url("/sse"), &cell.token).await?;
        legacy.request(&mcp::initialize()).await?;
        let called = mcp::call(1, tool, &json!({}));
        assert_eq!(legacy.post(&called).await?.status, 202);
        let question: Value = serde_json::from_str(&legacy.stream.event(PATIENCE).await?.1)?;
        assert_eq!(question["method"], "elicitation/create", "{families}");
        for id in [&json!(7), &question["id"]] {
            assert_eq!(legacy.post(&named(id)).await?.status, 202, "{families}");
        }
        let (_, data) = legacy.stream.event(PATIENCE).await?;
        assert!(data.contains("Ada"), "{families}: {data}");
    }
    Ok(())
}

#[tokio::test]
async fn a_limited_stateless_client_is_asked_as_it_is_and_across_eras() -> Result<()> {
    for (families, tool) in [("2026-07-28", "asks"), ("2024-11-05", "greet")] {
        let mut cell = Cell::start(families, move |request| match families {
            "2026-07-28" => scripted_revisions::stateless(request),
            _ if request.path() == "/mcp" => scripted_revisions::http_sse(request),
            // The gateway's own requests have ids of their own.
            _ => match request.json()["method"].as_str() {
                Some("tools/call") => {
                    let asks = json!({"jsonrpc": "2.0", "id": format!("ask-{}", request.json()["id"]), "method": "elicitation/create", "params": {"message": "Who?"}});
                    Answer::Push(202, SSE_STREAM.into(), format!("data: {asks}\n\n"))
                }
                None if request.method == "POST" => {
                    let message = request.json();
                    let call = message["id"].as_str().and_then(|id| id.strip_prefix("ask-"));
                    let call: u64 = call.and_then(|id| id.parse().ok()).unwrap_or_default();
                    let result = json!({"jsonrpc": "2.0", "id": call, "result": {"content": [{"type": "text", "text": message["result"]["content"]["name"]}]}});
                    Answer::Push(202, SSE_STREAM.into(), format!("data: {result}\n\n"))
                }
                _ => scripted_revisions::http_sse(request),
            },
        })
        .await?;
        cell.token = narrowed(&cell.token, tool)?;
        let call = modern(1, "tools/call", json!({"name": tool}));
        let reply = http::send(cell.stateless(&call)).await?;
        let asked = mcp::response(&reply)?["result"].clone();
        assert_eq!(asked["resultType"], "input_required", "{families}: {asked}");
        let requests = asked["inputRequests"].as_object();
        let (name, _) = requests.and_then(|all| all.iter().next()).expect("it asks");
        let retry = |tool: &str| {
            let answers = json!({name: {"action": "accept", "content": {"name": "Ada"}}});
            let state = &asked["requestState"];
            let params = json!({"name": tool, "inputResponses": answers, "requestState": state});
            modern(2, "tools/call", params)
        };
        let other = http::send(cell.stateless(&retry("erase"))).await?;
        assert_eq!(other.json()["result"]["isError"], true, "{}", other.text);
        let reply = http::send(cell.stateless(&retry(tool))).await?;
        let reply = mcp::response(&reply)?;
        assert!(
            reply["result"].to_string().contains("Ada"),
            "{families}: {reply}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_limited_stateless_client_listens_to_changes_of_its_tools_alone() -> Result<()> {
    let mut cell = Cell::start("2026-07-28", scripted_revisions::stateless).await?;
    cell.token = narrowed(&cell.token, "asks")?;
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": ["file:///etc/passwd"],
    });
    let mut body = modern(6, "subscriptions/listen", json!({"notifications": wanted}));
    body["params"]["Notifications"] = wanted;
    let mut stream = EventStream::open(cell.stateless(&body)).await?;
    let acknowledged: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    let left = json!({"toolsListChanged": true});
    assert_eq!(acknowledged["params"]["notifications"], left);
    let arrived = cell.arrived("subscriptions/listen")[0].json();
    let meta = &body["params"]["_meta"];
    assert_eq!(
        arrived["params"],
        json!({"_meta": meta, "notifications": left})
    );
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    cell.backend.push(
        scripted_revisions::LISTENING,
        &format!("event: message\ndata: {changed}\n\n"),
    );
    assert_eq!(stream.event(PATIENCE).await?.1, changed);
    Ok(())
}
