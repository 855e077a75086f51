//! Accounts that are linked to a person, and removed.

use anyhow::Result;
use serde_json::json;
use tests::browser::Browser;
use tests::fixture::StoreKind;
use tests::identity_provider::Person;
use tests::operator;

use super::{BUTTON, ProviderFixture, on_both_stores, url};

async fn a_local_person_is_linked_only_after_logging_in_both_ways(store: StoreKind) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", "allow = [\"*\"]", "").await?;
    let owner = world.fixture.owner.clone();
    // Whoever has the name there is somebody else.
    let claims = json!({ "email": "alice", "email_verified": true });
    world.provider.person("alice", claims).await?;
    let (_, page) = world.log_in("alice").await?;
    assert!(
        page.words().contains("Logged in as alice@corp"),
        "{}",
        page.words()
    );

    let mut alice = Person::default();
    let page = alice
        .here
        .visit(&url(&world.gateway().url("/account")))
        .await?;
    let page = alice
        .here
        .log_in(&page, &owner.name, &owner.password)
        .await?;
    let words = "Log in with Example Inc. from now on";
    // Somebody else's account is not hers.
    let taken = alice.log_in(&page, words, "alice").await?;
    assert!(
        taken.words().contains("Reason identity_taken"),
        "{}",
        taken.words()
    );
    alice.there = Browser::default();
    let linked = alice.log_in(&page, words, "bob").await?;
    assert!(
        linked
            .words()
            .contains("Also with Example Inc. as bob@example.com"),
        "{}",
        linked.words()
    );
    assert!(linked.form_with_button(words).is_err());
    let ls = operator::done(world.gateway(), &["users", "ls"], "").await?;
    let expected = "password, corp (bob@example.com)";
    assert!(ls.out.contains(expected), "{}", ls.out);
    let (_, page) = world.log_in("bob").await?;
    assert!(
        page.words().contains("Logged in as alice "),
        "{}",
        page.words()
    );

    // A link that was begun is for whoever is logged in then.
    let mut other = Person::default();
    let page = other
        .here
        .visit(&url(&world.gateway().url("/account")))
        .await?;
    let page = other
        .here
        .log_in(&page, &owner.name, &owner.password)
        .await?;
    assert!(page.form_with_button(words).is_err(), "linked already");
    Ok(())
}

async fn an_account_is_taken_off_by_its_person_or_the_operator_and_never_the_last_way_in(
    store: StoreKind,
) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", "allow = [\"*\"]", "").await?;
    let gateway = world.gateway();
    let (_, page) = world.log_in("dan").await?;
    assert!(page.form_with_button("Remove").is_err(), "{}", page.words());
    let words = ["users", "unlink", "dan@other.org", "corp"];
    let kept = operator::command(gateway, &words, "").await?;
    assert_eq!(kept.code, 1, "{kept:?}");
    assert!(kept.errors.contains("could not log in"), "{kept:?}");
    // A provider's subjects are of its own making: one may begin with a hyphen.
    let words = ["users", "unlink", "dan@other.org", "corp", "-Zx8"];
    let unknown = operator::command(gateway, &words, "").await?;
    assert_eq!(unknown.code, 1, "{unknown:?}");

    let account = url(&gateway.url("/account"));
    let mut alice = Person::default();
    let page = alice.here.visit(&account).await?;
    let owner = &world.fixture.owner;
    let page = alice
        .here
        .log_in(&page, &owner.name, &owner.password)
        .await?;
    let link = "Log in with Example Inc. from now on";
    let linked = alice.log_in(&page, link, "bob").await?;
    let (mut second, page) = world.log_in("bob").await?;
    assert!(
        page.words().contains("Logged in as alice "),
        "{}",
        page.words()
    );
    let form = linked.form_with_button("Remove")?;
    let removed = alice.here.submit(&form).await?;
    let words = removed.words();
    assert!(
        words.contains("at “Example Inc.” does not log you in any more"),
        "{words}"
    );
    let again = alice.here.submit(&form).await?;
    let words = again.words();
    assert!(words.contains("had been removed before"), "{words}");
    // Whoever came through it is out, and it is free for somebody else.
    let page = second.here.visit(&account).await?;
    assert!(page.form_with_button(BUTTON).is_ok(), "{}", page.words());
    let (_, page) = world.log_in("bob").await?;
    let words = page.words();
    assert!(words.contains("Logged in as bob@example.com"), "{words}");

    alice.there = Browser::default();
    let page = alice.here.visit(&account).await?;
    alice.log_in(&page, link, "carol").await?;
    // Another account of the same provider lets nobody in again who came through the first one.
    let page = second.here.visit(&account).await?;
    assert!(page.form_with_button(BUTTON).is_ok(), "{}", page.words());
    operator::done(gateway, &["users", "unlink", &owner.name, "corp"], "").await?;
    let page = alice.here.visit(&account).await?;
    assert!(page.form_with_button(link).is_ok(), "{}", page.words());
    world.audit("removed an account at corp").await?;
    Ok(())
}

async fn whom_a_provider_lets_in_alone_gets_no_way_around_it(store: StoreKind) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", "allow = [\"*\"]", "").await?;
    let gateway = world.gateway();
    let (mut dan, page) = world.log_in("dan").await?;
    assert!(
        page.words().contains("Logged in as dan@other.org"),
        "{}",
        page.words()
    );
    let words = ["users", "link", "dan@other.org"];
    let refused = operator::command(gateway, &words, "").await?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.errors.contains("the provider decides"),
        "{refused:?}"
    );
    assert!(!refused.out.contains("/rescue"), "{refused:?}");
    gateway.logged("provider_decides").await?;
    let passkeys = url(&gateway.url("/account/passkeys"));
    let page = dan.here.visit(&passkeys).await?;
    assert!(page.passkey_form().is_err(), "{}", page.words());

    // A person of this gateway's own, by a password of the operator's, is let in by it as well.
    let password = ["users", "password", "dan@other.org"];
    operator::done(gateway, &password, "a password of his own").await?;
    let made = operator::done(gateway, &words, "").await?;
    let link = made
        .out
        .split_whitespace()
        .find(|word| word.contains("/rescue?"));
    let page = Browser::default()
        .visit(&url(link.expect("a link")))
        .await?;
    assert!(page.password_form().is_ok(), "{}", page.words());
    Ok(())
}

on_both_stores! {
    whom_a_provider_lets_in_alone_gets_no_way_around_it
    a_local_person_is_linked_only_after_logging_in_both_ways
    an_account_is_taken_off_by_its_person_or_the_operator_and_never_the_last_way_in
}
