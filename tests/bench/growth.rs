//! What a store costs that has grown: the grants of others are written into it by the gateway's own
//! store, while no gateway runs, and what walks over them or stands beside them is timed: a start, the
//! operator's list of one person's grants, that person's page, a call.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gateway_core::clock::Clock;
use gateway_core::grants::{Grant, GrantId, UserId};
use gateway_store::{GrantsOf, Records, StoreError, StoreUrl};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::gateway::Owner;
use tests::redis::Redis;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::accounts;
use crate::figure::Figure;
use crate::gateways::{Gateway, Setup};
use crate::load::{self, Bounds};
use crate::programs;
use crate::rig::Plan;
use crate::wire::Call;

/// Grants in the store, one size after the other, where growth alone is measured.
pub(crate) const SIZES: [usize; 4] = [0, 10_000, 100_000, 1_000_000];
/// The same as a part of the whole run.
pub(crate) const SMALL_SIZES: [usize; 2] = [0, 10_000];

/// Written at the same time: half of what the embedded store lets wait.
const TOGETHER: usize = 512;
/// Grants of one person.
const EACH_PERSON: usize = 10;
/// How often a grant is written that the store did not take.
const ATTEMPTS: usize = 10;
/// How often what is quick is timed; the median counts.
const TIMES: usize = 3;

/// Where the grants are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreKind {
    Embedded,
    Redis,
}

impl StoreKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "Redis",
        }
    }
}

/// How long something took, and whether it came to what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timed {
    took: Duration,
    is_well: bool,
}

impl Timed {
    fn show(self) -> String {
        let failed = if self.is_well { "" } else { " (**failed**)" };
        format!("{:.1} ms{failed}", self.took.as_secs_f64() * 1e3)
    }
}

/// A store of one size.
#[derive(Clone, Debug)]
pub(crate) struct Grown {
    pub(crate) store: StoreKind,
    /// Grants of others.
    pub(crate) grants: usize,
    /// Until the gateway was healthy.
    pub(crate) start: Duration,
    /// Resident memory then, in bytes.
    pub(crate) resident: u64,
    /// `gateway grants ls --user`, from its start to its end.
    pub(crate) list: Timed,
    /// `/account` of somebody with two grants.
    pub(crate) account: Timed,
    /// The first call after the start.
    pub(crate) first_call: Duration,
    /// The median of those after it, in microseconds.
    pub(crate) call: f64,
}

/// The table.
pub(crate) fn markdown(grown: &[Grown]) -> String {
    if grown.is_empty() {
        return String::new();
    }
    let mut text = "| store | grants of others | start | memory then | `grants ls --user` | `/account` | first call | p50 of a call |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for one in grown {
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        text += &format!(
            "| {} | {} | {:.0} ms | {:.1} MiB | {} | {} | {} | {:.0} µs |\n",
            one.store.name(),
            one.grants,
            one.start.as_secs_f64() * 1e3,
            one.resident as f64 / 1024.0 / 1024.0,
            one.list.show(),
            one.account.show(),
            millis(one.first_call),
            one.call,
        );
    }
    text + "\nThe person who is asked for has two grants. A start counts until `/healthz` answers 200; the command includes the start of its own process.\n\n"
}

/// For machines.
pub(crate) fn json(grown: &[Grown]) -> Value {
    let one = |one: &Grown| {
        json!({
            "store": one.store.name(),
            "grants": one.grants,
            "start_seconds": one.start.as_secs_f64(),
            "resident_bytes": one.resident,
            "list_seconds": one.list.took.as_secs_f64(),
            "list_is_well": one.list.is_well,
            "account_seconds": one.account.took.as_secs_f64(),
            "account_is_well": one.account.is_well,
            "first_call_seconds": one.first_call.as_secs_f64(),
            "call_p50_us": one.call,
        })
    };
    grown.iter().map(one).collect()
}

/// For the comparison with another run.
pub(crate) fn figures(grown: &[Grown]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for one in grown {
        let of = format!("{} store of {} grants", one.store.name(), one.grants);
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let duration = |what, time| Figure::duration(format!("{of}: {what}"), millis(time));
        figures.push(duration("start", one.start));
        figures.push(duration("`grants ls --user`", one.list.took));
        figures.push(duration("`/account`", one.account.took));
        figures.push(duration("first call", one.first_call));
    }
    figures
}

/// One store through these sizes, in ascending order.
pub(crate) async fn measure(
    plan: &Plan<'_>,
    store: StoreKind,
    sizes: &[usize],
) -> Result<Vec<Grown>> {
    let redis = match store {
        StoreKind::Embedded => None,
        StoreKind::Redis => Some(Redis::start().await?),
    };
    let name = match store {
        StoreKind::Embedded => "growth-embedded",
        StoreKind::Redis => "growth-redis",
    };
    let folder = plan.folder.join(name);
    std::fs::create_dir(&folder)?;
    let light = programs::light_backend(&folder, plan.placement.rest.as_deref()).await?;
    let mut gateway = Gateway::start(Setup {
        store: redis.as_ref().map(Redis::url),
        folder: &folder,
        ..plan.setup("gateway", light.address)
    })
    .await?;
    let token = gateway.token("/").await?;
    // The second grant of the person who is asked for.
    gateway.token("/").await?;
    let mut browser = Browser::default();
    let mut grown = Vec::new();
    let mut filled = 0;
    for size in sizes {
        let url = gateway.store();
        eprintln!("growth, {} store: {size} grants", store.name());
        let fill = async || fill(&url, size - filled).await;
        let (restarted, start) = gateway.restart_after(fill).await?;
        gateway = restarted;
        filled = *size;
        let one = look(&gateway, store, filled, start, &token, &mut browser).await;
        grown.push(one.with_context(|| format!("{} store of {size} grants", store.name()))?);
    }
    gateway.listening.end().await;
    light.end().await;
    Ok(grown)
}

async fn look(
    gateway: &Gateway<'_>,
    store: StoreKind,
    grants: usize,
    start: Duration,
    token: &str,
    browser: &mut Browser,
) -> Result<Grown> {
    let address = gateway.listening.address;
    let resident = accounts::memory(gateway.listening.id()?)?;
    let bearer = format!("Bearer {token}");
    let call = Call::search("/mcp", &address.to_string(), &[("Authorization", &bearer)]);
    let begun = Instant::now();
    let answer = load::once(address, &call).await?;
    let first_call = begun.elapsed();
    anyhow::ensure!(answer.status == 200, "a call: {}", answer.status);
    let bounds = Bounds {
        connections: 1,
        time: Duration::from_millis(500),
        calls: usize::MAX,
        rate: None,
    };
    let calls = load::run(address, &call, bounds, || ()).await?;
    let owner = Owner::alice();
    let mut lists = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        let words = ["grants", "ls", "--user", &owner.name];
        let is_well = gateway.command(&words, "").await.is_ok();
        let took = begun.elapsed();
        lists.push(Timed { took, is_well });
    }
    let url = format!("http://{address}/account").parse()?;
    let page = browser.visit(&url).await?;
    if page.password_form().is_ok() {
        browser.log_in(&page, &owner.name, &owner.password).await?;
    }
    let mut pages = Vec::new();
    for _ in 0..TIMES {
        let page = browser.open(&url).await?;
        pages.push(Timed {
            took: page.reply.took,
            is_well: page.reply.status == 200,
        });
    }
    Ok(Grown {
        store,
        grants,
        start,
        resident,
        list: middle(lists),
        account: middle(pages),
        first_call,
        call: calls.percentile(0.5),
    })
}

fn middle<T: Ord>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    let at = values.len() / 2;
    values.swap_remove(at)
}

/// Writes so many grants, like one that is there, of people of their own.
async fn fill(url: &str, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let store = gateway_store::open(&StoreUrl::from_str(url)?, &Handle::current())?;
    let records = Records::new(store);
    let page = records.grants(GrantsOf::default(), None, 1, Clock.now());
    let mut pattern = page.await?.entries.pop().context("no grant is there")?;
    let mut writing = JoinSet::new();
    for number in 0..count {
        if number % EACH_PERSON == 0 {
            pattern.user = UserId::draw(&mut rand::thread_rng());
            pattern.user_name = format!("person-{number}");
        }
        pattern.id = GrantId::draw(&mut rand::thread_rng());
        if writing.len() == TOGETHER {
            let written = writing.join_next().await;
            written.context("there are some")???;
        }
        let (records, grant) = (records.clone(), pattern.clone());
        writing.spawn(async move { put(&records, &grant).await });
    }
    for written in writing.join_all().await {
        written?;
    }
    Ok(())
}

/// A store that is asked so much may be late.
async fn put(records: &Records, grant: &Grant) -> Result<(), StoreError> {
    let mut written = Ok(());
    for _ in 0..ATTEMPTS {
        written = records.put_grant(grant).await;
        if written.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    written
}
