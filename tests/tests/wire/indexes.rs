//! What a person or an app has is found without looking at what all the others have, and is shown and
//! taken back as if all had been looked at.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::json;
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner};
use tests::mcp::{initialize, send};
use tests::metrics::Scrape;
use tests::operator::{command, done};
use tests::redis::Redis;

/// The grants that a list shows, by id.
pub(crate) async fn grants(gateway: &Gateway, of: &[&str]) -> Result<BTreeSet<String>> {
    let words = [&["grants", "ls", "--json"], of].concat();
    let listed = done(gateway, &words, "").await?.json();
    let grants = listed["grants"].as_array().context("a list")?;
    let ids = grants.iter().filter_map(|grant| grant["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// For each person and app of the whole list: their own list is the part of it that is theirs.
pub(crate) async fn assert_lists_agree(gateway: &Gateway) -> Result<usize> {
    let all = done(gateway, &["grants", "ls", "--json"], "").await?.json();
    let all = all["grants"].as_array().context("a list")?;
    let mut lists = BTreeSet::new();
    for grant in all {
        for (option, member) in [
            ("--user", "user"),
            ("--user", "user_name"),
            ("--client", "client"),
        ] {
            let of = grant[member].as_str().context("a name")?;
            lists.insert((option, member, of.to_owned()));
        }
    }
    for (option, member, of) in &lists {
        let theirs = all.iter().filter(|grant| grant[*member] == json!(of));
        let theirs = theirs.filter_map(|grant| grant["id"].as_str());
        let expected: BTreeSet<String> = theirs.map(str::to_owned).collect();
        assert_eq!(grants(gateway, &[*option, of]).await?, expected, "{of}");
    }
    Ok(lists.len())
}

/// As if the replicas had been of this version for long.
async fn settle(redis: &Redis) -> Result<()> {
    let mark = json!({"since": 1, "walk": {"begun": 4_000_000_000_000_u64, "unreadable": 0}});
    let key = "gateway:setting:indexes";
    redis
        .say(&["HSET", key, "value", &mark.to_string()])
        .await?;
    Ok(())
}

async fn status(fixture: &Fixture, token: &str) -> Result<u16> {
    let reply = send(&fixture.url("/mcp"), token, &initialize()).await?;
    Ok(reply.status)
}

/// The words of the page on which somebody sees their apps.
async fn apps_of(fixture: &Fixture, person: &Owner) -> Result<String> {
    let mut browser = Browser::default();
    let page = browser.visit(&fixture.url("/account").parse()?).await?;
    let page = browser.log_in(&page, &person.name, &person.password);
    Ok(page.await?.words())
}

#[tokio::test]
async fn what_a_person_and_an_app_have_is_found_shown_and_taken_back() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let fixture = Fixture::on(store).await?;
        let gateway = &fixture.gateway;
        let (alice, bob) = (
            &fixture.owner,
            &Owner {
                name: "bob".into(),
                password: "a second correct horse".into(),
            },
        );
        if let Some(redis) = &fixture.redis {
            settle(redis).await?;
        }
        done(gateway, &["users", "add", "bob"], &bob.password).await?;
        let [one, two, three] = ["One", "Two", "Three"];
        let one = fixture.client(one).await?;
        let two = fixture.client(two).await?;
        let three = fixture.client(three).await?;
        let mut tokens = Vec::new();
        for (app, person) in [
            (&one, alice),
            (&two, alice),
            (&one, bob),
            (&two, bob),
            (&three, bob),
            (&three, bob),
        ] {
            tokens.push(app.sign_in(person).await?);
        }
        assert_eq!(assert_lists_agree(gateway).await?, 7, "{store:?}");
        let of_bob = grants(gateway, &["--user", "bob"]).await?;
        assert_eq!(of_bob.len(), 4);
        let both = ["--user", "bob", "--client", &three.client_id];
        assert_eq!(grants(gateway, &both).await?.len(), 2);
        let pages = ["--user", "bob", "--limit", "3"];
        let first = grants(gateway, &pages).await?;
        let last = first.last().context("three")?;
        let rest = [&pages[..], &["--after", last]].concat();
        let rest = grants(gateway, &rest).await?;
        assert_eq!(&first | &rest, of_bob);
        let words = apps_of(&fixture, bob).await?;
        for name in ["One", "Two", "Three"] {
            assert!(words.contains(name), "{name}: {words}");
        }
        let words = apps_of(&fixture, alice).await?;
        assert!(words.contains("Two") && !words.contains("Three"), "{words}");

        // A person goes; a code that is out, too.
        let open = one.authorization();
        let code = one.allow(&open, bob).await?.code();
        let words = ["grants", "ls", "--user", "bob", "--json"];
        let listed = done(gateway, &words, "").await?.json();
        let id = listed["grants"][0]["user"].as_str().context("an id")?;
        done(gateway, &["users", "disable", "bob"], "").await?;
        let redeemed = one.redeem(&code, &open.pkce.verifier).await?;
        assert_eq!(redeemed.error(), "invalid_grant", "{}", redeemed.text);
        for (token, expected) in tokens.iter().zip([200, 200, 401, 401, 401, 401]) {
            assert_eq!(status(&fixture, token).await?, expected);
        }
        assert!(grants(gateway, &["--user", id]).await?.is_empty());
        let removed = done(gateway, &["clients", "rm", &two.client_id], "").await?;
        assert!(removed.out.starts_with("removed; revoked 1"), "{removed:?}");
        let gone = command(gateway, &["clients", "show", &two.client_id], "").await?;
        assert_eq!(gone.code, 1, "{gone:?}");
        assert_lists_agree(gateway).await?;
        assert_eq!(grants(gateway, &[]).await?.len(), 1);
        if let Some(redis) = &fixture.redis {
            let index = format!("gateway:index:grant:user:{id}");
            assert_eq!(redis.say(&["EXISTS", &index]).await?, ":0");
            // Lists are read from there.
            let index = format!("gateway:index:grant:client:{}", one.client_id);
            assert_eq!(redis.say(&["ZCARD", &index]).await?, ":1");
            redis.say(&["DEL", &index]).await?;
            let of_one = ["--client", one.client_id.as_str()];
            assert!(grants(gateway, &of_one).await?.is_empty());
        }
        let scrape = Scrape::take(gateway).await?;
        let kept = |table| scrape.sum("gateway_store_records", &[("table", table)]);
        assert_eq!((kept("user"), kept("grant")), (2.0, 1.0));
        assert_eq!(kept("client"), 2.0, "{store:?}");
    }
    Ok(())
}
