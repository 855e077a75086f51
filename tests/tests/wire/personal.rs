//! Personal tokens: made at `/account/tokens` or by the operator, shown once, used in a header, checked as
//! fast as any other, taken back.

mod misused;
mod worth;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{call, initialize, message, response, send};
use tests::operator::{command, done};
use tests::sse::EventStream;

fn url(gateway: &Gateway, path: &str) -> url::Url {
    gateway.url(path).parse().expect("a URL of the harness")
}

/// A logged-in browser on its tokens.
async fn at_tokens(gateway: &Gateway, owner: &Owner) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let login = browser.visit(&url(gateway, "/account/tokens")).await?;
    let page = browser.log_in(&login, &owner.name, &owner.password).await?;
    anyhow::ensure!(page.url.path() == "/account/tokens", "led to {}", page.url);
    Ok((browser, page))
}

/// The form for a new token of this name and these tools, filled in.
async fn form(
    browser: &mut Browser,
    gateway: &Gateway,
    name: &str,
    tools: &[&str],
) -> Result<tests::browser::Form> {
    let page = browser.visit(&url(gateway, "/account/tokens/new")).await?;
    let mut form = page.form_with_button("Make the token")?;
    form.set("name", name);
    form.choose_tools(tools)?;
    form.press("Make the token")
}

/// The token that a page shows, if it shows one.
fn shown(page: &Page) -> Option<String> {
    let words = page.words();
    let token = words
        .split_whitespace()
        .find(|word| word.starts_with("cupgw_"))?;
    Some(token.to_owned())
}

async fn make(gateway: &Gateway, owner: &Owner, name: &str, tools: &[&str]) -> Result<String> {
    let (mut browser, _) = at_tokens(gateway, owner).await?;
    let form = form(&mut browser, gateway, name, tools).await?;
    let page = browser.submit(&form).await?;
    shown(&page).with_context(|| page.words())
}

/// What the operator's command gives.
async fn create(gateway: &Gateway, more: &[&str]) -> Result<String> {
    let words = [
        &["token", "create", "--user", "alice", "--name", "nightly"],
        more,
    ]
    .concat();
    Ok(done(gateway, &words, "").await?.out.trim().to_owned())
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

/// The reason that a call of this tool is refused for; empty if it is not.
async fn refusal(gateway: &Gateway, token: &str, tool: &str) -> Result<String> {
    let asked = call(4, tool, &json!({}));
    let answer = response(&send(&gateway.url("/mcp"), token, &asked).await?)?;
    let reason = answer["result"]["_meta"]["reason"].as_str();
    Ok(reason.unwrap_or_default().to_owned())
}

async fn exchange(gateway: &Gateway, token: &str, more: &[(&str, &str)]) -> Result<Reply> {
    let fields = [
        &[
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", token),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
        ],
        more,
    ]
    .concat();
    http::post_form(&gateway.url("/token"), &fields).await
}

/// What a command prints that needs no gateway.
async fn command_offline(words: &[&str], input: &str) -> Result<String> {
    let binary = tests::program::binary("gateway");
    let (code, out, errors) = tests::program::run(&binary, words, input).await?;
    anyhow::ensure!(code == 0, "{words:?}: {errors}");
    Ok(out.trim().to_owned())
}

#[tokio::test]
async fn a_person_makes_a_token_sees_it_once_and_takes_it_back() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[audit]\nfile = \"audit.jsonl\"\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let (mut browser, page) = at_tokens(gateway, &fixture.owner).await?;
    assert!(
        page.words().contains("You have no token now"),
        "{}",
        page.words()
    );
    let offered = browser.visit(&url(gateway, "/account/tokens/new")).await?;
    let offered = offered.form_with_button("Make the token")?;
    // Nothing that changes things is chosen before somebody chooses it, and no end beyond the ceiling.
    assert_eq!(offered.value("tools"), Some("read"));
    let ends: Vec<_> = offered
        .radios
        .iter()
        .filter(|(name, _)| name == "days")
        .collect();
    assert_eq!(ends.len(), 2, "{ends:?}");

    let form = form(
        &mut browser,
        gateway,
        "  nightly <b>job</b> ",
        &["look", "echo"],
    )
    .await?;
    let made = browser.submit(&form).await?;
    let token = shown(&made).with_context(|| made.words())?;
    assert_eq!(token.len(), 62, "{token}");
    assert_eq!(made.reply.header("cache-control"), "no-store");
    // A double click is two requests, and the browser shows the second.
    assert_eq!(shown(&browser.submit(&form).await?), Some(token.clone()));
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let reloaded = browser.submit(&form).await?;
    assert_eq!(shown(&reloaded), None, "{}", reloaded.words());
    assert!(
        reloaded.words().contains("shown before"),
        "{}",
        reloaded.words()
    );

    assert_eq!(listed(gateway, &token).await?, ["echo", "look"]);
    assert_eq!(refusal(gateway, &token, "look").await?, "");
    assert_eq!(refusal(gateway, &token, "erase").await?, "tool_not_allowed");
    let seen = fixture.backend.requests();
    let seen = seen.last().context("the backend saw nothing")?;
    assert_eq!(seen.header("x-forwarded-user"), Some("alice"));
    assert_eq!(seen.header("x-forwarded-client"), Some("personal_token"));
    assert!(seen.header("authorization").is_none());
    let mut stream =
        EventStream::open(http::client().get(gateway.url("/mcp")).bearer_auth(&token)).await?;
    fixture
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;

    let page = browser.visit(&url(gateway, "/account/tokens")).await?;
    let words = page.words();
    for said in [
        "“nightly <b>job</b>”",
        "These 2, as they were when you allowed them: echo , look",
        "Last used less than a minute ago from 127.0.0.1",
        "ends in 30 days",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert_eq!(shown(&page), None);
    let account = browser.visit(&url(gateway, "/account")).await?;
    assert!(
        account.words().contains("Personal tokens"),
        "{}",
        account.words()
    );

    let start = Instant::now();
    let done = browser.submit(&page.form_with_button("Revoke")?).await?;
    assert!(done.words().contains("counts no more"), "{}", done.words());
    assert_eq!(status(gateway, &token).await?, 401, "the next call");
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );

    // Nowhere but on the page that showed it.
    let log = gateway.log().join("\n");
    let audit = std::fs::read_to_string(gateway.folder().join("audit.jsonl"))?;
    for kept in [&log, &audit] {
        assert!(!kept.contains(&token[30..]), "the token was written down");
    }
    let consent = audit
        .lines()
        .find(|line| line.contains("personal token “nightly"));
    assert!(
        consent.is_some_and(|line| line.contains("\"consent\"")),
        "{audit}"
    );
    assert_eq!(
        audit.matches("personal token “nightly").count(),
        1,
        "{audit}"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_without_name_or_tools_is_not_made_and_what_was_typed_stays() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let (mut browser, _) = at_tokens(gateway, &fixture.owner).await?;
    for (name, tools, problem) in [
        (" \u{202e} ", &["look"][..], "give it a name"),
        ("ci", &[][..], "no tool is ticked"),
    ] {
        let form = form(&mut browser, gateway, name, tools).await?;
        let page = browser.submit(&form).await?;
        assert!(page.words().contains(problem), "{}", page.words());
        assert_eq!(shown(&page), None);
        let again = page.form_with_button("Make the token")?;
        assert_eq!(again.value("tools"), Some("chosen"));
    }
    // A form of another site, and one that nobody was shown.
    let mut forged = form(&mut browser, gateway, "ci", &["look"]).await?;
    forged.set("shown", "");
    assert_eq!(browser.submit(&forged).await?.reply.status, 403);
    let mut unknown = form(&mut browser, gateway, "ci", &["look"]).await?;
    unknown.set("backend", "other");
    let page = browser.submit(&unknown).await?;
    assert_eq!(
        page.location().context("no redirect")?.path(),
        "/account/tokens"
    );
    let page = browser.visit(&url(gateway, "/account/tokens")).await?;
    assert!(page.words().contains("You have no token now"));
    Ok(())
}

#[tokio::test]
async fn whoever_finds_a_token_learns_whose_it_is_and_ends_it() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let (leaked, other) = (
        create(gateway, &["--read-only"]).await?,
        create(gateway, &["--read-only"]).await?,
    );
    let text = format!("# .env\nMCP_TOKEN={leaked}\nOTHER=cupgw_nothing\n");
    let found = done(gateway, &["token", "find"], &text).await?;
    assert!(
        found.out.contains("nightly") && found.out.contains("alice"),
        "{}",
        found.out
    );
    assert!(!found.out.contains(&leaked[30..]));
    let inspected = command_offline(&["token", "inspect"], &leaked).await?;
    assert!(inspected.contains("grant(\"g_"), "{inspected}");
    // No app is needed to end it (and none could be named).
    let pasted = format!(" {leaked}\n");
    let reply = http::post_form(&gateway.url("/revoke"), &[("token", &pasted)]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(status(gateway, &leaked).await?, 401);
    assert_eq!(status(gateway, &other).await?, 200);
    let found = done(gateway, &["token", "find"], &text).await?;
    assert!(found.out.contains("does not count"), "{}", found.out);
    let revoked = done(gateway, &["token", "revoke", "--token", &other], "").await?;
    assert!(
        revoked.out.contains("personal token of the grant"),
        "{}",
        revoked.out
    );
    assert_eq!(status(gateway, &other).await?, 401);
    let none = command(gateway, &["token", "find"], "nothing here").await?;
    assert_eq!(none.code, 1);
    Ok(())
}

#[tokio::test]
async fn the_operator_sets_the_ceiling_and_switches_them_off() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[tokens]\npersonal_max = \"7d\"\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let long = command(
        gateway,
        &[
            "token",
            "create",
            "--user",
            "alice",
            "--name",
            "x",
            "--everything",
            "--for",
            "8d",
        ],
        "",
    )
    .await?;
    assert_eq!(long.code, 64, "{long:?}");
    assert!(long.errors.contains("7 days at most"), "{}", long.errors);
    let token = create(gateway, &["--everything", "--for", "7d"]).await?;
    let (mut browser, _) = at_tokens(gateway, &fixture.owner).await?;
    let offered = browser.visit(&url(gateway, "/account/tokens/new")).await?;
    let offered = offered.form_with_button("Make the token")?;
    let ends: Vec<_> = offered
        .radios
        .iter()
        .filter(|(name, _)| name == "days")
        .collect();
    assert_eq!(ends, [&("days".to_owned(), "7".to_owned())]);
    assert_eq!(status(gateway, &token).await?, 200);
    let exchanged = exchange(gateway, &token, &[]).await?.json();
    let exchanged = exchanged["access_token"].as_str().context("no token")?;
    assert_eq!(status(gateway, exchanged).await?, 200);

    let setup = fixture.gateway.setup();
    setup.more = "[tokens]\npersonal = false\n".to_owned();
    fixture.gateway.restart().await?;
    let gateway = &fixture.gateway;
    assert_eq!(status(gateway, &token).await?, 401);
    assert_eq!(status(gateway, exchanged).await?, 401);
    gateway
        .last_logged("refused", "personal_tokens_off")
        .await?;
    let none = command(
        gateway,
        &[
            "token",
            "create",
            "--user",
            "alice",
            "--name",
            "x",
            "--everything",
        ],
        "",
    )
    .await?;
    assert!(
        none.code != 0 && none.errors.contains("switched off"),
        "{none:?}"
    );
    let reply = exchange(gateway, &token, &[]).await?;
    assert_eq!(reply.error(), "unsupported_grant_type");
    let page = browser.visit(&url(gateway, "/account/tokens")).await?;
    assert!(page.words().contains("switched off"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn of_several_backends_a_token_is_for_one() -> Result<()> {
    let first = tests::recorder::Recorder::start(tests::scripted_mcp::answer).await?;
    let second = tests::recorder::Recorder::start(tests::scripted_mcp::answer).await?;
    let setup = Setup::default().mounted("main", "/", &first.url()).mounted(
        "a & b",
        "/other",
        &second.url(),
    );
    let gateway = Gateway::start(setup).await?;
    let (mut browser, page) = at_tokens(&gateway, &Owner::alice()).await?;
    assert!(
        page.words().contains("For which backend?"),
        "{}",
        page.words()
    );
    let new = browser
        .visit(&url(&gateway, "/account/tokens/new?backend=a+%26+b"))
        .await?;
    let mut form = new.form_with_button("Make the token")?;
    form.set("name", "x");
    let made = browser.submit(&form.press("Make the token")?).await?;
    let token = shown(&made).with_context(|| made.words())?;
    let there = send(&gateway.url("/other/mcp"), &token, &initialize()).await?;
    assert_eq!(there.status, 200);
    assert_eq!(status(&gateway, &token).await?, 401, "at the other one");
    let unnamed = command(
        &gateway,
        &[
            "token",
            "create",
            "--user",
            "alice",
            "--name",
            "x",
            "--read-only",
        ],
        "",
    )
    .await?;
    assert!(unnamed.errors.contains("--backend"), "{unnamed:?}");
    Ok(())
}
