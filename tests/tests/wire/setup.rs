//! The first owner: a one-time code on standard output, a form, and never again.

use anyhow::Result;
use tests::browser::Browser;
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::get;
use tests::oauth::OAuthClient;
use tests::recorder::Recorder;
use tests::scripted_mcp;
use url::Url;

async fn without_owner() -> Result<(Gateway, Recorder)> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(
        Setup {
            owner: None,
            ..Setup::default()
        }
        .backend(&backend.url()),
    )
    .await?;
    Ok((gateway, backend))
}

/// Fill in the set-up form behind a URL; the page that follows.
async fn set_up(browser: &mut Browser, url: &Url, owner: &Owner) -> Result<tests::browser::Page> {
    let page = browser.visit(url).await?;
    browser.log_in(&page, &owner.name, &owner.password).await
}

#[tokio::test]
async fn the_printed_code_sets_the_owner_once_and_a_restart_asks_nothing() -> Result<()> {
    let (mut gateway, _backend) = without_owner().await?;
    let url: Url = gateway.setup_url().await?.parse()?;
    let owner = Owner {
        name: "bob".into(),
        password: "a password of some length".into(),
    };
    let page = set_up(&mut Browser::default(), &url, &owner).await?;
    assert!(
        (200..400).contains(&page.reply.status),
        "{}: {}",
        page.reply.status,
        page.words()
    );
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    client.sign_in(&owner).await?;

    let again = Browser::default().visit(&url).await?;
    assert!(
        again.password_form().is_err(),
        "the code still opens the form: {}",
        again.words()
    );
    gateway.restart().await?;
    assert!(
        !gateway.printed().join("\n").contains("/setup?code="),
        "a second start printed a code again"
    );
    client.sign_in(&owner).await?;
    Ok(())
}

#[tokio::test]
async fn without_the_code_nobody_becomes_the_owner() -> Result<()> {
    let (gateway, _backend) = without_owner().await?;
    gateway.setup_url().await?;
    for query in ["", "?code=", "?code=AAAA-AAAA", "?code=0000-0000"] {
        let url: Url = gateway.url(&format!("/setup{query}")).parse()?;
        let owner = Owner {
            name: "mallory".into(),
            password: "a password of some length".into(),
        };
        let page = Browser::default().visit(&url).await?;
        if page.password_form().is_ok() {
            let _ = set_up(&mut Browser::default(), &url, &owner).await?;
        }
        let client = OAuthClient::register(&gateway.origin(), "Client").await?;
        assert!(
            client.sign_in(&owner).await.is_err(),
            "{query}: mallory is the owner"
        );
    }
    Ok(())
}

#[tokio::test]
async fn five_wrong_codes_end_the_right_one() -> Result<()> {
    let (gateway, _backend) = without_owner().await?;
    let right: Url = gateway.setup_url().await?.parse()?;
    let owner = Owner {
        name: "bob".into(),
        password: "a password of some length".into(),
    };
    for n in 0..6 {
        let wrong: Url = gateway.url(&format!("/setup?code=WR0N-GCD{n}")).parse()?;
        let page = Browser::default().visit(&wrong).await?;
        if page.password_form().is_ok() {
            let _ = set_up(&mut Browser::default(), &wrong, &owner).await?;
        }
    }
    let page = Browser::default().visit(&right).await?;
    if page.password_form().is_ok() {
        let _ = set_up(&mut Browser::default(), &right, &owner).await?;
    }
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    assert!(
        client.sign_in(&owner).await.is_err(),
        "the code survived six wrong ones"
    );
    Ok(())
}

#[tokio::test]
async fn until_there_is_an_owner_a_client_is_shown_the_way_and_gets_no_token() -> Result<()> {
    let (gateway, _backend) = without_owner().await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let page = Browser::default()
        .visit(&client.authorization().url())
        .await?;
    assert!(page.location().is_none());
    assert!(
        page.words().to_lowercase().contains("set"),
        "the page does not speak of set-up: {}",
        page.words()
    );
    let code = gateway.setup_url().await?;
    let code = code.split("code=").nth(1).unwrap_or_default();
    assert!(
        !page.reply.text.contains(code),
        "the page gives the code away"
    );
    Ok(())
}

#[tokio::test]
async fn a_weak_password_is_refused_at_set_up() -> Result<()> {
    let (gateway, _backend) = without_owner().await?;
    let url: Url = gateway.setup_url().await?.parse()?;
    let mut browser = Browser::default();
    let page = set_up(
        &mut browser,
        &url,
        &Owner {
            name: "bob".into(),
            password: "short".into(),
        },
    )
    .await?;
    assert!(
        page.password_form().is_ok(),
        "no second try: {}",
        page.words()
    );
    let owner = Owner {
        name: "bob".into(),
        password: "a password of some length".into(),
    };
    browser.log_in(&page, &owner.name, &owner.password).await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    client.sign_in(&owner).await?;
    Ok(())
}

#[tokio::test]
async fn with_a_configured_owner_there_is_no_set_up_page() -> Result<()> {
    let gateway = Gateway::start(Setup::default().backend("http://127.0.0.1:9")).await?;
    assert!(!gateway.printed().join("\n").contains("/setup?code="));
    let reply = get(&gateway.url("/setup?code=AAAA-AAAA")).await?;
    assert!(!reply.text.contains("type=\"password\""), "{}", reply.text);
    Ok(())
}
