//! The benchmark: what the gateway costs, beside the same calls without it and through
//! proxies that everyone knows. One run on one machine prints everything; `tests/bench/run`
//! builds what it needs and starts it.
//!
//! | module | owns |
//! |---|---|
//! | `rig` | everything that runs during the rounds, and their order |
//! | `subject` | one way to reach a backend, and one measurement of it |
//! | `load`, `wire` | the load generator |
//! | `accounts`, `placement` | CPU time and memory as the kernel counts them; who runs where |
//! | `programs`, `gateways`, `jwt` | what is measured: started, configured, authorized |
//! | `backend` | the backend behind all of them |
//! | `streams` | idle event streams and their memory |
//! | `features` | what each feature of the gateway costs a call |
//! | `generations` | streams over and over in one process |
//! | `targets` | what is to be reached, and whether it is |
//! | `floods` | what strangers' connections cost in memory, and a good client in time |
//! | `round_trips` | what the gateway asks of Redis |
//! | `revocation` | from a revocation to the last byte of each stream |
//! | `instructions` | what a call needs of the processor, as callgrind counts it |
//! | `report` | Markdown and JSON |
//! | `compare` | this run beside a saved one |

mod accounts;
mod backend;
mod compare;
mod features;
mod floods;
mod gateways;
mod generations;
mod instructions;
mod jwt;
mod load;
mod placement;
mod programs;
mod report;
mod revocation;
mod rig;
mod round_trips;
mod streams;
mod subject;
mod targets;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::Value;
use tests::program::{self, binary, workspace};
use tests::redis::Redis;

use crate::gateways::{Gateway, Setup};
use crate::load::Bounds;
use crate::placement::Placement;
use crate::programs::{find, version};
use crate::report::Report;
use crate::rig::{Plan, Rig};
use crate::round_trips::RoundTrips;
use crate::subject::{Loads, Subject};
use crate::wire::Call;

/// No run of the load makes more calls.
const MOST_CALLS: usize = 400_000;
/// The rows of features are measured in so many rounds at most.
const FEATURE_ROUNDS: usize = 3;
/// The whole benchmark ends by then.
const LONGEST: Duration = Duration::from_secs(590);

/// Measures what the gateway costs.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Only how long streams on two replicas live on after access was taken back.
    Revocation {
        /// Streams, half on each replica.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(20..=3000))]
        streams: u16,
    },
    /// Only what streams cost that are opened and closed over and over.
    Streams {
        /// Of each generation.
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(20..=8000))]
        generation: u16,
    },
    /// Only what floods of strangers' connections cost, and what a good client feels of them.
    Floods {
        /// Of most floods.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(20..=3000))]
        connections: u16,
        /// Only those whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Only how many instructions a call needs, against nginx: fails if that has grown by more than 5 %.
    Instructions {
        /// Write what is counted down, for later runs to be compared with, and compare nothing.
        #[arg(long)]
        keep: bool,
    },
    /// The backend that is measured behind every proxy; the benchmark starts it itself.
    ServeBackend {
        /// On loopback.
        #[arg(long)]
        port: u16,
    },
}

#[derive(clap::Args)]
struct Options {
    /// Rounds; in each, every subject is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=20))]
    rounds: u8,
    /// Length of each run under load; the runs with one connection are half as long.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=10))]
    seconds: u8,
    /// Connections under load.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// Worker threads of every proxy.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    threads: u8,
    /// Event streams to hold.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(20..=3000))]
    streams: u16,
    /// Event streams of each generation.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(20..=8000))]
    generation: u16,
    /// Leave the gateway out.
    #[arg(long)]
    without_gateway: bool,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
    /// The saved JSON of another run: say what got worse by more than noise, and fail if anything did.
    #[arg(long)]
    against: Option<PathBuf>,
}

impl Options {
    fn loads(&self) -> Loads {
        let time = Duration::from_secs(self.seconds.into());
        let busy = Bounds {
            connections: self.connections.into(),
            time,
            calls: MOST_CALLS,
            rate: None,
        };
        let alone = Bounds {
            connections: 1,
            time: time / 2,
            calls: MOST_CALLS,
            rate: None,
        };
        Loads { busy, alone }
    }

    /// For the many rows of features.
    fn shorter_loads(&self) -> Loads {
        let Loads { busy, alone } = self.loads();
        let half = |bounds: Bounds| Bounds {
            time: bounds.time / 2,
            ..bounds
        };
        Loads {
            busy: half(busy),
            alone: half(alone),
        }
    }

    fn method(&self, placement: &Placement) -> Vec<String> {
        let Options {
            rounds,
            seconds,
            connections,
            threads,
            ..
        } = self;
        vec![
            format!("Median (least–greatest) of {rounds} rounds; in a round every row is measured once, one after the other: {seconds} s with {connections} keep-alive connections that ask again as soon as they are answered, then half as long with one (\"alone\")."),
            format!("Every proxy: {threads} worker thread(s), keep-alive to client and backend, plain HTTP on loopback, one log line for each request. {}", placement.describe()),
            "The backend of the first rows answers a fixed result on one thread and does nothing else: what is measured is the proxy. HAProxy verifies signature, expiry and audience at every request and sends the user's name on; spoilt tokens were refused before the rounds began.".to_owned(),
            "CPU is what the kernel accounts to the proxy's processes, to a hundredth of a second; resident memory leaves out the kernel's socket buffers, which are the same for all.".to_owned(),
        ]
    }
}

// One thread: the load generator must not take a second processor from what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Command::ServeBackend { port }) = arguments.command {
        backend::serve(port).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let measured = async {
        match arguments.command {
            Some(Command::Revocation { streams }) => revocation_alone(streams.into()).await,
            Some(Command::Streams { generation }) => streams_alone(generation.into()).await,
            Some(Command::Floods { connections, only }) => {
                floods_alone(connections.into(), &only).await
            }
            Some(Command::Instructions { keep }) => count_instructions(keep).await,
            _ => benchmark(&arguments.options).await,
        }
    };
    tokio::select! {
        outcome = measured => outcome,
        () = tokio::time::sleep(LONGEST) => anyhow::bail!("not done after {LONGEST:?}"),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

/// An empty folder: the last run's state and logs go.
fn folder() -> Result<PathBuf> {
    let folder = workspace().join("tests/.work/bench");
    // There may be none.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

async fn revocation_alone(streams: usize) -> Result<ExitCode> {
    let folder = folder()?;
    let placement = Placement::new(1)?;
    placement.place_ourselves().await?;
    let revoked = revocation::measure(&folder, &placement, 1, streams).await?;
    println!("{}", report::revocation(&revoked));
    Ok(ExitCode::SUCCESS)
}

async fn streams_alone(generation: usize) -> Result<ExitCode> {
    let folder = folder()?;
    let placement = Placement::new(1)?;
    placement.place_ourselves().await?;
    let streams = generations::measure(&folder, &placement, 1, generation).await?;
    println!("{}", report::generations(&streams));
    Ok(ExitCode::SUCCESS)
}

async fn floods_alone(connections: usize, only: &str) -> Result<ExitCode> {
    let folder = folder()?;
    let placement = Placement::new(1)?;
    placement.place_ourselves().await?;
    let flooded = floods::measure(&folder, &placement, only, connections).await?;
    println!("{}", report::floods(&flooded));
    Ok(if flooded.iter().all(|one| one.misses().is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn count_instructions(keep: bool) -> Result<ExitCode> {
    let folder = folder()?;
    let counted = instructions::measure(&folder, keep).await?;
    println!("{}", instructions::markdown(&counted));
    if keep {
        instructions::keep(&counted)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(
        if counted
            .iter()
            .any(instructions::InstructionCount::has_grown)
        {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        },
    )
}

async fn benchmark(options: &Options) -> Result<ExitCode> {
    // Before the last run goes: it may be the one.
    let against: Option<Value> = match &options.against {
        Some(saved) => Some(serde_json::from_slice(&std::fs::read(saved)?)?),
        None => None,
    };
    let folder = folder()?;
    let placement = Placement::new(usize::from(options.threads))?;
    placement.place_ourselves().await?;
    let plan = Plan {
        folder: &folder,
        placement: &placement,
        threads: options.threads.into(),
        gateway: !options.without_gateway,
        now: output("date", &["+%s"]).await?.parse()?,
    };

    eprintln!("starting backends and proxies");
    let mut rig = Rig::start(&plan).await?;
    let watch = Watch::start()?;
    let subjects = rig.measure(options.rounds.into(), options.loads()).await?;
    let others = watch.others(placement.processors)?;
    eprintln!("holding {} streams through each", options.streams);
    let streams = rig.hold_streams(options.streams.into()).await?;
    rig.end().await;
    let (features, generations) = if plan.gateway {
        eprintln!("measuring each feature");
        let rounds = usize::from(options.rounds).min(FEATURE_ROUNDS);
        let features = features::measure(&plan, rounds, options.shorter_loads()).await?;
        eprintln!("opening {} streams again and again", options.generation);
        let streams = usize::from(options.generation);
        let threads = plan.threads;
        let generations = generations::measure(&folder, &placement, threads, streams).await?;
        (Some(features), Some(generations))
    } else {
        (None, None)
    };
    let round_trips = if plan.gateway {
        eprintln!("counting round trips to Redis");
        let busy = options.loads().busy;
        let longer = Bounds {
            time: busy.time * 2,
            ..busy
        };
        Some(count_round_trips(&plan, longer).await?)
    } else {
        None
    };
    let revoked = if plan.gateway {
        eprintln!("taking access back from {} streams", options.streams);
        let streams = options.streams.into();
        revocation::measure(&folder, &placement, plan.threads, streams).await?
    } else {
        Vec::new()
    };

    let report = Report {
        date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).await?,
        machine: format!(
            "{} × {}, Linux {}",
            placement.processors,
            accounts::processor(),
            output("uname", &["-r"]).await?
        ),
        versions: versions(plan.gateway).await?,
        method: options.method(&placement),
        subjects,
        streams,
        features,
        generations,
        round_trips,
        revoked,
        others,
    };
    let json = report.json();
    publish(&report, &json, &folder, options.json)?;
    let worse = against.map_or(Vec::new(), |before| compare::worse(&before, &json));
    for line in &worse {
        eprintln!("worse: {line}");
    }
    let trips = report.round_trips.as_ref();
    let is_well = worse.is_empty() && trips.is_none_or(RoundTrips::none_per_call);
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn publish(report: &Report, json: &Value, folder: &Path, as_json: bool) -> Result<()> {
    let file = folder.join("report.json");
    let text = serde_json::to_string_pretty(json)?;
    std::fs::write(&file, &text)?;
    if as_json {
        println!("{text}")
    } else {
        println!("{}", report.markdown())
    }
    eprintln!("every round: {}", file.display());
    Ok(())
}

/// A gateway of its own on a Redis of its own, under the same load.
async fn count_round_trips(plan: &Plan<'_>, bounds: Bounds) -> Result<RoundTrips> {
    let redis = Redis::start().await?;
    let light = programs::light_backend(plan.folder, plan.placement.rest.as_deref()).await?;
    let gateway = Gateway::start(Setup {
        name: "gateway-on-redis",
        folder: plan.folder,
        processors: plan.placement.proxies.as_deref(),
        threads: plan.threads,
        store: Some(redis.url()),
        replica_of: None,
        backends: vec![("/", light.address)],
        more: "",
        policy: None,
        under: Vec::new(),
    })
    .await?;
    let token = gateway.token("/").await?;
    let address = gateway.listening.address;
    let bearer = format!("Bearer {token}");
    let subject = Subject {
        name: "gateway on Redis",
        address,
        call: Call::search("/mcp", &address.to_string(), &[("Authorization", &bearer)]),
        proxy: None,
        backend: light.id()?,
    };
    let counted = round_trips::count(redis.port, &subject, bounds).await?;
    gateway.listening.end().await;
    light.end().await;
    Ok(counted)
}

/// What the machine did besides us.
struct Watch {
    since: Instant,
    machine: (f64, f64),
    ours: f64,
}

impl Watch {
    fn start() -> Result<Self> {
        Ok(Watch {
            since: Instant::now(),
            machine: accounts::machine()?,
            ours: accounts::cpu(std::process::id())?,
        })
    }

    /// Shares of the machine: other programs, and what its host kept back.
    fn others(&self, processors: usize) -> Result<(f64, f64)> {
        let (busy, stolen) = accounts::machine()?;
        let ours = accounts::cpu(std::process::id())? - self.ours;
        let whole = self.since.elapsed().as_secs_f64() * 1e6 * processors as f64;
        let programs = (busy - self.machine.0 - ours).max(0.0) / whole;
        Ok((programs, (stolen - self.machine.1) / whole))
    }
}

async fn versions(gateway: bool) -> Result<Vec<(&'static str, String)>> {
    let mut versions = Vec::new();
    if gateway {
        let said = version(&binary("gateway"), "--version").await?;
        versions.push(("gateway", format!("{said}{}", commit().await)));
    }
    versions.push(("nginx", version(&find("nginx")?, "-v").await?));
    versions.push(("HAProxy", version(&find("haproxy")?, "-v").await?));
    Ok(versions)
}

/// Which commit is checked out, in brackets; nothing outside a repository.
async fn commit() -> String {
    let folder = workspace().display().to_string();
    output("git", &["-C", &folder, "rev-parse", "--short", "HEAD"])
        .await
        .map(|commit| format!(" ({commit})"))
        .unwrap_or_default()
}

async fn output(name: &str, arguments: &[&str]) -> Result<String> {
    let (code, stdout, errors) = program::run(&find(name)?, arguments, "").await?;
    ensure!(code == 0, "{name}: {errors}");
    Ok(stdout.trim().to_owned())
}
