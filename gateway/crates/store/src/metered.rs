//! A store whose operations are measured.

use std::time::{Duration, Instant};

use std::sync::Arc;

use async_trait::async_trait;

use crate::backup::StoreBackup;
use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Index, Key, Table};
use crate::revocation::{Cursor, Hint, ListHead, Revocation};
use crate::store::{Examined, Inserted, Sizes, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Quota};
use gateway_metrics::{CounterFamily, Histogram, Metrics};

/// What [`Store`] promises, measured: how long each operation takes, and which fail.
#[derive(Debug)]
pub struct Metered {
    store: Arc<dyn Store>,
    took: [Histogram; OPERATIONS.len()],
    failed: CounterFamily<2>,
}

/// What is measured. Waiting for a hint is no operation.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Epoch,
    Get,
    Put,
    Insert,
    Replace,
    Take,
    Remove,
    List,
    ListIndex,
    Enter,
    Extend,
    Sizes,
    Count,
    Draw,
    Revoke,
    Revocations,
    RevocationHead,
    Sweep,
    Ping,
}

/// Their names, in the same order.
const OPERATIONS: [&str; 19] = [
    "epoch",
    "get",
    "put",
    "insert",
    "replace",
    "take",
    "remove",
    "list",
    "list_index",
    "enter",
    "extend",
    "sizes",
    "count",
    "draw",
    "revoke",
    "revocations",
    "revocation_head",
    "sweep",
    "ping",
];

impl Metered {
    /// The same store, measured.
    pub fn new(store: Arc<dyn Store>, metrics: &Metrics) -> Self {
        Self {
            store,
            took: OPERATIONS.map(|name| metrics.store_duration.with([name])),
            failed: metrics.store_errors.clone(),
        }
    }

    async fn measure<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = work.await;
        let at = operation as usize;
        self.took[at].observe(begun.elapsed());
        if let Err(error) = &done {
            let reason = match error {
                StoreError::Conflict(_) => "conflict",
                error => error.reason().code(),
            };
            self.failed.with([OPERATIONS[at], reason]).increment();
        }
        done
    }
}

#[async_trait]
impl Store for Metered {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        let work = self.store.epoch(candidate);
        self.measure(Operation::Epoch, work).await
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        self.measure(Operation::Get, self.store.get(key, now)).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let work = self.store.put(key, value, expires);
        self.measure(Operation::Put, work).await
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        let work = self.store.insert(key, value, expires, now);
        self.measure(Operation::Insert, work).await
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let work = self.store.replace(key, seen, value, expires, now);
        self.measure(Operation::Replace, work).await
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        let work = self.store.take(key, now);
        self.measure(Operation::Take, work).await
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        self.measure(Operation::Remove, self.store.remove(key))
            .await
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let work = self.store.list(table, after, limit, now);
        self.measure(Operation::List, work).await
    }

    async fn holds_any(&self, table: Table, now: Timestamp) -> Result<bool, StoreError> {
        let work = self.store.holds_any(table, now);
        self.measure(Operation::List, work).await
    }

    async fn list_index(
        &self,
        index: &Index,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let work = self.store.list_index(index, after, limit, now);
        self.measure(Operation::ListIndex, work).await
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        self.measure(Operation::Enter, self.store.enter(keys)).await
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let work = self.store.extend(key, until, now);
        self.measure(Operation::Extend, work).await
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        self.measure(Operation::Sizes, self.store.sizes()).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let work = self.store.count(key, window, now);
        self.measure(Operation::Count, work).await
    }

    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        let work = self.store.draw(key, quota, draw, now);
        self.measure(Operation::Draw, work).await
    }

    async fn revoke(&self, revocation: &Revocation, now: Timestamp) -> Result<(), StoreError> {
        let work = self.store.revoke(revocation, now);
        self.measure(Operation::Revoke, work).await
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let work = self.store.revocations(after, now);
        self.measure(Operation::Revocations, work).await
    }

    async fn revocation_head(&self, candidate: &StoreEpoch) -> Result<ListHead, StoreError> {
        let work = self.store.revocation_head(candidate);
        self.measure(Operation::RevocationHead, work).await
    }

    async fn revocation_hint(&self, limit: Duration) -> Hint {
        self.store.revocation_hint(limit).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.measure(Operation::Sweep, self.store.sweep(now)).await
    }

    async fn examine(&self) -> Examined {
        self.store.examine().await
    }

    async fn backup(&self) -> Result<Option<StoreBackup>, StoreError> {
        self.store.backup().await
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        self.measure(Operation::Ping, self.store.ping(now)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use gateway_core::client::ClientId;

    #[tokio::test]
    async fn what_an_operation_took_and_whether_it_failed_is_counted() {
        let metrics = Metrics::new();
        let store = Metered::new(Arc::new(Memory::new()), &metrics);
        let (key, now) = (Key::client(&ClientId::new("c")), Timestamp::from_secs(1));
        assert_eq!(store.get(&key, now).await.unwrap(), None);
        let replaced = store.replace(&key, b"a", b"b", None, now).await;
        assert!(matches!(replaced, Err(StoreError::Conflict(_))));
        let text = metrics.exposition();
        for line in [
            r#"gateway_store_operation_duration_seconds_count{operation="get"} 1"#,
            r#"gateway_store_operation_duration_seconds_count{operation="take"} 0"#,
            r#"gateway_store_errors_total{operation="replace",reason="conflict"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
