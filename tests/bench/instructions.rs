//! Instructions a call: counted by callgrind, so that they are the same however busy the machine is.
//!
//! What they are compared with is a ratio: the gateway's instructions against those of nginx, which
//! checks nothing, counted in the same run; of what is judged on its way, against the same unjudged. It
//! differs little from one processor to the next, and is kept beside this file. Whoever makes a call
//! dearer than [`GROWTH`] says why, and writes it anew.
//!
//! What this does not count: the kernel's work, and waiting.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tests::program::{self, workspace};

use crate::features::{
    ALL, EVENTS, EVENTS_CUT, LIMITS, LIST, LIST_CUT, MEBIBYTE, NO_AUDIT, PERSONAL, PLAIN, POLICY,
    UNREACHED, chosen,
};
use crate::gateways::{Gateway, Setup};
use crate::load::{self, Bounds};
use crate::programs::{self, Listening, find};
use crate::report::NGINX;
use crate::wire::Call;

/// By how much a ratio may grow unsaid.
const GROWTH: f64 = 0.05;
/// Calls that are not counted: caches fill, code is translated.
const WARM_UP: usize = 200;
const COUNTED: usize = 1000;
/// Of those with large answers, one so many-th of both is enough.
const LARGE: usize = 10;
/// Under callgrind a call takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one row needs for a call.
pub(crate) struct InstructionCount {
    /// As what it is kept; `None` for what the others are compared with.
    key: Option<&'static str>,
    name: &'static str,
    each: f64,
    /// What the ratio is to.
    against: &'static str,
    ratio: f64,
    /// What is kept of it, where that is asked for.
    kept: Option<f64>,
}

/// A gateway, and what is counted of it.
struct Program {
    name: &'static str,
    more: &'static str,
    policy: Option<&'static str>,
    rows: &'static [Row],
}

/// What calls are made with.
#[derive(Clone, Copy)]
enum Token {
    /// An access token for everything.
    Whole,
    /// One for chosen tools.
    Chosen,
    /// A personal token for everything.
    Personal,
}

impl Token {
    async fn make(self, gateway: &Gateway<'_>) -> Result<String> {
        match self {
            Self::Whole => gateway.token("/").await,
            Self::Chosen => gateway.token_for(&chosen()).await,
            Self::Personal => gateway.personal_token().await,
        }
    }
}

struct Row {
    /// As what it is kept.
    key: &'static str,
    name: &'static str,
    against: &'static str,
    token: Token,
    call: fn(&str, &[(&str, &str)]) -> Call,
    fewer: usize,
}

const fn small(key: &'static str, name: &'static str, against: &'static str, token: Token) -> Row {
    Row {
        key,
        name,
        against,
        token,
        call: |host, headers| Call::search("/mcp", host, headers),
        fewer: 1,
    }
}

const fn large(
    key: &'static str,
    name: &'static str,
    against: &'static str,
    token: Token,
    call: fn(&str, &[(&str, &str)]) -> Call,
) -> Row {
    Row {
        key,
        name,
        against,
        token,
        call,
        fewer: LARGE,
    }
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "counted-all",
        more: "",
        policy: Some(POLICY),
        rows: &[small("everything", ALL, NGINX, Token::Chosen)],
    },
    Program {
        name: "counted-plain",
        more: "",
        policy: None,
        rows: &[
            small("audit", PLAIN, NGINX, Token::Whole),
            small("personal", PERSONAL, PLAIN, Token::Personal),
            large("list", LIST, NGINX, Token::Whole, Call::list),
            large("list-cut", LIST_CUT, LIST, Token::Chosen, Call::list),
            large("events", EVENTS, NGINX, Token::Whole, events),
            large("events-cut", EVENTS_CUT, EVENTS, Token::Chosen, events),
        ],
    },
    Program {
        name: "counted-limits",
        more: UNREACHED,
        policy: None,
        rows: &[small("limits", LIMITS, PLAIN, Token::Whole)],
    },
    Program {
        name: "counted-no-audit",
        more: "\n[audit]\nfile = \"off\"\n",
        policy: None,
        rows: &[small("without-audit", NO_AUDIT, NGINX, Token::Whole)],
    },
];

fn events(host: &str, headers: &[(&str, &str)]) -> Call {
    Call::large(host, headers, MEBIBYTE, true)
}

impl InstructionCount {
    pub(crate) fn has_grown(&self) -> bool {
        self.kept
            .is_some_and(|kept| self.ratio > kept * (1.0 + GROWTH))
    }
}

/// Where the ratios are kept.
fn kept_in() -> PathBuf {
    workspace().join("tests/bench/instructions.json")
}

fn rows() -> impl Iterator<Item = &'static Row> {
    PROGRAMS.iter().flat_map(|program| program.rows)
}

/// The kept ratios, of these rows and no others. A row that is not kept yet is compared with nothing.
fn kept(text: &[u8]) -> Result<Map<String, Value>> {
    let kept: Map<String, Value> = serde_json::from_slice(text)?;
    let is_row = |key: &str| rows().any(|row| row.key == key);
    for (key, ratio) in &kept {
        ensure!(
            is_row(key) && ratio.is_number(),
            "instructions.json has {key}: {ratio}, which is the ratio of no row: --keep writes it anew"
        );
    }
    ensure!(
        !kept.is_empty(),
        "instructions.json has no rows: --keep writes them"
    );
    Ok(kept)
}

/// Counts every row. What is kept of each is read unless it is to be written anew.
pub(crate) async fn measure(folder: &Path, keep: bool) -> Result<Vec<InstructionCount>> {
    let kept = if keep {
        Map::new()
    } else {
        kept(&std::fs::read(kept_in())?)?
    };
    let light = programs::light_backend(folder, None).await?;
    let backend = light.address;
    let nginx = count_nginx(folder, backend).await?;
    let mut counted = vec![InstructionCount {
        key: None,
        name: NGINX,
        each: nginx,
        against: NGINX,
        ratio: 1.0,
        kept: None,
    }];
    for program in &PROGRAMS {
        let each = count_gateway(folder, program, backend).await?;
        for (row, each) in program.rows.iter().zip(each) {
            let against = counted.iter().find(|one| one.name == row.against);
            let against = against.context("it was counted before")?;
            counted.push(InstructionCount {
                key: Some(row.key),
                name: row.name,
                each,
                against: row.against,
                ratio: each / against.each,
                kept: kept.get(row.key).and_then(Value::as_f64),
            });
        }
    }
    light.end().await;
    Ok(counted)
}

/// Keeps the ratios for the next run.
pub(crate) fn keep(counted: &[InstructionCount]) -> Result<()> {
    let ratios = counted.iter().filter_map(|one| {
        let rounded = (one.ratio * 100.0).round() / 100.0;
        Some((one.key?.to_owned(), json!(rounded)))
    });
    let ratios: Map<String, Value> = ratios.collect();
    let text = serde_json::to_string_pretty(&Value::Object(ratios))? + "\n";
    Ok(std::fs::write(kept_in(), text)?)
}

/// The table.
pub(crate) fn markdown(counted: &[InstructionCount]) -> String {
    let mut text =
        "| | instructions a call | ratio | to | kept | |\n|---|---|---|---|---|---|\n".to_owned();
    for one in counted {
        let kept = one.kept.map_or("–".to_owned(), |kept| format!("{kept:.2}"));
        let verdict = if one.has_grown() {
            "**grown**"
        } else if one.key.is_some() && one.kept.is_none() {
            "not kept yet"
        } else {
            ""
        };
        let InstructionCount {
            name,
            each,
            against,
            ratio,
            ..
        } = one;
        text += &format!("| {name} | {each:.0} | {ratio:.2} | {against} | {kept} | {verdict} |\n");
    }
    text
}

async fn count_nginx(folder: &Path, backend: SocketAddr) -> Result<f64> {
    let under = callgrind(folder, "nginx")?;
    let nginx = programs::nginx_alone(folder, &under, backend).await?;
    let call = Call::search("/mcp", &nginx.address.to_string(), &[]);
    let mut counter = Counter::new(folder, "nginx", &nginx)?;
    let each = counter.count(&call, 1).await?;
    nginx.end().await;
    Ok(each)
}

async fn count_gateway(
    folder: &Path,
    program: &'static Program,
    backend: SocketAddr,
) -> Result<Vec<f64>> {
    let setup = Setup {
        more: program.more,
        policy: program.policy,
        ..Setup::new(program.name, folder, None, 1, backend)
    };
    // Passwords are dear, and dearer when they are counted: the tokens are made before.
    let gateway = Gateway::start(setup).await?;
    let mut calls = Vec::new();
    for row in program.rows {
        let token = row.token.make(&gateway).await?;
        calls.push((row, format!("Bearer {token}")));
    }
    let gateway = gateway
        .restart_under(callgrind(folder, program.name)?)
        .await?;
    let host = gateway.listening.address.to_string();
    let mut counter = Counter::new(folder, program.name, &gateway.listening)?;
    let mut counted = Vec::new();
    for (row, bearer) in calls {
        let call = (row.call)(&host, &[("Authorization", &bearer)]);
        counted.push(counter.count(&call, row.fewer).await?);
    }
    gateway.listening.end().await;
    Ok(counted)
}

/// The words that start a program under callgrind, which counts nothing yet.
fn callgrind(folder: &Path, name: &str) -> Result<Vec<String>> {
    Ok(vec![
        find("valgrind")?.display().to_string(),
        "--tool=callgrind".to_owned(),
        "--trace-children=yes".to_owned(),
        "--instr-atstart=no".to_owned(),
        format!("--callgrind-out-file={}", counts(folder, name).display()),
    ])
}

fn counts(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.callgrind"))
}

/// A program under callgrind.
struct Counter<'a> {
    program: &'a Listening,
    id: String,
    /// Where it writes what it counted, but for the number.
    counts: PathBuf,
    dumps: usize,
}

impl<'a> Counter<'a> {
    fn new(folder: &Path, name: &str, program: &'a Listening) -> Result<Self> {
        Ok(Self {
            program,
            id: program.id()?.to_string(),
            counts: counts(folder, name),
            dumps: 0,
        })
    }

    /// What one call needs. `fewer`: one so many-th of the calls are made.
    async fn count(&mut self, call: &Call, fewer: usize) -> Result<f64> {
        let bounds = |calls| Bounds {
            connections: 1,
            time: PATIENCE,
            calls: calls / fewer,
            rate: None,
        };
        let address = self.program.address;
        control(&["--instr=on", &self.id]).await?;
        load::run(address, call, bounds(WARM_UP), || ()).await?;
        control(&["--zero", &self.id]).await?;
        // The load has a few calls of its own before those that it counts, on its one connection.
        let made = load::run(address, call, bounds(COUNTED), || ()).await?;
        control(&["--dump", &self.id]).await?;
        self.dumps += 1;
        let dump = format!("{}.{}", self.counts.display(), self.dumps);
        let calls = made.calls() + load::WARM_UP as usize;
        Ok(total(&PathBuf::from(dump)).await? / calls as f64)
    }
}

async fn control(arguments: &[&str]) -> Result<()> {
    let (code, said, errors) = program::run(&find("callgrind_control")?, arguments, "").await?;
    ensure!(code == 0, "callgrind_control: {said}{errors}");
    Ok(())
}

/// What a dump sums up. It is written by the program that is counted, in its own time.
async fn total(dump: &Path) -> Result<f64> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(dump).unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        match total {
            Some(total) => return total.trim().parse().context("the sum of a dump"),
            None => ensure!(Instant::now() < deadline, "no dump in {}", dump.display()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn what_grows_by_more_than_a_twentieth_is_told() {
        let counted = |ratio| InstructionCount {
            key: Some("audit"),
            name: PLAIN,
            each: 1.0,
            against: NGINX,
            ratio,
            kept: Some(2.0),
        };
        assert!(!counted(2.09).has_grown());
        assert!(counted(2.11).has_grown());
        let table = markdown(&[counted(2.11)]);
        let row = format!("| 2.11 | {NGINX} | 2.00 | **grown** |");
        assert!(table.contains(&row), "{table}");
    }

    #[test]
    fn what_is_kept_is_of_these_rows_and_a_new_row_is_not_kept_yet() {
        let now = std::fs::read(kept_in()).unwrap();
        assert!(kept(&now).unwrap().len() <= rows().count());
        assert_eq!(kept(br#"{"audit": 2}"#).unwrap().len(), 1);
        for other in [
            "{}",
            r#"{"everything": 1, "audit": 2, "without": 3}"#,
            r#"{"everything": 1, "audit": 2, "without-audit": null}"#,
        ] {
            assert!(kept(other.as_bytes()).is_err(), "{other}");
        }
        let new = InstructionCount {
            key: Some("personal"),
            name: PERSONAL,
            each: 1.0,
            against: PLAIN,
            ratio: 9.0,
            kept: None,
        };
        assert!(!new.has_grown());
        assert!(markdown(&[new]).contains("not kept yet"));
    }
}
