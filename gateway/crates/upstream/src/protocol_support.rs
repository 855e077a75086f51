//! Which revision families of MCP a backend speaks: asked at the start, again whenever there is doubt, and never
//! on the way of a request, which reads one number.
//!
//! Owns: when to ask and what is believed. Not: the questions (`client`).

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp_protocol::{RevisionFamilies, RevisionFamily};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::account::Account;
use super::backend::Backend;
use super::client::{McpClient, ProbeReport};
use super::connection::Connections;

/// The pause before a question is asked again: it doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Doubts that come within this time are one.
const SETTLE: Duration = Duration::from_secs(1);

/// The longest that a request waits for the first answer: long for one that has just come up, and
/// short beside the time after which one that swallows connections is given up. It is waited for
/// once, not by each request. Before a server on stdio stands a bridge of ours, which is there at once
/// and answers when the server has started: that is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// For this many times as long as a request has waited in vain, at first, no other waits.
const DEARER: u32 = 6;

/// What is known of one backend.
#[derive(Debug, Default)]
pub struct ProtocolSupport {
    /// Those that it speaks, and three bits further up those that it may speak.
    known: AtomicU8,
    /// The same, as it is in the log.
    told: AtomicU8,
    doubted: Notify,
    rounds: watch::Sender<Rounds>,
    is_fixed: bool,
    /// Whether anybody asks.
    is_followed: AtomicBool,
    /// Whether it has answered all that it does answer.
    is_settled: AtomicBool,
    /// Whether it takes connections, as far as was seen last.
    is_there: AtomicBool,
    /// A request wants to know.
    wanted: Notify,
    /// In whose name a backend is asked that answers nobody else: whoever called it last, for one round.
    lent: Mutex<Weak<Account>>,
    /// An account was lent.
    lends: Notify,
    /// Whether a call may have to lend its account.
    is_asking: AtomicBool,
    vain: Mutex<ProbeBackoff>,
    answers_discover: bool,
    /// The longest that a request waits for the first answer.
    first_answer: Duration,
}

/// When requests have waited in vain, and until when no other does.
#[derive(Debug, Default)]
struct ProbeBackoff {
    until: Option<Instant>,
    times: u32,
}

impl ProbeBackoff {
    fn is_quiet(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Somebody has waited for so long and learned nothing.
    fn again(&mut self, waited: Duration) {
        let first = (waited * DEARER).max(FIRST_PAUSE);
        let pause = first.saturating_mul(1 << self.times.min(8)).min(LAST_PAUSE);
        self.times += 1;
        self.until = Some(Instant::now() + pause);
    }
}

/// How often it was asked, each time all questions.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    begun: u64,
    done: u64,
}

impl ProtocolSupport {
    /// What the operator says, or nothing yet; and whether `server/discover` is answered for it.
    pub fn new(fixed: RevisionFamilies, answers_discover: bool) -> Arc<Self> {
        Self::with_patience(fixed, answers_discover, FIRST_ANSWER)
    }

    /// The same for one that has an address.
    pub fn for_backend(
        backend: &Backend,
        fixed: RevisionFamilies,
        answers_discover: bool,
    ) -> Arc<Self> {
        let first_answer = if backend.is_on_stdio {
            backend.longest_start()
        } else {
            FIRST_ANSWER
        };
        Self::with_patience(fixed, answers_discover, first_answer)
    }

    fn with_patience(
        fixed: RevisionFamilies,
        answers_discover: bool,
        first_answer: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            known: AtomicU8::new(fixed.bits()),
            told: AtomicU8::new(0),
            doubted: Notify::new(),
            rounds: watch::Sender::default(),
            is_fixed: !fixed.is_empty(),
            is_followed: AtomicBool::new(false),
            is_settled: AtomicBool::new(false),
            is_there: AtomicBool::new(false),
            wanted: Notify::new(),
            lent: Mutex::default(),
            lends: Notify::new(),
            is_asking: AtomicBool::new(true),
            vain: Mutex::default(),
            answers_discover,
            first_answer,
        })
    }

    /// The revision families that it is known to speak; none while nothing is known.
    pub fn families(&self) -> RevisionFamilies {
        RevisionFamilies::from_bits(self.known.load(Ordering::Relaxed))
    }

    /// Whether what is said in this revision family goes to it as it is: it speaks the revision family, or that is not
    /// known.
    pub fn supports(&self, family: RevisionFamily) -> bool {
        let known = self.known.load(Ordering::Relaxed);
        RevisionFamilies::from_bits(known).is_empty()
            || RevisionFamilies::from_bits(known).has(family)
            || RevisionFamilies::from_bits(known >> 3).has(family)
    }

    /// Whether `server/discover` is answered for it where it does not know that.
    pub const fn answers_discover(&self) -> bool {
        self.answers_discover
    }

    /// Something went wrong that would not if what is known were true: it is asked again, in the
    /// background.
    pub fn invalidate(&self) {
        if !self.is_fixed {
            self.is_asking.store(true, Ordering::Relaxed);
            self.doubted.notify_one();
        }
    }

    /// Whether a request of this revision family may go its way at once.
    pub fn is_ready(&self, family: RevisionFamily) -> bool {
        let is_followed = self.is_followed.load(Ordering::Relaxed);
        !is_followed
            || self.families().has(family)
            || self.is_settled.load(Ordering::Relaxed)
            || self.vain.lock().is_quiet()
    }

    /// Waits, where it is not known yet whether the backend speaks this revision family, until it was asked anew:
    /// the first request after a start must not go a way that the second would not. At most a
    /// second (as long as it may take to start, on stdio), and not by each request: after somebody has
    /// waited in vain, nobody does for a while, which doubles each time. One that takes no connections is asked again by each request, which
    /// would not get far anyway.
    pub async fn wait_until_probed(&self, family: RevisionFamily) {
        let begun_waiting = Instant::now();
        let mut rounds = self.rounds.subscribe();
        // The round that is under way may have begun before the backend listened.
        let enough = rounds.borrow().begun + 1;
        let answered = async {
            loop {
                let Rounds { begun, done } = *rounds.borrow_and_update();
                if self.is_ready(family) || done >= enough {
                    return;
                }
                if begun == done {
                    self.wanted.notify_one();
                }
                if rounds.changed().await.is_err() {
                    return;
                }
            }
        };
        let is_in_time = timeout(self.first_answer, answered).await.is_ok();
        let is_away = is_in_time && !self.is_there.load(Ordering::Relaxed);
        if !self.is_ready(family) && !is_away {
            self.vain.lock().again(begun_waiting.elapsed());
        }
    }

    /// Somebody calls it with this account. A backend that people call with their own answers nobody else:
    /// where it has to be asked, it is asked in the name of whoever calls at that moment, who waits for the
    /// answer. It is asked in nobody's name once and again because others call: each round takes an account
    /// anew. What it speaks is the server's, and the same for all.
    pub fn lend(&self, account: &Arc<Account>) {
        if !self.is_fixed && self.is_asking.load(Ordering::Relaxed) {
            *self.lent.lock() = Arc::downgrade(account);
            self.lends.notify_one();
        }
    }

    /// Waits until it can be asked at all: in whose name, where that is needed.
    async fn asker(&self, backend: &Backend) -> Option<Arc<Account>> {
        if backend.wants_account() {
            Some(self.lent_account().await)
        } else {
            None
        }
    }

    /// The backend has said all that it is asked: until a doubt, which may have come before it had, it is
    /// not asked again, and who calls meanwhile lends nothing to whoever calls then.
    async fn until_doubted(&self) {
        self.is_asking.store(false, Ordering::Relaxed);
        *self.lent.lock() = Weak::new();
        self.doubted.notified().await;
        self.is_asking.store(true, Ordering::Relaxed);
    }

    /// Waits for an account to ask with.
    async fn lent_account(&self) -> Arc<Account> {
        loop {
            let lent = std::mem::take(&mut *self.lent.lock()).upgrade();
            if let Some(account) = lent.filter(|account| !account.is_over()) {
                return account;
            }
            self.lends.notified().await;
        }
    }

    /// Asks the backend until it has answered, and again after each doubt, for as long as the
    /// runtime runs.
    pub fn follow(
        self: &Arc<Self>,
        backend: Arc<Backend>,
        connections: Arc<Connections>,
        runtime: &Handle,
    ) {
        if self.is_fixed {
            return;
        }
        self.is_followed.store(true, Ordering::Relaxed);
        let protocols = Arc::clone(self);
        runtime.spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let account = protocols.asker(&backend).await;
                let begun = Instant::now();
                protocols.rounds.send_modify(|rounds| rounds.begun += 1);
                let found = protocols.ask(&backend, &connections, account).await;
                // A backend that says nothing at all is away; what was known of it stays.
                if !found.speaks.is_empty() {
                    protocols.learn(found, &backend);
                }
                let is_settled = !found.speaks.is_empty();
                protocols.is_settled.store(is_settled, Ordering::Relaxed);
                protocols.is_there.store(found.is_there, Ordering::Relaxed);
                protocols
                    .rounds
                    .send_modify(|rounds| rounds.done = rounds.begun);
                if !found.speaks.is_empty() && found.unclear.is_empty() {
                    pause = FIRST_PAUSE;
                    *protocols.vain.lock() = ProbeBackoff::default();
                    protocols.until_doubted().await;
                    sleep(SETTLE).await;
                    continue;
                }
                // Whoever needs the answer now need not wait for the whole pause. Of one that is there,
                // a doubt would tell no more.
                let doubted = async {
                    if found.is_there {
                        std::future::pending().await
                    } else {
                        protocols.doubted.notified().await
                    }
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = protocols.wanted.notified() => {}
                    () = doubted => {}
                }
                sleep(FIRST_PAUSE.saturating_sub(begun.elapsed())).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        });
    }

    /// All questions, side by side. While nothing is known, each answer counts as it comes.
    async fn ask(
        &self,
        backend: &Backend,
        connections: &Connections,
        account: Option<Arc<Account>>,
    ) -> ProbeReport {
        let asker = McpClient {
            connections,
            backend,
            identity: Vec::new(),
            account: account.as_deref(),
            pins: None,
        };
        let is_first = self.known.load(Ordering::Relaxed) == 0;
        asker
            .families(|found| {
                if is_first && !found.speaks.is_empty() {
                    self.known.store(bits(found), Ordering::Relaxed);
                    // Wakes those who wait.
                    self.rounds.send_modify(|_| ());
                }
            })
            .await
    }

    fn learn(&self, found: ProbeReport, backend: &Backend) {
        self.known.store(bits(found), Ordering::Relaxed);
        if self.told.swap(bits(found), Ordering::Relaxed) != bits(found) {
            let families = found.speaks.to_string();
            log::info!(
                event = "eras_known", backend = backend.mount.name, eras = families;
                "what the backend speaks is known"
            );
        }
    }
}

fn bits(found: ProbeReport) -> u8 {
    found.speaks.bits() | found.unclear.bits() << 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed() -> Arc<ProtocolSupport> {
        let protocols = ProtocolSupport::new(RevisionFamilies::NONE, false);
        protocols.is_followed.store(true, Ordering::Relaxed);
        protocols
    }

    async fn waited(protocols: &ProtocolSupport) -> Duration {
        let start = Instant::now();
        if !protocols.is_ready(RevisionFamily::Stateful) {
            protocols.wait_until_probed(RevisionFamily::Stateful).await;
        }
        start.elapsed()
    }

    /// A backend that says nothing costs one request a second, and the others nothing for a while,
    /// which doubles.
    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_once_and_then_ever_less_often() {
        let protocols = followed();
        protocols.rounds.send_modify(|rounds| rounds.begun += 1);
        for quiet in [6, 12, 24, 48, 60, 60] {
            assert_eq!(waited(&protocols).await, FIRST_ANSWER);
            assert_eq!(waited(&protocols).await, Duration::ZERO);
            sleep(Duration::from_secs(quiet) - FIRST_PAUSE).await;
            assert_eq!(waited(&protocols).await, Duration::ZERO);
            sleep(FIRST_PAUSE).await;
        }
    }

    /// While a backend takes no connections each request has it asked, and waits for that alone; one
    /// that is there and does not tell is asked by few.
    #[tokio::test(start_paused = true)]
    async fn a_backend_that_is_away_is_asked_by_each_request() {
        let protocols = followed();
        let asking = Arc::clone(&protocols);
        let asks = tokio::spawn(async move {
            loop {
                asking.wanted.notified().await;
                asking.rounds.send_modify(|rounds| rounds.begun += 1);
                sleep(FIRST_PAUSE).await;
                asking
                    .rounds
                    .send_modify(|rounds| rounds.done = rounds.begun);
            }
        });
        for _ in 0..3 {
            assert_eq!(waited(&protocols).await, FIRST_PAUSE);
        }
        protocols.is_there.store(true, Ordering::Relaxed);
        assert_eq!(waited(&protocols).await, FIRST_PAUSE);
        assert_eq!(waited(&protocols).await, Duration::ZERO);
        sleep(FIRST_PAUSE * DEARER).await;
        assert_eq!(waited(&protocols).await, FIRST_PAUSE);
        asks.abort();
    }

    fn account(id: &str) -> Arc<Account> {
        let value = http::HeaderValue::from_static("Bearer x");
        Arc::new(Account::new(
            gateway_core::account::AccountId::new(id),
            value,
        ))
    }

    /// A doubt that comes while the backend is asked is not lost, and what was lent then is forgotten.
    #[tokio::test(start_paused = true)]
    async fn a_doubt_during_a_round_has_the_next_caller_lend() {
        let protocols = followed();
        let (alice, bob) = (account("a_1"), account("a_2"));
        protocols.lend(&alice);
        protocols.invalidate();
        protocols.until_doubted().await;
        assert!(protocols.lent.lock().upgrade().is_none());
        protocols.lend(&bob);
        let lent = protocols.lent_account().await;
        assert_eq!(lent.id(), bob.id());
    }

    /// Each round takes the account of who called last, once; one that is connected no more is none.
    #[tokio::test(start_paused = true)]
    async fn an_account_is_lent_for_one_round_by_whoever_calls() {
        let protocols = followed();
        let (alice, bob, gone) = (account("a_1"), account("a_2"), account("a_3"));
        let asker = async || {
            timeout(Duration::from_secs(1), protocols.lent_account())
                .await
                .ok()
        };
        protocols.lend(&alice);
        protocols.lend(&bob);
        assert!(asker().await.is_some_and(|asker| Arc::ptr_eq(&asker, &bob)));
        assert!(asker().await.is_none(), "it was lent for one round");
        protocols.lend(&gone);
        gone.end();
        assert!(asker().await.is_none());
        // Where nothing is asked nothing is lent.
        protocols.is_asking.store(false, Ordering::Relaxed);
        protocols.lend(&alice);
        assert!(asker().await.is_none());
        protocols.invalidate();
        protocols.lend(&alice);
        assert!(
            asker()
                .await
                .is_some_and(|asker| Arc::ptr_eq(&asker, &alice))
        );
    }

    #[test]
    fn what_is_not_known_passes() {
        let protocols = ProtocolSupport::new(RevisionFamilies::NONE, false);
        assert!(protocols.families().is_empty());
        assert!(
            RevisionFamily::ALL
                .into_iter()
                .all(|family| protocols.supports(family))
        );
        let fixed =
            ProtocolSupport::new(RevisionFamilies::NONE.and(RevisionFamily::Stateless), false);
        assert!(
            fixed.supports(RevisionFamily::Stateless) && !fixed.supports(RevisionFamily::Stateful)
        );
        let half = ProtocolSupport {
            known: AtomicU8::new(
                RevisionFamilies::NONE.and(RevisionFamily::Stateless).bits()
                    | RevisionFamilies::NONE.and(RevisionFamily::Stateful).bits() << 3,
            ),
            ..ProtocolSupport::default()
        };
        assert!(half.supports(RevisionFamily::Stateful) && !half.supports(RevisionFamily::HttpSse));
        assert!(!half.families().has(RevisionFamily::Stateful));
    }
}
