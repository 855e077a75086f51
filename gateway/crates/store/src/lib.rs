//! What outlives a request. [`Store`] is a handful of atomic promises over bytes; [`Records`] puts
//! the domain's types on them, [`RevocationView`] keeps the revocations where a call can see them
//! without a round trip. The store judges nothing that it holds.
//!
//! | URL | implementation | for |
//! |---|---|---|
//! | `file:FOLDER` | [`Embedded`] | one gateway on one machine; the default |
//! | `redis://`, `rediss://`, `redis+unix://`, `redis+sentinel://`, `redis+cluster://` | [`Redis`] | replicas that share what they know |
//! | `memory:` | [`Memory`] | tests and trials; forgets at exit |
//!
//! All must pass one contract suite (`contract`).
//!
//! Owns: what is kept and written down: records, revocations, the audit log on disk ([`journal`]), and the
//! local shares of what is counted for limits ([`Shares`]).
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

mod backup;
mod base64_bytes;
mod call_limits;
#[cfg(test)]
mod contract;
mod embedded;
mod epoch;
mod error;
mod index_keeper;
pub mod journal;
mod key;
mod last_use;
mod memory;
mod meter;
mod movable;
pub mod neighbour;
mod peer_question;
mod peers;
mod program;
mod records;
mod redis;
mod restoring;
mod revocation;
mod revocation_follower;
mod revocation_moments;
mod revocation_view;
mod revocation_waiters;
mod revoke;
mod shares;
mod store;
mod sure_time;
mod url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

pub use self::backup::{
    BackupCounts, BackupEntry, BackupHead, BackupRow, BackupValue, StoreBackup,
};
pub use self::call_limits::CallLimits;
pub use self::embedded::{
    Connections, Embedded, PresentStore, RestoreError, RestoredStore, StorePlace,
};
pub use self::epoch::StoreEpoch;
pub use self::error::{Corrupt, OpenError, StoreError, unless_conflict};
pub use self::index_keeper::keep_indexed;
pub use self::key::{CountKey, Index, Key, KeyKind, Table};
pub use self::last_use::LastUse;
pub use self::memory::Memory;
pub use self::movable::Movable;
pub use self::peer_question::PeerQuestion;
pub use self::records::{
    Account, AccountLink, AccountLogin, AcmeAccount, Disabled, FailedOrders, FormPage, GrantsOf,
    Identity, KeptAccount, KeptCertificate, KeptDevice, KeptGoal, KeptGrant, KeptSetup, Lapse,
    LoginSubject, ORDER_LEASE, OrderLease, Page, Passkey, ProviderLogin, Readable, Records,
    RescueLink, ServiceGrantKey, SetupOffer, SetupState, SingleUse, Submission, TakenCode,
    TakenLink, ToolsUnknown, User,
};
pub use self::redis::Redis;
pub use self::revocation::{Appended, Cursor, Hint, ListHead, Revocation, Revoked};
pub use self::revocation_view::RevocationView;
pub use self::shares::{NotTaken, Shares, Taken};
pub use self::store::{Examined, Inserted, Listing, Row, Sizes, Store, TakeOutcome};
pub use self::url::{RedisUrl, StoreUrl, StoreUrlError};

use self::sure_time::SureTime;
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

/// Between two sweeps.
const SWEEPS: Duration = Duration::from_secs(10);

/// Sweeps the store every ten seconds for as long as somebody else holds it, once the clock has gone on steadily
/// for a while. Of several gateways on one store one does so at a time.
pub fn keep_swept(store: &Arc<dyn Store>, clock: Clock, runtime: &Handle) {
    let store = Arc::downgrade(store);
    runtime.spawn(async move {
        let (mut last, mut sure, begun) = (Ok(()), SureTime::default(), Instant::now());
        loop {
            tokio::time::sleep(SWEEPS).await;
            let Some(store) = store.upgrade() else { return };
            let now = clock.now();
            let Some(sure) = sure.at(now, begun.elapsed()) else {
                continue;
            };
            let swept = sweep_in_turn(store.as_ref(), now, sure).await;
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

/// Sweeps what is surely over, unless another gateway on the same store has done so since the last time.
async fn sweep_in_turn(
    store: &dyn Store,
    now: Timestamp,
    sure: Timestamp,
) -> Result<(), StoreError> {
    if store.is_shared() && !takes_turn(store, now).await? {
        return Ok(());
    }
    // What others share goes by a clock that they share, too: this gateway's may be wrong for good.
    let shared = store.time().await?;
    store.sweep(shared.unwrap_or(sure).min(sure)).await
}

/// Whether it is this gateway's turn. One that was taken until long after now is none: that clock was ahead, and
/// nobody would sweep until it is that late.
async fn takes_turn(store: &dyn Store, now: Timestamp) -> Result<bool, StoreError> {
    let key = Key::new(KeyKind::Sweep, "sweep");
    // A little less, so that one gateway alone has each turn.
    let until = now + SWEEPS * 9 / 10;
    let value = until.millis().to_string().into_bytes();
    let present = match store.insert(&key, &value, Some(until), now).await? {
        Inserted::New => return Ok(true),
        Inserted::Exists(present) => present,
    };
    // Earlier versions don't say until when.
    let taken = std::str::from_utf8(&present).ok();
    let taken = taken.and_then(|taken| taken.parse().ok());
    if taken.is_none_or(|taken| Timestamp::from_millis(taken) <= now + 2 * SWEEPS) {
        return Ok(false);
    }
    let replaced = store.replace(&key, &present, &value, Some(until), now);
    Ok(unless_conflict(replaced.await)?.is_some())
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
}
