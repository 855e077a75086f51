//! Personal tokens in places where they do not belong.

use super::*;

#[tokio::test]
async fn a_client_that_takes_a_header_for_its_id_is_told_what_went_wrong() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let mut browser = Browser::default();
    for name in ["Authorization", "authorization"] {
        let place = format!(
            "/authorize?response_type=code&client_id={name}&redirect_uri=https%3A%2F%2Fclaude.ai%2Fapi%2Fmcp%2Fauth_callback&code_challenge=x&code_challenge_method=S256"
        );
        let page = browser.visit(&url(gateway, &place)).await?;
        assert_eq!(page.reply.status, 400);
        let words = page.words();
        for said in [
            "takes the header’s name",
            "did not send its token",
            "header_taken_for_client",
        ] {
            let said = said.replace('’', "'");
            assert!(words.replace('’', "'").contains(&said), "{said}: {words}");
        }
    }
    // Or the token itself.
    let token = create(gateway, &["--read-only"]).await?;
    let place = format!("/authorize?response_type=code&client_id={token}");
    let page = browser.visit(&url(gateway, &place)).await?;
    assert!(page.words().contains("token_in_url"), "{}", page.words());
    assert!(!page.reply.text.contains(&token));
    assert_eq!(status(gateway, &token).await?, 401, "it is revoked");
    Ok(())
}

#[tokio::test]
async fn a_form_that_made_a_token_makes_no_other_and_shows_no_dead_one() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let (mut browser, _) = at_tokens(gateway, &fixture.owner).await?;
    let form = form(&mut browser, gateway, "ci", &["look"]).await?;
    let made = browser.submit(&form).await?;
    let dead = shown(&made).with_context(|| made.words())?;
    let page = browser.visit(&url(gateway, "/account/tokens")).await?;
    browser.submit(&page.form_with_button("Revoke")?).await?;
    // Back, and the button again.
    let page = browser.submit(&form).await?;
    assert_eq!(shown(&page), None);
    assert!(page.words().contains("used before"), "{}", page.words());
    let fresh = page.form_with_button("Make the token")?;
    let fresh = fresh.press("Make the token")?;
    let made = browser.submit(&fresh).await?;
    let token = shown(&made).with_context(|| made.words())?;
    assert_ne!(token, dead);
    assert_eq!(status(gateway, &token).await?, 200);
    let mut other = fresh;
    other.set("name", "something else");
    let page = browser.submit(&other).await?;
    assert_eq!(shown(&page), None);
    assert!(page.words().contains("used before"), "{}", page.words());
    assert_eq!(status(gateway, &token).await?, 200, "it goes on");
    Ok(())
}

#[tokio::test]
async fn a_token_that_was_typed_as_a_client_id_is_written_down_nowhere_and_burnt() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[audit]\nfile = \"audit.jsonl\"\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    for path in ["/token", "/revoke", "/device_authorization"] {
        let token = create(gateway, &["--read-only"]).await?;
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", &token),
            ("token", "x"),
        ];
        let reply = http::post_form(&gateway.url(path), &fields).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (401, "invalid_client"),
            "{path}: {}",
            reply.text
        );
        assert_eq!(status(gateway, &token).await?, 401, "{path}: it counts");
        gateway.logged("header_taken_for_client").await?;
        let log = gateway.log().join("\n");
        let audit = std::fs::read_to_string(gateway.folder().join("audit.jsonl"))?;
        for kept in [&log, &audit, &reply.text] {
            assert!(!kept.contains(&token[30..]), "{path}: it is written down");
        }
    }
    Ok(())
}
