//! What every store must do, as one suite that each implementation runs on itself. Times are the
//! test's own: they start at the wall clock, because Redis also has one, and go only forward.

mod accounts;
mod answers;
mod certificates;
mod draws;
mod indexes;
mod lifetimes;
mod people;
mod records;
mod revocations;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Key, KeyKind, Table};
use crate::store::{Inserted, Listing, Store, TakeOutcome};
use gateway_core::clock::{Clock, Timestamp};

/// Runs the whole suite, each part on a store of its own that `open` opens empty.
pub(super) async fn every_promise<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    values_are_kept_until_their_time(open().await.as_ref()).await;
    tables_are_apart(open().await.as_ref()).await;
    insertion_has_one_winner(&open().await).await;
    replacement_has_one_winner(&open().await).await;
    a_code_is_taken_once(&open().await).await;
    a_taken_value_stays_taken_until_its_time(open().await.as_ref()).await;
    lifetimes::one_is_made_longer_and_never_shorter(open().await.as_ref()).await;
    lists_come_in_pages(open().await.as_ref()).await;
    counts_have_windows(&open().await).await;
    draws::all(&open).await;
    revocations::come_once_and_in_order(open().await.as_ref()).await;
    revocations::one_is_hinted_at(&open().await).await;
    the_epoch_is_stable(&open().await).await;
    lifetimes::a_sweep_removes_what_expired_and_nothing_else(open().await.as_ref()).await;
    odd_keys_and_values_are_kept(open().await.as_ref()).await;
    answers::all(&open).await;
    records::all(&open).await;
    accounts::all(&open).await;
    certificates::all(&open).await;
    indexes::all(&open).await;
    super::records::kept_tools::tests::a_choice_is_kept_with_its_grant(&open().await).await;
}

/// Seconds after a base that no two calls share.
fn moments() -> impl Fn(u64) -> Timestamp {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let base = Clock.now() + Duration::from_secs(CALLS.fetch_add(1, Ordering::Relaxed));
    move |seconds| base + Duration::from_secs(seconds)
}

async fn values_are_kept_until_their_time(store: &dyn Store) {
    let at = moments();
    let table = Table::Session;
    assert_eq!(
        store.get(&Key::in_table(table, "a"), at(0)).await.unwrap(),
        None
    );
    store
        .put(&Key::in_table(table, "a"), b"1", Some(at(10)))
        .await
        .unwrap();
    store
        .put(&Key::in_table(table, "b"), b"2", None)
        .await
        .unwrap();
    assert_eq!(
        store.get(&Key::in_table(table, "a"), at(9)).await.unwrap(),
        Some(b"1".to_vec())
    );
    assert_eq!(
        store.get(&Key::in_table(table, "a"), at(10)).await.unwrap(),
        None
    );
    store
        .put(&Key::in_table(table, "a"), b"3", Some(at(20)))
        .await
        .unwrap();
    assert_eq!(
        store.get(&Key::in_table(table, "a"), at(19)).await.unwrap(),
        Some(b"3".to_vec())
    );
    assert_eq!(
        store
            .get(&Key::in_table(table, "b"), at(1_000_000))
            .await
            .unwrap(),
        Some(b"2".to_vec())
    );
    assert!(store.remove(&Key::in_table(table, "b")).await.unwrap());
    assert!(!store.remove(&Key::in_table(table, "b")).await.unwrap());
    assert_eq!(
        store.get(&Key::in_table(table, "b"), at(0)).await.unwrap(),
        None
    );

    store
        .put(&Key::in_table(table, "c"), b"4", Some(at(10)))
        .await
        .unwrap();
    let inserted = store
        .insert(&Key::in_table(table, "c"), b"5", Some(at(30)), at(10))
        .await;
    assert_eq!(inserted.unwrap(), Inserted::New);
    let replaced = store
        .replace(&Key::in_table(table, "c"), b"5", b"6", None, at(30))
        .await;
    assert_eq!(replaced, Err(StoreError::Conflict(KeyKind::Session)));
    store.ping(at(30)).await.unwrap();
    store.ping(at(32)).await.unwrap();
}

async fn tables_are_apart(store: &dyn Store) {
    let at = moments();
    for table in Table::ALL {
        let value = table.name().as_bytes();
        store
            .put(&Key::in_table(table, "same"), value, Some(at(60)))
            .await
            .unwrap();
    }
    for table in Table::ALL {
        let found = store
            .get(&Key::in_table(table, "same"), at(1))
            .await
            .unwrap();
        assert_eq!(found, Some(table.name().as_bytes().to_vec()));
    }
    assert!(
        store
            .remove(&Key::in_table(Table::Code, "same"))
            .await
            .unwrap()
    );
    assert!(
        store
            .get(&Key::in_table(Table::Grant, "same"), at(1))
            .await
            .unwrap()
            .is_some()
    );
}

async fn insertion_has_one_winner(store: &Arc<dyn Store>) {
    let at = moments();
    let now = at(0);
    let mut racers = JoinSet::new();
    for racer in 0..64_u8 {
        let store = Arc::clone(store);
        racers.spawn(async move {
            let inserted = store
                .insert(&Key::in_table(Table::User, "alice"), &[racer], None, now)
                .await;
            (racer, inserted.unwrap())
        });
    }
    let outcomes = racers.join_all().await;
    let winners: Vec<u8> = outcomes
        .iter()
        .filter(|(_, inserted)| *inserted == Inserted::New)
        .map(|(racer, _)| *racer)
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let value = vec![winners[0]];
    assert_eq!(
        store
            .get(&Key::in_table(Table::User, "alice"), now)
            .await
            .unwrap(),
        Some(value.clone())
    );
    let losers = outcomes.iter().filter(|(racer, _)| *racer != winners[0]);
    for (_, inserted) in losers {
        assert_eq!(*inserted, Inserted::Exists(value.clone()));
    }
}

async fn replacement_has_one_winner(store: &Arc<dyn Store>) {
    let at = moments();
    let now = at(0);
    let table = Table::Grant;
    let replaced = store
        .replace(&Key::in_table(table, "g"), b"", b"x", None, now)
        .await;
    assert_eq!(replaced, Err(StoreError::Conflict(KeyKind::Grant)));
    store
        .put(&Key::in_table(table, "g"), b"first", Some(at(60)))
        .await
        .unwrap();
    let mut racers = JoinSet::new();
    for racer in 0..64_u8 {
        let store = Arc::clone(store);
        let until = Some(at(90));
        racers.spawn(async move {
            store
                .replace(&Key::in_table(table, "g"), b"first", &[racer], until, now)
                .await
        });
    }
    let (mut winners, mut losers) = (0, 0);
    for outcome in racers.join_all().await {
        match outcome {
            Ok(()) => winners += 1,
            Err(StoreError::Conflict(KeyKind::Grant)) => losers += 1,
            Err(error) => panic!("a conflict is told as something else: {error}"),
        }
    }
    assert_eq!((winners, losers), (1, 63));
    let value = store.get(&Key::in_table(table, "g"), at(89)).await.unwrap();
    assert_eq!(value.expect("its time was set anew").len(), 1);
}

async fn a_code_is_taken_once(store: &Arc<dyn Store>) {
    let at = moments();
    let now = at(0);
    for code in 0..10 {
        let key = format!("code-{code}");
        store
            .put(&Key::in_table(Table::Code, &key), b"grant", Some(at(600)))
            .await
            .unwrap();
        let mut racers = JoinSet::new();
        for _ in 0..64 {
            let (store, key) = (Arc::clone(store), key.clone());
            racers.spawn(async move {
                store
                    .take(&Key::in_table(Table::Code, &key), now)
                    .await
                    .unwrap()
            });
        }
        let mut fresh = 0;
        for taken in racers.join_all().await {
            match taken {
                TakeOutcome::Fresh(value) => {
                    assert_eq!(value, b"grant");
                    fresh += 1;
                }
                TakeOutcome::Again(value) => assert_eq!(value, b"grant"),
                TakeOutcome::Unknown => panic!("a known code was not found"),
            }
        }
        assert_eq!(fresh, 1, "concurrent redemptions of one code");
    }
}

async fn a_taken_value_stays_taken_until_its_time(store: &dyn Store) {
    let at = moments();
    let table = Table::Code;
    let taken = store.take(&Key::in_table(table, "c"), at(0)).await.unwrap();
    assert_eq!(taken, TakeOutcome::Unknown);
    store
        .put(&Key::in_table(table, "c"), b"v", Some(at(60)))
        .await
        .unwrap();
    assert_eq!(
        store.get(&Key::in_table(table, "c"), at(1)).await.unwrap(),
        Some(b"v".to_vec())
    );
    let taken = store.take(&Key::in_table(table, "c"), at(1)).await.unwrap();
    assert_eq!(taken, TakeOutcome::Fresh(b"v".to_vec()));
    assert_eq!(
        store.get(&Key::in_table(table, "c"), at(2)).await.unwrap(),
        Some(b"v".to_vec()),
        "a look still finds it"
    );
    store
        .replace(&Key::in_table(table, "c"), b"v", b"w", Some(at(60)), at(2))
        .await
        .unwrap();
    for second in [2, 59] {
        let taken = store
            .take(&Key::in_table(table, "c"), at(second))
            .await
            .unwrap();
        assert_eq!(taken, TakeOutcome::Again(b"w".to_vec()));
    }
    assert_eq!(
        store
            .insert(&Key::in_table(table, "c"), b"x", None, at(59))
            .await
            .unwrap(),
        Inserted::Exists(b"w".to_vec())
    );
    let taken = store
        .take(&Key::in_table(table, "c"), at(60))
        .await
        .unwrap();
    assert_eq!(taken, TakeOutcome::Unknown);

    store
        .put(&Key::in_table(table, "late"), b"v", Some(at(60)))
        .await
        .unwrap();
    let taken = store
        .take(&Key::in_table(table, "late"), at(60))
        .await
        .unwrap();
    assert_eq!(
        taken,
        TakeOutcome::Unknown,
        "nobody redeems an expired code"
    );
}

async fn lists_come_in_pages(store: &dyn Store) {
    let at = moments();
    let table = Table::Client;
    for number in (0..25).rev() {
        let key = format!("c{number:02}");
        // Every fifth is past its time.
        let expires = (number % 5 == 0).then(|| at(5));
        store
            .put(&Key::in_table(table, &key), key.as_bytes(), expires)
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store
            .list(Listing::of(table, after.as_deref(), 7), at(5))
            .await
            .unwrap();
        assert!(page.len() <= 7);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page);
    }
    let expected: Vec<(String, Vec<u8>)> = (0..25)
        .filter(|number| number % 5 != 0)
        .map(|number| format!("c{number:02}"))
        .map(|key| (key.clone(), key.into_bytes()))
        .collect();
    assert_eq!(seen, expected);
    assert!(
        store
            .list(Listing::of(Table::User, None, 7), at(5))
            .await
            .unwrap()
            .is_empty()
    );

    store.remove(&Key::in_table(table, "c01")).await.unwrap();
    let first = store
        .list(Listing::of(table, None, 1), at(5))
        .await
        .unwrap();
    assert_eq!(first[0].0, "c02");
}

async fn counts_have_windows(store: &Arc<dyn Store>) {
    let at = moments();
    let window = Duration::from_secs(60);
    let mut racers = JoinSet::new();
    for _ in 0..32 {
        let store = Arc::clone(store);
        let now = at(0);
        racers.spawn(async move {
            store
                .count(&CountKey::new("login:alice"), window, now)
                .await
                .unwrap()
        });
    }
    let mut counts = racers.join_all().await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=32).collect::<Vec<u64>>());
    let count = async |second, key: &str| {
        store
            .count(&CountKey::new(key), window, at(second))
            .await
            .unwrap()
    };
    assert_eq!(count(59, "login:alice").await, 33);
    assert_eq!(count(59, "login:bob").await, 1);
    assert_eq!(count(60, "login:alice").await, 1, "a new window");
    assert_eq!(count(119, "login:alice").await, 2);
    let early = |millis| {
        let now = at(60) - Duration::from_millis(millis);
        let key = CountKey::new("login:alice");
        async move { store.count(&key, window, now).await.unwrap() }
    };
    assert_eq!(
        early(3).await,
        3,
        "what began before the window's first counts in it"
    );
    assert_eq!(
        early(4_000).await,
        4,
        "and what another replica's clock says"
    );
    let before = at(0) - Duration::from_secs(86_400);
    let jumped = store
        .count(&CountKey::new("login:alice"), window, before)
        .await
        .unwrap();
    assert_eq!(
        jumped, 1,
        "a clock that jumps back locks nobody out for a day"
    );
}

async fn the_epoch_is_stable(store: &Arc<dyn Store>) {
    let at = moments();
    let mut racers = JoinSet::new();
    for racer in 0..16 {
        let store = Arc::clone(store);
        let candidate = StoreEpoch {
            id: format!("b_{racer}"),
            at: at(racer),
        };
        racers.spawn(async move { store.epoch(&candidate).await.unwrap() });
    }
    let epochs = racers.join_all().await;
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    let later = StoreEpoch {
        id: "b_later".to_owned(),
        at: at(100),
    };
    assert_eq!(store.epoch(&later).await.unwrap(), epochs[0]);
    store.sweep(at(1_000_000)).await.unwrap();
    assert_eq!(store.epoch(&later).await.unwrap(), epochs[0]);
}

async fn odd_keys_and_values_are_kept(store: &dyn Store) {
    let at = moments();
    let long = "k".repeat(500);
    let big: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    for key in ["", " ", "a:b", "ü\n\0", "[x]*", long.as_str()] {
        store
            .put(&Key::in_table(Table::Setting, key), &big, None)
            .await
            .unwrap();
        let found = store
            .get(&Key::in_table(Table::Setting, key), at(0))
            .await
            .unwrap();
        assert_eq!(found.as_deref(), Some(big.as_slice()), "{key:?}");
        store
            .put(&Key::in_table(Table::Setting, key), b"", None)
            .await
            .unwrap();
        let found = store
            .get(&Key::in_table(Table::Setting, key), at(0))
            .await
            .unwrap();
        assert_eq!(found.as_deref(), Some(b"".as_slice()), "{key:?}");
    }
    let keys = store
        .list(Listing::of(Table::Setting, None, 100), at(0))
        .await
        .unwrap();
    assert_eq!(keys.len(), 6);
    let forever = Some(Timestamp::from_millis(u64::MAX));
    store
        .put(&Key::in_table(Table::Setting, "x"), b"1", forever)
        .await
        .unwrap();
    assert!(
        store
            .get(&Key::in_table(Table::Setting, "x"), at(0))
            .await
            .unwrap()
            .is_some()
    );
}
