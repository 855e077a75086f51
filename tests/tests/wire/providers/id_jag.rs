//! Apps that the provider's word connects: its assertions (ID-JAG) at `/token`.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tests::fixture::StoreKind;
use tests::gateway::{Gateway, Setup};
use tests::http::{self, Reply};
use tests::mcp::{call, initialize, message, response, send};
use tests::operator;

use super::{ProviderFixture, access, on_both_stores, url};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(super) const HELPER_SECRET: &str = "a secret of the helper, long enough";
const RULES: &str =
    "id_jag = { clients = [\"helper\", \"other\", \"open\"], scopes = [\"look\", \"erase\"] }";

/// Two apps with a secret and one without, all named by the provider's rules, and one that is not.
const TABLES: &str = r#"
[[client]]
id = "helper"
name = "Helper"
redirect_uris = []
method = "client_secret_basic"
secret_hash = "123f2e8d348628c601dbe371aab264bb1cb23bbe7a13f10afd7081fed5aa547e"

[[client]]
id = "other"
name = "Other"
redirect_uris = []
method = "client_secret_post"
secret_hash = "123f2e8d348628c601dbe371aab264bb1cb23bbe7a13f10afd7081fed5aa547e"

[[client]]
id = "stranger"
name = "Stranger"
redirect_uris = []
method = "client_secret_post"
secret_hash = "123f2e8d348628c601dbe371aab264bb1cb23bbe7a13f10afd7081fed5aa547e"

[[client]]
id = "open"
name = "Open"
redirect_uris = ["http://127.0.0.1/callback"]

[scope.look]
words = "Look things up"
read_only = true

[scope.erase]
words = "Delete things for good"
tools = ["er*"]
includes = ["look"]

[scope.files]
words = "Open files"
methods = ["resources/*"]
"#;

pub(super) async fn world(store: StoreKind, login: &str) -> Result<ProviderFixture> {
    let login = format!("{login}\n{RULES}");
    ProviderFixture::start(store, "rs256", &login, TABLES).await
}

/// What the provider says of bob to the helper, unless it is said otherwise.
fn claims(world: &ProviderFixture) -> Value {
    json!({
        "sub": "bob",
        "aud": world.gateway().issuer(),
        "client_id": "helper",
        "resource": world.gateway().url("/mcp"),
        "scope": "look erase",
    })
}

/// The same with these changed; `null` leaves one out.
pub(super) async fn minted(world: &ProviderFixture, changes: Value) -> Result<String> {
    minted_with(world, changes, json!({})).await
}

async fn minted_with(world: &ProviderFixture, changes: Value, more: Value) -> Result<String> {
    let mut asked = more;
    asked["claims"] = merged(claims(world), changes);
    world.provider.id_jag(&asked).await
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Some(one), Some(other)) = (one.as_object_mut(), other.as_object()) {
        one.extend(other.clone());
    }
    one
}

/// The helper exchanges an assertion.
pub(super) async fn exchange(
    gateway: &Gateway,
    assertion: &str,
    more: &[(&str, &str)],
) -> Result<Reply> {
    exchange_as(gateway, "helper", assertion, more).await
}

pub(super) async fn exchange_as(
    gateway: &Gateway,
    client: &str,
    assertion: &str,
    more: &[(&str, &str)],
) -> Result<Reply> {
    let mut form = vec![("grant_type", GRANT), ("assertion", assertion)];
    form.push(("client_id", client));
    if client != "open" {
        form.push(("client_secret", HELPER_SECRET));
    }
    form.extend(more);
    http::post_form(&gateway.url("/token"), &form).await
}

async fn metadata(gateway: &Gateway) -> Result<Value> {
    let url = gateway.url("/.well-known/oauth-authorization-server");
    Ok(http::get(&url).await?.json())
}

async fn tools(gateway: &Gateway, token: &str) -> Result<Vec<String>> {
    let listed = message(2, "tools/list", &json!({}));
    let reply = send(&gateway.url("/mcp"), token, &listed).await?;
    let answer = response(&reply)?;
    let tools = answer["result"]["tools"].as_array().cloned();
    let names = tools.unwrap_or_default().into_iter();
    Ok(names
        .filter_map(|tool| tool["name"].as_str().map(str::to_owned))
        .collect())
}

async fn an_assertion_of_the_provider_connects_an_app_and_makes_the_person(
    store: StoreKind,
) -> Result<()> {
    let world = world(store, "allow = [\"*@example.com\"]").await?;
    let gateway = world.gateway();
    let said = metadata(gateway).await?;
    let profile = "urn:ietf:params:oauth:grant-profile:id-jag";
    assert_eq!(
        said["authorization_grant_profiles_supported"],
        json!([profile])
    );
    let types = said["grant_types_supported"].as_array().cloned();
    assert!(types.unwrap_or_default().contains(&json!(GRANT)), "{said}");

    let verified = json!({ "email": "bob@example.com", "email_verified": true });
    for key in ["RS256", "ES256", "EdDSA"] {
        let assertion = minted_with(&world, verified.clone(), json!({ "key": key })).await?;
        let reply = exchange(gateway, &assertion, &[]).await?;
        assert_eq!(reply.status, 200, "{key}: {}", reply.text);
        let tokens = reply.json();
        assert_eq!(tokens["scope"], "erase look", "{tokens}");
        assert!(tokens.get("refresh_token").is_none(), "{tokens}");
        let token = access(&tokens);
        let asked = send(&gateway.url("/mcp"), token, &initialize()).await?;
        assert_eq!(asked.status, 200, "{}", asked.text);
        let listed = tools(gateway, token).await?;
        assert!(listed.contains(&"look".to_owned()), "{listed:?}");
        let called = send(&gateway.url("/mcp"), token, &call(3, "look", &json!({}))).await?;
        assert_eq!(called.status, 200, "{}", called.text);
    }
    let ls = operator::done(gateway, &["users", "ls"], "").await?;
    assert!(ls.out.contains("corp (bob@example.com)"), "{}", ls.out);
    let (_, page) = world.log_in("bob").await?;
    let words = page.words();
    assert!(words.contains("Logged in as bob@example.com"), "{words}");
    assert!(words.contains("Allowed by Example Inc."), "{words}");
    let audit = world.audit("allowed by corp: scope erase look").await?;
    assert!(
        audit.contains("identity provider's assertion was exchanged"),
        "{audit}"
    );
    Ok(())
}

async fn what_is_not_for_this_app_here_and_now_is_refused_for_its_reason(
    store: StoreKind,
) -> Result<()> {
    let world = world(store, "allow = [\"*\"]").await?;
    let gateway = world.gateway();
    let issuer = gateway.issuer();
    for (changes, code, reason) in [
        (
            json!({ "aud": "https://other.example" }),
            "invalid_grant",
            "id_jag_audience",
        ),
        (
            json!({ "aud": [issuer, "https://other.example"] }),
            "invalid_grant",
            "id_jag_audience",
        ),
        (
            json!({ "aud": "rs256" }),
            "invalid_grant",
            "id_jag_audience",
        ),
        (
            json!({ "client_id": "other" }),
            "invalid_grant",
            "id_jag_client_mismatch",
        ),
        (
            json!({ "client_id": null }),
            "invalid_grant",
            "id_jag_client_mismatch",
        ),
        (
            json!({ "resource": "https://other.example/mcp" }),
            "invalid_target",
            "resource_unknown",
        ),
        (
            json!({ "resource": null }),
            "invalid_grant",
            "id_jag_invalid",
        ),
        (json!({ "jti": null }), "invalid_grant", "id_jag_invalid"),
        (json!({ "life": 301 }), "invalid_grant", "id_jag_invalid"),
        (json!({ "age": 400 }), "invalid_grant", "id_token_expired"),
        (json!({ "age": -3600 }), "invalid_grant", "id_token_expired"),
        (
            json!({ "nbf": 99_999_999_999_u64 }),
            "invalid_grant",
            "id_token_expired",
        ),
        (
            json!({ "sub": null }),
            "invalid_grant",
            "id_token_malformed",
        ),
        (
            json!({ "iss": "https://evil.example" }),
            "invalid_grant",
            "id_jag_invalid",
        ),
    ] {
        let assertion = minted(&world, changes.clone()).await?;
        let reply = exchange(gateway, &assertion, &[]).await?;
        let seen = (reply.status, reply.error());
        assert_eq!(seen, (400, code.to_owned()), "{changes}: {}", reply.text);
        last_logged(gateway, reason)
            .await
            .with_context(|| format!("{changes}"))?;
    }
    // Nobody was made by any of them.
    let ls = operator::done(gateway, &["users", "ls"], "").await?;
    assert!(!ls.out.contains("corp"), "{}", ls.out);
    Ok(())
}

async fn what_is_forged_or_no_assertion_at_all_is_refused(store: StoreKind) -> Result<()> {
    let world = world(store, "allow = [\"*\"]").await?;
    let gateway = world.gateway();
    for (how, reason) in [
        (json!({ "header": { "typ": "JWT" } }), "id_jag_invalid"),
        (json!({ "header": { "typ": "at+jwt" } }), "id_jag_invalid"),
        (json!({ "header": { "typ": null } }), "id_jag_invalid"),
        (json!({ "forgery": "another key" }), "id_token_signature"),
        (json!({ "forgery": "unsigned" }), "id_token_algorithm"),
        (json!({ "forgery": "HMAC" }), "id_token_algorithm"),
    ] {
        let assertion = minted_with(&world, json!({}), how.clone()).await?;
        let reply = exchange(gateway, &assertion, &[]).await?;
        let seen = (reply.status, reply.error());
        assert_eq!(
            seen,
            (400, "invalid_grant".to_owned()),
            "{how}: {}",
            reply.text
        );
        last_logged(gateway, reason)
            .await
            .with_context(|| format!("{how}"))?;
    }
    for text in ["x", "a.b.c", "e30.e30.e30"] {
        let reply = exchange(gateway, text, &[]).await?;
        assert_eq!(reply.error(), "invalid_grant", "{text}: {}", reply.text);
        last_logged(gateway, "id_jag_invalid").await?;
    }
    Ok(())
}

/// Waits until the last refusal in the log has this reason.
pub(super) async fn last_logged(gateway: &Gateway, reason: &str) -> Result<()> {
    gateway.last_logged("token_refused", reason).await
}

async fn an_app_gets_what_it_asks_for_the_assertion_names_and_the_operator_lists(
    store: StoreKind,
) -> Result<()> {
    let world = world(store, "allow = [\"*\"]").await?;
    let gateway = world.gateway();
    for (said, asked, given) in [
        (json!("look"), None, "look"),
        (json!("look"), Some("look erase files"), "look"),
        (json!("erase"), Some("look"), "look"),
        (json!("look erase files"), None, "erase look"),
        (json!("look files"), Some("openid look"), "look"),
        (json!(null), Some("look"), "look"),
        (json!(null), None, "erase look"),
        (json!("look"), Some(""), "look"),
        (json!("mcp"), None, "erase look"),
    ] {
        let assertion = minted(&world, json!({ "scope": said })).await?;
        let more: Vec<(&str, &str)> = asked.map(|asked| ("scope", asked)).into_iter().collect();
        let reply = exchange(gateway, &assertion, &more).await?;
        assert_eq!(reply.status, 200, "{said} {asked:?}: {}", reply.text);
        let tokens = reply.json();
        assert_eq!(tokens["scope"], given, "{said} {asked:?}");
        if given == "look" {
            let erase = call(3, "erase", &json!({}));
            let reply = send(&gateway.url("/mcp"), access(&tokens), &erase).await?;
            assert_eq!(reply.status, 403, "{}", reply.text);
        }
    }
    for nothing in ["files", "unknown", ""] {
        let assertion = minted(&world, json!({ "scope": nothing })).await?;
        let reply = exchange(gateway, &assertion, &[]).await?;
        assert_eq!(reply.error(), "invalid_scope", "{nothing}: {}", reply.text);
        last_logged(gateway, "id_jag_scope_empty").await?;
    }
    let assertion = minted(&world, json!({})).await?;
    let reply = exchange(gateway, &assertion, &[("scope", "files")]).await?;
    assert_eq!(reply.error(), "invalid_scope", "{}", reply.text);
    // The request may name the backend, and no other.
    let here = gateway.url("/mcp");
    let reply = exchange(
        gateway,
        &assertion,
        &[("resource", "https://other.example/mcp")],
    )
    .await?;
    assert_eq!(reply.error(), "invalid_target", "{}", reply.text);
    let reply = exchange(gateway, &assertion, &[("resource", &here)]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    Ok(())
}

async fn only_apps_that_are_named_and_prove_who_they_are_may_come_with_one(
    store: StoreKind,
) -> Result<()> {
    let world = world(store, "allow = [\"*\"]").await?;
    let gateway = world.gateway();
    for client in ["stranger", "open"] {
        let assertion = minted(&world, json!({ "client_id": client })).await?;
        let reply = exchange_as(gateway, client, &assertion, &[]).await?;
        let seen = (reply.status, reply.error());
        assert_eq!(
            seen,
            (400, "unauthorized_client".to_owned()),
            "{}",
            reply.text
        );
        last_logged(gateway, "id_jag_client_not_allowed").await?;
    }
    let assertion = minted(&world, json!({})).await?;
    let form = [
        ("grant_type", GRANT),
        ("assertion", assertion.as_str()),
        ("client_id", "helper"),
    ];
    let reply = http::post_form(&gateway.url("/token"), &form).await?;
    assert_eq!(
        (reply.status, reply.error()),
        (401, "invalid_client".to_owned())
    );
    Ok(())
}

async fn an_assertion_counts_once_on_all_replicas(store: StoreKind) -> Result<()> {
    let world = world(store, "allow = [\"*\"]").await?;
    let gateway = world.gateway();
    let assertion = minted(&world, json!({ "jti": "one" })).await?;
    let (one, two) = tokio::join!(
        exchange(gateway, &assertion, &[]),
        exchange(gateway, &assertion, &[]),
    );
    let mut seen = [one?.status, two?.status];
    seen.sort_unstable();
    assert_eq!(seen, [200, 400]);
    let again = minted(&world, json!({ "jti": "one", "sub": "dan" })).await?;
    for text in [assertion.as_str(), &again] {
        let reply = exchange(gateway, text, &[]).await?;
        assert_eq!(
            (reply.status, reply.error()),
            (400, "invalid_grant".to_owned())
        );
        last_logged(gateway, "id_jag_reused").await?;
    }
    if store == StoreKind::Redis {
        let more = std::fs::read_to_string(gateway.folder().join("gateway.toml"))?;
        let from = more.find("[[login]]").unwrap_or_default();
        let tables = more[from..].split("[[backend]]").next().unwrap_or_default();
        let replica = world
            .fixture
            .replica(|setup: Setup| setup.more(tables))
            .await?;
        let host = url(&gateway.issuer());
        let host = format!("127.0.0.1:{}", host.port().unwrap_or(80));
        let there = |assertion: String| {
            let form = [
                ("grant_type", GRANT.to_owned()),
                ("assertion", assertion),
                ("client_id", "helper".to_owned()),
                ("client_secret", HELPER_SECRET.to_owned()),
            ];
            let request = http::client().post(replica.url("/token")).form(&form);
            http::send(request.header("Host", &host))
        };
        let reply = there(assertion).await?;
        assert_eq!(reply.error(), "invalid_grant", "{}", reply.text);
        last_logged(&replica, "id_jag_reused").await?;
        let reply = there(minted(&world, json!({})).await?).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    Ok(())
}

async fn it_is_off_unless_it_is_configured(store: StoreKind) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", "allow = [\"*\"]", TABLES).await?;
    let said = metadata(world.gateway()).await?;
    assert!(
        said.get("authorization_grant_profiles_supported").is_none(),
        "{said}"
    );
    assert!(
        !said["grant_types_supported"]
            .to_string()
            .contains("jwt-bearer"),
        "{said}"
    );
    let assertion = minted(&world, json!({})).await?;
    let reply = exchange(world.gateway(), &assertion, &[]).await?;
    let seen = (reply.status, reply.error());
    assert_eq!(seen, (400, "unsupported_grant_type".to_owned()));
    Ok(())
}

on_both_stores! {
    an_assertion_of_the_provider_connects_an_app_and_makes_the_person
    what_is_not_for_this_app_here_and_now_is_refused_for_its_reason
    what_is_forged_or_no_assertion_at_all_is_refused
    an_app_gets_what_it_asks_for_the_assertion_names_and_the_operator_lists
    only_apps_that_are_named_and_prove_who_they_are_may_come_with_one
    an_assertion_counts_once_on_all_replicas
    it_is_off_unless_it_is_configured
}
