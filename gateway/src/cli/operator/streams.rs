//! `gateway streams`: the event streams that are held open, by the asked gateway and by other replicas.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Common, Gateway, Paging, Printed, Table, counted, run as ask};
use crate::cli::failed::Failed;
use crate::operator_api::{CloseStreams, ListStreams, StreamsQuery, StreamsToClose};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the event streams of all replicas
    Ls(Ls),
    /// End streams properly, of whichever replica. Nothing is revoked: apps may open them again
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

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Close(close) => ask(&close.common, |gateway| close.close(gateway)),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let page = gateway.get::<ListStreams>(&StreamsQuery {
            limit: self.paging.limit(),
            after: self.paging.after(),
            user: self.user.clone(),
            client: self.client.clone(),
            grant: self.grant.clone(),
        })?;
        let headings = [
            "STREAM", "REPLICA", "BACKEND", "PERSON", "CLIENT", "GRANT", "SINCE",
        ];
        let table = Table::from_entries(&headings, &page.answer.streams, |stream| {
            vec![
                stream.stream.to_string(),
                stream.replica.clone(),
                stream.backend.clone(),
                stream.user_name.clone(),
                stream.client.clone(),
                stream.grant.clone(),
                stream.since.clone(),
            ]
        });
        Ok(Printed::table(page.body, &table))
    }
}

impl Close {
    fn close(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let done = gateway.post::<CloseStreams>(&self.what()?)?;
        let closed = counted(done.answer.closed, "stream")?;
        let sentence = format!("closed {closed}");
        Ok(Printed::sentence(done.body, sentence))
    }

    /// One of them is given, as the command line asks.
    fn what(&self) -> Result<StreamsToClose, Failed> {
        match (&self.stream, &self.user, &self.client, &self.grant) {
            (Some(stream), ..) => Ok(StreamsToClose::Stream(*stream)),
            (_, Some(user), ..) => Ok(StreamsToClose::User(user.clone())),
            (_, _, Some(client), _) => Ok(StreamsToClose::Client(client.clone())),
            (_, _, _, Some(grant)) => Ok(StreamsToClose::Grant(grant.clone())),
            (None, None, None, None) => Err(Failed::usage("say which streams")),
        }
    }
}
