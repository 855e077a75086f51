//! Streams that are held while some of them are closed and others opened in their place, over and over,
//! in one process: whether its memory or its descriptors grow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::accounts;
use crate::gateways::{Gateway, Setup};
use crate::programs;
use crate::report::Spread;
use crate::rig::Plan;
use crate::streams::{self, Relay};

/// Streams that are open at any time.
const HELD: usize = 2_000;
/// Closed, and opened in their place, at once.
const CHANGED: usize = 50;
/// How often that is done.
const PERIOD: Duration = Duration::from_millis(250);
/// Between two looks at the process.
const LOOK: Duration = Duration::from_secs(1);
/// The beginning of a run that its slope leaves out: until then what streams need once is allocated. No
/// more than a third of the run.
const SETTLING: Duration = Duration::from_secs(20);
/// Until memory is given back after a run.
const PAUSE: Duration = Duration::from_secs(6);
/// All come from one address.
const LIMITS: &str = "\n[limits]\nconnections_per_address = 5000\n";

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Streams that were opened in all.
    opened: usize,
    /// Memory, in bytes, and descriptors.
    memory: Series,
    descriptors: Series,
}

/// What was seen of one thing.
#[derive(Clone, Copy, Debug)]
struct Series {
    /// The middle of what was seen while the streams were held.
    held: f64,
    /// By how much it grew in a minute.
    slope: f64,
    /// After all were closed.
    after: f64,
}

/// How long all of it takes at most.
pub(crate) fn longest(runs: usize, each: Duration) -> Duration {
    (each + Duration::from_secs(60)) * u32::try_from(runs).unwrap_or(u32::MAX)
        + Duration::from_secs(120)
}

/// So many runs of `each`, in one process.
pub(crate) async fn measure(plan: &Plan<'_>, runs: usize, each: Duration) -> Result<Vec<Run>> {
    let light = programs::light_backend(plan.folder, plan.placement.rest.as_deref()).await?;
    let gateway = Gateway::start(Setup {
        more: LIMITS,
        ..plan.setup("gateway", light.address)
    })
    .await?;
    let token = gateway.token("/").await?;
    // The passwords that were hashed leave traces in the heap of a process.
    let gateway = gateway.restart().await?;
    let address = gateway.listening.address;
    let relay = Relay {
        name: "gateway",
        address,
        host: address.to_string(),
        id: gateway.listening.id()?,
        token: &token,
    };
    let mut done = Vec::new();
    for number in 1..=runs {
        eprintln!("churn, run {number} of {runs}");
        done.push(run(&relay, each).await?);
    }
    gateway.listening.end().await;
    light.end().await;
    Ok(done)
}

async fn run(relay: &Relay<'_>, each: Duration) -> Result<Run> {
    let mut open: VecDeque<_> = streams::open_all(relay, HELD).await?.into();
    let mut opened = open.len();
    let begun = Instant::now();
    let settled = SETTLING.min(each / 3);
    let (mut seen, mut looked, mut next) = (Vec::new(), begun, begun);
    while begun.elapsed() < each {
        tokio::time::sleep_until(next.into()).await;
        next += PERIOD;
        for stream in open.drain(..CHANGED) {
            streams::came_since(&stream)?;
        }
        open.extend(streams::open_all(relay, CHANGED).await?);
        opened += CHANGED;
        if looked.elapsed() >= LOOK && begun.elapsed() >= settled {
            looked = Instant::now();
            let memory = accounts::memory(relay.id)? as f64;
            let descriptors = accounts::descriptors(relay.id)? as f64;
            seen.push((begun.elapsed().as_secs_f64() / 60.0, memory, descriptors));
        }
    }
    for stream in &open {
        streams::came_since(stream).context("a stream that was held")?;
    }
    drop(open);
    tokio::time::sleep(PAUSE).await;
    let series = |of: fn(&(f64, f64, f64)) -> f64, after: f64| Series {
        held: Spread::new(seen.iter().map(of).collect()).median,
        slope: slope(&seen.iter().map(|one| (one.0, of(one))).collect::<Vec<_>>()),
        after,
    };
    Ok(Run {
        opened,
        memory: series(|one| one.1, accounts::memory(relay.id)? as f64),
        descriptors: series(|one| one.2, accounts::descriptors(relay.id)? as f64),
    })
}

/// The slope of the line that lies nearest (least squares); 0 of a single point.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if square > 0.0 { both / square } else { 0.0 }
}

/// The table.
pub(crate) fn markdown(runs: &[Run], each: Duration) -> String {
    let mut text = format!(
        "| {HELD} held streams, {CHANGED} of them changed every {} ms, for {} s | streams opened | memory held | grows a minute | after all closed | descriptors held | grow a minute | after all closed |\n|---|---|---|---|---|---|---|---|\n",
        PERIOD.as_millis(),
        each.as_secs()
    );
    let mebibytes = |bytes: f64| bytes / 1024.0 / 1024.0;
    for (number, run) in runs.iter().enumerate() {
        let Run {
            opened,
            memory,
            descriptors,
        } = run;
        text += &format!(
            "| run {} | {opened} | {:.1} MiB | {:+.2} MiB | {:.1} MiB | {:.0} | {:+.1} | {:.0} |\n",
            number + 1,
            mebibytes(memory.held),
            mebibytes(memory.slope),
            mebibytes(memory.after),
            descriptors.held,
            descriptors.slope,
            descriptors.after,
        );
    }
    if runs.len() < 2 {
        return text + "\n";
    }
    let across = |of: fn(&Run) -> f64| {
        let points = runs.iter().enumerate();
        let points = points.map(|(number, run)| (number as f64, of(run)));
        slope(&points.collect::<Vec<_>>())
    };
    text + &format!(
        "\nFrom one run to the next: memory held {:+.2} MiB, after all closed {:+.2} MiB; descriptors held {:+.1}, after all closed {:+.1}.\n\n",
        mebibytes(across(|run| run.memory.held)),
        mebibytes(across(|run| run.memory.after)),
        across(|run| run.descriptors.held),
        across(|run| run.descriptors.after),
    )
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_nearest_line() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 1.0)]), 0.0);
        assert_eq!(slope(&[(0.0, 1.0)]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }

    #[test]
    fn what_grows_from_run_to_run_is_told() {
        let run = |after| {
            let series = |after| Series {
                held: 100.0,
                slope: 0.0,
                after,
            };
            Run {
                opened: 2000,
                memory: series(after * 1024.0 * 1024.0),
                descriptors: series(after),
            }
        };
        let text = markdown(&[run(30.0), run(32.0), run(34.0)], Duration::from_secs(60));
        assert!(text.contains("after all closed +2.00 MiB"), "{text}");
        assert!(
            text.contains("descriptors held +0.0, after all closed +2.0"),
            "{text}"
        );
    }
}
