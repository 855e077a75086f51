//! `/admin`.

use std::time::Duration;

use super::{Desk, PageResult, backends::state};
use crate::operator_api::{Limit, ListUsers, PageQuery};
use gateway_oauth::pages::admin::{Notice, OverviewPage, State};
use gateway_store::RevocationView;

/// Calls are refused when the view of the revocations is older than this.
const STALE: Duration = Duration::from_secs(60);

impl Desk<'_> {
    pub(super) async fn overview(&self, notice: Option<Notice>) -> PageResult {
        let everybody = PageQuery {
            limit: Limit(Limit::MOST),
            after: None,
        };
        let people = self.read::<ListUsers>(&everybody).await?;
        let server = self.visit.server;
        let providers = server.provider_states(self.visit.now).await;
        Ok(OverviewPage {
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
            parts: self.parts(),
        }
        .page())
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
        let is_stale = view.age(self.visit.now) > STALE;
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
