//! How long what is asked of a store takes, and what of it fails.

use std::time::Instant;

use crate::error::StoreError;
use gateway_metrics::{CounterFamily, Histogram, Metrics};

/// How long each operation of a [`Store`](crate::Store) takes, and which fail.
#[derive(Debug)]
pub(crate) struct Meter {
    took: [Histogram; OPERATIONS.len()],
    failed: CounterFamily<2>,
}

/// What is measured. Waiting for a hint is no operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
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

impl Meter {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            took: OPERATIONS.map(|name| metrics.store_duration.with([name])),
            failed: metrics.store_errors.clone(),
        }
    }

    pub(crate) async fn measure<T>(
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::key::Key;
    use crate::memory::Memory;
    use crate::movable::Movable;
    use crate::store::Store as _;
    use gateway_core::client::ClientId;
    use gateway_core::clock::Timestamp;

    #[tokio::test]
    async fn what_an_operation_took_and_whether_it_failed_is_counted() {
        let metrics = Metrics::new();
        let store = Movable::new(Arc::new(Memory::new()), &metrics);
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
