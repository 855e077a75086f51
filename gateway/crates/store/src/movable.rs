//! A store that can move to another process while this one still uses it: opened here, then for a moment
//! nowhere, then there. Whoever asks in that moment waits. What is asked of it is measured, wherever it is.
//!
//! Owns: where the store is, and that nobody uses it while it moves. Not: who moves it and why.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::backup::StoreBackup;
use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Key, Table};
use crate::meter::{Meter, Operation};
use crate::neighbour::{Neighbour, Remote};
use crate::revocation::{Cursor, Hint, ListHead, Revocation};
use crate::store::{Examined, Inserted, Listing, Row, Sizes, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Quota};
use gateway_metrics::Metrics;

/// How long whoever asks waits for a store that moves.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a move waits for what was asked before.
const FINISHING: Duration = Duration::from_secs(10);

/// Between two looks whether it is finished.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A store, wherever it is.
pub struct Movable {
    /// `None` while it moves.
    place: watch::Sender<Option<Arc<dyn Store>>>,
    /// Of the store that it began with: while it moves there is none to ask.
    is_shared: bool,
    meter: Meter,
}

impl fmt::Debug for Movable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.borrow().as_ref() {
            Some(store) => write!(f, "Movable({store:?})"),
            None => f.write_str("Movable(moving)"),
        }
    }
}

impl Movable {
    /// One that is open here.
    pub fn new(store: Arc<dyn Store>, metrics: &Metrics) -> Self {
        Self {
            is_shared: store.is_shared(),
            place: watch::Sender::new(Some(store)),
            meter: Meter::new(metrics),
        }
    }

    /// Lets what was asked be finished, and closes the store. Whoever asks from now on waits until it is
    /// somewhere again ([`open`](Self::open), [`moved`](Self::moved)).
    ///
    /// # Errors
    ///
    /// It is being moved already, or what was asked took too long: it is where it was.
    pub async fn close(&self) -> Result<(), StoreError> {
        let Some(store) = self.place.send_replace(None) else {
            return Err(StoreError::away("the store is being handed over already"));
        };
        let deadline = Instant::now() + FINISHING;
        while Arc::strong_count(&store) > 1 {
            if Instant::now() > deadline {
                self.open(store);
                return Err(StoreError::away(
                    "what was asked of the store took too long",
                ));
            }
            sleep(LOOK_AGAIN).await;
        }
        // It waits for its last write.
        tokio::task::spawn_blocking(move || drop(store))
            .await
            .map_err(|_| StoreError::away("closing the store was cut short"))
    }

    /// It is open here again.
    pub fn open(&self, store: Arc<dyn Store>) {
        self.place.send_replace(Some(store));
    }

    /// It is open there.
    pub fn moved(&self, to: Neighbour) {
        self.open(Arc::new(Remote(to)));
    }

    async fn here(&self) -> Result<Arc<dyn Store>, StoreError> {
        let mut place = self.place.subscribe();
        let waiting = async {
            let found = place.wait_for(Option::is_some).await.ok()?;
            found.clone()
        };
        let found = timeout(PATIENCE, waiting).await.ok().flatten();
        found.ok_or_else(|| StoreError::away("the store is being handed over"))
    }
}

#[async_trait]
impl Store for Movable {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        let asking = async { self.here().await?.epoch(candidate).await };
        self.meter.measure(Operation::Epoch, asking).await
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let asking = async { self.here().await?.get(key, now).await };
        self.meter.measure(Operation::Get, asking).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let asking = async { self.here().await?.put(key, value, expires).await };
        self.meter.measure(Operation::Put, asking).await
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        let asking = async { self.here().await?.insert(key, value, expires, now).await };
        self.meter.measure(Operation::Insert, asking).await
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let asking = async {
            self.here()
                .await?
                .replace(key, seen, value, expires, now)
                .await
        };
        self.meter.measure(Operation::Replace, asking).await
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        let asking = async { self.here().await?.take(key, now).await };
        self.meter.measure(Operation::Take, asking).await
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let asking = async { self.here().await?.remove(key).await };
        self.meter.measure(Operation::Remove, asking).await
    }

    async fn list(&self, listing: Listing<'_>, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        let operation = match listing.index {
            None => Operation::List,
            Some(_) => Operation::ListIndex,
        };
        let asking = async { self.here().await?.list(listing, now).await };
        self.meter.measure(operation, asking).await
    }

    async fn holds_any(&self, table: Table, now: Timestamp) -> Result<bool, StoreError> {
        let asking = async { self.here().await?.holds_any(table, now).await };
        self.meter.measure(Operation::List, asking).await
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let asking = async { self.here().await?.enter(keys).await };
        self.meter.measure(Operation::Enter, asking).await
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let asking = async { self.here().await?.extend(key, until, now).await };
        self.meter.measure(Operation::Extend, asking).await
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        let asking = async { self.here().await?.sizes().await };
        self.meter.measure(Operation::Sizes, asking).await
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let asking = async { self.here().await?.count(key, window, now).await };
        self.meter.measure(Operation::Count, asking).await
    }

    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        let asking = async { self.here().await?.draw(key, quota, draw, now).await };
        self.meter.measure(Operation::Draw, asking).await
    }

    async fn revoke(&self, revocation: &Revocation, now: Timestamp) -> Result<(), StoreError> {
        let asking = async { self.here().await?.revoke(revocation, now).await };
        self.meter.measure(Operation::Revoke, asking).await
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let asking = async { self.here().await?.revocations(after, now).await };
        self.meter.measure(Operation::Revocations, asking).await
    }

    async fn revocation_head(&self, candidate: &StoreEpoch) -> Result<ListHead, StoreError> {
        let asking = async { self.here().await?.revocation_head(candidate).await };
        self.meter.measure(Operation::RevocationHead, asking).await
    }

    /// Nobody waits for hints of a store that is to be moved. What it had not told yet is in its list:
    /// whoever waits is sent there.
    async fn revocation_hint(&self, limit: Duration) -> Hint {
        let mut place = self.place.subscribe();
        let store = place.borrow_and_update().clone();
        let Some(store) = store else {
            sleep(limit.min(LOOK_AGAIN)).await;
            return Hint::look();
        };
        tokio::select! {
            hint = store.revocation_hint(limit) => hint,
            _ = place.changed() => Hint::look(),
        }
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.here().await?.time().await
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let asking = async { self.here().await?.sweep(now).await };
        self.meter.measure(Operation::Sweep, asking).await
    }

    async fn examine(&self) -> Examined {
        match self.here().await {
            Ok(store) => store.examine().await,
            Err(_) => Examined::default(),
        }
    }

    async fn backup(&self) -> Result<Option<StoreBackup>, StoreError> {
        self.here().await?.backup().await
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        let asking = async { self.here().await?.ping(now).await };
        self.meter.measure(Operation::Ping, asking).await
    }
}

#[cfg(test)]
mod tests;
