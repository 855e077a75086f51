//! One run of the suite, and what it found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::program::{Program, workspace};

/// A whole run; a single scenario is cut by the suite itself after 30 seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// Scenario to its checks in order: id, status, and what went wrong.
pub(crate) type Found = BTreeMap<String, Vec<(String, String, String)>>;

/// A started run.
pub(crate) struct Suite {
    program: Program,
    results: tempfile::TempDir,
}

impl Suite {
    /// Start it with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let results = tempfile::tempdir()?;
        let script = workspace().join(
            "tests/clients/apps/node_modules/@modelcontextprotocol/conformance/dist/index.js",
        );
        anyhow::ensure!(
            script.exists(),
            "the suite is missing: `tests/run` installs it"
        );
        let mut words = vec![script.display().to_string()];
        words.extend(arguments.iter().map(ToString::to_string));
        words.extend(["--output-dir".into(), results.path().display().to_string()]);
        let node: PathBuf = workspace().join("tests/.work/node");
        let program = Program::start(&node, results.path(), &words, &[])?;
        Ok(Suite { program, results })
    }

    /// The first line that it prints for which `found` holds.
    pub(crate) async fn line(&self, found: impl Fn(&str) -> bool) -> Option<String> {
        self.program
            .stdout
            .wait(Duration::from_secs(60), found)
            .await
    }

    /// Its end: the exit code and what it found.
    pub(crate) async fn end(mut self) -> Result<(i32, Found)> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let code = loop {
            if let Some(code) = self.program.ended() {
                break code;
            }
            let late = tokio::time::Instant::now() > deadline;
            anyhow::ensure!(!late, "not done in time\n{}", self.program.last_words());
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let found = read(self.results.path()).with_context(|| self.program.last_words())?;
        Ok((code, found))
    }
}

/// One folder a scenario: `server-NAME-TIME/checks.json`.
fn read(folder: &Path) -> Result<Found> {
    let mut found = Found::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let checks: Value = match std::fs::read_to_string(path.join("checks.json")) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => continue,
        };
        let cell = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let checks = checks.as_array().context("no array of checks")?;
        let checks = checks.iter().map(|check| {
            (
                cell(check, "id"),
                cell(check, "status"),
                cell(check, "errorMessage"),
            )
        });
        found.insert(scenario(&name), checks.collect());
    }
    anyhow::ensure!(!found.is_empty(), "it found nothing");
    Ok(found)
}

/// A folder's name without what changes from run to run.
fn scenario(folder: &str) -> String {
    const TIME: usize = "-2026-01-01T00-00-00-000Z".len();
    let end = folder.len().saturating_sub(TIME);
    folder.get(..end).unwrap_or(folder).to_owned()
}

/// How many checks have this status.
pub(crate) fn count(found: &Found, status: &str) -> usize {
    found
        .values()
        .flatten()
        .filter(|check| check.1 == status)
        .count()
}

/// Every scenario and check that is not the same in both, in words.
pub(crate) fn differences(direct: &Found, through: &Found) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = direct.keys().chain(through.keys()).collect();
    let mut differ = Vec::new();
    for name in names {
        let bare = |found: &Found| -> Vec<(String, String)> {
            let checks = found.get(name).into_iter().flatten();
            checks
                .map(|check| (check.0.clone(), check.1.clone()))
                .collect()
        };
        if bare(direct) != bare(through) {
            differ.push(format!(
                "{name}\n  direct: {:?}\n  through the gateway: {:?}",
                direct.get(name),
                through.get(name)
            ));
        }
    }
    differ
}
