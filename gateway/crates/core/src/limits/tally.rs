//! How many calls somebody has made today, for the policy: told to the store in batches, and known as of a
//! moment ago.

use std::time::Duration;

use super::draw::{Draw, DrawId, Drawn};
use super::quota::Quota;
use crate::clock::Timestamp;

/// What the store counts for it: everything.
pub const CALLS_TODAY: Quota = Quota::Day(Quota::MOST);

/// So many calls are told the store at once, and so much is what other replicas are behind.
const BATCH: u64 = 10;
/// What is older than this is asked for anew, while it still counts.
const FRESH: Duration = Duration::from_secs(2);
/// What is older than this is no answer.
const OLD: Duration = Duration::from_secs(60);

/// The calls of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Of what the store was told last.
    id: DrawId,
    known: Option<Known>,
    pending: u64,
    /// What the store is being told, or may have been told.
    telling: Option<Telling>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Telling {
    draw: Draw,
    /// Nobody waits for an answer any more: it is told again, and counts once.
    is_unsure: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    used: u64,
    at: Timestamp,
    until: Timestamp,
}

impl Tally {
    /// One of which nothing is known. `holder`: no other one has it; not zero.
    pub const fn new(holder: u64) -> Self {
        Self {
            id: DrawId { holder, number: 0 },
            known: None,
            pending: 0,
            telling: None,
        }
    }

    /// How many calls there were before this moment; `None`: the store has to be asked first. With what it
    /// is to be asked, where nobody does.
    fn calls(&mut self, now: Timestamp) -> (Option<u64>, Option<Draw>) {
        self.expire(now);
        let known = self.known.filter(|known| {
            // A clock that was set back makes nothing known.
            known.at <= now && now < known.until && now.since(known.at) < OLD
        });
        let calls = known.map(|known| {
            let telling = self.telling.map_or(0, |telling| telling.draw.owed);
            known.used + self.pending + telling
        });
        let is_fresh = known.is_some_and(|known| now.since(known.at) < FRESH);
        let ask = (!is_fresh).then(|| self.tell()).flatten();
        (calls, ask)
    }

    /// How many there were before these calls, which are counted with the same look: of calls at once each
    /// is told another number.
    pub fn count(&mut self, calls: u64, now: Timestamp) -> (Option<u64>, Option<Draw>) {
        let (before, ask) = self.calls(now);
        if before.is_none() {
            return (None, ask);
        }
        let told = self.add(calls);
        (before, ask.or(told))
    }

    fn add(&mut self, calls: u64) -> Option<Draw> {
        self.pending += calls;
        (self.pending >= BATCH).then(|| self.tell()).flatten()
    }

    /// The store has answered.
    pub fn told(&mut self, drawn: Drawn, now: Timestamp) {
        self.expire(now);
        self.telling = None;
        self.known = Some(Known {
            used: drawn.used,
            at: now,
            until: now + drawn.lasts,
        });
    }

    /// The store has not: what it was to be told is told again.
    pub fn failed(&mut self) {
        if let Some(telling) = &mut self.telling {
            telling.is_unsure = true;
        }
    }

    /// What is to be told the store before this is forgotten. Whoever waited for what it is being told may be
    /// gone: that is told again.
    pub fn last(&mut self, now: Timestamp) -> Option<Draw> {
        self.expire(now);
        self.failed();
        (self.pending > 0 || self.telling.is_some())
            .then(|| self.tell())
            .flatten()
    }

    /// Forgets a day that is over: what the store was not told of it is none of today's.
    fn expire(&mut self, now: Timestamp) {
        if self.known.take_if(|known| known.until <= now).is_some() {
            self.pending = 0;
            if let Some(telling) = &mut self.telling {
                telling.draw.owed = 0;
            }
        }
    }

    fn tell(&mut self) -> Option<Draw> {
        if let Some(telling) = &mut self.telling {
            return std::mem::take(&mut telling.is_unsure).then_some(telling.draw);
        }
        self.id.number += 1;
        let draw = Draw {
            owed: std::mem::take(&mut self.pending),
            id: self.id,
            ..Draw::default()
        };
        self.telling = Some(Telling {
            draw,
            is_unsure: false,
        });
        Some(draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(20_000 * 86_400_000 + 43_200_000);

    fn drawn(used: u64) -> Drawn {
        Drawn {
            granted: 0,
            used,
            wait: Duration::ZERO,
            lasts: Duration::from_secs(43_200),
        }
    }

    #[test]
    fn calls_are_those_that_the_store_knows_and_those_since() {
        let mut tally = Tally::new(1);
        let (calls, ask) = tally.calls(NOON);
        assert_eq!((calls, ask.map(|draw| draw.owed)), (None, Some(0)));
        assert_eq!(tally.calls(NOON), (None, None), "it is being asked");
        tally.told(drawn(7), NOON);
        for before in 7..16 {
            assert_eq!(tally.count(1, NOON), (Some(before), None));
        }
        assert_eq!(tally.calls(NOON), (Some(16), None));
        let told = tally.add(1).unwrap();
        assert_eq!(told.owed, 10);
        assert_eq!(
            tally.calls(NOON).0,
            Some(17),
            "nothing is counted twice or lost"
        );
        tally.failed();
        assert_eq!(tally.calls(NOON).0, Some(17));
        // The same is told again, what came since only after it.
        let again = tally.count(12, NOON).1.unwrap();
        assert_eq!(again, told);
        assert_eq!(tally.count(1, NOON), (Some(29), None));
        tally.told(drawn(17), NOON);
        assert_eq!(tally.calls(NOON).0, Some(30));
        assert_eq!(tally.last(NOON).unwrap().owed, 13);
    }

    #[test]
    fn what_is_known_is_asked_for_anew_and_ends() {
        let mut tally = Tally::new(1);
        tally.told(drawn(7), NOON);
        let (calls, ask) = tally.calls(NOON + FRESH);
        assert_eq!((calls, ask.is_some()), (Some(7), true));
        assert_eq!(tally.calls(NOON + OLD).0, None);
        assert_eq!(tally.calls(NOON - FRESH).0, None, "a clock was set back");
        let midnight = NOON + Duration::from_secs(43_200);
        tally.failed();
        tally.told(drawn(7), midnight - Duration::from_secs(1));
        let near = Drawn {
            lasts: Duration::from_secs(1),
            ..drawn(7)
        };
        tally.told(near, midnight - Duration::from_secs(1));
        assert_eq!(tally.calls(midnight).0, None, "another day");
    }

    /// Neither what was too little to be told yesterday, nor what the store may not have heard.
    #[test]
    fn calls_of_yesterday_are_none_of_today() {
        let midnight = NOON + Duration::from_secs(43_200);
        let mut tally = Tally::new(1);
        tally.told(drawn(7), NOON);
        assert_eq!(tally.count(3, NOON), (Some(7), None));
        let (calls, ask) = tally.count(1, midnight);
        assert_eq!((calls, ask.map(|draw| draw.owed)), (None, Some(0)));
        tally.told(drawn(0), midnight);
        assert_eq!(tally.count(1, midnight), (Some(0), None));

        let mut tally = Tally::new(1);
        tally.told(drawn(7), NOON);
        let told = tally.count(12, NOON).1.unwrap();
        tally.failed();
        assert_eq!(tally.count(1, NOON), (Some(19), None));
        let (calls, again) = tally.count(1, midnight);
        let again = again.unwrap();
        assert_eq!((calls, again.owed, again.id), (None, 0, told.id));
        tally.told(drawn(0), midnight);
        assert_eq!(tally.calls(midnight).0, Some(0));

        let mut tally = Tally::new(1);
        tally.told(drawn(7), NOON);
        tally.count(3, NOON);
        assert_eq!(tally.last(midnight), None);
    }
}
