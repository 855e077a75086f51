//! `gateway grants`: what users granted clients.

use std::process::ExitCode;

use super::{Common, Gateway, Paging, Printed, Table, counted, run as ask};
use crate::cli::failed::Failed;
use crate::operator_api::{
    GrantedTools, GrantsQuery, GrantsToRevoke, IdQuery, ListGrants, RevokeGrants, ShowGrant,
};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List what people allowed apps
    Ls(Ls),
    /// Show one grant
    Show(Show),
    /// Take access back, at once and on every replica: grants, or all of an app or a person
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// Of this person: a login name or an id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Of this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The grant
    #[arg(value_name = "GRANT")]
    id: String,
    #[command(flatten)]
    common: Common,
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
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Show(show) => ask(&show.common, |gateway| show.show(gateway)),
        Command::Revoke(revoke) => ask(&revoke.common, |gateway| revoke.revoke(gateway)),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let page = gateway.get::<ListGrants>(&GrantsQuery {
            limit: self.paging.limit(),
            after: self.paging.after(),
            user: self.user.clone(),
            client: self.client.clone(),
        })?;
        let headings = [
            "GRANT",
            "PERSON",
            "APP",
            "CLIENT",
            "RESOURCE",
            "TOOLS",
            "SINCE",
            "LAST USED",
        ];
        let table = Table::from_entries(&headings, &page.answer.grants, |grant| {
            let tools = match &grant.tools {
                GrantedTools::All => "all".to_owned(),
                GrantedTools::Named(tools) => format!("{} chosen", tools.len()),
            };
            vec![
                grant.id.clone(),
                grant.user_name.clone(),
                grant.client_name.clone().unwrap_or_default(),
                grant.client.clone(),
                grant.resource.clone(),
                tools,
                grant.created.clone(),
                grant.last_used.clone().unwrap_or_default(),
            ]
        });
        Ok(Printed::table(page.body, &table))
    }
}

impl Show {
    fn show(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let id = self.id.clone();
        let body = gateway.get::<ShowGrant>(&IdQuery { id })?.body;
        let table = Table::of_members(&body["grant"]);
        Ok(Printed::table(body, &table))
    }
}

impl Revoke {
    fn revoke(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let done = gateway.post::<RevokeGrants>(&match (&self.client, &self.user) {
            (Some(client), _) => GrantsToRevoke::Client(client.clone()),
            (_, Some(user)) => GrantsToRevoke::User(user.clone()),
            _ => GrantsToRevoke::Grants(self.ids.clone()),
        })?;
        let revoked = counted(done.answer.revoked, "grant")?;
        let sentence = format!("revoked {revoked}");
        Ok(Printed::sentence(done.body, sentence))
    }
}
