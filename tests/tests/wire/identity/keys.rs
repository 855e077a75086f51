//! Clients that sign: `private_key_jwt` (RFC 7523) at `/token` and `/revoke`.

mod assertions;

use anyhow::Result;
use serde_json::{Value, json};
use tests::documents::{DocumentSite, document};
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Setup};
use tests::http::{self, Reply};
use tests::keys::{ASSERTION_TYPE, Signer, assertion_fields, claims, now};
use tests::oauth::{OAuthClient, register};
use tests::redis::Redis;

use super::{client, error, fixture};

const CALLBACK: &str = "https://app.example.net/cb";

/// Publishes a client that signs, and nothing else unless `methods` says so.
fn publish(site: &DocumentSite, methods: &[&str], keys: (&str, Value)) -> String {
    let id = site.url("/client.json");
    let mut described = document(&id, &[CALLBACK]);
    described["token_endpoint_auth_method"] = json!("private_key_jwt");
    described["token_endpoint_auth_methods_supported"] = json!(methods);
    described[keys.0] = keys.1;
    site.put("/client.json", &described);
    id
}

/// A code of this client, and the fields to redeem it without any authentication.
async fn code_of(fixture: &Fixture, app: &OAuthClient) -> Result<Vec<(String, String)>> {
    let request = app.authorization();
    let code = app.allow(&request, &fixture.owner).await?.code();
    Ok(app.token_request(&code, &request.pkce.verifier))
}

async fn redeem(app: &OAuthClient, fields: &[(String, String)], assertion: &str) -> Result<Reply> {
    app.token(&[fields, &assertion_fields(assertion)].concat())
        .await
}

#[tokio::test]
async fn metadata_says_what_is_served() -> Result<()> {
    let fixture = Fixture::start().await?;
    let reply = http::get(&fixture.url("/.well-known/oauth-authorization-server")).await?;
    let metadata = reply.json();
    for endpoint in ["token", "revocation"] {
        let methods = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
        for method in [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ] {
            assert!(
                methods
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(method))),
                "{methods}"
            );
        }
        assert_eq!(
            metadata[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")],
            json!(["RS256", "ES256"])
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_signs_with_rs256_or_es256_for_issuer_or_token_endpoint() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let issuer = fixture.gateway.issuer();
    let token_endpoint = format!("{issuer}/token");
    for signer in [Signer::rsa("r")?, Signer::ec("e")?] {
        site.put("/keys.json", &signer.jwks());
        let id = register_keys(&fixture, json!({ "jwks": signer.jwks() })).await?;
        for audience in [
            json!(issuer),
            json!(token_endpoint),
            json!([issuer]),
            json!(format!("{issuer}/")),
        ] {
            let app = client(&fixture, &id, CALLBACK);
            let fields = code_of(&fixture, &app).await?;
            let mut claims = claims(&id, "");
            claims["aud"] = audience.clone();
            let assertion = signer.sign(&signer.header(), &claims);
            let reply = redeem(&app, &fields, &assertion).await?;
            assert_eq!(reply.status, 200, "{audience}: {}", reply.text);
        }
    }
    Ok(())
}

async fn register_keys(fixture: &Fixture, keys: Value) -> Result<String> {
    let mut metadata = json!({
        "client_name": "Signing App",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "private_key_jwt",
        "application_type": "web",
    });
    for (name, value) in keys.as_object().into_iter().flatten() {
        metadata[name] = value.clone();
    }
    let reply = register(&fixture.gateway.origin(), &metadata).await?;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let registered = reply.json();
    assert_eq!(registered["token_endpoint_auth_method"], "private_key_jwt");
    assert_eq!(registered["application_type"], "web");
    assert!(registered.get("client_secret").is_none());
    for name in ["jwks", "jwks_uri"] {
        assert_eq!(
            registered.get(name).is_some(),
            keys.get(name).is_some(),
            "{name}"
        );
    }
    Ok(registered["client_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::test]
async fn a_document_that_offers_only_keys_is_held_to_them() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let signer = Signer::rsa("1")?;
    site.put("/keys.json", &signer.jwks());
    let id = publish(
        &site,
        &["private_key_jwt"],
        ("jwks_uri", json!(site.url("/keys.json"))),
    );
    let app = client(&fixture, &id, CALLBACK);
    let fields = code_of(&fixture, &app).await?;
    let reply = app.token(&fields).await?;
    assert_eq!(
        error(&reply),
        (401, "invalid_client".into()),
        "{}",
        reply.text
    );
    // Nothing was used up by that.
    let assertion = signer.assertion(&id, &fixture.gateway.issuer());
    let reply = redeem(&app, &fields, &assertion).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);

    // The token is given back in the same way, and in no other.
    let token = reply.json()["access_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let reply = app.revoke(&token).await?;
    assert_eq!(error(&reply), (401, "invalid_client".into()));
    let revoke = |assertion: String| {
        let url = fixture.url("/revoke");
        let token = token.clone();
        async move {
            let fields = [
                ("token", token.as_str()),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion.as_str()),
            ];
            http::post_form(&url, &fields).await
        }
    };
    let audience = format!("{}/revoke", fixture.gateway.issuer());
    let reply = revoke(signer.assertion(&id, &audience)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = http::send(tests::mcp::post(
        &fixture.url("/mcp"),
        &token,
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    ))
    .await?;
    assert_eq!(reply.status, 401);
    assert_eq!(site.asked("/keys.json"), 1, "the keys are kept");
    Ok(())
}

#[tokio::test]
async fn a_document_that_offers_both_may_do_without_but_not_with_a_bad_one() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let (signer, other) = (Signer::ec("1")?, Signer::ec("1")?);
    let id = publish(&site, &["none", "private_key_jwt"], ("jwks", signer.jwks()));
    let app = client(&fixture, &id, CALLBACK);
    let issuer = fixture.gateway.issuer();
    let fields = code_of(&fixture, &app).await?;
    let reply = redeem(&app, &fields, &other.assertion(&id, &issuer)).await?;
    assert_eq!(
        error(&reply),
        (401, "invalid_client".into()),
        "{}",
        reply.text
    );
    assert_eq!(app.token(&fields).await?.status, 200);
    let fields = code_of(&fixture, &app).await?;
    assert_eq!(
        redeem(&app, &fields, &signer.assertion(&id, &issuer))
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_new_key_is_fetched_once_when_it_is_first_used() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let (old, new) = (Signer::rsa("old")?, Signer::ec("new")?);
    site.put("/keys.json", &old.jwks());
    let id = publish(
        &site,
        &["private_key_jwt"],
        ("jwks_uri", json!(site.url("/keys.json"))),
    );
    let app = client(&fixture, &id, CALLBACK);
    let issuer = fixture.gateway.issuer();
    let fields = code_of(&fixture, &app).await?;
    assert_eq!(
        redeem(&app, &fields, &old.assertion(&id, &issuer))
            .await?
            .status,
        200
    );
    site.put("/keys.json", &json!({ "keys": [old.jwk(), new.jwk()] }));
    let fields = code_of(&fixture, &app).await?;
    let reply = redeem(&app, &fields, &new.assertion(&id, &issuer)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(site.asked("/keys.json"), 2);
    // Made-up key ids make nobody ask again.
    let unknown = Signer::ec("unknown")?;
    for _ in 0..20 {
        let reply = redeem(&app, &fields, &unknown.assertion(&id, &issuer)).await?;
        assert_eq!(error(&reply), (401, "invalid_client".into()));
    }
    assert_eq!(site.asked("/keys.json"), 2);
    Ok(())
}

#[tokio::test]
async fn keys_out_of_reach_are_no_reason_to_forget_who_one_is() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let signer = Signer::ec("1")?;
    let id = register_keys(&fixture, json!({ "jwks_uri": site.url("/keys.json") })).await?;
    let app = client(&fixture, &id, CALLBACK);
    let issuer = fixture.gateway.issuer();
    let fields = code_of(&fixture, &app).await?;
    let reply = redeem(&app, &fields, &signer.assertion(&id, &issuer)).await?;
    assert_eq!(
        error(&reply),
        (503, "temporarily_unavailable".into()),
        "{}",
        reply.text
    );
    assert!(!reply.header("retry-after").is_empty());
    // A set with a private key in it proves nothing to anybody.
    let mut leaked = signer.jwk();
    leaked["d"] = json!("AQAB");
    site.put("/keys.json", &json!({ "keys": [leaked] }));
    let reply = redeem(&app, &fields, &signer.assertion(&id, &issuer)).await?;
    assert_eq!(
        error(&reply),
        (401, "invalid_client".into()),
        "{}",
        reply.text
    );
    site.put("/keys.json", &signer.jwks());
    let reply = redeem(&app, &fields, &signer.assertion(&id, &issuer)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    Ok(())
}

#[tokio::test]
async fn keys_at_a_private_address_are_not_asked_for() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let fixture = Fixture::start().await?;
    let signer = Signer::ec("1")?;
    for uri in [
        format!("https://{}/keys.json", listener.local_addr()?),
        "https://localhost/keys.json".to_owned(),
        "https://169.254.169.254/keys.json".to_owned(),
    ] {
        let id = register_keys(&fixture, json!({ "jwks_uri": uri })).await?;
        let app = client(&fixture, &id, CALLBACK);
        let fields = code_of(&fixture, &app).await?;
        let assertion = signer.assertion(&id, &fixture.gateway.issuer());
        assert_eq!(
            redeem(&app, &fields, &assertion).await?.status,
            503,
            "{uri}"
        );
    }
    let heard = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
    assert!(heard.is_err());
    Ok(())
}

#[tokio::test]
async fn a_registration_with_keys_that_are_none_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    let signer = Signer::ec("1")?;
    let mut private = signer.jwk();
    private["d"] = json!("AQAB");
    for keys in [
        json!({}),
        json!({ "jwks": {} }),
        json!({ "jwks": { "keys": [] } }),
        json!({ "jwks": { "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] } }),
        json!({ "jwks": { "keys": [private] } }),
        json!({ "jwks": signer.jwks(), "jwks_uri": "https://app.example.net/keys" }),
        json!({ "jwks_uri": "http://app.example.net/keys" }),
        json!({ "jwks_uri": "http://127.0.0.1/keys" }),
        json!({ "jwks_uri": "javascript:alert(1)" }),
        json!({ "jwks_uri": "https://u:p@app.example.net/keys" }),
        json!({ "jwks_uri": 7 }),
    ] {
        let mut metadata = keys.clone();
        metadata["redirect_uris"] = json!([CALLBACK]);
        metadata["token_endpoint_auth_method"] = json!("private_key_jwt");
        let reply = register(&fixture.gateway.origin(), &metadata).await?;
        assert_eq!(
            error(&reply),
            (400, "invalid_client_metadata".into()),
            "{keys}"
        );
    }
    // The same keys again are the same client; one with a secret does not sign.
    let id = register_keys(&fixture, json!({ "jwks": signer.jwks() })).await?;
    assert_eq!(
        register_keys(&fixture, json!({ "jwks": signer.jwks() })).await?,
        id
    );
    let metadata = json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_post", "jwks": signer.jwks() });
    let app = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    let fields = code_of(&fixture, &app).await?;
    let assertion = signer.assertion(&app.client_id, &fixture.gateway.issuer());
    assert_eq!(
        error(&redeem(&app, &fields, &assertion).await?),
        (401, "invalid_client".into())
    );
    Ok(())
}
