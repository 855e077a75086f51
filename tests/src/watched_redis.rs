//! Redis under sentinels, of the test's own: every server on a free port of the loopback.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::program::{Program, free_port};
use crate::redis::{Redis, server};

/// What the sentinels call the master.
pub const MASTER: &str = "main";
/// The password of Redis, whose user is `gateway`.
pub const PASSWORD: &str = "of-redis";
/// The password of the sentinels.
pub const SENTINEL_PASSWORD: &str = "of-sentinels";

/// How long it may take to come up, or to have another master.
const PATIENCE: Duration = Duration::from_secs(30);

/// A master, its replicas, and three sentinels.
pub struct WatchedRedis {
    /// The servers; the first was the master at the start.
    pub servers: Vec<Redis>,
    sentinels: Vec<(Program, TempDir, u16)>,
}

impl WatchedRedis {
    /// Starts them, and waits until all of them know of each other.
    pub async fn start(replicas: usize) -> Result<Self> {
        let mut servers: Vec<Redis> = Vec::new();
        for _ in 0..=replicas {
            let password = format!(">{PASSWORD}");
            let mut options = vec!["--user", "gateway", "on", &password, "~*", "&*", "+@all"];
            options.extend(["--masteruser", "gateway", "--masterauth", PASSWORD]);
            options.extend(["--repl-diskless-sync-delay", "0"]);
            let master = servers.first().map(|first| first.port.to_string());
            if let Some(port) = &master {
                options.extend(["--replicaof", "127.0.0.1", port]);
            }
            servers.push(Redis::with(&options).await?);
        }
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let (folder, port) = (tempfile::tempdir()?, free_port());
            let program = sentinel(folder.path(), port, servers[0].port)?;
            sentinels.push((program, folder, port));
        }
        let watched = Self { servers, sentinels };
        let deadline = Instant::now() + PATIENCE;
        while !watched.is_whole().await.unwrap_or(false) {
            ensure!(Instant::now() < deadline, "the sentinels don't come up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(watched)
    }

    async fn is_whole(&self) -> Result<bool> {
        let replicas = self.servers.len() - 1;
        let ask = ["SENTINEL", "MASTER", MASTER];
        for (_, _, port) in &self.sentinels {
            let said = Redis::ask(*port, Some(SENTINEL_PASSWORD), &ask).await?;
            let number = |name: &str| {
                let at = said.iter().position(|line| line == name)?;
                said.get(at + 2)?.parse::<usize>().ok()
            };
            let others = self.sentinels.len() - 1;
            if number("num-other-sentinels") != Some(others)
                || number("num-slaves") != Some(replicas)
            {
                return Ok(false);
            }
        }
        let said = Redis::ask(self.servers[0].port, None, &["INFO", "replication"]).await?;
        let online = said.iter().filter(|line| line.contains("state=online"));
        Ok(online.count() == replicas)
    }

    /// The value for `[store] url`.
    pub fn url(&self) -> String {
        let ports = self.sentinels.iter();
        let hosts: Vec<_> = ports
            .map(|(_, _, port)| format!("127.0.0.1:{port}"))
            .collect();
        format!(
            "redis+sentinel://gateway:{PASSWORD}@{}/{MASTER}?sentinel_pass={SENTINEL_PASSWORD}",
            hosts.join(",")
        )
    }

    /// Which of the servers the sentinels call the master.
    pub async fn master(&self) -> Result<usize> {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let said = Redis::ask(self.sentinels[0].2, Some(SENTINEL_PASSWORD), &ask).await?;
        let at = self
            .servers
            .iter()
            .position(|it| said.contains(&it.port.to_string()));
        at.ok_or_else(|| anyhow::anyhow!("no master of ours: {said:?}"))
    }

    /// Kill -9 of all sentinels.
    pub async fn kill_sentinels(&mut self) -> Result<()> {
        for (program, ..) in &mut self.sentinels {
            program.kill().await?;
        }
        Ok(())
    }

    /// Waits until all other servers follow the master again.
    pub async fn whole_again(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let master = self.servers[self.master().await?].port;
            let said = Redis::ask(master, None, &["INFO", "replication"]).await?;
            let online = said.iter().filter(|line| line.contains("state=online"));
            if online.count() == self.servers.len() - 1 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "a server does not come back: {said:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn sentinel(folder: &Path, port: u16, master: u16) -> Result<Program> {
    let configuration = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nrequirepass {SENTINEL_PASSWORD}\n\
         sentinel sentinel-pass {SENTINEL_PASSWORD}\n\
         sentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
         sentinel auth-user {MASTER} gateway\nsentinel auth-pass {MASTER} {PASSWORD}\n\
         sentinel down-after-milliseconds {MASTER} 1000\n\
         sentinel failover-timeout {MASTER} 4000\nsentinel parallel-syncs {MASTER} 5\n",
        folder.display()
    );
    let file = folder.join("sentinel.conf");
    std::fs::write(&file, configuration)?;
    let file = file.display().to_string();
    Program::start_bound(&server(), folder, &[file.as_str(), "--sentinel"], &[])
}
