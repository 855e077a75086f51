//! `gateway users`: the people who may log in, and the hash for an unattended set-up.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::failed::Failed;
use crate::cli::operator::passwords::{PasswordSource, typed_password};
use crate::cli::operator::{Asked, Gateway, Printed, Table, counted};
use crate::cli::runtime;
use crate::operator_api::{
    AccountToUnlink, AccountView, AddUser, AppToReadmit, ChangedUser, DemoteUser, DisableUser,
    EnableUser, Endpoint, IdQuery, LinkUser, ListUsers, NamedUser, PageQuery, PasskeyToRemove,
    PasskeyView, PromoteUser, ReadmitApp, RemovePasskey, RemoveUser, SetPassword, ShowUser,
    UnlinkUser, UserToAdd, UserView, UserWithPassword,
};
use gateway_oauth::identity::Passwords;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the people who may log in, and those who may not
    Ls(Asked<PageQuery>),
    /// Show one person, with their passkeys
    Show(Asked<NamedUser>),
    /// Add a person who may log in and allow apps something
    Add(Asked<Add>),
    /// Print a link by which a person sets a password or a passkey: good once, for 15 minutes
    Link(Asked<NamedUser>),
    /// Remove a person: browser sessions ended, everything they allowed taken back, the name free
    Rm(Asked<NamedUser>),
    /// Take a passkey off a person, also the last one
    RemovePasskey(Asked<PasskeyToRemove>),
    /// Keep a person out: no login, browser sessions ended, everything they allowed taken back
    Disable(Asked<NamedUser>),
    /// Let a person log in again; apps must be allowed anew
    Enable(Asked<NamedUser>),
    /// Let a person see and do at /admin what the operator may
    Promote(Asked<NamedUser>),
    /// Do so no more
    Demote(Asked<NamedUser>),
    /// Give a person another password, which ends their browser sessions
    Password(Asked<Entry>),
    /// Take an account at an identity provider off a person; never the last way in
    Unlink(Asked<AccountToUnlink>),
    /// Let an identity provider connect an app of a person again, after it was revoked
    Readmit(Asked<AppToReadmit>),
    /// Read a password from standard input and print its argon2id hash for owner.password_hash_file
    Hash,
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
}

#[derive(Debug, Args)]
pub(super) struct Entry {
    /// The login name
    name: String,
    #[command(flatten)]
    password: PasswordSource,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ls.run(list),
        Command::Show(show) => show.run(self::show),
        Command::Add(add) => add.run(self::add),
        Command::Link(link) => link.run(|gateway, one| self::link(gateway, &one.name)),
        Command::Rm(rm) => rm.run(|gateway, one| cut_off::<RemoveUser>(gateway, one, "is removed")),
        Command::RemovePasskey(remove) => remove.run(remove_passkey),
        Command::Disable(disable) => {
            disable.run(|gateway, one| cut_off::<DisableUser>(gateway, one, "is disabled"))
        }
        Command::Enable(enable) => enable.run(|gateway, one| {
            gateway.done::<EnableUser>(one, format!("{} may log in again", one.name))
        }),
        Command::Promote(promote) => promote.run(|gateway, one| {
            gateway.done::<PromoteUser>(one, format!("{} may open /admin", one.name))
        }),
        Command::Demote(demote) => demote.run(|gateway, one| {
            gateway.done::<DemoteUser>(one, format!("{} may not open /admin any more", one.name))
        }),
        Command::Password(change) => change.run(|gateway, entry| {
            let change = UserWithPassword {
                name: entry.name.clone(),
                password: entry.password.read()?,
            };
            gateway.done::<SetPassword>(&change, format!("{} has a new password", entry.name))
        }),
        Command::Unlink(unlink) => unlink.run(|gateway, account| {
            let (name, provider) = (&account.name, &account.provider);
            let sentence = format!("{name} does not log in with {provider} any more");
            gateway.done::<UnlinkUser>(account, sentence)
        }),
        Command::Readmit(readmit) => readmit.run(|gateway, app| {
            let (name, client) = (&app.name, &app.client);
            let sentence = format!("an identity provider may connect {client} to {name} again");
            gateway.done::<ReadmitApp>(app, sentence)
        }),
        Command::Hash => hash(),
    }
}

fn list(gateway: &Gateway, query: &PageQuery) -> Result<Printed, Failed> {
    let page = gateway.get::<ListUsers>(query)?;
    Ok(Printed::list(
        page.body,
        &page.answer.users,
        &[
            ("NAME", |user| user.name.clone()),
            ("ID", |user| user.id.clone()),
            ("STATE", state),
            ("LOGS IN WITH", logins),
            ("SINCE", |user| user.created.clone()),
        ],
    ))
}

/// Takes everything back that a person allowed.
fn cut_off<E: Endpoint<Request = NamedUser, Answer = ChangedUser>>(
    gateway: &Gateway,
    one: &NamedUser,
    how: &str,
) -> Result<Printed, Failed> {
    let done = gateway.post::<E>(one)?;
    let revoked = counted(done.answer.revoked, "grant")?;
    let sentence = format!("{} {how}; revoked {revoked}", one.name);
    Ok(Printed::sentence(done.body, sentence))
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

fn add(gateway: &Gateway, asked: &Add) -> Result<Printed, Failed> {
    let name = asked.name.clone();
    let added = format!("{name} may log in");
    if asked.link {
        let password = None;
        gateway.post::<AddUser>(&UserToAdd { name, password })?;
        return link(gateway, &asked.name);
    }
    let password = Some(asked.password.read()?);
    gateway.done::<AddUser>(&UserToAdd { name, password }, added)
}

fn remove_passkey(gateway: &Gateway, asked: &PasskeyToRemove) -> Result<Printed, Failed> {
    let done = gateway.post::<RemovePasskey>(asked)?;
    let mut sentence = format!("the passkey of {} is removed", asked.name);
    if logins(&done.answer.user) == NONE {
        let hint = "; nothing is left to log in with: `gateway users link` lets them set it up";
        sentence.push_str(hint);
    }
    Ok(Printed::sentence(done.body, sentence))
}

fn show(gateway: &Gateway, one: &NamedUser) -> Result<Printed, Failed> {
    let id = one.name.clone();
    let shown = gateway.get::<ShowUser>(&IdQuery { id })?;
    let mut members = shown.body["user"].clone();
    let passkeys = shown.answer.user.passkeys.iter().flatten();
    members["passkeys"] = passkeys.map(passkey).collect();
    let table = Table::of_members(&members);
    Ok(Printed::table(shown.body, &table))
}

fn hash() -> Result<ExitCode, Failed> {
    let password = typed_password()?;
    let runtime = runtime().map_err(Failed::unavailable)?;
    let hashing = runtime.block_on(Passwords::default().hash(password));
    println!("{}", hashing.map_err(Failed::unavailable)?.as_str());
    Ok(ExitCode::SUCCESS)
}
