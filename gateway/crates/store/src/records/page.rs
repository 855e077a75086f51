//! Lists of what is kept, a page at a time. A record that can't be read costs a list itself and nothing
//! else: it is left out and told of (`left_out`).
//!
//! What belongs to a user or a client is read from an index (`indexes`). Where there is none, a filter
//! reads the whole table, in pages. That is for pages that a user opens and commands that an operator
//! types, never for a call.

use super::access::Records;
use super::encoding::{Record, decode};
use crate::error::StoreError;
use crate::key::{Index, Key, KeyKind, Table};
use gateway_core::clock::Timestamp;

/// Records read in one round trip at most.
const READ: usize = 500;

/// Where a list is read from.
pub(super) enum Source {
    /// All of a table.
    Table(Table),
    /// What an index names.
    Index(Index),
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of their keys.
    pub entries: Vec<T>,
    /// What to go on after; `None` at the end of the list.
    pub next: Option<String>,
}

/// All of a list that can be read, for those who must know whether there is more.
#[derive(Debug)]
pub struct Readable<T> {
    /// In the order of their keys.
    pub entries: Vec<T>,
    /// Why a record is not among them that may belong to them, if so.
    pub unreadable: Option<StoreError>,
}

impl Records {
    /// What stands under one key, for a list that shows it beside something else: nothing where that
    /// record can't be read. Any other fault stays one.
    pub fn unless_unreadable<T>(
        &self,
        key: &Key,
        found: Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match found {
            Err(error) if error.concerns_one_record() => {
                self.left_out.tell(key.kind(), key.name(), &error);
                Ok(None)
            }
            found => found,
        }
    }

    async fn read(
        &self,
        source: &Source,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        match source {
            Source::Table(table) => self.store.list(*table, after, limit, now).await,
            Source::Index(index) => self.store.list_index(index, after, limit, now).await,
        }
    }

    /// All records of one kind that `includes` takes and that can be read.
    pub(super) async fn readable<T: Record>(
        &self,
        kind: KeyKind,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Readable<T>, StoreError> {
        let source = Source::Table(kind.table());
        self.readable_from(&source, kind, "", now, includes).await
    }

    /// The same, of a kind that shares its table with others: the names of its records begin with `under`.
    pub(super) async fn readable_under<T: Record>(
        &self,
        kind: KeyKind,
        under: &str,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Readable<T>, StoreError> {
        let source = Source::Table(kind.table());
        self.readable_from(&source, kind, under, now, includes)
            .await
    }

    /// The same, from where `source` says.
    pub(super) async fn readable_from<T: Record>(
        &self,
        source: &Source,
        kind: KeyKind,
        under: &str,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Readable<T>, StoreError> {
        let mut found = Readable {
            entries: Vec::new(),
            unreadable: None,
        };
        let mut after = Some(under.to_owned()).filter(|under| !under.is_empty());
        loop {
            let read = self.read(source, after.as_deref(), READ, now).await?;
            let is_last = read.len() < READ;
            for (key, value) in read {
                if !key.starts_with(under) {
                    return Ok(found);
                }
                match decode::<T>(kind, &value) {
                    Ok(entry) if includes(&entry) => found.entries.push(entry),
                    Ok(_) => {}
                    Err(error) => {
                        self.left_out.tell(kind, &key, &error);
                        found.unreadable = Some(error);
                    }
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
        let source = Source::Table(kind.table());
        self.page_from(&source, kind, after, limit, now, includes)
            .await
    }

    /// The same, from where `source` says.
    pub(super) async fn page_from<T: Record>(
        &self,
        source: &Source,
        kind: KeyKind,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Page<T>, StoreError> {
        let mut after = after.map(str::to_owned);
        let mut entries = Vec::new();
        // Mostly all are taken, and one more tells whether there are more.
        let mut size = limit.saturating_add(1).min(READ);
        loop {
            let read = self.read(source, after.as_deref(), size, now).await?;
            let is_last = read.len() < size;
            size = READ;
            for (key, value) in read {
                match decode::<T>(kind, &value) {
                    Ok(entry) if includes(&entry) => {
                        if entries.len() == limit {
                            return Ok(Page {
                                entries,
                                next: after,
                            });
                        }
                        entries.push(entry);
                    }
                    Ok(_) => {}
                    Err(error) => self.left_out.tell(kind, &key, &error),
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
