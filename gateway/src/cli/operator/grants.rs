//! `gateway grants`: what people allowed apps.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Common, Failed, Gateway, Paging, Printed, Table, counted, run as ask};

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

pub(in crate::cli) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Show(show) => ask(&show.common, |gateway| show.show(gateway)),
        Command::Revoke(revoke) => ask(&revoke.common, |gateway| revoke.revoke(gateway)),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let mut query = self.paging.query();
        query.push(("user", self.user.clone()));
        query.push(("client", self.client.clone()));
        let body = gateway.get("/v1/grants", &query, "grants")?;
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
        let table = Table::of(&headings, &body, "grants", |grant| {
            let mut cells = texts(
                grant,
                &["id", "user_name", "client_name", "client", "resource"],
            );
            cells.push(match &grant["tools"] {
                Value::Array(tools) => format!("{} chosen", tools.len()),
                _ => "all".to_owned(),
            });
            cells.extend(texts(grant, &["created", "last_used"]));
            cells
        });
        Ok(Printed::table(body, &table))
    }
}

impl Show {
    fn show(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let body = gateway.get("/v1/grants/show", &[("id", Some(self.id.clone()))], "grant")?;
        Ok(Printed::table(body.clone(), &members(&body["grant"])))
    }
}

impl Revoke {
    fn revoke(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let what = match (&self.client, &self.user) {
            (Some(client), _) => json!({ "client": client }),
            (_, Some(user)) => json!({ "user": user }),
            _ => json!({ "grants": self.ids }),
        };
        let body = gateway.post("/v1/grants/revoke", &what, "revoked")?;
        let revoked = counted(&body, "revoked", "grant")?;
        Ok(Printed::sentence(body, format!("revoked {revoked}")))
    }
}

/// Members of an object as texts.
pub(super) fn texts(entry: &Value, members: &[&str]) -> Vec<String> {
    let text = |member: &&str| text(&entry[*member]);
    members.iter().map(text).collect()
}

/// An object as a table of its members.
pub(super) fn members(entry: &Value) -> Table {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    for (name, value) in entry.as_object().into_iter().flatten() {
        match value {
            Value::Array(values) => {
                for value in values {
                    table.row(vec![name.clone(), text(value)]);
                }
            }
            value => table.row(vec![name.clone(), text(value)]),
        }
    }
    table
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
