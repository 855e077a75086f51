//! The operator at a terminal: the commands of the `gateway` binary against a running gateway.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::gateway::Gateway;
use crate::program::{binary, run};

/// What a command came to.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub errors: String,
}

impl CommandOutput {
    /// Standard output as JSON. Panics when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// `gateway WORDS… --config …` with the configuration of `gateway`, and `input` on standard input.
pub async fn command(gateway: &Gateway, words: &[&str], input: &str) -> Result<CommandOutput> {
    let config = gateway.folder().join("gateway.toml").display().to_string();
    let words: Vec<&str> = [words, &["--config", &config]].concat();
    let (code, out, errors) = run(&binary("gateway"), &words, input).await?;
    Ok(CommandOutput { code, out, errors })
}

/// The same; an error unless it ends with 0.
pub async fn done(gateway: &Gateway, words: &[&str], input: &str) -> Result<CommandOutput> {
    let commanded = command(gateway, words, input).await?;
    anyhow::ensure!(commanded.code == 0, "{words:?}: {commanded:?}");
    Ok(commanded)
}

/// The audit records of an event as `audit export` has them, once there is what is looked for: much is on
/// disk a moment after it was answered. What there is instead, after a while.
pub async fn exported(
    gateway: &Gateway,
    event: &str,
    is_there: impl Fn(&[Value]) -> bool,
) -> Result<Vec<Value>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let words = ["audit", "export", "--event", event];
        let out = done(gateway, &words, "").await?.out;
        let records: Vec<Value> = out
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        if is_there(&records) || Instant::now() > deadline {
            return Ok(records);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the commands show to the gateway.
pub fn token(gateway: &Gateway) -> Result<String> {
    let file = gateway.folder().join("keys/admin.token");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(text.trim().to_owned())
}
