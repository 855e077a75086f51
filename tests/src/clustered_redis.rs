//! A Redis Cluster of the test's own: three masters with a replica each, every one on a free port of the
//! loopback.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::program::free_port;
use crate::redis::Redis;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// How long it may take to come up, or to be whole again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Six servers.
pub struct ClusteredRedis {
    /// The masters at the start, then their replicas in the same order.
    pub servers: Vec<Redis>,
}

impl ClusteredRedis {
    /// Starts them, and waits until the cluster is whole.
    pub async fn start() -> Result<Self> {
        let (mut servers, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..2 * MASTERS {
            let bus = free_port().to_string();
            let mut options = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
            options.extend(["--cluster-node-timeout", "1500"]);
            options.extend(["--repl-diskless-sync-delay", "0"]);
            servers.push(Redis::with(&options).await?);
            buses.push(bus);
        }
        let first = servers[0].port.to_string();
        for (number, server) in servers.iter().enumerate() {
            let epoch = (number + 1).to_string();
            done(server, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
            if number < MASTERS {
                let from = (number * SLOTS).div_ceil(MASTERS).to_string();
                let to = (((number + 1) * SLOTS).div_ceil(MASTERS) - 1).to_string();
                done(server, &["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await?;
            }
            if number > 0 {
                done(server, &["CLUSTER", "MEET", "127.0.0.1", &first, &buses[0]]).await?;
            }
        }
        let clustered = Self { servers };
        let deadline = Instant::now() + PATIENCE;
        while !clustered.know_each_other().await? {
            ensure!(Instant::now() < deadline, "the servers don't meet");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for number in 0..MASTERS {
            let said = ask(&clustered.servers[number], &["CLUSTER", "MYID"]).await?;
            let replica = &clustered.servers[MASTERS + number];
            let id = said.last().map(String::as_str).unwrap_or_default();
            done(replica, &["CLUSTER", "REPLICATE", id]).await?;
        }
        clustered.whole_again().await?;
        Ok(clustered)
    }

    async fn know_each_other(&self) -> Result<bool> {
        for server in &self.servers {
            let nodes = ask(server, &["CLUSTER", "NODES"]).await?;
            let known = nodes.iter().filter(|line| line.contains("connected"));
            if known.count() < self.servers.len() || nodes.iter().any(|it| it.contains("handshake"))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The value for `[store] url`.
    pub fn url(&self) -> String {
        let hosts = self.servers.iter().take(MASTERS);
        let hosts: Vec<_> = hosts.map(|it| format!("127.0.0.1:{}", it.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// A server that is a master now; another one for each number.
    pub async fn master(&self, number: usize) -> Result<usize> {
        let mut masters = Vec::new();
        for (at, server) in self.servers.iter().enumerate() {
            let role = ask(server, &["INFO", "replication"]).await?;
            if role.iter().any(|line| line == "role:master") {
                masters.push(at);
            }
        }
        ensure!(masters.len() == MASTERS, "{masters:?} are masters");
        Ok(masters[number % MASTERS])
    }

    /// Waits until every master has a replica that follows.
    pub async fn whole_again(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut whole = true;
            for server in &self.servers {
                let info = ask(server, &["CLUSTER", "INFO"]).await?;
                let role = ask(server, &["INFO", "replication"]).await?;
                let ok = info.iter().any(|line| line.contains("cluster_state:ok"));
                let follows = role.iter().any(|line| line == "master_link_status:up");
                let leads = role.iter().any(|line| line.contains("state=online"));
                whole &= ok && (follows || leads);
            }
            if whole {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the cluster is not whole");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn ask(server: &Redis, words: &[&str]) -> Result<Vec<String>> {
    Redis::ask(server.port, None, words).await
}

async fn done(server: &Redis, words: &[&str]) -> Result<()> {
    let said = ask(server, words).await?;
    ensure!(said == ["+OK"], "{words:?}: {said:?}");
    Ok(())
}
