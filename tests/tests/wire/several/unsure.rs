//! Members that do not say what they list: no interface of theirs is given to another meanwhile, nothing of
//! another is kept from it, and nobody waits for them who need not.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::http::Reply;
use tests::mcp;
use tests::recorder::{Answer, Recorded};
use tests::scripted_revisions;
use tests::sse::EventStream;

use super::decided::narrowed;
use super::{World, arrived};

/// The interface that a tool of `mail` names.
const INTERFACE: &str = "ui://mail/w";

fn answer(request: &Recorded, result: &Value) -> Answer {
    let id = request.json()["id"].clone();
    let response = json!({"jsonrpc": "2.0", "id": id, "result": result});
    Answer::json(200, &response)
}

/// A tool that names its interface, and whatever is read.
fn mail_with_interface(request: &Recorded) -> Answer {
    match request.json()["method"].as_str() {
        Some("tools/list") => answer(
            request,
            &json!({
                "resultType": "complete", "ttlMs": 1000, "cacheScope": "private",
                "tools": [{
                    "name": "show", "inputSchema": {"type": "object"},
                    "_meta": {"ui": {"resourceUri": INTERFACE}},
                }],
            }),
        ),
        Some("resources/list") => answer(
            request,
            &json!({"resultType": "complete", "resources": [{"uri": "both://1", "name": "of mail"}]}),
        ),
        Some("resources/read") => answer(
            request,
            &json!({"resultType": "complete", "contents": [{"uri": "x", "text": "of mail"}]}),
        ),
        _ => scripted_revisions::stateless(request),
    }
}

/// One before it that lists the same interface as if it were its own.
fn notes_that_claim_it(request: &Recorded) -> Answer {
    if request.json()["method"] == "resources/list" && request.method == "POST" {
        let resources =
            json!([{"uri": INTERFACE, "name": "w"}, {"uri": "notes://1", "name": "one"}]);
        return answer(request, &json!({"resources": resources}));
    }
    super::notes(request)
}

async fn read(world: &World, uri: &str) -> Result<Reply> {
    world
        .ask(&world.token, "resources/read", json!({"uri": uri}))
        .await
}

fn is_for_later(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(reply.json()["error"]["code"], -32603, "{}", reply.text);
}

/// Reads until there is an answer.
async fn text_of(world: &World, uri: &str) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = read(world, uri).await?;
        if reply.status == 200 {
            return Ok(mcp::response(&reply)?["result"]["contents"][0]["text"].clone());
        }
        ensure!(Instant::now() < deadline, "{}", reply.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn an_interface_of_a_member_that_is_away_is_no_other_members() -> Result<()> {
    let world = World::start().await?;
    world.notes.play(notes_that_claim_it);
    for method in ["tools/list", "resources/list"] {
        world.mail.play(move |request| {
            if request.json()["method"] == method {
                return Answer::Reset;
            }
            mail_with_interface(request)
        });
        // What some said counts for a moment.
        tokio::time::sleep(Duration::from_millis(2100)).await;
        if method == "tools/list" {
            is_for_later(&read(&world, INTERFACE).await?);
        }
        // What the first lists is its own, whatever the others say.
        assert_eq!(text_of(&world, "notes://1").await?, "of notes");
        // Nor is anything else kept from it.
        assert_eq!(text_of(&world, "other://1").await?, "of notes");
    }
    let claimed = arrived(&world.notes, "resources/read");
    let is_claimed = |request: &Recorded| request.json()["params"]["uri"] == INTERFACE;
    assert!(
        !claimed.iter().any(is_claimed),
        "it was asked for another's"
    );
    assert!(arrived(&world.mail, "resources/read").is_empty());
    world.mail.play(mail_with_interface);
    assert_eq!(text_of(&world, INTERFACE).await?, "of mail");

    Ok(())
}

/// A member that is away takes no resource from the others; and what both list is the first's when it is back.
#[tokio::test]
async fn resources_of_others_are_read_while_an_earlier_member_is_away() -> Result<()> {
    let world = World::start().await?;
    world.mail.play(mail_with_interface);
    world.notes.play(|_| Answer::Reset);
    assert_eq!(text_of(&world, "both://1").await?, "of mail");
    world.notes.play(super::notes);
    let deadline = Instant::now() + Duration::from_secs(20);
    while text_of(&world, "both://1").await? != "of notes" {
        ensure!(Instant::now() < deadline, "it is the other's still");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn of_tools_that_are_not_all_looked_through_no_interface_is_anybodys() -> Result<()> {
    let world = World::start().await?;
    world.notes.play(notes_that_claim_it);
    world.mail.play(|request| {
        if request.json()["method"] == "tools/list" {
            let page = json!({
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                "tools": [], "nextCursor": "more",
            });
            return answer(request, &page);
        }
        mail_with_interface(request)
    });
    let refused = |reply: &Reply| {
        let error = reply.json()["error"].clone();
        assert_eq!(error["code"], -32602, "{}", reply.text);
        assert!(error["message"].to_string().contains("too many tools"));
        assert_eq!(reply.header("retry-after"), "");
    };
    // To come again helps nobody, nor is anything looked at for whoever does.
    refused(&read(&world, INTERFACE).await?);
    let looked = arrived(&world.mail, "tools/list").len();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    refused(&read(&world, INTERFACE).await?);
    assert_eq!(arrived(&world.mail, "tools/list").len(), looked);
    assert!(arrived(&world.notes, "resources/read").is_empty());
    // That says nothing of what is no interface.
    assert_eq!(text_of(&world, "both://1").await?, "of mail");
    let unlisted = read(&world, "other://1").await?;
    assert_eq!(
        mcp::response(&unlisted)?["result"]["contents"][0]["text"],
        "of notes"
    );
    Ok(())
}

/// What some say while others do not is asked for once in a while, and once for all that a client listens to.
#[tokio::test]
async fn members_are_not_looked_at_for_each_request_while_one_is_away() -> Result<()> {
    let world = World::start().await?;
    world.mail.play(|_| Answer::Reset);
    let looks = |world: &World| arrived(&world.notes, "resources/list").len();
    let begun = Instant::now();
    for at in 0..3 {
        let reply = read(&world, &format!("other://{at}")).await?;
        assert!(reply.text.contains("of notes"), "{}", reply.text);
    }
    if begun.elapsed() < Duration::from_millis(1900) {
        assert_eq!(looks(&world), 1);
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let before = looks(&world);
    let uris: Vec<String> = (0..20).map(|at| format!("other://{at}")).collect();
    let params =
        json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": uris}});
    let body = mcp::stateless_message(9, "subscriptions/listen", &params);
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
    let mut stream = EventStream::open(request).await?;
    stream.event(Duration::from_secs(15)).await?;
    assert_eq!(looks(&world), before + 1);
    Ok(())
}

/// Whose a resource is that the first lists does not depend on what a slow one will say.
#[tokio::test]
async fn whoever_waits_for_a_resource_waits_for_no_member_that_can_not_have_it() -> Result<()> {
    let world = World::start().await?;
    world
        .mail
        .play(|request| match request.json()["method"].as_str() {
            Some("tools/list" | "resources/list" | "resources/templates/list") => Answer::Silence,
            _ => scripted_revisions::stateless(request),
        });
    let begun = Instant::now();
    let reply = read(&world, "notes://1").await?;
    assert!(reply.text.contains("of notes"), "{}", reply.text);
    // `list_timeout` is 5 s.
    assert!(
        begun.elapsed() < Duration::from_millis(4500),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn where_no_member_answers_the_client_is_told_to_come_again() -> Result<()> {
    let world = World::start().await?;
    let one = narrowed(&world.token, "check if backend(\"notes\")")?;
    world.notes.play(|_| Answer::Reset);
    for (method, params) in [
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("server/discover", json!({})),
        ("resources/read", json!({"uri": "other://1"})),
    ] {
        let reply = world.ask(&one, method, params).await?;
        is_for_later(&reply);
        assert_eq!(reply.json()["id"], 1, "{method}: {}", reply.text);
    }
    Ok(())
}

/// What the one member says that could answer is said to the client, with its status.
#[tokio::test]
async fn a_fault_of_a_member_keeps_its_words_where_nobody_answers() -> Result<()> {
    let world = World::start().await?;
    let one = narrowed(&world.token, "check if backend(\"mail\")")?;
    let refused = |status: u16| {
        move |request: &Recorded| {
            let id = request.json()["id"].clone();
            let error = json!({"code": -32042, "message": "Not before noon"});
            let response = json!({"jsonrpc": "2.0", "id": id, "error": error});
            Answer::json(status, &response).with("Retry-After", "77")
        }
    };
    for status in [429, 503] {
        world.mail.play(refused(status));
        let reply = world.ask(&one, "prompts/list", json!({})).await?;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert_eq!(reply.header("retry-after"), "77");
        assert_eq!(reply.json()["error"]["message"], "Not before noon");
    }

    // A limit of one is none of the others': it is told where they have not got it.
    let two = narrowed(
        &world.token,
        "check if backend($b), [\"mail\", \"old\"].contains($b)",
    )?;
    world.mail.play(move |request| {
        if request.json()["method"] == "resources/read" {
            return refused(429)(request);
        }
        scripted_revisions::stateless(request)
    });
    let reply = world
        .ask(&two, "resources/read", json!({"uri": "other://1"}))
        .await?;
    assert_eq!(reply.status, 429, "{}", reply.text);
    assert_eq!(reply.header("retry-after"), "77");
    assert_eq!(arrived(&world.mail, "resources/read").len(), 1);
    assert_eq!(arrived(&world.old, "resources/read").len(), 1);
    let two = narrowed(
        &world.token,
        "check if backend($b), [\"mail\", \"notes\"].contains($b)",
    )?;
    world.notes.play(move |request| {
        if request.json()["method"] == "resources/read" {
            return refused(429)(request);
        }
        super::notes(request)
    });
    world.mail.play(mail_with_interface);
    let reply = world
        .ask(&two, "resources/read", json!({"uri": "other://1"}))
        .await?;
    assert!(reply.text.contains("of mail"), "{}", reply.text);
    assert_eq!(arrived(&world.notes, "resources/read").len(), 1);
    Ok(())
}
