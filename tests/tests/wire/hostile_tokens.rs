//! Tokens that were not minted for this request: forged, for another audience, out
//! of date, or in the wrong place (V-BKEY, V-AUD, V-BEXP, V-QS).

use std::time::{Duration, Instant};

use anyhow::Result;
use biscuit_auth::builder::{Algorithm, BlockBuilder};
use biscuit_auth::{Biscuit, KeyPair, UnverifiedBiscuit};
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{call, initialize, send};
use tests::oauth::OAuthClient;
use tests::recorder::Recorder;
use tests::scripted_mcp;

/// The same facts, signed by someone else.
fn forged(token: &str, key: &KeyPair, root_key_id: Option<u32>) -> Result<String> {
    let source = UnverifiedBiscuit::from_base64(token)?.print_block_source(0)?;
    let mut builder = Biscuit::builder().code(source)?;
    if let Some(id) = root_key_id {
        builder = builder.root_key_id(id);
    }
    Ok(builder.build(key)?.to_base64()?)
}

async fn refused(fixture: &Fixture, what: &str, token: &str) -> Result<()> {
    let start = Instant::now();
    let reply = send(
        &fixture.url("/mcp"),
        token,
        &call(1, "echo", &json!({"marker": "forged"})),
    )
    .await?;
    assert_eq!(reply.status, 401, "{what}: {}", reply.text);
    assert!(
        reply
            .header("www-authenticate")
            .contains("error=\"invalid_token\""),
        "{what}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{what} took {:?}",
        start.elapsed()
    );
    assert!(
        fixture.backend.marked("forged").is_empty(),
        "{what} reached the backend"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_signed_by_any_other_key_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let real_id = UnverifiedBiscuit::from_base64(&token)?.root_key_id();
    let (ed25519, p256) = (
        KeyPair::new(),
        KeyPair::new_with_algorithm(Algorithm::Secp256r1),
    );
    for (name, key) in [("Ed25519", &ed25519), ("P-256", &p256)] {
        for id in [
            real_id,
            None,
            Some(0),
            Some(real_id.unwrap_or(0).wrapping_add(1)),
            Some(u32::MAX),
        ] {
            refused(
                &fixture,
                &format!("{name} with root key id {id:?}"),
                &forged(&token, key, id)?,
            )
            .await?;
        }
    }
    let other = Fixture::start().await?;
    let (_, foreign) = other.signed_in().await?;
    refused(&fixture, "a token of another installation", &foreign).await
}

#[tokio::test]
async fn what_a_holder_appends_can_only_narrow() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let append = |code: &str| -> Result<String> {
        Ok(UnverifiedBiscuit::from_base64(&token)?
            .append(BlockBuilder::new().code(code)?)?
            .to_base64()?)
    };
    for code in [
        "user(\"mallory\");",
        "resource(\"https://other.example/mcp\");",
        "expires(9999999999);",
        "all_tools(true);",
        "scope(\"admin\");",
        "user($x) <- client($x);",
        "check if true or user($u), $u.matches(\"(a+)+$\");",
        "fact(1); fact($x) <- fact($x);",
    ] {
        refused(&fixture, code, &append(code)?).await?;
    }
    let never = append("check if false;")?;
    refused(&fixture, "a block that allows nothing", &never).await?;
    let mut long = UnverifiedBiscuit::from_base64(&token)?;
    for _ in 0..200 {
        long = long.append(BlockBuilder::new().code("check if true;")?)?;
    }
    // It may be too much of a header before it is too much of a token.
    let long = long.to_base64()?;
    let reply = send(
        &fixture.url("/mcp"),
        &long,
        &call(1, "echo", &json!({"marker": "forged"})),
    )
    .await?;
    assert!(
        [400, 401, 431].contains(&reply.status),
        "two hundred blocks: {}",
        reply.status
    );
    assert!(fixture.backend.marked("forged").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_sealed_copy_or_one_without_its_proof_is_no_way_around() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (client, token) = fixture.signed_in().await?;
    let sealed = UnverifiedBiscuit::from_base64(&token)?
        .seal()?
        .to_base64()?;
    let reply = send(&fixture.url("/mcp"), &sealed, &initialize()).await?;
    assert!([200, 401].contains(&reply.status), "{}", reply.status);
    assert_eq!(client.revoke(&token).await?.status, 200);
    refused(&fixture, "a sealed copy of a revoked token", &sealed).await
}

#[tokio::test]
async fn a_token_ends_when_it_says_and_the_answer_says_so() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[tokens]\naccess_ttl = \"60s\"\n")
    })
    .await?;
    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let callback = client.allow(&request, &fixture.owner).await?;
    let answer = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?
        .json();
    assert_eq!(answer["expires_in"], 60);
    let token = answer["access_token"].as_str().expect("a token");
    assert_eq!(
        send(&fixture.url("/mcp"), token, &initialize())
            .await?
            .status,
        200
    );
    // The stated leeway for clocks that differ is 30 seconds.
    tokio::time::sleep(Duration::from_secs(93)).await;
    refused(&fixture, "expired", token).await
}

#[tokio::test]
async fn a_token_opens_only_the_backend_it_was_made_for() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let paths = ["/a", "/ab", "/b"];
    let mut setup = Setup::default();
    for (index, path) in paths.iter().enumerate() {
        setup = setup.mounted(&format!("backend-{index}"), path, &backend.url());
    }
    let gateway = Gateway::start(setup).await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let token = client
        .sign_in_for(&Owner::alice(), &gateway.url("/a/mcp"))
        .await?;
    for (path, status) in [
        ("/a/mcp", 200),
        ("/ab/mcp", 401),
        ("/b/mcp", 401),
        ("/b/sse", 401),
        ("/A/mcp", 404),
        ("/a/../b/mcp", 401),
        ("/a/mcp/../../b/mcp", 401),
        ("/a/%2e%2e/b/mcp", 401),
        ("/a//../b/mcp", 401),
        ("/a%2fmcp", 404),
        ("//b/mcp", 401),
        ("/a/mcp;x=1", 404),
    ] {
        // Not through a URL library: it would tidy the path.
        let body = initialize().to_string();
        let host = format!("127.0.0.1:{}", gateway.port);
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        let request = tests::raw::request("POST", path, &host, &headers, body.as_bytes());
        let answer =
            tests::raw::exchange(gateway.address(), &request, Duration::from_secs(5)).await?;
        let got = answer.status();
        assert!(
            got == status || (status != 200 && [400, 401, 404].contains(&got)),
            "{path}: {got}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_token_anywhere_but_in_the_header_is_no_token_and_is_not_logged() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[log]\nlevel = \"debug\"\n")
    })
    .await?;
    let (_, token) = fixture.signed_in().await?;
    let body = call(1, "echo", &json!({"marker": "forged"})).to_string();
    let post = |url: String,
                headers: Vec<(&'static str, String)>,
                kind: &'static str,
                body: String| async move {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        http::post(&url, kind, body, &headers).await
    };
    let url = fixture.url("/mcp");
    let json = "application/json";
    for (what, reply) in [
        (
            "?access_token=",
            post(
                format!("{url}?access_token={token}"),
                vec![],
                json,
                body.clone(),
            )
            .await?,
        ),
        (
            "?token=",
            post(format!("{url}?token={token}"), vec![], json, body.clone()).await?,
        ),
        (
            "?authorization=",
            post(
                format!("{url}?authorization=Bearer%20{token}"),
                vec![],
                json,
                body.clone(),
            )
            .await?,
        ),
        (
            "cookie",
            post(
                url.clone(),
                vec![("Cookie", format!("access_token={token}"))],
                json,
                body.clone(),
            )
            .await?,
        ),
        (
            "form body",
            post(
                url.clone(),
                vec![],
                "application/x-www-form-urlencoded",
                format!("access_token={token}"),
            )
            .await?,
        ),
        (
            "Mcp-Param",
            post(
                url.clone(),
                vec![("Mcp-Param-Authorization", format!("Bearer {token}"))],
                json,
                body.clone(),
            )
            .await?,
        ),
        (
            "X-Authorization",
            post(
                url.clone(),
                vec![("X-Authorization", format!("Bearer {token}"))],
                json,
                body.clone(),
            )
            .await?,
        ),
        (
            "Proxy-Authorization",
            post(
                url.clone(),
                vec![("Proxy-Authorization", format!("Bearer {token}"))],
                json,
                body.clone(),
            )
            .await?,
        ),
    ] {
        assert_eq!(reply.status, 401, "{what}: {}", reply.text);
        assert!(
            !reply.header("www-authenticate").contains("error="),
            "{what}"
        );
    }
    let reply = http::get(&format!("{url}/{token}")).await?;
    assert!(
        [401, 404].contains(&reply.status),
        "in the path: {}",
        reply.status
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let log = fixture.gateway.log().join("\n");
    let needle = &token[20..80];
    assert!(!log.contains(needle), "the token is in the log");
    assert!(fixture.backend.marked("forged").is_empty());
    Ok(())
}
