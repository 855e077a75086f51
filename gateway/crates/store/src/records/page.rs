//! Lists of what is kept, a page at a time.
//!
//! There is no index: a filter reads the whole table, in pages. That is for pages that a user opens
//! and commands that an operator types, never for a call.

use super::{Record, Records, decode};
use crate::{KeyKind, StoreError};
use gateway_core::clock::Timestamp;

/// Records read in one round trip.
const READ: usize = 500;

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of their keys.
    pub entries: Vec<T>,
    /// What to go on after; `None` at the end of the list.
    pub next: Option<String>,
}

/// All of a list that can be read. For revoking: one record that can't be must not keep the others.
#[derive(Debug)]
pub struct Readable<T> {
    /// In the order of their keys.
    pub entries: Vec<T>,
    /// Why a record could not be read, if so.
    pub unreadable: Option<StoreError>,
}

impl Records {
    /// All records of one kind that `includes` takes and that can be read.
    pub(super) async fn readable<T: Record>(
        &self,
        kind: KeyKind,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Readable<T>, StoreError> {
        let mut found = Readable {
            entries: Vec::new(),
            unreadable: None,
        };
        let mut after: Option<String> = None;
        loop {
            let read = self.store.list(kind.table(), after.as_deref(), READ, now);
            let read = read.await?;
            let is_last = read.len() < READ;
            for (key, value) in read {
                match decode::<T>(kind, &value) {
                    Ok(entry) if includes(&entry) => found.entries.push(entry),
                    Ok(_) => {}
                    Err(error) => found.unreadable = Some(error),
                }
                after = Some(key);
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Up to `limit` records of one kind after the key `after`, of those that `includes` takes.
    pub(super) async fn page<T: Record>(
        &self,
        kind: KeyKind,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Page<T>, StoreError> {
        let mut after = after.map(str::to_owned);
        let mut entries = Vec::new();
        loop {
            let read = self.store.list(kind.table(), after.as_deref(), READ, now);
            let read = read.await?;
            let is_last = read.len() < READ;
            for (key, value) in read {
                let entry: T = decode(kind, &value)?;
                if includes(&entry) {
                    if entries.len() == limit {
                        return Ok(Page {
                            entries,
                            next: after,
                        });
                    }
                    entries.push(entry);
                }
                after = Some(key);
            }
            if is_last {
                return Ok(Page {
                    entries,
                    next: None,
                });
            }
        }
    }
}
