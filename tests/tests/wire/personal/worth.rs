//! What a personal token is worth: on every replica, without the store, after a crash, under a policy, and
//! exchanged for one that can be narrowed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::clock::Clock;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::mcp::{self, initialize};
use tests::operator::{command, done};
use tests::scripted_mcp::MCP_STREAM;
use tests::sse::EventStream;

use super::{at_tokens, command_offline, create, exchange, listed, make, refusal, status, url};

#[tokio::test]
async fn on_two_replicas_a_token_costs_the_store_one_look_and_its_end_reaches_both() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let replica = fixture.replica(|setup| setup).await?;
    let host = fixture.gateway.issuer();
    let host = host.trim_start_matches("http://").to_owned();
    let token = create(&fixture.gateway, &["--tool", "look"]).await?;
    let at = async |gateway: &Gateway| -> Result<u16> {
        let request = mcp::post(&gateway.url("/mcp"), &token, &initialize()).header("Host", &host);
        Ok(http::send(request).await?.status)
    };
    for gateway in [&fixture.gateway, &replica] {
        assert_eq!(at(gateway).await?, 200);
    }
    let redis = fixture.redis.as_ref().context("no Redis")?;
    let asked = async || -> Result<u64> {
        let count = "local n = 0 for c in redis.call('INFO', 'commandstats'):gmatch('calls=(%d+)') do n = n + tonumber(c) end return n";
        let said = redis.say(&["EVAL", count, "0"]).await?;
        Ok(said.trim_start_matches(':').parse()?)
    };
    // As long as so many calls take, and as long again without any.
    let (before, start) = (asked().await?, Instant::now());
    for _ in 0..100 {
        for gateway in [&fixture.gateway, &replica] {
            assert_eq!(at(gateway).await?, 200);
        }
    }
    let (between, took) = (asked().await?, start.elapsed());
    tokio::time::sleep(took).await;
    let (busy, idle) = (between - before, asked().await? - between);
    assert!(busy <= idle + 20, "idle {idle}, busy {busy}, in {took:?}");

    let ls = done(&fixture.gateway, &["token", "ls", "--json"], "")
        .await?
        .json();
    let grant = ls["grants"][0]["id"]
        .as_str()
        .context("no grant")?
        .to_owned();
    assert_eq!(ls["grants"][0]["token_name"], "nightly");
    done(&fixture.gateway, &["token", "rm", &grant], "").await?;
    let start = Instant::now();
    for gateway in [&fixture.gateway, &replica] {
        while at(gateway).await? != 401 {
            // Patience, and less than a replica may believe what it knows.
            assert!(start.elapsed() < Duration::from_secs(10), "still taken");
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_its_store_known_tokens_go_on_and_strangers_cost_no_look() -> Result<()> {
    let mut fixture = Fixture::on(StoreKind::Redis).await?;
    let known = create(&fixture.gateway, &["--read-only"]).await?;
    let unknown = create(&fixture.gateway, &["--read-only"]).await?;
    let stranger = Fixture::start().await?;
    let foreign = create(&stranger.gateway, &["--read-only"]).await?;
    assert_eq!(status(&fixture.gateway, &known).await?, 200);
    fixture.redis.as_mut().context("no Redis")?.kill().await?;
    let gateway = &fixture.gateway;
    assert_eq!(status(gateway, &known).await?, 200, "a known token");
    assert_eq!(
        status(gateway, &unknown).await?,
        503,
        "one that is not known yet"
    );
    // Neither is looked up.
    let other = if known.ends_with('A') { "B" } else { "A" };
    let typo = format!("{}{other}", &known[..61]);
    for (token, reason) in [
        (typo.as_str(), "personal_token_malformed"),
        (&known[..61], "personal_token_malformed"),
        ("cupgw_", "personal_token_malformed"),
        (foreign.as_str(), "personal_token_unknown"),
    ] {
        assert_eq!(status(gateway, token).await?, 401, "{reason}");
        gateway.last_logged("refused", reason).await?;
    }
    Ok(())
}

/// The minute is that of the manual; nobody waits for it.
#[tokio::test]
async fn a_known_token_goes_on_for_a_minute_without_the_store_and_then_waits_for_it() -> Result<()>
{
    let clock = Clock::new()?;
    let mut fixture = Fixture::with(StoreKind::Redis, |setup| Setup {
        environment: clock.environment(),
        ..setup
    })
    .await?;
    let token = create(&fixture.gateway, &["--read-only"]).await?;
    assert_eq!(status(&fixture.gateway, &token).await?, 200);
    fixture.redis.as_mut().context("no Redis")?.kill().await?;
    for ahead in [0, 30, 50] {
        clock.put_ahead(Duration::from_secs(ahead))?;
        let status = status(&fixture.gateway, &token).await?;
        assert_eq!(status, 200, "after {ahead} s");
    }
    for ahead in [70, 3600] {
        clock.put_ahead(Duration::from_secs(ahead))?;
        let reply = mcp::send(&fixture.url("/mcp"), &token, &initialize()).await?;
        // Never 401, which would make an app forget a token that is good.
        assert_eq!(reply.status, 503, "after {ahead} s: {}", reply.text);
        assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
        assert_eq!(reply.header("www-authenticate"), "");
        let reply = reply.json();
        let reason = reply["reason"].as_str().context("no reason")?;
        fixture.gateway.last_logged("refused", reason).await?;
    }
    // With the store it is what it was.
    fixture
        .redis
        .as_mut()
        .context("no Redis")?
        .restart()
        .await?;
    let start = Instant::now();
    while status(&fixture.gateway, &token).await? != 200 {
        let log = || fixture.gateway.log().join("\n");
        assert!(start.elapsed() < Duration::from_secs(20), "{}", log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_on_both_replicas_within_five_seconds() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let replica = fixture.replica(|setup| setup).await?;
    let host = fixture.gateway.issuer();
    let host = host.trim_start_matches("http://").to_owned();
    let revoked = create(&fixture.gateway, &["--everything"]).await?;
    let ls = done(&fixture.gateway, &["token", "ls", "--json"], "").await?;
    let grant = ls.json()["grants"][0]["id"].as_str().map(str::to_owned);
    let grant = grant.context("no grant")?;
    let other = create(&fixture.gateway, &["--everything"]).await?;
    let open = async |gateway: &Gateway, token: &str| {
        let request = http::client().get(gateway.url("/mcp")).bearer_auth(token);
        let request = request.header("Accept", "text/event-stream");
        EventStream::open(request.header("Host", &host)).await
    };
    let mut ending = Vec::new();
    let mut staying = Vec::new();
    for gateway in [&fixture.gateway, &replica] {
        ending.push(open(gateway, &revoked).await?);
        staying.push(open(gateway, &other).await?);
    }
    fixture
        .backend
        .await_streams(4, Duration::from_secs(5))
        .await?;
    done(&fixture.gateway, &["token", "rm", &grant], "").await?;
    let start = Instant::now();
    for stream in &mut ending {
        let is_proper = stream.end(Duration::from_secs(5)).await?;
        assert!(is_proper, "it broke off");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    // The backend is told, and another token's streams go on.
    fixture
        .backend
        .await_streams(2, Duration::from_secs(5))
        .await?;
    fixture
        .backend
        .push(MCP_STREAM, "event: message\ndata: here\n\n");
    for stream in &mut staying {
        assert_eq!(stream.event(Duration::from_secs(5)).await?.1, "here");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_outlives_a_crash_and_not_its_person() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let bob = "bobs long password\n";
    done(&fixture.gateway, &["users", "add", "bob"], bob).await?;
    let words = [
        "token",
        "create",
        "--user",
        "bob",
        "--name",
        "x",
        "--everything",
    ];
    let token = done(&fixture.gateway, &words, "")
        .await?
        .out
        .trim()
        .to_owned();
    assert_eq!(status(&fixture.gateway, &token).await?, 200);
    fixture.gateway.crash_and_restart().await?;
    let gateway = &fixture.gateway;
    assert_eq!(status(gateway, &token).await?, 200, "after a crash");
    done(gateway, &["users", "disable", "bob"], "").await?;
    assert_eq!(
        status(gateway, &token).await?,
        401,
        "of somebody who is disabled"
    );
    done(gateway, &["users", "enable", "bob"], "").await?;
    assert_eq!(status(gateway, &token).await?, 401, "it does not come back");
    let none = command(
        gateway,
        &[
            "token",
            "create",
            "--user",
            "eve",
            "--name",
            "x",
            "--everything",
        ],
        "",
    )
    .await?;
    assert_eq!(none.code, 1, "{none:?}");
    Ok(())
}

#[tokio::test]
async fn a_token_is_exchanged_for_one_that_can_be_narrowed() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let token = create(gateway, &["--all-tools", "--for", "1d"]).await?;
    let reply = exchange(gateway, &token, &[]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    assert_eq!(
        answer["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(answer["token_type"], "Bearer");
    let within_a_day = answer["expires_in"].as_u64().context("no end")?;
    assert!((1..=86_400).contains(&within_a_day), "{answer}");
    let exchanged = answer["access_token"].as_str().context("no token")?;
    assert_eq!(listed(gateway, exchanged).await?.len(), 3);
    let narrowed = command_offline(&["token", "narrow", "--tool", "look"], exchanged).await?;
    assert_eq!(listed(gateway, &narrowed).await?, ["look"]);
    assert_eq!(refusal(gateway, &narrowed, "echo").await?, "token_narrowed");
    // Whoever holds one ends it, and nothing above, as they would the personal token.
    let given = command_offline(&["token", "narrow", "--tool", "look"], exchanged).await?;
    let reply = http::post_form(&gateway.url("/revoke"), &[("token", &given)]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(status(gateway, &given).await?, 401);
    assert_eq!(status(gateway, exchanged).await?, 200);

    for (fields, error) in [
        (
            &[(
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:jwt",
            )][..],
            "invalid_request",
        ),
        (&[("actor_token", "x")], "invalid_request"),
        (
            &[("resource", "https://elsewhere.example/mcp")],
            "invalid_target",
        ),
    ] {
        let reply = exchange(gateway, &token, fields).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, error),
            "{fields:?}"
        );
    }
    // A token that can be narrowed already is no subject.
    for subject in [exchanged, "cupgw_", "x"] {
        let reply = exchange(gateway, subject, &[]).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (400, "invalid_grant"),
            "{subject}"
        );
    }
    let ls = done(gateway, &["token", "ls", "--json"], "").await?.json();
    let grant = ls["grants"][0]["id"]
        .as_str()
        .context("no grant")?
        .to_owned();
    done(gateway, &["token", "rm", &grant], "").await?;
    for token in [token.as_str(), exchanged, &narrowed] {
        assert_eq!(status(gateway, token).await?, 401);
    }
    Ok(())
}

#[tokio::test]
async fn a_token_in_a_url_is_refused_and_burnt() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    for name in ["access_token", "key"] {
        let token = create(gateway, &["--read-only"]).await?;
        assert_eq!(status(gateway, &token).await?, 200);
        let place = gateway.url(&format!("/mcp?{name}={token}"));
        for bearer in [token.as_str(), ""] {
            let request = match bearer {
                "" => http::client().post(&place).json(&initialize()),
                bearer => mcp::post(&place, bearer, &initialize()),
            };
            assert_eq!(http::send(request).await?.status, 401);
            gateway.last_logged("refused", "token_in_url").await?;
        }
        assert_eq!(status(gateway, &token).await?, 401, "it is revoked");
        assert!(!gateway.log().join("\n").contains(&token));
    }
    let queries = fixture.backend.requests();
    assert!(
        queries
            .iter()
            .all(|request| !request.target.contains("cupgw_"))
    );
    Ok(())
}

#[tokio::test]
async fn a_policy_knows_a_personal_token_and_a_token_many_tools() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    std::fs::write(
        &file,
        "deny if client_kind(\"personal_token\"), tool(\"tool_007\");\nallow if true;\n",
    )?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
    fixture.backend.play(|request| {
        let message = request.json();
        if message["method"] != "tools/list" {
            return tests::scripted_mcp::answer(request);
        }
        let tools: Vec<Value> = (0..300)
            .map(|n| json!({"name": format!("tool_{n:03}"), "inputSchema": {"type": "object"}}))
            .collect();
        let result = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}});
        tests::recorder::Answer::json(200, &result)
    });
    let gateway = &fixture.gateway;
    let token = create(gateway, &["--all-tools"]).await?;
    assert_eq!(listed(gateway, &token).await?.len(), 299);
    assert_eq!(refusal(gateway, &token, "tool_008").await?, "");
    assert_eq!(refusal(gateway, &token, "tool_007").await?, "policy_denied");
    assert_eq!(refusal(gateway, &token, "other").await?, "tool_not_allowed");
    Ok(())
}

#[tokio::test]
async fn a_changed_tool_waits_for_its_person_under_a_personal_token_too() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let token = make(gateway, &fixture.owner, "ci", &["look"]).await?;
    assert_eq!(refusal(gateway, &token, "look").await?, "");
    fixture.backend.play(|request| {
        let message = request.json();
        if message["method"] != "tools/list" {
            return tests::scripted_mcp::answer(request);
        }
        let mut reply = tests::scripted_mcp::reply(&message);
        reply["result"]["tools"][1]["description"] = json!("Reads something else");
        tests::recorder::Answer::json(200, &reply)
    });
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let start = Instant::now();
    while refusal(gateway, &token, "look").await? != "tool_definition_changed" {
        assert!(start.elapsed() < Duration::from_secs(90), "it goes on");
        // The page asks anew.
        let (mut browser, _) = at_tokens(gateway, &fixture.owner).await?;
        browser.visit(&url(gateway, "/account")).await?;
    }
    let (mut browser, _) = at_tokens(gateway, &fixture.owner).await?;
    let page = browser.visit(&url(gateway, "/account")).await?;
    let done = browser
        .submit(&page.form_with_button("Approve again")?)
        .await?;
    assert!(
        done.words().contains("may be used again"),
        "{}",
        done.words()
    );
    assert_eq!(refusal(gateway, &token, "look").await?, "");
    Ok(())
}
