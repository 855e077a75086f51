//! The limits in force, and what is used of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::key::CountKey;
use crate::shares::Shares;
use gateway_core::limits::{Limit, Meter};
use gateway_core::reason::Reason;

/// The limits in force. Everybody takes them from here.
pub struct CallLimits {
    is_any: AtomicBool,
    current: RwLock<Arc<[Limit]>>,
    shares: Arc<Shares>,
}

impl fmt::Debug for CallLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallLimits")
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}

impl CallLimits {
    /// Puts limits in force.
    pub fn new(limits: Vec<Limit>, shares: Arc<Shares>) -> Arc<Self> {
        Arc::new(Self {
            is_any: AtomicBool::new(!limits.is_empty()),
            current: RwLock::new(limits.into()),
            shares,
        })
    }

    /// Puts others in force, from the next request on. What was used of one of the same name counts on.
    pub fn replace(&self, limits: Vec<Limit>) {
        let is_any = !limits.is_empty();
        *self.current.write() = limits.into();
        self.is_any.store(is_any, Ordering::Release);
    }

    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    /// Those of this moment.
    pub fn current(&self) -> Arc<[Limit]> {
        Arc::clone(&self.current.read())
    }

    /// What this replica holds of them.
    pub const fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// Under what is counted what a subject uses of one count of a limit.
    pub fn key(limit: &Limit, meter: &Meter, subject: &str) -> CountKey {
        CountKey::limit(&limit.name, &meter.key(), subject)
    }

    /// Who uses most of one count of a limit, as far as this replica knows.
    pub fn busiest(&self, limit: &Limit, meter: &Meter, most: usize) -> Vec<(String, u64)> {
        let key = Self::key(limit, meter, "");
        self.shares.busiest(key.name(), most)
    }

    /// How much a subject uses of one count of a limit, on all replicas.
    ///
    /// # Errors
    ///
    /// The store can't be asked.
    pub async fn used(&self, limit: &Limit, meter: &Meter, subject: &str) -> Result<u64, Reason> {
        let key = Self::key(limit, meter, subject);
        self.shares.used(&key, meter.quota).await
    }
}
