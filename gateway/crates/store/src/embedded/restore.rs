//! Putting a backup back: a new file beside the one that is there, which takes its place when it is whole.
//!
//! What a backup does not know is what happened after it. What was given or used once since is refused
//! rather than guessed at:
//!
//! - what is good for minutes and once (codes, links, logins that were begun, requests of devices) and
//!   browser sessions are left out;
//! - tokens that were given between the backup and now are refused ([`Revoked::Given`]);
//! - whether connections that ended since stay ended, [`Connections`] says.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase as _, WriteTransaction};

use super::disk::{self, FILE, Opener};
use super::tables::{self, Batch, REVOCATIONS, STORE, Snapshot, entries};
use crate::backup::{BackupEntry, BackupHead, BackupRow};
use crate::error::OpenError;
use crate::key::Table;
use crate::records::is_of_a_moment;
use crate::revocation::{Revocation, Revoked};
use gateway_core::clock::Timestamp;

/// Rows in one transaction.
const BATCH: usize = 10_000;

/// A store that is there and is about to be replaced. While this is held, no gateway uses it.
#[derive(Debug)]
pub struct PresentStore {
    database: Database,
}

impl PresentStore {
    /// The store in `folder`; `None` if there is none.
    pub fn open(folder: &Path) -> Result<Option<Self>, OpenError> {
        if !folder.join(FILE).exists() {
            return Ok(None);
        }
        let database = Opener::file(folder)?.open()?;
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

/// What becomes of the connections of a backup: grants, and the tokens that they gave.
#[derive(Debug)]
pub enum Connections {
    /// What ended in this store, which is the one of the backup at a later time, stays ended.
    Since(PresentStore),
    /// All are as they were, those too that ended since.
    Kept,
    /// None is good any more.
    Ended,
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

    /// Ends it, durably, and gives back the store that was asked. Tokens that were given from `since` until `until` are refused until `ends`, when
    /// the last of them is over.
    pub fn finish(
        self,
        head: &BackupHead,
        since: Timestamp,
        until: Timestamp,
        ends: Timestamp,
    ) -> Result<Option<PresentStore>, RestoreError> {
        let transaction = self.begin()?;
        let mut last = head.last_revocation;
        if let Connections::Since(present) = &self.connections {
            last = last.max(carry_over(present, &transaction)?);
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
        Batch::new(&transaction).revoke(&Revocation {
            id: Revoked::Given(since, until).to_string(),
            expires: ends,
        })?;
        transaction.commit().map_err(redb::Error::from)?;
        match self.connections {
            Connections::Since(present) => Ok(Some(present)),
            Connections::Kept | Connections::Ended => Ok(None),
        }
    }

    fn begin(&self) -> Result<WriteTransaction, RestoreError> {
        Ok(self.database.begin_write().map_err(redb::Error::from)?)
    }

    const fn ends_all(&self) -> bool {
        matches!(self.connections, Connections::Ended)
    }

    fn add_entry(&self, batch: &mut Batch<'_>, entry: &BackupEntry) -> Result<(), RestoreError> {
        let mut tables = Table::ALL.into_iter();
        let table = tables
            .find(|table| table.name() == entry.table)
            .ok_or_else(|| RestoreError::UnknownTable(entry.table.clone()))?;
        if is_of_a_moment(table, &entry.key) {
            return Ok(());
        }
        let mut entry = entry.clone();
        if table == Table::Grant {
            match &self.connections {
                Connections::Kept => {}
                Connections::Ended => return Ok(()),
                Connections::Since(present) => {
                    let found = present.snapshot()?.entry(table, &entry.key, self.now)?;
                    let Some((used, expires, value)) = found else {
                        return Ok(());
                    };
                    entry.used = used;
                    entry.expires = expires;
                    entry.value = value;
                }
            }
        }
        Ok(batch.put_entry(table, &entry)?)
    }
}

/// Takes over the revocations of the store that is replaced; the number of the last.
fn carry_over(present: &PresentStore, to: &WriteTransaction) -> Result<u64, RestoreError> {
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
