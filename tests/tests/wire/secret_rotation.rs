//! The secret of a client of the configuration is changed while the client works.

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Gateway;
use tests::http::{self, Reply};
use tests::mcp::{initialize, post};

const OLD: &str = "the old secret, 0123456789abcdef01";
const NEW: &str = "the new secret, 0123456789abcdef01";

/// A client that gets tokens for itself with any of these secrets.
fn tables(secrets: &[&str]) -> String {
    let hashes = secrets
        .iter()
        .map(|secret| format!("\"{:x}\"", Sha256::digest(secret)));
    let hashes = hashes.collect::<Vec<_>>().join(", ");
    // One alone stands there as it always could.
    let hashes = if secrets.len() == 1 {
        hashes
    } else {
        format!("[{hashes}]")
    };
    format!(
        "[[service]]\nname = \"ci\"\n[[client]]\nid = \"nightly\"\nacts_as = \"ci\"\n\
         grants = [\"client_credentials\"]\nmethod = \"client_secret_basic\"\nsecret_hash = {hashes}\n"
    )
}

/// What the client is answered by this replica; `host`: what they all are known by.
async fn ask(replica: &Gateway, host: &str, secret: &str) -> Result<Reply> {
    let request = http::client()
        .post(replica.url("/token"))
        .header("Host", host)
        .basic_auth("nightly", Some(secret))
        .form(&[("grant_type", "client_credentials")]);
    http::send(request).await
}

/// The secrets of `OLD` and `NEW` that this replica takes; what it does not take is refused as what it
/// is, like a secret that never was one.
async fn taken(replica: &Gateway, host: &str) -> Result<Vec<&'static str>> {
    let mut taken = Vec::new();
    for secret in [OLD, NEW, "", "never a secret, 0123456789abcdef01"] {
        let reply = ask(replica, host, secret).await?;
        if reply.status == 200 {
            taken.push(secret);
            continue;
        }
        assert_eq!(
            (reply.status, reply.error()),
            (401, "invalid_client".to_owned()),
            "{secret}: {}",
            reply.text
        );
    }
    Ok(taken)
}

async fn now_with(replica: &mut Gateway, secrets: &[&str]) -> Result<()> {
    replica.setup().more = tables(secrets);
    replica.restart().await
}

#[tokio::test]
async fn a_client_works_at_every_replica_while_its_secret_is_changed() -> Result<()> {
    let begin = |setup: tests::gateway::Setup| setup.more(&tables(&[OLD]));
    let mut fixture = Fixture::with(StoreKind::Redis, begin).await?;
    let mut other = fixture.replica(begin).await?;
    let issuer = fixture.gateway.issuer();
    let host = issuer.trim_start_matches("http://").to_owned();
    assert_eq!(taken(&fixture.gateway, &host).await?, [OLD]);
    let reply = ask(&fixture.gateway, &host, OLD).await?;
    let token = reply.json()["access_token"].as_str().map(str::to_owned);
    let token = token.with_context(|| reply.text)?;

    // The new secret is made known to one replica after the other; the client still has the old one.
    now_with(&mut fixture.gateway, &[NEW, OLD]).await?;
    assert_eq!(taken(&fixture.gateway, &host).await?, [OLD, NEW]);
    assert_eq!(taken(&other, &host).await?, [OLD]);
    now_with(&mut other, &[NEW, OLD]).await?;
    assert_eq!(taken(&other, &host).await?, [OLD, NEW]);

    // The client has the new one from here on.
    now_with(&mut fixture.gateway, &[NEW]).await?;
    assert_eq!(taken(&fixture.gateway, &host).await?, [NEW]);
    assert_eq!(taken(&other, &host).await?, [OLD, NEW]);
    now_with(&mut other, &[NEW]).await?;
    assert_eq!(taken(&other, &host).await?, [NEW]);

    // What it got with the old one was got by the same client.
    for replica in [&fixture.gateway, &other] {
        let request = post(&replica.url("/mcp"), &token, &initialize()).header("Host", &host);
        let reply = http::send(request).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    Ok(())
}
