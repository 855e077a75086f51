//! Local shares of quotas: what this replica holds in memory of what the store counts, so that a call takes
//! its part without a round trip. Owns: the shares, asking the store for more, and waiting for it where
//! nothing is left. Not: how much is asked for and when (`gateway_core::limits`).

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use rand::Rng as _;
use rand::rngs::OsRng;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::key::CountKey;
use crate::records::Records;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::UserId;
use gateway_core::limits::{CALLS_TODAY, Decision, Draw, Drawn, Part, Quota, Share, Tally};
use gateway_core::reason::Reason;

/// How many shares are held. One that gives way to another one is as good as spent.
const SHARES: usize = 65_536;

/// How many people's calls are counted for a policy at once.
const TALLIES: usize = 16_384;

/// How long a call waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// When a call may try again that others were faster than all that time.
const SOON: Duration = Duration::from_secs(1);

/// How long the end of the process waits for the store to be told the rest.
const LAST: Duration = Duration::from_secs(2);

/// Why nothing could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// There is no more; how long until there may be.
    Reached(Duration),
    /// Others took what came, all the time that was waited for; when it is worth to try again.
    Overtaken(Duration),
    /// Whether there is more can't be known, and why.
    Unknown(Reason),
}

/// All shares of this replica.
pub struct Shares {
    records: Records,
    clock: Clock,
    held: Cache<CountKey, Arc<Counted<Share>>>,
    tallies: Cache<UserId, Arc<Counted<Tally>>>,
    /// What may be counted, of what somebody had to allow first.
    begun: Cache<CountKey, ()>,
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// One thing that is counted here and in the store.
#[derive(Debug)]
struct Counted<T> {
    key: CountKey,
    /// What people know it by.
    label: String,
    state: Mutex<State<T>>,
    /// The store has answered, or not.
    answered: Notify,
}

#[derive(Debug)]
struct State<T> {
    count: T,
    /// How often the store was asked.
    answers: u64,
    /// Which of the answers was none, and why.
    fault: Option<(u64, Reason)>,
}

impl<T> Counted<T> {
    fn new(key: CountKey, label: &str, count: T) -> Arc<Self> {
        Arc::new(Self {
            key,
            label: label.to_owned(),
            state: Mutex::new(State {
                count,
                answers: 0,
                fault: None,
            }),
            answered: Notify::new(),
        })
    }
}

/// A part that was taken of a share.
#[derive(Debug)]
pub struct Taken {
    counted: Arc<Counted<Share>>,
    part: Part,
}

impl Shares {
    /// None yet.
    pub fn new(records: Records, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            records,
            clock,
            held: Cache::new(SHARES),
            tallies: Cache::new(TALLIES),
            begun: Cache::new(SHARES),
        })
    }

    /// Takes a part of a quota that is counted under `key`, for what people know as `label`: at once where
    /// enough of it is here, otherwise once the store has answered, for which nobody waits for long.
    pub async fn take(
        self: &Arc<Self>,
        key: &CountKey,
        quota: Quota,
        label: &str,
        cost: u64,
    ) -> Result<Taken, NotTaken> {
        let counted = self.share(key, quota, label);
        let take = |share: &mut Share| match share.take(cost, self.clock.now()) {
            Decision::Taken(part, draw) => (Some(Ok(part)), draw),
            Decision::Reached(wait) => (Some(Err(NotTaken::Reached(wait))), None),
            Decision::Wait(draw) => (None, draw),
        };
        let part = self.settled(&counted, quota, take).await??;
        Ok(Taken { counted, part })
    }

    /// What was taken is not used after all.
    pub fn give_back(&self, taken: &Taken) {
        let now = self.clock.now();
        taken.counted.state.lock().count.give_back(taken.part, now);
    }

    /// More was used than was taken. Whether all of the quota is used, as far as this replica was told.
    pub fn charge(self: &Arc<Self>, taken: &Taken, used: u64) -> bool {
        let now = self.clock.now();
        let (draw, quota, is_spent) = {
            let share = &mut taken.counted.state.lock().count;
            let quota = share.quota();
            (
                share.charge(used, now),
                quota,
                share.used(now) >= quota.most(),
            )
        };
        if let Some(draw) = draw {
            self.ask(&taken.counted, quota, draw);
        }
        is_spent
    }

    /// Has something counted under `key` once `allowed` says so. Of those who come at once one asks, for all
    /// of them; where it is refused, or goes away, the next one does.
    ///
    /// # Errors
    ///
    /// What `allowed` says.
    pub async fn begin<E>(
        &self,
        key: &CountKey,
        allowed: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        self.begun.get_or_insert_async(key, allowed).await
    }

    /// How much of a quota is used, by all replicas: what the store knows, less what is still here.
    ///
    /// # Errors
    ///
    /// The store can't be asked.
    pub async fn used(&self, key: &CountKey, quota: Quota) -> Result<u64, Reason> {
        let now = self.clock.now();
        let asked = self.records.draw(key, quota, Draw::default(), now).await;
        let used = asked.map_err(|error| error.reason())?.used;
        let here = self.held.get(key);
        let here = here.map_or(0, |counted| counted.state.lock().count.available(now));
        Ok(used.saturating_sub(here))
    }

    /// Who uses most of a quota, as far as this replica knows: what people know them by, and how much. Keys
    /// are those that begin so. At most `most`.
    pub fn busiest(&self, begin: &str, most: usize) -> Vec<(String, u64)> {
        let now = self.clock.now();
        let ours = self
            .held
            .iter()
            .filter(|(key, _)| key.name().starts_with(begin));
        let mut all: Vec<(String, u64)> = ours
            .map(|(_, counted)| {
                let used = counted.state.lock().count.used(now);
                (counted.label.clone(), used)
            })
            .filter(|(_, used)| *used > 0)
            .collect();
        all.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        all.truncate(most);
        all
    }

    /// How many calls a person has made today before these, which are counted now; as of a moment ago.
    ///
    /// # Errors
    ///
    /// The store can't be asked, and could not be for some time.
    pub async fn calls_today(self: &Arc<Self>, user: &UserId, calls: u64) -> Result<u64, Reason> {
        let counted = self.tally(user);
        let look = |tally: &mut Tally| tally.count(calls, self.clock.now());
        let before = self.settled(&counted, CALLS_TODAY, look).await;
        before.map_err(|not| match not {
            NotTaken::Unknown(reason) => reason,
            NotTaken::Reached(_) | NotTaken::Overtaken(_) => Reason::StoreUnavailable,
        })
    }

    fn share(&self, key: &CountKey, quota: Quota, label: &str) -> Arc<Counted<Share>> {
        let new = || Counted::new(key.clone(), label, Share::new(quota, holder()));
        let Ok(counted) = self
            .held
            .get_or_insert_with(key, || Ok::<_, Infallible>(new()));
        counted.state.lock().count.change(quota);
        counted
    }

    /// The one of a person: two at once would each count for themselves.
    fn tally(&self, user: &UserId) -> Arc<Counted<Tally>> {
        let new = || Counted::new(CountKey::calls_of(user), "", Tally::new(holder()));
        let Ok(counted) = self
            .tallies
            .get_or_insert_with(user, || Ok::<_, Infallible>(new()));
        counted
    }

    /// What `attempt` comes to: at once, or after the answers of the store that it waits for. The lock is
    /// held for the attempt alone.
    async fn settled<C: Count, T>(
        self: &Arc<Self>,
        counted: &Arc<Counted<C>>,
        quota: Quota,
        attempt: impl Fn(&mut C) -> (Option<T>, Option<Draw>),
    ) -> Result<T, NotTaken> {
        let deadline = Instant::now() + PATIENCE;
        let mut answers = None;
        loop {
            // Before the look, so that no answer is missed.
            let answered = counted.answered.notified();
            let ((settled, draw), seen) = {
                let mut state = counted.state.lock();
                (attempt(&mut state.count), state.answers)
            };
            if let Some(draw) = draw {
                self.ask(counted, quota, draw);
            }
            if let Some(settled) = settled {
                return Ok(settled);
            }
            let first = *answers.get_or_insert(seen);
            timeout_at(deadline, answered).await.map_err(|_| {
                // The store is well if it answered: others took what it gave.
                if seen > first {
                    NotTaken::Overtaken(SOON)
                } else {
                    NotTaken::Unknown(Reason::StoreUnavailable)
                }
            })?;
            let fault = counted.state.lock().fault;
            if let Some((at, reason)) = fault
                && at > seen
            {
                return Err(NotTaken::Unknown(reason));
            }
        }
    }

    /// Has the store asked, by nobody who could go away meanwhile; and what is to be asked after that.
    fn ask<C: Count>(self: &Arc<Self>, counted: &Arc<Counted<C>>, quota: Quota, draw: Draw) {
        let (shares, counted) = (Arc::clone(self), Arc::clone(counted));
        tokio::spawn(async move { shares.tell(&counted, quota, draw).await });
    }

    async fn tell<C: Count>(&self, counted: &Counted<C>, quota: Quota, draw: Draw) {
        let mut next = Some(draw);
        while let Some(draw) = next {
            let asked = self
                .records
                .draw(&counted.key, quota, draw, self.clock.now());
            let drawn = asked.await;
            let now = self.clock.now();
            {
                let mut state = counted.state.lock();
                state.answers += 1;
                next = match drawn {
                    Ok(drawn) => state.count.answered(draw, drawn, now),
                    Err(error) => {
                        state.count.unanswered(draw, now);
                        state.fault = Some((state.answers, error.reason()));
                        None
                    }
                };
            }
            counted.answered.notify_waiters();
        }
    }

    /// Tells the store what was used and was too little to be told at once: before the process ends.
    pub async fn finish(&self) {
        let all = async {
            let shares: Vec<_> = self.held.iter().map(|(_, counted)| counted).collect();
            for counted in shares {
                let (draw, quota) = {
                    let share = &mut counted.state.lock().count;
                    (share.last(self.clock.now()), share.quota())
                };
                if let Some(draw) = draw {
                    self.tell(&counted, quota, draw).await;
                }
            }
            let tallies: Vec<_> = self.tallies.iter().map(|(_, counted)| counted).collect();
            for counted in tallies {
                // What it was being told, and what came since.
                for _ in 0..2 {
                    let draw = counted.state.lock().count.last(self.clock.now());
                    if let Some(draw) = draw {
                        self.tell(&counted, CALLS_TODAY, draw).await;
                    }
                }
            }
        };
        // Whatever a store that is away is not told was never promised.
        let _ = timeout(LAST, all).await;
    }
}

/// A new one, which no share or tally of any replica has.
fn holder() -> u64 {
    OsRng.gen_range(1..=u64::MAX)
}

/// What is counted here and in the store.
trait Count: Send + 'static {
    /// What is to be asked next.
    fn answered(&mut self, draw: Draw, drawn: Drawn, now: Timestamp) -> Option<Draw>;
    fn unanswered(&mut self, draw: Draw, now: Timestamp);
}

impl Count for Share {
    fn answered(&mut self, draw: Draw, drawn: Drawn, now: Timestamp) -> Option<Draw> {
        self.drawn(draw, drawn, now)
    }

    fn unanswered(&mut self, draw: Draw, now: Timestamp) {
        self.failed(draw, now);
    }
}

impl Count for Tally {
    fn answered(&mut self, _: Draw, drawn: Drawn, now: Timestamp) -> Option<Draw> {
        self.told(drawn, now);
        None
    }

    fn unanswered(&mut self, _: Draw, _: Timestamp) {
        self.failed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::store::Store;
    use gateway_core::limits::Rate;

    fn replicas(store: &Arc<dyn Store>, count: usize) -> Vec<Arc<Shares>> {
        let replica = || Shares::new(Records::new(Arc::clone(store)), Clock);
        (0..count).map(|_| replica()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn crowds_on_replicas_take_no_more_than_a_budget_and_nearly_all_of_it() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        for amount in [1, 50, 5_000] {
            let key = CountKey::limit("calls", &amount.to_string(), "u_1");
            let quota = Quota::Day(amount);
            let replicas = replicas(&store, 2);
            let clients = (0..20).map(|client| {
                let (shares, key) = (Arc::clone(&replicas[client % 2]), key.clone());
                tokio::spawn(async move {
                    let mut taken = 0;
                    loop {
                        match shares.take(&key, quota, "alice", 1).await {
                            Ok(_) => taken += 1,
                            Err(NotTaken::Reached(wait)) => {
                                assert!(wait > Duration::ZERO);
                                return taken;
                            }
                            Err(NotTaken::Overtaken(_)) => {}
                            Err(NotTaken::Unknown(reason)) => panic!("{reason}"),
                        }
                    }
                })
            });
            let mut all = 0;
            for client in clients.collect::<Vec<_>>() {
                all += client.await.unwrap();
            }
            assert!(all <= amount, "{all} of {amount}");
            assert!(all + 2 * quota.batch() > amount, "{all} of {amount}");
            let used = replicas[0].used(&key, quota).await.unwrap();
            assert!((all..=amount).contains(&used), "{used}");
        }
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_taken() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let shares = replicas(&store, 1).remove(0);
        let key = CountKey::limit("calls", "rate", "u_1");
        let quota = Quota::Rate(Rate::new(1, Duration::from_secs(86_400), 1).unwrap());
        let taken = shares.take(&key, quota, "alice", 1).await.unwrap();
        let reached = shares.take(&key, quota, "alice", 1).await.unwrap_err();
        assert!(matches!(reached, NotTaken::Reached(_)), "{reached:?}");
        shares.give_back(&taken);
        shares.take(&key, quota, "alice", 1).await.unwrap();
    }

    /// Each call asks no more than it needs, and those that wait are drawn for together.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_first_crowd_of_a_share_has_one_and_waits_twice() {
        for round in 0..200 {
            let store: Arc<dyn Store> = Arc::new(Memory::new());
            let shares = replicas(&store, 1).remove(0);
            let key = CountKey::limit("calls", &round.to_string(), "u_1");
            let quota = Quota::Rate(Rate::new(1, Duration::from_secs(86_400), 7).unwrap());
            let crowd = (0..7).map(|_| {
                let (shares, key) = (Arc::clone(&shares), key.clone());
                tokio::spawn(async move { shares.take(&key, quota, "alice", 1).await.map(drop) })
            });
            for one in crowd.collect::<Vec<_>>() {
                assert_eq!(one.await.unwrap(), Ok(()));
            }
            assert_eq!(shares.used(&key, quota).await, Ok(7));
        }
    }

    #[tokio::test]
    async fn what_was_too_little_to_be_told_is_told_at_the_end() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let (shares, alice) = (replicas(&store, 1).remove(0), UserId::new("u_1"));
        let (key, quota) = (CountKey::limit("bytes", "day", "u_1"), Quota::Day(100_000));
        let taken = shares.take(&key, quota, "alice", 1).await.unwrap();
        for _ in 0..5 {
            shares.charge(&taken, 7);
        }
        for _ in 0..3 {
            shares.calls_today(&alice, 1).await.unwrap();
        }
        shares.finish().await;
        let other = replicas(&store, 1).remove(0);
        assert!(other.used(&key, quota).await.unwrap() >= 36);
        assert_eq!(other.calls_today(&alice, 0).await, Ok(3));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn calls_of_all_replicas_are_counted() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let (replicas, alice) = (replicas(&store, 2), UserId::new("u_1"));
        let crowd = (0..25).map(|_| {
            let (shares, alice) = (Arc::clone(&replicas[0]), alice.clone());
            tokio::spawn(async move { shares.calls_today(&alice, 1).await.unwrap() })
        });
        let mut told = Vec::new();
        for one in crowd.collect::<Vec<_>>() {
            told.push(one.await.unwrap());
        }
        told.sort_unstable();
        assert_eq!(told, (0..25).collect::<Vec<_>>(), "each is another one");
        assert_eq!(replicas[0].calls_today(&alice, 0).await, Ok(25));
        // They are told of behind the calls.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let elsewhere = replicas[1].calls_today(&alice, 0).await.unwrap();
        assert!((10..=25).contains(&elsewhere), "{elsewhere}");
        let bob = UserId::new("u_2");
        assert_eq!(replicas[1].calls_today(&bob, 0).await, Ok(0));
    }
}
