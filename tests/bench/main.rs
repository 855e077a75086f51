//! The benchmark: what the gateway costs, beside the same calls without it and through
//! proxies that everyone knows. One run on one machine prints everything; `tests/bench/run`
//! builds what it needs and starts it.
//!
//! | module | owns |
//! |---|---|
//! | `benchmark` | the whole run |
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
//! | `churn` | streams that are closed and opened over and over while others are held |
//! | `oauth_flows` | authorizations and registrations |
//! | `growth` | what a store costs that has grown |
//! | `cold_start` | from the start to the first answers; the size of the programs |
//! | `floods`, `http2_floods` | what strangers' connections cost in memory, and a good client in time |
//! | `round_trips` | what the gateway asks of Redis |
//! | `revocation` | from a revocation to the last byte of each stream |
//! | `instructions` | what a call needs of the processor, as callgrind counts it |
//! | `machine` | how busy the machine is with something else |
//! | `report`, `manual` | Markdown and JSON, and the tables of the manual |
//! | `compare`, `figure` | this run beside a saved one |

mod accounts;
mod backend;
mod benchmark;
mod churn;
mod cold_start;
mod compare;
mod features;
mod figure;
mod floods;
mod gateways;
mod generations;
mod growth;
mod http2_floods;
mod instructions;
mod jwt;
mod load;
mod machine;
mod manual;
mod oauth_flows;
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

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use tests::program::{self, workspace};

use crate::benchmark::Options;
use crate::growth::StoreKind;
use crate::http2_floods::Frames;
use crate::machine::Busy;
use crate::placement::Placement;
use crate::programs::find;
use crate::rig::Plan;

/// The whole benchmark ends by then, and so does each part of it that has no limit of its own.
const LONGEST: Duration = Duration::from_secs(590);
/// Growth to a million records.
const LONGEST_GROWTH: Duration = Duration::from_secs(3600);

/// Sections of the manual that parts of the benchmark write which the whole run has not.
#[cfg(test)]
const MODES: [&str; 4] = [
    "speed-floods",
    "speed-churn",
    "speed-growth",
    "speed-instructions",
];

/// Measures what the gateway costs.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
    /// Write the tables of this run into a page of the manual, between their marks.
    #[arg(long, value_name = "PAGE", global = true)]
    manual: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Only how long streams on two replicas live on after access was taken back.
    Revocation {
        /// Streams, half on each replica.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(20..=3000))]
        streams: u16,
    },
    /// Only what streams cost that are opened and closed over and over, and calls beside 10,000.
    Streams {
        /// Of each generation.
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(20..=9000))]
        generation: u16,
    },
    /// Only whether memory or descriptors grow while 2,000 streams are held and changed.
    Churn {
        /// One after the other, in one process.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
        runs: u8,
        /// The length of each.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=120))]
        minutes: u8,
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
    /// Only what a store costs that has grown, up to a million grants in either kind of store.
    Growth {
        /// No more grants than this.
        #[arg(long, default_value_t = 1_000_000)]
        most: usize,
    },
    /// Only authorizations and registrations in a second.
    Oauth,
    /// Only how long a start takes, and how large the programs are.
    Start,
    /// Only how many instructions a call needs, against nginx: fails if that has grown by more than 5 %.
    Instructions {
        /// Write what is counted down, for later runs to be compared with, and compare nothing.
        #[arg(long)]
        keep: bool,
    },
    /// The backend that is measured behind every proxy; the benchmark starts it itself.
    #[command(hide = true)]
    ServeBackend {
        /// On loopback.
        #[arg(long)]
        port: u16,
    },
    /// Who floods a gateway with frames of HTTP/2; the benchmark starts it itself.
    #[command(hide = true)]
    SendFrames {
        /// Which.
        frames: Frames,
        /// Whom.
        #[arg(long)]
        to: SocketAddr,
        /// How long.
        #[arg(long)]
        millis: u64,
    },
}

impl Command {
    /// When it is to be done.
    fn longest(&self) -> Duration {
        match self {
            Self::Churn { runs, minutes } => churn::longest((*runs).into(), length(*minutes)),
            Self::Growth { .. } => LONGEST_GROWTH,
            _ => LONGEST,
        }
    }
}

fn length(minutes: u8) -> Duration {
    Duration::from_secs(60) * u32::from(minutes)
}

/// What a part of the benchmark measured.
struct Part {
    /// Where it stands in the manual.
    section: &'static str,
    text: String,
    is_well: bool,
}

impl Part {
    fn new(section: &'static str, text: String) -> Self {
        Self {
            section,
            text,
            is_well: true,
        }
    }
}

// One thread: the load generator must not take a second processor from what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let Arguments {
        command,
        options,
        manual,
    } = Arguments::parse();
    match command {
        Some(Command::ServeBackend { port }) => {
            backend::serve(port).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::SendFrames { frames, to, millis }) => {
            http2_floods::send(frames, to, Duration::from_millis(millis)).await?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let longest = command.as_ref().map_or(LONGEST, Command::longest);
    let page = manual.as_deref();
    let measured = async {
        match &command {
            Some(command) => alone(command, page).await,
            None => benchmark::benchmark(&options, page).await,
        }
    };
    tokio::select! {
        outcome = measured => outcome,
        () = tokio::time::sleep(longest) => anyhow::bail!("not done after {longest:?}"),
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

/// One part of the benchmark, between two looks at what else the machine does.
async fn alone(command: &Command, page: Option<&Path>) -> Result<ExitCode> {
    let folder = folder()?;
    let placement = match command {
        Command::Floods { .. } => Placement::with_attacker(1)?,
        _ => Placement::new(1)?,
    };
    // What counts instructions has no use for processors of its own.
    if !matches!(command, Command::Instructions { .. }) {
        placement.place_ourselves().await?;
    }
    let plan = Plan {
        folder: &folder,
        placement: &placement,
        threads: 1,
        gateway: true,
        now: output("date", &["+%s"]).await?.parse()?,
    };
    let before = machine::look(placement.processors).await?;
    let part = measure(command, &plan).await?;
    let after = machine::look(placement.processors).await?;
    let busy = Busy {
        before,
        during: None,
        after,
    };
    let (date, machine) = (date().await?, describe_machine(&placement).await?);
    let text = format!(
        "Measured {date} on {machine}{}. {}{}",
        commit().await,
        busy.markdown(),
        part.text
    );
    println!("{text}");
    if let Some(page) = page {
        manual::write(page, &[(part.section, text)])?;
    }
    Ok(if part.is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(command: &Command, plan: &Plan<'_>) -> Result<Part> {
    let (folder, placement) = (plan.folder, plan.placement);
    Ok(match *command {
        Command::Revocation { streams } => {
            let revoked = revocation::measure(folder, placement, 1, streams.into()).await?;
            Part::new("speed-revocation", revocation::markdown(&revoked))
        }
        Command::Streams { generation } => {
            let streams = generations::measure(folder, placement, 1, generation.into()).await?;
            Part::new("speed-streams", streams.markdown())
        }
        Command::Churn { runs, minutes } => {
            let each = length(minutes);
            let runs = churn::measure(plan, runs.into(), each).await?;
            Part::new("speed-churn", churn::markdown(&runs, each))
        }
        Command::Floods {
            connections,
            ref only,
        } => {
            let flooded = floods::measure(folder, placement, only, connections.into()).await?;
            let is_well = flooded.iter().all(|one| one.misses().is_empty());
            Part {
                is_well,
                ..Part::new("speed-floods", floods::markdown(&flooded))
            }
        }
        Command::Growth { most } => {
            let mut grown = Vec::new();
            let sizes: Vec<usize> = growth::SIZES
                .into_iter()
                .filter(|size| *size <= most)
                .collect();
            for store in [StoreKind::Embedded, StoreKind::Redis] {
                grown.extend(growth::measure(plan, store, &sizes).await?);
            }
            Part::new("speed-growth", growth::markdown(&grown))
        }
        Command::Oauth => {
            let flows = oauth_flows::measure(plan).await?;
            Part::new("speed-oauth", flows.markdown())
        }
        Command::Start => {
            let start = cold_start::measure(plan).await?;
            Part::new("speed-start", start.markdown())
        }
        Command::Instructions { keep } => {
            let counted = instructions::measure(folder, keep).await?;
            if keep {
                instructions::keep(&counted)?;
            }
            let has_grown = instructions::InstructionCount::has_grown;
            Part {
                is_well: !counted.iter().any(has_grown),
                ..Part::new("speed-instructions", instructions::markdown(&counted))
            }
        }
        Command::ServeBackend { .. } | Command::SendFrames { .. } => {
            anyhow::bail!("that is no measurement")
        }
    })
}

/// Now, as text.
async fn date() -> Result<String> {
    output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).await
}

/// Processors and kernel.
async fn describe_machine(placement: &Placement) -> Result<String> {
    Ok(format!(
        "{} × {}, Linux {}",
        placement.processors,
        accounts::processor(),
        output("uname", &["-r"]).await?
    ))
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
