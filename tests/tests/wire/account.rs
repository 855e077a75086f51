//! `/account`: a person sees what each app may do, takes it back with one click, and approves a tool
//! again that its backend changed; what is in use follows at once.

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
async fn a_changed_tool_is_approved_again_and_what_is_in_use_goes_on_everywhere() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let replica = fixture.replica(|setup| setup).await?;
    let gateway = &fixture.gateway;
    let client = fixture.client("Client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "today"))
        .await?;
    // The app has a stream open on the older transport: its answers come over that.
    let mut legacy = LegacySession::open(&gateway.url("/sse"), &token).await?;
    let host = gateway.issuer().replace("http://", "");
    let at_replica = |body: Value| {
        let request = mcp::post(&replica.url("/mcp"), &token, &body);
        http::send(request.header("Host", host.clone()))
    };
    let look = call(4, "look", &json!({}));
    let list = message(5, "tools/list", &json!({}));
    assert_eq!(refusal(gateway, &token).await?, "");
    // The other one has just asked, and will believe for a while what it heard.
    let called = response(&at_replica(look.clone()).await?)?;
    assert!(called["result"]["isError"].is_null(), "{called}");

    fixture.backend.play(saying("Read something, and tell me"));
    a_moment().await;
    assert_eq!(listed(gateway, &token).await?, ["echo", "erase"]);
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
    let (mut browser, page) = at_account(gateway, &fixture.owner).await?;
    let words = page.words();
    for said in [
        "look has changed since you allowed it",
        "Read something, and tell me",
        "\"readOnlyHint\": true",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    // Looking approves nothing.
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");

    let form = page.form_with_button("Approve again")?;
    let done = browser.submit(&form).await?;
    assert_eq!(done.reply.status, 200, "{}", done.words());
    assert!(
        done.words().contains("“look” may be used again"),
        "{}",
        done.words()
    );
    assert!(
        !done.words().contains("has changed since"),
        "{}",
        done.words()
    );
    let approved = Instant::now();
    assert_eq!(refusal(gateway, &token).await?, "");
    assert_eq!(listed(gateway, &token).await?, ["echo", "look", "erase"]);
    let answer = legacy.request(&list).await?;
    assert_eq!(answer["result"]["tools"].as_array().map(Vec::len), Some(3));
    let answer = legacy.request(&look).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    loop {
        let listed = response(&at_replica(list.clone()).await?)?;
        let called = response(&at_replica(look.clone()).await?)?;
        let all = listed["result"]["tools"].as_array().map(Vec::len) == Some(3);
        if all && called["result"]["isError"].is_null() {
            break;
        }
        assert!(
            approved.elapsed() < Duration::from_secs(1),
            "{listed} {called}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Pressed twice it is done once.
    let again = browser.submit(&form).await?;
    assert!(
        again.words().contains("may be used again"),
        "{}",
        again.words()
    );

    // What was approved stands in place of what was allowed first.
    fixture.backend.play(scripted_mcp::answer);
    a_moment().await;
    assert_eq!(listed(gateway, &token).await?, ["echo", "erase"]);
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
    let page = browser.visit(&url(gateway, "/account")).await?;
    let back = press(&mut browser, &page, "Approve again").await?;
    assert_eq!(back.reply.status, 200, "{}", back.words());
    assert_eq!(refusal(gateway, &token).await?, "");
    // And the app can still be taken back as a whole.
    press(&mut browser, &back, "Revoke access").await?;
    assert_eq!(status(gateway, &token).await?, 401);
    Ok(())
}

#[tokio::test]
async fn what_changed_again_before_the_click_is_shown_and_not_approved() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let client = fixture.client("Client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    fixture.backend.play(saying("the second"));
    a_moment().await;
    let (mut browser, page) = at_account(gateway, &fixture.owner).await?;
    let form = page.form_with_button("Approve again")?;
    let spoiled = |name: &str, value: &str| {
        let mut form = form.clone();
        form.set(name, value);
        form
    };
    let seal = page.form_with_button("Revoke access")?;
    let seal = seal.value("seal").unwrap_or_default();
    for form in [
        spoiled("pin", "0101010101010101"),
        spoiled("tool", "erase"),
        spoiled("grant", "g_other"),
        spoiled("seal", ""),
        spoiled("seal", seal),
    ] {
        assert_eq!(browser.submit(&form).await?.reply.status, 403);
    }
    fixture.backend.play(saying("the third"));
    a_moment().await;
    let shown = browser.submit(&form).await?;
    assert_eq!(shown.reply.status, 409, "{}", shown.words());
    let words = shown.words();
    assert!(words.contains("Nothing was approved"), "{words}");
    assert!(
        words.contains("the third") && !words.contains("the second"),
        "{words}"
    );
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
    // A backend that can't be asked has nothing approved of it.
    let form = shown.form_with_button("Approve again")?;
    fixture.backend.play(|_| Answer::Full(500, vec![], vec![]));
    a_moment().await;
    let unknown = browser.submit(&form).await?;
    assert_eq!(unknown.reply.status, 503, "{}", unknown.words());
    assert!(
        unknown.words().contains("could not be asked"),
        "{}",
        unknown.words()
    );
    // One that withdrew the tool, neither.
    fixture
        .backend
        .play(|request| match request.json()["method"].as_str() {
            Some("tools/list") => {
                let list =
                    json!({"jsonrpc": "2.0", "id": request.json()["id"], "result": {"tools": []}});
                Answer::json(200, &list)
            }
            _ => scripted_mcp::answer(request),
        });
    a_moment().await;
    let gone = browser.submit(&form).await?;
    assert_eq!(gone.reply.status, 409, "{}", gone.words());
    for reason in ["tools_unknown", "tool_definition_changed"] {
        let is_told = |line: &String| {
            line.contains("account_refused") && line.contains(&format!("\"{reason}\""))
        };
        assert!(gateway.log().iter().any(is_told), "{reason}");
    }
    assert!(
        gone.words().contains("look is not offered any more"),
        "{}",
        gone.words()
    );
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
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
async fn an_approval_outlives_a_crash_and_refreshed_tokens_carry_it() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[tokens]\nrefresh = true\n[audit]\nfile = \"audit.jsonl\"\n")
    })
    .await?;
    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let mut browser = Browser::default();
    let reply = client
        .connect_choosing(&mut browser, &request, &fixture.owner, |form| {
            form.choose_tools(&["look"])
        })
        .await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (token, refresh) = (
        text(&reply.json()["access_token"]),
        text(&reply.json()["refresh_token"]),
    );
    fixture.backend.play(saying("another"));
    a_moment().await;
    let page = browser.visit(&url(&fixture.gateway, "/account")).await?;
    let done = press(&mut browser, &page, "Approve again").await?;
    assert_eq!(done.reply.status, 200, "{}", done.words());
    fixture.gateway.crash_and_restart().await?;
    assert_eq!(refusal(&fixture.gateway, &token).await?, "");
    let reply = client.token(&client.refresh_request(&refresh)).await?;
    let fresh = text(&reply.json()["access_token"]);
    assert_eq!(refusal(&fixture.gateway, &fresh).await?, "");
    assert_eq!(listed(&fixture.gateway, &fresh).await?, ["look"]);
    // The refreshed token says so itself: the pin in it is the one that was approved.
    let audit = std::fs::read_to_string(fixture.gateway.folder().join("audit.jsonl"))?;
    let records = audit
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let approved: Vec<Value> = records
        .filter(|record: &Value| record["event"] == "consent" && record["name"] == "look")
        .collect();
    assert_eq!(approved.len(), 1, "{audit}");
    let detail = text(&approved[0]["detail"]);
    let pin = detail.rsplit(' ').next().unwrap_or_default();
    assert_eq!(pin.len(), 16, "{detail}");
    let inspect = |token: String| async move {
        let gateway = tests::program::binary("gateway");
        let (code, out, errors) =
            tests::program::run(&gateway, &["token", "inspect"], &token).await?;
        anyhow::ensure!(code == 0, "{errors}");
        Ok(out)
    };
    assert!(inspect(fresh).await?.contains(pin));
    assert!(!inspect(token).await?.contains(pin));
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

#[tokio::test]
async fn an_approval_and_a_refresh_of_the_same_moment_both_count() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[tokens]\nrefresh = true\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let client = fixture.client("Client").await?;
    let mut answer = Value::Null;
    let (mut browser, _) = at_account(gateway, &fixture.owner).await?;
    let request = client.authorization();
    let reply = client
        .connect_choosing(&mut browser, &request, &fixture.owner, |form| {
            form.choose_tools(&["look"])
        })
        .await?;
    let first = reply.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut refresh = text(&first["refresh_token"]);
    for description in ["the second", "the third", "the fourth", "the fifth"] {
        fixture.backend.play(saying(description));
        a_moment().await;
        let page = browser.visit(&url(gateway, "/account")).await?;
        let form = page.form_with_button("Approve again")?;
        let fields = client.refresh_request(&refresh);
        let (approved, refreshed) = tokio::join!(browser.submit(&form), client.token(&fields));
        let (approved, refreshed) = (approved?, refreshed?);
        let words = approved.words();
        assert!(
            words.contains("may be used again"),
            "{description}: {words}"
        );
        assert_eq!(refreshed.status, 200, "{description}: {}", refreshed.text);
        answer = refreshed.json();
        refresh = text(&answer["refresh_token"]);
        // Whichever came first, the token of before and the one of now are good for it.
        for token in [&first["access_token"], &answer["access_token"]] {
            assert_eq!(refusal(gateway, &text(token)).await?, "", "{description}");
        }
    }
    // Nothing was taken for a theft, and revoking ends all of it.
    let page = browser.visit(&url(gateway, "/account")).await?;
    assert!(
        page.words().contains("unless it is used"),
        "{}",
        page.words()
    );
    press(&mut browser, &page, "Revoke access").await?;
    for token in [&first["access_token"], &answer["access_token"]] {
        assert_eq!(status(gateway, &text(token)).await?, 401);
    }
    let late = client.token(&client.refresh_request(&refresh)).await?;
    assert_eq!((late.status, late.error().as_str()), (400, "invalid_grant"));
    Ok(())
}
