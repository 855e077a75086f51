//! `gateway clients`: the apps that are known.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::grants::{members, texts};
use super::{Common, Failed, Gateway, Paging, Printed, Table, counted, run as ask};

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

pub(in crate::cli) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Show(one) => ask(&one.common, |gateway| one.show(gateway)),
        Command::Rm(one) => ask(&one.common, |gateway| one.remove(gateway)),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let body = gateway.get("/v1/clients", &self.paging.query(), "clients")?;
        let headings = ["CLIENT", "NAME", "REGISTERED BY", "SINCE", "SENT BACK TO"];
        let table = Table::of(&headings, &body, "clients", |client| {
            let mut cells = texts(client, &["id", "name", "registration", "registered"]);
            let first = client["redirect_uris"][0].as_str();
            cells.push(first.unwrap_or_default().to_owned());
            cells
        });
        Ok(Printed::table(body, &table))
    }
}

impl One {
    fn show(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let body = gateway.get(
            "/v1/clients/show",
            &[("id", Some(self.id.clone()))],
            "client",
        )?;
        Ok(Printed::table(body.clone(), &members(&body["client"])))
    }

    fn remove(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let body = gateway.post(
            "/v1/clients/remove",
            &json!({ "client": self.id }),
            "removed",
        )?;
        let revoked = counted(&body, "revoked", "grant")?;
        let removed = match body["removed"].as_bool() {
            Some(true) => "removed",
            _ => "it was not registered",
        };
        Ok(Printed::sentence(
            body,
            format!("{removed}; revoked {revoked}"),
        ))
    }
}
