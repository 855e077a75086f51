//! Streams in one process over and over: what opening one costs, what one holds, what is given back
//! once all are closed, and what the revocation of somebody else costs while they are open.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::gateway::Owner;
use tests::oauth::OAuthClient;

use crate::accounts;
use crate::gateways::{Gateway, Setup};
use crate::load::{self, Bounds};
use crate::placement::Placement;
use crate::programs;
use crate::streams::{self, Relay};
use crate::wire::Call;

/// Longer than a keep-alive interval, so that what the first keep-alive allocates is counted.
const HOLD: Duration = Duration::from_secs(16);
/// Until memory is given back.
const PAUSE: Duration = Duration::from_secs(6);
/// How often it is done.
const GENERATIONS: usize = 3;
/// Grants of others that are revoked, without streams and with them.
const OTHERS: usize = 10;
/// More streams than the defaults let one address have.
const LIMITS: &str =
    "\n[limits]\nconnections = 16000\nconnections_per_address = 16000\nmemory = \"4GiB\"\n";
/// Streams through nginx: it has files for so many.
const NGINX: usize = 1500;
/// Calls a second beside the streams.
const RATE: f64 = 5_000.0;

/// One generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generation {
    pub(crate) streams: usize,
    /// CPU time of the gateway to open one, in microseconds.
    pub(crate) opening: f64,
    /// Resident memory of one beyond that of the fresh process, in bytes.
    pub(crate) each: f64,
    /// The share of that which was given back once they were closed, 0 to 1.
    pub(crate) given_back: f64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) generations: Vec<Generation>,
    /// CPU time of nginx, which checks nothing, to open one, in microseconds.
    pub(crate) nginx: f64,
    /// CPU time of the gateway for a revocation of somebody else, beyond what it takes without
    /// streams, in microseconds.
    pub(crate) revocation: f64,
    /// Calls a second beside the streams of the last generation, and their median and 99th
    /// percentile in microseconds.
    pub(crate) beside: (f64, f64, f64),
}

/// Opens `count` streams, three times.
pub(crate) async fn measure(
    folder: &Path,
    placement: &Placement,
    threads: usize,
    count: usize,
) -> Result<Streams> {
    let folder = folder.join("generations");
    std::fs::create_dir(&folder)?;
    let light = programs::light_backend(&folder, placement.rest.as_deref()).await?;
    let nginx = opening_through_nginx(&folder, placement, light.address).await?;
    let gateway = Gateway::start(Setup {
        name: "gateway",
        folder: &folder,
        processors: placement.proxies.as_deref(),
        threads,
        store: None,
        replica_of: None,
        backends: vec![("/", light.address)],
        more: LIMITS,
        policy: None,
        under: Vec::new(),
    })
    .await?;
    let token = gateway.token("/").await?;
    let others = others(&gateway).await?;
    // The passwords that were hashed leave traces in the heap of a process.
    let gateway = gateway.restart().await?;
    let (address, id) = (gateway.listening.address, gateway.listening.id()?);
    let relay = Relay {
        name: "gateway",
        address,
        host: address.to_string(),
        id,
        token: &token,
    };
    drop(streams::open_all(&relay, 20).await?);
    let (first, second) = others.split_at(OTHERS);
    let alone = revoke_all(id, first).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fresh = accounts::memory(id)?;
    let mut generations = Vec::new();
    let mut revocation = 0.0;
    let mut beside = (0.0, 0.0, 0.0);
    for number in 1..=GENERATIONS {
        eprintln!("streams, generation {number} of {GENERATIONS}");
        let before = accounts::cpu(id)?;
        let open = streams::open_all(&relay, count).await?;
        let opening = (accounts::cpu(id)? - before) / count as f64;
        if number == 1 {
            revocation = (revoke_all(id, second).await? - alone).max(0.0);
        }
        tokio::time::sleep(HOLD).await;
        let held = accounts::memory(id)?;
        for stream in &open {
            streams::came_since(stream)?;
        }
        if number == GENERATIONS {
            beside = calls_beside(&relay).await?;
        }
        drop(open);
        tokio::time::sleep(PAUSE).await;
        let after = accounts::memory(id)?;
        let taken = held.saturating_sub(fresh) as f64;
        generations.push(Generation {
            streams: count,
            opening,
            each: taken / count as f64,
            given_back: held.saturating_sub(after) as f64 / taken.max(1.0),
        });
    }
    gateway.listening.end().await;
    light.end().await;
    Ok(Streams {
        generations,
        nginx,
        revocation,
        beside,
    })
}

/// CPU time to open one, in microseconds.
async fn opening_through_nginx(
    folder: &Path,
    placement: &Placement,
    backend: SocketAddr,
) -> Result<f64> {
    let words = match &placement.proxies {
        Some(list) => vec!["taskset".to_owned(), "--cpu-list".to_owned(), list.clone()],
        None => Vec::new(),
    };
    let nginx = programs::nginx_alone(folder, &words, backend).await?;
    let relay = Relay {
        name: "nginx",
        address: nginx.address,
        host: nginx.address.to_string(),
        id: nginx.id()?,
        token: "",
    };
    drop(streams::open_all(&relay, 20).await?);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = accounts::cpu(relay.id)?;
    let open = streams::open_all(&relay, NGINX).await?;
    let opening = (accounts::cpu(relay.id)? - before) / NGINX as f64;
    drop(open);
    nginx.end().await;
    Ok(opening)
}

async fn calls_beside(relay: &Relay<'_>) -> Result<(f64, f64, f64)> {
    let bearer = format!("Bearer {}", relay.token);
    let call = Call::search("/mcp", &relay.host, &[("Authorization", &bearer)]);
    let bounds = Bounds {
        connections: 16,
        time: Duration::from_secs(3),
        calls: usize::MAX,
        rate: Some(RATE),
    };
    let outcome = load::run(relay.address, &call, bounds, || ()).await?;
    Ok((
        outcome.rate(),
        outcome.percentile(0.5),
        outcome.percentile(0.99),
    ))
}

/// Clients with a token each, to be revoked.
async fn others(gateway: &Gateway<'_>) -> Result<Vec<(OAuthClient, String)>> {
    let base = format!("http://{}", gateway.listening.address);
    let client = OAuthClient::register(&base, "Somebody else").await?;
    let mut others = Vec::new();
    for _ in 0..2 * OTHERS {
        let token = client.sign_in(&Owner::alice()).await?;
        others.push((client.clone(), token));
    }
    Ok(others)
}

/// CPU time for each, in microseconds.
async fn revoke_all(id: u32, others: &[(OAuthClient, String)]) -> Result<f64> {
    let before = accounts::cpu(id)?;
    for (client, token) in others {
        let reply = client.revoke(token).await?;
        ensure!(reply.status == 200, "{}", reply.text);
    }
    // Whoever is woken has looked by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok((accounts::cpu(id)? - before) / others.len() as f64)
}
