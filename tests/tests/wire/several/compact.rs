//! A search in place of very many tools.

use anyhow::Result;
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp;
use tests::oauth::OAuthClient;
use tests::recorder::Recorder;
use tests::scripted_revisions;

use super::{arrived, names};

#[tokio::test]
async fn above_a_number_of_tools_they_are_searched_and_called_by_two() -> Result<()> {
    let notes = Recorder::start(super::notes).await?;
    let mail = Recorder::start(scripted_revisions::stateless).await?;
    let all = |path: &str, name: &str, most: usize| {
        format!(
            "\n[[backend]]\nname = \"{name}\"\npath = \"{path}\"\nmembers = [\"notes\", \"mail\"]\ncompact = {most}\n"
        )
    };
    let setup = Setup::default()
        .mounted("notes", "/notes", &notes.url())
        .mounted("mail", "/mail", &mail.url())
        .more(&(all("/", "all", 3) + &all("/few", "few", 4)));
    let gateway = Gateway::start(setup).await?;
    let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
    let token = client
        .sign_in_choosing(&Owner::alice(), |form| {
            form.choose_tools(&["notes_echo", "notes_look", "notes_erase", "mail_mirrored"])
        })
        .await?;
    let few = client
        .sign_in_for(&Owner::alice(), &gateway.url("/few/mcp"))
        .await?;
    let ask = async |path: &str, token: &str, method: &str, params: Value| -> Result<Value> {
        let body = mcp::stateless_message(1, method, &params);
        let request = mcp::post_stateless(&gateway.url(path), token, &body);
        mcp::response(&http::send(request).await?)
    };
    let call = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});

    // As many as may be listed are.
    let listed = ask("/few/mcp", &few, "tools/list", json!({})).await?;
    assert_eq!(names(&listed["result"]["tools"]).len(), 4, "{listed}");
    let listed = ask("/mcp", &token, "tools/list", json!({})).await?;
    assert_eq!(
        names(&listed["result"]["tools"]),
        ["search_tools", "call_tool"]
    );

    let search = call("search_tools", json!({"query": "delete"}));
    let found = ask("/mcp", &token, "tools/call", search).await?;
    let tools = &found["result"]["structuredContent"]["tools"];
    assert_eq!(names(tools), ["notes_erase"], "{found}");
    let through = call(
        "call_tool",
        json!({"name": "notes_erase", "arguments": {"n": 1}}),
    );
    let called = ask("/mcp", &token, "tools/call", through).await?;
    assert_eq!(
        called["result"]["content"][0]["text"], "{\"n\":1}",
        "{called}"
    );
    let arrived_there = &arrived(&notes, "tools/call")[0].json();
    assert_eq!(arrived_there["params"]["name"], "erase");

    // A client of 2025 knows of no headers: the gateway learns them from the list that is not shown.
    let session = mcp::open_session(&gateway.url("/mcp"), &token).await?;
    let mirrored = mcp::call(3, "mail_mirrored", &json!({"q": "x"}));
    let request = mcp::post(&gateway.url("/mcp"), &token, &mirrored);
    let reply = http::send(request.header("Mcp-Session-Id", session)).await?;
    let answer = mcp::response(&reply)?;
    assert!(answer["result"]["content"].is_array(), "{answer}");

    // What consent did not show is neither found nor called.
    let less = client
        .sign_in_choosing(&Owner::alice(), |form| {
            form.choose_tools(&["notes_echo", "notes_look", "mail_mirrored"])
        })
        .await?;
    notes.take_requests();
    let through = call("call_tool", json!({"name": "notes_erase", "arguments": {}}));
    let refused = ask("/mcp", &less, "tools/call", through).await?;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert!(arrived(&notes, "tools/call").is_empty());
    let search = call("search_tools", json!({"query": "delete"}));
    let found = ask("/mcp", &less, "tools/call", search).await?;
    assert_eq!(found["result"]["structuredContent"]["found"], 0, "{found}");
    Ok(())
}
