//! Several servers at one address: what each offers under its name, calls that reach the one that they are
//! for and no other, and everything that is decided about them as if they had been sent there.

mod answers;
mod asked;
mod changes;
mod compact;
mod decided;
mod refused;
mod routed;
mod unsure;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession};
use tests::oauth::OAuthClient;
use tests::program::workspace;
use tests::recorder::{Answer, Recorded, Recorder};
use tests::{scripted_mcp, scripted_revisions};

/// Servers of each kind behind one gateway: `notes` has sessions, `mail` is stateless, `old` is of HTTP+SSE,
/// `program` is one on stdin and stdout. All of them are `all`, at `/`.
struct World {
    gateway: Gateway,
    notes: Recorder,
    mail: Recorder,
    old: Recorder,
    client: OAuthClient,
    /// For all of them.
    token: String,
}

/// What a member with sessions has beside its tools.
fn notes(request: &Recorded) -> Answer {
    let message = request.json();
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "resources": {}, "completions": {}, "logging": {}},
            "serverInfo": {"name": "notes", "version": "1"},
            "instructions": "Keep it short.",
        }),
        "prompts/list" => json!({"prompts": [{"name": "sum_up"}]}),
        "prompts/get" => {
            json!({"messages": [], "description": message["params"]["name"]})
        }
        "resources/list" => {
            json!({"resources": [{"uri": "notes://1", "name": "one"}, {"uri": "both://1", "name": "of notes"}]})
        }
        "resources/templates/list" => {
            json!({"resourceTemplates": [{"uriTemplate": "notes://{id}", "name": "any"}]})
        }
        "resources/read" => {
            json!({"contents": [{"uri": message["params"]["uri"], "text": "of notes"}]})
        }
        "completion/complete" => {
            json!({"completion": {"values": [message["params"]["ref"].to_string()]}})
        }
        _ => return scripted_revisions::sessions(request),
    };
    let is_begun = message["method"] == "initialize"
        || request.header("mcp-session-id") == Some(scripted_mcp::SESSION);
    if !is_begun || request.method != "POST" {
        return scripted_revisions::sessions(request);
    }
    let answer = Answer::json(
        200,
        &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
    );
    if message["method"] == "initialize" {
        answer.with("Mcp-Session-Id", scripted_mcp::SESSION)
    } else {
        answer
    }
}

/// The tables of a server on stdin and stdout and of all four together.
fn together(members: &str) -> String {
    let server = workspace().join("mcp-backend/tests/end_to_end/bridge/server.py");
    format!(
        "\n[[backend]]\nname = \"program\"\npath = \"/program\"\nstdio = [\"python3\", {:?}, \"sessions\"]\n\
         \n[[backend]]\nname = \"all\"\npath = \"/\"\nmembers = {members}\n",
        server.display().to_string()
    )
}

impl World {
    async fn start() -> Result<Self> {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Result<Self> {
        let notes = Recorder::start(notes).await?;
        let mail = Recorder::start(scripted_revisions::stateless).await?;
        let old = Recorder::start(scripted_revisions::http_sse).await?;
        let setup = setup
            .mounted("notes", "/notes", &notes.url())
            .mounted("mail", "/mail", &mail.url())
            .mounted("old", "/old", &old.url())
            .more(&together(r#"["notes", "mail", "old", "program"]"#));
        let gateway = Gateway::start(setup).await?;
        let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
        let token = client.sign_in(&Owner::alice()).await?;
        let world = World {
            gateway,
            notes,
            mail,
            old,
            client,
            token,
        };
        for known in ["notes", "mail", "old", "program"] {
            let known = format!("\"backend\":\"{known}\"");
            world
                .said(|line| line.contains("\"eras_known\"") && line.contains(&known))
                .await?;
        }
        Ok(world)
    }

    /// Waits for a line of the log.
    async fn said(&self, found: impl Fn(&str) -> bool) -> Result<()> {
        let line = |log: &[String]| log.iter().any(|line| found(line)).then_some(());
        self.gateway.eventually_logged(line).await
    }

    /// A request of 2026-07-28 to all.
    async fn ask(&self, token: &str, method: &str, params: Value) -> Result<Reply> {
        let body = mcp::stateless_message(1, method, &params);
        http::send(mcp::post_stateless(&self.gateway.url("/mcp"), token, &body)).await
    }

    /// The result of one.
    async fn result(&self, method: &str, params: Value) -> Result<Value> {
        let reply = self.ask(&self.token, method, params).await?;
        let answer = mcp::response(&reply)?;
        let result = answer.get("result").cloned();
        result.with_context(|| answer.to_string())
    }

    /// The names of the tools that all list to the holder of a token.
    async fn tools(&self, token: &str) -> Result<Vec<String>> {
        let reply = self.ask(token, "tools/list", json!({})).await?;
        Ok(names(&mcp::response(&reply)?["result"]["tools"]))
    }

    /// A call of a tool by a client of 2025, in a session.
    async fn in_session(&self, session: &str, body: &Value) -> Result<Value> {
        let request = mcp::post(&self.gateway.url("/mcp"), &self.token, body);
        mcp::response(&http::send(request.header("Mcp-Session-Id", session)).await?)
    }
}

fn names(tools: &Value) -> Vec<String> {
    let tools = tools.as_array().into_iter().flatten();
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    tools.map(name).collect()
}

/// What arrived of a method, but for the gateway's own questions.
fn arrived(member: &Recorder, method: &str) -> Vec<Recorded> {
    let requests = member.requests().into_iter();
    let of_somebody = requests.filter(|request| request.header("x-forwarded-grant").is_some());
    of_somebody
        .filter(|request| request.json()["method"] == method)
        .collect()
}

#[tokio::test]
async fn each_member_is_listed_and_called_under_its_name_whatever_it_and_the_client_speak()
-> Result<()> {
    let world = World::start().await?;
    let tools = world.tools(&world.token).await?;
    for tool in [
        "notes_echo",
        "notes_erase",
        "mail_mirrored",
        "old_echo",
        "program_echo",
    ] {
        assert!(tools.iter().any(|name| name == tool), "{tool} in {tools:?}");
    }
    assert!(tools.iter().all(|name| name.contains('_')), "{tools:?}");

    // 2026-07-28
    let arguments = json!({"é": [1, 2.5]});
    for tool in ["notes_echo", "old_echo", "program_echo"] {
        let params = json!({"name": tool, "arguments": arguments});
        let result = world.result("tools/call", params).await?;
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(serde_json::from_str::<Value>(text)?, arguments, "{tool}");
    }
    let body = mcp::stateless_message(
        1,
        "tools/call",
        &json!({"name": "mail_mirrored", "arguments": {"q": "é"}}),
    );
    let request = mcp::post_stateless(&world.gateway.url("/mcp"), &world.token, &body);
    let reply = http::send(request.header("Mcp-Param-Q", "é")).await?;
    assert!(reply.text.contains("mirrored"), "{}", reply.text);
    let call = &arrived(&world.mail, "tools/call")[0];
    assert_eq!(call.header("mcp-name"), Some("mirrored"));
    assert_eq!(call.json()["params"]["name"], "mirrored");
    assert_eq!(
        arrived(&world.notes, "tools/call")[0].json()["params"]["name"],
        "echo"
    );
    assert_eq!(
        arrived(&world.notes, "tools/call").len(),
        1,
        "and no other's"
    );

    // 2025
    let session = mcp::open_session(&world.gateway.url("/mcp"), &world.token).await?;
    let list = mcp::message(1, "tools/list", &json!({}));
    let listed = world.in_session(&session, &list).await?;
    assert_eq!(names(&listed["result"]["tools"]), tools);
    let tools = ["notes_echo", "mail_anything", "old_echo", "program_echo"];
    for (id, tool) in (10..).zip(tools) {
        let answer = world
            .in_session(&session, &mcp::call(id, tool, &arguments))
            .await?;
        let text = answer["result"]["content"][0]["text"].to_string();
        assert!(text.contains("2.5"), "{tool}: {answer}");
    }
    let mirrored = mcp::call(3, "mail_mirrored", &json!({"q": "x"}));
    let answer = world.in_session(&session, &mirrored).await?;
    assert!(answer["result"].is_object(), "{answer}");

    // 2024-11-05
    let mut legacy = LegacySession::open(&world.gateway.url("/sse"), &world.token).await?;
    legacy.request(&mcp::initialize()).await?;
    let answer = legacy
        .request(&mcp::call(4, "old_echo", &arguments))
        .await?;
    assert!(answer["result"].is_object(), "{answer}");
    Ok(())
}

#[tokio::test]
async fn all_together_say_who_they_are_and_what_any_of_them_can_do() -> Result<()> {
    let world = World::start().await?;
    let discovered = world.result("server/discover", json!({})).await?;
    assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(
        discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "all"
    );
    let instructions = discovered["instructions"].as_str().unwrap_or_default();
    assert!(
        instructions.contains("notes: Keep it short."),
        "{discovered}"
    );
    assert!(instructions.contains("mail: Ask."), "{discovered}");
    for capability in ["tools", "prompts", "resources", "completions"] {
        assert!(
            discovered["capabilities"][capability].is_object(),
            "{discovered}"
        );
    }
    let hello = mcp::send(&world.gateway.url("/mcp"), &world.token, &mcp::initialize()).await?;
    assert_eq!(hello.json()["result"]["serverInfo"]["name"], "all");
    Ok(())
}

#[tokio::test]
async fn a_token_for_all_is_none_for_a_member_nor_the_reverse() -> Result<()> {
    let world = World::start().await?;
    let echo = mcp::call(1, "echo", &json!({}));
    let elsewhere = mcp::send(&world.gateway.url("/notes/mcp"), &world.token, &echo).await?;
    assert_eq!(elsewhere.status, 401, "{}", elsewhere.text);
    assert!(elsewhere.header("www-authenticate").contains("/notes/mcp"));
    let resource = world.gateway.url("/notes/mcp");
    let member = world.client.sign_in_for(&Owner::alice(), &resource).await?;
    let own = mcp::send(&resource, &member, &mcp::initialize()).await?;
    assert_eq!(own.status, 200, "{}", own.text);
    let all = world.ask(&member, "tools/list", json!({})).await?;
    assert_eq!(all.status, 401, "{}", all.text);
    let session = mcp::open_session(&resource, &member).await?;
    let request = mcp::post(&world.gateway.url("/mcp"), &world.token, &echo);
    let crossed = http::send(request.header("Mcp-Session-Id", session)).await?;
    assert_eq!(crossed.status, 404, "{}", crossed.text);
    Ok(())
}
