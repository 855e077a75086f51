//! Names and methods have one reading: what a lenient backend takes for another tool is judged as
//! that tool, or refused.

use anyhow::Result;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::mcp::{call, message, response, send};
use tests::recorder::Answer;
use tests::scripted_mcp;

/// What some backend takes for `name`, and is another text.
fn cousins(name: &str) -> Vec<String> {
    let capital = name[..1].to_uppercase() + &name[1..];
    let wide: String = name
        .chars()
        .map(|c| char::from_u32(u32::from(c) - 0x21 + 0xff01).unwrap_or(c))
        .collect();
    let mut cousins = vec![name.to_uppercase(), capital, wide];
    for (at, _) in name.char_indices().skip(1) {
        let (before, after) = name.split_at(at);
        for invisible in [
            "\u{200b}", "\u{ad}", "\u{feff}", "\u{2060}", "\u{fe0f}", "\0", "\u{1}",
        ] {
            cousins.push(format!("{before}{invisible}{after}"));
        }
        cousins.push(format!("{before}{}", after.to_uppercase()));
    }
    for around in [
        " ", "\n", "\t", "\r\n", "\0", "\u{a0}", "\u{3000}", "\u{200b}", "\u{feff}", "\u{7f}",
        "\u{85}",
    ] {
        cousins.push(format!("{name}{around}"));
        cousins.push(format!("{around}{name}"));
    }
    cousins.retain(|cousin| cousin != name);
    cousins
}

fn reached(fixture: &Fixture, method: &str) -> usize {
    let requests = fixture.backend.requests();
    let is_so = |body: &Value| body["method"] == *method;
    requests
        .iter()
        .filter(|request| is_so(&request.json()))
        .count()
}

#[tokio::test]
async fn no_cousin_of_a_tool_that_needs_an_approval_runs_without_one() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("approval_required = [\"deploy\"]\n")
    })
    .await?;
    let client = fixture.client("A client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "all"))
        .await?;
    let url = fixture.url("/mcp");
    let mut tried = 0;
    for name in [vec!["deploy".to_owned()], cousins("deploy")].concat() {
        let reply = send(&url, &token, &call(1, &name, &json!({}))).await?;
        let refused =
            reply.status == 400 || reply.json()["result"]["_meta"]["reason"] == "approval_missing";
        assert!(refused, "{name:?}: {} {}", reply.status, reply.text);
        tried += 1;
    }
    assert_eq!(reached(&fixture, "tools/call"), 0);
    let other = send(&url, &token, &call(1, "search", &json!({}))).await?;
    assert_eq!(other.status, 200);
    assert_eq!(reached(&fixture, "tools/call"), 1);
    println!("{tried} names that a backend may take for deploy: none ran");
    Ok(())
}

#[tokio::test]
async fn no_cousin_of_what_a_policy_denies_passes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    let policy = "deny if tool(\"erase\");\ndeny if tool($t), [\"wipe\", \"drop\"].contains($t);\n\
                  deny if prompt(\"secret\");\ndeny if uri(\"file:///secret\");\n\
                  deny if method(\"tasks/cancel\");\nallow if true;\n";
    std::fs::write(&file, policy)?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    let client = fixture.client("A client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "all"))
        .await?;
    let url = fixture.url("/mcp");
    let mut tried = 0;
    for (method, member, name) in [
        ("tools/call", "name", "erase"),
        ("tools/call", "name", "wipe"),
        ("prompts/get", "name", "secret"),
        ("resources/read", "uri", "file:///secret"),
        ("resources/subscribe", "uri", "file:///secret"),
    ] {
        for name in [vec![name.to_owned()], cousins(name)].concat() {
            send(&url, &token, &message(1, method, &json!({ member: name }))).await?;
            tried += 1;
        }
        assert_eq!(reached(&fixture, method), 0, "{method} {name}");
    }
    println!("{tried} names that a backend may take for a denied one: none passed");
    Ok(())
}

#[tokio::test]
async fn no_cousin_of_a_method_passes() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let url = fixture.url("/mcp");
    let before = fixture.backend.requests().len();
    let mut tried = 0;
    for method in [
        "tools/call",
        "resources/read",
        "prompts/get",
        "tasks/cancel",
    ] {
        for cousin in cousins(method) {
            let params = json!({"name": "search", "uri": "a", "arguments": {}});
            let reply = send(&url, &token, &message(1, &cousin, &params)).await?;
            assert_eq!(reply.status, 400, "{cousin:?}: {}", reply.text);
            tried += 1;
        }
    }
    assert_eq!(fixture.backend.requests().len(), before);
    println!("{tried} methods that a backend may take for one of MCP: all refused");
    Ok(())
}

/// Where two tools have one name nobody can know which one a call runs.
#[tokio::test]
async fn of_two_tools_with_one_name_neither_is_offered_and_it_is_said() -> Result<()> {
    for pair in [
        [
            r#"{"name":"look","inputSchema":{}}"#,
            r#"{"name":"look","description":"other","inputSchema":{}}"#,
        ],
        [
            r#"{"name":"look","inputSchema":{}}"#,
            r#"{"name":"look","inputSchema":{}}"#,
        ],
        [
            r#"{"name":"look","inputSchema":{}}"#,
            r#"{"name":"l\u006fok","title":"x","inputSchema":{}}"#,
        ],
    ] {
        let fixture = Fixture::start().await?;
        let tools: Vec<Value> = pair
            .into_iter()
            .chain([r#"{"name":"search","inputSchema":{},"annotations":{"readOnlyHint":true}}"#])
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        fixture.backend.play(move |request| {
            let body = request.json();
            match body["method"].as_str() {
                Some("tools/list") => Answer::json(
                    200,
                    &json!({"jsonrpc": "2.0", "id": body["id"], "result": {"tools": tools}}),
                ),
                _ => scripted_mcp::answer(request),
            }
        });
        let client = fixture.client("A client").await?;
        let token = client
            .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "today"))
            .await?;
        let url = fixture.url("/mcp");
        let listed = response(&send(&url, &token, &message(2, "tools/list", &json!({}))).await?)?;
        let names: Vec<&str> = listed["result"]["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["name"].as_str())
            .collect();
        assert_eq!(names, ["search"], "{listed}");
        let refused = send(&url, &token, &call(3, "look", &json!({}))).await?;
        assert_eq!(
            refused.json()["result"]["isError"],
            true,
            "{}",
            refused.text
        );
        assert_eq!(reached(&fixture, "tools/call"), 0);
        fixture.gateway.logged("tool_name_doubled").await?;
    }
    Ok(())
}
