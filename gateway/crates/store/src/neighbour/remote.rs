//! The store of the process that took over, as a store.

use std::time::Duration;

use async_trait::async_trait;

use super::Neighbour;
use super::operation::{Operation, Reply};
use crate::backup::StoreBackup;
use crate::base64_bytes::Base64;
use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Key};
use crate::revocation::{Cursor, Hint, ListHead, Revocation};
use crate::store::{Inserted, Listing, Row, Sizes, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Quota};

/// How often revocations are asked for. There are no hints across processes: a hint wakes one, and that
/// is the one that serves.
const PERIOD: Duration = Duration::from_millis(250);

/// What the process that took over keeps.
#[derive(Debug)]
pub(crate) struct Remote(pub(crate) Neighbour);

/// What was answered, if it answers what was asked.
macro_rules! expect {
    ($asked:expr, $pattern:pat => $value:expr) => {
        match $asked.await? {
            $pattern => Ok($value),
            _ => Err(StoreError::away(
                "the gateway that took over answered something else",
            )),
        }
    };
}

fn plain(entries: Vec<(String, Base64)>) -> Vec<Row> {
    let entries = entries.into_iter();
    entries.map(|(key, Base64(value))| (key, value)).collect()
}

#[async_trait]
impl Store for Remote {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        let asked = self.0.perform(Operation::Epoch(candidate.clone()));
        expect!(asked, Reply::Epoch(epoch) => epoch)
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let asked = self.0.perform(Operation::Get(key.clone(), now));
        expect!(asked, Reply::Value(value) => value.map(|Base64(value)| value))
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let operation = Operation::Put(key.clone(), Base64(value.to_vec()), expires);
        expect!(self.0.perform(operation), Reply::Done => ())
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        let operation = Operation::Insert(key.clone(), Base64(value.to_vec()), expires, now);
        expect!(self.0.perform(operation), Reply::Inserted(inserted) => inserted)
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (seen, value) = (Base64(seen.to_vec()), Base64(value.to_vec()));
        let operation = Operation::Replace(key.clone(), seen, value, expires, now);
        expect!(self.0.perform(operation), Reply::Done => ())
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        let asked = self.0.perform(Operation::Take(key.clone(), now));
        expect!(asked, Reply::Taken(outcome) => outcome)
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let asked = self.0.perform(Operation::Remove(key.clone()));
        expect!(asked, Reply::Flag(was_there) => was_there)
    }

    async fn list(&self, listing: Listing<'_>, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        let (after, limit) = (listing.after.map(str::to_owned), listing.limit);
        let operation = match listing.index {
            None => Operation::List(listing.table, after, limit, now),
            Some(index) => Operation::ListIndex(index.clone(), after, limit, now),
        };
        expect!(self.0.perform(operation), Reply::Entries(entries) => plain(entries))
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let asked = self.0.perform(Operation::Enter(keys.to_vec()));
        expect!(asked, Reply::Number(number) => usize::try_from(number).unwrap_or(usize::MAX))
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let asked = self.0.perform(Operation::Extend(key.clone(), until, now));
        expect!(asked, Reply::Flag(is_there) => is_there)
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        expect!(self.0.perform(Operation::Sizes), Reply::Sizes(sizes) => sizes)
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let asked = self.0.perform(Operation::Count(key.clone(), window, now));
        expect!(asked, Reply::Number(number) => number)
    }

    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        let operation = Operation::Draw(key.clone(), quota, draw, now);
        expect!(self.0.perform(operation), Reply::Drawn(drawn) => drawn)
    }

    async fn revoke(&self, revocation: &Revocation, now: Timestamp) -> Result<(), StoreError> {
        let asked = self.0.perform(Operation::Revoke(revocation.clone(), now));
        expect!(asked, Reply::Done => ())
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let asked = self.0.perform(Operation::Revocations(after, now));
        expect!(asked, Reply::Revocations(revocations, next) => (revocations, next))
    }

    async fn revocation_head(&self, candidate: &StoreEpoch) -> Result<ListHead, StoreError> {
        let operation = Operation::RevocationHead(candidate.clone());
        expect!(self.0.perform(operation), Reply::RevocationHead(head) => head)
    }

    async fn revocation_hint(&self, limit: Duration) -> Hint {
        tokio::time::sleep(limit.min(PERIOD)).await;
        Hint::look()
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        expect!(self.0.perform(Operation::Sweep(now)), Reply::Done => ())
    }

    async fn backup(&self) -> Result<Option<StoreBackup>, StoreError> {
        Err(StoreError::away(
            "backups are made by the gateway that took over",
        ))
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        expect!(self.0.perform(Operation::Ping(now)), Reply::Done => ())
    }
}
