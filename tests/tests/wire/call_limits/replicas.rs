//! Replicas on one Redis, and a Redis that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::*;

/// How many calls of crowds at two replicas went, and how long that took.
async fn crowd(
    fixture: &Fixture,
    second: &Gateway,
    token: &str,
    during: Duration,
) -> Result<(u64, Duration)> {
    let host = fixture.gateway.issuer();
    let host = host.trim_start_matches("http://").to_owned();
    let (begun, went) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let clients = (0..20).map(|client| {
        let gateway = [&fixture.gateway, second][client % 2];
        let (url, host, token) = (gateway.url("/mcp"), host.clone(), token.to_owned());
        let went = Arc::clone(&went);
        tokio::spawn(async move {
            let client = http::client();
            let mut id = 0;
            while begun.elapsed() < during {
                id += 1;
                let echo = call(id, "echo", &json!({"marker": "crowd"}));
                let request = client
                    .post(&url)
                    .bearer_auth(&token)
                    .header("Host", &host)
                    .header("Accept", "application/json, text/event-stream")
                    .header("Content-Type", "application/json")
                    .header("MCP-Protocol-Version", mcp::REVISION)
                    .body(echo.to_string());
                let reply = http::send(request).await?;
                match reply.status {
                    200 => drop(went.fetch_add(1, Ordering::Relaxed)),
                    _ => assert_reached(&reply, id),
                }
            }
            anyhow::Ok(())
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await??;
    }
    Ok((went.load(Ordering::Relaxed), begun.elapsed()))
}

#[tokio::test]
async fn twenty_clients_on_two_replicas_get_the_limit_and_no_more_than_a_share_of_each()
-> Result<()> {
    let limits =
        "[[limit]]\nname = \"calls\"\nper = \"person\"\nrate = \"100/minute\"\nburst = 20\n";
    let fixture = Fixture::with(StoreKind::Redis, |setup| setup.more(limits)).await?;
    let second = fixture.replica(|setup| setup.more(limits)).await?;
    let (_, token) = fixture.signed_in().await?;
    let (went, took) = crowd(&fixture, &second, &token, Duration::from_secs(12)).await?;
    let brought = took.as_secs_f64() * 100.0 / 60.0;
    // The burst, what the time brings, and a batch of a quarter of the burst at each replica.
    let most = 20.0 + brought + 2.0 * 5.0;
    assert!(went as f64 <= most, "{went} of {most} in {took:?}");
    assert!(
        went as f64 >= 20.0 + brought - 10.0 - 2.0,
        "{went} of {most} in {took:?}"
    );
    assert_eq!(fixture.backend.marked("crowd").len() as u64, went);
    Ok(())
}

#[tokio::test]
async fn a_replica_whose_clock_is_wrong_gets_no_more() -> Result<()> {
    let clock = Clock::new()?;
    let limits = "[[limit]]\nname = \"calls\"\nper = \"person\"\nrate = \"60/hour\"\nburst = 12\n\
        calls_per_day = 30\n";
    let fixture = Fixture::with(StoreKind::Redis, |setup| setup.more(limits)).await?;
    let second = fixture.replica(|mut setup| {
        setup.environment.extend(clock.environment());
        setup.more(limits)
    });
    let second = second.await?;
    let (_, token) = fixture.signed_in().await?;
    let mut went = 0;
    for ahead in [7_200, 0, 20 * 3_600, 3_600, 0] {
        let ahead = Duration::from_secs(ahead);
        clock.put_ahead_of(ahead, &second, &token).await?;
        let (more, _) = crowd(&fixture, &second, &token, Duration::from_secs(1)).await?;
        went += more;
    }
    assert!((11..=12 + 2 * 3).contains(&went), "{went}");
    Ok(())
}

#[tokio::test]
async fn while_redis_is_away_what_is_here_is_used_and_then_it_is_nobodys_fault() -> Result<()> {
    for lane in ROADS {
        let limits = "[[limit]]\nname = \"calls\"\nper = \"person\"\ncalls_per_day = 5000\n";
        let fixture = Fixture::with(StoreKind::Redis, |setup| road(setup.more(limits), lane));
        let mut fixture = fixture.await?;
        let (_, token) = fixture.signed_in().await?;
        // So many in a moment make a batch of some.
        for id in 0..60 {
            assert_eq!(echo(&fixture.gateway, &token, id).await?.status, 200);
        }
        let redis = fixture.redis.as_mut().context("there is one")?;
        redis.kill().await?;
        let (went, refusal) = until_reached(&fixture.gateway, &token).await?;
        assert!((1..=75).contains(&went), "{lane}: {went} of a batch");
        assert_eq!(refusal.status, 503, "{}", refusal.text);
        assert!(!refusal.header("retry-after").is_empty());
        assert_eq!(refusal.json()["id"], json!(went));
        let reason = &refusal.json()["error"]["data"]["reason"];
        assert_eq!(reason, "store_unavailable", "{}", refusal.text);
        assert!(refusal.took < Duration::from_secs(4), "{:?}", refusal.took);
        let redis = fixture.redis.as_mut().context("there is one")?;
        redis.restart().await?;
        let back = Instant::now();
        while echo(&fixture.gateway, &token, 1).await?.status != 200 {
            assert!(back.elapsed() < SOON, "{lane}: still refused");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_redis_that_says_nothing_is_waited_for_as_briefly() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    std::fs::write(&file, "allow if calls_today($n), $n < 1000;\n")?;
    let policy = format!("[policy]\nfile = \"{}\"\n", file.display());
    for lane in ROADS {
        let limits =
            "[[limit]]\nname = \"calls\"\nper = \"person\"\nrate = \"1/hour\"\nburst = 7\n";
        let more = format!("{limits}{policy}");
        let fixture = Fixture::with(StoreKind::Redis, |setup| road(setup.more(&more), lane));
        let fixture = fixture.await?;
        let (_, token) = fixture.signed_in().await?;
        assert_eq!(echo(&fixture.gateway, &token, 1).await?.status, 200);
        let redis = fixture.redis.as_ref().context("there is one")?;
        redis.freeze(true).await?;
        // Each call asks, as the limit is a small one.
        let refusal = echo(&fixture.gateway, &token, 2).await?;
        assert_eq!(refusal.status, 503, "{lane}: {}", refusal.text);
        assert!(refusal.took < Duration::from_secs(4), "{:?}", refusal.took);
        let reason = &refusal.json()["error"]["data"]["reason"];
        assert_eq!(reason, "store_unavailable", "{lane}: {}", refusal.text);
        // What counts nowhere is no concern of the store's.
        let list = message(3, "tools/list", &json!({}));
        let end = http::client()
            .delete(fixture.url("/mcp"))
            .bearer_auth(&token);
        for reply in [
            send(&fixture.url("/mcp"), &token, &list).await?,
            http::send(end).await?,
        ] {
            assert_eq!(reply.status, 200, "{lane}: {}", reply.text);
            assert!(reply.took < Duration::from_secs(10), "{:?}", reply.took);
        }
        redis.freeze(false).await?;
        let back = Instant::now();
        while echo(&fixture.gateway, &token, 1).await?.status == 503 {
            assert!(back.elapsed() < SOON, "{lane}: still refused");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What nobody was given when it was frozen is not lost: but for what was asked for meanwhile.
        let (went, _) = until_reached(&fixture.gateway, &token).await?;
        assert!((3..=6).contains(&went), "{lane}: {went}");
    }
    Ok(())
}
