//! Reading all that the embedded store keeps as of one moment, a page at a time, while it is written on.
//!
//! Pages come from one snapshot of the file. While it is held, the file keeps the pages that it is made of.

use std::ops::Bound;
use std::sync::Arc;

use redb::{Error, TableHandle as _};

use super::tables::{self, Snapshot, entries};
use super::{Embedded, indexes, unreadable};
use crate::backup::{BackupHead, BackupRow, StoreBackup};
use crate::error::StoreError;
use crate::key::Table;
use crate::revocation::Revocation;

/// What the rows of one page weigh, in bytes.
const PAGE: usize = 512 * 1024;

/// Where the next page begins.
#[derive(Clone, Debug)]
enum Position {
    /// After this key of the table with this number.
    Entries(usize, Option<String>),
    /// After the revocation of this number.
    Revocations(u64),
}

impl Embedded {
    /// All that is kept at this moment. Reading on fails when the file was given up meanwhile, so that what
    /// holds a snapshot never keeps it from being opened again.
    pub(super) async fn begin_backup(&self) -> Result<StoreBackup, StoreError> {
        let shared = Arc::clone(&self.shared);
        let (snapshot, head) = self
            .read(move |snapshot| {
                let head = snapshot.head()?;
                Ok((snapshot, head))
            })
            .await?;
        let mut position = Position::Entries(0, None);
        Ok(StoreBackup::new(head, move || {
            if shared.database.read().is_none() {
                return Err(shared.error());
            }
            let read = snapshot.rows(position.clone());
            let (rows, next) = read.map_err(|error| unreadable(&error))?;
            position = next;
            Ok(rows)
        }))
    }
}

impl Snapshot {
    pub(super) fn head(&self) -> Result<BackupHead, Error> {
        let left_out = self
            .0
            .list_tables()?
            .map(|table| table.name().to_owned())
            .filter(|name| !tables::is_known(name) && !indexes::is_known(name))
            .collect();
        Ok(BackupHead {
            epoch: self.epoch()?,
            last_revocation: self.last_revocation()?,
            left_out,
        })
    }

    fn rows(&self, mut position: Position) -> Result<(Vec<BackupRow>, Position), Error> {
        let mut page = Page::default();
        loop {
            position = match position {
                Position::Entries(number, after) => match Table::ALL.get(number) {
                    Some(table) => match self.entry_rows(*table, after.as_deref(), &mut page)? {
                        Some(last) => Position::Entries(number, Some(last)),
                        None => Position::Entries(number + 1, None),
                    },
                    None => Position::Revocations(0),
                },
                Position::Revocations(after) => {
                    let last = self.revocation_rows(after, &mut page)?;
                    return Ok((page.rows, Position::Revocations(last)));
                }
            };
            if page.is_full() {
                return Ok((page.rows, position));
            }
        }
    }

    /// Adds rows of a table; the last key, if there may be more.
    fn entry_rows(
        &self,
        table: Table,
        after: Option<&str>,
        page: &mut Page,
    ) -> Result<Option<String>, Error> {
        let records = self.0.open_table(entries(table))?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for row in records.range::<&str>((from, Bound::Unbounded))? {
            let (key, entry) = row?;
            let entry = self.backup_entry(table, key.value(), entry.value())?;
            page.add(BackupRow::Entry(entry));
            if page.is_full() {
                return Ok(Some(key.value().to_owned()));
            }
        }
        Ok(None)
    }

    /// Adds revocations; the number of the last.
    fn revocation_rows(&self, after: u64, page: &mut Page) -> Result<u64, Error> {
        let mut last = after;
        for row in self.revocations_after(after)? {
            if page.is_full() {
                break;
            }
            let (number, Revocation { id, expires }) = row?;
            last = number;
            page.add(BackupRow::Revocation {
                number,
                id,
                expires,
            });
        }
        Ok(last)
    }
}

#[derive(Default)]
struct Page {
    rows: Vec<BackupRow>,
    weight: usize,
}

impl Page {
    fn add(&mut self, row: BackupRow) {
        self.weight += row.weight();
        self.rows.push(row);
    }

    const fn is_full(&self) -> bool {
        self.weight >= PAGE
    }
}
