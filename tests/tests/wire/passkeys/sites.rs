//! A passkey belongs to a host: what becomes of people when the gateway gets another one, and where it has
//! none.

use super::links::link;
use super::*;
use tests::operator::done;

const OTHER: &str = "https://other.example.com";

/// At the host that the gateway has now.
fn elsewhere() -> Browser {
    Browser {
        public: Some(Url::parse(OTHER).expect("a constant URL")),
        ..Browser::default()
    }
}

#[tokio::test]
async fn a_passkey_of_another_host_is_no_way_in() -> Result<()> {
    let mut fixture = start(StoreKind::Embedded).await?;
    let bob = Owner {
        name: "bob".into(),
        password: "a second correct horse".into(),
    };
    let gateway = &fixture.gateway;
    let line = format!("{}\n", bob.password);
    done(gateway, &["users", "add", &bob.name], &line).await?;
    let added = done(gateway, &["users", "add", "dora", "--link"], "").await?;

    // Bob has a password and a passkey, dora a passkey alone.
    let mut bobs = browser();
    logged_in(&mut bobs, gateway, &bob).await?;
    let page = add(&mut bobs, gateway, &mut authenticator()?, "Phone").await?;
    let remove_password = page.form_with_button("Remove my password")?;
    let (mut doras, mut device) = (browser(), authenticator()?);
    let page = visit(&mut doras, gateway, &link(&added.out, PUBLIC)?).await?;
    let (form, options) = page.passkey_form()?;
    let answer = device.make(&options);
    let page = send(&mut doras, form, &answer).await?;
    assert_eq!(page.url.path(), "/", "{}", page.words());

    fixture.gateway.setup().public_url = Some(OTHER.into());
    fixture.gateway.restart().await?;
    let gateway = &fixture.gateway;
    let mut browser = elsewhere();
    let page = logged_in(&mut browser, gateway, &bob).await?;
    let words = page.words();
    assert!(words.contains("It is for mcp.example.com"), "{words}");
    assert!(page.form_with_button("Remove my password").is_err());
    // The form of before, which a passkey stood behind.
    bobs.public = elsewhere().public;
    let page = bobs.submit(&remove_password).await?;
    assert_eq!(page.reply.status, 409, "{}", page.words());
    let mut browser = elsewhere();
    let page = logged_in(&mut browser, gateway, &bob).await?;
    assert!(is_logged_in(&page), "the password stays: {}", page.words());

    // Nothing is left that lets dora in, and the operator lets her set herself up.
    doras.public = elsewhere().public;
    let page = visit(&mut doras, gateway, "/account").await?;
    assert!(!is_logged_in(&page), "{}", page.words());
    let made = done(gateway, &["users", "link", "dora"], "").await?.out;
    let page = visit(&mut doras, gateway, &link(&made, OTHER)?).await?;
    let form = page
        .password_form()?
        .filled("dora", "four unrelated words here");
    let page = doras.submit(&form).await?;
    assert_eq!(page.reply.status, 303, "{}", page.words());
    let page = visit(&mut doras, gateway, "/account").await?;
    assert!(is_logged_in(&page), "{}", page.words());

    // Under the name of before it is found again.
    fixture.gateway.setup().public_url = Some(PUBLIC.into());
    fixture.gateway.restart().await?;
    let page = log_in(&mut self::browser(), &fixture.gateway, &mut device).await?;
    assert!(is_logged_in(&page), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn at_a_number_the_pages_say_why_there_are_no_passkeys() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (gateway, mut browser) = (&fixture.gateway, Browser::default());
    let page = visit(&mut browser, gateway, "/account/passkeys").await?;
    assert!(page.passkey_form().is_err());
    let owner = &fixture.owner;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    assert!(
        page.words().contains("reached at a number"),
        "{}",
        page.words()
    );
    assert!(page.passkey_form().is_err());
    let page = visit(&mut browser, gateway, "/account").await?;
    assert!(
        page.words().contains("reached at a number"),
        "{}",
        page.words()
    );
    Ok(())
}
