//! The promises that a store makes.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backup::StoreBackup;
use crate::epoch::StoreEpoch;
use crate::error::StoreError;
use crate::key::{CountKey, Index, Key, Table};
use crate::revocation::{Cursor, Hint, ListHead, Revocation};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Draw, Drawn, Quota};

/// What an insertion met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inserted {
    /// The value is there now, durably.
    New,
    /// Another value was there and stays.
    Exists(#[serde(with = "crate::base64_bytes")] Vec<u8>),
}

/// What taking a single-use value met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TakeOutcome {
    /// This caller, and no other ever, has it.
    Fresh(#[serde(with = "crate::base64_bytes")] Vec<u8>),
    /// Somebody had it before; this is what they got.
    Again(#[serde(with = "crate::base64_bytes")] Vec<u8>),
    /// No such value, or past its time.
    Unknown,
}

/// A key and its value.
pub type Row = (String, Vec<u8>);

/// Which entries are listed.
/// Not to be printed: the name of a record can be the hash of a secret.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    /// Those of this table.
    pub(crate) table: Table,
    /// Of them what this index, which is of that table, names; all, if there is none.
    pub(crate) index: Option<&'a Index>,
    /// Those with keys after this one.
    pub(crate) after: Option<&'a str>,
    /// So many at most.
    pub(crate) limit: usize,
}

impl<'a> Listing<'a> {
    /// Of a table.
    pub const fn of(table: Table, after: Option<&'a str>, limit: usize) -> Self {
        Self {
            table,
            index: None,
            after,
            limit,
        }
    }

    /// Of what an index names.
    pub const fn by(index: &'a Index, after: Option<&'a str>, limit: usize) -> Self {
        Self {
            index: Some(index),
            ..Self::of(index.table(), after, limit)
        }
    }
}

/// What a store's own settings mean for what is promised over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Why nothing will work before somebody changes something, if so.
    pub hopeless: Option<String>,
    /// What endangers what is kept, each with what to change.
    pub unsafe_settings: Vec<String>,
    /// Why it does not answer, if it does not, and waiting may help.
    pub away: Option<String>,
}

/// How many entries there are, those among them that have expired and were not swept yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Of each table, in the order of [`Table::ALL`].
    pub tables: [usize; Table::ALL.len()],
    /// Of the list of revocations.
    pub revocations: usize,
}

/// How far before the begin of a window an event may say it is and still counts in it: events of one moment
/// arrive in any order, and clocks of replicas differ. What is further off stems from a clock that jumped.
pub(crate) const COUNT_SKEW: Duration = Duration::from_secs(10);

/// The promises. Every write is durable before it is acknowledged. `now` decides what has expired;
/// an expired value is never returned, whether or not it was swept.
///
/// A write enters its record in the indexes of its key ([`Key::indexes`]) and takes it out of all others,
/// in the same step; one that is removed or swept leaves them all. An index may still name what is not
/// there, where an earlier version removed it: nobody is told of that, and it is taken out when it is met.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The epoch: `candidate` if the store is new, else the one it has.
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError>;

    /// The value under a key.
    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError>;

    /// Sets the value under a key, whatever was there, taken or not.
    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// Sets the value if there is none. Of concurrent callers exactly one sees [`Inserted::New`].
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError>;

    /// Sets the value and its time if the present one is `seen`; [`StoreError::Conflict`] if it is
    /// another, or none. A value that was taken stays taken, and, if its key has no indexes here, in those
    /// that it was in.
    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Takes a single-use value. Of all callers ever exactly one sees [`TakeOutcome::Fresh`]; later ones
    /// see [`TakeOutcome::Again`] until it expires.
    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError>;

    /// Removes a value. `false` if there was none. One that is past its time may count as one that
    /// was there.
    async fn remove(&self, key: &Key) -> Result<bool, StoreError>;

    /// Entries in key order. What stands where an entry should and is none has an empty value.
    async fn list(&self, listing: Listing<'_>, now: Timestamp) -> Result<Vec<Row>, StoreError>;

    /// Whether a table has any entry.
    async fn holds_any(&self, table: Table, now: Timestamp) -> Result<bool, StoreError> {
        let first = self.list(Listing::of(table, None, 1), now).await?;
        Ok(!first.is_empty())
    }

    /// Enters those of these records that are there in the indexes of their keys, and in no others, and
    /// leaves the records as they are. All keys are of one table and have indexes. How many were not in all
    /// of theirs before.
    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError>;

    /// Keeps a value until a later time, if it would expire before it; the value stays as it is. `false`
    /// if there is none.
    async fn extend(&self, key: &Key, until: Timestamp, now: Timestamp)
    -> Result<bool, StoreError>;

    /// How much is kept. Costs the same however much that is.
    async fn sizes(&self) -> Result<Sizes, StoreError>;

    /// Whether other gateways may use the store at the same time, of another version among them.
    fn is_shared(&self) -> bool {
        false
    }

    /// Counts one event under a key and returns how many there were in the current window, this
    /// one included. Windows start with their first event. A crash may lose counts.
    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Draws from a quota of what is counted under a key. Of concurrent callers all together are granted no
    /// more than there is. A shared store goes by its own clock and not by `now`: those of replicas differ. A
    /// crash may lose what was drawn last, a clock that is set back gives nothing and locks nobody out.
    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError>;

    /// Appends a revocation. Every replica sees it at its next [`Store::revocations`].
    async fn revoke(&self, revocation: &Revocation, now: Timestamp) -> Result<(), StoreError>;

    /// The revocations after a cursor, in order, without those past their time, and the cursor to
    /// go on from. [`Cursor::default`] reads from the start. The answer may be a page: go on until
    /// the cursor stays where it is.
    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError>;

    /// Where the list of revocations ends, and the epoch as [`Store::epoch`] gives it: whoever has read up
    /// to there knows all.
    async fn revocation_head(&self, candidate: &StoreEpoch) -> Result<ListHead, StoreError> {
        Ok(ListHead {
            epoch: self.epoch(candidate).await?,
            end: None,
            followers: 1,
        })
    }

    /// Waits until there may be new revocations, at most `limit`, and tells what it knows of them. May
    /// return early for no reason. For one waiter: a second one may be told late, or not.
    async fn revocation_hint(&self, limit: Duration) -> Hint;

    /// The time by a clock of its own, where it has one that all replicas share.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Forgets for good what has expired. Called every few seconds, with a time that it surely is.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;

    /// How the store is set up, where that is not all in our hands.
    async fn examine(&self) -> Examined {
        Examined::default()
    }

    /// All that is kept at this moment, to be read at leisure; `None` for a store that is backed up by its
    /// own means.
    async fn backup(&self) -> Result<Option<StoreBackup>, StoreError> {
        Ok(None)
    }

    /// Whether the store answers and takes writes.
    async fn ping(&self, now: Timestamp) -> Result<(), StoreError>;
}
