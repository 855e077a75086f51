//! How busy the machine is with something else: before a run, while it measures, and after it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::accounts;

/// How long it is watched while nothing is done here.
const LOOK: Duration = Duration::from_secs(3);
/// Above this share the figures are for trying out only.
const QUIET: f64 = 0.05;

/// Shares of the machine that others had, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Others {
    /// Other programs.
    pub(crate) programs: f64,
    /// What its host kept back.
    pub(crate) host: f64,
}

/// The machine in three times; `during` where it was watched while something was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    pub(crate) before: Others,
    pub(crate) during: Option<Others>,
    pub(crate) after: Others,
}

/// Watches what the machine does besides us.
pub(crate) struct Watch {
    since: Instant,
    machine: (f64, f64),
    ours: f64,
}

impl Watch {
    pub(crate) fn start() -> Result<Self> {
        Ok(Watch {
            since: Instant::now(),
            machine: accounts::machine()?,
            ours: accounts::cpu(std::process::id())?,
        })
    }

    /// What others had since then. Programs of ours that have ended meanwhile count as others.
    pub(crate) fn others(&self, processors: usize) -> Result<Others> {
        let (busy, stolen) = accounts::machine()?;
        let ours = (accounts::cpu(std::process::id())? - self.ours).max(0.0);
        let whole = self.since.elapsed().as_secs_f64() * 1e6 * processors as f64;
        Ok(Others {
            programs: ((busy - self.machine.0 - ours) / whole).clamp(0.0, 1.0),
            host: (stolen - self.machine.1) / whole,
        })
    }
}

/// What others have while we do nothing.
pub(crate) async fn look(processors: usize) -> Result<Others> {
    let watch = Watch::start()?;
    tokio::time::sleep(LOOK).await;
    watch.others(processors)
}

impl Others {
    fn is_quiet(self) -> bool {
        self.programs < QUIET && self.host < QUIET
    }

    fn json(self) -> Value {
        json!({"programs": self.programs, "host": self.host})
    }
}

impl Busy {
    /// A paragraph.
    pub(crate) fn markdown(&self) -> String {
        let times = self.times();
        let shares = |of: fn(&Others) -> f64| {
            let shown = times.iter().map(|(when, others)| {
                let share = of(others) * 100.0;
                format!("{share:.0} % {when}")
            });
            shown.collect::<Vec<_>>().join(", ")
        };
        let (programs, host) = (shares(|of| of.programs), shares(|of| of.host));
        let warning = if times.iter().all(|(_, others)| others.is_quiet()) {
            ""
        } else {
            " **Not quiet**: compare the ratios; do not quote the times."
        };
        format!(
            "Of the machine, other programs had {programs}; its host kept back {host}.{warning}\n\n"
        )
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "before": self.before.json(),
            "during": self.during.map(Others::json),
            "after": self.after.json(),
        })
    }

    fn times(&self) -> Vec<(&'static str, Others)> {
        let during = self.during.map(|others| ("meanwhile", others));
        let times = [("before", self.before)].into_iter().chain(during);
        times.chain([("after", self.after)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_was_busy_at_any_time_is_told() {
        let others = |programs| Others {
            programs,
            host: 0.0,
        };
        let busy = |during| Busy {
            before: others(0.01),
            during,
            after: others(0.02),
        };
        let quiet = busy(Some(others(0.0))).markdown();
        assert_eq!(
            quiet,
            "Of the machine, other programs had 1 % before, 0 % meanwhile, 2 % after; its host kept back 0 % before, 0 % meanwhile, 0 % after.\n\n"
        );
        assert!(!busy(None).markdown().contains("Not quiet"));
        assert!(busy(Some(others(0.2))).markdown().contains("Not quiet"));
    }
}
