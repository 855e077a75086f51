//! What a person uses of the limits that are theirs, for `/account`. Those of an app, a tool or a backend
//! are everybody's, and the operator's to look at.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::cards;
use super::form::Sealer;
use crate::pages::{LimitUse, LimitsInUse};
use crate::provider::membership;
use gateway_core::grants::Grant;
use gateway_core::limits::{Limit, Meter, Per, Quota};
use gateway_store::{CallLimits, GrantsOf, StoreError, User};

/// The most grants whose use is asked for.
const MOST_GRANTS: usize = 20;

/// How many questions are with the store at once.
const AT_ONCE: usize = 16;

/// How long the page waits for all of them.
const PATIENCE: Duration = Duration::from_secs(2);

/// One line of the page, whose use is asked for.
struct Line<'a> {
    limit: &'a Limit,
    meter: &'a Meter,
    subject: String,
    whose: String,
}

/// How each limit of the person's stands, in the order of the configuration.
pub(super) async fn load(
    sealer: Sealer<'_>,
    user: Option<&User>,
) -> Result<LimitsInUse, StoreError> {
    let (server, session) = (sealer.server, sealer.session);
    let limits = server.limits.current();
    if limits.is_empty() {
        return Ok(LimitsInUse::default());
    }
    // As her next token says.
    let membership = user.and_then(|user| membership(server.ways_in(), user, sealer.now).ok());
    let provider_groups = membership.map(|held| held.groups).unwrap_or_default();
    let (grants, is_cut) = if limits.iter().any(|limit| limit.per == Per::Grant) {
        apps(sealer).await?
    } else {
        (BTreeMap::new(), false)
    };
    let mut lines = Vec::new();
    for limit in limits.iter() {
        if !limit.includes(&session.user_name, &provider_groups) {
            continue;
        }
        match limit.per {
            Per::Person => {
                lines.extend(of_subject(limit, session.user.as_str(), "you"));
            }
            Per::Group => {
                for group in limit.groups_of(&session.user_name, &provider_groups) {
                    let whose = format!("all of {group} together");
                    lines.extend(of_subject(limit, group, &whose));
                }
            }
            Per::Grant => {
                for (id, (grant, app)) in &grants {
                    if concerns(sealer, limit, grant) {
                        lines.extend(of_subject(limit, id, app));
                    }
                }
            }
            Per::App | Per::Tool | Per::Backend => {}
        }
    }
    let used = used(sealer, &lines).await;
    let used = used.into_iter().chain(std::iter::repeat(None));
    let lines = lines.iter().zip(used);
    Ok(LimitsInUse {
        lines: lines.map(|(line, used)| line.shown(used)).collect(),
        is_cut,
    })
}

/// How much is used, line by line, until one can't be told: a store that is away is not waited for again.
async fn used(sealer: Sealer<'_>, lines: &[Line<'_>]) -> Vec<Option<u64>> {
    let deadline = Instant::now() + PATIENCE;
    let limits = &sealer.server.limits;
    let ask = |line| timeout_at(deadline, used_of(limits, line));
    let asked: Vec<_> = lines.iter().map(ask).collect();
    let mut asked = stream::iter(asked).buffered(AT_ONCE);
    let mut all = Vec::new();
    while let Some(Ok(Some(used))) = asked.next().await {
        all.push(Some(used));
    }
    all
}

async fn used_of(limits: &CallLimits, line: &Line<'_>) -> Option<u64> {
    let used = limits.used(line.limit, line.meter, &line.subject);
    used.await.ok()
}

/// The person's grants by id, each with the name of its app; and whether there are more.
async fn apps(sealer: Sealer<'_>) -> Result<(BTreeMap<String, (Grant, String)>, bool), StoreError> {
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
    Ok((apps, page.next.is_some()))
}

fn concerns(sealer: Sealer<'_>, limit: &Limit, grant: &Grant) -> bool {
    let mount = sealer.server.settings.mount_of(&grant.resource);
    limit.is_for(mount.map(|mount| mount.name.as_str()), &grant.client)
}

/// A line for each count of a limit.
fn of_subject<'a>(limit: &'a Limit, subject: &str, whose: &str) -> impl Iterator<Item = Line<'a>> {
    limit.meters.iter().map(move |meter| Line {
        limit,
        meter,
        subject: subject.to_owned(),
        whose: whose.to_owned(),
    })
}

impl Line<'_> {
    fn shown(&self, used: Option<u64>) -> LimitUse {
        let Self {
            limit,
            meter,
            whose,
            ..
        } = self;
        let most = meter.quota.most();
        let left = used.map(|used| most.saturating_sub(used));
        let is_rate = matches!(meter.quota, Quota::Rate(_));
        LimitUse {
            name: limit.name.clone(),
            whose: whose.clone(),
            words: meter.words(),
            backend: limit.backend.clone(),
            tool: limit.tool.as_ref().map(|tool| tool.as_str().to_owned()),
            used: used.filter(|_| !is_rate).map(|used| meter.amount(used)),
            left: left.map(|left| meter.amount(left)),
            is_rate,
            is_reached: left == Some(0),
        }
    }
}
