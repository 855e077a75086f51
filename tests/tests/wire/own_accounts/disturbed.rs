//! Renewals that somebody or something comes between, and what a backend's authorization server can't bring
//! about by what it says.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::http;
use tests::mcp;
use tests::own_accounts::text;
use tests::recorder::{Answer, Recorder};
use tests::scripted_mcp;

use super::renewed::{at_server, echo};
use crate::accounts::renewal::World;

/// The backend takes the first token no more.
fn first_token_is_over(world: &World) {
    world.fixture.backend.play(|request| {
        if request.json()["id"] == 99 {
            let challenge = "Bearer error=\"insufficient_scope\", scope=\"repo\"";
            return Answer::json(403, &json!({})).with("WWW-Authenticate", challenge);
        }
        match request.header("authorization") {
            Some("Bearer at~2") => scripted_mcp::answer(request),
            _ => Answer::json(401, &json!({})).with("WWW-Authenticate", "Bearer"),
        }
    });
}

#[tokio::test]
async fn a_renewal_comes_to_its_end_though_whoever_waited_for_it_has_gone() -> Result<()> {
    let (world, token) = at_server(StoreKind::Embedded, 3600).await?;
    let url = world.fixture.url("/mcp");
    first_token_is_over(&world);
    world.server().thinks = Duration::from_secs(2);
    let call = tokio::spawn({
        let (url, token) = (url.clone(), token.clone());
        async move { mcp::send(&url, &token, &echo(1)).await }
    });
    world.await_renewals(1).await?;
    // Its connection goes with it.
    call.abort();
    let _ = call.await;
    let answer = mcp::response(&mcp::send(&url, &token, &echo(2)).await?)?;
    assert!(text(&answer).contains("said"), "{answer}");
    assert_eq!(world.server().renewals, 1);
    let states = world.states().await?;
    assert_eq!(states[0]["state"], "connected", "{states:?}");
    Ok(())
}

#[tokio::test]
async fn what_else_changes_of_an_account_while_it_is_renewed_does_not_take_it_back() -> Result<()> {
    let (world, token) = at_server(StoreKind::Embedded, 3600).await?;
    let url = world.fixture.url("/mcp");
    first_token_is_over(&world);
    world.server().thinks = Duration::from_secs(2);
    let call = tokio::spawn({
        let (url, token) = (url.clone(), token.clone());
        async move { mcp::send(&url, &token, &echo(1)).await }
    });
    world.await_renewals(1).await?;
    let wanting = mcp::response(&mcp::send(&url, &token, &echo(99)).await?)?;
    assert!(text(&wanting).contains("may not do this"), "{wanting}");
    let answer = mcp::response(&call.await??)?;
    assert!(text(&answer).contains("said"), "{answer}");
    assert_eq!(world.server().renewals, 1);
    assert_eq!(world.server().revoked, 0);
    let answer = mcp::response(&mcp::send(&url, &token, &echo(3)).await?)?;
    assert!(text(&answer).contains("said"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn an_account_that_is_removed_while_it_is_renewed_stays_removed_and_what_comes_is_taken_back()
-> Result<()> {
    let (world, token) = at_server(StoreKind::Embedded, 3600).await?;
    let url = world.fixture.url("/mcp");
    first_token_is_over(&world);
    world.server().thinks = Duration::from_secs(2);
    let call = tokio::spawn({
        let (url, token) = (url.clone(), token.clone());
        async move { mcp::send(&url, &token, &echo(1)).await }
    });
    world.await_renewals(1).await?;
    let words = ["accounts", "rm", "alice", "main"];
    tests::operator::done(&world.fixture.gateway, &words, "").await?;
    let answer = mcp::response(&call.await??)?;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(world.states().await?.is_empty());
    // Both the token before and the one that came: each with its refresh token.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while world.server().revoked < 4 {
        assert!(
            std::time::Instant::now() < until,
            "{}",
            world.server().revoked
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn of_what_a_server_says_of_a_refusal_its_code_alone_is_logged() -> Result<()> {
    let (world, token) = at_server(StoreKind::Embedded, 3600).await?;
    first_token_is_over(&world);
    let said = json!({"error": "invalid_grant", "error_description": "no such token: rt~1"});
    world.server().only = Some(Answer::json(400, &said));
    let reply = mcp::send(&world.fixture.url("/mcp"), &token, &echo(1)).await?;
    let answer = mcp::response(&reply)?;
    assert!(text(&answer).contains("connected again"), "{answer}");
    let gateway = &world.fixture.gateway;
    gateway
        .logged("the token endpoint said: invalid_grant")
        .await?;
    let printed = gateway.log().join("\n");
    assert!(!printed.contains("rt~1") && !printed.contains("no such token"));
    Ok(())
}

/// Nobody can connect what is exchanged, and another exchange gives nothing else.
#[tokio::test]
async fn where_what_was_exchanged_is_refused_nobody_is_led_to_connect_it() -> Result<()> {
    let server = Recorder::start(|request| {
        let number = request.body.len();
        let token = json!({"access_token": format!("for-{number}-{:?}", std::time::Instant::now())
            .replace(|c: char| !c.is_ascii_alphanumeric(), ""), "expires_in": 3600});
        Answer::json(200, &token)
    })
    .await?;
    let account = format!(
        "[backend.account]\nkind = \"exchange\"\ntoken_endpoint = \"{}/token\"\n\
         client_id = \"gateway\"\nclient_secret = \"s3cret\"\n",
        server.url()
    );
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&account)).await?;
    let (_, token) = fixture.signed_in().await?;
    fixture
        .backend
        .play(|_| Answer::json(401, &json!({})).with("WWW-Authenticate", "Bearer"));
    for id in 0..5 {
        let reply = mcp::send(&fixture.url("/mcp"), &token, &echo(id)).await?;
        assert_eq!(reply.status, 503, "{}", reply.text);
        assert!(!reply.header("retry-after").is_empty());
        assert!(!reply.text.contains("/connect"), "{}", reply.text);
    }
    // One for the pages, and one more where that was no fresh one.
    assert!(
        server.requests().len() <= 2,
        "{} exchanges",
        server.requests().len()
    );
    let keys = http::get(&fixture.url("/connect/main/client.json")).await?;
    assert_eq!(keys.status, 404, "nobody connects it");
    Ok(())
}
