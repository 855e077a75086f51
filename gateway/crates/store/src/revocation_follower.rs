//! Following the store's list of revocations. Owns: when it is read, and how much of it. Not: what becomes of
//! an entry (`revocation_view`).
//!
//! The store's list is the source of truth: where it ends is asked for every second, or every few where very
//! many ask. What is appended comes by itself in between, with the hint that says so, and a connection that
//! no more brings hints is followed by a look at once. Where the end is the one that is known, by number and
//! digest, nothing is read.
//!
//! Everything is read anew when the store has another [`StoreEpoch`], and when the list is not the one that was
//! followed: a Redis that failed over may have lost the end of its list and given the same numbers again. The
//! digest tells that, also while the list grows, and that it is the same one after the store was away. Where no
//! digest tells it (the embedded store, or what versions before 2026-12 append), everything is read after the
//! store was away, and every half minute.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rand::Rng as _;

use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::peer_question::PeerQuestion;
use crate::revocation::{Cursor, Hint, ListHead, Revocation};
use crate::store::Store;
use crate::sure_time::SureTime;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::reason::Reason;
use gateway_core::secret;

/// Between two questions where the list ends, at most.
const PERIOD: Duration = Duration::from_secs(1);
/// The same where many follow: together they ask some two hundred times a second. What is appended reaches
/// each of them by itself, and who is cut off from that looks at once.
const PERIOD_OF_MANY: Duration = Duration::from_secs(5);
const FOR_EACH: Duration = Duration::from_millis(5);
/// What all replicas are told to look for is asked for within this time.
const SPREAD: Duration = Duration::from_millis(50);
/// Between two readings of everything where no digest tells whether that is needed, and between two looks
/// for what has expired.
const FULL_READING: Duration = Duration::from_secs(30);
/// The same where a digest says that it is needed.
const BETWEEN_READINGS: Duration = Duration::from_secs(5);

/// Who wants to know.
pub(super) trait Follows: Send + Sync + 'static {
    /// These count no more.
    fn add(&self, revocations: &[Revocation]);
    /// The store was asked at `now`, and all of it is known.
    fn confirm(&self, epoch: StoreEpoch, now: Timestamp);
    /// The store does not say.
    fn failed(&self, error: StoreError);
    /// What has expired at this time, which it surely is, can be forgotten.
    fn forget_expired(&self, sure: Timestamp);
}

/// How far one has come.
pub(super) struct Follower {
    store: Arc<dyn Store>,
    cursor: Cursor,
    epoch: Option<StoreEpoch>,
    full_reading: Instant,
    /// Whether what was read on stands in another list than what was read before.
    is_other: bool,
    forgotten: Instant,
    begun: Instant,
    time: SureTime,
    failing: Option<Reason>,
    /// How many follow the list.
    followers: u32,
}

/// Follows `store` for as long as somebody holds `follows`.
pub(super) async fn follow<F: Follows>(follows: Weak<F>, store: Arc<dyn Store>, clock: Clock) {
    Follower::new(store).run(follows, clock).await;
}

impl Follower {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            cursor: Cursor::default(),
            epoch: None,
            full_reading: Instant::now(),
            is_other: false,
            forgotten: Instant::now(),
            begun: Instant::now(),
            time: SureTime::default(),
            failing: None,
            followers: 1,
        }
    }

    /// One that has read everything up to here.
    #[cfg(test)]
    pub(super) fn at(store: Arc<dyn Store>, head: ListHead) -> Self {
        Self {
            cursor: head.end.unwrap_or_default(),
            epoch: Some(head.epoch),
            ..Self::new(store)
        }
    }

    pub(super) async fn run<F: Follows>(mut self, follows: Weak<F>, clock: Clock) {
        while let Some(view) = follows.upgrade() {
            self.look(view.as_ref(), clock.now()).await;
            drop(view);
            self.listen(&follows).await;
        }
    }

    /// Asks where the list ends, and reads what is not known.
    async fn look(&mut self, follows: &impl Follows, now: Timestamp) {
        // What is left out as over is never read again, and what is forgotten is gone. As long as nothing is
        // sure, nothing is over.
        let sure = self.time.at(now, self.begun.elapsed());
        let sure = sure.unwrap_or(Timestamp::from_millis(0));
        if self.forgotten.elapsed() >= FULL_READING {
            self.forgotten = Instant::now();
            follows.forget_expired(sure);
        }
        match self.read(follows, now, sure).await {
            Ok(()) => {
                if self.failing.take().is_some() {
                    log::info!(event = "store_back"; "the store answers again");
                }
            }
            Err(error) => {
                let reason = error.reason();
                if self.failing.replace(reason) != Some(reason) {
                    log_failing(&error);
                }
                follows.failed(error);
            }
        }
    }

    /// One reading to the end of the list.
    async fn read(
        &mut self,
        follows: &impl Follows,
        now: Timestamp,
        sure: Timestamp,
    ) -> Result<(), StoreError> {
        let candidate = StoreEpoch {
            id: secret::identifier("b_", &mut rand::rngs::OsRng),
            at: now,
        };
        let head = self.store.revocation_head(&candidate).await?;
        if self.must_read_everything(&head) {
            self.start_over(&head);
        }
        if !self.knows_all(&head) {
            self.read_on(follows, (now, sure), &head).await?;
            if self.is_other && self.must_read_everything(&head) {
                self.start_over(&head);
                self.read_on(follows, (now, sure), &head).await?;
            }
        }
        if let Some(end) = &head.end {
            self.cursor = self.cursor.not_before(end);
        }
        self.followers = head.followers;
        self.epoch = Some(head.epoch.clone());
        follows.confirm(head.epoch, now);
        Ok(())
    }

    fn knows_all(&self, head: &ListHead) -> bool {
        let end = head.end.as_ref();
        end.is_some_and(|end| self.cursor.is_same(end) == Some(true))
    }

    fn must_read_everything(&self, head: &ListHead) -> bool {
        if self.epoch.as_ref() != Some(&head.epoch) {
            return true;
        }
        let since = self.full_reading.elapsed();
        // Without a digest nobody can tell what became of the list while the store was away.
        let untold = self.failing.is_some() || since >= FULL_READING;
        let Some(end) = &head.end else {
            return untold;
        };
        if self.is_other {
            return since >= BETWEEN_READINGS;
        }
        match self.cursor.is_same(end) {
            Some(true) => false,
            // What is new is read on, which finds out whether the list is the same one.
            Some(false) if end.number() > self.cursor.number() => {
                !self.cursor.has_digest() && untold
            }
            Some(false) => since >= BETWEEN_READINGS,
            None => untold,
        }
    }

    fn start_over(&mut self, head: &ListHead) {
        self.full_reading = Instant::now();
        self.is_other = false;
        let start = head.end.as_ref().map(Cursor::from_the_start);
        self.cursor = start.unwrap_or_default();
    }

    async fn read_on(
        &mut self,
        follows: &impl Follows,
        (now, sure): (Timestamp, Timestamp),
        head: &ListHead,
    ) -> Result<(), StoreError> {
        if let Some(end) = &head.end {
            self.cursor = self.cursor.toward(end);
        }
        loop {
            let (mut revocations, next) = self.store.revocations(self.cursor, sure).await?;
            // Nobody waits any more for an answer to a question that is over.
            revocations
                .retain(|entry| now < entry.expires || PeerQuestion::parse(&entry.id).is_none());
            follows.add(&revocations);
            if next == self.cursor {
                return Ok(());
            }
            self.is_other |= next.differs();
            self.cursor = next;
        }
    }

    /// Takes in what the store tells, until it is time to ask.
    async fn listen<F: Follows>(&mut self, follows: &Weak<F>) {
        let period = match self.failing {
            None => period_of(self.followers),
            Some(_) => PERIOD,
        };
        // Replicas ask at different moments, also after something that all of them noticed.
        let until = Instant::now() + period.mul_f64(rand::thread_rng().gen_range(0.8..1.0));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let hint = self.store.revocation_hint(left).await;
            let Some(view) = follows.upgrade() else {
                return;
            };
            if !self.take_in(view.as_ref(), hint) {
                if self.store.is_shared() {
                    let spread = rand::thread_rng().gen_range(Duration::ZERO..SPREAD);
                    tokio::time::sleep(spread).await;
                }
                return;
            }
        }
    }

    /// `false` where there may be more than what was told.
    fn take_in(&mut self, follows: &impl Follows, hint: Hint) -> bool {
        let mut is_all = !hint.look;
        let mut revocations = Vec::with_capacity(hint.appended.len());
        for appended in hint.appended {
            match self.cursor.following(&appended) {
                Some(cursor) => self.cursor = cursor,
                None => is_all = false,
            }
            revocations.push(appended.revocation);
        }
        if !revocations.is_empty() {
            follows.add(&revocations);
        }
        is_all
    }
}

fn period_of(followers: u32) -> Duration {
    FOR_EACH
        .saturating_mul(followers)
        .clamp(PERIOD, PERIOD_OF_MANY)
}

fn log_failing(error: &StoreError) {
    let (event, hint) = match error {
        StoreError::Corrupt(_) => (
            "store_corrupt",
            "valid tokens work for one more minute; what the store holds must be mended or restored, \
             waiting does not help",
        ),
        StoreError::Away(_) | StoreError::Conflict(_) => (
            "store_away",
            "valid tokens work for one more minute; login and token answer 503",
        ),
    };
    log::error!(event = event, hint = hint; "{error}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::revocation_view::RevocationView;
    use gateway_core::grants::GrantId;

    #[tokio::test]
    async fn a_clock_that_is_ahead_for_a_while_leaves_out_and_forgets_no_revocation() {
        let (store, now) = (Arc::new(Memory::new()), Clock.now());
        let (hour, grant) = (Duration::from_secs(3600), GrantId::new("g_1"));
        let (ahead, expires) = (now + 2 * hour, now + hour);
        let id = grant.as_str().to_owned();
        store
            .revoke(&Revocation { id, expires }, now)
            .await
            .unwrap();
        let epoch = StoreEpoch {
            id: "b_1".to_owned(),
            at: now,
        };
        let view = RevocationView::read_once(epoch, &[], now);
        let mut follower = Follower::new(store);
        for at in [ahead, now, ahead, now] {
            follower.look(view.as_ref(), at).await;
            assert!(view.is_revoked(&grant), "{at}");
            // As if half a minute had passed.
            follower.forgotten -= FULL_READING;
        }
    }

    #[test]
    fn few_ask_every_second_and_many_share_it() {
        for (followers, millis) in [(0, 1000), (200, 1000), (400, 2000), (u32::MAX, 5000)] {
            assert_eq!(period_of(followers), Duration::from_millis(millis));
        }
    }
}
