//! How long the gateway takes from its start to its first answers, and how large it is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::program::{Program, binary};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::figure::Figure;
use crate::gateways::Gateway;
use crate::load;
use crate::programs;
use crate::report::Spread;
use crate::rig::Plan;
use crate::wire::Call;

/// How often it is started.
const STARTS: usize = 10;
/// Until it is asked again.
const PAUSE: Duration = Duration::from_micros(500);
/// No start may take longer.
const LONGEST: Duration = Duration::from_secs(60);
/// The programs whose size is told.
const PROGRAMS: [&str; 2] = ["gateway", "mcp-backend"];

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct ColdStart {
    /// Until `/healthz` answered 200, in milliseconds, one for each start.
    pub(crate) healthy: Vec<f64>,
    /// Until a call with a token that is there was answered.
    pub(crate) authorized: Vec<f64>,
    /// Each program and its size in bytes.
    pub(crate) sizes: Vec<(&'static str, u64)>,
}

impl ColdStart {
    /// The table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| | |\n|---|---|\n".to_owned();
        for (what, times) in [
            ("the first 200 of `/healthz`", &self.healthy),
            ("the first authorized call", &self.authorized),
        ] {
            let spread = Spread::new(times.clone()).show(1);
            text += &format!("| from the start of the program to {what} | {spread} ms |\n");
        }
        for (name, size) in &self.sizes {
            text += &format!("| size of `{name}` | {:.1} MB |\n", *size as f64 / 1e6);
        }
        text + "\n"
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let sizes: serde_json::Map<String, Value> = self
            .sizes
            .iter()
            .map(|(name, size)| ((*name).to_owned(), json!(size)))
            .collect();
        json!({
            "healthy_ms": self.healthy,
            "authorized_ms": self.authorized,
            "program_bytes": sizes,
        })
    }

    /// For the comparison with another run.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let median = |times: &Vec<f64>| Spread::new(times.clone()).median;
        let sizes = self.sizes.iter();
        let sizes = sizes.map(|(name, size)| Figure::file_size(format!("`{name}`"), *size as f64));
        [
            Figure::duration("start to healthy", median(&self.healthy)),
            Figure::duration("start to the first call", median(&self.authorized)),
        ]
        .into_iter()
        .chain(sizes)
        .collect()
    }
}

/// Starts a gateway again and again on the same state.
pub(crate) async fn measure(plan: &Plan<'_>) -> Result<ColdStart> {
    let folder = plan.folder.join("cold-start");
    std::fs::create_dir(&folder)?;
    let light = programs::light_backend(&folder, plan.placement.rest.as_deref()).await?;
    let gateway = Gateway::start(plan.setup("gateway-cold", light.address)).await?;
    let token = gateway.token("/").await?;
    let config = gateway.file("gateway.toml").display().to_string();
    let (address, admin) = (gateway.listening.address, gateway.admin);
    gateway.listening.end().await;
    let bearer = format!("Bearer {token}");
    let call = Call::search("/mcp", &address.to_string(), &[("Authorization", &bearer)]);
    let (mut healthy, mut authorized) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let begun = Instant::now();
        let words = ["serve", "--config", &config];
        let mut program = Program::start(&binary("gateway"), &folder, &words, &[])?;
        until(begun, &mut program, || is_healthy(admin)).await?;
        healthy.push(begun.elapsed().as_secs_f64() * 1e3);
        until(begun, &mut program, || is_authorized(address, &call)).await?;
        authorized.push(begun.elapsed().as_secs_f64() * 1e3);
        program.terminate(Duration::from_secs(10)).await?;
    }
    light.end().await;
    let mut sizes = Vec::new();
    for name in PROGRAMS {
        sizes.push((name, std::fs::metadata(binary(name))?.len()));
    }
    Ok(ColdStart {
        healthy,
        authorized,
        sizes,
    })
}

async fn until(begun: Instant, program: &mut Program, holds: impl AsyncFn() -> bool) -> Result<()> {
    while !holds().await {
        anyhow::ensure!(
            program.ended().is_none() && begun.elapsed() < LONGEST,
            "it does not start: {}",
            program.last_words()
        );
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn is_healthy(admin: SocketAddr) -> bool {
    status(admin).await.is_ok_and(|status| status == 200)
}

/// By hand: a client's own start would be counted.
async fn status(admin: SocketAddr) -> Result<u16> {
    let mut socket = TcpStream::connect(admin).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    let line = String::from_utf8_lossy(&answer);
    let code = line.split(' ').nth(1).context("no status")?;
    Ok(code.parse()?)
}

async fn is_authorized(address: SocketAddr, call: &Call) -> bool {
    let answer = load::once(address, call).await;
    answer.is_ok_and(|answer| answer.status == 200)
}
