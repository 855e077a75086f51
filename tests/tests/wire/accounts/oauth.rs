//! `kind = "oauth"`: found by asking the backend, allowed there, renewed, revoked there.

use anyhow::Result;
use tests::browser::Browser;
use tests::gateway::Owner;
use tests::oauth::OAuthClient;
use tests::operator::done;

use super::{Pair, bob, records, url};

#[tokio::test]
async fn an_account_is_found_allowed_seen_and_ended_at_both_sides() -> Result<()> {
    let pair = Pair::start("kind = \"oauth\"").await?;
    let client = OAuthClient::register(&pair.near.origin(), "Notes").await?;
    let alice = Owner::alice();
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser.log_in(&page, &alice.name, &alice.password).await?;
    assert!(
        page.words().contains("Connect your account"),
        "{}",
        page.words()
    );
    // Alice here is bob there: whose account it is, is decided there.
    let page = pair.connect(&mut browser, &page, &bob(), "Allow").await?;
    let words = page.words();
    assert!(
        words.contains("look"),
        "the consent page has the tools: {words}"
    );
    let asked = pair.far.backend.requests();
    let mut lists = asked
        .iter()
        .filter(|it| it.json()["method"] == "tools/list");
    let last = lists
        .next_back()
        .and_then(|it| it.header("x-forwarded-user"));
    assert_eq!(last, Some("bob"));
    let callback = browser.answer(&page, "Allow").await?;
    assert!(callback.location().is_some(), "{}", callback.words());

    let page = browser.visit(&url(&pair.near, "/account")).await?;
    let words = page.words();
    assert!(words.contains("Your accounts elsewhere"), "{words}");
    let form = page.form_with_button("Remove")?.press("Remove")?;
    let page = browser.submit(&form).await?;
    assert!(
        page.words().contains("and revoked there"),
        "{}",
        page.words()
    );

    // The other side knows of it: the app that the near gateway is there has nothing any more.
    let mut there = Browser::default();
    let page = there.visit(&url(&pair.far.gateway, "/account")).await?;
    let page = there.log_in(&page, "bob", &bob().password).await?;
    let words = page.words();
    assert!(
        words.contains("No app may use anything in your name"),
        "{words}"
    );
    let details: Vec<String> = records(&pair.near).into_iter().map(|(_, it)| it).collect();
    assert_eq!(
        details,
        ["connected", "removed, and revoked at the other side"]
    );
    Ok(())
}

#[tokio::test]
async fn whoever_denies_there_or_comes_back_as_somebody_else_has_connected_nothing() -> Result<()> {
    let pair = Pair::start("kind = \"oauth\"").await?;
    let alice = Owner::alice();
    let (mut browser, page) = pair.logged_in(&alice, "/connect/far").await?;
    let page = pair.connect(&mut browser, &page, &alice, "Deny").await?;
    assert_eq!(page.reply.status, 403);
    assert!(page.words().contains("access_denied"), "{}", page.words());

    // Another browser, another person, a second time, no state at all: each is refused.
    let back = pair.away(&mut browser, &page, &alice, "Allow").await?;
    let (mut mallory, _) = pair.logged_in(&bob(), "/account").await?;
    let page = mallory.visit(&back).await?;
    assert_eq!(page.reply.status, 400, "{}", page.words());
    let page = browser.visit(&back).await?;
    assert_eq!(page.reply.status, 400, "a state is good once");
    let page = browser
        .visit(&url(&pair.near, "/connect/far/callback"))
        .await?;
    assert_eq!(page.reply.status, 400);
    for who in [&mut browser, &mut mallory] {
        let page = who.visit(&url(&pair.near, "/account")).await?;
        assert!(page.words().contains("Not connected"), "{}", page.words());
    }

    // The answer of another authorization server than the one that was asked (RFC 9207).
    let page = browser.visit(&url(&pair.near, "/connect/far")).await?;
    let mut back = pair.away(&mut browser, &page, &alice, "Allow").await?;
    let pairs: Vec<(String, String)> = back
        .query_pairs()
        .map(|(name, value)| {
            let value = if name == "iss" {
                "https://evil.example".into()
            } else {
                value
            };
            (name.into_owned(), value.into_owned())
        })
        .collect();
    back.query_pairs_mut().clear().extend_pairs(pairs);
    let page = browser.visit(&back).await?;
    assert!(
        page.words().contains("another authorization server"),
        "{}",
        page.words()
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_found_is_said_and_can_be_said_in_the_configuration() -> Result<()> {
    // The issuer is written; the rest is found.
    let far = tests::fixture::Fixture::start().await?;
    let issuer = far.gateway.issuer();
    drop(far);
    let pair = Pair::start(&format!("kind = \"oauth\"\nissuer = \"{issuer}\"")).await?;
    let (mut browser, page) = pair.logged_in(&Owner::alice(), "/connect/far").await?;
    let form = page.form_with_button("Go there")?.press("Go there")?;
    let page = browser.submit(&form).await?;
    // Nobody listens there any more.
    assert_eq!(page.reply.status, 502, "{}", page.words());
    assert!(
        page.words().contains("could not be reached"),
        "{}",
        page.words()
    );

    let fixture = tests::fixture::Fixture::with(tests::fixture::StoreKind::Embedded, |setup| {
        setup.more("[backend.account]\nkind = \"oauth\"\n")
    })
    .await?;
    let mut browser = Browser::default();
    let page = browser
        .visit(&url(&fixture.gateway, "/connect/main"))
        .await?;
    let alice = Owner::alice();
    let page = browser.log_in(&page, &alice.name, &alice.password).await?;
    let form = page.form_with_button("Go there")?.press("Go there")?;
    let page = browser.submit(&form).await?;
    assert_eq!(page.reply.status, 502);
    assert!(page.words().contains("backend.account"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn a_person_who_may_not_log_in_any_more_has_no_account_either() -> Result<()> {
    let pair = Pair::start("kind = \"oauth\"").await?;
    let (mut browser, page) = pair.logged_in(&bob(), "/connect/far").await?;
    pair.connect(&mut browser, &page, &bob(), "Allow").await?;
    done(&pair.near, &["users", "disable", "bob"], "").await?;
    let mut there = Browser::default();
    let page = there.visit(&url(&pair.far.gateway, "/account")).await?;
    let page = there.log_in(&page, "bob", &bob().password).await?;
    let words = page.words();
    assert!(
        words.contains("No app may use anything in your name"),
        "{words}"
    );
    let details: Vec<String> = records(&pair.near).into_iter().map(|(_, it)| it).collect();
    let expected = "removed, and revoked at the other side, with its person's access";
    assert!(details.iter().any(|it| it == expected), "{details:?}");
    Ok(())
}
