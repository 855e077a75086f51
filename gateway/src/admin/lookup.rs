//! Users and clients by what an operator types.

use super::failure::Failure;
use gateway_core::client::{Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_oauth::Settings;
use gateway_store::{GrantsOf, Key, Records, StoreError, User};

/// A user by id, or by login name. An id comes first: a login name may look like somebody's, and
/// must not stand for them.
pub(super) async fn user_id(
    settings: &Settings,
    records: &Records,
    text: &str,
    now: Timestamp,
) -> Result<UserId, Failure> {
    if settings.is_service(text) {
        return Ok(UserId::of_service(&text.to_lowercase()));
    }
    if UserId::looks_like(text) {
        if let Some(id) = id_of_granting_user(records, text, now).await? {
            return Ok(id);
        }
        let everybody = records.all_users(now).await?;
        let mut users = everybody.entries.into_iter();
        if let Some(user) = users.find(|user| user.id.as_str() == text) {
            return Ok(user.id);
        }
        // The id of somebody whose record can't be read still names what they granted.
        if everybody.unreadable.is_some() && matches!(records.user(text, now).await, Ok(None)) {
            return Ok(UserId::new(text));
        }
    }
    Ok(user(records, text, now).await?.id)
}

/// The same by id, of somebody who granted something: a grant names them, and nobody else's record is
/// read.
async fn id_of_granting_user(
    records: &Records,
    id: &str,
    now: Timestamp,
) -> Result<Option<UserId>, StoreError> {
    let id = UserId::new(id);
    let of = GrantsOf {
        user: Some(&id),
        client: None,
    };
    let granted = records.grants(of, None, 1, now).await?;
    let Some(grant) = granted.entries.first() else {
        return Ok(None);
    };
    let user = records.user(&grant.user_name, now).await;
    let user = records.unless_unreadable(&Key::user(&grant.user_name), user)?;
    Ok(user.filter(|user| user.id == id).map(|user| user.id))
}

/// The name of a client, where it is known, can be read and has one.
pub(super) async fn client_name(
    settings: &Settings,
    records: &Records,
    id: &ClientId,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let found = client(settings, records, id, now).await;
    let found = records.unless_unreadable(&Key::client(id), found)?;
    Ok(found.and_then(|client| client.name))
}

/// A client that is configured or remembered. A metadata document is not fetched for that.
pub(super) async fn client(
    settings: &Settings,
    records: &Records,
    id: &ClientId,
    now: Timestamp,
) -> Result<Option<Client>, StoreError> {
    let mut configured = settings.clients.iter();
    match configured.find(|client| client.id == *id) {
        Some(client) => Ok(Some(client.clone())),
        None => records.client(id, now).await,
    }
}

/// A user by login name.
pub(super) async fn user(records: &Records, name: &str, now: Timestamp) -> Result<User, Failure> {
    let user = records.user(name, now).await?;
    user.ok_or_else(|| no_user(name))
}

pub(super) fn no_user(name: &str) -> Failure {
    Failure::unknown("person", name, "users ls")
}
