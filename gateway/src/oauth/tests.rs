//! The endpoints over the memory store: registration, approval, redemption, revocation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biscuit_auth::KeyPair;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::access_token::{self, Keys, Tools};
use crate::backend::Catalogue;
use crate::browser_session::BrowserSession;
use crate::clock::{Clock, Timestamp};
use crate::grants::UserId;
use crate::identity::{Passwords, Setup};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::{AuthorizationServer, Settings, authorize, register, revoke, token};
use crate::protocol::bearer::BearerToken;
use crate::protocol::redirect_uri::PrivateUseSchemes;
use crate::protocol::resource::{Issuer, Mount};
use crate::protocol::web::{Request, Response};
use crate::secret::TagKey;
use crate::store::{Cursor, Memory, Records};

/// Where no clock is asked. Far ahead, so that what was made at this time is there for those that
/// ask the clock.
const NOW: Timestamp = Timestamp::from_secs(4_000_000_000);
const ORIGIN: &str = "https://mcp.example.com";
const CALLBACK: &str = "https://app.example.com/cb";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn server() -> AuthorizationServer {
    let mounts = [("notes", ""), ("files", "/files")].map(|(name, prefix)| Mount {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
    });
    AuthorizationServer {
        settings: Settings {
            issuer: Issuer::parse(ORIGIN).unwrap(),
            mounts: mounts.to_vec(),
            title: "Test".to_owned(),
            access_ttl: Duration::from_secs(86_400),
            apps_challenge: None,
            security_contact: Some("mailto:security@example.com".to_owned()),
            redirect_schemes: PrivateUseSchemes::default(),
            registrations_per_hour: 5,
        },
        records: Records::new(Arc::new(Memory::new())),
        keys: Arc::new(Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap()),
        tags: TagKey::new([3; 32]),
        passwords: Passwords::default(),
        setup: Setup,
        catalogue: Arc::new(Catalogue::default()),
        clock: Clock,
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let (path, query) = path
        .split_once('?')
        .map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    Request {
        method,
        path: path.to_owned(),
        query,
        headers: headers
            .iter()
            .map(|(name, value)| {
                let name: http::HeaderName = name.parse().unwrap();
                (name, value.parse().unwrap())
            })
            .collect::<HeaderMap>(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        peer: "192.0.2.1".parse().unwrap(),
        request_id: "r".to_owned(),
    }
}

fn form(path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    request(Method::POST, path, &headers, body)
}

async fn ask(server: &AuthorizationServer, request: &Request) -> Response {
    let endpoint = Endpoint::find(&request.path, &server.settings.mounts).unwrap();
    server.answer(endpoint, request).await
}

async fn get(server: &AuthorizationServer, path: &str) -> Response {
    ask(server, &request(Method::GET, path, &[], "")).await
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

fn error(response: &Response) -> (u16, String) {
    assert_eq!(header(response, "cache-control"), "no-store");
    let error = body(response)["error"].as_str().unwrap().to_owned();
    (response.status().as_u16(), error)
}

async fn post_metadata(server: &AuthorizationServer, metadata: &Value) -> Response {
    let headers = [("content-type", "application/json")];
    let request = request(Method::POST, "/register", &headers, &metadata.to_string());
    register::answer(server, &request, NOW).await
}

async fn registered(server: &AuthorizationServer, name: &str, method: &str) -> Value {
    let metadata = json!({
        "client_name": name,
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": method,
    });
    let response = post_metadata(server, &metadata).await;
    assert_eq!(response.status(), 201);
    body(&response)
}

async fn public_client(server: &AuthorizationServer, name: &str) -> String {
    let client = registered(server, name, "none").await;
    client["client_id"].as_str().unwrap().to_owned()
}

/// A code for `client`, made `now`.
async fn code(server: &AuthorizationServer, client: &str, now: Timestamp) -> String {
    let query = format!(
        "client_id={client}&redirect_uri={CALLBACK}&response_type=code&state=s\
         &code_challenge={CHALLENGE}&code_challenge_method=S256&resource={ORIGIN}/files/sse"
    );
    let asked = authorize::validate(server, &query, now).await.unwrap();
    let user = UserId::new("u_1");
    let session = BrowserSession::begin(user, "alice".to_owned(), "$argon2id", now);
    let tools = Tools::Only(BTreeSet::from(["search".to_owned()]));
    let request = request(Method::POST, "/consent", &[], "");
    let response = authorize::approve(server, &request, &session, asked, tools, now).await;
    assert_eq!(response.status(), 303);
    let location = url::Url::parse(header(&response, "location")).unwrap();
    let parameters: BTreeMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!(parameters["iss"], ORIGIN);
    assert_eq!(parameters["state"], "s");
    parameters["code"].clone()
}

fn redemption(client: &str, code: &str) -> String {
    format!(
        "grant_type=authorization_code&client_id={client}&code={code}&code_verifier={VERIFIER}\
         &redirect_uri={CALLBACK}"
    )
}

async fn redeem(server: &AuthorizationServer, body: &str, now: Timestamp) -> Response {
    token::answer(server, &form("/token", &[], body), now).await
}

async fn revocations(server: &AuthorizationServer, now: Timestamp) -> Vec<String> {
    let store = server.records.store();
    let (revocations, _) = store.revocations(Cursor::default(), now).await.unwrap();
    revocations.into_iter().map(|entry| entry.id).collect()
}

fn claims(server: &AuthorizationServer, answer: &Value) -> access_token::Claims {
    let token = answer["access_token"].as_str().unwrap();
    let bearer = BearerToken::parse_token(token).unwrap();
    let verified = access_token::verify(&bearer, &server.keys).unwrap();
    verified.claims().clone()
}

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
    for later in [0, 3_600] {
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
async fn a_client_authenticates_by_its_registered_method_and_no_other() {
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
        let (right, wrong) = match method {
            "client_secret_basic" => (with_basic(secret), with_post(secret)),
            _ => (with_post(secret), with_basic(secret)),
        };
        for request in [
            form("/token", &[], &plain),
            wrong,
            with_basic("guess"),
            with_post("guess"),
        ] {
            let response = token::answer(&server, &request, NOW).await;
            assert_eq!(error(&response), (401, "invalid_client".to_owned()));
            assert!(header(&response, "www-authenticate").starts_with("Basic "));
        }
        // Nothing was consumed.
        assert_eq!(token::answer(&server, &right, NOW).await.status(), 200);
    }
    let client = public_client(&server, "Public").await;
    let code = code(&server, &client, NOW).await;
    let body = redemption(&client, &code) + "&client_secret=made-up";
    let response = redeem(&server, &body, NOW).await;
    assert_eq!(error(&response), (401, "invalid_client".to_owned()));
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
            "unsupported_grant_type",
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

#[tokio::test]
async fn registering_the_same_again_is_the_same_client_and_floods_are_limited() {
    let server = server();
    let first = public_client(&server, "App").await;
    for _ in 0..10 {
        assert_eq!(public_client(&server, "App").await, first);
    }
    let register_another = |n: usize| {
        let metadata = json!({ "client_name": format!("App {n}"), "redirect_uris": [CALLBACK] });
        let server = &server;
        async move { post_metadata(server, &metadata).await }
    };
    for n in 1..5 {
        assert_eq!(register_another(n).await.status(), 201);
    }
    let response = register_another(5).await;
    assert_eq!(response.status(), 429);
    assert!(!header(&response, "retry-after").is_empty());
    // Whoever was there before is not locked out.
    assert_eq!(public_client(&server, "App").await, first);
}

#[tokio::test]
async fn a_registration_says_what_was_registered() {
    let server = server();
    let metadata = json!({
        "client_name": "App\u{202e}\n",
        "redirect_uris": [CALLBACK, "http://localhost:1/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "mcp admin",
        "application_type": "native",
        "logo_uri": "https://app.example.com/logo.png",
        "client_id": "mine",
        "client_secret": "mine",
    });
    let response = post_metadata(&server, &metadata).await;
    assert_eq!(response.status(), 201);
    assert_eq!(header(&response, "cache-control"), "no-store");
    let client = body(&response);
    assert_eq!(client["client_name"], "App");
    assert_eq!(client["redirect_uris"], metadata["redirect_uris"]);
    assert_eq!(client["grant_types"], json!(["authorization_code"]));
    assert_eq!(client["response_types"], json!(["code"]));
    assert_eq!(client["token_endpoint_auth_method"], "none");
    assert_eq!(client["scope"], "mcp");
    assert_eq!(client["application_type"], "native");
    assert!(client["client_id"].as_str().unwrap().starts_with("c_"));
    assert!(client.get("client_secret").is_none());
    let response = post_metadata(
        &server,
        &json!({ "redirect_uris": ["javascript:alert(1)"] }),
    )
    .await;
    assert_eq!(error(&response), (400, "invalid_redirect_uri".to_owned()));
    let response = post_metadata(&server, &json!([1])).await;
    assert_eq!(
        error(&response),
        (400, "invalid_client_metadata".to_owned())
    );
}

#[tokio::test]
async fn a_visitor_is_asked_to_log_in_before_a_client_hears_anything() {
    let server = server();
    let client = public_client(&server, "App").await;
    let valid = format!(
        "/authorize?client_id={client}&redirect_uri={CALLBACK}&response_type=code\
         &code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    for path in [
        valid.clone(),
        valid.replace("response_type=code", "response_type=token"),
        format!("{valid}&prompt=none"),
        format!("{valid}&scope=%22"),
    ] {
        let response = get(&server, &path).await;
        assert_eq!(header(&response, "location"), "", "{path}");
        assert_eq!(header(&response, "access-control-allow-origin"), "");
    }
    for path in [
        "/authorize".to_owned(),
        valid.replace(&client, "c_nobody"),
        valid.replace(CALLBACK, "https://evil.example/"),
        format!("{valid}&client_id={client}"),
        format!("{valid}&x=%ff"),
    ] {
        let response = get(&server, &path).await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(header(&response, "location"), "");
    }
    let query = valid.split_once('?').unwrap().1;
    let posted = ask(&server, &form("/authorize", &[], query)).await;
    assert_ne!(posted.status(), 400);
    let both = ask(&server, &form(&valid, &[], query)).await;
    assert_eq!(both.status(), 400);
}

#[tokio::test]
async fn metadata_names_the_configured_origin_and_nothing_else() {
    let server = server();
    let response = get(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    let metadata = body(&response);
    assert_eq!(metadata["issuer"], ORIGIN);
    assert_eq!(metadata["scopes_supported"], json!(["mcp"]));
    assert_eq!(
        metadata["grant_types_supported"],
        json!(["authorization_code"])
    );
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        json!(["S256"])
    );
    for (member, value) in metadata.as_object().unwrap() {
        if member.ends_with("_endpoint") {
            let path = value.as_str().unwrap().strip_prefix(ORIGIN).unwrap();
            assert!(Endpoint::find(path, &[]).is_some(), "{member}");
        }
    }
    for path in ["", "/", "/mcp", "/mcp/", "/sse", "/files", "/files/mcp/"] {
        let response = get(
            &server,
            &format!("/.well-known/oauth-protected-resource{path}"),
        )
        .await;
        let metadata = body(&response);
        assert_eq!(metadata["resource"], format!("{ORIGIN}{path}"));
        assert_eq!(metadata["authorization_servers"], json!([ORIGIN]));
    }
}

#[tokio::test]
async fn documents_answer_head_and_conditions_and_absent_ones_answer_json() {
    let server = server();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/mcp/manifest.json",
        "/.well-known/mcp/server-card.json",
        "/.well-known/security.txt",
        "/files/mcp/server-card",
        "/robots.txt",
        "/llms.txt",
        "/favicon.ico",
    ] {
        let full = get(&server, path).await;
        assert_eq!(full.status(), 200, "{path}");
        assert!(header(&full, "cache-control").starts_with("public"));
        let head = ask(&server, &request(Method::HEAD, path, &[], "")).await;
        assert_eq!(head.status(), 200);
        assert!(head.body().is_empty());
        assert_eq!(
            header(&head, "content-length"),
            full.body().len().to_string()
        );
        let etag = format!("\"x\", W/{}", header(&full, "etag"));
        let again = request(Method::GET, path, &[("if-none-match", &etag)], "");
        let again = ask(&server, &again).await;
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.body().is_empty());
        let preflight = ask(&server, &request(Method::OPTIONS, path, &[], "")).await;
        assert_eq!(preflight.status(), 204);
        assert_eq!(header(&preflight, "access-control-allow-origin"), "*");
        let posted = ask(&server, &request(Method::POST, path, &[], "")).await;
        assert_eq!(posted.status(), 405);
        assert_eq!(header(&posted, "allow"), "GET, HEAD, OPTIONS");
    }
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/openai-apps-challenge",
        "/.well-known/oauth-authorization-server/mcp",
        "/mcp/.well-known/oauth-protected-resource",
    ] {
        let response = get(&server, path).await;
        assert_eq!(error(&response), (404, "not_found".to_owned()), "{path}");
        assert_eq!(header(&response, "content-type"), "application/json");
        assert_eq!(header(&response, "access-control-allow-origin"), "*");
    }
}

#[tokio::test]
async fn a_client_lives_ninety_days_from_its_last_approval() {
    let server = server();
    let client = public_client(&server, "App").await;
    let day = |n: u64| NOW + Duration::from_secs(n * 24 * 3600);
    code(&server, &client, day(80)).await;
    let id = crate::client::ClientId::new(client);
    assert!(
        server
            .records
            .client(&id, day(169))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        server
            .records
            .client(&id, day(171))
            .await
            .unwrap()
            .is_none()
    );
}
