//! Keeps the indexes complete: walks through what an earlier version wrote without them, when that is due.
//! Owns: when, and how gently. Not: what is due and what a walk does (`records::indexes`).

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::error::StoreError;
use crate::records::{ExclusiveIndexes, Records};
use crate::store::Store;
use gateway_core::clock::Clock;

/// Between two looks whether a walk is due; each renews the mark.
const PERIOD: Duration = Duration::from_secs(60);

/// A walk rests for so many times what its last step took: it takes a fifth of the store's time at most.
const REST: u32 = 4;

const LONGEST_REST: Duration = Duration::from_secs(1);

/// A step that fails is made again so often, with this pause, before the walk is given up.
const STEP_TRIES: u32 = 5;
const STEP_PAUSE: Duration = Duration::from_secs(5);

struct IndexKeeper {
    store: Weak<dyn Store>,
    indexes: Arc<ExclusiveIndexes>,
    clock: Clock,
}

/// Keeps the indexes of `records` complete for as long as somebody else holds their store. Until they are,
/// lists read the tables.
pub fn keep_indexed(records: &Records, clock: Clock, runtime: &Handle) {
    let keeper = IndexKeeper {
        store: Arc::downgrade(records.store()),
        indexes: Arc::clone(records.exclusive_indexes()),
        clock,
    };
    runtime.spawn(async move {
        loop {
            match keeper.keep().await {
                Some(Ok(())) => {}
                // The view of the revocations reports outages; this one waits for the next look.
                Some(Err(error)) => log::debug!(event = "index_walk_failed"; "{error}"),
                None => return,
            }
            sleep(PERIOD).await;
        }
    });
}

impl IndexKeeper {
    /// `None` once nobody holds the store.
    fn records(&self) -> Option<Records> {
        let store = self.store.upgrade()?;
        Some(Records::over(store, Arc::clone(&self.indexes)))
    }

    async fn keep(&self) -> Option<Result<(), StoreError>> {
        let begun = Instant::now();
        let walk = self.records()?.begin_index_walk(self.clock.now()).await;
        let mut walk = match walk {
            Ok(Some(walk)) => walk,
            Ok(None) => return Some(Ok(())),
            Err(error) => return Some(Err(error)),
        };
        let mut tries = 0;
        loop {
            let step = Instant::now();
            match self.records()?.walk_on(&mut walk, self.clock.now()).await {
                Ok(true) => {
                    tries = 0;
                    sleep((step.elapsed() * REST).min(LONGEST_REST)).await;
                }
                Ok(false) => break,
                Err(_) if tries < STEP_TRIES => {
                    tries += 1;
                    sleep(STEP_PAUSE).await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let records = self.records()?;
        let ended = records.end_index_walk(&walk, self.clock.now()).await;
        if ended.is_ok() && (walk.entered > 0 || walk.unreadable > 0) {
            let seconds = begun.elapsed().as_secs_f64();
            log::info!(
                event = "indexes_walked", entered = walk.entered, unreadable = walk.unreadable,
                seconds = seconds;
                "the indexes by person and by app were compared with what is stored"
            );
        }
        Some(ended)
    }
}
