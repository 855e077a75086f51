//! What outlives a request. [`Store`] is a handful of atomic promises over bytes; [`Records`] puts
//! the domain's types on them, [`RevocationView`] keeps the revocations where a call can see them
//! without a round trip. The store judges nothing that it holds.
//!
//! | URL | implementation | for |
//! |---|---|---|
//! | `file:FOLDER` | [`Embedded`] | one gateway on one machine; the default |
//! | `redis://`, `rediss://`, `redis+unix://` | [`Redis`] | replicas that share what they know |
//! | `memory:` | [`Memory`] | tests and trials; forgets at exit |
//!
//! All must pass one contract suite (`contract`).
//!
//! Owns: what is kept and written down: records, revocations, the audit log on disk ([`journal`]).
//! Not: what any of it means (`gateway-core`).
//!
//! Begin at [`Store`].
//!
//! # Revocation
//!
//! A grant, a token by the id of any of its blocks, and by a moment all of a client or a user
//! ([`Revoked`]) are entries of one list in the store, durable before they are acknowledged. Each
//! replica follows it in memory ([`RevocationView`]): admission and introspection ask the view, and the
//! proxy ends streams and running calls when it changes. What has to be revoked for what is decided in
//! `gateway-oauth` (`revoke`, `revoke_all`): one way for clients, users and the operator.

#[cfg(test)]
mod contract;
mod embedded;
mod error;
pub mod journal;
mod key;
mod last_use;
mod memory;
mod records;
mod redis;
mod revocation;
mod revocation_view;
mod revocation_waiters;
mod revoke;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

pub use self::embedded::Embedded;
pub use self::error::{Corrupt, StoreError, unless_conflict};
pub use self::key::{CountKey, Key, KeyKind, Table};
pub use self::last_use::LastUse;
pub use self::memory::Memory;
pub use self::records::{
    Disabled, FormPage, GrantsOf, KeptGrant, KeptSetup, LoginSubject, Page, Pressed, Readable,
    Records, SetupOffer, SetupState, TakenCode, ToolsUnknown, User,
};
pub use self::redis::Redis;
pub use self::revocation::Revoked;
pub use self::revocation_view::RevocationView;
pub use self::url::{RedisUrl, StoreUrl, StoreUrlError};

use gateway_core::access_token::LEEWAY;
use gateway_core::clock::{Clock, Timestamp};

/// Opens the store that `url` names. A Redis server need not answer yet: until it does, every
/// promise of it is a [`StoreError`]. `runtime` must outlive the store.
pub fn open(url: &StoreUrl, runtime: &Handle) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match url {
        StoreUrl::Memory => Arc::new(Memory::new()),
        StoreUrl::Folder(folder) => Arc::new(Embedded::open(folder)?),
        StoreUrl::Redis(url) => Arc::new(Redis::open(url, runtime.clone())?),
    })
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state folder has its gateway.
    #[error(
        "another gateway is using the state folder {}: stop it, give this one a folder of its own, \
         or let both share a Redis", .0.display()
    )]
    InUse(PathBuf),
    /// The state folder or the file in it can't be made or opened.
    #[error("the state folder {} can't be used: {cause}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// There is a file, and it is not a sound store of this version.
    #[error("the store in {} can't be read: {cause}", folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// What the database said.
        cause: String,
    },
    /// The Redis client refuses its settings.
    #[error("the Redis client can't be set up: {0}")]
    Redis(String),
}

/// Sweeps the store every ten seconds for as long as somebody else holds it.
pub fn keep_swept(store: &Arc<dyn Store>, clock: Clock, runtime: &Handle) {
    const PERIOD: Duration = Duration::from_secs(10);
    let store = Arc::downgrade(store);
    runtime.spawn(async move {
        let mut last = Ok(());
        loop {
            tokio::time::sleep(PERIOD).await;
            let Some(store) = store.upgrade() else { return };
            let swept = store.sweep(clock.now()).await;
            if let Err(error) = &swept {
                let (level, reason) = (level_of_failed_sweep(&last, error), error.reason());
                log::log!(
                    level, event = "store_sweep_failed", reason = reason, hint = reason.remedy();
                    "{error}"
                );
            }
            last = swept;
        }
    });
}

/// The view of the revocations reports outages, and this one does no harm. What can't be read keeps
/// the store growing until somebody mends it, and is told once.
fn level_of_failed_sweep(last: &Result<(), StoreError>, error: &StoreError) -> log::Level {
    match last {
        Err(last) if last == error => log::Level::Debug,
        _ if error.is_corrupt() => log::Level::Error,
        _ => log::Level::Debug,
    }
}

/// What an insertion met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The value is there now, durably.
    New,
    /// Another value was there and stays.
    Exists(Vec<u8>),
}

/// What taking a single-use value met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This caller, and no other ever, has it.
    Fresh(Vec<u8>),
    /// Somebody had it before; this is what they got.
    Again(Vec<u8>),
    /// No such value, or past its time.
    Unknown,
}

/// A position in the list of revocations; opaque outside of the store that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub u64);

/// Something was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What, as [`Revoked`] writes it.
    pub id: String,
    /// When the last token that it concerns ends; the entry may be forgotten then.
    pub expires: Timestamp,
}

/// When this store was first used. A store that was emptied has a new one, and tokens older than
/// it are refused: their revocations are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreEpoch {
    /// A random name.
    pub id: String,
    /// The moment.
    pub at: Timestamp,
}

impl StoreEpoch {
    /// The earliest moment that a token which counts was given at. The clock that the epoch was read
    /// from may be behind the one that a forgotten token was dated by, so the leeway between clocks
    /// counts against a token; one that is given within it is dated by this moment
    /// ([`Self::dates`]). In whole seconds, as tokens tell their time.
    pub fn counts_from(&self) -> Timestamp {
        Timestamp::from_secs((self.at + LEEWAY).secs() + 1)
    }

    /// How long from `now` until a token may be given; `None` once one may. Tokens tell whole seconds:
    /// one given in the very second of this epoch could not be told from one that a store gave which
    /// was first used, and emptied, in the same second. Never more than a second.
    pub fn settles_in(&self, now: Timestamp) -> Option<Duration> {
        let next = Timestamp::from_secs(self.at.secs() + 1);
        (now < next).then(|| next.since(now).min(Duration::from_secs(1)))
    }

    /// The moment that a token given at `now` says it was given at.
    pub fn dates(&self, now: Timestamp) -> Timestamp {
        now.max(self.counts_from())
    }
}

/// What a store's own settings mean for what is promised over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Why nothing will work before somebody changes something, if so.
    pub hopeless: Option<String>,
    /// What endangers what is kept, each with what to change.
    pub unsafe_settings: Vec<String>,
}

/// The promises. Every write is durable before it is acknowledged. `now` decides what has expired;
/// an expired value is never returned, whether or not it was swept.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The epoch: `candidate` if the store is new, else the one it has.
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError>;

    /// The value under a key.
    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError>;

    /// Sets the value under a key, whatever was there, taken or not.
    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// Sets the value if there is none. Of concurrent callers exactly one sees [`Inserted::New`].
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError>;

    /// Sets the value and its time if the present one is `seen`; [`StoreError::Conflict`] if it is
    /// another, or none. A value that was taken stays taken.
    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Takes a single-use value. Of all callers ever exactly one sees [`Taken::Fresh`]; later ones
    /// see [`Taken::Again`] until it expires.
    async fn take(&self, key: &Key, now: Timestamp) -> Result<Taken, StoreError>;

    /// Removes a value. `false` if there was none. One that is past its time may count as one that
    /// was there.
    async fn remove(&self, key: &Key) -> Result<bool, StoreError>;

    /// Up to `limit` entries with keys after `after`, in key order. What stands where an entry should
    /// and is none has an empty value.
    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Counts one event under a key and returns how many there were in the current window, this
    /// one included. Windows start with their first event. A crash may lose counts.
    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Appends a revocation. Every replica sees it at its next [`Store::revocations`].
    async fn revoke(&self, revocation: &Revocation, now: Timestamp) -> Result<(), StoreError>;

    /// The revocations after a cursor, in order, without those past their time, and the cursor to
    /// go on from. [`Cursor::default`] reads from the start. The answer may be a page: go on until
    /// the cursor stays where it is.
    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError>;

    /// Waits until there may be new revocations, at most `limit`. May return early for no reason.
    /// For one waiter: a second one may be told late.
    async fn revocation_hint(&self, limit: Duration);

    /// Forgets what has expired. Called every few seconds.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;

    /// How the store is set up, where that is not all in our hands. Says nothing of a store that does
    /// not answer.
    async fn examine(&self) -> Examined {
        Examined::default()
    }

    /// Whether the store answers and takes writes.
    async fn ping(&self, now: Timestamp) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_meets_what_cannot_be_read_says_so_once_and_an_outage_not_at_all() {
        let corrupt = StoreError::from(Corrupt::Store("x".to_owned()));
        let away = StoreError::Away("x".to_owned());
        let level = |last, error| level_of_failed_sweep(&last, error);
        assert_eq!(level(Ok(()), &corrupt), log::Level::Error);
        assert_eq!(level(Err(away.clone()), &corrupt), log::Level::Error);
        assert_eq!(level(Err(corrupt.clone()), &corrupt), log::Level::Debug);
        assert_eq!(level(Err(corrupt.clone()), &away), log::Level::Debug);
        assert_eq!(level(Ok(()), &away), log::Level::Debug);
    }

    #[test]
    fn two_epochs_that_gave_tokens_never_date_them_alike() {
        for millis in [0, 1, 500, 999] {
            let first = StoreEpoch {
                id: "b_first".into(),
                at: Timestamp::from_millis(1_000_000 + millis),
            };
            // The earliest moment of a token of the first, and the epoch after a wipe then.
            let given = first.at + first.settles_in(first.at).unwrap_or_default();
            assert_eq!(first.settles_in(given), None);
            let second = StoreEpoch {
                id: "b_second".into(),
                at: given,
            };
            assert!(first.dates(given) < second.counts_from(), "{millis}");
        }
        let ahead = StoreEpoch {
            id: "b_ahead".into(),
            at: Timestamp::from_secs(1_000),
        };
        let waits = ahead.settles_in(Timestamp::from_secs(10));
        assert_eq!(waits, Some(Duration::from_secs(1)));
    }
}
