//! Device authorization (RFC 8628): an app on another machine asks, a person answers in a browser, the app
//! comes for it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Page};
use tests::clock::Clock;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{initialize, message, response, send};
use tests::operator::done;
use tokio::task::JoinSet;

/// A client that the operator vouches for, without a secret.
const APP: &str = "[[client]]\nid = \"headless\"\nname = \"Headless\"\nredirect_uris = [\"http://127.0.0.1/cb\"]\ngrants = [\"authorization_code\", \"device_code\"]\n";

async fn fixture(store: StoreKind, more: &str) -> Result<Fixture> {
    let tables = format!("{APP}{more}");
    Fixture::with(store, |setup| setup.more(&tables)).await
}

/// The same with a clock that the test puts ahead.
async fn fixture_by(clock: &Clock, store: StoreKind) -> Result<Fixture> {
    Fixture::with(store, |setup| Setup {
        environment: clock.environment(),
        ..setup.more(APP)
    })
    .await
}

async fn begin(gateway: &Gateway, more: &[(&str, &str)]) -> Result<Reply> {
    let fields = [&[("client_id", "headless")], more].concat();
    http::post_form(&gateway.url("/device_authorization"), &fields).await
}

/// What an app has in its hands.
struct DeviceCodes {
    device_code: String,
    user_code: String,
    place: url::Url,
    complete: url::Url,
}

async fn asked(gateway: &Gateway) -> Result<DeviceCodes> {
    let reply = begin(gateway, &[]).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text);
    let said = reply.json();
    let text = |name: &str| {
        said[name]
            .as_str()
            .map(str::to_owned)
            .context(name.to_owned())
    };
    Ok(DeviceCodes {
        device_code: text("device_code")?,
        user_code: text("user_code")?,
        place: text("verification_uri")?.parse()?,
        complete: text("verification_uri_complete")?.parse()?,
    })
}

async fn poll(gateway: &Gateway, device_code: &str) -> Result<Reply> {
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", "headless"),
        ("device_code", device_code),
    ];
    http::post_form(&gateway.url("/token"), &fields).await
}

/// As long as an app waits between two questions.
async fn interval() {
    tokio::time::sleep(Duration::from_millis(5000)).await;
}

/// Types the code; where that leads.
async fn enter(browser: &mut Browser, place: &url::Url, code: &str) -> Result<Page> {
    let page = browser.visit(place).await?;
    let mut form = page.form_with_button("Go on")?;
    form.set("user_code", code);
    let next = browser.submit(&form).await?;
    browser.settle(next).await
}

/// Types the code and logs in: the consent page.
async fn consent(browser: &mut Browser, asked: &DeviceCodes, owner: &Owner) -> Result<Page> {
    let page = enter(browser, &asked.place, &asked.user_code).await?;
    browser.log_in(&page, &owner.name, &owner.password).await
}

async fn names(gateway: &Gateway, token: &str) -> Result<Vec<String>> {
    let list = message(5, "tools/list", &json!({}));
    let answer = response(&send(&gateway.url("/mcp"), token, &list).await?)?;
    let tools = answer["result"]["tools"].as_array().context("no list")?;
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    Ok(tools.iter().map(name).collect())
}

#[tokio::test]
async fn an_app_on_another_machine_gets_what_a_person_allows_in_a_browser() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let fixture = fixture(store, "[tokens]\nrefresh = true\n").await?;
        let gateway = &fixture.gateway;
        let asked = asked(gateway).await?;
        assert_eq!(asked.user_code.len(), 9, "{}", asked.user_code);
        let pending = poll(gateway, &asked.device_code).await?;
        assert_eq!(
            (pending.status, pending.error().as_str()),
            (400, "authorization_pending")
        );
        let hasty = poll(gateway, &asked.device_code).await?;
        assert_eq!((hasty.status, hasty.error().as_str()), (400, "slow_down"));

        let mut browser = Browser::default();
        let typed = asked.user_code.to_lowercase().replace('-', " ");
        let login = enter(&mut browser, &asked.place, &typed).await?;
        let owner = &fixture.owner;
        let page = browser.log_in(&login, &owner.name, &owner.password).await?;
        let words = page.words();
        for said in [
            "“Headless”",
            "An app on another machine asks",
            "127.0.0.1",
            asked.user_code.as_str(),
            "Not proved",
            "nobody can check that here",
        ] {
            assert!(words.contains(said), "{said}: {words}");
        }
        assert!(!words.contains("Set up by the operator"), "{words}");
        let mut form = page.form_with_button("Allow")?;
        assert_eq!(form.value("tools"), Some("read"));
        form.choose_tools(&["look"])?;
        let form = form.press("Allow")?;
        let allowed = browser.submit(&form).await?;
        assert!(
            allowed.words().contains("Go back to the other machine"),
            "{}",
            allowed.words()
        );
        // Pressed twice, it says the same.
        let twice = browser.submit(&form).await?;
        assert!(
            twice.words().contains("Go back to the other machine"),
            "{}",
            twice.words()
        );
        interval().await;
        let reply = poll(gateway, &asked.device_code).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let answer = reply.json();
        let token = answer["access_token"].as_str().context("no token")?;
        assert!(answer["refresh_token"].is_string(), "{answer}");
        assert_eq!(names(gateway, token).await?, ["look"]);
        interval().await;
        let again = poll(gateway, &asked.device_code).await?;
        assert_eq!(
            (again.status, again.error().as_str()),
            (400, "invalid_grant")
        );
        // The code leads nowhere any more.
        let page = enter(&mut browser, &asked.place, &asked.user_code).await?;
        assert!(
            page.words().contains("No app waits with this code"),
            "{}",
            page.words()
        );
        let grants = done(gateway, &["grants", "ls", "--json"], "").await?.json();
        assert_eq!(
            grants["grants"].as_array().map(Vec::len),
            Some(1),
            "{grants}"
        );
        let account = browser.visit(&gateway.url("/account").parse()?).await?;
        assert!(account.words().contains("Headless"), "{}", account.words());
        assert_eq!(
            send(&gateway.url("/mcp"), token, &initialize())
                .await?
                .status,
            200
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_person_denies_the_app_hears_and_another_app_gets_nothing() -> Result<()> {
    let other = APP.replace("headless", "other");
    let fixture = fixture(StoreKind::Embedded, &other).await?;
    let gateway = &fixture.gateway;
    let asked = asked(gateway).await?;
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", "other"),
        ("device_code", asked.device_code.as_str()),
    ];
    let reply = http::post_form(&gateway.url("/token"), &fields).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "invalid_grant")
    );
    let unknown = poll(gateway, "nothing").await?;
    assert_eq!(
        (unknown.status, unknown.error().as_str()),
        (400, "expired_token")
    );
    let mut browser = Browser::default();
    let page = consent(&mut browser, &asked, &fixture.owner).await?;
    let denied = browser
        .submit(&page.form_with_button("Deny")?.press("Deny")?)
        .await?;
    assert!(
        denied.words().contains("was given nothing"),
        "{}",
        denied.words()
    );
    interval().await;
    let reply = poll(gateway, &asked.device_code).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "access_denied")
    );
    Ok(())
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes_answered_or_not() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let clock = Clock::new()?;
        let fixture = fixture_by(&clock, store).await?;
        let gateway = &fixture.gateway;
        let (waiting, allowed) = (asked(gateway).await?, asked(gateway).await?);
        let mut browser = Browser::default();
        let page = consent(&mut browser, &allowed, &fixture.owner).await?;
        browser.answer(&page, "Allow").await?;
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        clock.put_ahead(minutes(9))?;
        let reply = poll(gateway, &waiting.device_code).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "authorization_pending")
        );
        // What was allowed and not fetched is no more than what nobody answered.
        clock.put_ahead(minutes(11))?;
        for code in [&waiting, &allowed] {
            let reply = poll(gateway, &code.device_code).await?;
            assert_eq!(
                (reply.status, reply.error().as_str()),
                (400, "expired_token"),
                "{}",
                reply.text
            );
        }
        let page = enter(&mut browser, &waiting.place, &waiting.user_code).await?;
        let words = page.words();
        assert!(words.contains("No app waits with this code"), "{words}");
        let grants = done(gateway, &["grants", "ls", "--json"], "").await?.json();
        assert_eq!(grants["grants"], json!([]), "{grants}");
        // The app asks anew, and goes on.
        let again = asked(gateway).await?;
        let reply = poll(gateway, &again.device_code).await?;
        assert_eq!(reply.error(), "authorization_pending");
    }
    Ok(())
}

#[tokio::test]
async fn wrong_codes_are_counted_and_a_mistyped_one_is_not() -> Result<()> {
    let fixture = fixture(StoreKind::Redis, "").await?;
    let gateway = &fixture.gateway;
    let asked = asked(gateway).await?;
    let mut browser = Browser::default();
    for _ in 0..8 {
        let page = enter(&mut browser, &asked.place, "AEIO-UAEI").await?;
        assert_eq!(page.reply.status, 400);
    }
    let wrong = match asked.user_code.as_str() {
        "BCDF-GHJK" => "BCDF-GHJL",
        _ => "BCDF-GHJK",
    };
    for _ in 0..5 {
        let page = enter(&mut browser, &asked.place, wrong).await?;
        assert_eq!(page.reply.status, 400, "{}", page.words());
    }
    let page = enter(&mut browser, &asked.place, &asked.user_code).await?;
    assert_eq!(page.reply.status, 429, "also the right one");
    assert!(!page.reply.header("retry-after").is_empty());
    assert!(
        page.words().contains("Too many wrong codes"),
        "{}",
        page.words()
    );
    Ok(())
}

#[tokio::test]
async fn guesses_at_the_same_moment_are_bounded_too() -> Result<()> {
    let fixture = fixture(StoreKind::Redis, "").await?;
    let asked = asked(&fixture.gateway).await?;
    let mut browser = Browser::default();
    let page = browser.visit(&asked.place).await?;
    let form = page.form_with_button("Go on")?;
    let mut guesses = JoinSet::new();
    for (first, second) in ('B'..='Z').flat_map(|a| ('B'..='Z').map(move |b| (a, b))) {
        let code = format!("{first}{second}BC-DFGH");
        if [first, second]
            .iter()
            .any(|&letter| "AEIOUY".contains(letter))
            || code == asked.user_code
        {
            continue;
        }
        let (mut browser, mut form) = (browser.clone(), form.clone());
        form.set("user_code", &code);
        guesses.spawn(async move { anyhow::Ok(browser.submit(&form).await?.reply.status) });
        if guesses.len() == 200 {
            break;
        }
    }
    let statuses: Vec<Result<u16>> = guesses.join_all().await;
    let statuses = statuses.into_iter().collect::<Result<Vec<_>>>()?;
    let looked_up = statuses.iter().filter(|status| **status == 400).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!((5..=60).contains(&looked_up), "{looked_up} were looked up");
    assert_eq!(looked_up + refused, 200, "{statuses:?}");
    Ok(())
}

#[tokio::test]
async fn the_whole_address_shows_the_code_and_asks_before_it_goes_on() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, "").await?;
    let asked = asked(&fixture.gateway).await?;
    let mut browser = Browser::default();
    let page = browser.visit(&asked.complete).await?;
    assert!(
        page.words().contains("Go on only if it is this one"),
        "{}",
        page.words()
    );
    let form = page.form_with_button("Go on")?;
    assert_eq!(form.value("user_code"), Some(asked.user_code.as_str()));
    let next = browser.submit(&form).await?;
    let next = browser.settle(next).await?;
    assert!(next.password_form().is_ok(), "{}", next.words());
    Ok(())
}

#[tokio::test]
async fn unverified_apps_ask_so_only_where_the_operator_lets_them() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, "").await?;
    let app = fixture.client("Stranger").await?;
    let fields = [("client_id", app.client_id.as_str())];
    let reply = http::post_form(&fixture.url("/device_authorization"), &fields).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "unauthorized_client")
    );
    for (device, status, is_listed) in [("all", 200, true), ("off", 404, false)] {
        let more = format!("[clients]\ndevice = \"{device}\"\n");
        let fixture = self::fixture(StoreKind::Embedded, &more).await?;
        let app = fixture.client("Stranger").await?;
        let fields = [("client_id", app.client_id.as_str())];
        let reply = http::post_form(&fixture.url("/device_authorization"), &fields).await?;
        assert_eq!(reply.status, status, "{device}: {}", reply.text);
        assert_eq!(http::get(&fixture.url("/device")).await?.status, status);
        let metadata = http::get(&fixture.url("/.well-known/oauth-authorization-server")).await?;
        let metadata = metadata.json();
        let place = metadata["device_authorization_endpoint"].as_str();
        assert_eq!(place.is_some(), is_listed, "{metadata}");
        let grants = metadata["grant_types_supported"].to_string();
        assert_eq!(grants.contains("device_code"), is_listed, "{grants}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_is_disabled_meanwhile_has_allowed_nothing_and_a_flood_is_bounded() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, "").await?;
    let gateway = &fixture.gateway;
    done(gateway, &["users", "add", "bob"], "bobs long password\n").await?;
    let asked = asked(gateway).await?;
    let bob = Owner {
        name: "bob".into(),
        password: "bobs long password".into(),
    };
    let mut browser = Browser::default();
    let page = consent(&mut browser, &asked, &bob).await?;
    browser.answer(&page, "Allow").await?;
    done(gateway, &["users", "disable", "bob"], "").await?;
    let reply = poll(gateway, &asked.device_code).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "invalid_grant")
    );
    let mut last = 200;
    for _ in 0..40 {
        last = begin(gateway, &[]).await?.status;
    }
    assert_eq!(last, 429);
    Ok(())
}

#[tokio::test]
async fn whoever_knows_the_name_of_a_request_has_not_typed_its_code() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, "").await?;
    let (gateway, owner) = (&fixture.gateway, &fixture.owner);
    let asked = asked(gateway).await?;
    let mut stranger = Browser::default();
    let page = stranger.visit(&asked.place).await?;
    let mut form = page.form_with_button("Go on")?;
    form.set("user_code", &asked.user_code);
    let next = stranger.submit(&form).await?;
    let sealed = next.location().context("it leads nowhere")?;
    let device = sealed.query_pairs().find(|(name, _)| name == "device");
    let device = device.context("no name")?.1.into_owned();
    let mut bare = sealed.clone();
    bare.set_query(Some(&format!("device={device}")));
    for link in [&sealed, &bare] {
        let mut browser = Browser::default();
        let login = browser.visit(&gateway.url("/account").parse()?).await?;
        browser.log_in(&login, &owner.name, &owner.password).await?;
        let page = browser.visit(link).await?;
        assert_eq!(page.url.path(), "/device", "{}", page.words());
    }
    // In the browser in which it was typed it goes on.
    let login = stranger.settle(next).await?;
    let page = stranger
        .log_in(&login, &owner.name, &owner.password)
        .await?;
    assert!(page.form_with_button("Allow").is_ok(), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn what_is_revoked_is_also_what_the_app_has_not_fetched_yet() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let fixture = fixture(store, "").await?;
        let (gateway, owner) = (&fixture.gateway, &fixture.owner);
        let mut browser = Browser::default();
        let first = asked(gateway).await?;
        let page = consent(&mut browser, &first, owner).await?;
        browser.answer(&page, "Allow").await?;
        let reply = poll(gateway, &first.device_code).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let second = asked(gateway).await?;
        let page = enter(&mut browser, &second.place, &second.user_code).await?;
        let allowed = browser.answer(&page, "Allow").await?;
        let said = "Once the app has fetched what you allowed";
        assert!(allowed.words().contains(said), "{}", allowed.words());
        let account = browser.visit(&gateway.url("/account").parse()?).await?;
        browser.submit(&account.form_with_button("Revoke")?).await?;
        let reply = poll(gateway, &second.device_code).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "invalid_grant"),
            "{}",
            reply.text
        );
    }
    Ok(())
}
