//! What translation between revisions of MCP holds at once, and whose habits count: limits that are
//! those of passing through or are named, and nothing that one program learns from another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{self, LegacySession, call};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_revisions;

const MIB: usize = 1024 * 1024;

/// A gateway that knows what its one backend speaks.
async fn gateway(
    families: &str,
    script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
) -> Result<(Gateway, Recorder)> {
    let backend = Recorder::start(script).await?;
    let setup = Setup {
        only_more: true,
        ..Setup::default()
    };
    let gateway = Gateway::start(setup.more(&format!(
        "[[backend]]\nname = \"main\"\npath = \"/\"\nurl = \"{}\"\neras = [\"{families}\"]\n",
        backend.url()
    )))
    .await?;
    Ok((gateway, backend))
}

/// Calls are answered once `together` of them are there, or after a while; other requests at once.
fn once_together(
    together: usize,
    script: fn(&Recorded) -> Answer,
    at_once: Arc<AtomicUsize>,
) -> impl Fn(&Recorded) -> Answer + Send + Sync + 'static {
    move |request| {
        let message = request.json();
        if message["method"] != "tools/call" {
            return script(request);
        }
        let is_last = at_once.fetch_add(1, Ordering::SeqCst) + 1 >= together;
        let result =
            json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]});
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        let wait = Duration::from_secs(if is_last { 0 } else { 5 });
        Answer::Steps(
            200,
            vec![("Content-Type".into(), "application/json".into())],
            vec![Step::Wait(wait), Step::Send(answer.to_string())],
        )
    }
}

async fn signed_in(gateway: &Gateway) -> Result<String> {
    let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
    client.sign_in(&Owner::alice()).await
}

/// 64 were the most, and the backend was blamed for the others.
#[tokio::test]
async fn two_hundred_calls_run_at_once_in_a_translated_session() -> Result<()> {
    let count = Arc::new(AtomicUsize::new(0));
    let script = once_together(200, scripted_revisions::stateless, Arc::clone(&count));
    let (gateway, _backend) = gateway("2026-07-28", script).await?;
    let token = signed_in(&gateway).await?;
    let mcp = gateway.url("/mcp");
    let session = mcp::open_session(&mcp, &token).await?;
    let mut calls = tokio::task::JoinSet::new();
    for id in 0..200 {
        let request = mcp::post(&mcp, &token, &call(id, "look", &json!({})));
        calls.spawn(http::send(request.header("Mcp-Session-Id", &session)));
    }
    while let Some(reply) = calls.join_next().await {
        let reply = reply??;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.text.contains("done"), "{}", reply.text);
    }
    assert_eq!(count.load(Ordering::SeqCst), 200);
    Ok(())
}

#[tokio::test]
async fn two_hundred_calls_run_at_once_over_a_stream_that_the_gateway_holds() -> Result<()> {
    let count = Arc::new(AtomicUsize::new(0));
    let script = once_together(200, scripted_revisions::stateless, Arc::clone(&count));
    let (gateway, _backend) = gateway("2026-07-28", script).await?;
    let token = signed_in(&gateway).await?;
    let mut legacy = LegacySession::open(&gateway.url("/sse"), &token).await?;
    legacy.request(&mcp::initialize()).await?;
    for id in 100..300 {
        let reply = legacy.post(&call(id, "look", &json!({}))).await?;
        assert_eq!(reply.status, 202, "{}", reply.text);
    }
    for _ in 0..200 {
        let (_, answer) = legacy.stream.event(Duration::from_secs(30)).await?;
        assert!(answer.contains("done"), "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn three_hundred_calls_of_a_stateless_client_share_a_held_session() -> Result<()> {
    let count = Arc::new(AtomicUsize::new(0));
    let script = once_together(300, scripted_revisions::sessions, Arc::clone(&count));
    let (gateway, _backend) = gateway("2025", script).await?;
    let token = signed_in(&gateway).await?;
    let mut calls = tokio::task::JoinSet::new();
    for id in 0..300 {
        let body =
            mcp::stateless_message(id, "tools/call", &json!({"name": "look", "arguments": {}}));
        calls.spawn(http::send(stateless(&gateway, &token, &body)));
    }
    while let Some(reply) = calls.join_next().await {
        let reply = reply??;
        assert!(
            reply.text.contains("done"),
            "{} {}",
            reply.status,
            reply.text
        );
    }
    Ok(())
}

/// What is held of an answer to be translated is on the budget: one of the largest size always has
/// room, two of one grant at once need not.
#[tokio::test]
async fn translated_answers_are_on_the_budget_for_bytes_in_flight() -> Result<()> {
    let script = |request: &Recorded| {
        let message = request.json();
        if message["method"] != "tools/call" {
            return scripted_revisions::stateless(request);
        }
        let front = format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","content":[{{"type":"text","text":""#,
            message["id"]
        );
        let seconds = message["params"]["arguments"]["wait"].as_u64();
        Answer::Steps(
            200,
            vec![("Content-Type".into(), "application/json".into())],
            vec![
                Step::Send(front + &"x".repeat(40 * MIB)),
                Step::Wait(Duration::from_secs(seconds.unwrap_or_default())),
                Step::Send("\"}]}}".into()),
            ],
        )
    };
    let (gateway, _backend) = gateway("2026-07-28", script).await?;
    let token = signed_in(&gateway).await?;
    let mcp = gateway.url("/mcp");
    let session = mcp::open_session(&mcp, &token).await?;
    let ask = |id: u64, wait: u64| {
        let request = mcp::post(&mcp, &token, &call(id, "look", &json!({"wait": wait})));
        http::send(request.header("Mcp-Session-Id", &session))
    };
    let first = tokio::spawn(ask(1, 8));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let second = ask(2, 0).await?;
    let second = second.json();
    assert_eq!(second["error"]["code"], -32603, "{second}");
    let sentence = second["error"]["message"].as_str().unwrap_or_default();
    assert!(sentence.contains("limits.in_flight_per_grant"), "{second}");
    let first = first.await??;
    assert!(first.text.len() > 40 * MIB, "{}", first.text.len());
    // It was given back.
    let third = ask(3, 0).await?;
    assert!(third.text.len() > 40 * MIB, "{}", third.text.len());
    gateway.logged("in_flight_full").await?;
    let log = gateway.log().join("\n");
    assert!(!log.contains("upstream_failed"), "{log}");
    Ok(())
}

/// Larger than 16 MiB was refused where it was translated, and passed where it was not. What is too
/// large is refused as what it is.
#[tokio::test]
async fn large_answers_are_translated_and_too_large_ones_named() -> Result<()> {
    let script = |request: &Recorded| {
        let message = request.json();
        let size = message["params"]["arguments"]["mib"].as_u64();
        match size {
            Some(size) => {
                let text = "x".repeat(usize::try_from(size).unwrap_or_default() * MIB);
                let result =
                    json!({"resultType": "complete", "content": [{"type": "text", "text": text}]});
                Answer::json(
                    200,
                    &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
                )
            }
            None => scripted_revisions::stateless(request),
        }
    };
    let (gateway, _backend) = gateway("2026-07-28", script).await?;
    let token = signed_in(&gateway).await?;
    let mcp = gateway.url("/mcp");
    let session = mcp::open_session(&mcp, &token).await?;
    let ask = async |id: u64, mib: u64| {
        let body = call(id, "look", &json!({"mib": mib}));
        let request = mcp::post(&mcp, &token, &body);
        http::send(request.header("Mcp-Session-Id", &session)).await
    };
    for (id, mib) in [(1, 17), (2, 40)] {
        let reply = ask(id, mib).await?;
        assert_eq!(reply.status, 200);
        assert!(reply.text.len() > usize::try_from(mib)? * MIB);
    }
    let refused = ask(3, 65).await?.json();
    let sentence = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(sentence.contains("64 MiB"), "{refused}");
    assert!(sentence.contains("gateway"), "{refused}");
    gateway.logged("translation_limit").await?;
    let log = gateway.log().join("\n");
    assert!(!log.contains("upstream_failed"), "{log}");
    Ok(())
}

fn stateless(gateway: &Gateway, token: &str, body: &Value) -> RequestBuilder {
    mcp::post_stateless(&gateway.url("/mcp"), token, body)
}

/// Two programs of one client id, as those of one metadata document are: one falls back to
/// `initialize`, the other knows nothing older. What the first does is nothing to the second.
#[tokio::test]
async fn programs_of_one_client_id_do_not_learn_from_each_other() -> Result<()> {
    let (gateway, _backend) = gateway("2025", scripted_revisions::sessions).await?;
    let client = OAuthClient::register(&gateway.origin(), "Two programs").await?;
    let owner = Owner::alice();
    let (old, new) = (client.sign_in(&owner).await?, client.sign_in(&owner).await?);
    let discover = mcp::stateless_message(1, "server/discover", &json!({}));
    // The first falls back, and again.
    for _ in 0..2 {
        let refused = http::send(stateless(&gateway, &old, &discover)).await?;
        assert_eq!(refused.status, 400, "{}", refused.text);
        let hello = mcp::send(&gateway.url("/mcp"), &old, &mcp::initialize()).await?;
        assert_eq!(hello.status, 200, "{}", hello.text);
    }
    // The second is refused once, and answered when it comes again, however often the first asks.
    let refused = http::send(stateless(&gateway, &new, &discover)).await?;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        mcp::send(&gateway.url("/mcp"), &old, &mcp::initialize()).await?;
        let answered = http::send(stateless(&gateway, &new, &discover)).await?;
        if answered.status == 200 {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "refused for ever: {}",
            answered.text
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Nor does the first learn that: it still may fall back.
    let refused = http::send(stateless(&gateway, &old, &discover)).await?;
    assert_eq!(refused.status, 400, "{}", refused.text);
    Ok(())
}

/// Each has a session of its own with the backend.
#[tokio::test]
async fn programs_of_one_client_id_share_no_session_with_the_backend() -> Result<()> {
    let (gateway, backend) = gateway("2025", scripted_revisions::sessions).await?;
    let client = OAuthClient::register(&gateway.origin(), "Two programs").await?;
    let owner = Owner::alice();
    let body = mcp::stateless_message(1, "tools/call", &json!({"name": "look", "arguments": {}}));
    for _ in 0..2 {
        let token = client.sign_in(&owner).await?;
        for _ in 0..2 {
            let reply = http::send(stateless(&gateway, &token, &body)).await?;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    }
    let hellos = backend.requests();
    let hellos = hellos.iter().filter(|request| {
        request.header("x-forwarded-grant").is_some() && request.json()["method"] == "initialize"
    });
    let grants: Vec<_> = hellos
        .map(|request| request.header("x-forwarded-grant").map(str::to_owned))
        .collect();
    let [Some(one), Some(two)] = &grants[..] else {
        anyhow::bail!("{grants:?}");
    };
    assert_ne!(one, two);
    backend.requests().first().context("nothing arrived")?;
    Ok(())
}
