//! The tables of the embedded store and every promise as a step of one transaction. Owns: the
//! layout of the file, the index of what expires. Not: threads, commits, faults.

use std::ops::Bound;
use std::time::Duration;

use redb::{
    Database, Error, ReadTransaction, ReadableDatabase as _, ReadableTable,
    ReadableTableMetadata as _, TableDefinition, TableError, TableHandle as _, WriteTransaction,
};

use super::indexes;
use crate::backup::BackupValue;
use crate::epoch::StoreEpoch;
use crate::key::{CountKey, Key, Table};
use crate::revocation::{Cursor, Revocation};
use crate::store::{COUNT_SKEW, Inserted, Sizes, TakeOutcome};
use gateway_core::clock::Timestamp;

/// The layout that this code reads and writes.
const LAYOUT: &[u8] = b"1";

/// Whether it was taken, when it expires (milliseconds), the value.
type Entry = (bool, u64, &'static [u8]);

/// Single values about the store itself.
pub(super) const STORE: TableDefinition<&str, &[u8]> = TableDefinition::new("store");
/// What expires: when (milliseconds), the table, the key.
pub(super) const EXPIRY: TableDefinition<(u64, &str, &str), ()> = TableDefinition::new("expiry");
/// Events counted, and when their window ends (milliseconds).
pub(super) const COUNTS: TableDefinition<&str, (u64, u64)> = TableDefinition::new("count");
/// What was drawn from quotas: the level, its moment, and when it says nothing any more (milliseconds).
pub(super) const DRAWN: TableDefinition<&str, (u64, u64, u64)> = TableDefinition::new("drawn");
/// What those who drew were answered last, as JSON.
pub(super) const ANSWERS: TableDefinition<&str, &[u8]> = TableDefinition::new("drawn.answers");
/// Revocations by number: the id, and when to forget it (milliseconds).
pub(super) const REVOCATIONS: TableDefinition<u64, (&str, u64)> =
    TableDefinition::new("revocation");

/// The time of what never expires.
pub(super) const NEVER: u64 = u64::MAX;
/// Revocations in one page.
const PAGE: usize = 10_000;
/// A store that took a write within this time takes writes.
const PROOF: Duration = Duration::from_secs(1);

/// The table of the file that keeps a [`Table`].
pub(super) const fn entries(table: Table) -> TableDefinition<'static, &'static str, Entry> {
    TableDefinition::new(match table {
        Table::Client => "value.client",
        Table::User => "value.user",
        Table::Grant => "value.grant",
        Table::Code => "value.code",
        Table::Session => "value.session",
        Table::Once => "value.once",
        Table::Setting => "value.setting",
    })
}

/// Whether a table of the file is one of these.
pub(super) fn is_known(name: &str) -> bool {
    let mut values = Table::ALL.into_iter().map(entries);
    values.any(|table| table.name() == name)
        || [
            STORE.name(),
            EXPIRY.name(),
            COUNTS.name(),
            DRAWN.name(),
            ANSWERS.name(),
            REVOCATIONS.name(),
        ]
        .contains(&name)
}

/// Makes the tables of a new file, and those that an earlier version did not make; refuses a file of
/// another layout.
pub(super) fn prepare(database: &Database) -> Result<(), String> {
    match layout(database) {
        Ok(Some(found)) if found == LAYOUT && indexes::are_prepared(database) => return Ok(()),
        Ok(Some(found)) if found == LAYOUT => {}
        Ok(Some(found)) => {
            return Err(format!(
                "it has layout {}, this version reads layout {}",
                String::from_utf8_lossy(&found),
                String::from_utf8_lossy(LAYOUT)
            ));
        }
        Ok(None) => {}
        Err(error) => return Err(error.to_string()),
    }
    let make = || -> Result<(), Error> {
        let transaction = database.begin_write()?;
        for table in Table::ALL {
            transaction.open_table(entries(table))?;
        }
        transaction.open_table(EXPIRY)?;
        transaction.open_table(COUNTS)?;
        transaction.open_table(DRAWN)?;
        transaction.open_table(ANSWERS)?;
        transaction.open_table(REVOCATIONS)?;
        indexes::prepare(&transaction)?;
        transaction.open_table(STORE)?.insert("layout", LAYOUT)?;
        transaction.commit()?;
        Ok(())
    };
    make().map_err(|error| error.to_string())
}

fn layout(database: &Database) -> Result<Option<Vec<u8>>, Error> {
    match database.begin_read()?.open_table(STORE) {
        Ok(table) => Ok(table.get("layout")?.map(|found| found.value().to_vec())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What was committed at one moment.
pub(super) struct Snapshot(pub(super) ReadTransaction);

impl Snapshot {
    pub(super) fn epoch(&self) -> Result<Option<StoreEpoch>, Error> {
        let table = self.0.open_table(STORE)?;
        let found = table.get("birth")?;
        found.map(|bytes| parse_epoch(bytes.value())).transpose()
    }

    pub(super) fn last_revocation(&self) -> Result<u64, Error> {
        let table = self.0.open_table(STORE)?;
        let found = table.get("last_revocation")?;
        found.map_or(Ok(0), |bytes| parse_number(bytes.value()))
    }

    /// Of an entry that is there: whether it was taken, when it expires, its value.
    pub(super) fn entry(
        &self,
        table: Table,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<(bool, Option<Timestamp>, BackupValue)>, Error> {
        let found = self.0.open_table(entries(table))?.get(key)?;
        Ok(found.and_then(|entry| {
            let (used, expires, value) = entry.value();
            let ends = (expires != NEVER).then(|| Timestamp::from_millis(expires));
            (now.millis() < expires).then(|| (used, ends, BackupValue::new(value)))
        }))
    }

    pub(super) fn value(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, Error> {
        let table = self.0.open_table(entries(key.table()))?;
        let found = table.get(key.name())?;
        Ok(found.and_then(|entry| {
            let (_, expires, value) = entry.value();
            (now.millis() < expires).then(|| value.to_vec())
        }))
    }

    pub(super) fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let table = self.0.open_table(entries(table))?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Vec::new();
        for row in table.range::<&str>((from, Bound::Unbounded))? {
            if page.len() == limit {
                break;
            }
            let (key, entry) = row?;
            let (_, expires, value) = entry.value();
            if now.millis() < expires {
                page.push((key.value().to_owned(), value.to_vec()));
            }
        }
        Ok(page)
    }

    pub(super) fn sizes(&self) -> Result<Sizes, Error> {
        let mut sizes = Sizes::default();
        for (size, table) in sizes.tables.iter_mut().zip(Table::ALL) {
            *size = number(self.0.open_table(entries(table))?.len()?);
        }
        sizes.revocations = number(self.0.open_table(REVOCATIONS)?.len()?);
        Ok(sizes)
    }

    pub(super) fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), Error> {
        let table = self.0.open_table(REVOCATIONS)?;
        let mut cursor = after;
        let mut live = Vec::new();
        for row in table.range(after.number().saturating_add(1)..)?.take(PAGE) {
            let (number, row) = row?;
            cursor = Cursor::at(number.value());
            let (id, expires) = row.value();
            if now.millis() < expires {
                live.push(Revocation {
                    id: id.to_owned(),
                    expires: Timestamp::from_millis(expires),
                });
            }
        }
        Ok((live, cursor))
    }
}

/// What a batch asks of its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Nothing was written.
    None,
    /// Only counts were.
    Counts,
    /// Something that must be durable before anybody hears of it.
    Values,
}

/// Writes on their way into one commit.
pub(super) struct Batch<'t> {
    pub(super) transaction: &'t WriteTransaction,
    pub(super) change: Change,
}

/// An entry as it was found, alive or not.
struct Found {
    used: bool,
    expires: u64,
    value: Vec<u8>,
}

impl<'t> Batch<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Self {
        Self {
            transaction,
            change: Change::None,
        }
    }

    pub(super) fn change(&self) -> Change {
        self.change
    }

    pub(super) fn epoch(&mut self, candidate: &StoreEpoch) -> Result<StoreEpoch, Error> {
        let mut table = self.transaction.open_table(STORE)?;
        if let Some(found) = table.get("birth")? {
            return parse_epoch(found.value());
        }
        let bytes = serde_json::to_vec(candidate).expect("an epoch is a text and a number");
        table.insert("birth", bytes.as_slice())?;
        self.change = Change::Values;
        Ok(candidate.clone())
    }

    pub(super) fn put(
        &mut self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), Error> {
        self.leave_indexes(key.table(), key.name())?;
        self.set(key, value, expires, false)
    }

    pub(super) fn insert(
        &mut self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, Error> {
        if let Some(found) = self.live(key, now)? {
            return Ok(Inserted::Exists(found.value));
        }
        self.put(key, value, expires)?;
        Ok(Inserted::New)
    }

    pub(super) fn replace(
        &mut self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        match self.live(key, now)? {
            Some(found) if found.value == seen => {
                self.set(key, value, expires, found.used)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn take(&mut self, key: &Key, now: Timestamp) -> Result<TakeOutcome, Error> {
        let Some(found) = self.live(key, now)? else {
            return Ok(TakeOutcome::Unknown);
        };
        if found.used {
            return Ok(TakeOutcome::Again(found.value));
        }
        self.change = Change::Values;
        self.transaction
            .open_table(entries(key.table()))?
            .insert(key.name(), (true, found.expires, found.value.as_slice()))?;
        Ok(TakeOutcome::Fresh(found.value))
    }

    pub(super) fn remove(&mut self, key: &Key) -> Result<bool, Error> {
        let Some(found) = self.found(key)? else {
            return Ok(false);
        };
        self.change = Change::Values;
        self.transaction
            .open_table(entries(key.table()))?
            .remove(key.name())?;
        self.leave_indexes(key.table(), key.name())?;
        self.forget_expiry(found.expires, key.table().name(), key.name())?;
        Ok(true)
    }

    pub(super) fn extend(
        &mut self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(found) = self.live(key, now)? else {
            return Ok(false);
        };
        if found.expires < until.millis() {
            self.set(key, &found.value, Some(until), found.used)?;
        }
        Ok(true)
    }

    pub(super) fn count(
        &mut self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let key = key.name();
        let mut counts = self.transaction.open_table(COUNTS)?;
        let present = counts.get(key)?.map(|row| row.value());
        let latest = (now + window).millis();
        // A window that would end much later than one begun now stems from a clock that jumped back.
        let bearable = (now + window + COUNT_SKEW).millis();
        let current = present.filter(|(_, ends)| now.millis() < *ends && *ends <= bearable);
        let (count, ends) = current.unwrap_or((0, latest));
        counts.insert(key, (count + 1, ends))?;
        drop(counts);
        self.change = self.change.max(Change::Counts);
        if current.is_none() {
            if let Some((_, stale)) = present {
                self.forget_expiry(stale, "count", key)?;
            }
            self.note_expiry(ends, "count", key)?;
        }
        Ok(count + 1)
    }

    pub(super) fn revoke(&mut self, revocation: &Revocation) -> Result<(), Error> {
        self.change = Change::Values;
        let mut store = self.transaction.open_table(STORE)?;
        let last = match store.get("last_revocation")? {
            Some(bytes) => parse_number(bytes.value())?,
            None => 0,
        };
        let number = last + 1;
        store.insert("last_revocation", number.to_be_bytes().as_slice())?;
        let expires = revocation.expires.millis();
        self.transaction
            .open_table(REVOCATIONS)?
            .insert(number, (revocation.id.as_str(), expires))?;
        self.note_expiry(expires, "revocation", &number.to_string())
    }

    pub(super) fn ping(&mut self, now: Timestamp) -> Result<(), Error> {
        let mut store = self.transaction.open_table(STORE)?;
        let last = match store.get("ping")? {
            Some(bytes) => Timestamp::from_millis(parse_number(bytes.value())?),
            None => Timestamp::from_millis(0),
        };
        if now.since(last) >= PROOF || now < last {
            store.insert("ping", now.millis().to_be_bytes().as_slice())?;
            self.change = Change::Values;
        }
        Ok(())
    }

    fn found(&self, key: &Key) -> Result<Option<Found>, Error> {
        let table = self.transaction.open_table(entries(key.table()))?;
        let found = table.get(key.name())?;
        Ok(found.map(|entry| {
            let (used, expires, value) = entry.value();
            Found {
                used,
                expires,
                value: value.to_vec(),
            }
        }))
    }

    fn live(&self, key: &Key, now: Timestamp) -> Result<Option<Found>, Error> {
        let found = self.found(key)?;
        Ok(found.filter(|found| now.millis() < found.expires))
    }

    fn set(
        &mut self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        used: bool,
    ) -> Result<(), Error> {
        self.change = Change::Values;
        let expires = expires.map_or(NEVER, Timestamp::millis);
        let before = self
            .transaction
            .open_table(entries(key.table()))?
            .insert(key.name(), (used, expires, value))?
            .map(|entry| entry.value().1);
        if !key.indexes().is_empty() {
            self.enter_indexes(key.table(), key.name(), key.indexes())?;
        }
        if before == Some(expires) {
            return Ok(());
        }
        if let Some(before) = before {
            self.forget_expiry(before, key.table().name(), key.name())?;
        }
        self.note_expiry(expires, key.table().name(), key.name())
    }

    pub(super) fn note_expiry(&self, at: u64, table: &str, key: &str) -> Result<(), Error> {
        if at != NEVER {
            let mut index = self.transaction.open_table(EXPIRY)?;
            index.insert((at, table, key), ())?;
        }
        Ok(())
    }

    /// Rows of the index that no version before this one wrote.
    #[cfg(test)]
    pub(super) fn note_for_test(
        &mut self,
        at: Timestamp,
        rows: &[(&str, &str)],
    ) -> Result<(), Error> {
        self.change = Change::Values;
        rows.iter()
            .try_for_each(|(table, key)| self.note_expiry(at.millis(), table, key))
    }

    pub(super) fn forget_expiry(&self, at: u64, table: &str, key: &str) -> Result<(), Error> {
        if at != NEVER {
            let mut index = self.transaction.open_table(EXPIRY)?;
            index.remove((at, table, key))?;
        }
        Ok(())
    }
}

fn parse_epoch(bytes: &[u8]) -> Result<StoreEpoch, Error> {
    serde_json::from_slice(bytes).map_err(|_| damaged("the epoch"))
}

fn parse_number(bytes: &[u8]) -> Result<u64, Error> {
    let bytes = bytes.try_into().map_err(|_| damaged("a number"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn number(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

fn damaged(what: &str) -> Error {
    Error::Corrupted(format!("{what} can't be read"))
}
