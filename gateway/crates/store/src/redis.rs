//! The store that replicas share: one Redis server (6.2 or newer; no Cluster).
//!
//! Owns: the layout of the keys, one script for each promise. Not: connections and deadlines
//! (`connection`).
//!
//! | key | type | what |
//! |---|---|---|
//! | `{prefix}:{table}:{key}` | hash | `value`, `expires` in milliseconds, `used`, `indexes` |
//! | `{prefix}:keys:{table}` | sorted set | the keys of a table, in order |
//! | `{prefix}:index:{table}:{index}` | sorted set | the keys of an index, in order; it ends with the last of them |
//! | `{prefix}:expiry` | sorted set | `{table}:{key}` by when it expires |
//! | `{prefix}:count:{key}` | hash | `count`, `ends` |
//! | `{prefix}:revocations` | sorted set | `{end}:{id}` by number; at 0 the seal |
//! | `{prefix}:revocations:ends` | sorted set | the same by end |
//! | `{prefix}:revocations:last` | string | the last number; its messages are the hints |
//! | `{prefix}:birth` | string | the epoch |
//! | `{prefix}:ping` | string | when a write was last tried |
//!
//! Whether something has expired is decided by the gateway's clock. Redis drops it by its own
//! clock an hour later, for the case that no gateway is left to sweep.
//!
//! # What survives
//!
//! A write is acknowledged when Redis has done it. How much of that a crash of the *server* takes
//! away is decided by its configuration, not by us:
//!
//! - `appendonly yes` with `appendfsync always`: nothing.
//! - `appendfsync everysec`, the usual setting: nothing when the Redis process dies, up to about
//!   one second of writes when the machine does. A code that was redeemed in that second could be
//!   redeemed again until it is 60 seconds old, and a revocation made in it is lost in Redis. The
//!   gateways that saw it keep refusing its grant; one that starts later does not know of it.
//! - no append-only file: everything is forgotten. The emptied server gets a new epoch, and
//!   tokens from before it are refused, so that no revoked one comes back to life.
//! - A failover to a replica loses what the replica had not received. `min-replicas-to-write 1`
//!   bounds that to a second or so.
//!
//! Set `maxmemory-policy noeviction`. Where Redis evicts all the same, nothing that was revoked comes
//! back: the list of revocations carries a seal, and an epoch without the list that it was made
//! with counts as none. The store is then as good as emptied, and older tokens are refused.

mod connection;
mod examine;
mod failure;
mod names;
mod reach;
mod refusals;
mod replicas;
mod scripts;
mod sentinels;
mod target;

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, ScriptInvocation};
use tokio::runtime::Handle;

use self::connection::{Request, SharedConnection};
use self::names::{in_expiry, index_names};
use self::scripts::{COUNT, ENTER, EPOCH, LIST, REVOKE, SWEEP, VALUES};
use self::target::Target;
use crate::epoch::StoreEpoch;
use crate::error::{Corrupt, OpenError, StoreError};
use crate::key::{CountKey, Index, Key, Table};
use crate::revocation::{Cursor, Revocation};
use crate::store::{COUNT_SKEW, Examined, Inserted, Sizes, Store, TakeOutcome};
use crate::url::RedisUrl;
use gateway_core::clock::Timestamp;

/// How long after its time Redis itself drops a value.
const BACKSTOP: Duration = Duration::from_secs(3600);
/// Later than this is never: a number that Lua and Redis still hold exactly.
const FAR: u64 = 1 << 52;
/// Entries that one step of a sweep removes.
const SWEPT: usize = 500;
/// Revocations in one page.
const PAGE: usize = 5_000;

/// The store in Redis.
#[derive(Debug)]
pub struct Redis {
    connection: SharedConnection,
    prefix: String,
    /// How many replicas of Redis must have a write.
    wait: u32,
}

/// An operation of `values.lua`, with all that it needs.
#[derive(Default)]
struct Operation<'a> {
    name: &'static str,
    now: Option<Timestamp>,
    value: &'a [u8],
    expires: Option<Timestamp>,
    seen: &'a [u8],
}

impl Redis {
    /// The store behind `url`. Nothing is connected yet, and the server may come and go. `runtime`
    /// must outlive the store.
    pub fn open(url: &RedisUrl, runtime: Handle) -> Result<Self, OpenError> {
        let channel = format!("{}:revocations:last", url.prefix);
        Ok(Self {
            connection: SharedConnection::new(Target::new(url)?, url.wait, channel, runtime),
            prefix: url.prefix.clone(),
            wait: url.wait,
        })
    }

    /// A page of a table, or of an index of it.
    async fn page(
        &self,
        table: Table,
        index: Option<&Index>,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let (keys, what) = match index {
            Some(index) => (
                format!("{}{}", self.indexes_of(table), index.name()),
                "index",
            ),
            None => (self.keys_of(table), "table"),
        };
        let start = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let mut script = LIST.prepare_invoke();
        script
            .key(keys)
            .arg(self.name(&format!("{}:", table.name())))
            .arg(start)
            .arg(limit)
            .arg(now.millis())
            .arg(what);
        let flat: Vec<Vec<u8>> = self.script(script).await?;
        let mut page = Vec::with_capacity(flat.len() / 2);
        let mut flat = flat.into_iter();
        while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
            page.push((String::from_utf8(key).map_err(|_| strange())?, value));
        }
        Ok(page)
    }

    async fn command<T: FromRedisValue + Send + 'static>(
        &self,
        command: Cmd,
    ) -> Result<T, StoreError> {
        self.connection.query(Request::command(command)).await
    }

    async fn script<T: FromRedisValue + Send + 'static>(
        &self,
        script: ScriptInvocation<'static>,
    ) -> Result<T, StoreError> {
        self.connection.query(Request::script(script)).await
    }

    /// A script that writes what is acknowledged.
    async fn write<T: FromRedisValue + Send + 'static>(
        &self,
        script: ScriptInvocation<'static>,
    ) -> Result<T, StoreError> {
        let request = Request::script(script).durable();
        self.connection.query(request).await
    }

    /// Runs `values.lua`: one word of outcome, and for some outcomes a value.
    async fn value(&self, key: &Key, operation: Operation<'_>) -> Result<Outcome, StoreError> {
        let expires = operation
            .expires
            .map(Timestamp::millis)
            .filter(|millis| *millis < FAR);
        let backstop = expires.unwrap_or_default() + millis(BACKSTOP);
        let indexes = self.indexes_of(key.table());
        let mut script = VALUES.prepare_invoke();
        script
            .key(self.record(key))
            .key(self.keys_of(key.table()))
            .key(self.name("expiry"));
        for name in key.indexes() {
            script.key(format!("{indexes}{name}"));
        }
        script
            .arg(operation.name)
            .arg(key.name())
            .arg(in_expiry(key))
            .arg(operation.now.map_or(0, Timestamp::millis))
            .arg(operation.value)
            .arg(expires.map_or_else(String::new, |millis| millis.to_string()))
            .arg(backstop)
            .arg(operation.seen)
            .arg(indexes)
            .arg(index_names(key));
        let answer = self.write(script).await;
        let mut answer: Vec<Vec<u8>> = answer.map_err(|error| error.of_record(key.kind()))?;
        let value = (answer.len() > 1).then(|| answer.swap_remove(1));
        match (answer.first().map(Vec::as_slice), value) {
            (Some(b"done" | b"new"), None) => Ok(Outcome::Done),
            (Some(b"unknown" | b"other"), None) => Ok(Outcome::Missed),
            (Some(b"fresh"), Some(value)) => Ok(Outcome::Fresh(value)),
            (Some(b"exists" | b"again"), Some(value)) => Ok(Outcome::Present(value)),
            _ => Err(strange()),
        }
    }
}

/// What `values.lua` met.
enum Outcome {
    Done,
    Missed,
    Fresh(Vec<u8>),
    Present(Vec<u8>),
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(FAR).min(FAR)
}

/// An answer that the gateway's own scripts don't give.
fn strange() -> StoreError {
    Corrupt::Store("Redis holds or answers something else".to_owned()).into()
}

#[async_trait]
impl Store for Redis {
    async fn epoch(&self, candidate: &StoreEpoch) -> Result<StoreEpoch, StoreError> {
        let candidate = serde_json::to_vec(candidate).expect("an epoch is a text and a number");
        let mut script = EPOCH.prepare_invoke();
        script
            .key(self.name("birth"))
            .key(self.name("revocations"))
            .arg(candidate);
        // One that a failover loses is replaced by a later one, which refuses more.
        let found: Vec<u8> = self.script(script).await?;
        serde_json::from_slice(&found).map_err(|_| strange())
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.record(key)).arg("value").arg("expires");
        let found = self.command(command).await;
        let (value, expires): (Option<Vec<u8>>, Option<u64>) =
            found.map_err(|error| error.of_record(key.kind()))?;
        Ok(value.filter(|_| expires.is_none_or(|expires| now.millis() < expires)))
    }

    async fn put(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let operation = Operation {
            name: "put",
            value,
            expires,
            ..Operation::default()
        };
        match self.value(key, operation).await? {
            Outcome::Done => Ok(()),
            _ => Err(strange()),
        }
    }

    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Inserted, StoreError> {
        let operation = Operation {
            name: "insert",
            now: Some(now),
            value,
            expires,
            ..Operation::default()
        };
        match self.value(key, operation).await? {
            Outcome::Done => Ok(Inserted::New),
            Outcome::Present(value) => Ok(Inserted::Exists(value)),
            _ => Err(strange()),
        }
    }

    async fn replace(
        &self,
        key: &Key,
        seen: &[u8],
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let operation = Operation {
            name: "replace",
            now: Some(now),
            value,
            expires,
            seen,
        };
        match self.value(key, operation).await? {
            Outcome::Done => Ok(()),
            Outcome::Missed => Err(StoreError::Conflict(key.kind())),
            _ => Err(strange()),
        }
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        let operation = Operation {
            name: "take",
            now: Some(now),
            ..Operation::default()
        };
        match self.value(key, operation).await? {
            Outcome::Fresh(value) => Ok(TakeOutcome::Fresh(value)),
            Outcome::Present(value) => Ok(TakeOutcome::Again(value)),
            Outcome::Missed => Ok(TakeOutcome::Unknown),
            Outcome::Done => Err(strange()),
        }
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let operation = Operation {
            name: "remove",
            ..Operation::default()
        };
        match self.value(key, operation).await? {
            Outcome::Done => Ok(true),
            Outcome::Missed => Ok(false),
            _ => Err(strange()),
        }
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.page(table, None, after, limit, now).await
    }

    async fn list_index(
        &self,
        index: &Index,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.page(index.table(), Some(index), after, limit, now)
            .await
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let Some(first) = keys.first() else {
            return Ok(0);
        };
        let mut script = ENTER.prepare_invoke();
        script.arg(self.indexes_of(first.table()));
        for key in keys {
            script
                .key(self.record(key))
                .arg(key.name())
                .arg(index_names(key));
        }
        self.write(script).await
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let operation = Operation {
            name: "extend",
            now: Some(now),
            expires: Some(until),
            ..Operation::default()
        };
        match self.value(key, operation).await? {
            Outcome::Done => Ok(true),
            Outcome::Missed => Ok(false),
            _ => Err(strange()),
        }
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        let mut sizes = Sizes::default();
        for (size, table) in sizes.tables.iter_mut().zip(Table::ALL) {
            let mut command = redis::cmd("ZCARD");
            command.arg(self.keys_of(table));
            *size = self.command(command).await?;
        }
        let mut command = redis::cmd("ZCARD");
        command.arg(self.name("revocations:ends"));
        sizes.revocations = self.command(command).await?;
        Ok(sizes)
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut script = COUNT.prepare_invoke();
        script
            .key(self.name(&format!("count:{}", key.name())))
            .arg(now.millis())
            .arg((now + window).millis().min(FAR))
            .arg(millis(window) + millis(BACKSTOP))
            .arg(millis(COUNT_SKEW));
        self.script(script).await
    }

    async fn revoke(&self, revocation: &Revocation, _: Timestamp) -> Result<(), StoreError> {
        let end = revocation.expires.millis().min(FAR);
        let mut script = REVOKE.prepare_invoke();
        script
            .key(self.name("revocations"))
            .key(self.name("revocations:ends"))
            .key(self.name("revocations:last"))
            .arg(format!("{end}:{}", revocation.id))
            .arg(end)
            .arg(self.name("revocations:last"));
        let _number: u64 = self.write(script).await?;
        self.connection.give_hint();
        Ok(())
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command
            .arg(self.name("revocations"))
            .arg(format!("({}", after.0))
            .arg("+inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(0)
            .arg(PAGE);
        let rows: Vec<(String, u64)> = self.command(command).await?;
        let mut cursor = after;
        let mut live = Vec::with_capacity(rows.len());
        for (entry, number) in rows {
            cursor = Cursor(number);
            let (end, id) = entry.split_once(':').ok_or_else(strange)?;
            let expires = Timestamp::from_millis(end.parse().map_err(|_| strange())?);
            if now < expires {
                let id = id.to_owned();
                live.push(Revocation { id, expires });
            }
        }
        Ok((live, cursor))
    }

    async fn revocation_hint(&self, limit: Duration) {
        self.connection.hint(limit).await;
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let mut script = SWEEP.prepare_invoke();
            script
                .key(self.name("expiry"))
                .key(self.name("revocations"))
                .key(self.name("revocations:ends"))
                .arg(now.millis())
                .arg(SWEPT)
                .arg(&self.prefix);
            let swept: usize = self.script(script).await?;
            if swept < SWEPT {
                return Ok(());
            }
        }
    }

    async fn examine(&self) -> Examined {
        self.examined().await
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.name("ping")).arg(now.millis());
        let request = Request::command(command).durable();
        self.connection.query(request).await
    }
}

#[cfg(test)]
mod tests;
