//! A record of the store that can't be read costs itself and nothing else: it is told of, left out, and
//! can be taken away. And where nothing can be decided without it, that is said instead of an outage.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Owner;
use tests::mcp::{initialize, send};
use tests::operator::{command, done};

async fn status(fixture: &Fixture, token: &str) -> Result<u16> {
    let reply = send(&fixture.url("/mcp"), token, &initialize()).await?;
    Ok(reply.status)
}

/// The id of the only grant of a client.
async fn grant_of(fixture: &Fixture, client: &str) -> Result<String> {
    let words = ["grants", "ls", "--json", "--client", client];
    let listed = done(&fixture.gateway, &words, "").await?.json();
    let id = listed["grants"][0]["id"].as_str();
    Ok(id.context("it has a grant")?.to_owned())
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_out_told_of_and_can_be_taken_away() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let (client, broken) = fixture.signed_in().await?;
    let bystander = fixture.client("Bystander").await?;
    let kept = bystander.sign_in(&fixture.owner).await?;
    let id = grant_of(&fixture, &client.client_id).await?;
    let redis = fixture.redis.as_ref().context("this world has one")?;
    redis
        .say(&["HSET", &format!("gateway:grant:{id}"), "value", "{"])
        .await?;
    // Of another type than any record, before all others.
    redis.say(&["SET", "gateway:user:aaron", "x"]).await?;
    redis
        .say(&["ZADD", "gateway:keys:user", "0", "aaron"])
        .await?;

    let gateway = &fixture.gateway;
    for _ in 0..2 {
        let listed = done(gateway, &["grants", "ls", "--json"], "").await?.json();
        let grants = listed["grants"].as_array().context("a list")?;
        assert_eq!(grants.len(), 1, "{listed}");
        assert_eq!(
            grants[0]["client"].as_str(),
            Some(bystander.client_id.as_str())
        );
        let listed = done(gateway, &["users", "ls", "--json"], "").await?.json();
        assert_eq!(
            listed["users"].as_array().map(Vec::len),
            Some(1),
            "{listed}"
        );
    }
    gateway.events("record_left_out", 2).await?;
    let log = gateway.log();
    let told: Vec<_> = log
        .iter()
        .filter(|line| line.contains("record_left_out"))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let of_grant = told.iter().find(|line| line.contains(&id));
    assert!(
        of_grant.is_some_and(|line| line.contains("record_unreadable")),
        "{told:?}"
    );

    // Somebody logs in; the app of theirs that is removed is gone, and what may be left of it is told.
    let again = fixture
        .client("Bystander")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    assert_eq!(status(&fixture, &again).await?, 200);
    let removed = command(gateway, &["clients", "rm", &bystander.client_id], "").await?;
    assert_ne!(removed.code, 0, "{removed:?}");
    assert!(
        removed.errors.contains("the client was removed"),
        "{removed:?}"
    );
    assert!(
        removed.errors.contains("gateway grants revoke"),
        "{removed:?}"
    );
    for token in [&kept, &again] {
        assert_eq!(status(&fixture, token).await?, 401);
    }
    assert_eq!(
        status(&fixture, &broken).await?,
        200,
        "it stands in its token"
    );
    let revoked = done(gateway, &["grants", "revoke", &id], "").await?;
    assert_eq!(revoked.out, "revoked 1 grant\n");
    assert_eq!(status(&fixture, &broken).await?, 401);
    let removed = done(gateway, &["clients", "rm", &client.client_id], "").await?;
    assert!(removed.out.starts_with("removed; revoked 0"), "{removed:?}");
    Ok(())
}

#[tokio::test]
async fn revocations_that_cannot_be_read_are_told_as_such_and_a_start_does_not_wait() -> Result<()>
{
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let redis = fixture.redis.as_ref().context("this world has one")?;
    redis
        .say(&["ZADD", "gateway:revocations", "1000000", "nonsense"])
        .await?;
    let begun = Instant::now();
    let failed = fixture.replica(|setup| setup).await.err();
    let said = format!(
        "{:#}",
        failed.context("it knows nothing of what was revoked")?
    );
    assert!(
        said.contains("holds what the gateway did not write"),
        "{said}"
    );
    assert!(!said.contains("does not answer"), "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_former_owner_is_cut_off_and_the_start_goes_on_beside_a_record_that_cannot_be_read()
-> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let (client, broken) = fixture.signed_in().await?;
    let id = grant_of(&fixture, &client.client_id).await?;
    let kept = fixture
        .client("Bystander")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let redis = fixture.redis.as_ref().context("this world has one")?;
    redis
        .say(&["HSET", &format!("gateway:grant:{id}"), "value", "{"])
        .await?;
    let bob = Owner {
        name: "bob".into(),
        ..fixture.owner.clone()
    };
    // What is refused by its moment alone must be a second older than it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    fixture.gateway.setup().owner = Some(bob);
    fixture.gateway.restart().await?;
    for token in [&kept, &broken] {
        assert_eq!(status(&fixture, token).await?, 401);
    }
    let told = fixture.gateway.logged("former_owner_cut_off").await?;
    assert!(told.contains("record_unreadable"), "{told}");
    fixture.gateway.logged("former_owner_disabled").await?;
    Ok(())
}
