//! Typed access to the store: reading and writing one record.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::encoding::{Record, decode, decode_value, encode, refuse_newer};
use super::indexes::ExclusiveIndexes;
use super::kept_tools::KeptTools;
use super::left_out::LeftOut;
use crate::error::{StoreError, unless_conflict};
use crate::key::Key;
use crate::revocation_view::RevocationView;
use crate::store::{Inserted, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_metrics::{Histogram, Metrics};

/// How often somebody else may come between reading a record and replacing it.
pub(super) const ATTEMPTS: usize = 8;

/// What taking a record that is good once met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SingleUse<T> {
    /// This caller, and no other ever, has it.
    Fresh(T),
    /// It was taken before.
    Again,
    /// There is none, or it is too old.
    Unknown,
}

/// Typed access to the store.
#[derive(Clone, Debug)]
pub struct Records {
    pub(super) store: Arc<dyn Store>,
    pub(super) view: Option<Arc<RevocationView>>,
    pub(super) kept_tools: Arc<KeptTools>,
    pub(super) left_out: Arc<LeftOut>,
    pub(super) indexes: Arc<ExclusiveIndexes>,
    /// Of somebody who was there when they were last looked for.
    pub(super) somebody: Arc<Mutex<Option<Key>>>,
    /// How long revocations take until they count here.
    pub(crate) effect: Option<Histogram>,
}

impl Records {
    /// Records in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::over(store, Arc::default())
    }

    /// The same, of whose indexes something is known.
    pub(crate) fn over(store: Arc<dyn Store>, indexes: Arc<ExclusiveIndexes>) -> Self {
        Self {
            store,
            view: None,
            kept_tools: Arc::default(),
            left_out: Arc::default(),
            indexes,
            somebody: Arc::default(),
            effect: None,
        }
    }

    /// The same records; what is revoked through them is known to `view` at once, so that this
    /// replica refuses the next call without waiting for its own reading.
    #[must_use]
    pub fn with_view(self, view: Arc<RevocationView>) -> Self {
        Self {
            view: Some(view),
            ..self
        }
    }

    /// The same records, which measure what revocations take.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        Self {
            effect: Some(metrics.revocation_effect.with([])),
            ..self
        }
    }

    /// The promises themselves.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The view that knows of revocations without a round trip, where there is one.
    pub fn view(&self) -> Option<&RevocationView> {
        self.view.as_deref()
    }

    /// How long to wait until what is given at `now` counts, where the store is so new that this is not yet.
    pub fn settles_in(&self, now: Timestamp) -> Option<Duration> {
        let epoch = self.view().and_then(RevocationView::epoch);
        epoch.and_then(|epoch| epoch.settles_in(now))
    }

    /// The moment that is written into what is given at `now`: not before what the store's epoch begins
    /// with.
    pub fn dated(&self, now: Timestamp) -> Timestamp {
        let epoch = self.view().and_then(RevocationView::epoch);
        epoch.map_or(now, |epoch| epoch.dates(now))
    }

    /// A record, whatever format up to ours it has.
    pub(super) async fn load<T: Record>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<T>, StoreError> {
        let found = self.load_seen(key, now).await?;
        Ok(found.map(|(record, _)| record))
    }

    /// The same with what it was read from, so that what is decided about it replaces exactly that.
    pub(super) async fn load_seen<T: Record>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<(T, Vec<u8>)>, StoreError> {
        let Some(seen) = self.store.get(key, now).await? else {
            return Ok(None);
        };
        Ok(Some((decode(key.kind(), &seen)?, seen)))
    }

    /// Sets a record, whatever was there.
    pub(super) async fn keep<T: Record>(
        &self,
        key: &Key,
        record: &T,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.put(key, &encode(record), Some(until)).await
    }

    /// Sets a value where there is none; `false` where there is one.
    pub(super) async fn add(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let inserted = self.store.insert(key, value, expires, now).await?;
        Ok(inserted == Inserted::New)
    }

    /// Notes a value for good; `false` if another one is noted.
    pub(super) async fn note(
        &self,
        key: &Key,
        value: &[u8],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match self.store.insert(key, value, None, now).await? {
            Inserted::New => Ok(true),
            Inserted::Exists(noted) => Ok(noted == value),
        }
    }

    /// Takes a record that is good once: exactly one caller ever gets it.
    pub(super) async fn take<T: Record>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<SingleUse<T>, StoreError> {
        Ok(match self.store.take(key, now).await? {
            TakeOutcome::Fresh(bytes) => SingleUse::Fresh(decode(key.kind(), &bytes)?),
            TakeOutcome::Again(_) => SingleUse::Again,
            TakeOutcome::Unknown => SingleUse::Unknown,
        })
    }

    /// A value that has no format.
    pub(super) async fn load_value<T: DeserializeOwned>(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<Option<T>, StoreError> {
        let found = self.store.get(key, now).await?;
        found
            .map(|bytes| decode_value(key.kind(), &bytes))
            .transpose()
    }

    /// Sets a record, whatever was there; but nothing that a later version wrote is written over, also
    /// where a replica of that version writes at this moment. [`StoreError::Conflict`] where others kept
    /// changing it.
    pub(super) async fn overwrite<T: Record>(
        &self,
        key: &Key,
        record: &T,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let value = encode(record);
        let inserted = self.store.insert(key, &value, expires, now).await?;
        let Inserted::Exists(mut seen) = inserted else {
            return Ok(());
        };
        for _ in 0..ATTEMPTS {
            refuse_newer::<T>(key.kind(), &seen)?;
            let replaced = self.store.replace(key, &seen, &value, expires, now).await;
            if unless_conflict(replaced)?.is_some() {
                return Ok(());
            }
            match self.store.insert(key, &value, expires, now).await? {
                Inserted::New => return Ok(()),
                Inserted::Exists(other) => seen = other,
            }
        }
        Err(StoreError::Conflict(key.kind()))
    }
}
