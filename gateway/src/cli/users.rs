//! `gateway users`: the people who may log in, and the hash for an unattended set-up.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::operator::passwords::{self, PasswordSource};
use crate::cli::operator::{Common, Failed, Gateway, Paging, Printed, Table, counted, run as ask};
use crate::cli::{UNAVAILABLE, USAGE};
use gateway_oauth::identity::{Password, Passwords};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the people who may log in, and those who may not
    Ls(Ls),
    /// Add a person who may log in and allow apps something
    Add(WithPassword),
    /// Keep a person out: no login, browser sessions ended, everything they allowed taken back
    Disable(One),
    /// Let a person log in again; apps must be allowed anew
    Enable(One),
    /// Give a person another password, which ends their browser sessions
    Password(WithPassword),
    /// Read a password from standard input and print its argon2id hash for owner.password_hash_file
    Hash,
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// The login name
    name: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct WithPassword {
    /// The login name
    name: String,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Add(add) => ask(&add.common, |gateway| {
            let body = add.send(gateway, "/v1/users/add")?;
            Ok(Printed::sentence(body, format!("{} may log in", add.name)))
        }),
        Command::Disable(one) => ask(&one.common, |gateway| {
            let body = one.send(gateway, "/v1/users/disable")?;
            let revoked = counted(&body, "revoked", "grant")?;
            let sentence = format!("{} is disabled; revoked {revoked}", one.name);
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Enable(one) => ask(&one.common, |gateway| {
            let body = one.send(gateway, "/v1/users/enable")?;
            let sentence = format!("{} may log in again", one.name);
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Password(change) => ask(&change.common, |gateway| {
            let body = change.send(gateway, "/v1/users/password")?;
            let sentence = format!("{} has a new password", change.name);
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Hash => hash(),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let body = gateway.get("/v1/users", &self.paging.query(), "users")?;
        let table = Table::of(&["NAME", "ID", "STATE", "SINCE"], &body, "users", |user| {
            let text = |member: &str| user[member].as_str().unwrap_or_default().to_owned();
            let state = match (user["disabled"].as_str(), &user["owner_of_configuration"]) {
                (Some(why), _) => format!("disabled, {why}"),
                (None, Value::Bool(true)) => "may log in, owner of the configuration".to_owned(),
                (None, _) => "may log in".to_owned(),
            };
            vec![text("name"), text("id"), state, text("created")]
        });
        Ok(Printed::table(body, &table))
    }
}

impl One {
    fn send(&self, gateway: &Gateway, path: &str) -> Result<Value, Failed> {
        gateway.post(path, &json!({ "name": self.name }), "user")
    }
}

impl WithPassword {
    fn send(&self, gateway: &Gateway, path: &str) -> Result<Value, Failed> {
        let password = self.password.read()?;
        let body = json!({ "name": self.name, "password": password });
        gateway.post(path, &body, "user")
    }
}

fn hash() -> ExitCode {
    let password = match passwords::typed() {
        Ok(password) => password,
        Err(failed) => {
            eprintln!("error: {failed}");
            return ExitCode::from(USAGE);
        }
    };
    let Some(password) = Password::new(password) else {
        return ExitCode::from(USAGE);
    };
    let hashed = tokio::runtime::Builder::new_current_thread()
        .build()
        .map(|runtime| runtime.block_on(Passwords::default().hash(password)));
    match hashed {
        Ok(Ok(phc)) => {
            println!("{}", phc.as_str());
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => unavailable(&error),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(UNAVAILABLE)
}
