//! The sessions that the gateway holds with backends: bounded in number, ended when nobody uses
//! them, when their grant is revoked, and when the last token that used them runs out.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::response_stream::Task;
use super::upstream_session::UpstreamSession;
use crate::holder::Holder;
use crate::lifetime::StreamLifetime;
use gateway_core::account::AccountId;

/// A session that is not used ends after this.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How many there are with one backend under one grant.
const MOST_OWNED: usize = 16;

/// How many there are.
const MOST: usize = 4096;

/// Whose a session is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// Of one person and one client. A client id may be that of several programs, each with a grant
    /// of its own.
    grant: String,
    backend: String,
    /// The account there that it was begun with.
    account: Option<AccountId>,
}

impl Owner {
    pub(super) fn new(holder: Holder<'_>) -> Self {
        Self {
            grant: holder.claims.grant.as_str().to_owned(),
            backend: holder.mount.name.clone(),
            account: holder.account.cloned(),
        }
    }
}

/// Whose, and which of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) owner: Owner,
    pub(super) name: String,
}

struct Entry {
    upstream_session: Arc<UpstreamSession>,
    used: Instant,
    lifetime: StreamLifetime,
    uses: u64,
    _watch: Task,
}

/// All of them.
#[derive(Default)]
pub(super) struct SessionPool {
    table: Mutex<HashMap<Key, Entry>>,
    opening: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

impl SessionPool {
    /// The session of this key. It lasts as long as the lifetime of its latest use.
    pub(super) fn find(
        &self,
        key: &Key,
        lifetime: &StreamLifetime,
    ) -> Option<Arc<UpstreamSession>> {
        let mut table = self.table.lock();
        let entry = table.get_mut(key)?;
        entry.used = Instant::now();
        entry.lifetime = lifetime.clone();
        entry.uses += 1;
        Some(Arc::clone(&entry.upstream_session))
    }

    /// Keeps a session. Where its owner has too many, the one that was not used for longest ends.
    pub(super) fn keep(
        self: &Arc<Self>,
        key: Key,
        upstream_session: Arc<UpstreamSession>,
        lifetime: &StreamLifetime,
    ) {
        let watch = Task::start(watch(
            Arc::downgrade(self),
            key.clone(),
            upstream_session.end_signal(),
        ));
        let entry = Entry {
            upstream_session,
            used: Instant::now(),
            lifetime: lifetime.clone(),
            uses: 0,
            _watch: watch,
        };
        let mut table = self.table.lock();
        let owned = table.keys().filter(|other| other.owner == key.owner);
        let is_full = table.len() >= MOST;
        if is_full || owned.count() >= MOST_OWNED {
            let oldest = table
                .iter()
                .filter(|(other, _)| is_full || other.owner == key.owner)
                .min_by_key(|(_, entry)| entry.used)
                .map(|(other, _)| other.clone());
            if let Some(entry) = oldest.and_then(|oldest| table.remove(&oldest)) {
                entry.upstream_session.end();
            }
        }
        table.insert(key, entry);
    }

    /// Ends the session of this key. Whether there was one.
    pub(super) fn end(&self, key: &Key) -> bool {
        let entry = self.table.lock().remove(key);
        entry.is_some_and(|entry| {
            entry.upstream_session.end();
            true
        })
    }

    /// Ends the session of this key if it is still this one.
    pub(super) fn end_this(&self, key: &Key, upstream_session: &Arc<UpstreamSession>) {
        let mut table = self.table.lock();
        if table
            .get(key)
            .is_some_and(|entry| Arc::ptr_eq(&entry.upstream_session, upstream_session))
        {
            table.remove(key);
            upstream_session.end();
        }
    }

    /// The turn to open the session of this key: one at a time.
    pub(super) async fn turn(&self, key: &Key) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut opening = self.opening.lock();
            opening.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(opening.entry(key.clone()).or_default())
        };
        turn.lock_owned().await
    }

    fn terms(&self, key: &Key) -> Option<(StreamLifetime, Instant, u64)> {
        let table = self.table.lock();
        let entry = table.get(key)?;
        // A session that somebody listens to is used.
        let used = if entry.upstream_session.is_quiet() {
            entry.used
        } else {
            Instant::now()
        };
        Some((entry.lifetime.clone(), used, entry.uses))
    }
}

/// Ends a session when its time has come.
async fn watch(pool: Weak<SessionPool>, key: Key, mut ended: watch::Receiver<bool>) {
    loop {
        let terms = pool.upgrade().and_then(|pool| pool.terms(&key));
        let Some((lifetime, used, uses)) = terms else {
            return;
        };
        let is_over = tokio::select! {
            _ = lifetime.ended() => pool
                .upgrade()
                .and_then(|pool| pool.terms(&key))
                .is_none_or(|(_, _, now)| now == uses),
            () = sleep_until(used + IDLE) => pool
                .upgrade()
                .and_then(|pool| pool.terms(&key))
                .is_none_or(|(_, used, _)| used.elapsed() >= IDLE),
            _ = ended.wait_for(|ended| *ended) => true,
        };
        if is_over {
            if let Some(pool) = pool.upgrade() {
                pool.end(&key);
            }
            return;
        }
    }
}
