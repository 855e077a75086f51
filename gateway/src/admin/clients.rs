//! `clients`: the apps that are known.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::api::{About, Asked, Done};
use super::failure::Failure;
use gateway_core::client::{Client, ClientId, Registration};
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_oauth::revoke_all::{Whose, cut_off};
use gateway_store::{GrantsOf, StoreError};

pub(super) async fn list(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let (after, limit) = (asked.one("after")?, asked.limit()?);
    let server = &admin.server;
    let stored = server.records.clients(after, limit, asked.now).await?;
    let configured = server.settings.clients.iter();
    let configured =
        configured.filter(|client| after.is_none_or(|after| client.id.as_str() > after));
    let mut clients = stored.entries;
    clients.extend(configured.cloned());
    clients.sort_by(|a, b| a.id.cmp(&b.id));
    let more = clients.len() > limit || stored.next.is_some();
    clients.truncate(limit);
    let next = clients.last().filter(|_| more);
    let next = next.map(|client| client.id.as_str().to_owned());
    let clients: Vec<Value> = clients.iter().map(shown).collect();
    Ok(Done::read(json!({ "clients": clients, "next": next })))
}

pub(super) async fn show(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let id = ClientId::new(asked.required("id")?);
    let client = known(admin, &id, asked.now).await?;
    let client = client.ok_or_else(|| Failure::unknown("client", id.as_str()))?;
    let of = GrantsOf {
        client: Some(&client.id),
        user: None,
    };
    let grants = admin.server.records.grants(of, None, usize::MAX, asked.now);
    let mut body = shown(&client);
    body["grants"] = json!(grants.await?.entries.len());
    Ok(Done::read(json!({ "client": body })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToRemove {
    client: String,
}

/// Forgets a client and takes back all that it was given. Cut off twice: what is redeemed between
/// the first cut and the removal has a client still, and what comes later has none.
pub(super) async fn remove(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let ToRemove { client } = asked.json()?;
    let id = ClientId::new(client);
    let server = &admin.server;
    let configured = &server.settings.clients;
    if configured.iter().any(|client| client.id == id) {
        let sentence = format!("the client {id} stands in the configuration; remove it there");
        return Err(Failure::new(Reason::InConfiguration, sentence));
    }
    let about = About {
        client: Some(id.as_str().to_owned()),
        ..About::default()
    };
    let removing = async {
        let mut revoked = cut_off(server, Whose::Client(&id), asked.now).await?;
        let removed = server.records.remove_client(&id).await?;
        revoked += cut_off(server, Whose::Client(&id), server.clock.now()).await?;
        Ok::<_, StoreError>((removed, revoked))
    };
    let removing = removing.await;
    let (removed, revoked) = removing.map_err(|error| Failure::from(error).about(&about))?;
    if !removed && revoked == 0 {
        return Err(Failure::unknown("client", id.as_str()));
    }
    Ok(Done::new(
        json!({ "removed": removed, "revoked": revoked }),
        about,
    ))
}

/// A client that is configured or remembered. A metadata document is not fetched for that.
pub(super) async fn known(
    admin: &Admin,
    id: &ClientId,
    now: Timestamp,
) -> Result<Option<Client>, StoreError> {
    let mut configured = admin.server.settings.clients.iter();
    match configured.find(|client| client.id == *id) {
        Some(client) => Ok(Some(client.clone())),
        None => admin.server.records.client(id, now).await,
    }
}

fn shown(client: &Client) -> Value {
    let registration = match client.registration {
        Registration::SelfRegistered => "self",
        Registration::PreRegistered => "configuration",
        Registration::MetadataDocument => "document",
    };
    let registered = match client.registration {
        // The configuration does not say when.
        Registration::PreRegistered => None,
        _ => Some(client.registered.to_string()),
    };
    json!({
        "id": client.id.as_str(),
        "name": client.name,
        "registration": registration,
        "authentication": client.authentication.method(),
        "redirect_uris": client.redirect_uris,
        "registered": registered,
    })
}
