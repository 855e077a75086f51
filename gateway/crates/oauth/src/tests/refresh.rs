//! Refresh tokens at `/token` and `/revoke`.

use super::*;
use gateway_core::grants::refresh_token::Lifetimes;
use gateway_store::{RevocationView, StoreEpoch};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn refreshing() -> AuthorizationServer {
    let mut server = server();
    server.settings.access_ttl = Duration::from_secs(3600);
    server.settings.refresh = Some(Lifetimes {
        idle: 30 * DAY,
        absolute: 180 * DAY,
        grace: MINUTE,
    });
    server
}

/// The token response that a new code gives.
async fn connect(server: &AuthorizationServer, client: &str, now: Timestamp) -> Value {
    let code = code(server, client, now).await;
    let response = redeem(server, &redemption(client, &code), now).await;
    assert_eq!(response.status(), 200);
    body(&response)
}

fn refresh_token(answer: &Value) -> &str {
    answer["refresh_token"].as_str().unwrap()
}

async fn refresh(
    server: &AuthorizationServer,
    client: &str,
    token: &str,
    more: &str,
    now: Timestamp,
) -> Response {
    let body = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}{more}");
    redeem(server, &body, now).await
}

#[tokio::test]
async fn a_refresh_gives_an_access_token_for_the_same_and_the_next_refresh_token() {
    let server = refreshing();
    let client = public_client(&server, "App").await;
    let first = connect(&server, &client, NOW).await;
    assert_eq!(first["expires_in"], 3600);
    let later = NOW + 10 * DAY;
    let response = refresh(&server, &client, refresh_token(&first), "", later).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(header(&response, "pragma"), "no-cache");
    let second = body(&response);
    assert_eq!(second["expires_in"], 3600);
    assert_eq!(second["scope"], "mcp");
    assert_ne!(refresh_token(&first), refresh_token(&second));
    let (before, after) = (claims(&server, &first), claims(&server, &second));
    assert_eq!(after.expires.since(later), Duration::from_secs(3600));
    assert_eq!(
        (after.grant.clone(), after.resource, after.tools, after.user),
        (before.grant, before.resource, before.tools, before.user)
    );
    let grant = server.records.grant(&after.grant, later).await.unwrap();
    assert_eq!(grant.unwrap().expires, later + 30 * DAY);
}

#[tokio::test]
async fn of_64_parallel_refreshes_all_succeed_with_one_successor() {
    let server = Arc::new(refreshing());
    let client = public_client(&server, "App").await;
    let mut token = refresh_token(&connect(&server, &client, NOW).await).to_owned();
    for round in 0..20 {
        let now = NOW + round * DAY;
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (server, client, token) = (Arc::clone(&server), client.clone(), token.clone());
                tokio::spawn(async move { refresh(&server, &client, &token, "", now).await })
            })
            .collect();
        let mut successors = BTreeSet::new();
        for task in tasks {
            let response = task.await.unwrap();
            assert_eq!(response.status(), 200);
            successors.insert(refresh_token(&body(&response)).to_owned());
        }
        assert_eq!(successors.len(), 1, "round {round}");
        token = successors.pop_first().unwrap();
    }
    assert!(revocations(&server, NOW).await.is_empty());
}

#[tokio::test]
async fn a_refresh_token_used_after_its_grace_ends_the_grant() {
    let server = refreshing();
    let client = public_client(&server, "App").await;
    let first = connect(&server, &client, NOW).await;
    let second = body(&refresh(&server, &client, refresh_token(&first), "", NOW).await);
    let edge = NOW + Duration::from_secs(59);
    let again = refresh(&server, &client, refresh_token(&first), "", edge).await;
    assert_eq!(refresh_token(&body(&again)), refresh_token(&second));
    assert!(revocations(&server, edge).await.is_empty());
    let late = NOW + MINUTE;
    let reused = refresh(&server, &client, refresh_token(&first), "", late).await;
    assert_eq!(error(&reused), (400, "invalid_grant".to_owned()));
    let grant = claims(&server, &first).grant;
    assert_eq!(revocations(&server, late).await, [grant.as_str()]);
    let newest = refresh(&server, &client, refresh_token(&second), "", late).await;
    assert_eq!(error(&newest), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn a_refresh_without_its_proof_neither_uses_the_token_up_nor_revokes() {
    let server = refreshing();
    let client = public_client(&server, "App").await;
    let other = public_client(&server, "Other").await;
    let confidential = registered(&server, "Confidential", "client_secret_post").await;
    let first = connect(&server, &client, NOW).await;
    let token = refresh_token(&first);
    // Again after the grace of the first use: still no revocation.
    for now in [NOW, NOW + 2 * MINUTE] {
        let id = confidential["client_id"].as_str().unwrap();
        let secret = confidential["client_secret"].as_str().unwrap();
        for (id, token, more, status, expected) in [
            (other.as_str(), token, "", 400, "invalid_grant"),
            (
                id,
                token,
                &*format!("&client_secret={secret}"),
                400,
                "invalid_grant",
            ),
            (id, token, "&client_secret=guess", 401, "invalid_client"),
            (&client, token, "&client_secret=x", 401, "invalid_client"),
            ("nobody", token, "", 401, "invalid_client"),
            (&client, &token[..token.len() - 1], "", 400, "invalid_grant"),
            (&client, &format!("{token}A"), "", 400, "invalid_grant"),
            (&client, "", "", 400, "invalid_request"),
            (&client, "r_g_x.0.y", "", 400, "invalid_grant"),
            (&client, "garbage", "", 400, "invalid_grant"),
        ] {
            let response = refresh(&server, id, token, more, now).await;
            assert_eq!(error(&response), (status, expected.to_owned()), "{token}");
        }
        assert!(revocations(&server, now).await.is_empty());
        if now == NOW {
            for (more, expected) in [
                (format!("&resource={ORIGIN}/mcp"), "invalid_target"),
                (
                    "&resource=https://evil.example/".to_owned(),
                    "invalid_target",
                ),
                (
                    format!("&resource={ORIGIN}/files/mcp%23x"),
                    "invalid_target",
                ),
                ("&scope=%22".to_owned(), "invalid_scope"),
                (format!("&refresh_token={token}"), "invalid_request"),
            ] {
                let response = refresh(&server, &client, token, &more, now).await;
                assert_eq!(error(&response), (400, expected.to_owned()), "{more}");
            }
            let more = format!("&resource={ORIGIN}/files/&scope=mcp+openid+offline_access");
            let response = refresh(&server, &client, token, &more, now).await;
            assert_eq!(response.status(), 200);
        }
    }
}

#[tokio::test]
async fn a_client_whose_registration_names_other_grant_types_gets_no_refresh_token() {
    let server = refreshing();
    for (types, refreshes) in [
        (json!(null), true),
        (json!([]), true),
        (json!(["authorization_code", "refresh_token"]), true),
        (json!(["authorization_code"]), false),
    ] {
        let metadata = json!({
            "client_name": format!("{types}"),
            "redirect_uris": [CALLBACK],
            "grant_types": types,
        });
        let client = body(&post_metadata(&server, &metadata).await);
        let served = client["grant_types"].as_array().unwrap();
        assert_eq!(served.contains(&json!("refresh_token")), refreshes);
        let id = client["client_id"].as_str().unwrap();
        let answer = connect(&server, id, NOW).await;
        assert_eq!(answer.get("refresh_token").is_some(), refreshes, "{types}");
        if !refreshes {
            let response = refresh(&server, id, "r_g_1.0.x", "", NOW).await;
            assert_eq!(error(&response), (400, "unauthorized_client".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_client_that_registered_while_refresh_was_off_gets_a_refresh_token_once_it_is_on() {
    let mut server = refreshing();
    let lifetimes = server.settings.refresh.take();
    // As VS Code does: of those that it can, those that the metadata lists.
    let metadata = json!({
        "client_name": "Visual Studio Code",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", token::DEVICE_CODE],
    });
    let client = body(&post_metadata(&server, &metadata).await);
    assert_eq!(client["grant_types"], json!(["authorization_code"]));
    let id = client["client_id"].as_str().unwrap();
    let first = connect(&server, id, NOW).await;
    assert_eq!(first.get("refresh_token"), None);
    server.settings.refresh = lifetimes;
    let second = connect(&server, id, NOW).await;
    let response = refresh(&server, id, refresh_token(&second), "", NOW).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_refresh_that_comes_too_late_is_told_so_for_a_week() {
    let server = refreshing();
    let client = public_client(&server, "App").await;
    let first = connect(&server, &client, NOW).await;
    for later in [30 * DAY, 36 * DAY, 60 * DAY] {
        let response = refresh(&server, &client, refresh_token(&first), "", NOW + later).await;
        assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
        let expired = body(&response)["error_description"]
            .as_str()
            .unwrap()
            .contains("in time");
        assert_eq!(expired, later < 37 * DAY, "{later:?}");
    }
    assert!(revocations(&server, NOW).await.is_empty());
}

#[tokio::test]
async fn a_refresh_for_a_backend_that_is_gone_is_invalid_grant_and_ends_nothing() {
    let mut server = refreshing();
    let client = public_client(&server, "App").await;
    let first = connect(&server, &client, NOW).await;
    let mounts = server.settings.mounts.clone();
    server.settings.mounts.truncate(1);
    let more = format!("&resource={ORIGIN}/files/mcp");
    for more in ["", &more] {
        let response = refresh(&server, &client, refresh_token(&first), more, NOW).await;
        assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
    }
    server.settings.mounts = mounts;
    let response = refresh(&server, &client, refresh_token(&first), &more, NOW).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_refresh_after_refreshing_was_switched_off_is_invalid_grant_so_that_apps_ask_anew() {
    let mut server = refreshing();
    let client = public_client(&server, "App").await;
    let first = connect(&server, &client, NOW).await;
    let lifetimes = server.settings.refresh.take();
    let response = refresh(&server, &client, refresh_token(&first), "", NOW).await;
    assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
    connect(&server, &client, NOW).await;
    assert!(revocations(&server, NOW).await.is_empty());
    server.settings.refresh = lifetimes;
    let response = refresh(&server, &client, refresh_token(&first), "", NOW).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_connection_that_names_the_origin_outlives_another_backend_beside_its_own() {
    let mut server = refreshing();
    let mounts = server.settings.mounts.split_off(1);
    let others = std::mem::replace(&mut server.settings.mounts, mounts);
    let client = public_client(&server, "App").await;
    let origin = format!("&resource={ORIGIN}/");
    let code = code(&server, &client, NOW).await;
    let redemption = redemption(&client, &code) + &origin;
    let first = body(&redeem(&server, &redemption, NOW).await);
    let mail = Mount {
        name: "mail".to_owned(),
        prefix: "/mail".to_owned(),
    };
    // One at a path, and one at `/`, which the origin names elsewhere.
    for added in [vec![mail], others] {
        server.settings.mounts.extend(added);
        let response = refresh(&server, &client, refresh_token(&first), &origin, NOW).await;
        assert_eq!(response.status(), 200);
        let refreshed = claims(&server, &body(&response));
        assert_eq!(refreshed.resource.as_str(), format!("{ORIGIN}/files/mcp"));
        let more = format!("&resource={ORIGIN}/mail/mcp");
        let response = refresh(&server, &client, refresh_token(&first), &more, NOW).await;
        assert_eq!(error(&response), (400, "invalid_target".to_owned()));
    }
}

#[tokio::test]
async fn a_client_lives_as_long_as_it_refreshes() {
    let server = refreshing();
    let client = public_client(&server, "App").await;
    let mut token = refresh_token(&connect(&server, &client, NOW).await).to_owned();
    for round in 1..=8 {
        let now = NOW + round * 20 * DAY;
        let response = refresh(&server, &client, &token, "", now).await;
        assert_eq!(response.status(), 200, "after {} days", round * 20);
        token = refresh_token(&body(&response)).to_owned();
    }
    let capped = NOW + 180 * DAY;
    let response = refresh(&server, &client, &token, "", capped).await;
    assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn a_refresh_or_access_token_of_any_age_ends_its_grant_whatever_the_hint_says() {
    let server = refreshing();
    let client = public_client(&server, "App").await;
    let other = public_client(&server, "Other").await;
    connect(&server, &other, NOW).await;
    for (which, hint) in [
        ("newest", ""),
        ("newest", "&token_type_hint=access_token"),
        ("exchanged", "&token_type_hint=refresh_token"),
        ("exchanged", "&token_type_hint=nonsense"),
        ("access", "&token_type_hint=refresh_token"),
    ] {
        let first = connect(&server, &client, NOW).await;
        let second = body(&refresh(&server, &client, refresh_token(&first), "", NOW).await);
        // Past the access token's end.
        let now = NOW + 2 * DAY;
        let token = match which {
            "newest" => refresh_token(&second),
            "exchanged" => refresh_token(&first),
            _ => first["access_token"].as_str().unwrap(),
        };
        let revoke = async |client: &str, token: &str| {
            let body = format!("client_id={client}&token={token}{hint}");
            let request = form("/revoke", &[], &body);
            let response = revoke::answer(&server, &request, now).await;
            assert_eq!(
                (response.status().as_u16(), response.body().len()),
                (200, 0)
            );
        };
        let before = revocations(&server, now).await;
        revoke(&other, token).await;
        revoke(&client, &token[..token.len() - 8]).await;
        assert_eq!(revocations(&server, now).await, before, "{which}{hint}");
        revoke(&client, token).await;
        let grant = claims(&server, &first).grant;
        assert!(
            revocations(&server, now)
                .await
                .contains(&grant.as_str().to_owned())
        );
        let response = refresh(&server, &client, refresh_token(&second), "", now).await;
        assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
    }
}

#[tokio::test]
async fn a_grant_whose_record_outlived_its_revocation_is_not_refreshed() {
    let mut server = refreshing();
    let epoch = StoreEpoch {
        id: "b".to_owned(),
        at: NOW - Duration::from_secs(3600),
    };
    let view = RevocationView::read_once(epoch, &[], NOW);
    server.records = server.records.clone().with_view(view);
    let client = public_client(&server, "App").await;
    let first = connect(&server, &client, NOW).await;
    let id = claims(&server, &first).grant;
    let kept = server.records.grant(&id, NOW).await.unwrap().unwrap();
    let until = NOW + 30 * DAY;
    server.records.revoke_grant(&id, until, NOW).await.unwrap();
    // As a crash between the two writes would leave it.
    server.records.put_grant(&kept).await.unwrap();
    let response = refresh(&server, &client, refresh_token(&first), "", NOW).await;
    assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn what_is_offered_is_what_is_served() {
    for (server, listings) in [(refreshing(), true), (server(), false)] {
        let metadata = body(&get(&server, "/.well-known/oauth-authorization-server").await);
        let has = |member: &str, value: &str| {
            let list = metadata[member].as_array().unwrap();
            list.contains(&json!(value))
        };
        assert_eq!(has("grant_types_supported", "refresh_token"), listings);
        assert_eq!(has("scopes_supported", "offline_access"), listings);
        let path = "/.well-known/oauth-protected-resource/mcp";
        let resource = body(&get(&server, path).await);
        assert_eq!(resource["scopes_supported"], json!(["mcp"]));
        let client = public_client(&server, "App").await;
        let answer = connect(&server, &client, NOW).await;
        assert_eq!(answer.get("refresh_token").is_some(), listings);
        if !listings {
            let response = refresh(&server, &client, "r_g_1.0.x", "", NOW).await;
            assert_eq!(error(&response), (400, "invalid_grant".to_owned()));
        }
    }
}
