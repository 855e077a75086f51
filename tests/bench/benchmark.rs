//! The whole run: every table, in one build, within [`crate::LONGEST`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tests::program::binary;
use tests::redis::Redis;

use crate::gateways::{Gateway, Setup};
use crate::growth::{self, StoreKind};
use crate::load::Bounds;
use crate::machine::{self, Busy, Watch};
use crate::placement::Placement;
use crate::programs::{find, version};
use crate::report::Report;
use crate::rig::{Plan, Rig};
use crate::round_trips::{self, RoundTrips};
use crate::subject::{Loads, Subject};
use crate::wire::Call;
use crate::{
    cold_start, compare, features, folder, generations, manual, oauth_flows, output, programs,
    revocation,
};

/// No run of the load makes more calls.
const MOST_CALLS: usize = 400_000;
/// The rows of features are measured in so many rounds at most.
const FEATURE_ROUNDS: usize = 3;

// No doc comment: clap would take it for the description of the program.
#[derive(clap::Args)]
pub(crate) struct Options {
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

/// What the gateway alone has rows for.
pub(crate) struct Own {
    /// What each feature costs.
    pub(crate) features: features::Features,
    /// Streams over and over.
    pub(crate) generations: generations::Streams,
    /// Commands that Redis ran.
    pub(crate) round_trips: RoundTrips,
    /// How long streams lived on after a revocation.
    pub(crate) revoked: Vec<revocation::Revoked>,
    /// Whole authorizations.
    pub(crate) flows: oauth_flows::OauthFlows,
    /// Stores that have grown.
    pub(crate) grown: Vec<growth::Grown>,
    /// How long a start takes, and how large the programs are.
    pub(crate) start: cold_start::ColdStart,
}

async fn measure_own(options: &Options, plan: &Plan<'_>) -> Result<Own> {
    let (folder, placement, threads) = (plan.folder, plan.placement, plan.threads);
    eprintln!("measuring each feature");
    let rounds = usize::from(options.rounds).min(FEATURE_ROUNDS);
    let features = features::measure(plan, rounds, options.shorter_loads()).await?;
    eprintln!("opening {} streams again and again", options.generation);
    let streams = usize::from(options.generation);
    let generations = generations::measure(folder, placement, threads, streams).await?;
    eprintln!("counting round trips to Redis");
    let busy = options.loads().busy;
    let longer = Bounds {
        time: busy.time * 2,
        ..busy
    };
    let round_trips = count_round_trips(plan, longer).await?;
    eprintln!("taking access back from {} streams", options.streams);
    let streams = options.streams.into();
    let revoked = revocation::measure(folder, placement, threads, streams).await?;
    eprintln!("authorizing again and again");
    let flows = oauth_flows::measure(plan).await?;
    let mut grown = Vec::new();
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        grown.extend(growth::measure(plan, store, &growth::SMALL_SIZES).await?);
    }
    eprintln!("starting again and again");
    let start = cold_start::measure(plan).await?;
    Ok(Own {
        features,
        generations,
        round_trips,
        revoked,
        flows,
        grown,
        start,
    })
}

/// The whole run; `page` is where its tables are written besides.
pub(crate) async fn benchmark(options: &Options, page: Option<&Path>) -> Result<ExitCode> {
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

    let before = machine::look(placement.processors).await?;
    eprintln!("starting backends and proxies");
    let mut rig = Rig::start(&plan).await?;
    let watch = Watch::start()?;
    let subjects = rig.measure(options.rounds.into(), options.loads()).await?;
    let during = Some(watch.others(placement.processors)?);
    eprintln!("holding {} streams through each", options.streams);
    let streams = rig.hold_streams(options.streams.into()).await?;
    rig.end().await;
    let own = if plan.gateway {
        Some(measure_own(options, &plan).await?)
    } else {
        None
    };
    let after = machine::look(placement.processors).await?;

    let report = Report {
        date: crate::date().await?,
        machine: crate::describe_machine(&placement).await?,
        versions: versions(plan.gateway).await?,
        method: options.method(&placement),
        subjects,
        streams,
        own,
        busy: Busy {
            before,
            during,
            after,
        },
    };
    let json = report.json();
    publish(&report, &json, &folder, options.json)?;
    if let Some(page) = page {
        manual::write(page, &report.dated_sections())?;
    }
    let worse = against.map_or(Vec::new(), |before| compare::worse(&before, &json));
    for line in &worse {
        eprintln!("worse: {line}");
    }
    let own = report.own.as_ref();
    let is_well = worse.is_empty() && own.is_none_or(|own| own.round_trips.none_per_call());
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
        store: Some(redis.url()),
        ..plan.setup("gateway-on-redis", light.address)
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
        connections: None,
    };
    let counted = round_trips::count(redis.port, &subject, bounds).await?;
    gateway.listening.end().await;
    light.end().await;
    Ok(counted)
}

async fn versions(gateway: bool) -> Result<Vec<(&'static str, String)>> {
    let mut versions = Vec::new();
    if gateway {
        let said = version(&binary("gateway"), "--version").await?;
        versions.push(("gateway", format!("{said}{}", crate::commit().await)));
    }
    versions.push(("nginx", version(&find("nginx")?, "-v").await?));
    versions.push(("HAProxy", version(&find("haproxy")?, "-v").await?));
    Ok(versions)
}
