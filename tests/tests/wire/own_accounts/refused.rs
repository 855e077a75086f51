//! What apps are told whose call can't be made with an account: on each road the same, in the session that
//! goes on, and nothing of it in a log; and what they are told once there is one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::StoreKind;
use tests::http::{self, Reply};
use tests::mcp;
use tests::own_accounts::{
    ACCOUNT, World, answer, caller, connect, key, link, remove, text, whoami,
};
use tests::recorder::{Answer, Recorded};
use tests::scripted_mcp;
use tests::sse::EventStream;

use super::renewed::at_server;

/// A call of 2026-07-28 by a client that opens addresses; `more`: members of its parameters.
fn modern(id: u64, more: &Value) -> Value {
    let meta = json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}});
    let mut params = json!({"name": "whoami", "arguments": {}, "_meta": meta});
    for (name, value) in more.as_object().into_iter().flatten() {
        params[name] = value.clone();
    }
    mcp::stateless_message(id, "tools/call", &params)
}

async fn ask(world: &World, token: &str, body: &Value) -> Result<Reply> {
    http::send(mcp::post_stateless(&world.url(), token, body)).await
}

fn calls_a_tool(request: &Recorded) -> bool {
    request.method == "POST" && request.json()["method"] == "tools/call"
}

/// A server with sessions, before which a client of 2026-07-28 is translated.
#[tokio::test]
async fn a_translated_call_is_refused_as_any_other_and_its_address_is_in_no_log() -> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let call = mcp::stateless_message(1, "tools/call", &json!({"name": "whoami"}));
    let reply = ask(&world, &alice, &call).await?;
    assert_eq!(text(&mcp::response(&reply)?), "alice");
    world.backend.play(|request| {
        if calls_a_tool(request) {
            return Answer::json(401, &json!({}));
        }
        answer(request)
    });
    let reply = ask(&world, &alice, &call).await?;
    let told = mcp::response(&reply)?;
    assert_eq!(told["id"], 1);
    assert_eq!(told["result"]["isError"], true, "{told}");
    assert_eq!(told["result"]["_meta"]["reason"], "account_connect_again");
    let link = link(text(&told)).with_context(|| told.to_string())?;
    let random = link.rsplit('/').next().context("a path")?;
    world.gateway().logged("account_connect_again").await?;
    let log = world.gateway().log().join("\n");
    assert!(!log.contains(random), "the address is in the log");
    Ok(())
}

/// A fault of the other side is one to wait for, in a translated session, too, and none of the backend's.
#[tokio::test]
async fn a_translated_call_whose_account_can_t_be_renewed_is_told_to_come_again() -> Result<()> {
    let (world, token) = at_server(StoreKind::Embedded, 3600).await?;
    let url = world.fixture.url("/mcp");
    let call = |id| {
        let params = json!({"name": "echo", "arguments": {"said": id}});
        mcp::post_stateless(
            &url,
            &token,
            &mcp::stateless_message(id, "tools/call", &params),
        )
    };
    let first = mcp::response(&http::send(call(1)).await?)?;
    assert!(text(&first).contains("said"), "{first}");
    let refuses = |request: &Recorded| {
        if calls_a_tool(request) {
            return Answer::json(401, &json!({}));
        }
        scripted_mcp::answer(request)
    };
    world.fixture.backend.play(refuses);
    world.server().only = Some(Answer::json(503, &json!({})));
    world.fixture.backend.take_requests();
    let reply = http::send(call(2)).await?;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(reply.header("retry-after").parse::<u64>()? > 0);
    let told = reply.json();
    assert_eq!(told["id"], 2, "{told}");
    assert_eq!(told["error"]["data"]["reason"], "account_unavailable");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = world.fixture.backend.requests();
    let is_probe = |request: &&Recorded| request.json()["method"] == "server/discover";
    assert_eq!(
        asked.iter().filter(is_probe).count(),
        0,
        "the server is doubted"
    );
    Ok(())
}

/// The backend finds out that the credential is bad when the app begins.
#[tokio::test]
async fn a_session_whose_beginning_the_backend_refused_goes_on_with_another_account() -> Result<()>
{
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    world.backend.play(|request| match caller(request) {
        Some(name) if name == "alice" => Answer::json(401, &json!({})),
        _ => answer(request),
    });
    let session = mcp::open_session(&world.url(), &alice).await?;
    let within =
        |id| mcp::post(&world.url(), &alice, &whoami(id)).header("Mcp-Session-Id", &session);
    let told = mcp::response(&http::send(within(1)).await?)?;
    assert_eq!(told["result"]["isError"], true, "{told}");
    connect(&world, &world.alice, &key("alison")).await?;
    let told = mcp::response(&http::send(within(2)).await?)?;
    assert_eq!(text(&told), "alison", "{told}");
    Ok(())
}

#[tokio::test]
async fn whoever_declined_is_told_in_a_sentence_and_not_asked_again() -> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    world.backend.play(|request| {
        if calls_a_tool(request) {
            let challenge = "Bearer error=\"insufficient_scope\", scope=\"repo\"";
            return Answer::json(403, &json!({})).with("WWW-Authenticate", challenge);
        }
        // Of this revision, so that nothing is translated.
        tests::scripted_revisions::stateless(request)
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = mcp::response(&ask(&world, &alice, &modern(1, &json!({}))).await?)?;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let question = &asked["result"]["inputRequests"]["gateway_connect_account"];
    assert_eq!(question["method"], "elicitation/create", "{asked}");
    assert!(asked["result"].get("requestState").is_none(), "{asked}");
    let declined = json!({"inputResponses": {"gateway_connect_account": {"action": "decline"}}});
    let told = mcp::response(&ask(&world, &alice, &modern(2, &declined)).await?)?;
    assert_eq!(told["result"]["isError"], true, "{told}");
    Ok(())
}

/// Where an account is optional: what nobody in particular is shown is not what an account is shown.
#[tokio::test]
async fn a_list_from_before_an_account_was_connected_is_not_taken_for_its_own() -> Result<()> {
    let account = format!("{ACCOUNT}optional = true\n");
    let world = World::with(1, &account).await?;
    world.backend.play(|request| match caller(request) {
        Some(_) => answer(request),
        None => scripted_mcp::answer(request),
    });
    world.sign_in(&world.bob, None).await?;
    let token = world
        .sign_in_choosing(&world.bob, &["whoami", "of_bob"])
        .await?;
    let own = mcp::call(1, "of_bob", &json!({}));
    let told = mcp::response(&mcp::send(&world.url(), &token, &own).await?)?;
    assert_eq!(text(&told), "bob", "{told}");
    // And nothing of what an account was shown is what its successor is.
    let token = world
        .sign_in_choosing_with(&world.bob, &key("bobby"), &["of_bobby"])
        .await?;
    let own = mcp::call(2, "of_bobby", &json!({}));
    let told = mcp::response(&mcp::send(&world.url(), &token, &own).await?)?;
    assert_eq!(text(&told), "bobby", "{told}");
    Ok(())
}

/// What a server speaks is asked in the name of who calls then, and never again in that of somebody else.
#[tokio::test]
async fn a_server_that_is_doubted_is_asked_in_the_name_of_who_calls() -> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    let told = mcp::response(&mcp::send(&world.url(), &alice, &whoami(1)).await?)?;
    assert_eq!(text(&told), "alice");
    // What it does not tell at first it is asked for a while longer.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.backend.take_requests();
    world.backend.play(|request| {
        let begins = request.method == "POST" && request.json()["method"] == "initialize";
        if begins && caller(request).is_some_and(|name| name == "bob") {
            return Answer::json(404, &json!({}));
        }
        answer(request)
    });
    for _ in 0..3 {
        let _ = mcp::send(&world.url(), &bob, &mcp::initialize()).await?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let asked = world.backend.requests();
    let callers: Vec<_> = asked.iter().filter_map(caller).collect();
    assert!(callers.len() > 3, "it is asked again: {callers:?}");
    assert!(callers.iter().all(|name| name == "bob"), "{callers:?}");
    Ok(())
}

/// What is promised when a session begins without an account.
#[tokio::test]
async fn a_client_is_told_that_the_tools_changed_once_an_account_is_connected() -> Result<()> {
    const CHANGED: &str = "notifications/tools/list_changed";
    let world = World::start(1).await?;
    let alice = world.sign_in_without(&world.alice).await?;
    let hello = mcp::send(&world.url(), &alice, &mcp::initialize()).await?;
    let session = hello.header("mcp-session-id").to_owned();
    let promised = &mcp::response(&hello)?["result"]["capabilities"]["tools"]["listChanged"];
    assert_eq!(*promised, true);
    let stream = |session: &str| {
        let request = http::client().get(world.url()).bearer_auth(&alice);
        EventStream::open(request.header("Mcp-Session-Id", session))
    };
    let mut held = stream(&session).await?;
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let listen = mcp::stateless_message(7, "subscriptions/listen", &listen);
    let mut listening =
        EventStream::open(mcp::post_stateless(&world.url(), &alice, &listen)).await?;
    let (_, first) = listening.event(Duration::from_secs(5)).await?;
    assert!(
        first.contains("acknowledged") && first.contains("toolsListChanged"),
        "{first}"
    );
    // It is the session's alone: without one there is no stream to wait on.
    let bare = http::client().get(world.url()).bearer_auth(&alice);
    let bare = http::send(bare.header("Accept", "text/event-stream")).await?;
    assert_eq!(bare.status, 405, "{}", bare.text);
    connect(&world, &world.alice, &key("alice")).await?;
    let (_, told) = held.event(Duration::from_secs(5)).await?;
    assert!(told.contains(CHANGED), "{told}");
    assert!(
        held.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    let (_, told) = listening.event(Duration::from_secs(5)).await?;
    assert!(
        told.contains(CHANGED) && told.contains("subscriptionId"),
        "{told}"
    );
    assert!(
        listening.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    // The next stream is the backend's own.
    let _own = stream(&session).await?;
    world
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;
    // A client that has not listed again calls what stood for the tools.
    let placeholder = mcp::call(3, "gateway_connect_account", &json!({}));
    let within =
        |body: &Value| mcp::post(&world.url(), &alice, body).header("Mcp-Session-Id", &session);
    let told = mcp::response(&http::send(within(&placeholder)).await?)?;
    assert_eq!(told["result"]["isError"], false, "{told}");
    assert!(text(&told).contains("List the tools again"), "{told}");
    assert_eq!(told["result"]["_meta"]["reason"], "account_connected");
    Ok(())
}

/// A call waits for the person who connects an account, and for nobody who is not there any more.
#[tokio::test]
async fn a_call_that_waits_for_its_person_ends_with_its_client_and_with_the_gateway() -> Result<()>
{
    let mut world = World::start(1).await?;
    let alice = world.sign_in_without(&world.alice).await?;
    let asked = mcp::response(&ask(&world, &alice, &modern(1, &json!({}))).await?)?;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let accepted = json!({"inputResponses": {"gateway_connect_account": {"action": "accept"}}});
    let accepted = modern(2, &accepted);
    world.backend.take_requests();
    let left = ask(&world, &alice, &accepted);
    assert!(
        tokio::time::timeout(Duration::from_secs(2), left)
            .await
            .is_err()
    );
    connect(&world, &world.alice, &key("alice")).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(
        !world.backend.requests().iter().any(calls_a_tool),
        "nobody waits for it"
    );
    remove(&world, &world.alice).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let request = mcp::post_stateless(&world.url(), &alice, &accepted);
    let waiting = tokio::spawn(http::send(request));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished(), "it waits");
    let begun = Instant::now();
    world.gateways[0].stop().await?;
    let reply = waiting.await??;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(!reply.header("retry-after").is_empty());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}
