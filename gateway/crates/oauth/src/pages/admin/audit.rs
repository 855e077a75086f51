//! `/admin/audit`: the last lines of the audit log that fit, and counts over time as pictures.

use askama::Template;

use super::super::page::{Forms, Frame, Page};
use super::frame::{AdminFrame, moment, shown};
use super::sparkline::bars;

/// What is looked for, as it was typed. Empty: whatever there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Since when.
    pub period: Period,
    /// The event.
    pub event: String,
    /// `allowed`, `refused` or `failed`.
    pub outcome: String,
    /// A login name or an id.
    pub user: String,
    /// A client id.
    pub client: String,
    /// A grant.
    pub grant: String,
    /// A backend.
    pub backend: String,
    /// A tool, prompt or resource.
    pub tool: String,
}

/// How far back it is looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    /// 24 hours, hour by hour.
    #[default]
    Day,
    /// 7 days, by six hours.
    Week,
    /// 30 days, day by day.
    Month,
}

impl Period {
    /// All, shortest first.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// As it stands in a query.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Self::Day => "Last 24 hours",
            Self::Week => "Last 7 days",
            Self::Month => "Last 30 days",
        }
    }

    /// How long one bar lasts, in hours.
    pub const fn hours_a_bar(self) -> u64 {
        match self {
            Self::Day => 1,
            Self::Week => 6,
            Self::Month => 24,
        }
    }

    /// How many bars there are.
    pub const fn bars(self) -> usize {
        match self {
            Self::Day => 24,
            Self::Week => 28,
            Self::Month => 30,
        }
    }
}

/// A line of the log.
#[derive(Clone, Debug, Default)]
pub struct AuditRow {
    /// When, in RFC 3339.
    pub time: String,
    /// What happened.
    pub event: String,
    /// How it ended.
    pub outcome: String,
    /// Why it was refused.
    pub reason: String,
    /// Who, by name where that is known.
    pub user: String,
    /// By which app.
    pub client: String,
    /// At which backend, what.
    pub what: String,
    /// The rest.
    pub detail: String,
}

/// How much of one kind there was, over time.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Of whom or what.
    pub name: String,
    /// Each bar.
    pub counts: Vec<u32>,
    /// Those of them that were refused or failed.
    pub refused: Vec<u32>,
}

impl Series {
    fn total(&self) -> u32 {
        self.counts.iter().sum()
    }
}

/// Several that belong together.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// What they count by.
    pub title: &'static str,
    /// Most first.
    pub series: Vec<Series>,
    /// How many others there are that are not shown.
    pub others: usize,
}

/// The page.
#[derive(Clone, Debug)]
pub struct AuditPage<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// Around it, as one of the owner's.
    pub admin: AdminFrame<'a>,
    /// What is looked for.
    pub filter: AuditFilter,
    /// The events there are.
    pub events: Vec<&'static str>,
    /// Everything that fits, over time.
    pub all: Series,
    /// By person, app and tool.
    pub counts: Vec<Counts>,
    /// When each bar begins, in RFC 3339.
    pub bars: Vec<String>,
    /// The newest lines.
    pub rows: Vec<AuditRow>,
    /// What of the log was not read, in words.
    pub unread: Option<String>,
    /// Whether there is a log at all.
    pub is_on: bool,
}

/// An option of a select.
struct Choice<'a> {
    code: &'a str,
    words: String,
    is_chosen: bool,
}

/// Counts, drawn.
struct Drawn {
    number: usize,
    title: &'static str,
    rows: Vec<DrawnRow>,
    lines: Vec<Line>,
    others: usize,
}

/// What a picture shows, as a line of a table: from when a bar is, and its count of each.
struct Line {
    from: String,
    counts: Vec<u32>,
}

fn lines(bars: &[String], columns: &[&[u32]]) -> Vec<Line> {
    let counts = |bar: usize| {
        let columns = columns.iter();
        columns
            .map(|column| column.get(bar).copied().unwrap_or_default())
            .collect()
    };
    let bars = bars.iter().enumerate();
    bars.map(|(bar, from)| Line {
        from: moment(from),
        counts: counts(bar),
    })
    .collect()
}

struct DrawnRow {
    name: String,
    picture: String,
    total: u32,
}

impl AuditPage<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        let events = self
            .events
            .iter()
            .map(|event| (*event, event.replace('_', " ")));
        let outcomes = ["allowed", "refused", "failed"].map(|it| (it, it.to_owned()));
        let periods = Period::ALL.map(|it| (it.code(), it.words().to_owned()));
        let filter = &self.filter;
        let most = self.all.counts.iter().copied().max().unwrap_or_default();
        let template = AuditTemplate {
            frame: self.frame,
            admin: &self.admin,
            page: self,
            periods: choices(periods.into_iter(), filter.period.code()),
            events: choices(events, &filter.event),
            outcomes: choices(outcomes.into_iter(), &filter.outcome),
            period_words: filter.period.words(),
            total: self.all.total(),
            refused: self.all.refused.iter().sum(),
            most,
            picture: bars(&self.all.counts, &self.all.refused, most),
            hours: filter.period.hours_a_bar(),
            lines: lines(&self.bars, &[&self.all.counts, &self.all.refused]),
            counts: self
                .counts
                .iter()
                .enumerate()
                .map(|(number, counts)| drawn(number, counts, &self.bars))
                .collect(),
            rows: self.rows.iter().map(row).collect(),
        };
        Page::render(&template, Forms::Here)
    }
}

fn choices<'c>(all: impl Iterator<Item = (&'c str, String)>, chosen: &str) -> Vec<Choice<'c>> {
    all.map(|(code, words)| Choice {
        is_chosen: code == chosen,
        code,
        words,
    })
    .collect()
}

fn drawn(number: usize, counts: &Counts, bars_from: &[String]) -> Drawn {
    let most = counts.series.iter().flat_map(|series| &series.counts);
    let most = most.copied().max().unwrap_or_default();
    Drawn {
        number,
        title: counts.title,
        rows: counts
            .series
            .iter()
            .map(|series| DrawnRow {
                name: shown(&series.name),
                picture: bars(&series.counts, &series.refused, most),
                total: series.total(),
            })
            .collect(),
        lines: lines(
            bars_from,
            &counts
                .series
                .iter()
                .map(|series| series.counts.as_slice())
                .collect::<Vec<_>>(),
        ),
        others: counts.others,
    }
}

fn row(row: &AuditRow) -> AuditRow {
    AuditRow {
        time: row.time.get(..19).unwrap_or(&row.time).replace('T', " "),
        event: row.event.replace('_', " "),
        user: shown(&row.user),
        client: shown(&row.client),
        what: shown(&row.what),
        detail: shown(&row.detail),
        ..row.clone()
    }
}

#[derive(Template)]
#[template(path = "admin_audit.html")]
struct AuditTemplate<'a> {
    frame: Frame<'a>,
    admin: &'a AdminFrame<'a>,
    page: &'a AuditPage<'a>,
    periods: Vec<Choice<'a>>,
    events: Vec<Choice<'a>>,
    outcomes: Vec<Choice<'a>>,
    period_words: &'static str,
    total: u32,
    refused: u32,
    most: u32,
    picture: String,
    hours: u64,
    lines: Vec<Line>,
    counts: Vec<Drawn>,
    rows: Vec<AuditRow>,
}
