//! A provider that does not answer, not all that it is asked, or no.

use anyhow::{Context, Result};
use serde_json::json;
use tests::fixture::StoreKind;
use tests::identity_provider::{IdentityProvider, Person};
use tests::oauth::OAuthClient;

use super::{BUTTON, DOMAIN, ProviderFixture, access, on_both_stores, status, url};

async fn a_provider_that_is_away_stops_its_own_logins_and_nothing_else(
    store: StoreKind,
) -> Result<()> {
    let provider = IdentityProvider::new("oidc.mjs")?;
    let mut world = ProviderFixture::before(store, provider, "rs256", DOMAIN, "").await?;
    let away = async |world: &ProviderFixture| -> Result<()> {
        let mut person = Person::default();
        let page = person
            .here
            .visit(&url(&world.gateway().url("/account")))
            .await?;
        let refused = person.press(&page, BUTTON).await?;
        let words = refused.words();
        assert_eq!(refused.reply.status, 502, "{words}");
        assert!(words.contains("Reason provider_unreachable"), "{words}");
        // The password goes on, at the same page.
        let owner = &world.fixture.owner;
        let page = person
            .here
            .log_in(&page, &owner.name, &owner.password)
            .await?;
        assert_eq!(page.url.path(), "/account");
        Ok(())
    };
    away(&world).await?;
    world.start_provider().await?;
    let (mut bob, page) = world.log_in("bob").await?;
    assert_eq!(page.url.path(), "/account", "{}", page.words());
    let token = world.connect(&mut bob).await?;
    // It dies while somebody is there: what is known of it is still good, and its answer is not had.
    let mut carol = Person::default();
    let page = carol
        .here
        .visit(&url(&world.gateway().url("/account")))
        .await?;
    let started = carol.press(&page, BUTTON).await?;
    let back = carol.log_in_there(&started, "bob").await?;
    world.provider.kill().await?;
    let page = carol.here.visit(&back).await?;
    assert_eq!(page.reply.status, 502, "{}", page.words());
    assert!(page.words().contains("provider_unreachable"));
    assert_eq!(status(world.gateway(), access(&token)).await?, 200);
    // With other keys it comes back, and nobody waits for the old ones to be forgotten.
    world.start_provider().await?;
    let (_, page) = world.log_in("bob").await?;
    assert_eq!(page.url.path(), "/account", "{}", page.words());
    Ok(())
}

async fn a_user_info_that_is_not_had_stops_no_login_that_needs_none(
    store: StoreKind,
) -> Result<()> {
    let in_id_token = |mut provider: IdentityProvider| {
        provider.environment("CLAIMS_IN_ID_TOKEN", "yes");
        provider
    };
    let login = "allow = [\"*@example.com\", \"group:dan\"]";
    let world = ProviderFixture::with(store, "rs256", login, "", in_id_token).await?;
    let claims = json!({ "email": "eve@example.com", "email_verified": true });
    world.provider.person("eve", claims).await?;
    let (mut dan, page) = world.log_in("dan").await?;
    assert_eq!(page.url.path(), "/account", "{}", page.words());
    for status in [403, 503] {
        world.provider.user_info(status).await?;
        let (_, page) = world.log_in("eve").await?;
        assert_eq!(page.url.path(), "/account", "{status}: {}", page.words());
    }
    // Whose groups it is that let them in has not left, either.
    let claims = json!({ "email": "dan@other.org", "email_verified": true });
    world.provider.person("dan", claims).await?;
    let (_, page) = world.log_in("dan").await?;
    let words = page.words();
    assert!(words.contains("Reason provider_unreachable"), "{words}");
    let account = url(&world.gateway().url("/account"));
    let page = dan.here.visit(&account).await?;
    assert!(
        page.words().contains("Logged in as dan"),
        "{}",
        page.words()
    );
    world.provider.user_info(200).await?;
    let (_, page) = world.log_in("dan").await?;
    let words = page.words();
    assert!(words.contains("Reason person_not_allowed"), "{words}");
    let page = dan.here.visit(&account).await?;
    assert!(page.form_with_button(BUTTON).is_ok(), "{}", page.words());
    Ok(())
}

async fn what_a_person_denied_at_the_provider_is_said_and_can_be_begun_again(
    store: StoreKind,
) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", DOMAIN, "").await?;
    let client = OAuthClient::register(&world.gateway().issuer(), "App").await?;
    let mut bob = Person::default();
    let page = bob.here.visit(&client.authorization().url()).await?;
    let started = bob.press(&page, BUTTON).await?;
    let there = started.location().context("a redirect")?;
    let state = there.query_pairs().find(|(name, _)| name == "state");
    let (_, state) = state.context("a state")?;
    let mut denied = url(&world.gateway().url("/login/corp/callback"));
    denied
        .query_pairs_mut()
        .append_pair("state", &state)
        .append_pair("error", "access_denied")
        .append_pair("error_description", "<b>no</b>")
        .append_pair("iss", &world.provider.issuer());
    let page = bob.here.open(&denied).await?;
    let words = page.words();
    assert_eq!(page.reply.status, 403);
    assert!(
        words.contains("the provider said: access_denied"),
        "{words}"
    );
    // Its words are there, and are words.
    assert!(words.contains("<b>no</b>"), "{words}");
    assert!(!page.reply.text.contains("<b>no"), "{}", page.reply.text);
    assert!(words.contains("Open the page again"), "{words}");
    Ok(())
}

on_both_stores! {
    what_a_person_denied_at_the_provider_is_said_and_can_be_begun_again
    a_provider_that_is_away_stops_its_own_logins_and_nothing_else
    a_user_info_that_is_not_had_stops_no_login_that_needs_none
}
