//! Accounts whose credentials are renewed: for a crowd of calls once, after the backend's 401 once, and what
//! calls are told where they are not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::StoreKind;
use tests::gateway::Owner;
use tests::http::{self, Reply};
use tests::mcp;
use tests::oauth::OAuthClient;
use tests::own_accounts::{link, text};
use tests::recorder::Answer;
use tests::scripted_mcp;

use crate::accounts::Pair;
use crate::accounts::renewal::World;

/// A second gateway of ours, and a person who has connected an account and allowed an app: its token here.
async fn connected() -> Result<(Pair, String)> {
    let pair = Pair::start("kind = \"oauth\"").await?;
    let alice = Owner::alice();
    let (mut browser, page) = pair.logged_in(&alice, "/connect/far").await?;
    pair.connect(&mut browser, &page, &alice, "Allow").await?;
    let client = OAuthClient::register(&pair.near.origin(), "Notes").await?;
    let request = client.authorization();
    let callback = client.walk(&mut browser, &request, &alice, "Allow").await?;
    let reply = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    let token = reply.json()["access_token"].as_str().map(str::to_owned);
    Ok((pair, token.with_context(|| reply.text.clone())?))
}

pub(super) fn echo(id: u64) -> Value {
    mcp::call(id, "echo", &json!({"said": id}))
}

async fn call(pair: &Pair, token: &str, id: u64) -> Result<Reply> {
    mcp::send(&pair.near.url("/mcp"), token, &echo(id)).await
}

#[tokio::test]
async fn the_app_s_token_stays_here_and_the_other_side_gets_its_own() -> Result<()> {
    let (pair, token) = connected().await?;
    pair.far.backend.take_requests();
    let answer = mcp::response(&call(&pair, &token, 1).await?)?;
    assert!(text(&answer).contains("said"), "{answer}");
    let calls = pair.far.backend.requests();
    let called = calls
        .iter()
        .find(|call| call.json()["method"] == "tools/call");
    let called = called.context("a call")?;
    assert_eq!(called.header("x-forwarded-user"), Some("alice"));
    assert!(!format!("{calls:?}").contains(&token));
    Ok(())
}

#[tokio::test]
async fn what_is_revoked_there_is_connected_again_and_not_asked_for_over_and_over() -> Result<()> {
    let (pair, token) = connected().await?;
    assert_eq!(call(&pair, &token, 1).await?.status, 200);
    let mut there = tests::browser::Browser::default();
    let page = there
        .visit(&pair.far.gateway.url("/account").parse()?)
        .await?;
    let alice = Owner::alice();
    let page = there.log_in(&page, &alice.name, &alice.password).await?;
    let form = page.form_with_button("Revoke")?.press("Revoke")?;
    there.submit(&form).await?;
    for id in 2..5 {
        let reply = call(&pair, &token, id).await?;
        assert_eq!(reply.header("www-authenticate"), "", "its challenge");
        let answer = mcp::response(&reply)?;
        assert!(text(&answer).contains("connected again"), "{answer}");
        assert!(link(text(&answer)).is_some(), "{answer}");
    }
    // The audit log is written beside the calls.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let audit = std::fs::read_to_string(pair.near.folder().join("audit.jsonl"))?;
    let lapsed = audit
        .lines()
        .filter(|line| line.contains("to be connected again"));
    assert_eq!(lapsed.count(), 1, "{audit}");
    Ok(())
}

/// An authorization server whose tokens last so many seconds, and a person who has connected an account:
/// the token of an app.
pub(crate) async fn at_server(store: StoreKind, lasts: u64) -> Result<(World, String)> {
    let world = World::start(store, lasts).await?;
    let (mut browser, page) = world.logged_in(&world.fixture.gateway).await?;
    world.connect(&mut browser, &page).await?;
    let client = world.fixture.client("Notes").await?;
    let request = client.authorization();
    let alice = Owner::alice();
    let callback = client.walk(&mut browser, &request, &alice, "Allow").await?;
    let reply = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    let token = reply.json()["access_token"].as_str().map(str::to_owned);
    Ok((world, token.with_context(|| reply.text.clone())?))
}

#[tokio::test]
async fn five_hundred_calls_at_the_end_of_a_token_on_two_replicas_cause_one_renewal() -> Result<()>
{
    let (world, token) = at_server(StoreKind::Redis, 12).await?;
    let config = std::fs::read_to_string(world.fixture.gateway.folder().join("gateway.toml"))?;
    let at = config.find("[backend.account]").context("it is there")?;
    let account = config[at..].to_owned();
    let replica = world.fixture.replica(|setup| setup.more(&account)).await?;
    let host = world.fixture.gateway.issuer().replace("http://", "");
    let before = world.server().renewals;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut running = tokio::task::JoinSet::new();
    for id in 0..500 {
        let gateway = if id % 2 == 0 {
            &world.fixture.gateway
        } else {
            &replica
        };
        let request = mcp::post(&gateway.url("/mcp"), &token, &echo(id)).header("Host", &host);
        running.spawn(async move { http::send(request).await });
    }
    while let Some(reply) = running.join_next().await {
        let answer = mcp::response(&reply??)?;
        assert!(text(&answer).contains("said"), "{answer}");
    }
    assert_eq!(world.server().renewals - before, 1);
    Ok(())
}

#[tokio::test]
async fn what_the_backend_refuses_is_renewed_once_and_sent_once_more() -> Result<()> {
    let (world, token) = at_server(StoreKind::Embedded, 3600).await?;
    let url = world.fixture.url("/mcp");
    let refuses = |refused: &'static str| {
        world.fixture.backend.play(move |request| {
            let shown = request.header("authorization").unwrap_or_default();
            if !shown.starts_with("Bearer at~") || shown == refused || refused.is_empty() {
                return Answer::json(401, &json!({})).with("WWW-Authenticate", "Bearer");
            }
            scripted_mcp::answer(request)
        });
        world.fixture.backend.take_requests();
    };
    let calls = || {
        let requests = world.fixture.backend.requests();
        requests
            .iter()
            .filter(|it| it.json()["method"] == "tools/call")
            .count()
    };
    refuses("Bearer at~1");
    let before = world.server().renewals;
    let answer = mcp::response(&mcp::send(&url, &token, &echo(1)).await?)?;
    assert!(text(&answer).contains("said"), "{answer}");
    assert_eq!((world.server().renewals - before, calls()), (1, 2));
    let answer = mcp::response(&mcp::send(&url, &token, &echo(2)).await?)?;
    assert!(text(&answer).contains("said"), "{answer}");
    assert_eq!((world.server().renewals - before, calls()), (1, 3));
    // What is refused whatever it is is not renewed over and over.
    refuses("");
    for id in 3..6 {
        let answer = mcp::response(&mcp::send(&url, &token, &echo(id)).await?)?;
        assert!(text(&answer).contains("connected again"), "{answer}");
    }
    assert!(world.server().renewals - before <= 2);
    assert!(calls() <= 2, "{} calls", calls());
    Ok(())
}

#[tokio::test]
async fn while_its_server_is_away_past_its_end_a_call_is_told_to_come_again() -> Result<()> {
    let (world, token) = at_server(StoreKind::Embedded, 12).await?;
    world.server().only = Some(Answer::json(503, &json!({})));
    tokio::time::sleep(Duration::from_secs(12)).await;
    let reply = mcp::send(&world.fixture.url("/mcp"), &token, &echo(7)).await?;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(reply.header("retry-after").parse::<u64>()? > 0);
    let answer = reply.json();
    assert_eq!(answer["id"], 7, "{answer}");
    assert_eq!(answer["error"]["data"]["reason"], "account_unavailable");
    world.server().only = None;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let reply = mcp::send(&world.fixture.url("/mcp"), &token, &echo(8)).await?;
        if reply.status == 200 {
            let answer = mcp::response(&reply)?;
            assert!(text(&answer).contains("said"), "{answer}");
            return Ok(());
        }
        assert!(Instant::now() < until, "{}", reply.text);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
