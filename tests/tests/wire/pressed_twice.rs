//! A form that is pressed twice, by an impatient hand or a browser that sends it again, is answered
//! twice with the same, by one replica or by two, and does once what it does.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::browser::{Browser, Form, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{initialize, send};
use tests::recorder::Recorder;
use tests::scripted_mcp;
use url::Url;

/// Sends a form in the same browser to this gateway, whatever its public name is.
async fn sent_to(gateway: &Gateway, issuer: &str, browser: &Browser, form: &Form) -> Result<Reply> {
    let path = Url::parse(&form.action)?.path().to_owned();
    let cookies: Vec<String> = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let request = http::client()
        .post(gateway.url(&path))
        .header("Host", issuer.replace("http://", ""))
        .header("Origin", issuer)
        .header("Cookie", cookies.join("; "))
        .form(&form.fields);
    http::send(request).await
}

/// The same press, eight times at once.
async fn at_once(gateway: &Gateway, browser: &Browser, form: &Form) -> Result<Vec<Reply>> {
    let issuer = gateway.issuer();
    let press = || sent_to(gateway, &issuer, browser, form);
    let (a, b, c, d) = tokio::join!(press(), press(), press(), press());
    let (e, f, g, h) = tokio::join!(press(), press(), press(), press());
    [a, b, c, d, e, f, g, h].into_iter().collect()
}

fn all_lead_to(replies: &[Reply], place: &str) {
    for reply in replies {
        assert_eq!(reply.status, 303, "{}", reply.text);
        assert_eq!(reply.header("location"), place);
    }
}

async fn at_consent(
    fixture: &Fixture,
    client: &tests::oauth::OAuthClient,
) -> Result<(Browser, Page, String)> {
    let mut browser = Browser::default();
    let request = client.authorization();
    let page = browser.visit(&request.url()).await?;
    let owner = &fixture.owner;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    Ok((browser, page, request.pkce.verifier))
}

async fn consents(fixture: &Fixture) -> Result<usize> {
    let config = fixture.gateway.folder().join("gateway.toml");
    let words = ["audit", "export", "--event", "consent", "--config"].map(str::to_owned);
    let words: Vec<String> = words
        .into_iter()
        .chain([config.display().to_string()])
        .collect();
    let (code, out, errors) =
        tests::program::run(&tests::program::binary("gateway"), &words, "").await?;
    anyhow::ensure!(code == 0, "{errors}");
    let lines = out.lines().map(serde_json::from_str::<Value>);
    let records: Vec<Value> = lines.collect::<Result<_, _>>()?;
    Ok(records
        .iter()
        .filter(|record| record["event"] == "consent")
        .count())
}

#[tokio::test]
async fn allow_leads_twice_to_the_same_place_and_the_code_counts_once() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let (browser, page, verifier) = at_consent(&fixture, &client).await?;
    let mut form = page.form_with_button("Allow")?.press("Allow")?;
    form.choose("tools", "today")?;
    let replies = at_once(&fixture.gateway, &browser, &form).await?;
    let place = replies[0].header("location").to_owned();
    assert!(place.contains("code="), "{place}");
    all_lead_to(&replies, &place);
    assert_eq!(consents(&fixture).await?, 1);

    // Another answer on the same page is another thing.
    let mut other = page.form_with_button("Allow")?.press("Allow")?;
    other.choose("tools", "all")?;
    let deny = page.form_with_button("Deny")?.press("Deny")?;
    for form in [&other, &deny] {
        let reply = sent_to(&fixture.gateway, &fixture.gateway.issuer(), &browser, form).await?;
        assert_eq!(reply.status, 403, "{}", reply.text);
        assert!(reply.text.contains("page_expired"));
    }
    let callback = tests::oauth::Callback {
        url: Url::parse(&place)?,
    };
    let redeemed = client.redeem(&callback.code(), &verifier).await?;
    assert_eq!(redeemed.status, 200, "{}", redeemed.text);
    // Pressed again, it still leads there, and the code is worth nothing more.
    let again = at_once(&fixture.gateway, &browser, &form).await?;
    all_lead_to(&again, &place);
    let replayed = client.redeem(&callback.code(), &verifier).await?;
    assert_eq!(replayed.status, 400, "{}", replayed.text);
    Ok(())
}

#[tokio::test]
async fn two_replicas_answer_the_same_press_alike() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let replica = fixture.replica(|setup| setup).await?;
    let issuer = fixture.gateway.issuer();
    let client = fixture.client("Client").await?;
    for (words, wanted) in [("Allow", "code="), ("Deny", "error=access_denied")] {
        let (browser, page, verifier) = at_consent(&fixture, &client).await?;
        let form = page.form_with_button(words)?.press(words)?;
        let (here, there) = tokio::join!(
            sent_to(&fixture.gateway, &issuer, &browser, &form),
            sent_to(&replica, &issuer, &browser, &form)
        );
        let replies = [here?, there?];
        let place = replies[0].header("location").to_owned();
        assert!(place.contains(wanted), "{place}");
        all_lead_to(&replies, &place);
        if words == "Allow" {
            let callback = tests::oauth::Callback {
                url: Url::parse(&place)?,
            };
            let redeemed = client.redeem(&callback.code(), &verifier).await?;
            assert_eq!(redeemed.status, 200, "{}", redeemed.text);
        }
    }
    Ok(())
}

#[tokio::test]
async fn revoke_log_in_and_log_out_say_twice_what_they_said() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let issuer = fixture.gateway.issuer();
    let mut browser = Browser::default();
    let login = browser
        .visit(&Url::parse(&fixture.url("/account"))?)
        .await?;
    let owner = &fixture.owner;
    let form = login.password_form()?.filled(&owner.name, &owner.password);
    for _ in 0..2 {
        let reply = sent_to(&fixture.gateway, &issuer, &browser, &form).await?;
        assert_eq!((reply.status, reply.header("location")), (303, "/account"));
    }
    let page = browser.log_in(&login, &owner.name, &owner.password).await?;
    let revoke = page.form_with_button("Revoke access")?;
    for reply in at_once(&fixture.gateway, &browser, &revoke).await? {
        assert_eq!(reply.status, 200);
        assert!(reply.text.contains("lost its access"), "{}", reply.text);
    }
    let status = send(&fixture.url("/mcp"), &token, &initialize())
        .await?
        .status;
    assert_eq!(status, 401);
    let out = page.form_with_button("Log out")?.press("Log out")?;
    for _ in 0..2 {
        let reply = sent_to(&fixture.gateway, &issuer, &browser, &out).await?;
        assert_eq!((reply.status, reply.header("location")), (303, "/"));
        let cleared = reply.header_values("set-cookie").join("\n");
        assert!(cleared.contains("session=;"), "{cleared}");
    }
    Ok(())
}

#[tokio::test]
async fn the_set_up_pressed_twice_makes_one_owner_who_is_logged_in() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let setup = Setup {
        owner: None,
        ..Setup::default()
    };
    let gateway = Gateway::start(setup.backend(&backend.url())).await?;
    let url: Url = gateway.setup_url().await?.parse()?;
    let owner = Owner {
        name: "bob".into(),
        password: "a password of some length".into(),
    };
    let mut browser = Browser::default();
    let page = browser.visit(&url).await?;
    let form = page.password_form()?.filled(&owner.name, &owner.password);
    let replies = at_once(&gateway, &browser, &form).await?;
    all_lead_to(&replies, "/");
    for reply in &replies {
        let cookies = reply.header_values("set-cookie").join("\n");
        assert!(cookies.contains("session="), "{cookies}");
    }
    // With another password, or another code, it is somebody else.
    for (field, value) in [
        ("password", "another password of some length"),
        ("code", "AAAA-AAAA"),
    ] {
        let mut other = form.clone();
        other.set(field, value);
        other.set(
            "again",
            other
                .value("password")
                .context("no password")?
                .to_owned()
                .as_str(),
        );
        let reply = sent_to(&gateway, &gateway.issuer(), &browser, &other).await?;
        assert_eq!(reply.status, 404, "{field}: {}", reply.text);
    }
    Ok(())
}
