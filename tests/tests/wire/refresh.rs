//! Refresh tokens at `/token`: rotation, the grace, reuse, and what a hostile client tries.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tests::clock::Clock;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http::{self, Reply};
use tests::mcp;
use tests::oauth::{OAuthClient, REDIRECT_URI};
use tests::sse::EventStream;

/// The settings of an operator who turned refresh tokens on and nothing else.
const REFRESH: &str = "[tokens]\nrefresh = true\n";
/// With a grace that a test can wait for.
const TEN_SECONDS: &str = "[tokens]\nrefresh = true\nrefresh_grace = \"10s\"\n";
const SHORT_GRACE: &str = "[tokens]\nrefresh = true\nrefresh_grace = \"3s\"\n";

async fn fixture(store: StoreKind, tokens: &'static str) -> Result<Fixture> {
    Fixture::with(store, |setup| setup.more(tokens)).await
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {answer}"))
}

fn refused(reply: &Reply) -> (u16, String) {
    assert!(reply.header("cache-control").contains("no-store"));
    (reply.status, reply.error())
}

async fn calls(fixture: &Fixture, token: &str) -> Result<u16> {
    let reply = mcp::send(&fixture.url("/mcp"), token, &mcp::initialize()).await?;
    Ok(reply.status)
}

#[tokio::test]
async fn a_refresh_token_keeps_a_client_connected_across_restarts() -> Result<()> {
    let mut fixture = fixture(StoreKind::Embedded, REFRESH).await?;
    let metadata = http::get(&fixture.url("/.well-known/oauth-authorization-server"))
        .await?
        .json();
    let list = |member: &str| metadata[member].as_array().cloned().unwrap_or_default();
    assert!(list("grant_types_supported").contains(&json!("refresh_token")));
    assert!(list("scopes_supported").contains(&json!("offline_access")));
    let resource = http::get(&fixture.url("/.well-known/oauth-protected-resource/mcp")).await?;
    assert_eq!(resource.json()["scopes_supported"], json!(["mcp"]));
    let challenge = http::get(&fixture.url("/mcp")).await?;
    assert!(
        !challenge
            .header("www-authenticate")
            .contains("offline_access")
    );

    let client = fixture.client("Client").await?;
    assert_eq!(
        client.registration["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    let first = client.connect(&fixture.owner).await?;
    assert_eq!(first["expires_in"], 3600);
    assert_eq!(first["scope"], "mcp", "it did not ask for offline_access");
    let mut token = text(&first, "refresh_token").to_owned();
    let mut seen = HashSet::from([token.clone()]);
    for round in 0..3 {
        match round {
            1 => fixture.gateway.restart().await?,
            2 => fixture.gateway.crash_and_restart().await?,
            _ => {}
        }
        let reply = client.refresh(&token).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.header("cache-control").contains("no-store"));
        assert_eq!(reply.header("pragma"), "no-cache");
        let answer = reply.json();
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer["expires_in"], 3600);
        assert_eq!(calls(&fixture, text(&answer, "access_token")).await?, 200);
        token = text(&answer, "refresh_token").to_owned();
        assert!(seen.insert(token.clone()), "a refresh token came twice");
    }
    let log = fixture.gateway.log().join("\n");
    assert!(
        seen.iter().all(|token| !log.contains(token)),
        "a token in the log"
    );
    Ok(())
}

/// Send the same refresh to every gateway at once, `each` times.
async fn at_once(
    gateways: &[&Gateway],
    client: &OAuthClient,
    token: &str,
    each: usize,
) -> Vec<Reply> {
    let host = gateways[0]
        .issuer()
        .trim_start_matches("http://")
        .to_owned();
    let tasks: Vec<_> = (0..each)
        .flat_map(|_| gateways.iter())
        .map(|gateway| {
            let request = http::client()
                .post(gateway.url("/token"))
                .header("Host", &host)
                .form(&client.refresh_request(token));
            tokio::spawn(http::send(request))
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.expect("no panic").expect("an answer"));
    }
    replies
}

/// The one successor that all the answers name.
fn one_successor(replies: &[Reply]) -> String {
    let mut successors = HashSet::new();
    let mut access_tokens = HashSet::new();
    for reply in replies {
        assert_eq!(reply.status, 200, "{}", reply.text);
        successors.insert(text(&reply.json(), "refresh_token").to_owned());
        access_tokens.insert(text(&reply.json(), "access_token").to_owned());
    }
    assert_eq!(successors.len(), 1, "of {} answers", replies.len());
    successors.into_iter().next().expect("there is one")
}

#[tokio::test]
async fn of_30_parallel_refreshes_all_succeed_with_one_successor_on_the_embedded_store()
-> Result<()> {
    let fixture = fixture(StoreKind::Embedded, REFRESH).await?;
    let client = fixture.client("Client").await?;
    let mut token = text(&client.connect(&fixture.owner).await?, "refresh_token").to_owned();
    let mut refreshes = 0;
    for _ in 0..5 {
        let replies = at_once(&[&fixture.gateway], &client, &token, 30).await;
        refreshes += replies.len();
        token = one_successor(&replies);
    }
    assert_eq!(refreshes, 150);
    Ok(())
}

#[tokio::test]
async fn two_gateways_on_one_redis_give_parallel_refreshes_one_successor() -> Result<()> {
    let fixture = fixture(StoreKind::Redis, TEN_SECONDS).await?;
    let second = fixture.replica(|setup| setup.more(TEN_SECONDS)).await?;
    let gateways = [&fixture.gateway, &second];
    let client = fixture.client("Client").await?;
    let first = client.connect(&fixture.owner).await?;
    let mut token = text(&first, "refresh_token").to_owned();
    let mut refreshes = 0;
    for _ in 0..10 {
        let replies = at_once(&gateways, &client, &token, 12).await;
        refreshes += replies.len();
        let next = one_successor(&replies);
        let reply = client.refresh(&token).await?;
        assert_eq!(
            text(&reply.json(), "refresh_token"),
            next,
            "within the grace"
        );
        token = next;
    }
    assert_eq!(refreshes, 240);

    // Reuse after the grace, at the other gateway: the grant ends everywhere, streams too.
    let newest = text(&client.refresh(&token).await?.json(), "refresh_token").to_owned();
    let access = text(&client.refresh(&token).await?.json(), "access_token").to_owned();
    let mut stream =
        EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(&access)).await?;
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    assert_eq!(calls(&fixture, &access).await?, 200);
    let replies = at_once(&[&second], &client, &token, 1).await;
    let start = Instant::now();
    assert_eq!(refused(&replies[0]), (400, "invalid_grant".into()));
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "the stream was cut"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    for token in [&newest, &token] {
        let reply = client.refresh(token).await?;
        assert_eq!(refused(&reply), (400, "invalid_grant".into()));
    }
    assert_eq!(calls(&fixture, &access).await?, 401);
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_used_again_within_60_seconds_is_repeated_and_after_them_ends_the_grant()
-> Result<()> {
    let clock = Clock::new()?;
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment: clock.environment(),
        ..setup.more(REFRESH)
    });
    let fixture = fixture.await?;
    let client = fixture.client("Client").await?;
    let first = client.connect(&fixture.owner).await?;
    let token = text(&first, "refresh_token");
    let second = client.refresh(token).await?.json();
    let exchanged = Instant::now();
    let mut stream = EventStream::open(
        http::client()
            .get(fixture.url("/mcp"))
            .bearer_auth(text(&second, "access_token")),
    )
    .await?;
    // The minute is that of the manual; nobody waits for it.
    let access = text(&second, "access_token");
    let (within, after) = (Duration::from_secs(40), Duration::from_secs(61));
    clock.put_ahead_of(within, &fixture.gateway, access).await?;
    let again = client.refresh(token).await?;
    assert!(
        exchanged.elapsed() + within < Duration::from_secs(60),
        "the machine is too slow"
    );
    assert_eq!(again.json()["refresh_token"], second["refresh_token"]);
    assert_eq!(calls(&fixture, text(&second, "access_token")).await?, 200);

    clock.put_ahead_of(after, &fixture.gateway, access).await?;
    let reused = client.refresh(token).await?;
    assert_eq!(refused(&reused), (400, "invalid_grant".into()));
    assert!(reused.text.contains("used again"), "{}", reused.text);
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "the stream was cut"
    );
    assert_eq!(calls(&fixture, text(&second, "access_token")).await?, 401);
    let newest = client.refresh(text(&second, "refresh_token")).await?;
    assert_eq!(refused(&newest), (400, "invalid_grant".into()));
    for said in ["refresh_reused", "grant_revoked"] {
        fixture.gateway.logged(said).await?;
    }
    Ok(())
}

#[tokio::test]
async fn whoever_finds_a_refresh_token_can_neither_use_it_nor_end_its_grant() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, SHORT_GRACE).await?;
    let client = fixture.client("Client").await?;
    let thief = fixture.client("Thief").await?;
    let secretive = json!({"client_name": "S", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "client_secret_post"});
    let secretive = OAuthClient::register_with(&fixture.gateway.origin(), &secretive).await?;
    let first = client.connect(&fixture.owner).await?;
    let token = text(&first, "refresh_token").to_owned();
    for round in 0..2 {
        let changed = |name: &str, value: &str| {
            let mut fields = client.refresh_request(&token);
            fields.retain(|(key, _)| key != name);
            fields.push((name.into(), value.into()));
            fields
        };
        let tag = token.rfind('.').expect("three parts");
        for (what, fields, expected) in [
            (
                "another client",
                changed("client_id", &thief.client_id),
                (400, "invalid_grant"),
            ),
            (
                "a client without its secret",
                changed("client_id", &secretive.client_id),
                (401, "invalid_client"),
            ),
            (
                "nobody",
                changed("client_id", "nobody"),
                (401, "invalid_client"),
            ),
            (
                "truncated",
                changed("refresh_token", &token[..token.len() - 1]),
                (400, "invalid_grant"),
            ),
            (
                "extended",
                changed("refresh_token", &format!("{token}A")),
                (400, "invalid_grant"),
            ),
            (
                "the next number",
                changed("refresh_token", &renumbered(&token, 1)),
                (400, "invalid_grant"),
            ),
            (
                "no tag",
                changed("refresh_token", &token[..=tag]),
                (400, "invalid_grant"),
            ),
            (
                "an access token",
                changed("refresh_token", text(&first, "access_token")),
                (400, "invalid_grant"),
            ),
            (
                "a code",
                changed("refresh_token", "x"),
                (400, "invalid_grant"),
            ),
            (
                "very long",
                changed("refresh_token", &"r_".repeat(6000)),
                (400, "invalid_grant"),
            ),
            (
                "empty",
                changed("refresh_token", ""),
                (400, "invalid_request"),
            ),
            (
                "twice",
                [
                    client.refresh_request(&token),
                    client.refresh_request(&token),
                ]
                .concat(),
                (400, "invalid_request"),
            ),
        ] {
            let reply = client.token(&fields).await?;
            let got = refused(&reply);
            assert_eq!((got.0, got.1.as_str()), expected, "{what}: {}", reply.text);
        }
        if round == 0 {
            for (name, value, expected) in [
                ("resource", "https://other.example/mcp", "invalid_target"),
                ("resource", "not a url", "invalid_target"),
                ("scope", "mcp\"", "invalid_scope"),
            ] {
                let reply = client.token(&changed(name, value)).await?;
                assert_eq!(refused(&reply), (400, expected.into()), "{name} {value}");
            }
        }
        // Nothing was used up. The second round tries the same with a token past its grace.
        let resource = format!("{}/mcp", fixture.gateway.issuer());
        if round == 0 {
            let reply = client.token(&changed("resource", &resource)).await?;
            assert_eq!(reply.status, 200, "{}", reply.text);
            let newest = text(&reply.json(), "refresh_token").to_owned();
            tokio::time::sleep(Duration::from_millis(3100)).await;
            assert_eq!(calls(&fixture, text(&first, "access_token")).await?, 200);
            assert_ne!(newest, token);
        }
    }
    assert_eq!(
        calls(&fixture, text(&first, "access_token")).await?,
        200,
        "revoked by a thief"
    );
    Ok(())
}

/// The token with another number and the same tag.
fn renumbered(token: &str, by: u64) -> String {
    let parts: Vec<&str> = token.splitn(3, '.').collect();
    let number: u64 = parts[1].parse().expect("a number");
    format!("{}.{}.{}", parts[0], number + by, parts[2])
}

#[tokio::test]
async fn offline_access_and_unknown_scopes_are_echoed_and_dropped() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, REFRESH).await?;
    let client = fixture.client("Client").await?;
    let request = client
        .authorization()
        .with("scope", "openid mcp offline_access email");
    let first = client.connect_by(&request, &fixture.owner).await?;
    assert_eq!(first["scope"], "mcp offline_access");
    let access = text(&first, "access_token").to_owned();
    assert_eq!(calls(&fixture, &access).await?, 200);
    let mut token = text(&first, "refresh_token").to_owned();
    for (scope, granted) in [
        (None, "mcp offline_access"),
        (Some("mcp"), "mcp"),
        (Some("mcp offline_access openid"), "mcp offline_access"),
        (Some("openid profile"), "mcp offline_access"),
    ] {
        let mut fields = client.refresh_request(&token);
        if let Some(scope) = scope {
            fields.push(("scope".into(), scope.into()));
        }
        let reply = client.token(&fields).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.json()["scope"], granted, "{scope:?}");
        token = text(&reply.json(), "refresh_token").to_owned();
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_registered_other_grant_types_gets_no_refresh_token() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, REFRESH).await?;
    let metadata = json!({"client_name": "Plain", "redirect_uris": [REDIRECT_URI], "grant_types": ["authorization_code"]});
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    let request = client.authorization().with("scope", "mcp offline_access");
    let answer = client.connect_by(&request, &fixture.owner).await?;
    assert_eq!(
        (answer.get("refresh_token"), &answer["scope"]),
        (None, &json!("mcp"))
    );
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_ends_its_grant_whatever_the_hint_says() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, REFRESH).await?;
    let client = fixture.client("Client").await?;
    let other = fixture.client("Other").await?;
    for hint in [
        None,
        Some("access_token"),
        Some("refresh_token"),
        Some("nonsense"),
    ] {
        let first = client.connect(&fixture.owner).await?;
        let token = text(&first, "refresh_token");
        let access = text(&first, "access_token");
        let mut stream =
            EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(access)).await?;
        let revoke = async |client: &OAuthClient| {
            let mut fields = vec![("token", token), ("client_id", &client.client_id)];
            fields.extend(hint.map(|hint| ("token_type_hint", hint)));
            http::post_form(&fixture.url("/revoke"), &fields).await
        };
        let reply = revoke(&other).await?;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""));
        assert_eq!(calls(&fixture, access).await?, 200, "by another client");
        let start = Instant::now();
        let reply = revoke(&client).await?;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""));
        assert_eq!(calls(&fixture, access).await?, 401);
        assert!(
            stream.end(Duration::from_secs(5)).await?,
            "the stream was cut"
        );
        assert!(start.elapsed() < Duration::from_secs(5));
        let reply = client.refresh(token).await?;
        assert_eq!(refused(&reply), (400, "invalid_grant".into()));
        assert_eq!(revoke(&client).await?.status, 200, "again");
    }
    Ok(())
}

#[tokio::test]
async fn while_the_store_is_away_a_refresh_is_503_and_nothing_is_consumed() -> Result<()> {
    let mut fixture = fixture(StoreKind::Redis, SHORT_GRACE).await?;
    let client = fixture.client("Client").await?;
    let first = client.connect(&fixture.owner).await?;
    let token = text(&first, "refresh_token");
    let redis = fixture.redis.as_mut().expect("this world has one");
    redis.kill().await?;
    for _ in 0..3 {
        let reply = client.refresh(token).await?;
        assert_eq!(reply.status, 503, "{}", reply.text);
        assert!(!reply.header("retry-after").is_empty());
        let reply = client.revoke(token).await?;
        assert_eq!(reply.status, 503, "{}", reply.text);
    }
    // Longer than the grace: had one of them counted, this would be a reuse.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let redis = fixture.redis.as_mut().expect("this world has one");
    redis.restart().await?;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let reply = client.refresh(token).await?;
        if reply.status == 200 {
            break;
        }
        assert_eq!(reply.status, 503, "{}", reply.text);
        assert!(Instant::now() < deadline, "still 503");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn no_key_of_refresh_tokens_is_taken_that_makes_no_sense() -> Result<()> {
    for (keys, expected) in [
        ("refresh_grace = \"0s\"", "tokens.refresh_grace"),
        ("refresh_idle = \"30m\"", "tokens.refresh_idle"),
        ("refresh_max = \"1d\"", "tokens.refresh_max"),
        ("refresh_idle = \"30\"", "tokens.refresh_idle"),
    ] {
        let setup = Setup::default().backend("http://127.0.0.1:1");
        let setup = setup.more(&format!("[tokens]\nrefresh = true\n{keys}\n"));
        let error = Gateway::start(setup).await.err().expect("no start");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
    Ok(())
}
