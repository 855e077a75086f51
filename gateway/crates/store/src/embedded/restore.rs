//! Putting a backup back: a new file beside the one that is there, which takes its place when it is whole.
//!
//! What a backup does not know is what happened after it. What was given or used once since is refused
//! rather than guessed at:
//!
//! - what is good for minutes and once (codes, links, logins that were begun, requests of devices) and
//!   browser sessions are left out;
//! - tokens that were given between the backup and now are refused ([`Revoked::Given`]);
//! - signing keys that were revoked since stay revoked, and what was used once since stays used, as far as
//!   the store that is replaced can be read;
//! - whether connections that ended since stay ended, [`Connections`] says.
//!
//! What becomes of which record, `restoring` says.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, WriteTransaction};

use super::disk::{self, FILE, Opener, StorePlace};
use super::tables::{self, Batch, REVOCATIONS, STORE, Snapshot, entries};
use crate::backup::{BackupEntry, BackupHead, BackupRow, BackupValue};
use crate::error::OpenError;
use crate::key::{Key, KeyKind, Table};
use crate::restoring::Restoring;
use crate::revocation::{Revocation, Revoked};
use gateway_core::clock::Timestamp;

/// Rows in one transaction.
const BATCH: usize = 10_000;

/// A store that is there and is about to be replaced.
#[derive(Debug)]
pub struct PresentStore {
    database: Database,
}

impl PresentStore {
    /// The store in this place; `None` if there is none.
    pub fn open(place: &StorePlace) -> Result<Option<Self>, OpenError> {
        if !place.folder().join(FILE).exists() {
            return Ok(None);
        }
        let database = Opener::in_place(place.folder()).open()?;
        Ok(Some(Self { database }))
    }

    /// What it says of itself.
    pub fn head(&self) -> Result<BackupHead, RestoreError> {
        Ok(self.snapshot()?.head()?)
    }

    /// Whether it is the store of the backup, later: then it knows what ended since.
    pub fn continues(&self, backup: &BackupHead) -> Result<bool, RestoreError> {
        let head = self.head()?;
        let is_same = head.epoch.is_some() && head.epoch == backup.epoch;
        Ok(is_same && head.last_revocation >= backup.last_revocation)
    }

    fn snapshot(&self) -> Result<Snapshot, redb::Error> {
        Ok(Snapshot(self.database.begin_read()?))
    }
}

/// What becomes of the connections of a backup: grants, the tokens that they gave, and people's accounts at
/// backends. With the store that is replaced, where there is one that can be read.
#[derive(Debug)]
pub enum Connections {
    /// What ended in this store, which is the one of the backup at a later time, stays ended.
    Since(PresentStore),
    /// All are as they were, those too that ended since.
    Kept(Option<PresentStore>),
    /// None is good any more.
    Ended(Option<PresentStore>),
}

impl Connections {
    const fn replaced(&self) -> Option<&PresentStore> {
        match self {
            Self::Since(present) => Some(present),
            Self::Kept(present) | Self::Ended(present) => present.as_ref(),
        }
    }

    /// Whether the store that is replaced has something that the new one is to have, too.
    const fn carries(&self, restoring: Restoring) -> bool {
        match restoring {
            Restoring::AsThen | Restoring::Nothing | Restoring::Connection => false,
            Restoring::WithConnections => matches!(self, Self::Since(_)),
            Restoring::Both => true,
            Restoring::End => !matches!(self, Self::Kept(_)),
        }
    }
}

/// Why a backup can't be put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file can't be made.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It can't be written, or what is there can't be read.
    #[error("{0}")]
    Database(#[from] redb::Error),
    /// The backup holds what this version does not know.
    #[error(
        "it holds rows of the table `{0}`, which this version does not know: restore it with the version that made it, or a later one"
    )]
    UnknownTable(String),
}

/// A store that is being made of a backup.
#[derive(Debug)]
pub struct RestoredStore {
    database: Database,
    connections: Connections,
    now: Timestamp,
}

impl RestoredStore {
    /// A new file at `path`, where there must be none, readable by its owner alone.
    pub fn create(
        path: &Path,
        connections: Connections,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        let io = |error| RestoreError::File {
            path: path.to_owned(),
            error,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let backend = FileBackend::new(file).map_err(redb::Error::from)?;
        let database = disk::builder()
            .create_with_backend(backend)
            .map_err(redb::Error::from)?;
        tables::prepare(&database).map_err(redb::Error::Corrupted)?;
        Ok(Self {
            database,
            connections,
            now,
        })
    }

    /// Takes rows in.
    pub fn add(&self, rows: &[BackupRow]) -> Result<(), RestoreError> {
        for rows in rows.chunks(BATCH) {
            let mut transaction = self.begin()?;
            // The last commit makes all of them durable.
            transaction
                .set_durability(Durability::None)
                .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            let mut batch = Batch::new(&transaction);
            for row in rows {
                match row {
                    BackupRow::Entry(entry) => self.add_entry(&mut batch, entry)?,
                    BackupRow::Revocation {
                        number,
                        id,
                        expires,
                    } => batch.put_revocation(*number, id, *expires)?,
                }
            }
            transaction.commit().map_err(redb::Error::from)?;
        }
        Ok(())
    }

    /// Ends it, durably. Tokens that were given from `since` until `until` are refused until `ends`, when
    /// the last of them is over.
    pub fn finish(
        self,
        head: &BackupHead,
        since: Timestamp,
        until: Timestamp,
        ends: Timestamp,
    ) -> Result<(), RestoreError> {
        let transaction = self.begin()?;
        let mut last = head.last_revocation;
        if let Some(present) = self.connections.replaced() {
            self.carry_records(present, &transaction)?;
        }
        if let Connections::Since(present) = &self.connections {
            last = last.max(carry_revocations(present, &transaction)?);
        }
        {
            let mut store = transaction.open_table(STORE).map_err(redb::Error::from)?;
            let number = last.to_be_bytes();
            store
                .insert("last_revocation", number.as_slice())
                .map_err(redb::Error::from)?;
            if let (Some(epoch), false) = (&head.epoch, self.ends_all()) {
                let bytes = serde_json::to_vec(epoch).expect("an epoch is a text and a number");
                store
                    .insert("birth", bytes.as_slice())
                    .map_err(redb::Error::from)?;
            }
        }
        if let Connections::Kept(Some(present)) | Connections::Ended(Some(present)) =
            &self.connections
        {
            self.carry_revoked_keys(present, &transaction)?;
        }
        Batch::new(&transaction).revoke(&Revocation {
            id: Revoked::Given(since, until).to_string(),
            expires: ends,
        })?;
        transaction.commit().map_err(redb::Error::from)?;
        Ok(())
    }

    fn begin(&self) -> Result<WriteTransaction, RestoreError> {
        Ok(self.database.begin_write().map_err(redb::Error::from)?)
    }

    const fn ends_all(&self) -> bool {
        matches!(self.connections, Connections::Ended(_))
    }

    /// Whether this version knows what a row is of.
    ///
    /// # Errors
    ///
    /// It does not: its table.
    pub fn can_take(row: &BackupRow) -> Result<(), RestoreError> {
        match row {
            BackupRow::Entry(entry) => table_of(entry).map(drop),
            BackupRow::Revocation { .. } => Ok(()),
        }
    }

    fn add_entry(&self, batch: &mut Batch<'_>, entry: &BackupEntry) -> Result<(), RestoreError> {
        let table = table_of(entry)?;
        let mut entry = entry.clone();
        let found = |present: &PresentStore, entry: &BackupEntry| {
            Ok::<_, RestoreError>(present.snapshot()?.entry(table, &entry.key, self.now)?)
        };
        let later = match (Restoring::of(table, &entry.key), &self.connections) {
            (Restoring::Nothing, _) | (Restoring::Connection, Connections::Ended(_)) => {
                return Ok(());
            }
            (Restoring::Connection, Connections::Since(present)) => {
                let Some(found) = found(present, &entry)? else {
                    return Ok(());
                };
                Some(found)
            }
            (Restoring::WithConnections, Connections::Since(present)) => found(present, &entry)?,
            _ => None,
        };
        if let Some((used, expires, value)) = later {
            entry.used = used;
            entry.expires = expires;
            entry.value = value;
        }
        Ok(batch.put_entry(table, &entry)?)
    }

    /// Adds records of the store that is replaced which the backup has not.
    fn carry_records(
        &self,
        present: &PresentStore,
        to: &WriteTransaction,
    ) -> Result<(), RestoreError> {
        let snapshot = present.snapshot()?;
        let mut batch = Batch::new(to);
        for table in Table::ALL {
            let records = snapshot.0.open_table(entries(table));
            let records = records.map_err(redb::Error::from)?;
            for row in records.range::<&str>(..).map_err(redb::Error::from)? {
                let (key, entry) = row.map_err(redb::Error::from)?;
                let (key, (used, expires, value)) = (key.value(), entry.value());
                let is_over = expires <= self.now.millis();
                if is_over || !self.connections.carries(Restoring::of(table, key)) {
                    continue;
                }
                // A login is locked by name: what the backup has under it is an earlier lock.
                let is_lock = KeyKind::of(table, key) == Some(KeyKind::LoginLock);
                if is_lock || !batch.has_entry(table, key)? {
                    let expires =
                        (expires != tables::NEVER).then(|| Timestamp::from_millis(expires));
                    let entry = BackupEntry {
                        table: table.name().to_owned(),
                        key: key.to_owned(),
                        used,
                        expires,
                        indexes: snapshot.indexes_of(table, key)?,
                        value: BackupValue::new(value),
                    };
                    batch.put_entry(table, &entry)?;
                }
            }
        }
        Ok(())
    }

    /// Signing keys that were revoked since stay revoked, whatever becomes of connections: somebody else may
    /// have them. Of a store with other keys under the same numbers nothing follows.
    fn carry_revoked_keys(
        &self,
        present: &PresentStore,
        to: &WriteTransaction,
    ) -> Result<(), RestoreError> {
        let snapshot = present.snapshot()?;
        let revoked = snapshot.0.open_table(REVOCATIONS);
        let mut batch = Batch::new(to);
        for row in revoked
            .map_err(redb::Error::from)?
            .range(0..)
            .map_err(redb::Error::from)?
        {
            let (_, row) = row.map_err(redb::Error::from)?;
            let (id, expires) = row.value();
            let (Revoked::SigningKey(number), expires) =
                (Revoked::parse(id), Timestamp::from_millis(expires))
            else {
                continue;
            };
            let noted = Key::signing_key(number);
            let there = snapshot.value(&noted, self.now)?;
            if expires > self.now && batch.value(&noted)? == there {
                batch.revoke(&Revocation {
                    id: id.to_owned(),
                    expires,
                })?;
            }
        }
        Ok(())
    }
}

fn table_of(entry: &BackupEntry) -> Result<Table, RestoreError> {
    let mut tables = Table::ALL.into_iter();
    tables
        .find(|table| table.name() == entry.table)
        .ok_or_else(|| RestoreError::UnknownTable(entry.table.clone()))
}

/// Takes over the revocations of the store that is replaced; the number of the last.
fn carry_revocations(present: &PresentStore, to: &WriteTransaction) -> Result<u64, RestoreError> {
    let snapshot = present.snapshot()?;
    let table = snapshot
        .0
        .open_table(REVOCATIONS)
        .map_err(redb::Error::from)?;
    let mut batch = Batch::new(to);
    for row in table.range(0..).map_err(redb::Error::from)? {
        let (number, row) = row.map_err(redb::Error::from)?;
        let (id, expires) = row.value();
        batch.put_revocation(number.value(), id, Timestamp::from_millis(expires))?;
    }
    Ok(snapshot.last_revocation()?)
}

impl Batch<'_> {
    fn has_entry(&self, table: Table, key: &str) -> Result<bool, redb::Error> {
        let records = self.transaction.open_table(entries(table))?;
        Ok(records.get(key)?.is_some())
    }

    fn value(&self, key: &Key) -> Result<Option<Vec<u8>>, redb::Error> {
        let records = self.transaction.open_table(entries(key.table()))?;
        let found = records.get(key.name())?;
        Ok(found.map(|entry| entry.value().2.to_vec()))
    }

    fn put_entry(&mut self, table: Table, entry: &BackupEntry) -> Result<(), redb::Error> {
        let expires = entry.expires.map_or(tables::NEVER, Timestamp::millis);
        let value = entry.value.bytes();
        self.transaction
            .open_table(entries(table))?
            .insert(entry.key.as_str(), (entry.used, expires, value))?;
        if !entry.indexes.is_empty() {
            self.enter_indexes(table, &entry.key, &entry.indexes)?;
        }
        self.note_expiry(expires, table.name(), &entry.key)
    }

    fn put_revocation(
        &mut self,
        number: u64,
        id: &str,
        expires: Timestamp,
    ) -> Result<(), redb::Error> {
        self.transaction
            .open_table(REVOCATIONS)?
            .insert(number, (id, expires.millis()))?;
        self.note_expiry(expires.millis(), "revocation", &number.to_string())
    }
}
