//! `clients`: the clients that are known.

use super::failure::Failure;
use super::lookup;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::operator_api::{
    ClientPage, ClientView, ListClients, OneClient, RemoveClient, RemovedClient, ShowClient,
};
use gateway_core::client::{Client, ClientId, Registration};
use gateway_core::clock::Clock;
use gateway_core::reason::Reason;
use gateway_oauth::Settings;
use gateway_oauth::revoke_all::{RevocationSubject, cut_off};
use gateway_store::{GrantsOf, Records, StoreError};

pub(super) async fn list(
    settings: &Settings,
    records: &Records,
    request: &Request,
) -> Result<Done, Failure> {
    let query = request.query::<ListClients>()?;
    let (after, limit) = (query.after.as_deref(), query.limit.get());
    let stored = records.clients(after, limit, request.now).await?;
    let configured = settings.clients.iter();
    let configured =
        configured.filter(|client| after.is_none_or(|after| client.id.as_str() > after));
    let mut clients = stored.entries;
    clients.extend(configured.cloned());
    clients.sort_by(|a, b| a.id.cmp(&b.id));
    let more = clients.len() > limit || stored.next.is_some();
    clients.truncate(limit);
    let next = clients.last().filter(|_| more);
    Ok(Done::read::<ListClients>(&ClientPage {
        next: next.map(|client| client.id.as_str().to_owned()),
        clients: clients.iter().map(view).collect(),
    }))
}

pub(super) async fn show(
    settings: &Settings,
    records: &Records,
    request: &Request,
) -> Result<Done, Failure> {
    let id = ClientId::new(request.query::<ShowClient>()?.id);
    let client = lookup::client(settings, records, &id, request.now).await?;
    let client = client.ok_or_else(|| Failure::unknown("client", id.as_str(), "clients ls"))?;
    let of = GrantsOf {
        client: Some(&client.id),
        user: None,
    };
    let grants = records.grants(of, None, usize::MAX, request.now);
    let grants = grants.await?.entries.len();
    Ok(Done::read::<ShowClient>(&OneClient {
        client: ClientView {
            grants: Some(grants),
            ..view(&client)
        },
    }))
}

/// Forgets a client and takes back all that it was given. Cut off twice: what is redeemed between
/// the first cut and the removal has a client still, and what comes later has none.
pub(super) async fn remove(
    settings: &Settings,
    records: &Records,
    clock: Clock,
    request: &Request,
) -> Result<Done, Failure> {
    let id = ClientId::new(request.body::<RemoveClient>()?.client);
    let configured = &settings.clients;
    if configured.iter().any(|client| client.id == id) {
        let sentence = format!("the client {id} stands in the configuration; remove it there");
        return Err(Failure::new(Reason::InConfiguration, sentence));
    }
    let subject = Subject::of_client(&id);
    let removing = async {
        let whose = RevocationSubject::Client(&id);
        let before = cut_off(records, settings, whose, request.now).await?;
        let removed = records.remove_client(&id).await?;
        let after = cut_off(records, settings, whose, clock.now()).await?;
        Ok::<_, StoreError>((removed, before.and(after)))
    };
    let (removed, cut) = removing.await.map_err(Failure::of(&subject))?;
    let done = if removed {
        "the client was removed"
    } else {
        "the client was not registered"
    };
    let revoked = Failure::unless_complete(cut, done, &subject)?;
    if !removed && revoked == 0 {
        return Err(Failure::unknown("client", id.as_str(), "clients ls"));
    }
    let answer = RemovedClient { removed, revoked };
    Ok(Done::new::<RemoveClient>(&answer, subject))
}

fn view(client: &Client) -> ClientView {
    let registration = match client.registration {
        Registration::SelfRegistered => "self",
        Registration::PreRegistered => "configuration",
        Registration::MetadataDocument => "document",
    };
    ClientView {
        id: client.id.as_str().to_owned(),
        name: client.name.clone(),
        registration: registration.to_owned(),
        authentication: client.authentication.method().to_owned(),
        redirect_uris: client.redirect_uris.clone(),
        registered: match client.registration {
            // The configuration does not say when.
            Registration::PreRegistered => None,
            _ => Some(client.registered.to_string()),
        },
        grants: None,
    }
}
