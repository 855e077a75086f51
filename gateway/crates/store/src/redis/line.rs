//! The way to what is kept: one server, or the servers of a cluster.

use std::sync::Arc;

use redis::{FromRedisValue, RedisError};
use tokio::runtime::Handle;

use super::cluster::Cluster;
use super::connection::{Request, SharedConnection};
use super::failure::Failure;
use super::hints::Hints;
use super::reach::Reach;
use super::sentinels::Sentinels;
use super::spaces::{Space, Spaces};
use super::target::Target;
use super::topology::Topology;
use crate::error::OpenError;
use crate::url::{RedisUrl, Servers};

#[derive(Debug)]
pub(super) enum Line {
    Server(SharedConnection),
    Cluster(Cluster),
}

impl Line {
    /// Nothing is connected yet. Hints come over `channel`.
    pub(super) fn new(
        url: &RedisUrl,
        spaces: &Spaces,
        channel: String,
        runtime: Handle,
    ) -> Result<Self, OpenError> {
        let refused = |error: RedisError| OpenError::Redis(error.to_string());
        let reach = Reach::new(url)?;
        let target = match &url.servers {
            Servers::One(address) => {
                Target::Server(reach.client_at(address.clone()).map_err(refused)?)
            }
            Servers::Sentinels(named) => {
                let sentinels = Sentinels::new(named, &reach).map_err(refused)?;
                Target::Master(Arc::new(sentinels), reach)
            }
            Servers::Cluster(seeds) => {
                let topology = Topology::new(reach, seeds.clone());
                let slot = spaces.common().slot().unwrap_or_default();
                let cluster = Cluster::new(topology, slot, url.wait, channel, runtime);
                return Ok(Self::Cluster(cluster));
            }
        };
        let line = SharedConnection::new(target, url.wait, Some(channel), runtime);
        Ok(Self::Server(line))
    }

    /// Asks whoever has a space, once, and waits a second at most.
    pub(super) async fn attempt<T: FromRedisValue + Send + 'static>(
        &self,
        space: &Space,
        request: Request,
    ) -> Result<T, Failure> {
        let request = Arc::new(request);
        match self {
            Self::Server(line) => line.attempt(request).await,
            Self::Cluster(cluster) => {
                let slot = space.slot().unwrap_or_default();
                cluster.attempt(slot, request).await
            }
        }
    }

    /// Every server that may be written to, with its name where there are several.
    pub(super) async fn servers(&self) -> Result<Vec<(String, SharedConnection)>, Failure> {
        match self {
            Self::Server(line) => Ok(vec![(String::new(), line.clone())]),
            Self::Cluster(cluster) => cluster.masters().await,
        }
    }

    /// What comes over the channel.
    pub(super) fn hints(&self) -> &Hints {
        match self {
            Self::Server(line) => line.hints(),
            Self::Cluster(cluster) => cluster.hints(),
        }
    }
}
