//! Counts what the gateway asks of Redis: nothing may be added by a call.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::load::{self, Bounds};
use crate::subject::Subject;

/// How often each command was run.
type Commands = BTreeMap<String, u64>;

/// Commands that Redis ran in two windows of time.
pub(crate) struct RoundTrips {
    /// Length of the window without calls.
    pub(crate) idle_for: Duration,
    /// Commands in it.
    pub(crate) idle: Commands,
    /// Length of the window with calls.
    pub(crate) busy_for: Duration,
    /// Commands in it.
    pub(crate) busy: Commands,
    /// Calls in it.
    pub(crate) calls: usize,
}

impl RoundTrips {
    /// Commands beyond those that the same time without calls would have seen.
    pub(crate) fn added(&self) -> f64 {
        let count = |commands: &Commands| commands.values().sum::<u64>() as f64;
        let background =
            count(&self.idle) / self.idle_for.as_secs_f64() * self.busy_for.as_secs_f64();
        count(&self.busy) - background
    }

    /// Whether calls cause none: one in a hundred calls would already show, while timers that
    /// fall into one window and not the other do not.
    pub(crate) fn none_per_call(&self) -> bool {
        self.added() < self.calls as f64 / 100.0
    }

    /// A paragraph.
    pub(crate) fn markdown(&self) -> String {
        let verdict = if self.none_per_call() {
            "no round trip to the store for a call"
        } else {
            "FAILED: calls cause round trips to the store"
        };
        format!(
            "Store (Redis): {verdict}. {} calls in {:.1} s, while Redis ran {}; in {:.1} s without calls it ran {}.\n\n",
            self.calls,
            self.busy_for.as_secs_f64(),
            shown(&self.busy),
            self.idle_for.as_secs_f64(),
            shown(&self.idle),
        )
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "calls": self.calls,
            "busy_seconds": self.busy_for.as_secs_f64(),
            "busy_commands": self.busy,
            "idle_seconds": self.idle_for.as_secs_f64(),
            "idle_commands": self.idle,
            "none_per_call": self.none_per_call(),
        })
    }
}

fn shown(counts: &Commands) -> String {
    if counts.is_empty() {
        return "no command".to_owned();
    }
    let shown: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {}", name.to_uppercase()))
        .collect();
    shown.join(", ")
}

/// Watch Redis at `port`, first while nothing is asked of `subject`, then under load.
pub(crate) async fn count(port: u16, subject: &Subject, bounds: Bounds) -> Result<RoundTrips> {
    let warm_up = Bounds {
        time: Duration::from_secs(1),
        ..bounds
    };
    load::run(subject.address, &subject.call, warm_up, || ()).await?;

    let start = commands(port).await?;
    tokio::time::sleep(bounds.time).await;
    let middle = commands(port).await?;
    let outcome = load::run(subject.address, &subject.call, bounds, || ()).await?;
    let end = commands(port).await?;
    Ok(RoundTrips {
        idle_for: bounds.time,
        idle: difference(&start, &middle),
        busy_for: outcome.elapsed,
        busy: difference(&middle, &end),
        calls: outcome.calls(),
    })
}

/// `INFO commandstats`, without our own asking.
async fn commands(port: u16) -> Result<Commands> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut socket = BufReader::new(socket);
    socket.write_all(b"INFO commandstats\r\n").await?;
    let mut length = String::new();
    socket.read_line(&mut length).await?;
    let length: usize = length
        .trim()
        .strip_prefix('$')
        .context("Redis did not answer INFO")?
        .parse()?;
    let mut text = vec![0; length];
    socket.read_exact(&mut text).await?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(text: &str) -> Commands {
    let command = |line: &str| {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let count = figures.split(',').next()?.parse().ok()?;
        (name != "info").then(|| (name.to_owned(), count))
    };
    text.lines().filter_map(command).collect()
}

fn difference(before: &Commands, after: &Commands) -> Commands {
    after
        .iter()
        .map(|(name, count)| {
            let earlier = before.get(name).copied().unwrap_or_default();
            (name.clone(), count.saturating_sub(earlier))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_name_without_our_own() {
        let text = "# Commandstats\r\ncmdstat_info:calls=9,usec=1\r\ncmdstat_get:calls=12,usec=3,rejected_calls=0\r\n";
        assert_eq!(parse(text), Commands::from([("get".into(), 12)]));
    }

    #[test]
    fn a_round_trip_for_each_call_shows() {
        let trips = |busy| RoundTrips {
            idle_for: Duration::from_secs(2),
            idle: Commands::from([("get".into(), 4)]),
            busy_for: Duration::from_secs(4),
            busy: Commands::from([("get".into(), busy)]),
            calls: 10_000,
        };
        assert!(trips(9).none_per_call());
        assert!(!trips(10_008).none_per_call());
    }
}
