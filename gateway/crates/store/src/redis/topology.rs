//! Which server of a Redis Cluster has which slots, as far as is known. Owns: asking the servers for it, and
//! when to ask again. Not: what is asked of a slot (`cluster`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redis::{AsyncConnectionConfig, Client, RedisError, Value};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::failure::{ClusterFault, Failure};
use super::reach::Reach;
use super::slots::{Address, SlotMap};

/// How long one server may take to say what it knows.
const PATIENCE: Duration = Duration::from_millis(300);
/// Servers are not asked more often than this.
const BETWEEN: Duration = Duration::from_millis(200);
/// Servers that are asked at once.
const ASKED: usize = 8;

/// What is known of a cluster; everything that asks it shares one.
pub(super) struct Topology {
    reach: Reach,
    /// The servers of the URL.
    seeds: Vec<Address>,
    known: RwLock<Known>,
    /// Whether something happened that what is known does not explain.
    doubted: AtomicBool,
    asked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    map: SlotMap,
    /// Slots that were found elsewhere since.
    moved: HashMap<u16, Address>,
}

impl Topology {
    pub(super) fn new(reach: Reach, seeds: Vec<Address>) -> Self {
        Self {
            reach,
            seeds,
            known: RwLock::default(),
            doubted: AtomicBool::new(true),
            asked: Mutex::new(None),
        }
    }

    pub(super) const fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn seeds(&self) -> String {
        let seeds = self
            .seeds
            .iter()
            .map(|(host, port)| format!("{host}:{port}"));
        seeds.collect::<Vec<_>>().join(",")
    }

    /// Who has a slot.
    pub(super) async fn owner(&self, slot: u16) -> Result<Address, Failure> {
        if self.doubted.load(Ordering::Relaxed) || self.known.read().map.is_empty() {
            // Also while somebody asks for the first time: there is nothing to go by before.
            self.ask_again().await?;
        }
        let owner = {
            let known = self.known.read();
            known.moved.get(&slot).or(known.map.owner(slot)).cloned()
        };
        owner.ok_or_else(|| {
            self.doubt();
            Failure::Cluster(ClusterFault::NoOwner(slot))
        })
    }

    /// All masters, as they are now.
    pub(super) async fn masters(&self) -> Result<Vec<Address>, Failure> {
        self.doubt();
        self.ask_again().await?;
        let known = self.known.read();
        Ok(known.map.masters().into_iter().cloned().collect())
    }

    /// Whether a server is known to have any slot.
    pub(super) fn is_master(&self, server: &Address) -> bool {
        let known = self.known.read();
        let mut moved = known.moved.values();
        known.map.masters().contains(&server) || moved.any(|owner| owner == server)
    }

    /// A server said that another has a slot, and where: `HOST:PORT`.
    pub(super) fn moved(&self, slot: u16, to: &str) {
        let Some((host, port)) = to.rsplit_once(':') else {
            return;
        };
        if let (false, Ok(port)) = (host.is_empty(), port.parse()) {
            let moved = &mut self.known.write().moved;
            moved.insert(slot, (host.to_owned(), port));
        }
    }

    /// What is known may be out of date.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    async fn ask_again(&self) -> Result<(), Failure> {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < BETWEEN) && !self.known.read().map.is_empty()
        {
            return Ok(());
        }
        self.doubted.store(false, Ordering::Relaxed);
        let map = self.ask().await;
        *asked = Some(Instant::now());
        match map {
            Ok(map) => {
                *self.known.write() = Known {
                    map,
                    moved: HashMap::new(),
                };
                Ok(())
            }
            Err(failure) => {
                self.doubt();
                Err(failure)
            }
        }
    }

    /// Asks several servers at once and believes what most of them say: one that is cut off from the others
    /// knows of no failover.
    async fn ask(&self) -> Result<SlotMap, Failure> {
        let known = self.known.read().map.clone();
        let masters = known.masters().into_iter();
        let mut servers: Vec<&Address> = masters.chain(&self.seeds).collect();
        servers.sort();
        servers.dedup();
        servers.truncate(ASKED);
        let mut asking = JoinSet::new();
        for server in &servers {
            let (reach, server) = (self.reach.clone(), (*server).clone());
            asking.spawn(async move {
                let asked = tokio::time::timeout(PATIENCE, ask_one(&reach, &server)).await;
                (server, asked)
            });
        }
        let mut voices: HashMap<SlotMap, usize> = HashMap::new();
        let mut refusals = Vec::new();
        while let Some(Ok((server, asked))) = asking.join_next().await {
            match asked {
                Ok(Ok(map)) => {
                    let count = voices.entry(map.clone()).or_default();
                    *count += 1;
                    if *count * 2 > servers.len() {
                        return Ok(map);
                    }
                }
                Ok(Err(error)) => refusals.push((server, Some(error))),
                Err(_) => refusals.push((server, None)),
            }
        }
        let most = voices.into_iter().max_by_key(|(_, voices)| *voices);
        most.map(|(map, _)| map).ok_or_else(|| refused(refusals))
    }
}

async fn ask_one(reach: &Reach, server: &Address) -> Result<SlotMap, RedisError> {
    let client: Client = reach.client(server.clone())?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let mut wire = connecting.await?;
    let answer: Value = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut wire)
        .await?;
    let strange = || (redis::ErrorKind::Parse, "CLUSTER SLOTS has another form").into();
    SlotMap::read(&answer, &server.0).ok_or_else(strange)
}

/// What comes of servers of which none says anything.
fn refused(refusals: Vec<(Address, Option<RedisError>)>) -> Failure {
    let mut away = Vec::new();
    for ((host, port), error) in refusals {
        match error {
            Some(error) if error.to_string().contains("cluster support disabled") => {
                let sentence = format!("{host}:{port}: {error}");
                return Failure::Cluster(ClusterFault::NoCluster(sentence));
            }
            Some(error) if !error.is_io_error() => return Failure::Refused(error),
            Some(error) => away.push(format!("{host}:{port}: {error}")),
            None => away.push(format!("{host}:{port}: no answer")),
        }
    }
    Failure::Cluster(ClusterFault::Unreachable(away.join("; ")))
}
