//! `[[limit]]`: how often and how much somebody may call, on both roads; what is said where a limit is
//! reached; budgets of narrowed tokens; what policies and pages know of it.

mod budgets;
mod bytes;
mod replicas;
mod shown;
mod tools;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::clock::Clock;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession, call, initialize, message, post, send};
use tests::metrics::Scrape;
use tests::operator::{done, exported};
use tests::program::{binary, run};

const SOON: Duration = Duration::from_secs(10);

/// Both roads through the gateway.
const ROADS: [&str; 2] = ["on", "off"];

fn road(setup: Setup, word: &str) -> Setup {
    let environment = vec![("GATEWAY_LANE".into(), word.into())];
    Setup {
        environment,
        ..setup
    }
}

async fn limited(limits: &str, lane: &str) -> Result<Fixture> {
    Fixture::with(StoreKind::Embedded, |setup| road(setup.more(limits), lane)).await
}

async fn echo(gateway: &Gateway, token: &str, id: u64) -> Result<Reply> {
    let echo = call(id, "echo", &json!({"marker": "counted"}));
    send(&gateway.url("/mcp"), token, &echo).await
}

/// Calls until a limit is reached; how often it went, and the refusal.
async fn until_reached(gateway: &Gateway, token: &str) -> Result<(u64, Reply)> {
    for went in 0..500 {
        let reply = echo(gateway, token, went).await?;
        match reply.status {
            200 if !reply.text.contains("isError") => {}
            _ => return Ok((went, reply)),
        }
    }
    anyhow::bail!("no limit was reached")
}

fn refused(reply: &Reply, id: u64) -> Value {
    assert_eq!(reply.status, 429, "{}", reply.text);
    let answer = reply.json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert_eq!(answer["error"]["data"]["reason"], "limit_reached");
    answer
}

/// Of a budget in all: waiting does not help.
fn assert_used_up(reply: &Reply, id: u64) {
    let error = refused(reply, id)["error"].clone();
    let words = error["message"].to_string();
    assert!(words.contains("is used up"), "{words}");
    assert_eq!(reply.header("retry-after"), "");
    assert!(error["data"]["retry_after"].is_null(), "{error}");
}

fn assert_reached(reply: &Reply, id: u64) {
    let answer = refused(reply, id);
    let wait: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!(wait >= 1, "{wait}");
    assert_eq!(answer["error"]["data"]["retry_after"], json!(wait));
}

async fn bob(gateway: &Gateway) -> Result<Owner> {
    let bob = Owner {
        name: "bob".into(),
        password: "a second correct horse".into(),
    };
    done(gateway, &["users", "add", "bob"], &bob.password).await?;
    Ok(bob)
}

async fn token_of(gateway: &Gateway, person: &Owner) -> Result<String> {
    let client = tests::oauth::OAuthClient::register(&gateway.origin(), "Client").await?;
    client.sign_in(person).await
}

#[tokio::test]
async fn over_a_limit_is_429_under_the_requests_id_and_nobody_elses_concern() -> Result<()> {
    for lane in ROADS {
        let few = "[[limit]]\nname = \"few\"\nper = \"person\"\nrate = \"3/hour\"\nburst = 3\n";
        let fixture = limited(few, lane).await?;
        let gateway = &fixture.gateway;
        let (_, token) = fixture.signed_in().await?;
        let (went, refusal) = until_reached(gateway, &token).await?;
        assert_eq!(went, 3, "{lane}");
        assert_reached(&refusal, 3);
        let words = refusal.json()["error"]["message"].to_string();
        assert!(words.contains("“few” of 3 calls an hour"), "{words}");
        assert_eq!(fixture.backend.marked("counted").len(), 3, "{lane}");
        let (_, again) = until_reached(gateway, &token).await?;
        assert_reached(&again, 0);
        // Nothing else is counted.
        let list = message(9, "tools/list", &json!({}));
        for uncounted in [initialize(), list, message(9, "ping", &json!({}))] {
            let reply = send(&gateway.url("/mcp"), &token, &uncounted).await?;
            assert_eq!(reply.status, 200, "{uncounted}: {}", reply.text);
        }
        for counted in ["resources/read", "prompts/get", "completion/complete"] {
            let params = json!({"name": "x", "uri": "file:///x"});
            let reply = send(&gateway.url("/mcp"), &token, &message(7, counted, &params)).await?;
            assert_reached(&reply, 7);
        }
        // Another app of hers counts with it, another person does not.
        let (_, other) = fixture.signed_in().await?;
        assert_reached(&echo(gateway, &other, 4).await?, 4);
        let bobs = token_of(gateway, &bob(gateway).await?).await?;
        assert_eq!(echo(gateway, &bobs, 5).await?.status, 200);

        let reached = Scrape::until(gateway, |scrape| {
            scrape.sum("gateway_limit_reached_total", &[("limit", "few")]) >= 6.0
        });
        let labels = [("reason", "limit_reached"), ("outcome", "refused")];
        let refused = reached.await?.sum("gateway_requests_total", &labels);
        assert!(refused >= 6.0, "{refused}");
        let line = gateway.logged("limit_reached").await?;
        assert!(line.contains("\"status\":429"), "{line}");
        let is_it = |it: &Value| it["reason"] == "limit_reached";
        let records = exported(gateway, "call", |all| all.iter().any(is_it)).await?;
        let record = records.into_iter().find(is_it).context("no record")?;
        assert_eq!(record["detail"], "limit few", "{record}");
        assert_eq!(record["name"], "echo", "{record}");
    }
    Ok(())
}

#[tokio::test]
async fn every_call_of_a_batch_counts_and_each_is_told() -> Result<()> {
    for lane in ROADS {
        let few = "[[limit]]\nname = \"few\"\nper = \"app\"\nrate = \"5/hour\"\nburst = 5\n";
        let fixture = limited(few, lane).await?;
        let (_, token) = fixture.signed_in().await?;
        // Without a header it is of the revision that has batches.
        let batch = |ids: [u64; 3]| {
            let calls = ids.map(|id| call(id, "echo", &json!({})));
            let request = http::client().post(fixture.url("/mcp")).bearer_auth(&token);
            let request = request
                .header("Accept", "application/json, text/event-stream")
                .header("Content-Type", "application/json")
                .body(json!(calls).to_string());
            http::send(request)
        };
        let first = batch([1, 2, 3]).await?;
        assert_ne!(first.status, 429, "{}", first.text);
        let second = batch([4, 5, 6]).await?;
        assert_eq!(second.status, 429, "{lane}: {}", second.text);
        let answers = second.json();
        let answers = answers.as_array().context("no array")?.iter();
        let ids: Vec<_> = answers.map(|answer| answer["id"].clone()).collect();
        assert_eq!(ids, [json!(4), json!(5), json!(6)]);
        // A batch that does not fit takes nothing: the two that are left are there.
        assert_eq!(echo(&fixture.gateway, &token, 7).await?.status, 200);
        assert_eq!(echo(&fixture.gateway, &token, 8).await?.status, 200);
        assert_reached(&echo(&fixture.gateway, &token, 9).await?, 9);
        // More than there ever is at once: waiting would not help.
        let calls: Vec<_> = (0..6).map(|id| call(id, "echo", &json!({}))).collect();
        let request = http::client().post(fixture.url("/mcp")).bearer_auth(&token);
        let request = request
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json")
            .body(json!(calls).to_string());
        let large = http::send(request).await?;
        assert_eq!(large.status, 429, "{lane}: {}", large.text);
        assert_eq!(large.header("retry-after"), "", "{lane}");
        let error = large.json()[5]["error"].clone();
        assert_eq!(error["data"]["reason"], "limit_reached", "{error}");
        assert!(error["data"]["retry_after"].is_null(), "{error}");
        let words = error["message"].to_string();
        assert!(words.contains("lets 5 through at once"), "{words}");
    }
    Ok(())
}

#[tokio::test]
async fn limits_count_what_they_are_for() -> Result<()> {
    let limits = "[[group]]\nname = \"staff\"\nusers = [\"alice\", \"bob\"]\n\
        [[limit]]\nname = \"erasing\"\nper = \"person\"\ntool = \"eras*\"\ncalls_per_day = 1\n\
        [[limit]]\nname = \"looking\"\nper = \"tool\"\ntool = \"look\"\ncalls_per_day = 3\n\
        [[limit]]\nname = \"staff\"\nper = \"group\"\ncalls_per_day = 7\n\
        [[limit]]\nname = \"elsewhere\"\nper = \"backend\"\nbackend = \"other\"\ncalls_per_day = 1\n";
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        let url = setup.backends[0].2.clone();
        setup.mounted("other", "/other", &url).more(limits)
    });
    let fixture = fixture.await?;
    let gateway = &fixture.gateway;
    let (client, alices) = fixture.signed_in().await?;
    let bobs = token_of(gateway, &bob(gateway).await?).await?;
    let named = async |token: &str, path: &str, tool: &str| -> Result<String> {
        let reply = send(&gateway.url(path), token, &call(1, tool, &json!({}))).await?;
        let words = match reply.status {
            200 => return Ok(String::new()),
            _ => reply.json()["error"]["message"].to_string(),
        };
        let name = words.split(['“', '”']).nth(1);
        Ok(name.unwrap_or(&words).to_owned())
    };
    assert_eq!(named(&alices, "/mcp", "erase").await?, "");
    assert_eq!(named(&alices, "/mcp", "erase").await?, "erasing");
    assert_eq!(named(&alices, "/mcp", "Erase").await?, "erasing");
    assert_eq!(named(&bobs, "/mcp", "erase").await?, "");
    for token in [&alices, &bobs, &alices] {
        assert_eq!(named(token, "/mcp", "look").await?, "");
    }
    assert_eq!(named(&bobs, "/mcp", "look").await?, "looking");
    assert_eq!(named(&bobs, "/mcp", "echo").await?, "");
    let elsewhere = fixture.url("/other/mcp");
    let elsewhere = client.sign_in_for(&fixture.owner, &elsewhere).await?;
    assert_eq!(named(&elsewhere, "/other/mcp", "echo").await?, "");
    assert_eq!(named(&elsewhere, "/other/mcp", "echo").await?, "staff");
    assert_eq!(named(&bobs, "/mcp", "echo").await?, "staff");
    Ok(())
}

#[tokio::test]
async fn the_older_transport_is_told_by_the_answer_to_its_post() -> Result<()> {
    let few = "[[limit]]\nname = \"few\"\nper = \"person\"\ncalls_per_day = 1\n";
    let fixture = limited(few, "on").await?;
    let (_, token) = fixture.signed_in().await?;
    let mut session = LegacySession::open(&fixture.url("/sse"), &token).await?;
    session.request(&call(1, "echo", &json!({}))).await?;
    let refusal = session.post(&call(2, "echo", &json!({}))).await?;
    assert_reached(&refusal, 2);
    Ok(())
}

#[tokio::test]
async fn without_limits_the_store_is_asked_nothing_and_with_them_seldom() -> Result<()> {
    let draws = async |gateway: &Gateway| -> Result<f64> {
        let scrape = Scrape::take(gateway).await?;
        let name = "gateway_store_operation_duration_seconds_count";
        Ok(scrape.sum(name, &[("operation", "draw")]))
    };
    let many = "[[limit]]\nname = \"many\"\nper = \"person\"\nrate = \"6000/minute\"\ncalls_per_day = 100000\n";
    for (limits, most) in [("", 0.0), (many, 40.0)] {
        let fixture = limited(limits, "on").await?;
        let (_, token) = fixture.signed_in().await?;
        let begun = Instant::now();
        for id in 0..300 {
            assert_eq!(echo(&fixture.gateway, &token, id).await?.status, 200);
        }
        // A batch is good for a while only, however few calls a busy machine makes of it.
        let most = most * begun.elapsed().as_secs_f64().max(1.0);
        let draws = draws(&fixture.gateway).await?;
        assert!(draws <= most, "{draws} draws for 300 calls");
        assert_eq!(draws > 0.0, most > 0.0);
    }
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_set_back_gives_nothing_and_locks_nobody_out() -> Result<()> {
    let clock = Clock::new()?;
    let limits = "[[limit]]\nname = \"few\"\nper = \"app\"\nrate = \"60/minute\"\nburst = 3\n";
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment: clock.environment(),
        ..setup.more(limits)
    });
    let fixture = fixture.await?;
    let (_, token) = fixture.signed_in().await?;
    let ahead = Duration::from_secs(7_200);
    clock.put_ahead_of(ahead, &fixture.gateway, &token).await?;
    // Each second brings one more, also those that the calls take.
    let begun = Instant::now();
    let (went, _) = until_reached(&fixture.gateway, &token).await?;
    let brought = begun.elapsed().as_secs();
    assert!((3..=5 + brought).contains(&went), "{went} with {brought}");
    clock.put_ahead(Duration::ZERO)?;
    let begun = Instant::now();
    let (went, refusal) = until_reached(&fixture.gateway, &token).await?;
    let brought = begun.elapsed().as_secs();
    assert!(went <= 1 + brought, "{went} more for a step back");
    assert_eq!(refusal.header("retry-after"), "1", "{}", refusal.text);
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let (went, _) = until_reached(&fixture.gateway, &token).await?;
    let brought = begun.elapsed().as_secs();
    assert!((1..=2 + brought).contains(&went), "{went} with {brought}");
    Ok(())
}

#[tokio::test]
async fn a_policy_goes_by_the_calls_of_today() -> Result<()> {
    for lane in ROADS {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.biscuit");
        let policy = "allow if harmless(true);\nallow if calls_today($n), $n < 4;\n\
            allow if user(\"bob\"), calls_today($n), $n < 6;\n";
        std::fs::write(&file, policy)?;
        let more = format!("[policy]\nfile = \"{}\"\n", file.display());
        let fixture = limited(&more, lane).await?;
        let (_, token) = fixture.signed_in().await?;
        let (went, refusal) = until_reached(&fixture.gateway, &token).await?;
        assert_eq!(went, 4, "{lane}");
        let reason = &refusal.json()["result"]["_meta"]["reason"];
        assert_eq!(reason, "policy_denied", "{}", refusal.text);
        let bobs = token_of(&fixture.gateway, &bob(&fixture.gateway).await?).await?;
        let (went, _) = until_reached(&fixture.gateway, &bobs).await?;
        assert_eq!(went, 6, "{lane}");
        let config = fixture.gateway.folder().join("gateway.toml");
        let config = config.display().to_string();
        let asked = [
            "explain",
            "--config",
            &config,
            "--offline",
            "--user",
            "alice",
        ];
        let asked: Vec<&str> = [&asked[..], &["--tool", "echo"]].concat();
        let (code, out, _) = run(&binary("gateway"), &asked, "").await?;
        assert_eq!(code, 0, "{out}");
        assert!(out.contains("has made no call today"), "{out}");
        let many: Vec<&str> = [&asked[..], &["--calls-today", "4"]].concat();
        let (code, out, _) = run(&binary("gateway"), &many, "").await?;
        assert_eq!(code, 1, "{out}");
        assert!(!out.contains("has made no call today"), "{out}");
        let list = mcp::response(
            &send(
                &fixture.url("/mcp"),
                &token,
                &message(1, "tools/list", &json!({})),
            )
            .await?,
        )?;
        let tools = list["result"]["tools"].as_array().context("no list")?;
        assert_eq!(tools.len(), 3, "what may be called tomorrow is shown");
    }
    Ok(())
}

#[tokio::test]
async fn to_each_call_of_a_batch_those_before_it_were_made() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    std::fs::write(&file, "deny if calls_today($n), $n >= 2;\nallow if true;\n")?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    for lane in ROADS {
        let fixture = limited(&more, lane).await?;
        let bobs = token_of(&fixture.gateway, &bob(&fixture.gateway).await?).await?;
        let (_, alices) = fixture.signed_in().await?;
        for (token, count, is_allowed) in [(&alices, 3_u64, false), (&bobs, 2, true)] {
            let calls: Vec<_> = (0..count).map(|id| call(id, "echo", &json!({}))).collect();
            let request = http::client().post(fixture.url("/mcp")).bearer_auth(token);
            let request = request
                .header("Accept", "application/json, text/event-stream")
                .header("Content-Type", "application/json")
                .body(json!(calls).to_string());
            let reply = http::send(request).await?;
            let is_refused = reply.text.contains("policy_denied");
            assert_eq!(is_refused, !is_allowed, "{lane}: {}", reply.text);
        }
    }
    Ok(())
}
