//! What is decided about calls: consent, pins, policy, narrowing and audit speak of the member and of its own
//! names.

use anyhow::{Context, Result};
use biscuit_auth::UnverifiedBiscuit;
use biscuit_auth::builder::BlockBuilder;
use serde_json::{Value, json};
use tests::browser::{Browser, Form};
use tests::gateway::{Owner, Setup};
use tests::mcp;
use tests::recorder::Answer;
use tests::{own_accounts, scripted_mcp, scripted_revisions};

use super::{World, arrived};

async fn choosing(world: &World, choose: impl FnOnce(&mut Form) -> Result<()>) -> Result<String> {
    world.client.sign_in_choosing(&Owner::alice(), choose).await
}

/// Whether a call of a tool is let through.
async fn reaches(world: &World, token: &str, tool: &str) -> Result<bool> {
    let reply = world
        .ask(token, "tools/call", json!({"name": tool, "arguments": {}}))
        .await?;
    Ok(reply.status == 200
        && reply.json()["result"]["content"].is_array()
        && reply.json()["result"]["isError"] != true)
}

#[tokio::test]
async fn consent_is_for_the_tools_that_were_shown_under_their_members() -> Result<()> {
    let world = World::start().await?;
    let token = choosing(&world, |form| {
        form.choose_tools(&["notes_look", "old_echo"])
    })
    .await?;
    let mut tools = world.tools(&token).await?;
    tools.sort();
    assert_eq!(tools, ["notes_look", "old_echo"]);
    assert!(reaches(&world, &token, "notes_look").await?);
    assert!(reaches(&world, &token, "old_echo").await?);
    world.notes.take_requests();
    for other in [
        "notes_echo",
        "notes_erase",
        "old_look",
        "program_echo",
        "mail_mirrored",
    ] {
        assert!(!reaches(&world, &token, other).await?, "{other}");
    }
    assert!(arrived(&world.notes, "tools/call").is_empty());

    // A tool that is another now is not the one that was allowed.
    world.notes.play(|request| {
        let message = request.json();
        if message["method"] == "tools/list" && request.method == "POST" {
            let mut list = scripted_mcp::reply(&message);
            list["result"]["tools"][1]["description"] = json!("Read everything");
            return Answer::json(200, &list);
        }
        super::notes(request)
    });
    let tools = world.tools(&token).await?;
    assert_eq!(tools, ["old_echo"]);
    assert!(!reaches(&world, &token, "notes_look").await?);
    assert!(reaches(&world, &token, "old_echo").await?);
    Ok(())
}

#[tokio::test]
async fn each_member_has_its_own_choice_on_the_consent_page() -> Result<()> {
    let world = World::start().await?;
    let mut browser = Browser::default();
    let page = browser.visit(&world.client.authorization().url()).await?;
    let page = browser
        .log_in(&page, "alice", &Owner::alice().password)
        .await?;
    let words = page.words();
    assert!(
        words.contains("notes : Read") || words.contains("notes: Read"),
        "{words}"
    );
    let token = choosing(&world, |form| {
        form.choose("tools", "members")?;
        form.fields.retain(|(name, _)| name != "member");
        for choice in ["notes_ read", "mail_ none", "old_ today", "program_ none"] {
            form.fields.push(("member".into(), choice.into()));
        }
        Ok(())
    })
    .await?;
    let mut tools = world.tools(&token).await?;
    tools.sort();
    assert_eq!(
        tools,
        [
            "notes_echo",
            "notes_look",
            "old_echo",
            "old_erase",
            "old_look"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn the_policy_is_asked_about_the_member_and_its_own_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    let policy =
        "deny if backend(\"notes\"), tool(\"erase\");\ndeny if backend(\"all\");\nallow if true;\n";
    std::fs::write(&file, policy)?;
    let setup = Setup::default().more(&format!(
        "[policy]\nfile = \"{}\"\n[audit]\nfile = \"audit.jsonl\"\n",
        file.display()
    ));
    let world = World::with(setup).await?;
    assert!(reaches(&world, &world.token, "notes_echo").await?);
    assert!(!reaches(&world, &world.token, "notes_erase").await?);
    assert!(reaches(&world, &world.token, "old_erase").await?);
    let tools = world.tools(&world.token).await?;
    assert!(!tools.contains(&"notes_erase".to_owned()), "{tools:?}");
    assert!(tools.contains(&"old_erase".to_owned()), "{tools:?}");

    // One record a call, of the member.
    let calls = world.gateway.folder().join("audit-calls.jsonl");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let records = loop {
        let text = std::fs::read_to_string(&calls).unwrap_or_default();
        let records: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let called: Vec<Value> = records
            .into_iter()
            .filter(|record| record["method"] == "tools/call")
            .collect();
        if called.len() >= 3 {
            break called;
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let told: Vec<(&str, &str)> = records
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or_default();
            (text("backend"), text("name"))
        })
        .collect();
    assert_eq!(
        told,
        [("notes", "echo"), ("notes", "erase"), ("old", "erase")]
    );
    Ok(())
}

/// A scope of a member can be had for all together, covers that member's own names, and is asked for at the
/// endpoint of all.
#[tokio::test]
async fn scopes_of_a_member_are_judged_and_asked_for_at_all_together() -> Result<()> {
    let setup = Setup::default().more(
        "[scope.look]\nwords = \"Read\"\nread_only = true\ndefault = true\n\
         [scope.change]\nwords = \"Change notes\"\ntools = [\"e*\"]\nincludes = [\"look\"]\nbackends = [\"notes\"]\n",
    );
    let world = World::with(setup).await?;
    assert!(reaches(&world, &world.token, "notes_look").await?);
    assert!(reaches(&world, &world.token, "old_look").await?);
    let call = |tool: &str| json!({"name": tool, "arguments": {}});
    let refused = world
        .ask(&world.token, "tools/call", call("notes_erase"))
        .await?;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    assert!(challenge.contains("change"), "{challenge}");
    let metadata = "/.well-known/oauth-protected-resource/mcp\"";
    assert!(challenge.contains(metadata), "{challenge}");
    let session = mcp::open_session(&world.gateway.url("/mcp"), &world.token).await?;
    let old = mcp::post(
        &world.gateway.url("/mcp"),
        &world.token,
        &mcp::call(2, "notes_erase", &json!({})),
    );
    let old = tests::http::send(old.header("Mcp-Session-Id", &session)).await?;
    // The same for a client of 2025, which sees no status of a member.
    let result = &mcp::response(&old)?["result"];
    assert_eq!(result["isError"], true, "{}", old.text);
    let within = &result["_meta"]["mcp/www_authenticate"][0];
    assert_eq!(within, challenge);
    let request = world.client.authorization().with("scope", "change");
    let token = world.client.connect_by(&request, &Owner::alice()).await?;
    let token = token["access_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(reaches(&world, &token, "notes_erase").await?);
    assert!(
        !reaches(&world, &token, "old_erase").await?,
        "it is of notes alone"
    );
    Ok(())
}

/// A token that is good for less.
pub(super) fn narrowed(token: &str, block: &str) -> Result<String> {
    let token = UnverifiedBiscuit::from_base64(token).context("a token")?;
    Ok(token
        .append(BlockBuilder::new().code(block)?)?
        .to_base64()?)
}

#[tokio::test]
async fn a_narrowed_token_speaks_of_members_and_their_own_names() -> Result<()> {
    let world = World::start().await?;
    let one = narrowed(&world.token, "check if backend(\"old\")")?;
    assert!(reaches(&world, &one, "old_echo").await?);
    assert!(!reaches(&world, &one, "notes_echo").await?);
    let tools = world.tools(&one).await?;
    assert!(
        tools.iter().all(|name| name.starts_with("old_")),
        "{tools:?}"
    );
    let tool = narrowed(&world.token, "check if tool(\"echo\")")?;
    assert!(reaches(&world, &tool, "notes_echo").await?);
    assert!(!reaches(&world, &tool, "notes_look").await?);
    let elsewhere = narrowed(&world.token, "check if backend(\"other\")")?;
    let refused = world.ask(&elsewhere, "tools/list", json!({})).await?;
    assert_eq!(refused.status, 401, "{}", refused.text);
    Ok(())
}

/// A member that is called with everybody's own account hides nothing of the others, and offers to connect
/// one.
#[tokio::test]
async fn a_member_without_an_account_offers_to_connect_it() -> Result<()> {
    let mine = tests::recorder::Recorder::start(own_accounts::answer).await?;
    let mail = tests::recorder::Recorder::start(scripted_revisions::stateless).await?;
    let table = format!(
        "[[backend]]\nname = \"mine\"\npath = \"/mine\"\nurl = \"{}\"\n{}\n\
         [[backend]]\nname = \"all\"\npath = \"/\"\nmembers = [\"mine\", \"mail\"]\n",
        mine.url(),
        own_accounts::ACCOUNT
    );
    let setup = Setup::default()
        .mounted("mail", "/mail", &mail.url())
        .more(&table);
    let gateway = tests::gateway::Gateway::start(setup).await?;
    let client = tests::oauth::OAuthClient::register(&gateway.origin(), "A test client").await?;
    let owner = Owner::alice();
    let mut browser = Browser::default();
    let request = client.authorization();
    let page = browser.visit(&request.url()).await?;
    let page = browser.log_in(&page, &owner.name, &owner.password).await?;
    assert!(
        page.words().contains("Connect your account"),
        "{}",
        page.words()
    );
    let later = page
        .form_with_button("Go on without")?
        .press("Go on without")?;
    let page = browser.submit(&later).await?;
    let page = browser.settle(page).await?;
    assert!(page.words().contains("not connected"), "{}", page.words());
    let mut form = page.form_with_button("Allow")?.press("Allow")?;
    form.choose("tools", "all")?;
    let back = browser.submit(&form).await?;
    let back = browser.settle(back).await?;
    let callback = tests::oauth::Callback {
        url: back.location().with_context(|| back.words())?,
    };
    let token = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    let token = token.json()["access_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let ask = async |method: &str, params: Value| -> Result<Value> {
        let body = mcp::stateless_message(1, method, &params);
        let sent = mcp::post_stateless(&gateway.url("/mcp"), &token, &body);
        mcp::response(&tests::http::send(sent).await?)
    };
    let listed = ask("tools/list", json!({})).await?;
    let tools = super::names(&listed["result"]["tools"]);
    assert_eq!(tools, ["mine_gateway_connect_account", "mail_mirrored"]);
    let called = ask(
        "tools/call",
        json!({"name": "mine_whoami", "arguments": {}}),
    )
    .await?;
    let text = called.to_string();
    assert!(text.contains("/connect/link/"), "{called}");
    Ok(())
}
