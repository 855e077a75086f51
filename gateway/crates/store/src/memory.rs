//! The store that forgets at exit: for `memory:` and for tests. Owns the plainest statement of
//! what each promise of [`Store`] means.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Index, Key, Table};
use crate::revocation::{Cursor, Hint, Revocation};
use crate::store::{COUNT_SKEW, Inserted, Listing, Row, Sizes, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Kept, Quota};

/// Everything in one place, in memory, under one lock.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
    revoked: Notify,
}

#[derive(Debug, Default)]
struct State {
    epoch: Option<StoreEpoch>,
    tables: HashMap<Table, BTreeMap<String, Entry>>,
    indexes: HashMap<Index, BTreeSet<String>>,
    counts: HashMap<CountKey, Window>,
    /// What was drawn, until it says nothing any more.
    drawn: HashMap<CountKey, (Kept, Timestamp)>,
    revocations: BTreeMap<u64, Revocation>,
    last_revocation: u64,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Option<Timestamp>,
    used: bool,
    /// The names of the indexes that it is in.
    indexes: Vec<String>,
}

#[derive(Debug)]
struct Window {
    count: u64,
    ends: Timestamp,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Entry {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl State {
    fn table(&mut self, table: Table) -> &mut BTreeMap<String, Entry> {
        self.tables.entry(table).or_default()
    }

    fn live(&mut self, key: &Key, now: Timestamp) -> Option<&mut Entry> {
        let entry = self.table(key.table()).get_mut(key.name())?;
        entry.is_live(now).then_some(entry)
    }

    fn set(&mut self, key: &Key, value: &[u8], expires: Option<Timestamp>) {
        self.remove(key.table(), key.name());
        let entry = Entry {
            value: value.to_vec(),
            expires,
            used: false,
            indexes: Vec::new(),
        };
        self.table(key.table()).insert(key.name().to_owned(), entry);
        self.enter(key);
    }

    /// Enters an entry in the indexes of its key and takes it out of all others; `true` if it was not in all
    /// of them before.
    fn enter(&mut self, key: &Key) -> bool {
        let (table, name) = (key.table(), key.name());
        let Some(entry) = self.table(table).get_mut(name) else {
            return false;
        };
        let before = std::mem::replace(&mut entry.indexes, key.indexes().to_vec());
        let left: Vec<_> = before
            .iter()
            .filter(|of| !key.indexes().contains(of))
            .collect();
        for index in left {
            self.leave(Index::new(table, index.as_str()), name);
        }
        let mut is_new = false;
        for index in key.indexes() {
            let keys = self.indexes.entry(Index::new(table, index.as_str()));
            is_new |= keys.or_default().insert(name.to_owned());
        }
        is_new
    }

    fn leave(&mut self, index: Index, name: &str) {
        if let Some(keys) = self.indexes.get_mut(&index) {
            keys.remove(name);
            if keys.is_empty() {
                self.indexes.remove(&index);
            }
        }
    }

    fn remove(&mut self, table: Table, name: &str) -> bool {
        let Some(entry) = self.table(table).remove(name) else {
            return false;
        };
        for index in entry.indexes {
            self.leave(Index::new(table, index), name);
        }
        true
    }
}

#[async_trait]
impl Store for Memory {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        let mut state = self.state.lock();
        Ok(state.epoch.get_or_insert_with(|| candidate.clone()).clone())
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let mut state = self.state.lock();
        Ok(state.live(key, now).map(|entry| entry.value.clone()))
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.state.lock().set(key, value, expires);
        Ok(())
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        let mut state = self.state.lock();
        if let Some(entry) = state.live(key, now) {
            return Ok(Inserted::Exists(entry.value.clone()));
        }
        state.set(key, value, expires);
        Ok(Inserted::New)
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        match state.live(key, now) {
            Some(entry) if entry.value == seen => {
                entry.value = value.to_vec();
                entry.expires = expires;
            }
            _ => return Err(StoreError::Conflict(key.kind())),
        }
        if !key.indexes().is_empty() {
            state.enter(key);
        }
        Ok(())
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        let mut state = self.state.lock();
        let Some(entry) = state.live(key, now) else {
            return Ok(TakeOutcome::Unknown);
        };
        if std::mem::replace(&mut entry.used, true) {
            return Ok(TakeOutcome::Again(entry.value.clone()));
        }
        Ok(TakeOutcome::Fresh(entry.value.clone()))
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.state.lock().remove(key.table(), key.name()))
    }

    async fn list(&self, listing: Listing<'_>, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        let state = self.state.lock();
        let Some(table) = state.tables.get(&listing.table) else {
            return Ok(Vec::new());
        };
        let after = listing.after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (after, Bound::Unbounded);
        let live = |(key, entry): (&String, &Entry)| {
            let row = || (key.clone(), entry.value.clone());
            entry.is_live(now).then(row)
        };
        let Some(index) = listing.index else {
            let entries = table.range::<str, _>(range).filter_map(live);
            return Ok(entries.take(listing.limit).collect());
        };
        let named = state.indexes.get(index).into_iter();
        let keys = named.flat_map(|keys| keys.range::<str, _>(range));
        let entries = keys.filter_map(|key| live(table.get_key_value(key)?));
        Ok(entries.take(listing.limit).collect())
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let mut state = self.state.lock();
        let mut entered = 0;
        for key in keys {
            entered += usize::from(state.enter(key));
        }
        Ok(entered)
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut state = self.state.lock();
        let Some(entry) = state.live(key, now) else {
            return Ok(false);
        };
        entry.expires = entry.expires.map(|expires| expires.max(until));
        Ok(true)
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        let state = self.state.lock();
        let size = |table| state.tables.get(&table).map_or(0, BTreeMap::len);
        Ok(Sizes {
            tables: Table::ALL.map(size),
            revocations: state.revocations.len(),
        })
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut state = self.state.lock();
        let present = state.counts.entry(key.clone()).or_insert(Window {
            count: 0,
            ends: now,
        });
        // A window that would end much later than one begun now stems from a clock that jumped back.
        if present.ends <= now || present.ends > now + window + COUNT_SKEW {
            *present = Window {
                count: 0,
                ends: now + window,
            };
        }
        present.count += 1;
        Ok(present.count)
    }

    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        let mut state = self.state.lock();
        let kept = state.drawn.get(key).map(|(kept, _)| kept.clone());
        let (drawn, kept, ends) = quota.draw(kept, draw, now);
        if !draw.is_look() {
            state.drawn.insert(key.clone(), (kept, ends));
        }
        Ok(drawn)
    }

    async fn revoke(&self, revocation: &Revocation, _: Timestamp) -> Result<(), StoreError> {
        {
            let mut state = self.state.lock();
            state.last_revocation += 1;
            let number = state.last_revocation;
            state.revocations.insert(number, revocation.clone());
        }
        self.revoked.notify_one();
        Ok(())
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let state = self.state.lock();
        let live = state
            .revocations
            .range(after.number().saturating_add(1)..)
            .filter(|(_, revocation)| now < revocation.expires)
            .map(|(_, revocation)| revocation.clone())
            .collect();
        Ok((live, Cursor::at(state.last_revocation)))
    }

    async fn revocation_hint(&self, limit: Duration) -> Hint {
        let _ = tokio::time::timeout(limit, self.revoked.notified()).await;
        Hint::look()
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.drawn.retain(|_, (_, ends)| now < *ends);
        for table in Table::ALL {
            let entries = state.table(table).iter();
            let expired = entries.filter(|(_, entry)| !entry.is_live(now));
            let expired: Vec<String> = expired.map(|(key, _)| key.clone()).collect();
            for key in expired {
                state.remove(table, &key);
            }
        }
        state.counts.retain(|_, window| now < window.ends);
        state
            .revocations
            .retain(|_, revocation| now < revocation.expires);
        Ok(())
    }

    async fn ping(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_keeps_every_promise_of_a_store() {
        contract::every_promise(|| async { Arc::new(Memory::new()) as Arc<dyn Store> }).await;
    }
}
