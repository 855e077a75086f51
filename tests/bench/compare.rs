//! This run beside a saved one: what got worse by more than the noise of both.
//!
//! A figure is worse where its median is, by a twentieth at least, and where no round of the one run
//! was as bad, and none of the other as good: with overlapping rounds nobody can tell. Two runs on
//! different machines, or on a busy one, say little; the report says how busy it was.

use serde_json::Value;

/// The figures that are compared, and whether more of them is better.
const FIGURES: [(&str, bool); 4] = [
    ("proxy_cpu_us", false),
    ("requests_per_second", true),
    ("p50_us", false),
    ("p99_us", false),
];
/// What a median may differ by.
const NOISE: f64 = 0.05;

/// What got worse, a line each.
pub(crate) fn worse(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["subjects", "features"] {
        for row in before[table].as_array().into_iter().flatten() {
            let name = row["name"].as_str().unwrap_or_default();
            let same = |other: &&Value| other["name"] == row["name"];
            let Some(other) = after[table]
                .as_array()
                .and_then(|rows| rows.iter().find(same))
            else {
                continue;
            };
            for load in ["busy", "alone"] {
                for (figure, more_is_better) in FIGURES {
                    let of = |row: &Value| rounds(row, load, figure, more_is_better);
                    if let Some((was, is)) = got_worse(of(row), of(other)) {
                        lines.push(format!("{name}, {load}, {figure}: {was:.1} → {is:.1}"));
                    }
                }
            }
        }
    }
    for held in before["streams"].as_array().into_iter().flatten() {
        let same = |other: &&Value| other["name"] == held["name"];
        let found = after["streams"]
            .as_array()
            .and_then(|all| all.iter().find(same));
        let each = |held: &Value| held["bytes_each"].as_f64().into_iter().collect();
        if let Some((was, is)) = found.and_then(|other| got_worse(each(held), each(other))) {
            let name = held["name"].as_str().unwrap_or_default();
            lines.push(format!("{name}, bytes a held stream: {was:.0} → {is:.0}"));
        }
    }
    lines
}

/// One figure of each round, in ascending badness: negative where more is better.
fn rounds(row: &Value, load: &str, figure: &str, more_is_better: bool) -> Vec<f64> {
    let rounds = row["rounds"].as_array().into_iter().flatten();
    let values = rounds.filter_map(|round| round[load][figure].as_f64());
    let sign = if more_is_better { -1.0 } else { 1.0 };
    values.map(|value| sign * value).collect()
}

/// The medians, where the second is worse than noise.
fn got_worse(mut before: Vec<f64>, mut after: Vec<f64>) -> Option<(f64, f64)> {
    before.sort_by(f64::total_cmp);
    after.sort_by(f64::total_cmp);
    let (was, is) = (*before.get(before.len() / 2)?, *after.get(after.len() / 2)?);
    let apart = after.first()? > before.last()?;
    (apart && is - was > NOISE * was.abs()).then_some((was.abs(), is.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(cpu: &[f64], rate: &[f64]) -> Value {
        let round = |(cpu, rate): (&f64, &f64)| {
            let figures = json!({"proxy_cpu_us": cpu, "requests_per_second": rate});
            json!({"busy": figures, "alone": figures})
        };
        let rounds: Vec<Value> = cpu.iter().zip(rate).map(round).collect();
        json!({"subjects": [{"name": "gateway", "rounds": rounds}], "streams": []})
    }

    #[test]
    fn only_what_is_worse_than_every_round_before_is_told() {
        let before = report(&[20.0, 21.0, 22.0], &[900.0, 1000.0, 1100.0]);
        let told = |after: &Value| worse(&before, after);
        assert!(told(&before).is_empty());
        // Better, and within the rounds of before.
        assert!(told(&report(&[10.0, 10.0, 10.0], &[1050.0, 1060.0, 1070.0])).is_empty());
        assert!(told(&report(&[21.5, 23.0, 24.0], &[850.0, 860.0, 950.0])).is_empty());
        let lines = told(&report(&[30.0, 31.0, 32.0], &[500.0, 510.0, 520.0]));
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines[0], "gateway, busy, proxy_cpu_us: 21.0 → 31.0");
        assert_eq!(
            lines[1],
            "gateway, busy, requests_per_second: 1000.0 → 510.0"
        );
    }
}
