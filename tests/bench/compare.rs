//! This run beside a saved one: what of the gateway got worse by more than the noise of both.
//!
//! A figure is worse where its median is, by a twentieth at least, and where every round of this run was
//! worse than each of the one before: with overlapping rounds nobody can tell, and with fewer than
//! [`ROUNDS`] neither. CPU and rates are taken as ratios to nginx in the same run, so that a slower
//! machine makes nothing worse; memory is what it is, and a quarter more is worse.
//!
//! What a run measures once, such as streams, revocations, authorizations, growth and starts, are its
//! single figures, and each says by how much it may differ ([`figure`]).

use serde_json::Value;

use crate::features::{NGINX_MANY, PLAIN_MANY};
use crate::figure;
use crate::report::{DIRECT, HAPROXY, NGINX};

/// Those that are not the gateway.
const PEERS: [&str; 4] = [DIRECT, NGINX, NGINX_MANY, HAPROXY];

/// The figures that are compared, and whether more of them is better.
const FIGURES: [(&str, bool); 4] = [
    ("proxy_cpu_us", false),
    ("requests_per_second", true),
    ("p50_us", false),
    ("p99_us", false),
];
/// What a median may differ by.
const NOISE: f64 = 0.05;
/// The same for the memory of streams, which is measured once.
const NOISE_OF_MEMORY: f64 = 0.25;
/// With fewer rounds nothing is said.
const ROUNDS: usize = 3;

/// What got worse, a line each.
pub(crate) fn worse(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["subjects", "features"] {
        for name in rows(before, table) {
            if PEERS.contains(&name) {
                continue;
            }
            if row(after, table, name).is_none() {
                lines.push(format!("{name}: no longer measured"));
                continue;
            }
            for load in ["busy", "alone"] {
                for (figure, more_is_better) in FIGURES {
                    let of = |report| ratios(report, table, name, (load, figure), more_is_better);
                    if let Some((was, is)) = got_worse(of(before), of(after)) {
                        lines.push(format!(
                            "{name}, {load}, {figure} against nginx: {was:.2} → {is:.2}"
                        ));
                    }
                }
            }
        }
    }
    for name in rows(before, "streams") {
        let each = |report| row(report, "streams", name)?["bytes_each"].as_f64();
        if let (Some(was), Some(is)) = (each(before), each(after))
            && !PEERS.contains(&name)
            && is > was * (1.0 + NOISE_OF_MEMORY)
        {
            lines.push(format!("{name}, bytes a held stream: {was:.0} → {is:.0}"));
        }
    }
    lines.extend(worse_figures(before, after));
    lines
}

fn worse_figures(before: &Value, after: &Value) -> Vec<String> {
    let slower = slower(before, after).unwrap_or(1.0);
    let mut lines = Vec::new();
    for name in rows(before, "figures") {
        let (Some(was), Some(is)) = (row(before, "figures", name), row(after, "figures", name))
        else {
            lines.push(format!("{name}: no longer measured"));
            continue;
        };
        if let Some((was, value)) = figure::got_worse(was, is, slower) {
            let unit = is["unit"].as_str().unwrap_or_default();
            lines.push(format!("{name}: {was:.1} → {value:.1} {unit}"));
        }
    }
    lines
}

/// How many times as long the machine of the second run takes: by nginx' CPU a call.
fn slower(before: &Value, after: &Value) -> Option<f64> {
    let cpu = |report| {
        let rounds = row(report, "subjects", NGINX)?["rounds"].as_array()?;
        let cpu = |round: &Value| round["busy"]["proxy_cpu_us"].as_f64();
        let mut values: Vec<f64> = rounds.iter().filter_map(cpu).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.get(values.len() / 2).copied();
        middle.filter(|value| *value > 0.0)
    };
    Some(cpu(after)? / cpu(before)?)
}

/// The row of nginx that another is compared with.
fn peer(name: &str) -> &'static str {
    if name == PLAIN_MANY {
        NGINX_MANY
    } else {
        NGINX
    }
}

/// The names of a table's rows.
fn rows<'r>(report: &'r Value, table: &str) -> Vec<&'r str> {
    let rows = report[table].as_array().into_iter().flatten();
    rows.filter_map(|row| row["name"].as_str()).collect()
}

fn row<'r>(report: &'r Value, table: &str, name: &str) -> Option<&'r Value> {
    let mut rows = report[table].as_array()?.iter();
    rows.find(|row| row["name"] == name)
}

/// One figure of each round against nginx' of the same round, in ascending badness: negative where more
/// is better.
fn ratios(
    report: &Value,
    table: &str,
    name: &str,
    (load, figure): (&str, &str),
    more_is_better: bool,
) -> Vec<f64> {
    let rounds = |name| row(report, table, name).and_then(|row| row["rounds"].as_array());
    let (Some(own), Some(nginx)) = (rounds(name), rounds(peer(name))) else {
        return Vec::new();
    };
    let sign = if more_is_better { -1.0 } else { 1.0 };
    let ratio = |(own, nginx): (&Value, &Value)| {
        let nginx = nginx[load][figure].as_f64().filter(|value| *value > 0.0)?;
        Some(sign * own[load][figure].as_f64()? / nginx)
    };
    own.iter().zip(nginx).filter_map(ratio).collect()
}

/// The medians, where the second is worse than noise.
fn got_worse(mut before: Vec<f64>, mut after: Vec<f64>) -> Option<(f64, f64)> {
    if before.len() < ROUNDS || after.len() < ROUNDS {
        return None;
    }
    before.sort_by(f64::total_cmp);
    after.sort_by(f64::total_cmp);
    let (was, is) = (*before.get(before.len() / 2)?, *after.get(after.len() / 2)?);
    let apart = after.first()? > before.last()?;
    (apart && is - was > NOISE * was.abs()).then_some((was.abs(), is.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use serde_json::json;

    /// Of three rounds, in which nginx needs 10 µs and answers 2,000 a second.
    fn report(name: &str, cpu: &[f64], rate: &[f64]) -> Value {
        let round = |(cpu, rate): (&f64, &f64)| {
            let figures = json!({"proxy_cpu_us": cpu, "requests_per_second": rate});
            json!({"busy": figures, "alone": figures})
        };
        let rounds: Vec<Value> = cpu.iter().zip(rate).map(round).collect();
        let nginx: Vec<Value> = rounds.iter().map(|_| round((&10.0, &2000.0))).collect();
        json!({
            "subjects": [{"name": NGINX, "rounds": nginx}, {"name": name, "rounds": rounds}],
            "streams": [{"name": name, "bytes_each": cpu[0] * 1000.0}],
        })
    }

    #[test]
    fn only_what_is_worse_than_every_round_before_is_told() {
        let before = report("gateway", &[20.0, 21.0, 22.0], &[900.0, 1000.0, 1100.0]);
        let told = |cpu: &[f64], rate: &[f64]| worse(&before, &report("gateway", cpu, rate));
        assert!(worse(&before, &before).is_empty());
        // Better, and within the rounds of before.
        assert!(told(&[10.0, 10.0, 10.0], &[1050.0, 1060.0, 1070.0]).is_empty());
        assert!(told(&[21.5, 23.0, 24.0], &[850.0, 860.0, 950.0]).is_empty());
        let lines = told(&[30.0, 31.0, 32.0], &[500.0, 510.0, 520.0]);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(
            lines[0],
            "gateway, busy, proxy_cpu_us against nginx: 2.10 → 3.10"
        );
        assert_eq!(
            lines[1],
            "gateway, busy, requests_per_second against nginx: 0.50 → 0.26"
        );
        assert_eq!(lines[4], "gateway, bytes a held stream: 20000 → 30000");
    }

    #[test]
    fn of_one_round_nothing_is_said_and_a_row_that_is_gone_is_told() {
        let before = report("gateway", &[20.0], &[1000.0]);
        assert!(worse(&before, &report("gateway", &[24.0], &[500.0])).is_empty());
        let lines = worse(&before, &report("another", &[20.0], &[1000.0]));
        assert_eq!(lines, ["gateway: no longer measured"]);
        // A slower machine, or a peer that got worse, is nothing of the gateway's.
        let before = report(HAPROXY, &[20.0, 20.0, 20.0], &[900.0, 900.0, 900.0]);
        let after = report(HAPROXY, &[90.0, 90.0, 90.0], &[9.0, 9.0, 9.0]);
        assert!(worse(&before, &after).is_empty());
    }

    #[test]
    fn single_figures_are_compared_and_a_slower_machine_makes_none_worse() {
        let report = |nginx: f64, figures: Vec<Figure>| {
            let round = json!({"busy": {"proxy_cpu_us": nginx}});
            let figures: Vec<Value> = figures.iter().map(Figure::json).collect();
            json!({"subjects": [{"name": NGINX, "rounds": [round]}], "figures": figures})
        };
        let cpu = |micros| vec![Figure::cpu("an authorization", micros)];
        let before = report(10.0, cpu(1000.0));
        assert!(worse(&before, &report(10.0, cpu(1100.0))).is_empty());
        assert!(worse(&before, &report(20.0, cpu(2100.0))).is_empty());
        assert_eq!(
            worse(&before, &report(10.0, cpu(2000.0))),
            ["an authorization: 1000.0 → 2000.0 µs of CPU"]
        );
        let gone = report(10.0, Vec::new());
        assert_eq!(
            worse(&before, &gone),
            ["an authorization: no longer measured"]
        );
        // A run from before there were figures.
        assert!(worse(&gone, &before).is_empty());
    }
}
