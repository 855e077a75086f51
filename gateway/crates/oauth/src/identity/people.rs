//! The people who may log in: adding them, giving them another password, and keeping them out.
//!
//! Owns: what changes in a person's record. Not: what the person allowed apps (`oauth::revoke_all`).

use rand::RngCore;

use crate::identity::{LoginName, PasswordPhc};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::Secret;
use gateway_store::{Disabled, Records, StoreError, User};

/// Adds a person, who without a password sets themselves up by a link (`rescue`). `None` if somebody has
/// the name.
pub async fn add(
    records: &Records,
    name: &LoginName,
    password: Option<&PasswordPhc>,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Option<User>, StoreError> {
    let password = password.map_or("", PasswordPhc::as_str);
    let user = User::new(UserId::draw(random), name.as_str(), password, now);
    let added = records.add_user_anew(&user, now).await?;
    Ok(added.then_some(user))
}

/// Gives a person another password, which ends their browser sessions. `None` if there is nobody of
/// this name.
pub async fn set_password(
    records: &Records,
    name: &str,
    password: &PasswordPhc,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let change = |user: User| User {
        password_hash: password.as_str().to_owned(),
        ..user
    };
    records.change_user(name, now, change).await
}

/// Keeps a person out: no login, no token, and the browser sessions of before stay dead whatever
/// comes later. What the person allowed is for the caller to cut off afterwards. `None` if there is
/// nobody of this name.
pub async fn disable(
    records: &Records,
    name: &str,
    why: Disabled,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Option<User>, StoreError> {
    let sessions = Secret::draw(random).reveal().to_owned();
    let change = |user: User| User {
        disabled: Some(why),
        sessions: sessions.clone(),
        ..user
    };
    records.change_user(name, now, change).await
}

/// Ends every browser session of a person, at once and wherever they are. `None` if there is nobody of
/// this name.
pub async fn end_sessions(
    records: &Records,
    name: &str,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Option<User>, StoreError> {
    let sessions = Secret::draw(random).reveal().to_owned();
    let change = |user: User| User {
        sessions: sessions.clone(),
        ..user
    };
    records.change_user(name, now, change).await
}

/// Lets a person log in again. `None` if there is nobody of this name.
pub async fn enable(
    records: &Records,
    name: &str,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let change = |user: User| User {
        disabled: None,
        ..user
    };
    records.change_user(name, now, change).await
}
