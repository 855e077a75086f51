//! The audit log on disk: one writer, in order, appended and never changed.
//!
//! A record is entered in one of two ways. [`Journal::enter`] returns when it is durable: what gives
//! or takes access waits for that before it is acknowledged. [`Journal::note`] returns at once: calls
//! and refusals are durable within [`DURABLE_WITHIN`]. Where the log can't be written both fail, and
//! whoever enters refuses what it was about to do, unless the operator chose to go on without.
//!
//! Owns: the writer's thread, the files, rotation, what a crash left. Not: what lines look like
//! (`audit`), what is worth one (the callers).

mod files;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use self::files::{OpenError, in_order};

use self::writer::{Entry, Writer};
use crate::audit::{Arguments, CheckpointKey, Flood, Passed, PublicKey, Record};
use crate::clock::Clock;
use crate::secret::TagKey;

/// How long a record that nobody waits for may be in memory only.
pub const DURABLE_WITHIN: Duration = Duration::from_millis(200);

/// How many records may wait for the writer.
const QUEUE: usize = 16_384;

/// What the operator decides about the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file that is appended to; those that were rotated away stand beside it, numbered.
    pub file: PathBuf,
    /// The size in bytes at which a new file begins.
    pub max_size: u64,
    /// How many rotated files are kept.
    pub keep: usize,
    /// How a call's arguments are written.
    pub arguments: ArgumentsMode,
    /// The longest time from a record to the checkpoint that signs it.
    pub checkpoint_every: Duration,
    /// What happens where the log can't be written.
    pub on_failure: OnFailure,
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

/// The log can't be written. Nothing was acknowledged; whether the record was written is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written")]
pub struct Unwritable;

/// A handle on the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    queue: SyncSender<Entry>,
    state: Arc<State>,
    flood: Mutex<Flood>,
    arguments: ArgumentsMode,
    arguments_key: TagKey,
    on_failure: OnFailure,
    public: PublicKey,
    clock: Clock,
}

/// What writer and handles tell each other.
#[derive(Debug, Default)]
struct State {
    failing: AtomicBool,
    /// Records that were not written since the last one that was.
    missing: AtomicU64,
}

impl Journal {
    /// No audit log.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens the log, mends what a crash left, and starts its writer. The chain goes on where it
    /// ended. Keys are derived from `tags`, so that they are those of this installation.
    pub fn open(settings: &Settings, tags: &TagKey, clock: Clock) -> Result<Self, OpenError> {
        let key = checkpoint_key(tags);
        let public = key.public();
        let state = Arc::new(State::default());
        let writer = Writer::open(settings.clone(), key, clock, Arc::clone(&state))?;
        Ok(Self(Some(Arc::new(Shared {
            queue: writer.start(QUEUE),
            state,
            flood: Mutex::new(Flood::new(clock.now())),
            arguments: settings.arguments,
            arguments_key: tags.derive("audit arguments"),
            on_failure: settings.on_failure,
            public,
            clock,
        }))))
    }

    /// What verifies this log's checkpoints; `None` if there is no log.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.0.as_ref().map(|shared| shared.public)
    }

    /// Whether a request may begin that will have to be entered.
    pub fn ready(&self) -> Result<(), Unwritable> {
        match &self.0 {
            Some(shared) if shared.state.failing.load(Ordering::Relaxed) => shared.failed(),
            _ => Ok(()),
        }
    }

    /// Whether records are being lost at this moment.
    pub fn is_failing(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|shared| shared.state.failing.load(Ordering::Relaxed))
    }

    /// Enters a record and waits until it is durable.
    pub async fn enter(&self, record: Record) -> Result<(), Unwritable> {
        let Some(shared) = &self.0 else {
            return Ok(());
        };
        let (told, durable) = oneshot::channel();
        shared.send(Entry::Record(Box::new(record), Some(told)))?;
        match durable.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => shared.failed(),
        }
    }

    /// Enters a record without waiting for it.
    pub fn note(&self, record: Record) -> Result<(), Unwritable> {
        let Some(shared) = &self.0 else {
            return Ok(());
        };
        shared.ready()?;
        shared.send(Entry::Record(Box::new(record), None))
    }

    /// Enters the refusal of a request that no known person stands behind: written one by one
    /// within bounds, counted beyond them. The request is refused already, so a log that can't be
    /// written changes nothing.
    pub fn note_stranger(&self, record: Record) {
        let Some(shared) = &self.0 else {
            return;
        };
        let now = shared.clock.now();
        let (passed, told) = {
            let mut flood = shared.flood.lock();
            (flood.take(record, now), flood.tell(now, false))
        };
        let written = match passed {
            Passed::Written(record) => Some(*record),
            Passed::Counted => None,
        };
        for record in told.into_iter().chain(written) {
            // The state of the log is known and told elsewhere.
            let _ = shared.send(Entry::Record(Box::new(record), None));
        }
    }

    /// The form in which a call's arguments are written. `text` is their JSON.
    pub fn arguments(&self, text: &[u8]) -> Option<Arguments> {
        let shared = self.0.as_ref()?;
        match shared.arguments {
            ArgumentsMode::None => None,
            ArgumentsMode::Hash => Some(Arguments::Hash(shared.arguments_key.tag(&[text]))),
            ArgumentsMode::Full => {
                Some(Arguments::Full(String::from_utf8_lossy(text).into_owned()))
            }
        }
    }

    /// Signs and closes the log. Later records are lost, so this comes last.
    pub fn close(&self) {
        let Some(shared) = &self.0 else {
            return;
        };
        for record in shared.flood.lock().tell(shared.clock.now(), true) {
            let _ = shared.send(Entry::Record(Box::new(record), None));
        }
        let (told, closed) = std::sync::mpsc::channel();
        if shared.queue.send(Entry::Close(told)).is_ok() {
            let _ = closed.recv_timeout(Duration::from_secs(5));
        }
    }
}

/// The key that signs this installation's checkpoints.
pub fn checkpoint_key(tags: &TagKey) -> CheckpointKey {
    CheckpointKey::from_seed(&tags.derive("audit checkpoints").seed())
}

impl Shared {
    fn ready(&self) -> Result<(), Unwritable> {
        match self.state.failing.load(Ordering::Relaxed) {
            true => {
                self.state.missing.fetch_add(1, Ordering::Relaxed);
                self.failed()
            }
            false => Ok(()),
        }
    }

    fn send(&self, entry: Entry) -> Result<(), Unwritable> {
        match self.queue.try_send(entry) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.state.missing.fetch_add(1, Ordering::Relaxed);
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
