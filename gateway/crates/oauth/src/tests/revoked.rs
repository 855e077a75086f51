//! What is revoked besides a whole grant by its client: narrowed tokens, and all of a client or a
//! person at once.

use super::*;
use crate::identity::people;
use crate::revoke::{take_back, take_back_unread};
use crate::revoke_all::{RevocationSubject, cut_off};
use gateway_core::access_token::{Check, VerifiedToken};
use gateway_core::client::ClientId;
use gateway_core::grants::GrantId;
use gateway_core::grants::refresh_token::Lifetimes;
use gateway_store::{Disabled, Key, RevocationView, StoreEpoch, StoreError};

fn watched() -> AuthorizationServer {
    let server = server();
    let epoch = StoreEpoch {
        id: "b".to_owned(),
        at: NOW - Duration::from_secs(3600),
    };
    let view = RevocationView::read_once(epoch, &[], NOW);
    AuthorizationServer {
        records: server.records.with_view(view),
        ..server
    }
}

fn verified(server: &AuthorizationServer, token: &str) -> VerifiedToken {
    let bearer = BearerToken::parse_token(token).unwrap();
    access_token::verify(&bearer, &server.keys.current()).unwrap()
}

fn is_revoked(server: &AuthorizationServer, token: &str) -> bool {
    let view = server.records.view().unwrap();
    view.revokes(&verified(server, token))
}

fn narrowed(token: &str) -> String {
    let bearer = BearerToken::parse_token(token).unwrap();
    let tools = Check::Tool(BTreeSet::from(["search".to_owned()]));
    access_token::attenuate(&bearer, &[tools], false).unwrap()
}

async fn token_of(server: &AuthorizationServer, client: &str, now: Timestamp) -> String {
    let code = code(server, client, now).await;
    let answer = body(&redeem(server, &redemption(client, &code), now).await);
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn revoke_at(server: &AuthorizationServer, client: &str, token: &str) -> Response {
    let request = form("/revoke", &[], &format!("client_id={client}&token={token}"));
    revoke::answer(server, &request, NOW).await
}

#[tokio::test]
async fn a_narrowed_token_revokes_itself_and_its_descendants_and_nothing_above() {
    let server = watched();
    let client = public_client(&server, "App").await;
    let token = token_of(&server, &client, NOW).await;
    let (child, sibling) = (narrowed(&token), narrowed(&token));
    let grandchild = narrowed(&child);
    let other = public_client(&server, "Other").await;
    assert_eq!(revoke_at(&server, &other, &child).await.status(), 200);
    assert!(!is_revoked(&server, &child), "another client's");

    assert_eq!(revoke_at(&server, &client, &child).await.status(), 200);
    assert!(is_revoked(&server, &child) && is_revoked(&server, &grandchild));
    assert!(!is_revoked(&server, &sibling) && !is_revoked(&server, &token));

    assert_eq!(revoke_at(&server, &client, &token).await.status(), 200);
    assert!(is_revoked(&server, &sibling) && is_revoked(&server, &token));
}

#[tokio::test]
async fn what_was_narrowed_from_a_personal_token_is_ended_by_its_holder_who_is_no_app() {
    let server = watched();
    let client = public_client(&server, "App").await;
    let apps = token_of(&server, &client, NOW).await;
    let mut claims = verified(&server, &apps).claims().clone();
    claims.client = ClientId::new(ClientId::PERSONAL_TOKEN);
    let exchanged = access_token::mint(&claims, &server.keys.current()).unwrap();
    let exchanged = exchanged.token;
    let (child, sibling) = (narrowed(&exchanged), narrowed(&exchanged));
    let grandchild = narrowed(&child);
    let presented = async |token: &str| {
        let request = form("/revoke", &[], &format!("token={token}"));
        revoke::answer(&server, &request, NOW).await.status()
    };
    assert_eq!(presented(&child).await, 200);
    assert!(is_revoked(&server, &child) && is_revoked(&server, &grandchild));
    assert!(!is_revoked(&server, &sibling) && !is_revoked(&server, &exchanged));
    // Also from an app that hands on what it was given.
    assert_eq!(revoke_at(&server, &client, &sibling).await.status(), 200);
    assert!(is_revoked(&server, &sibling) && !is_revoked(&server, &exchanged));

    // What an app's token was narrowed to is that app's to end, and what was not narrowed nobody's so.
    for token in [&narrowed(&apps), &exchanged] {
        assert_ne!(presented(token).await, 200);
        assert!(!is_revoked(&server, token));
    }
    let mut refused = 0;
    for _ in 0..250 {
        refused += usize::from(presented(&narrowed(&exchanged)).await == 429);
    }
    assert!((50..=53).contains(&refused), "{refused}");
}

#[tokio::test]
async fn a_narrowed_token_that_is_over_is_revoked_while_a_stream_of_it_may_go_on() {
    let mut server = watched();
    server.settings.access_ttl = Duration::from_secs(3600);
    let client = public_client(&server, "App").await;
    let day = Duration::from_secs(24 * 3600);
    let hours = |hours: u64| NOW - Duration::from_secs(hours * 3600);
    let over = narrowed(&token_of(&server, &client, hours(3)).await);
    assert!(verified(&server, &over).is_expired(NOW));
    assert_eq!(revoke_at(&server, &client, &over).await.status(), 200);
    assert!(!is_revoked(&server, &over), "its streams ended with it");

    server.settings.refresh = Some(Lifetimes {
        idle: 30 * day,
        absolute: 90 * day,
        grace: Duration::from_secs(60),
    });
    assert_eq!(revoke_at(&server, &client, &over).await.status(), 200);
    assert!(is_revoked(&server, &over));
    let entries = revocations(&server, NOW + day).await;
    assert_eq!(entries.len(), 1, "it is remembered as long as the stream");

    let long_over = narrowed(&token_of(&server, &client, hours(26)).await);
    assert_eq!(revoke_at(&server, &client, &long_over).await.status(), 200);
    let bearer = BearerToken::parse_token(&token_of(&server, &client, hours(3)).await).unwrap();
    let until = Check::Before(hours(2).secs());
    let timed = access_token::attenuate(&bearer, &[until], false).unwrap();
    assert_eq!(revoke_at(&server, &client, &timed).await.status(), 200);
    assert_eq!(revocations(&server, NOW).await.len(), 1, "nothing to end");
}

#[tokio::test]
async fn holders_of_narrowed_tokens_can_neither_fill_the_list_nor_keep_the_client_from_revoking() {
    let server = watched();
    let client = public_client(&server, "App").await;
    let token = token_of(&server, &client, NOW).await;
    let child = narrowed(&token);
    for _ in 0..300 {
        assert_eq!(revoke_at(&server, &client, &child).await.status(), 200);
    }
    assert_eq!(revocations(&server, NOW).await.len(), 1, "once is enough");
    let mut refused = 0;
    for _ in 0..250 {
        let response = revoke_at(&server, &client, &narrowed(&token)).await;
        refused += usize::from(response.status() == 429);
    }
    assert!((50..=52).contains(&refused), "{refused}");
    assert!(!is_revoked(&server, &token));
    assert_eq!(revoke_at(&server, &client, &token).await.status(), 200);
    assert!(is_revoked(&server, &token));
}

#[tokio::test]
async fn cutting_off_a_client_ends_tokens_grants_and_codes_of_before_and_none_of_after() {
    let server = watched();
    let client = public_client(&server, "App").await;
    let bystander = public_client(&server, "Bystander").await;
    let earlier = NOW - Duration::from_secs(7200);
    let old = token_of(&server, &client, earlier).await;
    let young = token_of(&server, &client, NOW).await;
    // Its clock is ahead of that of the replica that revokes.
    let ahead = token_of(&server, &client, NOW + Duration::from_secs(20)).await;
    let open = code(&server, &client, NOW).await;
    let spared = token_of(&server, &bystander, NOW).await;

    let id = ClientId::new(client.clone());
    let cut = cut_off(
        &server.records,
        &server.settings,
        RevocationSubject::Client(&id),
        NOW,
    )
    .await
    .unwrap();
    assert_eq!(cut.complete(), Ok(3));
    for (token, which) in [(&old, "old"), (&young, "young"), (&ahead, "ahead")] {
        assert!(is_revoked(&server, token), "{which}");
    }
    let refused = redeem(&server, &redemption(&client, &open), NOW).await;
    assert_eq!(error(&refused), (400, "invalid_grant".to_owned()));
    assert!(!is_revoked(&server, &spared));
    assert!(!is_revoked(&server, &token_of(&server, &client, NOW).await));
    let other_process = RevocationView::read_once(
        StoreEpoch {
            id: "b".to_owned(),
            at: NOW - Duration::from_secs(3600),
        },
        &server
            .records
            .store()
            .revocations(Cursor::default(), NOW)
            .await
            .unwrap()
            .0,
        NOW,
    );
    for token in [&old, &young, &ahead] {
        assert!(other_process.revokes(&verified(&server, token)));
    }
    assert!(!other_process.revokes(&verified(&server, &spared)));
}

#[tokio::test]
async fn a_cut_ends_tokens_whose_grant_nobody_remembers() {
    let server = watched();
    let client = public_client(&server, "App").await;
    let token = token_of(&server, &client, NOW - Duration::from_secs(60)).await;
    let grant = verified(&server, &token).claims().grant.clone();
    let store = server.records.store();
    store
        .remove(&gateway_store::Key::grant(&grant))
        .await
        .unwrap();
    let alice = UserId::new("u_1");
    let cut = cut_off(
        &server.records,
        &server.settings,
        RevocationSubject::User(&alice),
        NOW,
    )
    .await
    .unwrap();
    assert_eq!(cut.complete(), Ok(0));
    assert!(is_revoked(&server, &token));
}

#[tokio::test]
async fn a_disabled_person_can_neither_redeem_nor_refresh() {
    let mut server = watched();
    server.settings.access_ttl = Duration::from_secs(3600);
    server.settings.refresh = Some(Lifetimes {
        idle: Duration::from_secs(86_400),
        absolute: Duration::from_secs(864_000),
        grace: Duration::from_secs(60),
    });
    let client = public_client(&server, "App").await;
    let open = code(&server, &client, NOW).await;
    let first = code(&server, &client, NOW).await;
    let answer = body(&redeem(&server, &redemption(&client, &first), NOW).await);
    let refresh = answer["refresh_token"].as_str().unwrap();
    let refresh = format!("grant_type=refresh_token&client_id={client}&refresh_token={refresh}");

    // Without any cut: the person's record alone is enough.
    let random = &mut rand::rngs::OsRng;
    let why = Disabled::ByOperator;
    let disabled = people::disable(&server.records, "Alice", why, NOW, random).await;
    assert!(disabled.unwrap().is_some());
    for asked in [&redemption(&client, &open), &refresh] {
        let refused = redeem(&server, asked, NOW).await;
        assert_eq!(error(&refused), (400, "invalid_grant".to_owned()));
    }
    let enabled = people::enable(&server.records, "alice", None, NOW).await;
    assert!(enabled.unwrap().is_some());
    let again = redeem(&server, &refresh, NOW).await;
    assert_eq!(again.status(), 200, "nothing was cut off");
}

#[tokio::test]
async fn what_cannot_be_read_keeps_nothing_else_from_being_revoked() {
    let server = watched();
    let client = public_client(&server, "App").await;
    let token = token_of(&server, &client, NOW).await;
    let store = server.records.store();
    // In the order of keys before the one that is to be revoked.
    let unreadable = Key::grant(&GrantId::new("g_"));
    store.put(&unreadable, b"{", None).await.unwrap();
    let alice = UserId::new("u_1");
    let cut = cut_off(
        &server.records,
        &server.settings,
        RevocationSubject::User(&alice),
        NOW,
    )
    .await
    .unwrap();
    assert_eq!(cut.grants, 1);
    assert!(matches!(cut.complete(), Err(StoreError::Corrupt(_))));
    assert!(is_revoked(&server, &token));

    let token = token_of(&server, &client, NOW).await;
    let id = verified(&server, &token).claims().grant.clone();
    let grant = server.records.grant(&id, NOW).await.unwrap().unwrap();
    store.put(&Key::grant(&id), b"{", None).await.unwrap();
    assert!(!is_revoked(&server, &token));
    take_back(&server.records, &server.settings, &grant, NOW)
        .await
        .unwrap();
    assert!(is_revoked(&server, &token));
}

#[tokio::test]
async fn a_grant_that_cannot_be_read_is_taken_back_by_its_id_and_is_gone() {
    let server = watched();
    let client = public_client(&server, "App").await;
    let token = token_of(&server, &client, NOW).await;
    let id = verified(&server, &token).claims().grant.clone();
    let store = server.records.store();
    store.put(&Key::grant(&id), b"{", None).await.unwrap();
    let record = take_back_unread(&server.records, &server.settings, &id, NOW)
        .await
        .unwrap();
    assert_eq!(record.grant.as_deref(), Some(id.as_str()));
    assert!(is_revoked(&server, &token));
    let alice = UserId::new("u_1");
    let cut = cut_off(
        &server.records,
        &server.settings,
        RevocationSubject::User(&alice),
        NOW,
    )
    .await
    .unwrap();
    assert_eq!(cut.complete(), Ok(0), "nothing unreadable is left");
}
