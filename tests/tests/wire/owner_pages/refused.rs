//! A press that does nothing says so, with its own status and its reason.

use super::*;

#[tokio::test]
async fn what_is_not_done_is_answered_with_its_own_status_and_its_reason() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    add_bob(gateway).await?;
    let (mut browser, page) = logged_in(gateway, "/admin/people", &fixture.owner).await?;
    let (promote, disable) = (
        button(&page, "Make an owner", "Bob")?,
        button(&page, "Keep out", "Bob")?,
    );
    let done_once = browser.submit(&promote).await?;
    assert_eq!(done_once.reply.status, 200, "{}", done_once.words());
    assert!(
        !done_once.words().contains("Reason "),
        "{}",
        done_once.words()
    );
    // The form is about somebody who is not there any more, and the page is.
    done(gateway, &["users", "rm", "Bob"], "").await?;
    let page = browser.submit(&disable).await?;
    assert_eq!(page.reply.status, 409, "{}", page.words());
    assert!(
        page.words().contains("Not done") && page.words().contains("Reason not_found"),
        "{}",
        page.words()
    );
    assert!(page.words().contains("alice"), "{}", page.words());
    Ok(())
}
