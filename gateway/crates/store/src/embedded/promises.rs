//! The promises of a store, as steps of the embedded one's transactions: what is written, in the writer's next
//! batch; what is read, from what was last committed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use redb::ReadableTable as _;

use super::Embedded;
use super::tables::{
    ANSWERS, COUNTS, Change, DRAWN, STORE, Snapshot, entries, number_in, parse_epoch,
};
use crate::backup::StoreBackup;
use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Key};
use crate::revocation::{Cursor, Hint, Revocation};
use crate::store::{COUNT_SKEW, Inserted, Listing, Row, Sizes, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Answers, Draw, Drawn, Kept, Quota};
use gateway_core::reason::Reason;

/// A store that took a write within this time takes writes.
const PROOF: Duration = Duration::from_secs(1);

#[async_trait]
impl Store for Embedded {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        if let Some(epoch) = self.read(|snapshot| snapshot.epoch()).await? {
            return Ok(epoch);
        }
        let candidate = candidate.clone();
        self.write(move |batch| {
            let mut table = batch.transaction.open_table(STORE)?;
            if let Some(found) = table.get("birth")? {
                return parse_epoch(found.value());
            }
            let bytes = serde_json::to_vec(&candidate).expect("an epoch is a text and a number");
            table.insert("birth", bytes.as_slice())?;
            batch.change = Change::Values;
            Ok(candidate)
        })
        .await
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.clone();
        self.read(move |snapshot| snapshot.value(&key, now)).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (key, value) = (key.clone(), value.to_vec());
        self.write(move |batch| batch.put(&key, &value, expires))
            .await
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        let (key, value) = (key.clone(), value.to_vec());
        self.write(move |batch| {
            if let Some(found) = batch.live(&key, now)? {
                return Ok(Inserted::Exists(found.value));
            }
            batch.put(&key, &value, expires)?;
            Ok(Inserted::New)
        })
        .await
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let conflict = StoreError::Conflict(key.kind());
        let (key, seen, value) = (key.clone(), seen.to_vec(), value.to_vec());
        self.write(move |batch| match batch.live(&key, now)? {
            Some(found) if found.value == seen => {
                batch.set(&key, &value, expires, found.used)?;
                Ok(Ok(()))
            }
            _ => Ok(Err(conflict)),
        })
        .await?
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        let key = key.clone();
        self.write(move |batch| {
            let Some(found) = batch.live(&key, now)? else {
                return Ok(TakeOutcome::Unknown);
            };
            if found.used {
                return Ok(TakeOutcome::Again(found.value));
            }
            batch.change = Change::Values;
            let mut records = batch.transaction.open_table(entries(key.table()))?;
            records.insert(key.name(), (true, found.expires, found.value.as_slice()))?;
            Ok(TakeOutcome::Fresh(found.value))
        })
        .await
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write(move |batch| {
            let Some(found) = batch.found(&key)? else {
                return Ok(false);
            };
            let (table, name) = (key.table(), key.name());
            batch.change = Change::Values;
            batch.transaction.open_table(entries(table))?.remove(name)?;
            batch.leave_indexes(table, name)?;
            batch.forget_expiry(found.expires, table.name(), name)?;
            Ok(true)
        })
        .await
    }

    async fn list(&self, listing: Listing<'_>, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        let (table, limit) = (listing.table, listing.limit);
        let after = listing.after.map(str::to_owned);
        let Some(index) = listing.index else {
            let look = move |it: Snapshot| it.list(table, after.as_deref(), limit, now);
            return self.read(look).await;
        };
        let of = index.clone();
        let found = self
            .read(move |snapshot| snapshot.list_index(&of, after.as_deref(), limit, now))
            .await?;
        if !found.missing.is_empty() {
            // Whoever reads a list has it also where the disk is full.
            let (of, missing) = (index.clone(), found.missing);
            let _ = self
                .write(move |batch| batch.forget_missing(&of, &missing))
                .await;
        }
        Ok(found.entries)
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let keys = keys.to_vec();
        self.write(move |batch| batch.enter(&keys)).await
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write(move |batch| {
            let Some(found) = batch.live(&key, now)? else {
                return Ok(false);
            };
            if found.expires < until.millis() {
                batch.set(&key, &found.value, Some(until), found.used)?;
            }
            Ok(true)
        })
        .await
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        self.read(|snapshot| snapshot.sizes()).await
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let key = key.name().to_owned();
        self.write(move |batch| {
            let mut counts = batch.transaction.open_table(COUNTS)?;
            let present = counts.get(&*key)?.map(|row| row.value());
            let latest = (now + window).millis();
            // A window that would end much later than one begun now stems from a clock that jumped back.
            let bearable = (now + window + COUNT_SKEW).millis();
            let current = present.filter(|(_, ends)| now.millis() < *ends && *ends <= bearable);
            let (count, ends) = current.unwrap_or((0, latest));
            counts.insert(&*key, (count + 1, ends))?;
            drop(counts);
            batch.change = batch.change.max(Change::Counts);
            if current.is_none() {
                if let Some((_, stale)) = present {
                    batch.forget_expiry(stale, "count", &key)?;
                }
                batch.note_expiry(ends, "count", &key)?;
            }
            Ok(count + 1)
        })
        .await
    }

    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        let key = key.name().to_owned();
        self.write(move |batch| {
            let mut table = batch.transaction.open_table(DRAWN)?;
            let mut last = batch.transaction.open_table(ANSWERS)?;
            let present = table.get(&*key)?.map(|row| row.value());
            let answers: Option<Answers> = last
                .get(&*key)?
                .and_then(|row| serde_json::from_slice(row.value()).ok());
            let kept = present.map(|(level, at, _)| Kept {
                level,
                at,
                answers: answers.unwrap_or_default(),
            });
            let (drawn, kept, ends) = quota.draw(kept, draw, now);
            if draw.is_look() {
                return Ok(drawn);
            }
            let ends = ends.millis();
            table.insert(&*key, (kept.level, kept.at, ends))?;
            let answers = serde_json::to_vec(&kept.answers)
                .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            last.insert(&*key, answers.as_slice())?;
            drop((table, last));
            batch.change = batch.change.max(Change::Counts);
            if let Some((_, _, stale)) = present
                && stale != ends
            {
                batch.forget_expiry(stale, "count", &key)?;
            }
            // Also where it should be there: an earlier version may have swept it, and left the rest.
            batch.note_expiry(ends, "count", &key)?;
            Ok(drawn)
        })
        .await
    }

    async fn revoke(&self, revocation: &Revocation, _: Timestamp) -> Result<(), StoreError> {
        let revocation = revocation.clone();
        self.write(move |batch| batch.revoke(&revocation)).await?;
        self.revoked.notify_one();
        Ok(())
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        self.read(move |snapshot| snapshot.revocations(after, now))
            .await
    }

    async fn revocation_hint(&self, limit: Duration) -> Hint {
        let _ = tokio::time::timeout(limit, self.revoked.notified()).await;
        Hint::look()
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let swept = self.write(move |batch| batch.sweep(now)).await?;
            if swept.unknown > 0 && !self.told_of_unknown_rows.swap(true, Ordering::Relaxed) {
                let reason = Reason::RecordUnreadable;
                log::error!(
                    event = "store_sweep_incomplete", reason = reason, hint = reason.remedy(),
                    rows = swept.unknown;
                    "what this version does not know has expired, and stays in the store"
                );
            }
            if !swept.may_have_more {
                return Ok(());
            }
        }
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |batch| {
            let mut store = batch.transaction.open_table(STORE)?;
            let last = Timestamp::from_millis(number_in(&store, "ping")?);
            if now.since(last) >= PROOF || now < last {
                store.insert("ping", now.millis().to_be_bytes().as_slice())?;
                batch.change = Change::Values;
            }
            Ok(())
        })
        .await
    }

    async fn backup(&self) -> Result<Option<StoreBackup>, StoreError> {
        self.begin_backup().await.map(Some)
    }
}
