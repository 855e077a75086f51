//! The tables of the embedded store and the steps that promises are made of, each within a transaction. Owns: the
//! layout of the file, the index of what expires. Not: threads, commits, faults.

use std::ops::Bound;

use redb::{
    Database, Error, ReadTransaction, ReadableDatabase as _, ReadableTable,
    ReadableTableMetadata as _, TableDefinition, TableError, TableHandle as _, WriteTransaction,
};

use super::indexes;
use crate::backup::{BackupEntry, BackupValue};
use crate::epoch::StoreEpoch;
use crate::key::{Key, Table};
use crate::revocation::{Cursor, Revocation};
use crate::store::{Row, Sizes};
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

/// Where [`STORE`] has the number of the last revocation.
pub(super) const LAST_REVOCATION: &str = "last_revocation";
/// The time of what never expires.
pub(super) const NEVER: u64 = u64::MAX;
/// Revocations in one page.
const PAGE: usize = 10_000;

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
        number_in(&self.0.open_table(STORE)?, LAST_REVOCATION)
    }

    /// A record as a row of a backup.
    pub(super) fn backup_entry(
        &self,
        table: Table,
        key: &str,
        (used, expires, value): (bool, u64, &[u8]),
    ) -> Result<BackupEntry, Error> {
        Ok(BackupEntry {
            table: table.name().to_owned(),
            key: key.to_owned(),
            used,
            expires: (expires != NEVER).then(|| Timestamp::from_millis(expires)),
            indexes: self.indexes_of(table, key)?,
            value: BackupValue::new(value),
        })
    }

    /// The same of one that is there.
    pub(super) fn entry(
        &self,
        table: Table,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<BackupEntry>, Error> {
        match self.0.open_table(entries(table))?.get(key)? {
            Some(entry) if now.millis() < entry.value().1 => {
                self.backup_entry(table, key, entry.value()).map(Some)
            }
            _ => Ok(None),
        }
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
    ) -> Result<Vec<Row>, Error> {
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
        let mut cursor = after;
        let mut live = Vec::new();
        for row in self.revocations_after(after.number())?.take(PAGE) {
            let (number, revocation) = row?;
            cursor = Cursor::at(number);
            if now < revocation.expires {
                live.push(revocation);
            }
        }
        Ok((live, cursor))
    }

    /// All revocations after the one of this number, with their own.
    pub(super) fn revocations_after(
        &self,
        number: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, Revocation), Error>> + use<>, Error> {
        let table = self.0.open_table(REVOCATIONS)?;
        let rows = table.range(number.saturating_add(1)..)?;
        Ok(rows.map(|row| {
            let (number, row) = row?;
            let (id, expires) = row.value();
            let revocation = Revocation {
                id: id.to_owned(),
                expires: Timestamp::from_millis(expires),
            };
            Ok((number.value(), revocation))
        }))
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
pub(super) struct Found {
    pub(super) used: bool,
    pub(super) expires: u64,
    pub(super) value: Vec<u8>,
}

impl<'t> Batch<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Self {
        Self {
            transaction,
            change: Change::None,
        }
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

    pub(super) fn revoke(&mut self, revocation: &Revocation) -> Result<(), Error> {
        self.change = Change::Values;
        let mut store = self.transaction.open_table(STORE)?;
        let number = number_in(&store, LAST_REVOCATION)? + 1;
        store.insert(LAST_REVOCATION, number.to_be_bytes().as_slice())?;
        self.put_revocation(number, revocation)
    }

    pub(super) fn put_revocation(
        &self,
        number: u64,
        Revocation { id, expires }: &Revocation,
    ) -> Result<(), Error> {
        let expires = expires.millis();
        self.transaction
            .open_table(REVOCATIONS)?
            .insert(number, (id.as_str(), expires))?;
        self.note_expiry(expires, "revocation", &number.to_string())
    }

    /// Whether there is an entry, alive or not.
    pub(super) fn has_entry(&self, table: Table, key: &str) -> Result<bool, Error> {
        let records = self.transaction.open_table(entries(table))?;
        Ok(records.get(key)?.is_some())
    }

    pub(super) fn found(&self, key: &Key) -> Result<Option<Found>, Error> {
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

    pub(super) fn live(&self, key: &Key, now: Timestamp) -> Result<Option<Found>, Error> {
        let found = self.found(key)?;
        Ok(found.filter(|found| now.millis() < found.expires))
    }

    pub(super) fn set(
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

pub(super) fn parse_epoch(bytes: &[u8]) -> Result<StoreEpoch, Error> {
    serde_json::from_slice(bytes).map_err(|_| damaged("the epoch"))
}

/// A number about the store itself; 0 where there is none yet.
pub(super) fn number_in(
    store: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<u64, Error> {
    let Some(found) = store.get(name)? else {
        return Ok(0);
    };
    let bytes = found.value().try_into().map_err(|_| damaged("a number"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn number(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

fn damaged(what: &str) -> Error {
    Error::Corrupted(format!("{what} can't be read"))
}
