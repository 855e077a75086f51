//! What one revision says within another request and an older one says in a request of its own: the
//! policy decides about it in front of a backend of either, and again where it is said again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::oauth::OAuthClient;
use tests::operator::exported;
use tests::recorder::{Answer, Recorded, Recorder};
use tests::sse::EventStream;
use tests::{mcp, program, scripted_mcp, scripted_revisions};

const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway under a policy, whose one backend speaks one revision family.
struct Ruled {
    gateway: Gateway,
    backend: Recorder,
    token: String,
    folder: tempfile::TempDir,
}

impl Ruled {
    async fn start(
        families: &str,
        policy: &str,
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let backend = Recorder::start(script).await?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.biscuit");
        std::fs::write(&file, policy)?;
        let setup = Setup {
            only_more: true,
            ..Setup::default()
        };
        let gateway = Gateway::start(setup.more(&format!(
            "[policy]\nfile = \"{}\"\n[[backend]]\nname = \"main\"\npath = \"/\"\nurl = \"{}\"\neras = [\"{families}\"]\n",
            file.display(),
            backend.url()
        )))
        .await?;
        let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
        let token = client.sign_in(&Owner::alice()).await?;
        Ok(Self {
            gateway,
            backend,
            token,
            folder,
        })
    }

    /// Puts another policy in force.
    async fn rule(&mut self, policy: &str) -> Result<()> {
        std::fs::write(self.folder.path().join("policy.biscuit"), policy)?;
        let id = self.gateway.program().id().context("it has ended")?;
        program::signal(id, "HUP").await?;
        self.gateway.logged("policy_reloaded").await?;
        Ok(())
    }

    /// A request of 2026-07-28.
    fn modern(&self, method: &str, params: &Value, level: Option<&str>) -> RequestBuilder {
        let mut params = params.clone();
        if let Some(level) = level {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        let body = mcp::stateless_message(1, method, &params);
        mcp::post_stateless(&self.gateway.url("/mcp"), &self.token, &body)
    }

    async fn in_session(&self, session: &str, method: &str, params: &Value) -> Result<Reply> {
        let body = mcp::message(1, method, params);
        let request = mcp::post(&self.gateway.url("/mcp"), &self.token, &body);
        http::send(request.header("Mcp-Session-Id", session)).await
    }

    /// Params of the last request of a method that reached the backend.
    fn last(&self, method: &str) -> Value {
        let requests = self.backend.requests();
        let bodies = requests.iter().map(Recorded::json);
        let mut of_method: Vec<_> = bodies.filter(|body| body["method"] == method).collect();
        of_method.pop().unwrap_or_default()["params"].clone()
    }

    /// Waits until the backend is asked to tell about exactly these resources.
    async fn listens_to(&self, uris: &[&str]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = self.last("subscriptions/listen");
            if asked["notifications"]["resourceSubscriptions"] == json!(uris) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{uris:?}: {asked}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

const REFUSES_PARTS: &str = "deny if method(\"resources/subscribe\");\ndeny if method(\"logging/setLevel\");\nallow if true;\n";

/// With sessions, resources to subscribe to and log messages.
fn sessions(request: &Recorded) -> Answer {
    let message = request.json();
    match message["method"].as_str() {
        Some("initialize") => {
            let mut reply = scripted_mcp::reply(&message);
            reply["result"]["capabilities"] = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}});
            Answer::json(200, &reply).with("Mcp-Session-Id", scripted_mcp::SESSION)
        }
        Some("resources/subscribe" | "logging/setLevel") => Answer::json(
            200,
            &json!({"jsonrpc": "2.0", "id": message["id"], "result": {}}),
        ),
        _ => scripted_revisions::sessions(request),
    }
}

#[tokio::test]
async fn what_a_stateless_client_says_within_a_request_is_decided_by_the_policy() -> Result<()> {
    let mut ruled = Ruled::start("2025", REFUSES_PARTS, sessions).await?;
    let call = json!({"name": "look", "arguments": {}});
    let listen =
        json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["test://a"]}});
    for _ in 0..2 {
        // The call is served, and the backend hears of no level.
        let called = http::send(ruled.modern("tools/call", &call, Some("debug"))).await?;
        assert!(called.json()["result"].is_object(), "{}", called.text);
        let refused = http::send(ruled.modern("subscriptions/listen", &listen, None)).await?;
        let error = refused.json()["error"].clone();
        assert_eq!(error["data"]["reason"], "policy_denied", "{}", refused.text);
    }
    let tools = json!({"notifications": {"toolsListChanged": true}});
    EventStream::open(ruled.modern("subscriptions/listen", &tools, None)).await?;
    for method in ["resources/subscribe", "logging/setLevel"] {
        assert!(ruled.backend.marked(method).is_empty(), "{method}");
    }

    ruled
        .rule("deny if uri(\"test://secret\");\nallow if true;\n")
        .await?;
    let called = http::send(ruled.modern("tools/call", &call, Some("debug"))).await?;
    assert!(called.json()["result"].is_object(), "{}", called.text);
    assert_eq!(ruled.last("logging/setLevel"), json!({"level": "debug"}));
    let mut stream = EventStream::open(ruled.modern("subscriptions/listen", &listen, None)).await?;
    stream.event(PATIENCE).await?;
    let deadline = Instant::now() + PATIENCE;
    while ruled.last("resources/subscribe") != json!({"uri": "test://a"}) {
        ensure!(Instant::now() < deadline, "no subscription");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What the audit log says of the calls of a method, of which there is at least one.
async fn audited(gateway: &Gateway, method: &str) -> Result<Vec<String>> {
    // Calls and refusals are on disk within 200 ms, and one too many as well.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let is_of_it = |record: &Value| record["method"] == method;
    let records = exported(gateway, "call", |records| records.iter().any(is_of_it)).await?;
    let outcome = |record: &Value| record["outcome"].as_str().unwrap_or_default().to_owned();
    let of_it = records.iter().filter(|record| is_of_it(record));
    Ok(of_it.map(outcome).collect())
}

#[tokio::test]
async fn a_resource_that_a_subscription_names_is_judged_under_both_methods() -> Result<()> {
    type Script = fn(&Recorded) -> Answer;
    let scripts: [(&str, Script); 2] = [
        ("2026-07-28", scripted_revisions::stateless),
        ("2025", sessions),
    ];
    for (families, script) in scripts {
        for denied in [
            "deny if method(\"resources/subscribe\"), uri(\"test://secret\");\n",
            "deny if method(\"subscriptions/listen\"), uri(\"test://secret\");\n",
        ] {
            let policy = format!("{denied}allow if true;\n");
            let mut ruled = Ruled::start(families, &policy, script).await?;
            let of = |uris: Value| json!({"notifications": {"resourceSubscriptions": uris}});
            let secret = of(json!(["test://a", "test://secret"]));
            let refused = http::send(ruled.modern("subscriptions/listen", &secret, None)).await?;
            let error = refused.json()["error"].clone();
            assert_eq!(error["data"]["reason"], "policy_denied", "{}", refused.text);
            for method in ["subscriptions/listen", "resources/subscribe"] {
                assert!(
                    ruled.backend.marked(method).is_empty(),
                    "{families} {method}"
                );
            }
            let outcomes = audited(&ruled.gateway, "subscriptions/listen").await?;
            assert_eq!(outcomes.len(), 1, "{families} {outcomes:?}");
            assert_ne!(outcomes, ["allowed"], "{families}");
            let open = of(json!(["test://a"]));
            EventStream::open(ruled.modern("subscriptions/listen", &open, None)).await?;
            // Whether it names any matters where the policy speaks of the method alone.
            ruled.rule(REFUSES_PARTS).await?;
            let refused = http::send(ruled.modern("subscriptions/listen", &open, None)).await?;
            let error = refused.json()["error"].clone();
            assert_eq!(error["data"]["reason"], "policy_denied", "{}", refused.text);
            let tools = json!({"notifications": {"toolsListChanged": true}});
            EventStream::open(ruled.modern("subscriptions/listen", &tools, None)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_a_session_has_said_is_said_again_as_long_as_the_policy_allows_it() -> Result<()> {
    let script = scripted_revisions::stateless;
    let mut ruled = Ruled::start("2026-07-28", "allow if true;\n", script).await?;
    let url = ruled.gateway.url("/mcp");
    let session = mcp::open_session(&url, &ruled.token).await?;
    let call = json!({"name": "any", "arguments": {}});
    let level = |call: &Value| call["_meta"]["io.modelcontextprotocol/logLevel"].clone();
    for (method, params) in [
        ("resources/subscribe", json!({"uri": "test://a"})),
        ("resources/subscribe", json!({"uri": "test://b"})),
        ("logging/setLevel", json!({"level": "debug"})),
        ("tools/call", call.clone()),
    ] {
        let reply = ruled.in_session(&session, method, &params).await?;
        assert!(reply.json()["result"].is_object(), "{}", reply.text);
    }
    assert_eq!(level(&ruled.last("tools/call")), "debug");
    let open = http::client()
        .get(&url)
        .bearer_auth(&ruled.token)
        .header("Accept", "text/event-stream")
        .header("Mcp-Session-Id", &session);
    let _stream = EventStream::open(open).await?;
    ruled.listens_to(&["test://a", "test://b"]).await?;

    ruled
        .rule("deny if method(\"resources/subscribe\"), uri(\"test://a\");\ndeny if method(\"logging/setLevel\");\nallow if true;\n")
        .await?;
    let more = json!({"uri": "test://c"});
    let reply = ruled
        .in_session(&session, "resources/subscribe", &more)
        .await?;
    assert!(reply.json()["result"].is_object(), "{}", reply.text);
    ruled.listens_to(&["test://b", "test://c"]).await?;
    let reply = ruled.in_session(&session, "tools/call", &call).await?;
    assert!(reply.json()["result"].is_object(), "{}", reply.text);
    assert_eq!(level(&ruled.last("tools/call")), Value::Null);
    Ok(())
}
