//! What a person uses of the limits that are theirs, for `/account`. Those of an app, a tool or a backend
//! are everybody's, and the operator's to look at.

use std::collections::BTreeMap;

use super::cards;
use super::form::Sealer;
use crate::pages::LimitUse;
use gateway_core::grants::Grant;
use gateway_core::limits::{Limit, Per, Quota};
use gateway_store::{GrantsOf, StoreError};

/// The most grants whose use is asked for.
const MOST_GRANTS: usize = 20;

/// How each limit of the person's stands, in the order of the configuration.
pub(super) async fn load(sealer: Sealer<'_>) -> Result<Vec<LimitUse>, StoreError> {
    let (server, session) = (sealer.server, sealer.session);
    let limits = server.limits.current();
    let mut uses = Vec::new();
    if limits.is_empty() {
        return Ok(uses);
    }
    let grants = if limits.iter().any(|limit| limit.per == Per::Grant) {
        apps(sealer).await?
    } else {
        BTreeMap::new()
    };
    for limit in limits.iter() {
        // What a provider says of her groups is in her tokens, and not here.
        let is_in = |group: &String| {
            let members = limit.groups.get(group);
            members.is_some_and(|members| members.include(&session.user_name, &[]))
        };
        if !limit.group.as_ref().is_none_or(is_in) {
            continue;
        }
        match limit.per {
            Per::Person => {
                let subject = session.user.as_str();
                uses.extend(of_subject(sealer, limit, subject, "you").await);
            }
            Per::Group => {
                let groups = limit.groups.keys().filter(|group| is_in(group));
                let meant =
                    groups.filter(|group| limit.group.as_ref().is_none_or(|it| it == *group));
                for group in meant {
                    let whose = format!("all of {group} together");
                    uses.extend(of_subject(sealer, limit, group, &whose).await);
                }
            }
            Per::Grant => {
                for (id, (grant, app)) in &grants {
                    if concerns(sealer, limit, grant) {
                        uses.extend(of_subject(sealer, limit, id, app).await);
                    }
                }
            }
            Per::App | Per::Tool | Per::Backend => {}
        }
    }
    Ok(uses)
}

/// The person's grants by id, each with the name of its app.
async fn apps(sealer: Sealer<'_>) -> Result<BTreeMap<String, (Grant, String)>, StoreError> {
    let (server, now) = (sealer.server, sealer.now);
    let of = GrantsOf {
        user: Some(&sealer.session.user),
        client: None,
    };
    let page = server.records.grants(of, None, MOST_GRANTS, now).await?;
    let mut apps = BTreeMap::new();
    for grant in page.entries {
        let client = cards::client(&server.settings, &server.records, &grant.client, now).await?;
        let name = client.and_then(|client| client.name);
        let name = name.unwrap_or_else(|| grant.client.to_string());
        apps.insert(grant.id.as_str().to_owned(), (grant, name));
    }
    Ok(apps)
}

fn concerns(sealer: Sealer<'_>, limit: &Limit, grant: &Grant) -> bool {
    let mount = cards::mount(&sealer.server.settings, grant);
    let backend = limit.backend.as_ref();
    backend.is_none_or(|name| mount.is_some_and(|mount| mount.name == *name))
        && limit.app.as_ref().is_none_or(|app| *app == grant.client)
}

async fn of_subject(
    sealer: Sealer<'_>,
    limit: &Limit,
    subject: &str,
    whose: &str,
) -> Vec<LimitUse> {
    let mut uses = Vec::new();
    for meter in &limit.meters {
        let used = sealer.server.limits.used(limit, meter, subject).await.ok();
        let most = meter.quota.most();
        let left = used.map(|used| most.saturating_sub(used));
        let is_rate = matches!(meter.quota, Quota::Rate(_));
        uses.push(LimitUse {
            name: limit.name.clone(),
            whose: whose.to_owned(),
            words: meter.words(),
            backend: limit.backend.clone(),
            tool: limit.tool.as_ref().map(|tool| tool.as_str().to_owned()),
            used: used.filter(|_| !is_rate).map(|used| meter.amount(used)),
            left: left.map(|left| meter.amount(left)),
            is_rate,
            is_reached: left == Some(0),
        });
    }
    uses
}
