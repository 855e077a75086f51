//! `gateway clients`: the clients that are known.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Asked, Gateway, Printed, counted};
use crate::cli::failed::Failed;
use crate::operator_api::{IdQuery, ListClients, NamedClient, PageQuery, RemoveClient, ShowClient};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the apps that registered, were allowed something, or stand in the configuration
    Ls(Asked<PageQuery>),
    /// Show one app
    Show(Asked<NamedClient>),
    /// Forget an app, and take back at once all that it was given
    Rm(Asked<NamedClient>),
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ls.run(list),
        Command::Show(show) => show.run(|gateway, one| {
            let id = one.client.clone();
            let body = gateway.get::<ShowClient>(&IdQuery { id })?.body;
            Ok(Printed::one(body, "client"))
        }),
        Command::Rm(rm) => rm.run(remove),
    }
}

fn list(gateway: &Gateway, query: &PageQuery) -> Result<Printed, Failed> {
    let page = gateway.get::<ListClients>(query)?;
    Ok(Printed::list(
        page.body,
        &page.answer.clients,
        &[
            ("CLIENT", |client| client.id.clone()),
            ("NAME", |client| client.name.clone().unwrap_or_default()),
            ("REGISTERED BY", |client| client.registration.clone()),
            ("SINCE", |client| {
                client.registered.clone().unwrap_or_default()
            }),
            ("SENT BACK TO", |client| {
                client.redirect_uris.first().cloned().unwrap_or_default()
            }),
        ],
    ))
}

fn remove(gateway: &Gateway, one: &NamedClient) -> Result<Printed, Failed> {
    let done = gateway.post::<RemoveClient>(one)?;
    let revoked = counted(done.answer.revoked, "grant")?;
    let removed = if done.answer.removed {
        "removed"
    } else {
        "it was not registered"
    };
    let sentence = format!("{removed}; revoked {revoked}");
    Ok(Printed::sentence(done.body, sentence))
}
