//! Bytes of requests, of answers and of streams.

use tests::mcp::{post_stateless, stateless_message};
use tests::recorder::{Answer, Recorded};
use tests::scripted_mcp::{self, MCP_STREAM, SESSION};
use tests::scripted_revisions::{self, LISTENING};
use tests::sse::EventStream;

use super::*;

const MUCH: &str = "[[limit]]\nname = \"much\"\nper = \"grant\"\nbytes_per_day = \"20kB\"\n";

#[tokio::test]
async fn bytes_of_requests_and_answers_count() -> Result<()> {
    for lane in ROADS {
        let few = "[[limit]]\nname = \"much\"\nper = \"grant\"\nbytes_per_day = \"20kB\"\n";
        let fixture = limited(few, lane).await?;
        let (_, token) = fixture.signed_in().await?;
        // Each is 4 kB there and 4 kB back.
        let large = |id| {
            let body = call(id, "echo", &json!({"marker": "m".repeat(4_000)}));
            let (url, token) = (fixture.url("/mcp"), &token);
            async move { send(&url, token, &body).await }
        };
        let mut went = 0;
        let refusal = loop {
            let reply = large(went).await?;
            match reply.status {
                200 => went += 1,
                _ => break reply,
            }
            anyhow::ensure!(went < 20, "{lane}: nothing is counted");
            // What an answer costs is told beside it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_reached(&refusal, went);
        assert!((2..=3).contains(&went), "{lane}: {went}");
        let words = refusal.json()["error"]["message"].to_string();
        assert!(words.contains("20 kB a day"), "{words}");
        // The answer to this one, twice as long, is more than is left: it is finished all the same.
        let quotes = call(9, "echo", &json!({"marker": "\"".repeat(1_600)}));
        let answered = send(&fixture.url("/mcp"), &token, &quotes).await?;
        assert_eq!(answered.status, 200, "{lane}: {}", answered.text);
        assert!(answered.text.len() > 6_400, "{}", answered.text.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
        // A stream would cost, too; what ends a session does not.
        let session = |method| {
            let request = http::client().request(method, fixture.url("/mcp"));
            let accepted = request.header("Accept", "text/event-stream");
            http::send(accepted.bearer_auth(&token))
        };
        let stream = session(reqwest::Method::GET).await?;
        assert_eq!(stream.status, 429, "{}", stream.text);
        assert_eq!(stream.json()["reason"], "limit_reached");
        let end = session(reqwest::Method::DELETE).await?;
        assert_eq!(end.status, 200, "{}", end.text);
    }
    Ok(())
}

#[tokio::test]
async fn of_calls_at_once_no_more_begin_than_their_requests_fit() -> Result<()> {
    for lane in ROADS {
        let fixture = limited(MUCH, lane).await?;
        let (_, token) = fixture.signed_in().await?;
        let calls = (0..20).map(|id| {
            let body = call(id, "echo", &json!({"marker": "m".repeat(4_000)}));
            let (url, token) = (fixture.url("/mcp"), token.clone());
            tokio::spawn(async move { send(&url, &token, &body).await })
        });
        let mut went = 0;
        for (id, one) in (0..).zip(calls.collect::<Vec<_>>()) {
            let reply = one.await??;
            match reply.status {
                200 => went += 1,
                _ => assert_reached(&reply, id),
            }
        }
        assert!((2..=4).contains(&went), "{lane}: {went}");
        let more = call(7, "echo", &json!({"marker": "m".repeat(4_000)}));
        assert_reached(&send(&fixture.url("/mcp"), &token, &more).await?, 7);
    }
    Ok(())
}

/// A server with sessions, which says that its tools change.
fn changing(request: &Recorded) -> Answer {
    if request.method != "POST" || request.json()["method"] != "initialize" {
        return scripted_mcp::answer(request);
    }
    let mut reply = scripted_mcp::reply(&request.json());
    reply["result"]["capabilities"]["tools"]["listChanged"] = json!(true);
    Answer::json(200, &reply).with("Mcp-Session-Id", SESSION)
}

/// A stream of GET, and one that a client of 2026-07-28 listens on, at a backend of its revision and at one
/// of sessions.
#[tokio::test]
async fn a_stream_ends_where_its_bytes_are_used_up() -> Result<()> {
    for lane in ROADS {
        for (listens, is_translated) in [(false, false), (true, false), (true, true)] {
            let at = format!("{lane}, {listens}, {is_translated}");
            let mut fixture = limited(MUCH, lane).await?;
            let (_, token) = fixture.signed_in().await?;
            if listens {
                let script: fn(&Recorded) -> Answer = if is_translated {
                    changing
                } else {
                    scripted_revisions::stateless
                };
                fixture.backend.play(script);
                // It is to find out what the backend is now.
                fixture.gateway.crash_and_restart().await?;
            }
            let url = fixture.url("/mcp");
            let open = || {
                let params = json!({"notifications": {"toolsListChanged": true}});
                let body = stateless_message(9, "subscriptions/listen", &params);
                if listens {
                    post_stateless(&url, &token, &body)
                } else {
                    http::client().get(&url).bearer_auth(&token)
                }
            };
            let mut stream = EventStream::open(open()).await?;
            fixture.backend.await_streams(1, SOON).await?;
            if listens {
                stream.event(SOON).await?;
            }
            let topic = if listens && !is_translated {
                LISTENING
            } else {
                MCP_STREAM
            };
            let message = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed",
            "params": {"_meta": {
                "io.modelcontextprotocol/subscriptionId": 9, "padding": "n".repeat(4_000),
            }}});
            let event = format!("event: message\ndata: {message}\n\n");
            let mut came = 0;
            loop {
                fixture.backend.push(topic, &event);
                match stream.event(Duration::from_secs(3)).await {
                    Ok(_) => came += 1,
                    Err(error) => {
                        assert!(error.to_string().contains("ended"), "{at}: {error}");
                        break;
                    }
                }
                anyhow::ensure!(came < 20, "{at}: it goes on");
                // What it costs is told beside it.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!((4..=7).contains(&came), "{at}: {came}");
            let again = http::send(open().header("Accept", "text/event-stream")).await?;
            assert_eq!(again.status, 429, "{at}: {}", again.text);
            let labels = [("outcome", "limit_reached")];
            Scrape::until(&fixture.gateway, |scrape| {
                scrape.sum("gateway_exchanges_total", &labels) >= 1.0
            })
            .await?;
        }
    }
    Ok(())
}
