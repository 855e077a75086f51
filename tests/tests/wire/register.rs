//! `/register` (RFC 7591).

use anyhow::Result;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::http::{ask, get, post};
use tests::oauth::{OAuthClient, REDIRECT_URI, register};

/// Schemes that run code or read files when a browser is sent there (V-SCHEME).
const SCRIPT_URIS: [&str; 14] = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    " javascript:alert(1)",
    "javascript://example.com/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "blob:https://example.com/1",
    "file:///etc/passwd",
    "view-source:https://example.com/",
    "intent://example.com#Intent;end",
    "about:blank",
    "filesystem:https://example.com/1",
    "ws://example.com/",
];

#[tokio::test]
async fn a_client_that_names_no_method_becomes_a_public_client_and_is_told_so() -> Result<()> {
    let fixture = Fixture::start().await?;
    let asked = json!({
        "client_name": "ChatGPT",
        "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "response_types": ["code"],
        "application_type": "web",
        "a_member_nobody_knows": {"nested": true},
    });
    let reply = register(&fixture.gateway.origin(), &asked).await?;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert!(reply.header("cache-control").contains("no-store"));
    let client = reply.json();
    assert_eq!(client["token_endpoint_auth_method"], "none");
    assert_eq!(client["redirect_uris"], asked["redirect_uris"]);
    assert_eq!(client["client_name"], "ChatGPT");
    assert!(client["client_id_issued_at"].is_u64());
    assert!(client.get("client_secret").is_none());
    let id = client["client_id"].as_str().expect("a string");
    assert!(id.len() >= 16 && !id.starts_with("http"), "{id}");
    let grants: Vec<&Value> = client["grant_types"]
        .as_array()
        .expect("an array")
        .iter()
        .collect();
    assert_eq!(
        grants,
        [&json!("authorization_code")],
        "only what is served is granted"
    );
    Ok(())
}

#[tokio::test]
async fn any_number_of_redirect_uris_may_be_registered_at_once() -> Result<()> {
    let fixture = Fixture::start().await?;
    let uris = json!([
        "https://vscode.dev/redirect",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
        "http://localhost:8787/callback",
        "http://[::1]:3000/cb",
        "https://www.cursor.com/agents/mcp/oauth/callback",
    ]);
    let reply = register(
        &fixture.gateway.origin(),
        &json!({"client_name": "Many", "redirect_uris": uris}),
    )
    .await?;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.json()["redirect_uris"], uris);
    Ok(())
}

#[tokio::test]
async fn identical_metadata_gets_the_same_client() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata = json!({"client_name": "Same", "redirect_uris": [REDIRECT_URI]});
    let first = register(&fixture.gateway.origin(), &metadata).await?.json();
    let second = register(&fixture.gateway.origin(), &metadata).await?.json();
    assert_eq!(first["client_id"], second["client_id"]);
    let other = register(
        &fixture.gateway.origin(),
        &json!({"client_name": "Other", "redirect_uris": [REDIRECT_URI]}),
    )
    .await?
    .json();
    assert_ne!(first["client_id"], other["client_id"]);
    Ok(())
}

#[tokio::test]
async fn a_client_that_asks_for_a_secret_gets_one_and_a_second_one_is_another_client() -> Result<()>
{
    let fixture = Fixture::start().await?;
    for method in ["client_secret_post", "client_secret_basic"] {
        let metadata = json!({"client_name": "Confidential", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": method});
        let client = register(&fixture.gateway.origin(), &metadata).await?.json();
        assert_eq!(client["token_endpoint_auth_method"], method);
        assert!(
            client["client_secret"]
                .as_str()
                .is_some_and(|secret| secret.len() >= 22),
            "{client}"
        );
        assert_eq!(client["client_secret_expires_at"], 0);
        // A stranger who sends the same metadata must not be handed a secret that works for someone else.
        let again = register(&fixture.gateway.origin(), &metadata).await?.json();
        assert_ne!(client["client_secret"], again["client_secret"]);
        assert_ne!(client["client_id"], again["client_id"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_redirect_uri_with_a_script_scheme_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    for uri in SCRIPT_URIS {
        let reply = register(
            &fixture.gateway.origin(),
            &json!({"client_name": "Evil", "redirect_uris": [uri]}),
        )
        .await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "invalid_redirect_uri"),
            "{uri:?}: {}",
            reply.text
        );
        let beside_a_good_one =
            json!({"client_name": "Evil", "redirect_uris": ["https://example.com/cb", uri]});
        assert_eq!(
            register(&fixture.gateway.origin(), &beside_a_good_one)
                .await?
                .status,
            400,
            "{uri:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_script_scheme_in_any_other_uri_member_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    for member in [
        "client_uri",
        "logo_uri",
        "tos_uri",
        "policy_uri",
        "jwks_uri",
    ] {
        for uri in SCRIPT_URIS {
            let reply = register(
                &fixture.gateway.origin(),
                &json!({"client_name": "Evil", "redirect_uris": [REDIRECT_URI], member: uri}),
            )
            .await?;
            assert_eq!(
                (reply.status, reply.error().as_str()),
                (400, "invalid_client_metadata"),
                "{member} {uri:?}: {}",
                reply.text
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_redirect_uri_that_could_lead_elsewhere_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    for uri in [
        "http://example.com/cb",
        "https://example.com/cb#fragment",
        "https://user@example.com/cb",
        "https://user:password@127.0.0.1/cb",
        "https://*.example.com/cb",
        "//example.com/cb",
        "/cb",
        "cb",
        "",
        "https://",
        "http://127.0.0.1.example.com/cb",
        "http://localhost.example.com/cb",
        "https://exa mple.com/cb",
        "https://example.com/cb\r\nSet-Cookie: a=b",
        "https:\\\\example.com\\cb",
    ] {
        let reply = register(
            &fixture.gateway.origin(),
            &json!({"client_name": "Odd", "redirect_uris": [uri]}),
        )
        .await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "invalid_redirect_uri"),
            "{uri:?}: {}",
            reply.text
        );
    }
    Ok(())
}

#[tokio::test]
async fn metadata_that_makes_no_sense_is_refused_with_the_rfcs_error() -> Result<()> {
    let fixture = Fixture::start().await?;
    for body in [
        json!({"client_name": "No URIs"}),
        json!({"redirect_uris": []}),
        json!({"redirect_uris": "https://example.com/cb"}),
        json!({"redirect_uris": [1]}),
        json!({"redirect_uris": [REDIRECT_URI], "client_name": 5}),
        json!({"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "private_key_jwt"}),
        json!({"redirect_uris": [REDIRECT_URI], "response_types": ["token"]}),
        json!([]),
        json!(null),
    ] {
        let reply = register(&fixture.gateway.origin(), &body).await?;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        assert!(
            ["invalid_client_metadata", "invalid_redirect_uri"].contains(&reply.error().as_str()),
            "{body}: {}",
            reply.text
        );
    }
    let url = fixture.url("/register");
    for (kind, body) in [
        ("application/json", "{"),
        ("application/json", ""),
        ("text/plain", "{}"),
        ("application/x-www-form-urlencoded", "a=b"),
    ] {
        let reply = post(&url, kind, body, &[]).await?;
        assert!(
            (400..500).contains(&reply.status),
            "{kind} {body:?}: {}",
            reply.status
        );
        assert!(
            reply.json()["error"].is_string(),
            "{kind} {body:?}: {}",
            reply.text
        );
    }
    let long = json!({"client_name": "x".repeat(1 << 20), "redirect_uris": [REDIRECT_URI]});
    let reply = register(&fixture.gateway.origin(), &long).await?;
    assert!([400, 413].contains(&reply.status), "{}", reply.status);
    Ok(())
}

#[tokio::test]
async fn only_post_registers() -> Result<()> {
    let fixture = Fixture::start().await?;
    for method in ["GET", "PUT", "DELETE"] {
        let reply = ask(method, &fixture.url("/register"), &[]).await?;
        assert_eq!(reply.status, 405, "{method}: {}", reply.text);
        assert!(reply.header("allow").contains("POST"), "{method}");
    }
    let preflight = ask(
        "OPTIONS",
        &fixture.url("/register"),
        &[
            ("Origin", "https://example.com"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ],
    )
    .await?;
    assert!([200, 204].contains(&preflight.status));
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    Ok(())
}

#[tokio::test]
async fn a_flood_of_registrations_is_limited_and_hurts_no_client_that_exists() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[limits]\nregistrations_per_hour = 5\n")
    })
    .await?;
    let client = fixture.client("Here before").await?;
    let mut refused = None;
    for n in 0..20 {
        let reply = register(
            &fixture.gateway.origin(),
            &json!({"client_name": format!("Flood {n}"), "redirect_uris": [REDIRECT_URI]}),
        )
        .await?;
        if reply.status != 201 {
            refused = Some((n, reply));
            break;
        }
    }
    let (n, reply) = refused.expect("no registration was refused");
    assert!(n <= 5, "the limit is five, {n} more were let in");
    assert_eq!(reply.status, 429, "{}", reply.text);
    assert!(!reply.header("retry-after").is_empty());
    assert!(reply.json()["error"].is_string());
    client.sign_in(&fixture.owner).await?;
    assert_eq!(
        get(&fixture.url("/.well-known/oauth-authorization-server"))
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_registration_with_several_uris_may_use_each_of_them() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata =
        json!({"client_name": "Two", "redirect_uris": [REDIRECT_URI, "https://example.com/cb"]});
    let mut client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    client.sign_in(&fixture.owner).await?;
    client.redirect_uri = "https://example.com/cb".into();
    client.sign_in(&fixture.owner).await?;
    Ok(())
}
