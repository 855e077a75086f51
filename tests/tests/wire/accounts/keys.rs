//! `kind = "key"`: pasted once, tried with a call, sealed.

use anyhow::Result;
use serde_json::json;
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded};
use tests::scripted_mcp;

use super::{records, url};

/// A server that answers whoever shows one of two keys, and says whose it is.
fn wants_key(request: &Recorded) -> Answer {
    match request.header("x-api-key") {
        Some("alice-s3cret") => scripted_mcp::answer(request),
        _ => Answer::json(401, &json!({"error": "no"})).with("WWW-Authenticate", "Bearer"),
    }
}

async fn fixture(store: StoreKind, more: &str) -> Result<Fixture> {
    let account = format!(
        "[backend.account]\nkind = \"key\"\nheader = \"X-Api-Key: {{}}\"\nhint = \"Settings, API.\"\n{more}\n\
         [audit]\nfile = \"audit.jsonl\"\n"
    );
    let fixture = Fixture::with(store, |setup| setup.more(&account)).await?;
    fixture.backend.play(wants_key);
    Ok(fixture)
}

/// Everything that the gateway keeps and says.
async fn everything(fixture: &Fixture) -> Result<String> {
    let gateway = &fixture.gateway;
    let mut all = gateway.log().join("\n");
    if let Some(redis) = &fixture.redis {
        let kept = redis.everything().await?;
        assert!(kept.contains("\"sealed\":\"1."), "{kept}");
        all += &kept;
    }
    for entry in walk(&gateway.folder()) {
        all += &String::from_utf8_lossy(&std::fs::read(entry)?);
    }
    all += &http::get(&gateway.admin_url("/metrics")).await?.text;
    Ok(all)
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

async fn a_key_is_pasted_once_and_the_consent_page_shows_what_it_opens(
    store: StoreKind,
) -> Result<()> {
    let fixture = fixture(store, "").await?;
    let gateway = &fixture.gateway;
    let owner = Owner::alice();
    let client = OAuthClient::register(&gateway.origin(), "Notes").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    let words = page.words();
    assert!(words.contains("Connect your account"), "{words}");
    assert!(words.contains("Settings, API."), "{words}");

    // A wrong key is tried, said to be wrong, and kept nowhere.
    let form = page.form_with_button("Connect")?;
    let mut wrong = form.clone();
    wrong.set("key", "wr0ng-key");
    let page = browser.submit(&wrong).await?;
    assert_eq!(page.reply.status, 403);
    assert!(
        page.words().contains("did not accept the key"),
        "{}",
        page.words()
    );
    assert!(!page.reply.text.contains("wr0ng-key"));
    for odd in ["", "two words", "line\r\nX-Admin: yes", "\u{e9}"] {
        let mut odd_form = form.clone();
        odd_form.set("key", odd);
        let page = browser.submit(&odd_form).await?;
        assert_eq!(page.reply.status, 403, "{odd:?}");
    }

    let mut right = page.form_with_button("Connect")?;
    right.set("key", " alice-s3cret ");
    let page = browser.submit(&right).await?;
    let page = browser.settle(page).await?;
    let words = page.words();
    assert!(
        words.contains("look"),
        "the consent page has her tools: {words}"
    );
    let asked = fixture.backend.requests();
    let shown = asked
        .iter()
        .rev()
        .find_map(|asked| asked.header("x-api-key"));
    assert_eq!(shown, Some("alice-s3cret"));

    // It is seen, and nowhere in the clear.
    let page = browser.visit(&url(gateway, "/account")).await?;
    let words = page.words();
    assert!(words.contains("Your accounts elsewhere"), "{words}");
    assert!(
        words.contains("Connected less than a minute ago"),
        "{words}"
    );
    let all = everything(&fixture).await?;
    for secret in ["alice-s3cret", "wr0ng-key"] {
        assert!(!all.contains(secret), "{secret} is in the clear");
    }

    // And removed.
    let form = page.form_with_button("Remove")?.press("Remove")?;
    let page = browser.submit(&form).await?;
    assert!(page.words().contains("is removed here"), "{}", page.words());
    assert!(page.words().contains("Not connected"), "{}", page.words());
    let again = browser.submit(&form).await?;
    assert!(
        again.words().contains("had been removed before"),
        "{}",
        again.words()
    );
    let records = records(gateway);
    let details: Vec<&str> = records.iter().map(|(_, detail)| detail.as_str()).collect();
    assert!(details.contains(&"the backend answered 401"), "{records:?}");
    assert!(details.contains(&"connected"), "{records:?}");
    assert!(details.contains(&"removed here"), "{records:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_is_pasted_once_and_the_consent_page_shows_what_it_opens_on_embedded() -> Result<()> {
    a_key_is_pasted_once_and_the_consent_page_shows_what_it_opens(StoreKind::Embedded).await
}

#[tokio::test]
async fn a_key_is_pasted_once_and_the_consent_page_shows_what_it_opens_on_redis() -> Result<()> {
    a_key_is_pasted_once_and_the_consent_page_shows_what_it_opens(StoreKind::Redis).await
}

#[tokio::test]
async fn a_form_of_another_person_or_browser_connects_nothing() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, "").await?;
    let (gateway, owner) = (&fixture.gateway, Owner::alice());
    super::with_bob(gateway).await?;
    let mut alice = Browser::default();
    let page = alice.visit(&url(gateway, "/connect/main")).await?;
    let page = alice.log_in(&page, &owner.name, &owner.password).await?;
    let mut form = page.form_with_button("Connect")?;
    form.set("key", "alice-s3cret");
    let bob = super::bob();
    let mut other = Browser::default();
    let page = other.visit(&url(gateway, "/account")).await?;
    other.log_in(&page, &bob.name, &bob.password).await?;
    let refused = other.submit(&form).await?;
    assert_eq!(refused.reply.status, 403);
    let page = other.visit(&url(gateway, "/account")).await?;
    assert!(page.words().contains("Not connected"), "{}", page.words());
    // Nobody who is not logged in, and no backend that has none.
    let mut nobody = Browser::default();
    let page = nobody.submit(&form).await?;
    assert!(page.password_form().is_ok());
    for path in [
        "/connect",
        "/connect/",
        "/connect/other",
        "/connect/main/x",
        "/connect/link/x",
    ] {
        let page = alice.visit(&url(gateway, path)).await?;
        assert_eq!(page.reply.status, 404, "{path}");
    }
    Ok(())
}

/// The page of an app's request, for the owner who has connected nothing.
async fn asked(fixture: &Fixture) -> Result<(Browser, tests::browser::Page)> {
    let client = OAuthClient::register(&fixture.gateway.origin(), "Notes").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let owner = Owner::alice();
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    Ok((browser, page))
}

#[tokio::test]
async fn where_an_account_is_optional_a_person_goes_on_without() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, "optional = true").await?;
    fixture.backend.play(scripted_mcp::answer);
    let (mut browser, page) = asked(&fixture).await?;
    let form = page
        .form_with_button("Go on without")?
        .press("Go on without")?;
    let page = browser.submit(&form).await?;
    assert!(page.form_with_button("Allow").is_ok(), "{}", page.words());
    assert!(page.words().contains("look"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn whoever_does_not_want_to_connect_one_goes_back_to_the_app() -> Result<()> {
    let fixture = fixture(StoreKind::Embedded, "").await?;
    let (mut browser, page) = asked(&fixture).await?;
    let form = page.form_with_button("Deny")?.press("Deny")?;
    let page = browser.submit(&form).await?;
    let to = page.location().map(String::from).unwrap_or_default();
    assert!(to.starts_with(tests::oauth::REDIRECT_URI), "{to}");
    assert!(to.contains("error=access_denied"), "{to}");
    Ok(())
}

#[tokio::test]
async fn a_lost_key_is_said_at_the_start_and_the_account_is_connected_again() -> Result<()> {
    let mut fixture = fixture(StoreKind::Embedded, "").await?;
    let owner = Owner::alice();
    let mut browser = Browser::default();
    let page = browser
        .visit(&url(&fixture.gateway, "/connect/main"))
        .await?;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    let mut form = page.form_with_button("Connect")?;
    form.set("key", "alice-s3cret");
    let page = browser.submit(&form).await?;
    browser.settle(page).await?;
    // A key that is added seals from then on, and what is there stays readable.
    let keys = fixture.gateway.folder().join("keys");
    let added = keys.join("accounts-2.key");
    std::fs::copy(keys.join("accounts-1.key"), &added)?;
    let text = std::fs::read_to_string(&added)?;
    let first = if text.starts_with('a') { "b" } else { "a" };
    std::fs::write(&added, format!("{first}{}", &text[1..]))?;
    fixture.gateway.restart().await?;
    let page = browser.visit(&url(&fixture.gateway, "/account")).await?;
    assert!(
        !page.words().contains("Connect it again"),
        "{}",
        page.words()
    );

    std::fs::remove_file(keys.join("accounts-1.key"))?;
    std::fs::remove_file(&added)?;
    fixture.gateway.restart().await?;
    fixture.gateway.logged("account_key_lost").await?;
    let page = browser.visit(&url(&fixture.gateway, "/account")).await?;
    assert!(
        page.words().contains("Connect it again"),
        "{}",
        page.words()
    );
    Ok(())
}

/// What replicas seal, the others must be able to open.
#[tokio::test]
async fn a_replica_with_a_sealing_key_of_its_own_does_not_start_beside_one_that_serves()
-> Result<()> {
    let mut fixture = fixture(StoreKind::Redis, "").await?;
    let folder = tempfile::tempdir()?;
    // The keys folder as it was copied before there were accounts.
    for entry in std::fs::read_dir(fixture.gateway.folder().join("keys"))? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("accounts-") {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
        }
    }
    let account = "[backend.account]\nkind = \"key\"\nheader = \"X-Api-Key: {}\"\n";
    let setup = || Setup {
        store: fixture.redis.as_ref().map(tests::redis::Redis::url),
        public_url: Some(fixture.gateway.issuer()),
        environment: vec![(
            "GATEWAY__KEYS_DIR".into(),
            folder.path().display().to_string(),
        )],
        ..Setup::default()
    };
    let replica = |setup: Setup| setup.backend(&fixture.backend.url()).more(account);
    let refused = Gateway::start(replica(setup())).await;
    let refused = format!(
        "{:#}",
        refused
            .err()
            .unwrap_or_else(|| anyhow::anyhow!("it serves"))
    );
    assert!(
        refused.contains("accounts-1.key of the replicas that serve"),
        "{refused}"
    );
    assert!(
        refused.contains("copy their accounts-*.key here"),
        "{refused}"
    );

    // Where nobody has the key any more, it is lost, and said.
    let last = replica(setup());
    fixture.gateway.stop().await?;
    let alone = Gateway::start(last).await?;
    alone.logged("account_key_lost").await?;
    // From now on it is the one of all.
    let keys = fixture.gateway.folder().join("keys");
    std::fs::copy(
        folder.path().join("accounts-1.key"),
        keys.join("accounts-1.key"),
    )?;
    fixture.gateway.start_again().await?;
    Ok(())
}
