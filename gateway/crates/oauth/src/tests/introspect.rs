//! `/introspect`: who may ask, and what is told.

use super::*;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{RevocationView, StoreEpoch};

const SECRET: &str = "a random secret: 100%";

/// Two backends with a credential each, and the client's token for `files`.
async fn world() -> (AuthorizationServer, String) {
    let mut server = server();
    let credentials = [("notes", "other"), ("files", SECRET)];
    server.settings.introspection = credentials
        .map(|(name, secret)| (name.to_owned(), hash(secret)))
        .into();
    let view = RevocationView::read_once(epoch(), &[], NOW);
    server.records = server.records.clone().with_view(view);
    let client = public_client(&server, "App").await;
    let code = code(&server, &client, NOW).await;
    let answer = body(&redeem(&server, &redemption(&client, &code), NOW).await);
    let token = answer["access_token"].as_str().unwrap().to_owned();
    (server, token)
}

fn epoch() -> StoreEpoch {
    StoreEpoch {
        id: "b".to_owned(),
        at: NOW - Duration::from_secs(3600),
    }
}

fn hash(secret: &str) -> SecretHash {
    Secret::presented(secret).hash()
}

fn basic(name: &str, secret: &str) -> String {
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = format!("{}:{}", encode(name), encode(secret));
    format!("Basic {}", STANDARD.encode(joined))
}

async fn ask_about(
    server: &AuthorizationServer,
    authorization: &[&str],
    form_body: &str,
    now: Timestamp,
) -> Response {
    let headers: Vec<_> = authorization
        .iter()
        .map(|line| ("authorization", *line))
        .collect();
    crate::introspect::answer(server, &form("/introspect", &headers, form_body), now).await
}

#[tokio::test]
async fn a_backend_learns_what_a_token_for_it_says() {
    let (server, token) = world().await;
    let line = basic("files", SECRET);
    let about = format!("token={token}&token_type_hint=refresh_token");
    let response = ask_about(&server, &[&line], &about, NOW).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "cache-control"), "no-store");
    let answer = body(&response);
    let claims = claims(&server, &json!({ "access_token": token }));
    let expected = json!({
        "active": true,
        "client_id": claims.client.as_str(),
        "username": "alice",
        "sub": "u_1",
        "scope": "mcp",
        "aud": "https://mcp.example.com/files/mcp",
        "iss": ORIGIN,
        "exp": NOW.secs() + 86_400,
        "iat": NOW.secs(),
        "token_type": "Bearer",
        "tools": ["search"],
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_backend_may_send_its_secret_as_it_is_or_encoded_as_in_a_form() {
    let (server, token) = world().await;
    // As curl sends it: `%` is followed by nothing.
    let plain = format!("Basic {}", STANDARD.encode(format!("files:{SECRET}")));
    for line in [plain, basic("files", SECRET)] {
        let response = ask_about(&server, &[&line], &format!("token={token}"), NOW).await;
        assert_eq!(response.status(), 200, "{line}");
    }
}

#[tokio::test]
async fn all_else_is_inactive_without_a_word_more() {
    let (mut server, token) = world().await;
    let (files, notes) = (basic("files", SECRET), basic("notes", "other"));
    let day = Duration::from_secs(86_400);
    // Within the signature, where every bit of a letter counts: the last one may say the same otherwise.
    let (before, after) = token.split_at(token.len() - 20);
    let other = if after.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{before}{other}{}", &after[1..]);
    for (line, token, now) in [
        (&notes, token.as_str(), NOW),
        (&files, &*tampered, NOW),
        (&files, "garbage", NOW),
        (&files, "r_g_1.0.x", NOW),
        (&files, "a b", NOW),
        (&files, token.as_str(), NOW + day + Duration::from_secs(31)),
    ] {
        // As fresh as its moment.
        let view = RevocationView::read_once(epoch(), &[], now);
        server.records = server.records.clone().with_view(view);
        let response = ask_about(&server, &[line], &format!("token={token}"), now).await;
        assert_eq!(response.status(), 200, "{token}");
        assert_eq!(response.body().as_ref(), br#"{"active":false}"#, "{token}");
    }
    let claims = claims(&server, &json!({ "access_token": token }));
    let until = NOW + 2 * day;
    let view = RevocationView::read_once(epoch(), &[], NOW);
    server.records = server.records.clone().with_view(view);
    let records = &server.records;
    let active = ask_about(&server, &[&files], &format!("token={token}"), NOW).await;
    assert_eq!(body(&active)["active"], true);
    records
        .revoke_grant(&claims.grant, until, NOW)
        .await
        .unwrap();
    let response = ask_about(&server, &[&files], &format!("token={token}"), NOW).await;
    assert_eq!(response.body().as_ref(), br#"{"active":false}"#);
}

#[tokio::test]
async fn whoever_is_no_backend_learns_nothing() {
    let (server, token) = world().await;
    let about = format!("token={token}");
    let good = basic("files", SECRET);
    let bearer = format!("Bearer {token}");
    for lines in [
        vec![],
        vec![bearer.as_str()],
        vec!["Basic"],
        vec!["Basic !"],
        vec![&basic("files", "guess")],
        vec![&basic("files", "other")],
        vec![&basic("files", "")],
        vec![&basic("nobody", SECRET)],
        vec![&basic("", "")],
        vec![&good, &good],
    ] {
        let response = ask_about(&server, &lines, &about, NOW).await;
        assert_eq!(error(&response), (401, "invalid_client".to_owned()));
        assert!(header(&response, "www-authenticate").starts_with("Basic "));
    }
    // In the body a secret counts for nothing.
    let in_body = format!("{about}&client_id=files&client_secret={SECRET}");
    assert_eq!(ask_about(&server, &[], &in_body, NOW).await.status(), 401);
    for malformed in ["", "token=", &format!("{about}&{about}")] {
        let response = ask_about(&server, &[&good], malformed, NOW).await;
        assert_eq!(error(&response), (400, "invalid_request".to_owned()));
    }
}

#[tokio::test]
async fn where_revocations_are_not_known_the_answer_is_503() {
    let (server, token) = world().await;
    let good = basic("files", SECRET);
    let about = format!("token={token}");
    let later = NOW + Duration::from_secs(61);
    let response = ask_about(&server, &[&good], &about, later).await;
    assert_eq!(error(&response).0, 503);
    assert!(!header(&response, "retry-after").is_empty());
}

#[tokio::test]
async fn it_is_offered_where_a_backend_has_a_credential_and_absent_elsewhere() {
    for (server, offered) in [(world().await.0, true), (server(), false)] {
        let metadata = body(&get(&server, "/.well-known/oauth-authorization-server").await);
        let endpoint = metadata.get("introspection_endpoint");
        let expected = json!(format!("{ORIGIN}/introspect"));
        assert_eq!(endpoint, offered.then_some(&expected));
        let methods = &metadata["introspection_endpoint_auth_methods_supported"];
        assert_eq!(*methods == json!(["client_secret_basic"]), offered);
        let response = ask(&server, &form("/introspect", &[], "token=x")).await;
        assert_eq!(response.status(), if offered { 401 } else { 404 });
        let response = get(&server, "/introspect").await;
        assert_eq!(response.status(), 405);
        assert_eq!(header(&response, "access-control-allow-origin"), "");
    }
}
