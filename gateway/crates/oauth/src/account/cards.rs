//! What stands on the cards of `/account`: the person's grants by app, when they were used, and what
//! the backends changed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::authorize::consent::tools;
use crate::clients;
use crate::form_token::Purpose;
use crate::pages::{
    AllowedTools, App, ChangedTool, ClientOrigin, Connection, GrantedResource, NewDefinition,
    RevokeForm, WithheldApp,
};
use crate::server::Settings;
use gateway_core::client::metadata_document::DocumentUrl;
use gateway_core::client::{Client, ClientId, Registration};
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, ToolState, Tools};
use gateway_core::protocol::scope::OFFLINE_ACCESS;
use gateway_store::{GrantsOf, Key, LastUse, Records, StoreError};
use gateway_upstream::{Catalogue, ToolListing};

use super::form::Sealer;

/// The most grants that one page shows.
const MOST_SHOWN: usize = 200;

/// What backends offer to a person, by the backend's name; `None` for one that could not be asked.
pub(super) type Offers = BTreeMap<String, Option<Arc<ToolListing>>>;

/// A person's apps, those that were used last first, and whether there are more.
pub(super) async fn load(sealer: Sealer<'_>) -> Result<(Vec<App>, bool), StoreError> {
    let Sealer {
        server,
        session,
        now,
        ..
    } = sealer;
    let of = GrantsOf {
        user: Some(&session.user),
        client: None,
    };
    let page = server.records.grants(of, None, MOST_SHOWN, now).await?;
    let listings = listings(&server.settings, &server.catalogue, &page.entries).await;
    let mut used = Vec::new();
    for grant in page.entries {
        let last_use = last_use(&server.records, &server.last_use, &grant, now).await?;
        used.push((grant, last_use));
    }
    let mut apps = Vec::new();
    for (id, grants) in by_client(used) {
        let client = client(&server.settings, &server.records, &id, now).await?;
        apps.push(app(sealer, &id, client.as_ref(), &grants, &listings));
    }
    Ok((apps, page.next.is_some()))
}

/// The client as it is known here, without asking the network: what was kept when it was allowed, or
/// what the configuration says.
pub(super) async fn client(
    settings: &Settings,
    records: &Records,
    id: &ClientId,
    now: Timestamp,
) -> Result<Option<Client>, StoreError> {
    let configured = settings.clients.iter();
    if let Some(client) = configured.clone().find(|client| client.id == *id) {
        return Ok(Some(client.clone()));
    }
    let kept = records.client(id, now).await;
    let kept = records.unless_unreadable(&Key::client(id), kept)?;
    if kept.is_some() {
        return Ok(kept);
    }
    let address = DocumentUrl::parse(id).and_then(Result::ok);
    Ok(address.and_then(|address| clients::built_in(settings, &address, now)))
}

/// The apps that no provider's word connects to this person any more.
pub(super) async fn withheld(
    sealer: Sealer<'_>,
    clients: &[ClientId],
) -> Result<Vec<WithheldApp>, StoreError> {
    let mut apps = Vec::with_capacity(clients.len());
    for id in clients {
        let known = client(
            &sealer.server.settings,
            &sealer.server.records,
            id,
            sealer.now,
        )
        .await?;
        let name = known.and_then(|client| client.name);
        apps.push(WithheldApp {
            name: name.unwrap_or_else(|| id.to_string()),
            client: id.to_string(),
            seal: sealer.seal(Purpose::Readmit, &[id.as_str()]),
        });
    }
    Ok(apps)
}

type Used = (Grant, Option<Timestamp>);

/// Grants by client: the client that did something last first, and of each the newest grant first.
fn by_client(grants: Vec<Used>) -> Vec<(ClientId, Vec<Used>)> {
    let mut by_client: BTreeMap<String, Vec<Used>> = BTreeMap::new();
    for used in grants {
        let key = used.0.client.as_str().to_owned();
        by_client.entry(key).or_default().push(used);
    }
    let mut apps: Vec<_> = by_client.into_iter().collect();
    for (_, grants) in &mut apps {
        grants.sort_by_key(|(grant, _)| std::cmp::Reverse(grant.created));
    }
    let latest = |grants: &[Used]| {
        let times = grants.iter();
        times
            .map(|(grant, used)| used.map_or(grant.created, |used| used.max(grant.created)))
            .max()
    };
    apps.sort_by_key(|(_, grants)| std::cmp::Reverse(latest(grants)));
    apps.into_iter()
        .map(|(id, grants)| (ClientId::new(id), grants))
        .collect()
}

/// The later of what this replica saw and what is written down.
pub(super) async fn last_use(
    records: &Records,
    last_use: &LastUse,
    grant: &Grant,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let written = records.last_use(&grant.id, now).await;
    let key = Key::last_use(&grant.id);
    let written = records.unless_unreadable(&key, written)?;
    Ok(written.max(last_use.seen(&grant.id)))
}

/// Asks the backends of grants that pin tools, all at once.
async fn listings(settings: &Settings, catalogue: &Arc<Catalogue>, grants: &[Grant]) -> Offers {
    let mut asked = Offers::new();
    let mut answers = JoinSet::new();
    for grant in grants {
        let (Tools::Pinned(_), Some(mount)) = (&grant.tools, settings.mount_of(&grant.resource))
        else {
            continue;
        };
        if asked.insert(mount.name.clone(), None).is_some() {
            continue;
        }
        let (catalogue, name) = (Arc::clone(catalogue), mount.name.clone());
        let user = grant.user_name.clone();
        answers.spawn(async move {
            let listing = catalogue.refresh(&name, Some(&user)).await;
            (name, listing.ok())
        });
    }
    while let Some(answer) = answers.join_next().await {
        if let Ok((name, listing)) = answer {
            asked.insert(name, listing);
        }
    }
    asked
}

fn app(
    sealer: Sealer<'_>,
    id: &ClientId,
    client: Option<&Client>,
    grants: &[Used],
    listings: &Offers,
) -> App {
    let all: Vec<&str> = grants.iter().map(|(grant, _)| grant.id.as_str()).collect();
    App {
        name: match id.as_str() {
            ClientId::PERSONAL_TOKEN => Some("Personal tokens".to_owned()),
            _ => client.and_then(|client| client.name.clone()),
        },
        known: origin(id, client),
        connections: grants
            .iter()
            .map(|(grant, used)| connection(sealer, grant, *used, listings))
            .collect(),
        revoke: revoke_form(sealer, all.join(" ")),
    }
}

fn origin(id: &ClientId, client: Option<&Client>) -> ClientOrigin {
    let host = || {
        let address = DocumentUrl::parse(id).and_then(Result::ok)?;
        Some(address.host().to_owned())
    };
    match client {
        None if id.as_str() == ClientId::PERSONAL_TOKEN => ClientOrigin::Person,
        Some(client) => match client.registration {
            Registration::SelfRegistered => ClientOrigin::SelfRegistered(client.registered),
            Registration::PreRegistered => ClientOrigin::Operator,
            Registration::MetadataDocument => host().map_or_else(
                || ClientOrigin::Gone(id.to_string()),
                ClientOrigin::Document,
            ),
        },
        None => ClientOrigin::Gone(id.to_string()),
    }
}

fn revoke_form(sealer: Sealer<'_>, grants: String) -> RevokeForm {
    RevokeForm {
        seal: sealer.seal(Purpose::Revoke, &[&grants]),
        grants,
    }
}

pub(super) fn connection(
    sealer: Sealer<'_>,
    grant: &Grant,
    last_used: Option<Timestamp>,
    listings: &Offers,
) -> Connection {
    let mount = sealer.server.settings.mount_of(&grant.resource);
    let scopes = mount.map(|mount| sealer.server.settings.scopes.at(&mount.name));
    let is_limited = scopes.is_some_and(|scopes| !scopes.is_everything(&grant.scope));
    let listing = mount.and_then(|mount| listings.get(&mount.name));
    let names = || {
        let names = grant.tools.names().into_iter();
        names.map(str::to_owned).collect()
    };
    Connection {
        name: grant.personal.as_ref().map(|kept| kept.name.clone()),
        place: match mount {
            Some(mount) => GrantedResource::Backend(mount.name.clone()),
            None => GrantedResource::Gone(grant.resource.as_str().to_owned()),
        },
        scope: grant.scope.to_string(),
        scope_words: scopes.map_or_else(Vec::new, |scopes| {
            let lines = tools::in_words(scopes, &grant.scope).into_iter();
            // How long it stays is said by itself.
            let lines = lines.filter(|line| line.name != OFFLINE_ACCESS);
            lines.map(|line| line.words.to_owned()).collect()
        }),
        allowed: match &grant.tools {
            Tools::All if is_limited => AllowedTools::EverythingOfItsScope,
            Tools::All => AllowedTools::Everything,
            Tools::Only(_) | Tools::Kept { .. } => AllowedTools::Named(names()),
            Tools::Pinned(_) => AllowedTools::AsTheyWere(names()),
        },
        allowed_by: grant.allowed_by.as_ref().map(|name| {
            let provider = sealer.server.providers.named(name);
            provider.map_or(name, |it| &it.words).clone()
        }),
        since: grant.created,
        last_used,
        ends: grant.expires,
        is_renewed: grant.refresh.is_some(),
        changed: match listing {
            Some(Some(listing)) => changed(sealer, grant, listing),
            _ => Vec::new(),
        },
        is_unknown: listing.is_some_and(Option::is_none),
        revoke: revoke_form(sealer, grant.id.as_str().to_owned()),
    }
}

fn changed(sealer: Sealer<'_>, grant: &Grant, listing: &ToolListing) -> Vec<ChangedTool> {
    // As calls are judged: what was approved since stands in place of the record's own pin.
    let view = sealer.server.records.view();
    let amended = view.and_then(|view| view.amended(&grant.id));
    let changed = grant
        .tools
        .changed(amended.as_deref(), |tool| listing.current(tool));
    let shown = changed.into_iter().map(|name| ChangedTool {
        name: name.to_owned(),
        now: new_definition(sealer, grant, listing, name),
    });
    shown.collect()
}

/// What a tool is now, sealed into the form that approves it.
fn new_definition(
    sealer: Sealer<'_>,
    grant: &Grant,
    listing: &ToolListing,
    name: &str,
) -> Option<NewDefinition> {
    let tool = listing.tool(name)?;
    let (ToolState::Defined(pin), grant) = (listing.current(name), grant.id.as_str()) else {
        return None;
    };
    let pin = pin.to_string();
    Some(NewDefinition {
        tool: tools::described(tool),
        whole: tool.whole.as_deref().map(str::to_owned),
        grant: grant.to_owned(),
        seal: sealer.seal(Purpose::Approve, &[grant, name, &pin]),
        pin,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use gateway_core::grants::{GrantId, UserId};
    use gateway_core::protocol::resource::Resource;
    use gateway_core::protocol::scope::Scope;

    const NOW: Timestamp = Timestamp::from_secs(100_000);

    fn grant(id: &str, client: &str, age: u64) -> Grant {
        Grant {
            id: GrantId::new(id),
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            client: ClientId::new(client),
            client_fingerprint: None,
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::All,
            allowed_by: None,
            created: NOW - Duration::from_secs(age),
            redeemed: None,
            expires: NOW + Duration::from_secs(60),
            refresh: None,
            personal: None,
        }
    }

    #[test]
    fn an_app_is_one_card_and_the_one_that_did_something_last_stands_first() {
        let used = |age| Some(NOW - Duration::from_secs(age));
        let apps = by_client(vec![
            (grant("g_1", "c_old", 900), None),
            (grant("g_2", "c_busy", 800), used(5)),
            (grant("g_3", "c_new", 10), None),
            (grant("g_4", "c_busy", 100), None),
        ]);
        let ids = |grants: &[Used]| -> Vec<String> {
            let ids = grants.iter().map(|(grant, _)| grant.id.to_string());
            ids.collect()
        };
        let shown: Vec<_> = apps
            .iter()
            .map(|(id, grants)| (id.as_str(), ids(grants)))
            .collect();
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                ("c_busy", ids(&["g_4", "g_2"])),
                ("c_new", ids(&["g_3"])),
                ("c_old", ids(&["g_1"])),
            ]
        );
    }
}
