//! What every store must do at the end of a value's time.

use super::moments;
use crate::key::{Key, Table};
use crate::store::{Listing, Store};

pub(super) async fn one_is_made_longer_and_never_shorter(store: &dyn Store) {
    let at = moments();
    let key = |name: &str| Key::in_table(Table::Client, name);
    assert!(!store.extend(&key("c"), at(60), at(0)).await.unwrap());
    store.put(&key("c"), b"v", Some(at(10))).await.unwrap();
    store.put(&key("ever"), b"v", None).await.unwrap();
    assert!(store.extend(&key("c"), at(60), at(0)).await.unwrap());
    assert!(store.extend(&key("c"), at(20), at(1)).await.unwrap());
    assert!(store.extend(&key("ever"), at(20), at(1)).await.unwrap());
    store.sweep(at(59)).await.unwrap();
    for name in ["c", "ever"] {
        let kept = store.get(&key(name), at(59)).await.unwrap();
        assert_eq!(kept.as_deref(), Some(b"v".as_slice()), "{name}");
    }
    assert_eq!(store.get(&key("c"), at(60)).await.unwrap(), None);
    assert!(!store.extend(&key("c"), at(90), at(60)).await.unwrap());
    store.sweep(at(60)).await.unwrap();
    assert!(store.get(&key("ever"), at(60)).await.unwrap().is_some());
}

pub(super) async fn a_sweep_removes_what_expired_and_nothing_else(store: &dyn Store) {
    let at = moments();
    let table = Table::Once;
    for number in 0..1200 {
        let key = format!("{number}");
        let expires = if number % 2 == 0 { at(10) } else { at(100) };
        store
            .put(&Key::in_table(table, &key), b"1", Some(expires))
            .await
            .unwrap();
    }
    store
        .put(&Key::in_table(table, "kept"), b"1", Some(at(10)))
        .await
        .unwrap();
    store
        .put(&Key::in_table(table, "kept"), b"1", None)
        .await
        .unwrap();
    store
        .put(&Key::in_table(table, "later"), b"1", Some(at(10)))
        .await
        .unwrap();
    store
        .put(&Key::in_table(table, "later"), b"1", Some(at(100)))
        .await
        .unwrap();
    store.sweep(at(10)).await.unwrap();
    // What was swept is gone even for a clock that went back.
    assert_eq!(
        store.get(&Key::in_table(table, "0"), at(0)).await.unwrap(),
        None
    );
    let left = store
        .list(Listing::of(table, None, 10_000), at(0))
        .await
        .unwrap();
    assert_eq!(left.len(), 602);
    store.sweep(at(100)).await.unwrap();
    let left = store
        .list(Listing::of(table, None, 10_000), at(0))
        .await
        .unwrap();
    assert_eq!(left, [("kept".to_owned(), b"1".to_vec())]);
}
