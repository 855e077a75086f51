//! `gateway streams`: the event streams that are held open, by the asked gateway and by other replicas.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Asked, Gateway, Printed, counted};
use crate::cli::failed::Failed;
use crate::operator_api::{CloseStreams, ListStreams, StreamsQuery, StreamsToClose};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the event streams of all replicas
    Ls(Asked<StreamsQuery>),
    /// End streams properly, of whichever replica. Nothing is revoked: apps may open them again
    Close(Asked<Close>),
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
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ls.run(list),
        Command::Close(close) => close.run(|gateway, close| {
            let done = gateway.post::<CloseStreams>(&close.what()?)?;
            let closed = counted(done.answer.closed, "stream")?;
            Ok(Printed::sentence(done.body, format!("closed {closed}")))
        }),
    }
}

fn list(gateway: &Gateway, query: &StreamsQuery) -> Result<Printed, Failed> {
    let page = gateway.get::<ListStreams>(query)?;
    Ok(Printed::list(
        page.body,
        &page.answer.streams,
        &[
            ("STREAM", |stream| stream.stream.to_string()),
            ("REPLICA", |stream| stream.replica.clone()),
            ("BACKEND", |stream| stream.backend.clone()),
            ("PERSON", |stream| stream.user_name.clone()),
            ("CLIENT", |stream| stream.client.clone()),
            ("GRANT", |stream| stream.grant.clone()),
            ("SINCE", |stream| stream.since.clone()),
        ],
    ))
}

impl Close {
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
