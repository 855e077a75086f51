//! `users`: who may log in.
//!
//! A password comes in the body of a request from this machine, is hashed at once and is in no log.

use rand::rngs::OsRng;
use serde_json::Value;

use super::failure::Failure;
use super::lookup::{self, no_user};
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::operator_api::{
    AccountToUnlink, AccountView, AddUser, ChangedUser, DemoteUser, DisableUser, EnableUser,
    Endpoint, ListUsers, NamedUser, OneUser, PasskeyView, PromoteUser, ReadmitApp, RemoveUser,
    SetPassword, ShowUser, UnlinkUser, UserPage, UserToAdd, UserView, UserWithPassword,
};
use gateway_accounts::Accounts;
use gateway_core::client::ClientId;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::reason::Reason;
use gateway_oauth::identity::{self, LoginName, Password, PasswordPhc, Passwords, people};
use gateway_oauth::passkey::Removed;
use gateway_oauth::provider;
use gateway_oauth::revoke_all::{CutOff, RevocationSubject, cut_off};
use gateway_oauth::withheld::{Readmission, lift};
use gateway_oauth::{Settings, WaysIn};
use gateway_store::{Disabled, Identity, Passkey, Records, StoreError, User};

pub(super) async fn list(records: &Records, request: &Request) -> Result<Done, Failure> {
    let query = request.query::<ListUsers>()?;
    let (after, limit) = (query.after.as_deref(), query.limit.get());
    let page = records.users(after, limit, request.now).await?;
    Ok(Done::read::<ListUsers>(&UserPage {
        users: page.entries.iter().map(view).collect(),
        next: page.next,
    }))
}

pub(super) async fn show(records: &Records, request: &Request) -> Result<Done, Failure> {
    let name = request.query::<ShowUser>()?.id;
    let user = lookup::user(records, &name, request.now).await?;
    Ok(Done::read::<ShowUser>(&OneUser { user: view(&user) }))
}

pub(super) async fn add(
    settings: &Settings,
    records: &Records,
    passwords: &Passwords,
    request: &Request,
) -> Result<Done, Failure> {
    let UserToAdd { name, password } = request.body::<AddUser>()?;
    let name = LoginName::parse(&name).ok_or_else(|| {
        Failure::malformed("a login name has 1 to 64 letters, digits or . _ - + @")
    })?;
    if settings.is_service(name.as_str()) {
        let sentence = format!("a [[service]] has the name {}", name.as_str());
        return Err(Failure::new(Reason::UserExists, sentence));
    }
    let password = match password {
        Some(password) => Some(hashed(passwords, password).await?),
        None => None,
    };
    let password = password.as_ref();
    match people::add(records, &name, password, request.now, &mut OsRng).await? {
        Some(user) => Ok(changed::<AddUser>(&user, None)),
        None => {
            let sentence = format!("somebody has the name {}", name.as_str());
            Err(Failure::new(Reason::UserExists, sentence))
        }
    }
}

/// The user's record says so first; then everything of theirs is cut off (`gateway_oauth::revoke_all`).
pub(super) async fn disable(
    settings: &Settings,
    records: &Records,
    accounts: &Accounts,
    request: &Request,
) -> Result<Done, Failure> {
    let NamedUser { name } = request.body::<DisableUser>()?;
    let (why, now) = (Disabled::ByOperator, request.now);
    let disabling = people::disable(records, &name, why, now, &mut OsRng).await;
    let user = disabling
        .map_err(Failure::of(&named(&name)))?
        .ok_or_else(|| no_user(&name))?;
    let cutting = cut_off_with_accounts(settings, records, accounts, &user, now).await;
    let cut = cutting.map_err(Failure::of(&subject(&user)))?;
    let revoked = Failure::unless_complete(cut, "the person was disabled", &subject(&user))?;
    Ok(changed::<DisableUser>(&user, Some(revoked)))
}

/// Everything that the user allowed apps, and the user's own accounts at backends.
async fn cut_off_with_accounts(
    settings: &Settings,
    records: &Records,
    accounts: &Accounts,
    user: &User,
    now: Timestamp,
) -> Result<CutOff, StoreError> {
    let cut = cut_off(records, settings, RevocationSubject::User(&user.id), now).await?;
    accounts.remove_all(&user.id).await?;
    Ok(cut)
}

/// Removes a user for good. Kept out first, as with [`disable`]; cut off twice, because what was redeemed
/// between the first cut and the removal had a user still.
pub(super) async fn remove(
    settings: &Settings,
    records: &Records,
    accounts: &Accounts,
    clock: Clock,
    request: &Request,
) -> Result<Done, Failure> {
    let NamedUser { name } = request.body::<RemoveUser>()?;
    let now = request.now;
    let user = lookup::user(records, &name, now).await?;
    if user.configured && user.disabled != Some(Disabled::FormerOwner) {
        let sentence = format!(
            "{} is the owner of the configuration (owner.name); change it there",
            user.name
        );
        return Err(Failure::new(Reason::InConfiguration, sentence));
    }
    let removing = async {
        let why = Disabled::ByOperator;
        people::disable(records, &user.name, why, now, &mut OsRng).await?;
        let before = cut_off_with_accounts(settings, records, accounts, &user, now).await?;
        records.remove_user(&user, now).await?;
        let whose = RevocationSubject::User(&user.id);
        let after = cut_off(records, settings, whose, clock.now()).await?;
        Ok::<_, StoreError>(before.and(after))
    };
    let cut = removing.await.map_err(Failure::of(&subject(&user)))?;
    let revoked = Failure::unless_complete(cut, "the person was removed", &subject(&user))?;
    Ok(changed::<RemoveUser>(&user, Some(revoked)))
}

pub(super) async fn enable(
    settings: &Settings,
    records: &Records,
    request: &Request,
) -> Result<Done, Failure> {
    let NamedUser { name } = request.body::<EnableUser>()?;
    let owner = settings.owner_name.as_deref();
    let user = people::enable(records, &name, owner, request.now).await?;
    let user = user.ok_or_else(|| no_user(&name))?;
    Ok(changed::<EnableUser>(&user, None))
}

pub(super) async fn promote(records: &Records, request: &Request) -> Result<Done, Failure> {
    let NamedUser { name } = request.body::<PromoteUser>()?;
    let user = set_owner(records, &name, true, request.now).await?;
    Ok(changed::<PromoteUser>(&user, None))
}

pub(super) async fn demote(records: &Records, request: &Request) -> Result<Done, Failure> {
    let NamedUser { name } = request.body::<DemoteUser>()?;
    let user = lookup::user(records, &name, request.now).await?;
    if user.configured {
        let sentence = format!(
            "{} is the owner by the configuration (owner.name)",
            user.name
        );
        return Err(Failure::new(Reason::InConfiguration, sentence));
    }
    let user = set_owner(records, &name, false, request.now).await?;
    Ok(changed::<DemoteUser>(&user, None))
}

async fn set_owner(
    records: &Records,
    name: &str,
    owner: bool,
    now: Timestamp,
) -> Result<User, Failure> {
    let change = |user: User| User { owner, ..user };
    let user = records.change_user(name, now, change).await?;
    user.ok_or_else(|| no_user(name))
}

pub(super) async fn password(
    records: &Records,
    passwords: &Passwords,
    request: &Request,
) -> Result<Done, Failure> {
    let UserWithPassword { name, password } = request.body::<SetPassword>()?;
    let user = lookup::user(records, &name, request.now).await?;
    if user.configured {
        let sentence = format!(
            "the password of {} stands in the configuration (owner.password_hash); change it there",
            user.name
        );
        return Err(Failure::new(Reason::InConfiguration, sentence));
    }
    let password = hashed(passwords, password).await?;
    let is_meant = |present: &User| present.id == user.id;
    let set = people::set_password(records, &user.name, is_meant, &password, request.now);
    let user = set.await?.ok_or_else(|| no_user(&name))?;
    Ok(changed::<SetPassword>(&user, None))
}

pub(super) async fn unlink(
    ways: WaysIn<'_>,
    records: &Records,
    request: &Request,
) -> Result<Done, Failure> {
    let asked = request.body::<UnlinkUser>()?;
    let user = lookup::user(records, &asked.name, request.now).await?;
    let accounts = user.identities.iter();
    let accounts: Vec<_> = accounts
        .filter(|account| is_meant(account, &asked))
        .collect();
    let account = match accounts[..] {
        [account] => account,
        [] => return Err(Failure::unknown("account", &asked.provider, "users show")),
        _ => {
            let sentence = "there are several at this provider: name the subject, too";
            return Err(Failure::malformed(sentence));
        }
    };
    let named = (account.issuer.as_str(), account.subject.as_str());
    match provider::unlink(ways, records, &user, named, request.now).await? {
        Removed::Done(user) => Ok(changed::<UnlinkUser>(&user, None)),
        Removed::NotThere => Err(Failure::unknown("account", &asked.provider, "users show")),
        Removed::LastWayIn => Err(Failure::from(Reason::LastWayIn).about(&subject(&user))),
    }
}

pub(super) async fn readmit(records: &Records, request: &Request) -> Result<Done, Failure> {
    let asked = request.body::<ReadmitApp>()?;
    let user = lookup::user(records, &asked.name, request.now).await?;
    let client = ClientId::new(asked.client.as_str());
    match lift(records, &user, &client, request.now).await? {
        Readmission::Done(user) => Ok(changed::<ReadmitApp>(&user, None)),
        Readmission::NotWithheld => Err(Failure::unknown(
            "withheld app",
            &asked.client,
            "users show",
        )),
    }
}

fn is_meant(account: &Identity, asked: &AccountToUnlink) -> bool {
    let subject = asked.subject.as_deref();
    account.provider == asked.provider && subject.is_none_or(|it| it == account.subject)
}

async fn hashed(passwords: &Passwords, password: String) -> Result<PasswordPhc, Failure> {
    let Some(password) = Password::new(password) else {
        let sentence = format!(
            "a password has {} characters at least and {} bytes at most",
            identity::SHORTEST,
            identity::LONGEST
        );
        return Err(Failure::new(Reason::PasswordTooWeak, sentence));
    };
    Ok(passwords.hash(password).await?)
}

/// Somebody of whom no more than the name is known, if it can be one.
fn named(name: &str) -> Subject {
    let name = LoginName::parse(name);
    Subject::default().with_words(name.as_ref().map_or("", LoginName::as_str))
}

/// Whom a request to give somebody something means, for the audit log; it may be malformed yet.
pub(super) fn meant(request: &Request) -> Subject {
    let name = request.json::<serde_json::Map<String, Value>>();
    let name = name.ok().and_then(|mut members| {
        let user = members.remove("user");
        user.or_else(|| members.remove("name"))
    });
    named(name.as_ref().and_then(Value::as_str).unwrap_or_default())
}

pub(super) fn changed<E: Endpoint<Answer = ChangedUser>>(
    user: &User,
    revoked: Option<usize>,
) -> Done {
    let answer = ChangedUser {
        user: view(user),
        revoked,
    };
    Done::new::<E>(&answer, subject(user))
}

pub(super) fn subject(user: &User) -> Subject {
    Subject::of_user(&user.id).with_words(user.name.as_str())
}

fn view(user: &User) -> UserView {
    let disabled = user.disabled.map(|why| match why {
        Disabled::ByOperator => "by the operator",
        Disabled::FormerOwner => "no longer named as owner",
    });
    UserView {
        id: user.id.as_str().to_owned(),
        name: user.name.clone(),
        owner_of_configuration: user.configured && user.disabled != Some(Disabled::FormerOwner),
        is_owner: Some(user.is_owner()),
        disabled: disabled.map(str::to_owned),
        created: user.created.to_string(),
        has_password: Some(user.password().is_some()),
        accounts: Some(user.identities.iter().map(account_view).collect()),
        withheld: user.withheld.iter().map(ToString::to_string).collect(),
        passkeys: Some(user.passkeys.iter().map(passkey_view).collect()),
    }
}

fn passkey_view(passkey: &Passkey) -> PasskeyView {
    PasskeyView {
        id: passkey.id.clone(),
        name: passkey.name.clone(),
        added: passkey.added.to_string(),
        last_used: passkey.last_used.map(|at| at.to_string()),
        backup_eligible: passkey.backup_eligible,
        backed_up: passkey.backed_up,
    }
}

fn account_view(account: &Identity) -> AccountView {
    let address = account.address.as_ref();
    AccountView {
        provider: account.provider.clone(),
        subject: account.subject.clone(),
        address: address.map(|address| address.text.clone()),
        groups: account.groups.clone(),
        confirmed: account.confirmed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::request::tests::posted;

    #[test]
    fn whom_a_request_means_is_known_before_it_is_looked_at_and_is_a_name_or_nothing() {
        let meant = |body: &str| meant(&posted(body)).what;
        assert_eq!(meant("{\"name\":\"bob\",\"password\":\"hunter2\"}"), "bob");
        for body in [
            "",
            "[]",
            "{}",
            "{\"name\":7}",
            "{\"name\":\"bob\\n, by eve\"}",
        ] {
            assert_eq!(meant(body), "", "{body}");
        }
    }
}
