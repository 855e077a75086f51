//! Why there is no answer of Redis.

use redis::RedisError;

use super::refusals::refusal;

/// Why there is no answer, in words that say what to change.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Not within the time that one command has.
    #[error("Redis did not answer within a second")]
    Late,
    /// A list was not read within the time that it has.
    #[error("Redis did not list what was asked for within five seconds")]
    LongList,
    #[error("the gateway is stopping")]
    Stopping,
    /// The server, or the way to it, said no.
    #[error("{}", refusal(.0))]
    Refused(#[from] RedisError),
    /// No sentinel says where the master is.
    #[error(transparent)]
    Sentinels(SentinelFault),
    /// No server of a cluster is known to have what was asked for.
    #[error(transparent)]
    Cluster(ClusterFault),
    /// What sentinels named as the master is none.
    #[error("{0} is not the master any more, and the sentinels have not agreed on another yet")]
    NotMaster(String),
    /// It may no longer be the master.
    #[error(
        "the master of Redis may be cut off: {} sentinels vouch for it, and too few replicas follow it; \
         what it says may be out of date",
        voices(.0.as_ref())
    )]
    CutOff(Option<Found>),
    /// It was done, but could be lost with the master.
    #[error(
        "Redis did it, but {reached} of the {wait} replicas that store.url waits for have it: bring \
         replicas back, or set wait in store.url lower and accept that a failover loses what was \
         acknowledged"
    )]
    Unreplicated { reached: u32, wait: u32 },
}

fn voices(found: Option<&Found>) -> String {
    found.map_or_else(
        || "0".to_owned(),
        |it| format!("{} of {}", it.voices, it.of),
    )
}

/// What the sentinels say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the master is.
    pub(super) address: (String, u16),
    /// How many of them say so.
    pub(super) voices: usize,
    /// How many there are.
    pub(super) of: usize,
}

impl Found {
    /// Whether most of all sentinels say so: then no other master was chosen meanwhile.
    pub(super) const fn is_sure(&self) -> bool {
        self.voices * 2 > self.of
    }
}

/// Why no master is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct SentinelFault {
    pub(super) what: SentinelRefusal,
    /// Whether most of all sentinels say so. What one of them says passes: it may have lost its
    /// configuration, or hold more connections than it may, while the others are away.
    pub(super) is_of_most: bool,
}

/// What sentinels say that name no master.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SentinelRefusal {
    #[error("no sentinel answers: {0}")]
    Unreachable(String),
    #[error(
        "the sentinels know no master {name:?}: name it in store.url as they do (SENTINEL MASTERS lists them)"
    )]
    UnknownName { name: String },
    #[error(
        "the sentinels don't take the user and password: check store.sentinel_password_file and \
         sentinel_user in store.url; those of Redis itself are not shown to them ({0})"
    )]
    Password(String),
    #[error("what store.url names is no sentinel: {0}")]
    NoSentinel(String),
}

impl SentinelFault {
    /// Whether waiting mends nothing.
    pub(super) const fn is_hopeless(&self) -> bool {
        self.is_of_most && !matches!(self.what, SentinelRefusal::Unreachable(_))
    }
}

/// Why nobody is known to have a slot.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ClusterFault {
    #[error("no server of the Redis Cluster answers: {0}")]
    Unreachable(String),
    #[error(
        "what store.url names is no Redis Cluster: write redis:// in place of redis+cluster:// ({0})"
    )]
    NoCluster(String),
    #[error("no server of the Redis Cluster has slot {0} at the moment")]
    NoOwner(u16),
    #[error(
        "the Redis Cluster is down: a part of it has no server, or most of its servers are away"
    )]
    Down,
    #[error(
        "the Redis Cluster is moving slot {0} to another server: what is kept there answers again when \
         that is done"
    )]
    Moving(u16),
}

impl ClusterFault {
    /// Whether waiting mends nothing.
    pub(super) const fn is_hopeless(&self) -> bool {
        matches!(self, Self::NoCluster(_))
    }
}
