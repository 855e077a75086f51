//! What each feature of the gateway costs a call: the same backend, asked in one round after the other
//! through gateways that differ in one thing, beside nginx.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::redis::Redis;

use crate::backend::{TOOLS, tool_name};
use crate::figure::Figure;
use crate::gateways::{Gateway, Setup};
use crate::load::{self, Bounds};
use crate::programs::{self, Listening};
use crate::report::{DIRECT, NGINX};
use crate::rig::Plan;
use crate::subject::{Loads, Sample, Subject};
use crate::wire::Call;

/// How many of the tools the limited tokens are for.
const CHOSEN: usize = 20;
/// The size of large answers, in bytes.
pub(crate) const MEBIBYTE: usize = 1 << 20;
/// Rules that ask for the arguments of what is called.
pub(crate) const POLICY: &str = "deny if tool(\"erase\"), argument(\"recursive\", true);
deny if tool(\"search\"), argument(\"query\", $query), $query.contains(\"secret\");
allow if true;
";

/// Rules that ask for nothing that differs from call to call, so that what they decided is remembered.
const STEADY_POLICY: &str = "deny if tool(\"erase\");
allow if true;
";
/// Limits of calls that nobody reaches: a rate, and calls and bytes a day.
pub(crate) const UNREACHED: &str = "
[[limit]]
name = \"calls\"
per = \"person\"
rate = \"1000000/second\"
calls_per_day = 1000000000

[[limit]]
name = \"bytes\"
per = \"grant\"
bytes_per_day = \"1000GB\"
";
/// Connections of the rows with many.
const MANY: usize = 64;

pub(crate) const ALL: &str = "everything: audit, chosen tools, policy with arguments";
pub(crate) const NO_POLICY: &str = "audit, chosen tools";
pub(crate) const PLAIN: &str = "audit";
pub(crate) const NO_AUDIT: &str = "audit off";
pub(crate) const LIST: &str = "`tools/list` of 60";
pub(crate) const LIST_CUT: &str = "`tools/list` of 60, cut to 20";
pub(crate) const EVENTS: &str = "1 MiB as events";
pub(crate) const EVENTS_CUT: &str = "1 MiB as events, chosen tools";
pub(crate) const PERSONAL: &str = "audit, personal token";
/// nginx with as many connections as [`PLAIN_MANY`].
pub(crate) const NGINX_MANY: &str = "nginx, checks nothing, 64 connections";
pub(crate) const PLAIN_MANY: &str = "audit, 64 connections";
pub(crate) const LIMITS: &str = "audit, limits of calls and bytes";
const STEADY: &str = "audit, policy without arguments";
const REDIS: &str = "audit, store in Redis";
/// Answers of other sizes and forms than the others': how many bytes, and whether as events.
const SIZES: [(&str, usize, bool); 5] = [
    ("200 B as JSON", 200, false),
    ("200 B as events", 200, true),
    ("16 KiB as JSON", 16 << 10, false),
    ("16 KiB as events", 16 << 10, true),
    ("1 MiB as JSON", MEBIBYTE, false),
];

/// What was measured.
pub(crate) struct Features {
    pub(crate) rows: Vec<(&'static str, Vec<Sample>)>,
    /// At half of what the gateway with everything on carries.
    pub(crate) half: HalfLoad,
}

/// Latencies at a fixed rate, in microseconds.
pub(crate) struct HalfLoad {
    /// Calls in a second.
    pub(crate) rate: f64,
    /// Median and 99th percentile of the backend alone, and through the gateway.
    pub(crate) direct: (f64, f64),
    pub(crate) gateway: (f64, f64),
}

impl HalfLoad {
    /// For the comparison with another run.
    pub(crate) fn figures(&self) -> [Figure; 2] {
        let added = |gateway: f64, direct: f64| (gateway - direct).max(0.0);
        [
            Figure::latency("half load, p50 added", added(self.gateway.0, self.direct.0)),
            Figure::latency("half load, p99 added", added(self.gateway.1, self.direct.1)),
        ]
    }

    /// A paragraph.
    pub(crate) fn markdown(&self) -> String {
        format!(
            "At half of what the gateway with everything on carries ({:.0} calls/s): p50 and p99 of the backend alone {:.0} and {:.0} µs, through the gateway {:.0} and {:.0} µs.\n\n",
            self.rate, self.direct.0, self.direct.1, self.gateway.0, self.gateway.1
        )
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "requests_per_second": self.rate,
            "direct_p50_us": self.direct.0,
            "direct_p99_us": self.direct.1,
            "gateway_p50_us": self.gateway.0,
            "gateway_p99_us": self.gateway.1,
        })
    }
}

struct Rig<'a> {
    redis: Redis,
    light: Listening,
    nginx: Listening,
    gateways: Vec<Gateway<'a>>,
    subjects: Vec<Subject>,
}

/// Every row once a round.
pub(crate) async fn measure(plan: &Plan<'_>, rounds: usize, loads: Loads) -> Result<Features> {
    let rig = Rig::start(plan).await?;
    let mut rows: Vec<(&'static str, Vec<Sample>)> = Vec::new();
    for subject in &rig.subjects {
        let warm = subject.warm_up(loads).await;
        warm.with_context(|| subject.name)?;
        rows.push((subject.name, Vec::new()));
    }
    for round in 1..=rounds {
        eprintln!("features, round {round} of {rounds}");
        for (subject, (_, samples)) in rig.subjects.iter().zip(&mut rows) {
            samples.push(subject.measure(loads).await?);
        }
    }
    let half = rig.half_load(&rows, loads.busy).await?;
    rig.end().await;
    Ok(Features { rows, half })
}

impl<'a> Rig<'a> {
    async fn start(plan: &Plan<'a>) -> Result<Self> {
        let folder = plan.folder;
        let (proxies, rest) = (
            plan.placement.proxies.as_deref(),
            plan.placement.rest.as_deref(),
        );
        let nginx_folder = folder.join("features");
        std::fs::create_dir(&nginx_folder)?;
        let light = programs::light_backend(&nginx_folder, rest).await?;
        let threads = plan.threads;
        let nginx = programs::nginx(&nginx_folder, proxies, threads, light.address).await?;
        let mut rig = Rig {
            redis: Redis::start().await?,
            light,
            nginx,
            gateways: Vec::new(),
            subjects: Vec::new(),
        };
        let (direct, nginx) = (rig.light.address, rig.nginx.address);
        rig.add(
            DIRECT,
            direct,
            None,
            Call::search("/mcp", &direct.to_string(), &[]),
        )?;
        let id = rig.nginx.id()?;
        for (name, connections) in [(NGINX, None), (NGINX_MANY, Some(MANY))] {
            let call = Call::search("/mcp", &nginx.to_string(), &[]);
            rig.add(name, nginx, Some(id), call)?.connections = connections;
        }
        rig.add_all(plan).await?;
        rig.add_plain(plan).await?;
        rig.add_one_by_one(plan).await?;
        Ok(rig)
    }

    async fn add_all(&mut self, plan: &Plan<'a>) -> Result<()> {
        let gateway = Gateway::start(Setup {
            policy: Some(POLICY),
            ..plan.setup("gateway-all", self.light.address)
        })
        .await?;
        let chosen = gateway.token_for(&chosen()).await?;
        self.add_through(ALL, &gateway, &chosen, Call::search)?;
        self.gateways.push(gateway);
        Ok(())
    }

    async fn add_plain(&mut self, plan: &Plan<'a>) -> Result<()> {
        let gateway = Gateway::start(plan.setup("gateway-plain", self.light.address)).await?;
        let (whole, chosen) = (
            gateway.token("/").await?,
            gateway.token_for(&chosen()).await?,
        );
        self.add_through(NO_POLICY, &gateway, &chosen, Call::search)?;
        self.add_through(PLAIN, &gateway, &whole, Call::search)?;
        let personal = gateway.personal_token().await?;
        self.add_through(PERSONAL, &gateway, &personal, Call::search)?;
        let many = self.add_through(PLAIN_MANY, &gateway, &whole, Call::search)?;
        many.connections = Some(MANY);
        let list = |_: &str, host: &str, headers: &[(&str, &str)]| Call::list(host, headers);
        self.add_through(LIST, &gateway, &whole, list)?;
        self.add_through(LIST_CUT, &gateway, &chosen, list)?;
        let events = |_: &str, host: &str, headers: &[(&str, &str)]| {
            Call::large(host, headers, MEBIBYTE, true)
        };
        self.add_through(EVENTS, &gateway, &whole, events)?;
        self.add_through(EVENTS_CUT, &gateway, &chosen, events)?;
        for (name, bytes, is_events) in SIZES {
            let sized = |_: &str, host: &str, headers: &[(&str, &str)]| {
                Call::large(host, headers, bytes, is_events)
            };
            self.add_through(name, &gateway, &whole, sized)?;
        }
        self.gateways.push(gateway);
        Ok(())
    }

    /// A gateway each, which differs from the plain one in one thing.
    async fn add_one_by_one(&mut self, plan: &Plan<'a>) -> Result<()> {
        let plain = |name| plan.setup(name, self.light.address);
        let setups = [
            (
                STEADY,
                Setup {
                    policy: Some(STEADY_POLICY),
                    ..plain("gateway-steady-policy")
                },
            ),
            (
                NO_AUDIT,
                Setup {
                    more: "\n[audit]\nfile = \"off\"\n",
                    ..plain("gateway-no-audit")
                },
            ),
            (
                LIMITS,
                Setup {
                    more: UNREACHED,
                    ..plain("gateway-limits")
                },
            ),
            (
                REDIS,
                Setup {
                    store: Some(self.redis.url()),
                    ..plain("gateway-store-in-redis")
                },
            ),
        ];
        for (name, setup) in setups {
            let gateway = Gateway::start(setup).await?;
            let whole = gateway.token("/").await?;
            self.add_through(name, &gateway, &whole, Call::search)?;
            self.gateways.push(gateway);
        }
        Ok(())
    }

    fn add_through(
        &mut self,
        name: &'static str,
        gateway: &Gateway<'_>,
        token: &str,
        call: impl Fn(&str, &str, &[(&str, &str)]) -> Call,
    ) -> Result<&mut Subject> {
        let address = gateway.listening.address;
        let bearer = format!("Bearer {token}");
        let call = call("/mcp", &address.to_string(), &[("Authorization", &bearer)]);
        self.add(name, address, Some(gateway.listening.id()?), call)
    }

    fn add(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        proxy: Option<u32>,
        call: Call,
    ) -> Result<&mut Subject> {
        self.subjects.push(Subject {
            name,
            address,
            call,
            proxy,
            backend: self.light.id()?,
            connections: None,
        });
        self.subjects.last_mut().context("one was just added")
    }

    async fn half_load(
        &self,
        rows: &[(&'static str, Vec<Sample>)],
        busy: Bounds,
    ) -> Result<HalfLoad> {
        let found = rows.iter().find(|(name, _)| *name == ALL);
        let (_, samples) = found.context("everything was measured")?;
        let mut rates: Vec<f64> = samples.iter().map(|sample| sample.busy.rate).collect();
        rates.sort_by(f64::total_cmp);
        let rate = rates[rates.len() / 2] / 2.0;
        let bounds = Bounds {
            time: busy.time.max(Duration::from_secs(3)),
            rate: Some(rate),
            ..busy
        };
        let mut latencies = Vec::new();
        for name in [DIRECT, ALL] {
            let subject = self.subjects.iter().find(|subject| subject.name == name);
            let subject = subject.context("it was measured")?;
            let outcome = load::run(subject.address, &subject.call, bounds, || ()).await?;
            latencies.push((outcome.percentile(0.5), outcome.percentile(0.99)));
        }
        Ok(HalfLoad {
            rate,
            direct: latencies[0],
            gateway: latencies[1],
        })
    }

    async fn end(self) {
        for gateway in self.gateways {
            gateway.listening.end().await;
        }
        self.nginx.end().await;
        self.light.end().await;
    }
}

pub(crate) fn chosen() -> Vec<String> {
    (0..TOOLS.min(CHOSEN)).map(tool_name).collect()
}
