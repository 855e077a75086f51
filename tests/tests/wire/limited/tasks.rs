//! A task of an allowed tool is its client's and nobody else's.

use super::*;

#[tokio::test]
async fn a_task_of_an_allowed_tool_is_its_clients_and_nobody_elses() -> Result<()> {
    let limited = Limited::start(Limit::Chosen).await?;
    let begin = |tool: &str| {
        message(
            3,
            "tools/call",
            &json!({"name": tool, "arguments": {}, "task": {"ttl": 1000}}),
        )
    };
    let url = limited.url();
    let begun = response(&send(&url, &limited.token, &begin("look")).await?)?;
    let task = begun["result"]["task"]["taskId"].clone();
    assert_eq!(begun["result"]["task"]["status"], "working");
    let about = |method: &str, task: &Value| message(4, method, &json!({"taskId": task}));
    for method in ["tasks/get", "tasks/cancel"] {
        let reply = response(&send(&url, &limited.token, &about(method, &task)).await?)?;
        assert_eq!(reply["result"]["taskId"], task, "{method}: {reply}");
        let sent = limited.fixture.backend.requests();
        let sent = sent.last().map(Recorded::json).unwrap_or_default();
        assert_eq!(sent["params"]["taskId"], "task of \"look\"");
    }
    let reply = response(&send(&url, &limited.token, &about("tasks/result", &task)).await?)?;
    assert_eq!(reply["result"]["content"][0]["text"], "task of \"look\"");

    // Another client, a token for other tools, names that nobody gave out.
    let other = limited.fixture.client("Another client").await?;
    let theirs = choosing(&other, &limited.fixture.owner, &["look"]).await?;
    let elsewhere = choosing(&limited.client, &limited.fixture.owner, &["echo"]).await?;
    let narrowed = append(&limited.token, "check if tool(\"echo\")")?;
    let before = limited.fixture.backend.requests().len();
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        for token in [&theirs, &elsewhere, &narrowed] {
            let reply = response(&send(&url, token, &about(method, &task)).await?)?;
            assert_eq!(reply["error"]["code"], -32601, "{method}: {reply}");
        }
        for raw in [
            json!("task of \"look\""),
            json!("task of \"erase\""),
            json!(7),
            json!(null),
        ] {
            let reply = response(&send(&url, &limited.token, &about(method, &raw)).await?)?;
            assert_eq!(reply["error"]["code"], -32601, "{method} {raw}: {reply}");
        }
    }
    // What some parser would take for the name of the task.
    let twice = format!(
        r#"{{"jsonrpc":"2.0","id":4,"method":"tasks/get","params":{{"taskId":{task},"TaskID":"task of \"erase\""}}}}"#
    );
    let request = http::client()
        .post(&url)
        .bearer_auth(&limited.token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .body(twice);
    assert_eq!(http::send(request).await?.status, 400);
    assert_eq!(limited.fixture.backend.requests().len(), before);
    let refused = response(&send(&url, &limited.token, &begin("erase")).await?)?;
    assert_eq!(refused["result"]["isError"], true);
    Ok(())
}

/// The same server where all answers come over the stream of HTTP+SSE.
fn citizen_over_stream(request: &Recorded) -> Answer {
    match citizen(request) {
        Answer::Full(200, _, body) if request.path() == "/messages" => {
            let text = String::from_utf8_lossy(&body);
            Answer::Push(
                202,
                SSE_STREAM.into(),
                format!("event: message\ndata: {text}\n\n"),
            )
        }
        answer => answer,
    }
}

#[tokio::test]
async fn a_task_over_the_legacy_stream_is_its_clients_and_nobody_elses() -> Result<()> {
    for limit in [Limit::Chosen, Limit::Narrowed] {
        let limited = Limited::start(limit).await?;
        limited.fixture.backend.play(citizen_over_stream);
        let url = limited.fixture.url("/sse");
        let mut session = LegacySession::open(&url, &limited.token).await?;
        let hello = session.request(&initialize()).await?;
        assert!(
            hello["result"]["capabilities"]["tasks"].is_object(),
            "{hello}"
        );
        let begin = |id: u64, tool: &str| {
            let params = json!({"name": tool, "arguments": {}, "task": {"ttl": 1000}});
            message(id, "tools/call", &params)
        };
        let about =
            |id: u64, method: &str, task: &Value| message(id, method, &json!({"taskId": task}));
        let begun = session.request(&begin(3, "look")).await?;
        let task = begun["result"]["task"]["taskId"].clone();
        assert_ne!(task, "task of \"look\"", "{limit:?}");
        for (at, method) in ["tasks/get", "tasks/cancel"].into_iter().enumerate() {
            let reply = session
                .request(&about(4 + at as u64, method, &task))
                .await?;
            assert_eq!(
                reply["result"]["taskId"], task,
                "{limit:?} {method}: {reply}"
            );
        }
        let reply = session.request(&about(6, "tasks/result", &task)).await?;
        assert_eq!(reply["result"]["content"][0]["text"], "task of \"look\"");
        // What the backend tells of it unasked has the client's name of it.
        let told = json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": "task of \"look\"", "status": "completed"}});
        limited.fixture.backend.push(SSE_STREAM, &event(&told));
        let told: Value = serde_json::from_str(&session.stream.event(PATIENCE).await?.1)?;
        assert_eq!(told["params"]["taskId"], task, "{told}");

        let before = limited.fixture.backend.requests().len();
        // Names that nobody gave out, on its own stream.
        for (at, raw) in [
            json!("task of \"look\""),
            json!("task of \"erase\""),
            json!(7),
        ]
        .iter()
        .enumerate()
        {
            let reply = session
                .request(&about(20 + at as u64, "tasks/get", raw))
                .await?;
            assert!(reply["error"]["code"].is_i64(), "{limit:?} {raw}: {reply}");
        }
        let reply = session.request(&begin(30, "erase")).await?;
        assert_eq!(reply["result"]["isError"], true, "{limit:?}: {reply}");
        assert_eq!(limited.fixture.backend.requests().len(), before);
        // Another client, and one that may call other tools, on streams of their own.
        let other = limited.fixture.client("Another client").await?;
        let theirs = choosing(&other, &limited.fixture.owner, &["look"]).await?;
        let elsewhere = choosing(&limited.client, &limited.fixture.owner, &["echo"]).await?;
        for token in [&theirs, &elsewhere] {
            let mut session = LegacySession::open(&url, token).await?;
            session.request(&initialize()).await?;
            let before = limited.fixture.backend.requests().len();
            for (at, method) in ["tasks/get", "tasks/result", "tasks/cancel"]
                .into_iter()
                .enumerate()
            {
                let reply = session
                    .request(&about(40 + at as u64, method, &task))
                    .await?;
                assert!(
                    reply["error"]["code"].is_i64(),
                    "{limit:?} {method}: {reply}"
                );
            }
            assert_eq!(limited.fixture.backend.requests().len(), before);
        }
    }
    Ok(())
}

/// A server of 2026-07-28 with the extension of tasks: each call begins one.
fn tasker(request: &Recorded) -> Answer {
    let message = request.json();
    let params = &message["params"];
    let result = |mut result: Value| {
        result["ttlMs"] = json!(null);
        Answer::json(
            200,
            &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
        )
    };
    match message["method"].as_str() {
        Some("tools/call") => result(json!({
            "resultType": "task", "taskId": format!("of {}", params["name"].as_str().unwrap_or_default()),
            "status": "working",
        })),
        Some("tasks/get") => result(json!({
            "resultType": "complete", "taskId": params["taskId"], "status": "completed",
            "result": {"content": [{"type": "text", "text": request.header("mcp-name")}]},
        })),
        Some("tasks/update" | "tasks/cancel") => result(json!({"resultType": "complete"})),
        Some("subscriptions/listen") => {
            let granted = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {"notifications": params["notifications"]}});
            let told = json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": {"taskId": "of look", "status": "completed"}});
            Answer::events(vec![
                Step::Send(event(&granted) + &event(&told)),
                Step::Live("tasks".into()),
            ])
        }
        _ => citizen(request),
    }
}

#[tokio::test]
async fn a_task_of_the_extension_is_its_clients_and_nobody_elses() -> Result<()> {
    for limit in [Limit::Chosen, Limit::Narrowed] {
        let mut limited = Limited::start(limit).await?;
        limited.fixture.backend.play(tasker);
        // It is to find out that the backend is of that revision.
        limited.fixture.gateway.crash_and_restart().await?;
        let url = limited.url();
        let modern = |token: &str, method: &str, params: Value| {
            let mut params = params;
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
                json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
            mcp::post_stateless(&url, token, &mcp::stateless_message(6, method, &params))
        };
        let ask = async |token: &str, method: &str, params: Value| {
            response(&http::send(modern(token, method, params)).await?)
        };
        let own = limited.token.as_str();
        let begun = ask(own, "tools/call", json!({"name": "look", "arguments": {}})).await?;
        let task = begun["result"]["taskId"].clone();
        assert_eq!(begun["result"]["resultType"], "task", "{begun}");
        assert_ne!(task, "of look");
        let reply = ask(own, "tasks/get", json!({"taskId": task})).await?;
        assert_eq!(reply["result"]["taskId"], task, "{limit:?} {reply}");
        // The header that mirrors the name names it as the body does.
        assert_eq!(
            reply["result"]["result"]["content"][0]["text"],
            "=?base64?b2YgbG9vaw==?="
        );
        let answers = json!({"taskId": task, "inputResponses": {"who": {"action": "accept"}}});
        for (method, params) in [
            ("tasks/update", answers),
            ("tasks/cancel", json!({"taskId": task})),
        ] {
            let reply = ask(own, method, params).await?;
            assert!(reply["result"].is_object(), "{limit:?} {method}: {reply}");
            let sent = limited.fixture.backend.requests();
            let sent = sent.last().map(Recorded::json).unwrap_or_default();
            assert_eq!(sent["params"]["taskId"], "of look", "{limit:?} {method}");
        }
        // It hears of its own tasks alone.
        let wanted = json!({"toolsListChanged": true, "taskIds": [task, "of look", "of erase"]});
        let listen = modern(
            own,
            "subscriptions/listen",
            json!({"notifications": wanted}),
        );
        let mut stream = EventStream::open(listen).await?;
        let granted: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
        assert_eq!(
            granted["params"]["notifications"]["taskIds"],
            json!([task]),
            "{granted}"
        );
        let told: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
        assert_eq!(told["params"]["taskId"], task, "{told}");
        let sent = limited.fixture.backend.marked("subscriptions/listen");
        let sent = sent.last().map(Recorded::json).unwrap_or_default();
        assert_eq!(
            sent["params"]["notifications"]["taskIds"],
            json!(["of look"])
        );

        let other = limited.fixture.client("Another client").await?;
        let theirs = choosing(&other, &limited.fixture.owner, &["look"]).await?;
        let elsewhere = choosing(&limited.client, &limited.fixture.owner, &["echo"]).await?;
        let before = limited.fixture.backend.marked("tasks/").len();
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            for token in [&theirs, &elsewhere] {
                let reply = ask(token, method, json!({"taskId": task})).await?;
                assert!(
                    reply["error"]["code"].is_i64(),
                    "{limit:?} {method}: {reply}"
                );
            }
            for raw in ["of look", "of erase"] {
                let reply = ask(own, method, json!({"taskId": raw})).await?;
                assert!(
                    reply["error"]["code"].is_i64(),
                    "{limit:?} {method}: {reply}"
                );
            }
        }
        assert_eq!(limited.fixture.backend.marked("tasks/").len(), before);
        let listen = json!({"notifications": {"taskIds": [task]}});
        let mut stream =
            EventStream::open(modern(&elsewhere, "subscriptions/listen", listen)).await?;
        let granted: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
        assert!(
            granted["params"]["notifications"].get("taskIds").is_none(),
            "{granted}"
        );
        let refused = ask(own, "tools/call", json!({"name": "erase", "arguments": {}})).await?;
        assert_eq!(refused["result"]["isError"], true, "{limit:?} {refused}");
    }
    Ok(())
}
