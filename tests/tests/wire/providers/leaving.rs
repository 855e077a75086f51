//! Who leaves the provider, or is let in no more, is out here.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tests::fixture::StoreKind;
use tests::http;
use tests::sse::EventStream;

use super::{ProviderFixture, access, on_both_stores, status, url};

async fn a_logout_at_the_provider_ends_sessions_and_where_it_shall_streams(
    store: StoreKind,
) -> Result<()> {
    for (on_leave, ends) in [("keep", false), ("revoke", true)] {
        let login = format!("allow = [\"*\"]\non_leave = \"{on_leave}\"");
        let world = ProviderFixture::start(store, "rs256", &login, "").await?;
        let (mut bob, _) = world.log_in("bob").await?;
        let (mut dan, _) = world.log_in("dan").await?;
        let token = world.connect(&mut bob).await?;
        let kept = world.connect(&mut dan).await?;
        let stream = http::client().get(world.gateway().url("/mcp"));
        let mut stream = EventStream::open(stream.bearer_auth(access(&token))).await?;
        world
            .fixture
            .backend
            .await_streams(1, Duration::from_secs(5))
            .await?;
        let started = Instant::now();
        let told = world.provider.log_out("rs256", "bob").await?;
        assert_eq!(told["taken"], true, "{told}");
        let page = bob
            .here
            .visit(&url(&world.gateway().url("/account")))
            .await?;
        assert!(
            page.form_with_button(super::BUTTON).is_ok(),
            "{}",
            page.words()
        );
        let page = dan
            .here
            .visit(&url(&world.gateway().url("/account")))
            .await?;
        assert!(
            page.words().contains("Logged in as dan"),
            "{}",
            page.words()
        );
        let expected = if ends { 401 } else { 200 };
        assert_eq!(status(world.gateway(), access(&token)).await?, expected);
        assert_eq!(status(world.gateway(), access(&kept)).await?, 200);
        if ends {
            assert!(stream.end(Duration::from_secs(5)).await?);
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        // Nobody here, and still no fault.
        let told = world.provider.log_out("rs256", "nobody").await?;
        assert_eq!(told["taken"], true, "{told}");
        // For another application.
        let told = world.provider.log_out("es256", "bob").await?;
        assert_eq!(told["taken"], false, "{told}");
    }
    Ok(())
}

async fn a_logout_token_is_nothing_that_anybody_can_make(store: StoreKind) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", "allow = [\"*\"]", "").await?;
    let at = world.gateway().url("/login/corp/backchannel");
    for form in ["", "logout_token=x", "logout_token=a.b.c", "other=x"] {
        let request = http::client().post(&at).body(form);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let reply = http::send(request).await?;
        assert_eq!(reply.status, 400, "{form}: {}", reply.text);
    }
    let reply = http::post_json(&at, &json!({})).await?;
    assert_eq!(reply.status, 400, "{}", reply.text);
    Ok(())
}

async fn whom_no_rule_lets_in_any_more_is_out_at_the_next_attempt(store: StoreKind) -> Result<()> {
    let login = "allow = [\"group:engineering\"]\non_leave = \"revoke\"";
    let world = ProviderFixture::start(store, "rs256", login, "").await?;
    let (mut bob, _) = world.log_in("bob").await?;
    let token = world.connect(&mut bob).await?;
    assert_eq!(status(world.gateway(), access(&token)).await?, 200);
    world
        .provider
        .person("bob", json!({ "groups": ["sales"] }))
        .await?;
    let (_, page) = world.log_in("bob").await?;
    assert!(
        page.words()
            .contains("rule group:engineering: not in that group"),
        "{}",
        page.words()
    );
    assert_eq!(status(world.gateway(), access(&token)).await?, 401);
    let page = bob
        .here
        .visit(&url(&world.gateway().url("/account")))
        .await?;
    assert!(
        page.form_with_button(super::BUTTON).is_ok(),
        "{}",
        page.words()
    );
    Ok(())
}

async fn a_rule_that_is_taken_out_of_the_configuration_counts_no_more(
    store: StoreKind,
) -> Result<()> {
    let tables = "[tokens]\nrefresh = true\n";
    let mut world =
        ProviderFixture::start(store, "rs256", "allow = [\"*@example.com\"]", tables).await?;
    let (mut bob, _) = world.log_in("bob").await?;
    let client = tests::oauth::OAuthClient::register(&world.gateway().issuer(), "App").await?;
    let tokens = super::connect(&client, &mut bob).await?;
    let setup = world.fixture.gateway.setup();
    setup.more = setup.more.replace("*@example.com", "*@elsewhere.org");
    world.fixture.gateway.restart().await?;
    let refresh = tokens["refresh_token"].as_str().unwrap_or_default();
    let reply = client.refresh(refresh).await?;
    assert_eq!(
        (reply.status, reply.error()),
        (400, "invalid_grant".to_owned())
    );
    world.gateway().logged("\"person_not_allowed\"").await?;
    let page = bob
        .here
        .visit(&url(&world.gateway().url("/account")))
        .await?;
    assert!(
        page.form_with_button(super::BUTTON).is_ok(),
        "{}",
        page.words()
    );
    Ok(())
}

on_both_stores! {
    a_logout_at_the_provider_ends_sessions_and_where_it_shall_streams
    a_logout_token_is_nothing_that_anybody_can_make
    whom_no_rule_lets_in_any_more_is_out_at_the_next_attempt
    a_rule_that_is_taken_out_of_the_configuration_counts_no_more
}
