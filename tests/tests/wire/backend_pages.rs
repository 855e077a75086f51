//! What an answer cites opens in the browser of who may read it, and of nobody else: `/pages/` below a
//! backend's place.

mod refused;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::mcp::{self, LegacySession, call, response};
use tests::oauth::OAuthClient;
use tests::operator::done;
use tests::recorder::{Answer, Recorded, Step};
use tests::{http, raw, scripted_mcp};

const PATIENCE: Duration = Duration::from_secs(10);

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

/// The environment under which the first backend publishes its documents.
fn published() -> Vec<(String, String)> {
    vec![("GATEWAY__BACKEND__0__PAGES".into(), "/documents/".into())]
}

fn html(text: &str) -> Answer {
    let text = format!("<!doctype html><title>t</title><p>{text}</p>");
    let html = ("Content-Type".into(), "text/html".into());
    Answer::Full(200, vec![html], text.into_bytes())
}

/// A gateway in front of a scripted backend with pages.
async fn scripted(
    pages: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    more: &str,
) -> Result<Fixture> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment: published(),
        ..setup.more(more)
    })
    .await?;
    fixture.backend.play(move |request| {
        if request.path().starts_with("/documents/") || request.path() == "/secret" {
            pages(request)
        } else {
            scripted_mcp::answer(request)
        }
    });
    Ok(fixture)
}

/// Requests for pages that reached the backend.
fn asked(fixture: &Fixture) -> Vec<Recorded> {
    let all = fixture.backend.requests().into_iter();
    all.filter(|request| request.path().starts_with("/documents/"))
        .collect()
}

/// Opens a page and logs in on the way.
async fn opened(gateway: &Gateway, path: &str, person: &Owner) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let page = browser.visit(&gateway.url(path).parse()?).await?;
    let page = browser
        .log_in(&page, &person.name, &person.password)
        .await?;
    Ok((browser, page))
}

fn reason(page: &Page) -> bool {
    page.words().contains("backend_page_not_allowed")
}

async fn audit(gateway: &Gateway, count: usize) -> Result<Vec<Value>> {
    let file = gateway.folder().join("state/audit/audit-calls.jsonl");
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let lines: Vec<Value> = lines
            .filter(|line: &Value| line["event"] == "backend_page")
            .collect();
        if lines.len() >= count {
            return Ok(lines);
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{lines:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_cited_document_opens_for_who_may_fetch_it_and_for_nobody_else() -> Result<()> {
    let gateway = Gateway::start(Setup {
        environment: published(),
        ..Setup::default()
    })
    .await?;
    let bob = add_bob(&gateway).await?;
    let client = OAuthClient::register(&gateway.origin(), "Reader").await?;
    let token = client.sign_in(&bob).await?;
    let search = call(1, "search", &json!({"query": "revoke"}));
    let session = mcp::open_session(&gateway.url("/mcp"), &token).await?;
    let request = mcp::post(&gateway.url("/mcp"), &token, &search);
    let found = http::send(request.header("Mcp-Session-Id", session)).await?;
    let found = response(&found)?["result"]["structuredContent"]["results"][0].clone();
    let url = found["url"].as_str().context("a url")?.to_owned();
    let id = found["id"].as_str().context("an id")?;
    assert_eq!(url, gateway.url(&format!("/pages/{id}")));

    // Not logged in: the login page, and after it the document.
    let path = url.strip_prefix(&gateway.origin()).context("our origin")?;
    let (mut browser, page) = opened(&gateway, path, &bob).await?;
    assert_eq!(page.url.as_str(), url, "{}", page.words());
    assert_eq!(page.reply.status, 200);
    assert!(
        page.words()
            .contains(found["title"].as_str().context("a title")?)
    );
    let csp = page.reply.header("content-security-policy");
    for rule in [
        "default-src 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "sandbox allow-same-origin",
    ] {
        assert!(csp.contains(rule), "{csp}");
    }
    assert!(
        !csp.contains("script") && !page.reply.text.contains("<script"),
        "{csp}"
    );
    assert_eq!(
        page.reply.header("content-type"),
        "text/html; charset=utf-8"
    );
    assert_eq!(page.reply.header("x-content-type-options"), "nosniff");
    let style = browser.visit(&page.url.join("style.css")?).await?;
    assert_eq!(
        style.reply.header("content-type"),
        "text/css; charset=utf-8"
    );

    // The operator's own people open it without an app; others don't.
    let (_, page) = opened(&gateway, path, &Owner::alice()).await?;
    assert_eq!(page.reply.status, 200, "the owner");
    let records = audit(&gateway, 2).await?;
    assert_eq!(records[0]["name"], json!(id), "{records:?}");
    assert_eq!(records[0]["outcome"], "allowed");
    assert!(records[0]["grant"].is_string() && records[0]["client"].is_string());
    assert!(
        records[1]["grant"].is_null(),
        "the owner needs none: {records:?}"
    );

    done(&gateway, &["grants", "revoke", "--user", "Bob"], "").await?;
    let page = browser.visit(&url.parse()?).await?;
    assert_eq!(page.reply.status, 403);
    assert!(reason(&page), "{}", page.words());
    assert!(
        !page
            .words()
            .contains(found["title"].as_str().unwrap_or_default())
    );
    assert_eq!(
        audit(&gateway, 3).await?[2]["reason"],
        "backend_page_not_allowed"
    );

    client.sign_in(&bob).await?;
    let page = browser.visit(&url.parse()?).await?;
    assert_eq!(page.reply.status, 200, "an app was connected again");
    done(&gateway, &["users", "disable", "Bob"], "").await?;
    let page = browser.visit(&url.parse()?).await?;
    assert!(page.password_form().is_ok(), "a disabled person is nobody");
    Ok(())
}

#[tokio::test]
async fn an_older_client_is_cited_the_same_pages_and_the_operators_own_address_stands_above_them()
-> Result<()> {
    let gateway = Gateway::start(Setup {
        environment: published(),
        ..Setup::default()
    })
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Reader").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    let search = call(1, "search", &json!({"query": "revoke"}));
    let mut legacy = LegacySession::open(&gateway.url("/sse"), &token).await?;
    legacy.request(&mcp::initialize()).await?;
    let found = legacy.request(&search).await?;
    let url = &found["result"]["structuredContent"]["results"][0]["url"];
    let pages = gateway.url("/pages/");
    assert!(
        url.as_str().is_some_and(|url| url.starts_with(&pages)),
        "{found}"
    );
    let modern = mcp::stateless_message(2, "tools/call", &search["params"]);
    let found = http::send(mcp::post_stateless(&gateway.url("/mcp"), &token, &modern)).await?;
    let found = response(&found)?;
    let url = &found["result"]["structuredContent"]["results"][0]["url"];
    assert!(
        url.as_str().is_some_and(|url| url.starts_with(&pages)),
        "{found}"
    );

    let base = (
        "MCP_BACKEND_BASE_URL".into(),
        "https://docs.example.com".into(),
    );
    let gateway = Gateway::start(Setup {
        environment: [published(), vec![base]].concat(),
        ..Setup::default()
    })
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Reader").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    let modern = mcp::stateless_message(2, "tools/call", &search["params"]);
    let found = http::send(mcp::post_stateless(&gateway.url("/mcp"), &token, &modern)).await?;
    let found = response(&found)?;
    let url = &found["result"]["structuredContent"]["results"][0]["url"];
    let said = "https://docs.example.com/documents/";
    assert!(
        url.as_str().is_some_and(|url| url.starts_with(said)),
        "{found}"
    );
    Ok(())
}

#[tokio::test]
async fn nothing_of_the_browser_reaches_the_backend_and_of_its_answer_only_the_page_comes_back()
-> Result<()> {
    let fixture = scripted(
        |_| {
            html("hello")
                .with("Set-Cookie", "session=evil; Path=/")
                .with("Content-Security-Policy", "default-src *")
                .with("Location", "https://evil.example/")
                .with("Refresh", "0; url=https://evil.example/")
                .with("Access-Control-Allow-Origin", "*")
                .with("Link", "</x>; rel=preload")
        },
        "",
    )
    .await?;
    let (browser, page) = opened(&fixture.gateway, "/pages/a1", &fixture.owner).await?;
    assert_eq!(page.reply.status, 200, "{}", page.words());
    for name in [
        "set-cookie",
        "location",
        "refresh",
        "access-control-allow-origin",
        "link",
    ] {
        assert!(
            page.reply.header_values(name).is_empty(),
            "{name}: {page:?}"
        );
    }
    assert!(
        page.reply
            .header("content-security-policy")
            .contains("default-src 'none'")
    );
    let cookies: Vec<String> = browser
        .cookies
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let sent = [
        ("Cookie", cookies.join("; ")),
        ("Authorization", "Bearer x".into()),
        ("Range", "bytes=0-1".into()),
        ("If-None-Match", "\"x\"".into()),
        ("Connection", "X-Secret".into()),
        ("X-Secret", "s".into()),
        ("X-Forwarded-User", "mallory".into()),
        ("X-Forwarded-Pages", "https://evil.example/".into()),
        ("Accept-Encoding", "gzip".into()),
    ];
    let sent: Vec<_> = sent
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    for method in ["GET", "HEAD"] {
        fixture.backend.take_requests();
        let reply = http::ask(method, &fixture.url("/pages/a1?x=1"), &sent).await?;
        assert_eq!(reply.status, 200, "no part of it: {reply:?}");
        assert_eq!(reply.header("accept-ranges"), "none");
        assert_eq!(reply.text.is_empty(), method == "HEAD");
        let [request] = &asked(&fixture)[..] else {
            anyhow::bail!("{:?}", fixture.backend.requests());
        };
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("GET", "/documents/a1")
        );
        for name in [
            "cookie",
            "authorization",
            "range",
            "if-none-match",
            "x-secret",
            "accept-encoding",
        ] {
            assert_eq!(request.header(name), None, "{request:?}");
        }
        assert_eq!(request.header_values("x-forwarded-user"), ["alice"]);
        assert_eq!(
            request.header_values("x-forwarded-pages"),
            [fixture.url("/pages/")]
        );
    }
    for method in ["POST", "PUT", "DELETE"] {
        let reply = http::ask(method, &fixture.url("/pages/a1"), &sent).await?;
        assert_eq!(reply.status, 405, "{method}");
    }
    Ok(())
}

#[tokio::test]
async fn no_path_leads_out_of_the_published_folder_or_to_another_backend() -> Result<()> {
    let fixture = scripted(|_| html("secret"), "").await?;
    let (browser, _) = opened(&fixture.gateway, "/pages/a1", &fixture.owner).await?;
    let cookies: Vec<String> = browser
        .cookies
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let cookies = cookies.join("; ");
    fixture.backend.take_requests();
    for path in [
        "/pages/../secret",
        "/pages/..",
        "/pages/",
        "/pages",
        "/pages/.",
        "/pages/a/../../secret",
        "/pages/%2e%2e/secret",
        "/pages/..%2fsecret",
        "/pages//secret",
        "/pages/a//b",
        "/pages/a%00",
        "/pages/..;/secret",
        "/pages/a\\..\\secret",
        "/documents/a1",
        "/secret",
        "/pages/a1/",
        "/other/pages/a1",
        "/pages/http://evil.example/",
        "/mcp/pages/a1",
    ] {
        let address = fixture.gateway.address();
        let (host, cookie) = (address.to_string(), [("Cookie", cookies.as_str())]);
        let request = raw::request("GET", path, &host, &cookie, b"");
        let answer = raw::exchange(address, &request, PATIENCE).await?;
        assert!(matches!(answer.status(), 400 | 404), "{path}: {answer:?}");
    }
    assert_eq!(asked(&fixture).len(), 0, "{:?}", fixture.backend.requests());
    Ok(())
}

#[tokio::test]
async fn a_backend_that_publishes_nothing_has_no_pages_and_each_has_its_own() -> Result<()> {
    let other = tests::recorder::Recorder::start(|request: &Recorded| {
        if request.path().starts_with("/docs/") {
            html("of the other")
        } else {
            scripted_mcp::answer(request)
        }
    })
    .await?;
    let (url, more) = (other.url(), "");
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment: vec![("GATEWAY__BACKEND__1__PAGES".into(), "/docs/".into())],
        ..setup.mounted("other", "/other", &url).more(more)
    })
    .await?;
    let (mut browser, page) = opened(&fixture.gateway, "/other/pages/x", &fixture.owner).await?;
    assert!(page.words().contains("of the other"), "{}", page.words());
    let page = browser.visit(&fixture.url("/pages/x").parse()?).await?;
    assert_eq!(page.reply.status, 404, "the first publishes nothing");
    let asked = other.requests();
    let told: Vec<_> = asked
        .iter()
        .flat_map(|it| it.header_values("x-forwarded-pages"))
        .collect();
    let pages = fixture.url("/other/pages/");
    assert!(
        !told.is_empty() && told.iter().all(|it| *it == pages),
        "{told:?}"
    );
    let first = fixture.backend.requests();
    assert!(
        first
            .iter()
            .all(|it| it.header("x-forwarded-pages").is_none())
    );

    // A grant for one backend opens nothing of another.
    let bob = add_bob(&fixture.gateway).await?;
    fixture.client("App").await?.sign_in(&bob).await?;
    let (_, page) = opened(&fixture.gateway, "/other/pages/x", &bob).await?;
    assert!(
        page.reply.status == 403 && reason(&page),
        "{}",
        page.words()
    );
    Ok(())
}
