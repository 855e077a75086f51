//! The promises of a store as messages.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base64_bytes::Base64;
use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Index, Key, Table};
use crate::revocation::{Cursor, ListHead, Revocation};
use crate::store::{Inserted, Listing, Row, Sizes, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Quota};

/// One promise, with what it needs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the promise of that name")]
pub enum Operation {
    Epoch(StoreEpoch),
    Get(Key, Timestamp),
    Put(Key, Base64, Option<Timestamp>),
    Insert(Key, Base64, Option<Timestamp>, Timestamp),
    Replace(Key, Base64, Base64, Option<Timestamp>, Timestamp),
    Take(Key, Timestamp),
    Remove(Key),
    List(Table, Option<String>, usize, Timestamp),
    ListIndex(Index, Option<String>, usize, Timestamp),
    Enter(Vec<Key>),
    Extend(Key, Timestamp, Timestamp),
    Sizes,
    Count(CountKey, Duration, Timestamp),
    Draw(CountKey, Quota, Draw, Timestamp),
    Revoke(Revocation, Timestamp),
    Revocations(Cursor, Timestamp),
    RevocationHead(StoreEpoch),
    Sweep(Timestamp),
    Ping(Timestamp),
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Done,
    Epoch(StoreEpoch),
    Value(Option<Base64>),
    Inserted(Inserted),
    Taken(TakeOutcome),
    Flag(bool),
    Entries(Vec<(String, Base64)>),
    Number(u64),
    Drawn(Drawn),
    Sizes(Sizes),
    Revocations(Vec<Revocation>, Cursor),
    RevocationHead(ListHead),
}

/// Does what was asked for.
pub(super) async fn perform(store: &dyn Store, operation: Operation) -> Result<Reply, StoreError> {
    use Operation as O;
    let done = |()| Reply::Done;
    let entries = |entries: Vec<Row>| {
        let entries = entries.into_iter();
        Reply::Entries(entries.map(|(key, value)| (key, Base64(value))).collect())
    };
    match operation {
        O::Epoch(candidate) => store.epoch(&candidate).await.map(Reply::Epoch),
        O::Get(key, now) => {
            let value = store.get(&key, now).await?;
            Ok(Reply::Value(value.map(Base64)))
        }
        O::Put(key, value, expires) => store.put(&key, &value.0, expires).await.map(done),
        O::Insert(key, value, expires, now) => {
            let inserted = store.insert(&key, &value.0, expires, now).await;
            inserted.map(Reply::Inserted)
        }
        O::Replace(key, seen, value, expires, now) => {
            let replaced = store.replace(&key, &seen.0, &value.0, expires, now).await;
            replaced.map(done)
        }
        O::Take(key, now) => store.take(&key, now).await.map(Reply::Taken),
        O::Remove(key) => store.remove(&key).await.map(Reply::Flag),
        O::List(table, after, limit, now) => {
            let listing = Listing::of(table, after.as_deref(), limit);
            store.list(listing, now).await.map(entries)
        }
        O::ListIndex(index, after, limit, now) => {
            let listing = Listing::by(&index, after.as_deref(), limit);
            store.list(listing, now).await.map(entries)
        }
        O::Enter(keys) => {
            let entered = store.enter(&keys).await?;
            Ok(Reply::Number(u64::try_from(entered).unwrap_or(u64::MAX)))
        }
        O::Extend(key, until, now) => store.extend(&key, until, now).await.map(Reply::Flag),
        O::Sizes => store.sizes().await.map(Reply::Sizes),
        O::Count(key, window, now) => store.count(&key, window, now).await.map(Reply::Number),
        O::Draw(key, quota, draw, now) => {
            store.draw(&key, quota, draw, now).await.map(Reply::Drawn)
        }
        O::Revoke(revocation, now) => store.revoke(&revocation, now).await.map(done),
        O::Revocations(after, now) => {
            let (revocations, next) = store.revocations(after, now).await?;
            Ok(Reply::Revocations(revocations, next))
        }
        O::RevocationHead(candidate) => {
            let head = store.revocation_head(&candidate).await;
            head.map(Reply::RevocationHead)
        }
        O::Sweep(now) => store.sweep(now).await.map(done),
        O::Ping(now) => store.ping(now).await.map(done),
    }
}
