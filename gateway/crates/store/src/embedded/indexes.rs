//! The indexes of the embedded store: which records of a table belong to whom. Owns: their two tables in
//! the file, which change in the transaction of the record. Not: the records.
//!
//! A version from before there were indexes knows neither table. What it removes stays named here until
//! somebody meets it ([`Batch::forget_missing`]).

use std::ops::Bound;

use redb::{
    Database, Error, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _,
    WriteTransaction,
};

use super::tables::{Batch, Change, Snapshot, entries};
use crate::key::{Index, Key, Table};
use crate::store::Row;
use gateway_core::clock::Timestamp;

/// What indexes name: the table, the index, the key.
const INDEX: TableDefinition<(&str, &str, &str), ()> = TableDefinition::new("index");
/// In which indexes a record is: the table and the key.
const INDEXED: TableDefinition<(&str, &str), Vec<&str>> = TableDefinition::new("indexed");

/// Whether a table of the file is one of these.
pub(super) fn is_known(name: &str) -> bool {
    [INDEX.name(), INDEXED.name()].contains(&name)
}

/// Whether a file has the tables.
pub(super) fn are_prepared(database: &Database) -> bool {
    let Ok(transaction) = database.begin_read() else {
        return false;
    };
    transaction.open_table(INDEX).is_ok() && transaction.open_table(INDEXED).is_ok()
}

/// Makes the tables where a file has none yet.
pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), Error> {
    transaction.open_table(INDEX)?;
    transaction.open_table(INDEXED)?;
    Ok(())
}

/// What reading an index met.
#[derive(Debug, Default)]
pub(super) struct IndexPage {
    /// The entries, in the order of their keys.
    pub(super) entries: Vec<Row>,
    /// Keys that it names and of which there is no record.
    pub(super) missing: Vec<String>,
}

impl Snapshot {
    /// The indexes that a record is in.
    pub(super) fn indexes_of(&self, table: Table, key: &str) -> Result<Vec<String>, Error> {
        let indexed = self.0.open_table(INDEXED)?;
        let names = indexed.get((table.name(), key))?;
        let names = names.map(|names| names.value().into_iter().map(str::to_owned).collect());
        Ok(names.unwrap_or_default())
    }

    pub(super) fn list_index(
        &self,
        index: &Index,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<IndexPage, Error> {
        let (table, name) = (index.table().name(), index.name());
        let records = self.0.open_table(entries(index.table()))?;
        let keys = self.0.open_table(INDEX)?;
        let from = after.map_or(Bound::Included((table, name, "")), |after| {
            Bound::Excluded((table, name, after))
        });
        let mut page = IndexPage::default();
        for row in keys.range((from, Bound::Unbounded))? {
            if page.entries.len() == limit {
                break;
            }
            let (row, _) = row?;
            let (of_table, of_index, key) = row.value();
            if (of_table, of_index) != (table, name) {
                break;
            }
            match records.get(key)? {
                Some(entry) => {
                    let (_, expires, value) = entry.value();
                    if now.millis() < expires {
                        page.entries.push((key.to_owned(), value.to_vec()));
                    }
                }
                None => page.missing.push(key.to_owned()),
            }
        }
        Ok(page)
    }
}

impl Batch<'_> {
    /// Enters a record in these indexes and takes it out of all others; `true` if it was not in all of them
    /// before.
    pub(super) fn enter_indexes(
        &mut self,
        table: Table,
        key: &str,
        names: &[String],
    ) -> Result<bool, Error> {
        let mut indexed = self.transaction.open_table(INDEXED)?;
        let present = indexed.get((table.name(), key))?;
        let is_same = present.is_some_and(|present| present.value() == names);
        if !is_same {
            drop(indexed);
            self.leave_indexes(table, key)?;
            indexed = self.transaction.open_table(INDEXED)?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            indexed.insert((table.name(), key), names)?;
            self.change = Change::Values;
        }
        let mut keys = self.transaction.open_table(INDEX)?;
        let mut is_new = false;
        for name in names {
            let row = (table.name(), name.as_str(), key);
            if keys.get(row)?.is_none() {
                keys.insert(row, ())?;
                self.change = Change::Values;
                is_new = true;
            }
        }
        Ok(is_new)
    }

    /// Takes a record out of every index that it is in.
    pub(super) fn leave_indexes(&mut self, table: Table, key: &str) -> Result<(), Error> {
        let mut indexed = self.transaction.open_table(INDEXED)?;
        let Some(names) = indexed.remove((table.name(), key))? else {
            return Ok(());
        };
        let mut keys = self.transaction.open_table(INDEX)?;
        for name in names.value() {
            keys.remove((table.name(), name, key))?;
        }
        self.change = Change::Values;
        Ok(())
    }

    /// Enters records in the indexes of their keys, if they are there.
    pub(super) fn enter(&mut self, keys: &[Key]) -> Result<usize, Error> {
        let mut entered = 0;
        for key in keys {
            let is_there = self.has_entry(key.table(), key.name())?;
            if is_there && self.enter_indexes(key.table(), key.name(), key.indexes())? {
                entered += 1;
            }
        }
        Ok(entered)
    }

    /// Takes keys out of an index whose records are still missing.
    pub(super) fn forget_missing(&mut self, index: &Index, keys: &[String]) -> Result<(), Error> {
        for key in keys {
            if !self.has_entry(index.table(), key)? {
                self.leave_indexes(index.table(), key)?;
                let mut named = self.transaction.open_table(INDEX)?;
                named.remove((index.table().name(), index.name(), key.as_str()))?;
                self.change = Change::Values;
            }
        }
        Ok(())
    }
}
