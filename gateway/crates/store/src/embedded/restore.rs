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
use redb::{Database, Durability, ReadableDatabase as _, WriteTransaction};

use super::disk::{self, FILE, Opener, StorePlace};
use super::tables::{self, Batch, LAST_REVOCATION, STORE, Snapshot, entries};
use crate::backup::{BackupEntry, BackupHead, BackupRow};
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

    /// Whether it is the store of the backup, which was made at `made`, later: then it knows what ended since.
    /// One that was itself put back to a moment before that is not: of what was given in between it knows
    /// nothing.
    pub fn continues(&self, backup: &BackupHead, made: Timestamp) -> Result<bool, RestoreError> {
        let snapshot = self.snapshot()?;
        let head = snapshot.head()?;
        let is_same = head.epoch.is_some() && head.epoch == backup.epoch;
        if !is_same || head.last_revocation < backup.last_revocation {
            return Ok(false);
        }
        for row in snapshot.revocations_after(0)? {
            let (_, revocation) = row?;
            if let Revoked::Given(from, until) = Revoked::parse(&revocation.id)
                && from < made
                && made <= until
            {
                return Ok(false);
            }
        }
        Ok(true)
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
    Database(#[source] redb::Error),
    /// The backup holds what this version does not know.
    #[error(
        "it holds rows of the table `{0}`, which this version does not know: restore it with the version that made it, or a later one"
    )]
    UnknownTable(String),
}

/// Of every kind of error that the database tells apart.
impl<E: Into<redb::Error>> From<E> for RestoreError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
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
        let database = disk::builder().create_with_backend(FileBackend::new(file)?)?;
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
            let mut transaction = self.database.begin_write()?;
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
                    } => {
                        let (id, expires) = (id.clone(), *expires);
                        batch.put_revocation(*number, &Revocation { id, expires })?;
                    }
                }
            }
            transaction.commit()?;
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
        let transaction = self.database.begin_write()?;
        let ends_all = matches!(self.connections, Connections::Ended(_));
        let mut last = head.last_revocation;
        if let Some(present) = self.connections.replaced() {
            self.carry_records(present, &transaction)?;
        }
        if let Connections::Since(present) = &self.connections {
            last = last.max(carry_revocations(present, &transaction)?);
        }
        {
            let mut store = transaction.open_table(STORE)?;
            store.insert(LAST_REVOCATION, last.to_be_bytes().as_slice())?;
            if let (Some(epoch), false) = (&head.epoch, ends_all) {
                let bytes = serde_json::to_vec(epoch).expect("an epoch is a text and a number");
                store.insert("birth", bytes.as_slice())?;
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
        transaction.commit()?;
        Ok(())
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
        let found = |present: &PresentStore| present.snapshot()?.entry(table, &entry.key, self.now);
        let later = match (Restoring::of(table, &entry.key), &self.connections) {
            (Restoring::Nothing, _) | (Restoring::Connection, Connections::Ended(_)) => {
                return Ok(());
            }
            (Restoring::Connection, Connections::Since(present)) => {
                let Some(found) = found(present)? else {
                    return Ok(());
                };
                Some(found)
            }
            (Restoring::WithConnections, Connections::Since(present)) => found(present)?,
            _ => None,
        };
        // A record's indexes never change, and a store of an earlier version may have kept none.
        let entry = match later {
            Some(later) => &BackupEntry {
                indexes: entry.indexes.clone(),
                ..later
            },
            None => entry,
        };
        Ok(batch.put_entry(table, entry)?)
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
            let records = snapshot.0.open_table(entries(table))?;
            for row in records.range::<&str>(..)? {
                let (key, entry) = row?;
                let (key, entry) = (key.value(), entry.value());
                let is_over = entry.1 <= self.now.millis();
                if is_over || !self.connections.carries(Restoring::of(table, key)) {
                    continue;
                }
                // A login is locked by name: what the backup has under it is an earlier lock.
                let is_lock = KeyKind::of(table, key) == Some(KeyKind::LoginLock);
                if is_lock || !batch.has_entry(table, key)? {
                    batch.put_entry(table, &snapshot.backup_entry(table, key, entry)?)?;
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
        let mut batch = Batch::new(to);
        for row in snapshot.revocations_after(0)? {
            let (_, revocation) = row?;
            let Revoked::SigningKey(number) = Revoked::parse(&revocation.id) else {
                continue;
            };
            let noted = Key::signing_key(number);
            let there = snapshot.value(&noted, self.now)?;
            let here = batch.found(&noted)?.map(|found| found.value);
            if revocation.expires > self.now && here == there {
                batch.revoke(&revocation)?;
            }
        }
        Ok(())
    }
}

fn table_of(entry: &BackupEntry) -> Result<Table, RestoreError> {
    Table::named(&entry.table).ok_or_else(|| RestoreError::UnknownTable(entry.table.clone()))
}

/// Takes over the revocations of the store that is replaced; the number of the last.
fn carry_revocations(present: &PresentStore, to: &WriteTransaction) -> Result<u64, RestoreError> {
    let snapshot = present.snapshot()?;
    let batch = Batch::new(to);
    for row in snapshot.revocations_after(0)? {
        let (number, revocation) = row?;
        batch.put_revocation(number, &revocation)?;
    }
    Ok(snapshot.last_revocation()?)
}

impl Batch<'_> {
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
}
