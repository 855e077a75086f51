//! Renewal: once, by one replica, for all; and what becomes of an account that is not renewed any more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner};
use tests::oauth::OAuthClient;
use tests::operator::done;
use tests::recorder::{Answer, Recorded, Recorder};
use tests::scripted_mcp;

use super::url;

/// An authorization server that rotates its refresh tokens, and ends all where an old one is used again.
#[derive(Default)]
pub(crate) struct Server {
    /// The number of the last tokens; 0: nothing was given, or all was ended.
    last: usize,
    /// What was asked with a refresh token.
    pub(crate) renewals: usize,
    /// How long access tokens last, in seconds.
    pub(crate) lasts: u64,
    /// It answers nothing but this.
    pub(crate) only: Option<Answer>,
    /// It takes the next renewal, and its answer is lost.
    loses_answer: bool,
}

type Shared = Arc<Mutex<Server>>;

fn at_server(server: &Shared, request: &Recorded) -> Answer {
    let mut server = server.lock().expect("no test panicked here");
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
        "refresh_token" => form["refresh_token"] == format!("rt-{}", server.last),
        _ => return Answer::json(200, &json!({})),
    };
    if !is_good {
        server.last = 0;
        return Answer::json(400, &json!({"error": "invalid_grant"}));
    }
    server.last += 1;
    if std::mem::take(&mut server.loses_answer) {
        return Answer::json(502, &json!({}));
    }
    let (last, lasts) = (server.last, server.lasts);
    Answer::json(
        200,
        &json!({"access_token": format!("at-{last}"), "refresh_token": format!("rt-{last}"), "expires_in": lasts}),
    )
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
             token_endpoint = \"{0}/token\"\nclient_id = \"gateway\"\n",
            recorder.url()
        );
        let fixture = Fixture::with(store, |setup| setup.more(&more)).await?;
        let shared = Arc::clone(&server);
        // The backend takes what the server gave last.
        fixture.backend.play(move |request| {
            let last = shared.lock().expect("no test panicked here").last;
            let shown = request.header("authorization").unwrap_or_default();
            if last > 0 && shown == format!("Bearer at-{last}") {
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
        let mut back = url(&self.fixture.gateway, "/connect/callback");
        back.query_pairs_mut()
            .append_pair("code", "a-code")
            .append_pair("state", &state);
        browser.visit(&back).await
    }

    async fn states(&self) -> Result<Vec<Value>> {
        let words = ["accounts", "ls", "--json"];
        let listed = done(&self.fixture.gateway, &words, "").await?.json();
        Ok(listed["accounts"].as_array().cloned().unwrap_or_default())
    }
}

/// The consent page of a new app, for whoever is logged in in this browser.
async fn consent(gateway: &Gateway, browser: &mut Browser) -> Result<Page> {
    let client = OAuthClient::register(&gateway.origin(), "Notes").await?;
    browser.visit(&client.authorization().url()).await
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
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
    assert!(!format!("{states:?}").contains("at-"), "{states:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_renewed_any_more_is_to_be_connected_again_and_not_asked_for_over_and_over()
-> Result<()> {
    let world = World::start(StoreKind::Embedded, 2).await?;
    let gateway = &world.fixture.gateway;
    let (mut browser, page) = world.logged_in(gateway).await?;
    world.connect(&mut browser, &page).await?;
    let page = consent(gateway, &mut browser).await?;
    assert!(page.words().contains("look"), "{}", page.words());
    // Ended at the other side.
    world.server().last = 0;
    pause(2100).await;
    for _ in 0..3 {
        let page = consent(gateway, &mut browser).await?;
        assert!(
            page.words().contains("does not renew it"),
            "{}",
            page.words()
        );
        pause(1100).await;
    }
    assert_eq!(world.server().renewals, 1);
    let page = browser.visit(&url(gateway, "/connect/main")).await?;
    world.connect(&mut browser, &page).await?;
    let page = consent(gateway, &mut browser).await?;
    assert!(page.words().contains("look"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn a_rotated_token_whose_answer_is_lost_costs_one_connect_again() -> Result<()> {
    let world = World::start(StoreKind::Embedded, 2).await?;
    let gateway = &world.fixture.gateway;
    let (mut browser, page) = world.logged_in(gateway).await?;
    world.connect(&mut browser, &page).await?;
    world.server().loses_answer = true;
    pause(2100).await;
    // It is not known what became of the renewal: nothing is lost yet.
    consent(gateway, &mut browser).await?;
    let states = world.states().await?;
    assert_eq!(states[0]["state"], "connected", "{states:?}");
    pause(1500).await;
    let page = consent(gateway, &mut browser).await?;
    assert!(
        page.words().contains("does not renew it"),
        "{}",
        page.words()
    );
    let page = browser.visit(&url(gateway, "/connect/main")).await?;
    world.connect(&mut browser, &page).await?;
    let page = consent(gateway, &mut browser).await?;
    assert!(page.words().contains("look"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn while_the_server_is_away_a_token_is_good_until_its_end_and_nothing_is_lost() -> Result<()>
{
    let world = World::start(StoreKind::Embedded, 5).await?;
    let gateway = &world.fixture.gateway;
    let (mut browser, page) = world.logged_in(gateway).await?;
    world.connect(&mut browser, &page).await?;
    world.server().only = Some(Answer::json(503, &json!({})));
    // Its time to be renewed has come, and it is not over.
    pause(4200).await;
    let page = consent(gateway, &mut browser).await?;
    assert!(page.words().contains("look"), "{}", page.words());
    pause(1500).await;
    let page = consent(gateway, &mut browser).await?;
    // Nothing that the person could mend: no page asks to connect it again.
    assert!(
        !page.words().contains("Connect your account"),
        "{}",
        page.words()
    );
    let states = world.states().await?;
    assert_eq!(states[0]["state"], "connected", "{states:?}");
    world.server().only = None;
    pause(8000).await;
    let page = consent(gateway, &mut browser).await?;
    assert!(page.words().contains("look"), "{}", page.words());
    Ok(())
}
