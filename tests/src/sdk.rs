//! The official SDKs as clients: the drivers of `tests/clients` go from discovery
//! through the real pages to a list of tools and calls of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::gateway::Owner;
use crate::program::workspace;

/// How long one run may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// An SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// 1.x: sessions.
    PythonV1,
    /// 2.x: asks for 2026-07-28 first.
    PythonV2,
    /// 1.x: sessions.
    TypeScriptV1,
    /// 2.x: asks for 2026-07-28 first.
    TypeScriptV2,
}

/// Which of the two transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// The older one: an event stream, and messages beside it.
    Sse,
}

/// What an SDK got to see.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The revision that was agreed on.
    pub protocol: String,
    /// Names of tools in order.
    pub tools: Vec<String>,
    /// The result of each call.
    pub results: Vec<Value>,
}

impl Seen {
    /// The text of the only item of a result.
    pub fn text(&self, call: usize) -> &str {
        let content = self.results[call]["content"].as_array();
        match content.map(Vec::as_slice) {
            Some([item]) => item["text"].as_str().unwrap_or_default(),
            _ => panic!("not one item: {}", self.results[call]),
        }
    }
}

/// Log in with the gateway at `url`, list the tools, and make these calls (name and arguments).
pub async fn call(
    sdk: Sdk,
    transport: Transport,
    url: &str,
    owner: &Owner,
    calls: &[(&str, Value)],
) -> Result<Seen> {
    let calls: Vec<Value> = calls
        .iter()
        .map(|(name, arguments)| json!({"name": name, "arguments": arguments}))
        .collect();
    let tests = workspace().join("tests");
    let python = |version: &str| tests.join(format!(".work/python-{version}/bin/python"));
    let node = tests.join(".work/node");
    let (interpreter, script): (PathBuf, &str) = match sdk {
        Sdk::PythonV1 => (python("v1"), "python_v1.py"),
        Sdk::PythonV2 => (python("v2"), "python_v2.py"),
        Sdk::TypeScriptV1 => (node, "ts_v1.mjs"),
        Sdk::TypeScriptV2 => (node, "ts_v2.mjs"),
    };
    assert!(
        interpreter.exists(),
        "{} is missing: `tests/run` installs it",
        interpreter.display()
    );
    let folder = tempfile::tempdir()?;
    let mut command = tokio::process::Command::new(interpreter);
    command
        .arg(tests.join("clients").join(script))
        .args(["--url", url, "--phase", "first", "--transport"])
        .arg(match transport {
            Transport::Http => "http",
            Transport::Sse => "sse",
        })
        .arg("--storage")
        .arg(folder.path().join("storage.json"))
        .args(["--calls", &Value::from(calls).to_string()])
        .env("OWNER_NAME", &owner.name)
        .env("OWNER_PASSWORD", &owner.password)
        .env("ALLOW_EVERYTHING", "1")
        .kill_on_drop(true);
    // A proxy of the machine is not asked for the way to loopback.
    for variable in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(variable);
        command.env_remove(variable.to_uppercase());
    }
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("{sdk:?} hangs"))??;
    let out = String::from_utf8_lossy(&output.stdout);
    let report: Value = out
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    anyhow::ensure!(
        output.status.success() && report["ok"] == true,
        "{sdk:?}: {out}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let strings = |value: &Value| -> Vec<String> {
        let values = value.as_array().into_iter().flatten();
        values
            .filter_map(|value| value.as_str().map(String::from))
            .collect()
    };
    Ok(Seen {
        protocol: report["protocol"].as_str().unwrap_or_default().to_owned(),
        tools: strings(&report["tools"]),
        results: report["called"].as_array().cloned().unwrap_or_default(),
    })
}
