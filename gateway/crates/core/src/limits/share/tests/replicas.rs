//! Replicas with one store that answers late, loses questions and answers, and hears old questions again;
//! calls that cost more than one, wait, are given back, and use more than they took; midnights.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// How long a replica waits for the store, in milliseconds.
const PATIENCE: u64 = 2_000;
const DAY: u64 = 86_400_000;

/// Something on its way.
struct Event {
    at: u64,
    replica: usize,
    /// Which of the shares that this replica had.
    holder: u64,
    draw: Draw,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Asked,
    Answered(Drawn),
    GivenUp,
}

struct World {
    random: StdRng,
    quota: Quota,
    store: Option<Kept>,
    now: u64,
    holders: u64,
    shares: Vec<Share>,
    events: Vec<Event>,
    waiting: Vec<(usize, u64)>,
    parts: Vec<(usize, Part, u64)>,
    /// How much passed, less what was given back, on each day.
    passed: std::collections::BTreeMap<u64, u64>,
    charged: u64,
    /// What was given back beyond what may be held.
    dropped: u64,
    /// The largest sum of what waited at once.
    crowd: u64,
    is_perfect: bool,
}

impl World {
    fn new(seed: u64, quota: Quota, replicas: u64, now: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            quota,
            store: None,
            now,
            holders: replicas,
            shares: (1..=replicas)
                .map(|holder| Share::new(quota, holder))
                .collect(),
            events: Vec::new(),
            waiting: Vec::new(),
            parts: Vec::new(),
            passed: std::collections::BTreeMap::new(),
            charged: 0,
            dropped: 0,
            crowd: 0,
            is_perfect: false,
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn ask(&mut self, replica: usize, draw: Draw) {
        let holder = self.shares[replica].id.holder;
        let mut event = |at, what| {
            self.events.push(Event {
                at,
                replica,
                holder,
                draw,
                what,
            });
        };
        event(self.now + PATIENCE, What::GivenUp);
        if self.is_perfect {
            event(self.now, What::Asked);
            return;
        }
        // Some are lost, and some are heard only after they were given up, or twice.
        for _ in 0..self.random.gen_range(1..3) {
            if self.random.gen_bool(0.8) {
                let late = self.random.gen_bool(0.1);
                let most = if late { 3 * PATIENCE } else { 50 };
                event(self.now + self.random.gen_range(0..most), What::Asked);
            }
        }
    }

    /// All that has happened by now, in order.
    fn catch_up(&mut self) {
        let until = self.now;
        loop {
            let due = self
                .events
                .iter()
                .enumerate()
                .filter(|(_, event)| event.at <= until);
            let Some(first) = due
                .min_by_key(|(_, event)| event.at)
                .map(|(index, _)| index)
            else {
                break;
            };
            let event = self.events.remove(first);
            self.now = event.at;
            self.happens(event);
        }
        self.now = until;
    }

    fn happens(&mut self, event: Event) {
        let (now, draw) = (self.time(), event.draw);
        if let What::Asked = event.what {
            let (drawn, kept, _) = self.quota.draw(self.store.take(), draw, now);
            self.store = Some(kept);
            if self.is_perfect || self.random.gen_bool(0.85) {
                let takes = if self.is_perfect {
                    0
                } else {
                    self.random.gen_range(0..100)
                };
                self.events.push(Event {
                    at: self.now + takes,
                    what: What::Answered(drawn),
                    ..event
                });
            }
            return;
        }
        // It is over for whoever was answered already, or does not wait for this one.
        let asked = |other: &Event| matches!(other.what, What::GivenUp) && other.draw.id == draw.id;
        let is_awaited = match event.what {
            What::GivenUp => true,
            _ => match self.events.iter().position(asked) {
                Some(index) => {
                    self.events.remove(index);
                    true
                }
                None => false,
            },
        };
        let share = &mut self.shares[event.replica];
        if !is_awaited || share.id.holder != event.holder {
            return;
        }
        let next = match event.what {
            What::Answered(drawn) => share.drawn(draw, drawn, now),
            _ => {
                share.failed(draw, now);
                None
            }
        };
        if let Some(next) = next {
            self.ask(event.replica, next);
        }
        let all = std::mem::take(&mut self.waiting);
        let (woken, others) = all
            .into_iter()
            .partition(|(replica, _)| *replica == event.replica);
        self.waiting = others;
        let woken: Vec<(usize, u64)> = woken;
        if let What::Answered(_) = event.what {
            for (replica, cost) in woken {
                self.take(replica, cost);
            }
        }
    }

    fn take(&mut self, replica: usize, cost: u64) {
        let now = self.time();
        let draw = match self.shares[replica].take(cost, now) {
            Decision::Taken(part, ahead) => {
                *self.passed.entry(self.now / DAY).or_default() += cost;
                self.parts.push((replica, part, self.now / DAY));
                ahead
            }
            Decision::Wait(draw) => {
                self.waiting.push((replica, cost));
                self.crowd = self
                    .crowd
                    .max(self.waiting.iter().map(|(_, cost)| cost).sum());
                draw
            }
            Decision::Reached(wait) => {
                assert!(wait > Duration::ZERO);
                None
            }
        };
        if let Some(draw) = draw {
            self.ask(replica, draw);
        }
    }

    fn give_back(&mut self) {
        let index = self.random.gen_range(0..self.parts.len());
        let (replica, part, day) = self.parts.swap_remove(index);
        let now = self.time();
        let share = &mut self.shares[replica];
        let before = i128::from(share.available) - i128::from(share.owed);
        share.give_back(part, now);
        let gained = i128::from(share.available) - i128::from(share.owed) - before;
        // What was dropped is used, as far as the budget goes.
        let gained = u64::try_from(gained.max(0)).unwrap();
        self.dropped += part.cost.saturating_sub(gained);
        let day = if matches!(self.quota, Quota::Day(_)) {
            day
        } else {
            self.now / DAY
        };
        let passed = self.passed.entry(day).or_default();
        *passed = passed.saturating_sub(part.cost);
    }

    fn charge(&mut self, used: u64) {
        let replica = self.random.gen_range(0..self.shares.len());
        let now = self.time();
        self.charged += used;
        if let Some(draw) = self.shares[replica].charge(used, now) {
            self.ask(replica, draw);
        }
    }

    fn forget(&mut self) {
        let replica = self.random.gen_range(0..self.shares.len());
        self.holders += 1;
        self.shares[replica] = Share::new(self.quota, self.holders);
        self.waiting.retain(|(waits, _)| *waits != replica);
        self.parts.retain(|(held, ..)| *held != replica);
    }

    /// A few calls, or a crowd of them, somewhere.
    fn some_calls(&mut self) {
        let replica = self.random.gen_range(0..self.shares.len());
        let calls = if self.random.gen_bool(0.05) { 20 } else { 1 };
        for _ in 0..calls {
            let cost = if self.random.gen_bool(0.8) {
                1
            } else {
                self.random.gen_range(1..9)
            };
            self.take(replica, cost);
        }
    }

    fn check_what_is_held(&self) {
        for share in &self.shares {
            let most = self.quota.batch() + self.crowd.max(8);
            assert!(share.available <= most, "{} of {most}", share.available);
        }
    }

    /// Everything is told, and nothing is lost any more.
    fn settle(&mut self) {
        self.is_perfect = true;
        for _ in 0..100 {
            self.now += 3 * PATIENCE;
            self.catch_up();
            for replica in 0..self.shares.len() {
                let now = self.time();
                if let Some(draw) = self.shares[replica].last(now) {
                    self.ask(replica, draw);
                }
            }
            self.catch_up();
        }
        assert!(
            self.shares
                .iter()
                .all(|share| share.owed == 0 && share.unsure.is_none())
        );
    }
}

/// However much goes wrong, no more passes than a rate and its burst, or than the budget of each day.
#[test]
fn replicas_never_let_through_more_than_a_limit() {
    let mut all = 0;
    for round in 0..150 {
        let mut random = StdRng::seed_from_u64(round);
        let quota = if random.gen_bool(0.5) {
            rate(random.gen_range(1..5_000), random.gen_range(1..800))
        } else {
            Quota::Day(random.gen_range(1..500))
        };
        // The day ends meanwhile.
        let begins = NOON.millis() + DAY / 2 - 10_000;
        let mut world = World::new(round, quota, random.gen_range(1..4), begins);
        for _ in 0..1_500 {
            world.now += random.gen_range(0..40);
            world.catch_up();
            world.some_calls();
            if random.gen_bool(0.03) && !world.parts.is_empty() {
                world.give_back();
            }
            if random.gen_bool(0.02) {
                world.charge(random.gen_range(1..20));
            }
            if random.gen_bool(0.001) {
                world.forget();
            }
            world.check_what_is_held();
            match quota {
                Quota::Rate(rate) => {
                    let passed: u64 = world.passed.values().sum();
                    let most = rate.burst() + (world.now - begins) * rate.count() / 60_000;
                    assert!(passed <= most, "{round}: {passed} of {most} of {quota:?}");
                }
                Quota::Day(most) | Quota::Total(most, _) => {
                    let passed = world.passed.values().copied().max().unwrap_or_default();
                    assert!(passed <= most, "{round}: {passed} of {most}");
                }
            }
        }
        all += world.passed.values().sum::<u64>();
    }
    assert!(all > 10_000, "hardly anything was tried: {all}");
}

/// What the store counts in the end is what was used and what is held: nothing twice, and nothing is lost.
#[test]
fn whatever_is_lost_on_the_way_counts_once() {
    for round in 0..150 {
        let mut random = StdRng::seed_from_u64(round);
        let until = NOON + Duration::from_secs(30 * 86_400);
        let quota = Quota::Total(random.gen_range(1..20_000), until);
        let mut world = World::new(round, quota, random.gen_range(1..4), NOON.millis());
        for _ in 0..1_000 {
            world.now += random.gen_range(0..40);
            world.catch_up();
            world.some_calls();
            if random.gen_bool(0.1) {
                world.charge(random.gen_range(1..300));
            }
            if random.gen_bool(0.03) && !world.parts.is_empty() {
                world.give_back();
            }
        }
        world.settle();
        let passed: u64 = world.passed.values().sum();
        let held: u64 = world.shares.iter().map(|share| share.available).sum();
        let used = passed + world.charged + world.dropped + held;
        assert_eq!(world.store.unwrap().level, used, "{round}: {quota:?}");
    }
}
