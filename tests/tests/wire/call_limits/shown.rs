//! What people and the operator see of limits, and a limit that is raised.

use tests::browser::{Browser, Page};

use super::*;
use tests::program;

async fn page(gateway: &Gateway, path: &str, person: &Owner) -> Result<Page> {
    let mut browser = Browser::default();
    let page = browser.visit(&gateway.url(path).parse()?).await?;
    browser.log_in(&page, &person.name, &person.password).await
}

#[tokio::test]
async fn a_person_sees_what_she_used_and_the_owner_who_used_most() -> Result<()> {
    let limits = "[[group]]\nname = \"staff\"\nusers = [\"alice\"]\n\
        [[limit]]\nname = \"calls\"\nper = \"person\"\nbackend = \"main\"\nrate = \"60/hour\"\nburst = 10\ncalls_per_day = 30\n\
        [[limit]]\nname = \"apps\"\nper = \"grant\"\ncalls_per_day = 40\n\
        [[limit]]\nname = \"together\"\nper = \"group\"\nbytes_per_day = \"3MB\"\n\
        [[limit]]\nname = \"everybody\"\nper = \"backend\"\ncalls_per_day = 50\n";
    let fixture = limited(limits, "on").await?;
    let gateway = &fixture.gateway;
    let (_, token) = fixture.signed_in().await?;
    let bob = bob(gateway).await?;
    for id in 0..7 {
        assert_eq!(echo(gateway, &token, id).await?.status, 200);
    }
    let hers = page(gateway, "/account", &fixture.owner).await?.words();
    for words in [
        "60 calls an hour at main",
        "30 calls a day at main",
        "7 used today, 23 left",
        "40 calls a day, for A test client",
        "7 used today, 33 left",
        "3 MB a day, for all of staff together",
    ] {
        assert!(hers.contains(words), "{words}: {hers}");
    }
    assert!(!hers.contains("everybody"), "{hers}");
    let his = page(gateway, "/account", &bob).await?.words();
    assert!(his.contains("0 used today, 30 left"), "{his}");
    assert!(!his.contains("of staff"), "{his}");
    until_reached(gateway, &token).await?;
    let hers = page(gateway, "/account", &fixture.owner).await?.words();
    assert!(hers.contains("reached 0 left at this moment"), "{hers}");
    let all = page(gateway, "/admin", &fixture.owner).await?.words();
    for words in [
        "30 calls a day for each person at main; most used: alice 1",
        "50 calls a day for each backend; most used: main 1",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
    Ok(())
}

/// Limits of each grant have lines for so many apps, and the page says so.
#[tokio::test]
async fn of_very_many_apps_it_is_said_that_not_all_are_shown() -> Result<()> {
    let limits = "[[limit]]\nname = \"apps\"\nper = \"grant\"\ncalls_per_day = 40\n";
    let fixture = limited(limits, "on").await?;
    let more = "You have more apps, whose limits are not listed here.";
    for apps in 1..=21 {
        fixture.signed_in().await?;
        if apps < 20 {
            continue;
        }
        let shown = page(&fixture.gateway, "/account", &fixture.owner).await?;
        let shown = shown.words();
        assert_eq!(shown.matches("40 calls a day, for").count(), 20, "{shown}");
        assert_eq!(shown.contains(more), apps > 20, "{apps}: {shown}");
    }
    Ok(())
}

/// A store that can't say what is used is no reason to say that nothing is.
#[tokio::test]
async fn what_the_store_does_not_say_is_not_shown_as_nothing() -> Result<()> {
    let limits = "[[limit]]\nname = \"calls\"\nper = \"person\"\ncalls_per_day = 30\n";
    let mut fixture = Fixture::with(StoreKind::Redis, |setup| setup.more(limits)).await?;
    let mut browser = Browser::default();
    let account = fixture.url("/account").parse()?;
    let form = browser.visit(&account).await?;
    let (name, password) = (&fixture.owner.name, &fixture.owner.password);
    let shown = browser.log_in(&form, name, password).await?;
    assert!(shown.words().contains("0 used today, 30 left"));
    let (_, token) = fixture.signed_in().await?;
    assert_eq!(echo(&fixture.gateway, &token, 1).await?.status, 200);
    // What is under the key is none of ours: each look at it fails.
    let redis = fixture.redis.as_mut().context("there is one")?;
    let spoil = "for _, key in ipairs(redis.call('KEYS', '*drawn:limit/*')) do \
        redis.call('SET', key, 'x') end";
    redis.say(&["EVAL", spoil, "0"]).await?;
    let shown = browser.visit(&account).await?.words();
    assert!(
        shown.contains("How much is used can’t be said right now."),
        "{shown}"
    );
    assert!(!shown.contains("0 used"), "{shown}");
    assert!(!shown.contains("30 left"), "{shown}");
    // A store that is away altogether has no page.
    redis.kill().await?;
    let away = browser.visit(&account).await?;
    assert_eq!(away.reply.status, 503, "{}", away.words());
    assert!(!away.words().contains("30 calls a day"), "{}", away.words());
    Ok(())
}

#[tokio::test]
async fn a_limit_is_raised_without_a_restart_and_what_was_used_counts_on() -> Result<()> {
    let limit = |calls: u64| {
        format!("[[limit]]\nname = \"calls\"\nper = \"person\"\ncalls_per_day = {calls}\n")
    };
    let fixture = limited(&limit(3), "on").await?;
    let (_, token) = fixture.signed_in().await?;
    let (went, _) = until_reached(&fixture.gateway, &token).await?;
    assert_eq!(went, 3);
    let file = fixture.gateway.folder().join("gateway.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace(&limit(3), &limit(5)))?;
    let id = fixture.gateway.process_id().context("it has ended")?;
    program::signal(id, "HUP").await?;
    let begun = std::time::Instant::now();
    while echo(&fixture.gateway, &token, 1).await?.status != 200 {
        assert!(begun.elapsed() < SOON, "it is not raised");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (went, _) = until_reached(&fixture.gateway, &token).await?;
    assert_eq!(went, 1, "four of five were used");
    Ok(())
}
