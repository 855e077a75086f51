//! What every store must do for what people log in with: a passkey is one person's, a rescue link is
//! good once, and who is removed leaves nothing that leads to somebody.

use std::sync::Arc;
use std::time::Duration;

use super::moments;
use crate::records::{Identity, Passkey, Records, RescueLink, TakenLink, User};
use crate::store::Store;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::Secret;
use serde_json::json;

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    a_passkey_is_one_persons(&open().await).await;
    a_person_who_is_removed_leaves_no_way_to_anybody(&open().await).await;
    a_rescue_link_is_good_once_and_for_its_time(&open().await).await;
}

fn person(id: &str, name: &str, now: Timestamp) -> User {
    User::new(UserId::new(id), name, "", now)
}

fn passkey(id: &str, now: Timestamp) -> Passkey {
    Passkey {
        id: id.to_owned(),
        name: "Phone".to_owned(),
        site: Some("mcp.example.com".to_owned()),
        public_key: json!({"type_": "ES256", "key": {"x": "abc"}}),
        counter: 1,
        backup_eligible: true,
        backed_up: false,
        added: now,
        last_used: None,
    }
}

async fn a_passkey_is_one_persons(store: &Arc<dyn Store>) {
    let (records, now) = (Records::new(Arc::clone(store)), moments()(0));
    let [alice, bob] = [("u_1", "Alice"), ("u_2", "bob")]
        .map(|(id, name)| person(id, name, now).with_passkey(passkey("k", now)));
    let of = async || {
        let of = records.user_of_passkey("k", now).await.unwrap();
        of.map(|user| user.name)
    };
    assert!(records.add_user(&alice, now).await.unwrap());
    assert_eq!(of().await, None);
    assert!(records.add_passkey("k", &alice, now).await.unwrap());
    assert!(records.add_passkey("k", &alice, now).await.unwrap());
    assert!(records.add_user(&bob, now).await.unwrap());
    assert!(!records.add_passkey("k", &bob, now).await.unwrap());
    assert_eq!(of().await.as_deref(), Some("Alice"));
    let kept = records.user("alice", now).await.unwrap().unwrap();
    assert_eq!(kept, alice, "all that is known of it comes back");
    // What was used is the same passkey.
    let used = Passkey {
        counter: 7,
        last_used: Some(now),
        ..passkey("k", now)
    };
    let second = |user: User| {
        let user = user.with_passkey(passkey("l", now));
        user.with_passkey(used.clone())
    };
    let changed = records.change_user("alice", now, second).await;
    let changed = changed.unwrap().unwrap();
    let named: Vec<_> = changed
        .passkeys
        .iter()
        .map(|it| (it.id.as_str(), it.counter))
        .collect();
    assert_eq!(named, [("k", 7), ("l", 1)]);
    // Once it is taken off her record it is free.
    let without = |user: User| user.without_passkey("k");
    records.change_user("alice", now, without).await.unwrap();
    assert_eq!(of().await, None);
    assert!(records.add_passkey("k", &bob, now).await.unwrap());
    assert_eq!(of().await.as_deref(), Some("bob"));
    records.forget_passkey("k", &alice, now).await.unwrap();
    assert_eq!(of().await.as_deref(), Some("bob"), "it is not hers");
}

async fn a_person_who_is_removed_leaves_no_way_to_anybody(store: &Arc<dyn Store>) {
    let (records, now) = (Records::new(Arc::clone(store)), moments()(0));
    let account = Identity {
        provider: "corp".into(),
        issuer: "https://login.example.com".into(),
        subject: "s".into(),
        address: None,
        name: None,
        groups: Vec::new(),
        confirmed: now,
        refresh: None,
    };
    let alice = person("u_1", "Alice", now)
        .with_passkey(passkey("k", now))
        .with_identity(account.clone());
    let former = person("u_0", "alice", now);
    assert!(!records.remove_user(&alice, now).await.unwrap());
    assert!(records.add_user(&alice, now).await.unwrap());
    assert!(records.add_passkey("k", &alice, now).await.unwrap());
    assert!(records.add_identity(&account, &alice, now).await.unwrap());
    assert!(!records.remove_user(&former, now).await.unwrap());
    assert!(records.remove_user(&alice, now).await.unwrap());
    assert!(!records.remove_user(&alice, now).await.unwrap());
    assert!(!records.has_users(now).await.unwrap());
    // Whoever gets the name has nothing of hers.
    let second = person("u_2", "alice", now);
    assert!(records.add_user(&second, now).await.unwrap());
    assert_eq!(records.user_of_passkey("k", now).await.unwrap(), None);
    let (issuer, subject) = (&account.issuer, &account.subject);
    let of = records.user_of_identity(issuer, subject, now).await;
    assert_eq!(of.unwrap(), None);
}

async fn a_rescue_link_is_good_once_and_for_its_time(store: &Arc<dyn Store>) {
    let at = moments();
    let now = at(0);
    let records = Records::new(Arc::clone(store));
    let link = RescueLink::new(&person("u_1", "alice", now));
    let [first, second] = ["first", "second"].map(|text| Secret::presented(text).hash());
    for secret in [&first, &second] {
        records.put_rescue_link(secret, &link, now).await.unwrap();
    }
    let open = async |secret, now| records.rescue_link(secret, now).await.unwrap();
    assert_eq!(open(&first, now).await.as_ref(), Some(&link));
    let mut takes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (records, first) = (records.clone(), first.clone());
        takes.spawn(async move { records.take_rescue_link(&first, now).await.unwrap() });
    }
    let taken = takes.join_all().await;
    let is_fresh = |taken: &&TakenLink| **taken == TakenLink::Fresh(link.clone());
    assert_eq!(taken.iter().filter(is_fresh).count(), 1, "{taken:?}");
    let used = RescueLink {
        used: Some(now),
        ..link.clone()
    };
    let taken = records.take_rescue_link(&first, now).await.unwrap();
    assert_eq!(taken, TakenLink::Again(used.clone()));
    assert_eq!(open(&first, now).await, Some(used));
    let over = now + RescueLink::LIFETIME;
    let last = open(
        &second,
        now + (RescueLink::LIFETIME - Duration::from_secs(1)),
    )
    .await;
    assert_eq!(last, Some(link));
    assert_eq!(open(&second, over).await, None);
    let taken = records.take_rescue_link(&second, over).await.unwrap();
    assert_eq!(taken, TakenLink::Unknown);
}
