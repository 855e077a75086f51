//! One way to reach a backend, and one measurement of it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::accounts;
use crate::load::{self, Bounds};
use crate::wire::Call;

/// One way to reach a backend.
pub(crate) struct Subject {
    /// For the report.
    pub(crate) name: &'static str,
    /// Where calls go.
    pub(crate) address: SocketAddr,
    /// What is asked.
    pub(crate) call: Call,
    /// The process of the proxy, if there is one.
    pub(crate) proxy: Option<u32>,
    /// The process of the backend.
    pub(crate) backend: u32,
    /// Connections under load, where they are not those of the run.
    pub(crate) connections: Option<usize>,
}

/// How much each subject is asked in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loads {
    /// All connections, as fast as they are answered.
    pub(crate) busy: Bounds,
    /// One connection.
    pub(crate) alone: Bounds,
}

/// What one round of one subject gave.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Under load.
    pub(crate) busy: Figures,
    /// One caller at a time.
    pub(crate) alone: Figures,
}

/// Figures of one run of the load.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Answered calls.
    pub(crate) calls: usize,
    /// Calls in a second.
    pub(crate) rate: f64,
    /// Median latency, microseconds.
    pub(crate) p50: f64,
    /// 99th percentile, microseconds.
    pub(crate) p99: f64,
    /// Longest latency, microseconds: tells a stall of the machine from a slow program.
    pub(crate) longest: f64,
    /// CPU time of the proxy for each call, microseconds; 0 without one.
    pub(crate) proxy_cpu: f64,
    /// CPU time of the backend for each call, microseconds.
    pub(crate) backend_cpu: f64,
    /// CPU time of the load generator for each call, microseconds.
    pub(crate) load_cpu: f64,
    /// Share of one processor that the proxy used, 0 to its number of threads.
    pub(crate) proxy_busy: f64,
    /// Connections that the other side asked to close.
    pub(crate) reconnections: usize,
}

impl Figures {
    /// CPU time of proxy and backend for each call, microseconds.
    pub(crate) fn both_cpu(&self) -> f64 {
        self.proxy_cpu + self.backend_cpu
    }
}

impl Subject {
    /// One round.
    pub(crate) async fn measure(&self, loads: Loads) -> Result<Sample> {
        let busy = Bounds {
            connections: self.connections.unwrap_or(loads.busy.connections),
            ..loads.busy
        };
        Ok(Sample {
            busy: self.run(busy).await?,
            alone: self.run(loads.alone).await?,
        })
    }

    /// Load that is not counted.
    pub(crate) async fn warm_up(&self, loads: Loads) -> Result<()> {
        let bounds = Bounds {
            time: Duration::from_secs(1),
            ..loads.busy
        };
        load::run(self.address, &self.call, bounds, || ()).await?;
        Ok(())
    }

    /// An error unless a call with this token, or with none, is refused with 401.
    pub(crate) async fn expect_refusal(&self, call: &Call, why: &str) -> Result<()> {
        let answer = load::once(self.address, call).await?;
        ensure!(
            answer.status == 401,
            "{} answered {} to a token {why}",
            self.name,
            answer.status
        );
        Ok(())
    }

    async fn run(&self, bounds: Bounds) -> Result<Figures> {
        let accounts = || -> Result<[f64; 3]> {
            let proxy = self.proxy.map_or(Ok(0.0), accounts::cpu)?;
            Ok([proxy, accounts::cpu(self.backend)?, accounts::own_cpu()])
        };
        let mut before = None;
        let outcome = load::run(self.address, &self.call, bounds, || {
            before = Some(accounts());
        })
        .await?;
        let after = accounts()?;
        let before = before.expect("the load has started")?;
        let calls = outcome.calls() as f64;
        let each = |account: usize| (after[account] - before[account]) / calls;
        Ok(Figures {
            calls: outcome.calls(),
            rate: outcome.rate(),
            p50: outcome.percentile(0.50),
            p99: outcome.percentile(0.99),
            longest: outcome.percentile(1.0),
            proxy_cpu: each(0),
            backend_cpu: each(1),
            load_cpu: each(2),
            proxy_busy: each(0) * calls / 1e6 / outcome.elapsed.as_secs_f64(),
            reconnections: outcome.reconnections,
        })
    }
}
