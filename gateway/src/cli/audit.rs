//! `gateway audit`: whether an audit log is as it was written, and what is in it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::audit::{Fault, Head, Line, PublicKey, Verifier};
use crate::cli::{Configuration, USAGE};
use crate::config::Config;
use crate::journal;
use crate::keys;

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
    /// The files, oldest first. Default: those of the configuration
    #[arg(value_name = "FILE")]
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
    /// From this moment on, such as 2026-11-24T00:00:00Z or 2026-11-24
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

pub(super) fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Verify(verify) => verify.run(),
        Command::Export(export) => export.run(),
        Command::Key(configuration) => match configuration.resolve() {
            Ok(config) => own_key(&config).map(|key| {
                println!("{key}");
                ExitCode::SUCCESS
            }),
            Err(code) => return code,
        },
    };
    done.unwrap_or_else(|sentence| {
        eprintln!("error: {sentence}");
        ExitCode::from(USAGE)
    })
}

/// The key that the keys folder gives. Nothing is made here: verifying changes nothing.
fn own_key(config: &Config) -> Result<PublicKey, String> {
    let folder = &config.keys_dir;
    if !folder.join("tags.key").is_file() {
        return Err(format!(
            "{} holds no keys; give --public-key",
            folder.display()
        ));
    }
    let keys = keys::open(folder, &mut rand::rngs::OsRng).map_err(|error| error.to_string())?;
    Ok(journal::checkpoint_key(&keys.tags).public())
}

impl Source {
    /// The files, and the key of their checkpoints. The configuration is read for what is missing.
    pub(super) fn open(&self) -> Result<(Vec<PathBuf>, PublicKey), String> {
        let config = || {
            self.configuration
                .resolve()
                .map_err(|_| "the configuration can't be used".to_owned())
        };
        let key = match &self.public_key {
            Some(text) => {
                PublicKey::parse(text.trim()).ok_or("--public-key takes 64 hexadecimal digits")?
            }
            None => own_key(&config()?)?,
        };
        if !self.files.is_empty() {
            return Ok((self.files.clone(), key));
        }
        let log = config()?
            .audit
            .ok_or("the configuration has no audit log; name its files")?;
        let files = journal::in_order(&log.file).map_err(|error| error.to_string())?;
        match files.is_empty() {
            true => Err(format!("{} is not there", log.file.display())),
            false => Ok((files, key)),
        }
    }
}

/// Something that a reader of the report has to know.
pub(super) enum Note {
    Broken(String),
    Unsure(String),
}

/// Reads files one after the other, and gives each good line to `each`.
pub(super) fn read(
    files: &[PathBuf],
    key: PublicKey,
    mut each: impl FnMut(&str, &Line) -> io::Result<()>,
) -> io::Result<(Verifier, Vec<Note>)> {
    let mut verifier = Verifier::new(key);
    let mut notes = Vec::new();
    for path in files {
        let mut reader = BufReader::new(File::open(path)?);
        let mut text = Vec::new();
        for number in 1_u64.. {
            text.clear();
            if reader.read_until(b'\n', &mut text)? == 0 {
                break;
            }
            let here = format!("{}:{number}", path.display());
            if text.pop_if(|byte| *byte == b'\n').is_none() {
                notes.push(Note::Unsure(format!(
                    "{here} is unfinished, as a crash leaves a line"
                )));
                break;
            }
            let line = match std::str::from_utf8(&text) {
                Ok(text) => verifier.read(text).map(|line| (text, line)),
                Err(_) => Err(Fault::Unreadable),
            };
            match line {
                Ok((text, line)) => each(text, &line)?,
                // The gateway begins anew where a file is damaged; its own log says so.
                Err(Fault::OtherChain(chain)) if number == 1 => {
                    notes.push(Note::Unsure(format!(
                        "{here} begins another chain, {}",
                        chain.as_str()
                    )));
                    verifier = Verifier::new(key);
                    if let Ok(text) = std::str::from_utf8(&text)
                        && let Ok(line) = verifier.read(text)
                    {
                        each(text, &line)?;
                    }
                }
                Err(fault) => {
                    notes.push(Note::Broken(format!("{here} {fault}")));
                    return Ok((verifier, notes));
                }
            }
        }
    }
    Ok((verifier, notes))
}

impl Verify {
    fn run(&self) -> Result<ExitCode, String> {
        let (files, key) = self.source.open()?;
        let mut expected: Vec<(u64, String)> = self
            .expect
            .iter()
            .map(|text| expectation(text).ok_or(format!("{text} is no SEQ:HASH")))
            .collect::<Result<_, _>>()?;
        let read = read(&files, key, |_, line| {
            let Head { seq, hash, .. } = &line.place.head;
            expected.retain(|(number, text)| number != seq || text != hash.as_str());
            Ok(())
        });
        let (verifier, mut notes) = read.map_err(|error| error.to_string())?;
        let report = verifier.report();
        let (first, last) = (
            report.first.unwrap_or(0),
            report.head.as_ref().map_or(0, |head| head.seq),
        );
        println!("{} records, numbers {first} to {last}", report.lines);
        if first > 1 {
            notes.push(Note::Unsure(format!(
                "numbers 1 to {} are in older files, or were removed",
                first - 1
            )));
        }
        match report.signed {
            Some(signed) => println!(
                "signed up to number {signed}; {} after it are chained and not signed yet",
                last.saturating_sub(signed)
            ),
            None => notes.push(Note::Unsure("no checkpoint signs any of them".to_owned())),
        }
        notes.extend(expected.iter().map(|(seq, _)| {
            Note::Broken(format!("line {seq} with the expected hash is not there"))
        }));
        Ok(tell(&notes))
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
    fn run(&self) -> Result<ExitCode, String> {
        let (files, key) = self.source.open()?;
        let mut out = io::stdout().lock();
        let (_, notes) = read(&files, key, |text, line| match self.wants(line) {
            true => writeln!(out, "{text}"),
            false => Ok(()),
        })
        .map_err(|error| error.to_string())?;
        let mut worst = 0;
        for note in &notes {
            let (Note::Broken(sentence) | Note::Unsure(sentence)) = note;
            eprintln!("note: {sentence}");
            worst = match note {
                Note::Broken(_) => BROKEN,
                Note::Unsure(_) => worst,
            };
        }
        Ok(ExitCode::from(worst))
    }

    /// Times are compared as texts: RFC 3339 in UTC sorts as time does.
    fn wants(&self, line: &Line) -> bool {
        let time = line.text("time").unwrap_or_default();
        let is = |name: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| line.text(name) == Some(wanted))
        };
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
            && is("user", &self.user)
            && is("client", &self.client)
            && is("grant", &self.grant)
            && is("event", &self.event)
            && is("outcome", &self.outcome)
    }
}
