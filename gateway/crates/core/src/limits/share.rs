//! What one replica holds of one quota of one subject, and spends without asking the store: taken ahead,
//! in batches that are as large as what is called for in a second, and no larger than
//! [`Quota::batch`].

use std::time::Duration;

use super::quota::{Draw, Drawn, Quota};
use crate::clock::Timestamp;

/// A batch that was spent within this was too small.
const BRISK: Duration = Duration::from_secs(1);
/// One that lasted longer than this was too large.
const SLOW: Duration = Duration::from_secs(5);
/// The store is asked again after this, however long it said that nothing will be there.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// For what is more than there ever is at once.
const NEVER: Duration = Duration::from_secs(3600);

/// A local share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    quota: Quota,
    available: u64,
    /// Used beyond what was there, and not told the store yet.
    owed: u64,
    /// What the store knew as used when it was asked last.
    used: u64,
    /// What is available is forgotten then.
    until: Timestamp,
    drawn: Timestamp,
    dry: Option<Dry>,
    size: u64,
    is_drawing: bool,
}

/// The store had no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dry {
    since: Timestamp,
    ask_again: Timestamp,
    /// When there is one more.
    until: Timestamp,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is counted; this is to be drawn meanwhile.
    Taken(Option<Draw>),
    /// Ask again once this was drawn; nothing: what is being drawn.
    Wait(Option<Draw>),
    /// The limit is reached, and there may be more after this time.
    Reached(Duration),
}

impl Share {
    /// One of which nothing is here.
    pub const fn new(quota: Quota) -> Self {
        let epoch = Timestamp::from_millis(0);
        Self {
            quota,
            available: 0,
            owed: 0,
            used: 0,
            until: epoch,
            drawn: epoch,
            dry: None,
            size: 1,
            is_drawing: false,
        }
    }

    /// What it is a share of.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes so much, if it is here. Whoever is given a [`Draw`] must tell what came of it.
    pub fn take(&mut self, cost: u64, now: Timestamp) -> Decision {
        if now >= self.until {
            self.available = 0;
        }
        if self.owed == 0 && cost <= self.available {
            self.available -= cost;
            return Decision::Taken(self.ahead(now));
        }
        if cost > self.quota.most() {
            return Decision::Reached(NEVER);
        }
        if let Some(dry) = self.dry_at(now) {
            return Decision::Reached(dry.until.since(now));
        }
        if self.is_drawing {
            return Decision::Wait(None);
        }
        let wanted = cost.max(self.size).saturating_sub(self.available).max(1);
        Decision::Wait(Some(self.begin(wanted)))
    }

    /// Counts what was used already, whether or not it was there.
    pub fn charge(&mut self, used: u64, now: Timestamp) -> Option<Draw> {
        if now >= self.until {
            self.available = 0;
        }
        let covered = used.min(self.available);
        self.available -= covered;
        self.owed = self.owed.saturating_add(used - covered);
        // What is owed is told, also where there is no more to be had.
        let tell = self.owed >= self.quota.batch() && !self.is_drawing;
        let asked = self.ahead(now);
        asked.or_else(|| tell.then(|| self.begin(0)))
    }

    /// Gives back what was taken and not used after all.
    pub fn give_back(&mut self, cost: u64) {
        self.available = self.available.saturating_add(cost);
    }

    /// The store has answered a draw.
    pub fn drawn(&mut self, draw: Draw, drawn: Drawn, now: Timestamp) {
        self.is_drawing = false;
        self.available += drawn.granted;
        self.used = drawn.used;
        self.until = now + drawn.lasts;
        self.drawn = now;
        if draw.wanted > 0 {
            self.dry = (drawn.granted < draw.wanted).then(|| Dry {
                since: now,
                ask_again: now + drawn.wait.min(ASK_AGAIN),
                until: now + drawn.wait,
            });
        }
    }

    /// The store has not.
    pub fn failed(&mut self, draw: Draw) {
        self.is_drawing = false;
        self.owed = self.owed.saturating_add(draw.owed);
    }

    /// What the store knows as used and was not used yet.
    pub fn available(&self, now: Timestamp) -> u64 {
        if now >= self.until { 0 } else { self.available }
    }

    /// How much of the quota is used, as far as this replica was told; nothing of what is over.
    pub fn used(&self, now: Timestamp) -> u64 {
        if now >= self.until {
            0
        } else {
            self.used.saturating_sub(self.available)
        }
    }

    /// Whether the store has no more. A clock that was set back makes nobody wait.
    fn dry_at(&self, now: Timestamp) -> Option<Dry> {
        self.dry
            .filter(|dry| dry.since <= now && now < dry.ask_again)
    }

    /// What is to be drawn before it is needed. Of what comes in single pieces nothing is taken ahead: it
    /// would be missing elsewhere.
    fn ahead(&mut self, now: Timestamp) -> Option<Draw> {
        let batch = self.quota.batch();
        let is_enough = self.owed == 0 && self.available > self.size / 2;
        if batch == 1 || is_enough || self.is_drawing || self.dry_at(now).is_some() {
            return None;
        }
        let lasted = now.since(self.drawn);
        if lasted < BRISK {
            self.size = (self.size * 2).min(batch);
        } else if lasted > SLOW {
            self.size = (self.size / 2).max(1);
        }
        let wanted = self.size.saturating_sub(self.available);
        (wanted > 0 || self.owed > 0).then(|| self.begin(wanted))
    }

    fn begin(&mut self, wanted: u64) -> Draw {
        self.is_drawing = true;
        Draw {
            owed: std::mem::take(&mut self.owed),
            wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

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
            let (drawn, kept, _) = share.quota.draw(self.0, draw, now);
            self.0 = Some(kept);
            share.drawn(draw, drawn, now);
        }

        /// Takes one, waiting for what is drawn. Whether it was there, and how often somebody waited.
        fn take(&mut self, share: &mut Share, cost: u64, now: Timestamp) -> (bool, u32) {
            let mut waits = 0;
            loop {
                match share.take(cost, now) {
                    Decision::Taken(ahead) => {
                        if let Some(draw) = ahead {
                            self.draw(share, draw, now);
                        }
                        return (true, waits);
                    }
                    Decision::Wait(draw) => {
                        waits += 1;
                        self.draw(share, draw.unwrap(), now);
                    }
                    Decision::Reached(_) => return (false, waits),
                }
            }
        }
    }

    #[test]
    fn whoever_calls_all_the_time_waits_for_the_store_once() {
        let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(100_000)));
        let mut waits = 0;
        for call in 0..5_000 {
            let now = NOON + Duration::from_millis(call);
            let (taken, waited) = store.take(&mut share, 1, now);
            assert!(taken);
            waits += waited;
        }
        assert_eq!(waits, 1);
        assert!(share.size > 500 && share.size <= share.quota.batch());
    }

    #[test]
    fn whoever_calls_seldom_holds_little() {
        let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(100_000)));
        for call in 0..20 {
            let now = NOON + Duration::from_secs(30 * call);
            assert!(store.take(&mut share, 1, now).0);
            assert!(share.available(now) <= 2);
        }
    }

    #[test]
    fn while_a_limit_is_reached_the_store_is_left_alone() {
        let (mut store, mut share) = (Counter(None), Share::new(rate(60, 10)));
        while store.take(&mut share, 1, NOON).0 {}
        let before = store.0;
        assert_eq!(
            share.take(1, NOON),
            Decision::Reached(Duration::from_secs(1))
        );
        assert_eq!(store.0, before);
        let later = NOON + Duration::from_secs(1);
        assert!(store.take(&mut share, 1, later).0);
        // A clock that is set back: the store is asked, and decides.
        let back = NOON - Duration::from_secs(3_600);
        assert!(matches!(share.take(1, back), Decision::Wait(Some(_))));
    }

    #[test]
    fn a_share_is_forgotten_at_the_end_of_its_time() {
        let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000)));
        assert!(store.take(&mut share, 1, NOON).0);
        assert_eq!(share.available(NOON), 2);
        let midnight = NOON + Duration::from_secs(43_200);
        assert_eq!(share.available(midnight), 0);
        assert!(matches!(share.take(1, midnight), Decision::Wait(Some(_))));
    }

    #[test]
    fn what_is_used_beyond_a_share_is_told_the_store() {
        let (mut store, mut share) = (Counter(None), Share::new(Quota::Day(1_000)));
        assert!(store.take(&mut share, 1, NOON).0);
        let draw = share.charge(5_000, NOON).unwrap();
        assert!(draw.owed > 4_000);
        store.draw(&mut share, draw, NOON);
        assert!(store.0.unwrap().level > 4_000);
        assert!(!store.take(&mut share, 1, NOON).0);
        // It is told also while there is no more to be had; and again, if it could not be.
        let draw = share.charge(5_000, NOON).unwrap();
        assert_eq!((draw.owed, draw.wanted), (5_000, 0));
        share.failed(draw);
        assert_eq!(share.charge(1, NOON).unwrap().owed, 5_001);
    }

    /// Replicas with one store, whatever they are asked and whichever of them forget what they hold: no more
    /// passes than the rate, its burst and a batch of each; of a budget no more than the budget.
    #[test]
    fn replicas_never_let_through_more_than_a_limit_and_a_batch_of_each() {
        let mut random = StdRng::seed_from_u64(11);
        for _ in 0..200 {
            let quota = if random.gen_bool(0.5) {
                rate(random.gen_range(1..5_000), random.gen_range(1..800))
            } else {
                Quota::Day(random.gen_range(1..3_000))
            };
            let replicas = random.gen_range(1..4_usize);
            let mut shares = vec![Share::new(quota); replicas];
            let (mut store, mut passed, mut elapsed) = (Counter(None), 0_u64, 0_u64);
            for _ in 0..3_000 {
                elapsed += random.gen_range(0..20);
                let now = NOON + Duration::from_millis(elapsed);
                let share = &mut shares[random.gen_range(0..replicas)];
                if random.gen_bool(0.001) {
                    *share = Share::new(quota);
                }
                passed += u64::from(store.take(share, 1, now).0);
                assert!(share.available(now) <= quota.batch());
                let most = match quota {
                    Quota::Rate(rate) => {
                        let replicas = u64::try_from(replicas).unwrap();
                        rate.burst() + elapsed * rate.count() / 60_000 + replicas * quota.batch()
                    }
                    Quota::Day(amount) | Quota::Total(amount, _) => amount,
                };
                assert!(passed <= most, "{passed} of {most} of {quota:?}");
            }
        }
    }
}
