//! A provider of another make: `glewlwyd`, in C, as Debian has it. It names no verified address, and takes
//! a secret by HTTP Basic only as it is.

use anyhow::Result;
use tests::fixture::{Fixture, StoreKind};
use tests::identity_provider::{IdentityProvider, Person, SECRET};
use tests::mcp::{initialize, send};
use tests::oauth::OAuthClient;
use tests::operator;

use super::{access, connect, url};

#[tokio::test]
async fn a_first_login_makes_the_person_and_an_app_gets_through() -> Result<()> {
    let mut provider = IdentityProvider::new("glewlwyd.mjs")?;
    provider.needs_glewlwyd();
    let issuer = format!("{}/api/oidc", provider.issuer());
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more(&format!(
            "[[login]]\nname = \"campus\"\nwords = \"Campus\"\nissuer = \"{issuer}\"\n\
             client_id = \"gateway\"\nclient_secret = \"{SECRET}\"\nallow = [\"*\"]\n"
        ))
    })
    .await?;
    provider.arguments(&[fixture.gateway.issuer() + "/login/campus/callback"]);
    provider.start().await?;
    let mut bob = Person::default();
    for _ in 0..2 {
        let page = bob
            .log_in_at(&fixture.gateway, "Log in with Campus", "bob")
            .await?;
        let words = page.words();
        assert_eq!(
            (page.reply.status, page.url.path()),
            (200, "/account"),
            "{words}"
        );
        assert!(
            words.contains("Signed in with Campus as bob@example.com"),
            "{words}"
        );
        // The address is nobody's word, so it is no name here.
        assert!(words.contains("Logged in as bob@campus"), "{words}");
        bob.here = tests::browser::Browser::default();
    }
    let page = bob
        .log_in_at(&fixture.gateway, "Log in with Campus", "bob")
        .await?;
    assert_eq!(page.url, url(&fixture.gateway.url("/account")));
    let client = OAuthClient::register(&fixture.gateway.issuer(), "App").await?;
    let tokens = connect(&client, &mut bob).await?;
    let mcp = fixture.gateway.url("/mcp");
    let answer = send(&mcp, access(&tokens), &initialize()).await?;
    assert_eq!(answer.status, 200);
    let people = operator::done(&fixture.gateway, &["users", "ls"], "").await?;
    assert_eq!(
        people.out.matches("bob@campus").count(),
        1,
        "{}",
        people.out
    );
    Ok(())
}
