//! Draws from quotas: no more than there is, whoever asks and whatever time it says it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::moments;
use crate::key::CountKey;
use crate::store::Store;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::limits::{Answers, Draw, DrawId, Drawn, Quota, Rate};

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    crowds_get_no_more_than_there_is(&open().await).await;
    a_rate_comes_back_with_time(open().await.as_ref()).await;
    no_clock_of_a_replica_brings_more(open().await.as_ref()).await;
    what_is_owed_counts(open().await.as_ref()).await;
    a_look_leaves_nothing_behind(open().await.as_ref()).await;
    what_is_asked_again_counts_once(open().await.as_ref()).await;
    of_what_is_no_use_in_parts_none_is_given(open().await.as_ref()).await;
    what_was_drawn_vanishes_and_nothing_of_it_before(open().await.as_ref()).await;
}

fn rate(count: u64, period: Duration, burst: u64) -> Quota {
    Quota::Rate(Rate::new(count, period, burst).unwrap())
}

async fn draw(store: &dyn Store, key: &str, quota: Quota, wanted: u64, now: Timestamp) -> Drawn {
    let draw = Draw {
        wanted,
        ..Draw::default()
    };
    let drawn = store.draw(&CountKey::new(key), quota, draw, now).await;
    drawn.unwrap()
}

async fn crowds_get_no_more_than_there_is(store: &Arc<dyn Store>) {
    let now = Clock.now();
    let until = now + Duration::from_secs(3_600);
    for (key, quota) in [
        ("rate", rate(100, Duration::from_secs(86_400), 50)),
        ("day", Quota::Day(50)),
        ("total", Quota::Total(50, until)),
    ] {
        let mut racers = JoinSet::new();
        for _ in 0..32 {
            let store = Arc::clone(store);
            racers.spawn(async move { draw(store.as_ref(), key, quota, 3, now).await.granted });
        }
        let granted = racers.join_all().await;
        assert_eq!(granted.iter().sum::<u64>(), 50, "{key}: {granted:?}");
        let none = draw(store.as_ref(), key, quota, 1, now).await;
        assert_eq!((none.granted, none.used), (0, 50), "{key}");
        assert!(none.wait > Duration::ZERO, "{key}");
        let other = draw(store.as_ref(), &format!("other {key}"), quota, 1, now).await;
        assert_eq!((other.granted, other.used), (1, 1), "{key}");
        assert_eq!(other.wait, Duration::ZERO, "{key}");
    }
}

async fn a_rate_comes_back_with_time(store: &dyn Store) {
    let quota = rate(10, Duration::from_secs(1), 5);
    let first = draw(store, "rate", quota, 9, Clock.now()).await;
    assert_eq!(first.granted, 5);
    assert!(first.wait <= Duration::from_millis(100), "{first:?}");
    assert_eq!(first.lasts, Duration::from_secs(1));
    sleep(Duration::from_millis(350)).await;
    let later = draw(store, "rate", quota, 9, Clock.now()).await;
    assert!((3..=5).contains(&later.granted), "{later:?}");
    sleep(Duration::from_millis(700)).await;
    let full = draw(store, "rate", quota, 9, Clock.now()).await;
    assert_eq!(full.granted, 5, "no more than the burst is saved");
}

/// Of a shared store nothing that a replica says brings more; of one that has no clock of its own, no step
/// back.
async fn no_clock_of_a_replica_brings_more(store: &dyn Store) {
    let at = moments();
    let day = 86_400;
    for (key, quota) in [
        ("rate", rate(10, Duration::from_secs(86_400), 10)),
        ("day", Quota::Day(10)),
    ] {
        let now = at(3 * day);
        let now = if store.is_shared() { Clock.now() } else { now };
        assert_eq!(draw(store, key, quota, 10, now).await.granted, 10, "{key}");
        let mut others = vec![at(3 * day - 1), at(2 * day), at(day), at(0)];
        if store.is_shared() {
            others.extend([at(5 * day), at(400 * day)]);
        }
        for other in others {
            let more = draw(store, key, quota, 10, other).await;
            assert_eq!(more.granted, 0, "{key} at {other}");
        }
    }
}

async fn what_is_owed_counts(store: &dyn Store) {
    let (key, now) = (CountKey::new("owed"), Clock.now());
    let owed = |owed, wanted| {
        let draw = Draw {
            owed,
            wanted,
            ..Draw::default()
        };
        store.draw(&key, Quota::Day(100), draw, now)
    };
    assert_eq!(owed(30, 10).await.unwrap().used, 40);
    let beyond = owed(500, 10).await.unwrap();
    assert_eq!((beyond.granted, beyond.used), (0, 540));
    // Whoever only looks takes nothing.
    let seen = owed(0, 0).await.unwrap();
    assert_eq!(
        (seen.granted, seen.used, seen.wait),
        (0, 540, Duration::ZERO)
    );
    let huge = owed(u64::MAX, 1).await.unwrap();
    assert_eq!((huge.granted, huge.used), (0, Quota::MOST));
}

async fn a_look_leaves_nothing_behind(store: &dyn Store) {
    let now = Clock.now();
    let until = now + Duration::from_secs(600);
    for (key, quota, used) in [
        ("rate", rate(10, Duration::from_secs(86_400), 10), 4),
        ("day", Quota::Day(10), 4),
        ("total", Quota::Total(10, until), 4),
    ] {
        assert_eq!(draw(store, key, quota, 0, now).await.used, 0, "{key}");
        assert_eq!(draw(store, key, quota, 4, now).await.used, 4, "{key}");
        // Wherever its clock is: the next one goes by what was drawn.
        let tomorrow = now + Duration::from_secs(86_400);
        draw(store, key, quota, 0, tomorrow).await;
        let seen = draw(store, key, quota, 0, now).await;
        assert_eq!((seen.granted, seen.used), (0, used), "{key}");
    }
}

async fn what_is_asked_again_counts_once(store: &dyn Store) {
    let now = Clock.now();
    for (key, quota) in [
        ("rate", rate(200, Duration::from_secs(86_400), 200)),
        ("day", Quota::Day(200)),
        ("total", Quota::Total(200, now + Duration::from_secs(600))),
    ] {
        let key = CountKey::new(key);
        let draw = |holder, number| {
            let draw = Draw {
                owed: 7,
                wanted: 10,
                step: 1,
                id: DrawId { holder, number },
            };
            store.draw(&key, quota, draw, now)
        };
        let first = draw(u64::MAX, 1).await.unwrap();
        assert_eq!((first.granted, first.used), (10, 17), "{key:?}");
        for _ in 0..3 {
            let again = draw(u64::MAX, 1).await.unwrap();
            assert_eq!((again.granted, again.used), (10, 17), "{key:?}");
            assert!(again.lasts <= first.lasts, "{again:?}");
        }
        assert_eq!(draw(2, 1).await.unwrap().used, 34, "of somebody else");
        assert_eq!(draw(u64::MAX, 2).await.unwrap().used, 51, "the next one");
        let late = draw(u64::MAX, 1).await.unwrap();
        assert_eq!((late.granted, late.used), (0, 51), "it was overtaken");
        let again = draw(u64::MAX, 2).await.unwrap();
        assert_eq!((again.granted, again.used), (10, 51), "{key:?}");
    }
    // Of how many the last answer is kept is bounded: the first of these is counted anew.
    let key = CountKey::new("many");
    let draw = |holder| {
        let id = DrawId { holder, number: 1 };
        let draw = Draw {
            owed: 1,
            id,
            ..Draw::default()
        };
        store.draw(&key, Quota::Day(200), draw, now)
    };
    let most = Answers::MOST as u64;
    for holder in 1..=most + 1 {
        draw(holder).await.unwrap();
    }
    assert_eq!(draw(2).await.unwrap().used, most + 1);
    assert_eq!(draw(1).await.unwrap().used, most + 2);
}

async fn of_what_is_no_use_in_parts_none_is_given(store: &dyn Store) {
    let now = Clock.now();
    for (name, quota) in [
        ("rate", rate(10, Duration::from_secs(86_400), 10)),
        ("day", Quota::Day(10)),
        ("total", Quota::Total(10, now + Duration::from_secs(600))),
    ] {
        let key = CountKey::new(name);
        let whole = |wanted, step| {
            let draw = Draw {
                wanted,
                step,
                ..Draw::default()
            };
            store.draw(&key, quota, draw, now)
        };
        assert_eq!(whole(4, 4).await.unwrap().granted, 4, "{name}");
        let none = whole(8, 8).await.unwrap();
        assert_eq!((none.granted, none.used), (0, 4), "{name}");
        if name == "rate" {
            let seconds = 2 * 8_640;
            assert!(
                (seconds - 60..=seconds).contains(&none.wait.as_secs()),
                "{none:?}"
            );
        }
        assert_eq!(whole(9, 4).await.unwrap().granted, 4, "{name}: a multiple");
        assert_eq!(whole(2, 2).await.unwrap().granted, 2, "{name}: the rest");
    }
}

async fn what_was_drawn_vanishes_and_nothing_of_it_before(store: &dyn Store) {
    let now = Clock.now();
    let until = now + Duration::from_secs(600);
    let quota = Quota::Total(10, until);
    assert_eq!(draw(store, "total", quota, 4, now).await.granted, 4);
    store.sweep(now + Duration::from_secs(599)).await.unwrap();
    assert_eq!(draw(store, "total", quota, 9, now).await.granted, 6);
    if !store.is_shared() {
        store.sweep(until).await.unwrap();
        assert_eq!(draw(store, "total", quota, 9, now).await.granted, 9);
    }
}
