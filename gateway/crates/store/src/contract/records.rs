//! What every store must do for the records on it: a conflict is told as one, and what can't be read
//! is neither an outage nor nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::moments;
use crate::{Corrupt, GrantsOf, Key, KeyKind, Records, Store, StoreError, TakenCode, User};
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    a_user_who_is_changed_by_many_keeps_every_change(&open().await).await;
    a_conflict_that_never_ends_is_told_as_one(&open().await).await;
    what_cannot_be_read_is_told_as_corrupt(&open().await).await;
}

fn user(name: &str, now: Timestamp) -> User {
    User::new(UserId::new("u_1"), name, "$argon2id$", now)
}

/// Somebody comes between reading and writing, and is not overwritten.
async fn a_user_who_is_changed_by_many_keeps_every_change(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    assert!(records.add_user(&user("Alice", now), now).await.unwrap());
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..4 {
        let records = records.clone();
        changes.spawn(async move {
            let change = |user: User| User {
                sessions: format!("{}{number}", user.sessions),
                ..user
            };
            records.change_user("alice", now, change).await
        });
    }
    for changed in changes.join_all().await {
        changed.unwrap().expect("alice is there");
    }
    let changed = records.user("ALICE", now).await.unwrap().unwrap();
    assert_eq!(changed.sessions.len(), 4, "{:?}", changed.sessions);
}

async fn a_conflict_that_never_ends_is_told_as_one(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    records.add_user(&user("bob", now), now).await.unwrap();
    let attempts = AtomicUsize::new(0);
    let (runtime, other) = (tokio::runtime::Handle::current(), records.clone());
    let change = |user: User| {
        // Somebody else is faster each time.
        let number = attempts.fetch_add(1, Ordering::Relaxed);
        let (other, sessions) = (other.clone(), format!("other {number}"));
        tokio::task::block_in_place(|| {
            runtime.block_on(async move {
                let key = Key::user("bob");
                let seen = other.store().get(&key, now).await.unwrap().unwrap();
                let text = String::from_utf8(seen.clone()).unwrap();
                let before = match number {
                    0 => "\"sessions\":\"\"".to_owned(),
                    number => format!("\"sessions\":\"other {}\"", number - 1),
                };
                let next = text.replace(&before, &format!("\"sessions\":\"{sessions}\""));
                assert_ne!(next, text);
                let replaced = other
                    .store()
                    .replace(&key, &seen, next.as_bytes(), None, now);
                replaced.await.unwrap();
            });
        });
        User {
            sessions: "mine".to_owned(),
            ..user
        }
    };
    let error = records.change_user("bob", now, change).await.unwrap_err();
    assert_eq!(error, StoreError::Conflict(KeyKind::User));
    assert_eq!(error.reason(), Reason::Overloaded);
    assert!(attempts.load(Ordering::Relaxed) > 1, "it is tried again");
    let kept = records.user("bob", now).await.unwrap().unwrap();
    assert!(kept.sessions.starts_with("other"), "nobody is overwritten");
}

/// The kind of the key, and nothing of the key or of what stands there.
fn assert_corrupt<T>(outcome: Result<T, StoreError>, kind: KeyKind) {
    let error = outcome.err().expect("it can't be read");
    assert_eq!(error.reason(), Reason::RecordUnreadable, "{error}");
    let named =
        matches!(&error, StoreError::Corrupt(Corrupt::Record { kind: of, .. }) if *of == kind);
    assert!(named, "{error:?}");
    let said = format!("{error} {error:?}");
    assert!(said.contains(&kind.to_string()), "{said}");
    assert!(!said.contains("5ecret"), "{said}");
}

async fn what_cannot_be_read_is_told_as_corrupt(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    let hash = Secret::presented("5ecret").hash();
    let (client, grant) = (ClientId::new("c_5ecret"), GrantId::new("g_5ecret"));
    for bytes in [
        "5ecret".as_bytes(),
        b"{\"id\":\"5ecret\"",
        b"{\"id\":{\"5ecret\":1}}",
        b"{\"5ecret\":\"5ecret\"}",
        b"\"5ecret\"",
        b"\xff5ecret",
        b"",
    ] {
        let keys = [
            Key::client(&client),
            Key::user("alice5ecret"),
            Key::grant(&grant),
            Key::code(&hash),
            Key::session(&hash),
            Key::last_use(&grant),
            Key::setup(),
        ];
        for key in &keys {
            store.put(key, bytes, None).await.unwrap();
        }
        assert_corrupt(records.client(&client, now).await, KeyKind::Client);
        assert_corrupt(records.clients(None, 1, now).await, KeyKind::Client);
        assert_corrupt(records.user("Alice5ecret", now).await, KeyKind::User);
        let changed = records.change_user("alice5ecret", now, |user| user);
        assert_corrupt(changed.await, KeyKind::User);
        assert_corrupt(records.grant(&grant, now).await, KeyKind::Grant);
        assert_corrupt(records.kept_grant(&grant, now).await, KeyKind::Grant);
        let listed = records.grants(GrantsOf::default(), None, 1, now);
        assert_corrupt(listed.await, KeyKind::Grant);
        assert_corrupt(records.code(&hash, now).await, KeyKind::Code);
        assert_corrupt(records.take_code(&hash, now).await, KeyKind::Code);
        assert_corrupt(records.session(&hash, now).await, KeyKind::Session);
        assert_corrupt(records.last_use(&grant, now).await, KeyKind::LastUse);
        assert_corrupt(records.setup(now).await, KeyKind::Setup);
        // Reading it left everything where it was.
        for key in &keys {
            let kept = store.get(key, now).await.unwrap();
            assert_eq!(kept.as_deref(), Some(bytes), "{key:?}");
        }
    }
    // What can't be read can still be taken away.
    records.end_session(&hash).await.unwrap();
    assert!(records.session(&hash, now).await.unwrap().is_none());
    records.revoke_grant(&grant, now, now).await.unwrap();
    assert!(records.grant(&grant, now).await.unwrap().is_none());
    store.remove(&Key::code(&hash)).await.unwrap();
    let taken = records.take_code(&hash, now).await.unwrap();
    assert_eq!(taken, TakenCode::Unknown);
}
