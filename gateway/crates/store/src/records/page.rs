//! Lists of what is kept, a page at a time. A record that can't be read costs a list itself and nothing
//! else: it is left out and told of (`left_out`).
//!
//! What belongs to a user or a client is read from an index (`indexes`). Where there is none, a filter
//! reads the whole table, in pages. That is for pages that a user opens and commands that an operator
//! types, never for a call.

use super::access::Records;
use super::encoding::{Record, decode};
use crate::error::StoreError;
use crate::key::{Index, Key, KeyKind};
use crate::store::Listing;
use gateway_core::clock::Timestamp;

/// Records read in one round trip at most.
const READ: usize = 500;

/// What a list is of.
pub(super) struct Listed {
    kind: KeyKind,
    /// Where it is read from, if not from the whole table.
    index: Option<Index>,
    /// What the names of the records begin with, where their kind shares its table with others.
    under: String,
}

impl Listed {
    /// All records of a kind that has its table for itself.
    pub(super) const fn all(kind: KeyKind) -> Self {
        Self {
            kind,
            index: None,
            under: String::new(),
        }
    }

    /// Those that an index names.
    pub(super) fn by(kind: KeyKind, index: Index) -> Self {
        Self {
            index: Some(index),
            ..Self::all(kind)
        }
    }

    /// Those whose names begin so.
    pub(super) fn under(kind: KeyKind, under: impl Into<String>) -> Self {
        Self {
            under: under.into(),
            ..Self::all(kind)
        }
    }
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

    /// All records of a list that `includes` takes and that can be read.
    pub(super) async fn readable<T: Record>(
        &self,
        listed: &Listed,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Readable<T>, StoreError> {
        let (page, unreadable) = self.read(listed, None, usize::MAX, now, includes).await?;
        Ok(Readable {
            entries: page.entries,
            unreadable,
        })
    }

    /// Up to `limit` records of a list after the key `after`, of those that `includes` takes.
    pub(super) async fn page<T: Record>(
        &self,
        listed: &Listed,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Page<T>, StoreError> {
        let (page, _) = self.read(listed, after, limit, now, includes).await?;
        Ok(page)
    }

    /// A page, and why a record is not in it that may belong there.
    async fn read<T: Record>(
        &self,
        Listed { kind, index, under }: &Listed,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<(Page<T>, Option<StoreError>), StoreError> {
        // Nothing else stands between: a key from elsewhere begins the list, which begins with its table where
        // nothing is `under`.
        let after = after.filter(|after| after.starts_with(under));
        let mut after = after
            .or(Some(under))
            .filter(|it| !it.is_empty())
            .map(str::to_owned);
        let (mut entries, mut unreadable) = (Vec::new(), None);
        // Mostly all are taken, and one more tells whether there are more.
        let mut size = limit.saturating_add(1).min(READ);
        let next = 'read: loop {
            let after_key = after.as_deref();
            let listing = match index {
                Some(index) => Listing::by(index, after_key, size),
                None => Listing::of(kind.table(), after_key, size),
            };
            let read = self.store.list(listing, now).await?;
            let is_last = read.len() < size;
            size = READ;
            for (key, value) in read {
                if !key.starts_with(under) {
                    break 'read None;
                }
                match decode::<T>(*kind, &value) {
                    Ok(entry) if includes(&entry) => {
                        if entries.len() == limit {
                            break 'read after;
                        }
                        entries.push(entry);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.left_out.tell(*kind, &key, &error);
                        unreadable = Some(error);
                    }
                }
                after = Some(key);
            }
            if is_last {
                break None;
            }
        };
        Ok((Page { entries, next }, unreadable))
    }
}
