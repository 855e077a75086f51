//! Clients that the operator registers, and what holds for clients of every kind: loopback ports,
//! schemes of native apps, `iss`.

use anyhow::Result;
use base64::Engine as _;
use serde_json::json;
use tests::browser::Browser;
use tests::documents::DocumentSite;
use tests::fixture::Fixture;
use tests::http;
use tests::keys::{Signer, assertion_fields};
use tests::oauth::OAuthClient;
use tests::program::{binary, run};

use super::{at_consent, client, error, fixture, refused};

const CALLBACK: &str = "https://app.example.net/cb";
const SECRET: &str = "correct-horse-battery-staple-0123456789";
/// `printf %s SECRET | sha256sum`
const SECRET_HASH: &str = "7771a0cec1279f8ca878a66c694f3344b16bee8128c78b8ef5fd0656b35b02ee";

fn table(id: &str, rest: &str) -> String {
    format!(
        "[[client]]\nid = \"{id}\"\nname = \"Payroll\"\nredirect_uris = [\"{CALLBACK}\"]\n{rest}\n"
    )
}

#[tokio::test]
async fn a_client_of_the_configuration_authenticates_as_it_stands_there() -> Result<()> {
    let site = DocumentSite::start().await?;
    let signer = Signer::rsa("1")?;
    site.put("/keys.json", &signer.jwks());
    let keys = format!(
        "method = \"private_key_jwt\"\njwks_uri = \"{}\"",
        site.url("/keys.json")
    );
    let secret = |method: &str| format!("method = \"{method}\"\nsecret_hash = \"{SECRET_HASH}\"");
    let tables = table("public", "")
        + &table("basic", &secret("client_secret_basic"))
        + &table("post", &secret("client_secret_post"))
        + &table("signs", &keys);
    let mut fixture = fixture(&site, &tables).await?;

    for id in ["public", "basic", "post", "signs"] {
        let app = client(&fixture, id, CALLBACK);
        let request = app.authorization();
        let (mut browser, page) = at_consent(&fixture, &request).await?;
        let words = page.words();
        for said in ["Payroll", "Set up by the operator", "app.example.net"] {
            assert!(words.contains(said), "{said}: {words}");
        }
        assert!(
            !words.contains("Unverified") && !words.contains("Verified"),
            "{words}"
        );
        let answered = browser.answer(&page, "Allow").await?;
        let location = answered.location().unwrap();
        let code = location
            .query_pairs()
            .find(|(name, _)| name == "code")
            .unwrap()
            .1;
        let fields = app.token_request(&code, &request.pkce.verifier);
        let nameless: Vec<_> = fields
            .iter()
            .filter(|(name, _)| name != "client_id")
            .cloned()
            .collect();
        let basic = |secret: &str| {
            let joined = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
            http::client()
                .post(fixture.url("/token"))
                .header("Authorization", format!("Basic {joined}"))
                .form(&nameless)
        };
        let posted = |secret: &str| {
            [
                fields.as_slice(),
                &[("client_secret".into(), secret.into())],
            ]
            .concat()
        };
        let signed = |audience: &str| {
            [
                nameless.as_slice(),
                &assertion_fields(&signer.assertion(id, audience)),
            ]
            .concat()
        };

        // Every other way fails, and uses nothing up.
        if id != "public" {
            assert_eq!(
                error(&app.token(&fields).await?),
                (401, "invalid_client".into()),
                "{id}"
            );
        }
        for wrong in [SECRET_HASH, "", "wrong"] {
            if id != "public" || !wrong.is_empty() {
                let reply = app.token(&posted(wrong)).await?;
                assert_eq!(
                    error(&reply),
                    (401, "invalid_client".into()),
                    "{id} {wrong}"
                );
            }
            // An empty secret of a public client is none, and so is authenticated as it should be.
            if id != "public" || !wrong.is_empty() {
                let reply = http::send(basic(wrong)).await?;
                assert_eq!(
                    error(&reply),
                    (401, "invalid_client".into()),
                    "{id} {wrong}"
                );
            }
        }
        if matches!(id, "public" | "signs") {
            assert_eq!(
                error(&app.token(&posted(SECRET)).await?),
                (401, "invalid_client".into()),
                "{id}"
            );
        }
        if matches!(id, "public" | "signs") {
            assert_eq!(
                error(&http::send(basic(SECRET)).await?),
                (401, "invalid_client".into()),
                "{id}"
            );
        }
        if id != "signs" {
            let reply = app.token(&signed(&fixture.gateway.issuer())).await?;
            assert_eq!(error(&reply), (401, "invalid_client".into()), "{id}");
        }
        let reply = match id {
            "public" => app.token(&fields).await?,
            // A secret counts in the header and in the body (RFC 6749 §2.3.1).
            "basic" => app.token(&posted(SECRET)).await?,
            "post" => http::send(basic(SECRET)).await?,
            _ => app.token(&signed(&fixture.gateway.issuer())).await?,
        };
        assert_eq!(reply.status, 200, "{id}: {}", reply.text);
    }

    // Taken out of the configuration it is gone, though it was allowed before.
    fixture.gateway.setup().more = table("basic", &secret("client_secret_basic"));
    fixture.gateway.restart().await?;
    refused(&client(&fixture, "public", CALLBACK).authorization()).await?;
    Ok(())
}

/// Registered without a port, with one, and with another: each may come back at any.
#[tokio::test]
async fn loopback_ports_are_free_for_clients_of_every_kind_and_nothing_else_is() -> Result<()> {
    let site = DocumentSite::start().await?;
    let registered = [
        "http://127.0.0.1/callback",
        "http://[::1]:8080/callback",
        "http://localhost:3118/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "com.example.app:/callback",
    ];
    let list = registered.map(|uri| format!("\"{uri}\"")).join(", ");
    let tables =
        format!("[[client]]\nid = \"native\"\nname = \"Native\"\nredirect_uris = [{list}]\n");
    let fixture = fixture(&site, &tables).await?;
    let self_registered = OAuthClient::register_with(
        &fixture.gateway.origin(),
        &json!({ "client_name": "N", "redirect_uris": registered, "application_type": "native" }),
    )
    .await?;
    assert_eq!(self_registered.registration["application_type"], "native");
    let documented = site.put_client("/native.json", &registered);
    let mut browser = Browser::default();
    for id in [self_registered.client_id.as_str(), &documented, "native"] {
        for good in [
            "http://127.0.0.1:50123/callback",
            "http://127.0.0.1/callback",
            "http://[::1]:1/callback",
            "http://[::1]/callback",
            "http://localhost:65535/callback",
            "http://localhost/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "com.example.app:/callback",
        ] {
            let app = client(&fixture, id, good);
            let callback = app
                .walk(&mut browser, &app.authorization(), &fixture.owner, "Allow")
                .await?;
            assert!(callback.url.as_str().starts_with(good), "{}", callback.url);
            assert_eq!(
                callback.parameter("iss").as_deref(),
                Some(fixture.gateway.issuer().as_str())
            );
        }
        for bad in [
            "https://127.0.0.1/callback",
            "http://127.0.0.1:50123/callback/",
            "http://127.0.0.1:50123/other",
            "http://127.0.0.1:50123/callback?x=1",
            "http://127.0.0.1:50123/callback#x",
            "http://127.0.0.2:50123/callback",
            "http://127.0.0.1.evil.example/callback",
            "http://127.0.0.1:50123@evil.example/callback",
            "http://localhost.evil.example:3118/callback",
            "http://localhost:0x50/callback",
            "http://LOCALHOST:3118/callback",
            "http://[::1%25lo]:8080/callback",
            "http://2130706433/callback",
            "http://127.1:50123/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback/x",
            "cursor://anysphere.cursor-mcp:1/oauth/callback",
            "com.example.app:/other",
            "com.example.other:/callback",
            "javascript:alert(1)",
        ] {
            refused(&client(&fixture, id, bad).authorization()).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn iss_is_the_issuer_of_the_metadata_on_success_error_and_deny_for_every_kind() -> Result<()>
{
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, &table("operators", "")).await?;
    let metadata = http::get(&fixture.url("/.well-known/oauth-authorization-server"))
        .await?
        .json();
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
    let issuer = metadata["issuer"].as_str().unwrap_or_default().to_owned();
    let metadata = json!({ "client_name": "S", "redirect_uris": [CALLBACK] });
    let self_registered = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    let documented = site.put_client("/client.json", &[CALLBACK]);
    let mut browser = Browser::default();
    for id in [self_registered.client_id.as_str(), &documented, "operators"] {
        let app = client(&fixture, id, CALLBACK);
        for answer in ["Allow", "Deny"] {
            let request = app.authorization();
            let callback = app
                .walk(&mut browser, &request, &fixture.owner, answer)
                .await?;
            assert_eq!(
                callback.parameter("iss").as_deref(),
                Some(issuer.as_str()),
                "{id} {answer}"
            );
            let denied = callback.parameter("error").as_deref() == Some("access_denied");
            assert_eq!(denied, answer == "Deny", "{}", callback.url);
            assert_eq!(
                callback.parameter("state").as_deref(),
                Some("as it was sent: /?&=+%")
            );
        }
        // An error of the request itself, for somebody who has logged in.
        let wrong = app.authorization().with("response_type", "token");
        let page = browser.visit(&wrong.url()).await?;
        let location = page.location().unwrap();
        let parameter = |name: &str| {
            let found = location.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        assert_eq!(
            parameter("error").as_deref(),
            Some("unsupported_response_type")
        );
        assert_eq!(parameter("iss").as_deref(), Some(issuer.as_str()), "{id}");
    }
    Ok(())
}

#[tokio::test]
async fn scripts_are_no_redirect_of_any_kind_of_client() -> Result<()> {
    let site = DocumentSite::start().await?;
    let folder = tempfile::tempdir()?;
    let fixture = fixture(&site, "").await?;
    for scheme in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\\tscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "blob:https://app.example.net/x",
        "file:///etc/passwd",
        "view-source:https://app.example.net/",
        "intent://x#Intent;end",
        "about:blank",
        "http://app.example.net/cb",
        "https://u:p@app.example.net/cb",
        "https://*.example.net/cb",
    ] {
        let unescaped = scheme.replace("\\t", "\t");
        let metadata = json!({ "redirect_uris": [unescaped] });
        let reply = tests::oauth::register(&fixture.gateway.origin(), &metadata).await?;
        assert_eq!(
            error(&reply),
            (400, "invalid_redirect_uri".into()),
            "{scheme}"
        );
        let id = site.put_client("/script.json", &[&unescaped]);
        refused(&client(&fixture, &id, &unescaped).authorization()).await?;
        let file = folder.path().join("gateway.toml");
        std::fs::write(
            &file,
            format!(
                "[[backend]]\nurl = \"http://127.0.0.1:9\"\n[[client]]\nid = \"x\"\nname = \"X\"\nredirect_uris = [\"{scheme}\"]\n"
            ),
        )?;
        let arguments = [
            "check".to_owned(),
            "--config".to_owned(),
            file.display().to_string(),
        ];
        let (code, out, errors) = run(&binary("gateway"), &arguments, "").await?;
        assert_eq!(code, 64, "{scheme}: {out}{errors}");
        assert!(
            (out + &errors).contains("client.0.redirect_uris"),
            "{scheme}"
        );
    }
    Ok(())
}

/// The names of its kinds are told apart on the page, whatever a client calls itself.
#[tokio::test]
async fn a_self_registered_client_cannot_pass_for_a_verified_one() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata = json!({
        "client_name": "ChatGPT ✓ Verified: chatgpt.com",
        "redirect_uris": [CALLBACK],
        "client_uri": "https://chatgpt.com",
        "client_id": "https://chatgpt.com/oauth/client.json",
    });
    let app = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    assert!(app.client_id.starts_with("c_"));
    let (_, page) = at_consent(&fixture, &app.authorization()).await?;
    let words = page.words();
    for said in [
        "Unverified",
        "It registered itself",
        "Anyone can register under any name",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert!(!words.contains("Set up by the operator"), "{words}");
    Ok(())
}
