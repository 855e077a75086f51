//! One allowed request, from its permit to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use gateway_core::reason::Reason;

use super::backend::{BackendMetrics, RpcMethod};

/// The head of the answer came.
const ANSWERED: u8 = 1;
/// It is a stream of events.
const STREAM: u8 = 2;
/// Its end was told.
const ENDED: u8 = 4;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The answer was complete.
    Done,
    /// By something that has a name of its own: the client left, the token was revoked.
    By(&'static str),
    /// It failed.
    Failed(Reason),
}

/// Counts what becomes of one allowed request: once, whoever tells it first. Whatever ends untold was
/// left by its client.
#[derive(Debug)]
pub struct ExchangeMeter {
    backend: Arc<BackendMetrics>,
    method: RpcMethod,
    begun: Instant,
    state: AtomicU8,
}

impl ExchangeMeter {
    pub(crate) fn new(backend: &Arc<BackendMetrics>, method: RpcMethod, begun: Instant) -> Self {
        backend.open.increment();
        Self {
            backend: Arc::clone(backend),
            method,
            begun,
            state: AtomicU8::new(0),
        }
    }

    /// The head of the backend's answer came.
    pub fn answered(&self, now: Instant) {
        if self.is_first(ANSWERED) {
            self.backend
                .took(self.method, now.duration_since(self.begun));
        }
    }

    /// Bytes of the answer's body went on.
    pub fn sent(&self, bytes: usize) {
        self.backend.sent(bytes);
    }

    /// It is a stream from now on.
    pub fn becomes_stream(&self) {
        if self.is_first(STREAM) {
            self.backend.stream_opened();
        }
    }

    /// It is over.
    pub fn ended(&self, how: Ended) {
        if !self.is_first(ENDED) {
            return;
        }
        let (outcome, reason) = match how {
            Ended::Done => ("done", ""),
            Ended::By(what) => (what, ""),
            Ended::Failed(reason) => ("failed", reason.code()),
        };
        self.backend.open.decrement();
        if how == Ended::Done {
            self.backend.done.increment();
        } else {
            self.backend.ended(outcome, reason);
        }
        if self.state.load(Ordering::Relaxed) & STREAM != 0 {
            self.backend.stream_ended(outcome);
        }
    }

    /// Whether this happens for the first time.
    fn is_first(&self, what: u8) -> bool {
        self.state.fetch_or(what, Ordering::Relaxed) & what == 0
    }
}

impl Drop for ExchangeMeter {
    fn drop(&mut self) {
        self.ended(Ended::By("client_gone"));
    }
}
