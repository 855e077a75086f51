//! The people behind passkeys: set up with one, without a password, let in again by a link of the
//! operator's, removed.

use super::*;
use std::time::Duration;
use tests::mcp::initialize;
use tests::oauth::OAuthClient;
use tests::operator::{command, done};
use tests::recorder::Recorder;
use tests::scripted_mcp;
use tests::sse::EventStream;

#[tokio::test]
async fn the_owner_sets_up_with_a_passkey_instead_of_a_password() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let setup = Setup {
        owner: None,
        ..Setup::default()
    };
    let mut gateway = Gateway::start(at_a_name(setup.backend(&backend.url()))).await?;
    let url = gateway.setup_url().await?;
    let path = url.replace(PUBLIC, "");
    let (mut browser, mut device) = (browser(), authenticator()?);
    let page = visit(&mut browser, &gateway, &path).await?;
    let (mut form, options) = page.passkey_form()?;
    let answer = device.make(&options);
    // A name, a code and the browser are asked for as with a password.
    let mut nameless = form.clone();
    nameless.set("name", "no good name");
    let page = send(&mut browser, nameless, &answer).await?;
    assert_eq!(page.reply.status, 422, "{}", page.words());
    form.set("name", "carol");
    let mut guessed = form.clone();
    guessed.set("code", "AAAA-AAAA");
    let page = send(&mut browser, guessed, &answer).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let mut stranger = self::browser();
    visit(&mut stranger, &gateway, &path).await?;
    let page = send(&mut stranger, form.clone(), &answer).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let mut unverified = authenticator()?;
    unverified.verifies = false;
    let lie = unverified.make(&options);
    let page = send(&mut browser, form.clone(), &lie).await?;
    assert_eq!(page.reply.status, 422, "{}", page.words());

    let page = send(&mut browser, form.clone(), &answer).await?;
    assert_eq!(page.url.path(), "/", "{}", page.words());
    assert!(page.words().contains("carol"), "{}", page.words());
    // Pressed twice.
    let page = send(&mut browser, form, &answer).await?;
    assert_eq!(page.url.path(), "/", "{}", page.words());
    gateway.restart().await?;
    let page = log_in(&mut self::browser(), &gateway, &mut device).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    let listed = done(&gateway, &["users", "ls"], "").await?.out;
    assert!(listed.contains("1 passkey"), "{listed}");
    assert!(!listed.contains("password"), "{listed}");
    Ok(())
}

/// Adds a person with a password.
async fn hire(gateway: &Gateway) -> Result<Owner> {
    let bob = Owner {
        name: "bob".into(),
        password: "a second correct horse".into(),
    };
    let line = format!("{}\n", bob.password);
    done(gateway, &["users", "add", &bob.name], &line).await?;
    Ok(bob)
}

#[tokio::test]
async fn a_passkey_replaces_the_password_and_the_last_way_in_stays() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    let bob = hire(gateway).await?;
    let page = logged_in(&mut browser, gateway, &bob).await?;
    assert!(page.form_with_button("Remove my password").is_err());
    let mut device = authenticator()?;
    let page = add(&mut browser, gateway, &mut device, "Phone").await?;
    let mut elsewhere = self::browser();
    logged_in(&mut elsewhere, gateway, &bob).await?;
    let with_key = page.form_with_button("Remove")?;
    let page = browser
        .submit(&page.form_with_button("Remove my password")?)
        .await?;
    assert!(
        page.words().contains("no password any more"),
        "{}",
        page.words()
    );
    let page = visit(&mut browser, gateway, "/account/passkeys").await?;
    assert!(is_logged_in(&page), "this browser stays: {}", page.words());
    let page = visit(&mut elsewhere, gateway, "/account/passkeys").await?;
    assert!(!is_logged_in(&page), "others are logged out");
    let page = elsewhere.log_in(&page, &bob.name, &bob.password).await?;
    assert!(!is_logged_in(&page), "the password still logs in");
    // The form of before it was the last way in.
    let page = browser.submit(&with_key).await?;
    assert_eq!(page.reply.status, 409, "{}", page.words());
    assert!(
        page.words().contains("could not log in"),
        "{}",
        page.words()
    );
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(is_logged_in(&page), "{}", page.words());

    // The owner's password is the configuration's.
    let mut owner = self::browser();
    logged_in(&mut owner, gateway, &fixture.owner).await?;
    let page = add(&mut owner, gateway, &mut authenticator()?, "Phone").await?;
    assert!(page.form_with_button("Remove my password").is_err());

    // The operator takes a stolen one off, whatever is left.
    let shown = done(gateway, &["users", "show", "bob", "--json"], "")
        .await?
        .json();
    let key = &shown["user"]["passkeys"][0];
    assert_eq!(key["name"], "Phone", "{shown}");
    assert_eq!(key["id"], device.id(), "{shown}");
    // An id is any 43 letters of base64url: one that begins with a hyphen is no flag.
    for unknown in [
        "Tablet",
        "-jEt7i6nD-eqMhUWv1N7NGF9ppoQQFcyOokXjYDpGfY",
        "--h",
    ] {
        let words = ["users", "remove-passkey", "bob", unknown];
        let wrong = command(gateway, &words, "").await?;
        assert_eq!(wrong.code, 1, "{wrong:?}");
        assert!(wrong.errors.contains(unknown), "{wrong:?}");
    }
    let removed = done(gateway, &["users", "remove-passkey", "bob", "Phone"], "").await?;
    assert!(removed.out.contains("users link"), "{}", removed.out);
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(!is_logged_in(&page));
    let page = visit(&mut browser, gateway, "/account/passkeys").await?;
    assert!(
        !is_logged_in(&page),
        "a session without anything behind it goes on"
    );
    Ok(())
}

fn link(out: &str) -> Result<String> {
    super::links::link(out, PUBLIC)
}

#[tokio::test]
async fn a_link_of_the_operators_lets_a_person_in_once() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let gateway = &fixture.gateway;
    let added = done(gateway, &["users", "add", "dora", "--link"], "")
        .await?
        .out;
    let path = link(&added)?;
    let (mut browser, mut device) = (browser(), authenticator()?);
    let page = visit(&mut browser, gateway, &path).await?;
    assert!(page.words().contains("dora"), "{}", page.words());
    let (form, options) = page.passkey_form()?;
    // A password that is too short uses nothing up.
    let mut short = form.clone();
    short.set("password", "short");
    short.set("again", "short");
    let refused = browser.submit(&short).await?;
    assert_eq!(refused.reply.status, 422, "{}", refused.words());
    let answer = device.make(&options);
    let mut stranger = self::browser();
    visit(&mut stranger, gateway, &path).await?;
    let page = send(&mut stranger, form.clone(), &answer).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let page = send(&mut browser, form.clone(), &answer).await?;
    assert_eq!(page.url.path(), "/", "{}", page.words());
    let page = send(&mut browser, form.clone(), &answer).await?;
    assert_eq!(page.url.path(), "/", "pressed twice: {}", page.words());
    let page = visit(&mut self::browser(), gateway, &path).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let other = authenticator()?.make(&options);
    let page = send(&mut browser, form, &other).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(is_logged_in(&page), "{}", page.words());

    // Again, for a password; browsers of before are logged out.
    let made = done(gateway, &["users", "link", "dora"], "").await?.out;
    let path = link(&made)?;
    let mut second = self::browser();
    let page = visit(&mut second, gateway, &path).await?;
    let password = "four unrelated words here";
    let form = page.password_form()?.filled("dora", password);
    let page = second.submit(&form).await?;
    let page = second.settle(page).await?;
    assert_eq!(page.url.path(), "/", "{}", page.words());
    let page = visit(&mut browser, gateway, "/account/passkeys").await?;
    assert!(!is_logged_in(&page));
    let dora = Owner {
        name: "dora".into(),
        password: password.into(),
    };
    assert!(is_logged_in(
        &logged_in(&mut browser, gateway, &dora).await?
    ));
    let log = gateway.log().join("\n");
    let secret = path.split('=').nth(1).context("no secret")?;
    assert!(!log.contains(secret), "the link is in the log");
    assert!(
        !audited(gateway).await?.contains(secret),
        "or in the audit log"
    );

    // Nobody who may not log in, and nobody with another link.
    let last = link(&done(gateway, &["users", "link", "dora"], "").await?.out)?;
    done(gateway, &["users", "disable", "dora"], "").await?;
    for path in [last.as_str(), "/rescue", "/rescue?link=x"] {
        let page = visit(&mut self::browser(), gateway, path).await?;
        assert_eq!(page.reply.status, 403, "{path}: {}", page.words());
    }
    let refused = command(gateway, &["users", "link", "dora"], "").await?;
    assert_eq!(refused.code, 1, "{refused:?}");
    let refused = command(gateway, &["users", "link", "nobody"], "").await?;
    assert_eq!(refused.code, 1, "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn who_is_removed_is_gone_with_all_that_was_theirs() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let bob = hire(gateway).await?;
    let client = OAuthClient::register(&gateway.origin(), "App").await?;
    let token = client.sign_in(&bob).await?;
    let url = fixture.url("/mcp");
    let call = async || tests::mcp::send(&url, &token, &initialize()).await;
    assert_eq!(call().await?.status, 200);
    let request = tests::http::client().get(&url).bearer_auth(&token);
    let mut stream = EventStream::open(request).await?;
    fixture
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;
    let mut browser = Browser::default();
    let page = logged_in(&mut browser, gateway, &bob).await?;
    assert!(is_logged_in(&page));

    let configured = command(gateway, &["users", "rm", "alice"], "").await?;
    assert_eq!(configured.code, 1, "{configured:?}");
    let removed = done(gateway, &["users", "rm", "BOB"], "").await?;
    assert!(removed.out.contains("revoked 1 grant"), "{}", removed.out);
    assert_eq!(call().await?.status, 401);
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "the stream goes on"
    );
    let page = visit(&mut browser, gateway, "/account").await?;
    assert!(!is_logged_in(&page));
    let listed = done(gateway, &["users", "ls", "--json"], "").await?.json();
    let mut people = listed["users"].as_array().into_iter().flatten();
    assert!(people.all(|person| person["name"] != "bob"), "{listed}");
    let again = command(gateway, &["users", "rm", "bob"], "").await?;
    assert_eq!(again.code, 1, "{again:?}");
    // The name is free, and who gets it is somebody else.
    hire(gateway).await?;
    assert_eq!(call().await?.status, 401);
    let page = visit(&mut browser, gateway, "/account").await?;
    assert!(!is_logged_in(&page));
    assert!(audited(gateway).await?.contains("users rm bob"));
    Ok(())
}

#[tokio::test]
async fn at_admin_the_owner_takes_passkeys_off_others_and_none_off_themselves() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut owner) = (&fixture.gateway, browser());
    let bob = hire(gateway).await?;
    let mut others = browser();
    logged_in(&mut others, gateway, &bob).await?;
    let mut bobs = authenticator()?;
    add(&mut others, gateway, &mut bobs, "Phone").await?;
    logged_in(&mut owner, gateway, &fixture.owner).await?;
    let mut own = authenticator()?;
    add(&mut owner, gateway, &mut own, "Key").await?;

    let page = visit(&mut owner, gateway, "/admin/people").await?;
    assert!(
        page.words().contains("the passkey “Key”"),
        "{}",
        page.words()
    );
    let forms = page.forms().into_iter();
    let forms: Vec<Form> = forms
        .filter(|form| form.value("action") == Some("remove-passkey"))
        .collect();
    let subjects: Vec<_> = forms
        .iter()
        .filter_map(|form| form.value("subject"))
        .collect();
    assert_eq!(subjects, [format!("bob {}", bobs.id())]);
    let mut forged = forms[0].clone();
    forged.set("subject", &format!("alice {}", own.id()));
    let page = owner.submit(&forged).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    let page = log_in(&mut self::browser(), gateway, &mut own).await?;
    assert!(is_logged_in(&page), "{}", page.words());

    let tablet = add(&mut others, gateway, &mut authenticator()?, "Tablet").await?;
    assert!(tablet.words().contains("logs you in"));
    let page = visit(&mut owner, gateway, "/admin/people").await?;
    let has = |form: &Form| {
        let subject = form.value("subject").unwrap_or_default();
        subject.starts_with("bob ") && !subject.ends_with(&bobs.id())
    };
    let form = page.forms().into_iter().find(has);
    let page = owner.submit(&form.context("no button")?).await?;
    assert_eq!(page.reply.status, 200, "{}", page.words());
    assert!(!page.words().contains("Tablet"), "{}", page.words());
    // A command was faster: the page says that it was not done, and why.
    let words = ["users", "remove-passkey", "bob", "Phone"];
    done(gateway, &words, "").await?;
    let page = owner.submit(&forms[0]).await?;
    assert_eq!(page.reply.status, 409, "{}", page.words());
    assert!(page.words().contains("not_found"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn what_the_page_says_of_a_form_that_is_sent_again_is_so() -> Result<()> {
    let fixture = start(StoreKind::Embedded).await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    let page = logged_in(&mut browser, gateway, &fixture.owner).await?;
    let (form, options) = page.passkey_form()?;
    let mut device = authenticator()?;
    let answer = device.make(&options);
    send(&mut browser, form.clone(), &answer).await?;
    // It has counted since, and is the same passkey.
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    let page = send(&mut browser, form.clone(), &answer).await?;
    assert_eq!(page.reply.status, 200, "{}", page.words());
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(is_logged_in(&page), "its count was kept: {}", page.words());
    // Gone meanwhile: what the form is for is done then, as the first time.
    let words = ["users", "remove-passkey", "alice", "Passkey"];
    done(gateway, &words, "").await?;
    let page = send(&mut browser, form, &answer).await?;
    assert!(page.words().contains("logs you in"), "{}", page.words());
    let page = log_in(&mut self::browser(), gateway, &mut device).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn where_passwords_are_off_a_passkey_that_is_not_taken_offers_none() -> Result<()> {
    let login = "[[login]]\nname = \"corp\"\nwords = \"Example Inc.\"\n\
                 issuer = \"http://127.0.0.1:9\"\nclient_id = \"c\"\n\
                 client_secret = \"s\"\nallow = [\"*\"]\n";
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        let setup = Setup {
            top: "password_login = false\n".into(),
            ..at_a_name(setup)
        };
        setup.more(login)
    });
    let fixture = fixture.await?;
    let (gateway, mut browser) = (&fixture.gateway, browser());
    let page = visit(&mut browser, gateway, "/login").await?;
    assert!(page.password_form().is_err(), "{}", page.words());
    let (form, options) = page.passkey_form()?;
    let answer = authenticator()?.prove(&options);
    let page = send(&mut browser, form, &answer).await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    assert!(page.password_form().is_err(), "{}", page.words());
    assert!(page.passkey_form().is_ok(), "no second try");
    // The owner comes to the rescue by password, and may mistype it.
    let page = visit(&mut browser, gateway, "/login?password").await?;
    let owner = &fixture.owner;
    let page = browser.log_in(&page, &owner.name, "mistyped").await?;
    assert_eq!(page.reply.status, 403, "{}", page.words());
    browser.log_in(&page, &owner.name, &owner.password).await?;
    let page = visit(&mut browser, gateway, "/account").await?;
    assert!(is_logged_in(&page), "{}", page.words());
    Ok(())
}
