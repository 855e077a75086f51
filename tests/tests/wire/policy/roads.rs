//! The same policy over streams, translations and requests without sessions.

use super::*;

#[tokio::test]
async fn over_the_legacy_stream_calls_are_judged_and_lists_are_cut() -> Result<()> {
    let ruled = Ruled::by("allow if harmless(true);\nallow if tool(\"look\");\n").await?;
    let mut session = LegacySession::open(&ruled.fixture.url("/sse"), &ruled.token).await?;
    session.request(&initialize()).await?;
    let listed = session
        .request(&message(4, "tools/list", &json!({})))
        .await?;
    assert_eq!(names(&listed), ["look"]);
    let answer = session.request(&call(5, "erase", &json!({}))).await?;
    assert_eq!(answer["result"]["_meta"]["reason"], "policy_denied");
    let answer = session
        .request(&message(6, "resources/list", &json!({})))
        .await?;
    assert_eq!(answer["result"], json!({"resources": []}));
    let answer = session
        .request(&message(6, "prompts/get", &json!({"name": "x"})))
        .await?;
    assert_eq!(answer["error"]["code"], -32601);
    assert_eq!(ruled.calls(), 0);
    let answer = session.request(&call(7, "look", &json!({}))).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    Ok(())
}

/// The gateway holds the stream then, and takes no batches; those that it refuses are answered.
#[tokio::test]
async fn every_call_of_a_refused_batch_is_answered_over_a_translated_stream() -> Result<()> {
    let stateless = Recorder::start(scripted_revisions::stateless).await?;
    let url = stateless.url();
    let ruled = Ruled::with(
        "allow if harmless(true);\nallow if tool(\"look\");\n",
        "",
        |setup| setup.mounted("new", "/new", &url),
    )
    .await?;
    let client = ruled.fixture.client("Another").await?;
    let token = client
        .sign_in_for(&ruled.fixture.owner, &ruled.fixture.url("/new/sse"))
        .await?;
    let mut session = LegacySession::open(&ruled.fixture.url("/new/sse"), &token).await?;
    session.request(&initialize()).await?;
    let batch = json!([call(5, "erase", &json!({})), call(6, "erase", &json!({}))]);
    // Batches are of a revision that names itself in no header.
    let request = http::client().post(&session.endpoint).bearer_auth(&token);
    let request = request.header("Content-Type", "application/json");
    let reply = http::send(request.body(batch.to_string())).await?;
    assert_eq!(reply.status, 202, "{}", reply.text);
    for id in [5, 6] {
        let (_, data) = session.stream.event(PATIENCE).await?;
        let answer: Value = serde_json::from_str(&data)?;
        assert_eq!(answer["id"], id, "{answer}");
        let reason = &answer["result"]["_meta"]["reason"];
        assert_eq!(reason, "policy_denied", "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_without_sessions_are_judged_too() -> Result<()> {
    let stateless = Recorder::start(scripted_revisions::stateless).await?;
    let url = stateless.url();
    let ruled = Ruled::with(
        "allow if harmless(true);\nallow if tool(\"plain\"), protocol_version(\"2026-07-28\");\n",
        "",
        |setup| setup.mounted("new", "/new", &url),
    )
    .await?;
    let client = ruled.fixture.client("Another").await?;
    let url = ruled.fixture.url("/new/mcp");
    let token = client.sign_in_for(&ruled.fixture.owner, &url).await?;
    let ask = |method: &'static str, name: &'static str| {
        let params = json!({"name": name, "arguments": {}});
        let body = mcp::stateless_message(1, method, &params);
        let request = mcp::post_stateless(&url, &token, &body);
        async move { response(&http::send(request).await?) }
    };
    let listed = ask("tools/list", "").await?;
    assert_eq!(listed["result"]["tools"], json!([]), "{listed}");
    let answer = ask("tools/call", "erase").await?;
    assert_eq!(answer["result"]["_meta"]["reason"], "policy_denied");
    let answer = ask("subscriptions/listen", "").await?;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    let answer = ask("tools/call", "plain").await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    let reached = |request: &Recorded| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        text.contains("erase") || text.contains("subscriptions/listen")
    };
    assert!(!stateless.requests().iter().any(reached));
    Ok(())
}

#[tokio::test]
async fn a_call_is_judged_before_it_is_translated() -> Result<()> {
    let old = Recorder::start(scripted_revisions::http_sse).await?;
    let url = old.url();
    let ruled = Ruled::with(
        "allow if harmless(true);\nallow if tool(\"look\");\n",
        "",
        |setup| {
            let more = "\n[[backend]]\nname = \"old\"\npath = \"/old\"\nurl = \"".to_owned()
                + &url
                + "\"\neras = [\"2024-11-05\"]\n";
            setup.more(&more)
        },
    )
    .await?;
    let client = ruled.fixture.client("Another").await?;
    let token = client
        .sign_in_for(&ruled.fixture.owner, &ruled.fixture.url("/old/mcp"))
        .await?;
    let url = ruled.fixture.url("/old/mcp");
    let session = mcp::open_session(&url, &token).await?;
    let ask = |body: Value| {
        let request = post(&url, &token, &body).header("Mcp-Session-Id", &session);
        async move { response(&http::send(request).await?) }
    };
    assert_eq!(
        names(&ask(message(5, "tools/list", &json!({}))).await?),
        ["look"]
    );
    let answer = ask(call(6, "erase", &json!({}))).await?;
    assert_eq!(
        answer["result"]["_meta"]["reason"], "policy_denied",
        "{answer}"
    );
    let answer = ask(call(7, "look", &json!({}))).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    let erased = |request: &Recorded| String::from_utf8_lossy(&request.body).contains("erase");
    assert!(!old.requests().iter().any(erased));
    Ok(())
}
