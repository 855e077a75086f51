//! Passkeys: added, used without name and password, removed; and what is not taken for one.

mod links;
mod people;
mod sites;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::authenticator::Authenticator;
use tests::browser::{Browser, Form, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::operator::done;
use url::Url;

const PUBLIC: &str = "https://mcp.example.com";
const HOST: &str = "mcp.example.com";

/// A gateway at a name, where passkeys work.
async fn start(store: StoreKind) -> Result<Fixture> {
    Fixture::with(store, at_a_name).await
}

fn at_a_name(setup: Setup) -> Setup {
    Setup {
        public_url: Some(PUBLIC.into()),
        ..setup
    }
}

fn browser() -> Browser {
    Browser {
        public: Some(Url::parse(PUBLIC).expect("a constant URL")),
        ..Browser::default()
    }
}

fn authenticator() -> Result<Authenticator> {
    Authenticator::new(PUBLIC, HOST)
}

async fn visit(browser: &mut Browser, gateway: &Gateway, path: &str) -> Result<Page> {
    browser.visit(&Url::parse(&gateway.url(path))?).await
}

/// Fill what the script fills, and send the form.
async fn send(browser: &mut Browser, mut form: Form, answer: &Value) -> Result<Page> {
    form.set("credential", &answer.to_string());
    let page = browser.submit(&form).await?;
    browser.settle(page).await
}

/// Logged in by password, on the page of passkeys.
async fn logged_in(browser: &mut Browser, gateway: &Gateway, person: &Owner) -> Result<Page> {
    let page = visit(browser, gateway, "/account/passkeys").await?;
    browser.log_in(&page, &person.name, &person.password).await
}

/// Adds a passkey of this name; the page that says so.
async fn add(
    browser: &mut Browser,
    gateway: &Gateway,
    device: &mut Authenticator,
    name: &str,
) -> Result<Page> {
    let page = visit(browser, gateway, "/account/passkeys").await?;
    let (mut form, options) = page.passkey_form()?;
    form.set("passkey_name", name);
    let answer = device.make(&options);
    send(browser, form, &answer).await
}

/// Logs in with it in a browser; the page that follows.
async fn log_in(
    browser: &mut Browser,
    gateway: &Gateway,
    device: &mut Authenticator,
) -> Result<Page> {
    let page = visit(browser, gateway, "/account/passkeys").await?;
    let (form, options) = page.passkey_form()?;
    let answer = device.prove(&options);
    send(browser, form, &answer).await
}

fn is_logged_in(page: &Page) -> bool {
    page.words().contains("Logged in as")
}

/// The reasons of refusals of this event in the log, in order, once there are so many.
async fn reasons(gateway: &Gateway, event: &str, count: usize) -> Result<Vec<String>> {
    let lines = gateway.events(event, count).await?;
    let reason = |line: &Value| Some(line["reason"].as_str()?.to_owned());
    Ok(lines.iter().filter_map(reason).collect())
}

async fn audited(gateway: &Gateway) -> Result<String> {
    let file = gateway.folder().join("state/audit/audit.jsonl");
    std::fs::read_to_string(&file).with_context(|| file.display().to_string())
}

async fn added_used_and_removed(store: StoreKind) -> Result<()> {
    let fixture = start(store).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    let page = logged_in(&mut browser, gateway, &fixture.owner).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    let (mut phone, mut laptop) = (authenticator()?, authenticator()?);
    let page = add(&mut browser, gateway, &mut phone, "Phone").await?;
    assert!(
        page.words().contains("“Phone” logs you in"),
        "{}",
        page.words()
    );

    // Another browser that knows neither name nor password; a counter that goes on.
    let mut other = self::browser();
    for _ in 0..2 {
        other.cookies.clear();
        let page = log_in(&mut other, gateway, &mut phone).await?;
        assert!(is_logged_in(&page), "{}", page.words());
        assert!(
            page.words().contains("You came with it"),
            "{}",
            page.words()
        );
    }
    let page = add(&mut other, gateway, &mut laptop, "").await?;
    assert!(
        page.words().contains("“Passkey” logs you in"),
        "{}",
        page.words()
    );
    laptop.counter = 0;

    // What a passkey opened ends with it, and nothing else does.
    let mut third = self::browser();
    let page = log_in(&mut third, gateway, &mut laptop).await;
    assert!(!is_logged_in(&page?), "a count of 1 went back to 0");
    laptop.counter = 7;
    let page = log_in(&mut third, gateway, &mut laptop).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    let mine = page
        .forms()
        .into_iter()
        .rfind(|form| form.value("passkey") == Some(&phone.id()));
    let remove = mine.context("no form removes the phone")?;
    let page = third.submit(&remove).await?;
    assert!(
        page.words().contains("“Phone” does not log you in"),
        "{}",
        page.words()
    );
    let page = third.submit(&remove).await?;
    assert!(
        page.words().contains("had been removed before"),
        "{}",
        page.words()
    );
    let page = visit(&mut other, gateway, "/account/passkeys").await?;
    assert!(
        !is_logged_in(&page),
        "the session of a removed passkey goes on"
    );
    for browser in [&mut browser, &mut third] {
        let page = visit(browser, gateway, "/account/passkeys").await?;
        assert!(is_logged_in(&page), "{}", page.words());
    }
    let page = log_in(&mut other, gateway, &mut phone).await?;
    assert!(
        page.words().contains("Nobody here has this passkey"),
        "{}",
        page.words()
    );
    assert_eq!(
        reasons(gateway, "login_refused", 2).await?,
        ["passkey_cloned", "passkey_unknown"]
    );
    if store == StoreKind::Embedded {
        let log = audited(gateway).await?;
        for detail in [
            "added the passkey “Phone”",
            "with the passkey “Phone”",
            "removed the passkey “Phone”",
            "passkey_cloned",
        ] {
            assert!(log.contains(detail), "{detail} is not in the audit log");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_passkey_is_added_used_without_a_name_and_removed() -> Result<()> {
    added_used_and_removed(StoreKind::Embedded).await
}

#[tokio::test]
async fn the_same_with_redis() -> Result<()> {
    added_used_and_removed(StoreKind::Redis).await
}

/// A lie that an authenticator or a browser tells, and the reason for which it is refused.
type Lie = (
    &'static str,
    fn(&mut Authenticator, &mut Value),
    &'static str,
);

#[tokio::test]
async fn an_answer_with_one_lie_in_it_logs_nobody_in() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    logged_in(&mut browser, gateway, &fixture.owner).await?;
    let mut device = authenticator()?;
    add(&mut browser, gateway, &mut device, "Phone").await?;
    let lies: [Lie; 8] = [
        (
            "another origin",
            |d, _| d.origin = "https://mcp.example.com.evil.example".into(),
            "passkey_foreign",
        ),
        (
            "another port",
            |d, _| d.origin = "https://mcp.example.com:8443".into(),
            "passkey_foreign",
        ),
        (
            "plain http",
            |d, _| d.origin = "http://mcp.example.com".into(),
            "passkey_foreign",
        ),
        (
            "another site's id",
            |d, _| d.rp_id = "example.com".into(),
            "passkey_foreign",
        ),
        (
            "nobody verified",
            |d, _| d.verifies = false,
            "passkey_unverified",
        ),
        (
            "another challenge",
            |_, o| o["challenge"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            "passkey_invalid",
        ),
        (
            "another person",
            |d, _| d.user_handle = "AAAAAAAAAAAAAAAAAAAAAA".into(),
            "passkey_unknown",
        ),
        ("a copy's count", |d, _| d.counter = 0, "passkey_cloned"),
    ];
    for (number, (what, lie, reason)) in lies.into_iter().enumerate() {
        let mut stranger = self::browser();
        let page = visit(&mut stranger, gateway, "/account/passkeys").await?;
        let (form, mut options) = page.passkey_form()?;
        let honest = (
            device.origin.clone(),
            device.rp_id.clone(),
            device.user_handle.clone(),
            device.counter + 1,
        );
        lie(&mut device, &mut options);
        let answer = device.prove(&options);
        let page = send(&mut stranger, form, &answer).await?;
        (
            device.origin,
            device.rp_id,
            device.user_handle,
            device.counter,
        ) = honest;
        device.verifies = true;
        assert!(!is_logged_in(&page), "{what}");
        assert_eq!(page.reply.status, 403, "{what}: {}", page.words());
        let told = reasons(gateway, "login_refused", number + 1).await?;
        assert_eq!(told.len(), number + 1, "{what}");
        assert_eq!(told.last().map(String::as_str), Some(reason), "{what}");
        assert!(page.passkey_form().is_ok(), "no second try after {what}");
    }
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(is_logged_in(&page), "the honest one: {}", page.words());
    Ok(())
}

#[tokio::test]
async fn an_answer_is_good_once_and_in_the_browser_that_was_asked() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    logged_in(&mut browser, gateway, &fixture.owner).await?;
    let mut device = authenticator()?;
    device.counter = 0;
    add(&mut browser, gateway, &mut device, "Phone").await?;

    let mut first = self::browser();
    let page = visit(&mut first, gateway, "/account/passkeys").await?;
    let (form, options) = page.passkey_form()?;
    let answer = device.prove(&options);
    // Carried off to another browser, which has a page of its own.
    let mut thief = self::browser();
    visit(&mut thief, gateway, "/account/passkeys").await?;
    let page = send(&mut thief, form.clone(), &answer).await?;
    assert!(!is_logged_in(&page));
    // With the challenge of another page.
    let page = visit(&mut thief, gateway, "/account/passkeys").await?;
    let page = send(&mut thief, page.passkey_form()?.0, &answer).await?;
    assert!(!is_logged_in(&page));
    let page = send(&mut first, form.clone(), &answer).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    // And again, also by whoever has the cookie.
    first.cookies.retain(|name, _| name.contains("browser"));
    let page = send(&mut first, form, &answer).await?;
    assert!(!is_logged_in(&page));
    assert_eq!(
        reasons(gateway, "login_refused", 3).await?,
        ["cross_site_form", "passkey_invalid", "page_expired"]
    );
    Ok(())
}

#[tokio::test]
async fn what_is_no_answer_is_refused_and_counted() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    let page = visit(&mut browser, gateway, "/account/passkeys").await?;
    let (form, options) = page.passkey_form()?;
    let nobodys = authenticator()?.prove(&options);
    let mut unsigned = nobodys.clone();
    unsigned["response"]["signature"] = json!("");
    let mut deep = "[".repeat(1000);
    deep.push_str(&"]".repeat(1000));
    let answers = [
        "x".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        deep,
        json!({"id": "", "rawId": "", "type": "public-key", "response": {}}).to_string(),
        unsigned.to_string(),
        nobodys.to_string(),
    ];
    for answer in &answers {
        let mut form = form.clone();
        form.set("credential", answer);
        let page = browser.submit(&form).await?;
        assert_eq!(page.reply.status, 403, "{}", page.words());
    }
    // Forged or foreign state.
    for (field, value) in [("state", "{}"), ("seal", "1.x.y")] {
        let mut form = form.clone();
        form.set("credential", &nobodys.to_string());
        form.set(field, value);
        let page = browser.submit(&form).await?;
        assert_eq!(page.reply.status, 403, "{field}");
    }
    // As with passwords, an address that only guesses has to wait.
    for _ in 0..3 {
        let mut form = form.clone();
        form.set("credential", &nobodys.to_string());
        browser.submit(&form).await?;
    }
    let mut form = form;
    form.set("credential", &nobodys.to_string());
    let page = browser.submit(&form).await?;
    assert_eq!(page.reply.status, 429, "{}", page.words());
    assert!(!page.reply.header("retry-after").is_empty());
    gateway.logged("\"passkey_unknown\"").await?;
    assert!(!gateway.log().join("\n").contains("panicked"));
    Ok(())
}

#[tokio::test]
async fn a_passkey_is_added_by_its_own_person_in_the_browser_that_was_asked() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    let page = logged_in(&mut browser, gateway, &fixture.owner).await?;
    let (form, options) = page.passkey_form()?;
    let selection = &options["authenticatorSelection"];
    assert_eq!(selection["residentKey"], "required");
    assert_eq!(selection["userVerification"], "required");
    assert_eq!(options["attestation"], "none");
    assert_eq!(options["rp"]["id"], HOST);
    let said = options.to_string();
    let shown = done(gateway, &["users", "show", "alice", "--json"], "");
    let shown = shown.await?.json();
    let id = shown["user"]["id"].as_str().context("an id")?;
    let written = URL_SAFE_NO_PAD.encode(id);
    assert!(
        !said.contains(id) && !said.contains(&written),
        "the id of the person is in {said}"
    );

    let lies: [Lie; 4] = [
        (
            "another origin",
            |d, _| d.origin = "https://evil.example".into(),
            "passkey_foreign",
        ),
        (
            "another site's id",
            |d, _| d.rp_id = "evil.example".into(),
            "passkey_foreign",
        ),
        (
            "nobody verified",
            |d, _| d.verifies = false,
            "passkey_unverified",
        ),
        (
            "another challenge",
            |_, o| o["challenge"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            "passkey_invalid",
        ),
    ];
    for (number, (what, lie, reason)) in lies.into_iter().enumerate() {
        let (mut device, mut options) = (authenticator()?, options.clone());
        lie(&mut device, &mut options);
        let answer = device.make(&options);
        let page = send(&mut browser, form.clone(), &answer).await?;
        assert_eq!(page.reply.status, 403, "{what}: {}", page.words());
        let told = reasons(gateway, "passkey_refused", number + 1).await?;
        assert_eq!(told.len(), number + 1, "{what}");
        assert_eq!(told.last().map(String::as_str), Some(reason), "{what}");
    }
    let mut device = authenticator()?;
    let answer = device.make(&options);
    // Without a session, and with that of somebody else in another browser.
    let mut stranger = self::browser();
    visit(&mut stranger, gateway, "/account/passkeys").await?;
    let page = send(&mut stranger, form.clone(), &answer).await?;
    assert!(!is_logged_in(&page));
    logged_in(&mut stranger, gateway, &fixture.owner).await?;
    let page = send(&mut stranger, form.clone(), &answer).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let page = send(&mut browser, form.clone(), &answer).await?;
    assert!(page.words().contains("logs you in"), "{}", page.words());
    // Pressed twice, and once more with another device's answer to the same challenge.
    let page = send(&mut browser, form.clone(), &answer).await?;
    assert!(page.words().contains("logs you in"), "{}", page.words());
    let other = authenticator()?.make(&options);
    let page = send(&mut browser, form, &other).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let page = visit(&mut browser, gateway, "/account/passkeys").await?;
    let (_, options) = page.passkey_form()?;
    let known = options["excludeCredentials"].as_array().context("none")?;
    assert_eq!(known.len(), 1, "a device makes one passkey of a person");
    Ok(())
}

#[tokio::test]
async fn only_the_pages_that_ask_for_a_passkey_may_run_the_one_script() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    let policy = |page: &Page| page.reply.header("content-security-policy").to_owned();
    let page = visit(&mut browser, gateway, "/login").await?;
    assert!(
        policy(&page).ends_with("; script-src 'self'"),
        "{}",
        policy(&page)
    );
    assert_eq!(page.reply.text.matches("<script").count(), 1);
    let source = page.reply.text.split("<script src=\"").nth(1);
    let source = source.and_then(|rest| rest.split('"').next());
    let script = visit(&mut browser, gateway, source.context("no script")?).await?;
    assert_eq!(script.reply.status, 200);
    assert!(
        script
            .reply
            .header("content-type")
            .starts_with("text/javascript")
    );
    logged_in(&mut browser, gateway, &fixture.owner).await?;
    for path in ["/", "/account", "/account/tokens", "/device", "/setup"] {
        let page = visit(&mut browser, gateway, path).await?;
        assert!(
            !policy(&page).contains("script-src"),
            "{path}: {}",
            policy(&page)
        );
        assert!(policy(&page).starts_with("default-src 'none'"), "{path}");
        assert!(!page.reply.text.contains("<script"), "{path}");
    }
    Ok(())
}
