//! What is printed: Markdown for the manual, JSON for machines.

use serde_json::{Value, json};

use crate::benchmark::Own;
use crate::features::Features;
use crate::figure::Figure;
use crate::machine::Busy;
use crate::manual::Section;
use crate::streams::{HOLD, Held};
use crate::subject::{Figures, Sample};
use crate::{growth, revocation, targets};

/// Everything that was measured.
pub(crate) struct Report {
    /// When, as text.
    pub(crate) date: String,
    /// Processor and kernel.
    pub(crate) machine: String,
    /// Name and version of each program.
    pub(crate) versions: Vec<(&'static str, String)>,
    /// How it was measured, a sentence each.
    pub(crate) method: Vec<String>,
    /// Rounds of each subject, in the order of the table; the last-named pair is a backend of its own.
    pub(crate) subjects: Vec<(&'static str, Vec<Sample>)>,
    /// Held streams.
    pub(crate) streams: Vec<Held>,
    /// What the gateway alone has rows for.
    pub(crate) own: Option<Own>,
    /// What others had of the machine.
    pub(crate) busy: Busy,
}

/// The sections of the manual that the whole run writes: those of [`Report::sections`] but for growth,
/// which has a run of its own with larger stores.
#[cfg(test)]
pub(crate) const SECTIONS: [&str; 10] = [
    "speed-run",
    "speed-targets",
    "speed-calls",
    "speed-features",
    "speed-idle",
    "speed-streams",
    "speed-store",
    "speed-revocation",
    "speed-oauth",
    "speed-start",
];

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

    pub(crate) fn show(&self, decimals: usize) -> String {
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
    /// All of it.
    pub(crate) fn markdown(&self) -> String {
        self.sections().into_iter().map(|(_, text)| text).collect()
    }

    /// For the manual: each says of which run it is.
    pub(crate) fn dated_sections(&self) -> Vec<Section> {
        let dated = |(name, text): Section| {
            let text = if text.is_empty() || name == "speed-run" {
                text
            } else {
                format!("Of the run of {}:\n\n{text}", self.date)
            };
            (name, text)
        };
        let sections = self.sections().into_iter();
        let sections = sections.filter(|(name, _)| *name != "speed-growth");
        sections.map(dated).collect()
    }

    /// In the order in which they are printed; empty where nothing was measured.
    fn sections(&self) -> Vec<Section> {
        let own = |text: fn(&Own) -> String| self.own.as_ref().map_or(String::new(), text);
        let targets = self
            .own
            .as_ref()
            .map(|_| targets::markdown(&self.targets()));
        let calls = calls("small authenticated `tools/call`", &self.subjects);
        vec![
            ("speed-run", self.run()),
            ("speed-targets", targets.unwrap_or_default()),
            ("speed-calls", calls + &self.ratios()),
            ("speed-features", own(|own| features(&own.features))),
            ("speed-idle", self.memory()),
            ("speed-streams", own(|own| own.generations.markdown())),
            ("speed-store", own(|own| own.round_trips.markdown())),
            (
                "speed-revocation",
                own(|own| revocation::markdown(&own.revoked)),
            ),
            ("speed-oauth", own(|own| own.flows.markdown())),
            ("speed-growth", own(|own| growth::markdown(&own.grown))),
            ("speed-start", own(|own| own.start.markdown())),
        ]
    }

    /// When, where, of what and how.
    fn run(&self) -> String {
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let (date, machine, versions) = (&self.date, &self.machine, versions.join(", "));
        let mut text = format!("Measured {date} on {machine}; {versions}.\n\n");
        text += &self.busy.markdown();
        for sentence in &self.method {
            text += &format!("- {sentence}\n");
        }
        text + "\n"
    }

    fn targets(&self) -> Vec<targets::Target> {
        let own = self.own.as_ref();
        let features = own.map(|own| &own.features);
        let streams = own.map(|own| &own.generations);
        targets::targets(&self.subjects, features, streams)
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
        let versions: serde_json::Map<String, Value> = self
            .versions
            .iter()
            .map(|(name, version)| ((*name).to_owned(), json!(version)))
            .collect();
        let own = |json: fn(&Own) -> Value| self.own.as_ref().map(json);
        json!({
            "date": self.date,
            "machine": self.machine,
            "versions": versions,
            "method": self.method,
            "others": self.busy.json(),
            "subjects": subjects,
            "streams": streams,
            "targets": targets::json(&self.targets()),
            "features": own(|own| rows(&own.features.rows).into()),
            "half_load": own(|own| own.features.half.json()),
            "generations": own(|own| own.generations.json()),
            "store": own(|own| own.round_trips.json()),
            "revocation": own(|own| revocation::json(&own.revoked)),
            "oauth": own(|own| own.flows.json()),
            "growth": own(|own| growth::json(&own.grown)),
            "start": own(|own| own.start.json()),
            "figures": self.figures().iter().map(Figure::json).collect::<Vec<_>>(),
        })
    }

    /// What is compared with another run besides the rows.
    fn figures(&self) -> Vec<Figure> {
        let Some(own) = &self.own else {
            return Vec::new();
        };
        let mut figures = own.generations.figures();
        figures.extend(own.features.half.figures());
        figures.extend(revocation::figures(&own.revoked));
        figures.extend(own.flows.figures());
        figures.extend(growth::figures(&own.grown));
        figures.extend(own.start.figures());
        figures
    }
}

fn features(features: &Features) -> String {
    calls("by feature", &features.rows) + &features.half.markdown()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_of_rounds_lies_between_two() {
        let spread = Spread::new(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
    }
}
