//! Shutdown: streams end properly, running calls finish, and the server knows when nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// None is under way.
    #[default]
    Serving,
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
}

impl Default for Draining {
    fn default() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
            running: Arc::default(),
        }
    }
}

impl Draining {
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
pub struct Drain(Draining);

impl Drain {
    pub(super) fn new(draining: &Draining) -> Self {
        Self(draining.clone())
    }

    /// How many requests are being answered, streams included.
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// Ends the streams that wait for events, spread over a second, and waits until every request
    /// is answered, but no longer than `grace`. What then still streams is ended, too. Returns how
    /// many requests were left.
    pub async fn finish(&self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace;
        self.0.phase.send_replace(Phase::Draining);
        self.wait_until(deadline).await;
        if self.running() > 0 {
            self.0.phase.send_replace(Phase::Closing);
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
