//! Tokens of a provider that lies, each refused for its own reason.

use anyhow::{Context as _, Result};
use tests::fixture::{Fixture, StoreKind};
use tests::identity_provider::{IdentityProvider, Person};
use tests::program::free_port;

use super::url;

#[tokio::test]
async fn a_bad_token_logs_nobody_in_and_says_what_is_wrong_with_it() -> Result<()> {
    let mut provider = IdentityProvider::new("forged.mjs")?;
    let control = free_port();
    provider.arguments(&[control.to_string()]);
    provider.start().await?;
    let issuer = provider.issuer();
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(&format!(
            "[[login]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_id = \"gateway\"\n\
             client_secret = \"secret\"\nallow = [\"*@example.com\"]\n"
        ))
    })
    .await?;
    let account = url(&fixture.gateway.url("/account"));
    for (forgery, reason) in [
        ("none at all", ""),
        ("another audience", "id_token_audience"),
        ("several audiences", "id_token_audience"),
        ("several audiences, for us", ""),
        ("another authorized party", "id_token_audience"),
        ("another issuer", "id_token_issuer"),
        ("another nonce", "id_token_nonce"),
        ("no nonce", "id_token_nonce"),
        ("expired", "id_token_expired"),
        ("of tomorrow", "id_token_expired"),
        ("not yet", "id_token_expired"),
        ("no subject", "id_token_malformed"),
        ("unsigned", "id_token_algorithm"),
        ("signed with the public key", "id_token_algorithm"),
        ("signed with the secret", "id_token_algorithm"),
        ("another key", "id_token_signature"),
        ("an unknown key", "id_token_key_unknown"),
        ("no kid", "id_token_key_unknown"),
        ("a critical header", "id_token_malformed"),
        ("an access token", "id_token_malformed"),
        ("no token", "id_token_malformed"),
        ("nothing", "provider_answer_invalid"),
    ] {
        let name = forgery.replace(' ', "%20");
        let control = format!("http://127.0.0.1:{control}/{name}");
        tests::http::client().post(control).send().await?;
        let mut person = Person::default();
        let page = person.here.visit(&account).await?;
        let page = person.log_in(&page, "Log in with corp", "anybody").await?;
        let words = page.words();
        let has_session = person.here.cookies.contains_key("session");
        assert_eq!(has_session, reason.is_empty(), "{forgery}: {words}");
        if !reason.is_empty() {
            let expected = format!("Reason {reason}");
            assert!(words.contains(&expected), "{forgery}: {words}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_document_of_another_issuer_is_not_taken() -> Result<()> {
    let mut provider = IdentityProvider::new("forged.mjs")?;
    provider.arguments(&[free_port().to_string()]);
    provider.start().await?;
    // The same server under another name.
    let issuer = format!("http://localhost:{}", provider.port);
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(&format!(
            "[[login]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_id = \"gateway\"\n\
             client_secret = \"secret\"\nallow = [\"*@example.com\"]\n"
        ))
    })
    .await?;
    let mut person = Person::default();
    let page = person
        .here
        .visit(&url(&fixture.gateway.url("/account")))
        .await?;
    let page = person.press(&page, "Log in with corp").await?;
    assert_eq!(page.reply.status, 502);
    let words = page.words();
    assert!(
        words.contains("Reason provider_document_invalid"),
        "{words}"
    );
    assert!(
        words.contains(&format!("its issuer is {}", provider.issuer())),
        "{words}"
    );
    Ok(())
}

#[tokio::test]
async fn a_bad_logout_token_ends_nothing_and_says_what_is_wrong_with_it() -> Result<()> {
    let mut provider = IdentityProvider::new("forged.mjs")?;
    let control = free_port();
    let issuer = provider.issuer();
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(&format!(
            "[[login]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_id = \"gateway\"\n\
             client_secret = \"secret\"\nallow = [\"*@example.com\"]\n"
        ))
    })
    .await?;
    let backchannel = fixture.gateway.url("/login/corp/backchannel");
    provider.arguments(&[control.to_string(), backchannel]);
    provider.start().await?;
    let mut person = Person::default();
    let button = "Log in with corp";
    person
        .log_in_at(&fixture.gateway, button, "anybody")
        .await?;
    let send = async |name: &str| -> Result<u16> {
        let name = name.replace(' ', "%20");
        let control = format!("http://127.0.0.1:{control}/logout/{name}");
        Ok(tests::http::client()
            .post(control)
            .send()
            .await?
            .status()
            .as_u16())
    };
    let account = url(&fixture.gateway.url("/account"));
    for (forgery, reason) in [
        ("no event", "logout_token_invalid"),
        ("another event", "logout_token_invalid"),
        ("no id", "logout_token_invalid"),
        ("a nonce", "id_token_nonce"),
        ("a session alone", "logout_token_without_subject"),
        ("an end of yesterday", "id_token_expired"),
        ("another audience", "id_token_audience"),
        ("another authorized party", "id_token_audience"),
        ("another issuer", "id_token_issuer"),
        ("no subject", "id_token_malformed"),
        ("unsigned", "id_token_algorithm"),
        ("signed with the public key", "id_token_algorithm"),
        ("signed with the secret", "id_token_algorithm"),
        ("another key", "id_token_signature"),
        ("an unknown key", "id_token_key_unknown"),
        ("an access token", "id_token_malformed"),
    ] {
        assert_eq!(send(forgery).await?, 400, "{forgery}");
        let logged = fixture.gateway.last_logged("logout_refused", reason);
        logged.await.context(forgery)?;
        let page = person.here.visit(&account).await?;
        assert!(page.form_with_button(button).is_err(), "{forgery}");
    }
    assert_eq!(send("none at all").await?, 200);
    let page = person.here.visit(&account).await?;
    assert!(page.form_with_button(button).is_ok(), "{}", page.words());
    // Once, also after the person came back.
    person
        .log_in_at(&fixture.gateway, button, "anybody")
        .await?;
    assert_eq!(send("sent again").await?, 400);
    let page = person.here.visit(&account).await?;
    assert!(page.form_with_button(button).is_err(), "{}", page.words());
    Ok(())
}
