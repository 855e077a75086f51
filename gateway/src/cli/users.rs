//! `gateway users`: the people who may log in, and the hash for an unattended set-up.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::exit::{UNAVAILABLE, USAGE};
use crate::cli::operator::passwords::{self, PasswordSource};
use crate::cli::operator::{Common, Failed, Gateway, Paging, Printed, Table, counted, run as ask};
use crate::operator_api::{
    AccountToUnlink, AccountView, AddUser, AppToReadmit, DemoteUser, DisableUser, EnableUser,
    ListUsers, NamedUser, PromoteUser, ReadmitApp, SetPassword, UnlinkUser, UserView,
    UserWithPassword,
};
use gateway_oauth::identity::{Password, Passwords};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the people who may log in, and those who may not
    Ls(Ls),
    /// Add a person who may log in and allow apps something
    Add(Entry),
    /// Keep a person out: no login, browser sessions ended, everything they allowed taken back
    Disable(One),
    /// Let a person log in again; apps must be allowed anew
    Enable(One),
    /// Let a person see and do at /admin what the operator may
    Promote(One),
    /// Do so no more
    Demote(One),
    /// Give a person another password, which ends their browser sessions
    Password(Entry),
    /// Take an account at an identity provider off a person; never the last way in
    Unlink(Unlink),
    /// Let an identity provider connect an app of a person again, after it was revoked
    Readmit(Readmit),
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
pub(super) struct Unlink {
    /// The login name
    name: String,
    /// The name of the provider's [[login]]
    provider: String,
    /// Names the account at the provider, where there are several
    subject: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Readmit {
    /// The login name
    name: String,
    /// The app's client_id
    client: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Entry {
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
            let body = gateway.post::<AddUser>(&add.read()?)?.body;
            Ok(Printed::sentence(body, format!("{} may log in", add.name)))
        }),
        Command::Disable(one) => ask(&one.common, |gateway| {
            let done = gateway.post::<DisableUser>(&one.named())?;
            let revoked = counted(done.answer.revoked, "grant")?;
            let sentence = format!("{} is disabled; revoked {revoked}", one.name);
            Ok(Printed::sentence(done.body, sentence))
        }),
        Command::Enable(one) => ask(&one.common, |gateway| {
            let body = gateway.post::<EnableUser>(&one.named())?.body;
            let sentence = format!("{} may log in again", one.name);
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Promote(one) => ask(&one.common, |gateway| {
            let body = gateway.post::<PromoteUser>(&one.named())?.body;
            let sentence = format!("{} may open /admin", one.name);
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Demote(one) => ask(&one.common, |gateway| {
            let body = gateway.post::<DemoteUser>(&one.named())?.body;
            let sentence = format!("{} may not open /admin any more", one.name);
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Password(change) => ask(&change.common, |gateway| {
            let body = gateway.post::<SetPassword>(&change.read()?)?.body;
            let sentence = format!("{} has a new password", change.name);
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Unlink(unlink) => ask(&unlink.common, |gateway| {
            let body = gateway.post::<UnlinkUser>(&unlink.account())?.body;
            let (name, provider) = (&unlink.name, &unlink.provider);
            let sentence = format!("{name} does not log in with {provider} any more");
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Readmit(readmit) => ask(&readmit.common, |gateway| {
            let (name, client) = (&readmit.name, &readmit.client);
            let app = AppToReadmit {
                name: name.clone(),
                client: client.clone(),
            };
            let body = gateway.post::<ReadmitApp>(&app)?.body;
            let sentence = format!("an identity provider may connect {client} to {name} again");
            Ok(Printed::sentence(body, sentence))
        }),
        Command::Hash => hash(),
    }
}

impl Ls {
    fn list(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let page = gateway.get::<ListUsers>(&self.paging.query())?;
        let headings = ["NAME", "ID", "STATE", "LOGS IN WITH", "SINCE"];
        let table = Table::from_entries(&headings, &page.answer.users, |user| {
            vec![
                user.name.clone(),
                user.id.clone(),
                state(user),
                logins(user),
                user.created.clone(),
            ]
        });
        Ok(Printed::table(page.body, &table))
    }
}

fn state(user: &UserView) -> String {
    match (&user.disabled, user.owner_of_configuration) {
        (Some(why), _) => format!("disabled, {why}"),
        (None, true) => "may log in, owner of the configuration".to_owned(),
        (None, false) if user.is_owner == Some(true) => "may log in, owner".to_owned(),
        (None, false) => "may log in".to_owned(),
    }
}

/// `password, corp (bob@example.com)`. A gateway of an earlier version does not say.
fn logins(user: &UserView) -> String {
    let account = |account: &AccountView| {
        let called = account.address.as_ref().unwrap_or(&account.subject);
        format!("{} ({called})", account.provider)
    };
    let password = user.has_password.unwrap_or_default();
    let password = password.then(|| "password".to_owned());
    let accounts = user.accounts.iter().flatten().map(account);
    let all: Vec<_> = password.into_iter().chain(accounts).collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(", ")
    }
}

impl Unlink {
    fn account(&self) -> AccountToUnlink {
        AccountToUnlink {
            name: self.name.clone(),
            provider: self.provider.clone(),
            subject: self.subject.clone(),
        }
    }
}

impl One {
    fn named(&self) -> NamedUser {
        NamedUser {
            name: self.name.clone(),
        }
    }
}

impl Entry {
    fn read(&self) -> Result<UserWithPassword, Failed> {
        Ok(UserWithPassword {
            name: self.name.clone(),
            password: self.password.read()?,
        })
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
