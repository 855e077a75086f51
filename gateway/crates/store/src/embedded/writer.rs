//! The thread that writes. Owns: gathering writes into commits, what happens after a fault of the disk.
//! Not: what a write is.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::Durability;

use super::disk::{self, Opener};
use super::tables::{Batch, Change};
use super::{Acknowledge, Job, Shared, failed};
use crate::error::StoreError;

/// Writes in one commit.
const BATCH: usize = 256;
/// A commit that takes longer is said in the log.
const SLOW: Duration = Duration::from_secs(1);
/// So long after a count it is durable: a crash forgets no more than this.
pub(super) const COUNTS_LAST: Duration = Duration::from_secs(2);
/// How long writes are refused after the disk was full.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The one who writes.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Receiver<Job>,
    pub(super) opener: Opener,
    pub(super) condition: Condition,
    /// Since when there are counts that are not durable.
    pub(super) counts: Option<Instant>,
}

/// What the writer thinks of the disk.
pub(super) enum Condition {
    Sound,
    /// It was full or read-only at that moment.
    Full(Instant),
    /// It can't be trusted in this life.
    Lost,
}

impl Writer {
    pub(super) fn run(mut self) {
        while let Some(batch) = self.next() {
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
        *self.shared.fault.lock() = StoreError::away("the store is closed");
        *self.shared.database.write() = None;
    }

    /// What is to be written next; nothing, where only counts are to be made durable. `None`: the store is
    /// closed.
    fn next(&self) -> Option<Vec<Job>> {
        let first = match self.counts {
            None => self.jobs.recv().ok()?,
            Some(since) => {
                let rest = COUNTS_LAST.saturating_sub(since.elapsed());
                match self.jobs.recv_timeout(rest) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        };
        let waiting = self.jobs.try_iter().take(BATCH - 1);
        Some(std::iter::once(first).chain(waiting).collect())
    }

    /// Applies the jobs and makes them durable. On a fault none of them is to be acknowledged.
    fn commit(
        &mut self,
        jobs: Vec<Job>,
        acknowledgements: &mut Vec<Acknowledge>,
    ) -> Result<(), redb::Error> {
        let mut transaction = match self.shared.database.read().as_ref() {
            Some(database) => database.begin_write()?,
            None => return Err(redb::Error::DatabaseClosed),
        };
        let mut batch = Batch::new(&transaction);
        for apply in jobs {
            acknowledgements.push(apply(&mut batch)?);
        }
        let change = batch.change;
        let are_due = self
            .counts
            .is_some_and(|since| since.elapsed() >= COUNTS_LAST);
        match change {
            Change::None if !are_due => transaction.abort()?,
            Change::Counts if !are_due => {
                // Nobody is harmed by a count of the last seconds that is forgotten, but a flood of guesses
                // could keep the disk busy. The next durable commit keeps these too.
                transaction
                    .set_durability(Durability::None)
                    .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
                transaction.commit()?;
                self.counts.get_or_insert_with(Instant::now);
            }
            Change::None | Change::Counts | Change::Values => {
                transaction.commit()?;
                self.counts = None;
            }
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
        // What was not durable went with the file.
        self.counts = None;
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
                *self.shared.fault.lock() = StoreError::away(error.to_string());
                false
            }
        }
    }
}
