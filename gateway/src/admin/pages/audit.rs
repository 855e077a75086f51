//! `/admin/audit`: what is looked for, and what was read in the words of the page.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::audit_reader::{Bars, Counted, ReadError, Report, Wanted};
use super::{Desk, PageResult};
use crate::admin::failure::Failure;
use crate::admin::lookup;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_oauth::pages::admin::{
    AuditFilter, AuditPage, AuditRow, Counts, Notice, Period, Series,
};

/// Names that are drawn of one kind.
const DRAWN: usize = 8;
/// People whose names are looked up.
const MOST_PEOPLE: usize = 2000;

/// The events that can be looked for.
const EVENTS: [&str; 13] = [
    "owner_set",
    "login",
    "logout",
    "registration",
    "authorization",
    "consent",
    "token",
    "introspection",
    "call",
    "stream",
    "backend_page",
    "revocation",
    "operator",
];

impl Desk<'_> {
    pub(super) async fn audit(&self, notice: Option<Notice>) -> PageResult {
        let filter = self.filter();
        let now = self.visit.now;
        let bars = bars(filter.period, now);
        let is_on = self.pages.audit.is_some();
        let report = match &self.pages.audit {
            None => Report::empty(bars),
            Some(reader) => {
                self.note_reading("audit log")?;
                let wanted = self.wanted(&filter, bars).await?;
                reader.read(wanted, bars).await.map_err(failure)?
            }
        };
        let people = self.people_by_id().await?;
        let clients = self.names_of_clients(&report).await?;
        let named = |names: &HashMap<String, String>, id: &str| {
            names.get(id).cloned().unwrap_or_else(|| id.to_owned())
        };
        let counts = vec![
            counts("By person", &report.users, |id| named(&people, id)),
            counts("By app", &report.clients, |id| named(&clients, id)),
            counts("By tool", &report.tools, str::to_owned),
        ];
        let rows = report.lines.into_iter().map(|line| AuditRow {
            user: named(&people, &line.user),
            client: named(&clients, &line.client),
            ..line
        });
        let starts = (0..bars.count).map(|at| {
            let hours = u32::try_from(at).unwrap_or(u32::MAX);
            (bars.since + bars.each * hours).to_string()
        });
        Ok(AuditPage {
            frame: self.visit.frame(),
            admin: self.frame(notice),
            events: EVENTS.to_vec(),
            all: Series {
                name: String::new(),
                counts: report.all.counts,
                refused: report.all.refused,
            },
            counts,
            bars: starts.collect(),
            rows: rows.collect(),
            unread: report.begins.map(|begins| {
                format!(
                    "The log is larger than one page reads: what is older than {} is not counted. \
                     Look for less, or use gateway audit export.",
                    begins.get(..16).unwrap_or(&begins).replace('T', " ")
                )
            }),
            is_on,
            filter,
        }
        .page())
    }

    fn filter(&self) -> AuditFilter {
        let said = |name: &'static str| self.parameter(name).to_owned();
        let period = self.parameter("period");
        let period = Period::ALL.into_iter().find(|it| it.code() == period);
        AuditFilter {
            period: period.unwrap_or_default(),
            event: said("event"),
            outcome: said("outcome"),
            user: said("user"),
            client: said("client"),
            grant: said("grant"),
            backend: said("backend"),
            tool: said("tool"),
        }
    }

    /// A person is looked for by id; whoever types a name means who has it.
    async fn wanted(&self, filter: &AuditFilter, bars: Bars) -> Result<Wanted, Failure> {
        let mut filter = filter.clone();
        if !filter.user.is_empty() {
            let server = self.visit.server;
            let (settings, records) = (&server.settings, &server.records);
            match lookup::user_id(settings, records, &filter.user, self.visit.now).await {
                Ok(id) => filter.user = id.as_str().to_owned(),
                Err(failure) if failure.reason == Reason::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(Wanted::new(bars.since, filter))
    }

    async fn people_by_id(&self) -> Result<HashMap<String, String>, Failure> {
        let records = &self.visit.server.records;
        let page = records.users(None, MOST_PEOPLE, self.visit.now).await?;
        let people = page.entries.into_iter();
        Ok(people
            .map(|user| (user.id.as_str().to_owned(), user.name))
            .collect())
    }

    /// Of those that are shown or drawn.
    async fn names_of_clients(&self, report: &Report) -> Result<HashMap<String, String>, Failure> {
        let drawn = largest(&report.clients).into_iter();
        let ids = drawn.map(|(id, _)| id.as_str());
        let ids = ids.chain(report.lines.iter().map(|line| line.client.as_str()));
        let mut names = HashMap::new();
        for id in ids.filter(|id| !id.is_empty()) {
            if names.contains_key(id) {
                continue;
            }
            let client = ClientId::new(id);
            let server = self.visit.server;
            let (settings, records) = (&server.settings, &server.records);
            let name = lookup::client_name(settings, records, &client, self.visit.now).await?;
            names.insert(id.to_owned(), name.unwrap_or_else(|| id.to_owned()));
        }
        Ok(names)
    }
}

/// The bars that end with the one in which it is now.
fn bars(period: Period, now: Timestamp) -> Bars {
    let each = period.hours_a_bar() * 3600;
    let end = (now.secs() / each + 1) * each;
    let whole = each * period.bars() as u64;
    Bars {
        since: Timestamp::from_secs(end.saturating_sub(whole)),
        each: Duration::from_secs(each),
        count: period.bars(),
    }
}

/// Those with the most, most first.
fn largest(counts: &BTreeMap<String, Counted>) -> Vec<(&String, &Counted)> {
    let mut all: Vec<_> = counts.iter().collect();
    all.sort_by_key(|(_, counted)| std::cmp::Reverse(counted.counts.iter().sum::<u32>()));
    all.truncate(DRAWN);
    all
}

fn counts(
    title: &'static str,
    all: &BTreeMap<String, Counted>,
    name: impl Fn(&str) -> String,
) -> Counts {
    let drawn = largest(all).into_iter();
    Counts {
        title,
        series: drawn
            .map(|(id, counted)| Series {
                name: name(id),
                counts: counted.counts.clone(),
                refused: counted.refused.clone(),
            })
            .collect(),
        others: all.len().saturating_sub(DRAWN),
    }
}

fn failure(error: ReadError) -> Failure {
    let reason = match error {
        ReadError::Busy => Reason::Overloaded,
        ReadError::Unreadable(_) => Reason::AuditUnavailable,
    };
    Failure::new(reason, error.to_string())
}
