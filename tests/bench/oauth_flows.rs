//! Whole authorizations: a registered client asks again and again, in browsers that are logged in:
//! authorization request, consent page, consent, code, token. And registrations. The embedded store makes
//! each durable before it is acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::gateway::Owner;
use tests::oauth::OAuthClient;
use tokio::task::JoinSet;

use crate::accounts;
use crate::figure::Figure;
use crate::gateways::{Gateway, Setup};
use crate::programs;
use crate::rig::Plan;

/// Browsers, and programs that register, at the same time.
const TOGETHER: usize = 8;
/// How long each is done.
const LASTS: Duration = Duration::from_secs(4);
/// More registrations than anybody may make.
const LIMITS: &str = "\n[limits]\nregistrations_per_hour = 10000000\n";

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct OauthFlows {
    pub(crate) flows: Throughput,
    pub(crate) registrations: Throughput,
    /// The first flow of a browser, with the password.
    pub(crate) login: Duration,
}

/// Something done over and over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throughput {
    pub(crate) done: usize,
    pub(crate) elapsed: Duration,
    /// CPU time of the gateway for each, in microseconds.
    pub(crate) cpu: f64,
    /// The median, and what one in a hundred exceeds.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Throughput {
    fn rate(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    /// Share of one processor that the gateway used.
    fn busy(&self) -> f64 {
        self.cpu * self.rate() / 1e6
    }

    fn row(&self, name: &str) -> String {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "| {name} | {:.0} | {:.0} µs | {:.0} % | {:.1} ms | {:.1} ms |\n",
            self.rate(),
            self.cpu,
            self.busy() * 100.0,
            millis(self.p50),
            millis(self.p99),
        )
    }

    fn json(&self) -> Value {
        json!({
            "done": self.done,
            "per_second": self.rate(),
            "proxy_cpu_us": self.cpu,
            "proxy_busy": self.busy(),
            "p50_us": self.p50.as_secs_f64() * 1e6,
            "p99_us": self.p99.as_secs_f64() * 1e6,
        })
    }
}

impl OauthFlows {
    /// The table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "| {TOGETHER} at the same time | a second | CPU of the gateway for each | gateway busy | p50 | p99 |\n|---|---|---|---|---|---|\n"
        );
        text += &self
            .flows
            .row("whole authorizations: request, consent, code, token");
        text += &self.registrations.row("registrations");
        text + &format!(
            "\nThe browsers and programs are the limit where the gateway is not busy: what it could do itself is a second by the CPU of each. One authorization with name and password takes {:.0} ms, most of it the hash of the password.\n\n",
            self.login.as_secs_f64() * 1e3
        )
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "flows": self.flows.json(),
            "registrations": self.registrations.json(),
            "login_seconds": self.login.as_secs_f64(),
        })
    }

    /// For the comparison with another run.
    pub(crate) fn figures(&self) -> [Figure; 2] {
        [
            Figure::cpu("an authorization", self.flows.cpu),
            Figure::cpu("a registration", self.registrations.cpu),
        ]
    }
}

/// Authorizes and registers for a while.
pub(crate) async fn measure(plan: &Plan<'_>) -> Result<OauthFlows> {
    let folder = plan.folder.join("oauth-flows");
    std::fs::create_dir(&folder)?;
    let rest = plan.placement.rest.as_deref();
    let light = programs::light_backend(&folder, rest).await?;
    let gateway = Gateway::start(Setup {
        more: LIMITS,
        ..plan.setup("gateway-oauth", light.address)
    })
    .await?;
    let id = gateway.listening.id()?;
    let base = format!("http://{}", gateway.listening.address);
    let client = OAuthClient::register(&base, "Asks again").await?;
    let mut browsers = Vec::new();
    let mut login = Duration::MAX;
    for _ in 0..TOGETHER {
        let mut browser = Browser::default();
        let begun = Instant::now();
        authorize(&client, &mut browser).await?;
        login = login.min(begun.elapsed());
        browsers.push(browser);
    }
    let end = Instant::now() + LASTS;
    let flows = browsers.into_iter().map(|mut browser| {
        let client = client.clone();
        async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                authorize(&client, &mut browser).await?;
                took.push(begun.elapsed());
            }
            anyhow::Ok(took)
        }
    });
    let flows = throughput(id, flows).await.context("authorizations")?;
    let end = Instant::now() + LASTS / 2;
    let registrations = (0..TOGETHER).map(|number| {
        let base = base.clone();
        async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                // Each is another client: the same would be answered as before.
                let name = format!("Registers {number}.{}", took.len());
                OAuthClient::register(&base, &name).await?;
                took.push(begun.elapsed());
            }
            anyhow::Ok(took)
        }
    });
    let registrations = throughput(id, registrations).await;
    let registrations = registrations.context("registrations")?;
    gateway.listening.end().await;
    light.end().await;
    Ok(OauthFlows {
        flows,
        registrations,
        login,
    })
}

/// From the request to the token.
async fn authorize(client: &OAuthClient, browser: &mut Browser) -> Result<()> {
    let request = client.authorization();
    let owner = Owner::alice();
    let callback = client.walk(browser, &request, &owner, "Allow").await?;
    let verifier = &request.pkce.verifier;
    let reply = client.redeem(&callback.code(), verifier).await?;
    ensure!(
        reply.status == 200,
        "/token: {} {}",
        reply.status,
        reply.text
    );
    Ok(())
}

async fn throughput<T>(id: u32, workers: impl Iterator<Item = T>) -> Result<Throughput>
where
    T: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let before = accounts::cpu(id)?;
    let begun = Instant::now();
    let mut working = JoinSet::new();
    for worker in workers {
        working.spawn(worker);
    }
    let mut took = Vec::new();
    while let Some(worker) = working.join_next().await {
        took.extend(worker??);
    }
    let (elapsed, used) = (begun.elapsed(), accounts::cpu(id)? - before);
    took.sort_unstable();
    let last = took.len().checked_sub(1).context("nothing was done")?;
    Ok(Throughput {
        done: took.len(),
        elapsed,
        cpu: used / took.len() as f64,
        p50: took[last / 2],
        p99: took[last - last / 100],
    })
}
