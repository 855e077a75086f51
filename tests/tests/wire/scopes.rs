//! Scopes that the configuration names: what is granted, what is refused and with which challenge,
//! what lists show, and what becomes of tokens when a table appears or goes.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::{Browser, Form, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http::{self, Reply};
use tests::mcp::{LegacySession, call, message, post_stateless, response, send, stateless_message};
use tests::oauth::{Authorization, OAuthClient};

/// `erase` is in a scope of its own that includes reading; `resources/*` in a third; prompts in none.
const SCOPES: &str = r#"
[scope.read]
words = "Look things up"
read_only = true
default = true

[scope.erase]
words = "Delete things for good"
tools = ["er*"]
includes = ["read"]

[scope.files]
words = "Open files"
methods = ["resources/*"]
"#;

async fn fixture() -> Result<Fixture> {
    Fixture::with(StoreKind::Embedded, |setup| setup.more(SCOPES)).await
}

fn asking(client: &OAuthClient, scope: Option<&str>) -> Authorization {
    let request = client.authorization();
    match scope {
        Some(scope) => request.with("scope", scope),
        None => request.without("scope"),
    }
}

/// The consent page of a request, and the browser that sees it.
async fn at_consent(fixture: &Fixture, request: &Authorization) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let page = browser.visit(&request.url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    Ok((browser, page))
}

/// The answer of `/token` after the person allowed everything that is offered.
async fn granted(fixture: &Fixture, scope: Option<&str>, tools: &str) -> Result<Value> {
    let client = fixture.client("A client").await?;
    let request = asking(&client, scope);
    let choose = |form: &mut Form| form.choose("tools", tools);
    let reply = client
        .connect_choosing(&mut Browser::default(), &request, &fixture.owner, choose)
        .await?;
    Ok(reply.json())
}

async fn token(fixture: &Fixture, scope: &str) -> Result<String> {
    let answer = granted(fixture, Some(scope), "all").await?;
    assert_eq!(answer["scope"], scope, "{answer}");
    Ok(answer["access_token"].as_str().context("no token")?.into())
}

async fn asked(fixture: &Fixture, token: &str, body: &Value) -> Result<Reply> {
    send(&fixture.url("/mcp"), token, body).await
}

fn tool(name: &str) -> Value {
    call(1, name, &json!({"a": 1}))
}

/// The scope of the one challenge of a refusal.
fn challenged(fixture: &Fixture, reply: &Reply) -> String {
    assert_eq!(reply.status, 403, "{}", reply.text);
    let challenges: Vec<&String> = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .map(|(_, value)| value)
        .collect();
    let [challenge] = challenges[..] else {
        panic!("{challenges:?}");
    };
    let metadata = fixture.url("/.well-known/oauth-protected-resource/mcp");
    let expected = format!("resource_metadata=\"{metadata}\"");
    assert!(challenge.contains(&expected), "{challenge}");
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert_eq!(reply.json()["reason"], "scope_insufficient");
    scope_of(challenge)
}

fn scope_of(challenge: &str) -> String {
    let (_, rest) = challenge.split_once("scope=\"").unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

fn calls(fixture: &Fixture) -> Vec<String> {
    let requests = fixture.backend.marked("tools/call");
    let name = |request: &tests::recorder::Recorded| request.json()["params"]["name"].to_string();
    requests.iter().map(name).collect()
}

async fn listed(fixture: &Fixture, token: &str) -> Result<Vec<String>> {
    let reply = asked(fixture, token, &message(5, "tools/list", &json!({}))).await?;
    let answer = response(&reply)?;
    let tools = answer["result"]["tools"].as_array().cloned();
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    Ok(tools.unwrap_or_default().iter().map(name).collect())
}

#[tokio::test]
async fn metadata_lists_every_scope_and_the_first_challenge_names_the_defaults() -> Result<()> {
    let fixture = fixture().await?;
    let all = json!(["erase", "files", "read"]);
    let server = http::get(&fixture.url("/.well-known/oauth-authorization-server")).await?;
    assert_eq!(server.json()["scopes_supported"], all);
    let resource = http::get(&fixture.url("/.well-known/oauth-protected-resource/mcp")).await?;
    assert_eq!(resource.json()["scopes_supported"], all);
    let refused = http::get(&fixture.url("/mcp")).await?;
    assert_eq!(refused.status, 401);
    assert_eq!(scope_of(refused.header("www-authenticate")), "read");
    Ok(())
}

#[tokio::test]
async fn consent_says_the_asked_scopes_in_words_and_offers_only_tools_that_they_cover() -> Result<()>
{
    let fixture = fixture().await?;
    let client = fixture.client("A client").await?;
    let offered = |page: &Page| {
        let html = &page.reply.text;
        let is_there = |tool: &&str| html.contains(&format!("name=\"tool\" value=\"{tool}\""));
        let tools = ["echo", "look", "erase"];
        tools.into_iter().filter(is_there).collect::<Vec<_>>()
    };
    for (scope, tools, words, others) in [
        (
            None,
            &["echo", "look"][..],
            &["Look things up"][..],
            &["Delete things", "Open files"][..],
        ),
        (
            Some("erase"),
            &["echo", "look", "erase"],
            &["Delete things for good"],
            &["Open files"],
        ),
        (
            Some("files read openid"),
            &["echo", "look"],
            &["Open files", "Look things up"],
            &["Delete things"],
        ),
        (Some("files"), &[], &["Open files"], &["Look things up"]),
        // What there was before the table is no longer asked for.
        (
            Some("mcp"),
            &["echo", "look"],
            &["Look things up"],
            &["Delete things"],
        ),
    ] {
        let (_, page) = at_consent(&fixture, &asking(&client, scope)).await?;
        assert_eq!(offered(&page), tools, "{scope:?}");
        let text = page.words();
        for words in words {
            assert!(text.contains(words), "{scope:?}: {words}\n{text}");
        }
        for others in others {
            assert!(!text.contains(others), "{scope:?}: {others}\n{text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_form_that_ticks_a_tool_of_another_scope_is_granted_none_of_it() -> Result<()> {
    let fixture = fixture().await?;
    let client = fixture.client("A client").await?;
    let request = asking(&client, Some("read"));
    let choose = |form: &mut Form| {
        form.choose("tools", "chosen")?;
        form.fields.push(("tool".into(), "erase".into()));
        Ok(())
    };
    let reply = client
        .connect_choosing(&mut Browser::default(), &request, &fixture.owner, choose)
        .await?;
    let token = reply.json()["access_token"].as_str().map(str::to_owned);
    let token = token.with_context(|| reply.text.clone())?;
    let refused = asked(&fixture, &token, &tool("erase")).await?;
    assert_eq!(challenged(&fixture, &refused), "erase read");
    assert_eq!(calls(&fixture), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_call_outside_of_the_scope_is_403_and_one_challenge_names_all_that_is_needed()
-> Result<()> {
    let fixture = fixture().await?;
    let reading = token(&fixture, "read").await?;
    assert_eq!(asked(&fixture, &reading, &tool("look")).await?.status, 200);
    let refused = asked(&fixture, &reading, &tool("erase")).await?;
    assert_eq!(challenged(&fixture, &refused), "erase read");
    let read = message(1, "resources/read", &json!({"uri": "file:///a"}));
    let refused = asked(&fixture, &reading, &read).await?;
    assert_eq!(challenged(&fixture, &refused), "files read");
    // What no scope covers is not there, and asking for more would not help.
    let prompts = message(1, "prompts/get", &json!({"name": "a"}));
    let answer = response(&asked(&fixture, &reading, &prompts).await?)?;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    // A batch needs what all of its calls need.
    let mut batch = json!([tool("look"), tool("erase"), read]);
    for (id, message) in batch.as_array_mut().into_iter().flatten().enumerate() {
        message["id"] = id.into();
    }
    let reply = http::send(
        http::client()
            .post(fixture.url("/mcp"))
            .bearer_auth(&reading)
            .header("Accept", "application/json, text/event-stream")
            .header("MCP-Protocol-Version", "2025-03-26")
            .json(&batch),
    )
    .await?;
    assert_eq!(challenged(&fixture, &reply), "erase files read");
    assert_eq!(calls(&fixture), ["\"look\""]);
    // Whoever asks for what the challenge named can do all of it, and what it could before.
    let more = token(&fixture, "erase files read").await?;
    for body in [tool("look"), tool("erase"), read] {
        let reply = asked(&fixture, &more, &body).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    let erasing = token(&fixture, "erase").await?;
    assert_eq!(asked(&fixture, &erasing, &tool("look")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_other_transport_and_the_stateless_revision_are_refused_alike() -> Result<()> {
    let fixture = fixture().await?;
    let client = fixture.client("A client").await?;
    let request = client
        .authorization_for(&fixture.url("/sse"))
        .with("scope", "read");
    let answer = client.connect_by(&request, &fixture.owner).await?;
    let reading = answer["access_token"].as_str().context("no token")?;
    let session = LegacySession::open(&fixture.url("/sse"), reading).await?;
    let refused = session.post(&tool("erase")).await?;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert_eq!(scope_of(refused.header("www-authenticate")), "erase read");
    let body = stateless_message(1, "tools/call", &tool("erase")["params"]);
    let reply = http::send(post_stateless(&fixture.url("/mcp"), reading, &body)).await?;
    assert_eq!(challenged(&fixture, &reply), "erase read");
    assert_eq!(calls(&fixture), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_list_shows_what_another_scope_would_cover_and_hides_what_none_does() -> Result<()> {
    let fixture = fixture().await?;
    let reading = token(&fixture, "read").await?;
    assert_eq!(listed(&fixture, &reading).await?, ["echo", "look", "erase"]);
    // What the person left out of a scope that was granted is not shown.
    let client = fixture.client("A client").await?;
    let chosen = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    assert_eq!(listed(&fixture, &chosen).await?, ["look", "erase"]);

    let only = "[scope.look]\nwords = \"Look\"\ntools = [\"look\"]\n";
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(only)).await?;
    let looking = token(&fixture, "look").await?;
    assert_eq!(listed(&fixture, &looking).await?, ["look"]);
    let answer = response(&asked(&fixture, &looking, &tool("erase")).await?)?;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(answer["result"]["_meta"]["reason"], "tool_in_no_scope");
    assert_eq!(calls(&fixture), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_narrowed_token_is_not_told_to_ask_for_what_it_was_narrowed_away_from() -> Result<()> {
    let fixture = fixture().await?;
    let reading = token(&fixture, "read").await?;
    let narrow = ["token", "narrow", "--tool", "look"];
    let gateway = tests::program::binary("gateway");
    let (code, narrowed, errors) = tests::program::run(&gateway, &narrow, &reading).await?;
    assert_eq!(code, 0, "{errors}");
    let narrowed = narrowed.trim();
    assert_eq!(listed(&fixture, narrowed).await?, ["look"]);
    let answer = response(&asked(&fixture, narrowed, &tool("erase")).await?)?;
    assert_eq!(answer["result"]["_meta"]["reason"], "token_narrowed");
    Ok(())
}

#[tokio::test]
async fn tokens_and_grants_of_before_the_table_keep_their_power_and_new_ones_follow_it()
-> Result<()> {
    let refresh = "[tokens]\nrefresh = true\n";
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(refresh)).await?;
    let client = fixture.client("A client").await?;
    let request = client.authorization();
    let callback = {
        let (mut browser, page) = at_consent(&fixture, &request).await?;
        let mut form = page.form_with_button("Allow")?.press("Allow")?;
        form.choose("tools", "all")?;
        let page = browser.submit(&form).await?;
        let last = browser.settle(page).await?;
        let url = last.location().with_context(|| last.words())?;
        tests::oauth::Callback { url }
    };
    let reply = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    let before = reply.json();
    assert_eq!(before["scope"], "mcp");
    let old = before["access_token"]
        .as_str()
        .context("no token")?
        .to_owned();

    fixture.gateway.setup().more += SCOPES;
    fixture.gateway.restart().await?;
    let everything = [
        tool("look"),
        tool("erase"),
        message(1, "prompts/list", &json!({})),
    ];
    for body in &everything {
        assert_eq!(asked(&fixture, &old, body).await?.status, 200);
    }
    let renewed = client
        .refresh(before["refresh_token"].as_str().context("no token")?)
        .await?
        .json();
    assert_eq!(renewed["scope"], "mcp", "{renewed}");
    let renewed_token = renewed["access_token"].as_str().context("no token")?;
    for body in &everything {
        assert_eq!(asked(&fixture, renewed_token, body).await?.status, 200);
    }
    // A client that still asks for `mcp` starts with the defaults.
    let new = granted(&fixture, Some("mcp offline_access"), "all").await?;
    assert_eq!(new["scope"], "offline_access read", "{new}");
    let new_token = new["access_token"].as_str().context("no token")?.to_owned();
    let refused = asked(&fixture, &new_token, &tool("erase")).await?;
    assert_eq!(challenged(&fixture, &refused), "erase read");
    let refresh_token = new["refresh_token"].as_str().context("no token")?;
    let fields = [
        client.refresh_request(refresh_token),
        vec![("scope".into(), "erase".into())],
    ];
    let wider = client.token(&fields.concat()).await?;
    assert!(wider.status == 400, "{}", wider.text);

    // Without the table again, what it had granted means nothing, and the client is told what to do.
    let setup: &mut Setup = fixture.gateway.setup();
    setup.more = setup.more.replace(SCOPES, "");
    fixture.gateway.restart().await?;
    let refused = asked(&fixture, &new_token, &tool("look")).await?;
    assert_eq!(challenged(&fixture, &refused), "mcp");
    assert_eq!(asked(&fixture, &old, &tool("erase")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_start_tells_of_scopes_and_tools_that_miss_each_other() -> Result<()> {
    let scopes = "[scope.look]\nwords = \"Look\"\ntools = [\"look\", \"lok\", \"x*\", \"ec*\"]\n";
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(scopes)).await?;
    fixture
        .gateway
        .prints(|line| line.contains("the tool x*"))
        .await?;
    let printed = fixture.gateway.printed().join("\n");
    for line in [
        "! scopes     no scope covers erase of main: nobody can be granted them",
        "! scopes     scope look names the tool lok, which no backend has",
        "! scopes     scope look names the tool x*, which no backend has",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
    assert_eq!(printed.matches("! scopes").count(), 3, "{printed}");
    Ok(())
}

#[tokio::test]
async fn an_app_that_is_told_to_connect_again_is_told_to_ask_for_what_it_has() -> Result<()> {
    let fixture = fixture().await?;
    let answer = granted(&fixture, Some("erase"), "read").await?;
    let token = answer["access_token"].as_str().context("no token")?;
    let answer = response(&asked(&fixture, token, &tool("erase")).await?)?;
    let meta = &answer["result"]["_meta"];
    assert_eq!(meta["reason"], "tool_not_allowed", "{answer}");
    let challenge = meta["mcp/www_authenticate"][0].as_str();
    assert_eq!(scope_of(challenge.unwrap_or_default()), "erase", "{answer}");
    Ok(())
}
