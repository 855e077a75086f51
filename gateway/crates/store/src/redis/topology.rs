//! Which server of a Redis Cluster has which slots, as far as is known. Owns: asking the servers for it, and
//! when to ask again. Not: what is asked of a slot (`cluster`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redis::{RedisError, Value};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::failure::{ClusterFault, Failure};
use super::reach::{Reach, connected};
use super::slots::{Address, SlotMap, host_and_port, named_host};

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
    /// How often servers were asked.
    turns: AtomicUsize,
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
            turns: AtomicUsize::new(0),
        }
    }

    pub(super) const fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn seeds(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(host_and_port).collect();
        seeds.join(",")
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

    /// A server at `said_by` told that another has a slot, and where: `HOST:PORT`.
    pub(super) fn moved(&self, slot: u16, to: &str, said_by: &str) {
        if let Some(owner) = address(to, said_by) {
            self.known.write().moved.insert(slot, owner);
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
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let servers = chosen(known.masters(), &self.seeds, turn);
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
        let asked = servers.len();
        most.map(|(map, _)| map)
            .ok_or_else(|| refused(refusals, asked))
    }
}

/// `HOST:PORT`, where no host, or an unknown one, is that of the server that says so.
fn address(text: &str, said_by: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = named_host(host, said_by);
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

/// Which servers are asked: masters and servers of the URL in turn, and others each time. So those of the
/// URL still lead to a cluster in which everything else has moved, however many masters it has.
fn chosen<'a>(
    mut masters: Vec<&'a Address>,
    seeds: &'a [Address],
    turn: usize,
) -> Vec<&'a Address> {
    let mut seeds: Vec<&Address> = seeds.iter().collect();
    for list in [&mut masters, &mut seeds] {
        let by = turn.wrapping_mul(ASKED / 2) % list.len().max(1);
        list.rotate_left(by);
    }
    let mut chosen = Vec::with_capacity(ASKED);
    for at in 0..masters.len().max(seeds.len()) {
        for server in [masters.get(at), seeds.get(at)].into_iter().flatten() {
            if chosen.len() < ASKED && !chosen.contains(server) {
                chosen.push(*server);
            }
        }
    }
    chosen
}

async fn ask_one(reach: &Reach, server: &Address) -> Result<SlotMap, RedisError> {
    let mut wire = connected(&reach.client(server.clone())?, PATIENCE).await?;
    let answer: Value = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut wire)
        .await?;
    let strange = || (redis::ErrorKind::Parse, "CLUSTER SLOTS has another form").into();
    SlotMap::read(&answer, &server.0).ok_or_else(strange)
}

/// What comes of servers of which none says anything. What most of those that were asked refuse with has to
/// be mended; what fewer do may pass, as the others come back.
fn refused(refusals: Vec<(Address, Option<RedisError>)>, asked: usize) -> Failure {
    let is_refusal = |error: &&RedisError| !error.is_io_error();
    let errors = refusals.iter().filter_map(|(_, error)| error.as_ref());
    let are_most = errors.filter(is_refusal).count() * 2 > asked;
    let mut away = Vec::new();
    for (server, error) in refusals {
        let server = host_and_port(&server);
        match error {
            Some(error) if are_most && error.to_string().contains("cluster support disabled") => {
                let sentence = format!("{server}: {error}");
                return Failure::Cluster(ClusterFault::NoCluster(sentence));
            }
            Some(error) if are_most && is_refusal(&&error) => return Failure::Refused(error),
            Some(error) => away.push(format!("{server}: {error}")),
            None => away.push(format!("{server}: no answer")),
        }
    }
    Failure::Cluster(ClusterFault::Unreachable(away.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(name: &str, count: u16) -> Vec<Address> {
        (0..count).map(|port| (name.to_owned(), port)).collect()
    }

    #[test]
    fn everyone_is_asked_in_turn_and_some_of_the_url_each_time() {
        for (masters, seeds) in [(0, 1), (1, 1), (3, 3), (8, 3), (30, 2), (30, 20), (2, 20)] {
            let (masters, seeds) = (servers("master", masters), servers("seed", seeds));
            let mut asked: Vec<&Address> = Vec::new();
            for turn in 0..10 {
                let chosen = chosen(masters.iter().collect(), &seeds, turn);
                assert_eq!(chosen.len(), ASKED.min(masters.len() + seeds.len()));
                assert!(chosen.iter().any(|it| seeds.contains(it)), "{turn}");
                asked.extend(chosen);
            }
            assert!(masters.iter().chain(&seeds).all(|it| asked.contains(&it)));
        }
        // Most servers of a URL are masters, too.
        let all = servers("master", 9);
        let known = all.iter().collect();
        assert_eq!(chosen(known, &all[..3], 0).len(), ASKED);
    }

    #[test]
    fn what_one_server_of_three_refuses_with_ends_nothing() {
        let error = || RedisError::from((redis::ErrorKind::AuthenticationFailed, "WRONGPASS"));
        let from = |port| ("a".to_owned(), port);
        let one = vec![(from(1), Some(error())), (from(2), None), (from(3), None)];
        assert!(matches!(refused(one, 3), Failure::Cluster(fault) if !fault.is_hopeless()));
        let most = vec![
            (from(1), Some(error())),
            (from(2), Some(error())),
            (from(3), None),
        ];
        assert!(matches!(refused(most, 3), Failure::Refused(_)));
    }

    #[test]
    fn who_names_no_host_means_their_own() {
        let at = |host: &str| Some((host.to_owned(), 6381));
        assert_eq!(address("b:6381", "a"), at("b"));
        assert_eq!(address(":6381", "a"), at("a"));
        assert_eq!(address("?:6381", "a"), at("a"));
        assert_eq!(address("::1:6381", "a"), at("::1"));
        for odd in ["", "b", "b:", "b:x", "b:70000"] {
            assert_eq!(address(odd, "a"), None, "{odd}");
        }
        assert_eq!(address(":6381", ""), None);
    }
}
