//! `/.well-known/*`, the public page and the small files beside it.

use anyhow::Result;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http::{ask, get};

#[tokio::test]
async fn the_authorization_server_metadata_is_what_the_brief_and_rfc_8414_ask() -> Result<()> {
    let fixture = Fixture::start().await?;
    let reply = get(&fixture.url("/.well-known/oauth-authorization-server")).await?;
    assert_eq!(reply.status, 200);
    assert!(
        reply.header("content-type").starts_with("application/json"),
        "{:?}",
        reply.headers
    );
    let metadata = reply.json();
    let issuer = fixture.gateway.issuer();
    assert_eq!(metadata["issuer"], json!(issuer));
    for (member, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
        ("revocation_endpoint", "/revoke"),
    ] {
        assert_eq!(
            metadata[member],
            json!(format!("{issuer}{path}")),
            "{member}"
        );
    }
    assert_eq!(metadata["scopes_supported"], json!(["mcp"]));
    assert_eq!(metadata["response_types_supported"], json!(["code"]));
    assert_eq!(
        metadata["grant_types_supported"],
        json!([
            "authorization_code",
            "urn:ietf:params:oauth:grant-type:device_code"
        ])
    );
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        json!(["S256"])
    );
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        json!(true)
    );
    let methods = metadata["token_endpoint_auth_methods_supported"]
        .as_array()
        .expect("an array");
    assert!(methods.contains(&json!("none")), "{methods:?}");
    Ok(())
}

#[tokio::test]
async fn the_resource_metadata_echoes_the_path_that_was_asked_for() -> Result<()> {
    let fixture = Fixture::start().await?;
    let issuer = fixture.gateway.issuer();
    for path in ["", "/mcp", "/mcp/", "/sse", "/sse/", "/messages"] {
        let reply =
            get(&fixture.url(&format!("/.well-known/oauth-protected-resource{path}"))).await?;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        let metadata = reply.json();
        let resource = metadata["resource"].as_str().unwrap_or_default().to_owned();
        assert_eq!(resource, format!("{issuer}{path}"));
        assert_eq!(metadata["authorization_servers"], json!([issuer]));
        assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
        assert!(
            !metadata["scopes_supported"]
                .to_string()
                .contains("offline_access")
        );
    }
    Ok(())
}

#[tokio::test]
async fn metadata_is_open_to_every_origin_and_never_401_nor_a_redirect() -> Result<()> {
    let fixture = Fixture::start().await?;
    let paths = [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/mcp/manifest.json",
    ];
    for path in paths {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let reply = ask(
                method,
                &fixture.url(path),
                &[
                    ("Origin", "https://chatgpt.com"),
                    ("Access-Control-Request-Method", "GET"),
                ],
            )
            .await?;
            assert!(
                [200, 204].contains(&reply.status),
                "{method} {path}: {}",
                reply.status
            );
            assert_eq!(
                reply.header("access-control-allow-origin"),
                "*",
                "{method} {path}"
            );
            assert!(
                reply.header("access-control-allow-credentials").is_empty(),
                "{method} {path}"
            );
            if method == "HEAD" {
                assert_eq!(reply.text, "", "HEAD {path} has a body");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_other_well_known_path_is_a_clean_json_404() -> Result<()> {
    let fixture = Fixture::start().await?;
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/mcp",
        "/mcp/.well-known/oauth-protected-resource",
        "/mcp/.well-known/openid-configuration",
        "/sse/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/no/such/backend",
        "/.well-known/jwks.json",
        "/.well-known/",
    ] {
        let reply = get(&fixture.url(path)).await?;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
        assert!(
            reply.header("content-type").starts_with("application/json"),
            "{path}"
        );
        assert!(reply.json().is_object(), "{path}");
        assert!(reply.header("www-authenticate").is_empty(), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn the_manifest_and_the_server_card_name_the_urls_to_use() -> Result<()> {
    let fixture = Fixture::start().await?;
    let issuer = fixture.gateway.issuer();
    for path in [
        "/.well-known/mcp/manifest.json",
        "/.well-known/mcp/server-card.json",
        "/mcp/server-card",
    ] {
        let reply = get(&fixture.url(path)).await?;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        assert!(
            ["application/json", "application/mcp-server-card+json"].contains(
                &reply
                    .header("content-type")
                    .split(';')
                    .next()
                    .unwrap_or_default()
            ),
            "{path}: {}",
            reply.header("content-type")
        );
        assert!(reply.json().is_object());
        assert!(
            reply.text.contains(&format!("{issuer}/mcp")),
            "{path} does not name the endpoint: {}",
            reply.text
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_small_files_are_there() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[discovery]\napps_challenge = \"a-challenge-token\"\nsecurity_contact = \"mailto:security@example.com\"\n")
    })
    .await?;
    let challenge = get(&fixture.url("/.well-known/openai-apps-challenge")).await?;
    assert_eq!(
        (challenge.status, challenge.text.trim()),
        (200, "a-challenge-token")
    );
    assert!(challenge.header("content-type").starts_with("text/plain"));
    let contact = get(&fixture.url("/.well-known/security.txt")).await?;
    assert_eq!(contact.status, 200);
    assert!(
        contact
            .text
            .contains("Contact: mailto:security@example.com"),
        "{}",
        contact.text
    );
    assert!(
        contact.text.contains("Expires: "),
        "RFC 9116 section 2.5.5: {}",
        contact.text
    );
    let robots = get(&fixture.url("/robots.txt")).await?;
    assert_eq!(robots.status, 200);
    assert!(robots.text.contains("Disallow: /"), "{}", robots.text);
    let home = get(&fixture.url("/")).await?;
    assert_eq!(home.status, 200);
    assert!(home.header("content-type").starts_with("text/html"));
    assert!(
        home.text.contains(&fixture.gateway.issuer()),
        "the URL to copy is not on the page"
    );
    assert_eq!(get(&fixture.url("/healthz")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn no_challenge_is_published_unless_one_is_configured() -> Result<()> {
    let fixture = Fixture::start().await?;
    assert_eq!(
        get(&fixture.url("/.well-known/openai-apps-challenge"))
            .await?
            .status,
        404
    );
    Ok(())
}

#[tokio::test]
async fn no_request_header_changes_a_published_url() -> Result<()> {
    let mut setup = Setup {
        public_url: Some("https://mcp.example.com".into()),
        ..Setup::default()
    };
    setup = setup.backend("http://127.0.0.1:9");
    let gateway = Gateway::start(setup).await?;
    let forged = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "host=evil.example;proto=http"),
        ("X-Original-URL", "/evil"),
    ];
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/mcp/manifest.json",
        "/mcp",
    ] {
        let plain = ask("GET", &gateway.url(path), &[("Host", "mcp.example.com")]).await?;
        let mut headers = vec![("Host", "mcp.example.com")];
        headers.extend(forged);
        let reply = ask("GET", &gateway.url(path), &headers).await?;
        assert_eq!(without_id(&plain.text), without_id(&reply.text), "{path}");
        assert_eq!(
            plain.header("www-authenticate"),
            reply.header("www-authenticate"),
            "{path}"
        );
        assert!(
            !format!("{:?}{}", reply.headers, reply.text).contains("evil"),
            "{path}: {}",
            reply.text
        );
        assert!(
            format!("{:?}{}", reply.headers, reply.text).contains("https://mcp.example.com"),
            "{path}: {}",
            reply.text
        );
        let foreign = ask("GET", &gateway.url(path), &[("Host", "evil.example")]).await?;
        assert!(
            !format!("{:?}{}", foreign.headers, foreign.text).contains("evil"),
            "{path}: {}",
            foreign.text
        );
    }
    Ok(())
}

/// Each answer names its request; nothing else in it may differ.
fn without_id(body: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(body).expect("JSON");
    value
        .as_object_mut()
        .expect("an object")
        .remove("request_id");
    value.to_string()
}
