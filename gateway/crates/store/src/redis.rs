//! The store that replicas share: Redis (6.2 or newer), one server or a cluster.
//!
//! Owns: the layout of the keys, one script for each promise. Not: connections and deadlines
//! (`connection`), which of them (`line`), and which keys share a slot of a cluster (`spaces`).
//!
//! On one server `{prefix}` is the prefix of the URL. In a cluster each of these stands in a space that has
//! a slot: records and counts in one of many, the rest in a common one.
//!
//! | key | type | what |
//! |---|---|---|
//! | `{prefix}:{table}:{key}` | hash | `value`, `expires` in milliseconds, `used`, `indexes` |
//! | `{prefix}:keys:{table}` | sorted set | the keys of a table, in order |
//! | `{prefix}:index:{table}:{index}` | sorted set | the keys of an index, in order; it ends with the last of them |
//! | `{prefix}:expiry` | sorted set | `{table}:{key}` by when it expires |
//! | `{prefix}:count:{key}` | hash | `count`, `ends` |
//! | `{prefix}:drawn:{key}` | hash | `level`, `at`: what was drawn from a quota, by Redis's own clock; `answers`: what those who drew were answered last |
//! | `{prefix}:revocations` | sorted set | `{end}:{id}` by number; at 0 the seal |
//! | `{prefix}:revocations:ends` | sorted set | the same by end |
//! | `{prefix}:revocations:last` | string | the last number |
//! | `{prefix}:revocations:digest` | string | `{number}:{digest}` of all that was appended |
//! | `{prefix}:birth` | string | the epoch |
//! | `{prefix}:ping` | string | when a write was last tried |
//!
//! What is appended to the revocations is told on the channel `{prefix}:revocations:last`. Channels know no
//! databases: that of another database than 0 has its number behind it.
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

mod cluster;
mod connection;
mod examine;
mod failure;
mod hints;
mod line;
mod lists;
mod merge;
mod reach;
mod refusals;
mod replicas;
mod scripts;
mod sentinels;
mod slots;
mod spaces;
mod target;
mod topology;
mod values;

use std::time::Duration;

use async_trait::async_trait;
use redis::FromRedisValue;
use tokio::runtime::Handle;

use self::connection::Request;
use self::hints::read_entry;
use self::line::Line;
use self::scripts::{COUNT, DRAW, ENTER, HEAD, REVOKE, SIZES};
use self::spaces::{Space, Spaces, index_names};
use self::values::{Operation, Outcome};
use crate::epoch::StoreEpoch;
use crate::error::{Corrupt, OpenError, StoreError};
use crate::key::{CountKey, Key, Table};
use crate::revocation::{Cursor, Hint, ListHead, Revocation};
use crate::store::{COUNT_SKEW, Examined, Inserted, Listing, Row, Sizes, Store, TakeOutcome};
use crate::url::{RedisUrl, Servers};
use gateway_core::clock::Timestamp;
use gateway_core::limits::{Answers, Draw, Drawn, Quota, SKEW};

/// How long after its time Redis itself drops a value.
const BACKSTOP: Duration = Duration::from_secs(3600);
/// Later than this is never: a number that Lua and Redis still hold exactly.
const FAR: u64 = 1 << 52;
/// Revocations in one page.
const PAGE: usize = 5_000;

/// The store in Redis.
#[derive(Debug)]
pub struct Redis {
    line: Line,
    spaces: Spaces,
    /// Where it is told what was revoked.
    channel: String,
    /// How many replicas of Redis must have a write.
    wait: u32,
}

impl Redis {
    /// The store behind `url`. Nothing is connected yet, and the server may come and go. `runtime`
    /// must outlive the store.
    pub fn open(url: &RedisUrl, runtime: Handle) -> Result<Self, OpenError> {
        let spaces = match url.servers {
            Servers::Cluster(_) => Spaces::of_cluster(&url.prefix),
            Servers::One(_) | Servers::Sentinels(_) => Spaces::one(&url.prefix),
        };
        let channel = channel_of(&spaces, url.settings.db());
        Ok(Self {
            line: Line::new(url, &spaces, channel.clone(), runtime)?,
            spaces,
            channel,
            wait: url.wait,
        })
    }

    async fn ask<T: FromRedisValue + Send + 'static>(
        &self,
        space: &Space,
        request: impl Into<Request>,
    ) -> Result<T, StoreError> {
        Ok(self.line.attempt(space, request.into()).await?)
    }

    /// The same of what writes, and is acknowledged.
    async fn write<T: FromRedisValue + Send + 'static>(
        &self,
        space: &Space,
        request: impl Into<Request>,
    ) -> Result<T, StoreError> {
        self.ask(space, request.into().durable()).await
    }
}

/// Where it is told what was revoked in a database. Redis tells all that listen to a name, whatever their
/// database is: without its number, gateways of another one would take it for revoked in theirs.
fn channel_of(spaces: &Spaces, database: i64) -> String {
    let name = spaces.common().name("revocations:last");
    match database {
        // As earlier versions call it in all.
        0 => name,
        database => format!("{name}:{database}"),
    }
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
        Ok(self.revocation_head(candidate).await?.epoch)
    }

    async fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("HMGET");
        let space = self.spaces.of(key);
        command.arg(space.record(key)).arg("value").arg("expires");
        let found = self.ask(space, command).await;
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
        let operation = Operation::new("put", None).setting(value, expires);
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
        let operation = Operation::new("insert", Some(now)).setting(value, expires);
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
        let operation = Operation::new("replace", Some(now)).setting(value, expires);
        let operation = operation.instead_of(seen);
        if self.is_done(key, operation).await? {
            return Ok(());
        }
        Err(StoreError::Conflict(key.kind()))
    }

    async fn take(&self, key: &Key, now: Timestamp) -> Result<TakeOutcome, StoreError> {
        match self.value(key, Operation::new("take", Some(now))).await? {
            Outcome::Fresh(value) => Ok(TakeOutcome::Fresh(value)),
            Outcome::Present(value) => Ok(TakeOutcome::Again(value)),
            Outcome::Missed => Ok(TakeOutcome::Unknown),
            Outcome::Done => Err(strange()),
        }
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        self.is_done(key, Operation::new("remove", None)).await
    }

    async fn list(&self, listing: Listing<'_>, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        self.page(listing, now).await
    }

    async fn holds_any(&self, table: Table, now: Timestamp) -> Result<bool, StoreError> {
        self.any_bucket_holds(table, now).await
    }

    async fn enter(&self, keys: &[Key]) -> Result<usize, StoreError> {
        let mut entered = 0;
        for space in self.spaces.buckets() {
            let mut script = ENTER.prepare_invoke();
            let mut is_any = false;
            for key in keys {
                if self.spaces.of(key) != space {
                    continue;
                }
                if !is_any {
                    script.arg(space.indexes_of(key.table()));
                    is_any = true;
                }
                script
                    .key(space.record(key))
                    .arg(key.name())
                    .arg(index_names(key));
            }
            if !is_any {
                continue;
            }
            entered += self.write::<usize>(space, script).await?;
        }
        Ok(entered)
    }

    async fn extend(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let operation = Operation::new("extend", Some(now)).setting(b"", Some(until));
        self.is_done(key, operation).await
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        let mut sizes = Sizes::default();
        for space in self.spaces.buckets() {
            let mut script = SIZES.prepare_invoke();
            for table in Table::ALL {
                script.key(space.keys_of(table));
            }
            let here: Vec<usize> = self.ask(space, script).await?;
            for (sum, here) in sizes.tables.iter_mut().zip(here) {
                *sum += here;
            }
        }
        let common = self.spaces.common();
        let mut command = redis::cmd("ZCARD");
        command.arg(common.name("revocations:ends"));
        sizes.revocations = self.ask(common, command).await?;
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
        let space = self.spaces.of_count(key);
        let mut script = COUNT.prepare_invoke();
        script
            .key(space.count(key))
            .arg(now.millis())
            .arg((now + window).millis().min(FAR))
            // Strangers make counts: Redis keeps none much longer than it counts.
            .arg(millis(window) + 2 * millis(COUNT_SKEW))
            .arg(millis(COUNT_SKEW));
        self.ask(space, script).await
    }

    async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        // Redis's own clock counts, which all replicas share. Of `now` only how long a total is still remembered
        // is made.
        let space = self.spaces.of_count(key);
        let (kind, amount, period, burst) = match quota {
            Quota::Rate(rate) => ("rate", rate.count(), millis(rate.period()), rate.burst()),
            Quota::Day(amount) => ("day", amount, 0, 0),
            Quota::Total(amount, until) => ("total", amount, millis(until.since(now)), 0),
        };
        let mut script = DRAW.prepare_invoke();
        script
            .key(space.name(&format!("drawn:{}", key.name())))
            .arg(kind)
            .arg(amount)
            .arg(period)
            .arg(burst)
            .arg(draw.owed.min(Quota::MOST))
            .arg(draw.wanted.min(Quota::MOST))
            .arg(millis(SKEW))
            .arg(millis(BACKSTOP))
            .arg(draw.step.min(Quota::MOST))
            .arg(format!("{:x}", draw.id.holder))
            .arg(draw.id.number)
            .arg(Answers::MOST);
        let (granted, used, wait, lasts): (u64, u64, u64, u64) = self.ask(space, script).await?;
        Ok(Drawn {
            granted,
            used,
            wait: Duration::from_millis(wait),
            lasts: Duration::from_millis(lasts),
        })
    }

    async fn revoke(&self, revocation: &Revocation, _: Timestamp) -> Result<(), StoreError> {
        let end = revocation.expires.millis().min(FAR);
        let common = self.spaces.common();
        let mut script = REVOKE.prepare_invoke();
        script
            .key(common.name("revocations"))
            .key(common.name("revocations:ends"))
            .key(common.name("revocations:last"))
            .key(common.name("revocations:digest"))
            .arg(format!("{end}:{}", revocation.id))
            .arg(end)
            .arg(&self.channel);
        let _number: u64 = self.write(common, script).await?;
        Ok(())
    }

    async fn revocations(
        &self,
        after: Cursor,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let common = self.spaces.common();
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command
            .arg(common.name("revocations"))
            .arg(format!("({}", after.number()))
            .arg("+inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(0)
            .arg(PAGE);
        let rows: Vec<(String, u64)> = self.ask(common, command).await?;
        let mut cursor = after;
        let mut live = Vec::with_capacity(rows.len());
        for (entry, number) in rows {
            cursor = cursor.after(number, &entry);
            let revocation = read_entry(&entry).ok_or_else(strange)?;
            if now < revocation.expires {
                live.push(revocation);
            }
        }
        Ok((live, cursor))
    }

    async fn revocation_head(&self, candidate: &StoreEpoch) -> Result<ListHead, StoreError> {
        let candidate = serde_json::to_vec(candidate).expect("an epoch is a text and a number");
        let common = self.spaces.common();
        let mut script = HEAD.prepare_invoke();
        script
            .key(common.name("birth"))
            .key(common.name("revocations"))
            .key(common.name("revocations:last"))
            .key(common.name("revocations:digest"))
            .arg(candidate)
            .arg(&self.channel);
        // An epoch that a failover loses is replaced by a later one, which refuses more.
        let (epoch, last, digest, followers): (Vec<u8>, u64, String, u32) =
            self.ask(common, script).await?;
        let end = Cursor::at(last);
        let end = match digest.split_once(':') {
            Some((covers, digest)) => {
                end.with_digest(covers.parse().map_err(|_| strange())?, digest)
            }
            // Before the first, the same one is known everywhere.
            None if last == 0 => end.with_digest(0, &"0".repeat(40)),
            None => end,
        };
        Ok(ListHead {
            epoch: serde_json::from_slice(&epoch).map_err(|_| strange())?,
            end: Some(end),
            followers,
        })
    }

    async fn revocation_hint(&self, limit: Duration) -> Hint {
        self.line.hints().wait(limit).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        let asked = self.ask(self.spaces.common(), redis::cmd("TIME"));
        let (seconds, micros): (u64, u64) = asked.await?;
        let millis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        Ok(Some(Timestamp::from_millis(millis)))
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut outcome = self.sweep_space(self.spaces.common(), now).await;
        for space in self.spaces.buckets() {
            // One that is away keeps the others no longer than they need.
            if space != self.spaces.common() {
                outcome = self.sweep_space(space, now).await.and(outcome);
            }
        }
        outcome
    }

    async fn examine(&self) -> Examined {
        self.examined().await
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        let common = self.spaces.common();
        let mut command = redis::cmd("SET");
        command.arg(common.name("ping")).arg(now.millis());
        self.write(common, command).await
    }
}

#[cfg(test)]
mod tests;
