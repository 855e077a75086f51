//! What one replica holds of one quota of one subject, and spends without asking the store: taken ahead,
//! in batches that are as large as what is called for in a second, and no larger than
//! [`Quota::batch`]. Whoever calls seldom has nothing taken ahead: it would be forgotten unspent.
//!
//! One draw is under way at a time. One whose answer is lost is asked again, the same one, before any other:
//! the store knows whether it had it, so that nothing counts twice.

use std::time::Duration;

use super::draw::{Draw, DrawId, Drawn};
use super::quota::Quota;
use crate::clock::Timestamp;

/// A batch that was spent within this was too small.
const BRISK: Duration = Duration::from_secs(1);
/// One that lasted longer than this was too large.
const SLOW: Duration = Duration::from_secs(5);
/// The store is asked again after this, however long it said that nothing will be there.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// For what is more than there ever is at once.
const NEVER: Duration = Duration::from_secs(3600);
/// What is owed is not told a store again within this, after it did not answer.
const REST: Duration = Duration::from_secs(1);
/// Before anything was drawn.
const EPOCH: Timestamp = Timestamp::from_millis(0);

/// A local share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    quota: Quota,
    /// Of the last draw.
    id: DrawId,
    available: u64,
    /// How much of it was drawn for calls that waited.
    for_calls: u64,
    /// Used beyond what was there, and not told the store yet. Then nothing is available.
    owed: u64,
    /// What the store knew as used when it was asked last.
    used: u64,
    /// What is available is forgotten then.
    until: Timestamp,
    drawn: Timestamp,
    dry: Option<Dry>,
    size: u64,
    is_seldom: bool,
    /// The draw that is under way, and when it began.
    drawing: Option<(Draw, Timestamp)>,
    /// One that nobody knows the outcome of, and since when.
    unsure: Option<(Draw, Timestamp)>,
    waiting: Waiting,
}

/// The store had no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dry {
    /// There is less than this.
    step: u64,
    since: Timestamp,
    ask_again: Timestamp,
    /// When there is as much.
    until: Timestamp,
}

/// Calls that wait for what is being drawn: all of them look again once it is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Waiting {
    sum: u64,
    least: u64,
}

/// What was taken of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    cost: u64,
    /// How much was there before.
    before: u64,
    /// It is of no worth after this.
    until: Timestamp,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is counted; this is to be drawn meanwhile.
    Taken(Part, Option<Draw>),
    /// Ask again once this was drawn; nothing: what is being drawn.
    Wait(Option<Draw>),
    /// The limit is reached, and there may be more after this time.
    Reached(Duration),
}

impl Share {
    /// One of which nothing is here. `holder`: no other share has it; not zero.
    pub const fn new(quota: Quota, holder: u64) -> Self {
        Self {
            quota,
            id: DrawId { holder, number: 0 },
            available: 0,
            for_calls: 0,
            owed: 0,
            used: 0,
            until: EPOCH,
            drawn: EPOCH,
            dry: None,
            size: 1,
            is_seldom: true,
            drawing: None,
            unsure: None,
            waiting: Waiting { sum: 0, least: 0 },
        }
    }

    /// What it is a share of.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Makes it one of this quota, whose counts are kept in the same place.
    pub fn change(&mut self, quota: Quota) {
        if self.quota != quota {
            self.quota = quota;
            self.available = 0;
            self.dry = None;
            self.size = 1;
        }
    }

    /// Takes so much, if it is here. Whoever is given a [`Draw`] must tell what came of it.
    pub fn take(&mut self, cost: u64, now: Timestamp) -> Decision {
        self.expire(now);
        if cost <= self.available {
            let part = Part {
                cost,
                before: self.available,
                until: self.until,
            };
            self.available -= cost;
            let for_this = self.for_calls > 0;
            self.for_calls = self.for_calls.saturating_sub(cost);
            return Decision::Taken(part, self.ahead(for_this, now));
        }
        if cost > self.quota.most() {
            return Decision::Reached(NEVER);
        }
        let missing = cost - self.available;
        if let Some(wait) = self.dry_for(missing, now) {
            return Decision::Reached(wait);
        }
        self.waiting.add(cost);
        if self.drawing.is_some() {
            return Decision::Wait(None);
        }
        if self.unsure.is_none() {
            self.resize(now);
        }
        let wanted = missing.max(self.size.saturating_sub(self.available));
        Decision::Wait(Some(self.begin(wanted, missing, now)))
    }

    /// Counts what was used already, whether or not it was there.
    pub fn charge(&mut self, used: u64, now: Timestamp) -> Option<Draw> {
        self.expire(now);
        let covered = used.min(self.available);
        self.available -= covered;
        self.owed = self.owed.saturating_add(used - covered);
        let ahead = self.ahead(false, now);
        ahead.or_else(|| self.tell(now))
    }

    /// Gives back what was taken and not used after all. What is over is not had again, and no more is held
    /// than a batch, or what was here before.
    pub fn give_back(&mut self, part: Part, now: Timestamp) {
        self.expire(now);
        if now >= part.until {
            return;
        }
        let most = self.quota.batch().max(part.before).max(self.available);
        self.available = self.available.saturating_add(part.cost);
        self.cover();
        self.available = self.available.min(most);
    }

    /// The store has answered a draw. What is to be drawn next: for calls that came meanwhile, or to tell
    /// what was used meanwhile.
    pub fn drawn(&mut self, draw: Draw, drawn: Drawn, now: Timestamp) -> Option<Draw> {
        self.expire(now);
        let (_, begun) = self.drawing.take_if(|(asked, _)| asked.id == draw.id)?;
        let from = match self.quota {
            Quota::Rate(_) => now,
            // Of what ends at midnight nothing outlasts it, however late the answer comes.
            Quota::Day(_) | Quota::Total(..) => begun,
        };
        let until = from + drawn.lasts;
        // An answer that is over says nothing of what is owed since.
        if until > now {
            self.until = until;
            self.available = self.available.saturating_add(drawn.granted);
        }
        self.cover();
        self.used = drawn.used;
        self.drawn = now;
        if draw.wanted > 0 {
            self.dry = (drawn.granted < draw.wanted).then(|| Dry {
                step: draw.step.max(1),
                since: now,
                ask_again: now + drawn.wait.min(ASK_AGAIN),
                until: now + drawn.wait,
            });
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.for_calls = waiting.sum;
        let missing = waiting.sum.saturating_sub(self.available);
        if missing > 0 && self.dry_for(waiting.least, now).is_none() {
            return Some(self.begin(missing, waiting.least.min(missing), now));
        }
        self.tell(now)
    }

    /// The store has not.
    pub fn failed(&mut self, draw: Draw, now: Timestamp) {
        self.expire(now);
        let Some((asked, _)) = self.drawing.take_if(|(asked, _)| asked.id == draw.id) else {
            return;
        };
        self.unsure = Some((asked, now));
        self.waiting = Waiting::default();
    }

    /// What is to be told the store before this share is forgotten. Whoever waited for what is under way may
    /// be gone: it is asked again.
    pub fn last(&mut self, now: Timestamp) -> Option<Draw> {
        self.expire(now);
        if let Some((draw, _)) = self.drawing {
            return Some(draw);
        }
        (self.owed > 0 || self.unsure.is_some()).then(|| self.begin(0, 1, now))
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

    /// Forgets what is over. Where that was unspent, less is taken ahead.
    fn expire(&mut self, now: Timestamp) {
        if now < self.until {
            return;
        }
        if self.available > 0 {
            self.size = (self.size / 2).max(1);
            self.is_seldom = true;
        }
        self.available = 0;
        self.for_calls = 0;
        match self.quota {
            // The store has its level fall.
            Quota::Rate(_) => {}
            // What the store was not told of a day that is over is none of the next one's.
            Quota::Day(_) | Quota::Total(..) if self.until > EPOCH => {
                self.until = EPOCH;
                self.owed = 0;
                let asked = self.drawing.iter_mut().chain(&mut self.unsure);
                asked.for_each(|(draw, _)| draw.owed = 0);
            }
            Quota::Day(_) | Quota::Total(..) => {}
        }
    }

    /// What is owed is paid with what is here: the store knows that as used.
    fn cover(&mut self) {
        let covered = self.owed.min(self.available);
        self.owed -= covered;
        self.available -= covered;
    }

    /// How long until the store has so much, if it has not. A clock that was set back makes nobody wait.
    fn dry_for(&self, missing: u64, now: Timestamp) -> Option<Duration> {
        let dry = self.dry?;
        if now < dry.since || now >= dry.ask_again || missing < dry.step {
            return None;
        }
        let more = match self.quota {
            Quota::Rate(rate) => {
                let period = u64::try_from(rate.period().as_millis()).unwrap_or(u64::MAX);
                let more = (missing - dry.step).saturating_mul(period);
                Duration::from_millis(more.div_ceil(rate.count()))
            }
            Quota::Day(_) | Quota::Total(..) => Duration::ZERO,
        };
        Some(dry.until.since(now) + more)
    }

    /// Whether the store did not answer a moment ago.
    fn is_resting(&self, now: Timestamp) -> bool {
        let rests = |(_, since): (Draw, Timestamp)| since <= now && now.since(since) < REST;
        self.unsure.is_some_and(rests)
    }

    /// What is to be drawn before it is needed. Of what comes in single pieces nothing is taken ahead: it
    /// would be missing elsewhere. `for_this`: what was used of last was drawn for just that.
    fn ahead(&mut self, for_this: bool, now: Timestamp) -> Option<Draw> {
        let is_enough = self.owed == 0 && self.available > self.size / 2;
        let may_not =
            self.drawing.is_some() || self.is_resting(now) || self.dry_for(1, now).is_some();
        if self.quota.batch() == 1 || is_enough || may_not {
            return None;
        }
        if !for_this {
            self.resize(now);
        }
        if self.is_seldom {
            return None;
        }
        let wanted = self.size.saturating_sub(self.available);
        (wanted > 0).then(|| self.begin(wanted, 1, now))
    }

    /// By how long what was drawn last has lasted.
    fn resize(&mut self, now: Timestamp) {
        let lasted = now.since(self.drawn);
        self.is_seldom = lasted > SLOW;
        if lasted < BRISK {
            self.size = (self.size * 2).min(self.quota.batch());
        } else if self.is_seldom {
            self.size = (self.size / 2).max(1);
        }
    }

    /// What is owed is told in batches, also where there is no more to be had.
    fn tell(&mut self, now: Timestamp) -> Option<Draw> {
        let unsure = self.unsure.map_or(0, |(draw, _)| draw.owed);
        let is_due = self.owed.saturating_add(unsure) >= self.quota.batch();
        (is_due && self.drawing.is_none() && !self.is_resting(now)).then(|| self.begin(0, 1, now))
    }

    fn begin(&mut self, wanted: u64, step: u64, now: Timestamp) -> Draw {
        let draw = match self.unsure.take() {
            Some((draw, _)) => draw,
            None => {
                self.id.number += 1;
                Draw {
                    owed: std::mem::take(&mut self.owed),
                    wanted,
                    step,
                    id: self.id,
                }
            }
        };
        self.drawing = Some((draw, now));
        draw
    }
}

impl Waiting {
    fn add(&mut self, cost: u64) {
        self.least = match self.sum {
            0 => cost,
            _ => self.least.min(cost),
        };
        self.sum = self.sum.saturating_add(cost);
    }
}

#[cfg(test)]
mod tests;
