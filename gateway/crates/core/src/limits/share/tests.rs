//! What a share is for, and replicas on one store with everything that goes wrong between them.

mod replicas;

use super::super::quota::{Kept, Rate};
use super::*;

const NOON: Timestamp = Timestamp::from_millis(20_000 * 86_400_000 + 43_200_000);

fn rate(count: u64, burst: u64) -> Quota {
    Quota::Rate(Rate::new(count, Duration::from_secs(60), burst).unwrap())
}

/// A store of one quota.
struct Counter(Option<Kept>);

impl Counter {
    fn draw(&mut self, share: &mut Share, draw: Draw, now: Timestamp) {
        let mut next = Some(draw);
        while let Some(draw) = next {
            let (drawn, kept, _) = share.quota.draw(self.0.take(), draw, now);
            self.0 = Some(kept);
            next = share.drawn(draw, drawn, now);
        }
    }

    fn level(&self) -> u64 {
        self.0.as_ref().map_or(0, |kept| kept.level)
    }

    /// Takes some, waiting for what is drawn. What was taken, and how often somebody waited.
    fn take(&mut self, share: &mut Share, cost: u64, now: Timestamp) -> (Option<Part>, u32) {
        let mut waits = 0;
        loop {
            match share.take(cost, now) {
                Decision::Taken(part, ahead) => {
                    if let Some(draw) = ahead {
                        self.draw(share, draw, now);
                    }
                    return (Some(part), waits);
                }
                Decision::Wait(draw) => {
                    waits += 1;
                    self.draw(share, draw.unwrap(), now);
                }
                Decision::Reached(_) => return (None, waits),
            }
        }
    }
}

#[test]
fn whoever_calls_all_the_time_waits_for_the_store_twice() {
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(100_000), 1));
    let mut waits = 0;
    for call in 0..5_000 {
        let now = NOON + Duration::from_millis(call);
        let (taken, waited) = store.take(&mut share, 1, now);
        assert!(taken.is_some());
        waits += waited;
    }
    assert_eq!(waits, 2);
    assert!(share.size > 500 && share.size <= share.quota.batch());
}

/// What is taken ahead would be forgotten unspent: each has all of its quota.
#[test]
fn whoever_calls_seldom_uses_what_is_called_for_and_no_more() {
    let until = NOON + Duration::from_secs(400 * 86_400);
    for (quota, pause) in [
        (Quota::Day(100_000), 30),
        (rate(1_000, 200), 3_600),
        (Quota::Total(1_000, until), 90_000),
    ] {
        let (mut store, mut share) = (Counter(None), Share::new(quota, 1));
        for call in 1..=200 {
            let now = NOON + Duration::from_secs(pause * call);
            assert!(store.take(&mut share, 1, now).0.is_some());
            assert_eq!(share.available(now), 0, "{quota:?}");
        }
        if !matches!(quota, Quota::Rate(_)) {
            assert_eq!(store.level(), 200, "{quota:?}");
        }
    }
}

#[test]
fn a_total_that_was_drawn_is_good_until_its_end() {
    let until = NOON + Duration::from_secs(30 * 86_400);
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Total(1_000, until), 1));
    for _ in 0..3 {
        assert!(store.take(&mut share, 1, NOON).0.is_some());
    }
    let here = share.available(NOON);
    assert!(here > 0);
    assert_eq!(
        share.available(NOON + Duration::from_secs(29 * 86_400)),
        here
    );
}

#[test]
fn what_was_forgotten_unspent_makes_the_next_batch_smaller() {
    let (mut store, mut share) = (Counter(None), Share::new(rate(10_000, 4_000), 1));
    for call in 0..500 {
        store.take(&mut share, 1, NOON + Duration::from_millis(call));
    }
    let size = share.size;
    assert!(share.available(NOON) > 0 && size > 100);
    let later = NOON + Duration::from_secs(3_600);
    store.take(&mut share, 1, later);
    assert!(share.size <= size / 2);
    assert!(store.level() <= share.size * 60_000, "{size}");
}

#[test]
fn while_a_limit_is_reached_the_store_is_left_alone() {
    let (mut store, mut share) = (Counter(None), Share::new(rate(60, 10), 1));
    while store.take(&mut share, 1, NOON).0.is_some() {}
    let before = store.level();
    assert_eq!(
        share.take(1, NOON),
        Decision::Reached(Duration::from_secs(1))
    );
    assert_eq!(store.level(), before);
    let later = NOON + Duration::from_secs(1);
    assert!(store.take(&mut share, 1, later).0.is_some());
    // A clock that is set back: the store is asked, and decides.
    let back = NOON - Duration::from_secs(3_600);
    assert!(matches!(share.take(1, back), Decision::Wait(Some(_))));
}

/// A call that costs more than there is takes nothing, and those that cost less pass, here and elsewhere.
#[test]
fn what_is_too_much_for_now_takes_nothing_from_others() {
    let (mut store, quota) = (Counter(None), rate(60, 10));
    let (mut share, mut other) = (Share::new(quota, 1), Share::new(quota, 2));
    assert!(store.take(&mut share, 6, NOON).0.is_some());
    assert!(store.take(&mut share, 7, NOON).0.is_none());
    let wait = |seconds| Decision::Reached(Duration::from_secs(seconds));
    assert_eq!(share.take(7, NOON), wait(3), "until seven are there");
    assert_eq!(share.take(9, NOON), wait(5));
    assert_eq!(store.level(), 6 * 60_000);
    assert!(store.take(&mut other, 2, NOON).0.is_some());
    assert!(store.take(&mut share, 2, NOON).0.is_some());
    assert!(
        store
            .take(&mut share, 7, NOON + Duration::from_secs(7))
            .0
            .is_some()
    );
}

#[test]
fn those_that_wait_are_drawn_for_at_once() {
    for quota in [rate(60, 7), Quota::Day(150)] {
        let (mut store, mut share) = (Counter(None), Share::new(quota, 1));
        let Decision::Wait(Some(first)) = share.take(1, NOON) else {
            panic!("nothing is here");
        };
        for _ in 0..6 {
            assert_eq!(share.take(1, NOON), Decision::Wait(None));
        }
        let (drawn, kept, _) = quota.draw(store.0.take(), first, NOON);
        store.0 = Some(kept);
        let second = share.drawn(first, drawn, NOON).unwrap();
        assert_eq!((second.owed, second.wanted), (0, 6));
        store.draw(&mut share, second, NOON);
        for _ in 0..7 {
            assert!(matches!(share.take(1, NOON), Decision::Taken(_, None)));
        }
        assert_eq!(share.available(NOON), 0);
    }
}

#[test]
fn a_share_is_forgotten_at_the_end_of_its_time() {
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000), 1));
    store.take(&mut share, 1, NOON);
    let part = store.take(&mut share, 1, NOON).0.unwrap();
    assert_eq!(share.available(NOON), 2);
    let midnight = NOON + Duration::from_secs(43_200);
    let draw = share.charge(3, NOON).unwrap();
    assert_eq!(share.available(midnight), 0);
    // What was drawn yesterday and comes today, or is given back today, is none of today's.
    let drawn = Drawn {
        granted: 5,
        used: 9,
        wait: Duration::ZERO,
        lasts: Duration::from_secs(43_200),
    };
    share.drawn(draw, drawn, midnight + Duration::from_secs(1));
    share.give_back(part, midnight + Duration::from_secs(1));
    assert_eq!(share.available(midnight + Duration::from_secs(1)), 0);
    assert!(matches!(share.take(1, midnight), Decision::Wait(Some(_))));
}

/// Neither what was left when a draw began that is answered today, nor what was taken yesterday.
#[test]
fn nothing_of_yesterday_is_good_today() {
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000), 1));
    store.take(&mut share, 1, NOON);
    let part = store.take(&mut share, 1, NOON).0.unwrap();
    assert_eq!(share.available(NOON), 2);
    let before = NOON + Duration::from_millis(43_199_999);
    let Decision::Wait(Some(draw)) = share.take(8, before) else {
        panic!("so much is not here");
    };
    let today = NOON + Duration::from_secs(43_200);
    let (drawn, ..) = share.quota.draw(store.0.take(), draw, today);
    assert_eq!(drawn.granted, 6);
    share.drawn(draw, drawn, today);
    assert_eq!(share.available(today), 6);
    share.give_back(part, today);
    assert_eq!(share.available(today), 6);
}

/// An answer to a draw of yesterday takes nothing away of what was used since midnight.
#[test]
fn what_is_used_while_an_answer_crosses_midnight_is_owed() {
    let today = NOON + Duration::from_secs(43_200);
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000_000), 1));
    store.take(&mut share, 1, NOON);
    let draw = share.charge(5_000, NOON).unwrap();
    share.charge(7_000, today + REST);
    let lasts = Duration::from_secs(43_200);
    let late = Drawn {
        granted: 0,
        used: 5_001,
        wait: Duration::ZERO,
        lasts,
    };
    let now = today + REST;
    let next = share.drawn(draw, late, now).or_else(|| share.last(now));
    assert_eq!(next.map(|draw| draw.owed), Some(7_000));
}

/// Neither what was too little to be told, nor what the store may not have heard, nor what it is being told.
#[test]
fn what_yesterday_owed_is_none_of_todays() {
    let today = NOON + Duration::from_secs(43_200);
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000), 1));
    // So seldom that nothing is taken ahead.
    let pause = SLOW + REST;
    store.take(&mut share, 1, NOON);
    assert_eq!(share.charge(3, NOON + pause), None);
    let Decision::Wait(Some(draw)) = share.take(1, today) else {
        panic!("nothing of yesterday is here");
    };
    assert_eq!(draw.owed, 0);
    store.draw(&mut share, draw, today);
    let part = share.take(1, today);
    assert!(matches!(part, Decision::Taken(..)));
    assert_eq!(store.level(), 1);
    // What is owed since then is owed.
    assert_eq!(share.charge(3, today + pause), None);
    assert_eq!(share.last(today + pause).unwrap().owed, 3);

    for fails_at in [NOON, today] {
        let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000), 1));
        store.take(&mut share, 1, NOON);
        let draw = share.charge(5_000, NOON).unwrap();
        share.failed(draw, fails_at);
        let later = today + REST;
        assert_eq!(share.charge(2_000, later).unwrap().owed, 0);
        let again = share.drawing.unwrap().0;
        assert_eq!(again.id, draw.id, "it may have had it");
        store.draw(&mut share, again, later);
        assert_eq!(store.level() - share.available(later), 2_000);
    }
}

#[test]
fn no_more_is_held_than_a_batch_whatever_is_given_back() {
    let (mut store, mut share) = (Counter(None), Share::new(rate(1_000, 400), 1));
    let parts: Vec<Part> = (0..300)
        .filter_map(|_| store.take(&mut share, 1, NOON).0)
        .collect();
    assert_eq!(parts.len(), 300);
    for part in parts {
        share.give_back(part, NOON);
    }
    assert!(share.available(NOON) <= share.quota.batch());
    // A call that cost more is given back as a whole.
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(50), 1));
    let part = store.take(&mut share, 5, NOON).0.unwrap();
    share.give_back(part, NOON);
    assert_eq!(share.available(NOON), 5);
}

#[test]
fn what_is_used_beyond_a_share_is_told_the_store() {
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000), 1));
    store.take(&mut share, 1, NOON);
    let draw = share.charge(5_000, NOON).unwrap();
    assert!(draw.owed > 4_000);
    // Also what is used while it is told.
    assert_eq!(share.charge(2_000, NOON), None);
    let (drawn, kept, _) = share.quota.draw(store.0.take(), draw, NOON);
    store.0 = Some(kept);
    let more = share.drawn(draw, drawn, NOON).unwrap();
    assert_eq!((more.owed, more.wanted), (2_000, 0));
    store.draw(&mut share, more, NOON);
    assert_eq!(store.level(), 7_001);
    assert!(store.take(&mut share, 1, NOON).0.is_none());
    // And at the end what is too little to be told at once.
    assert_eq!(share.charge(3, NOON), None);
    let last = share.last(NOON).unwrap();
    store.draw(&mut share, last, NOON);
    assert_eq!((store.level(), share.last(NOON)), (7_004, None));
}

#[test]
fn what_nobody_knows_the_outcome_of_is_asked_again_and_counts_once() {
    let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(100_000), 1));
    let draw = share.charge(5_000, NOON).unwrap();
    // The store has it, and its answer is lost.
    store.0 = Some(share.quota.draw(None, draw, NOON).1);
    share.failed(draw, NOON);
    assert_eq!(share.charge(2_000, NOON), None, "it may rest");
    let later = NOON + REST;
    let again = share.charge(2_000, later).unwrap();
    assert_eq!(again, draw);
    assert_eq!(share.charge(2_000, later), None, "one at a time");
    store.draw(&mut share, again, later);
    assert_eq!(store.level() - share.available(later), 11_000);
}
