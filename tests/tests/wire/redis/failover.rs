//! The master of Redis dies while people connect, apps renew and access is taken back. Nothing that was
//! acknowledged is lost, nothing is good twice, and whoever is refused meanwhile is told to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Owner;
use tests::http::{self, Reply};
use tests::mcp::{self, initialize};
use tests::oauth::OAuthClient;
use tests::redis::Redis;
use tests::watched_redis::WatchedRedis;

/// Who connects at the same time.
const PEOPLE: usize = 4;
/// By then a server that is gone is missed.
const NOTICED: Duration = Duration::from_millis(500);
/// More than `refresh_grace`.
const GRACE: Duration = Duration::from_millis(1200);
/// Nobody waits longer for a recovery.
const LONGEST: Duration = Duration::from_secs(20);

/// What one app was told.
#[derive(Default)]
struct Told {
    /// Requests of codes that were redeemed.
    redeemed: Vec<Vec<(String, String)>>,
    /// Refresh tokens that were exchanged twice ago.
    outdated: Vec<String>,
    /// Access tokens that were revoked.
    revoked: Vec<String>,
    /// Access tokens that were kept.
    kept: Vec<String>,
    /// Answers that were neither what was asked for nor an outage of ours.
    wrong: Vec<String>,
    outages: usize,
}

impl Told {
    /// Whether it was answered; an outage is told with when to come again.
    fn is_answered(&mut self, what: &str, reply: &Reply, wanted: &[u16]) -> bool {
        match reply.status {
            status if wanted.contains(&status) => true,
            503 if !reply.header("retry-after").is_empty() => {
                self.outages += 1;
                false
            }
            status => {
                self.wrong.push(format!("{what}: {status} {}", reply.text));
                false
            }
        }
    }
}

/// An app and its person, over and over: connect, call, renew, and give up every other connection.
struct App {
    client: OAuthClient,
    browser: Browser,
    told: Told,
}

impl App {
    async fn new(fixture: &Fixture) -> Result<Self> {
        let client = fixture.client("App").await?;
        let mut browser = Browser::default();
        let owner = Owner::alice();
        client
            .walk(&mut browser, &client.authorization(), &owner, "Allow")
            .await?;
        Ok(Self {
            client,
            browser,
            told: Told::default(),
        })
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Result<(OAuthClient, Told)> {
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            self.connect(round % 2 == 0).await?;
        }
        Ok((self.client, self.told))
    }

    async fn connect(&mut self, gives_up: bool) -> Result<()> {
        let request = self.client.authorization();
        let page = self.browser.visit(&request.url()).await?;
        if !self.told.is_answered("authorize", &page.reply, &[200]) {
            return Ok(());
        }
        let form = page.form_with_button("Allow")?.press("Allow")?;
        let sent = self.browser.submit(&form).await?;
        if !self.told.is_answered("consent", &sent.reply, &[302, 303]) {
            return Ok(());
        }
        let to = sent.location().context("no redirect")?;
        let code = to.query_pairs().find(|(name, _)| name == "code");
        let Some((_, code)) = code else {
            // Back to a page of ours: the answer of the form was not sure.
            self.told.wrong.push(format!("no code in {to}"));
            return Ok(());
        };
        let fields = self.client.token_request(&code, &request.pkce.verifier);
        let Some(answer) = self.insist("token", &fields).await? else {
            return Ok(());
        };
        self.told.redeemed.push(fields);
        let text = |answer: &serde_json::Value, name: &str| {
            answer[name].as_str().unwrap_or_default().to_owned()
        };
        let first = text(&answer, "refresh_token");
        let Some(second) = self
            .insist("refresh", &self.client.refresh_request(&first))
            .await?
        else {
            return Ok(());
        };
        let refresh = self.client.refresh_request(&text(&second, "refresh_token"));
        let Some(third) = self.insist("refresh", &refresh).await? else {
            return Ok(());
        };
        self.told.outdated.push(first);
        let token = text(&third, "access_token");
        let called = mcp::send(&format!("{}/mcp", self.client.base), &token, &initialize()).await?;
        self.told.is_answered("call", &called, &[200]);
        if !gives_up {
            self.told.kept.push(token);
            return Ok(());
        }
        let asked = Instant::now();
        loop {
            let reply = self.client.revoke(&token).await?;
            if self.told.is_answered("revoke", &reply, &[200]) {
                self.told.revoked.push(token);
                return Ok(());
            }
            anyhow::ensure!(asked.elapsed() < LONGEST, "no revocation");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks until there is an answer. After an outage a code may have been used up, and is refused then.
    async fn insist(
        &mut self,
        what: &str,
        fields: &[(String, String)],
    ) -> Result<Option<serde_json::Value>> {
        let (asked, outages) = (Instant::now(), self.told.outages);
        loop {
            let reply = self.client.token(fields).await?;
            let was_out = self.told.outages > outages;
            if was_out && reply.status == 400 && reply.error() == "invalid_grant" {
                return Ok(None);
            }
            if self.told.is_answered(what, &reply, &[200]) {
                return Ok(Some(reply.json()));
            }
            anyhow::ensure!(self.told.wrong.is_empty(), "{:?}", self.told.wrong);
            anyhow::ensure!(asked.elapsed() < LONGEST, "{what}: no answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What came of some failovers.
#[derive(Default)]
pub(super) struct Tally {
    recoveries: Vec<Duration>,
    redeemed: usize,
    pub(super) revoked: usize,
    pub(super) outages: usize,
}

/// A Redis that puts another server in the place of one that died.
pub(super) trait FailsOver {
    /// A master; over the failovers each in turn.
    async fn master(&self, failover: usize) -> Result<usize>;

    /// Its servers.
    fn servers(&mut self) -> &mut [Redis];

    /// Whether the dead one has to come back before everything is written again.
    const IS_MISSED: bool;

    /// Waits until nothing is missing.
    async fn whole_again(&self) -> Result<()>;
}

impl FailsOver for WatchedRedis {
    const IS_MISSED: bool = false;

    async fn master(&self, _: usize) -> Result<usize> {
        self.master().await
    }

    fn servers(&mut self) -> &mut [Redis] {
        &mut self.servers
    }

    async fn whole_again(&self) -> Result<()> {
        self.whole_again().await
    }
}

/// A gateway on this store, whose apps have refresh tokens.
pub(super) async fn on(url: String) -> Result<Fixture> {
    Fixture::with(StoreKind::Embedded, |mut setup| {
        setup.store = Some(url);
        setup.more("[tokens]\nrefresh = true\nrefresh_grace = \"1s\"\n")
    })
    .await
}

/// So many failovers, one after the other, and what came of them.
pub(super) async fn over_and_over<R: FailsOver>(
    fixture: &Fixture,
    redis: &mut R,
    failovers: usize,
    tally: &mut Tally,
) -> Result<()> {
    for failover in 0..failovers {
        fail_over(fixture, redis, failover, tally).await?;
    }
    tally.recoveries.sort();
    println!(
        "{failovers} failovers: {} codes redeemed, {} tokens revoked, {} answers 503; recovery {:?} at \
         the median, {:?} at most",
        tally.redeemed,
        tally.revoked,
        tally.outages,
        tally.recoveries[tally.recoveries.len() / 2],
        tally.recoveries.last().unwrap_or(&Duration::ZERO),
    );
    Ok(())
}

/// Kills a master under the work of a few apps, waits until one connects without a hitch, and looks at all
/// that anybody was told.
async fn fail_over<R: FailsOver>(
    fixture: &Fixture,
    redis: &mut R,
    failover: usize,
    tally: &mut Tally,
) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut working = Vec::new();
    for _ in 0..PEOPLE {
        let app = App::new(fixture).await?;
        working.push(tokio::spawn(app.run(Arc::clone(&stop))));
    }
    let mut probe = App::new(fixture).await?;
    let token = probe.client.sign_in(&fixture.owner).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let master = redis.master(failover).await?;
    redis.servers()[master].kill().await?;
    let killed = Instant::now();
    // Calls don't notice.
    let called = mcp::send(&fixture.url("/mcp"), &token, &initialize()).await?;
    assert_eq!(called.status, 200, "{}", called.text);
    if R::IS_MISSED {
        // As whoever looks after it starts it again, by when another has its place.
        tokio::time::sleep(Duration::from_secs(3)).await;
        redis.servers()[master].restart().await?;
    }
    loop {
        let (outages, redeemed) = (probe.told.outages, probe.told.redeemed.len());
        probe.connect(true).await?;
        let is_smooth = probe.told.outages == outages && probe.told.redeemed.len() > redeemed;
        if is_smooth && (killed.elapsed() > NOTICED || outages > 0) {
            break;
        }
        assert!(killed.elapsed() < LONGEST, "no recovery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tally.recoveries.push(killed.elapsed());
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    for app in working {
        let (client, told) = app.await??;
        look_at(fixture, &client, told, tally).await?;
    }
    look_at(fixture, &probe.client, probe.told, tally).await?;
    if !R::IS_MISSED {
        redis.servers()[master].restart().await?;
    }
    redis.whole_again().await
}

/// The answer of `/token`, once it is one: a server that just came back may keep a write waiting.
async fn decided(client: &OAuthClient, fields: &[(String, String)]) -> Result<Reply> {
    let asked = Instant::now();
    loop {
        let reply = client.token(fields).await?;
        if reply.status != 503 || asked.elapsed() > LONGEST {
            return Ok(reply);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn look_at(
    fixture: &Fixture,
    client: &OAuthClient,
    told: Told,
    tally: &mut Tally,
) -> Result<()> {
    assert_eq!(told.wrong, Vec::<String>::new());
    assert!(!told.redeemed.is_empty(), "nobody connected");
    for (tokens, wanted) in [(&told.revoked, 401), (&told.kept, 200)] {
        for token in tokens {
            let reply = mcp::send(&fixture.url("/mcp"), token, &initialize()).await?;
            assert_eq!(reply.status, wanted, "{}", reply.text);
        }
    }
    for fields in &told.redeemed {
        let reply = decided(client, fields).await?;
        assert_eq!(reply.status, 400, "a code is good twice: {}", reply.text);
    }
    // One that was lost on the way is good again for a moment (refresh_grace).
    tokio::time::sleep(GRACE).await;
    for refresh in &told.outdated {
        let reply = decided(client, &client.refresh_request(refresh)).await?;
        assert_eq!(
            reply.status, 400,
            "a refresh token is good twice: {}",
            reply.text
        );
    }
    tally.redeemed += told.redeemed.len();
    tally.revoked += told.revoked.len();
    tally.outages += told.outages;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_sentinels_loses_no_revocation_and_doubles_no_code() -> Result<()> {
    let mut redis = WatchedRedis::start(2).await?;
    let fixture = on(redis.url()).await?;
    let mut tally = Tally::default();
    over_and_over(&fixture, &mut redis, 1, &mut tally).await?;
    assert!(tally.revoked > 0 && tally.outages > 0);
    Ok(())
}

/// The long form: `cargo test -p tests --test wire fifty_failovers -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn fifty_failovers_of_sentinels_lose_no_revocation_and_double_no_code() -> Result<()> {
    let mut redis = WatchedRedis::start(2).await?;
    let fixture = on(redis.url()).await?;
    let mut tally = Tally::default();
    over_and_over(&fixture, &mut redis, 50, &mut tally).await
}

#[tokio::test]
async fn without_sentinels_a_gateway_says_at_readyz_what_it_misses() -> Result<()> {
    let mut redis = WatchedRedis::start(1).await?;
    let url = redis.url();
    let fixture = Fixture::with(StoreKind::Embedded, |mut setup| {
        setup.store = Some(url);
        setup
    })
    .await?;
    let ready = http::get(&fixture.gateway.admin_url("/readyz")).await?;
    assert_eq!(ready.status, 200, "{}", ready.text);
    redis.kill_sentinels().await?;
    let master = redis.master().await;
    assert!(master.is_err(), "no sentinel is left");
    redis.servers[0].kill().await?;
    let since = Instant::now();
    loop {
        let ready = http::get(&fixture.gateway.admin_url("/readyz")).await?;
        if ready.status == 503 && ready.text.contains("no sentinel answers") {
            return Ok(());
        }
        assert!(since.elapsed() < LONGEST, "{}", ready.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
