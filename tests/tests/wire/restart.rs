//! What was acknowledged outlives a restart and a kill.

use std::time::Duration;

use anyhow::Result;
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::mcp::{initialize, send};
use tests::oauth::OAuthClient;

async fn a_restart_forgets_nothing(store: StoreKind) -> Result<()> {
    let mut fixture = Fixture::on(store).await?;
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    let request = client.authorization();
    let callback = client
        .walk(&mut browser, &request, &fixture.owner, "Allow")
        .await?;
    let token = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?
        .json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    // A code that is on its way while the gateway restarts.
    let late = client.authorization();
    let late_callback = client
        .walk(&mut browser, &late, &fixture.owner, "Allow")
        .await?;
    fixture.gateway.restart().await?;
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200,
        "the token"
    );
    assert_eq!(
        client
            .redeem(&late_callback.code(), &late.pkce.verifier)
            .await?
            .status,
        200,
        "the code"
    );
    let page = browser.visit(&client.authorization().url()).await?;
    assert!(
        page.password_form().is_err(),
        "the browser's session: {}",
        page.words()
    );
    client.sign_in(&fixture.owner).await?;
    Ok(())
}

#[tokio::test]
async fn tokens_codes_registrations_and_logins_outlive_a_restart_on_the_embedded_store()
-> Result<()> {
    a_restart_forgets_nothing(StoreKind::Embedded).await
}

#[tokio::test]
async fn tokens_codes_registrations_and_logins_outlive_a_restart_on_redis() -> Result<()> {
    a_restart_forgets_nothing(StoreKind::Redis).await
}

/// Registrations, redemptions and revocations run while the gateway is killed; then
/// everything that a client was told is asked again.
async fn nothing_acknowledged_is_lost(store: StoreKind, rounds: u64) -> Result<()> {
    let mut fixture = Fixture::with(store, |setup| {
        setup.more("[limits]\nregistrations_per_hour = 100000\n")
    })
    .await?;
    let mut clients: Vec<OAuthClient> = Vec::new();
    let mut live: Vec<String> = Vec::new();
    let mut dead: Vec<(OAuthClient, String, String)> = Vec::new();
    let mut revoked: Vec<String> = Vec::new();
    for round in 0..rounds {
        // Some good tokens and codes from before the kill.
        let client = fixture.client(&format!("Round {round}")).await?;
        let mut browser = Browser::default();
        let mut codes = Vec::new();
        for _ in 0..4 {
            let request = client.authorization();
            let callback = client
                .walk(&mut browser, &request, &fixture.owner, "Allow")
                .await?;
            codes.push((callback.code(), request.pkce.verifier));
        }
        let (code, verifier) = codes.pop().expect("four were made");
        let to_revoke = client.redeem(&code, &verifier).await?.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        let origin = fixture.gateway.origin();
        let registering = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..200 {
                match OAuthClient::register(&origin, &format!("Load {round}.{n}")).await {
                    Ok(client) => acknowledged.push(client),
                    Err(_) => break,
                }
            }
            acknowledged
        });
        let redeemer = client.clone();
        let redeeming = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for (code, verifier) in codes {
                if let Ok(reply) = redeemer.redeem(&code, &verifier).await
                    && reply.status == 200
                {
                    let token = reply.json()["access_token"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    acknowledged.push((code, verifier, token));
                }
            }
            acknowledged
        });
        let revoker = client.clone();
        let target = to_revoke.clone();
        let revoking = tokio::spawn(async move {
            revoker
                .revoke(&target)
                .await
                .is_ok_and(|reply| reply.status == 200)
        });
        tokio::time::sleep(Duration::from_millis(3 + 7 * (round % 6))).await;
        fixture.gateway.crash_and_restart().await?;
        clients.extend(registering.await?);
        for (code, verifier, token) in redeeming.await? {
            live.push(token);
            dead.push((client.clone(), code, verifier));
        }
        if revoking.await? {
            revoked.push(to_revoke);
        }
        clients.push(client);
    }
    for client in &clients {
        let page = Browser::default()
            .visit(&client.authorization().url())
            .await?;
        assert!(
            page.password_form().is_ok(),
            "a registration was lost: {}",
            page.words()
        );
    }
    for token in &live {
        assert_eq!(
            send(&fixture.url("/mcp"), token, &initialize())
                .await?
                .status,
            200,
            "a token was lost"
        );
    }
    for token in &revoked {
        assert_eq!(
            send(&fixture.url("/mcp"), token, &initialize())
                .await?
                .status,
            401,
            "a revoked token came back"
        );
    }
    for (client, code, verifier) in &dead {
        let reply = client.redeem(code, verifier).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "invalid_grant"),
            "a redeemed code works again"
        );
    }
    println!(
        "{rounds} kills on {store:?}: {} registrations, {} redemptions, {} revocations acknowledged, none lost",
        clients.len(),
        live.len(),
        revoked.len()
    );
    assert!(
        clients.len() > usize::try_from(rounds)?,
        "the kills came before any load"
    );
    Ok(())
}

#[tokio::test]
async fn a_kill_in_the_middle_loses_nothing_acknowledged_on_the_embedded_store() -> Result<()> {
    nothing_acknowledged_is_lost(StoreKind::Embedded, 6).await
}

#[tokio::test]
async fn a_kill_in_the_middle_loses_nothing_acknowledged_on_redis() -> Result<()> {
    nothing_acknowledged_is_lost(StoreKind::Redis, 6).await
}

/// Six minutes: `cargo test -p tests --test wire a_thousand_kills -- --ignored`.
#[tokio::test]
#[ignore = "takes six minutes"]
async fn a_thousand_kills_lose_nothing_acknowledged_on_the_embedded_store() -> Result<()> {
    nothing_acknowledged_is_lost(StoreKind::Embedded, 1000).await
}
