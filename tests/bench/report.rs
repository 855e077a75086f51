//! What is printed: Markdown for the manual, JSON for machines.

use std::time::Duration;

use serde_json::{Value, json};

use crate::features::Features;
use crate::floods::Flooded;
use crate::generations::Streams;
use crate::revocation::Revoked;
use crate::round_trips::RoundTrips;
use crate::streams::{HOLD, Held};
use crate::subject::{Figures, Sample};
use crate::targets;

/// Everything that was measured.
pub(crate) struct Report {
    /// When, as text.
    pub(crate) date: String,
    /// Processor, kernel, and how the programs were placed.
    pub(crate) machine: String,
    /// Name and version of each program.
    pub(crate) versions: Vec<(&'static str, String)>,
    /// How it was measured, a sentence each.
    pub(crate) method: Vec<String>,
    /// Rounds of each subject, in the order of the table; the last-named pair is a backend of its own.
    pub(crate) subjects: Vec<(&'static str, Vec<Sample>)>,
    /// Held streams.
    pub(crate) streams: Vec<Held>,
    /// What each feature costs.
    pub(crate) features: Option<Features>,
    /// Streams over and over.
    pub(crate) generations: Option<Streams>,
    /// Commands that Redis ran.
    pub(crate) round_trips: Option<RoundTrips>,
    /// How long streams lived on after a revocation.
    pub(crate) revoked: Vec<Revoked>,
    /// Share of the machine that others used meanwhile, 0 to 1: other programs, and its host.
    pub(crate) others: (f64, f64),
}

/// Above this share the figures are for trying out only.
const QUIET: f64 = 0.05;

/// What streams cost, generation after generation.
pub(crate) fn generations(streams: &Streams) -> String {
    let mut text = "| generation of streams in one process | streams | CPU to open one | memory of one | given back |\n|---|---|---|---|---|\n".to_owned();
    for (number, one) in streams.generations.iter().enumerate() {
        text += &format!(
            "| {} | {} | {:.0} µs | {:.1} KiB | {:.0} % |\n",
            number + 1,
            one.streams,
            one.opening,
            one.each / 1024.0,
            one.given_back * 100.0
        );
    }
    let (rate, p50, p99) = streams.beside;
    text + &format!(
        "\nnginx, which checks nothing, takes {:.0} µs to open one. Beside them: a revocation of somebody else takes {:.0} µs of CPU more than without streams; {rate:.0} calls/s have a p50 of {p50:.0} and a p99 of {p99:.0} µs.\n\n",
        streams.nginx, streams.revocation
    )
}

/// The least, the middle and the greatest of the rounds.
pub(crate) struct Spread {
    min: f64,
    pub(crate) median: f64,
    max: f64,
}

impl Spread {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        Spread {
            min: at(0),
            median: if values.len() % 2 == 1 {
                at(middle)
            } else {
                f64::midpoint(at(middle.saturating_sub(1)), at(middle))
            },
            max: at(values.len().saturating_sub(1)),
        }
    }

    fn show(&self, decimals: usize) -> String {
        let Spread { min, median, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    }
}

/// The first three subjects and the gateway, by name.
pub(crate) const DIRECT: &str = "direct";
/// See [`DIRECT`].
pub(crate) const NGINX: &str = "nginx, checks nothing";
/// See [`DIRECT`].
pub(crate) const HAPROXY: &str = "HAProxy, ES256 JWT";
/// See [`DIRECT`].
pub(crate) const GATEWAY: &str = "gateway";

impl Report {
    /// For the manual.
    pub(crate) fn markdown(&self) -> String {
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let mut text = format!(
            "Measured {} on {}; {}.\n\n",
            self.date,
            self.machine,
            versions.join(", ")
        );
        text += &self.warning();
        if self.features.is_some() {
            text += &targets::markdown(&self.targets());
        }
        text += &calls("small authenticated `tools/call`", &self.subjects);
        text += &self.ratios();
        text += &self.features();
        text += &self.memory();
        text += &self.generations();
        text += &self.store();
        text += &revocation(&self.revoked);
        for sentence in &self.method {
            text += &format!("- {sentence}\n");
        }
        text
    }

    fn warning(&self) -> String {
        let (programs, host) = self.others;
        if programs < QUIET && host < QUIET {
            return String::new();
        }
        format!(
            "**Not quiet**: other programs took {:.0} % of the machine meanwhile and its host kept back {:.0} %. Compare the ratios; do not quote the times.\n\n",
            programs * 100.0,
            host * 100.0
        )
    }

    fn targets(&self) -> Vec<targets::Target> {
        let (features, streams) = (self.features.as_ref(), self.generations.as_ref());
        targets::targets(&self.subjects, features, streams)
    }

    fn features(&self) -> String {
        let Some(Features { rows, half }) = &self.features else {
            return String::new();
        };
        calls("by feature", rows)
            + &format!(
                "At half of what the gateway with everything on carries ({:.0} calls/s): p50 and p99 of the backend alone {:.0} and {:.0} µs, through the gateway {:.0} and {:.0} µs.\n\n",
                half.rate, half.direct.0, half.direct.1, half.gateway.0, half.gateway.1
            )
    }

    fn generations(&self) -> String {
        self.generations.as_ref().map_or(String::new(), generations)
    }

    /// Round by round, so that a change of the machine's speed between rounds does not show.
    fn ratios(&self) -> String {
        let Some(gateway) = self.samples(GATEWAY) else {
            return String::new();
        };
        let mut text = "| gateway against | requests/s | alone: p50 | CPU a request, proxy | CPU a request, proxy and backend |\n|---|---|---|---|---|\n".to_owned();
        for name in [DIRECT, NGINX, HAPROXY] {
            let Some(other) = self.samples(name) else {
                continue;
            };
            let ratio = |of: fn(&Sample) -> f64| {
                let pairs = gateway.iter().zip(other);
                let values = pairs.map(|(one, two)| of(one) / of(two)).collect();
                format!("{} ×", Spread::new(values).show(2))
            };
            let proxy = if name == DIRECT {
                "–".to_owned()
            } else {
                ratio(|s| s.busy.proxy_cpu)
            };
            text += &format!(
                "| {name} | {} | {} | {proxy} | {} |\n",
                ratio(|s| s.busy.rate),
                ratio(|s| s.alone.p50),
                ratio(|s| s.busy.both_cpu()),
            );
        }
        text + "\n"
    }

    fn memory(&self) -> String {
        if self.streams.is_empty() {
            return String::new();
        }
        let mut text = format!(
            "| idle event streams, held {} s | resident memory each | before | with {} streams | keep-alives came on |\n|---|---|---|---|---|\n",
            HOLD.as_secs(),
            self.streams[0].streams
        );
        for held in &self.streams {
            let mebibytes = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
            text += &format!(
                "| {} | {:.1} KiB | {:.1} MiB | {:.1} MiB | {} |\n",
                held.name,
                held.each() / 1024.0,
                mebibytes(held.before),
                mebibytes(held.during),
                held.kept_alive
            );
        }
        text + "\n"
    }

    fn store(&self) -> String {
        let Some(trips) = &self.round_trips else {
            return String::new();
        };
        let verdict = if trips.none_per_call() {
            "no round trip to the store for a call"
        } else {
            "FAILED: calls cause round trips to the store"
        };
        format!(
            "Store (Redis): {verdict}. {} calls in {:.1} s, while Redis ran {}; in {:.1} s without calls it ran {}.\n\n",
            trips.calls,
            trips.busy_for.as_secs_f64(),
            commands(&trips.busy),
            trips.idle_for.as_secs_f64(),
            commands(&trips.idle),
        )
    }

    fn samples(&self, name: &str) -> Option<&Vec<Sample>> {
        self.subjects
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, samples)| samples)
    }

    /// Every round as it was.
    pub(crate) fn json(&self) -> Value {
        let subjects = rows(&self.subjects);
        let streams: Vec<Value> = self
            .streams
            .iter()
            .map(|held| {
                json!({
                    "name": held.name,
                    "streams": held.streams,
                    "kept_alive": held.kept_alive,
                    "resident_before_bytes": held.before,
                    "resident_during_bytes": held.during,
                    "bytes_each": held.each(),
                })
            })
            .collect();
        let round_trips = self.round_trips.as_ref().map(|trips| {
            json!({
                "calls": trips.calls,
                "busy_seconds": trips.busy_for.as_secs_f64(),
                "busy_commands": trips.busy,
                "idle_seconds": trips.idle_for.as_secs_f64(),
                "idle_commands": trips.idle,
                "none_per_call": trips.none_per_call(),
            })
        });
        let revoked: Vec<Value> = self
            .revoked
            .iter()
            .map(|revoked| {
                let ended: Vec<f64> = revoked.ended.iter().map(Duration::as_secs_f64).collect();
                json!({
                    "way": revoked.way,
                    "streams": revoked.streams,
                    "acknowledged_seconds": revoked.acknowledged.as_secs_f64(),
                    "refused_seconds": revoked.refused.as_secs_f64(),
                    "ended_seconds": ended,
                })
            })
            .collect();
        let versions: serde_json::Map<String, Value> = self
            .versions
            .iter()
            .map(|(name, version)| ((*name).to_owned(), json!(version)))
            .collect();
        json!({
            "date": self.date,
            "machine": self.machine,
            "versions": versions,
            "method": self.method,
            "subjects": subjects,
            "streams": streams,
            "targets": targets::json(&self.targets()),
            "features": self.features.as_ref().map(|features| rows(&features.rows)),
            "store": round_trips,
            "revocation": revoked,
            "others": {"programs": self.others.0, "host": self.others.1},
        })
    }
}

/// What calls took.
fn calls(what: &str, rows: &[(&'static str, Vec<Sample>)]) -> String {
    let mut text = format!(
        "| {what} | requests/s | p50 µs | p99 µs | alone: p50 µs | alone: p99 µs | CPU µs a request: proxy | backend | proxy busy |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    for (name, samples) in rows {
        let busy = |of: fn(&Figures) -> f64| spread(samples, |sample| of(&sample.busy));
        let alone = |of: fn(&Figures) -> f64| spread(samples, |sample| of(&sample.alone));
        let proxied = busy(|f| f.proxy_cpu).max > 0.0;
        let (cpu, share) = if proxied {
            let share = busy(|f| f.proxy_busy).median * 100.0;
            (busy(|f| f.proxy_cpu).show(1), format!("{share:.0} %"))
        } else {
            ("–".to_owned(), "–".to_owned())
        };
        text += &format!(
            "| {name} | {} | {} | {} | {} | {} | {cpu} | {} | {share} |\n",
            busy(|f| f.rate).show(0),
            busy(|f| f.p50).show(0),
            busy(|f| f.p99).show(0),
            alone(|f| f.p50).show(0),
            alone(|f| f.p99).show(0),
            busy(|f| f.backend_cpu).show(1),
        );
    }
    text + "\n"
}

/// From revocation to last byte.
pub(crate) fn revocation(revoked: &[Revoked]) -> String {
    let Some(first) = revoked.first() else {
        return String::new();
    };
    let mut text = format!(
        "| revoked, with {} streams on two replicas and one Redis | acknowledged | last byte of a stream: median | 99 % | of the last | first call refused at the other replica |\n|---|---|---|---|---|---|\n",
        first.streams
    );
    for revoked in revoked {
        let millis = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        text += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            revoked.way,
            millis(revoked.acknowledged),
            millis(revoked.percentile(0.5)),
            millis(revoked.percentile(0.99)),
            millis(revoked.percentile(1.0)),
            millis(revoked.refused),
        );
    }
    text + "\nTimes count from the moment the request is sent. Every stream ended with its last chunk; streams of another person on both replicas went on.\n\n"
}

/// What floods cost.
pub(crate) fn floods(floods: &[Flooded]) -> String {
    let mut text = "| flood | connections | answered or closed | memory before | during | after | per 1,000 | good client p50, p99: calm | during | missed |\n|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for flooded in floods {
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let millis = |(p50, p99): (f64, f64)| format!("{:.2}, {:.2} ms", p50 / 1e3, p99 / 1e3);
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {:.1} MB | {} | {} | {} |\n",
            flooded.name,
            flooded.connections,
            flooded.answered,
            megabytes(flooded.before),
            megabytes(flooded.during),
            megabytes(flooded.after),
            flooded.per_thousand() / 1e6,
            millis(flooded.calm),
            millis(flooded.under),
            flooded.misses().join(", "),
        );
    }
    text
}

fn rows(rows: &[(&'static str, Vec<Sample>)]) -> Vec<Value> {
    let row = |(name, samples): &(&str, Vec<Sample>)| {
        let round = |sample: &Sample| json!({"busy": figures(&sample.busy), "alone": figures(&sample.alone)});
        let rounds: Vec<Value> = samples.iter().map(round).collect();
        json!({"name": name, "rounds": rounds})
    };
    rows.iter().map(row).collect()
}

fn spread(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Spread {
    Spread::new(samples.iter().map(of).collect())
}

fn figures(figures: &Figures) -> Value {
    json!({
        "calls": figures.calls,
        "requests_per_second": figures.rate,
        "p50_us": figures.p50,
        "p99_us": figures.p99,
        "longest_us": figures.longest,
        "proxy_cpu_us": figures.proxy_cpu,
        "backend_cpu_us": figures.backend_cpu,
        "load_cpu_us": figures.load_cpu,
        "proxy_busy": figures.proxy_busy,
        "reconnections": figures.reconnections,
    })
}

fn commands(counts: &std::collections::BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "no command".to_owned();
    }
    let shown: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {}", name.to_uppercase()))
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_of_rounds_lies_between_two() {
        let spread = Spread::new(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
    }
}
