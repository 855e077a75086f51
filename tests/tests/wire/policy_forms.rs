//! What a policy denies is denied in whatever form it is sent: with an id or without one, alone or in
//! a batch, on either transport.

use anyhow::Result;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession, initialize};

const POLICY: &str = r#"
deny if uri("file:///secret");
deny if prompt("secret");
deny if tool("erase");
deny if method("completion/complete");
deny if method("tasks/cancel");
allow if true;
"#;

async fn ruled(folder: &tempfile::TempDir) -> Result<(Fixture, String)> {
    let file = folder.path().join("policy.biscuit");
    std::fs::write(&file, POLICY)?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    let (_, token) = fixture.signed_in().await?;
    Ok((fixture, token))
}

/// A message as a client of a revision sends it that knows batches, where it is one.
async fn send(url: &str, token: &str, body: &Value) -> Result<Reply> {
    if !body.is_array() {
        return mcp::send(url, token, body).await;
    }
    let request = http::client().post(url).bearer_auth(token);
    let request = request.header("accept", "application/json, text/event-stream");
    let request = request.header("content-type", "application/json");
    http::send(request.body(body.to_string())).await
}

/// What the policy denies, method and params.
fn denied() -> Vec<(&'static str, Value)> {
    vec![
        ("resources/read", json!({"uri": "file:///secret"})),
        ("resources/subscribe", json!({"uri": "file:///secret"})),
        ("resources/unsubscribe", json!({"uri": "file:///secret"})),
        ("prompts/get", json!({"name": "secret"})),
        ("tools/call", json!({"name": "erase", "arguments": {}})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "x"}}),
        ),
        ("tasks/cancel", json!({"taskId": "1"})),
    ]
}

/// A message in each form that some server takes for it.
fn forms(method: &str, params: &Value) -> Vec<Value> {
    let with = |id: Option<Value>, version: &str| {
        let mut message = json!({"jsonrpc": version, "method": method, "params": params});
        if let Some(id) = id {
            message["id"] = id;
        }
        message
    };
    let mut forms = Vec::new();
    for id in [
        None,
        Some(json!(1)),
        Some(json!("a")),
        Some(json!(0)),
        Some(json!(-1)),
        Some(json!(u64::MAX)),
        Some(json!("")),
        Some(Value::Null),
        Some(json!(1.5)),
        Some(json!(true)),
        Some(json!([])),
    ] {
        let one = with(id, "2.0");
        forms.push(one.clone());
        forms.push(json!([one]));
        let harmless = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        forms.push(json!([harmless, one]));
        let mut answering = one.clone();
        answering["result"] = json!({});
        forms.push(answering);
    }
    forms.push(with(None, "1.0"));
    let mut meta = with(None, "2.0");
    meta["params"]["_meta"] = json!({"progressToken": 1});
    forms.push(meta);
    forms
}

fn mentions(body: &Value, method: &str) -> bool {
    match body {
        Value::Array(all) => all.iter().any(|one| mentions(one, method)),
        one => one["method"] == *method,
    }
}

#[tokio::test]
async fn what_a_policy_denies_is_denied_in_every_form() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (fixture, token) = ruled(&folder).await?;
    let url = fixture.url("/mcp");
    send(&url, &token, &initialize()).await?;
    let legacy = LegacySession::open(&fixture.url("/sse"), &token).await.ok();
    let mut sent = 0;
    for (method, params) in denied() {
        for form in forms(method, &params) {
            send(&url, &token, &form).await?;
            sent += 1;
            if let Some(legacy) = &legacy {
                legacy.post(&form).await?;
                sent += 1;
            }
        }
        let reached = fixture.backend.requests();
        let reached = reached
            .iter()
            .filter(|request| mentions(&request.json(), method));
        assert_eq!(reached.count(), 0, "{method}");
    }
    println!("{sent} forms of what a policy denies: none reached the backend");
    Ok(())
}

#[tokio::test]
async fn what_needs_an_id_and_has_none_is_refused_without_any_policy() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let url = fixture.url("/mcp");
    for method in [
        "tools/call",
        "tools/list",
        "resources/read",
        "resources/subscribe",
        "prompts/get",
        "completion/complete",
        "tasks/cancel",
        "logging/setLevel",
        "ping",
        "vendor/wipe",
        "notificationsx/a",
    ] {
        let params = json!({"name": "a", "uri": "a"});
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        for form in [message.clone(), json!([message])] {
            let reply = send(&url, &token, &form).await?;
            assert_eq!(reply.status, 400, "{form}: {}", reply.text);
            assert!(reply.text.contains("needs an id"), "{}", reply.text);
        }
    }
    for method in [
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/vendor/own",
        "ui/notifications/size-changed",
    ] {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": {}});
        let reply = send(&url, &token, &message).await?;
        assert!(
            reply.status < 300,
            "{method}: {} {}",
            reply.status,
            reply.text
        );
    }
    let nameless = [("resources/subscribe", json!({"uri": ["file:///secret"]}))];
    for (method, params) in nameless {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        assert_eq!(send(&url, &token, &message).await?.status, 400, "{method}");
    }
    Ok(())
}
