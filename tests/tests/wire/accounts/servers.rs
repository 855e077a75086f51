//! Authorization servers of other make: the certified `oidc-provider`, those with a form of their own, and
//! one that exchanges.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Owner;
use tests::http;
use tests::identity_provider::{IdentityProvider, Person, SECRET};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Recorder};

use super::url;

/// A gateway whose backend takes tokens of a server of the test's own.
async fn in_front_of(account: &str) -> Result<Fixture> {
    let more = format!("[backend.account]\n{account}\n");
    Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await
}

/// What the backend was shown last.
fn shown(fixture: &Fixture) -> Option<String> {
    let asked = fixture.backend.requests();
    let mut latest = asked.iter().rev();
    let authorization = latest.find_map(|asked| asked.header("authorization"));
    authorization.map(str::to_owned)
}

#[tokio::test]
async fn a_certified_provider_is_found_and_another_account_than_last_time_is_said() -> Result<()> {
    let mut provider = IdentityProvider::new("oidc.mjs")?;
    let account = format!(
        "kind = \"oauth\"\nissuer = \"{}\"\nclient_id = \"offline\"\nclient_secret = \"{SECRET}\"\n\
         scopes = [\"openid\", \"email\", \"offline_access\"]\nextra = {{ prompt = \"consent\" }}\n\
         resource = false",
        provider.issuer()
    );
    let fixture = in_front_of(&account).await?;
    let gateway = &fixture.gateway;
    let callback = gateway.url("/connect/main/callback");
    provider.arguments(&[callback, gateway.url("/login/x/backchannel")]);
    provider.start().await?;
    let alice = Owner::alice();
    let mut person = Person::default();
    let page = person.here.visit(&url(gateway, "/connect/main")).await?;
    let page = person
        .here
        .log_in(&page, &alice.name, &alice.password)
        .await?;
    let page = person.log_in(&page, "Go there", "alice").await?;
    assert_eq!(page.url.path(), "/account", "{}", page.words());
    assert!(
        page.words().contains("Your accounts elsewhere"),
        "{}",
        page.words()
    );

    // Somebody else logs in there the next time, in a browser without the session of before.
    person.there = Default::default();
    let page = person.here.visit(&url(gateway, "/connect/main")).await?;
    assert!(
        page.words().contains("You have connected one"),
        "{}",
        page.words()
    );
    let page = person.log_in(&page, "Go there", "somebody-else").await?;
    let words = page.words();
    assert!(words.contains("another account than last time"), "{words}");
    // The same once more is no other.
    let page = person.here.visit(&url(gateway, "/connect/main")).await?;
    let page = person.log_in(&page, "Go there", "somebody-else").await?;
    assert_eq!(page.url.path(), "/account", "{}", page.words());
    Ok(())
}

/// A server that takes JSON alone, with HTTP Basic, and says whose account it is in a way of its own.
fn like_notion(request: &Recorded) -> Answer {
    let body = request.json();
    let is_understood = request.header("authorization").is_some() && body["code"] == "a-code";
    match (request.path(), is_understood) {
        ("/token", true) => Answer::json(
            200,
            &json!({"access_token": "ntn-token", "workspace_name": "Alice's", "workspace_id": "w-1"}),
        ),
        _ => Answer::json(
            400,
            &json!({"object": "error", "status": 400, "code": "validation_error"}),
        ),
    }
}

#[tokio::test]
async fn a_token_endpoint_that_takes_json_alone_is_understood_and_a_token_without_an_end_stays()
-> Result<()> {
    let server = Recorder::start(like_notion).await?;
    let fixture = in_front_of(&format!(
        "kind = \"oauth\"\nauthorization_endpoint = \"{0}/authorize\"\ntoken_endpoint = \"{0}/token\"\n\
         client_id = \"gateway\"\nclient_secret = \"s3cret\"\nresource = false",
        server.url()
    ))
    .await?;
    let gateway = &fixture.gateway;
    let alice = Owner::alice();
    let client = OAuthClient::register(&gateway.origin(), "Notes").await?;
    let mut browser = tests::browser::Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser.log_in(&page, &alice.name, &alice.password).await?;
    let form = page.form_with_button("Go there")?.press("Go there")?;
    let left = browser.submit(&form).await?;
    let to = left.location().context("it leads there")?;
    let parameters: std::collections::BTreeMap<_, _> = to.query_pairs().into_owned().collect();
    for (name, value) in [("client_id", "gateway"), ("code_challenge_method", "S256")] {
        assert_eq!(
            parameters.get(name).map(String::as_str),
            Some(value),
            "{to}"
        );
    }
    assert!(!parameters.contains_key("resource") && !parameters.contains_key("scope"));
    let mut back = url(gateway, "/connect/main/callback");
    back.query_pairs_mut()
        .append_pair("code", "a-code")
        .append_pair("state", &parameters["state"]);
    let page = browser.visit(&back).await?;
    assert!(page.words().contains("look"), "{}", page.words());
    assert_eq!(shown(&fixture).as_deref(), Some("Bearer ntn-token"));
    let page = browser.visit(&url(gateway, "/account")).await?;
    assert!(page.words().contains("Alice's"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn what_the_gateway_says_of_who_calls_is_exchanged_and_nobody_connects_anything() -> Result<()>
{
    let server = Recorder::start(|request| {
        let form: std::collections::BTreeMap<_, _> = ::url::form_urlencoded::parse(&request.body)
            .into_owned()
            .collect();
        let subject = form.get("subject_token").cloned().unwrap_or_default();
        let claims = claims(&subject).unwrap_or_default();
        let name = claims["preferred_username"].as_str().unwrap_or("nobody");
        let token = json!({"access_token": format!("for-{name}"), "expires_in": 60});
        Answer::json(200, &token)
    })
    .await?;
    let fixture = in_front_of(&format!(
        "kind = \"exchange\"\ntoken_endpoint = \"{}/token\"\nclient_id = \"gateway\"\n\
         client_secret = \"s3cret\"\nscopes = [\"calls\"]",
        server.url()
    ))
    .await?;
    let gateway = &fixture.gateway;
    super::with_bob(gateway).await?;
    let client = OAuthClient::register(&gateway.origin(), "Notes").await?;
    for who in [Owner::alice(), super::bob()] {
        let mut browser = tests::browser::Browser::default();
        let page = browser.visit(&client.authorization().url()).await?;
        let page = browser.log_in(&page, &who.name, &who.password).await?;
        assert!(page.words().contains("look"), "{}", page.words());
        assert_eq!(shown(&fixture), Some(format!("Bearer for-{}", who.name)));
        let page = browser.visit(&url(gateway, "/account")).await?;
        assert!(
            !page.words().contains("Your accounts elsewhere"),
            "{}",
            page.words()
        );
    }
    let asked = server.requests();
    assert_eq!(asked.len(), 2, "one exchange for each person");
    let form: std::collections::BTreeMap<_, _> = ::url::form_urlencoded::parse(&asked[0].body)
        .into_owned()
        .collect();
    assert_eq!(
        form["grant_type"],
        "urn:ietf:params:oauth:grant-type:token-exchange"
    );
    assert_eq!(form["scope"], "calls");
    assert!(
        asked[0]
            .header("authorization")
            .is_some_and(|it| it.starts_with("Basic "))
    );
    let claims = claims(&form["subject_token"]).context("it is a JWT")?;
    assert_eq!(claims["iss"], gateway.issuer());
    let lasts = claims["exp"].as_u64().zip(claims["iat"].as_u64());
    assert!(
        lasts.is_some_and(|(end, begin)| end - begin <= 60),
        "{claims}"
    );
    let keys = http::get(&gateway.url("/connect/keys")).await?.json();
    let head =
        URL_SAFE_NO_PAD.decode(form["subject_token"].split('.').next().unwrap_or_default())?;
    let head: Value = serde_json::from_slice(&head)?;
    assert_eq!(head["kid"], keys["keys"][0]["kid"], "{keys}");
    Ok(())
}

fn claims(token: &str) -> Option<Value> {
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&part).ok()
}
