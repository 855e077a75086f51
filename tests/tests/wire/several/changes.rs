//! Members that change, go, come back or take their time.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tests::mcp;
use tests::recorder::Answer;
use tests::scripted_revisions;
use tests::sse::EventStream;

use super::{World, notes};

/// What all say unasked, from a stream that listens to changes of tools.
async fn listening(world: &World) -> Result<EventStream> {
    let params = json!({"notifications": {"toolsListChanged": true}});
    let body = mcp::stateless_message(9, "subscriptions/listen", &params);
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
    let mut stream = EventStream::open(request).await?;
    let first = event(&mut stream).await?;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        first["params"]["notifications"],
        json!({"toolsListChanged": true})
    );
    Ok(stream)
}

async fn event(stream: &mut EventStream) -> Result<Value> {
    let (_, data) = stream.event(Duration::from_secs(15)).await?;
    Ok(serde_json::from_str(&data)?)
}

#[tokio::test]
async fn a_change_of_any_members_tools_is_told_on_one_stream() -> Result<()> {
    let world = World::start().await?;
    let mut stream = listening(&world).await?;
    world.mail.await_streams(1, Duration::from_secs(10)).await?;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {
        "_meta": {"io.modelcontextprotocol/subscriptionId": 9},
    }});
    let text = format!("event: message\ndata: {changed}\n\n");
    world.mail.push(scripted_revisions::LISTENING, &text);
    let told = event(&mut stream).await?;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(
        told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        9
    );
    // All are listened to by then. A server on stdin and stdout changes while a tool of it runs.
    world
        .result("tools/call", json!({"name": "program_change"}))
        .await?;
    let told = event(&mut stream).await?;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    Ok(())
}

#[tokio::test]
async fn a_member_that_is_down_leaves_its_tools_out_and_comes_back_by_itself() -> Result<()> {
    let world = World::start().await?;
    let mut stream = listening(&world).await?;
    world.mail.await_streams(1, Duration::from_secs(10)).await?;
    world.notes.play(|_| Answer::Reset);
    world.mail.play(|_| Answer::Reset);
    let tools = world.tools(&world.token).await?;
    assert!(
        !tools.iter().any(|name| name.starts_with("notes_")),
        "{tools:?}"
    );
    assert!(
        !tools.iter().any(|name| name.starts_with("mail_")),
        "{tools:?}"
    );
    assert!(tools.contains(&"program_echo".to_owned()), "{tools:?}");
    for member in ["notes", "mail"] {
        let member = format!("\"member\":\"{member}\"");
        world
            .said(|line| line.contains("\"member_away\"") && line.contains(&member))
            .await?;
    }
    // It is one of all the others that answers.
    let called = world
        .result("tools/call", json!({"name": "old_echo", "arguments": {}}))
        .await?;
    assert!(called["content"].is_array());

    world.notes.play(notes);
    world.mail.play(scripted_revisions::stateless);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let tools = world.tools(&world.token).await?;
        let has = |start: &str| tools.iter().any(|name| name.starts_with(start));
        if has("notes_") && has("mail_") {
            break;
        }
        anyhow::ensure!(Instant::now() < deadline, "{tools:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world
        .said(|line| line.contains("\"member_back\"") && line.contains("\"notes\""))
        .await?;
    drop(stream.end(Duration::from_millis(10)).await);
    Ok(())
}

#[tokio::test]
async fn a_slow_member_delays_no_other() -> Result<()> {
    let world = World::start().await?;
    world
        .mail
        .play(|request| match request.json()["method"].as_str() {
            Some("tools/list") => Answer::Silence,
            _ => scripted_revisions::stateless(request),
        });
    let begun = Instant::now();
    let tools = world.tools(&world.token).await?;
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert!(tools.contains(&"notes_echo".to_owned()), "{tools:?}");
    assert!(
        !tools.iter().any(|name| name.starts_with("mail_")),
        "{tools:?}"
    );
    let begun = Instant::now();
    world
        .result("tools/call", json!({"name": "notes_echo", "arguments": {}}))
        .await?;
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}
