//! The consent page: what it says, and that only the person who sees it can answer it.

use anyhow::Result;
use serde_json::json;
use tests::browser::{Browser, Form, Page};
use tests::fixture::Fixture;
use tests::http;
use tests::oauth::{Authorization, OAuthClient, REDIRECT_URI};

/// A logged-in browser on the consent page of a request.
async fn at_consent(fixture: &Fixture, request: &Authorization) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let page = browser.visit(&request.url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    Ok((browser, page))
}

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

#[tokio::test]
async fn the_page_says_who_asks_where_they_will_be_sent_and_what_it_may_do() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata = json!({"client_name": "Notes for Teams", "redirect_uris": ["https://notes.example.net/cb"]});
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    let (_, page) = at_consent(&fixture, &client.authorization()).await?;
    let words = page.words();
    assert!(words.contains("Notes for Teams"), "{words}");
    assert!(words.contains("notes.example.net"), "{words}");
    assert!(words.contains(&fixture.owner.name), "{words}");
    for tool in ["echo", "erase"] {
        assert!(words.contains(tool), "{tool} is not named: {words}");
    }
    assert!(
        words.to_lowercase().contains("not verified")
            || words.to_lowercase().contains("unverified"),
        "{words}"
    );
    let form = page.form_with_button("Allow")?;
    assert!(
        form.buttons
            .iter()
            .any(|(_, _, text)| text.starts_with("Deny"))
            || page.form_with_button("Deny").is_ok()
    );
    Ok(())
}

#[tokio::test]
async fn deny_is_one_redirect_with_access_denied_state_and_issuer() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let callback = client
        .walk(
            &mut Browser::default(),
            &client.authorization(),
            &fixture.owner,
            "Deny",
        )
        .await?;
    assert_eq!(
        callback.parameter("error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(
        callback.parameter("state").as_deref(),
        Some("as it was sent: /?&=+%")
    );
    assert_eq!(callback.parameter("iss"), Some(fixture.gateway.issuer()));
    assert_eq!(callback.parameter("code"), None);
    Ok(())
}

#[tokio::test]
async fn an_answer_posted_from_another_site_gives_no_code() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (mut browser, page) = at_consent(&fixture, &client.authorization()).await?;
    let form = page.form_with_button("Allow")?.press("Allow")?;
    for origin in ["https://evil.example", "null"] {
        let reply = post_from(&browser, &form, Some(origin)).await?;
        assert_eq!(reply.status, 403, "{origin}: {:?}", reply.headers);
        assert!(!reply.header("location").contains("code="));
    }
    // The person's own answer still counts after the attack.
    let last = browser.submit(&form).await?;
    let last = browser.settle(last).await?;
    assert!(
        last.location()
            .expect("a redirect")
            .as_str()
            .contains("code=")
    );
    Ok(())
}

#[tokio::test]
async fn an_answer_without_its_own_token_gives_no_code() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (browser, page) = at_consent(&fixture, &client.authorization()).await?;
    let (other, other_page) = at_consent(&fixture, &client.authorization()).await?;
    let origin = fixture.gateway.origin();
    let form = page.form_with_button("Allow")?.press("Allow")?;
    let pressed: Vec<String> = form
        .buttons
        .iter()
        .map(|(name, _, _)| name.clone())
        .collect();
    let mut without = form.clone();
    without.fields.retain(|(name, _)| pressed.contains(name));
    let mut changed = form.clone();
    for (name, _) in form
        .fields
        .iter()
        .filter(|(name, _)| !pressed.contains(name))
    {
        changed.set(name, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    }
    let foreign = other_page.form_with_button("Allow")?.press("Allow")?;
    assert_ne!(other.cookies, browser.cookies);
    for (what, form, browser) in [
        ("no token", &without, &browser),
        ("a token nobody issued", &changed, &browser),
        ("the token of another browser", &foreign, &browser),
        ("no cookies", &form, &Browser::default()),
    ] {
        let reply = post_from(browser, form, Some(&origin)).await?;
        assert!(
            [400, 403].contains(&reply.status),
            "{what}: {} {:?}",
            reply.status,
            reply.header("location")
        );
        assert!(!reply.header("location").contains("code="), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_counts_once() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (mut browser, page) = at_consent(&fixture, &client.authorization()).await?;
    let form = page.form_with_button("Allow")?.press("Allow")?;
    let first = browser.submit(&form).await?;
    let first = browser.settle(first).await?;
    assert!(
        first
            .location()
            .expect("a redirect")
            .as_str()
            .contains("code=")
    );
    // Pressed twice it leads to the same place, with the same code.
    let again = browser.submit(&form).await?;
    let again = browser.settle(again).await?;
    assert_eq!(again.location(), first.location());
    // Another answer of the same page is none.
    let deny = page.form_with_button("Deny")?.press("Deny")?;
    let other = browser.submit(&deny).await?;
    assert_eq!(other.reply.status, 403, "{}", other.words());
    Ok(())
}

#[tokio::test]
async fn opening_a_url_approves_nothing() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (mut browser, page) = at_consent(&fixture, &client.authorization()).await?;
    let mut form = page.form_with_button("Allow")?.press("Allow")?;
    form.method = "GET".into();
    let page = browser.submit(&form).await?;
    assert!(
        !page
            .location()
            .is_some_and(|url| url.as_str().contains("code=")),
        "{:?}",
        page.location()
    );
    let approving = client
        .authorization()
        .with("decision", "allow")
        .with("approve", "1")
        .with("consent", "true");
    let page = browser.visit(&approving.url()).await?;
    assert!(page.location().is_none(), "{:?}", page.location());
    Ok(())
}

#[tokio::test]
async fn two_tabs_both_work() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (one, two) = (
        fixture.client("Tab one").await?,
        fixture.client("Tab two").await?,
    );
    let (first, second) = (one.authorization(), two.authorization());
    let mut browser = Browser::default();
    let login_one = browser.visit(&first.url()).await?;
    let login_two = browser.visit(&second.url()).await?;
    let consent_one = browser
        .log_in(&login_one, &fixture.owner.name, &fixture.owner.password)
        .await?;
    // The second tab still shows its login form; it is sent after the first tab logged in.
    let consent_two = browser
        .log_in(&login_two, &fixture.owner.name, &fixture.owner.password)
        .await?;
    assert!(
        consent_one.words().contains("Tab one"),
        "{}",
        consent_one.words()
    );
    assert!(
        consent_two.words().contains("Tab two"),
        "{}",
        consent_two.words()
    );
    for (client, request, page) in [(&two, &second, &consent_two), (&one, &first, &consent_one)] {
        let last = browser.answer(page, "Allow").await?;
        let url = last
            .location()
            .unwrap_or_else(|| panic!("no redirect: {}", last.words()));
        let callback = tests::oauth::Callback { url };
        assert_eq!(
            client
                .redeem(&callback.code(), &request.pkce.verifier)
                .await?
                .status,
            200
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_same_request_opened_twice_still_works() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let (mut browser, page) = at_consent(&fixture, &request).await?;
    browser.visit(&request.url()).await?;
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
async fn markup_in_a_client_name_is_text() -> Result<()> {
    let fixture = Fixture::start().await?;
    for name in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "{{7*7}}",
        "</title><h1>Bank</h1>",
    ] {
        let metadata = json!({"client_name": name, "redirect_uris": [REDIRECT_URI]});
        let reply = tests::oauth::register(&fixture.gateway.origin(), &metadata).await?;
        if reply.status == 400 {
            continue;
        }
        let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
        let (_, page) = at_consent(&fixture, &client.authorization()).await?;
        for markup in ["<script", "<img src=x", "<h1>Bank", "onerror=alert(1)>"] {
            assert!(
                !page.reply.text.contains(markup),
                "{name} reached the page as markup"
            );
        }
        assert!(
            page.words().contains("\u{201c}") && !page.words().contains("\u{201c}49"),
            "{name} was evaluated"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_would_mislead_is_cut_or_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    let long = "A".repeat(5000);
    for name in [
        long.as_str(),
        "Chat\u{202e}TPG",
        "Chat\u{0}GPT",
        "Line\nbreak",
        "\u{200b}\u{200b}",
    ] {
        let metadata = json!({"client_name": name, "redirect_uris": [REDIRECT_URI]});
        let reply = tests::oauth::register(&fixture.gateway.origin(), &metadata).await?;
        assert!(
            [201, 400].contains(&reply.status),
            "{name:?}: {}",
            reply.status
        );
        if reply.status == 201 {
            let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
            let (_, page) = at_consent(&fixture, &client.authorization()).await?;
            assert!(
                !page.reply.text.contains(&long[..300]),
                "a name of {} characters is shown whole",
                long.len()
            );
            assert!(
                !page.reply.text.contains('\u{202e}') && !page.reply.text.contains('\u{0}'),
                "{name:?} is shown as sent"
            );
        }
    }
    Ok(())
}
