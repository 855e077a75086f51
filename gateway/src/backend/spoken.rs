//! Which eras of MCP a backend speaks: asked at the start, again whenever there is doubt, and never
//! on the way of a request, which reads one number.
//!
//! Owns: when to ask and what is believed. Not: the questions (`conversation`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use eras::{Era, Eras};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::Backend;
use super::connection::Connections;
use super::conversation::{Asker, Found};

/// The pause before a question is asked again: it doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Doubts that come within this time are one.
const SETTLE: Duration = Duration::from_secs(1);

/// The longest that a request waits for the first answer: long for one that has just come up, and
/// short beside the time after which one that swallows connections is given up.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// What is known of one backend.
#[derive(Debug, Default)]
pub struct Spoken {
    /// Those that it speaks, and three bits further up those that it may speak.
    known: AtomicU8,
    doubted: Notify,
    /// How often it was asked, each time to the end.
    rounds: watch::Sender<u64>,
    is_fixed: bool,
    /// Whether anybody asks.
    is_followed: AtomicBool,
    /// Whether it tells nobody who does not log in there: to ask again now would tell no more.
    is_reserved: AtomicBool,
    answers_discover: bool,
}

impl Spoken {
    /// What the operator says, or nothing yet; and whether `server/discover` is answered for it.
    pub fn new(fixed: Eras, answers_discover: bool) -> Arc<Self> {
        Arc::new(Self {
            known: AtomicU8::new(fixed.bits()),
            doubted: Notify::new(),
            rounds: watch::Sender::default(),
            is_fixed: !fixed.is_empty(),
            is_followed: AtomicBool::new(false),
            is_reserved: AtomicBool::new(false),
            answers_discover,
        })
    }

    /// The eras that it is known to speak; none while nothing is known.
    pub fn eras(&self) -> Eras {
        Eras::from_bits(self.known.load(Ordering::Relaxed))
    }

    /// Whether what is said in this era goes to it as it is: it speaks the era, or that is not
    /// known.
    pub fn may_speak(&self, era: Era) -> bool {
        let known = self.known.load(Ordering::Relaxed);
        Eras::from_bits(known).is_empty()
            || Eras::from_bits(known).has(era)
            || Eras::from_bits(known >> 3).has(era)
    }

    /// Whether `server/discover` is answered for it where it does not know that.
    pub const fn answers_discover(&self) -> bool {
        self.answers_discover
    }

    /// Something went wrong that would not if what is known were true: it is asked again, in the
    /// background.
    pub fn doubt(&self) {
        if !self.is_fixed {
            self.doubted.notify_one();
        }
    }

    /// Waits, where nothing is known yet, until the backend was asked anew: the first request after
    /// a start must not go a way that the second would not. Every request waits so while the backend
    /// is away, for two quick rounds, and at most a second; none waits for a backend that answered
    /// that it tells nobody who does not log in there.
    pub async fn asked(&self) {
        let nobody_asks = !self.is_followed.load(Ordering::Relaxed);
        let is_known = || self.known.load(Ordering::Relaxed) != 0;
        if nobody_asks || is_known() || self.is_reserved.load(Ordering::Relaxed) {
            return;
        }
        let mut rounds = self.rounds.subscribe();
        let begun = *rounds.borrow();
        let answered = async {
            // The round that is under way may have begun before the backend listened.
            for enough in [begun + 1, begun + 2] {
                if is_known() {
                    return;
                }
                self.doubted.notify_one();
                let _ = rounds
                    .wait_for(|round| *round >= enough || is_known())
                    .await;
            }
        };
        let _ = timeout(FIRST_ANSWER, answered).await;
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
        let spoken = Arc::clone(self);
        runtime.spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let asker = Asker {
                    connections: &connections,
                    backend: &backend,
                    identity: Vec::new(),
                    pins: None,
                };
                let found = asker.eras().await;
                // A backend that says nothing at all is away; what was known of it stays.
                if !found.speaks.is_empty() {
                    spoken.learn(found, &backend);
                }
                let is_reserved = found.is_reserved;
                spoken.is_reserved.store(is_reserved, Ordering::Relaxed);
                spoken.rounds.send_modify(|round| *round += 1);
                if !found.speaks.is_empty() && found.unclear.is_empty() {
                    pause = FIRST_PAUSE;
                    spoken.doubted.notified().await;
                    sleep(SETTLE).await;
                } else {
                    // Whoever needs the answer now need not wait for the whole pause.
                    let _ = timeout(pause, spoken.doubted.notified()).await;
                    sleep(FIRST_PAUSE).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        });
    }

    fn learn(&self, found: Found, backend: &Backend) {
        let known = found.speaks.bits() | found.unclear.bits() << 3;
        if self.known.swap(known, Ordering::Relaxed) != known {
            let eras = found.speaks.to_string();
            log::info!(
                event = "eras_known", backend = backend.mount.name, eras = eras;
                "what the backend speaks is known"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request waits for two rounds while nothing is known, each of which it asks for; and not at
    /// all for a backend that is there and tells nobody.
    #[tokio::test(start_paused = true)]
    async fn a_first_request_waits_for_two_rounds_or_for_none() {
        let spoken = Spoken::new(Eras::NONE, false);
        spoken.is_followed.store(true, Ordering::Relaxed);
        let asking = Arc::clone(&spoken);
        let asks = tokio::spawn(async move {
            loop {
                asking.doubted.notified().await;
                sleep(FIRST_PAUSE).await;
                asking.rounds.send_modify(|round| *round += 1);
            }
        });
        let waited = async || {
            let start = tokio::time::Instant::now();
            spoken.asked().await;
            start.elapsed()
        };
        assert_eq!(waited().await, FIRST_PAUSE * 2);
        spoken.is_reserved.store(true, Ordering::Relaxed);
        assert_eq!(waited().await, Duration::ZERO);
        asks.abort();
        spoken.is_reserved.store(false, Ordering::Relaxed);
        assert_eq!(waited().await, FIRST_ANSWER);
    }

    #[test]
    fn what_is_not_known_passes() {
        let spoken = Spoken::new(Eras::NONE, false);
        assert!(spoken.eras().is_empty());
        assert!(Era::ALL.into_iter().all(|era| spoken.may_speak(era)));
        let fixed = Spoken::new(Eras::NONE.and(Era::Stateless), false);
        assert!(fixed.may_speak(Era::Stateless) && !fixed.may_speak(Era::Sessions));
        let half = Spoken {
            known: AtomicU8::new(
                Eras::NONE.and(Era::Stateless).bits() | Eras::NONE.and(Era::Sessions).bits() << 3,
            ),
            ..Spoken::default()
        };
        assert!(half.may_speak(Era::Sessions) && !half.may_speak(Era::HttpSse));
        assert!(!half.eras().has(Era::Sessions));
    }
}
