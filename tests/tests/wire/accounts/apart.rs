//! What one backend, its authorization server or a fault of theirs can't bring about for others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::operator::done;
use tests::recorder::{Answer, Recorded, Recorder};
use tests::scripted_mcp;

use super::{bob, url, with_bob};

/// A gateway in front of these backends alone, each with its name, its URL and the rest of its table.
async fn in_front_of(backends: &[(&str, String, String)]) -> Result<Gateway> {
    let tables = backends.iter().map(|(name, at, account)| {
        format!(
            "[[backend]]\nname = \"{name}\"\npath = \"/{name}\"\nurl = \"{at}\"\n[backend.account]\n{account}\n"
        )
    });
    let setup = Setup {
        only_more: true,
        ..Setup::default()
    };
    Gateway::start(setup.more(&tables.collect::<String>())).await
}

async fn logged_in(gateway: &Gateway, who: &Owner, path: &str) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let page = browser.visit(&url(gateway, path)).await?;
    let page = browser.log_in(&page, &who.name, &who.password).await?;
    Ok((browser, page))
}

/// The state with which the page sends the browser away.
async fn leave(browser: &mut Browser, page: &Page) -> Result<String> {
    let form = page.form_with_button("Go there")?.press("Go there")?;
    let left = browser.submit(&form).await?;
    let to = left.location().with_context(|| left.words())?;
    let state = to.query_pairs().find(|(name, _)| name == "state");
    Ok(state.context("it has a state")?.1.into_owned())
}

fn endpoints(server: &Recorder) -> String {
    format!(
        "kind = \"oauth\"\nauthorization_endpoint = \"{0}/authorize\"\ntoken_endpoint = \"{0}/token\"\n\
         revocation_endpoint = \"{0}/revoke\"\nclient_id = \"gateway\"",
        server.url()
    )
}

fn gives_tokens(request: &Recorded) -> Answer {
    match request.path() {
        "/revoke" => Answer::Silence,
        _ => Answer::json(200, &json!({"access_token": "at", "refresh_token": "rt"})),
    }
}

/// What the operator wrote of one backend may be private; what another backend says may not (SSRF).
#[tokio::test]
async fn a_private_server_of_one_backend_is_not_asked_for_another() -> Result<()> {
    let inner = Recorder::start(|_| Answer::json(404, &json!({}))).await?;
    let named = inner.url();
    let hostile = Recorder::start(move |request| {
        if request
            .path()
            .starts_with("/.well-known/oauth-protected-resource")
        {
            let own = format!("http://{}", request.header("host").unwrap_or_default());
            return Answer::json(
                200,
                &json!({"resource": own, "authorization_servers": [named]}),
            );
        }
        Answer::json(401, &json!({})).with("WWW-Authenticate", "Bearer")
    })
    .await?;
    let gateway = in_front_of(&[
        ("hostile", hostile.url(), "kind = \"oauth\"".to_owned()),
        (
            "good",
            hostile.url(),
            format!("kind = \"oauth\"\nissuer = \"{}\"", inner.url()),
        ),
    ])
    .await?;
    let (mut browser, page) = logged_in(&gateway, &Owner::alice(), "/connect/hostile").await?;
    let form = page.form_with_button("Go there")?.press("Go there")?;
    let page = browser.submit(&form).await?;
    assert_eq!(page.reply.status, 502, "{}", page.words());
    assert!(page.words().contains("not https"), "{}", page.words());
    assert!(inner.requests().is_empty(), "{:?}", inner.requests());
    // The backend for which it is written has it asked.
    let page = browser.visit(&url(&gateway, "/connect/good")).await?;
    let form = page.form_with_button("Go there")?.press("Go there")?;
    browser.submit(&form).await?;
    assert!(!inner.requests().is_empty());
    Ok(())
}

/// A server that has the browser ask another one gets nothing of what that one answers (RFC 9700 §4.4).
#[tokio::test]
async fn the_answer_of_one_backend_s_server_is_not_taken_for_another_s() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let (hostile, honest) = (
        Recorder::start(gives_tokens).await?,
        Recorder::start(gives_tokens).await?,
    );
    let gateway = in_front_of(&[
        ("hostile", backend.url(), endpoints(&hostile)),
        ("honest", backend.url(), endpoints(&honest)),
    ])
    .await?;
    let (mut browser, page) = logged_in(&gateway, &Owner::alice(), "/connect/hostile").await?;
    let state = leave(&mut browser, &page).await?;
    // The honest server sends its code to where its client is registered, with the state that it was shown.
    let mut back = url(&gateway, "/connect/honest/callback");
    back.query_pairs_mut()
        .append_pair("code", "of-honest")
        .append_pair("state", &state);
    let page = browser.visit(&back).await?;
    assert_eq!(page.reply.status, 400, "{}", page.words());
    assert!(
        page.words().contains("account_state_unknown"),
        "{}",
        page.words()
    );
    assert!(hostile.requests().is_empty() && honest.requests().is_empty());
    let page = browser.visit(&url(&gateway, "/account")).await?;
    assert!(!page.words().contains("Connected less"), "{}", page.words());
    Ok(())
}

/// Whose servers say nothing holds nobody up for long, however many they are.
#[tokio::test]
async fn all_accounts_of_a_person_end_though_no_server_answers_that_is_told() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let server = Recorder::start(gives_tokens).await?;
    let names = ["one", "two", "three", "four", "five"];
    let backends = names.map(|name| (name, backend.url(), endpoints(&server)));
    let gateway = in_front_of(&backends).await?;
    with_bob(&gateway).await?;
    let (mut browser, _) = logged_in(&gateway, &bob(), "/account").await?;
    for name in names {
        let page = browser
            .visit(&url(&gateway, &format!("/connect/{name}")))
            .await?;
        let state = leave(&mut browser, &page).await?;
        let mut back = url(&gateway, &format!("/connect/{name}/callback"));
        back.query_pairs_mut()
            .append_pair("code", "a-code")
            .append_pair("state", &state);
        browser.visit(&back).await?;
    }
    let listed = done(&gateway, &["accounts", "ls", "--json"], "")
        .await?
        .json();
    assert_eq!(listed["accounts"].as_array().map(Vec::len), Some(5));
    let begun = Instant::now();
    done(&gateway, &["users", "disable", "bob"], "").await?;
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(15),
        "one after the other: {took:?}"
    );
    let listed = done(&gateway, &["accounts", "ls", "--json"], "")
        .await?
        .json();
    assert_eq!(listed["accounts"], json!([]));
    Ok(())
}

/// A fault is no refusal: what is opened in somebody's name is to be tried again.
#[tokio::test]
async fn a_page_of_a_backend_whose_server_is_away_is_for_later_and_not_forbidden() -> Result<()> {
    let server = Recorder::start(|_| Answer::json(503, &json!({}))).await?;
    let account = format!(
        "[backend.account]\nkind = \"exchange\"\ntoken_endpoint = \"{}/token\"\n\
         client_id = \"gateway\"\nclient_secret = \"s3cret\"\n",
        server.url()
    );
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment: vec![("GATEWAY__BACKEND__0__PAGES".into(), "/documents/".into())],
        ..setup.more(&account)
    })
    .await?;
    let (_, page) = logged_in(&fixture.gateway, &Owner::alice(), "/pages/a-page").await?;
    assert_eq!(page.reply.status, 503, "{}", page.words());
    assert!(!page.reply.header("retry-after").is_empty());
    assert!(
        page.words().contains("account_unavailable"),
        "{}",
        page.words()
    );
    Ok(())
}
