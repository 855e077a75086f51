//! Renewal: once, by one replica, for all; and what becomes of an account that is not renewed any more.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner};
use tests::oauth::OAuthClient;
use tests::operator::done;
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp;

use super::url;

/// An authorization server that rotates its refresh tokens, and ends all where an old one is used again.
#[derive(Default)]
pub(crate) struct Server {
    /// The number of the last tokens; 0: nothing was given, or all was ended.
    last: usize,
    /// What was asked with a refresh token.
    pub(crate) renewals: usize,
    /// How long the access token of a code lasts, in seconds. What is renewed lasts an hour.
    pub(crate) lasts: u64,
    /// It answers nothing but this.
    pub(crate) only: Option<Answer>,
    /// It takes the next renewal, and its answer is lost.
    loses_answer: bool,
    /// How long its answer to a renewal takes.
    pub(crate) thinks: Duration,
    /// What was taken back.
    pub(crate) revoked: usize,
}

type Shared = Arc<Mutex<Server>>;

fn at_server(server: &Shared, request: &Recorded) -> Answer {
    let mut server = server.lock().expect("no test panicked here");
    if request.path() == "/revoke" {
        // With one token goes all that the client has of the person.
        server.revoked += 1;
        server.last = 0;
        return Answer::json(200, &json!({}));
    }
    let form: std::collections::BTreeMap<_, _> = ::url::form_urlencoded::parse(&request.body)
        .into_owned()
        .collect();
    let grant = form.get("grant_type").map_or("", String::as_str);
    if grant == "refresh_token" {
        server.renewals += 1;
    }
    if let Some(only) = &server.only {
        return only.clone();
    }
    let is_good = match grant {
        "authorization_code" => true,
        "refresh_token" => form["refresh_token"] == format!("rt~{}", server.last),
        _ => return Answer::json(200, &json!({})),
    };
    if !is_good {
        server.last = 0;
        return Answer::json(400, &json!({"error": "invalid_grant"}));
    }
    server.last += 1;
    let is_renewal = grant == "refresh_token";
    if is_renewal && std::mem::take(&mut server.loses_answer) {
        return Answer::json(502, &json!({}));
    }
    let lasts = if is_renewal { 3600 } else { server.lasts };
    let last = server.last;
    let tokens = json!({"access_token": format!("at~{last}"), "refresh_token": format!("rt~{last}"), "expires_in": lasts});
    if is_renewal && !server.thinks.is_zero() {
        let json = ("Content-Type".into(), "application/json".into());
        let steps = vec![Step::Wait(server.thinks), Step::Send(tokens.to_string())];
        return Answer::Steps(200, vec![json], steps);
    }
    Answer::json(200, &tokens)
}

pub(crate) struct World {
    pub(crate) fixture: Fixture,
    server: Shared,
    _recorder: Recorder,
}

impl World {
    pub(crate) async fn start(store: StoreKind, lasts: u64) -> Result<Self> {
        let server = Shared::default();
        server.lock().expect("nobody else has it").lasts = lasts;
        let shared = Arc::clone(&server);
        let recorder = Recorder::start(move |request| at_server(&shared, request)).await?;
        let more = format!(
            "[backend.account]\nkind = \"oauth\"\nauthorization_endpoint = \"{0}/authorize\"\n\
             token_endpoint = \"{0}/token\"\nrevocation_endpoint = \"{0}/revoke\"\nclient_id = \"gateway\"\n",
            recorder.url()
        );
        let fixture = Fixture::with(store, |setup| setup.more(&more)).await?;
        let shared = Arc::clone(&server);
        // The backend takes what the server gave last.
        fixture.backend.play(move |request| {
            let last = shared.lock().expect("no test panicked here").last;
            let shown = request.header("authorization").unwrap_or_default();
            if last > 0 && shown == format!("Bearer at~{last}") {
                scripted_mcp::answer(request)
            } else {
                Answer::json(401, &json!({}))
                    .with("WWW-Authenticate", "Bearer error=\"invalid_token\"")
            }
        });
        Ok(Self {
            fixture,
            server,
            _recorder: recorder,
        })
    }

    pub(crate) fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().expect("no test panicked here")
    }

    pub(crate) async fn logged_in(&self, gateway: &Gateway) -> Result<(Browser, Page)> {
        let mut browser = Browser::default();
        let alice = Owner::alice();
        let page = browser.visit(&url(gateway, "/connect/main")).await?;
        let page = browser.log_in(&page, &alice.name, &alice.password).await?;
        Ok((browser, page))
    }

    /// Connects the account of alice.
    pub(crate) async fn connect(&self, browser: &mut Browser, page: &Page) -> Result<Page> {
        let form = page.form_with_button("Go there")?.press("Go there")?;
        let left = browser.submit(&form).await?;
        let to = left.location().with_context(|| left.words())?;
        let state = to.query_pairs().find(|(name, _)| name == "state");
        let state = state.context("it has a state")?.1.into_owned();
        let mut back = url(&self.fixture.gateway, "/connect/main/callback");
        back.query_pairs_mut()
            .append_pair("code", "a-code")
            .append_pair("state", &state);
        browser.visit(&back).await
    }

    /// Waits until the server was asked for so many renewals.
    pub(crate) async fn await_renewals(&self, count: usize) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.server().renewals < count {
            anyhow::ensure!(Instant::now() < until, "nobody renewed it");
            pause(20).await;
        }
        Ok(())
    }

    pub(crate) async fn states(&self) -> Result<Vec<Value>> {
        let words = ["accounts", "ls", "--json"];
        let listed = done(&self.fixture.gateway, &words, "").await?.json();
        Ok(listed["accounts"].as_array().cloned().unwrap_or_default())
    }
}

/// The consent page of an app, for whoever is logged in in this browser.
async fn consent(client: &OAuthClient, browser: &mut Browser) -> Result<Page> {
    browser.visit(&client.authorization().url()).await
}

/// The first such page whose words are as they should be.
async fn consent_until(
    client: &OAuthClient,
    browser: &mut Browser,
    is_so: impl Fn(&str) -> bool,
) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let page = consent(client, browser).await?;
        if is_so(&page.words()) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < until, "{}", page.words());
        pause(100).await;
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn shows_tools(words: &str) -> bool {
    words.contains("look")
}

fn is_not_renewed(words: &str) -> bool {
    words.contains("does not renew it")
}

#[tokio::test]
async fn a_token_that_is_over_is_renewed_once_for_all_who_wait_on_two_replicas() -> Result<()> {
    let world = World::start(StoreKind::Redis, 2).await?;
    let account = {
        let config = std::fs::read_to_string(world.fixture.gateway.folder().join("gateway.toml"))?;
        let at = config.find("[backend.account]").context("it is there")?;
        config[at..].to_owned()
    };
    let replica = world.fixture.replica(|setup| setup.more(&account)).await?;
    // The replica has the keys that seal, too: they share the folder.
    let (mut browser, page) = world.logged_in(&world.fixture.gateway).await?;
    world.connect(&mut browser, &page).await?;
    pause(2100).await;
    let mut asking = Vec::new();
    for number in 0..20 {
        let mut browser = browser.clone();
        let gateway = if number % 2 == 0 {
            &world.fixture.gateway
        } else {
            &replica
        };
        browser.public = Some(world.fixture.gateway.issuer().parse()?);
        let page = url(gateway, "/connect/main");
        asking.push(tokio::spawn(async move { browser.visit(&page).await }));
    }
    for asked in asking {
        let page = asked.await??;
        assert!(
            page.words().contains("You have connected one"),
            "{}",
            page.words()
        );
    }
    assert_eq!(world.server().renewals, 1);
    let states = world.states().await?;
    assert_eq!(states[0]["state"], "connected", "{states:?}");
    assert!(states[0]["renewed"].is_string(), "{states:?}");
    assert!(!format!("{states:?}").contains("at~"), "{states:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_renewed_any_more_is_to_be_connected_again_and_not_asked_for_over_and_over()
-> Result<()> {
    let world = World::start(StoreKind::Embedded, 3600).await?;
    let gateway = &world.fixture.gateway;
    let (mut browser, page) = world.logged_in(gateway).await?;
    world.connect(&mut browser, &page).await?;
    let client = world.fixture.client("Notes").await?;
    consent_until(&client, &mut browser, shows_tools).await?;
    // Ended at the other side: the backend does not take it any more, and nothing renews it.
    world.server().last = 0;
    consent_until(&client, &mut browser, is_not_renewed).await?;
    for _ in 0..3 {
        pause(1100).await;
        let page = consent(&client, &mut browser).await?;
        assert!(is_not_renewed(&page.words()), "{}", page.words());
    }
    assert_eq!(world.server().renewals, 1);
    let page = browser.visit(&url(gateway, "/connect/main")).await?;
    world.connect(&mut browser, &page).await?;
    consent_until(&client, &mut browser, shows_tools).await
}

#[tokio::test]
async fn a_rotated_token_whose_answer_is_lost_costs_one_connect_again() -> Result<()> {
    let world = World::start(StoreKind::Embedded, 1).await?;
    let gateway = &world.fixture.gateway;
    world.server().loses_answer = true;
    let (mut browser, page) = world.logged_in(gateway).await?;
    world.connect(&mut browser, &page).await?;
    let client = world.fixture.client("Notes").await?;
    pause(1100).await;
    consent_until(&client, &mut browser, |_| world.server().renewals > 0).await?;
    // It is not known what became of the renewal: nothing is lost yet.
    let states = world.states().await?;
    assert_eq!(states[0]["state"], "connected", "{states:?}");
    consent_until(&client, &mut browser, is_not_renewed).await?;
    world.server().lasts = 3600;
    let page = browser.visit(&url(gateway, "/connect/main")).await?;
    world.connect(&mut browser, &page).await?;
    consent_until(&client, &mut browser, shows_tools).await
}

#[tokio::test]
async fn while_the_server_is_away_a_token_is_good_until_its_end_and_nothing_is_lost() -> Result<()>
{
    let world = World::start(StoreKind::Embedded, 20).await?;
    let gateway = &world.fixture.gateway;
    let (mut browser, page) = world.logged_in(gateway).await?;
    world.connect(&mut browser, &page).await?;
    let connected = Instant::now();
    let client = world.fixture.client("Notes").await?;
    world.server().only = Some(Answer::json(503, &json!({})));
    // Its time to be renewed comes, and it is not over: the page that finds that out shows the tools.
    consent_until(&client, &mut browser, |words| {
        let is_tried = world.server().renewals > 0;
        assert!(!is_tried || shows_tools(words), "{words}");
        is_tried
    })
    .await?;
    // It is over. Nothing that the person could mend: no page asks to connect it again.
    tokio::time::sleep_until((connected + Duration::from_secs(21)).into()).await;
    let words = consent(&client, &mut browser).await?.words();
    assert!(!words.contains("Connect your account"), "{words}");
    let states = world.states().await?;
    assert_eq!(states[0]["state"], "connected", "{states:?}");
    assert!(!states[0]["renewed"].is_string(), "{states:?}");
    world.server().only = None;
    let until = Instant::now() + PATIENCE;
    while !world.states().await?[0]["renewed"].is_string() {
        anyhow::ensure!(Instant::now() < until, "nobody renewed it");
        consent(&client, &mut browser).await?;
        pause(500).await;
    }
    consent_until(&client, &mut browser, shows_tools).await
}
