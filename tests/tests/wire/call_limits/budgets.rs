//! Budgets that holders set on narrowed tokens.

use super::*;

/// `gateway token narrow` with a token on standard input.
async fn narrow(token: &str, arguments: &[&str]) -> Result<String> {
    let words = ["token", "narrow"].iter().chain(arguments);
    let words: Vec<String> = words.map(|word| (*word).to_owned()).collect();
    let (code, out, errors) = run(&binary("gateway"), &words, token).await?;
    anyhow::ensure!(code == 0, "{words:?} ended with {code}: {errors}");
    Ok(out.trim().to_owned())
}

#[tokio::test]
async fn children_of_one_narrowed_token_never_exceed_its_budget_together() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Redis, |setup| setup).await?;
    let second = fixture.replica(|setup| setup).await?;
    let (_, token) = fixture.signed_in().await?;
    let budget = narrow(&token, &["--calls", "10"]).await?;
    let mut children = vec![budget.clone()];
    for (tool, end) in [("echo", "1h"), ("look", "2h"), ("erase", "3h")] {
        let tools = ["--tool", tool, "--tool", "echo", "--for", end];
        children.push(narrow(&budget, &tools).await?);
    }
    let host = fixture.gateway.issuer();
    let host = host.trim_start_matches("http://").to_owned();
    let clients = (0..20).map(|client| {
        let token = children[client % children.len()].clone();
        let gateway = [&fixture.gateway, &second][client % 2];
        let (url, host) = (gateway.url("/mcp"), host.clone());
        tokio::spawn(async move {
            let mut went = 0;
            for id in 0..5 {
                let echo = call(id, "echo", &json!({"marker": "budgeted"}));
                let reply = http::send(post(&url, &token, &echo).header("Host", &host)).await?;
                match reply.status {
                    200 => went += 1,
                    _ => assert_used_up(&reply, id),
                }
            }
            anyhow::Ok(went)
        })
    });
    let mut went = 0;
    for client in clients.collect::<Vec<_>>() {
        went += client.await??;
    }
    assert_eq!(went, 10);
    assert_eq!(fixture.backend.marked("budgeted").len(), 10);
    let refusal = echo(&fixture.gateway, &budget, 3).await?;
    assert_used_up(&refusal, 3);
    let words = refusal.json()["error"]["message"].to_string();
    assert!(words.contains("“token” of 10 calls"), "{words}");
    // Whoever holds the parent is not limited by it, and may make another.
    assert_eq!(echo(&fixture.gateway, &token, 1).await?.status, 200);
    let another = narrow(&token, &["--calls-per-day", "1"]).await?;
    assert_eq!(echo(&fixture.gateway, &another, 1).await?.status, 200);
    assert_reached(&echo(&fixture.gateway, &another, 2).await?, 2);
    // A smaller one of a child's own counts beside that of its parent.
    let stingy = narrow(&narrow(&token, &["--calls", "5"]).await?, &["--calls", "2"]).await?;
    let (went, _) = until_reached(&fixture.gateway, &stingy).await?;
    assert_eq!(went, 2);
    Ok(())
}

/// Whoever holds a token makes budgets offline, as many as they like, and each that is used is kept: so there
/// are two in a token at most, and so many of a grant.
#[tokio::test]
async fn nobody_has_budgets_without_an_end_kept() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Redis, |setup| setup).await?;
    let second = fixture.replica(|setup| setup).await?;
    let (_, token) = fixture.signed_in().await?;
    let host = fixture.gateway.issuer();
    let host = host.trim_start_matches("http://").to_owned();
    let fresh = async || narrow(&token, &["--calls", "5"]).await;
    let at = async |gateway: &Gateway, token: &str| -> Result<Reply> {
        let echo = call(1, "echo", &json!({}));
        http::send(post(&gateway.url("/mcp"), token, &echo).header("Host", &host)).await
    };
    let first = fresh().await?;
    let mut went = 0;
    for number in 0..100 {
        let token = if number == 0 {
            first.clone()
        } else {
            fresh().await?
        };
        let gateway = [&fixture.gateway, &second][number % 2];
        let reply = at(gateway, &token).await?;
        match reply.status {
            200 => went += 1,
            _ => {
                assert_reached(&reply, 1);
                assert!(
                    reply.text.contains("64 new budgets an hour"),
                    "{}",
                    reply.text
                );
            }
        }
    }
    // All but what one of the replicas holds ahead.
    assert!((64 - 16..=66).contains(&went), "{went}");
    // Those that are known go on, also where they come for the first time; and nobody else's are concerned.
    for gateway in [&fixture.gateway, &second] {
        assert_eq!(at(gateway, &first).await?.status, 200);
    }
    let (_, other) = fixture.signed_in().await?;
    let theirs = narrow(&other, &["--calls", "5"]).await?;
    assert_eq!(echo(&fixture.gateway, &theirs, 1).await?.status, 200);
    let redis = fixture.redis.as_ref().context("there is one")?;
    let count = "return #redis.call('KEYS', '*drawn:budget/*')";
    let kept = redis.say(&["EVAL", count, "0"]).await?;
    // What was refused left nothing behind.
    assert_eq!(kept, format!(":{}", went + 1));

    let many = narrow(&theirs, &["--calls", "2"]).await?;
    let words = ["token", "narrow", "--calls-per-day", "2"];
    let (code, _, errors) = run(&binary("gateway"), &words, &many).await?;
    assert_ne!(code, 0);
    assert!(errors.contains("two budgets of calls at most"), "{errors}");
    Ok(())
}
