//! `gateway accounts`: people's own accounts at backends.

use std::process::ExitCode;

use super::{Common, Gateway, Paging, Printed, Table, run as ask};
use crate::cli::failed::Failed;
use crate::operator_api::{ElsewhereToRemove, ListAccounts, RemoveAccount};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List people's own accounts at backends, without anything secret
    Ls(Ls),
    /// Remove one, and revoke it at the other side where it can be told
    Rm(One),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// Whose, by login name
    #[arg(value_name = "USER")]
    user: String,
    /// At which backend
    #[arg(value_name = "BACKEND")]
    backend: String,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Rm(one) => ask(&one.common, |gateway| one.remove(gateway)),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let page = gateway.get::<ListAccounts>(&self.paging.query())?;
        let headings = [
            "USER",
            "BACKEND",
            "ACCOUNT",
            "CONNECTED",
            "RENEWED",
            "STATE",
        ];
        let table = Table::from_entries(&headings, &page.answer.accounts, |account| {
            vec![
                account.user.clone(),
                account.backend.clone(),
                account.called.clone().unwrap_or_default(),
                account.connected.clone(),
                account.renewed.clone().unwrap_or_default(),
                account.state.clone(),
            ]
        });
        Ok(Printed::table(page.body, &table))
    }
}

impl One {
    fn remove(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let done = gateway.post::<RemoveAccount>(&ElsewhereToRemove {
            user: self.user.clone(),
            backend: self.backend.clone(),
        })?;
        Ok(Printed::sentence(done.body, done.answer.removed))
    }
}
