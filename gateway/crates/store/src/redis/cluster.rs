//! Redis Cluster: a question goes to the server that has its slot. Owns: the connection to each master, and
//! following a slot that moved. Not: which keys share a slot (`spaces`).
//!
//! The library's own client of clusters is not used: it asks again by itself when an answer was lost, and
//! what may have been done once, such as the exchange of a code, would look as if it was done twice. Here
//! as with one server nothing is asked twice, but for what a server refused because it has not the slot.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::runtime::Handle;

use super::connection::{DEADLINE, Request, SharedConnection};
use super::failure::{ClusterFault, Failure};
use super::hints::Hints;
use super::slots::{Address, host_and_port, is_moving};
use super::target::Target;
use super::topology::Topology;

/// The connections to a cluster.
pub(super) struct Cluster {
    topology: Arc<Topology>,
    wait: u32,
    runtime: Handle,
    /// The slot of what there is once, and the connection to whoever has it, which hears hints.
    common: (u16, SharedConnection),
    /// To the masters.
    lines: Mutex<HashMap<Address, SharedConnection>>,
}

/// What a refusal says about where to ask.
enum Whereabouts {
    /// Another server has the slot; nothing was done.
    Elsewhere,
    /// The slot is on its way; nothing was done.
    Moving,
    /// The cluster does nothing at the moment.
    Down,
    /// What is known may be wrong.
    Unsure,
    /// Nothing.
    Silent,
}

impl Cluster {
    pub(super) fn new(
        topology: Topology,
        common_slot: u16,
        wait: u32,
        channel: String,
        runtime: Handle,
    ) -> Self {
        let topology = Arc::new(topology);
        let target = Target::Owner(Arc::clone(&topology), common_slot);
        let common = SharedConnection::new(target, wait, Some(channel), runtime.clone());
        Self {
            topology,
            wait,
            runtime,
            common: (common_slot, common),
            lines: Mutex::default(),
        }
    }

    /// Sends a request to whoever has a slot, and waits a second at most.
    pub(super) async fn attempt<T: FromRedisValue + Send + 'static>(
        &self,
        slot: u16,
        request: Arc<Request>,
    ) -> Result<T, Failure> {
        tokio::time::timeout(DEADLINE, self.followed(slot, request))
            .await
            .unwrap_or(Err(Failure::Late))
    }

    async fn followed<T: FromRedisValue + Send + 'static>(
        &self,
        slot: u16,
        request: Arc<Request>,
    ) -> Result<T, Failure> {
        let mut has_moved = false;
        loop {
            let line = self.line(slot).await?;
            let failure = match line.attempt(Arc::clone(&request)).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match whereabouts(&failure) {
                Whereabouts::Elsewhere => {
                    // Who refused knows better than most others do yet: they are not asked now.
                    let to = match &failure {
                        Failure::Refused(error) => error.redirect_node(),
                        _ => None,
                    };
                    match to {
                        Some((to, _)) if !has_moved => {
                            let said_by = line.host().await.unwrap_or_default();
                            self.topology.moved(slot, to, &said_by);
                        }
                        _ => {
                            self.topology.doubt();
                            return Err(Failure::Cluster(ClusterFault::Moving(slot)));
                        }
                    }
                    if slot == self.common.0 {
                        self.common.1.give_up().await;
                    }
                    has_moved = true;
                }
                Whereabouts::Moving => return Err(Failure::Cluster(ClusterFault::Moving(slot))),
                Whereabouts::Down => {
                    self.topology.doubt();
                    return Err(Failure::Cluster(ClusterFault::Down));
                }
                Whereabouts::Unsure => {
                    self.topology.doubt();
                    return Err(failure);
                }
                Whereabouts::Silent => return Err(failure),
            }
        }
    }

    async fn line(&self, slot: u16) -> Result<SharedConnection, Failure> {
        let (common_slot, common) = &self.common;
        if slot == *common_slot {
            return Ok(common.clone());
        }
        let owner = self.topology.owner(slot).await?;
        self.line_to(&owner)
    }

    fn line_to(&self, server: &Address) -> Result<SharedConnection, Failure> {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get(server) {
            return Ok(line.clone());
        }
        let client = self.topology.reach().client(server.clone())?;
        let runtime = self.runtime.clone();
        let line = SharedConnection::new(Target::Server(client), self.wait, None, runtime);
        lines.retain(|known, _| self.topology.is_master(known));
        lines.insert(server.clone(), line.clone());
        Ok(line)
    }

    /// A connection to each master, with its name.
    pub(super) async fn masters(&self) -> Result<Vec<(String, SharedConnection)>, Failure> {
        let masters = tokio::time::timeout(DEADLINE, self.topology.masters()).await;
        let masters = masters.unwrap_or(Err(Failure::Late))?;
        let line = |server: &Address| {
            let line = self.line_to(server)?;
            Ok((host_and_port(server), line))
        };
        masters.iter().map(line).collect()
    }

    /// What comes over the channel.
    pub(super) fn hints(&self) -> &Hints {
        self.common.1.hints()
    }
}

fn whereabouts(failure: &Failure) -> Whereabouts {
    match failure {
        Failure::Refused(error) => told_by(error),
        Failure::Late => Whereabouts::Unsure,
        _ => Whereabouts::Silent,
    }
}

fn told_by(error: &RedisError) -> Whereabouts {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => Whereabouts::Elsewhere,
        _ if is_moving(error) => Whereabouts::Moving,
        ErrorKind::Server(ServerErrorKind::ClusterDown) => Whereabouts::Down,
        ErrorKind::Server(ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly) => {
            Whereabouts::Unsure
        }
        _ if error.is_io_error() => Whereabouts::Unsure,
        _ => Whereabouts::Silent,
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({})", self.topology.seeds())
    }
}
