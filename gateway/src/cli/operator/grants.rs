//! `gateway grants`: what users granted clients.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Asked, Gateway, Printed, counted};
use crate::cli::failed::Failed;
use crate::operator_api::{
    GrantView, GrantedTools, GrantsQuery, GrantsToRevoke, IdQuery, ListGrants, RevokeGrants,
    ShowGrant,
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List what people allowed apps
    Ls(Asked<GrantsQuery>),
    /// Show one grant
    Show(Asked<One>),
    /// Take access back, at once and on every replica: grants, or all of an app or a person
    Revoke(Asked<Revoke>),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// The grant
    #[arg(value_name = "GRANT")]
    id: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(in crate::cli) struct Revoke {
    /// The grants
    #[arg(value_name = "GRANT", group = "what", num_args = 1..=100)]
    ids: Vec<String>,
    /// Everything that this client was given until now
    #[arg(long, value_name = "ID", group = "what")]
    client: Option<String>,
    /// Everything that this person allowed until now: a login name or an id
    #[arg(long, value_name = "NAME", group = "what")]
    user: Option<String>,
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ls.run(list),
        Command::Show(show) => show.run(|gateway, one| {
            let id = one.id.clone();
            let body = gateway.get::<ShowGrant>(&IdQuery { id })?.body;
            Ok(Printed::one(body, "grant"))
        }),
        Command::Revoke(revoke) => revoke.run(|gateway, revoke| revoke.run(gateway)),
    }
}

fn list(gateway: &Gateway, query: &GrantsQuery) -> Result<Printed, Failed> {
    let page = gateway.get::<ListGrants>(query)?;
    Ok(Printed::list(
        page.body,
        &page.answer.grants,
        &[
            ("GRANT", |grant| grant.id.clone()),
            ("PERSON", |grant| grant.user_name.clone()),
            ("APP", |grant| grant.client_name.clone().unwrap_or_default()),
            ("CLIENT", |grant| grant.client.clone()),
            ("RESOURCE", |grant| grant.resource.clone()),
            ("TOOLS", tools),
            ("SINCE", |grant| grant.created.clone()),
            ("LAST USED", |grant| {
                grant.last_used.clone().unwrap_or_default()
            }),
        ],
    ))
}

fn tools(grant: &GrantView) -> String {
    match &grant.tools {
        GrantedTools::All => "all".to_owned(),
        GrantedTools::Named(tools) => format!("{} chosen", tools.len()),
    }
}

impl Revoke {
    fn run(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let done = gateway.post::<RevokeGrants>(&match (&self.client, &self.user) {
            (Some(client), _) => GrantsToRevoke::Client(client.clone()),
            (_, Some(user)) => GrantsToRevoke::User(user.clone()),
            _ => GrantsToRevoke::Grants(self.ids.clone()),
        })?;
        let revoked = counted(done.answer.revoked, "grant")?;
        Ok(Printed::sentence(done.body, format!("revoked {revoked}")))
    }
}
