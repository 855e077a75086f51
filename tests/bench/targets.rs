//! What the gateway is to reach, and what it reached: printed whether or not.

use crate::features::{ALL, EVENTS, EVENTS_CUT, Features, LIST, LIST_CUT, NO_POLICY};
use crate::generations::Streams;
use crate::report::{HAPROXY, NGINX, Spread};
use crate::subject::Sample;

/// One line of the table.
pub(crate) struct Target {
    what: &'static str,
    to_reach: Bound,
    unit: &'static str,
    /// `None` where it was not measured.
    reached: Option<f64>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// It is printed, whatever it is.
    None,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::None => true,
        }
    }

    fn show(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most} {unit}"),
            Self::AtLeast(least) => format!("≥ {least} {unit}"),
            Self::None => "–".to_owned(),
        }
    }
}

type Rows = [(&'static str, Vec<Sample>)];

/// All of them. `calls` are the rows of the first table.
pub(crate) fn targets(
    calls: &Rows,
    features: Option<&Features>,
    streams: Option<&Streams>,
) -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    let rows = features.map_or(&[][..], |features| &features.rows[..]);
    let cpu = |sample: &Sample| sample.busy.proxy_cpu;
    let rate = |sample: &Sample| sample.busy.rate;
    let half = features.map(|features| &features.half);
    let last = streams.and_then(|streams| streams.generations.last());
    let worst = |of: fn(&crate::generations::Generation) -> f64| {
        let all = streams?.generations.iter().map(of);
        all.max_by(f64::total_cmp)
    };
    let target = |what, to_reach, unit, reached| Target {
        what,
        to_reach,
        unit,
        reached,
    };
    vec![
        target(
            "CPU a call, everything on, against nginx unchecked",
            AtMost(1.6),
            "×",
            ratio(rows, ALL, rows, NGINX, cpu),
        ),
        target(
            "requests/s, everything on, against nginx unchecked",
            AtLeast(0.65),
            "×",
            ratio(rows, ALL, rows, NGINX, rate),
        ),
        target(
            "requests/s, everything on, against HAProxy verifying ES256",
            AtLeast(3.5),
            "×",
            ratio(rows, ALL, calls, HAPROXY, rate),
        ),
        target(
            "a policy with argument rules adds",
            AtMost(3.0),
            "µs",
            difference(rows, ALL, NO_POLICY, cpu),
        ),
        target(
            "`tools/list` cut, CPU against uncut",
            AtMost(1.2),
            "×",
            ratio(rows, LIST_CUT, rows, LIST, cpu),
        ),
        target(
            "1 MiB of events under chosen tools, CPU against unrestricted",
            AtMost(1.15),
            "×",
            ratio(rows, EVENTS_CUT, rows, EVENTS, cpu),
        ),
        target(
            "p99 added at half load",
            AtMost(1.0),
            "ms",
            half.map(|half| (half.gateway.1 - half.direct.1) / 1e3),
        ),
        target(
            "memory of an idle stream, worst generation",
            AtMost(16.0),
            "KiB",
            worst(|one| one.each / 1024.0),
        ),
        target(
            "memory given back after the streams close",
            AtLeast(80.0),
            "%",
            last.map(|one| one.given_back * 100.0),
        ),
        target(
            "CPU of a revocation of somebody else, beside the streams",
            AtMost(0.2),
            "ms",
            streams.map(|streams| streams.revocation / 1e3),
        ),
        target(
            "CPU to open a stream",
            AtMost(60.0),
            "µs",
            worst(|one| one.opening),
        ),
        target(
            "p99 of 20,000 calls/s beside 10,000 streams, or as many as there are files for",
            Bound::None,
            "ms",
            streams.map(|streams| streams.crowd.p99 / 1e3),
        ),
    ]
}

/// The table.
pub(crate) fn markdown(targets: &[Target]) -> String {
    let mut text = "| | to reach | measured | |\n|---|---|---|---|\n".to_owned();
    for Target {
        what,
        to_reach,
        unit,
        reached,
    } in targets
    {
        let bound = to_reach.show(unit);
        let (value, verdict) = match reached {
            None => ("–".to_owned(), "not measured"),
            Some(value) if matches!(to_reach, Bound::None) => {
                (format!("{value:.2} {unit}"), "printed")
            }
            Some(value) if to_reach.holds(*value) => (format!("{value:.2} {unit}"), "reached"),
            Some(value) => (format!("{value:.2} {unit}"), "**not reached**"),
        };
        text += &format!("| {what} | {bound} | {value} | {verdict} |\n");
    }
    text + "\n"
}

/// As JSON, by what is measured.
pub(crate) fn json(targets: &[Target]) -> serde_json::Value {
    let one = |target: &Target| {
        let holds = target.reached.map(|value| target.to_reach.holds(value));
        serde_json::json!({
            "what": target.what,
            "to_reach": target.to_reach.show(target.unit),
            "unit": target.unit,
            "measured": target.reached,
            "reached": holds,
        })
    };
    targets.iter().map(one).collect()
}

fn find<'r>(rows: &'r Rows, name: &str) -> Option<&'r [Sample]> {
    let row = rows.iter().find(|(of, _)| *of == name)?;
    Some(&row.1)
}

/// The median of a figure of one row.
fn median(rows: &Rows, name: &str, of: impl Fn(&Sample) -> f64) -> Option<f64> {
    let values = find(rows, name)?.iter().map(of).collect();
    Some(Spread::new(values).median)
}

fn ratio(
    one: &Rows,
    name: &str,
    other: &Rows,
    against: &str,
    of: impl Fn(&Sample) -> f64 + Copy,
) -> Option<f64> {
    Some(median(one, name, of)? / median(other, against, of)?)
}

fn difference(
    rows: &Rows,
    name: &str,
    other: &str,
    of: impl Fn(&Sample) -> f64 + Copy,
) -> Option<f64> {
    Some(median(rows, name, of)? - median(rows, other, of)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_reached_is_printed_as_such() {
        let bound = |to_reach, reached| Target {
            what: "it",
            to_reach,
            unit: "ms",
            reached,
        };
        let target = |reached| bound(Bound::AtMost(1.0), reached);
        let printed = bound(Bound::None, Some(7.0));
        let text = markdown(&[target(Some(0.5)), target(Some(1.5)), target(None), printed]);
        let verdicts: Vec<&str> = text.lines().skip(2).collect();
        assert!(verdicts[0].contains("| 0.50 ms | reached |"), "{text}");
        assert!(
            verdicts[1].contains("| 1.50 ms | **not reached** |"),
            "{text}"
        );
        assert!(verdicts[2].contains("| – | not measured |"), "{text}");
        assert_eq!(verdicts[3], "| it | – | 7.00 ms | printed |");
    }
}
