//! `grants`: what people allowed apps.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::api::{About, Asked, Done};
use super::clients::known;
use super::failure::Failure;
use super::users::named;
use gateway_core::audit::Record;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, GrantId, Tools, UserId};
use gateway_oauth::revoke::take_back;
use gateway_oauth::revoke_all::{Whose, cut_off};
use gateway_store::GrantsOf;

/// Grants that one request may name.
const MOST_NAMED: usize = 100;

pub(super) async fn list(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let user = match asked.one("user")? {
        Some(text) => Some(person(admin, text, asked).await?),
        None => None,
    };
    let client = asked.one("client")?.map(ClientId::new);
    let of = GrantsOf {
        user: user.as_ref(),
        client: client.as_ref(),
    };
    let records = &admin.server.records;
    let page = records
        .grants(of, asked.one("after")?, asked.limit()?, asked.now)
        .await?;
    let mut names = BTreeMap::new();
    let mut grants = Vec::with_capacity(page.entries.len());
    for grant in &page.entries {
        if !names.contains_key(&grant.client) {
            let client = known(admin, &grant.client, asked.now).await?;
            names.insert(grant.client.clone(), client.and_then(|client| client.name));
        }
        let last_used = last_used(admin, grant, asked).await?;
        grants.push(shown(grant, names[&grant.client].as_deref(), last_used));
    }
    Ok(Done::read(json!({ "grants": grants, "next": page.next })))
}

pub(super) async fn show(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let id = asked.required("id")?;
    let grant = find(admin, id, asked).await?;
    // As in the list: one that was cut off may still have its record.
    let view = admin.server.records.view();
    if view.is_some_and(|view| view.revokes_grant(&grant)) {
        return Err(Failure::unknown("grant", id));
    }
    let client = known(admin, &grant.client, asked.now).await?;
    let name = client.and_then(|client| client.name);
    let last_used = last_used(admin, &grant, asked).await?;
    let shown = shown(&grant, name.as_deref(), last_used);
    Ok(Done::read(json!({ "grant": shown })))
}

/// What is to be revoked: grants by their ids, or all of a client or of a person.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ToRevoke {
    Grants(Vec<String>),
    Client(String),
    User(String),
}

pub(super) async fn revoke(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let server = &admin.server;
    match asked.json()? {
        ToRevoke::Grants(ids) => {
            if ids.is_empty() || ids.len() > MOST_NAMED {
                let sentence = format!("1 to {MOST_NAMED} grants can be named");
                return Err(Failure::malformed(sentence));
            }
            let mut grants = Vec::with_capacity(ids.len());
            for id in &ids {
                grants.push(find(admin, id, asked).await?);
            }
            let about = match &grants[..] {
                [grant] => About {
                    user: Some(grant.user.as_str().to_owned()),
                    client: Some(grant.client.as_str().to_owned()),
                    grant: Some(grant.id.as_str().to_owned()),
                    ..About::default()
                },
                _ => About {
                    what: ids.join(" "),
                    ..About::default()
                },
            };
            for grant in &grants {
                let taking = take_back(server, grant, asked.now).await;
                let record = taking.map_err(|error| Failure::from(error).about(&about))?;
                let record = Record {
                    detail: Some("by the operator".to_owned()),
                    ..record
                };
                // One by one, as it happens: a fault at a later one loses none of them. Taking
                // access back never waits for the log.
                let _ = server.journal.append_durable(asked.asked_by(record)).await;
            }
            Ok(Done::new(json!({ "revoked": grants.len() }), about))
        }
        ToRevoke::Client(id) => {
            let id = ClientId::new(id);
            let about = About {
                client: Some(id.as_str().to_owned()),
                what: "all of a client".to_owned(),
                ..About::default()
            };
            let cutting = cut_off(server, Whose::Client(&id), asked.now).await;
            let revoked = cutting.map_err(|error| Failure::from(error).about(&about))?;
            if revoked == 0 && known(admin, &id, asked.now).await?.is_none() {
                return Err(Failure::unknown("client", id.as_str()));
            }
            Ok(Done::new(json!({ "revoked": revoked }), about))
        }
        ToRevoke::User(text) => {
            let id = person(admin, &text, asked).await?;
            let about = About {
                user: Some(id.as_str().to_owned()),
                what: "all of a person".to_owned(),
                ..About::default()
            };
            let cutting = cut_off(server, Whose::User(&id), asked.now).await;
            let revoked = cutting.map_err(|error| Failure::from(error).about(&about))?;
            Ok(Done::new(json!({ "revoked": revoked }), about))
        }
    }
}

/// A person by id, or by login name. An id comes first: a login name may look like somebody's, and
/// must not stand for them.
pub(super) async fn person(admin: &Admin, text: &str, asked: &Asked) -> Result<UserId, Failure> {
    let records = &admin.server.records;
    if UserId::looks_like(text) {
        let everybody = records.users(None, usize::MAX, asked.now).await?.entries;
        if let Some(user) = everybody.into_iter().find(|user| user.id.as_str() == text) {
            return Ok(user.id);
        }
    }
    let user = records.user(text, asked.now).await?;
    Ok(user.ok_or_else(|| named(text))?.id)
}

async fn find(admin: &Admin, id: &str, asked: &Asked) -> Result<Grant, Failure> {
    let records = &admin.server.records;
    let grant = records.grant(&GrantId::new(id), asked.now).await?;
    grant.ok_or_else(|| Failure::unknown("grant", id))
}

/// When a token of it was used last: as it is written down, or as this process has seen since.
async fn last_used(
    admin: &Admin,
    grant: &Grant,
    asked: &Asked,
) -> Result<Option<Timestamp>, Failure> {
    let written = admin.server.records.last_use(&grant.id, asked.now).await?;
    Ok(written.max(admin.server.last_use.seen(&grant.id)))
}

fn shown(grant: &Grant, client_name: Option<&str>, last_used: Option<Timestamp>) -> Value {
    let tools = match &grant.tools {
        Tools::All => json!("all"),
        tools => json!(tools.names()),
    };
    json!({
        "id": grant.id.as_str(),
        "user": grant.user.as_str(),
        "user_name": grant.user_name,
        "client": grant.client.as_str(),
        "client_name": client_name,
        "resource": grant.resource.as_str(),
        "scope": grant.scope.to_string(),
        "tools": tools,
        "created": grant.created.to_string(),
        "last_used": last_used.map(|at| at.to_string()),
        "expires": grant.expires.to_string(),
        "refreshes": grant.refresh.is_some(),
    })
}
