//! An assertion of a client is good once, and only if all of it is right.

use super::*;

#[tokio::test]
async fn an_assertion_is_good_once_on_every_replica_and_after_a_restart() -> Result<()> {
    let redis = Redis::start().await?;
    let site = DocumentSite::start().await?;
    let backend = tests::recorder::Recorder::start(tests::scripted_mcp::answer).await?;
    let keys = tempfile::tempdir()?;
    let setup = |issuer: Option<String>| {
        let mut setup = Setup {
            store: Some(redis.url()),
            public_url: issuer,
            ..Setup::default()
        };
        setup.environment.push((
            "GATEWAY__KEYS_DIR".into(),
            keys.path().display().to_string(),
        ));
        site.known_to(setup.backend(&backend.url()))
    };
    let mut first = Gateway::start(setup(None)).await?;
    let issuer = first.issuer();
    let second = Gateway::start(setup(Some(issuer.clone()))).await?;
    let signer = Signer::ec("1")?;
    let id = publish(&site, &["private_key_jwt"], ("jwks", signer.jwks()));
    let assertion = signer.assertion(&id, &issuer);
    let host = issuer.trim_start_matches("http://").to_owned();
    let send = |origin: String, assertion: String| {
        let host = host.clone();
        async move {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", "none"),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", &assertion),
            ];
            let request = http::client()
                .post(format!("{origin}/token"))
                .header("Host", host);
            http::send(request.form(&fields)).await
        }
    };
    // Sent to both at once, ten times each: one is believed, and told that there is no such code.
    let all = (0..20).map(|n| {
        let origin = if n % 2 == 0 {
            first.origin()
        } else {
            second.origin()
        };
        send(origin, assertion.clone())
    });
    let mut believed = 0;
    for reply in futures::future::join_all(all).await {
        match error(&reply?) {
            (400, error) if error == "invalid_grant" => believed += 1,
            answer => assert_eq!(answer, (401, "invalid_client".into())),
        }
    }
    assert_eq!(believed, 1);
    first.restart().await?;
    let reply = send(first.origin(), assertion.clone()).await?;
    assert_eq!(error(&reply), (401, "invalid_client".into()));
    first.logged("client_assertion_reused").await?;
    let another = signer.assertion(&id, &issuer);
    let reply = send(second.origin(), another).await?;
    assert_eq!(
        error(&reply),
        (400, "invalid_grant".into()),
        "{}",
        reply.text
    );
    Ok(())
}

#[tokio::test]
async fn whatever_is_wrong_with_an_assertion_it_is_refused_and_the_code_is_left() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let (signer, other) = (Signer::rsa("1")?, Signer::rsa("1")?);
    let id = publish(&site, &["private_key_jwt"], ("jwks", signer.jwks()));
    let app = client(&fixture, &id, CALLBACK);
    let fields = code_of(&fixture, &app).await?;
    let issuer = fixture.gateway.issuer();
    let now = now().as_secs();
    let with = |name: &str, value: Value| {
        let mut claims = claims(&id, &issuer);
        claims[name] = value;
        signer.sign(&signer.header(), &claims)
    };
    let headed = |header: Value| signer.sign(&header, &claims(&id, &issuer));
    let good = signer.assertion(&id, &issuer);
    let unsigned = |header: &str| {
        let payload = good.split('.').nth(1).unwrap_or_default();
        format!("{}.{payload}.", base64_url(header))
    };
    let public_key = signer.jwk()["n"].as_str().unwrap_or_default().to_owned();
    for (what, assertion) in [
        ("another's key", other.assertion(&id, &issuer)),
        (
            "another's name",
            signer.assertion("https://app.example.net/c", &issuer),
        ),
        (
            "iss of another",
            with("iss", json!("https://app.example.net/c")),
        ),
        ("no iss", with("iss", json!(null))),
        (
            "for somebody else",
            with("aud", json!("https://other.example")),
        ),
        (
            "for two",
            with("aud", json!([issuer, "https://other.example"])),
        ),
        (
            "for a prefix",
            with("aud", json!(format!("{issuer}.evil.example"))),
        ),
        (
            "for a resource",
            with("aud", json!(format!("{issuer}/mcp"))),
        ),
        ("expired", with("exp", json!(now - 120))),
        ("for ever", with("exp", json!(now + 86_400))),
        ("no end", with("exp", json!(null))),
        ("an end in words", with("exp", json!("tomorrow"))),
        ("of tomorrow", with("nbf", json!(now + 86_400))),
        ("made tomorrow", with("iat", json!(now + 86_400))),
        ("made yesterday", with("iat", json!(now - 86_400))),
        ("no id", with("jti", json!(null))),
        ("an empty id", with("jti", json!(""))),
        ("alg none", unsigned(r#"{"alg":"none"}"#)),
        ("alg NONE", unsigned(r#"{"alg":"NONE"}"#)),
        ("no signature", unsigned(r#"{"alg":"RS256","kid":"1"}"#)),
        ("symmetric", headed(json!({ "alg": "HS256" }))),
        (
            "the public key as a secret",
            hs256(&id, &issuer, &public_key),
        ),
        (
            "alg of another key type",
            headed(json!({ "alg": "ES256", "kid": "1" })),
        ),
        (
            "an unserved algorithm",
            headed(json!({ "alg": "PS256", "kid": "1" })),
        ),
        (
            "critical",
            headed(json!({ "alg": "RS256", "crit": ["exp"], "exp": 1 })),
        ),
        (
            "another kind of token",
            headed(json!({ "alg": "RS256", "typ": "at+jwt" })),
        ),
        (
            "a key in the header",
            other.sign(
                &json!({ "alg": "RS256", "jwk": other.jwk() }),
                &claims(&id, &issuer),
            ),
        ),
        ("no JWT", "x".to_owned()),
        ("five parts", "a.b.c.d.e".to_owned()),
        ("too long", format!("{}.{}.{}", "a".repeat(9000), "b", "c")),
    ] {
        let reply = redeem(&app, &fields, &assertion).await?;
        let answer = error(&reply);
        let malformed = what == "another's name";
        let expected = if malformed {
            (400, "invalid_request")
        } else {
            (401, "invalid_client")
        };
        assert_eq!(
            (answer.0, answer.1.as_str()),
            expected,
            "{what}: {}",
            reply.text
        );
    }
    // Two methods at once.
    let both = [
        fields.as_slice(),
        &assertion_fields(&good),
        &[("client_secret".into(), "x".into())],
    ]
    .concat();
    assert_eq!(
        error(&app.token(&both).await?),
        (400, "invalid_request".into())
    );
    let twice = [
        fields.as_slice(),
        &assertion_fields(&good),
        &assertion_fields(&good),
    ]
    .concat();
    assert_eq!(
        error(&app.token(&twice).await?),
        (400, "invalid_request".into())
    );
    let reply = redeem(&app, &fields, &good).await?;
    assert_eq!(reply.status, 200, "the code was used up: {}", reply.text);
    let invalid = |line: &&String| line.contains("client_assertion_invalid");
    let enough = |log: &[String]| (log.iter().filter(invalid).count() >= 20).then_some(());
    fixture.gateway.eventually_logged(enough).await?;
    let log = fixture.gateway.log().join("\n");
    for part in good.split('.') {
        assert!(!log.contains(part), "an assertion stands in the log");
    }
    Ok(())
}

fn base64_url(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// An assertion "signed" with what everybody can read.
fn hs256(id: &str, issuer: &str, secret: &str) -> String {
    use base64::Engine as _;
    let header = base64_url(r#"{"alg":"HS256","kid":"1"}"#);
    let signed = format!("{header}.{}", base64_url(&claims(id, issuer).to_string()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, signed.as_bytes());
    let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag.as_ref());
    format!("{signed}.{tag}")
}
