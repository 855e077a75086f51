//! The audit log on disk: one writer, in order, appended and never changed.
//!
//! A record is entered in one of two ways. [`Journal::append_durable`] returns when it is durable: what gives
//! or takes access waits for that before it is acknowledged. [`Journal::append`] returns at once: calls
//! and refusals are durable within [`DURABLE_WITHIN`]. Where the log can't be written both fail, and
//! whoever enters refuses what it was about to do, unless the operator chose to go on without.
//!
//! There are two logs, each with files, a chain and a writer of its own: [`Settings::file`] has what
//! gives or takes access, [`Settings::calls_file`] everything else. Which of the two a record goes to
//! and how much of it is written is decided here alone, so no caller can forget it.
//!
//! Owns: the writers' threads, the files, rotation, what a crash left. Not: what lines look like
//! (`audit`), what is worth one (the callers).

mod files;
mod leave;
mod queue;
#[cfg(test)]
mod tests;
mod writer;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use self::files::{OpenError, files_below, in_order, logs};
pub use self::leave::Leaving;

use self::queue::{Entry, Queue, Refused};
use self::writer::Writer;
use gateway_core::audit::{
    Arguments, CheckpointKey, EncodedRecord, Event, Flood, PublicKey, Record,
};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::secret::TagKey;
use gateway_metrics::Metrics;

/// How long a record that nobody waits for may be in memory only.
pub const DURABLE_WITHIN: Duration = Duration::from_millis(200);

/// How many records may wait for the writer.
const QUEUE: usize = 16_384;

/// What the operator decides about the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file that is appended to with what gives or takes access; those that were rotated away
    /// stand beside it, numbered.
    pub file: PathBuf,
    /// The size in bytes at which a new file begins.
    pub max_size: u64,
    /// How many rotated files are kept of each log.
    pub keep: usize,
    /// The age at which a new file begins, whatever its size.
    pub max_age: Option<Duration>,
    /// How long a rotated file is kept after its last line.
    pub keep_for: Option<Duration>,
    /// How a call's arguments are written.
    pub arguments: ArgumentsMode,
    /// The longest time from a record to the checkpoint that signs it.
    pub checkpoint_every: Duration,
    /// What happens where the log can't be written.
    pub on_failure: OnFailure,
}

impl Settings {
    /// The file that is appended to with everything else: `audit-calls.jsonl` beside `audit.jsonl`.
    pub fn calls_file(&self) -> PathBuf {
        let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_owned();
        let mut name = part(self.file.file_stem());
        name.push("-calls");
        if let Some(extension) = self.file.extension() {
            name.push(".");
            name.push(extension);
        }
        self.file.with_file_name(name)
    }
}

/// How a call's arguments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentsMode {
    /// Not at all.
    None,
    /// As a keyed hash.
    Hash,
    /// As they are.
    Full,
}

/// What happens to requests while the log can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused with 503.
    Refuse,
    /// They go on; the missing records are counted.
    Continue,
}

/// Which of the two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogName {
    /// What gives or takes access.
    Access,
    /// Everything else.
    Calls,
}

/// The log can't be written. Nothing was acknowledged; whether the record was written is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written")]
pub struct Unwritable;

/// A handle on the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Option<Arc<Shared>>,
    /// Counts what is told of access, also where there is no log.
    metrics: Option<Metrics>,
}

/// How one of the two logs stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFigures {
    /// What it is called: `access` or `calls`.
    pub log: &'static str,
    /// Records that wait for its writer.
    pub queued: usize,
    /// Records that were written.
    pub written: u64,
    /// Records that could not be.
    pub lost: u64,
}

#[derive(Debug)]
struct Shared {
    access: LogHandle,
    calls: LogHandle,
    flood: Mutex<Flood>,
    arguments: ArgumentsMode,
    arguments_key: TagKey,
    on_failure: OnFailure,
    public: PublicKey,
    clock: Clock,
}

/// The way to one log's writer.
#[derive(Debug)]
struct LogHandle {
    queue: Arc<Queue>,
    state: Arc<State>,
}

/// What writer and handles tell each other.
#[derive(Debug, Default)]
struct State {
    failing: AtomicBool,
    /// Records that were not written since the last one that was.
    missing: AtomicU64,
    /// Records that were written, and that were not, since the start.
    written: AtomicU64,
    lost: AtomicU64,
}

impl State {
    /// So many records are not written.
    fn lose(&self, records: u64) {
        self.missing.fetch_add(records, Ordering::Relaxed);
        self.lost.fetch_add(records, Ordering::Relaxed);
    }
}

impl LogHandle {
    /// Whether records are lost that go to this log. Without a writer all are, whoever ended it.
    fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed) || self.queue.is_abandoned()
    }
}

impl Journal {
    /// No audit log.
    pub const fn off() -> Self {
        Self {
            shared: None,
            metrics: None,
        }
    }

    /// The same log; what it is told of access is counted, whether or not it is written.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        Self {
            metrics: Some(metrics.clone()),
            ..self
        }
    }

    /// How the logs stand; none, where there are none.
    pub fn figures(&self) -> Vec<LogFigures> {
        let Some(shared) = &self.shared else {
            return Vec::new();
        };
        let figures = |(log, pen): (&'static str, &LogHandle)| LogFigures {
            log,
            queued: pen.queue.length(),
            written: pen.state.written.load(Ordering::Relaxed),
            lost: pen.state.lost.load(Ordering::Relaxed),
        };
        let logs = [("access", &shared.access), ("calls", &shared.calls)];
        logs.into_iter().map(figures).collect()
    }

    fn count<T>(&self, record: &Record<T>) {
        if let Some(metrics) = &self.metrics {
            metrics.count_record(record);
        }
    }

    /// Opens both logs, mends what a crash left, and starts their writers. The chains go on where
    /// they ended. Keys are derived from `tags`, so that they are those of this installation.
    pub fn open(settings: &Settings, tags: &TagKey, clock: Clock) -> Result<Self, OpenError> {
        let public = checkpoint_key(tags).public();
        let pen = |name: LogName, file: PathBuf| -> Result<LogHandle, OpenError> {
            let state = Arc::new(State::default());
            let settings = Settings {
                file,
                ..settings.clone()
            };
            let key = checkpoint_key(tags);
            let writer = Writer::open(name, settings, key, clock, Arc::clone(&state))?;
            Ok(LogHandle {
                queue: writer.start(QUEUE),
                state,
            })
        };
        let shared = Shared {
            access: pen(LogName::Access, settings.file.clone())?,
            calls: pen(LogName::Calls, settings.calls_file())?,
            flood: Mutex::new(Flood::new(clock.now())),
            arguments: settings.arguments,
            arguments_key: tags.derive("audit arguments"),
            on_failure: settings.on_failure,
            public,
            clock,
        };
        Ok(Self {
            shared: Some(Arc::new(shared)),
            metrics: None,
        })
    }

    /// What verifies this log's checkpoints; `None` if there is no log.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.shared.as_ref().map(|shared| shared.public)
    }

    /// Whether a request may begin that will have to be entered.
    pub fn ready(&self) -> Result<(), Unwritable> {
        match &self.shared {
            Some(shared) if shared.is_failing() => shared.failed(),
            _ => Ok(()),
        }
    }

    /// Whether records are being lost at this moment.
    pub fn is_failing(&self) -> bool {
        self.shared
            .as_ref()
            .is_some_and(|shared| shared.is_failing())
    }

    /// Enters a record and waits until it is durable. One beyond what its grant, user or address
    /// may write is counted, and told with the counts.
    pub async fn append_durable(&self, record: Record) -> Result<(), Unwritable> {
        self.count(&record);
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let pen = shared.pen(record.event);
        let Some(record) = shared.pass(&record, Flood::take) else {
            return shared.failing();
        };
        let (told, durable) = oneshot::channel();
        shared.send(pen, Entry::Record(record, Some(told)))?;
        match durable.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => shared.failed(),
        }
    }

    /// Enters a record without waiting for it, within the same bounds.
    pub fn append<T: AsRef<str>>(&self, record: &Record<T>) -> Result<(), Unwritable> {
        self.count(record);
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let pen = shared.pen(record.event);
        if pen.is_failing() {
            pen.state.lose(1);
            return shared.failed();
        }
        match shared.pass(record, Flood::take) {
            Some(record) => shared.send(pen, Entry::Record(record, None)),
            None => Ok(()),
        }
    }

    /// Enters what no known user stands behind: written one by one within bounds, counted beyond
    /// them, and with the calls, so that it pushes out nothing that gives access. The request is
    /// answered already, so a log that can't be written changes nothing.
    pub fn append_anonymous<T: AsRef<str>>(&self, record: &Record<T>) {
        self.count(record);
        let Some(shared) = &self.shared else {
            return;
        };
        let pen = match record.event {
            // Anonymous requests reach the operator's listener from this machine only.
            Event::Operator => &shared.access,
            _ => &shared.calls,
        };
        if let Some(record) = shared.pass(record, Flood::take_anonymous) {
            // The state of the log is known and told elsewhere.
            let _ = shared.send(pen, Entry::Record(record, None));
        }
    }

    /// The form in which a call's arguments are written. `text` is their JSON.
    pub fn arguments<'t>(&self, text: &'t [u8]) -> Option<Arguments<Cow<'t, str>>> {
        let shared = self.shared.as_ref()?;
        match shared.arguments {
            ArgumentsMode::None => None,
            ArgumentsMode::Hash => {
                let hash = shared.arguments_key.tag(&[text]);
                Some(Arguments::Hash(Cow::Owned(hash)))
            }
            ArgumentsMode::Full => Some(Arguments::Full(String::from_utf8_lossy(text))),
        }
    }

    /// Signs and closes the logs. Later records are lost, so this comes last.
    pub fn close(&self) {
        let Some(shared) = &self.shared else {
            return;
        };
        let told = shared.flood.lock().tell(shared.clock.now(), true);
        shared.tell(told);
        for pen in [&shared.access, &shared.calls] {
            let (told, closed) = std::sync::mpsc::channel();
            if pen.queue.push(Entry::Close(told)).is_ok() {
                let _ = closed.recv_timeout(Duration::from_secs(5));
            }
        }
    }
}

/// The key that signs this installation's checkpoints.
pub fn checkpoint_key(tags: &TagKey) -> CheckpointKey {
    CheckpointKey::from_seed(&tags.derive("audit checkpoints").seed())
}

impl Shared {
    const fn pen(&self, event: Event) -> &LogHandle {
        if event.is_about_access() {
            &self.access
        } else {
            &self.calls
        }
    }

    fn is_failing(&self) -> bool {
        self.access.is_failing() || self.calls.is_failing()
    }

    fn failing(&self) -> Result<(), Unwritable> {
        if self.is_failing() {
            self.failed()
        } else {
            Ok(())
        }
    }

    /// A record as it may be written; `None` if it was counted instead. Counts whose time has come
    /// are written first.
    fn pass<T: AsRef<str>>(
        &self,
        record: &Record<T>,
        take: impl FnOnce(&mut Flood, &Record<T>, Timestamp) -> bool,
    ) -> Option<EncodedRecord> {
        let now = self.clock.now();
        let (is_written, told) = {
            let mut flood = self.flood.lock();
            (take(&mut flood, record, now), flood.tell(now, false))
        };
        self.tell(told);
        is_written.then(|| record.encode())
    }

    /// Enters counts where what was counted would have been.
    fn tell(&self, told: Vec<(Event, Record)>) {
        for (event, record) in told {
            let _ = self.send(self.pen(event), Entry::Record(record.encode(), None));
        }
    }

    fn send(&self, pen: &LogHandle, entry: Entry) -> Result<(), Unwritable> {
        match pen.queue.push(entry) {
            Ok(()) => Ok(()),
            Err(Refused) => {
                pen.state.lose(1);
                self.failed()
            }
        }
    }

    const fn failed(&self) -> Result<(), Unwritable> {
        match self.on_failure {
            OnFailure::Refuse => Err(Unwritable),
            OnFailure::Continue => Ok(()),
        }
    }
}
