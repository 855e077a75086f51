//! Users and clients by what an operator types.

use super::failure::Failure;
use gateway_core::client::{Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_oauth::AuthorizationServer;
use gateway_store::StoreError;

/// A user by id, or by login name. An id comes first: a login name may look like somebody's, and
/// must not stand for them.
pub(super) async fn user_id(
    server: &AuthorizationServer,
    text: &str,
    now: Timestamp,
) -> Result<UserId, Failure> {
    let records = &server.records;
    if UserId::looks_like(text) {
        let everybody = records.users(None, usize::MAX, now).await?.entries;
        if let Some(user) = everybody.into_iter().find(|user| user.id.as_str() == text) {
            return Ok(user.id);
        }
    }
    let user = records.user(text, now).await?;
    Ok(user.ok_or_else(|| no_user(text))?.id)
}

/// A client that is configured or remembered. A metadata document is not fetched for that.
pub(super) async fn client(
    server: &AuthorizationServer,
    id: &ClientId,
    now: Timestamp,
) -> Result<Option<Client>, StoreError> {
    let mut configured = server.settings.clients.iter();
    match configured.find(|client| client.id == *id) {
        Some(client) => Ok(Some(client.clone())),
        None => server.records.client(id, now).await,
    }
}

pub(super) fn no_user(name: &str) -> Failure {
    Failure::unknown("person", name)
}
