//! A budget of calls that a holder sets on what is made from a token.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::meter::{Meter, Unit};
use crate::limits::quota::{Quota, Rate};

/// What a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetKind {
    /// The whole life of the token.
    InAll,
    /// Each day of UTC.
    Daily,
}

impl BudgetKind {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut all = [Self::InAll, Self::Daily].into_iter();
        all.find(|kind| kind.name() == text)
    }

    pub(in crate::access_token) const fn name(self) -> &'static str {
        match self {
            Self::InAll => "calls",
            Self::Daily => "calls_per_day",
        }
    }
}

/// A budget of calls that a holder has set on what is made from a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The revocation id of the block that says so: nobody who holds what was made from it gets another.
    pub block: String,
    pub(super) kind: BudgetKind,
    pub(super) calls: u64,
    /// Which block of the token it is.
    pub(super) number: usize,
}

impl Budget {
    /// What it is called in refusals and metrics.
    pub const NAME: &'static str = "token";

    /// The most that one token carries: each is a count of its own, to be kept and asked for.
    pub const MOST: usize = 2;

    /// How many budgets the tokens of one grant may have at once, and how many more each hour: whoever holds
    /// a token makes budgets offline, as many as they like, and each one that is used is kept.
    pub const NEW_OF_A_GRANT: u64 = 64;

    /// What is counted of the budgets of one grant that are used for the first time.
    pub fn new_ones() -> Quota {
        let most = Self::NEW_OF_A_GRANT;
        Rate::new(most, Duration::from_secs(3_600), most).map_or(Quota::Day(most), Quota::Rate)
    }

    /// What is counted. `until`: when nothing counts any more that was made from the same token.
    pub const fn meter(&self, until: Timestamp) -> Meter {
        Meter {
            unit: Unit::Calls,
            quota: match self.kind {
                BudgetKind::InAll => Quota::Total(self.calls, until),
                BudgetKind::Daily => Quota::Day(self.calls),
            },
        }
    }
}
