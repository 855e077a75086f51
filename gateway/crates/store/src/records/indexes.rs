//! Which grants and codes belong to whom: indexes by user and by client, so that finding them costs what
//! is found. Every write of such a record enters it ([`crate::store::Store::put`]).
//!
//! # What was written without
//!
//! A version from before there were indexes writes records that are in none. So an index counts only once
//! a walk through the tables has entered what was not: until then lists read the table, as that version
//! does. A walk that is cut short begins anew; what it entered stays entered.
//!
//! - The embedded store has one gateway at a time, and before this one it may have had one of an earlier
//!   version. Each start walks.
//! - Redis may have replicas of an earlier version at this moment, while they are upgraded one by one. The
//!   mark in the store says since when there is a gateway that keeps indexes; the walk begins [`SETTLING`]
//!   after that. By then all replicas must be of a version that does. The mark lapses when no gateway has
//!   renewed it for [`LAPSE`]: an earlier version may have run since, and all begins anew.
//! - What slipped through all the same, such as from one replica that was upgraded late, is found by the
//!   walk of the next day, and by the next refresh of the grant. Cutting somebody off does not depend on
//!   it: what is from before the cut is refused by its moment. That an identity provider's word may not
//!   bring back what it gave (`withheld`, in gateway-oauth) does: it is noted of the grants that are found.
//!
//! A record that says of nobody whose it is keeps the index from counting: it may be anybody's, and whoever
//! cuts somebody off must hear of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::{Record, decode, encode};
use super::grants::GrantsOf;
use super::page::Listed;
use crate::error::{StoreError, unless_conflict};
use crate::key::{Index, Key, KeyKind, Table};
use crate::store::{Inserted, Listing};
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;

/// How long replicas of an earlier version may run beside the first of this one.
const SETTLING: Duration = Duration::from_secs(3600);

/// How long nobody may have renewed the mark.
const LAPSE: Duration = Duration::from_secs(10 * 60);

/// Between two walks.
const BETWEEN_WALKS: Duration = Duration::from_secs(24 * 3600);

/// The same where a record keeps the index from counting: the operator may have taken it away.
const BETWEEN_WALKS_IF_UNREADABLE: Duration = Duration::from_secs(3600);

/// How long a walk is left to whoever began it and is heard of no more.
const LEASE: Duration = Duration::from_secs(120);

/// Records in one step of a walk: Redis does nothing else meanwhile.
const STEP: usize = 200;

/// What is indexed.
const INDEXED: [KeyKind; 2] = [KeyKind::Grant, KeyKind::Code];

impl Index {
    fn of_user(table: Table, user: &UserId) -> Self {
        Self::new(table, format!("user:{user}"))
    }

    fn of_client(table: Table, client: &ClientId) -> Self {
        Self::new(table, format!("client:{client}"))
    }
}

impl Key {
    /// The same key, of what belongs to a user and a client.
    pub(super) fn owned_by(self, user: &UserId, client: &ClientId) -> Self {
        let table = self.table();
        self.indexed([Index::of_user(table, user), Index::of_client(table, client)])
    }

    /// Of the mark of the indexes.
    fn index_mark() -> Self {
        Self::new(KeyKind::IndexMark, "indexes")
    }

    /// Of the mark that somebody walks.
    fn index_walk() -> Self {
        Self::new(KeyKind::IndexWalk, "index_walk")
    }
}

impl GrantsOf<'_> {
    /// The index that names all of them. A user has few, a client may have very many.
    fn index(&self, table: Table) -> Option<Index> {
        match (self.user, self.client) {
            (Some(user), _) => Some(Index::of_user(table, user)),
            (None, Some(client)) => Some(Index::of_client(table, client)),
            (None, None) => None,
        }
    }
}

/// What this process knows of the indexes of a store that no other uses.
#[derive(Debug, Default)]
pub(crate) struct ExclusiveIndexes {
    are_complete: AtomicBool,
    /// When they were last walked, in milliseconds; zero: never.
    walked: AtomicU64,
}

/// Since when indexes are kept in a store that others use, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IndexMark {
    /// Since when there is, without a break, a gateway that keeps them.
    since: Timestamp,
    /// The last walk that came to its end.
    walk: Option<CompletedWalk>,
}

/// A walk that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CompletedWalk {
    begun: Timestamp,
    /// Records that don't say whose they are.
    unreadable: usize,
}

impl Record for IndexMark {}

impl IndexMark {
    /// The last walk, if nothing was written without an index since it began.
    fn settled_walk(&self) -> Option<&CompletedWalk> {
        let settled = self.since + SETTLING;
        self.walk.as_ref().filter(|walk| settled <= walk.begun)
    }

    fn is_complete(&self) -> bool {
        self.settled_walk().is_some_and(|walk| walk.unreadable == 0)
    }

    fn is_walk_due(&self, now: Timestamp) -> bool {
        self.since + SETTLING <= now && self.settled_walk().is_none_or(|walk| walk.is_old(now))
    }
}

impl CompletedWalk {
    fn is_old(&self, now: Timestamp) -> bool {
        let between = if self.unreadable == 0 {
            BETWEEN_WALKS
        } else {
            BETWEEN_WALKS_IF_UNREADABLE
        };
        now.since(self.begun) >= between
    }
}

/// A walk through what is indexed.
#[derive(Debug)]
pub(crate) struct IndexWalk {
    begun: Timestamp,
    /// The mark as it was read, in a store that others use, too.
    mark: Option<(IndexMark, Vec<u8>)>,
    /// How many of [`INDEXED`] are done.
    kinds: usize,
    after: Option<String>,
    /// Records that were in no index.
    pub(crate) entered: usize,
    /// Records that don't say whose they are.
    pub(crate) unreadable: usize,
}

/// Whose a record is, whatever else it is.
#[derive(Deserialize)]
struct Owners {
    user: UserId,
    client: ClientId,
}

impl Records {
    /// Where what belongs to somebody is listed.
    pub(super) async fn listed(
        &self,
        kind: KeyKind,
        of: GrantsOf<'_>,
        now: Timestamp,
    ) -> Result<Listed, StoreError> {
        match of.index(kind.table()) {
            Some(index) if self.has_complete_indexes(now).await? => Ok(Listed::by(kind, index)),
            _ => Ok(Listed::all(kind)),
        }
    }

    /// Whether lists are read from indexes.
    pub(crate) async fn has_complete_indexes(&self, now: Timestamp) -> Result<bool, StoreError> {
        if !self.store.is_shared() {
            return Ok(self.indexes.are_complete.load(Ordering::Relaxed));
        }
        let key = Key::index_mark();
        let mark = self.load::<IndexMark>(&key, now).await;
        let mark = self.unless_unreadable(&key, mark)?;
        Ok(mark.is_some_and(|mark| mark.is_complete()))
    }

    /// What this process knows of the indexes of a store that no other uses.
    pub(crate) fn exclusive_indexes(&self) -> &Arc<ExclusiveIndexes> {
        &self.indexes
    }

    /// Says in the store that indexes are kept, and begins a walk if it is this gateway's turn.
    pub(crate) async fn begin_index_walk(
        &self,
        now: Timestamp,
    ) -> Result<Option<IndexWalk>, StoreError> {
        let walk = |mark| IndexWalk {
            begun: now,
            mark,
            kinds: 0,
            after: None,
            entered: 0,
            unreadable: 0,
        };
        if !self.store.is_shared() {
            let walked = Timestamp::from_millis(self.indexes.walked.load(Ordering::Relaxed));
            let last = CompletedWalk {
                begun: walked,
                unreadable: usize::from(!self.indexes.are_complete.load(Ordering::Relaxed)),
            };
            let is_due = walked.millis() == 0 || last.is_old(now);
            return Ok(is_due.then(|| walk(None)));
        }
        let (key, until) = (Key::index_mark(), now + LAPSE);
        let first = IndexMark {
            since: now,
            walk: None,
        };
        let value = encode(&first);
        let inserted = self.store.insert(&key, &value, Some(until), now).await?;
        let (mark, seen) = match inserted {
            Inserted::New => (first, value),
            Inserted::Exists(seen) => {
                // One that can't be read is left to lapse, and all begins anew.
                let mark = decode(key.kind(), &seen)?;
                self.store.extend(&key, until, now).await?;
                (mark, seen)
            }
        };
        let is_mine =
            mark.is_walk_due(now) && self.once(&Key::index_walk(), now + LEASE, now).await?;
        Ok(is_mine.then(|| walk(Some((mark, seen)))))
    }

    /// Enters what the next page of a walk has. `false` at its end. After a fault the same page is next.
    pub(crate) async fn walk_on(
        &self,
        walk: &mut IndexWalk,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(kind) = INDEXED.get(walk.kinds) else {
            return Ok(false);
        };
        let listing = Listing::of(kind.table(), walk.after.as_deref(), STEP);
        let page = self.store.list(listing, now).await?;
        let is_last = page.len() < STEP;
        let mut keys = Vec::with_capacity(page.len());
        let (mut last, mut unreadable) = (None, 0);
        for (name, value) in page {
            match serde_json::from_slice::<Owners>(&value) {
                Ok(Owners { user, client }) => {
                    let key = Key::new(*kind, name.as_str());
                    keys.push(key.owned_by(&user, &client));
                }
                Err(_) => unreadable += 1,
            }
            last = Some(name);
        }
        let entered = if keys.is_empty() {
            0
        } else {
            self.store.enter(&keys).await?
        };
        if walk.mark.is_some() {
            // The mark too: nobody else may be there to renew it, and a walk may take longer than it lasts.
            for (key, until) in [
                (Key::index_walk(), now + LEASE),
                (Key::index_mark(), now + LAPSE),
            ] {
                self.store.extend(&key, until, now).await?;
            }
        }
        // Only now, so that a step that failed can be made again.
        walk.entered += entered;
        walk.unreadable += unreadable;
        walk.after = last;
        if is_last {
            walk.kinds += 1;
            walk.after = None;
        }
        Ok(walk.kinds < INDEXED.len())
    }

    /// Notes that a walk came to its end: from now on the indexes count, if they are complete.
    pub(crate) async fn end_index_walk(
        &self,
        walk: &IndexWalk,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let completed = CompletedWalk {
            begun: walk.begun,
            unreadable: walk.unreadable,
        };
        let Some((mark, seen)) = &walk.mark else {
            let are_complete = completed.unreadable == 0;
            let indexes = &self.indexes;
            indexes.are_complete.store(are_complete, Ordering::Relaxed);
            let begun = completed.begun.millis();
            indexes.walked.store(begun, Ordering::Relaxed);
            return Ok(());
        };
        let next = encode(&IndexMark {
            walk: Some(completed),
            ..mark.clone()
        });
        let (key, until) = (Key::index_mark(), Some(now + LAPSE));
        // A mark that lapsed meanwhile, or another walk's, stays.
        let replaced = self.store.replace(&key, seen, &next, until, now).await;
        unless_conflict(replaced)?;
        self.store.remove(&Key::index_walk()).await?;
        Ok(())
    }

    /// Walks at once, as at `now`, if a walk is due.
    #[cfg(test)]
    pub(crate) async fn index_now(&self, now: Timestamp) -> Option<IndexWalk> {
        let mut walk = self.begin_index_walk(now).await.unwrap()?;
        while self.walk_on(&mut walk, now).await.unwrap() {}
        self.end_index_walk(&walk, now).await.unwrap();
        Some(walk)
    }
}
