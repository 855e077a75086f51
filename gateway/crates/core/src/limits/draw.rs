//! What a replica asks of a quota, what it is answered, and how an answer that was lost is had again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is asked of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// What was used already, whether or not it is there.
    pub owed: u64,
    /// What is wanted, as far as it is there.
    pub wanted: u64,
    /// Where not all of it is there: only a multiple of this is of use.
    #[serde(default)]
    pub step: u64,
    /// Which one it is.
    #[serde(default)]
    pub id: DrawId,
}

/// Which draw it is, so that one whose answer was lost can be asked again: it gets the earlier answer, and
/// what it owes counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawId {
    /// Who holds what is drawn. Zero: nobody, who asks once.
    pub holder: u64,
    /// Rises with each draw of a holder.
    pub number: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// How much of what was wanted was there.
    pub granted: u64,
    /// How much is used by now, this included.
    pub used: u64,
    /// If not all was granted: how long until there is a [`Draw::step`] more.
    pub wait: Duration,
    /// For how long what was granted is good.
    pub lasts: Duration,
}

/// The last answers to those who drew last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers(Vec<Answer>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    id: DrawId,
    granted: u64,
    /// When that is no good any more (milliseconds).
    ends: u64,
}

impl Answers {
    /// Of so many holders the last answer is kept.
    pub const MOST: usize = 16;

    /// Of how many holders one is kept.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// What this draw was answered before, and until when that is good. One that was overtaken by a later
    /// one of the same holder gets nothing.
    pub(super) fn earlier(&self, id: DrawId, now: u64) -> Option<(u64, u64)> {
        let of_holder = |answer: &&Answer| answer.id.holder == id.holder && id.holder != 0;
        let last = self.0.iter().find(of_holder)?;
        if id.number > last.id.number {
            return None;
        }
        let is_good = id.number == last.id.number && now < last.ends;
        Some(if is_good {
            (last.granted, last.ends)
        } else {
            (0, now)
        })
    }

    pub(super) fn note(&mut self, id: DrawId, granted: u64, ends: u64) {
        if id.holder == 0 {
            return;
        }
        self.0.retain(|answer| answer.id.holder != id.holder);
        if self.0.len() >= Self::MOST {
            self.0.remove(0);
        }
        self.0.push(Answer { id, granted, ends });
    }
}

impl Draw {
    /// Whether it only looks at what is used. It leaves nothing behind: nobody makes a store keep something
    /// by a question.
    pub const fn is_look(&self) -> bool {
        self.owed == 0 && self.wanted == 0 && self.id.holder == 0
    }

    /// How much of it is granted where so much is free.
    pub(super) fn granted_of(&self, free: u64) -> u64 {
        if self.wanted <= free {
            self.wanted
        } else {
            free - free % self.step.max(1)
        }
    }
}
