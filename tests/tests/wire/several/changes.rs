//! Members that change, go, come back or take their time.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tests::mcp;
use tests::metrics::Scrape;
use tests::recorder::{Answer, Recorded, Step};
use tests::sse::EventStream;
use tests::{scripted_mcp, scripted_revisions};

use super::decided::narrowed;
use super::{World, notes};

/// What all say unasked, from a stream that listens to changes of tools.
async fn listening(world: &World) -> Result<EventStream> {
    listening_with(world, &world.token).await
}

async fn listening_with(world: &World, token: &str) -> Result<EventStream> {
    let params = json!({"notifications": {"toolsListChanged": true}});
    let body = mcp::stateless_message(9, "subscriptions/listen", &params);
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), token, &body);
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
    Ok(())
}

/// What a member says to whoever listens; for so long.
fn listening_for(request: &Recorded, time: Duration) -> Answer {
    match scripted_revisions::stateless(request) {
        Answer::Steps(status, headers, mut steps)
            if request.json()["method"] == "subscriptions/listen" =>
        {
            steps.truncate(1);
            steps.extend([Step::Wait(time), Step::Cut]);
            Answer::Steps(status, headers, steps)
        }
        other => other,
    }
}

/// Nobody else is listened to, so that nobody else's lists change.
#[tokio::test]
async fn that_a_member_went_and_is_back_is_a_change_to_whoever_listens() -> Result<()> {
    let world = World::start().await?;
    let one = narrowed(&world.token, "check if backend(\"mail\")")?;
    world
        .mail
        .play(|request| listening_for(request, Duration::from_secs(1)));
    let mut stream = listening_with(&world, &one).await?;
    world.mail.play(|_| Answer::Reset);
    let went = event(&mut stream).await?;
    assert_eq!(went["method"], "notifications/tools/list_changed");
    // It went once, however often it is looked for.
    let patience = Duration::from_secs(3);
    assert!(stream.event(patience).await.is_err(), "nothing is new");
    world.mail.play(scripted_revisions::stateless);
    let back = event(&mut stream).await?;
    assert_eq!(back["method"], "notifications/tools/list_changed");
    let patience = Duration::from_secs(1);
    assert!(stream.event(patience).await.is_err(), "nothing is new");
    Ok(())
}

/// What waits for clients that are slow is not counted among what they hold, so it is small.
#[tokio::test]
async fn a_very_large_notification_is_left_out_and_the_next_one_comes() -> Result<()> {
    let world = World::start().await?;
    let one = narrowed(&world.token, "check if backend(\"mail\")")?;
    let mut stream = listening_with(&world, &one).await?;
    world.mail.await_streams(1, Duration::from_secs(10)).await?;
    let changed = |size: usize| {
        let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": 9, "size": size},
            "more": "x".repeat(size),
        }});
        format!("event: message\ndata: {changed}\n\n")
    };
    let topic = scripted_revisions::LISTENING;
    for size in [100_000, 400_000, 500_000, 1] {
        world.mail.push(topic, &changed(size));
    }
    for size in [100_000, 1] {
        let told = event(&mut stream).await?;
        assert_eq!(told["params"]["_meta"]["size"], size);
    }
    let of_mail = |line: &str| line.contains("\"member\":\"mail\"");
    let dropped = |line: &str| line.contains("\"notification_dropped\"") && of_mail(line);
    world.said(dropped).await?;
    let log = world.gateway.log();
    assert_eq!(log.iter().filter(|line| dropped(line)).count(), 1);
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
    // Less than `list_timeout`, which is 5 s.
    assert!(
        begun.elapsed() < Duration::from_millis(4500),
        "{:?}",
        begun.elapsed()
    );

    // Its other lists are answered, and it goes and comes with none of them.
    for method in ["resources/list", "tools/list", "prompts/list"] {
        world.result(method, json!({})).await?;
    }
    let told = |event: &str| {
        let of_mail = |line: &&String| line.contains(event) && line.contains("\"member\":\"mail\"");
        world.gateway.log().iter().filter(of_mail).count()
    };
    assert_eq!((told("\"member_away\""), told("\"member_back\"")), (1, 0));
    world.mail.play(scripted_revisions::stateless);
    world.result("tools/list", json!({})).await?;
    world.said(|line| line.contains("\"member_back\"")).await?;
    assert_eq!((told("\"member_away\""), told("\"member_back\"")), (1, 1));
    Ok(())
}

/// A list that a slow member is waited for longer, for the next ones, holds nothing of the others' answers.
#[tokio::test]
async fn what_was_held_for_a_list_is_let_go_once_it_is_answered() -> Result<()> {
    const LARGE: usize = 1 << 20;
    let world = World::start().await?;
    world.notes.play(|request| {
        let message = request.json();
        if message["method"] == "tools/list" && request.method == "POST" {
            let mut list = scripted_mcp::reply(&message);
            list["result"]["tools"][0]["description"] = json!("x".repeat(LARGE));
            return Answer::json(200, &list);
        }
        super::notes(request)
    });
    world
        .mail
        .play(|request| match request.json()["method"].as_str() {
            Some("tools/list") => Answer::Silence,
            _ => scripted_revisions::stateless(request),
        });
    let tools = world.tools(&world.token).await?;
    assert!(tools.contains(&"notes_echo".to_owned()), "{tools:?}");
    // It is waited for half a minute.
    let is_little = |scrape: &Scrape| scrape.sum("gateway_in_flight_bytes", &[]) < LARGE as f64;
    Scrape::until(&world.gateway, is_little).await?;
    Ok(())
}

/// What was looked through to find whose resources are whose is let go, however long the client listens.
#[tokio::test]
async fn whoever_listens_to_resources_holds_nothing_of_the_lists_that_name_them() -> Result<()> {
    const LARGE: usize = 1 << 20;
    let world = World::start().await?;
    world.mail.play(|request| {
        let message = request.json();
        if message["method"] != "resources/list" {
            return scripted_revisions::stateless(request);
        }
        let listed = json!({"jsonrpc": "2.0", "id": message["id"], "result": {
            "resultType": "complete", "ttlMs": 1000, "cacheScope": "private",
            "resources": [{"uri": "mail://inbox", "name": "x".repeat(LARGE)}],
        }});
        Answer::json(200, &listed)
    });
    let params = json!({"notifications": {"resourceSubscriptions": ["mail://inbox"]}});
    let body = mcp::stateless_message(9, "subscriptions/listen", &params);
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
    let mut stream = EventStream::open(request).await?;
    let first = event(&mut stream).await?;
    assert_eq!(first["params"]["notifications"], params["notifications"]);
    let is_little =
        |scrape: &Scrape| scrape.sum("gateway_in_flight_bytes", &[]) < LARGE as f64 / 2.0;
    Scrape::until(&world.gateway, is_little).await?;
    drop(stream);
    Ok(())
}

/// A subscription that no member has is none that the client may rely on.
#[tokio::test]
async fn resources_of_a_member_that_is_away_are_not_granted() -> Result<()> {
    let world = World::start().await?;
    world.mail.play(|_| Answer::Reset);
    let params = json!({"notifications": {
        "toolsListChanged": true, "resourceSubscriptions": ["notes://1", "mail://inbox"],
    }});
    let body = mcp::stateless_message(9, "subscriptions/listen", &params);
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
    let mut stream = EventStream::open(request).await?;
    let first = event(&mut stream).await?;
    let granted = &first["params"]["notifications"];
    assert_eq!(granted["toolsListChanged"], true);
    assert_eq!(granted["resourceSubscriptions"], json!(["notes://1"]));
    Ok(())
}
