//! Shutdown: streams end properly, running calls finish, and the server knows when nothing is left. Where
//! another process took the listeners over, everything that is open here goes on before that: each
//! connection ends with its next answer, and nothing new comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connection_limits::ConnectionLimits;

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// None is under way.
    #[default]
    Serving,
    /// Another process serves: connections end with their next answer.
    Leaving,
    /// Streams that wait for events end now; calls go on.
    Draining,
    /// Whatever still streams ends now.
    Closing,
}

/// What requests hold of the shutdown.
#[derive(Clone, Debug)]
pub(super) struct Draining {
    phase: Arc<watch::Sender<Phase>>,
    running: Arc<AtomicUsize>,
    taken_over: CancellationToken,
    is_ending: Arc<AtomicBool>,
}

impl Default for Draining {
    fn default() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
            running: Arc::default(),
            taken_over: CancellationToken::new(),
            is_ending: Arc::default(),
        }
    }
}

impl Draining {
    /// Ends once another process takes the connections that come.
    pub(super) async fn taken_over(&self) {
        self.taken_over.cancelled().await;
    }

    pub(super) fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn has_begun(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    pub(super) fn enter(&self) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(&self.running))
    }
}

/// Counts one request for as long as it lives.
#[derive(Debug)]
pub(super) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The server's handle on the shutdown of the edge.
#[derive(Clone, Debug)]
pub struct Drain {
    draining: Draining,
    connections: Arc<ConnectionLimits>,
}

impl Drain {
    pub(super) fn new(draining: &Draining, connections: &Arc<ConnectionLimits>) -> Self {
        Self {
            draining: draining.clone(),
            connections: Arc::clone(connections),
        }
    }

    /// How many requests are being answered, streams included.
    pub fn running(&self) -> usize {
        self.draining.running.load(Ordering::Relaxed)
    }

    /// The gateway will end, and serves everything as before until then.
    pub fn announce(&self) {
        self.draining.is_ending.store(true, Ordering::Relaxed);
    }

    /// Whether it will.
    pub fn is_announced(&self) -> bool {
        self.draining.is_ending.load(Ordering::Relaxed)
    }

    /// Another process takes the connections that come, from now on.
    pub fn take_no_more(&self) {
        self.draining.taken_over.cancel();
        self.draining.phase.send_if_modified(|phase| {
            let is_new = *phase < Phase::Leaving;
            *phase = (*phase).max(Phase::Leaving);
            is_new
        });
    }

    /// Ends once another process does.
    pub async fn taken_over(&self) {
        self.draining.taken_over().await;
    }

    /// After [`take_no_more`](Self::take_no_more): waits until every connection has ended, but no longer
    /// than `longest`. Nobody is sent away: a connection that is idle ends when it would have anyway, or with
    /// its next answer.
    pub async fn leave(&self, longest: Duration) {
        let deadline = Instant::now() + longest;
        while (self.running() > 0 || self.connections.open() > 0) && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the streams that wait for events, spread over a second, and waits until every request
    /// is answered, but no longer than `grace`. What then still streams is ended, too. Returns how
    /// many requests were left.
    pub async fn finish(&self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace;
        self.draining.phase.send_replace(Phase::Draining);
        self.wait_until(deadline).await;
        if self.running() > 0 {
            self.draining.phase.send_replace(Phase::Closing);
            self.wait_until(Instant::now() + Duration::from_millis(500))
                .await;
        }
        self.running()
    }

    async fn wait_until(&self, deadline: Instant) {
        while self.running() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }
}
