//! How what apps have by the provider's word ends and is taken back, and a provider that is away.

use anyhow::Result;
use serde_json::{Value, json};
use tests::fixture::StoreKind;
use tests::{http, operator};

use super::id_jag::{HELPER_SECRET, exchange, exchange_as, last_logged, minted, world};
use super::{access, on_both_stores, status, url};

async fn the_rules_decide_by_what_is_said_now_else_by_what_the_last_login_said(
    store: StoreKind,
) -> Result<()> {
    let rules = "allow = [\"*@example.com\", \"group:staff\"]\non_leave = \"revoke\"";
    let world = world(store, rules).await?;
    let gateway = world.gateway();
    let refused = |changes: Value| async {
        let assertion = minted(&world, changes).await?;
        let reply = exchange(gateway, &assertion, &[]).await?;
        assert_eq!(reply.error(), "invalid_grant", "{}", reply.text);
        last_logged(gateway, "person_not_allowed").await?;
        anyhow::Ok(reply.text)
    };
    // Nothing is known of bob yet, and an address that may be anybody's is none.
    for changes in [json!({}), json!({ "email": "bob@example.com" })] {
        let text = refused(changes).await?;
        assert!(!text.contains("example.com"), "{text}");
    }
    let (_, page) = world.log_in("bob").await?;
    assert!(page.words().contains("Logged in as bob@example.com"));
    let assertion = minted(&world, json!({})).await?;
    let reply = exchange(gateway, &assertion, &[]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let token = reply.json();
    // A group lets somebody in who never came by.
    let dan = json!({ "sub": "dan", "groups": ["staff"] });
    let assertion = minted(&world, dan).await?;
    let reply = exchange(gateway, &assertion, &[]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // Who has left is out with all that is left.
    assert_eq!(status(gateway, access(&token)).await?, 200);
    let left = json!({ "email": "bob@other.org", "email_verified": true, "groups": [] });
    refused(left).await?;
    assert_eq!(status(gateway, access(&token)).await?, 401);
    Ok(())
}

async fn what_was_taken_back_does_not_come_again_until_that_is_lifted(
    store: StoreKind,
) -> Result<()> {
    let world = world(store, "allow = [\"*\"]").await?;
    let gateway = world.gateway();
    let (mut bob, _) = world.log_in("bob").await?;
    let connected = || async {
        let assertion = minted(&world, json!({})).await?;
        let reply = exchange(gateway, &assertion, &[]).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text);
        anyhow::Ok(reply.json())
    };
    let withheld = || async {
        connected().await.expect_err("connected");
        last_logged(gateway, "id_jag_withheld").await
    };
    let (one, two) = (connected().await?, connected().await?);
    let account = url(&gateway.url("/account"));
    let page = bob.here.visit(&account).await?;
    // One of the two takes the other along: it could not be had again.
    let form = page.form_with_button("Revoke this one alone")?;
    for _ in 0..2 {
        let revoked = bob.here.submit(&form).await?;
        let words = revoked.words();
        assert!(
            words.contains("does not bring it back until you let it in again"),
            "{words}"
        );
    }
    for token in [&one, &two] {
        assert_eq!(status(gateway, access(token)).await?, 401);
    }
    withheld().await?;
    // Another app and another person are not meant.
    for (client, changes) in [
        ("other", json!({ "client_id": "other" })),
        ("helper", json!({ "sub": "dan" })),
    ] {
        let assertion = minted(&world, changes).await?;
        let reply = exchange_as(gateway, client, &assertion, &[]).await?;
        assert_eq!(reply.status, 200, "{client}: {}", reply.text);
    }
    let page = bob.here.visit(&account).await?;
    let form = page.form_with_button("Let it in again")?;
    let lifted = bob.here.submit(&form).await?;
    assert!(
        lifted
            .words()
            .contains("may be connected by your organisation again"),
        "{}",
        lifted.words()
    );
    let again = bob.here.submit(&form).await?;
    assert!(
        again.words().contains("might connect that app before"),
        "{}",
        again.words()
    );
    let tokens = connected().await?;

    // The operator's word counts as well.
    let ls = operator::done(
        gateway,
        &["grants", "ls", "--client", "helper", "--json"],
        "",
    )
    .await?;
    let grants = ls.json()["grants"].as_array().cloned().unwrap_or_default();
    let of_bob = grants
        .iter()
        .find(|grant| grant["user_name"] == "bob@example.com");
    let of_bob = of_bob.cloned().unwrap_or_default();
    assert_eq!(of_bob["allowed_by"], "corp", "{grants:?}");
    let id = of_bob["id"].as_str().unwrap_or_default();
    operator::done(gateway, &["grants", "revoke", id], "").await?;
    assert_eq!(status(gateway, access(&tokens)).await?, 401);
    withheld().await?;
    let words = ["users", "readmit", "bob@example.com", "helper"];
    operator::done(gateway, &words, "").await?;
    let nothing = operator::command(gateway, &words, "").await?;
    assert_eq!(nothing.code, 1, "{nothing:?}");
    connected().await?;
    operator::done(
        gateway,
        &["grants", "revoke", "--user", "bob@example.com"],
        "",
    )
    .await?;
    withheld().await?;
    operator::done(gateway, &words, "").await?;

    // An app that gives its access back, and a provider that logs somebody out, refuse nothing.
    let tokens = connected().await?;
    let form = [
        ("token", access(&tokens)),
        ("client_id", "helper"),
        ("client_secret", HELPER_SECRET),
    ];
    let reply = http::post_form(&gateway.url("/revoke"), &form).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(status(gateway, access(&tokens)).await?, 401);
    connected().await?;

    operator::done(gateway, &["users", "disable", "bob@example.com"], "").await?;
    connected().await.expect_err("disabled");
    last_logged(gateway, "user_disabled").await
}

async fn a_logout_at_the_provider_ends_it_as_what_the_person_allowed(
    store: StoreKind,
) -> Result<()> {
    let world = world(store, "allow = [\"*\"]\non_leave = \"revoke\"").await?;
    let gateway = world.gateway();
    let assertion = minted(&world, json!({})).await?;
    let tokens = exchange(gateway, &assertion, &[]).await?.json();
    assert_eq!(status(gateway, access(&tokens)).await?, 200);
    let told = world.provider.log_out("rs256", "bob").await?;
    assert_eq!(told["taken"], true, "{told}");
    assert_eq!(status(gateway, access(&tokens)).await?, 401);
    Ok(())
}

async fn keys_that_are_new_are_found_and_a_provider_that_is_away_is_waited_for(
    store: StoreKind,
) -> Result<()> {
    let mut world = world(store, "allow = [\"*\"]").await?;
    let assertion = minted(&world, json!({})).await?;
    let reply = exchange(world.gateway(), &assertion, &[]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    world.provider.kill().await?;
    // Its keys are known, so its word counts while it is away.
    world.start_provider().await?;
    let assertion = minted(&world, json!({})).await?;
    let reply = exchange(world.gateway(), &assertion, &[]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let fresh = minted(&world, json!({})).await?;
    world.provider.kill().await?;
    world.fixture.gateway.restart().await?;
    let reply = exchange(world.gateway(), &fresh, &[]).await?;
    let seen = (reply.status, reply.error());
    assert_eq!(
        seen,
        (503, "temporarily_unavailable".to_owned()),
        "{}",
        reply.text
    );
    last_logged(world.gateway(), "provider_unreachable").await?;
    Ok(())
}

on_both_stores! {
    the_rules_decide_by_what_is_said_now_else_by_what_the_last_login_said
    what_was_taken_back_does_not_come_again_until_that_is_lifted
    a_logout_at_the_provider_ends_it_as_what_the_person_allowed
    keys_that_are_new_are_found_and_a_provider_that_is_away_is_waited_for
}
