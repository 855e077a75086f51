//! Answers of members that are event streams.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::recorder::{Answer, Recorded, Step};
use tests::scripted_revisions;

use super::World;

/// What a member answers, as an event stream that ends, or goes on, after its response.
fn streamed(request: &Recorded, goes_on: bool) -> Answer {
    let answer = scripted_revisions::stateless(request);
    let Answer::Full(200, _, body) = answer else {
        return answer;
    };
    let text = format!(
        "event: message\ndata: {}\n\n",
        String::from_utf8_lossy(&body)
    );
    let mut steps = vec![Step::Send(text)];
    steps.push(if goes_on {
        Step::Live("on".to_owned())
    } else {
        Step::Wait(Duration::from_millis(50))
    });
    Answer::events(steps)
}

/// How the exchanges of a member about some method ended, by the log, once there are so many.
async fn outcomes(world: &World, method: &str, count: usize) -> Result<Vec<Value>> {
    let found = world.gateway.eventually_logged(|log| {
        let ended = ended(log, method);
        (ended.len() >= count).then_some(ended)
    });
    found.await.with_context(|| format!("{count} of {method}"))
}

fn ended(log: &[String], method: &str) -> Vec<Value> {
    let events = log
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| {
            event["event"] == "exchanged"
                && event["backend"] == "mail"
                && event["call"]
                    .as_str()
                    .is_some_and(|call| call.starts_with(method))
        })
        .map(|event| event["outcome"].clone())
        .collect()
}

#[tokio::test]
async fn a_member_that_answers_with_a_stream_has_lost_no_client() -> Result<()> {
    let world = World::start().await?;
    world.mail.play(|request| streamed(request, false));
    let before = ended(&world.gateway.log(), "tools/list").len();
    for _ in 0..3 {
        world.result("tools/list", json!({})).await?;
    }
    let ended = outcomes(&world, "tools/list", before + 3).await?;
    assert_eq!(ended[before..], ["done", "done", "done"]);

    // Nobody waits for the end of one that goes on, and it is broken off.
    world.mail.play(|request| streamed(request, true));
    let begun = tokio::time::Instant::now();
    world.result("tools/list", json!({})).await?;
    // Less than `list_timeout`, which is 5 s.
    assert!(begun.elapsed() < Duration::from_secs(4));
    world.mail.await_streams(0, Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test]
async fn nor_has_one_that_streams_a_resource() -> Result<()> {
    let world = World::start().await?;
    world.mail.play(|request| {
        let message = request.json();
        let result = match message["method"].as_str() {
            Some("resources/list") => json!({
                "resultType": "complete", "ttlMs": 1000, "cacheScope": "private",
                "resources": [{"uri": "mail://inbox", "name": "inbox"}],
            }),
            Some("resources/read") => json!({
                "resultType": "complete",
                "contents": [{"uri": "mail://inbox", "text": "of mail"}],
            }),
            _ => return scripted_revisions::stateless(request),
        };
        let response = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        if message["method"] == "resources/list" {
            return Answer::json(200, &response);
        }
        Answer::events(vec![
            Step::Send(format!("event: message\ndata: {response}\n\n")),
            Step::Wait(Duration::from_millis(300)),
        ])
    });
    for _ in 0..3 {
        let params = json!({"uri": "mail://inbox"});
        let read = world.result("resources/read", params).await?;
        assert_eq!(read["contents"][0]["text"], "of mail");
    }
    let ended = outcomes(&world, "resources/read", 3).await?;
    assert_eq!(ended, ["done", "done", "done"]);
    Ok(())
}
