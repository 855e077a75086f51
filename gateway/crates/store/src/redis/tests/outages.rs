//! A server that dies, forgets or freezes.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_restarted_with_its_file_keeps_everything() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = open(&server.url());
    let now = Clock.now();
    let until = now + Duration::from_secs(600);
    let epoch = StoreEpoch {
        id: "b".to_owned(),
        at: now,
    };
    store.epoch(&epoch).await.unwrap();
    for code in 0..50 {
        let key = format!("c{code}");
        store
            .put(&Key::in_table(Table::Code, &key), b"grant", Some(until))
            .await
            .unwrap();
        if code % 2 == 0 {
            store
                .take(&Key::in_table(Table::Code, &key), now)
                .await
                .unwrap();
        }
    }
    let revoked = Revocation {
        id: "g".to_owned(),
        expires: until,
    };
    store.revoke(&revoked, now).await.unwrap();
    server.kill();
    assert_refused(store.as_ref()).await;
    assert_refused(store.as_ref()).await;
    server.run();
    recovery(store.as_ref()).await;
    for code in 0..50 {
        let taken = store
            .take(&Key::in_table(Table::Code, format!("c{code}")), now)
            .await;
        let value = b"grant".to_vec();
        let expected = match code % 2 {
            0 => TakeOutcome::Again(value),
            _ => TakeOutcome::Fresh(value),
        };
        assert_eq!(taken.unwrap(), expected);
    }
    let (revocations, _) = store.revocations(Cursor::default(), now).await.unwrap();
    assert_eq!(revocations, [revoked]);
    let other = StoreEpoch {
        id: "other".to_owned(),
        at: now,
    };
    assert_eq!(store.epoch(&other).await.unwrap(), epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_gets_a_new_epoch_and_everybody_notices() {
    let mut server = Server::start(&[]);
    let store = open(&server.url());
    let view = RevocationView::follow(Arc::clone(&store), Clock, &Handle::current());
    let revoked = Revocation {
        id: "g".to_owned(),
        expires: Clock.now() + Duration::from_secs(600),
    };
    store.revoke(&revoked, Clock.now()).await.unwrap();
    let grant = GrantId::new("g");
    let wait = async |condition: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !condition() {
            assert!(since.elapsed() < Duration::from_secs(5), "not noticed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    wait(&|| view.epoch().is_some() && view.is_revoked(&grant)).await;
    let first = view.epoch().unwrap();

    server.kill();
    let outage = Clock.now();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(view.epoch(), Some(first.clone()));
    assert!(view.age(Clock.now()) > Duration::from_secs(1), "it ages");
    server.run();
    wait(&|| view.epoch() != Some(first.clone())).await;
    let second = view.epoch().unwrap();
    assert!(second.at >= outage);
    assert!(view.age(Clock.now()) < Duration::from_secs(2));
    assert!(view.is_revoked(&grant), "what was seen is not forgotten");

    server.operate(&["FLUSHALL"]);
    wait(&|| view.epoch() != Some(second.clone())).await;
    let later = Revocation {
        id: "g_later".to_owned(),
        ..revoked
    };
    store.revoke(&later, Clock.now()).await.unwrap();
    wait(&|| view.is_revoked(&GrantId::new("g_later"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_is_an_error_within_two_seconds() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    write(store.as_ref()).await.unwrap();
    server.signal("-STOP");
    assert_refused(store.as_ref()).await;
    assert_refused(store.as_ref()).await;
    let many = (0..50).map(|_| {
        let store = Arc::clone(&store);
        async move { assert_refused(store.as_ref()).await }
    });
    let asked = Instant::now();
    many.collect::<tokio::task::JoinSet<_>>().join_all().await;
    // One after the other they would take most of a minute.
    assert!(asked.elapsed() < Duration::from_secs(10));
    server.signal("-CONT");
    recovery(store.as_ref()).await;
}
