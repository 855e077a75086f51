//! `/admin/backends`: how each stands, and which of its tools are no longer what was allowed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Desk, PageResult};
use crate::admin::failure::Failure;
use gateway_core::grants::{Grant, NotAllowed};
use gateway_core::protocol::resource::Mount;
use gateway_oauth::pages::admin::{BackendCard, BackendsPage, Notice, State, ToolRow};
use gateway_store::GrantsOf;
use gateway_upstream::{BackendStatus, Observation, ToolListing};
use mcp_protocol::tool_definition::Labels;

/// The most grants that are looked at.
const MOST_GRANTS: usize = 2000;

/// How long the page waits for what backends offer now.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many grants name a tool, and for how many of them it is another now.
#[derive(Clone, Copy, Default)]
struct GrantCounts {
    grants: usize,
    changed: usize,
}

impl Desk<'_> {
    pub(super) async fn backends(&self, notice: Option<Notice>) -> PageResult {
        self.note_reading("backends")?;
        let (grants, is_cut) = self.all_grants().await?;
        let settings = &self.visit.server.settings;
        let mut now = self.offered().await;
        let cards = self.pages.lookout.statuses().filter_map(|(name, status)| {
            let mount = settings.mounts.iter().find(|mount| mount.name == name)?;
            let listing = match &status.seen {
                Observation::Answers(seen) => {
                    Some(now.remove(name).unwrap_or_else(|| seen.clone()))
                }
                Observation::AsksWhoCalls => now.remove(name),
                Observation::Pending | Observation::Failed(_) => None,
            };
            let listing = listing.as_deref();
            let server = listing.map(|listing| format!("{} {}", listing.name, listing.version));
            Some(BackendCard {
                state: state(name, &status),
                url: settings.issuer.join(&mount.mcp_path()),
                server,
                tools: self.tools(mount, listing, &grants),
                is_cut,
            })
        });
        Ok(BackendsPage {
            backends: cards.collect(),
            frame: self.visit.frame(),
            admin: self.frame(notice),
        }
        .page())
    }

    /// What those backends offer now that answered when they were looked at last, as far as they say it
    /// in time: what calls are judged by, which may be newer than that look.
    async fn offered(&self) -> BTreeMap<String, Arc<ToolListing>> {
        let (catalogue, user) = (&self.visit.server.catalogue, self.visit.user_name());
        let mut asked = JoinSet::new();
        for (name, status) in self.pages.lookout.statuses() {
            let seen = &status.seen;
            if matches!(seen, Observation::Answers(_) | Observation::AsksWhoCalls) {
                let catalogue = Arc::clone(catalogue);
                let (name, user) = (name.to_owned(), user.to_owned());
                asked.spawn(async move {
                    let listing = timeout(PATIENCE, catalogue.listing(&name, Some(&user))).await;
                    Some((name, listing.ok()?.ok()?))
                });
            }
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    async fn all_grants(&self) -> Result<(Vec<Grant>, bool), Failure> {
        let (records, now) = (&self.visit.server.records, self.visit.now);
        let page = records
            .grants(GrantsOf::default(), None, MOST_GRANTS, now)
            .await?;
        Ok((page.entries, page.next.is_some()))
    }

    /// The tools of a backend, and those that grants name and it does not offer any more.
    fn tools(
        &self,
        mount: &Mount,
        listing: Option<&ToolListing>,
        grants: &[Grant],
    ) -> Vec<ToolRow> {
        let resource = mount.resource(&self.visit.server.settings.issuer);
        let mut named: BTreeMap<&str, GrantCounts> = BTreeMap::new();
        for grant in grants.iter().filter(|grant| grant.resource == resource) {
            for tool in grant.tools.names() {
                let entry = named.entry(tool).or_default();
                entry.grants += 1;
                let admitted =
                    listing.map(|listing| grant.tools.admit(tool, None, || listing.current(tool)));
                entry.changed += usize::from(admitted == Some(Err(NotAllowed::Changed)));
            }
        }
        let offered = listing.iter().flat_map(|listing| &listing.tools);
        let mut rows: Vec<ToolRow> = offered
            .map(|tool| {
                let named = named.remove(tool.name.as_str()).unwrap_or_default();
                row(&tool.name, effects(tool.definition.labels()), named, false)
            })
            .collect();
        let gone = named.into_iter();
        rows.extend(gone.map(|(name, named)| row(name, "–", named, listing.is_some())));
        rows
    }
}

fn row(name: &str, effects: &'static str, named: GrantCounts, is_gone: bool) -> ToolRow {
    ToolRow {
        name: name.to_owned(),
        effects,
        grants: named.grants,
        changed: named.changed,
        is_gone,
    }
}

const fn effects(labels: Labels) -> &'static str {
    match (labels.read_only, labels.destructive) {
        (Some(true), _) => "reads only",
        (_, Some(true)) => "may delete or overwrite",
        (Some(false), _) | (None, Some(false)) => "changes things",
        (None, None) => "nothing",
    }
}

/// How a backend stands, in words.
pub(super) fn state(name: &str, status: &BackendStatus) -> State {
    let (words, is_good) = match &status.seen {
        Observation::Pending => ("has not answered yet".to_owned(), false),
        Observation::Answers(listing) => {
            let tools = super::counted(listing.tools.len(), "tool");
            (format!("offers {tools}"), true)
        }
        Observation::AsksWhoCalls => ("is called with everybody's own account".to_owned(), true),
        Observation::Failed(error) => (format!("does not answer: {error}"), false),
    };
    State {
        name: name.to_owned(),
        words,
        is_good,
    }
}
