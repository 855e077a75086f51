//! What belongs to an account at a backend is met by no other: sessions, lists and definitions, and the
//! sessions that the gateway itself holds.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tests::http;
use tests::mcp::{self, message};
use tests::own_accounts::{World, answer, caller, connect, key, text, whoami};
use tests::recorder::Answer;

/// A session id, a question on its way, a list: whatever one was given is nothing to the other, and
/// neither is what belongs to an account to the next one of the same person.
#[tokio::test]
async fn a_session_belongs_to_the_account_that_it_was_begun_with() -> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    let session = mcp::open_session(&world.url(), &alice).await?;
    let within =
        |token: &str| mcp::post(&world.url(), token, &whoami(1)).header("Mcp-Session-Id", &session);
    assert_eq!(
        text(&mcp::response(&http::send(within(&alice)).await?)?),
        "alice"
    );
    assert_eq!(http::send(within(&bob)).await?.status, 404);
    connect(&world, &world.alice, &key("alison")).await?;
    let started = Instant::now();
    loop {
        let reply = http::send(within(&alice)).await?;
        if reply.status == 404 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{reply:?}");
    }
    let answer = mcp::response(&mcp::send(&world.url(), &alice, &whoami(2)).await?)?;
    assert_eq!(text(&answer), "alison");
    let listed = mcp::send(&world.url(), &alice, &message(3, "tools/list", &json!({}))).await?;
    assert!(listed.text.contains("of_alison") && !listed.text.contains("of_alice\""));
    Ok(())
}

/// A client chooses tools of its person's account: definitions, lists and pins are that account's.
#[tokio::test]
async fn chosen_tools_are_those_of_the_account_that_showed_them() -> Result<()> {
    let world = World::start(1).await?;
    let (alice, bob) = (&world.alice, &world.bob);
    let of_alice = world
        .sign_in_choosing(alice, &["whoami", "of_alice"])
        .await?;
    let of_bob = world.sign_in_choosing(bob, &["whoami", "of_bob"]).await?;
    let names = async |token: &str| {
        let list = message(1, "tools/list", &json!({}));
        let listed = mcp::response(&mcp::send(&world.url(), token, &list).await?)?;
        let tools = listed["result"]["tools"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let names = tools.iter().filter_map(|tool| tool["name"].as_str());
        anyhow::Ok(names.map(str::to_owned).collect::<Vec<_>>())
    };
    for _ in 0..2 {
        assert_eq!(names(&of_alice).await?, ["whoami", "of_alice"]);
        assert_eq!(names(&of_bob).await?, ["whoami", "of_bob"]);
    }
    let own = mcp::call(2, "of_alice", &json!({}));
    let answer = mcp::response(&mcp::send(&world.url(), &of_alice, &own).await?)?;
    assert_eq!(text(&answer), "alice");
    // Another account of hers shows other tools at once.
    connect(&world, alice, &key("alison")).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(names(&of_alice).await?, ["whoami"]);
    let answer = mcp::response(&mcp::send(&world.url(), &of_alice, &own).await?)?;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(names(&of_bob).await?, ["whoami", "of_bob"]);
    Ok(())
}

/// A client of 2026-07-28 in front of a server with sessions: each account has its own, also where clients
/// are the same in all that they say of themselves.
#[tokio::test]
async fn a_session_that_the_gateway_holds_is_one_accounts() -> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    let ask = async |token: &str| {
        let call = mcp::stateless_message(1, "tools/call", &json!({"name": "whoami"}));
        let reply = http::send(mcp::post_stateless(&world.url(), token, &call)).await?;
        anyhow::Ok(text(&mcp::response(&reply)?).to_owned())
    };
    for _ in 0..3 {
        assert_eq!(ask(&alice).await?, "alice");
        assert_eq!(ask(&bob).await?, "bob");
    }
    connect(&world, &world.alice, &key("alison")).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&alice).await?, "alison");
    assert_eq!(ask(&bob).await?, "bob");
    Ok(())
}

/// A server with sessions wants one: that of a client which could not begin it then is begun later.
#[tokio::test]
async fn a_session_that_began_without_an_account_goes_on_with_it() -> Result<()> {
    let world = World::start(1).await?;
    world.backend.play(|request| {
        let is_within = request.header("mcp-session-id").is_some();
        let is_begun = is_within || request.json()["method"] == "initialize";
        if caller(request).is_some() && request.method == "POST" && !is_begun {
            return Answer::json(400, &json!({"error": "no session"}));
        }
        answer(request)
    });
    let alice = world.sign_in_without(&world.alice).await?;
    let session = mcp::open_session(&world.url(), &alice).await?;
    let ask = async |body: &serde_json::Value| {
        let request = mcp::post(&world.url(), &alice, body);
        http::send(request.header("Mcp-Session-Id", &session)).await
    };
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(ask(&told).await?.status, 202);
    assert_eq!(
        mcp::response(&ask(&whoami(1)).await?)?["result"]["isError"],
        true
    );
    connect(&world, &world.alice, &key("alice")).await?;
    let answer = mcp::response(&ask(&whoami(2)).await?)?;
    assert_eq!(text(&answer), "alice", "{answer}");
    let listed = mcp::response(&ask(&message(3, "tools/list", &json!({}))).await?)?;
    assert_eq!(listed["result"]["tools"][1]["name"], "of_alice");
    assert_eq!(ask(&told).await?.status, 202);
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    let stolen = mcp::post(&world.url(), &bob, &whoami(4)).header("Mcp-Session-Id", &session);
    assert_eq!(http::send(stolen).await?.status, 404);
    Ok(())
}
