//! How many requests the lane has taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many requests the lane has taken. Clones count the same ones.
#[derive(Clone, Debug, Default)]
pub struct LaneRequests(Arc<AtomicU64>);

impl LaneRequests {
    /// So many.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
