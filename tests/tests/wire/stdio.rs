//! A server on stdin and stdout that is real, behind the gateway's own bridge, which speaks what the
//! server speaks: whatever else a client speaks, the gateway translates.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession};
use tests::oauth::OAuthClient;
use tests::program::workspace;

/// A gateway in front of the scripted server in one of its modes.
struct OnStdio {
    gateway: Gateway,
    token: String,
}

impl OnStdio {
    async fn start(mode: &str) -> Result<Self> {
        Self::with(mode, Setup::default()).await
    }

    async fn with(mode: &str, setup: Setup) -> Result<Self> {
        let server = workspace().join("mcp-backend/tests/end_to_end/bridge/server.py");
        Self::in_front_of(&["python3", &server.display().to_string(), mode], setup).await
    }

    async fn in_front_of(command: &[&str], setup: Setup) -> Result<Self> {
        let gateway = Gateway::start(Setup {
            stdio: command.iter().map(ToString::to_string).collect(),
            ..setup
        })
        .await?;
        let token = signed_in(&gateway, "A test client").await?;
        Ok(Self { gateway, token })
    }

    /// A request of 2026-07-28.
    async fn stateless(&self, token: &str, method: &str, params: Value) -> Result<Reply> {
        let body = mcp::stateless_message(1, method, &params);
        http::send(mcp::post_stateless(&self.gateway.url("/mcp"), token, &body)).await
    }

    async fn in_session(&self, session: &str, body: &Value) -> Result<Value> {
        let request = mcp::post(&self.gateway.url("/mcp"), &self.token, body);
        let reply = http::send(request.header("Mcp-Session-Id", session)).await?;
        mcp::response(&reply)
    }

    /// What the server has read, line by line, as a tool of it tells.
    fn said(answer: &Value) -> Result<Value> {
        let text = answer["result"]["content"][0]["text"].as_str();
        let text = text.with_context(|| answer.to_string())?;
        Ok(serde_json::from_str(text)?)
    }
}

async fn signed_in(gateway: &Gateway, name: &str) -> Result<String> {
    let client = OAuthClient::register(&gateway.origin(), name).await?;
    client.sign_in(&Owner::alice()).await
}

#[tokio::test]
async fn clients_of_every_family_are_served_whatever_the_server_speaks() -> Result<()> {
    let echo = json!({"é": [1, 2.5, null]});
    for mode in ["sessions", "stateless", "either", "first", "strict"] {
        let served = OnStdio::start(mode).await?;
        let session = mcp::open_session(&served.gateway.url("/mcp"), &served.token).await?;
        let answer = served
            .in_session(&session, &mcp::call(1, "echo", &echo))
            .await?;
        assert_eq!(OnStdio::said(&answer)?, echo, "{mode}");

        let discovered = served
            .stateless(&served.token, "server/discover", json!({}))
            .await?;
        let versions = &mcp::response(&discovered)?["result"]["supportedVersions"];
        assert_eq!(versions[0], "2026-07-28", "{mode}");
        let call = json!({"name": "echo", "arguments": echo});
        let answer = served.stateless(&served.token, "tools/call", call).await?;
        assert_eq!(OnStdio::said(&mcp::response(&answer)?)?, echo, "{mode}");

        let mut legacy = LegacySession::open(&served.gateway.url("/sse"), &served.token).await?;
        let hello = legacy.request(&mcp::initialize()).await?;
        assert_eq!(
            hello["result"]["serverInfo"]["name"], "scripted",
            "{mode}: {hello}"
        );
        let answer = legacy.request(&mcp::call(2, "echo", &echo)).await?;
        assert_eq!(OnStdio::said(&answer)?, echo, "{mode}");
    }
    Ok(())
}

/// What it speaks is not known before it has started: a request of the other family waits for that.
#[tokio::test]
async fn the_first_request_waits_for_a_server_that_is_slow_to_start() -> Result<()> {
    let server = workspace().join("mcp-backend/tests/end_to_end/bridge/server.py");
    for (mode, pause) in [("sessions", 3), ("stateless", 3)] {
        let script = format!(
            "import time; time.sleep({pause}); import runpy, sys; sys.argv = ['s', '{mode}']; runpy.run_path({:?})",
            server.display().to_string()
        );
        let command = ["python3", "-c", &script];
        let mut served = OnStdio::in_front_of(&command, Setup::default()).await?;
        // From now on it is known who asks before the server is there.
        served.gateway.setup().hasty = true;
        served.gateway.crash_and_restart().await?;
        let answer = if mode == "sessions" {
            served
                .stateless(&served.token, "tools/list", json!({}))
                .await?
        } else {
            mcp::send(
                &served.gateway.url("/mcp"),
                &served.token,
                &mcp::initialize(),
            )
            .await?
        };
        assert!(
            mcp::response(&answer)?["result"].is_object(),
            "{mode}: {answer:?}"
        );
    }
    Ok(())
}

fn form(message: &str) -> Value {
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": {}}})
}

async fn ask(served: &OnStdio, token: &str, questions: &[Value], more: Value) -> Result<Value> {
    let mut params = json!({"name": "ask", "arguments": {"questions": questions}});
    for (name, value) in more.as_object().context("an object")? {
        params[name] = value.clone();
    }
    mcp::response(&served.stateless(token, "tools/call", params).await?)
}

fn retry(asked: &Value) -> Value {
    json!({
        "requestState": asked["result"]["requestState"],
        "inputResponses": {"question": {"action": "accept", "content": {"n": 1.0}}},
    })
}

/// Multi Round-Trip Requests, in front of a server that asks in the middle of a call.
#[tokio::test]
async fn a_call_that_was_asked_back_goes_on_for_the_same_parameters_and_no_others() -> Result<()> {
    let served = OnStdio::start("sessions").await?;
    let token = &served.token;
    let questions = [form("first"), form("second")];
    let asked = ask(&served, token, &questions, json!({})).await?;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    assert_eq!(asked["result"]["inputRequests"]["question"], questions[0]);

    let others = [form("first"), form("another")];
    let refused = ask(&served, token, &others, retry(&asked)).await?;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let stranger = signed_in(&served.gateway, "Another client").await?;
    let refused = ask(&served, &stranger, &questions, retry(&asked)).await?;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");

    // One that answers nothing is asked again.
    let state = json!({"requestState": asked["result"]["requestState"]});
    let again = ask(&served, token, &questions, state).await?;
    assert_eq!(
        again["result"]["inputRequests"],
        asked["result"]["inputRequests"]
    );
    let second = ask(&served, token, &questions, retry(&again)).await?;
    assert_eq!(
        second["result"]["inputRequests"]["question"], questions[1],
        "{second}"
    );
    let done = ask(&served, token, &questions, retry(&second)).await?;
    assert_eq!(done["result"]["resultType"], "complete");
    let accepted = json!({"action": "accept", "content": {"n": 1.0}});
    assert_eq!(OnStdio::said(&done)?, json!([accepted, accepted]));
    let spent = ask(&served, token, &questions, retry(&second)).await?;
    assert_eq!(spent["error"]["code"], -32602, "{spent}");
    Ok(())
}

#[tokio::test]
async fn what_a_client_has_not_declared_it_is_not_asked() -> Result<()> {
    let served = OnStdio::start("sessions").await?;
    let roots = json!({"method": "roots/list", "params": {}});
    let done = ask(&served, &served.token, &[roots], json!({})).await?;
    assert_eq!(OnStdio::said(&done)?[0]["code"], -32601, "{done}");
    Ok(())
}

/// Of a translated session the gateway holds the subscriptions, of one that passes the bridge.
#[tokio::test]
async fn a_session_subscribes_to_so_many_resources_and_no_more() -> Result<()> {
    for mode in ["stateless", "sessions"] {
        let served = OnStdio::start(mode).await?;
        let session = mcp::open_session(&served.gateway.url("/mcp"), &served.token).await?;
        let subscribe = async |at: usize| {
            let params = json!({"uri": format!("test://{at}")});
            let message = mcp::message(at as u64, "resources/subscribe", &params);
            served.in_session(&session, &message).await
        };
        for at in 1..=512 {
            let answer = subscribe(at).await?;
            ensure!(answer["result"].is_object(), "{mode}, {at}: {answer}");
        }
        let refused = subscribe(513).await?;
        assert_eq!(refused["error"]["code"], -32603, "{mode}: {refused}");
        assert!(refused["error"]["message"].to_string().contains("512"));
        assert!(
            subscribe(1).await?["result"].is_object(),
            "what is there is no more"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_stateless_client_sets_the_level_of_log_messages() -> Result<()> {
    let served = OnStdio::start("sessions").await?;
    let log = async |level: Option<&str>| {
        let mut params = json!({"name": "log", "arguments": {"who": "me"}});
        if let Some(level) = level {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        let reply = served
            .stateless(&served.token, "tools/call", params)
            .await?;
        anyhow::Ok(reply.text)
    };
    assert!(!log(None).await?.contains("notifications/message"));
    let warned = log(Some("warning")).await?;
    assert!(warned.contains("a warning of me"), "{warned}");
    assert!(!warned.contains("a debug of me"), "{warned}");
    log(Some("warning")).await?;
    let call = json!({"name": "heard", "arguments": {}});
    let heard = served.stateless(&served.token, "tools/call", call).await?;
    let heard = OnStdio::said(&mcp::response(&heard)?)?;
    let lines = heard.as_array().context("lines")?.iter();
    let set = lines.filter(|line| line.to_string().contains("logging/setLevel"));
    assert_eq!(set.count(), 1, "once, not with each request: {heard}");
    Ok(())
}

/// What the bridge says where it has no process goes on to clients that are translated.
#[tokio::test]
async fn a_stateless_client_is_told_why_there_is_no_session() -> Result<()> {
    let served = OnStdio::start("picky").await?;
    let refused = served
        .stateless(&served.token, "tools/list", json!({}))
        .await?;
    let refused = mcp::response(&refused)?;
    assert_eq!(refused["error"]["message"], "I don't know you", "{refused}");
    let discover = served
        .stateless(&served.token, "server/discover", json!({}))
        .await?;
    assert!(discover.text.contains("I don't know you"), "{discover:?}");
    Ok(())
}
