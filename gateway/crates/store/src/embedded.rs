//! The store of one gateway on one machine: a redb file in the state folder.
//!
//! Owns: the file, its lock, its tables, the writer thread, what happens after a fault of the disk.
//! Not: what the values mean.
//!
//! One thread writes. It takes every write that waits, applies them in one transaction, commits
//! durably (fsync) and only then answers all of them: while one commit is on its way to the disk,
//! the next batch gathers. Reads come from a snapshot, on the runtime's threads for blocking work.
//!
//! After a failed commit the open file is not trusted again. If the disk was full or read-only the
//! file is closed, opened anew (which verifies it) and writes are tried once a second. After any
//! other fault (an fsync that fails may have lost pages that the system believes written) every
//! promise stays a [`StoreError`] until the gateway is restarted.

mod backup;
mod disk;
mod indexes;
mod promises;
mod restore;
mod sweep;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadTransaction, ReadableDatabase as _};
use tokio::sync::{Notify, Semaphore, oneshot};

use self::disk::Opener;
pub use self::disk::StorePlace;
pub use self::restore::{Connections, PresentStore, RestoreError, RestoredStore};
use self::tables::{Batch, Snapshot};
use self::writer::{Condition, Writer};
use crate::error::{Corrupt, OpenError, StoreError};

/// Writes that may wait for the writer; more than that is overload and refused.
const QUEUE: usize = 1024;
/// Reads at one time; a disk that hangs must not eat the runtime's blocking threads.
const READERS: usize = 16;
/// What a caller waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// The embedded store. Dropping it finishes what was queued and closes the file.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    queue: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Semaphore>,
    revoked: Notify,
    told_of_unknown_rows: AtomicBool,
}

/// What readers and the writer share.
#[derive(Debug)]
struct Shared {
    /// `None` while the file can't be trusted.
    database: RwLock<Option<Database>>,
    /// The last fault, for those it concerns.
    fault: Mutex<StoreError>,
}

/// One write: applied to the batch, it gives what to do once the batch is durable.
type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Result<Acknowledge, redb::Error> + Send>;

type Acknowledge = Box<dyn FnOnce() + Send>;

impl Embedded {
    /// Opens the store in `folder`, making both if need be (folder 0700, file 0600). Blocks; after
    /// a crash it verifies the file first.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(Opener::file(folder)?)
    }

    /// Whether there is a store in `folder`.
    pub fn is_in(folder: &Path) -> bool {
        Self::file_in(folder).exists()
    }

    /// The file of the store in `folder`.
    pub fn file_in(folder: &Path) -> PathBuf {
        folder.join(disk::FILE)
    }

    fn open_with(opener: Opener) -> Result<Self, OpenError> {
        let database = opener.open()?;
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            fault: Mutex::new(StoreError::away("the writer has ended")),
        });
        let (queue, jobs) = sync_channel(QUEUE);
        let folder = opener.folder().to_owned();
        let writer = Writer {
            shared: Arc::clone(&shared),
            jobs,
            opener,
            condition: Condition::Sound,
            counts: None,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|cause| OpenError::Folder { folder, cause })?;
        Ok(Self {
            shared,
            queue: Some(queue),
            writer: Some(thread),
            readers: Arc::new(Semaphore::new(READERS)),
            revoked: Notify::new(),
            told_of_unknown_rows: AtomicBool::new(false),
        })
    }

    /// Applies `change` in the next batch and answers when that is durable.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Batch<'_>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |batch| {
            // A caller that gave up is not waiting for either.
            match change(batch) {
                Ok(answer) => Ok(Box::new(move || drop(tell.send(Ok(answer))))),
                Err(fault) => {
                    let _ = tell.send(Err(failed(&fault)));
                    Err(fault)
                }
            }
        });
        let queue = self.queue.as_ref().expect("it is taken in drop only");
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::away("too many writes are waiting"),
            TrySendError::Disconnected(_) => self.shared.error(),
        })?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.error()),
            Err(_) => Err(StoreError::away("the disk is too slow")),
        }
    }

    /// Reads from what was last committed.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(Snapshot) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let readers = Arc::clone(&self.readers);
        let reading = async move {
            let permit = readers
                .acquire_owned()
                .await
                .map_err(|_| StoreError::away("the store is closed"))?;
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                look(Snapshot(shared.snapshot()?)).map_err(|error| unreadable(&error))
            })
            .await
            .map_err(|_| StoreError::away("a read was cut short"))?
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| Err(StoreError::away("the disk is too slow")))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // It panicked at worst, and then there is nothing left to wait for.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        match self.database.read().as_ref() {
            Some(database) => database
                .begin_read()
                .map_err(|error| unreadable(&error.into())),
            None => Err(self.error()),
        }
    }

    fn error(&self) -> StoreError {
        self.fault.lock().clone()
    }
}

fn unreadable(fault: &redb::Error) -> StoreError {
    from_redb("a read failed", fault)
}

fn failed(fault: &redb::Error) -> StoreError {
    from_redb("a write failed", fault)
}

/// A file that is damaged, or is not ours, is no outage: it stays so.
fn from_redb(what: &str, fault: &redb::Error) -> StoreError {
    use redb::Error::{Corrupted, TableTypeMismatch, UpgradeRequired};
    let sentence = format!("{what}: {fault}");
    match fault {
        Corrupted(_) | UpgradeRequired(_) | TableTypeMismatch { .. } => {
            Corrupt::Store(sentence).into()
        }
        _ => StoreError::Away(sentence),
    }
}

#[cfg(test)]
mod tests;
