//! A code that is redeemed many times at once.

use super::*;

/// Redeems one code 64 times at once, at the origins in turn, a few times over. One wins each time,
/// what it got works although the others came with the same proof, and a late replay ends it.
async fn sixty_four_redemptions(fixture: &Fixture, origins: &[String]) -> Result<()> {
    let client = fixture.client("Client").await?;
    let host = fixture.gateway.issuer().replace("http://", "");
    for round in 0..5 {
        let (code, request) = fresh_code(fixture, &client).await?;
        let fields = client.token_request(&code, &request.pkce.verifier);
        let begun = Instant::now();
        let attempts: Vec<_> = (0..64)
            .map(|number| {
                let url = format!("{}/token", origins[number % origins.len()]);
                let request = http::client().post(url).header("Host", &host);
                tokio::spawn(http::send(request.form(&fields)))
            })
            .collect();
        let mut won = Vec::new();
        for attempt in attempts {
            let reply = attempt.await??;
            if reply.status == 200 {
                let token = reply.json()["access_token"].as_str().map(str::to_owned);
                won.push(token.expect("a token"));
                continue;
            }
            let refusal = (reply.status, reply.error());
            assert_eq!(refusal, (400, "invalid_grant".to_owned()), "{}", reply.text);
        }
        let within = begun.elapsed() < Duration::from_secs(2);
        assert_eq!(won.len(), 1, "round {round}: {} of 64 won", won.len());
        let works = async || -> Result<u16> {
            let reply = mcp::send(&fixture.url("/mcp"), &won[0], &mcp::initialize()).await?;
            Ok(reply.status)
        };
        if within {
            assert_eq!(works().await?, 200, "round {round}: what the winner got");
        }
        if round == 4 {
            tokio::time::sleep(PAST_RETRIES).await;
            assert_eq!(client.token(&fields).await?.status, 400);
            assert_eq!(works().await?, 401, "a late replay ended nothing");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_retry_of_the_client_costs_nothing_that_the_first_request_gave() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (code, request) = fresh_code(&fixture, &client).await?;
    let verifier = &request.pkce.verifier;
    let (first, second) = tokio::join!(
        client.redeem(&code, verifier),
        client.redeem(&code, verifier)
    );
    let (first, second) = (first?, second?);
    let (won, lost) = match first.status {
        200 => (first, second),
        _ => (second, first),
    };
    assert_eq!((won.status, lost.status), (200, 400), "{}", lost.text);
    assert!(lost.text.contains("stays good"), "{}", lost.text);
    let token = won.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let reply = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
    assert_eq!(reply.status, 200, "a retry took the access away");
    Ok(())
}

#[tokio::test]
async fn of_64_concurrent_redemptions_exactly_one_wins_on_the_embedded_store() -> Result<()> {
    let fixture = Fixture::start().await?;
    sixty_four_redemptions(&fixture, &[fixture.gateway.origin()]).await
}

#[tokio::test]
async fn of_64_concurrent_redemptions_exactly_one_wins_in_memory() -> Result<()> {
    let in_memory = |setup| Setup {
        store: Some("memory:".to_owned()),
        ..setup
    };
    let fixture = Fixture::with(StoreKind::Embedded, in_memory).await?;
    sixty_four_redemptions(&fixture, &[fixture.gateway.origin()]).await
}

#[tokio::test]
async fn of_64_concurrent_redemptions_exactly_one_wins_on_redis() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    sixty_four_redemptions(&fixture, &[fixture.gateway.origin()]).await
}

#[tokio::test]
async fn of_64_concurrent_redemptions_at_three_replicas_exactly_one_wins() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let second = fixture.replica(|setup| setup).await?;
    let third = fixture.replica(|setup| setup).await?;
    let origins = [fixture.gateway.origin(), second.origin(), third.origin()];
    sixty_four_redemptions(&fixture, &origins).await
}
