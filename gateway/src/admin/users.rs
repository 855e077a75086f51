//! `users`: the people who may log in.
//!
//! A password comes in the body of a request from this machine, is hashed at once and is in no log.

use rand::rngs::OsRng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::api::{About, Asked, Done};
use super::failure::Failure;
use gateway_core::reason::Reason;
use gateway_oauth::identity::{self, LoginName, Password, PasswordPhc, people};
use gateway_oauth::revoke_all::{Whose, cut_off};
use gateway_store::{Disabled, User};

pub(super) async fn list(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let records = &admin.server.records;
    let page = records
        .users(asked.one("after")?, asked.limit()?, asked.now)
        .await?;
    let users: Vec<Value> = page.entries.iter().map(shown).collect();
    Ok(Done::read(json!({ "users": users, "next": page.next })))
}

/// Names a person.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithPassword {
    name: String,
    password: String,
}

pub(super) async fn add(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let WithPassword { name, password } = asked.json()?;
    let name = LoginName::parse(&name).ok_or_else(|| {
        Failure::malformed("a login name has 1 to 64 letters, digits or . _ - + @")
    })?;
    let password = hashed(admin, password).await?;
    let records = &admin.server.records;
    match people::add(records, &name, &password, asked.now, &mut OsRng).await? {
        Some(user) => Ok(changed(&user)),
        None => {
            let sentence = format!("somebody has the name {}", name.as_str());
            Err(Failure::new(Reason::UserExists, sentence))
        }
    }
}

/// The person's record says so first; then everything of theirs is cut off (`gateway_oauth::revoke_all`).
pub(super) async fn disable(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let Named { name } = asked.json()?;
    let server = &admin.server;
    let why = Disabled::ByOperator;
    let disabling = people::disable(&server.records, &name, why, asked.now, &mut OsRng).await;
    let user = disabling
        .map_err(|error| Failure::from(error).about(&wanted(&name)))?
        .ok_or_else(|| named(&name))?;
    let mut done = changed(&user);
    let cutting = cut_off(server, Whose::User(&user.id), asked.now).await;
    let revoked = cutting.map_err(|error| Failure::from(error).about(&done.about))?;
    done.body["revoked"] = json!(revoked);
    Ok(done)
}

pub(super) async fn enable(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let Named { name } = asked.json()?;
    let user = people::enable(&admin.server.records, &name, asked.now).await?;
    Ok(changed(&user.ok_or_else(|| named(&name))?))
}

pub(super) async fn password(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let WithPassword { name, password } = asked.json()?;
    let records = &admin.server.records;
    let user = records.user(&name, asked.now).await?;
    let user = user.ok_or_else(|| named(&name))?;
    if user.configured {
        let sentence = format!(
            "the password of {} stands in the configuration (owner.password_hash); change it there",
            user.name
        );
        return Err(Failure::new(Reason::InConfiguration, sentence));
    }
    let password = hashed(admin, password).await?;
    let user = people::set_password(records, &name, &password, asked.now).await?;
    Ok(changed(&user.ok_or_else(|| named(&name))?))
}

/// There is nobody of this name.
pub(super) fn named(name: &str) -> Failure {
    Failure::unknown("person", name)
}

async fn hashed(admin: &Admin, password: String) -> Result<PasswordPhc, Failure> {
    let Some(password) = Password::new(password) else {
        let sentence = format!(
            "a password has {} characters at least and {} bytes at most",
            identity::SHORTEST,
            identity::LONGEST
        );
        return Err(Failure::new(Reason::PasswordTooWeak, sentence));
    };
    Ok(admin.server.passwords.hash(password).await?)
}

/// Somebody of whom no more than the name is known, if it can be one.
fn wanted(name: &str) -> About {
    About {
        what: LoginName::parse(name).map_or_else(String::new, |name| name.as_str().to_owned()),
        ..About::default()
    }
}

/// Whom a request to give somebody something means, for the audit log; it may be malformed yet.
pub(super) fn meant(asked: &Asked) -> About {
    let name = asked.json::<serde_json::Map<String, Value>>();
    let name = name.ok().and_then(|mut members| members.remove("name"));
    wanted(name.as_ref().and_then(Value::as_str).unwrap_or_default())
}

fn changed(user: &User) -> Done {
    let about = About {
        user: Some(user.id.as_str().to_owned()),
        what: user.name.clone(),
        ..About::default()
    };
    Done::new(json!({ "user": shown(user) }), about)
}

fn shown(user: &User) -> Value {
    let disabled = user.disabled.map(|why| match why {
        Disabled::ByOperator => "by the operator",
        Disabled::FormerOwner => "no longer named as owner",
    });
    json!({
        "id": user.id.as_str(),
        "name": user.name,
        "owner_of_configuration": user.configured && user.disabled != Some(Disabled::FormerOwner),
        "disabled": disabled,
        "created": user.created.to_string(),
    })
}
