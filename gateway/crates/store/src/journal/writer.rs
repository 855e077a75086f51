//! The writer's thread: records become lines in the order of the queue, are written together and
//! synced together. After a failure nothing of the file handle is trusted: the file is opened anew
//! and looked at as after a crash.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::OsRng;

use super::files::{CurrentFile, End, OpenError, prune, rotated_head};
use super::queue::{Entry, Queue, Receiver};
use super::{DURABLE_WITHIN, LogName, Settings, State};
use crate::neighbour::Neighbour;
use gateway_core::audit::{Chain, CheckpointKey, EncodedRecord, Event, Outcome, Record};
use gateway_core::clock::Clock;

/// How many lines may be without a signature.
const UNSIGNED: u64 = 1_000;
/// How often old files are looked for.
const PRUNE: Duration = Duration::from_secs(3600);
/// How long after a failure the file is tried again.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    settings: Settings,
    key: CheckpointKey,
    clock: Clock,
    state: Arc<State>,
    name: LogName,
    log: Option<Log>,
    /// Who has the file, if it is another process.
    neighbour: Option<Neighbour>,
    /// When the oldest line was written that is not durable yet.
    unsynced: Option<Instant>,
    /// When the oldest line was written that no checkpoint signs yet, and how many there are.
    unsigned: Option<(Instant, u64)>,
    retry: Instant,
    /// When old files were looked for last.
    pruned: Option<Instant>,
    /// Whether it was told that an old file can't be removed.
    is_unremoved_told: bool,
}

/// What a writer does after a turn in which it closed its file.
enum Closed {
    End(Sender<()>),
    Leave(Sender<()>, mpsc::Receiver<Neighbour>),
}

/// The open file and the chain in it.
struct Log {
    current: CurrentFile,
    chain: Chain,
}

impl Log {
    /// Appends what `add` makes of the chain, all of it or none. Whether that was anything.
    fn append(&mut self, add: impl FnOnce(&mut Chain, &mut Vec<u8>)) -> io::Result<bool> {
        let (mut chain, mut lines) = (self.chain.clone(), Vec::new());
        add(&mut chain, &mut lines);
        if !lines.is_empty() {
            self.current.append(&lines)?;
        }
        self.chain = chain;
        Ok(!lines.is_empty())
    }
}

impl Writer {
    pub(super) fn open(
        name: LogName,
        settings: Settings,
        key: CheckpointKey,
        clock: Clock,
        state: Arc<State>,
    ) -> Result<Self, OpenError> {
        let mut writer = Self {
            settings,
            key,
            clock,
            state,
            name,
            log: None,
            neighbour: None,
            unsynced: None,
            unsigned: None,
            retry: Instant::now(),
            pruned: None,
            is_unremoved_told: false,
        };
        writer.reopen(0).map_err(|error| OpenError {
            path: writer.settings.file.clone(),
            error,
        })?;
        Ok(writer)
    }

    /// Runs the thread; the queue's other end.
    pub(super) fn start(mut self, most: usize) -> Arc<Queue> {
        let (queue, entries) = Queue::new(most);
        let run = move || self.run(&entries);
        // Without the thread the queue is abandoned, which every entry then meets.
        if let Err(error) = thread::Builder::new().name("audit".to_owned()).spawn(run) {
            log::error!(event = "audit_failing", cause = error.to_string(); "the audit log has no writer");
        }
        queue
    }

    fn run(&mut self, queue: &Receiver) {
        loop {
            let entries = queue.take(self.patience());
            match self.turn(entries) {
                None => {}
                Some(Closed::End(told)) => {
                    // Whoever hears of it may open the file.
                    self.log = None;
                    let _ = told.send(());
                    return;
                }
                Some(Closed::Leave(told, next)) => self.leave(&told, &next),
            }
        }
    }

    /// Waits for whoever has the file from now on. What comes meanwhile waits in the queue.
    fn leave(&mut self, told: &Sender<()>, next: &mpsc::Receiver<Neighbour>) {
        self.log = None;
        (self.unsynced, self.unsigned) = (None, None);
        let _ = told.send(());
        match next.recv() {
            Ok(neighbour) => self.neighbour = Some(neighbour),
            Err(_) => {
                // At once, and also where it had failed before.
                self.retry = Instant::now();
                if let Err(error) = self.usable() {
                    self.fail(&error, 0);
                }
            }
        }
    }

    /// How long the thread may sleep without a new entry.
    fn patience(&self) -> Duration {
        let until = |since: Instant, longest: Duration| longest.saturating_sub(since.elapsed());
        let mut patience = PRUNE;
        if let (Some(log), Some(most)) = (&self.log, self.settings.max_age) {
            let age = log.current.age(self.clock.now().to_system_time());
            patience = patience.min(most.saturating_sub(age));
        }
        let is_elsewhere = self.neighbour.is_some();
        let is_failing = self.state.failing.load(Ordering::Relaxed);
        if (is_elsewhere && is_failing) || (!is_elsewhere && self.log.is_none()) {
            patience = self.retry.saturating_duration_since(Instant::now());
        }
        if let Some(since) = self.unsynced {
            patience = patience.min(until(since, DURABLE_WITHIN));
        }
        if let Some((since, _)) = self.unsigned {
            patience = patience.min(until(since, self.settings.checkpoint_every));
        }
        patience
    }

    /// Writes what is there. Who waits is told; whoever closes is returned.
    fn turn(&mut self, entries: Vec<Entry>) -> Option<Closed> {
        let (mut records, mut waiting, mut close) = (Vec::new(), Vec::new(), None);
        for entry in entries {
            match entry {
                Entry::Record(record, told) => {
                    records.push(record);
                    waiting.extend(told);
                }
                Entry::Close(told) => close = Some(Closed::End(told)),
                Entry::Leave(told, next) => close = Some(Closed::Leave(told, next)),
            }
        }
        if close.is_some() && self.neighbour.is_none() {
            records.push(encoded(Event::Closed));
        }
        let count = records.len() as u64;
        let must_sync = !waiting.is_empty() || close.is_some();
        let written = match self.neighbour.clone() {
            Some(neighbour) => self.send(&neighbour, &records, must_sync),
            None => self
                .usable()
                .and_then(|()| self.write(&records, must_sync, close.is_some())),
        };
        match &written {
            Ok(()) => {
                self.state.written.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => self.fail(error, count),
        }
        for told in waiting {
            // Whoever waited may have given up.
            let _ = told.send(written.is_ok());
        }
        close
    }

    /// Has records written by the process that has the file. After a failure it is asked again every second,
    /// whether or not there is something to write: until it answers nobody enters anything.
    fn send(&self, to: &Neighbour, records: &[EncodedRecord], durable: bool) -> io::Result<()> {
        let is_failing = self.state.failing.load(Ordering::Relaxed);
        if !is_failing && records.is_empty() {
            return Ok(());
        }
        if is_failing && Instant::now() < self.retry {
            return Err(just_failed());
        }
        if !is_failing {
            return to.enter(self.name, records, durable);
        }
        let missing = self.state.missing.swap(0, Ordering::Relaxed);
        let mut all: Vec<EncodedRecord> = lost(missing).into_iter().collect();
        all.extend_from_slice(records);
        to.enter(self.name, &all, durable).inspect_err(|_| {
            self.state.missing.fetch_add(missing, Ordering::Relaxed);
        })?;
        self.state.failing.store(false, Ordering::Relaxed);
        log::info!(event = "audit_written_again", missing = missing; "the audit log takes records again");
        Ok(())
    }

    fn usable(&mut self) -> io::Result<()> {
        if self.log.is_some() {
            return Ok(());
        }
        if Instant::now() < self.retry {
            return Err(just_failed());
        }
        let missing = self.state.missing.swap(0, Ordering::Relaxed);
        self.reopen(missing).inspect_err(|_| {
            self.state.missing.fetch_add(missing, Ordering::Relaxed);
        })?;
        if self.state.failing.swap(false, Ordering::Relaxed) {
            log::info!(event = "audit_written_again", missing = missing; "the audit log takes records again");
        }
        Ok(())
    }

    fn write(&mut self, records: &[EncodedRecord], must_sync: bool, sign: bool) -> io::Result<()> {
        let now = self.clock.now();
        let Some(log) = &mut self.log else {
            return Err(io::Error::other("the log is not open"));
        };
        let mut unsigned = self.unsigned.map_or(0, |(_, count)| count) + records.len() as u64;
        let due = self
            .unsigned
            .is_some_and(|(since, _)| since.elapsed() >= self.settings.checkpoint_every);
        let signs = unsigned > 0 && (sign || due || unsigned >= UNSIGNED);
        if signs {
            unsigned = 0;
        }
        let has_grown = log.append(|chain, lines| {
            for record in records {
                chain.add(record, now, lines);
            }
            if signs {
                chain.sign(&self.key, now, lines);
            }
        })?;
        if has_grown {
            self.unsynced.get_or_insert_with(Instant::now);
        }
        let overdue = self
            .unsynced
            .is_some_and(|since| since.elapsed() >= DURABLE_WITHIN);
        if self.unsynced.is_some() && (must_sync || signs || overdue) {
            log.current.sync()?;
            self.unsynced = None;
        }
        if signs {
            let head = log.chain.head();
            log::info!(
                event = "audit_checkpoint", file = self.settings.file.display().to_string(), chain = head.chain.as_str(), seq = head.seq, hash = head.hash.as_str();
                "the audit log is signed up to here"
            );
        }
        self.unsigned = match (unsigned, self.unsigned) {
            (0, _) => None,
            (count, Some((since, _))) if !signs => Some((since, count)),
            (count, _) => Some((Instant::now(), count)),
        };
        let max_age = self.settings.max_age;
        let is_old = max_age.is_some_and(|most| log.current.age(now.to_system_time()) >= most);
        if is_old || log.current.length() >= self.settings.max_size {
            self.rotate()?;
        }
        if self.pruned.is_none_or(|last| last.elapsed() >= PRUNE) {
            self.prune();
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        if self.unsigned.is_some() {
            log.append(|chain, lines| chain.sign(&self.key, now, lines))?;
        }
        log.current.rotate()?;
        log.append(|chain, lines| chain.add(&encoded(Event::Rotated), now, lines))?;
        self.unsigned = Some((Instant::now(), 1));
        self.unsynced.get_or_insert_with(Instant::now);
        self.prune();
        Ok(())
    }

    /// Removes what is kept no longer. What can't be removed, such as a file that the operator protected, says
    /// nothing about the records, which are written: it is told once and tried again.
    fn prune(&mut self) {
        let now = self.clock.now();
        let oldest = self
            .settings
            .keep_for
            .map(|kept| (now - kept).to_system_time());
        self.pruned = Some(Instant::now());
        let Err(error) = prune(&self.settings.file, self.settings.keep, oldest) else {
            self.is_unremoved_told = false;
            return;
        };
        if !std::mem::replace(&mut self.is_unremoved_told, true) {
            log::warn!(event = "audit_not_removed", cause = error.to_string(); "an old file of the audit log can't be removed: it is kept, with those after it, and tried again at least every hour");
        }
    }

    /// Opens the file and goes on with the chain that is in it.
    fn reopen(&mut self, missing: u64) -> io::Result<()> {
        let (mut current, end) = CurrentFile::open(&self.settings.file)?;
        let (chain, mended) = match end {
            End::Empty => match rotated_head(&self.settings.file)? {
                Some(head) => {
                    let what = "the file was empty; the chain goes on from the one before";
                    (Chain::resume(head), Some(what.to_owned()))
                }
                None => (Chain::begin(&mut OsRng), None),
            },
            End::Whole { head, torn } => (
                Chain::resume(head),
                (torn > 0).then(|| format!("{torn} bytes of an unfinished line were cut off")),
            ),
            End::Damaged => {
                current.rotate()?;
                log::error!(event = "audit_damaged", file = self.settings.file.display().to_string(); "the audit log did not end in a record of its own; it was set aside and a new chain begins");
                let what = "the file before does not end in a record; a new chain begins";
                (Chain::begin(&mut OsRng), Some(what.to_owned()))
            }
        };
        let mut log = Log { current, chain };
        let mut records = vec![encoded(Event::Opened)];
        records.extend(mended.map(recovered).into_iter().chain(lost(missing)));
        let now = self.clock.now();
        log.append(|chain, lines| {
            for record in &records {
                chain.add(record, now, lines);
            }
        })?;
        log.current.sync()?;
        self.log = Some(log);
        self.unsynced = None;
        self.unsigned = Some((Instant::now(), records.len() as u64));
        Ok(())
    }

    fn fail(&mut self, error: &io::Error, records: u64) {
        self.state.lose(records);
        if self.log.take().is_some() || !self.state.failing.swap(true, Ordering::Relaxed) {
            let file = self.settings.file.display().to_string();
            log::error!(event = "audit_failing", file = file, cause = error.to_string(); "the audit log can't be written; trying again every second");
            self.retry = Instant::now() + AGAIN;
        } else if Instant::now() >= self.retry {
            self.retry = Instant::now() + AGAIN;
        }
        self.state.failing.store(true, Ordering::Relaxed);
        self.unsynced = None;
        self.unsigned = None;
    }
}

/// The record of something about the log itself.
fn encoded(event: Event) -> EncodedRecord {
    let record: Record = Record::new(event);
    record.encode()
}

/// The record of what was lost or mended.
fn recovered(detail: String) -> EncodedRecord {
    let recovered: Record = Record {
        outcome: Outcome::Failed,
        detail: Some(detail),
        ..Record::new(Event::Recovered)
    };
    recovered.encode()
}

/// That so many records are missing, if any are.
fn lost(missing: u64) -> Option<EncodedRecord> {
    (missing > 0).then(|| recovered(format!("{missing} records could not be written")))
}

fn just_failed() -> io::Error {
    io::Error::other("the last attempt failed just now")
}
