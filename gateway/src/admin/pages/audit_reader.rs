//! Reading the end of the audit log for a page: newest files first, within bounds of bytes and time. What
//! is counted is what was read, and what was not read is said.
//!
//! Not: whether the lines are whole and in their places, which is `gateway audit verify`'s matter.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use gateway_core::audit::time_text;
use gateway_core::clock::Timestamp;
use gateway_oauth::pages::admin::{AuditFilter, AuditRow};
use gateway_store::journal::{self, Settings};

/// The most that is read of each log for one page, in bytes.
const MOST_READ: u64 = 16 * 1024 * 1024;
/// And the time that it may take.
const LONGEST: Duration = Duration::from_secs(2);
/// Whoever comes while another page is read waits this long.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest line that is looked at, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// The lines that are shown.
const SHOWN: usize = 100;
/// So many names are counted apart of one kind.
const MOST_NAMES: usize = 2000;

/// Reads one installation's log, one page at a time.
pub(super) struct AuditReader {
    logs: [PathBuf; 2],
    free: Arc<Semaphore>,
}

/// Which lines are meant.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// As the times of lines, with which it is compared as a text.
    since: String,
    /// With a person by id.
    pub(super) filter: AuditFilter,
}

/// The bars of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bars {
    pub(super) since: Timestamp,
    pub(super) each: Duration,
    pub(super) count: usize,
}

/// Counts over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) counts: Vec<u32>,
    pub(super) refused: Vec<u32>,
}

/// What was read.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Newest first, with people and apps by their ids.
    pub(super) lines: Vec<AuditRow>,
    pub(super) all: Counted,
    pub(super) users: BTreeMap<String, Counted>,
    pub(super) clients: BTreeMap<String, Counted>,
    pub(super) tools: BTreeMap<String, Counted>,
    /// Before this moment nothing was read, though there is more.
    pub(super) begins: Option<String>,
}

/// What is looked at of a line; others of its members are skipped.
#[derive(Default, Deserialize)]
struct Line<'l> {
    #[serde(borrow, default)]
    time: Cow<'l, str>,
    #[serde(borrow, default)]
    event: Cow<'l, str>,
    #[serde(borrow, default)]
    outcome: Cow<'l, str>,
    #[serde(borrow, default)]
    reason: Cow<'l, str>,
    #[serde(borrow, default)]
    user: Cow<'l, str>,
    #[serde(borrow, default)]
    client: Cow<'l, str>,
    #[serde(borrow, default)]
    grant: Cow<'l, str>,
    #[serde(borrow, default)]
    backend: Cow<'l, str>,
    #[serde(borrow, default)]
    method: Cow<'l, str>,
    #[serde(borrow, default)]
    name: Cow<'l, str>,
    #[serde(borrow, default)]
    detail: Cow<'l, str>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("another page reads the audit log")]
    Busy,
    #[error("the audit log can't be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl AuditReader {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            logs: [settings.file.clone(), settings.calls_file()],
            free: Arc::new(Semaphore::new(1)),
        }
    }

    /// Reads what is wanted, on a thread of its own.
    pub(super) async fn read(&self, wanted: Wanted, bars: Bars) -> Result<Report, ReadError> {
        let waiting = timeout(PATIENCE, Arc::clone(&self.free).acquire_owned());
        let Ok(Ok(held)) = waiting.await else {
            return Err(ReadError::Busy);
        };
        let logs = self.logs.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _held = held;
            read(&logs, &wanted, bars)
        });
        let read = reading.await.map_err(io::Error::other)?;
        Ok(read?)
    }
}

fn read(logs: &[PathBuf], wanted: &Wanted, bars: Bars) -> io::Result<Report> {
    let mut gathered = Gathered {
        wanted,
        bars,
        earliest: None,
        report: Report::empty(bars),
    };
    let deadline = Instant::now() + LONGEST;
    for log in logs {
        let mut left = MOST_READ;
        // Newest first: what is cut off is the oldest.
        for file in journal::in_order(log)?.iter().rev() {
            let earliest = gathered.read_file(file, &mut left, deadline)?;
            if earliest.is_some_and(|time| time < wanted.since) {
                break;
            }
            if left == 0 || Instant::now() > deadline {
                gathered.is_cut_at_earliest();
                break;
            }
        }
        gathered.earliest = None;
    }
    gathered.report.keep_newest();
    Ok(gathered.report)
}

impl Report {
    /// Nothing was read.
    pub(super) fn empty(bars: Bars) -> Self {
        Self {
            lines: Vec::new(),
            all: Counted::new(bars.count),
            users: BTreeMap::new(),
            clients: BTreeMap::new(),
            tools: BTreeMap::new(),
            begins: None,
        }
    }

    fn keep_newest(&mut self) {
        self.lines.sort_by(|one, other| other.time.cmp(&one.time));
        self.lines.truncate(SHOWN);
    }
}

/// What was read so far.
struct Gathered<'w> {
    wanted: &'w Wanted,
    bars: Bars,
    /// Of this log.
    earliest: Option<String>,
    report: Report,
}

impl Gathered<'_> {
    /// Reads the last `left` bytes of a file, and gives the time of the first line that it met.
    fn read_file(
        &mut self,
        path: &Path,
        left: &mut u64,
        deadline: Instant,
    ) -> io::Result<Option<String>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(*left);
        file.seek(SeekFrom::Start(from))?;
        let mut reader = BufReader::with_capacity(256 * 1024, file.take(*left));
        *left = left.saturating_sub(length);
        let mut line = Vec::new();
        if from > 0 {
            // Its beginning was not read.
            reader.read_until(b'\n', &mut line)?;
        }
        let mut first = None;
        for number in 0_u32.. {
            line.clear();
            let mut bounded = reader.by_ref().take(LONGEST_LINE as u64);
            if bounded.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if number % 512 == 0 && Instant::now() > deadline {
                // What was read of this file is its older part: better said than counted in part.
                *left = 0;
                break;
            }
            if let Ok(line) = serde_json::from_slice::<Line<'_>>(&line) {
                if first.is_none() {
                    first = Some(line.time.to_string());
                }
                self.take(&line);
            }
        }
        if let Some(time) = &first
            && self.earliest.as_ref().is_none_or(|known| time < known)
        {
            self.earliest = Some(time.clone());
        }
        Ok(first)
    }

    fn is_cut_at_earliest(&mut self) {
        // Nothing is less than any moment.
        let begins = self.report.begins.take();
        self.report.begins = begins.max(self.earliest.clone());
    }

    fn take(&mut self, line: &Line<'_>) {
        // A checkpoint signs what stands above it, and nothing happened.
        if line.outcome.is_empty() || !self.wanted.includes(line) {
            return;
        }
        let (report, bars) = (&mut self.report, self.bars);
        let bar = bars.at(&line.time);
        let is_refused = line.outcome != "allowed";
        report.all.add(bar, is_refused);
        count(&mut report.users, &line.user, bar, is_refused, bars);
        count(&mut report.clients, &line.client, bar, is_refused, bars);
        if line.method == "tools/call" {
            count(&mut report.tools, &line.name, bar, is_refused, bars);
        }
        report.lines.push(line.row());
        if report.lines.len() >= 8 * SHOWN {
            report.keep_newest();
        }
    }
}

/// A name beyond the most that are counted apart is counted with others.
fn count(
    counts: &mut BTreeMap<String, Counted>,
    name: &str,
    bar: Option<usize>,
    is_refused: bool,
    bars: Bars,
) {
    if name.is_empty() {
        return;
    }
    let name = if counts.len() < MOST_NAMES || counts.contains_key(name) {
        name
    } else {
        "(others)"
    };
    match counts.get_mut(name) {
        Some(counted) => counted.add(bar, is_refused),
        None => {
            let mut counted = Counted::new(bars.count);
            counted.add(bar, is_refused);
            counts.insert(name.to_owned(), counted);
        }
    }
}

impl Counted {
    fn new(bars: usize) -> Self {
        Self {
            counts: vec![0; bars],
            refused: vec![0; bars],
        }
    }

    fn add(&mut self, bar: Option<usize>, is_refused: bool) {
        if let Some(bar) = bar {
            self.counts[bar] += 1;
            self.refused[bar] += u32::from(is_refused);
        }
    }
}

impl Bars {
    /// The bar of a moment in RFC 3339; `None` for one outside of the picture.
    fn at(self, time: &str) -> Option<usize> {
        let at = humantime::parse_rfc3339_weak(time).ok()?;
        let at = at.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        let since = at.checked_sub(self.since.secs())?;
        let bar = usize::try_from(since / self.each.as_secs().max(1)).ok()?;
        (bar < self.count).then_some(bar)
    }
}

impl Wanted {
    /// What the filter wants, from a moment on.
    pub(super) fn new(since: Timestamp, filter: AuditFilter) -> Self {
        Self {
            since: time_text(since).to_string(),
            filter,
        }
    }

    fn includes(&self, line: &Line<'_>) -> bool {
        let wanted = &self.filter;
        let members = [
            (&wanted.event, &line.event),
            (&wanted.outcome, &line.outcome),
            (&wanted.user, &line.user),
            (&wanted.client, &line.client),
            (&wanted.grant, &line.grant),
            (&wanted.backend, &line.backend),
            (&wanted.tool, &line.name),
        ];
        *line.time >= *self.since
            && members
                .iter()
                .all(|(wanted, it)| wanted.is_empty() || *wanted == *it)
    }
}

impl Line<'_> {
    fn row(&self) -> AuditRow {
        let parts = [&*self.backend, &*self.method, &*self.name];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        AuditRow {
            time: self.time.to_string(),
            event: self.event.to_string(),
            outcome: self.outcome.to_string(),
            reason: self.reason.to_string(),
            user: self.user.to_string(),
            client: self.client.to_string(),
            what: parts.collect::<Vec<_>>().join(" "),
            detail: self.detail.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(hour: u32, user: &str, outcome: &str) -> String {
        format!(
            "{{\"time\":\"2026-11-29T{hour:02}:30:00Z\",\"event\":\"call\",\"outcome\":\"{outcome}\",\
             \"user\":\"{user}\",\"method\":\"tools/call\",\"name\":\"search\",\"facts\":{{\"a\":[1]}}}}\n"
        )
    }

    fn bars() -> Bars {
        Bars {
            // 2026-11-29T00:00:00Z
            since: Timestamp::from_secs(1_795_910_400),
            each: Duration::from_secs(3600),
            count: 24,
        }
    }

    #[test]
    fn lines_are_counted_by_bar_and_the_newest_are_shown_first() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let calls = folder.path().join("audit-calls.jsonl");
        std::fs::write(&log, "no line\n{\"event\":7}\n").unwrap();
        let mut file = File::create(&calls).unwrap();
        for (hour, user, outcome) in [
            (1, "u_1", "allowed"),
            (5, "u_2", "refused"),
            (5, "u_1", "allowed"),
        ] {
            file.write_all(line(hour, user, outcome).as_bytes())
                .unwrap();
        }
        let wanted = Wanted {
            since: "2026-11-29T00:00:00Z".to_owned(),
            ..Wanted::default()
        };
        let report = read(&[log.clone(), calls.clone()], &wanted, bars()).unwrap();
        assert_eq!((report.all.counts[1], report.all.counts[5]), (1, 2));
        assert_eq!((report.all.refused[1], report.all.refused[5]), (0, 1));
        assert_eq!(report.users["u_1"].counts.iter().sum::<u32>(), 2);
        assert_eq!(report.tools["search"].counts.iter().sum::<u32>(), 3);
        assert!(report.lines[0].time > report.lines[2].time && report.begins.is_none());
        let of_one = Wanted {
            filter: AuditFilter {
                user: "u_2".to_owned(),
                ..AuditFilter::default()
            },
            ..wanted.clone()
        };
        let report = read(&[log.clone(), calls.clone()], &of_one, bars()).unwrap();
        assert_eq!(report.lines.len(), 1);
        let later = Wanted {
            since: "2026-11-29T05:00:00Z".to_owned(),
            ..wanted
        };
        assert_eq!(read(&[log, calls], &later, bars()).unwrap().lines.len(), 2);
    }

    #[test]
    fn a_line_in_the_first_second_is_among_those_that_are_wanted() {
        let wanted = Wanted::new(bars().since, AuditFilter::default());
        let at = |time: &'static str| Line {
            time: time.into(),
            ..Line::default()
        };
        assert!(wanted.includes(&at("2026-11-29T00:00:00.000Z")));
        assert!(wanted.includes(&at("2026-11-29T00:00:00.500Z")));
        assert!(!wanted.includes(&at("2026-11-28T23:59:59.999Z")));
    }

    #[test]
    fn a_log_that_is_larger_than_is_read_says_where_it_was_begun() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let mut text = line(0, "u_old", "allowed");
        while text.len() < 1024 * 1024 {
            text.push_str(&line(3, "u_1", "allowed"));
        }
        let mut file = File::create(&log).unwrap();
        for _ in 0..17 {
            file.write_all(text.as_bytes()).unwrap();
        }
        let wanted = Wanted {
            since: "2026-11-28T00:00:00Z".to_owned(),
            ..Wanted::default()
        };
        let report = read(&[log], &wanted, bars()).unwrap();
        assert!(report.begins.is_some());
        assert_eq!(report.lines.len(), SHOWN);
    }

    #[test]
    fn names_without_end_are_counted_together() {
        let mut counts = BTreeMap::new();
        for number in 0..MOST_NAMES + 50 {
            count(&mut counts, &format!("n{number}"), Some(0), false, bars());
        }
        assert_eq!(counts.len(), MOST_NAMES + 1);
        assert_eq!(counts["(others)"].counts[0], 50);
    }
}
