//! `gateway policy`: whether a policy can be used, and who would gain and lose by it.

mod recorded;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::recorded::{CallSubject, Change, DryRunOutcome};
use crate::cli::audit::{self, Note};
use crate::cli::configuration::{Configuration, policy_of};
use crate::cli::failed::Failed;
use crate::config;

/// Somebody gains or loses, or can't be judged.
const CHANGES: u8 = 1;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a policy against the configuration: every fault with its line; exit 64 if there is one
    Check(Check),
    /// Judge the calls of the audit log by another policy: who gains and who loses what; exit 0 if
    /// nothing changes, 1 if something does or can't be judged
    DryRun(Box<DryRun>),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The policy
    #[arg(value_name = "FILE")]
    policy: PathBuf,
    /// The configuration file, with the groups and networks that the policy speaks of
    #[arg(long, short, env = "GATEWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DryRun {
    /// The new policy. Default: that of the configuration
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: audit::Source,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Check(check) => check.run(),
        Command::DryRun(dry_run) => dry_run.run(),
    }
}

impl Check {
    fn run(&self) -> Result<ExitCode, Failed> {
        let configuration = Configuration::of_file(self.config.clone());
        let config = config::resolve(&policy_of(&configuration, Some(&self.policy)))?;
        let statements = config.policy.map_or(0, |rules| rules.len());
        println!("{}: {statements} statements", self.policy.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// What came of all calls, those that are alike together.
#[derive(Default)]
struct Counts {
    read: u64,
    unchanged: u64,
    changed: BTreeMap<(Change, CallSubject, String), u64>,
    /// From the first to the last.
    times: Option<(String, String)>,
}

impl DryRun {
    fn run(&self) -> Result<ExitCode, Failed> {
        let layers = policy_of(&self.source.configuration, self.policy.as_deref());
        let config = config::resolve(&layers)?;
        let rules = config.policy.clone().ok_or_else(|| {
            Failed::usage("there is no policy: give --policy, or policy.file in the configuration")
        })?;
        let (logs, key) = self.source.open()?;
        let mut counts = Counts::default();
        let read = audit::read(&logs, key, |_, line| {
            match recorded::judge(line, &rules, &config) {
                None => return Ok(()),
                Some(DryRunOutcome::Unchanged) => counts.unchanged += 1,
                Some(DryRunOutcome::Changed(change, who, why)) => {
                    *counts.changed.entry((change, who, why)).or_default() += 1;
                }
            }
            counts.read += 1;
            let time = line.text("time").unwrap_or_default().to_owned();
            match &mut counts.times {
                Some((_, last)) => *last = time,
                None => counts.times = Some((time.clone(), time)),
            }
            Ok(())
        });
        let (_, notes) = read.map_err(Failed::usage)?;
        for Note::Broken(sentence) | Note::Unsure(sentence) in &notes {
            eprintln!("note: {sentence}");
        }
        if self.json {
            println!("{}", counts.to_json())
        } else {
            counts.print()
        }
        Ok(if counts.changed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(CHANGES)
        })
    }
}

impl Counts {
    fn print(&self) {
        let (from, to) = self.times.clone().unwrap_or_default();
        println!("{} calls and streams, {from} to {to}", self.read);
        println!("{} as before", self.unchanged);
        let width = |of: fn(&CallSubject) -> &str| {
            let all = self
                .changed
                .keys()
                .map(|(_, who, _)| of(who).chars().count());
            all.max().unwrap_or(0)
        };
        let (user, client) = (width(|who| &who.user), width(|who| &who.client));
        let (backend, what) = (width(|who| &who.backend), width(|who| &who.what));
        for ((change, who, why), count) in &self.changed {
            println!(
                "{:11} {:user$}  {:client$}  {:backend$}  {:what$}  {count} times  {why}",
                change.name(),
                who.user,
                who.client,
                who.backend,
                who.what
            );
        }
    }

    fn to_json(&self) -> Value {
        let of = |wanted: Change| -> Vec<Value> {
            let all = self.changed.iter();
            all.filter(|((change, ..), _)| *change == wanted)
                .map(|((_, who, why), count)| {
                    json!({
                        "user": who.user, "client": who.client, "backend": who.backend,
                        "what": who.what, "why": why, "count": count,
                    })
                })
                .collect()
        };
        json!({
            "read": self.read,
            "unchanged": self.unchanged,
            "from": self.times.as_ref().map(|(from, _)| from),
            "to": self.times.as_ref().map(|(_, to)| to),
            "loses": of(Change::Loses),
            "gains": of(Change::Gains),
            "undecided": of(Change::Undecided),
        })
    }
}
