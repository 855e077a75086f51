//! A clock of a gateway's own, which a test puts ahead while the gateway runs: what happens after minutes
//! or days is not waited for. Time that passes between two moments, such as a pause, stays as it is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::{http, mcp};

/// How long a gateway may take to know again what was revoked.
const PATIENCE: Duration = Duration::from_secs(20);

/// How far ahead of ours the clock of a program is, by libfaketime.
pub struct Clock {
    folder: TempDir,
}

impl Clock {
    /// One that goes like ours for now.
    pub fn new() -> Result<Self> {
        let clock = Self {
            folder: tempfile::tempdir()?,
        };
        clock.put_ahead(Duration::ZERO)?;
        Ok(clock)
    }

    /// What gives a program this clock.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            // It is read each time, not each ten seconds.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        variables
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// From now on it is so far ahead of ours.
    pub fn put_ahead(&self, by: Duration) -> Result<()> {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("+{}\n", by.as_secs()))?;
        Ok(std::fs::rename(new, self.file())?)
    }

    /// The same, and waits until a gateway of this clock takes calls with a token: what it knows of
    /// revocations is as old as the step at first, and read anew soon.
    pub async fn put_ahead_of(&self, by: Duration, gateway: &Gateway, token: &str) -> Result<()> {
        self.put_ahead(by)?;
        let issuer = gateway.issuer();
        let host = issuer.split("://").last().unwrap_or_default();
        let started = Instant::now();
        loop {
            let asked = mcp::post(&gateway.url("/mcp"), token, &mcp::initialize());
            let reply = http::send(asked.header("Host", host)).await?;
            if reply.status != 503 {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "{}", reply.text);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }
}

/// The library that changes a program's clock, where Debian puts it.
pub fn library() -> String {
    let folders = std::fs::read_dir("/usr/lib").expect("there is one");
    let library = |entry: std::fs::DirEntry| entry.path().join("faketime/libfaketimeMT.so.1");
    let mut found = folders.filter_map(|entry| entry.ok().map(library));
    let found = found.find(|path| path.exists());
    let found = found.expect("faketime is installed; tests/run does it");
    found.display().to_string()
}
