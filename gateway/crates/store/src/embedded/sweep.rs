//! Sweeping: removing what has expired, a bounded step at a time.

use redb::{Error, ReadableTable as _};

use super::tables::{ANSWERS, Batch, COUNTS, Change, DRAWN, EXPIRY, REVOCATIONS, entries};
use crate::key::Table;
use gateway_core::clock::Timestamp;

/// Entries that one step removes, so that it does not hold up a batch.
const SWEEP: usize = 500;

/// What one step of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SweepStep {
    /// Whether the next step may find more.
    pub(super) may_have_more: bool,
    /// Rows that name nothing that this version keeps.
    pub(super) unknown: usize,
}

/// What a row of the index of times is about.
enum Expired {
    /// Or what was drawn: its rows are those of counts, so that earlier versions sweep them.
    Count,
    Revocation(u64),
    Entry(Table),
}

impl Expired {
    fn parse(table: &str, key: &str) -> Option<Self> {
        match table {
            "count" => Some(Self::Count),
            "revocation" => key.parse().ok().map(Self::Revocation),
            name => Table::named(name).map(Self::Entry),
        }
    }
}

impl Batch<'_> {
    /// Removes some of what has expired.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Result<SweepStep, Error> {
        let mut swept = SweepStep::default();
        let mut expired = Vec::new();
        {
            let index = self.transaction.open_table(EXPIRY)?;
            let end = now.millis().saturating_add(1);
            for row in index.range(..(end, "", ""))? {
                let (key, _) = row?;
                let (at, table, key) = key.value();
                match Expired::parse(table, key) {
                    Some(what) => expired.push((at, table.to_owned(), key.to_owned(), what)),
                    // It stays: a later version may know it. Nothing else waits for it.
                    None => swept.unknown += 1,
                }
                if expired.len() == SWEEP {
                    swept.may_have_more = true;
                    break;
                }
            }
        }
        for (at, table, key, what) in expired {
            self.change = Change::Values;
            self.forget_expiry(at, &table, &key)?;
            match what {
                Expired::Count => {
                    let mut counts = self.transaction.open_table(COUNTS)?;
                    counts.remove(key.as_str())?;
                    let mut drawn = self.transaction.open_table(DRAWN)?;
                    drawn.remove(key.as_str())?;
                    let mut answers = self.transaction.open_table(ANSWERS)?;
                    answers.remove(key.as_str())?;
                }
                Expired::Revocation(number) => {
                    let mut revocations = self.transaction.open_table(REVOCATIONS)?;
                    revocations.remove(&number)?;
                }
                Expired::Entry(table) => {
                    self.leave_indexes(table, &key)?;
                    let mut table = self.transaction.open_table(entries(table))?;
                    table.remove(key.as_str())?;
                }
            }
        }
        Ok(swept)
    }
}
