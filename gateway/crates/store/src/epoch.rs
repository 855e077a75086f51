//! When a store was first used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use gateway_core::access_token::LEEWAY;
use gateway_core::clock::Timestamp;

/// When this store was first used. A store that was emptied has a new one, and tokens older than
/// it are refused: their revocations are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreEpoch {
    /// A random name.
    pub id: String,
    /// The moment.
    pub at: Timestamp,
}

impl StoreEpoch {
    /// The earliest moment that a token which counts was given at. The clock that the epoch was read
    /// from may be behind the one that a forgotten token was dated by, so the leeway between clocks
    /// counts against a token; one that is given within it is dated by this moment
    /// ([`Self::dates`]). In whole seconds, as tokens tell their time.
    pub fn counts_from(&self) -> Timestamp {
        Timestamp::from_secs((self.at + LEEWAY).secs() + 1)
    }

    /// How long from `now` until a token may be given; `None` once one may. Tokens tell whole seconds:
    /// one given in the very second of this epoch could not be told from one that a store gave which
    /// was first used, and emptied, in the same second. Never more than a second.
    pub fn settles_in(&self, now: Timestamp) -> Option<Duration> {
        let next = Timestamp::from_secs(self.at.secs() + 1);
        (now < next).then(|| next.since(now).min(Duration::from_secs(1)))
    }

    /// From `now` until the moments that tokens say are those that they are given at, and not a later one
    /// ([`Self::dates`]): half a minute after the first use of a store.
    pub fn dates_truly_in(&self, now: Timestamp) -> Duration {
        self.counts_from().since(now)
    }

    /// The moment that a token given at `now` says it was given at.
    pub fn dates(&self, now: Timestamp) -> Timestamp {
        now.max(self.counts_from())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_epochs_that_gave_tokens_never_date_them_alike() {
        for millis in [0, 1, 500, 999] {
            let first = StoreEpoch {
                id: "b_first".into(),
                at: Timestamp::from_millis(1_000_000 + millis),
            };
            // The earliest moment of a token of the first, and the epoch after a wipe then.
            let given = first.at + first.settles_in(first.at).unwrap_or_default();
            assert_eq!(first.settles_in(given), None);
            let second = StoreEpoch {
                id: "b_second".into(),
                at: given,
            };
            assert!(first.dates(given) < second.counts_from(), "{millis}");
        }
        let ahead = StoreEpoch {
            id: "b_ahead".into(),
            at: Timestamp::from_secs(1_000),
        };
        let waits = ahead.settles_in(Timestamp::from_secs(10));
        assert_eq!(waits, Some(Duration::from_secs(1)));
    }
}
