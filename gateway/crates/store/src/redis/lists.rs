//! What reads many records: pages of tables and indexes, and the sweep.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::failure::Failure;
use super::merge::merged;
use super::scripts::{LIST, SWEEP};
use super::spaces::Space;
use super::{Redis, strange};
use crate::error::StoreError;
use crate::key::{Index, Table};
use crate::store::{Listing, Row};
use gateway_core::clock::Timestamp;

/// For one page, however many steps and buckets it takes.
const LISTING: Duration = Duration::from_secs(5);

/// Entries that one step of a sweep removes.
const SWEPT: usize = 500;

impl Redis {
    /// A page of a table, or of an index of it.
    pub(super) async fn page(
        &self,
        listing: Listing<'_>,
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        let buckets = self.spaces.buckets();
        let of = (listing.table, listing.index);
        let read = |bucket: usize, after: Option<String>, limit| {
            self.part(&buckets[bucket], of, after, limit, now)
        };
        let merging = merged(buckets.len(), listing.after, listing.limit, read);
        let page = tokio::time::timeout(LISTING, merging).await;
        page.unwrap_or_else(|_| Err(Failure::LongList.into()))
    }

    /// Whether any bucket has a record of a table. One that says so is enough, whatever became of the others.
    pub(super) async fn any_bucket_holds(
        &self,
        table: Table,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let buckets = self.spaces.buckets().iter();
        let mut asking: FuturesUnordered<_> = buckets
            .map(|space| self.part(space, (table, None), None, 1, now))
            .collect();
        let mut fault = None;
        while let Some(rows) = asking.next().await {
            match rows {
                Ok(rows) if rows.is_empty() => {}
                Ok(_) => return Ok(true),
                Err(error) => fault = Some(error),
            }
        }
        fault.map_or(Ok(false), Err)
    }

    /// A page of the part that one space has.
    async fn part(
        &self,
        space: &Space,
        (table, index): (Table, Option<&Index>),
        after: Option<String>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        let (keys, what) = match index {
            Some(index) => (
                format!("{}{}", space.indexes_of(table), index.name()),
                "index",
            ),
            None => (space.keys_of(table), "table"),
        };
        let mut start = after.map_or_else(|| b"-".to_vec(), |after| beyond(after.as_bytes()));
        let mut page = Vec::new();
        loop {
            let mut script = LIST.prepare_invoke();
            script
                .key(&keys)
                .arg(space.name(&format!("{}:", table.name())))
                .arg(&start)
                .arg(limit - page.len())
                .arg(now.millis())
                .arg(what);
            let flat: Vec<Vec<u8>> = self.ask(space, script).await?;
            let mut flat = flat.into_iter();
            let next = flat.next().ok_or_else(strange)?;
            while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
                page.push((String::from_utf8(key).map_err(|_| strange())?, value));
            }
            if next.is_empty() || page.len() >= limit {
                return Ok(page);
            }
            start = beyond(&next);
        }
    }

    /// Removes what has expired in one space.
    pub(super) async fn sweep_space(
        &self,
        space: &Space,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        loop {
            let mut script = SWEEP.prepare_invoke();
            script
                .key(space.name("expiry"))
                .key(space.name("revocations"))
                .key(space.name("revocations:ends"))
                .arg(now.millis())
                .arg(SWEPT)
                .arg(space.prefix());
            let swept: usize = self.ask(space, script).await?;
            if swept < SWEPT {
                return Ok(());
            }
        }
    }
}

/// Everything after a key, as Redis is told.
fn beyond(key: &[u8]) -> Vec<u8> {
    [b"(", key].concat()
}
