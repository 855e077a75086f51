//! `/admin`.

use super::{Desk, PageResult, backends::state};
use crate::operator_api::{Limit, ListUsers, PageQuery};
use gateway_core::limits::{Limit as CallLimit, Meter};
use gateway_core::policy::VIEW_LIFETIME;
use gateway_oauth::pages::admin::{Notice, OverviewPage, State};
use gateway_store::RevocationView;

/// Of each limit so many are named.
const BUSIEST: usize = 3;

impl Desk<'_> {
    pub(super) async fn overview(&self, notice: Option<Notice>) -> PageResult {
        let everybody = PageQuery {
            limit: Limit(Limit::MOST),
            after: None,
        };
        let people = self.operator().read::<ListUsers>(&everybody).await?;
        let server = self.visit.server;
        let providers = server.provider_states(self.visit.now).await;
        Ok(OverviewPage {
            frame: self.visit.frame(),
            admin: self.frame(notice),
            version: env!("CARGO_PKG_VERSION"),
            people: match people.next {
                Some(_) => format!("over {}", Limit::MOST),
                None => people.users.len().to_string(),
            },
            streams: self.pages.process.streams.here().count(),
            providers: providers
                .into_iter()
                .map(|(name, state)| State {
                    name,
                    is_good: state.is_ok(),
                    words: state.map_or_else(|trouble| trouble, str::to_owned),
                })
                .collect(),
            backends: self
                .pages
                .lookout
                .statuses()
                .map(|(name, status)| state(name, &status))
                .collect(),
            limits: self.limits(),
            parts: self.parts(),
        }
        .page())
    }

    /// Each limit of calls, and who uses most of it as far as this replica knows.
    fn limits(&self) -> Vec<State> {
        let limits = &self.visit.server.limits;
        let current = limits.current();
        let states = |limit: &CallLimit| {
            let whose = whose(limit);
            let state = |meter: &Meter| {
                let busiest = limits.busiest(limit, meter, BUSIEST);
                let most = meter.quota.most();
                let used = busiest.iter();
                let used = used.map(|(who, used)| format!("{who} {}", meter.amount(*used)));
                let used = used.collect::<Vec<_>>().join(", ");
                let words = format!("{} for {whose}", meter.words());
                State {
                    name: limit.name.clone(),
                    is_good: busiest.first().is_none_or(|(_, used)| *used < most),
                    words: match used.as_str() {
                        "" => words,
                        used => format!("{words}; most used: {used}"),
                    },
                }
            };
            limit.meters.iter().map(state).collect::<Vec<_>>()
        };
        current.iter().flat_map(states).collect()
    }

    /// The store answered, or there were no page.
    fn parts(&self) -> Vec<State> {
        let journal = &self.visit.server.journal;
        let part = |name: &str, trouble: Option<&str>| State {
            name: name.to_owned(),
            is_good: trouble.is_none(),
            words: trouble.unwrap_or("as it should be").to_owned(),
        };
        let view: &RevocationView = &self.pages.revocations;
        let is_stale = view.age(self.visit.now) > VIEW_LIFETIME;
        vec![
            part("store", None),
            part(
                "revocations",
                is_stale.then_some("out of date: calls are refused"),
            ),
            match self.pages.config.audit {
                Some(_) => part(
                    "audit log",
                    journal.is_failing().then_some("can’t be written"),
                ),
                None => part("audit log", Some("switched off")),
            },
        ]
    }
}

/// Whose calls a limit counts together, and which of them.
fn whose(limit: &CallLimit) -> String {
    let group = limit.group.iter().map(|name| format!(" in {name}"));
    let tool = limit
        .tool
        .iter()
        .map(|tool| format!(" of {}", tool.as_str()));
    let backend = limit.backend.iter().map(|name| format!(" at {name}"));
    let app = limit.app.iter().map(|app| format!(" with {app}"));
    let only: String = group.chain(tool).chain(backend).chain(app).collect();
    format!("each {}{only}", limit.per.name())
}
