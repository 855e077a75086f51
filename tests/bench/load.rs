//! The load: a fixed number of keep-alive connections, each asking again as soon as it
//! was answered, bounded in time and in calls.
//!
//! Our own and not `wrk`, for three reasons: every answer is checked (status, the id of
//! this very call, no tool error), so that a fast refusal never counts as a fast answer;
//! connections are open and warm before the clock and the CPU accounts start; and
//! percentiles come from every single latency, sorted, not from a histogram. One thread,
//! requests prepared once and only their id rewritten: a call costs it about 10 µs of CPU,
//! as it costs `wrk`. The report says how busy the proxy was, which shows whether it, and
//! not the load, was the limit.
//!
//! The loop is closed: while a proxy stalls, its connections wait with it. Latencies under
//! load therefore compare proxies but promise nothing; those of one connection are the
//! round trip itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::wire::{self, Answer, Call, FIRST_ID};

/// No call may take longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls on each connection before the clock starts.
pub(crate) const WARM_UP: u64 = 20;

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at once.
    pub(crate) connections: usize,
    /// No call starts later than this.
    pub(crate) time: Duration,
    /// At most this many calls in all.
    pub(crate) calls: usize,
    /// Calls a second in all; as fast as they are answered when absent.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
pub(crate) struct Outcome {
    /// From the first call to the last answer.
    pub(crate) elapsed: Duration,
    /// In nanoseconds, ascending; one for each call.
    latencies: Vec<u64>,
    /// How often the other side asked to close a connection.
    pub(crate) reconnections: usize,
}

impl Outcome {
    /// Answered calls.
    pub(crate) fn calls(&self) -> usize {
        self.latencies.len()
    }

    /// Answered calls in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the calls did not exceed, in microseconds (nearest rank).
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.latencies.len() as f64).ceil() as usize;
        let index = rank.clamp(1, self.latencies.len().max(1)) - 1;
        self.latencies
            .get(index)
            .map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1000.0)
    }
}

/// Run the load; `started` is called once every connection is warm, before the first call counts.
pub(crate) async fn run(
    address: SocketAddr,
    call: &Call,
    bounds: Bounds,
    started: impl FnOnce(),
) -> Result<Outcome> {
    let warm = Arc::new(Barrier::new(bounds.connections + 1));
    let go = Arc::new(Barrier::new(bounds.connections + 1));
    let mut callers = JoinSet::new();
    for number in 0..bounds.connections {
        let (warm, go) = (Arc::clone(&warm), Arc::clone(&go));
        let mut caller = Caller::connect(address, call.clone(), number as u64).await?;
        let calls = bounds.calls / bounds.connections;
        let pause = bounds
            .rate
            .map(|rate| Duration::from_secs_f64(bounds.connections as f64 / rate));
        let first = pause.map(|pause| pause.mul_f64(number as f64 / bounds.connections as f64));
        callers.spawn(async move {
            let warmed_up = caller.warm_up().await;
            // Both barriers are passed even after an error, or the others would wait for ever.
            warm.wait().await;
            go.wait().await;
            warmed_up?;
            if let Some(first) = first {
                tokio::time::sleep(first).await;
            }
            let end = Instant::now() + bounds.time;
            caller.call_until(end, calls, pause).await
        });
    }
    warm.wait().await;
    started();
    let start = Instant::now();
    go.wait().await;

    let mut outcome = Outcome {
        elapsed: Duration::ZERO,
        latencies: Vec::new(),
        reconnections: 0,
    };
    while let Some(caller) = callers.join_next().await {
        let (latencies, reconnections) = caller??;
        outcome.latencies.extend(latencies);
        outcome.reconnections += reconnections;
    }
    outcome.elapsed = start.elapsed();
    outcome.latencies.sort_unstable();
    ensure!(outcome.calls() > 0, "no call was made");
    Ok(outcome)
}

/// One call on a connection of its own, and its answer.
pub(crate) async fn once(address: SocketAddr, call: &Call) -> Result<Answer> {
    let mut caller = Caller::connect(address, call.clone(), 0).await?;
    caller.call().await.map(|(answer, _)| answer)
}

/// One connection and what is asked on it.
struct Caller {
    address: SocketAddr,
    socket: TcpStream,
    call: Call,
    next_id: u64,
    held: Vec<u8>,
    reconnections: usize,
}

impl Caller {
    async fn connect(address: SocketAddr, call: Call, number: u64) -> Result<Self> {
        Ok(Caller {
            address,
            socket: connect(address).await?,
            call,
            // Ids of different connections never meet: a million calls lie between.
            next_id: FIRST_ID + number * 1_000_000,
            held: Vec::with_capacity(16 * 1024),
            reconnections: 0,
        })
    }

    async fn warm_up(&mut self) -> Result<()> {
        for _ in 0..WARM_UP {
            self.call_checked().await?;
        }
        Ok(())
    }

    async fn call_until(
        &mut self,
        end: Instant,
        most: usize,
        pause: Option<Duration>,
    ) -> Result<(Vec<u64>, usize)> {
        let mut latencies = Vec::with_capacity(64 * 1024);
        let mut next = Instant::now();
        while latencies.len() < most && Instant::now() < end {
            if let Some(pause) = pause {
                tokio::time::sleep_until(next.into()).await;
                next += pause;
            }
            latencies.push(self.call_checked().await?.as_nanos() as u64);
        }
        Ok((latencies, self.reconnections))
    }

    /// How long the answer took; a connection that it closes is opened anew afterwards.
    async fn call_checked(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let (answer, id) = self.call().await?;
        let took = start.elapsed();
        answer.expect_result(id)?;
        if answer.closes {
            self.reconnections += 1;
            self.socket = connect(self.address).await?;
        }
        Ok(took)
    }

    async fn call(&mut self) -> Result<(Answer, u64)> {
        let id = self.next_id;
        self.next_id += 1;
        let answer = tokio::time::timeout(PATIENCE, self.exchange(id))
            .await
            .with_context(|| format!("{} did not answer within {PATIENCE:?}", self.address))??;
        Ok((answer, id))
    }

    async fn exchange(&mut self, id: u64) -> Result<Answer> {
        self.socket.write_all(self.call.with_id(id)).await?;
        self.held.clear();
        loop {
            let read = self.socket.read_buf(&mut self.held).await?;
            ensure!(
                read > 0,
                "{} closed the connection before its answer was complete: {:?}",
                self.address,
                String::from_utf8_lossy(&self.held)
            );
            if let Some(answer) = wire::answer(&self.held)? {
                return Ok(answer);
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(address)
        .await
        .with_context(|| format!("connect to {address}"))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_latency_that_occurred() {
        let outcome = Outcome {
            elapsed: Duration::from_secs(1),
            latencies: (1..=200).map(|n| n * 1000).collect(),
            reconnections: 0,
        };
        assert_eq!(outcome.percentile(0.50), 100.0);
        assert_eq!(outcome.percentile(0.99), 198.0);
        assert_eq!(outcome.percentile(1.0), 200.0);
    }
}
