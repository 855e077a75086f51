//! The login page: who gets in, what it sets, what it withstands.

use std::time::Duration;

use anyhow::Result;
use tests::browser::{Browser, Form, Page};
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::oauth::OAuthClient;

/// The login form of a fresh browser, filled in.
async fn filled_form(fixture: &Fixture, browser: &mut Browser, password: &str) -> Result<Form> {
    let client = fixture.client("Client").await?;
    let page = browser.visit(&client.authorization().url()).await?;
    Ok(page.password_form()?.filled(&fixture.owner.name, password))
}

/// POST a form with an `Origin` (or none) and this browser's cookies, as another site could make a browser do.
async fn post_from(browser: &Browser, form: &Form, origin: Option<&str>) -> Result<http::Reply> {
    let cookies: Vec<String> = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut request = http::client()
        .post(&form.action)
        .header("Cookie", cookies.join("; "))
        .form(&form.fields);
    if let Some(origin) = origin {
        request = request.header("Origin", origin);
    }
    http::send(request).await
}

fn logged_in(page: &Page) -> bool {
    page.form_with_button("Allow").is_ok()
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_told_the_same() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let mut told = Vec::new();
    for name in [fixture.owner.name.as_str(), "nobody"] {
        let mut browser = Browser::default();
        let page = browser.visit(&client.authorization().url()).await?;
        let page = browser.log_in(&page, name, "not the password").await?;
        assert!(!logged_in(&page));
        assert!(
            page.password_form().is_ok(),
            "no second try: {}",
            page.words()
        );
        assert!((200..500).contains(&page.reply.status));
        let words = page.words();
        // The footer names the request.
        told.push(
            words
                .split(" Request ")
                .next()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    assert_eq!(told[0], told[1]);
    Ok(())
}

#[tokio::test]
async fn who_has_no_password_logs_in_with_nobody_elses_and_is_told_the_same() -> Result<()> {
    let fixture = Fixture::start().await?;
    let words = ["users", "add", "dora", "--link"];
    tests::operator::done(&fixture.gateway, &words, "").await?;
    let url = fixture.url("/account").parse()?;
    for password in [fixture.owner.password.as_str(), "", "not the password"] {
        let mut browser = Browser::default();
        let page = browser.visit(&url).await?;
        let page = browser.log_in(&page, "dora", password).await?;
        assert_eq!(page.reply.status, 403, "{password:?}: {}", page.words());
        let words = page.words();
        assert!(words.contains("name or the password is wrong"), "{words}");
        let page = browser.visit(&url).await?;
        assert!(page.password_form().is_ok(), "{password:?} logged dora in");
    }
    Ok(())
}

#[tokio::test]
async fn after_a_wrong_password_the_right_one_goes_on_to_the_client() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, "not the password")
        .await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    let last = browser.answer(&page, "Allow").await?;
    assert!(
        last.location()
            .expect("a redirect")
            .as_str()
            .contains("code=")
    );
    Ok(())
}

#[tokio::test]
async fn a_person_who_is_logged_in_is_not_asked_again() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    client
        .walk(
            &mut browser,
            &client.authorization(),
            &fixture.owner,
            "Allow",
        )
        .await?;
    let other = fixture.client("Another client").await?;
    let page = browser.visit(&other.authorization().url()).await?;
    assert!(logged_in(&page), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn credentials_are_answered_with_a_redirect_that_drops_them() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut browser = Browser::default();
    let form = filled_form(&fixture, &mut browser, &fixture.owner.password).await?;
    let page = browser.submit(&form).await?;
    assert!(
        [302, 303].contains(&page.reply.status),
        "{}",
        page.reply.status
    );
    Ok(())
}

#[tokio::test]
async fn a_login_posted_from_another_site_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://127.0.0.1",
    ] {
        let mut browser = Browser::default();
        let form = filled_form(&fixture, &mut browser, &fixture.owner.password).await?;
        let reply = post_from(&browser, &form, Some(origin)).await?;
        assert_eq!(reply.status, 403, "{origin}: {}", reply.text);
        assert_no_session(&fixture, &reply).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_login_without_its_own_token_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut browser = Browser::default();
    let form = filled_form(&fixture, &mut browser, &fixture.owner.password).await?;
    let hidden: Vec<String> = form
        .fields
        .iter()
        .map(|(name, _)| name.clone())
        .filter(|name| !form.texts.contains(name) && !form.passwords.contains(name))
        .collect();
    assert!(!hidden.is_empty(), "the form carries no token: {form:?}");
    let origin = fixture.gateway.origin();
    let mut without = form.clone();
    without.fields.retain(|(name, _)| !hidden.contains(name));
    let mut changed = form.clone();
    for name in &hidden {
        changed.set(name, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    }
    let mut stranger = Browser::default();
    let foreign = filled_form(&fixture, &mut stranger, &fixture.owner.password).await?;
    for (what, form, browser) in [
        ("no token", &without, &browser),
        ("a token nobody issued", &changed, &browser),
        ("the token of another browser", &foreign, &browser),
        ("no cookie", &form, &Browser::default()),
    ] {
        let reply = post_from(browser, form, Some(&origin)).await?;
        assert_eq!(reply.status, 403, "{what}: {}", reply.text);
        assert_no_session(&fixture, &reply).await?;
    }
    Ok(())
}

/// What a reply set as cookies does not log anyone in.
async fn assert_no_session(fixture: &Fixture, reply: &http::Reply) -> Result<()> {
    let mut browser = Browser::default();
    for cookie in reply.header_values("set-cookie") {
        if let Some((name, value)) = cookie.split(';').next().unwrap_or_default().split_once('=') {
            browser.cookies.insert(name.into(), value.into());
        }
    }
    let client = fixture.client("Client").await?;
    let page = browser.visit(&client.authorization().url()).await?;
    assert!(!logged_in(&page), "a refused login logged someone in");
    Ok(())
}

#[tokio::test]
async fn pages_cannot_be_framed_cached_or_read_by_other_sites() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    let login = browser.visit(&client.authorization().url()).await?;
    let consent = browser
        .log_in(&login, &fixture.owner.name, &fixture.owner.password)
        .await?;
    let error = Browser::default()
        .open(&client.authorization().with("client_id", "nobody").url())
        .await?;
    for page in [&login, &consent, &error] {
        let what = page.url.path();
        let policy = page.reply.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'")
                && policy.contains("frame-ancestors 'none'")
                && policy.contains("base-uri 'none'"),
            "{what}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{what}: {policy}");
        assert_eq!(page.reply.header("x-frame-options"), "DENY", "{what}");
        assert_eq!(
            page.reply.header("x-content-type-options"),
            "nosniff",
            "{what}"
        );
        assert!(
            page.reply.header("cache-control").contains("no-store"),
            "{what}"
        );
        assert!(!page.reply.header("referrer-policy").is_empty(), "{what}");
        assert!(
            page.reply.header("access-control-allow-origin").is_empty(),
            "{what}"
        );
        assert!(
            !page.reply.text.contains("<script"),
            "{what} has a script in it"
        );
    }
    Ok(())
}

#[tokio::test]
async fn cookies_are_host_bound_secure_and_out_of_reach_of_scripts() -> Result<()> {
    let setup = Setup {
        public_url: Some("https://mcp.example.com".into()),
        ..Setup::default()
    };
    let gateway = Gateway::start(setup.backend("http://127.0.0.1:9")).await?;
    let host = ("Host", "mcp.example.com");
    let registered = http::post(
        &gateway.url("/register"),
        "application/json",
        r#"{"client_name":"c","redirect_uris":["https://example.com/cb"]}"#,
        &[host],
    )
    .await?;
    let client_id = registered.json()["client_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let client = OAuthClient {
        base: gateway.issuer(),
        client_id,
        redirect_uri: "https://example.com/cb".into(),
        registration: registered.json(),
    };
    let path = client
        .authorization()
        .url()
        .as_str()
        .replace("https://mcp.example.com", "");
    let mut reply = http::ask("GET", &gateway.url(&path), &[host]).await?;
    let mut cookies: Vec<String> = reply
        .header_values("set-cookie")
        .into_iter()
        .map(String::from)
        .collect();
    while !reply.header("location").is_empty() {
        let next = reply
            .header("location")
            .replace("https://mcp.example.com", "");
        reply = http::ask("GET", &gateway.url(&next), &[host]).await?;
        cookies.extend(
            reply
                .header_values("set-cookie")
                .into_iter()
                .map(String::from),
        );
    }
    assert!(
        !cookies.is_empty(),
        "no cookie was set: {:?}",
        reply.headers
    );
    for cookie in cookies {
        assert!(cookie.starts_with("__Host-"), "{cookie}");
        let attributes: Vec<String> = cookie
            .split(';')
            .map(|part| part.trim().to_lowercase())
            .collect();
        for wanted in ["secure", "httponly", "path=/"] {
            assert!(
                attributes.iter().any(|part| part == wanted),
                "{wanted}: {cookie}"
            );
        }
        assert!(
            attributes
                .iter()
                .any(|part| part == "samesite=lax" || part == "samesite=strict"),
            "{cookie}"
        );
        assert!(
            !attributes.iter().any(|part| part.starts_with("domain")),
            "{cookie}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_session_cookie_changes_at_login() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let before = browser.cookies.clone();
    browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    assert_ne!(before, browser.cookies, "no cookie changed at login");
    let mut fixed = Browser {
        cookies: before,
        ..Browser::default()
    };
    let page = fixed.visit(&client.authorization().url()).await?;
    assert!(
        !logged_in(&page),
        "the cookie from before the login is logged in"
    );
    Ok(())
}

#[tokio::test]
async fn guessing_is_limited_whatever_address_the_guesser_claims() -> Result<()> {
    let fixture = Fixture::start().await?;
    let mut limited = None;
    let mut browser = Browser::default();
    let mut form = filled_form(&fixture, &mut browser, "guess").await?;
    for guess in 0..60 {
        for secret in form.passwords.clone() {
            form.set(&secret, &format!("guess {guess}"));
        }
        let cookies: Vec<String> = browser
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let reply = http::send(
            http::client()
                .post(&form.action)
                .header("Cookie", cookies.join("; "))
                .header("Origin", fixture.gateway.origin())
                .header("X-Forwarded-For", format!("203.0.113.{guess}"))
                .form(&form.fields),
        )
        .await?;
        if reply.status == 429 {
            limited = Some((guess, reply));
            break;
        }
        let page = Page {
            url: form.action.parse()?,
            reply,
        };
        let page = browser.settle(page).await?;
        form = page.password_form()?;
        for text in form.texts.clone() {
            form.set(&text, &fixture.owner.name);
        }
    }
    let (guess, reply) = limited.expect("sixty wrong guesses were all answered");
    assert!(
        guess >= 3,
        "a person who mistypes is locked out after {guess} tries"
    );
    assert!(!reply.header("retry-after").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_password_appears_nowhere_in_the_log() -> Result<()> {
    let fixture = Fixture::with(tests::fixture::StoreKind::Embedded, |setup| {
        setup.more("[log]\nlevel = \"trace\"\n")
    })
    .await?;
    let client = fixture.client("Client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, "a-wrong-canary-password")
        .await?;
    browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let log = fixture.gateway.log().join("\n");
    assert!(!log.is_empty(), "nothing was logged at all");
    for secret in ["a-wrong-canary-password", fixture.owner.password.as_str()] {
        assert!(!log.contains(secret), "a password is in the log");
    }
    for (name, cookie) in &browser.cookies {
        let line = log.lines().find(|line| line.contains(cookie.as_str()));
        assert_eq!(line, None, "the cookie {name} is in the log");
    }
    Ok(())
}

#[tokio::test]
async fn a_password_of_any_characters_works() -> Result<()> {
    let owner = Owner {
        name: "alice".into(),
        password: "ünïcode \"<&'%+ and spaces".into(),
    };
    let gateway = Gateway::start(
        Setup {
            owner: Some(owner.clone()),
            ..Setup::default()
        }
        .backend("http://127.0.0.1:9"),
    )
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    assert!(page.password_form().is_err(), "{}", page.words());
    Ok(())
}
