//! Clients of 2026-07-28, in front of backends of every revision.

use super::*;

#[tokio::test]
async fn a_stateless_client_uses_a_backend_with_sessions() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let params = json!({"name": "echo", "arguments": {"q": 1.0}});
    for id in [4, 4, 5] {
        let reply = http::send(cell.stateless(&modern(id, "tools/call", params.clone()))).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let reply = reply.json();
        assert_eq!(reply["id"], id);
        assert_eq!(reply["result"]["resultType"], "complete");
        assert_eq!(
            reply["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
            "scripted"
        );
    }
    let listed = http::send(cell.stateless(&modern(6, "tools/list", json!({})))).await?;
    assert_eq!(listed.json()["result"]["cacheScope"], "private");
    assert_eq!(listed.json()["result"]["ttlMs"], 0);

    assert_eq!(cell.arrived("initialize").len(), 1, "one session is shared");
    let calls = cell.arrived("tools/call");
    let ids: std::collections::HashSet<String> = calls
        .iter()
        .map(|call| call.json()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 3, "ids do not meet");
    let arrived = &calls[0];
    assert_eq!(arrived.header("mcp-session-id"), Some(SESSION));
    assert_eq!(arrived.header("mcp-protocol-version"), Some("2025-11-25"));
    assert_eq!(arrived.header("mcp-method"), None);
    let meta = &arrived.json()["params"]["_meta"];
    assert_eq!(
        meta.as_object().map(serde_json::Map::len),
        Some(1),
        "{meta}"
    );
    assert_ne!(meta["progressToken"], "mine");
    Ok(())
}

#[tokio::test]
async fn what_is_not_of_2026_07_28_is_refused_as_it_says() -> Result<()> {
    let cell = Cell::start("2025", scripted_revisions::sessions).await?;
    let bare = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let cases = [
        (bare, 400, -32602),
        (modern(2, "ping", json!({})), 404, -32601),
        (
            modern(3, "logging/setLevel", json!({"level": "info"})),
            404,
            -32601,
        ),
        (modern(4, "no/such", json!({})), 404, -32601),
        (
            modern(5, "tools/call", json!({"name": "a", "requestState": "x~y"})),
            200,
            -32602,
        ),
    ];
    for (body, status, code) in cases {
        let reply = http::send(cell.stateless(&body)).await?;
        assert_eq!(reply.status, status, "{body}: {}", reply.text);
        assert_eq!(reply.json()["error"]["code"], code, "{}", reply.text);
        assert_eq!(reply.json()["id"], body["id"]);
    }
    let mut later = modern(6, "tools/list", json!({}));
    later["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2027-01-01");
    let reply = http::send(
        cell.stateless(&later)
            .header("MCP-Protocol-Version", "2027-01-01"),
    )
    .await?;
    assert_eq!(reply.status, 400, "{}", reply.text);
    Ok(())
}

#[tokio::test]
async fn a_session_that_the_backend_forgot_is_remade_without_a_word() -> Result<()> {
    // As the specification has it, and as servers do it that say there was none.
    let unknown = json!({"jsonrpc": "2.0", "id": null, "error": {
        "code": -32000, "message": "Bad Request: No valid session ID provided",
    }});
    for (status, body) in [
        (404, json!({"error": "no such session"}).to_string()),
        (400, unknown.to_string()),
        (400, "Bad Request: No valid session ID provided".to_owned()),
    ] {
        let cell = Cell::start("2025", scripted_revisions::sessions).await?;
        let list = modern(1, "tools/list", json!({}));
        assert_eq!(http::send(cell.stateless(&list)).await?.status, 200);
        let forgotten = body.clone();
        cell.backend.play(move |request| {
            let message = request.json();
            if message["method"] == "initialize" {
                return Answer::json(200, &scripted_mcp::reply(&message))
                    .with("Mcp-Session-Id", "second");
            }
            match request.header("mcp-session-id") {
                Some("second") => scripted_mcp::answer(request),
                _ => Answer::Full(status, vec![], forgotten.clone().into()),
            }
        });
        let reply = http::send(cell.stateless(&list)).await?;
        assert_eq!(reply.status, 200, "{status} {body}: {}", reply.text);
        let tools = &reply.json()["result"]["tools"];
        assert!(tools.is_array(), "{status} {body}: {}", reply.text);
    }
    Ok(())
}

#[tokio::test]
async fn a_stateless_client_that_goes_cancels_its_call() -> Result<()> {
    let cell = Cell::start("2025", |request| match request.json()["method"].as_str() {
        Some("tools/call") => Answer::events(vec![
            tests::recorder::Step::Send(": begun\n\n".into()),
            tests::recorder::Step::Live("slow".into()),
        ]),
        _ => scripted_revisions::sessions(request),
    })
    .await?;
    let call = cell.stateless(&modern(1, "tools/call", json!({"name": "slow"})));
    let running = tokio::spawn(call.send());
    cell.backend.await_streams(1, PATIENCE).await?;
    running.abort();
    cell.backend.await_streams(0, PATIENCE).await?;
    eventually("the cancellation", || {
        let calls = cell.arrived("tools/call");
        cell.arrived("notifications/cancelled")
            .iter()
            .any(|told| told.json()["params"]["requestId"] == calls[0].json()["id"])
    })
    .await
}

#[tokio::test]
async fn a_stateless_client_hears_progress_and_is_asked_over_http_sse() -> Result<()> {
    let cell = Cell::start("2024-11-05", |request| {
        let message = request.json();
        let event = |message: &Value| format!("event: message\ndata: {message}\n\n");
        match message["method"].as_str() {
            Some("tools/call") => {
                let token = &message["params"]["_meta"]["progressToken"];
                let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
                let asks = json!({"jsonrpc": "2.0", "id": format!("ask-{}", message["id"]), "method": "elicitation/create", "params": {"message": "Who?"}});
                Answer::Push(202, SSE_STREAM.into(), event(&progress) + &event(&asks))
            }
            // The answer to the question: what it says is the call's result.
            None if message["id"].as_str().is_some_and(|id| id.starts_with("ask-")) => {
                let call: u64 = message["id"].as_str().and_then(|id| id[4..].parse().ok()).unwrap_or_default();
                let result = json!({"jsonrpc": "2.0", "id": call, "result": {"content": [{"type": "text", "text": message["result"]["content"]["name"]}]}});
                Answer::Push(202, SSE_STREAM.into(), event(&result))
            }
            _ => scripted_revisions::http_sse(request),
        }
    })
    .await?;
    let call = modern(1, "tools/call", json!({"name": "greet"}));
    let mut stream = EventStream::open(cell.stateless(&call)).await?;
    let progress: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    assert_eq!(progress["params"]["progressToken"], "mine");
    let asked: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    let asked = &asked["result"];
    assert_eq!(asked["resultType"], "input_required");
    let (name, request) = asked["inputRequests"]
        .as_object()
        .and_then(|requests| requests.iter().next())
        .expect("it asks");
    assert_eq!(request["method"], "elicitation/create");

    let answers = json!({name: {"action": "accept", "content": {"name": "Ada"}}});
    let retry = |state: &Value, tool: &str| {
        modern(
            2,
            "tools/call",
            json!({"name": tool, "inputResponses": answers, "requestState": state}),
        )
    };
    let state = &asked["requestState"];
    // It belongs to this call, this client and nobody else.
    let other = http::send(cell.stateless(&retry(state, "erase"))).await?;
    assert_eq!(other.json()["error"]["code"], -32602, "{}", other.text);
    let reply = http::send(cell.stateless(&retry(state, "greet"))).await?;
    let reply = mcp::response(&reply)?;
    assert_eq!(reply["id"], 2);
    assert_eq!(reply["result"]["content"][0]["text"], "Ada");
    let again = http::send(cell.stateless(&retry(state, "greet"))).await?;
    assert_eq!(again.json()["error"]["code"], -32602, "{}", again.text);
    Ok(())
}
