//! Instructions a call: counted by callgrind, so that they are the same however busy the machine is.
//!
//! What they are compared with is a ratio: the gateway's instructions against those of nginx, which
//! checks nothing, counted in the same run. It differs little from one processor to the next, and is
//! kept beside this file. Whoever makes a call dearer than [`GROWTH`] says why, and writes it anew.
//!
//! What this does not count: the kernel's work, and waiting.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tests::program::{self, workspace};

use crate::features::{ALL, NO_AUDIT, PLAIN, POLICY, chosen};
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
/// Under callgrind a call takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// The rows: as what each is kept, what it is called, what its configuration says more, its policy.
const ROWS: [(&str, &str, &str, Option<&str>); 3] = [
    ("everything", ALL, "", Some(POLICY)),
    ("audit", PLAIN, "", None),
    (
        "without-audit",
        NO_AUDIT,
        "\n[audit]\nfile = \"off\"\n",
        None,
    ),
];

/// What one row needs for a call.
pub(crate) struct Counted {
    /// As what it is kept; `None` for what the others are compared with.
    key: Option<&'static str>,
    name: &'static str,
    each: f64,
    /// Against nginx.
    ratio: f64,
    /// What is kept of it, where that is asked for.
    kept: Option<f64>,
}

impl Counted {
    pub(crate) fn has_grown(&self) -> bool {
        self.kept
            .is_some_and(|kept| self.ratio > kept * (1.0 + GROWTH))
    }
}

/// Where the ratios are kept.
fn kept_in() -> PathBuf {
    workspace().join("tests/bench/instructions.json")
}

/// The kept ratios: of these rows, all of them and no others, or nothing would be compared.
fn kept(text: &[u8]) -> Result<Map<String, Value>> {
    let kept: Map<String, Value> = serde_json::from_slice(text)?;
    let is_complete = kept.len() == ROWS.len()
        && ROWS
            .iter()
            .all(|(key, ..)| kept.get(*key).is_some_and(Value::is_number));
    ensure!(
        is_complete,
        "instructions.json has other rows: --keep writes it anew"
    );
    Ok(kept)
}

/// Counts every row. What is kept of each is read unless it is to be written anew.
pub(crate) async fn measure(folder: &Path, keep: bool) -> Result<Vec<Counted>> {
    let kept = if keep {
        Map::new()
    } else {
        kept(&std::fs::read(kept_in())?)?
    };
    let light = programs::light_backend(folder, None).await?;
    let backend = light.address;
    let nginx = count_nginx(folder, backend).await?;
    let mut counted = vec![Counted {
        key: None,
        name: NGINX,
        each: nginx,
        ratio: 1.0,
        kept: None,
    }];
    for (key, name, more, policy) in ROWS {
        let each = count_gateway(folder, key, backend, more, policy).await?;
        counted.push(Counted {
            key: Some(key),
            name,
            each,
            ratio: each / nginx,
            kept: kept.get(key).and_then(Value::as_f64),
        });
    }
    light.end().await;
    Ok(counted)
}

/// Keeps the ratios for the next run.
pub(crate) fn keep(counted: &[Counted]) -> Result<()> {
    let ratios = counted.iter().filter_map(|one| {
        let rounded = (one.ratio * 100.0).round() / 100.0;
        Some((one.key?.to_owned(), json!(rounded)))
    });
    let ratios: Map<String, Value> = ratios.collect();
    let text = serde_json::to_string_pretty(&Value::Object(ratios))? + "\n";
    Ok(std::fs::write(kept_in(), text)?)
}

/// The table.
pub(crate) fn markdown(counted: &[Counted]) -> String {
    let mut text =
        "| | instructions a call | against nginx | kept | |\n|---|---|---|---|---|\n".to_owned();
    for one in counted {
        let kept = one.kept.map_or("–".to_owned(), |kept| format!("{kept:.2}"));
        let verdict = if one.has_grown() { "**grown**" } else { "" };
        let Counted {
            name, each, ratio, ..
        } = one;
        text += &format!("| {name} | {each:.0} | {ratio:.2} | {kept} | {verdict} |\n");
    }
    text
}

async fn count_nginx(folder: &Path, backend: SocketAddr) -> Result<f64> {
    let under = callgrind(folder, "nginx")?;
    let nginx = programs::nginx_alone(folder, &under, backend).await?;
    let call = Call::search("/mcp", &nginx.address.to_string(), &[]);
    let each = count(folder, "nginx", &nginx, &call).await?;
    nginx.end().await;
    Ok(each)
}

async fn count_gateway(
    folder: &Path,
    name: &'static str,
    backend: SocketAddr,
    more: &'static str,
    policy: Option<&'static str>,
) -> Result<f64> {
    let setup = |under| Setup {
        name,
        folder,
        processors: None,
        threads: 1,
        store: None,
        replica_of: None,
        backends: vec![("/", backend)],
        more,
        policy,
        under,
    };
    // Passwords are dear, and dearer when they are counted: the token is made before.
    let gateway = Gateway::start(setup(Vec::new())).await?;
    let token = match policy {
        Some(_) => gateway.token_for(&chosen()).await?,
        None => gateway.token("/").await?,
    };
    let gateway = gateway.restart_under(callgrind(folder, name)?).await?;
    let address = gateway.listening.address;
    let bearer = format!("Bearer {token}");
    let call = Call::search("/mcp", &address.to_string(), &[("Authorization", &bearer)]);
    let each = count(folder, name, &gateway.listening, &call).await?;
    gateway.listening.end().await;
    Ok(each)
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

async fn count(folder: &Path, name: &str, program: &Listening, call: &Call) -> Result<f64> {
    let id = program.id()?.to_string();
    let bounds = |calls| Bounds {
        connections: 1,
        time: PATIENCE,
        calls,
        rate: None,
    };
    control(&["--instr=on", &id]).await?;
    load::run(program.address, call, bounds(WARM_UP), || ()).await?;
    control(&["--zero", &id]).await?;
    // The load has a few calls of its own before those that it counts, on its one connection.
    let made = load::run(program.address, call, bounds(COUNTED), || ()).await?;
    control(&["--dump", &id]).await?;
    let calls = made.calls() + load::WARM_UP as usize;
    Ok(total(&PathBuf::from(format!(
        "{}.1",
        counts(folder, name).display()
    )))
    .await?
        / calls as f64)
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
        let counted = |ratio| Counted {
            key: Some("audit"),
            name: PLAIN,
            each: 1.0,
            ratio,
            kept: Some(2.0),
        };
        assert!(!counted(2.09).has_grown());
        assert!(counted(2.11).has_grown());
        let table = markdown(&[counted(2.11)]);
        assert!(table.contains("| 2.11 | 2.00 | **grown** |"), "{table}");
    }

    #[test]
    fn what_is_kept_is_of_these_rows() {
        let now = std::fs::read(kept_in()).unwrap();
        assert_eq!(kept(&now).unwrap().len(), ROWS.len());
        for other in [
            "{}",
            r#"{"everything": 1, "audit": 2}"#,
            r#"{"everything": 1, "audit": 2, "without": 3}"#,
            r#"{"everything": 1, "audit": 2, "without-audit": null}"#,
        ] {
            assert!(kept(other.as_bytes()).is_err(), "{other}");
        }
    }
}
