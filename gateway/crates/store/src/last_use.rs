//! When each grant was used last, for the user who looks at it. Owns: remembering it without a cost
//! for calls, and writing it down now and then.
//!
//! A call leaves its time in memory. A grant is written at most once in ten minutes, in a record of
//! its own: the grant's record belongs to refreshing. Of what several replicas write the latest stays.
//! A crash loses ten minutes of it, or more where very many grants are in use; an orderly end writes
//! what it can in its time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use super::error::StoreError;
use super::records::Records;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::GrantId;

/// Between two looks for what is to be written.
const PERIOD: Duration = Duration::from_secs(30);

/// Between two writes of one grant.
const AT_MOST_EVERY: Duration = Duration::from_secs(10 * 60);

/// The most writes of one look; the rest waits for the next.
const AT_ONCE: usize = 500;

/// The most grants that are remembered. Further ones are not, until others are forgotten.
const GRANTS: usize = 100_000;

/// When grants were used last.
#[derive(Debug, Default)]
pub struct LastUse {
    grants: RwLock<HashMap<GrantId, Use>>,
    kept: Option<Persistence>,
}

/// Where it is written down.
#[derive(Debug)]
struct Persistence {
    records: Records,
    /// How long a grant can rest and still be used.
    rest: Duration,
}

/// Of one grant, in milliseconds; zero: never.
#[derive(Debug, Default)]
struct Use {
    at: AtomicU64,
    written: AtomicU64,
    /// Where it was used from, where that is noted.
    from: Mutex<Option<IpAddr>>,
}

impl Use {
    fn is_due(&self, every: Duration, now: Timestamp) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        let is_news = self.at.load(Ordering::Relaxed) > written;
        is_news && now.since(Timestamp::from_millis(written)) >= every
    }
}

impl LastUse {
    /// A memory that is written to `records` on `runtime` for as long as somebody holds it. `rest` is
    /// how long a grant can go without use and still be used.
    pub fn follow(records: Records, rest: Duration, clock: Clock, runtime: &Handle) -> Arc<Self> {
        let uses = Arc::new(Self::kept_in(records, rest));
        runtime.spawn(write_down(Arc::downgrade(&uses), clock));
        uses
    }

    fn kept_in(records: Records, rest: Duration) -> Self {
        Self {
            grants: RwLock::default(),
            kept: Some(Persistence { records, rest }),
        }
    }

    /// Notes that a grant is used now. Takes no lock that a writer holds for long, and allocates only
    /// for a grant that is not known.
    pub fn note(&self, grant: &GrantId, now: Timestamp) {
        if let Some(known) = self.grants.read().get(grant) {
            known.at.fetch_max(now.millis(), Ordering::Relaxed);
            return;
        }
        let mut grants = self.grants.write();
        if grants.len() < GRANTS {
            let used = grants.entry(grant.clone()).or_default();
            used.at.fetch_max(now.millis(), Ordering::Relaxed);
        }
    }

    /// Notes where a grant that is in use is used from.
    pub fn note_from(&self, grant: &GrantId, address: IpAddr) {
        if let Some(known) = self.grants.read().get(grant) {
            *known.from.lock() = Some(address);
        }
    }

    /// Where it was used from last, as far as this replica saw and noted it.
    pub fn seen_from(&self, grant: &GrantId) -> Option<IpAddr> {
        *self.grants.read().get(grant)?.from.lock()
    }

    /// When it was used last, as far as this replica saw it.
    pub fn seen(&self, grant: &GrantId) -> Option<Timestamp> {
        let grants = self.grants.read();
        let at = grants.get(grant)?.at.load(Ordering::Relaxed);
        Some(Timestamp::from_millis(at))
    }

    /// Writes down everything, for an orderly end.
    pub async fn write_all(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(Duration::ZERO, usize::MAX, now).await
    }

    /// Writes down up to `most` of what was not written for `every` or longer.
    async fn write(&self, every: Duration, most: usize, now: Timestamp) -> Result<(), StoreError> {
        let Some(Persistence { records, rest }) = &self.kept else {
            return Ok(());
        };
        let mut outcome = Ok(());
        for (grant, at) in self.due(every, most, now) {
            // One that can't be written must not keep the others from it.
            if let Err(error) = records.put_last_use(&grant, at, now + *rest, now).await {
                outcome = Err(error);
                continue;
            }
            if let Some(from) = self.seen_from(&grant) {
                let noted = records.put_last_address(&grant, from, now + *rest).await;
                outcome = outcome.and(noted);
            }
            if let Some(used) = self.grants.read().get(&grant) {
                used.written.store(at.millis(), Ordering::Relaxed);
            }
        }
        self.forget(now);
        outcome
    }

    /// Those that wait longest come first, so that none waits for ever.
    fn due(&self, every: Duration, most: usize, now: Timestamp) -> Vec<(GrantId, Timestamp)> {
        let grants = self.grants.read();
        let due = grants.iter().filter(|(_, used)| used.is_due(every, now));
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, used)| used.written.load(Ordering::Relaxed));
        due.into_iter()
            .take(most)
            .map(|(grant, used)| {
                let at = Timestamp::from_millis(used.at.load(Ordering::Relaxed));
                (grant.clone(), at)
            })
            .collect()
    }

    /// What is written and rests need not be remembered.
    fn forget(&self, now: Timestamp) {
        self.grants.write().retain(|_, used| {
            let at = used.at.load(Ordering::Relaxed);
            let is_written = at <= used.written.load(Ordering::Relaxed);
            !is_written || now.since(Timestamp::from_millis(at)) < 2 * AT_MOST_EVERY
        });
    }
}

async fn write_down(uses: Weak<LastUse>, clock: Clock) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(uses) = uses.upgrade() else { return };
        if let Err(error) = uses.write(AT_MOST_EVERY, AT_ONCE, clock.now()).await {
            // The view of the revocations reports outages; this one waits for the next look.
            log::debug!(event = "last_use_not_written"; "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const REST: Duration = Duration::from_secs(86_400);

    fn records() -> Records {
        Records::new(Arc::new(Memory::new()))
    }

    #[tokio::test]
    async fn a_grant_is_written_at_once_and_then_at_most_every_ten_minutes() {
        let (records, grant) = (records(), GrantId::new("g_1"));
        let uses = LastUse::kept_in(records.clone(), REST);
        let at = |seconds| NOW + Duration::from_secs(seconds);
        let stored = async |now| records.last_use(&grant, now).await.unwrap();
        assert_eq!(stored(NOW).await, None);
        for (seconds, expected) in [(0, 0), (30, 0), (599, 0), (600, 600), (630, 600)] {
            let now = at(seconds);
            uses.note(&grant, now);
            assert_eq!(uses.seen(&grant), Some(now));
            uses.write(AT_MOST_EVERY, AT_ONCE, now).await.unwrap();
            assert_eq!(stored(now).await, Some(at(expected)), "{seconds}");
        }
        // An orderly end does not wait.
        uses.write_all(at(631)).await.unwrap();
        assert_eq!(stored(at(631)).await, Some(at(630)));
    }

    #[tokio::test]
    async fn of_what_replicas_write_the_latest_stays() {
        let records = records();
        let [one, two] = [(); 2].map(|()| LastUse::kept_in(records.clone(), REST));
        let grant = GrantId::new("g_1");
        let later = NOW + Duration::from_secs(60);
        one.note(&grant, later);
        two.note(&grant, NOW);
        for uses in [&one, &two] {
            uses.write(AT_MOST_EVERY, AT_ONCE, later).await.unwrap();
        }
        assert_eq!(records.last_use(&grant, later).await.unwrap(), Some(later));
    }

    #[tokio::test]
    async fn what_rests_is_forgotten_here_and_known_there() {
        let (records, grant) = (records(), GrantId::new("g_1"));
        let uses = LastUse::kept_in(records.clone(), REST);
        uses.note(&grant, NOW);
        // Clocks jump back.
        uses.note(&grant, NOW - Duration::from_secs(60));
        assert_eq!(uses.seen(&grant), Some(NOW));
        let later = NOW + Duration::from_secs(3600);
        uses.write(AT_MOST_EVERY, AT_ONCE, later).await.unwrap();
        assert_eq!(uses.seen(&grant), None);
        assert_eq!(records.last_use(&grant, later).await.unwrap(), Some(NOW));
    }
}
