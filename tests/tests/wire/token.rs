//! `/token`: the code, its proof, its single use.

mod concurrent;
mod secrets;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http;
use tests::mcp;
use tests::oauth::{Authorization, OAuthClient, Pkce, REDIRECT_URI};

async fn fresh_code(fixture: &Fixture, client: &OAuthClient) -> Result<(String, Authorization)> {
    let request = client.authorization();
    let callback = client.allow(&request, &fixture.owner).await?;
    Ok((callback.code(), request))
}

#[tokio::test]
async fn a_code_becomes_a_bearer_token_of_24_hours() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (code, request) = fresh_code(&fixture, &client).await?;
    let reply = client.redeem(&code, &request.pkce.verifier).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.header("content-type").starts_with("application/json"));
    assert!(reply.header("cache-control").contains("no-store"));
    assert_eq!(reply.header("pragma"), "no-cache");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    let answer = reply.json();
    assert!(
        answer["token_type"]
            .as_str()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
    );
    assert_eq!(answer["expires_in"], 86400);
    assert_eq!(answer["scope"], "mcp");
    assert!(answer.get("refresh_token").is_none(), "refresh is off");
    let token = answer["access_token"].as_str().expect("a string");
    assert!(token.len() < 4096 && token.is_ascii());
    assert_eq!(
        mcp::send(&fixture.url("/mcp"), token, &mcp::initialize())
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_code_redeemed_twice_revokes_its_tokens() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (code, request) = fresh_code(&fixture, &client).await?;
    let token = client.redeem(&code, &request.pkce.verifier).await?.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    tokio::time::sleep(PAST_RETRIES).await;
    let replay = client.redeem(&code, &request.pkce.verifier).await?;
    assert_eq!(
        (replay.status, replay.error().as_str()),
        (400, "invalid_grant")
    );
    let reply = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
    assert_eq!(
        reply.status, 401,
        "the token of a replayed code is still good"
    );
    Ok(())
}

#[tokio::test]
async fn a_replay_by_someone_who_cannot_prove_anything_revokes_nothing() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let other = fixture.client("Other").await?;
    let (code, request) = fresh_code(&fixture, &client).await?;
    let token = client.redeem(&code, &request.pkce.verifier).await?.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    for attempt in [
        client.redeem(&code, &Pkce::fresh().verifier).await?,
        other.redeem(&code, &request.pkce.verifier).await?,
    ] {
        assert_eq!(
            (attempt.status, attempt.error().as_str()),
            (400, "invalid_grant"),
            "{}",
            attempt.text
        );
    }
    assert_eq!(
        mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize())
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_code_presented_wrongly_gives_no_token_and_stays_good_for_its_client() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let other = fixture.client("Other").await?;
    let (code, request) = fresh_code(&fixture, &client).await?;
    let with = |name: &str, value: &str| -> Vec<(String, String)> {
        let fields = client.token_request(&code, &request.pkce.verifier);
        let changed = |(key, old): (String, String)| {
            (key.clone(), if key == name { value.into() } else { old })
        };
        fields.into_iter().map(changed).collect()
    };
    let flipped = format!(
        "{}{}",
        if code.starts_with('A') { 'B' } else { 'A' },
        &code[1..]
    );
    for (what, fields) in [
        ("truncated", with("code", &code[..code.len() - 1])),
        ("extended", with("code", &format!("{code}A"))),
        ("flipped", with("code", &flipped)),
        ("with a blank", with("code", &format!("{code} "))),
        ("empty", with("code", "")),
        ("another's client_id", with("client_id", &other.client_id)),
        (
            "another redirect_uri",
            with("redirect_uri", "http://127.0.0.1:53680/other"),
        ),
        (
            "another verifier",
            with("code_verifier", &Pkce::fresh().verifier),
        ),
        (
            "the challenge as verifier",
            with("code_verifier", &request.pkce.challenge),
        ),
        ("a short verifier", with("code_verifier", "short")),
        ("no verifier", with("code_verifier", "")),
    ] {
        let reply = client.token(&fields).await?;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text);
        let error = reply.error();
        assert!(
            ["invalid_grant", "invalid_request"].contains(&error.as_str()),
            "{what}: {}",
            reply.text
        );
        assert!(reply.header("cache-control").contains("no-store"), "{what}");
    }
    let reply = client.redeem(&code, &request.pkce.verifier).await?;
    assert_eq!(
        reply.status, 200,
        "an attacker's guesses cost the code its life: {}",
        reply.text
    );
    Ok(())
}

#[tokio::test]
async fn the_verifier_must_be_a_verifier() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    for (what, make) in [
        ("42 characters", "a".repeat(42)),
        ("129 characters", "a".repeat(129)),
        ("characters outside the set", format!("{}!", "a".repeat(42))),
        ("empty", String::new()),
    ] {
        // A challenge that the bad verifier would even meet.
        let mut request = client.authorization();
        request = request.with("code_challenge", &tests::oauth::challenge_of(&make));
        let callback = client.allow(&request, &fixture.owner).await?;
        let reply = client.redeem(&callback.code(), &make).await?;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text);
    }
    let request = client.authorization();
    let callback = client.allow(&request, &fixture.owner).await?;
    let reply = client
        .redeem(&callback.code(), &request.pkce.challenge)
        .await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "invalid_grant"),
        "the challenge as verifier"
    );
    let callback = client.allow(&request, &fixture.owner).await?;
    let fields: Vec<_> = client
        .token_request(&callback.code(), "")
        .into_iter()
        .filter(|(name, _)| name != "code_verifier")
        .collect();
    assert_eq!(
        client.token(&fields).await?.status,
        400,
        "no verifier at all"
    );
    Ok(())
}

/// After the time in which the same request is the client's own retry.
const PAST_RETRIES: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn a_code_dies_after_a_minute() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (code, request) = fresh_code(&fixture, &client).await?;
    tokio::time::sleep(Duration::from_secs(62)).await;
    let reply = client.redeem(&code, &request.pkce.verifier).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "invalid_grant")
    );
    Ok(())
}

#[tokio::test]
async fn codes_and_tokens_never_repeat() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let mut seen = HashSet::new();
    for _ in 0..10 {
        let (code, request) = fresh_code(&fixture, &client).await?;
        let token =
            client.redeem(&code, &request.pkce.verifier).await?.json()["access_token"].to_string();
        assert!(seen.insert(code) && seen.insert(token));
    }
    Ok(())
}

#[tokio::test]
async fn requests_that_make_no_sense_get_the_rfcs_errors() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let url = fixture.url("/token");
    let id = client.client_id.as_str();
    for (fields, error) in [
        (vec![("client_id", id)], "invalid_request"),
        (
            vec![
                ("grant_type", "password"),
                ("client_id", id),
                ("username", "a"),
                ("password", "b"),
            ],
            "unsupported_grant_type",
        ),
        (
            vec![("grant_type", "client_credentials"), ("client_id", id)],
            "unsupported_grant_type",
        ),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", id),
                ("refresh_token", "x"),
            ],
            "invalid_grant",
        ),
        (
            vec![("grant_type", "authorization_code"), ("client_id", id)],
            "invalid_request",
        ),
        (
            vec![
                ("grant_type", "authorization_code"),
                ("grant_type", "authorization_code"),
                ("client_id", id),
                ("code", "x"),
            ],
            "invalid_request",
        ),
        (
            vec![
                ("grant_type", "authorization_code"),
                ("client_id", id),
                ("code", "x"),
                ("code_verifier", &"v".repeat(43)),
            ],
            "invalid_grant",
        ),
    ] {
        let reply = http::post_form(&url, &fields).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, error),
            "{fields:?}: {}",
            reply.text
        );
        assert!(
            reply.header("cache-control").contains("no-store"),
            "{fields:?}"
        );
    }
    let reply = http::post_form(
        &url,
        &[
            ("grant_type", "authorization_code"),
            ("client_id", "nobody"),
            ("code", "x"),
            ("code_verifier", &"v".repeat(43)),
        ],
    )
    .await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (401, "invalid_client")
    );
    for (kind, body) in [
        ("application/json", r#"{"grant_type":"authorization_code"}"#),
        ("multipart/form-data; boundary=x", "--x--"),
        (
            "application/x-www-form-urlencoded-not",
            "grant_type=authorization_code",
        ),
        ("", "grant_type=authorization_code"),
        (
            "application/x-www-form-urlencoded",
            "%ff%fe=%00&&&==&grant_type",
        ),
    ] {
        let reply = http::post(&url, kind, body, &[]).await?;
        assert!(
            [400, 401].contains(&reply.status),
            "{kind}: {} {}",
            reply.status,
            reply.text
        );
        assert!(reply.json()["error"].is_string());
    }
    for method in ["GET", "PUT", "DELETE"] {
        let reply = http::ask(method, &format!("{url}?grant_type=authorization_code"), &[]).await?;
        assert_eq!(reply.status, 405, "{method}: {}", reply.text);
    }
    Ok(())
}

#[tokio::test]
async fn a_resource_that_is_not_the_consented_one_is_invalid_target_and_costs_nothing() -> Result<()>
{
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (code, request) = fresh_code(&fixture, &client).await?;
    for resource in [
        "https://other.example/mcp",
        "not a url",
        "",
        "http://127.0.0.1:1/mcp",
    ] {
        let mut fields = client.token_request(&code, &request.pkce.verifier);
        fields.push(("resource".into(), resource.into()));
        if resource.is_empty() {
            continue;
        }
        let reply = client.token(&fields).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "invalid_target"),
            "{resource}: {}",
            reply.text
        );
    }
    let mut fields = client.token_request(&code, &request.pkce.verifier);
    fields.push((
        "resource".into(),
        format!("{}/mcp", fixture.gateway.issuer()),
    ));
    assert_eq!(
        client.token(&fields).await?.status,
        200,
        "the code was used up by a request that named another resource"
    );
    Ok(())
}
