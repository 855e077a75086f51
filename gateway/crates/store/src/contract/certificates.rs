//! What replicas share of a certificate: one of them orders, and all have what came of it.

use std::sync::Arc;

use super::moments;
use crate::records::{AcmeAccount, FailedOrders, KeptCertificate, ORDER_LEASE, Records};
use crate::store::Store;

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    an_order_is_one_callers_until_it_is_given_back_or_left(&open().await).await;
    one_of_many_has_the_order(&open().await).await;
    a_good_certificate_ends_what_failed(&open().await).await;
    challenges_are_kept_by_their_tokens(&open().await).await;
}

async fn an_order_is_one_callers_until_it_is_given_back_or_left(store: &Arc<dyn Store>) {
    let (records, at) = (Records::new(Arc::clone(store)), moments());
    let lease = records.take_order("mcp.example.com", "a", at(0)).await;
    let mut lease = lease.unwrap().expect("nobody has it");
    let other = records.take_order("mcp.example.com", "b", at(1)).await;
    assert!(other.unwrap().is_none());
    let elsewhere = records.take_order("other.example.com", "b", at(1)).await;
    assert!(elsewhere.unwrap().is_some());
    let seconds = ORDER_LEASE.as_secs();
    assert!(
        records
            .hold_order(&mut lease, at(seconds - 1))
            .await
            .unwrap()
    );
    let other = records.take_order("mcp.example.com", "b", at(seconds + 1));
    assert!(other.await.unwrap().is_none());
    // Whose answer was lost has it all the same.
    let mut unanswered = lease.unanswered();
    for lease in [&mut lease, &mut unanswered] {
        let held = records.hold_order(lease, at(seconds + 1)).await;
        assert!(held.unwrap());
    }
    let lease = unanswered;
    records
        .give_order_back(lease, at(seconds + 2))
        .await
        .unwrap();
    let left = records.take_order("mcp.example.com", "b", at(seconds + 3));
    let mut left = left.await.unwrap().expect("it was given back");
    // Whoever said nothing for so long has it no more, and takes it from nobody.
    let later = at(2 * seconds + 4);
    let other = records.take_order("mcp.example.com", "c", later).await;
    let other = other.unwrap().expect("it was left");
    assert!(!records.hold_order(&mut left, later).await.unwrap());
    records.give_order_back(left, later).await.unwrap();
    let more = records.take_order("mcp.example.com", "d", later).await;
    assert!(more.unwrap().is_none());
    records.give_order_back(other, later).await.unwrap();
}

async fn one_of_many_has_the_order(store: &Arc<dyn Store>) {
    let (records, now) = (Records::new(Arc::clone(store)), moments()(0));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let records = records.clone();
        callers.spawn(async move {
            let taken = records.take_order("x", &number.to_string(), now).await;
            taken.unwrap().is_some()
        });
    }
    let taken = callers.join_all().await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

async fn a_good_certificate_ends_what_failed(store: &Arc<dyn Store>) {
    let (records, now) = (Records::new(Arc::clone(store)), moments()(0));
    let name = "mcp.example.com";
    assert_eq!(records.certificate(name, now).await.unwrap(), None);
    let failed = FailedOrders {
        count: 2,
        last: now,
        is_away: false,
        why: "x".into(),
    };
    records
        .keep_failed_orders(name, &failed, now)
        .await
        .unwrap();
    assert_eq!(
        records.failed_orders(name, now).await.unwrap(),
        Some(failed)
    );
    let kept = KeptCertificate {
        chain: "c".into(),
        key: "k".into(),
        ordered: now,
    };
    records.keep_certificate(name, &kept, now).await.unwrap();
    assert_eq!(records.certificate(name, now).await.unwrap(), Some(kept));
    assert_eq!(records.failed_orders(name, now).await.unwrap(), None);
    let account = AcmeAccount {
        credentials: "a".into(),
    };
    let directory = "https://acme.example/dir";
    records
        .keep_acme_account(directory, &account, now)
        .await
        .unwrap();
    assert_eq!(
        records.acme_account(directory, now).await.unwrap(),
        Some(account)
    );
    assert_eq!(
        records.acme_account("https://other", now).await.unwrap(),
        None
    );
}

async fn challenges_are_kept_by_their_tokens(store: &Arc<dyn Store>) {
    let (records, now) = (Records::new(Arc::clone(store)), moments()(0));
    records
        .keep_acme_challenge("t", "t.thumb", now)
        .await
        .unwrap();
    let found = records.acme_challenge("t", now).await.unwrap();
    assert_eq!(found.as_deref(), Some("t.thumb"));
    assert_eq!(records.acme_challenge("u", now).await.unwrap(), None);
}
