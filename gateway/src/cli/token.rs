//! `gateway token`: what a token says, and tokens made from it offline.

mod approve;
mod inspect;
mod narrow;
mod personal;
mod revoke;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::failed::Failed;
use crate::cli::moment::moment;
use crate::cli::operator::Asked;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::protocol::bearer::BearerToken;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a personal token for a program without a browser, at the running gateway; print it once
    Create(Box<Asked<personal::Create>>),
    /// List personal tokens
    Ls(Asked<personal::Ls>),
    /// Revoke personal tokens
    Rm(Asked<personal::Rm>),
    /// Look for personal tokens in files, and say whose they are
    Find(Asked<personal::Find>),
    /// Print what a token says, what was appended to it, and whether it verifies here
    Inspect(inspect::Inspect),
    /// Make a token that allows less, for a sub-agent or another machine. Needs nothing but the
    /// token: no key, no network
    Narrow(narrow::Narrow),
    /// Revoke one token with all that was narrowed from it, at the running gateway
    Revoke(Box<Asked<revoke::Revoke>>),
    /// Approve tools for one token, with an approver's key
    Approve(approve::Approve),
    /// Make an approver's key, and print the public part for the configuration
    ApproverKey(approve::ApproverKey),
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failed> {
    let done = match command {
        Command::Create(create) => return create.run(personal::create),
        Command::Ls(ls) => return ls.run(personal::list),
        Command::Rm(rm) => return rm.run(personal::remove),
        Command::Find(find) => return find.run(personal::find),
        Command::Revoke(revoke) => return revoke.run(revoke::revoke),
        Command::Inspect(inspect) => inspect.print(),
        Command::Narrow(narrow) => narrow.run().map(|token| println!("{token}")),
        Command::Approve(approve) => approve.run().map(|token| println!("{token}")),
        Command::ApproverKey(key) => key.run().map(|public| println!("{public}")),
    };
    done.map_err(Failed::usage)?;
    Ok(ExitCode::SUCCESS)
}

/// Where the token comes from.
#[derive(Debug, Args)]
struct Source {
    /// The file that holds the token; standard input where this is missing, which keeps it out of
    /// the shell's history
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself. Others on this machine can see it: better a file or standard input
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
}

impl Source {
    fn read(&self) -> Result<BearerToken, String> {
        match (&self.token, &self.token_file) {
            (Some(text), _) => parsed(text),
            (None, Some(path)) => parsed(&text_of(path)?),
            (None, None) => parsed(&standard_input()?),
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn standard_input() -> Result<String, String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}

fn parsed(text: &str) -> Result<BearerToken, String> {
    let text = text.trim();
    let text = text.strip_prefix("Bearer ").unwrap_or(text).trim();
    if text.is_empty() {
        return Err("there is no token: give one on standard input (`< FILE`)".to_owned());
    }
    BearerToken::parse_token(text)
        .ok_or_else(|| "this is no bearer token: give what stands behind `Bearer ` in a request, or `access_token` in the answer of /token".to_owned())
}

/// An end: after some time, or at a moment.
#[derive(Debug, Args)]
struct End {
    /// How long it counts, such as 15m
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// Until when it counts, such as 2030-01-31T15:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "lasts")]
    until: Option<Timestamp>,
}

impl End {
    fn at(&self) -> Option<Timestamp> {
        self.until
            .or_else(|| self.lasts.map(|lasts| Clock.now() + lasts))
    }
}

/// A token from a file; `-` is standard input.
pub(super) fn from_file(path: &Path) -> Result<BearerToken, String> {
    let text = match path.to_str() {
        Some("-") => standard_input(),
        _ => text_of(path),
    };
    parsed(&text?)
}
