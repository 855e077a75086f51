//! `gateway clients`: the clients that are known.

use std::process::ExitCode;

use super::{Common, Gateway, Paging, Printed, Table, counted, run as ask};
use crate::cli::failed::Failed;
use crate::operator_api::{ClientToRemove, IdQuery, ListClients, RemoveClient, ShowClient};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the apps that registered, were allowed something, or stand in the configuration
    Ls(Ls),
    /// Show one app
    Show(One),
    /// Forget an app, and take back at once all that it was given
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
    /// Its client_id
    #[arg(value_name = "CLIENT")]
    id: String,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Show(one) => ask(&one.common, |gateway| one.show(gateway)),
        Command::Rm(one) => ask(&one.common, |gateway| one.remove(gateway)),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let page = gateway.get::<ListClients>(&self.paging.query())?;
        let headings = ["CLIENT", "NAME", "REGISTERED BY", "SINCE", "SENT BACK TO"];
        let table = Table::from_entries(&headings, &page.answer.clients, |client| {
            vec![
                client.id.clone(),
                client.name.clone().unwrap_or_default(),
                client.registration.clone(),
                client.registered.clone().unwrap_or_default(),
                client.redirect_uris.first().cloned().unwrap_or_default(),
            ]
        });
        Ok(Printed::table(page.body, &table))
    }
}

impl One {
    fn show(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let id = self.id.clone();
        let body = gateway.get::<ShowClient>(&IdQuery { id })?.body;
        let table = Table::of_members(&body["client"]);
        Ok(Printed::table(body, &table))
    }

    fn remove(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let client = self.id.clone();
        let done = gateway.post::<RemoveClient>(&ClientToRemove { client })?;
        let revoked = counted(done.answer.revoked, "grant")?;
        let removed = if done.answer.removed {
            "removed"
        } else {
            "it was not registered"
        };
        let sentence = format!("{removed}; revoked {revoked}");
        Ok(Printed::sentence(done.body, sentence))
    }
}
