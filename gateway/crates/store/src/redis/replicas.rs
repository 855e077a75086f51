//! What of Redis's own replicas is needed: that a write is on so many of them before it counts, and that a
//! master is not alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use super::failure::Failure;

/// How long a write may take to its replicas.
const REPLICATION: Duration = Duration::from_millis(300);

/// A replica that was heard of within this many seconds follows its master.
const HEARD: u64 = 10;

/// The connection for writes, and how far they have come. One `WAIT` is under way at a time, for all that
/// was written before it: the server does nothing else for a connection that waits, which is why reads have
/// another.
#[derive(Clone)]
pub(super) struct Replicated(Arc<Inner>);

struct Inner {
    wire: MultiplexedConnection,
    wait: u32,
    /// Writes that were done on this connection.
    done: AtomicU64,
    last: Mutex<Waited>,
}

/// The last `WAIT`.
#[derive(Clone, Copy, Default)]
struct Waited {
    /// For this many writes.
    covers: u64,
    /// Replicas that have them.
    reached: u32,
}

impl Replicated {
    pub(super) fn new(wire: MultiplexedConnection, wait: u32) -> Self {
        Self(Arc::new(Inner {
            wire,
            wait,
            done: AtomicU64::new(0),
            last: Mutex::new(Waited::default()),
        }))
    }

    /// Where writes are sent.
    pub(super) fn wire(&self) -> MultiplexedConnection {
        self.0.wire.clone()
    }

    /// Waits until a write that was answered on this connection is on enough replicas. It counts on this
    /// very connection only: one to a server that became the master meanwhile knows nothing of it.
    pub(super) async fn confirm(&self) -> Result<(), Failure> {
        let inner = &self.0;
        let mine = inner.done.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = inner.last.lock().await;
        if last.covers < mine {
            let covers = inner.done.load(Ordering::SeqCst);
            let mut command = redis::cmd("WAIT");
            command.arg(inner.wait).arg(REPLICATION.as_millis() as u64);
            let reached = command.query_async(&mut inner.wire.clone()).await;
            *last = Waited {
                covers,
                reached: reached.map_err(Failure::Refused)?,
            };
        }
        if last.reached >= inner.wait {
            return Ok(());
        }
        Err(Failure::Unreplicated {
            reached: last.reached,
            wait: inner.wait,
        })
    }
}

/// How many replicas a master hears.
pub(super) async fn heard_by(wire: &mut MultiplexedConnection) -> RedisResult<usize> {
    let mut command = redis::cmd("INFO");
    command.arg("replication");
    let info: String = command.query_async(wire).await?;
    Ok(heard(&info))
}

/// The replicas in Redis's word on replication that follow it.
pub(super) fn heard(info: &str) -> usize {
    let follows = |line: &str| {
        let (name, rest) = line.trim_end().split_once(':')?;
        name.strip_prefix("slave")?.parse::<u32>().ok()?;
        let field = |name: &str| {
            rest.split(',')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let lag: u64 = field("lag")?.parse().ok()?;
        (field("state")? == "online" && lag <= HEARD).then_some(())
    };
    info.lines().filter_map(follows).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_counts_while_it_follows() {
        let line = |number: u32, state: &str, lag: u64| {
            format!("slave{number}:ip=127.0.0.1,port=7,state={state},offset=1,lag={lag}\r\n")
        };
        for (info, count) in [
            (String::new(), 0),
            (
                "role:slave\r\nmaster_host:x\r\nslave_priority:100\r\n".to_owned(),
                0,
            ),
            (line(0, "online", 0) + &line(1, "online", 10), 2),
            (line(0, "wait_bgsave", 0) + &line(1, "online", 11), 0),
        ] {
            assert_eq!(heard(&info), count, "{info}");
        }
    }
}
