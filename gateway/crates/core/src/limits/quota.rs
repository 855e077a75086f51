//! What a store keeps of one quota of one subject, and what a draw makes of it.
//!
//! A rate is a leaky bucket in whole numbers: its level rises by one for each call and falls with time.
//! `level` is in calls times milliseconds of the period, so that a fall of a millisecond is a whole number,
//! too: nothing is ever rounded, here or in Lua, whose numbers hold 2⁵³ exactly.
//!
//! A clock may be set back. Nothing is given for that: what was used stays used. And nobody is locked out
//! for longer than a quota lasts: a moment far in the future, which stems from a clock that was wrong, is
//! moved to the present.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::draw::{Answers, Draw, Drawn};
use crate::clock::Timestamp;

/// Moments of replicas and threads come in any order within this.
pub const SKEW: Duration = Duration::from_secs(10);

const DAY: u64 = 86_400_000;
/// Nobody comes again sooner for what a window has no more of.
const SECOND: u64 = 1_000;
/// A draw may be asked again for so long after a rate has filled up.
const REPEATED: u64 = 60_000;

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    count: u64,
    period: u64,
    burst: u64,
}

impl Rate {
    /// The largest count and burst.
    pub const MOST: u64 = 1_000_000;

    /// `count` in each `period`, `burst` of them at once. `None` where one of them is zero, the period is
    /// longer than a day, or more than a million is wanted.
    pub fn new(count: u64, period: Duration, burst: u64) -> Option<Self> {
        let period = u64::try_from(period.as_millis()).ok()?;
        let fits = |number: u64| (1..=Self::MOST).contains(&number);
        let is_one = fits(count) && fits(burst) && (1..=DAY).contains(&period);
        is_one.then_some(Self {
            count,
            period,
            burst,
        })
    }

    /// How many in a period.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The period.
    pub const fn period(self) -> Duration {
        Duration::from_millis(self.period)
    }

    /// How many at once.
    pub const fn burst(self) -> u64 {
        self.burst
    }
}

/// What may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// So many in a time.
    Rate(Rate),
    /// So many in a day of UTC.
    Day(u64),
    /// So many in all, which is remembered until then.
    Total(u64, Timestamp),
}

/// What is kept between two draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The level of a rate; otherwise how much is used.
    pub level: u64,
    /// When the level was such, or when the day began (milliseconds).
    pub at: u64,
    /// What each holder was answered last.
    pub answers: Answers,
}

impl Quota {
    /// No budget, nothing that is used and no level is larger: a number that Lua holds exactly.
    pub const MOST: u64 = 1 << 52;

    /// The largest share of it that one replica holds, beyond what is called for at once.
    pub const fn batch(self) -> u64 {
        let share = match self {
            Self::Rate(rate) => rate.burst / 4,
            Self::Day(amount) | Self::Total(amount, _) => amount / 100,
        };
        if share == 0 { 1 } else { share }
    }

    /// How much there is at once.
    pub const fn most(self) -> u64 {
        match self {
            Self::Rate(rate) => rate.burst,
            Self::Day(amount) | Self::Total(amount, _) => amount,
        }
    }

    /// What a draw gives, what is kept after it, and when that says nothing any more.
    pub fn draw(self, kept: Option<Kept>, draw: Draw, now: Timestamp) -> (Drawn, Kept, Timestamp) {
        let millis = now.millis();
        let before = kept.as_ref().map(|kept| (kept.level, kept.at));
        let mut answers = kept.map(|kept| kept.answers).unwrap_or_default();
        let earlier = answers.earlier(draw.id, millis);
        // What was done already is looked at.
        let asked = match earlier {
            Some(_) => Draw {
                owed: 0,
                wanted: 0,
                ..draw
            },
            None => draw,
        };
        let mut done = match self {
            Self::Rate(rate) => rate.draw(before, asked, millis),
            Self::Day(amount) => day(amount, before, asked, millis),
            Self::Total(amount, until) => {
                let used = before.map_or(0, |(level, _)| level);
                window(amount, (used, 0, until.millis()), asked, millis)
            }
        };
        match earlier {
            Some((granted, ends)) => {
                done.granted = granted;
                if granted > 0 {
                    done.good_until = done.good_until.min(ends);
                }
            }
            None => answers.note(draw.id, done.granted, done.good_until),
        }
        let is_short = done.granted < draw.wanted;
        let drawn = Drawn {
            granted: done.granted,
            used: done.used,
            wait: Duration::from_millis(if is_short { done.wait } else { 0 }),
            lasts: Duration::from_millis(done.good_until.saturating_sub(millis)),
        };
        let kept = Kept {
            level: done.level,
            at: done.at,
            answers,
        };
        (drawn, kept, Timestamp::from_millis(done.ends))
    }
}

/// What a draw comes to; moments and times in milliseconds.
struct Done {
    granted: u64,
    used: u64,
    level: u64,
    at: u64,
    /// How long until there is a step more.
    wait: u64,
    good_until: u64,
    /// When all of this says nothing any more.
    ends: u64,
}

impl Rate {
    fn draw(self, before: Option<(u64, u64)>, draw: Draw, now: u64) -> Done {
        let (level, at) = match before {
            Some((level, at)) if now >= at => {
                let fallen = (now - at).saturating_mul(self.count);
                (level.saturating_sub(fallen), now)
            }
            Some((level, at)) if at <= now + skew() => (level, at),
            Some((level, _)) => (level, now),
            None => (0, now),
        };
        let full = self.burst * self.period;
        let level =
            (level + draw.owed.min(Quota::MOST / self.period) * self.period).min(Quota::MOST);
        let granted = draw.granted_of(full.saturating_sub(level) / self.period);
        let level = level + granted * self.period;
        let step = draw.step.clamp(1, self.burst) * self.period;
        Done {
            granted,
            used: level.div_ceil(self.period),
            level,
            at,
            wait: (level + step).saturating_sub(full).div_ceil(self.count),
            good_until: now + self.period,
            // Whoever asks again is known for a while.
            ends: at + level.div_ceil(self.count) + REPEATED,
        }
    }
}

fn day(amount: u64, before: Option<(u64, u64)>, draw: Draw, now: u64) -> Done {
    let today = now - now % DAY;
    let (used, begins) = match before {
        // Of a day to come: the clock was set back, and what was used stays used.
        Some((level, at)) if at > now + skew() => (level, today),
        // Today's, or somebody is a little behind midnight.
        Some((level, at)) if at >= today => (level, at),
        _ => (0, today),
    };
    window(amount, (used, begins, begins + DAY), draw, now)
}

fn window(amount: u64, (used, at, ends): (u64, u64, u64), draw: Draw, now: u64) -> Done {
    let used = used.saturating_add(draw.owed).min(Quota::MOST);
    let granted = draw.granted_of(amount.saturating_sub(used));
    let used = used.saturating_add(granted).min(Quota::MOST);
    Done {
        granted,
        used,
        level: used,
        at,
        wait: ends.saturating_sub(now).max(SECOND),
        good_until: ends,
        ends,
    }
}

fn skew() -> u64 {
    u64::try_from(SKEW.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::super::draw::DrawId;
    use super::*;

    const NOON: u64 = 20_000 * DAY + DAY / 2;

    fn wanted(wanted: u64) -> Draw {
        Draw {
            wanted,
            ..Draw::default()
        }
    }

    /// A quota that is drawn from as a store does.
    struct Drawing(Quota, Option<Kept>);

    impl Drawing {
        fn draw(&mut self, draw: Draw, now: u64) -> Drawn {
            let (drawn, kept, _) = self
                .0
                .draw(self.1.take(), draw, Timestamp::from_millis(now));
            self.1 = Some(kept);
            drawn
        }

        fn get(&mut self, most: u64, now: u64) -> u64 {
            self.draw(wanted(most), now).granted
        }
    }

    fn rate(count: u64, period: u64, burst: u64) -> Rate {
        Rate::new(count, Duration::from_millis(period), burst).unwrap()
    }

    #[test]
    fn a_rate_gives_its_burst_and_then_what_time_brings() {
        let mut drawing = Drawing(Quota::Rate(rate(100, 60_000, 20)), None);
        assert_eq!(drawing.get(30, NOON), 20);
        let none = drawing.draw(wanted(1), NOON);
        assert_eq!((none.granted, none.wait.as_millis()), (0, 600));
        assert_eq!(drawing.get(1, NOON + 599), 0);
        assert_eq!(drawing.get(5, NOON + 600), 1);
        assert_eq!(
            drawing.get(50, NOON + 60_600),
            20,
            "no more than the burst is saved"
        );
    }

    #[test]
    fn a_day_begins_at_midnight_of_utc() {
        let mut drawing = Drawing(Quota::Day(10), None);
        assert_eq!(drawing.get(7, NOON), 7);
        let rest = drawing.draw(wanted(7), NOON);
        assert_eq!((rest.granted, rest.used), (3, 10));
        assert_eq!(rest.wait, Duration::from_millis(DAY / 2));
        assert_eq!(drawing.get(1, NOON + DAY / 2 - 1), 0);
        assert_eq!(drawing.get(20, NOON + DAY / 2), 10);
    }

    #[test]
    fn a_total_is_given_once() {
        let mut drawing = Drawing(
            Quota::Total(3, Timestamp::from_millis(NOON + 9 * DAY)),
            None,
        );
        assert_eq!(drawing.get(2, NOON), 2);
        assert_eq!(drawing.get(2, NOON + 5 * DAY), 1);
        assert_eq!(drawing.get(2, NOON + 8 * DAY), 0);
    }

    #[test]
    fn what_is_owed_is_used_whether_or_not_it_is_there() {
        let mut drawing = Drawing(Quota::Day(10), None);
        let owed = |owed, wanted| Draw {
            owed,
            wanted,
            ..Draw::default()
        };
        assert_eq!(drawing.draw(owed(25, 1), NOON).used, 25);
        assert_eq!(drawing.get(1, NOON), 0);
        let mut drawing = Drawing(Quota::Rate(rate(10, 1_000, 10)), None);
        assert_eq!(drawing.draw(owed(20, 1), NOON).granted, 0);
        assert_eq!(drawing.get(1, NOON + 1_000), 0);
        assert_eq!(drawing.get(1, NOON + 1_100), 1);
        assert_eq!(drawing.draw(owed(u64::MAX, 0), NOON + 1_100).granted, 0);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_and_locks_nobody_out() {
        let back = |far| {
            let mut drawing = Drawing(Quota::Rate(rate(10, 1_000, 10)), None);
            assert_eq!(drawing.get(10, NOON), 10);
            assert_eq!(drawing.get(1, NOON - far), 0, "{far}");
            drawing
        };
        // Whoever is a little behind waits for those who are not.
        for far in [1_000, 10_000] {
            assert_eq!(back(far).get(1, NOON + 99), 0, "{far}");
            assert_eq!(back(far).get(1, NOON + 100), 1, "{far}");
        }
        for far in [10_001, 60_000, DAY, 400 * DAY] {
            assert_eq!(back(far).get(1, NOON - far + 99), 0, "{far}");
            assert_eq!(back(far).get(1, NOON - far + 100), 1, "{far}");
        }
        for far in [1_000, 60_000, DAY, 400 * DAY] {
            let mut drawing = Drawing(Quota::Day(10), None);
            assert_eq!(drawing.get(10, NOON), 10);
            assert_eq!(drawing.get(1, NOON - far), 0, "{far}");
            let midnight = (NOON - far) / DAY * DAY + DAY;
            assert_eq!(drawing.get(1, midnight - 1), 0, "{far}");
            assert_eq!(drawing.get(1, midnight), 1, "{far}");
        }
        let mut drawing = Drawing(Quota::Day(10), None);
        let midnight = NOON + DAY / 2;
        assert_eq!(drawing.get(9, midnight), 9);
        assert_eq!(drawing.get(9, midnight - 1), 1, "it is the same day");
        assert_eq!(drawing.get(9, midnight + 1), 0);
    }

    /// Whatever is asked, and however the clock steps back, no more is given than the burst and what the
    /// steps forward bring.
    #[test]
    fn no_more_is_ever_given_than_was_promised() {
        let mut random = StdRng::seed_from_u64(7);
        for round in 0..400 {
            let rate = rate(
                random.gen_range(1..200),
                random.gen_range(1..100_000),
                random.gen_range(1..300),
            );
            let mut drawing = Drawing(Quota::Rate(rate), None);
            let (mut now, mut forward, mut given) = (NOON, 0_u64, 0_u64);
            for _ in 0..200 {
                let step = random.gen_range(0..rate.period * 2);
                if random.gen_bool(0.1) {
                    now -= step.min(1_000_000);
                } else {
                    now += step;
                    forward += step;
                }
                given += drawing.get(random.gen_range(0..rate.burst * 2), now);
                let most = rate.burst + forward * rate.count / rate.period;
                assert!(
                    given <= most,
                    "round {round}: {given} of {most} of {rate:?}"
                );
            }
        }
        for _ in 0..200 {
            let amount = random.gen_range(1..50);
            let mut drawing = Drawing(Quota::Day(amount), None);
            let (mut now, mut midnights, mut given) = (NOON, 0, 0_u64);
            for _ in 0..100 {
                let step = random.gen_range(0..DAY / 8);
                let before = now;
                now = if random.gen_bool(0.3) {
                    now - step
                } else {
                    now + step
                };
                midnights += (now / DAY).saturating_sub(before / DAY);
                given += drawing.get(random.gen_range(0..9), now);
                assert!(given <= amount * (midnights + 1));
            }
        }
    }

    #[test]
    fn of_what_is_no_use_in_parts_none_is_given() {
        let whole = |wanted, step| Draw {
            wanted,
            step,
            ..Draw::default()
        };
        let mut drawing = Drawing(Quota::Rate(rate(10, 1_000, 10)), None);
        assert_eq!(drawing.get(4, NOON), 4);
        let none = drawing.draw(whole(8, 8), NOON);
        assert_eq!((none.granted, none.used), (0, 4));
        assert_eq!(none.wait, Duration::from_millis(200), "until all is there");
        assert_eq!(drawing.draw(whole(9, 4), NOON).granted, 4, "a multiple");
        assert_eq!(drawing.get(9, NOON), 2, "the others were left");
        let mut drawing = Drawing(Quota::Day(10), None);
        assert_eq!(drawing.draw(whole(11, 11), NOON).granted, 0);
        assert_eq!(drawing.draw(whole(11, 3), NOON).granted, 9);
    }

    #[test]
    fn a_draw_that_is_asked_again_gets_the_earlier_answer_and_counts_once() {
        let until = Timestamp::from_millis(NOON + 9 * DAY);
        for quota in [
            Quota::Rate(rate(10, 10_000, 100)),
            Quota::Day(100),
            Quota::Total(100, until),
        ] {
            let draw = |holder, number| Draw {
                owed: 7,
                wanted: 10,
                step: 1,
                id: DrawId { holder, number },
            };
            let mut drawing = Drawing(quota, None);
            let first = drawing.draw(draw(1, 1), NOON);
            assert_eq!((first.granted, first.used), (10, 17));
            let again = drawing.draw(draw(1, 1), NOON + 300);
            assert_eq!((again.granted, again.used), (10, 17), "{quota:?}");
            let passed = first.lasts.checked_sub(again.lasts).unwrap();
            assert_eq!(passed.as_millis(), 300, "it lasts no longer for that");
            assert_eq!(drawing.draw(draw(2, 1), NOON + 300).used, 34, "another one");
            assert_eq!(
                drawing.draw(draw(1, 2), NOON + 300).used,
                51,
                "the next one"
            );
            let late = drawing.draw(draw(1, 1), NOON + 300);
            assert_eq!((late.granted, late.used), (0, 51), "it was overtaken");
            let stale = drawing.draw(draw(1, 2), NOON + 9 * DAY);
            assert_eq!(stale.granted, 0, "what was granted is over");
        }
        let mut drawing = Drawing(Quota::Day(1_000), None);
        for holder in 1..=100 {
            let id = DrawId { holder, number: 1 };
            drawing.draw(Draw { id, ..wanted(1) }, NOON);
        }
        assert_eq!(drawing.1.unwrap().answers.len(), Answers::MOST);
    }

    #[test]
    fn a_batch_is_a_small_part() {
        assert_eq!(Quota::Rate(rate(100, 60_000, 20)).batch(), 5);
        assert_eq!(Quota::Rate(rate(3, 60_000, 1)).batch(), 1);
        assert_eq!(Quota::Day(5_000).batch(), 50);
        assert_eq!(Quota::Day(20).batch(), 1);
    }
}
