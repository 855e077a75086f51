//! `gateway audit`: whether an audit log is as it was written, and what is in it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::configuration::Configuration;
use crate::cli::failed::Failed;
use crate::cli::moment::moment;
use crate::config::Config;
use crate::keys;
use gateway_core::audit::{Fault, Head, Line, PublicKey, Report, Verifier, time_text};
use gateway_store::journal;

/// The log is not as it was written.
const BROKEN: u8 = 2;
/// Nothing is wrong as far as could be seen, and not everything could.
const UNSURE: u8 = 1;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Find any line that was removed, changed, added or moved; exit 0 if there is none, 1 if not
    /// everything could be judged, 2 if there is one
    Verify(Verify),
    /// Print the records as JSON lines
    Export(Export),
    /// Print the public key that verifies this installation's checkpoints
    Key(Configuration),
}

#[derive(Debug, Args)]
pub(super) struct Source {
    /// Files, of each log the oldest first, or folders with those of any number of logs, such as one for each
    /// replica. Default: those of the configuration
    #[arg(value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// The key of the checkpoints, as `gateway audit key` prints it. Default: that of the
    /// configuration's keys
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
    #[command(flatten)]
    pub(super) configuration: Configuration,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    source: Source,
    /// A line that must be there, as the gateway's log names each checkpoint: what was cut off the
    /// end of a file is found by nothing else
    #[arg(long, value_name = "SEQ:HASH")]
    expect: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    source: Source,
    /// From this moment on, such as 2026-11-24T10:00:00Z, 2026-11-24T12:00:00+02:00 or 2026-11-24 (in UTC)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Of this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Of this grant
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// Of this event, such as login, consent, token, call
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// With this outcome: allowed, refused or failed
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Verify(verify) => verify.run(),
        Command::Export(export) => export.run(),
        Command::Key(configuration) => {
            println!("{}", own_key(&configuration.resolve_without_backend()?)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The key that the keys folder gives. Nothing is made here: verifying changes nothing.
fn own_key(config: &Config) -> Result<PublicKey, Failed> {
    let folder = &config.keys_dir;
    if !folder.join("tags.key").is_file() {
        let folder = folder.display();
        let sentence = format!("{folder} holds no keys; give --public-key");
        return Err(Failed::usage(sentence));
    }
    let keys = keys::open(folder, &mut rand::rngs::OsRng).map_err(Failed::usage)?;
    Ok(journal::checkpoint_key(&keys.tags).public())
}

impl Source {
    /// The files of each log, and the key of their checkpoints. The configuration is read for what
    /// is missing.
    pub(super) fn open(&self) -> Result<(Vec<LogFiles>, PublicKey), Failed> {
        let config = || {
            self.configuration.resolve_without_backend().map_err(|mut failed| {
                failed.sentences.push("the files and the key are looked for in the configuration: name the one that the gateway runs with (--config), or give FILE and --public-key".to_owned());
                failed
            })
        };
        let key = match &self.public_key {
            Some(text) => PublicKey::parse(text.trim())
                .ok_or_else(|| Failed::usage("--public-key takes 64 hexadecimal digits"))?,
            None => own_key(&config()?)?,
        };
        if !self.files.is_empty() {
            return Ok((journal::logs(&self.named()?), key));
        }
        let settings = config()?
            .audit
            .ok_or_else(|| Failed::usage("the configuration has no audit log; name its files"))?;
        let mut logs = Vec::new();
        for log in [settings.file.clone(), settings.calls_file()] {
            let files = journal::in_order(&log).map_err(Failed::usage)?;
            // Before there were two logs, the first one had everything.
            if !files.is_empty() {
                logs.push((log, files));
            }
        }
        if logs.is_empty() {
            let sentence = format!("{} is not there", settings.file.display());
            return Err(Failed::usage(sentence));
        }
        Ok((logs, key))
    }

    /// What is named, with all logs below the folders in it.
    fn named(&self) -> Result<Vec<PathBuf>, Failed> {
        let mut files = Vec::new();
        for path in &self.files {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let refused = |why: &dyn Display| Failed::usage(format!("{}{why}", path.display()));
            let below = journal::files_below(path);
            let below = below.map_err(|error| refused(&format!(": {error}")))?;
            if below.is_empty() {
                return Err(refused(&" holds no audit log (….jsonl, ….jsonl.000001)"));
            }
            files.extend(below);
        }
        Ok(files)
    }
}

/// A log by the name of the file that is appended to, and its files, oldest first.
pub(super) type LogFiles = (PathBuf, Vec<PathBuf>);

/// Something that a reader of the report has to know.
pub(super) enum Note {
    Broken(String),
    Unsure(String),
}

/// Reads logs side by side, and gives each good line to `each` in the order of their times.
pub(super) fn read<'f>(
    logs: &'f [LogFiles],
    key: PublicKey,
    mut each: impl FnMut(&str, &Line) -> io::Result<()>,
) -> io::Result<(Vec<Reading<'f>>, Vec<Note>)> {
    let mut readings = Vec::new();
    for (_, files) in logs {
        let mut reading = Reading::new(files, key);
        reading.advance()?;
        readings.push(reading);
    }
    loop {
        // RFC 3339 in UTC sorts as time does.
        let earliest = readings
            .iter_mut()
            .filter(|reading| reading.next.is_some())
            .min_by(|a, b| a.time().cmp(b.time()));
        let Some(reading) = earliest else { break };
        if let Some((text, line)) = &reading.next {
            each(text, line)?;
        }
        reading.advance()?;
    }
    let notes = readings.iter_mut().flat_map(|it| it.notes.drain(..));
    let notes = notes.collect();
    Ok((readings, notes))
}

/// One log, line after line.
pub(super) struct Reading<'f> {
    files: std::slice::Iter<'f, PathBuf>,
    open: Option<(&'f PathBuf, BufReader<File>, u64)>,
    key: PublicKey,
    verifier: Verifier,
    next: Option<(String, Line)>,
    notes: Vec<Note>,
}

impl<'f> Reading<'f> {
    fn new(files: &'f [PathBuf], key: PublicKey) -> Self {
        Self {
            files: files.iter(),
            open: None,
            key,
            verifier: Verifier::new(key),
            next: None,
            notes: Vec::new(),
        }
    }

    fn time(&self) -> &str {
        let next = self.next.as_ref();
        next.and_then(|(_, line)| line.text("time"))
            .unwrap_or_default()
    }

    /// Goes on to the next good line; there is none after one that is broken.
    fn advance(&mut self) -> io::Result<()> {
        self.next = None;
        while self.next.is_none() {
            let Some((path, reader, number)) = &mut self.open else {
                let Some(path) = self.files.next() else {
                    return Ok(());
                };
                self.open = Some((path, BufReader::new(File::open(path)?), 0));
                continue;
            };
            let mut text = Vec::new();
            if reader.read_until(b'\n', &mut text)? == 0 {
                self.open = None;
                continue;
            }
            *number += 1;
            let (here, is_first) = (format!("{}:{number}", path.display()), *number == 1);
            self.take(text, &here, is_first);
        }
        Ok(())
    }

    fn take(&mut self, mut text: Vec<u8>, here: &str, is_first: bool) {
        if text.pop_if(|byte| *byte == b'\n').is_none() {
            let sentence = format!("{here} is unfinished, as a crash leaves a line");
            self.notes.push(Note::Unsure(sentence));
            self.open = None;
            return;
        }
        let Ok(text) = String::from_utf8(text) else {
            return self.end(here, &Fault::Unreadable);
        };
        let mut read = self.verifier.read(&text);
        // The gateway begins anew where a file is damaged; its own log says so.
        if is_first && let Err(Fault::OtherChain(chain)) = &read {
            let sentence = format!("{here} begins another chain, {}", chain.as_str());
            self.notes.push(Note::Unsure(sentence));
            self.verifier = Verifier::new(self.key);
            read = self.verifier.read(&text);
        }
        match read {
            Ok(line) => self.next = Some((text, line)),
            Err(fault) => self.end(here, &fault),
        }
    }

    fn end(&mut self, here: &str, fault: &Fault) {
        self.notes.push(Note::Broken(format!("{here} {fault}")));
        self.open = None;
        self.files = [].iter();
    }
}

impl Verify {
    fn run(&self) -> Result<ExitCode, Failed> {
        let (logs, key) = self.source.open()?;
        let expected = self.expect.iter().map(|text| {
            expectation(text).ok_or_else(|| Failed::usage(format!("{text} is no SEQ:HASH")))
        });
        let mut expected: Vec<(u64, String)> = expected.collect::<Result<_, _>>()?;
        let read = read(&logs, key, |_, line| {
            let Head { seq, hash, .. } = &line.place.head;
            expected.retain(|(number, text)| number != seq || text != hash.as_str());
            Ok(())
        });
        let (readings, mut notes) = read.map_err(Failed::usage)?;
        for ((log, _), reading) in logs.iter().zip(&readings) {
            let of = match logs.as_slice() {
                [_] => String::new(),
                _ => format!("{}: ", log.display()),
            };
            summarize(&of, reading.verifier.report(), &mut notes);
        }
        notes.extend(expected.iter().map(|(seq, _)| {
            Note::Broken(format!("line {seq} with the expected hash is not there"))
        }));
        Ok(tell(&notes))
    }
}

/// What was read of one log; `of` is its name where there are more.
fn summarize(of: &str, report: &Report, notes: &mut Vec<Note>) {
    let (first, last) = (
        report.first.unwrap_or(0),
        report.head.as_ref().map_or(0, |head| head.seq),
    );
    println!("{of}{} records, numbers {first} to {last}", report.lines);
    if first > 1 {
        notes.push(Note::Unsure(format!(
            "{of}numbers 1 to {} are in older files, or were removed",
            first - 1
        )));
    }
    match report.signed {
        Some(signed) => println!(
            "{of}signed up to number {signed}; {} after it are chained and not signed yet",
            last.saturating_sub(signed)
        ),
        None => notes.push(Note::Unsure(format!("{of}no checkpoint signs any of them"))),
    }
}

fn expectation(text: &str) -> Option<(u64, String)> {
    let (seq, hash) = text.split_once(':')?;
    Some((seq.parse().ok()?, hash.to_owned()))
}

fn tell(notes: &[Note]) -> ExitCode {
    let mut worst = 0;
    for note in notes {
        match note {
            Note::Broken(sentence) => {
                println!("BROKEN: {sentence}");
                worst = BROKEN;
            }
            Note::Unsure(sentence) => {
                println!("note: {sentence}");
                worst = worst.max(UNSURE);
            }
        }
    }
    ExitCode::from(worst)
}

impl Export {
    fn run(&self) -> Result<ExitCode, Failed> {
        let span = Span::parse(self.since.as_deref(), self.until.as_deref())?;
        let (logs, key) = self.source.open()?;
        let mut out = io::stdout().lock();
        let read = read(&logs, key, |text, line| {
            if self.wants(line, &span) {
                writeln!(out, "{text}")
            } else {
                Ok(())
            }
        });
        let (_, notes) = read.map_err(Failed::usage)?;
        for Note::Broken(sentence) | Note::Unsure(sentence) in &notes {
            eprintln!("note: {sentence}");
        }
        let is_broken = notes.iter().any(|note| matches!(note, Note::Broken(_)));
        Ok(ExitCode::from(if is_broken { BROKEN } else { 0 }))
    }

    fn wants(&self, line: &Line, span: &Span) -> bool {
        let members = [
            ("user", &self.user),
            ("client", &self.client),
            ("grant", &self.grant),
            ("event", &self.event),
            ("outcome", &self.outcome),
        ];
        span.includes(line.text("time").unwrap_or_default())
            && members
                .iter()
                .all(|(name, wanted)| wanted.is_none() || line.text(name) == wanted.as_deref())
    }
}

/// The time of the lines that are meant, as texts that compare as those of lines do.
struct Span {
    since: Option<String>,
    until: Option<String>,
}

impl Span {
    /// Not by clap, whose exit code says of a log that it was changed.
    fn parse(since: Option<&str>, until: Option<&str>) -> Result<Self, Failed> {
        let text = |flag: &str, given: Option<&str>| -> Result<_, Failed> {
            let at = given.map(moment).transpose();
            let at = at.map_err(|sentence| Failed::usage(format!("{flag}: {sentence}")))?;
            Ok(at.map(|at| time_text(at).to_string()))
        };
        Ok(Self {
            since: text("--since", since)?,
            until: text("--until", until)?,
        })
    }

    fn includes(&self, time: &str) -> bool {
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failed::USAGE;

    #[test]
    fn a_line_is_in_the_second_that_it_was_written_in() {
        let time = "2026-11-24T10:00:00.500Z";
        let since = |text| Span::parse(Some(text), None).unwrap().includes(time);
        let until = |text| Span::parse(None, Some(text)).unwrap().includes(time);
        for (text, is_before) in [
            ("2026-11-24", true),
            ("2026-11-24T10:00:00Z", true),
            ("2026-11-24T12:00:00+02:00", true),
            ("2026-11-24T10:00:00.500Z", true),
            ("2026-11-24T10:00:00.501Z", false),
            ("2026-11-24T10:00:01Z", false),
            ("2026-11-24T10:00:00-00:01", false),
            ("2026-11-25", false),
        ] {
            assert_eq!(
                (since(text), until(text)),
                (is_before, !is_before),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_by_the_name_of_its_flag() {
        let code = |since, until| {
            Span::parse(since, until)
                .map_err(|failed| failed.code)
                .err()
        };
        assert_eq!(code(Some("24h"), None), Some(USAGE));
        assert_eq!(code(None, Some("yesterday")), Some(USAGE));
        let failed = Span::parse(Some("24h"), None).err().unwrap();
        assert!(
            failed.sentences[0].starts_with("--since: `24h`"),
            "{failed:?}"
        );
    }
}
