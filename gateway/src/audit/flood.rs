//! Strangers write to the log with every request that is refused. So that nobody can push what
//! matters out of a log of bounded size, only so many refusals of requests without a known person
//! are written one by one; the others are counted, and the counts are written.

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::{Event, Outcome, Record};
use crate::clock::Timestamp;
use crate::reason::Reason;

/// How many refusals of strangers are written one by one in a window.
const BUDGET: u32 = 600;
/// The window.
const WINDOW: Duration = Duration::from_secs(3600);
/// How often counts are written.
const TELL: Duration = Duration::from_secs(600);

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is written.
    Written(Box<Record>),
    /// It was counted.
    Counted,
}

/// The counts of one log.
#[derive(Debug)]
pub struct Flood {
    since: Timestamp,
    written: u32,
    told: Timestamp,
    counts: BTreeMap<&'static str, (Reason, u64)>,
}

impl Flood {
    /// Nothing counted yet.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            written: 0,
            told: now,
            counts: BTreeMap::new(),
        }
    }

    /// Takes the record of a stranger's refusal.
    pub fn take(&mut self, record: Record, now: Timestamp) -> Passed {
        if now.since(self.since) >= WINDOW || now < self.since {
            self.since = now;
            self.written = 0;
        }
        let Some(reason) = record.reason else {
            return Passed::Written(Box::new(record));
        };
        if self.written < BUDGET {
            self.written += 1;
            return Passed::Written(Box::new(record));
        }
        self.counts.entry(reason.code()).or_insert((reason, 0)).1 += 1;
        Passed::Counted
    }

    /// The counts since they were last asked for, if it is time to write them; `last` asks at once.
    pub fn tell(&mut self, now: Timestamp, last: bool) -> Vec<Record> {
        if self.counts.is_empty() || (!last && now.since(self.told) < TELL) {
            return Vec::new();
        }
        self.told = now;
        std::mem::take(&mut self.counts)
            .into_values()
            .map(|(reason, count)| Record {
                outcome: Outcome::Refused,
                reason: Some(reason),
                detail: Some(format!("{count} requests of strangers")),
                ..Record::of(Event::Unwritten)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_fill_no_log_and_none_of_them_is_lost_from_the_count() {
        let start = Timestamp::from_secs(1_000_000);
        let mut flood = Flood::new(start);
        let refusal = || Record::refused(Event::Call, Reason::TokenMissing, false);
        let mut written = 0;
        for at in 0..100_000_u64 {
            let now = start + Duration::from_millis(at);
            if matches!(flood.take(refusal(), now), Passed::Written(_)) {
                written += 1;
            }
        }
        assert_eq!(written, BUDGET);
        assert_eq!(flood.tell(start + Duration::from_secs(100), false), vec![]);
        let told = flood.tell(start + TELL, false);
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].detail.as_deref(),
            Some("99400 requests of strangers")
        );
        assert_eq!(flood.tell(start + TELL, true), vec![]);
        let later = start + WINDOW;
        assert!(matches!(flood.take(refusal(), later), Passed::Written(_)));
    }
}
