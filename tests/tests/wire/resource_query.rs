//! A person adds the server as `/mcp?project=abc`: the identifier has a query (RFC 9728 §3.1,
//! §3.3), and names the same backend.

use anyhow::Result;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http::{self, get};
use tests::mcp::{self, initialize};

const QUERIES: [&str; 4] = [
    "?project=abc",
    "?a=1&b=%2F..%2Fx&c",
    "?read_only=true&features=database,docs",
    "?url=https://example.com/?x=y",
];

#[tokio::test]
async fn metadata_and_challenge_carry_the_identifier_that_was_asked_for() -> Result<()> {
    let fixture = Fixture::start().await?;
    let issuer = fixture.gateway.issuer();
    for path in ["/mcp", "/sse", ""] {
        for query in QUERIES {
            let metadata = get(&fixture.url(&format!(
                "/.well-known/oauth-protected-resource{path}{query}"
            )))
            .await?;
            assert_eq!(metadata.status, 200, "{path}{query}: {}", metadata.text);
            assert_eq!(
                metadata.json()["resource"],
                json!(format!("{issuer}{path}{query}"))
            );
        }
    }
    for query in QUERIES {
        let reply = http::send(http::client().post(fixture.url(&format!("/mcp{query}")))).await?;
        assert_eq!(reply.status, 401);
        let named = format!(
            "resource_metadata=\"{issuer}/.well-known/oauth-protected-resource/mcp{query}\""
        );
        let challenge = reply.header("www-authenticate");
        assert!(challenge.contains(&named), "{challenge}");
    }
    // A session is no part of a resource.
    let reply = http::send(http::client().post(fixture.url("/messages?session_id=secret"))).await?;
    assert!(!reply.header("www-authenticate").contains("secret"));
    Ok(())
}

#[tokio::test]
async fn a_resource_with_a_query_is_consented_to_redeemed_and_used() -> Result<()> {
    let other = tests::recorder::Recorder::start(tests::scripted_mcp::answer).await?;
    let url = other.url();
    let refreshing = |setup: Setup| {
        setup
            .mounted("other", "/other", &url)
            .more("[tokens]\nrefresh = true\n")
    };
    let fixture = Fixture::with(StoreKind::Embedded, refreshing).await?;
    let client = fixture.client("Client").await?;
    let issuer = fixture.gateway.issuer();
    for query in QUERIES {
        let resource = format!("{issuer}/mcp{query}");
        let request = client.authorization_for(&resource);
        let callback = client.allow(&request, &fixture.owner).await?;
        let mut fields = client.token_request(&callback.code(), &request.pkce.verifier);
        fields.push(("resource".into(), resource.clone()));
        let reply = client.token(&fields).await?;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text);
        let answer = reply.json();
        let token = answer["access_token"].as_str().expect("a token");

        let marker = format!("/mcp{query}");
        let reply = mcp::send(&fixture.url(&marker), token, &initialize()).await?;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text);
        let went = fixture.backend.requests();
        assert!(
            went.iter().any(|asked| asked.target.ends_with(query)),
            "{query}: {went:?}"
        );
        // One audience: without the query, and not the other backend's.
        let reply = mcp::send(&fixture.url("/mcp"), token, &initialize()).await?;
        assert_eq!(reply.status, 200);
        let reply = mcp::send(&fixture.url("/other/mcp"), token, &initialize()).await?;
        assert_eq!(reply.status, 401, "{query} opened another backend");

        let refresh = answer["refresh_token"].as_str().expect("a refresh token");
        let mut fields = client.refresh_request(refresh);
        fields.push(("resource".into(), resource));
        let reply = client.token(&fields).await?;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text);
    }
    Ok(())
}

#[tokio::test]
async fn a_query_opens_nothing_that_the_path_does_not() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let issuer = fixture.gateway.issuer();
    let request = client.authorization();
    let callback = client.allow(&request, &fixture.owner).await?;
    for resource in [
        format!("{issuer}/mcp2?x=/mcp"),
        format!("{issuer}/x/../mcp?project=abc"),
        format!("{issuer}/mcp?project=abc#fragment"),
        "https://evil.example/mcp?project=abc".to_owned(),
        format!("https://evil.example/?{issuer}/mcp"),
    ] {
        let mut fields = client.token_request(&callback.code(), &request.pkce.verifier);
        fields.push(("resource".into(), resource.clone()));
        let reply = client.token(&fields).await?;
        let refusal = (reply.status, reply.error());
        assert_eq!(refusal, (400, "invalid_target".to_owned()), "{resource}");
    }
    Ok(())
}
