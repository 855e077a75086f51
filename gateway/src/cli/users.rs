//! `gateway users`: the people who may log in, and the hash for an unattended set-up.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::failed::Failed;
use crate::cli::operator::passwords::{PasswordSource, typed_password};
use crate::cli::operator::{Common, Gateway, Paging, Printed, Table, counted, run as ask};
use crate::cli::runtime;
use crate::operator_api::{
    AccountToUnlink, AccountView, AddUser, AppToReadmit, DemoteUser, DisableUser, EnableUser,
    IdQuery, LinkUser, ListUsers, NamedUser, PasskeyToRemove, PasskeyView, PromoteUser, ReadmitApp,
    RemovePasskey, RemoveUser, SetPassword, ShowUser, UnlinkUser, UserToAdd, UserView,
    UserWithPassword,
};
use gateway_oauth::identity::Passwords;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the people who may log in, and those who may not
    Ls(Ls),
    /// Show one person, with their passkeys
    Show(One),
    /// Add a person who may log in and allow apps something
    Add(Add),
    /// Print a link by which a person sets a password or a passkey: good once, for 15 minutes
    Link(One),
    /// Remove a person: browser sessions ended, everything they allowed taken back, the name free
    Rm(One),
    /// Take a passkey off a person, also the last one
    RemovePasskey(RemoveKey),
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
pub(super) struct Add {
    /// The login name
    name: String,
    /// Without a password: print a link by which the person sets one, or a passkey
    #[arg(long, conflicts_with = "password_file")]
    link: bool,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct RemoveKey {
    /// The login name
    name: String,
    /// The passkey's id, as `users show` has it, or its name
    // One id in 64 begins with a hyphen.
    #[arg(allow_hyphen_values = true)]
    passkey: String,
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
    // Providers make these, with whatever characters they please.
    #[arg(allow_hyphen_values = true)]
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

pub(super) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ask(&ls.common, |gateway| ls.list(gateway)),
        Command::Show(one) => ask(&one.common, |gateway| one.show(gateway)),
        Command::Add(add) => ask(&add.common, |gateway| add.add(gateway)),
        Command::Link(one) => ask(&one.common, |gateway| link(gateway, &one.name)),
        Command::Rm(one) => ask(&one.common, |gateway| {
            let done = gateway.post::<RemoveUser>(&one.named())?;
            let revoked = counted(done.answer.revoked, "grant")?;
            let sentence = format!("{} is removed; revoked {revoked}", one.name);
            Ok(Printed::sentence(done.body, sentence))
        }),
        Command::RemovePasskey(key) => ask(&key.common, |gateway| key.remove(gateway)),
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

/// In place of what somebody logs in with who has nothing.
const NONE: &str = "-";

fn state(user: &UserView) -> String {
    match (&user.disabled, user.owner_of_configuration) {
        (Some(why), _) => format!("disabled, {why}"),
        (None, true) => "may log in, owner of the configuration".to_owned(),
        (None, false) if user.is_owner == Some(true) => "may log in, owner".to_owned(),
        (None, false) => "may log in".to_owned(),
    }
}

/// `Phone, last used 2026-11-30T01:02:03Z, id 9dZ…`
fn passkey(passkey: &PasskeyView) -> String {
    let used = match &passkey.last_used {
        Some(at) => format!("last used {at}"),
        None => format!("not used since {}", passkey.added),
    };
    format!("{}, {used}, id {}", passkey.name, passkey.id)
}

/// A rescue link. Printed here and nowhere else.
fn link(gateway: &Gateway, name: &str) -> Result<Printed, Failed> {
    let name = name.to_owned();
    let done = gateway.post::<LinkUser>(&NamedUser { name: name.clone() })?;
    let sentence = format!(
        "{}\nGood once, until {}. Whoever opens it becomes {name}: give it to nobody else.",
        done.answer.link, done.answer.expires
    );
    Ok(Printed::sentence(done.body, sentence))
}

/// `password, 2 passkeys, corp (bob@example.com)`. A gateway of an earlier version does not say.
fn logins(user: &UserView) -> String {
    let account = |account: &AccountView| {
        let called = account.address.as_ref().unwrap_or(&account.subject);
        format!("{} ({called})", account.provider)
    };
    let password = user.has_password.unwrap_or_default();
    let password = password.then(|| "password".to_owned());
    let passkeys = match user.passkeys.as_ref().map_or(0, Vec::len) {
        0 => None,
        1 => Some("1 passkey".to_owned()),
        count => Some(format!("{count} passkeys")),
    };
    let accounts = user.accounts.iter().flatten().map(account);
    let own = password.into_iter().chain(passkeys);
    let all: Vec<_> = own.chain(accounts).collect();
    if all.is_empty() {
        NONE.to_owned()
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

impl Add {
    fn add(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let password = if self.link {
            None
        } else {
            Some(self.password.read()?)
        };
        let name = self.name.clone();
        let body = gateway.post::<AddUser>(&UserToAdd { name, password })?.body;
        if self.link {
            return link(gateway, &self.name);
        }
        Ok(Printed::sentence(body, format!("{} may log in", self.name)))
    }
}

impl RemoveKey {
    fn remove(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let done = gateway.post::<RemovePasskey>(&PasskeyToRemove {
            name: self.name.clone(),
            passkey: self.passkey.clone(),
        })?;
        let mut sentence = format!("the passkey of {} is removed", self.name);
        if logins(&done.answer.user) == NONE {
            let hint = "; nothing is left to log in with: `gateway users link` lets them set it up";
            sentence.push_str(hint);
        }
        Ok(Printed::sentence(done.body, sentence))
    }
}

impl One {
    fn show(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let id = self.name.clone();
        let shown = gateway.get::<ShowUser>(&IdQuery { id })?;
        let mut members = shown.body["user"].clone();
        let passkeys = shown.answer.user.passkeys.iter().flatten();
        members["passkeys"] = passkeys.map(passkey).collect();
        let table = Table::of_members(&members);
        Ok(Printed::table(shown.body, &table))
    }

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

fn hash() -> Result<ExitCode, Failed> {
    let password = typed_password()?;
    let runtime = runtime().map_err(Failed::unavailable)?;
    let hashing = runtime.block_on(Passwords::default().hash(password));
    println!("{}", hashing.map_err(Failed::unavailable)?.as_str());
    Ok(ExitCode::SUCCESS)
}
