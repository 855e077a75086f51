//! The operator's commands: what they have in common. Each asks the admin listener of a running
//! gateway, shows the token of its keys folder, and prints a table or JSON.
//!
//! Exit codes: 0 done; 1 there is no such thing, or it can't be done; 2 the command line can't be
//! read (clap's own); 64 what it says or the configuration is wrong; 69 the gateway does not run,
//! can't do it now, or something else answers; 77 the token is not here, or is another gateway's.

pub(super) mod accounts;
pub(super) mod clients;
mod gateway;
pub(super) mod grants;
pub(super) mod keys;
pub(super) mod passwords;
pub(super) mod streams;
mod table;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

pub(super) use self::gateway::Gateway;
pub(super) use self::table::{Table, cell};

use crate::cli::configuration::Configuration;
use crate::cli::failed::Failed;
use crate::config::Config;

/// A command that asks a running gateway: what it takes itself, and what every one takes.
#[derive(Debug, Args)]
pub(super) struct Asked<A: Args> {
    #[command(flatten)]
    what: A,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

impl<A: Args> Asked<A> {
    /// Has `command` ask, and prints what it has to say.
    pub(super) fn run(
        &self,
        command: impl FnOnce(&Gateway, &A) -> Result<Printed, Failed>,
    ) -> Result<ExitCode, Failed> {
        let gateway = Gateway::from_config(&self.running.resolve()?)?;
        command(&gateway, &self.what)?.print(self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Which gateway is asked: what it runs with, as far as a command needs it.
#[derive(Debug, Args)]
pub(super) struct Running {
    /// The configuration file that the gateway runs with
    #[arg(long, short, env = "GATEWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where it serves these commands, if it was told by a flag
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Its store, if it was told by a flag: the keys are in the folder of one that has a folder
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Running {
    pub(super) fn resolve(&self) -> Result<Config, Failed> {
        let configuration = Configuration {
            config: self.config.clone(),
            admin_listen: self.admin_listen.clone(),
            store: self.store.clone(),
            ..Configuration::default()
        };
        configuration.resolve_without_backend()
    }
}

/// A heading, and what stands under it for an entry.
pub(super) type Column<T> = (&'static str, fn(&T) -> String);

/// What a command has to say: as the gateway answered it, and for people.
pub(super) struct Printed {
    body: Value,
    people: String,
}

impl Printed {
    /// A sentence.
    pub(super) fn sentence(body: Value, sentence: impl Into<String>) -> Self {
        Self {
            body,
            people: format!("{}\n", sentence.into()),
        }
    }

    /// A row for each entry.
    pub(super) fn list<T>(body: Value, entries: &[T], columns: &[Column<T>]) -> Self {
        let mut table = Table::new(columns.iter().map(|(heading, _)| *heading));
        for entry in entries {
            table.row(columns.iter().map(|(_, cell)| cell(entry)));
        }
        Self::table(body, &table)
    }

    /// The members of one thing, which the answer has under this name.
    pub(super) fn one(body: Value, name: &str) -> Self {
        let table = Table::of_members(&body[name]);
        Self::table(body, &table)
    }

    pub(super) fn table(body: Value, table: &Table) -> Self {
        Self {
            body,
            people: table.to_string(),
        }
    }

    fn print(&self, json: bool) -> Result<(), Failed> {
        let mut stdout = io::stdout().lock();
        let written = if json {
            // In one piece: standard output writes each line by itself.
            stdout.write_all(format!("{:#}\n", self.body).as_bytes())
        } else {
            stdout.write_all(self.people.as_bytes())
        };
        match written.and_then(|()| stdout.flush()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(Failed::unavailable(error)),
            Ok(()) => {}
        }
        if let Some(next) = self.body["next"].as_str()
            && !json
        {
            eprintln!("there are more: --after {}", cell(next, 300));
        }
        Ok(())
    }
}

/// `1 person`, `2 people`.
pub(super) fn things(count: u64, one: &str, more: &str) -> String {
    let word = if count == 1 { one } else { more };
    format!("{count} {word}")
}

/// `1 grant`, `2 grants`. A count that was not told is no count of none.
pub(super) fn counted(count: impl Into<Option<usize>>, one: &str) -> Result<String, Failed> {
    match count.into() {
        Some(1) => Ok(format!("1 {one}")),
        Some(n) => Ok(format!("{n} {one}s")),
        None => Err(Failed::unavailable(format!(
            "the gateway did not say how many {one}s: is it of another version?"
        ))),
    }
}
