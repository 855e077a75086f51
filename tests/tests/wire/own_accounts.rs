//! Calls with everybody's own account at the backend: each carries the caller's credential, nothing
//! crosses, and whoever has none is told where to connect one.

mod apart;
mod disturbed;
mod refused;
mod renewed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http;
use tests::mcp::{self, message};
use tests::operator;
use tests::own_accounts::{
    ACCOUNT, World, answer, authorize, caller, connect, key, link, remove, text, whoami,
};
use tests::recorder::{Answer, Recorded};
use tests::scripted_mcp;
use tests::sse::EventStream;

#[tokio::test]
async fn each_call_carries_the_credential_of_who_calls_and_nothing_of_that_name_from_a_client()
-> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    world.backend.take_requests();
    for (token, name) in [(&alice, "alice"), (&bob, "bob"), (&alice, "alice")] {
        for spelling in ["x-api-key", "X_Api_Key"] {
            let forged =
                mcp::post(&world.url(), token, &whoami(1)).header(spelling, key("mallory"));
            let answer = mcp::response(&http::send(forged).await?)?;
            assert_eq!(text(&answer), name);
        }
        let listed = mcp::send(&world.url(), token, &message(2, "tools/list", &json!({}))).await?;
        let listed = mcp::response(&listed)?;
        assert_eq!(listed["result"]["tools"][1]["name"], format!("of_{name}"));
    }
    for request in world.backend.requests() {
        assert_eq!(request.header_values("x-api-key").len(), 1);
        assert!(request.header_values("x_api_key").is_empty());
        assert!(
            request.header("authorization").is_none(),
            "the app's own token"
        );
        assert!(!format!("{request:?}").contains("mallory"));
    }
    Ok(())
}

async fn interleaved(world: &World, rounds: u64) -> Result<()> {
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    world.backend.take_requests();
    // Few clients, each of which speaks for both in turn on its kept connections: as a proxy does.
    let tokens = Arc::new([("alice", alice), ("bob", bob)]);
    let host = world.gateway().issuer().replace("http://", "");
    let urls: Vec<String> = world
        .gateways
        .iter()
        .map(|gateway| gateway.url("/mcp"))
        .collect();
    let mut running = tokio::task::JoinSet::new();
    for lane in 0..8_u64 {
        let (tokens, host, urls) = (Arc::clone(&tokens), host.clone(), urls.clone());
        running.spawn(async move {
            let client = http::client();
            for round in 0..rounds {
                let (name, token) = &tokens[usize::from((lane + round) % 2 == 1)];
                let url = &urls[(lane + round / 2) as usize % urls.len()];
                let id = lane * rounds + round;
                let request = client
                    .post(url)
                    .bearer_auth(token)
                    .header("Host", &host)
                    .header("Accept", "application/json, text/event-stream")
                    .header("Content-Type", "application/json")
                    .body(whoami(id).to_string());
                let answer = mcp::response(&http::send(request).await?)?;
                anyhow::ensure!(text(&answer) == *name, "{name} was told {answer}");
                anyhow::ensure!(answer["id"] == id, "{answer}");
            }
            Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let calls = world.backend.requests();
    let callers: BTreeSet<String> = calls.iter().filter_map(caller).collect();
    anyhow::ensure!(callers.iter().eq(["alice", "bob"]), "{callers:?} called");
    Ok(())
}

#[tokio::test]
async fn interleaved_calls_of_two_people_over_kept_connections_of_two_replicas_never_mix()
-> Result<()> {
    let world = World::start(2).await?;
    interleaved(&world, 125).await
}

#[tokio::test]
async fn ten_thousand_interleaved_calls_never_mix() -> Result<()> {
    let world = World::start(2).await?;
    interleaved(&world, 1250).await
}

#[tokio::test]
async fn without_an_account_a_session_begins_and_a_call_is_answered_with_an_address() -> Result<()>
{
    let world = World::start(1).await?;
    let alice = world.sign_in_without(&world.alice).await?;
    world.backend.take_requests();
    let hello = mcp::response(&mcp::send(&world.url(), &alice, &mcp::initialize()).await?)?;
    assert_eq!(hello["result"]["serverInfo"]["name"], "mine");
    let listed = mcp::send(&world.url(), &alice, &message(1, "tools/list", &json!({}))).await?;
    let listed = mcp::response(&listed)?;
    assert_eq!(
        listed["result"]["tools"][0]["name"],
        "gateway_connect_account"
    );
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(mcp::send(&world.url(), &alice, &told).await?.status, 202);
    let reply = mcp::send(&world.url(), &alice, &whoami(2)).await?;
    assert_eq!(reply.header("www-authenticate"), "");
    let answer = mcp::response(&reply)?;
    assert_eq!(answer["result"]["isError"], true);
    let words = text(&answer).to_owned();
    let link = link(&words).with_context(|| words.clone())?;
    assert!(link.starts_with(&world.gateway().issuer()), "{words}");
    assert!(!link.contains("alice") && !link.contains("mine"), "{link}");
    let nobody = world
        .backend
        .requests()
        .iter()
        .all(|request| caller(request).is_none());
    assert!(nobody, "nothing was sent in her name");
    // The address leads her, and nobody else, to the page where she connects it; the same call works then.
    let mut browser = Browser::default();
    let page = browser.visit(&link.parse()?).await?;
    let page = browser
        .log_in(&page, &world.alice.name, &world.alice.password)
        .await?;
    let mut form = page.form_with_button("Connect")?.press("Connect")?;
    form.set("key", &key("alice"));
    browser.submit(&form).await?;
    let answer = mcp::response(&mcp::send(&world.url(), &alice, &whoami(3)).await?)?;
    assert_eq!(text(&answer), "alice");
    Ok(())
}

#[tokio::test]
async fn a_client_that_opens_addresses_is_asked_to_in_its_own_revision() -> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let mut hello = mcp::initialize();
    hello["params"]["capabilities"] = json!({"elicitation": {"form": {}, "url": {}}});
    let hello = mcp::send(&world.url(), &alice, &hello).await?;
    let session = hello.header("mcp-session-id").to_owned();
    let call = || mcp::post(&world.url(), &alice, &whoami(1)).header("Mcp-Session-Id", &session);
    assert_eq!(text(&mcp::response(&http::send(call()).await?)?), "alice");
    remove(&world, &world.alice).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let error = mcp::response(&http::send(call()).await?)?["error"].clone();
    assert_eq!(error["code"], -32042, "{error}");
    let asked = &error["data"]["elicitations"][0];
    assert_eq!(asked["mode"], "url");
    assert!(asked["elicitationId"].is_string());
    assert!(
        link(asked["url"].as_str().unwrap_or_default()).is_some(),
        "{error}"
    );

    let capabilities =
        json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}});
    let params = json!({"name": "whoami", "arguments": {}, "_meta": capabilities});
    let modern = mcp::stateless_message(2, "tools/call", &params);
    let reply = http::send(mcp::post_stateless(&world.url(), &alice, &modern)).await?;
    let result = mcp::response(&reply)?["result"].clone();
    assert_eq!(result["resultType"], "input_required", "{result}");
    let asked = &result["inputRequests"]["gateway_connect_account"];
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"]["mode"], "url");
    // One that does not is told in a sentence.
    let modern = mcp::stateless_message(3, "tools/call", &json!({"name": "whoami"}));
    let reply = http::send(mcp::post_stateless(&world.url(), &alice, &modern)).await?;
    assert_eq!(mcp::response(&reply)?["result"]["isError"], true);
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_backend_takes_no_more_is_connected_again_and_its_challenge_goes_nowhere()
-> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    world.backend.play(|request| match caller(request) {
        Some(name) if name == "alice" => {
            let challenge = "Bearer realm=\"elsewhere\"";
            Answer::json(401, &json!({}))
                .with("WWW-Authenticate", challenge)
                .with("X-Challenge", "no")
        }
        _ => answer(request),
    });
    world.backend.take_requests();
    for _ in 0..3 {
        let reply = mcp::send(&world.url(), &alice, &whoami(1)).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.header("www-authenticate"), "");
        assert!(!reply.text.contains("elsewhere") && reply.header("x-challenge").is_empty());
        assert!(
            text(&mcp::response(&reply)?).contains("connected again"),
            "{}",
            reply.text
        );
    }
    let tried = world.backend.requests();
    let is_call =
        |request: &&Recorded| caller(request).is_some() && request.json()["method"] == "tools/call";
    let tried = tried.iter().filter(is_call);
    assert!(
        tried.count() == 1,
        "a key that is refused is not tried again and again"
    );
    connect(&world, &world.alice, &key("alison")).await?;
    let answer = mcp::response(&mcp::send(&world.url(), &alice, &whoami(2)).await?)?;
    assert_eq!(text(&answer), "alison");
    Ok(())
}

#[tokio::test]
async fn a_larger_scope_is_asked_for_at_the_address_in_the_answer() -> Result<()> {
    let world = World::start(1).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    world.backend.play(|request| {
        if request.json()["method"] == "tools/call" {
            let challenge = "Bearer error=\"insufficient_scope\", scope=\"repo\"";
            return Answer::json(403, &json!({})).with("WWW-Authenticate", challenge);
        }
        answer(request)
    });
    let reply = mcp::send(&world.url(), &alice, &whoami(1)).await?;
    assert_eq!(reply.header("www-authenticate"), "");
    let answer = mcp::response(&reply)?;
    assert_eq!(answer["result"]["isError"], true);
    assert!(text(&answer).contains("may not do this") && link(text(&answer)).is_some());
    Ok(())
}

/// On the replica that was not asked to: the next call within a second, streams within five.
#[tokio::test]
async fn an_account_that_is_removed_ends_calls_and_streams_on_all_replicas() -> Result<()> {
    let world = World::start(2).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    let host = world.gateway().issuer().replace("http://", "");
    let stream = |replica: usize, token: &str| {
        let request = http::client()
            .get(world.gateways[replica].url("/mcp"))
            .bearer_auth(token);
        EventStream::open(
            request
                .header("Host", &host)
                .header("Accept", "text/event-stream"),
        )
    };
    let (mut first, mut second) = (stream(0, &alice).await?, stream(1, &alice).await?);
    let mut kept = stream(1, &bob).await?;
    world
        .backend
        .await_streams(3, Duration::from_secs(5))
        .await?;
    assert_eq!(
        text(&mcp::response(
            &http::send(world.post(1, &alice, &whoami(1))).await?
        )?),
        "alice"
    );
    remove(&world, &world.alice).await?;
    let removed = Instant::now();
    loop {
        let reply = http::send(world.post(1, &alice, &whoami(2))).await?;
        if reply.text.contains("isError") {
            break;
        }
        assert!(
            removed.elapsed() < Duration::from_secs(10),
            "{}",
            reply.text
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        first.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    assert!(
        second.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    assert!(removed.elapsed() < Duration::from_secs(5));
    world
        .backend
        .await_streams(1, Duration::from_secs(2))
        .await?;
    assert_eq!(
        text(&mcp::response(
            &http::send(world.post(1, &bob, &whoami(3))).await?
        )?),
        "bob"
    );
    drop(kept.next(Duration::from_millis(1)).await);
    Ok(())
}

#[tokio::test]
async fn who_is_disabled_keeps_no_account_and_no_stream() -> Result<()> {
    let world = World::start(1).await?;
    let bob = world.sign_in(&world.bob, Some(&key("bob"))).await?;
    let request = http::client().get(world.url()).bearer_auth(&bob);
    let mut stream = EventStream::open(request.header("Accept", "text/event-stream")).await?;
    operator::done(world.gateway(), &["users", "disable", "bob"], "").await?;
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    operator::done(world.gateway(), &["users", "enable", "bob"], "").await?;
    assert!(
        remove(&world, &world.bob).await.is_err(),
        "there is none to remove"
    );
    Ok(())
}

#[tokio::test]
async fn where_it_is_optional_whoever_has_no_account_calls_without() -> Result<()> {
    let account = format!("{ACCOUNT}optional = true\n");
    let world = World::with(1, &account).await?;
    let alice = world.sign_in(&world.alice, Some(&key("alice"))).await?;
    world.backend.play(|request| match caller(request) {
        Some(_) => answer(request),
        None => scripted_mcp::answer(request),
    });
    let bob = world.sign_in(&world.bob, None).await?;
    let called = mcp::call(1, "echo", &json!({"said": "by nobody"}));
    let said = mcp::response(&mcp::send(&world.url(), &bob, &called).await?)?;
    assert!(text(&said).contains("by nobody"), "{said}");
    let said = mcp::response(&mcp::send(&world.url(), &alice, &whoami(2)).await?)?;
    assert_eq!(text(&said), "alice");
    // What wants one nevertheless leads to the address.
    world.backend.play(answer);
    let said = mcp::response(&mcp::send(&world.url(), &bob, &called).await?)?;
    assert!(link(text(&said)).is_some(), "{said}");
    Ok(())
}

/// What is kept and said holds no key: the log, the audit log, the store, the arguments of the process.
#[tokio::test]
async fn a_key_stands_nowhere_in_clear() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Redis, |setup| {
        let backend = setup.backends[0].2.clone();
        Setup {
            backends: Vec::new(),
            only_more: true,
            ..setup
        }
        .more(&format!(
            "[log]\nlevel = \"debug\"\n\n[audit]\nfile = \"audit.log\"\n\n[[backend]]\nname = \"mine\"\npath = \"/\"\nurl = \"{backend}\"\n{ACCOUNT}"
        ))
    })
    .await?;
    fixture.backend.play(answer);
    let client = fixture.client("An app").await?;
    let request = client.authorization();
    let secret = key("alice");
    let code = authorize(
        &mut Browser::default(),
        &request,
        &fixture.owner,
        Some(&secret),
    )
    .await?;
    let reply = client.redeem(&code, &request.pkce.verifier).await?.json();
    let token = reply["access_token"].as_str().context("a token")?;
    let answer = mcp::response(&mcp::send(&fixture.url("/mcp"), token, &whoami(1)).await?)?;
    assert_eq!(text(&answer), "alice");
    let redis = fixture.redis.as_ref().context("a Redis")?;
    let mut seen = fixture.gateway.printed().join("\n");
    fixture.gateway.logged("account_connected").await?;
    seen += &fixture.gateway.log().join("\n");
    let kept = redis.everything().await?;
    // It is all there, her account with it.
    assert!(kept.contains("\"sealed\":\"1."), "{kept}");
    seen += &kept;
    let audit_log = fixture.gateway.folder().join("audit.log");
    seen += &String::from_utf8_lossy(&std::fs::read(&audit_log)?);
    let process = fixture.gateway.process_id().context("it runs")?;
    for file in ["cmdline", "environ"] {
        let path = format!("/proc/{process}/{file}");
        seen += &String::from_utf8_lossy(&std::fs::read(path)?);
    }
    assert!(seen.len() > 1000);
    assert!(!seen.contains(&secret), "it is in the clear");
    Ok(())
}
