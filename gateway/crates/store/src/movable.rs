//! A store that can move to another process while this one still uses it: opened here, then for a moment
//! nowhere, then there. Whoever asks in that moment waits.
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
use crate::key::{CountKey, Index, Key, Table};
use crate::neighbour::{Neighbour, Remote};
use crate::revocation::{Cursor, Hint, ListHead, Revocation};
use crate::store::{Examined, Inserted, Sizes, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Quota};

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
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            place: watch::Sender::new(Some(store)),
        }
    }

    /// Lets what was asked be finished, and closes the store. Whoever asks from now on waits until it is
    /// somewhere again ([`open`](Self::open), [`moved`](Self::moved)).
    ///
    /// # Errors
    ///
    /// It is being moved already, or what was asked took too long: it is where it was.
    pub async fn close(&self) -> Result<(), StoreError> {
        let away = |why: &str| StoreError::Away(why.to_owned());
        let Some(store) = self.place.send_replace(None) else {
            return Err(away("the store is being handed over already"));
        };
        let deadline = Instant::now() + FINISHING;
        while Arc::strong_count(&store) > 1 {
            if Instant::now() > deadline {
                self.open(store);
                return Err(away("what was asked of the store took too long"));
            }
            sleep(LOOK_AGAIN).await;
        }
        // It waits for its last write.
        tokio::task::spawn_blocking(move || drop(store))
            .await
            .map_err(|_| away("closing the store was cut short"))
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
        found.ok_or_else(|| StoreError::Away("the store is being handed over".to_owned()))
    }
}

#[async_trait]
impl Store for Movable {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        self.here().await?.epoch(candidate).await
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        self.here().await?.get(key, now).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.here().await?.put(key, value, expires).await
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        self.here().await?.insert(key, value, expires, now).await
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let store = self.here().await?;
        store.replace(key, seen, value, expires, now).await
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        self.here().await?.take(key, now).await
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        self.here().await?.remove(key).await
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.here().await?.list(table, after, limit, now).await
    }

    async fn list_index(
        &self,
        index: &Index,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let store = self.here().await?;
        store.list_index(index, after, limit, now).await
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        self.here().await?.enter(keys).await
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.here().await?.extend(key, until, now).await
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        self.here().await?.sizes().await
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.here().await?.count(key, window, now).await
    }

    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        self.here().await?.draw(key, quota, draw, now).await
    }

    async fn revoke(&self, revocation: &Revocation, now: Timestamp) -> Result<(), StoreError> {
        self.here().await?.revoke(revocation, now).await
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        self.here().await?.revocations(after, now).await
    }

    async fn revocation_head(&self, candidate: &StoreEpoch) -> Result<ListHead, StoreError> {
        self.here().await?.revocation_head(candidate).await
    }

    /// Nobody waits for hints of a store that is to be moved. What it had not told yet is in its list:
    /// whoever waits is sent there.
    async fn revocation_hint(&self, limit: Duration) -> Hint {
        let look = Hint {
            look: true,
            ..Hint::default()
        };
        let mut place = self.place.subscribe();
        let store = place.borrow_and_update().clone();
        let Some(store) = store else {
            sleep(limit.min(LOOK_AGAIN)).await;
            return look;
        };
        tokio::select! {
            hint = store.revocation_hint(limit) => hint,
            _ = place.changed() => look,
        }
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.here().await?.sweep(now).await
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
        self.here().await?.ping(now).await
    }
}

#[cfg(test)]
mod tests;
