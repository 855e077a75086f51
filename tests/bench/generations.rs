//! Streams in one process over and over: what opening one costs, what one holds, what is given back
//! once all are closed, and what the revocation of somebody else costs while they are open.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_core::open_files;
use serde_json::{Value, json};
use tests::gateway::Owner;
use tests::oauth::OAuthClient;

use crate::accounts;
use crate::figure::Figure;
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
/// Streams that are wanted beside calls in the end, and calls a second.
const CROWD: usize = 10_000;
const RATE: f64 = 20_000.0;
/// Connections that are not streams: those of the calls, and some.
const OTHER_CONNECTIONS: usize = 40;

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
    /// As many streams as may be, and calls beside them.
    pub(crate) crowd: Crowd,
}

/// Calls beside as many streams as wanted, or as the files of a process are enough for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Streams that were open.
    pub(crate) streams: usize,
    /// How many files a process may open here; absent: any number.
    pub(crate) files: Option<u64>,
    /// Calls that were answered in a second. [`RATE`] was wanted.
    pub(crate) rate: f64,
    /// Median and 99th percentile of the calls, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Share of one processor that the gateway used, 0 to its number of threads.
    pub(crate) busy: f64,
}

impl Streams {
    /// The table and what belongs to it.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| generation of streams in one process | streams | CPU to open one | memory of one | given back |\n|---|---|---|---|---|\n".to_owned();
        for (number, one) in self.generations.iter().enumerate() {
            text += &format!(
                "| {} | {} | {:.0} µs | {:.1} KiB | {:.0} % |\n",
                number + 1,
                one.streams,
                one.opening,
                one.each / 1024.0,
                one.given_back * 100.0
            );
        }
        text + &format!(
            "\nnginx, which checks nothing, takes {:.0} µs to open one. Beside the first generation, a revocation of somebody else takes {:.0} µs of CPU more than without streams.\n\n",
            self.nginx, self.revocation
        ) + &self.crowd.markdown()
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let generation = |one: &Generation| {
            json!({
                "streams": one.streams,
                "opening_cpu_us": one.opening,
                "bytes_each": one.each,
                "given_back": one.given_back,
            })
        };
        json!({
            "generations": self.generations.iter().map(generation).collect::<Vec<_>>(),
            "nginx_opening_cpu_us": self.nginx,
            "revocation_cpu_us": self.revocation,
            "crowd": {
                "streams": self.crowd.streams,
                "open_files": self.crowd.files,
                "requests_per_second": self.crowd.rate,
                "p50_us": self.crowd.p50,
                "p99_us": self.crowd.p99,
                "proxy_busy": self.crowd.busy,
            },
        })
    }

    /// For the comparison with another run: the worst generation of each.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let all = |of: fn(&Generation) -> f64| self.generations.iter().map(of);
        let most = |of| all(of).fold(0.0, f64::max);
        let least = all(|one| one.given_back).fold(1.0, f64::min);
        vec![
            Figure::cpu("opening a stream", most(|one| one.opening)),
            Figure::memory("an idle stream", most(|one| one.each)),
            Figure::share("memory given back after streams", least),
            Figure::cpu(
                "a revocation of somebody else beside streams",
                self.revocation,
            ),
            Figure::latency("calls beside streams, p50", self.crowd.p50),
            Figure::latency("calls beside streams, p99", self.crowd.p99),
        ]
    }
}

impl Crowd {
    fn markdown(&self) -> String {
        let Crowd {
            streams,
            files,
            rate,
            p50,
            p99,
            busy,
        } = self;
        let bound = match files {
            Some(files) if *streams < CROWD => format!(
                ", the most that fit into the {files} files that each process may open here ({CROWD} were wanted)"
            ),
            _ => String::new(),
        };
        format!(
            "Beside {streams} open streams{bound}: of {RATE:.0} calls/s that were asked for, {rate:.0} were answered, with a p50 of {p50:.0} and a p99 of {p99:.0} µs; the gateway used {:.0} % of a processor.\n\n",
            busy * 100.0
        )
    }
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
    let proxies = placement.proxies.as_deref();
    let gateway = Gateway::start(Setup {
        more: LIMITS,
        ..Setup::new("gateway", &folder, proxies, threads, light.address)
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
    let crowd = crowd(&relay).await?;
    gateway.listening.end().await;
    light.end().await;
    Ok(Streams {
        generations,
        nginx,
        revocation,
        crowd,
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

/// Calls beside as many streams as the gateway lets in for the files that it has.
async fn crowd(relay: &Relay<'_>) -> Result<Crowd> {
    let files = open_files::limit();
    let most = open_files::connections(files).saturating_sub(OTHER_CONNECTIONS);
    let count = CROWD.min(most);
    eprintln!("{RATE} calls a second beside {count} streams");
    let open = streams::open_all(relay, count).await?;
    let bearer = format!("Bearer {}", relay.token);
    let call = Call::search("/mcp", &relay.host, &[("Authorization", &bearer)]);
    let bounds = Bounds {
        connections: 16,
        time: Duration::from_secs(4),
        calls: usize::MAX,
        rate: Some(RATE),
    };
    let mut before = None;
    let outcome = load::run(relay.address, &call, bounds, || {
        before = Some(accounts::cpu(relay.id));
    })
    .await?;
    let used = accounts::cpu(relay.id)? - before.context("the load has started")??;
    for stream in &open {
        streams::came_since(stream)?;
    }
    Ok(Crowd {
        streams: open.len(),
        files,
        rate: outcome.rate(),
        p50: outcome.percentile(0.5),
        p99: outcome.percentile(0.99),
        busy: used / 1e6 / outcome.elapsed.as_secs_f64(),
    })
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
