//! The operator's commands and the API behind them: what was given is seen and taken back, people
//! come and go, and nobody else gets in.

mod access;
mod owners;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Owner;
use tests::http;
use tests::mcp::{initialize, send};
use tests::operator::{command, done, token};
use tests::program::{binary, run};
use tests::recorder::{Answer, Recorder};
use tests::sse::EventStream;

const SOON: Duration = Duration::from_secs(5);

fn bob() -> Owner {
    Owner {
        name: "Bob".into(),
        password: "a second correct horse".into(),
    }
}

async fn stream(fixture: &Fixture, token: &str) -> Result<EventStream> {
    EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(token)).await
}

async fn status(fixture: &Fixture, token: &str) -> Result<u16> {
    Ok(send(&fixture.url("/mcp"), token, &initialize())
        .await?
        .status)
}

/// Whether somebody can log in with a new browser, which is returned.
async fn login(fixture: &Fixture, person: &Owner) -> Result<(bool, Browser)> {
    let client = fixture.client("Login").await?;
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    let page = browser
        .log_in(&page, &person.name, &person.password)
        .await?;
    Ok((page.password_form().is_err(), browser))
}

/// Whether a browser is still logged in.
async fn is_logged_in(fixture: &Fixture, browser: &mut Browser) -> Result<bool> {
    let client = fixture.client("Login").await?;
    let page = browser.visit(&client.authorization().url()).await?;
    Ok(page.password_form().is_err())
}

async fn audit(fixture: &Fixture) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(fixture.gateway.folder().join("state/audit/audit.jsonl"))?;
    Ok(text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect())
}

#[tokio::test]
async fn the_operator_sees_what_was_given_and_takes_it_back_at_once() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (client, given) = fixture.signed_in().await?;
    let kept = fixture
        .client("Bystander")
        .await?
        .sign_in(&fixture.owner)
        .await?;
    let mut ended = stream(&fixture, &given).await?;
    let mut goes_on = stream(&fixture, &kept).await?;
    fixture.backend.await_streams(2, SOON).await?;
    let gateway = &fixture.gateway;

    let all = done(gateway, &["grants", "ls", "--json"], "").await?.json();
    assert_eq!(all["grants"].as_array().map(Vec::len), Some(2), "{all}");
    let of = ["grants", "ls", "--json", "--client", &client.client_id];
    let mine = done(gateway, &of, "").await?.json();
    let grant = &mine["grants"][0];
    assert_eq!(mine["grants"].as_array().map(Vec::len), Some(1), "{mine}");
    assert_eq!(grant["user_name"], json!(fixture.owner.name));
    assert_eq!(grant["client_name"], "A test client");
    assert_eq!(grant["tools"], "all");
    let id = grant["id"].as_str().expect("an id");
    let page = done(gateway, &["grants", "ls", "--limit", "1"], "").await?;
    assert_eq!(page.out.lines().count(), 2, "{page:?}");
    assert!(page.out.starts_with("GRANT "), "{page:?}");
    assert!(page.errors.contains("--after g_"), "{page:?}");
    assert!(grant["last_used"].is_string(), "it holds a stream: {grant}");
    let shown = done(gateway, &["grants", "show", id], "").await?;
    assert!(shown.out.contains("A test client"), "{shown:?}");
    let streams = done(gateway, &["streams", "ls", "--grant", id, "--json"], "").await?;
    assert_eq!(streams.json()["streams"][0]["grant"], json!(id));

    let start = Instant::now();
    let revoked = done(gateway, &["grants", "revoke", id], "").await?;
    assert_eq!(revoked.out, "revoked 1 grant\n");
    assert_eq!(status(&fixture, &given).await?, 401, "the next call");
    assert!(ended.end(SOON).await?, "cut instead of ended");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(status(&fixture, &kept).await?, 200);
    fixture
        .backend
        .push(tests::scripted_mcp::MCP_STREAM, "data: still here\n\n");
    assert_eq!(goes_on.event(SOON).await?.1, "still here");
    let gone = command(gateway, &["grants", "revoke", id], "").await?;
    assert_eq!(gone.code, 1, "{gone:?}");
    assert!(gone.errors.contains("there is no grant"), "{gone:?}");
    assert!(gone.errors.contains("`gateway grants ls`"), "{gone:?}");
    let left = done(gateway, &["grants", "ls", "--json"], "").await?.json();
    assert_eq!(left["grants"].as_array().map(Vec::len), Some(1), "{left}");

    let records = audit(&fixture).await?;
    let record = records
        .iter()
        .find(|record| record["event"] == "operator" && record["grant"] == json!(id))
        .expect("a record of the operator");
    assert_eq!(record["outcome"], "allowed");
    assert_eq!(record["client"], json!(client.client_id));
    let detail = record["detail"].as_str().expect("what and by whom");
    assert!(detail.starts_with("grants revoke, by "), "{detail}");
    Ok(())
}

#[tokio::test]
async fn a_removed_client_is_unknown_and_everything_it_had_is_dead() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let fixture = Fixture::on(store).await?;
        let (client, given) = fixture.signed_in().await?;
        let other = fixture.client("Bystander").await?;
        let kept = other.sign_in(&fixture.owner).await?;
        let open = client.authorization();
        let code = client.allow(&open, &fixture.owner).await?.code();
        let mut ended = stream(&fixture, &given).await?;
        let gateway = &fixture.gateway;

        let listed = done(gateway, &["clients", "ls"], "").await?;
        assert!(listed.out.contains("A test client"), "{listed:?}");
        let shown = done(gateway, &["clients", "show", &client.client_id], "").await?;
        assert!(shown.out.contains("grants"), "{shown:?}");
        let removed = done(gateway, &["clients", "rm", &client.client_id], "").await?;
        assert!(removed.out.starts_with("removed; revoked 1"), "{removed:?}");
        assert_eq!(status(&fixture, &given).await?, 401);
        assert!(ended.end(SOON).await?, "cut instead of ended");
        let redeemed = client.redeem(&code, &open.pkce.verifier).await?;
        assert_eq!(redeemed.error(), "invalid_client", "{}", redeemed.text);
        let page = Browser::default()
            .open(&client.authorization().url())
            .await?;
        assert!(
            page.location().is_none(),
            "an unknown client is sent nowhere"
        );
        assert_eq!(status(&fixture, &kept).await?, 200);

        // What is the same app registers again and is allowed again.
        let again = fixture.client("A test client").await?;
        let token = again.sign_in(&fixture.owner).await?;
        assert_eq!(status(&fixture, &token).await?, 200);
        assert_eq!(status(&fixture, &given).await?, 401);
        let unknown = command(gateway, &["clients", "rm", "c_nobody"], "").await?;
        assert_eq!(unknown.code, 1, "{unknown:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_person_is_added_disabled_and_let_in_again() -> Result<()> {
    for store in [StoreKind::Embedded, StoreKind::Redis] {
        let fixture = Fixture::on(store).await?;
        let (gateway, bob) = (&fixture.gateway, bob());
        let line = format!("{}\n", bob.password);
        assert!(!login(&fixture, &bob).await?.0);
        done(gateway, &["users", "add", &bob.name], &line).await?;
        for (words, code) in [
            (vec!["users", "add", "bob"], 1),
            (vec!["users", "add", "no good name"], 64),
            (vec!["users", "disable", "nobody"], 1),
        ] {
            let refused = command(gateway, &words, &line).await?;
            assert_eq!(refused.code, code, "{words:?} {refused:?}");
        }
        let short = command(gateway, &["users", "add", "carol"], "short\n").await?;
        assert_eq!(short.code, 64, "{short:?}");

        let client = fixture.client("Client").await?;
        let alices = client.sign_in(&fixture.owner).await?;
        let bobs = client.sign_in(&bob).await?;
        let (entered, mut browser) = login(&fixture, &bob).await?;
        assert!(entered);
        let open = client.authorization();
        let code = client
            .walk(&mut browser, &open, &bob, "Allow")
            .await?
            .code();
        let mut ended = stream(&fixture, &bobs).await?;
        let mut goes_on = stream(&fixture, &alices).await?;
        fixture.backend.await_streams(2, SOON).await?;

        let start = Instant::now();
        let disabled = done(gateway, &["users", "disable", "BOB"], "").await?;
        assert_eq!(disabled.out, "BOB is disabled; revoked 1 grant\n");
        assert_eq!(status(&fixture, &bobs).await?, 401);
        assert!(ended.end(SOON).await?, "cut instead of ended");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert!(
            !is_logged_in(&fixture, &mut browser).await?,
            "a session of before"
        );
        assert!(!login(&fixture, &bob).await?.0);
        let redeemed = client.redeem(&code, &open.pkce.verifier).await?;
        assert_eq!(
            (redeemed.status, redeemed.error()),
            (400, "invalid_grant".into())
        );
        assert_eq!(status(&fixture, &alices).await?, 200);
        fixture
            .backend
            .push(tests::scripted_mcp::MCP_STREAM, "data: still here\n\n");
        assert_eq!(goes_on.event(SOON).await?.1, "still here");
        let listed = done(gateway, &["users", "ls"], "").await?;
        assert!(
            listed.out.contains("disabled, by the operator"),
            "{listed:?}"
        );

        done(gateway, &["users", "enable", "bob"], "").await?;
        assert!(
            !is_logged_in(&fixture, &mut browser).await?,
            "came back to life"
        );
        assert_eq!(status(&fixture, &bobs).await?, 401, "came back to life");
        let token = client.sign_in(&bob).await?;
        assert_eq!(status(&fixture, &token).await?, 200);

        // A new password ends the browser sessions, and no more.
        let (entered, mut browser) = login(&fixture, &bob).await?;
        assert!(entered);
        let new = Owner {
            password: "another good password".into(),
            ..bob.clone()
        };
        done(gateway, &["users", "password", "bob"], &new.password).await?;
        assert!(!is_logged_in(&fixture, &mut browser).await?);
        assert!(!login(&fixture, &bob).await?.0, "the old password");
        assert!(login(&fixture, &new).await?.0, "the new password");
        assert_eq!(status(&fixture, &token).await?, 200);
        let configured = command(gateway, &["users", "password", "alice"], &line).await?;
        assert_eq!(configured.code, 1, "{configured:?}");
        assert!(
            configured.errors.contains("owner.password_hash"),
            "{configured:?}"
        );

        let seen = format!(
            "{:?}{:?}",
            fixture.gateway.log(),
            audit(&fixture).await.ok()
        );
        for secret in [
            &bob.password,
            &new.password,
            &token,
            &alices,
            &self::token(gateway)?,
        ] {
            assert!(!seen.contains(secret.as_str()), "a secret was written down");
        }
    }
    Ok(())
}

#[tokio::test]
async fn one_stream_is_closed_and_its_token_is_as_good_as_before() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, given) = fixture.signed_in().await?;
    let mut first = stream(&fixture, &given).await?;
    let mut second = stream(&fixture, &given).await?;
    fixture.backend.await_streams(2, SOON).await?;
    let gateway = &fixture.gateway;
    let listed = done(gateway, &["streams", "ls", "--json"], "")
        .await?
        .json();
    let numbers: Vec<String> = listed["streams"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|stream| stream["stream"].to_string())
        .collect();
    assert_eq!(numbers.len(), 2, "{listed}");
    let closed = done(gateway, &["streams", "close", &numbers[0]], "").await?;
    assert_eq!(closed.out, "closed 1 stream\n");
    assert!(first.end(SOON).await?, "cut instead of ended");
    fixture
        .backend
        .push(tests::scripted_mcp::MCP_STREAM, "data: still here\n\n");
    assert_eq!(second.event(SOON).await?.1, "still here");
    assert_eq!(status(&fixture, &given).await?, 200);
    let again = command(gateway, &["streams", "close", &numbers[0]], "").await?;
    assert_eq!(again.code, 1, "{again:?}");
    let all = done(gateway, &["streams", "close", "--user", "alice"], "").await?;
    assert_eq!(all.out, "closed 1 stream\n");
    assert!(second.end(SOON).await?, "cut instead of ended");
    Ok(())
}

#[tokio::test]
async fn a_token_is_revoked_with_what_was_narrowed_from_it_and_nothing_above() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (client, given) = fixture.signed_in().await?;
    let gateway = &fixture.gateway;
    let narrow = async |token: &str| -> Result<String> {
        let words = ["token", "narrow", "--tool", "echo"];
        let (code, out, errors) = run(&binary("gateway"), &words, token).await?;
        anyhow::ensure!(code == 0, "{errors}");
        Ok(out.trim().to_owned())
    };
    let (child, sibling) = (narrow(&given).await?, narrow(&given).await?);
    let grandchild = narrow(&child).await?;
    let mut ended = stream(&fixture, &grandchild).await?;
    let mut goes_on = stream(&fixture, &given).await?;
    fixture.backend.await_streams(2, SOON).await?;

    done(gateway, &["token", "revoke"], &child).await?;
    assert_eq!(status(&fixture, &child).await?, 401);
    assert_eq!(status(&fixture, &grandchild).await?, 401);
    assert!(ended.end(SOON).await?, "cut instead of ended");
    assert_eq!(status(&fixture, &sibling).await?, 200);
    fixture
        .backend
        .push(tests::scripted_mcp::MCP_STREAM, "data: still here\n\n");
    assert_eq!(goes_on.event(SOON).await?.1, "still here");

    // By its holder, at /revoke: the same.
    let (mine, my_child) = (narrow(&given).await?, narrow(&sibling).await?);
    assert_eq!(client.revoke(&mine).await?.status, 200);
    assert_eq!(status(&fixture, &mine).await?, 401);
    assert_eq!(client.revoke(&sibling).await?.status, 200);
    assert_eq!(status(&fixture, &my_child).await?, 401);
    assert_eq!(status(&fixture, &given).await?, 200);

    // By its id, as `inspect` prints it: the token itself, and so everything made from it.
    let keys = gateway.folder().join("keys").display().to_string();
    let inspect = ["token", "inspect", "--keys-dir", &keys];
    let (code, shown, errors) = run(&binary("gateway"), &inspect, &given).await?;
    assert_eq!(code, 0, "{errors}");
    let id = shown
        .lines()
        .find_map(|line| line.strip_prefix("// revocation id of block 0: "))
        .expect("inspect prints the ids");
    done(gateway, &["token", "revoke", "--id", id], "").await?;
    assert_eq!(status(&fixture, &given).await?, 401);
    assert!(goes_on.end(SOON).await?, "cut instead of ended");
    for (words, input, code) in [
        (vec!["token", "revoke"], "nonsense", 64),
        (vec!["token", "revoke", "--id", "00ff"], "", 64),
        (vec!["token", "revoke"], "", 64),
    ] {
        let refused = command(gateway, &words, input).await?;
        assert_eq!(refused.code, code, "{words:?} {refused:?}");
        assert!(!refused.errors.contains("nonsense"), "{refused:?}");
    }
    Ok(())
}

#[tokio::test]
async fn each_grant_that_is_revoked_with_others_has_its_record() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("App").await?;
    for _ in 0..3 {
        client.sign_in(&fixture.owner).await?;
    }
    let gateway = &fixture.gateway;
    let listed = done(gateway, &["grants", "ls", "--json"], "").await?.json();
    let listed = listed["grants"].as_array().expect("a list").clone();
    let ids: Vec<&str> = listed
        .iter()
        .filter_map(|grant| grant["id"].as_str())
        .collect();
    assert_eq!(ids.len(), 3);
    let words = [&["grants", "revoke"], &ids[..]].concat();
    done(gateway, &words, "").await?;
    let records = audit(&fixture).await?;
    for (id, grant) in ids.iter().zip(&listed) {
        let mut of = records.iter().filter(|record| record["grant"] == json!(id));
        let record = of.find(|record| record["event"] == "revocation");
        let record = record.unwrap_or_else(|| panic!("{id}: {records:?}"));
        assert_eq!(record["user"], grant["user"]);
        assert_eq!(record["client"], json!(client.client_id));
        assert_eq!(record["detail"], "by the operator");
        assert!(record["request_id"].is_string());
    }
    Ok(())
}

#[tokio::test]
async fn a_login_name_that_looks_like_an_id_stands_for_nobody_else() -> Result<()> {
    let fixture = Fixture::start().await?;
    fixture.signed_in().await?;
    let gateway = &fixture.gateway;
    let people = done(gateway, &["users", "ls", "--json"], "").await?.json();
    let alice = people["users"][0]["id"].as_str().expect("an id").to_owned();
    let password = bob().password;
    done(gateway, &["users", "add", &alice], &password).await?;
    let of = ["grants", "ls", "--json", "--user", &alice];
    let grants = done(gateway, &of, "").await?.json();
    assert_eq!(grants["grants"][0]["user"], json!(alice), "{grants}");
    // What is given is written down before: to whom, and by whom.
    let records = audit(&fixture).await?;
    let details: Vec<&str> = records
        .iter()
        .filter_map(|record| record["detail"].as_str())
        .filter(|detail| detail.contains("users add"))
        .collect();
    let about_to = format!("about to: users add {alice}, by ");
    assert!(details[0].starts_with(&about_to), "{details:?}");
    let done = format!("users add {alice}, by ");
    assert!(details[1].starts_with(&done), "{details:?}");
    assert_eq!(details.len(), 2, "{details:?}");
    Ok(())
}
