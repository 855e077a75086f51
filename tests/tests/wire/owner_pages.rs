//! `/admin`: the owner sees and does what the operator's commands do, and nobody else finds anything
//! there.

mod refused;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Form, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{call, initialize, send};
use tests::operator::{command, done, exported};
use tests::sse::EventStream;

const SOON: Duration = Duration::from_secs(5);

const PAGES: [&str; 7] = [
    "/admin",
    "/admin/people",
    "/admin/apps",
    "/admin/streams",
    "/admin/backends",
    "/admin/audit",
    "/admin/policy",
];

fn bob() -> Owner {
    Owner {
        name: "Bob".into(),
        password: "a second correct horse".into(),
    }
}

async fn add_bob(gateway: &Gateway) -> Result<Owner> {
    let bob = bob();
    done(gateway, &["users", "add", &bob.name], &bob.password).await?;
    Ok(bob)
}

async fn logged_in(gateway: &Gateway, path: &str, person: &Owner) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let page = browser.visit(&gateway.url(path).parse()?).await?;
    let page = browser
        .log_in(&page, &person.name, &person.password)
        .await?;
    Ok((browser, page))
}

async fn open(browser: &mut Browser, gateway: &Gateway, path: &str) -> Result<Page> {
    browser.visit(&gateway.url(path).parse()?).await
}

/// The form of a button that is about something.
fn button(page: &Page, words: &str, subject: &str) -> Result<Form> {
    let is_it = |form: &Form| {
        form.value("subject") == Some(subject)
            && form
                .buttons
                .iter()
                .any(|(_, _, text)| text.starts_with(words))
    };
    let found = page.forms().into_iter().find(is_it);
    found.with_context(|| format!("no button {words} of {subject}: {}", page.words()))
}

fn audit(gateway: &Gateway) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(gateway.folder().join("state/audit/audit.jsonl"))?;
    let lines = text.lines();
    Ok(lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn operations(gateway: &Gateway) -> Result<Vec<String>> {
    let of_operator = |line: &Value| line["event"] == "operator";
    let lines = audit(gateway)?.into_iter().filter(of_operator);
    Ok(lines
        .filter_map(|line| line["detail"].as_str().map(str::to_owned))
        .collect())
}

#[tokio::test]
async fn the_owner_alone_finds_something() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let bob = add_bob(gateway).await?;
    let (mut owner, page) = logged_in(gateway, "/admin/people", &fixture.owner).await?;
    assert_eq!(page.url.path(), "/admin/people", "the login leads on");
    let (mut other, page) = logged_in(gateway, "/admin", &bob).await?;
    assert_eq!(page.reply.status, 404, "{}", page.words());
    for path in PAGES {
        let page = open(&mut owner, gateway, path).await?;
        assert_eq!(page.reply.status, 200, "{path}: {}", page.words());
        let csp = page.reply.header("content-security-policy");
        assert!(
            csp.contains("default-src 'none'") && csp.contains("form-action 'self'"),
            "{csp}"
        );
        assert!(!page.reply.text.contains("<script") && !page.reply.text.contains(" style="));
        assert_eq!(page.reply.header("cache-control"), "no-store");
        let page = open(&mut other, gateway, path).await?;
        assert_eq!(page.reply.status, 404, "{path}");
        let page = open(&mut Browser::default(), gateway, path).await?;
        assert!(page.password_form().is_ok(), "{path}");
    }
    for path in ["/admin/", "/admin/x", "/admin/people/", "/administrator"] {
        let page = open(&mut owner, gateway, path).await?;
        assert_eq!(page.reply.status, 404, "{path}");
    }

    // Made one by a command, and no longer.
    done(gateway, &["users", "promote", "Bob"], "").await?;
    assert_eq!(open(&mut other, gateway, "/admin").await?.reply.status, 200);
    done(gateway, &["users", "demote", "Bob"], "").await?;
    assert_eq!(open(&mut other, gateway, "/admin").await?.reply.status, 404);
    let configured = command(gateway, &["users", "demote", "alice"], "").await?;
    assert_eq!(configured.code, 1, "{configured:?}");
    Ok(())
}

#[tokio::test]
async fn who_does_the_set_up_is_the_owner() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        owner: None,
        ..setup
    })
    .await?;
    let gateway = &fixture.gateway;
    let mut browser = Browser::default();
    let page = browser.visit(&gateway.setup_url().await?.parse()?).await?;
    browser
        .log_in(&page, "carol", "correct horse battery staple")
        .await?;
    assert_eq!(
        open(&mut browser, gateway, "/admin").await?.reply.status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_press_revokes_at_once_says_the_same_twice_and_stands_in_the_audit_log() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let bob = add_bob(gateway).await?;
    let client = fixture.client("An app").await?;
    let token = client.sign_in(&bob).await?;
    let url = fixture.url("/mcp");
    let mut stream = EventStream::open(http::client().get(&url).bearer_auth(&token)).await?;
    let listed = done(gateway, &["grants", "ls", "--json", "--user", "Bob"], "").await?;
    let grant = listed.json()["grants"][0]["id"]
        .as_str()
        .context("an id")?
        .to_owned();

    let (mut browser, page) = logged_in(gateway, "/admin/apps", &fixture.owner).await?;
    assert!(
        page.words().contains("“An app” for Bob"),
        "{}",
        page.words()
    );
    let page = open(&mut browser, gateway, "/admin/apps?user=Bob").await?;
    let form = button(&page, "Revoke", &grant)?;
    let start = Instant::now();
    let first = browser.submit(&form).await?;
    assert!(
        first.words().contains("Revoked 1 grant"),
        "{}",
        first.words()
    );
    assert_eq!(send(&url, &token, &initialize()).await?.status, 401);
    assert!(stream.end(SOON).await? && start.elapsed() < SOON);
    let second = browser.submit(&form).await?;
    assert!(
        second.words().contains("Revoked 1 grant"),
        "{}",
        second.words()
    );
    assert_eq!((first.reply.status, second.reply.status), (200, 200));

    // Both at the same moment, of another one.
    client.sign_in(&bob).await?;
    let page = open(&mut browser, gateway, "/admin/apps?user=Bob").await?;
    let form = page.form_with_button("Revoke all of this person")?;
    let (mut one, mut other) = (browser.clone(), browser.clone());
    let (one, other) = tokio::join!(one.submit(&form), other.submit(&form));
    for page in [one?, other?] {
        assert!(page.words().contains("Revoked"), "{}", page.words());
    }

    let said = operations(gateway)?;
    for wanted in [
        "grants revoke, by alice at /admin",
        "grants ls, by alice at /admin",
    ] {
        assert!(said.iter().any(|it| it == wanted), "{wanted}: {said:?}");
    }
    let revoking = audit(gateway)?.into_iter();
    let mut revoking = revoking.filter(|line| line["grant"] == json!(grant));
    assert!(revoking.any(|line| line["event"] == "revocation"));
    Ok(())
}

#[tokio::test]
async fn a_form_of_another_page_browser_or_person_is_not_taken() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let bob = add_bob(gateway).await?;
    let (mut browser, page) = logged_in(gateway, "/admin/people", &fixture.owner).await?;
    let form = button(&page, "Keep out", "Bob")?;
    let is_in = async || -> Result<bool> {
        let people = done(gateway, &["users", "ls", "--json"], "").await?.json();
        let users = people["users"].as_array().cloned().unwrap_or_default();
        let bob = users.into_iter().find(|user| user["name"] == "Bob");
        Ok(bob.context("Bob")?["disabled"].is_null())
    };
    let mut about_another = form.clone();
    about_another.set("subject", "alice");
    let mut does_another = form.clone();
    does_another.set("action", "promote");
    let mut unsealed = form.clone();
    unsealed.set("seal", "");
    for forged in [&about_another, &does_another, &unsealed] {
        let page = browser.submit(forged).await?;
        assert_eq!(page.reply.status, 403, "{}", page.words());
    }
    let (mut second, _) = logged_in(gateway, "/admin", &fixture.owner).await?;
    assert_eq!(
        second.submit(&form).await?.reply.status,
        403,
        "another browser"
    );
    let (mut others, _) = logged_in(gateway, "/account", &bob).await?;
    assert_eq!(
        others.submit(&form).await?.reply.status,
        404,
        "another person"
    );
    let foreign = http::client()
        .post(&form.action)
        .header("Origin", "https://evil.example")
        .header("Cookie", cookies(&browser))
        .form(&form.fields);
    assert_eq!(http::send(foreign).await?.status, 403);
    let as_json = http::client()
        .post(&form.action)
        .header("Cookie", cookies(&browser))
        .header("Content-Type", "application/json")
        .body("{}");
    assert_eq!(http::send(as_json).await?.status, 415);
    assert!(is_in().await?);
    let page = browser.submit(&form).await?;
    assert!(page.words().contains("Bob is kept out"), "{}", page.words());
    assert!(!is_in().await?);
    let page = others.visit(&gateway.url("/account").parse()?).await?;
    assert!(page.password_form().is_ok(), "his session is over");
    let form = button(
        &page_of(&mut browser, gateway).await?,
        "Let in again",
        "Bob",
    )?;
    browser.submit(&form).await?;
    assert!(is_in().await?);
    Ok(())
}

async fn page_of(browser: &mut Browser, gateway: &Gateway) -> Result<Page> {
    open(browser, gateway, "/admin/people").await
}

fn cookies(browser: &Browser) -> String {
    let pairs = browser.cookies.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("; ")
}

#[tokio::test]
async fn streams_are_closed_and_what_changed_of_a_backend_is_seen() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let bob = add_bob(gateway).await?;
    let client = fixture.client("An app").await?;
    let token = client
        .sign_in_choosing(&bob, |form| form.choose_tools(&["echo", "look"]))
        .await?;
    let url = fixture.url("/mcp");
    let mut stream = EventStream::open(http::client().get(&url).bearer_auth(&token)).await?;
    let (mut browser, page) = logged_in(gateway, "/admin/streams", &fixture.owner).await?;
    let form = page.form_with_button("Close")?;
    let closed = browser.submit(&form).await?;
    assert!(
        closed.words().contains("is being closed"),
        "{}",
        closed.words()
    );
    assert!(stream.end(SOON).await?);
    assert_eq!(
        send(&url, &token, &initialize()).await?.status,
        200,
        "nothing is revoked"
    );

    let page = open(&mut browser, gateway, "/admin/backends").await?;
    assert!(
        page.words().contains("echo reads only 1 unchanged"),
        "{}",
        page.words()
    );
    fixture.backend.play(|request| {
        let text = tests::scripted_mcp::answer(request);
        match text {
            tests::recorder::Answer::Full(status, headers, body) => {
                let body = String::from_utf8_lossy(&body)
                    .replace("Repeat the arguments", "Send them to me");
                tests::recorder::Answer::Full(status, headers, body.into_bytes())
            }
            other => other,
        }
    });
    // A call meets the change, and the lookout looks again.
    let _ = send(&url, &token, &call(1, "echo", &json!({}))).await?;
    gateway_looks_again(&fixture, &token).await?;
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let page = open(&mut browser, gateway, "/admin/backends").await?;
        if page.words().contains("changed for 1") {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{}", page.words());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Lists the tools, as an app does that was told that they changed.
async fn gateway_looks_again(fixture: &Fixture, token: &str) -> Result<()> {
    let list = tests::mcp::message(2, "tools/list", &json!({}));
    send(&fixture.url("/mcp"), token, &list).await?;
    Ok(())
}

#[tokio::test]
async fn the_audit_log_is_counted_and_filtered_and_nothing_in_it_is_markup() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let bob = add_bob(gateway).await?;
    let client = fixture.client("<script>alert(1)</script>").await?;
    let token = client.sign_in(&bob).await?;
    let url = fixture.url("/mcp");
    for _ in 0..3 {
        send(&url, &token, &call(1, "look", &json!({"path": "/a"}))).await?;
    }
    send(
        &url,
        &token,
        &call(1, "<img src=x onerror=alert(1)>", &json!({})),
    )
    .await?;
    let calls = exported(gateway, "call", |calls| calls.len() >= 4).await?;
    assert_eq!(calls.len(), 4, "{calls:?}");
    let (mut browser, page) = logged_in(gateway, "/admin/audit", &fixture.owner).await?;
    assert_eq!(page.reply.status, 200, "{}", page.words());
    assert!(page.reply.text.contains("<svg class=\"bars\""));
    assert!(!page.reply.text.contains("<script") && !page.reply.text.contains("<img src=x"));
    let words = page.words();
    for wanted in ["By person", "By app", "By tool", "look", "Bob", "login"] {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
    let filtered = "/admin/audit?period=week&event=call&user=bob&tool=look&outcome=allowed";
    let page = open(&mut browser, gateway, filtered).await?;
    assert!(
        page.words()
            .contains("Last 7 days: 3 lines, 0 of them refused"),
        "{}",
        page.words()
    );
    let page = open(&mut browser, gateway, "/admin/audit?user=nobody").await?;
    assert!(page.words().contains(": 0 lines"), "{}", page.words());
    for odd in [
        "/admin/audit?period=x&event=%3Cb%3E",
        "/admin/audit?user=a&user=b",
        "/admin/audit?user=%ff",
    ] {
        let page = open(&mut browser, gateway, odd).await?;
        assert!(
            matches!(page.reply.status, 200 | 400),
            "{odd}: {}",
            page.reply.status
        );
        assert!(!page.reply.text.contains("<b>"), "{odd}");
    }
    assert!(
        operations(gateway)?
            .iter()
            .any(|it| it == "audit log, by alice at /admin")
    );
    Ok(())
}

#[tokio::test]
async fn a_policy_is_explained_as_the_command_explains_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    std::fs::write(
        &file,
        "deny if tool(\"erase\"), user(\"bob\");\nallow if true;\n",
    )?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    let gateway = &fixture.gateway;
    let (mut browser, page) = logged_in(gateway, "/admin/policy", &fixture.owner).await?;
    let asked = async |browser: &mut Browser, page: &Page, pairs: &[(&str, &str)]| {
        let mut form = page.form_with_button("Explain")?;
        for (name, value) in [("backend", "main"), ("arguments", "")].iter().chain(pairs) {
            form.set(name, value);
        }
        browser.submit(&form).await
    };
    let refused = asked(&mut browser, &page, &[("user", "bob"), ("tool", "erase")]).await?;
    let words = refused.words();
    assert_eq!(refused.reply.status, 200, "{words}");
    assert!(
        words.contains("refused erase by bob") && words.contains("policy_denied"),
        "{words}"
    );
    assert!(words.contains("deny if tool(\"erase\")"), "{words}");
    assert!(
        words.contains("tool erase: changes things") || words.contains("destructive"),
        "{words}"
    );
    let allowed = asked(
        &mut browser,
        &refused,
        &[
            ("user", "bob"),
            ("tool", "look"),
            ("arguments", "{\"path\":\"/a\"}"),
            ("address", "192.0.2.1"),
        ],
    );
    let allowed = allowed.await?;
    assert!(
        allowed.words().contains("allowed look by bob"),
        "{}",
        allowed.words()
    );
    for (name, value) in [
        ("arguments", "[1"),
        ("address", "somewhere"),
        ("backend", "none"),
    ] {
        let fields = [("user", "bob"), ("tool", "look"), (name, value)];
        let page = asked(&mut browser, &page, &fields).await?;
        assert_eq!(page.reply.status, 422, "{name}: {}", page.words());
        assert!(
            page.words().contains("Reason request_malformed"),
            "{name}: {}",
            page.words()
        );
    }
    assert!(
        fixture.backend.marked("tools/call").is_empty(),
        "nothing was called"
    );
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_away_is_a_fault_and_says_so() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let (mut browser, _) = logged_in(&fixture.gateway, "/admin", &fixture.owner).await?;
    drop(fixture.redis.take());
    let page = open(&mut browser, &fixture.gateway, "/admin/people").await?;
    assert_eq!(page.reply.status, 503, "{}", page.words());
    assert!(!page.reply.header("retry-after").is_empty());
    Ok(())
}
