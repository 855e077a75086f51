//! People's own accounts at backends: each changed by one replica at a time, and what belongs to them.

use std::sync::Arc;

use super::moments;
use crate::error::StoreError;
use crate::key::KeyKind;
use crate::records::{Account, AccountLink, AccountLogin, KeptGoal, Records, SingleUse};
use crate::store::Store;
use gateway_core::account::AccountId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::Secret;

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    an_account_is_changed_by_whoever_read_it_last(&open().await).await;
    a_person_has_their_own_and_nobody_elses(&open().await).await;
    a_renewal_is_one_callers_until_it_is_given_back_or_left(&open().await).await;
    a_connection_that_was_begun_is_finished_once(&open().await).await;
    a_link_is_good_for_its_time(&open().await).await;
}

fn account(user: &str, backend: &str, now: Timestamp) -> Account {
    Account {
        id: AccountId::draw(&mut rand::rngs::OsRng),
        user: UserId::new(user),
        user_name: user.to_owned(),
        backend: backend.to_owned(),
        origin: "https://notes.example".to_owned(),
        connected: now,
        renewed: None,
        expires: None,
        renew_at: None,
        scopes: Vec::new(),
        wanted: Vec::new(),
        called: None,
        subject: None,
        version: 1,
        lapsed: None,
        sealed: "1.x".to_owned(),
    }
}

async fn an_account_is_changed_by_whoever_read_it_last(store: &Arc<dyn Store>) {
    let (records, at) = (Records::new(Arc::clone(store)), moments());
    let (user, first) = (UserId::new("u_1"), account("u_1", "notes", at(0)));
    let kept = records.keep_account(None, first.clone(), at(0)).await;
    let kept = kept.unwrap();
    let conflict = StoreError::Conflict(KeyKind::Account);
    let other = account("u_1", "notes", at(1));
    let again = records.keep_account(None, other.clone(), at(1)).await;
    assert_eq!(again.unwrap_err(), conflict);
    let read = records.account(&user, "notes", at(1)).await.unwrap();
    assert_eq!(read.unwrap().account, first);
    let renewed = Account {
        version: 2,
        ..first
    };
    let now = records.keep_account(Some(&kept), renewed, at(2)).await;
    let now = now.unwrap();
    let late = records
        .keep_account(Some(&kept), other.clone(), at(3))
        .await;
    assert_eq!(late.unwrap_err(), conflict);
    // What was read before is another one than is to be removed.
    let removed = records.remove_account(&kept, at(4)).await;
    assert_eq!(removed.unwrap_err(), conflict);
    assert!(
        records
            .account(&user, "notes", at(4))
            .await
            .unwrap()
            .is_some()
    );
    records.remove_account(&now, at(4)).await.unwrap();
    assert!(
        records
            .account(&user, "notes", at(4))
            .await
            .unwrap()
            .is_none()
    );
    let gone = records.keep_account(Some(&now), other.clone(), at(4)).await;
    assert_eq!(gone.unwrap_err(), conflict);
    let removed = records.remove_account(&now, at(4)).await;
    assert_eq!(removed.unwrap_err(), conflict);
    // And what is connected anew stays.
    records.keep_account(None, other, at(5)).await.unwrap();
    store.sweep(at(6)).await.unwrap();
    assert!(
        records
            .account(&user, "notes", at(6))
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_person_has_their_own_and_nobody_elses(store: &Arc<dyn Store>) {
    let (records, now) = (Records::new(Arc::clone(store)), moments()(0));
    // Names that would be others', were they not told apart.
    let all = [("u_1", "a"), ("u_1", "b/c"), ("u_1/b", "c"), ("u_2", "a")];
    for (user, backend) in all {
        let kept = records.keep_account(None, account(user, backend, now), now);
        kept.await.unwrap();
    }
    let of = async |user: &str| {
        let page = records.accounts_of(&UserId::new(user), now).await;
        page.unwrap().entries
    };
    let mine = of("u_1").await;
    let mut backends: Vec<&str> = mine.iter().map(|it| it.backend.as_str()).collect();
    backends.sort_unstable();
    assert_eq!(backends, ["a", "b/c"]);
    assert_eq!(of("u_1/b").await.len(), 1);
    assert!(of("u_3").await.is_empty());
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = records
            .accounts_page(after.as_deref(), 3, now)
            .await
            .unwrap();
        found.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found.len(), all.len());
    // What begins a page elsewhere is no place in this list.
    let page = records.accounts_page(Some("zzz"), 10, now).await.unwrap();
    assert_eq!(page.entries.len(), all.len());
}

async fn a_renewal_is_one_callers_until_it_is_given_back_or_left(store: &Arc<dyn Store>) {
    let (records, at) = (Records::new(Arc::clone(store)), moments());
    let id = AccountId::new("a_1");
    let take = |holder, now| records.take_account_renewal(&id, holder, now);
    assert!(take("a", at(0)).await.unwrap());
    assert!(!take("b", at(1)).await.unwrap());
    // Nobody gives back what somebody else has.
    let given = records.give_account_renewal_back(&id, "b", at(2)).await;
    given.unwrap();
    assert!(!take("b", at(3)).await.unwrap());
    let given = records.give_account_renewal_back(&id, "a", at(4)).await;
    given.unwrap();
    assert!(take("b", at(5)).await.unwrap());
    assert!(take("c", at(60)).await.unwrap(), "it was left");
}

async fn a_connection_that_was_begun_is_finished_once(store: &Arc<dyn Store>) {
    let (records, at) = (Records::new(Arc::clone(store)), moments());
    let state = Secret::presented("state").hash();
    let login = AccountLogin {
        user: UserId::new("u_1"),
        backend: "notes".to_owned(),
        browser: Secret::presented("browser").hash(),
        goal: KeptGoal::Account,
        sealed: "1.x".to_owned(),
    };
    let begun = records.begin_account_login(&state, &login, at(0)).await;
    begun.unwrap();
    let take = |now| records.take_account_login(&state, now);
    let fresh = SingleUse::Fresh(login);
    assert_eq!(take(at(1)).await.unwrap(), fresh);
    assert_eq!(take(at(2)).await.unwrap(), SingleUse::Again);
    assert_eq!(take(at(600)).await.unwrap(), SingleUse::Unknown);
}

async fn a_link_is_good_for_its_time(store: &Arc<dyn Store>) {
    let (records, at) = (Records::new(Arc::clone(store)), moments());
    let random = Secret::presented("random").hash();
    let link = AccountLink {
        user: UserId::new("u_1"),
        backend: "notes".to_owned(),
    };
    records
        .put_account_link(&random, &link, at(0))
        .await
        .unwrap();
    let found = |now| records.account_link(&random, now);
    assert_eq!(found(at(899)).await.unwrap(), Some(link));
    assert_eq!(found(at(900)).await.unwrap(), None);
    let none = Secret::presented("other").hash();
    assert_eq!(records.account_link(&none, at(0)).await.unwrap(), None);
}
