//! `/account`: a person sees what each app may do, takes it back with one click, and approves a tool
//! again that its backend changed; what is in use follows at once.

mod approvals;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Form, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner};
use tests::http;
use tests::mcp::{self, LegacySession, call, initialize, message, response, send};
use tests::oauth::{OAuthClient, REDIRECT_URI};
use tests::recorder::{Answer, Recorded};
use tests::scripted_mcp;
use tests::sse::EventStream;

fn url(gateway: &Gateway, path: &str) -> url::Url {
    gateway.url(path).parse().expect("a URL of the harness")
}

/// A logged-in browser on its apps.
async fn at_account(gateway: &Gateway, owner: &Owner) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let login = browser.visit(&url(gateway, "/account")).await?;
    let page = browser.log_in(&login, &owner.name, &owner.password).await?;
    anyhow::ensure!(page.url.path() == "/account", "led to {}", page.url);
    Ok((browser, page))
}

async fn press(browser: &mut Browser, page: &Page, words: &str) -> Result<Page> {
    let form = page.form_with_button(words)?.press(words)?;
    browser.submit(&form).await
}

async fn status(gateway: &Gateway, token: &str) -> Result<u16> {
    Ok(send(&gateway.url("/mcp"), token, &initialize())
        .await?
        .status)
}

async fn listed(gateway: &Gateway, token: &str) -> Result<Vec<String>> {
    let list = message(5, "tools/list", &json!({}));
    let answer = response(&send(&gateway.url("/mcp"), token, &list).await?)?;
    let tools = answer["result"]["tools"].as_array().context("no list")?;
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    Ok(tools.iter().map(name).collect())
}

/// The reason that a call of `look` is refused for; empty if it is not.
async fn refusal(gateway: &Gateway, token: &str) -> Result<String> {
    let look = call(4, "look", &json!({}));
    let answer = response(&send(&gateway.url("/mcp"), token, &look).await?)?;
    let reason = answer["result"]["_meta"]["reason"].as_str();
    Ok(reason.unwrap_or_default().to_owned())
}

/// The scripted server, but `look` says this of itself.
fn saying(description: &'static str) -> impl Fn(&Recorded) -> Answer {
    move |request| {
        let message = request.json();
        if message["method"] != "tools/list" {
            return scripted_mcp::answer(request);
        }
        let mut reply = scripted_mcp::reply(&message);
        reply["result"]["tools"][1]["description"] = json!(description);
        match request.path() {
            "/messages" => {
                let event = format!("event: message\ndata: {reply}\n\n");
                Answer::Push(202, scripted_mcp::SSE_STREAM.into(), event)
            }
            _ => Answer::json(200, &reply),
        }
    }
}

/// The page asks anew for what is older than a second.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

#[tokio::test]
async fn a_person_sees_each_app_and_one_click_takes_it_back() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[audit]\nfile = \"audit.jsonl\"\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let notes = fixture.client("Notes for Teams").await?;
    let token = notes
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look", "echo"]))
        .await?;
    let other = fixture.client("Bystander").await?;
    let kept = other.sign_in(&fixture.owner).await?;
    let (mut browser, page) = at_account(gateway, &fixture.owner).await?;
    let words = page.words();
    for said in [
        "“Notes for Teams” Unverified name registered itself",
        "These 2, as they were when you allowed them: echo , look",
        "Everything, also what comes later",
        "“Bystander”",
        "Last used Not yet",
        "ends in 24 hours",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    let mut stream =
        EventStream::open(http::client().get(gateway.url("/mcp")).bearer_auth(&token)).await?;
    let legacy = LegacySession::open(&gateway.url("/sse"), &token).await?;
    let mut legacy = legacy.stream;
    fixture
        .backend
        .await_streams(2, Duration::from_secs(5))
        .await?;
    // What was used last stands first.
    let page = browser.visit(&url(gateway, "/account")).await?;
    let words = page.words();
    assert!(
        words.contains("Last used less than a minute ago"),
        "{words}"
    );
    let at = |name| words.find(name).with_context(|| words.clone());
    assert!(at("Notes for Teams")? < at("Bystander")?, "{words}");

    let start = Instant::now();
    let form = page.form_with_button("Revoke access")?;
    let done = browser.submit(&form).await?;
    assert_eq!(done.reply.status, 200);
    let words = done.words();
    assert!(
        words.contains("“Notes for Teams” lost its access"),
        "{words}"
    );
    assert!(words.contains("Bystander"), "{words}");
    assert_eq!(status(gateway, &token).await?, 401, "the next call");
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    assert!(
        legacy.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(status(gateway, &kept).await?, 200);

    // The same press again says the same, and does nothing to what the app was allowed meanwhile.
    let back = notes.sign_in(&fixture.owner).await?;
    let again = browser.submit(&form).await?;
    assert_eq!(again.reply.status, 200);
    assert!(
        again.words().contains("lost its access"),
        "{}",
        again.words()
    );
    assert_eq!(status(gateway, &back).await?, 200);
    // Reloaded, or opened by its address, the button's page does nothing.
    let opened = browser.visit(&url(gateway, "/account/revoke")).await?;
    assert_eq!(opened.url.path(), "/account");

    fixture.gateway.restart().await?;
    assert_eq!(status(&fixture.gateway, &token).await?, 401);
    let audit = std::fs::read_to_string(fixture.gateway.folder().join("audit.jsonl"))?;
    let records = audit
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let revoked: Vec<Value> = records
        .filter(|record: &Value| record["event"] == "revocation")
        .collect();
    assert_eq!(revoked.len(), 1, "{revoked:?}");
    assert_eq!(revoked[0]["detail"], "by the person, at /account");
    assert_eq!(revoked[0]["client"], notes.client_id.as_str());
    assert!(revoked[0]["user"].is_string() && revoked[0]["grant"].is_string());
    Ok(())
}

#[tokio::test]
async fn when_an_app_was_used_last_outlives_a_restart() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    assert_eq!(status(&fixture.gateway, &token).await?, 200);
    fixture.gateway.restart().await?;
    let (_, page) = at_account(&fixture.gateway, &fixture.owner).await?;
    let words = page.words();
    assert!(
        words.contains("Last used less than a minute ago"),
        "{words}"
    );
    Ok(())
}

#[tokio::test]
async fn no_form_of_another_browser_site_or_making_takes_anything_back() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let (_, token) = fixture.signed_in().await?;
    let (browser, page) = at_account(gateway, &fixture.owner).await?;
    let (_, elsewhere) = at_account(gateway, &fixture.owner).await?;
    let form = page.form_with_button("Revoke access")?;
    let spoiled = |name: &str, value: &str| {
        let mut form = form.clone();
        form.set(name, value);
        form
    };
    let grants = form.value("grants").unwrap_or_default();
    let log_out = page.form_with_button("Log out")?;
    let seal_of = |form: &Form| form.value("seal").unwrap_or_default().to_owned();
    let attempts = [
        ("no seal", spoiled("seal", "")),
        (
            "the seal of another form",
            spoiled("seal", &seal_of(&log_out)),
        ),
        (
            "another list",
            spoiled("grants", &format!("{grants} g_other")),
        ),
        (
            "another browser's form",
            elsewhere.form_with_button("Revoke access")?,
        ),
    ];
    for (what, form) in attempts {
        let answer = browser.clone().submit(&form).await?;
        assert_eq!(answer.reply.status, 403, "{what}: {}", answer.words());
    }
    for (origin, cookies) in [("https://evil.example", true), ("null", true), ("", false)] {
        let mut request = http::client().post(&form.action).form(&form.fields);
        if !origin.is_empty() {
            request = request.header("Origin", origin);
        }
        if cookies {
            let pairs = browser.cookies.iter();
            let pairs: Vec<String> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header("Cookie", pairs.join("; "));
        }
        assert_eq!(http::send(request).await?.status, 403, "{origin}");
    }
    assert_eq!(status(gateway, &token).await?, 200);
    // After the log-out the page is worth nothing, whoever kept it.
    let mut leaving = browser.clone();
    press(&mut leaving, &page, "Log out").await?;
    let answer = browser.clone().submit(&form).await?;
    assert_eq!(answer.reply.status, 403, "{}", answer.words());
    assert!(answer.words().contains("Your login has ended"));
    assert_eq!(status(gateway, &token).await?, 200);
    Ok(())
}

#[tokio::test]
async fn logging_out_everywhere_ends_each_browser_and_no_app() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let fixture = Fixture::on(store).await?;
        let gateway = &fixture.gateway;
        let (_, token) = fixture.signed_in().await?;
        let (mut here, page) = at_account(gateway, &fixture.owner).await?;
        let (mut there, _) = at_account(gateway, &fixture.owner).await?;
        press(&mut here, &page, "Log out everywhere").await?;
        for browser in [&mut here, &mut there] {
            let page = browser.visit(&url(gateway, "/account")).await?;
            assert!(page.password_form().is_ok(), "{}", page.words());
        }
        assert_eq!(status(gateway, &token).await?, 200);
    }
    Ok(())
}

#[tokio::test]
async fn markup_in_what_apps_and_backends_say_is_text() -> Result<()> {
    let fixture = Fixture::start().await?;
    let hostile = "<script>alert(1)</script>\"'></bdi><img src=x onerror=alert(1)>{{7*7}}";
    let metadata = json!({"client_name": hostile, "redirect_uris": [REDIRECT_URI]});
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    fixture.backend.play(saying(
        "</p><script>alert(2)</script>\u{202e}<img src=x onerror=alert(1)>",
    ));
    a_moment().await;
    let (_, page) = at_account(&fixture.gateway, &fixture.owner).await?;
    assert!(page.words().contains("has changed since you allowed it"));
    for markup in ["<script", "<img src=x", "\u{202e}", "“49"] {
        assert!(!page.reply.text.contains(markup), "{markup}");
    }
    // What nobody would see is brought to light in the whole definition.
    assert!(page.words().contains("\\u{202e}"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn a_code_that_is_out_when_its_app_is_revoked_is_worth_nothing() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let token = client.sign_in(&fixture.owner).await?;
    let (mut browser, _) = at_account(&fixture.gateway, &fixture.owner).await?;
    let request = client.authorization();
    let everything = |form: &mut Form| form.choose("tools", "all");
    let callback = client
        .allow_choosing(&mut browser, &request, &fixture.owner, everything)
        .await?;
    let page = browser.visit(&url(&fixture.gateway, "/account")).await?;
    let form = page.form_with_button("Revoke access")?;
    browser.submit(&form).await?;
    assert_eq!(status(&fixture.gateway, &token).await?, 401);
    let late = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    assert_eq!((late.status, late.error().as_str()), (400, "invalid_grant"));

    // What is allowed after that counts, also when the old form comes again.
    let request = client.authorization();
    let callback = client
        .allow_choosing(&mut browser, &request, &fixture.owner, everything)
        .await?;
    browser.submit(&form).await?;
    let fresh = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    assert_eq!(fresh.status, 200, "{}", fresh.text);
    Ok(())
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_said_to_be_done() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let client = fixture.client("Client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    fixture.backend.play(saying("another"));
    a_moment().await;
    let (mut browser, page) = at_account(&fixture.gateway, &fixture.owner).await?;
    let forms = [
        page.form_with_button("Revoke access")?,
        page.form_with_button("Approve again")?,
        page.form_with_button("Log out")?
            .press("Log out everywhere")?,
    ];
    let redis = fixture.redis.as_mut().context("this world has one")?;
    redis.kill().await?;
    for form in &forms {
        let answer = browser.submit(form).await?;
        assert_eq!(
            answer.reply.status,
            503,
            "{}: {}",
            form.action,
            answer.words()
        );
        assert!(!answer.reply.header("retry-after").is_empty());
    }
    let shown = browser.open(&url(&fixture.gateway, "/account")).await?;
    assert_eq!(shown.reply.status, 503, "{}", shown.words());
    redis.restart().await?;
    // The forms are as good as they were, once the store is back.
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let answer = browser.submit(&forms[1]).await?;
        if answer.reply.status == 200 {
            assert!(
                answer.words().contains("may be used again"),
                "{}",
                answer.words()
            );
            break;
        }
        anyhow::ensure!(Instant::now() < deadline, "{}", answer.words());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(refusal(&fixture.gateway, &token).await?, "");
    let answer = browser.submit(&forms[0]).await?;
    assert!(
        answer.words().contains("lost its access"),
        "{}",
        answer.words()
    );
    assert_eq!(status(&fixture.gateway, &token).await?, 401);
    Ok(())
}
