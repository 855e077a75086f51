//! From a code to a token and to its end.

use super::*;
use gateway_core::client::{Client, ClientAuthentication, ClientId, Registration};
use gateway_store::TakenCode;

#[tokio::test]
async fn a_code_becomes_a_token_for_what_was_consented_to() {
    let server = server();
    let client = public_client(&server, "App").await;
    let code = code(&server, &client, NOW).await;
    let response = redeem(&server, &redemption(&client, &code), NOW).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(header(&response, "pragma"), "no-cache");
    let answer = body(&response);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 86_400);
    assert_eq!(answer["scope"], "mcp");
    let claims = claims(&server, &answer);
    assert_eq!(
        claims.resource.as_str(),
        "https://mcp.example.com/files/mcp"
    );
    assert_eq!(
        claims.tools,
        Tools::Only(BTreeSet::from(["search".to_owned()]))
    );
    assert_eq!(claims.client.as_str(), client);
    assert_eq!(claims.expires.since(NOW), server.settings.access_ttl);
    let grant = server.records.grant(&claims.grant, NOW).await.unwrap();
    assert_eq!(grant.unwrap().tools, claims.tools);
}

#[tokio::test]
async fn a_code_redeemed_twice_revokes_its_grant_also_after_its_minute() {
    let server = server();
    let client = public_client(&server, "App").await;
    for later in [3, 3_600] {
        let code = code(&server, &client, NOW).await;
        let answer = body(&redeem(&server, &redemption(&client, &code), NOW).await);
        let grant = claims(&server, &answer).grant;
        let replayed = NOW + Duration::from_secs(later);
        let response = redeem(&server, &redemption(&client, &code), replayed).await;
        assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
        assert!(
            revocations(&server, replayed)
                .await
                .contains(&grant.as_str().to_owned())
        );
        assert_eq!(server.records.grant(&grant, replayed).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_retry_of_the_client_is_denied_and_ends_nothing() {
    let server = server();
    let client = public_client(&server, "App").await;
    let code = code(&server, &client, NOW).await;
    let answer = body(&redeem(&server, &redemption(&client, &code), NOW).await);
    let grant = claims(&server, &answer).grant;
    for later in [0, 1_000, 2_000] {
        let retried = NOW + Duration::from_millis(later);
        let response = redeem(&server, &redemption(&client, &code), retried).await;
        assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
        let said = body(&response)["error_description"].to_string();
        assert!(said.contains("stays good"), "{said}");
    }
    assert!(revocations(&server, NOW).await.is_empty());
    assert!(server.records.grant(&grant, NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn a_grant_is_revoked_once_however_often_that_is_asked() {
    let server = server();
    let client = public_client(&server, "App").await;
    let code = code(&server, &client, NOW).await;
    let answer = body(&redeem(&server, &redemption(&client, &code), NOW).await);
    let token = answer["access_token"].as_str().unwrap();
    for _ in 0..3 {
        let later = NOW + Duration::from_secs(3);
        let response = redeem(&server, &redemption(&client, &code), later).await;
        assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
        let request = form("/revoke", &[], &format!("client_id={client}&token={token}"));
        let response = revoke::answer(&server, &request, NOW).await;
        assert_eq!(response.status(), 200);
    }
    // The second is the mark of one that might have been racing with the redemption.
    assert!(revocations(&server, NOW).await.len() <= 2);
}

#[tokio::test]
async fn a_code_presented_without_its_proof_is_neither_used_up_nor_a_replay() {
    let server = server();
    let client = public_client(&server, "App").await;
    let other = public_client(&server, "Other").await;
    let code = code(&server, &client, NOW).await;
    let good = redemption(&client, &code);
    let wrong = [
        (good.replace(&client, &other), "invalid_grant"),
        (good.replace(VERIFIER, CHALLENGE), "invalid_grant"),
        (good.replace(VERIFIER, &VERIFIER[..42]), "invalid_grant"),
        (good.replace(VERIFIER, ""), "invalid_grant"),
        (
            good.replace(CALLBACK, "https://app.example.com/"),
            "invalid_grant",
        ),
        (good.replace(&code, &code[..42]), "invalid_grant"),
        (good.replace(&code, &format!("{code}A")), "invalid_grant"),
        (format!("{good}&resource={ORIGIN}/mcp"), "invalid_target"),
        (
            format!("{good}&resource={ORIGIN}/files/mcp%23x"),
            "invalid_target",
        ),
        (
            format!("{good}&resource=https://evil.example/"),
            "invalid_target",
        ),
        (format!("{good}&code={code}"), "invalid_request"),
    ];
    for (body, expected) in &wrong {
        let response = redeem(&server, body, NOW).await;
        assert_eq!(error(&response), (400, (*expected).to_owned()), "{body}");
    }
    let response = redeem(&server, &format!("{good}&resource={ORIGIN}/files/"), NOW).await;
    assert_eq!(response.status(), 200);
    for (body, expected) in &wrong {
        let response = redeem(&server, body, NOW).await;
        assert_eq!(error(&response), (400, (*expected).to_owned()), "{body}");
    }
    assert!(revocations(&server, NOW).await.is_empty());
}

#[tokio::test]
async fn a_code_lives_for_sixty_seconds() {
    let server = server();
    let client = public_client(&server, "App").await;
    for (seconds, status) in [(59, 200), (60, 400), (61, 400)] {
        let code = code(&server, &client, NOW).await;
        let later = NOW + Duration::from_secs(seconds);
        let response = redeem(&server, &redemption(&client, &code), later).await;
        assert_eq!(response.status(), status, "{seconds}");
    }
}

#[tokio::test]
async fn a_code_that_nobody_came_for_in_time_has_expired_and_is_no_reuse() {
    let server = server();
    let client = public_client(&server, "App").await;
    let code = code(&server, &client, NOW).await;
    let at = |seconds| NOW + Duration::from_secs(seconds);
    // As the watch does that tells the operator of it.
    let hash = Secret::presented(&code).hash();
    let taken = server.records.take_code(&hash, at(120)).await.unwrap();
    assert!(matches!(taken, TakenCode::Fresh(_)));
    let response = redeem(&server, &redemption(&client, &code), at(180)).await;
    assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
    let said = body(&response)["error_description"].to_string();
    assert!(said.contains("older than 60 seconds"), "{said}");
    assert!(revocations(&server, at(180)).await.is_empty());
}

#[tokio::test]
async fn of_64_concurrent_redemptions_one_succeeds() {
    let server = Arc::new(server());
    let client = public_client(&server, "App").await;
    let code = code(&server, &client, NOW).await;
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (server, body) = (Arc::clone(&server), redemption(&client, &code));
            tokio::spawn(async move { redeem(&server, &body, NOW).await.status() })
        })
        .collect();
    let mut successes = 0;
    for task in tasks {
        successes += u32::from(task.await.unwrap() == 200);
    }
    assert_eq!(successes, 1);
}

#[tokio::test]
async fn a_client_with_a_secret_shows_it_in_the_header_or_in_the_body() {
    let server = server();
    for method in ["client_secret_basic", "client_secret_post"] {
        let client = registered(&server, method, method).await;
        assert_eq!(client["client_secret_expires_at"], 0);
        let id = client["client_id"].as_str().unwrap();
        let secret = client["client_secret"].as_str().unwrap();
        let code = code(&server, id, NOW).await;
        let plain = redemption(id, &code);
        let with_basic = |secret: &str| {
            let line = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            form("/token", &[("authorization", &line)], &plain)
        };
        let with_post =
            |secret: &str| form("/token", &[], &format!("{plain}&client_secret={secret}"));
        for request in [
            form("/token", &[], &plain),
            with_basic("guess"),
            with_post("guess"),
            with_basic(""),
        ] {
            let response = token::answer(&server, &request, NOW).await;
            assert_eq!(error(&response), (401, "invalid_client".to_owned()));
            assert!(header(&response, "www-authenticate").starts_with("Basic "));
        }
        // Nothing was consumed.
        let other = match method {
            "client_secret_basic" => with_post(secret),
            _ => with_basic(secret),
        };
        assert_eq!(token::answer(&server, &other, NOW).await.status(), 200);
    }
    let client = public_client(&server, "Public").await;
    let code = code(&server, &client, NOW).await;
    let body = redemption(&client, &code) + "&client_secret=made-up";
    let response = redeem(&server, &body, NOW).await;
    assert_eq!(error(&response), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn a_client_sends_its_secret_in_the_header_as_it_is_or_encoded_as_in_a_form() {
    let mut server = server();
    let metadata = json!({
        "client_name": "Own",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "client_secret_basic",
    });
    let id = body(&post_metadata(&server, &metadata).await)["client_id"].clone();
    let registered = ClientId::new(id.as_str().unwrap());
    let registered = server.records.client(&registered, NOW).await.unwrap();
    let secret = Secret::presented("a+b%c/d==").hash();
    server.settings.clients = vec![Client {
        id: ClientId::new("own"),
        authentication: ClientAuthentication::ClientSecretBasic {
            secret,
            second: None,
        },
        registration: Registration::PreRegistered,
        ..registered.unwrap()
    }];
    for (sent, status) in [
        ("a%2Bb%25c%2Fd%3D%3D", 200),
        ("a+b%c/d==", 200),
        ("a b%c/d==", 401),
        ("guess", 401),
    ] {
        let code = code(&server, "own", NOW).await;
        let line = format!("Basic {}", STANDARD.encode(format!("own:{sent}")));
        let headers = [("authorization", line.as_str())];
        let request = form("/token", &headers, &redemption("own", &code));
        let response = token::answer(&server, &request, NOW).await;
        assert_eq!(response.status(), status, "{sent}");
    }
}

#[tokio::test]
async fn requests_that_are_no_token_requests_get_the_errors_of_the_rfc() {
    let server = server();
    let client = public_client(&server, "App").await;
    for (body, status, code) in [
        ("", 400, "invalid_request"),
        ("grant_type=", 400, "invalid_request"),
        ("grant_type=password", 400, "unsupported_grant_type"),
        (
            "grant_type=refresh_token&client_id=c_1",
            400,
            "invalid_grant",
        ),
        (
            "grant_type=authorization_code&code=x",
            400,
            "invalid_request",
        ),
        (
            "grant_type=authorization_code&client_id=c_1&code=x",
            401,
            "invalid_client",
        ),
        (
            "grant_type=authorization_code&grant_type=authorization_code",
            400,
            "invalid_request",
        ),
        ("grant_type=%zz", 400, "invalid_request"),
    ] {
        let response = redeem(&server, body, NOW).await;
        assert_eq!(error(&response), (status, code.to_owned()), "{body}");
    }
    let body = format!("grant_type=authorization_code&client_id={client}");
    let response = redeem(&server, &body, NOW).await;
    assert_eq!(error(&response), (400, "invalid_request".to_owned()));
    for content_type in [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencodedx",
    ] {
        let headers = [("content-type", content_type)];
        let request = request(Method::POST, "/token", &headers, &redemption(&client, "x"));
        let response = token::answer(&server, &request, NOW).await;
        assert_eq!(error(&response), (400, "invalid_request".to_owned()));
    }
}

#[tokio::test]
async fn a_client_revokes_its_own_grant_and_nobody_elses() {
    let server = server();
    let client = public_client(&server, "App").await;
    let other = public_client(&server, "Other").await;
    let code = code(&server, &client, NOW).await;
    let answer = body(&redeem(&server, &redemption(&client, &code), NOW).await);
    let token = answer["access_token"].as_str().unwrap();
    let revoke = |client: &str, token: &str, now: Timestamp| {
        let body = format!("client_id={client}&token={token}&token_type_hint=access_token");
        let request = form("/revoke", &[], &body);
        let server = &server;
        async move { revoke::answer(server, &request, now).await }
    };
    for (client, token) in [(&other, token), (&client, "unknown"), (&client, "%00")] {
        let response = revoke(client, token, NOW).await;
        assert_eq!(response.status(), 200);
        assert!(response.body().is_empty());
    }
    assert!(revocations(&server, NOW).await.is_empty());
    assert_eq!(
        error(&revoke(&client, "", NOW).await),
        (400, "invalid_request".to_owned())
    );
    assert_eq!(
        error(&revoke("c_nobody", token, NOW).await),
        (401, "invalid_client".to_owned())
    );
    let expired = NOW + server.settings.access_ttl;
    assert_eq!(revoke(&client, token, expired).await.status(), 200);
    let grant = claims(&server, &answer).grant;
    assert_eq!(revocations(&server, expired).await, [grant.as_str()]);
}
