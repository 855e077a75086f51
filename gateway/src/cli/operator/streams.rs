//! `gateway streams`: the event streams that the asked gateway holds open.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::grants::texts;
use super::{Common, Failed, Gateway, Paging, Printed, Table, counted, run as ask};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the event streams of this replica
    Ls(Ls),
    /// End streams of this replica properly. Nothing is revoked: apps may open them again
    Close(Close),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// Of this person: a login name or an id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Of this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Of this grant
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(in crate::cli) struct Close {
    /// The stream's number
    #[arg(value_name = "STREAM", group = "what")]
    stream: Option<u64>,
    /// All of this person: a login name or an id
    #[arg(long, value_name = "NAME", group = "what")]
    user: Option<String>,
    /// All of this client
    #[arg(long, value_name = "ID", group = "what")]
    client: Option<String>,
    /// All of this grant
    #[arg(long, value_name = "ID", group = "what")]
    grant: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Close(close) => ask(&close.common, |gateway| close.close(gateway)),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let mut query = self.paging.query();
        query.push(("user", self.user.clone()));
        query.push(("client", self.client.clone()));
        query.push(("grant", self.grant.clone()));
        let body = gateway.get("/v1/streams", &query, "streams")?;
        let headings = ["STREAM", "BACKEND", "PERSON", "CLIENT", "GRANT", "SINCE"];
        let table = Table::of(&headings, &body, "streams", |stream| {
            texts(
                stream,
                &["stream", "backend", "user_name", "client", "grant", "since"],
            )
        });
        Ok(Printed::table(body, &table))
    }
}

impl Close {
    fn close(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let what = match (&self.stream, &self.user, &self.client, &self.grant) {
            (Some(stream), ..) => json!({ "stream": stream }),
            (_, Some(user), ..) => json!({ "user": user }),
            (_, _, Some(client), _) => json!({ "client": client }),
            (_, _, _, grant) => json!({ "grant": grant }),
        };
        let body = gateway.post("/v1/streams/close", &what, "closed")?;
        let closed = counted(&body, "closed", "stream")?;
        Ok(Printed::sentence(body, format!("closed {closed}")))
    }
}
