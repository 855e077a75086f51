//! A limited token beside its tools: questions of the backend are put to the client and answered,
//! what the backend can do is announced as far as the token goes, lists are empty rather than
//! refused, and tasks and user interfaces of chosen tools are within reach. Nothing else is.

mod tasks;

use std::time::Duration;

use anyhow::Result;
use biscuit_auth::UnverifiedBiscuit;
use biscuit_auth::builder::BlockBuilder;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Owner;
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession, call, initialize, message, response, send};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Step};
use tests::scripted_mcp::{self, MCP_STREAM, SESSION, SSE_STREAM};
use tests::sse::EventStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// Allows `look` and what a session needs.
const POLICY: &str = "allow if harmless(true);\nallow if tool(\"look\");\n";

/// Whose token is limited in which way.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Chosen,
    Narrowed,
    Policy,
}

const LIMITS: [Limit; 3] = [Limit::Chosen, Limit::Narrowed, Limit::Policy];

struct Limited {
    fixture: Fixture,
    client: OAuthClient,
    token: String,
    _folder: tempfile::TempDir,
}

impl Limited {
    async fn start(limit: Limit) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.biscuit");
        std::fs::write(&file, POLICY)?;
        let more = match limit {
            Limit::Policy => format!("[policy]\nfile = \"{}\"\n", file.display()),
            Limit::Chosen | Limit::Narrowed => String::new(),
        };
        let fixture = Fixture::with(StoreKind::Embedded, |setup| setup.more(&more)).await?;
        fixture.backend.play(citizen);
        let client = fixture.client("A limited client").await?;
        let token = match limit {
            Limit::Chosen => choosing(&client, &fixture.owner, &["look"]).await?,
            Limit::Narrowed => {
                let token = client.sign_in(&fixture.owner).await?;
                append(&token, "check if tool(\"look\")")?
            }
            Limit::Policy => client.sign_in(&fixture.owner).await?,
        };
        Ok(Self {
            fixture,
            client,
            token,
            _folder: folder,
        })
    }

    fn url(&self) -> String {
        self.fixture.url("/mcp")
    }

    async fn session(&self) -> Result<String> {
        mcp::open_session(&self.url(), &self.token).await
    }

    async fn say(&self, token: &str, session: &str, body: &Value) -> Result<Reply> {
        let request = mcp::post(&self.url(), token, body).header("Mcp-Session-Id", session);
        http::send(request).await
    }

    /// Calls `look` until it asks; the stream, and what it asks.
    async fn asked(&self, session: &str, question: &Value) -> Result<(EventStream, Value)> {
        let called = call(3, "look", &json!({"ask": question}));
        let request =
            mcp::post(&self.url(), &self.token, &called).header("Mcp-Session-Id", session);
        let mut stream = EventStream::open(request).await?;
        let (_, data) = stream.event(PATIENCE).await?;
        Ok((stream, serde_json::from_str(&data)?))
    }

    /// What the backend was answered.
    fn answers(&self) -> Vec<Value> {
        let is_answer = |message: &Value| {
            message.get("method").is_none()
                && (message.get("result").is_some() || message.get("error").is_some())
        };
        let sent = self.fixture.backend.requests();
        sent.iter().map(Recorded::json).filter(is_answer).collect()
    }
}

async fn choosing(client: &OAuthClient, owner: &Owner, tools: &[&str]) -> Result<String> {
    client
        .sign_in_choosing(owner, |form| form.choose_tools(tools))
        .await
}

fn append(token: &str, code: &str) -> Result<String> {
    Ok(UnverifiedBiscuit::from_base64(token)?
        .append(BlockBuilder::new().code(code)?)?
        .to_base64()?)
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

/// A server that can everything: `look` asks what its argument `ask` says and ends with the answer,
/// or begins a task; tools name user interfaces.
fn citizen(request: &Recorded) -> Answer {
    let message = request.json();
    let result = |result: Value| {
        Answer::json(
            200,
            &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
        )
    };
    let params = &message["params"];
    let is_legacy = request.path() == "/messages";
    match message["method"].as_str() {
        _ if request.method != "POST" => scripted_mcp::answer(request),
        Some("initialize") => {
            let hello = json!({
                "protocolVersion": params["protocolVersion"], "serverInfo": {"name": "citizen", "version": "1"},
                "capabilities": {
                    "tools": {"listChanged": true}, "logging": {}, "prompts": {"listChanged": true},
                    "resources": {"subscribe": true}, "completions": {}, "experimental": {"x": {}},
                    "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
                    "extensions": {"io.modelcontextprotocol/ui": {}, "com.example/x": {}},
                },
            });
            let whole = json!({"jsonrpc": "2.0", "id": message["id"], "result": hello});
            if is_legacy {
                Answer::Push(202, SSE_STREAM.into(), event(&whole))
            } else {
                result(hello).with("Mcp-Session-Id", SESSION)
            }
        }
        Some("server/discover") => result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 1, "cacheScope": "public",
            "capabilities": {"tools": {}, "prompts": {}, "completions": {}},
        })),
        Some("tools/list") if !is_legacy => {
            let mut reply = scripted_mcp::reply(&message);
            let tools = &mut reply["result"]["tools"];
            tools[1]["_meta"] = json!({"ui": {"resourceUri": "ui://look/view.html"}});
            tools[2]["_meta"] = json!({"openai/outputTemplate": "ui://erase/view.html"});
            Answer::json(200, &reply)
        }
        Some("tools/call") if params.get("task").is_some() => result(
            json!({"task": {"taskId": format!("task of {}", params["name"]), "status": "working"}}),
        ),
        Some("tools/call") if !params["arguments"]["ask"].is_null() => {
            let question = event(&params["arguments"]["ask"]);
            if is_legacy {
                Answer::Push(202, SSE_STREAM.into(), question)
            } else {
                Answer::events(vec![Step::Send(question), Step::Live("look".into())])
            }
        }
        Some("tasks/get" | "tasks/cancel") => {
            result(json!({"taskId": params["taskId"], "status": "working"}))
        }
        Some("tasks/result") => result(json!({
            "content": [{"type": "text", "text": params["taskId"]}],
        })),
        Some("resources/read") => result(json!({
            "contents": [{"uri": params["uri"], "text": "<p>a resource</p>"}],
        })),
        None if message.get("id").is_some() => {
            let done = json!({"content": [{"type": "text", "text": message.to_string()}]});
            let done = event(&json!({"jsonrpc": "2.0", "id": 3, "result": done}));
            let topic = if is_legacy { SSE_STREAM } else { "look" };
            Answer::Push(202, topic.into(), done)
        }
        _ => scripted_mcp::answer(request),
    }
}

fn question(id: &Value, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"message": "Who?"}})
}

fn answer(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": "Ada"}}})
}

/// The text of the one content of a call's result.
fn said(data: &str) -> Result<Value> {
    let message: Value = serde_json::from_str(data)?;
    let text = message["result"]["content"][0]["text"].as_str();
    Ok(serde_json::from_str(text.unwrap_or_default())?)
}

#[tokio::test]
async fn what_an_allowed_tool_asks_is_answered_whatever_limits_the_token() -> Result<()> {
    for limit in LIMITS {
        let limited = Limited::start(limit).await?;
        let session = limited.session().await?;
        for (id, method) in [
            (json!(7), "elicitation/create"),
            (json!("a~b é"), "sampling/createMessage"),
            (json!(-1), "roots/list"),
            (json!(0), "ping"),
        ] {
            let question = question(&id, method);
            let (mut stream, asked) = limited.asked(&session, &question).await?;
            assert_eq!(asked["method"], method, "{limit:?}");
            assert_eq!(asked["params"], question["params"]);
            let reply = answer(&asked["id"]);
            let reply = limited.say(&limited.token, &session, &reply).await?;
            assert_eq!(reply.status, 202, "{limit:?} {method}: {}", reply.text);
            let (_, data) = stream.event(PATIENCE).await?;
            assert_eq!(said(&data)?, answer(&id), "{limit:?} {method}");
        }
        // Declined by the person, or not known to the client.
        let (mut stream, asked) = limited
            .asked(&session, &question(&json!(8), "elicitation/create"))
            .await?;
        let declined = json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}});
        let reply = limited.say(&limited.token, &session, &declined).await?;
        assert_eq!(reply.status, 202);
        let (_, data) = stream.event(PATIENCE).await?;
        assert_eq!(said(&data)?["id"], 8);
        assert_eq!(limited.answers().len(), 5, "{limit:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_asked_on_the_sessions_own_stream_is_answered_and_its_end_is_told() -> Result<()> {
    let limited = Limited::start(Limit::Chosen).await?;
    let session = limited.session().await?;
    let request = http::client()
        .get(limited.url())
        .bearer_auth(&limited.token)
        .header("Mcp-Session-Id", &session);
    let mut stream = EventStream::open(request).await?;
    let roots = question(&json!(1), "roots/list");
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "reason": "late"}});
    let text = event(&roots) + &event(&cancelled);
    limited.fixture.backend.push(MCP_STREAM, &text);
    let asked: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    let ended: Value = serde_json::from_str(&stream.event(PATIENCE).await?.1)?;
    assert_eq!(asked["method"], "roots/list");
    assert_eq!(ended["params"]["requestId"], asked["id"]);
    assert_eq!(ended["params"]["reason"], "late");
    let reply = answer(&asked["id"]);
    let reply = limited.say(&limited.token, &session, &reply).await?;
    assert_eq!(reply.status, 202);
    assert_eq!(limited.answers(), [answer(&json!(1))]);
    Ok(())
}

#[tokio::test]
async fn over_the_legacy_stream_questions_are_answered_where_they_were_asked() -> Result<()> {
    for limit in LIMITS {
        let limited = Limited::start(limit).await?;
        let url = limited.fixture.url("/sse");
        let mut session = LegacySession::open(&url, &limited.token).await?;
        let hello = session.request(&initialize()).await?;
        if let Limit::Chosen = limit {
            let capabilities = &hello["result"]["capabilities"];
            assert!(capabilities.get("prompts").is_none(), "{hello}");
            let tasks = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
            assert_eq!(capabilities["tasks"], tasks, "{hello}");
            let empty = session
                .request(&message(4, "prompts/list", &json!({})))
                .await?;
            assert_eq!(empty["result"], json!({"prompts": []}));
        }
        let asks = question(&json!(7), "elicitation/create");
        let called = call(3, "look", &json!({"ask": asks}));
        assert_eq!(session.post(&called).await?.status, 202);
        let asked: Value = serde_json::from_str(&session.stream.event(PATIENCE).await?.1)?;
        assert_eq!(asked["method"], "elicitation/create", "{limit:?}");
        // What was never asked there, and an endpoint that nobody was given.
        assert_eq!(session.post(&answer(&json!(7))).await?.status, 202);
        let forged = limited.fixture.url("/messages?session=x");
        let forged = send(&forged, &limited.token, &answer(&asked["id"])).await?;
        assert_eq!(forged.status, 404);
        assert!(limited.answers().is_empty());
        assert_eq!(session.post(&answer(&asked["id"])).await?.status, 202);
        let (_, data) = session.stream.event(PATIENCE).await?;
        assert_eq!(said(&data)?, answer(&json!(7)), "{limit:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_to_what_was_never_asked_of_this_client_here_goes_no_further() -> Result<()> {
    for limit in [Limit::Chosen, Limit::Narrowed] {
        let limited = Limited::start(limit).await?;
        let session = limited.session().await?;
        let (_stream, asked) = limited
            .asked(&session, &question(&json!(7), "sampling/createMessage"))
            .await?;
        let id = asked["id"].as_str().expect("a name of the gateway's own");
        let (encoded, tag) = id.rsplit_once('~').expect("a tag");
        for unasked in [
            json!(7),
            json!("7"),
            json!(1),
            json!(format!("{encoded}~{}", &tag[1..])),
            json!(format!("OA~{tag}")),
            json!(format!("{id}~{tag}")),
        ] {
            let error =
                json!({"jsonrpc": "2.0", "id": unasked, "error": {"code": -1, "message": "x"}});
            for said in [answer(&unasked), error] {
                let reply = limited.say(&limited.token, &session, &said).await?;
                assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{said}");
            }
        }
        let nameless = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -1, "message": "x"}});
        let reply = limited.say(&limited.token, &session, &nameless).await?;
        assert_eq!(reply.status, 202);
        // Without the session, and in no session of another client or person.
        let reply = send(&limited.url(), &limited.token, &answer(&asked["id"])).await?;
        assert_eq!(reply.status, 202);
        let other = limited.fixture.client("Another client").await?;
        let token = choosing(&other, &limited.fixture.owner, &["look"]).await?;
        let theirs = mcp::open_session(&limited.url(), &token).await?;
        let reply = limited.say(&token, &theirs, &answer(&asked["id"])).await?;
        assert_eq!(reply.status, 202);
        let reply = limited.say(&token, &session, &answer(&asked["id"])).await?;
        assert_eq!(reply.status, 404, "the session is another client's");
        assert!(limited.answers().is_empty(), "{:?}", limited.answers());
        // It is still open to whom it was put to.
        let reply = answer(&asked["id"]);
        let reply = limited.say(&limited.token, &session, &reply).await?;
        assert_eq!(reply.status, 202);
        assert_eq!(limited.answers(), [answer(&json!(7))]);
    }
    Ok(())
}

#[tokio::test]
async fn what_honest_clients_say_unasked_never_ends_their_session() -> Result<()> {
    for limit in LIMITS {
        let limited = Limited::start(limit).await?;
        let session = limited.session().await?;
        for (method, is_passed) in [
            ("notifications/initialized", true),
            ("notifications/cancelled", true),
            ("notifications/progress", true),
            ("notifications/roots/list_changed", true),
            ("notifications/elicitation/complete", false),
            ("notifications/tasks/status", false),
        ] {
            let notice = json!({"jsonrpc": "2.0", "method": method, "params": {}});
            let before = limited.fixture.backend.requests().len();
            let reply = limited.say(&limited.token, &session, &notice).await?;
            assert_eq!(reply.status, 202, "{limit:?} {method}: {}", reply.text);
            let passed = limited.fixture.backend.requests().len() - before;
            assert_eq!(passed, usize::from(is_passed), "{limit:?} {method}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_backend_announces_what_the_token_has_and_lists_of_the_rest_are_empty() -> Result<()> {
    let limited = Limited::start(Limit::Chosen).await?;
    let everything = limited.client.sign_in(&limited.fixture.owner).await?;
    let hello = response(&send(&limited.url(), &limited.token, &initialize()).await?)?;
    assert_eq!(
        hello["result"]["capabilities"],
        json!({
            "tools": {"listChanged": true}, "logging": {}, "resources": {},
            "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}},
            "extensions": {"io.modelcontextprotocol/ui": {}},
        })
    );
    assert_eq!(hello["result"]["serverInfo"]["name"], "citizen");
    let all = response(&send(&limited.url(), &everything, &initialize()).await?)?;
    assert_eq!(
        all["result"]["capabilities"]["prompts"],
        json!({"listChanged": true})
    );
    // Without a tool that has an interface there is nothing to read.
    let token = choosing(&limited.client, &limited.fixture.owner, &["echo"]).await?;
    let hello = response(&send(&limited.url(), &token, &initialize()).await?)?;
    assert!(
        hello["result"]["capabilities"].get("resources").is_none(),
        "{hello}"
    );
    for (method, listed) in [
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("tasks/list", "tasks"),
    ] {
        let body = message(5, method, &json!({}));
        let before = limited.fixture.backend.requests().len();
        let reply = response(&send(&limited.url(), &limited.token, &body).await?)?;
        assert_eq!(
            reply,
            json!({"jsonrpc": "2.0", "id": 5, "result": {listed: []}})
        );
        assert_eq!(limited.fixture.backend.requests().len(), before, "{method}");
    }
    // And as 2026-07-28 has it.
    let modern = |method: &str| {
        let body = mcp::stateless_message(6, method, &json!({}));
        http::send(mcp::post_stateless(&limited.url(), &limited.token, &body))
    };
    let discovered = response(&modern("server/discover").await?)?;
    assert_eq!(discovered["result"]["capabilities"], json!({"tools": {}}));
    let empty = response(&modern("prompts/list").await?)?;
    assert_eq!(empty["result"]["resultType"], "complete");
    assert_eq!(empty["result"]["prompts"], json!([]));
    Ok(())
}

#[tokio::test]
async fn an_allowed_tools_interface_may_be_read_and_no_other_resource() -> Result<()> {
    for limit in [Limit::Chosen, Limit::Narrowed] {
        let limited = Limited::start(limit).await?;
        let read = |uri: &str| message(6, "resources/read", &json!({"uri": uri}));
        let reply = send(&limited.url(), &limited.token, &read("ui://look/view.html")).await?;
        let reply = response(&reply)?;
        assert_eq!(
            reply["result"]["contents"][0]["text"], "<p>a resource</p>",
            "{limit:?} {reply}"
        );
        for uri in [
            "ui://erase/view.html",
            "ui://look/view.html/../../erase/view.html",
            "ui://look/view.htm",
            "ui://look/view.html?x",
            "ui://look/view.html#x",
            "ui://look/view.html ",
            "UI://look/view.html",
            "ui://look/view%2Ehtml",
            "ui://look//view.html",
            "ui:///look/view.html",
            "ui://look/view.html\u{0}",
            "ui://look/./view.html",
            "ui:\\\\look\\view.html",
            "file:///etc/passwd",
            "",
        ] {
            let before = limited.fixture.backend.requests().len();
            let reply = send(&limited.url(), &limited.token, &read(uri)).await?;
            // What has a blank or control character around it is no name at all.
            if reply.status != 400 {
                let reply = response(&reply)?;
                assert!(reply.get("error").is_some(), "{uri:?}: {reply}");
            }
            assert_eq!(limited.fixture.backend.requests().len(), before, "{uri:?}");
        }
        let subscribe = message(
            7,
            "resources/subscribe",
            &json!({"uri": "ui://look/view.html"}),
        );
        let reply = response(&send(&limited.url(), &limited.token, &subscribe).await?)?;
        assert!(reply.get("error").is_some(), "{limit:?} {reply}");
    }
    Ok(())
}
