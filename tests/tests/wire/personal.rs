//! Personal tokens: made at `/account/tokens` or by the operator, shown once, used in a header, checked as
//! fast as any other, taken back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, call, initialize, message, response, send};
use tests::operator::{command, done};
use tests::sse::EventStream;

fn url(gateway: &Gateway, path: &str) -> url::Url {
    gateway.url(path).parse().expect("a URL of the harness")
}

/// A logged-in browser on its tokens.
async fn at_tokens(gateway: &Gateway, owner: &Owner) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let login = browser.visit(&url(gateway, "/account/tokens")).await?;
    let page = browser.log_in(&login, &owner.name, &owner.password).await?;
    anyhow::ensure!(page.url.path() == "/account/tokens", "led to {}", page.url);
    Ok((browser, page))
}

/// The form for a new token of this name and these tools, filled in.
async fn form(
    browser: &mut Browser,
    gateway: &Gateway,
    name: &str,
    tools: &[&str],
) -> Result<tests::browser::Form> {
    let page = browser.visit(&url(gateway, "/account/tokens/new")).await?;
    let mut form = page.form_with_button("Make the token")?;
    form.set("name", name);
    form.choose_tools(tools)?;
    form.press("Make the token")
}

/// The token that a page shows, if it shows one.
fn shown(page: &Page) -> Option<String> {
    let words = page.words();
    let token = words
        .split_whitespace()
        .find(|word| word.starts_with("cupgw_"))?;
    Some(token.to_owned())
}

async fn make(gateway: &Gateway, owner: &Owner, name: &str, tools: &[&str]) -> Result<String> {
    let (mut browser, _) = at_tokens(gateway, owner).await?;
    let form = form(&mut browser, gateway, name, tools).await?;
    let page = browser.submit(&form).await?;
    shown(&page).with_context(|| page.words())
}

/// What the operator's command gives.
async fn create(gateway: &Gateway, more: &[&str]) -> Result<String> {
    let words = [
        &["token", "create", "--user", "alice", "--name", "nightly"],
        more,
    ]
    .concat();
    Ok(done(gateway, &words, "").await?.out.trim().to_owned())
}

async fn status(gateway: &Gateway, token: &str) -> Result<u16> {
    Ok(send(&gateway.url("/mcp"), token, &initialize())
        .await?
        .status)
}

async fn listed(gateway: &Gateway, token: &str) -> Result<Vec<String>> {
    let list = message(5, "tools/list", &json!({}));
    let answer = response(&send(&gateway.url("/mcp"), token, &list).await?)?;
    let tools = answer["result"]["tools"].as_array().context("no list")?;
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    Ok(tools.iter().map(name).collect())
}

/// The reason that a call of this tool is refused for; empty if it is not.
async fn refusal(gateway: &Gateway, token: &str, tool: &str) -> Result<String> {
    let asked = call(4, tool, &json!({}));
    let answer = response(&send(&gateway.url("/mcp"), token, &asked).await?)?;
    let reason = answer["result"]["_meta"]["reason"].as_str();
    Ok(reason.unwrap_or_default().to_owned())
}

/// The reason in the log for the last request that was refused.
fn last_reason(gateway: &Gateway) -> String {
    let log = gateway.log();
    let mut lines = log.iter().rev();
    let line = lines.find(|line| line.contains("\"event\":\"refused\""));
    let line: Value = serde_json::from_str(line.map_or("{}", String::as_str)).unwrap_or_default();
    line["reason"].as_str().unwrap_or_default().to_owned()
}

async fn exchange(gateway: &Gateway, token: &str, more: &[(&str, &str)]) -> Result<Reply> {
    let fields = [
        &[
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", token),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
        ],
        more,
    ]
    .concat();
    http::post_form(&gateway.url("/token"), &fields).await
}

#[tokio::test]
async fn a_person_makes_a_token_sees_it_once_and_takes_it_back() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[audit]\nfile = \"audit.jsonl\"\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let (mut browser, page) = at_tokens(gateway, &fixture.owner).await?;
    assert!(
        page.words().contains("You have no token now"),
        "{}",
        page.words()
    );
    let offered = browser.visit(&url(gateway, "/account/tokens/new")).await?;
    let offered = offered.form_with_button("Make the token")?;
    // Nothing that changes things is chosen before somebody chooses it, and no end beyond the ceiling.
    assert_eq!(offered.value("tools"), Some("read"));
    let ends: Vec<_> = offered
        .radios
        .iter()
        .filter(|(name, _)| name == "days")
        .collect();
    assert_eq!(ends.len(), 2, "{ends:?}");

    let form = form(
        &mut browser,
        gateway,
        "  nightly <b>job</b> ",
        &["look", "echo"],
    )
    .await?;
    let made = browser.submit(&form).await?;
    let token = shown(&made).with_context(|| made.words())?;
    assert_eq!(token.len(), 62, "{token}");
    assert_eq!(made.reply.header("cache-control"), "no-store");
    // A double click is two requests, and the browser shows the second.
    assert_eq!(shown(&browser.submit(&form).await?), Some(token.clone()));
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let reloaded = browser.submit(&form).await?;
    assert_eq!(shown(&reloaded), None, "{}", reloaded.words());
    assert!(
        reloaded.words().contains("shown before"),
        "{}",
        reloaded.words()
    );

    assert_eq!(listed(gateway, &token).await?, ["echo", "look"]);
    assert_eq!(refusal(gateway, &token, "look").await?, "");
    assert_eq!(refusal(gateway, &token, "erase").await?, "tool_not_allowed");
    let seen = fixture.backend.requests();
    let seen = seen.last().context("the backend saw nothing")?;
    assert_eq!(seen.header("x-forwarded-user"), Some("alice"));
    assert_eq!(seen.header("x-forwarded-client"), Some("personal_token"));
    assert!(seen.header("authorization").is_none());
    let mut stream =
        EventStream::open(http::client().get(gateway.url("/mcp")).bearer_auth(&token)).await?;
    fixture
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;

    let page = browser.visit(&url(gateway, "/account/tokens")).await?;
    let words = page.words();
    for said in [
        "“nightly <b>job</b>”",
        "These 2, as they were when you allowed them: echo , look",
        "Last used less than a minute ago from 127.0.0.1",
        "ends in 30 days",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert_eq!(shown(&page), None);
    let account = browser.visit(&url(gateway, "/account")).await?;
    assert!(
        account.words().contains("Personal tokens"),
        "{}",
        account.words()
    );

    let start = Instant::now();
    let done = browser.submit(&page.form_with_button("Revoke")?).await?;
    assert!(done.words().contains("counts no more"), "{}", done.words());
    assert_eq!(status(gateway, &token).await?, 401, "the next call");
    assert!(
        stream.end(Duration::from_secs(5)).await?,
        "cut instead of ended"
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );

    // Nowhere but on the page that showed it.
    let log = gateway.log().join("\n");
    let audit = std::fs::read_to_string(gateway.folder().join("audit.jsonl"))?;
    for kept in [&log, &audit] {
        assert!(!kept.contains(&token[30..]), "the token was written down");
    }
    let consent = audit
        .lines()
        .find(|line| line.contains("personal token “nightly"));
    assert!(
        consent.is_some_and(|line| line.contains("\"consent\"")),
        "{audit}"
    );
    assert_eq!(
        audit.matches("personal token “nightly").count(),
        1,
        "{audit}"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_without_name_or_tools_is_not_made_and_what_was_typed_stays() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let (mut browser, _) = at_tokens(gateway, &fixture.owner).await?;
    for (name, tools, problem) in [
        (" \u{202e} ", &["look"][..], "give it a name"),
        ("ci", &[][..], "no tool is ticked"),
    ] {
        let form = form(&mut browser, gateway, name, tools).await?;
        let page = browser.submit(&form).await?;
        assert!(page.words().contains(problem), "{}", page.words());
        assert_eq!(shown(&page), None);
        let again = page.form_with_button("Make the token")?;
        assert_eq!(again.value("tools"), Some("chosen"));
    }
    // A form of another site, and one that nobody was shown.
    let mut forged = form(&mut browser, gateway, "ci", &["look"]).await?;
    forged.set("shown", "");
    assert_eq!(browser.submit(&forged).await?.reply.status, 403);
    let mut unknown = form(&mut browser, gateway, "ci", &["look"]).await?;
    unknown.set("backend", "other");
    let page = browser.submit(&unknown).await?;
    assert_eq!(
        page.location().context("no redirect")?.path(),
        "/account/tokens"
    );
    let page = browser.visit(&url(gateway, "/account/tokens")).await?;
    assert!(page.words().contains("You have no token now"));
    Ok(())
}

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
    let rate = async |work: bool| -> Result<(u64, u64)> {
        let (before, start) = (asked().await?, Instant::now());
        let mut calls = 0;
        while start.elapsed() < Duration::from_secs(4) {
            if work {
                for gateway in [&fixture.gateway, &replica] {
                    assert_eq!(at(gateway).await?, 200);
                    calls += 1;
                }
            } else {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok((asked().await? - before, calls))
    };
    let (idle, _) = rate(false).await?;
    let (busy, calls) = rate(true).await?;
    assert!(calls > 200, "{calls}");
    assert!(busy <= idle + 20, "idle {idle}, busy {busy}, calls {calls}");

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
            assert!(start.elapsed() < Duration::from_secs(1), "still taken");
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
        assert_eq!(last_reason(gateway), reason);
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

/// What a command prints that needs no gateway.
async fn command_offline(words: &[&str], input: &str) -> Result<String> {
    let binary = tests::program::binary("gateway");
    let (code, out, errors) = tests::program::run(&binary, words, input).await?;
    anyhow::ensure!(code == 0, "{words:?}: {errors}");
    Ok(out.trim().to_owned())
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
            assert_eq!(last_reason(gateway), "token_in_url");
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
async fn whoever_finds_a_token_learns_whose_it_is_and_ends_it() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let (leaked, other) = (
        create(gateway, &["--read-only"]).await?,
        create(gateway, &["--read-only"]).await?,
    );
    let text = format!("# .env\nMCP_TOKEN={leaked}\nOTHER=cupgw_nothing\n");
    let found = done(gateway, &["token", "find"], &text).await?;
    assert!(
        found.out.contains("nightly") && found.out.contains("alice"),
        "{}",
        found.out
    );
    assert!(!found.out.contains(&leaked[30..]));
    let inspected = command_offline(&["token", "inspect"], &leaked).await?;
    assert!(inspected.contains("grant(\"g_"), "{inspected}");
    // No app is needed to end it (and none could be named).
    let reply = http::post_form(&gateway.url("/revoke"), &[("token", &leaked)]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(status(gateway, &leaked).await?, 401);
    assert_eq!(status(gateway, &other).await?, 200);
    let found = done(gateway, &["token", "find"], &text).await?;
    assert!(found.out.contains("does not count"), "{}", found.out);
    let revoked = done(gateway, &["token", "revoke", "--token", &other], "").await?;
    assert!(
        revoked.out.contains("personal token of the grant"),
        "{}",
        revoked.out
    );
    assert_eq!(status(gateway, &other).await?, 401);
    let none = command(gateway, &["token", "find"], "nothing here").await?;
    assert_eq!(none.code, 1);
    Ok(())
}

#[tokio::test]
async fn the_operator_sets_the_ceiling_and_switches_them_off() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[tokens]\npersonal_max = \"7d\"\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let long = command(
        gateway,
        &[
            "token",
            "create",
            "--user",
            "alice",
            "--name",
            "x",
            "--everything",
            "--for",
            "8d",
        ],
        "",
    )
    .await?;
    assert_eq!(long.code, 64, "{long:?}");
    assert!(long.errors.contains("7 days at most"), "{}", long.errors);
    let token = create(gateway, &["--everything", "--for", "7d"]).await?;
    let (mut browser, _) = at_tokens(gateway, &fixture.owner).await?;
    let offered = browser.visit(&url(gateway, "/account/tokens/new")).await?;
    let offered = offered.form_with_button("Make the token")?;
    let ends: Vec<_> = offered
        .radios
        .iter()
        .filter(|(name, _)| name == "days")
        .collect();
    assert_eq!(ends, [&("days".to_owned(), "7".to_owned())]);
    assert_eq!(status(gateway, &token).await?, 200);

    let setup = fixture.gateway.setup();
    setup.more = "[tokens]\npersonal = false\n".to_owned();
    fixture.gateway.restart().await?;
    let gateway = &fixture.gateway;
    assert_eq!(status(gateway, &token).await?, 401);
    assert_eq!(last_reason(gateway), "personal_tokens_off");
    let none = command(
        gateway,
        &[
            "token",
            "create",
            "--user",
            "alice",
            "--name",
            "x",
            "--everything",
        ],
        "",
    )
    .await?;
    assert!(
        none.code != 0 && none.errors.contains("switched off"),
        "{none:?}"
    );
    let reply = exchange(gateway, &token, &[]).await?;
    assert_eq!(reply.error(), "unsupported_grant_type");
    let page = browser.visit(&url(gateway, "/account/tokens")).await?;
    assert!(page.words().contains("switched off"), "{}", page.words());
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

#[tokio::test]
async fn of_several_backends_a_token_is_for_one() -> Result<()> {
    let first = tests::recorder::Recorder::start(tests::scripted_mcp::answer).await?;
    let second = tests::recorder::Recorder::start(tests::scripted_mcp::answer).await?;
    let setup = Setup::default().mounted("main", "/", &first.url()).mounted(
        "a & b",
        "/other",
        &second.url(),
    );
    let gateway = Gateway::start(setup).await?;
    let (mut browser, page) = at_tokens(&gateway, &Owner::alice()).await?;
    assert!(
        page.words().contains("For which backend?"),
        "{}",
        page.words()
    );
    let new = browser
        .visit(&url(&gateway, "/account/tokens/new?backend=a+%26+b"))
        .await?;
    let mut form = new.form_with_button("Make the token")?;
    form.set("name", "x");
    let made = browser.submit(&form.press("Make the token")?).await?;
    let token = shown(&made).with_context(|| made.words())?;
    let there = send(&gateway.url("/other/mcp"), &token, &initialize()).await?;
    assert_eq!(there.status, 200);
    assert_eq!(status(&gateway, &token).await?, 401, "at the other one");
    let unnamed = command(
        &gateway,
        &[
            "token",
            "create",
            "--user",
            "alice",
            "--name",
            "x",
            "--read-only",
        ],
        "",
    )
    .await?;
    assert!(unnamed.errors.contains("--backend"), "{unnamed:?}");
    Ok(())
}

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
