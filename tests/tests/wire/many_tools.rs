//! Backends with hundreds of tools: any number of them can be chosen, the token stays short, and what
//! was chosen is kept with the grant.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Form};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, call, message, send};
use tests::oauth::OAuthClient;
use tests::operator;
use tests::program::{binary, run};
use tests::recorder::{Answer, Recorded};
use tests::scripted_mcp;
use url::Url;

/// As many tools as this, of which each third changes things.
fn many(count: usize, description: &'static str) -> impl Fn(&Recorded) -> Answer + Send + Sync {
    move |request| match request.json()["method"].as_str() {
        Some("tools/list") => {
            let tools: Vec<Value> = (0..count).map(|n| tool(n, description)).collect();
            let result = json!({"tools": tools});
            let id = &request.json()["id"];
            Answer::json(200, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
        }
        _ => scripted_mcp::answer(request),
    }
}

fn tool(number: usize, description: &str) -> Value {
    json!({
        "name": name(number),
        "description": match number {
            7 => description.to_owned(),
            _ => format!("Does the work of department {number}"),
        },
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": !number.is_multiple_of(3)},
    })
}

fn name(number: usize) -> String {
    format!("department_{number:04}_report")
}

async fn fixture(store: StoreKind, count: usize) -> Result<Fixture> {
    let fixture = Fixture::on(store).await?;
    fixture.backend.play(many(count, "Seven"));
    Ok(fixture)
}

async fn listed_at(gateway: &Gateway, host: &str, token: &str) -> Result<Vec<String>> {
    let list = message(5, "tools/list", &json!({}));
    let request = mcp::post(&gateway.url("/mcp"), token, &list).header("Host", host);
    let reply = http::send(request).await?;
    anyhow::ensure!(reply.status == 200, "{}: {}", reply.status, reply.text);
    let answer = mcp::response(&reply)?;
    let tools = answer["result"]["tools"].as_array().cloned();
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    Ok(tools.unwrap_or_default().iter().map(name).collect())
}

fn host(gateway: &Gateway) -> String {
    gateway.issuer().replace("http://", "")
}

async fn listed(fixture: &Fixture, token: &str) -> Result<Vec<String>> {
    listed_at(&fixture.gateway, &host(&fixture.gateway), token).await
}

async fn called(fixture: &Fixture, token: &str, tool: &str) -> Result<Reply> {
    send(&fixture.url("/mcp"), token, &call(1, tool, &json!({}))).await
}

/// The reason of a refusal, empty for a call that passed.
async fn refusal(fixture: &Fixture, token: &str, tool: &str) -> Result<String> {
    let reply = called(fixture, token, tool).await?;
    anyhow::ensure!(reply.status == 200, "{}: {}", reply.status, reply.text);
    let reason = reply.json()["result"]["_meta"]["reason"].clone();
    Ok(reason.as_str().unwrap_or_default().to_owned())
}

async fn token_for(
    fixture: &Fixture,
    client: &OAuthClient,
    choose: impl FnOnce(&mut Form) -> Result<()>,
) -> Result<String> {
    client.sign_in_choosing(&fixture.owner, choose).await
}

#[tokio::test]
async fn five_hundred_tools_are_chosen_listed_and_called_with_a_short_token() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, 500).await?;
    let client = fixture.client("Client").await?;
    let odd: Vec<String> = (0..500).filter(|n| n % 2 == 1).map(name).collect();
    let reading: Vec<String> = (0..500).filter(|n| n % 3 != 0).map(name).collect();
    let all: Vec<String> = (0..500).map(name).collect();

    // What an unverified app is offered without a further press.
    let read = token_for(&fixture, &client, |_| Ok(())).await?;
    let today = token_for(&fixture, &client, |form| form.choose("tools", "today")).await?;
    let chosen = token_for(&fixture, &client, |form| {
        form.choose_tools(&odd.iter().map(String::as_str).collect::<Vec<_>>())
    })
    .await?;
    for (token, tools) in [(&read, &reading), (&today, &all), (&chosen, &odd)] {
        assert!(token.len() < 1024, "{} bytes", token.len());
        assert_eq!(listed(&fixture, token).await?, *tools);
    }
    assert_eq!(refusal(&fixture, &chosen, &name(1)).await?, "");
    assert_eq!(refusal(&fixture, &chosen, &name(499)).await?, "");
    for never in [name(2), "department_0500_report".to_owned(), String::new()] {
        let refused = refusal(&fixture, &chosen, &never).await?;
        assert_eq!(refused, "tool_not_allowed", "{never}");
    }
    let reply = send(
        &fixture.url("/mcp"),
        &chosen,
        &message(3, "resources/read", &json!({"uri": "file:///a"})),
    )
    .await?;
    assert_ne!(reply.json()["error"], Value::Null, "{}", reply.text);
    Ok(())
}

#[tokio::test]
async fn a_backend_with_as_many_tools_as_are_shown_can_be_allowed_whole() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, 2000).await?;
    let client = fixture.client("Client").await?;
    let all: Vec<String> = (0..2000).map(name).collect();
    let token = token_for(&fixture, &client, |form| {
        form.choose_tools(&all.iter().map(String::as_str).collect::<Vec<_>>())
    })
    .await?;
    assert!(token.len() < 1024, "{} bytes", token.len());
    assert_eq!(listed(&fixture, &token).await?.len(), 2000);
    assert_eq!(refusal(&fixture, &token, &name(1999)).await?, "");
    // Nobody who is not logged in may send as much.
    let long = format!("request=a&tool={}", "x".repeat(100 * 1024));
    let request = http::client().post(fixture.url("/consent"));
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(http::send(request.body(long)).await?.status, 413);
    Ok(())
}

#[tokio::test]
async fn what_was_chosen_outlives_a_restart_a_refresh_and_moves_to_another_replica() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let with_refresh = |setup: Setup| setup.more("[tokens]\nrefresh = true\n");
        let mut fixture = Fixture::with(store, with_refresh).await?;
        fixture.backend.play(many(500, "Seven"));
        let client = fixture.client("Client").await?;
        let answer = client.connect(&fixture.owner).await?;
        let token = answer["access_token"].as_str().context("none")?.to_owned();
        let refresh = answer["refresh_token"].as_str().context("none")?.to_owned();
        let before = listed(&fixture, &token).await?;
        assert!(before.len() > 300);
        fixture.gateway.restart().await?;
        assert_eq!(listed(&fixture, &token).await?, before);
        let renewed = client.refresh(&refresh).await?.json();
        let renewed = renewed["access_token"].as_str().context("none")?.to_owned();
        assert!(renewed.len() < 1024);
        assert_eq!(listed(&fixture, &renewed).await?, before);
        if store == StoreKind::Redis {
            let replica = fixture.replica(with_refresh).await?;
            let host = host(&fixture.gateway);
            assert_eq!(listed_at(&replica, &host, &token).await?, before);
            client.revoke(&refresh).await?;
            let reply = called(&fixture, &token, &name(1)).await?;
            assert_eq!(reply.status, 401, "{}", reply.text);
        }
    }
    Ok(())
}

#[tokio::test]
async fn where_the_store_is_away_what_was_read_works_and_nothing_else_is_believed() -> Result<()> {
    let mut fixture = fixture(StoreKind::Redis, 500).await?;
    let replica = fixture.replica(|setup| setup).await?;
    let host = host(&fixture.gateway);
    let client = fixture.client("Client").await?;
    let token = token_for(&fixture, &client, |form| form.choose("tools", "today")).await?;
    let few = token_for(&fixture, &client, |form| form.choose_tools(&[&name(1)])).await?;
    assert_eq!(listed(&fixture, &token).await?.len(), 500);
    // The replica knows of the backend's tools, and has never met the long choice.
    assert_eq!(listed_at(&replica, &host, &few).await?.len(), 1);
    let redis = fixture.redis.as_mut().context("this world has one")?;
    redis.kill().await?;
    assert_eq!(listed(&fixture, &token).await?.len(), 500);
    assert_eq!(listed_at(&replica, &host, &few).await?.len(), 1);
    let one = call(1, &name(1), &json!({}));
    let at_replica = async || {
        let request = mcp::post(&replica.url("/mcp"), &token, &one).header("Host", host.clone());
        http::send(request).await
    };
    let reply = at_replica().await?;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert_eq!(reply.json()["reason"], "store_unavailable");
    assert!(!reply.header("retry-after").is_empty());

    let redis = fixture.redis.as_mut().context("this world has one")?;
    redis.restart().await?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = at_replica().await?;
        if reply.status == 200 {
            break;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{}: {}",
            reply.status,
            reply.text
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_tool_among_many_is_approved_again_for_tokens_in_use_everywhere() -> Result<()> {
    let fixture = fixture(StoreKind::Redis, 500).await?;
    let host = host(&fixture.gateway);
    let client = fixture.client("Client").await?;
    let token = token_for(&fixture, &client, |form| form.choose("tools", "today")).await?;
    fixture.backend.play(many(500, "Seven, and another thing"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(listed(&fixture, &token).await?.len(), 499);
    let refused = refusal(&fixture, &token, &name(7)).await?;
    assert_eq!(refused, "tool_definition_changed");

    let mut browser = Browser::default();
    let account = Url::parse(&fixture.url("/account"))?;
    let page = browser.visit(&account).await?;
    let owner = &fixture.owner;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    let page = browser.settle(page).await?;
    assert!(
        page.words().contains("These 500, as they were"),
        "{}",
        page.words()
    );
    let form = page.form_with_button("Approve again")?;
    let answer = browser.submit(&form).await?;
    assert!(
        answer.words().contains("may be used again"),
        "{}",
        answer.words()
    );
    assert_eq!(refusal(&fixture, &token, &name(7)).await?, "");
    // A replica that has read nothing yet finds what this token was given for.
    let replica = fixture.replica(|setup| setup).await?;
    assert_eq!(listed_at(&replica, &host, &token).await?.len(), 500);
    Ok(())
}

#[tokio::test]
async fn a_token_for_many_tools_is_narrowed_offline_and_allows_exactly_what_is_left() -> Result<()>
{
    let fixture = fixture(StoreKind::Embedded, 500).await?;
    let client = fixture.client("Client").await?;
    let odd: Vec<String> = (0..500).filter(|n| n % 2 == 1).map(name).collect();
    let token = token_for(&fixture, &client, |form| {
        form.choose_tools(&odd.iter().map(String::as_str).collect::<Vec<_>>())
    })
    .await?;
    let narrow = async |token: &str, words: &[&str]| -> Result<String> {
        let words = ["token", "narrow"].iter().chain(words);
        let words: Vec<String> = words.map(|word| (*word).to_owned()).collect();
        let (code, out, errors) = run(&binary("gateway"), &words, token).await?;
        anyhow::ensure!(code == 0, "{errors}");
        Ok(out.trim().to_owned())
    };
    let (one, two, three) = (name(1), name(2), name(3));
    let child = narrow(&token, &["--tool", &one, "--tool", &two, "--tool", &three]).await?;
    // A tool that was never granted is none that narrowing could give.
    assert_eq!(
        listed(&fixture, &child).await?,
        [one.clone(), three.clone()]
    );
    assert_eq!(refusal(&fixture, &child, &one).await?, "");
    assert_eq!(refusal(&fixture, &child, &two).await?, "tool_not_allowed");
    assert_eq!(refusal(&fixture, &child, &name(5)).await?, "token_narrowed");
    let grandchild = narrow(&child, &["--read-only", "--for", "5m"]).await?;
    assert_eq!(listed(&fixture, &grandchild).await?, [one]);
    assert!(grandchild.len() < 1536, "{} bytes", grandchild.len());
    Ok(())
}

#[tokio::test]
async fn whoever_looks_at_such_a_token_or_its_grant_learns_what_it_is_for() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, 500).await?;
    let client = fixture.client("Client").await?;
    let token = token_for(&fixture, &client, |form| form.choose("tools", "today")).await?;
    let keys = fixture.gateway.folder().join("keys").display().to_string();
    let words = ["token", "inspect", "--keys-dir", &keys].map(str::to_owned);
    let (code, out, errors) = run(&binary("gateway"), &words, &token).await?;
    assert_eq!(code, 0, "{errors}");
    let line = out.lines().find(|line| line.contains("tools granted"));
    let line = line.context(out.clone())?;
    assert!(
        line.contains("500, which the gateway keeps with grant g_"),
        "{line}"
    );
    assert!(line.contains("gateway grants show"), "{line}");

    let grants = operator::done(&fixture.gateway, &["grants", "ls", "--json"], "")
        .await?
        .json();
    let id = grants["grants"][0]["id"]
        .as_str()
        .context("no grant")?
        .to_owned();
    assert!(line.contains(&id), "{line}");
    let shown = operator::done(&fixture.gateway, &["grants", "show", &id, "--json"], "")
        .await?
        .json();
    let tools = shown["grant"]["tools"].as_array().map(Vec::len);
    assert_eq!(tools, Some(500), "{shown}");
    Ok(())
}

/// The names of the tools whose boxes are ticked in a form.
fn ticked(form: &Form) -> Vec<&str> {
    let boxes = form.fields.iter().filter(|(name, _)| name == "tool");
    boxes.map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn tools_are_found_by_their_words_without_script_and_what_is_ticked_stays() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, 500).await?;
    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let mut browser = Browser::default();
    let page = browser.visit(&request.url()).await?;
    let owner = &fixture.owner;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    assert!(!page.reply.text.contains("<script"));

    let mut form = page.form_with_button("Find")?.press("Find")?;
    form.choose_tools(&[&name(3), &name(4)])?;
    form.set("find", "  REPORT _049 ");
    let page = browser.submit(&form).await?;
    assert_eq!(page.reply.status, 200, "{}", page.words());
    let words = page.words();
    // 490 to 499: each word has to be there, in any case. Nothing is decided by looking.
    assert!(words.contains("10 tools are found, of 500"), "{words}");
    let form = page.form_with_button("Tick all 10")?;
    assert_eq!(form.value("tools"), Some("chosen"));
    assert_eq!(form.value("find"), Some("REPORT _049"));
    let mut both = ticked(&form);
    both.sort_unstable();
    assert_eq!(both, [name(3), name(4)]);

    let page = browser.submit(&form.press("Tick all 10")?).await?;
    let mut form = page.form_with_button("Find")?.press("Find")?;
    assert_eq!(ticked(&form).len(), 12);
    form.set("find", "0492");
    let page = browser.submit(&form).await?;
    assert!(
        page.words().contains("One tool is found"),
        "{}",
        page.words()
    );
    let form = page.form_with_button("Untick it")?.press("Untick it")?;
    let page = browser.submit(&form).await?;
    let mut form = page.form_with_button("Find")?.press("Find")?;
    form.set("find", "no such words");
    let page = browser.submit(&form).await?;
    assert!(
        page.words().contains("No tool has these words"),
        "{}",
        page.words()
    );

    let last = browser
        .submit(&page.form_with_button("Allow")?.press("Allow")?)
        .await?;
    let url = last.location().with_context(|| last.words())?;
    let callback = tests::oauth::Callback { url };
    let redeemed = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    let token = redeemed.json()["access_token"]
        .as_str()
        .context("none")?
        .to_owned();
    let mut wanted: Vec<String> = (490..500).filter(|n| *n != 492).map(name).collect();
    wanted.extend([name(3), name(4)]);
    wanted.sort_unstable();
    assert_eq!(listed(&fixture, &token).await?, wanted);
    Ok(())
}
