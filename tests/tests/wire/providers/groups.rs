//! Groups of the provider reach the policy, and hold no longer than they may.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::clock::Clock;
use tests::fixture::StoreKind;
use tests::mcp::{call, response, send};
use tests::oauth::OAuthClient;

use super::{ProviderFixture, access, connect, on_both_stores, status};

const POLICY: &str = "[policy]\nfile = \"policy.dl\"\n\
    [[group]]\nname = \"builders\"\nfrom = [\"corp:engineering\"]\nusers = [\"alice\"]\n";

async fn world(store: StoreKind, login: &str, more: &str) -> Result<ProviderFixture> {
    world_of(store, "rs256", login, more).await
}

async fn world_of(
    store: StoreKind,
    client: &str,
    login: &str,
    more: &str,
) -> Result<ProviderFixture> {
    // Written once: a gateway of another test may be reading it.
    static WRITTEN: OnceLock<String> = OnceLock::new();
    let policy = WRITTEN.get_or_init(|| {
        let file = std::env::temp_dir().join(format!("providers-{}.policy", std::process::id()));
        std::fs::write(&file, "allow if group(\"builders\");\n").expect("it is our own");
        file.display().to_string()
    });
    let tables = POLICY.replace("policy.dl", policy);
    ProviderFixture::start(store, client, login, &format!("{tables}{more}")).await
}

/// What the provider said holds for 24 seconds, and is asked for again after half of them. By a clock of
/// the gateway's own: ten seconds are left wherever something has to come in time. No step is as long as
/// what is known of revocations is good for.
const MAX_AGE: &str = "groups_max_age = \"24s\"";
const RENEWED: Duration = Duration::from_secs(14);
const OVER: Duration = Duration::from_secs(25);

async fn timed(store: StoreKind, client: &str, rules: &str) -> Result<(ProviderFixture, Clock)> {
    let login = format!("{rules}\n{MAX_AGE}");
    let mut world = world_of(store, client, &login, "[tokens]\nrefresh = true\n").await?;
    let (clock, gateway) = (Clock::new()?, &mut world.fixture.gateway);
    gateway.setup().environment.extend(clock.environment());
    gateway.restart().await?;
    Ok((world, clock))
}

async fn may_look(world: &ProviderFixture, token: &str) -> Result<bool> {
    let answer = send(
        &world.gateway().url("/mcp"),
        token,
        &call(3, "look", &json!({})),
    )
    .await?;
    let answer = response(&answer)?;
    Ok(answer["result"]["_meta"]["reason"] != "policy_denied" && answer["error"].is_null())
}

async fn a_policy_goes_by_the_groups_that_the_provider_says(store: StoreKind) -> Result<()> {
    let world = world(store, "allow = [\"*\"]", "").await?;
    let claims = json!({ "groups": ["sales", "builders"] });
    world.provider.person("sam", claims).await?;
    let (mut bob, _) = world.log_in("bob").await?;
    let token = world.connect(&mut bob).await?;
    assert!(may_look(&world, access(&token)).await?);
    // Of a name that is ours, and of none at all.
    let (mut sam, _) = world.log_in("sam").await?;
    let token = world.connect(&mut sam).await?;
    assert!(!may_look(&world, access(&token)).await?);
    let audit = world.audit("\"groups\":[\"corp:engineering\"]").await?;
    assert!(!audit.contains("corp:sales"), "{audit}");
    Ok(())
}

async fn what_the_provider_said_ends_in_time_and_a_refresh_says_to_log_in_again(
    store: StoreKind,
) -> Result<()> {
    let (world, clock) = timed(store, "rs256", "allow = [\"*\"]").await?;
    let client = OAuthClient::register(&world.gateway().issuer(), "App").await?;
    let (mut bob, _) = world.log_in("bob").await?;
    let tokens = connect(&client, &mut bob).await?;
    assert!(
        tokens["expires_in"].as_u64().context("a number")? <= 24,
        "{tokens}"
    );
    assert!(may_look(&world, access(&tokens)).await?);
    let refresh = |tokens: &Value| {
        let token = tokens["refresh_token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let client = client.clone();
        async move { client.refresh(&token).await }
    };
    let renewed = refresh(&tokens).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    // The group is taken away there; what is out ends with what was said.
    let claims = json!({ "email": "bob@example.com", "email_verified": true, "groups": [] });
    world.provider.person("bob", claims).await?;
    clock.put_ahead(OVER)?;
    let late = refresh(&renewed.json()).await?;
    assert_eq!(
        (late.status, late.error()),
        (400, "invalid_grant".to_owned())
    );
    world.gateway().logged("\"login_again\"").await?;
    // A session of then is over, too.
    let page = bob
        .here
        .visit(&super::url(&world.gateway().url("/account")))
        .await?;
    assert!(
        page.form_with_button(super::BUTTON).is_ok(),
        "{}",
        page.words()
    );
    // After another login the app goes on, without the group.
    let (mut bob, _) = world.log_in("bob").await?;
    let tokens = connect(&client, &mut bob).await?;
    assert_eq!(status(world.gateway(), access(&tokens)).await?, 200);
    assert!(!may_look(&world, access(&tokens)).await?);
    Ok(())
}

async fn what_a_renewal_does_not_say_stays_for_its_time_and_nobody_has_left_by_it(
    store: StoreKind,
) -> Result<()> {
    let rules = "allow = [\"group:engineering\"]\non_leave = \"revoke\"";
    let (world, clock) = timed(store, "offline", rules).await?;
    let client = OAuthClient::register(&world.gateway().issuer(), "App").await?;
    let (mut bob, _) = world.log_in("bob").await?;
    let tokens = connect(&client, &mut bob).await?;
    world.provider.user_info(503).await?;
    clock.put_ahead(RENEWED)?;
    let refresh = async |tokens: &Value| {
        let token = tokens["refresh_token"].as_str().unwrap_or_default();
        client.refresh(token).await
    };
    let renewed = refresh(&tokens).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    assert!(may_look(&world, access(&renewed.json())).await?);
    clock.put_ahead(OVER)?;
    let waits = refresh(&renewed.json()).await?;
    let expected = (503, "temporarily_unavailable");
    assert_eq!((waits.status, waits.error().as_str()), expected);
    // Nor by a login; and when the provider says it again, all is as it was.
    let (_, page) = world.log_in("bob").await?;
    let words = page.words();
    assert!(words.contains("Reason provider_unreachable"), "{words}");
    world.provider.user_info(200).await?;
    world.log_in("bob").await?;
    let renewed = refresh(&renewed.json()).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    assert!(may_look(&world, access(&renewed.json())).await?);
    Ok(())
}

async fn with_a_refresh_token_of_the_provider_groups_are_renewed_and_nobody_logs_in(
    store: StoreKind,
) -> Result<()> {
    let (mut world, clock) = timed(store, "offline", "allow = [\"*\"]").await?;
    let client = OAuthClient::register(&world.gateway().issuer(), "App").await?;
    let (mut bob, _) = world.log_in("bob").await?;
    let tokens = connect(&client, &mut bob).await?;
    assert!(may_look(&world, access(&tokens)).await?);
    let refresh = async |tokens: &Value| {
        let token = tokens["refresh_token"].as_str().unwrap_or_default();
        client.refresh(token).await
    };
    // Taken away there, and the app never hears of it.
    world
        .provider
        .person("bob", json!({ "groups": ["sales"] }))
        .await?;
    clock.put_ahead(RENEWED)?;
    let renewed = refresh(&tokens).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let tokens = renewed.json();
    assert!(!may_look(&world, access(&tokens)).await?);
    // Given back, long after all that was said at the login.
    let claims = json!({ "groups": ["engineering"] });
    world.provider.person("bob", claims).await?;
    clock.put_ahead(2 * RENEWED)?;
    let renewed = refresh(&tokens).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let tokens = renewed.json();
    assert!(may_look(&world, access(&tokens)).await?);
    // While the provider is away what it said holds for its time; then the app is told to wait.
    world.provider.kill().await?;
    clock.put_ahead(3 * RENEWED)?;
    let renewed = refresh(&tokens).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let tokens = renewed.json();
    clock.put_ahead(2 * RENEWED + OVER)?;
    let waits = refresh(&tokens).await?;
    assert_eq!(
        (waits.status, waits.error().as_str()),
        (503, "temporarily_unavailable")
    );
    for said in ["renewal_failed", "provider_unreachable"] {
        world.gateway().logged(said).await?;
    }
    Ok(())
}

on_both_stores! {
    a_policy_goes_by_the_groups_that_the_provider_says
    what_the_provider_said_ends_in_time_and_a_refresh_says_to_log_in_again
    what_a_renewal_does_not_say_stays_for_its_time_and_nobody_has_left_by_it
    with_a_refresh_token_of_the_provider_groups_are_renewed_and_nobody_logs_in
}
