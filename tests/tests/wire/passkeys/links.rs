//! Links of the operator's: pressed twice they end well, and each dies with what it was made for.

use super::*;
use tests::operator::{command, done};
use tokio::task::JoinSet;

const PASSWORD: &str = "four unrelated words here";

/// The path of the link that a command printed.
pub(super) fn link(out: &str, public: &str) -> Result<String> {
    let mut words = out.split_whitespace();
    let url = words.find(|word| word.contains("/rescue?"));
    Ok(url.context("no link")?.replace(public, ""))
}

async fn made(gateway: &Gateway, name: &str) -> Result<String> {
    link(
        &done(gateway, &["users", "link", name], "").await?.out,
        PUBLIC,
    )
}

/// Somebody new, who has not set herself up, and her link.
async fn hire(gateway: &Gateway) -> Result<String> {
    let added = done(gateway, &["users", "add", "dora", "--link"], "").await?;
    link(&added.out, PUBLIC)
}

/// The same press in the same browser, many times at once; where each of them led, and its browser.
async fn at_once(browser: &Browser, form: &Form) -> Result<Vec<(Browser, Page)>> {
    let mut presses = JoinSet::new();
    for _ in 0..6 {
        let (mut browser, form) = (browser.clone(), form.clone());
        presses.spawn(async move {
            let page = browser.submit(&form).await?;
            let page = browser.settle(page).await?;
            anyhow::Ok((browser, page))
        });
    }
    presses.join_all().await.into_iter().collect()
}

async fn is_in(browser: &mut Browser, gateway: &Gateway) -> Result<bool> {
    let page = visit(browser, gateway, "/account/passkeys").await?;
    Ok(is_logged_in(&page))
}

fn assert_dead(page: &Page, what: &str) {
    assert_eq!(page.reply.status, 403, "{what}: {}", page.words());
    assert!(
        page.words().contains("rescue_link_wrong"),
        "{what}: {}",
        page.words()
    );
}

async fn pressed_many_times_at_once(store: StoreKind) -> Result<()> {
    let fixture = start(store).await?;
    let gateway = &fixture.gateway;
    let path = hire(gateway).await?;
    let mut browser = browser();
    let page = visit(&mut browser, gateway, &path).await?;
    let form = page.password_form()?.filled("dora", PASSWORD);
    for (mut browser, page) in at_once(&browser, &form).await? {
        assert_eq!(page.url.path(), "/", "{}", page.words());
        assert!(is_in(&mut browser, gateway).await?);
    }
    let mut other = form.clone();
    for field in ["password", "again"] {
        other.set(field, "another password of some length");
    }
    assert_dead(&browser.submit(&other).await?, "another password");

    let page = visit(&mut browser, gateway, &made(gateway, "dora").await?).await?;
    let (mut form, options) = page.passkey_form()?;
    let mut device = authenticator()?;
    form.set("credential", &device.make(&options).to_string());
    let mut sessions = at_once(&browser, &form).await?;
    for (browser, page) in &mut sessions {
        assert_eq!(page.url.path(), "/", "{}", page.words());
        let page = visit(browser, gateway, "/account/passkeys").await?;
        assert!(
            page.words().contains("You came with it"),
            "{}",
            page.words()
        );
    }
    let mut other = form.clone();
    other.set("credential", &authenticator()?.make(&options).to_string());
    assert_dead(&browser.submit(&other).await?, "another passkey");
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    // What came with the passkey ends with it, also where it came by the second press.
    done(
        gateway,
        &["users", "remove-passkey", "dora", &device.id()],
        "",
    )
    .await?;
    for (browser, _) in &mut sessions {
        assert!(!is_in(browser, gateway).await?);
    }
    Ok(())
}

#[tokio::test]
async fn a_link_that_is_pressed_many_times_at_once_sets_one_thing_and_lets_each_press_in()
-> Result<()> {
    pressed_many_times_at_once(StoreKind::Embedded).await
}

#[tokio::test]
async fn the_same_with_redis() -> Result<()> {
    pressed_many_times_at_once(StoreKind::Redis).await
}

#[tokio::test]
async fn a_link_dies_when_its_person_logs_in_with_something_else_since() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let gateway = &fixture.gateway;
    hire(gateway).await?;
    let ways = [
        "a password of the operator's",
        "a password by another link",
        "a passkey by another link",
        "a passkey removed",
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let before = made(gateway, "dora").await?;
        let mut opened = browser();
        let page = visit(&mut opened, gateway, &before).await?;
        let form = page.password_form()?.filled("dora", PASSWORD);
        let second = made(gateway, "dora").await?;
        let mut other = browser();
        let page = visit(&mut other, gateway, &second).await?;
        match number {
            0 => {
                let words = ["users", "password", "dora"];
                done(gateway, &words, "a new password for her").await?;
            }
            1 => {
                let form = page.password_form()?.filled("dora", "her own new password");
                let page = other.submit(&form).await?;
                assert_eq!(page.reply.status, 303, "{way}: {}", page.words());
            }
            2 => {
                let (form, options) = page.passkey_form()?;
                let answer = authenticator()?.make(&options);
                let page = send(&mut other, form, &answer).await?;
                assert_eq!(page.url.path(), "/", "{way}: {}", page.words());
            }
            _ => {
                let words = ["users", "remove-passkey", "dora", "Passkey"];
                done(gateway, &words, "").await?;
            }
        }
        let page = visit(&mut browser(), gateway, &before).await?;
        assert_dead(&page, way);
        let page = opened.submit(&form).await?;
        assert_dead(&page, way);
        assert!(!is_in(&mut opened, gateway).await?, "{way}");
    }
    let dora = Owner {
        name: "dora".into(),
        password: PASSWORD.into(),
    };
    let page = logged_in(&mut browser(), gateway, &dora).await?;
    assert!(!is_logged_in(&page), "a dead link set a password");
    Ok(())
}

#[tokio::test]
async fn a_link_is_for_a_person_and_not_for_the_next_one_of_the_name() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let gateway = &fixture.gateway;
    let path = hire(gateway).await?;
    let mut opened = browser();
    let page = visit(&mut opened, gateway, &path).await?;
    let form = page.password_form()?.filled("dora", PASSWORD);
    done(gateway, &["users", "rm", "dora"], "").await?;
    hire(gateway).await?;
    assert_dead(&opened.submit(&form).await?, "of the former dora");
    let shown = done(gateway, &["users", "show", "dora", "--json"], "").await?;
    assert_eq!(shown.json()["user"]["has_password"], json!(false));
    // Kept out and let in again: what was made before stays dead.
    let path = made(gateway, "dora").await?;
    for what in ["disable", "enable"] {
        done(gateway, &["users", what, "dora"], "").await?;
        let page = visit(&mut browser(), gateway, &path).await?;
        assert_dead(&page, what);
    }
    let owner = command(gateway, &["users", "link", "alice"], "").await?;
    assert_eq!(owner.code, 0, "the owner may add a passkey: {owner:?}");
    Ok(())
}
