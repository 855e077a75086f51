//! `gateway accounts`: people's own accounts at backends.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Asked, Gateway, Printed};
use crate::cli::failed::Failed;
use crate::operator_api::{ElsewhereToRemove, ListAccounts, PageQuery, RemoveAccount};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List people's own accounts at backends, without anything secret
    Ls(Asked<PageQuery>),
    /// Remove one, and revoke it at the other side where it can be told
    Rm(Asked<ElsewhereToRemove>),
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ls.run(list),
        Command::Rm(rm) => rm.run(|gateway, one| {
            let done = gateway.post::<RemoveAccount>(one)?;
            Ok(Printed::sentence(done.body, done.answer.removed))
        }),
    }
}

fn list(gateway: &Gateway, query: &PageQuery) -> Result<Printed, Failed> {
    let page = gateway.get::<ListAccounts>(query)?;
    Ok(Printed::list(
        page.body,
        &page.answer.accounts,
        &[
            ("USER", |account| account.user.clone()),
            ("BACKEND", |account| account.backend.clone()),
            ("ACCOUNT", |account| {
                account.called.clone().unwrap_or_default()
            }),
            ("CONNECTED", |account| account.connected.clone()),
            ("RENEWED", |account| {
                account.renewed.clone().unwrap_or_default()
            }),
            ("STATE", |account| account.state.clone()),
        ],
    ))
}
