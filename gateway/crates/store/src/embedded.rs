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

mod disk;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase as _};
use tokio::sync::{Notify, Semaphore, oneshot};

use self::disk::Opener;
use self::tables::{Batch, Change, Snapshot};
use crate::epoch::StoreEpoch;
use crate::error::{Corrupt, OpenError, StoreError};
use crate::key::{CountKey, Key, Table};
use crate::revocation::{Cursor, Revocation};
use crate::store::{Inserted, Store, TakeOutcome};
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;

/// Writes that may wait for the writer; more than that is overload and refused.
const QUEUE: usize = 1024;
/// Writes in one commit.
const BATCH: usize = 256;
/// Reads at one time; a disk that hangs must not eat the runtime's blocking threads.
const READERS: usize = 16;
/// What a caller waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// A commit that takes longer is said in the log.
const SLOW: Duration = Duration::from_secs(1);
/// How long writes are refused after the disk was full.
const PAUSE: Duration = Duration::from_secs(1);

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
struct Job(Box<Apply>);

type Apply = dyn FnOnce(&mut Batch<'_>) -> Result<Acknowledge, redb::Error> + Send;

type Acknowledge = Box<dyn FnOnce() + Send>;

impl Embedded {
    /// Opens the store in `folder`, making both if need be (folder 0700, file 0600). Blocks; after
    /// a crash it verifies the file first.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(Opener::file(folder)?)
    }

    fn open_with(opener: Opener) -> Result<Self, OpenError> {
        let database = opener.open()?;
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            fault: Mutex::new(away("the writer has ended")),
        });
        let (queue, jobs) = sync_channel(QUEUE);
        let folder = opener.folder().to_owned();
        let writer = Writer {
            shared: Arc::clone(&shared),
            jobs,
            opener,
            condition: Condition::Sound,
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
        let job = Job(Box::new(move |batch| {
            // A caller that gave up is not waiting for either.
            match change(batch) {
                Ok(answer) => Ok(Box::new(move || drop(tell.send(Ok(answer))))),
                Err(fault) => {
                    let _ = tell.send(Err(failed(&fault)));
                    Err(fault)
                }
            }
        }));
        let queue = self.queue.as_ref().expect("it is taken in drop only");
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => away("too many writes are waiting"),
            TrySendError::Disconnected(_) => self.shared.error(),
        })?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.error()),
            Err(_) => Err(away("the disk is too slow")),
        }
    }

    /// Reads from what was last committed.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Snapshot) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let readers = Arc::clone(&self.readers);
        let reading = async move {
            let permit = readers
                .acquire_owned()
                .await
                .map_err(|_| away("the store is closed"))?;
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                look(&Snapshot(shared.snapshot()?)).map_err(|error| unreadable(&error))
            })
            .await
            .map_err(|_| away("a read was cut short"))?
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| Err(away("the disk is too slow")))
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

fn away(why: &str) -> StoreError {
    StoreError::Away(why.to_owned())
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

/// The one who writes.
struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    opener: Opener,
    condition: Condition,
}

/// What the writer thinks of the disk.
enum Condition {
    Sound,
    /// It was full or read-only at that moment.
    Full(Instant),
    /// It can't be trusted in this life.
    Lost,
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let waiting = self.jobs.try_iter().take(BATCH - 1);
            let batch: Vec<Job> = std::iter::once(first).chain(waiting).collect();
            if !self.is_ready() {
                // Dropping a job tells its caller of the fault.
                continue;
            }
            let writes = batch.len();
            let mut acknowledgements = Vec::with_capacity(writes);
            let begun = Instant::now();
            let committed = self.commit(batch, &mut acknowledgements);
            let took = begun.elapsed();
            if took > SLOW {
                log::warn!(
                    event = "store_slow", ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), writes = writes,
                    hint = "the disk, or the machine, was busy with something else";
                    "a commit took long"
                );
            }
            match committed {
                Ok(()) => acknowledgements.into_iter().for_each(|tell| tell()),
                Err(fault) => self.distrust(&fault),
            }
        }
        *self.shared.fault.lock() = away("the store is closed");
        *self.shared.database.write() = None;
    }

    /// Applies the jobs and makes them durable. On a fault none of them is to be acknowledged.
    fn commit(
        &self,
        jobs: Vec<Job>,
        acknowledgements: &mut Vec<Acknowledge>,
    ) -> Result<(), redb::Error> {
        let mut transaction = match self.shared.database.read().as_ref() {
            Some(database) => database.begin_write()?,
            None => return Err(redb::Error::DatabaseClosed),
        };
        let mut batch = Batch::new(&transaction);
        for Job(apply) in jobs {
            acknowledgements.push(apply(&mut batch)?);
        }
        match batch.change() {
            Change::None => transaction.abort()?,
            Change::Counts => {
                // Nobody is harmed by a forgotten count, but a flood of guesses could keep the
                // disk busy. The next durable commit keeps these too.
                transaction
                    .set_durability(Durability::None)
                    .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
                transaction.commit()?;
            }
            Change::Values => transaction.commit()?,
        }
        Ok(())
    }

    /// Whether a commit may be tried; opens the file anew if it had to be closed.
    fn is_ready(&mut self) -> bool {
        match self.condition {
            Condition::Sound => true,
            Condition::Lost => false,
            Condition::Full(since) if since.elapsed() < PAUSE => false,
            Condition::Full(_) => {
                let open = self.shared.database.read().is_some() || self.reopen();
                if open {
                    self.condition = Condition::Sound;
                    log::info!(event = "store_writes_again"; "the store takes writes again");
                } else {
                    self.condition = Condition::Full(Instant::now());
                }
                open
            }
        }
    }

    /// After a failed commit: nothing of it was acknowledged, and the open file is given up.
    fn distrust(&mut self, fault: &redb::Error) {
        *self.shared.fault.lock() = failed(fault);
        *self.shared.database.write() = None;
        if disk::is_full(fault) {
            log::error!(event = "store_full"; "the store can't write: {fault}; trying again every second");
            self.reopen();
            self.condition = Condition::Full(Instant::now());
        } else {
            log::error!(
                event = "store_lost",
                hint = "check the disk, then restart the gateway";
                "the store can't be trusted any more: {fault}"
            );
            self.condition = Condition::Lost;
        }
    }

    fn reopen(&self) -> bool {
        match self.opener.open() {
            Ok(database) => {
                *self.shared.database.write() = Some(database);
                true
            }
            Err(error) => {
                *self.shared.fault.lock() = StoreError::Away(error.to_string());
                false
            }
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        if let Some(epoch) = self.read(Snapshot::epoch).await? {
            return Ok(epoch);
        }
        let candidate = candidate.clone();
        self.write(move |batch| batch.epoch(&candidate)).await
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.clone();
        self.read(move |snapshot| snapshot.value(&key, now)).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (key, value) = (key.clone(), value.to_vec());
        self.write(move |batch| batch.put(&key, &value, expires))
            .await
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        let (key, value) = (key.clone(), value.to_vec());
        self.write(move |batch| batch.insert(&key, &value, expires, now))
            .await
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let conflict = StoreError::Conflict(key.kind());
        let (key, seen, value) = (key.clone(), seen.to_vec(), value.to_vec());
        let replaced = self
            .write(move |batch| batch.replace(&key, &seen, &value, expires, now))
            .await?;
        if replaced { Ok(()) } else { Err(conflict) }
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        let key = key.clone();
        self.write(move |batch| batch.take(&key, now)).await
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write(move |batch| batch.remove(&key)).await
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let after = after.map(str::to_owned);
        self.read(move |snapshot| snapshot.list(table, after.as_deref(), limit, now))
            .await
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let key = key.clone();
        self.write(move |batch| batch.count(&key, window, now))
            .await
    }

    async fn revoke(&self, revocation: &Revocation, _: Timestamp) -> Result<(), StoreError> {
        let revocation = revocation.clone();
        self.write(move |batch| batch.revoke(&revocation)).await?;
        self.revoked.notify_one();
        Ok(())
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        self.read(move |snapshot| snapshot.revocations(after, now))
            .await
    }

    async fn revocation_hint(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.revoked.notified()).await;
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let swept = self.write(move |batch| batch.sweep(now)).await?;
            if swept.unknown > 0 && !self.told_of_unknown_rows.swap(true, Ordering::Relaxed) {
                let reason = Reason::RecordUnreadable;
                log::error!(
                    event = "store_sweep_incomplete", reason = reason, hint = reason.remedy(),
                    rows = swept.unknown;
                    "what this version does not know has expired, and stays in the store"
                );
            }
            if !swept.may_have_more {
                return Ok(());
            }
        }
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |batch| batch.ping(now)).await
    }
}

#[cfg(test)]
mod tests;
