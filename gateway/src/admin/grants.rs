//! `grants`: what users granted clients.

use std::collections::BTreeMap;

use super::failure::Failure;
use super::lookup;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::operator_api::{
    GrantPage, GrantView, GrantedTools, GrantsToRevoke, ListGrants, OneGrant, RevokeGrants,
    RevokedCount, ShowGrant,
};
use gateway_core::audit::Record;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, GrantId, Tools};
use gateway_oauth::Settings;
use gateway_oauth::revoke::{take_back, take_back_unread};
use gateway_oauth::revoke_all::{RevocationSubject, cut_off};
use gateway_oauth::withheld::withhold_all;
use gateway_store::journal::Journal;
use gateway_store::{GrantsOf, Key, LastUse, Records};

/// Grants that one request may name.
const MOST_NAMED: usize = 100;

pub(super) async fn list(
    settings: &Settings,
    records: &Records,
    last_use: &LastUse,
    request: &Request,
) -> Result<Done, Failure> {
    let query = request.query::<ListGrants>()?;
    let now = request.now;
    let user = match &query.user {
        Some(text) => Some(lookup::user_id(settings, records, text, now).await?),
        None => None,
    };
    let client = query.client.map(ClientId::new);
    let of = GrantsOf {
        user: user.as_ref(),
        client: client.as_ref(),
    };
    let (after, limit) = (query.page.after.as_deref(), query.page.limit.get());
    let page = records.grants(of, after, limit, now).await?;
    let mut names = BTreeMap::new();
    let mut grants = Vec::with_capacity(page.entries.len());
    for grant in &page.entries {
        if !names.contains_key(&grant.client) {
            let name = lookup::client_name(settings, records, &grant.client, now).await?;
            names.insert(grant.client.clone(), name);
        }
        let last_used = last_used(records, last_use, grant, now).await?;
        grants.push(view(grant, names[&grant.client].clone(), last_used));
    }
    Ok(Done::read::<ListGrants>(&GrantPage {
        grants,
        next: page.next,
    }))
}

pub(super) async fn show(
    settings: &Settings,
    records: &Records,
    last_use: &LastUse,
    request: &Request,
) -> Result<Done, Failure> {
    let id = request.query::<ShowGrant>()?.id;
    let grant = records.grant(&GrantId::new(&id), request.now).await?;
    let grant = grant.ok_or_else(|| Failure::unknown("grant", &id, "grants ls"))?;
    // As in the list: one that was cut off may still have its record.
    let revocations = records.view();
    if revocations.is_some_and(|revocations| revocations.revokes_grant(&grant)) {
        return Err(Failure::unknown("grant", &id, "grants ls"));
    }
    let name = lookup::client_name(settings, records, &grant.client, request.now).await?;
    let last_used = last_used(records, last_use, &grant, request.now).await?;
    Ok(Done::read::<ShowGrant>(&OneGrant {
        grant: view(&grant, name, last_used),
    }))
}

pub(super) async fn revoke(
    settings: &Settings,
    records: &Records,
    journal: &Journal,
    request: &Request,
) -> Result<Done, Failure> {
    let now = request.now;
    let (revoked, subject) = match request.body::<RevokeGrants>()? {
        GrantsToRevoke::Grants(ids) => {
            revoke_each(settings, records, journal, request, &ids).await?
        }
        GrantsToRevoke::Client(id) => {
            let id = ClientId::new(id);
            let subject = Subject::of_client(&id).with_words("all of a client");
            let whose = RevocationSubject::Client(&id);
            let revoked = revoke_all(settings, records, whose, now, &subject).await?;
            if revoked == 0 && matches!(lookup::client(settings, records, &id, now).await, Ok(None))
            {
                return Err(Failure::unknown("client", id.as_str(), "clients ls"));
            }
            (revoked, subject)
        }
        GrantsToRevoke::User(text) => {
            let id = lookup::user_id(settings, records, &text, now).await?;
            let subject = Subject::of_user(&id).with_words("all of a person");
            let whose = RevocationSubject::User(&id);
            let revoked = revoke_all(settings, records, whose, now, &subject).await?;
            (revoked, subject)
        }
    };
    let answer = RevokedCount { revoked };
    Ok(Done::new::<RevokeGrants>(&answer, subject))
}

/// One by one, after all of them were found.
async fn revoke_each(
    settings: &Settings,
    records: &Records,
    journal: &Journal,
    request: &Request,
    ids: &[String],
) -> Result<(usize, Subject), Failure> {
    if ids.is_empty() || ids.len() > MOST_NAMED {
        let sentence = format!("1 to {MOST_NAMED} grants can be named");
        return Err(Failure::malformed(sentence));
    }
    let mut targets = Vec::with_capacity(ids.len());
    for id in ids {
        targets.push(target(records, id, request.now).await?);
    }
    let subject = match &targets[..] {
        [Target::Grant(grant)] => Subject::of_grant(grant),
        [Target::Unreadable(id)] => Subject {
            grant: Some(id.as_str().to_owned()),
            ..Subject::default()
        },
        _ => Subject::default().with_words(ids.join(" ")),
    };
    for target in &targets {
        let taking = match target {
            Target::Grant(grant) => take_back(records, settings, grant, request.now).await,
            Target::Unreadable(id) => take_back_unread(records, settings, id, request.now).await,
        };
        let record = taking.map_err(Failure::of(&subject))?;
        let record = Record {
            detail: Some("by the operator".to_owned()),
            ..record
        };
        // As it happens: a fault at a later one loses none of them. Taking access back never waits
        // for the log.
        let record = request.origin.record(record);
        let _ = journal.append_durable(record).await;
    }
    Ok((targets.len(), subject))
}

async fn revoke_all(
    settings: &Settings,
    records: &Records,
    whose: RevocationSubject<'_>,
    now: Timestamp,
    subject: &Subject,
) -> Result<usize, Failure> {
    let withholding = withhold_all(records, whose, now).await;
    withholding.map_err(Failure::of(subject))?;
    let cutting = cut_off(records, settings, whose, now).await;
    let cut = cutting.map_err(Failure::of(subject))?;
    Failure::unless_complete(cut, "access was taken back", subject)
}

/// A grant that is to be revoked.
enum Target {
    Grant(Box<Grant>),
    /// Its record says nothing, and goes with it.
    Unreadable(GrantId),
}

async fn target(records: &Records, id: &str, now: Timestamp) -> Result<Target, Failure> {
    let id = GrantId::new(id);
    match records.grant(&id, now).await {
        Ok(Some(grant)) => Ok(Target::Grant(Box::new(grant))),
        Ok(None) => Err(Failure::unknown("grant", id.as_str(), "grants ls")),
        Err(error) if error.concerns_one_record() => Ok(Target::Unreadable(id)),
        Err(error) => Err(error.into()),
    }
}

/// When a token of it was used last: as it is written down, or as this process has seen since.
async fn last_used(
    records: &Records,
    last_use: &LastUse,
    grant: &Grant,
    now: Timestamp,
) -> Result<Option<Timestamp>, Failure> {
    let written = records.last_use(&grant.id, now).await;
    let key = Key::last_use(&grant.id);
    let written = records.unless_unreadable(&key, written)?;
    Ok(written.max(last_use.seen(&grant.id)))
}

pub(super) fn view(
    grant: &Grant,
    client_name: Option<String>,
    last_used: Option<Timestamp>,
) -> GrantView {
    GrantView {
        id: grant.id.as_str().to_owned(),
        user: grant.user.as_str().to_owned(),
        user_name: grant.user_name.clone(),
        client: grant.client.as_str().to_owned(),
        client_name,
        token_name: grant.personal.as_ref().map(|kept| kept.name.clone()),
        resource: grant.resource.as_str().to_owned(),
        scope: grant.scope.to_string(),
        tools: match &grant.tools {
            Tools::All => GrantedTools::All,
            tools => GrantedTools::Named(tools.names().into_iter().map(str::to_owned).collect()),
        },
        created: grant.created.to_string(),
        last_used: last_used.map(|at| at.to_string()),
        expires: grant.expires.to_string(),
        refreshes: grant.refresh.is_some(),
        allowed_by: grant.allowed_by.clone(),
    }
}
