//! What every store must do with the list of revocations.

use std::sync::Arc;
use std::time::Duration;

use super::moments;
use crate::revocation::{Cursor, Revocation};
use crate::store::Store;
use gateway_core::clock::Timestamp;

pub(super) fn revocation(id: &str, expires: Timestamp) -> Revocation {
    Revocation {
        id: id.to_owned(),
        expires,
    }
}

/// All pages after a cursor.
pub(super) async fn read_on(store: &dyn Store, after: &mut Cursor, now: Timestamp) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let (page, next) = store.revocations(*after, now).await.unwrap();
        ids.extend(page.into_iter().map(|revocation| revocation.id));
        if next == *after {
            return ids;
        }
        *after = next;
    }
}

pub(super) async fn come_once_and_in_order(store: &dyn Store) {
    let at = moments();
    let mut cursor = Cursor::default();
    assert!(read_on(store, &mut cursor, at(0)).await.is_empty());
    for id in ["g_b", "g_a", "g_c"] {
        store.revoke(&revocation(id, at(100)), at(0)).await.unwrap();
    }
    assert_eq!(
        read_on(store, &mut cursor, at(0)).await,
        ["g_b", "g_a", "g_c"]
    );
    assert!(read_on(store, &mut cursor, at(0)).await.is_empty());
    store
        .revoke(&revocation("g_d", at(10)), at(0))
        .await
        .unwrap();
    store
        .revoke(&revocation("g_e", at(200)), at(0))
        .await
        .unwrap();
    assert_eq!(read_on(store, &mut cursor, at(10)).await, ["g_e"]);
    store.sweep(at(100)).await.unwrap();
    let mut start = Cursor::default();
    assert_eq!(read_on(store, &mut start, at(100)).await, ["g_e"]);
    store.sweep(at(200)).await.unwrap();
    store
        .revoke(&revocation("g_f", at(300)), at(200))
        .await
        .unwrap();
    assert_eq!(
        read_on(store, &mut cursor, at(200)).await,
        ["g_f"],
        "an emptied list gives no number twice"
    );
}

pub(super) async fn one_is_hinted_at(store: &Arc<dyn Store>) {
    let at = moments();
    // A hint may come for no reason, and a subscription may need a moment: the first one that is
    // due may be missed, but not all of them.
    store.revocation_hint(Duration::from_millis(100)).await;
    for attempt in 0..5 {
        let started = std::time::Instant::now();
        let waiting = {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.revocation_hint(Duration::from_secs(5)).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        let id = format!("g_{attempt}");
        store.revoke(&revocation(&id, at(60)), at(0)).await.unwrap();
        waiting.await.unwrap();
        if started.elapsed() < Duration::from_secs(2) {
            return;
        }
    }
    panic!("no revocation was hinted at");
}
