//! The operator's policy on the real binary: the worked examples of conf/policies, arguments of
//! every kind, lists, translated backends, and SIGHUP while streams stay open.

mod calls;
mod in_force;
mod roads;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession, call, initialize, message, post, response, send};
use tests::operator::exported;
use tests::program::{self, binary, run, workspace};
use tests::recorder::{Answer, Recorded, Recorder};
use tests::sse::EventStream;
use tests::{scripted_mcp, scripted_revisions};

const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway under a policy: its text in a file of the test's own.
struct Ruled {
    fixture: Fixture,
    token: String,
    folder: tempfile::TempDir,
}

impl Ruled {
    async fn by(policy: &str) -> Result<Self> {
        Self::with(
            policy,
            "[[group]]\nname = \"staff\"\nusers = [\"alice\"]\n",
            |setup| setup,
        )
        .await
    }

    async fn with(policy: &str, more: &str, change: impl FnOnce(Setup) -> Setup) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.biscuit");
        std::fs::write(&file, policy)?;
        let more = format!("[policy]\nfile = \"{}\"\n{more}", file.display());
        let fixture = Fixture::with(StoreKind::Embedded, |setup| change(setup.more(&more))).await?;
        let (_, token) = fixture.signed_in().await?;
        Ok(Self {
            fixture,
            token,
            folder,
        })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("policy.biscuit")
    }

    async fn send(&self, body: &Value) -> Result<Reply> {
        send(&self.fixture.url("/mcp"), &self.token, body).await
    }

    async fn answer(&self, body: &Value) -> Result<Value> {
        response(&self.send(body).await?)
    }

    /// The reason for which a call of a tool is refused; `None`: it reached the backend.
    async fn refusal(&self, tool: &str, arguments: &Value) -> Result<Option<String>> {
        let before = self.calls();
        let answer = self.answer(&call(7, tool, arguments)).await?;
        let refused = answer["result"]["isError"] == true;
        assert_eq!(self.calls() - before, usize::from(!refused), "{answer}");
        let reason = answer["result"]["_meta"]["reason"].as_str();
        assert_eq!(reason.is_some(), refused, "{answer}");
        Ok(reason.map(str::to_owned))
    }

    /// Calls of tools that reached the backend.
    fn calls(&self) -> usize {
        let is_call = |request: &&Recorded| request.json()["method"] == "tools/call";
        self.fixture
            .backend
            .requests()
            .iter()
            .filter(is_call)
            .count()
    }

    async fn listed(&self) -> Result<Vec<String>> {
        Ok(names(
            &self.answer(&message(5, "tools/list", &json!({}))).await?,
        ))
    }

    async fn hang_up(&mut self) -> Result<()> {
        let id = self
            .fixture
            .gateway
            .program()
            .id()
            .context("it has ended")?;
        program::signal(id, "HUP").await
    }

    async fn logged(&self, event: &str, count: usize) -> Result<Vec<Value>> {
        self.fixture.gateway.events(event, count).await
    }

    /// The audit records of calls, once there is such a one.
    async fn called(&self, found: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let is_there = |records: &[Value]| records.iter().any(&found);
        exported(&self.fixture.gateway, "call", is_there).await
    }
}

fn names(answer: &Value) -> Vec<String> {
    let tools = answer["result"]["tools"].as_array();
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    tools.map_or_else(Vec::new, |tools| tools.iter().map(name).collect())
}

fn example(name: &str) -> Result<String> {
    let path = workspace().join("conf/policies").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What the examples speak of.
fn ground(staff: &str, office: &str) -> String {
    format!(
        "[[group]]\nname = \"staff\"\nusers = [\"{staff}\"]\n[[network]]\nname = \"office\"\naddresses = [\"{office}\"]\n"
    )
}

/// The backend says the same list each time.
#[tokio::test]
async fn a_list_is_cut_by_the_policy_of_the_moment_however_often_it_was_told() -> Result<()> {
    let mut ruled = Ruled::by("deny if tool(\"erase\");\nallow if true;\n").await?;
    for _ in 0..3 {
        assert_eq!(ruled.listed().await?, ["echo", "look"]);
    }
    std::fs::write(ruled.file(), "deny if tool(\"look\");\nallow if true;\n")?;
    ruled.hang_up().await?;
    ruled.logged("policy_reloaded", 1).await?;
    for _ in 0..3 {
        assert_eq!(ruled.listed().await?, ["echo", "erase"]);
    }
    Ok(())
}

#[tokio::test]
async fn only_staff_may_call_tools_that_change_things() -> Result<()> {
    let policy = example("staff.biscuit")?;
    for (staff, may_change) in [("alice", true), ("bob", false)] {
        let ruled = Ruled::with(&policy, &ground(staff, "10.0.0.0/8"), |setup| setup).await?;
        assert_eq!(ruled.refusal("look", &json!({})).await?, None);
        let refused = ruled.refusal("erase", &json!({})).await?;
        assert_eq!(refused.is_none(), may_change, "{staff}: {refused:?}");
        let all = ["echo", "look", "erase"];
        assert_eq!(ruled.listed().await?, all[..if may_change { 3 } else { 2 }]);
        // A tool that the backend does not list says nothing about itself.
        let unknown = ruled.refusal("drop", &json!({})).await?;
        assert_eq!(unknown.is_none(), may_change, "{staff}: {unknown:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_nothing_allows_is_refused_as_consent_refuses_it_and_the_session_goes_on() -> Result<()>
{
    let ruled = Ruled::by("// what follows is line 2\nallow if harmless(true);\nallow if tool(\"look\");\nallow if tool(\"echo\"), argument(\"n\", 1);\n").await?;
    mcp::open_session(&ruled.fixture.url("/mcp"), &ruled.token).await?;
    // `echo` may be allowed by its arguments.
    assert_eq!(ruled.listed().await?, ["echo", "look"]);
    for (method, listed) in [("resources/list", "resources"), ("prompts/list", "prompts")] {
        let before = ruled.fixture.backend.requests().len();
        let answer = ruled.answer(&message(3, method, &json!({}))).await?;
        assert_eq!(answer["result"], json!({ listed: [] }), "{method}");
        assert_eq!(ruled.fixture.backend.requests().len(), before, "{method}");
    }
    for method in [
        "resources/read",
        "prompts/get",
        "completion/complete",
        "tasks/result",
        "subscriptions/listen",
        "anything/else",
    ] {
        let before = ruled.fixture.backend.requests().len();
        let body = message(3, method, &json!({"name": "look", "uri": "x:y"}));
        let answer = ruled.answer(&body).await?;
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
        assert_eq!(answer["error"]["data"]["reason"], "policy_denied");
        assert_eq!(ruled.fixture.backend.requests().len(), before, "{method}");
    }
    let answer = ruled.answer(&call(4, "erase", &json!({}))).await?;
    let meta = &answer["result"]["_meta"];
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(meta["reason"], "policy_denied");
    assert!(
        meta["mcp/www_authenticate"].is_null(),
        "to connect again changes nothing: {answer}"
    );
    // The client is not told of rules; log and audit record are.
    assert!(!answer.to_string().contains(".biscuit"), "{answer}");
    assert_eq!(
        ruled.refusal("echo", &json!({"n": "1"})).await?.as_deref(),
        Some("policy_denied")
    );
    assert_eq!(ruled.refusal("echo", &json!({"n": 1})).await?, None);
    assert_eq!(
        ruled.answer(&message(9, "ping", &json!({}))).await?["result"],
        json!({})
    );

    let is_it = |record: &Value| {
        let detail = record["detail"].as_str().unwrap_or_default();
        record["outcome"] == "allowed"
            && record["name"] == "echo"
            && detail.ends_with("policy.biscuit:4")
    };
    let records = ruled.called(is_it).await?;
    assert!(records.iter().any(is_it), "{records:?}");
    Ok(())
}

#[tokio::test]
async fn a_refusal_names_its_statement_in_log_and_audit_record() -> Result<()> {
    let ruled = Ruled::by("allow if harmless(true);\n\ncheck if user(\"alice\");\ndeny if\n  tool(\"erase\");\nallow if tool(\"echo\"), argument(\"n\", $n), $n > 1;\nallow if true;\n").await?;
    assert_eq!(
        ruled.refusal("erase", &json!({})).await?.as_deref(),
        Some("policy_denied")
    );
    assert_eq!(
        ruled
            .refusal("echo", &json!({"n": "secret-value"}))
            .await?
            .as_deref(),
        Some("policy_failed")
    );
    let refused = ruled.logged("refused", 2).await?;
    let refused: Vec<&Value> = refused.iter().filter(|line| line["user"] != "").collect();
    assert_eq!(refused[0]["reason"], "policy_denied");
    assert!(
        refused[0]["rule"]
            .as_str()
            .is_some_and(|rule| rule.ends_with("policy.biscuit:4")),
        "{refused:?}"
    );
    assert_eq!(refused[1]["reason"], "policy_failed");
    assert!(
        !ruled
            .fixture
            .gateway
            .log()
            .join("\n")
            .contains("secret-value")
    );
    let is_it = |record: &Value| record["reason"] == "policy_denied";
    let records = ruled.called(is_it).await?;
    let record = records.into_iter().find(is_it).context("no record")?;
    assert!(
        record["detail"]
            .as_str()
            .is_some_and(|detail| detail.ends_with("policy.biscuit:4")),
        "{record}"
    );
    Ok(())
}

#[tokio::test]
async fn a_batch_passes_as_a_whole_or_not_at_all() -> Result<()> {
    let ruled = Ruled::by("allow if harmless(true);\nallow if tool(\"look\");\n").await?;
    let batch = |tools: &[&str]| {
        let calls: Vec<Value> = (1..)
            .zip(tools)
            .map(|(id, tool)| call(id, tool, &json!({})))
            .collect();
        let request = http::client()
            .post(ruled.fixture.url("/mcp"))
            .bearer_auth(&ruled.token);
        request
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json")
            .body(Value::Array(calls).to_string())
    };
    let reply = http::send(batch(&["look", "erase", "look"])).await?;
    let answer = reply.json();
    assert_eq!(answer.as_array().map(Vec::len), Some(3), "{answer}");
    for one in answer.as_array().context("no array")? {
        assert_eq!(
            one["result"]["_meta"]["reason"], "policy_denied",
            "{answer}"
        );
    }
    assert_eq!(ruled.calls(), 0);
    http::send(batch(&["look", "look"])).await?;
    let arrived = ruled.fixture.backend.requests();
    assert!(arrived.last().is_some_and(|last| last.json().is_array()));
    Ok(())
}

#[tokio::test]
async fn while_a_backend_can_not_say_what_its_tools_do_nothing_definite_is_said_either()
-> Result<()> {
    let mut ruled = Ruled::by("allow if harmless(true);\nallow if read_only(true);\n").await?;
    assert_eq!(ruled.refusal("look", &json!({})).await?, None);
    // What it said before is forgotten.
    ruled.fixture.gateway.crash_and_restart().await?;
    ruled
        .fixture
        .backend
        .play(|request| match request.json()["method"].as_str() {
            Some("tools/list") => Answer::json(503, &json!({})),
            _ => scripted_mcp::answer(request),
        });
    let lists = |ruled: &Ruled| ruled.fixture.backend.marked("tools/list").len();
    let before = lists(&ruled);
    let one = ruled.send(&call(1, "look", &json!({}))).await?;
    assert_eq!(one.status, 503, "{}", one.text);
    assert!(!one.header("retry-after").is_empty());
    let asked = lists(&ruled) - before;
    let calls: Vec<Value> = (1..=20).map(|id| call(id, "look", &json!({}))).collect();
    let request = http::client()
        .post(ruled.fixture.url("/mcp"))
        .bearer_auth(&ruled.token);
    let request = request
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json");
    let batch = http::send(request.body(Value::Array(calls).to_string())).await?;
    assert_eq!(batch.status, 503, "{}", batch.text);
    assert_eq!(
        batch.json()[0]["result"]["_meta"]["reason"],
        "tool_definition_unknown"
    );
    assert_eq!(
        lists(&ruled) - before,
        asked * 2,
        "a batch asks as often as one call"
    );
    ruled.fixture.backend.play(scripted_mcp::answer);
    assert_eq!(ruled.refusal("look", &json!({})).await?, None);
    Ok(())
}

#[tokio::test]
async fn what_a_policy_allows_must_be_granted_as_well() -> Result<()> {
    let ruled = Ruled::by("allow if true;\n").await?;
    let client = ruled.fixture.client("A choosing client").await?;
    let chosen = client
        .sign_in_choosing(&ruled.fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    let words = ["token", "narrow", "--tool", "look"];
    let (code, narrowed, errors) = run(&binary("gateway"), &words, &ruled.token).await?;
    assert_eq!(code, 0, "{errors}");
    for (token, reason) in [
        (chosen.as_str(), "tool_not_allowed"),
        (narrowed.trim(), "token_narrowed"),
    ] {
        let url = ruled.fixture.url("/mcp");
        let answer = response(&send(&url, token, &call(1, "erase", &json!({}))).await?)?;
        assert_eq!(answer["result"]["_meta"]["reason"], reason, "{answer}");
        let list = message(2, "tools/list", &json!({}));
        assert_eq!(
            names(&response(&send(&url, token, &list).await?)?),
            ["look"]
        );
        let answer = response(&send(&url, token, &call(3, "look", &json!({}))).await?)?;
        assert!(answer["result"]["isError"].is_null(), "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_is_denied_everything_opens_no_stream() -> Result<()> {
    let ruled = Ruled::by("deny if user(\"alice\");\nallow if true;\n").await?;
    for path in ["/mcp", "/sse"] {
        let request = http::client()
            .get(ruled.fixture.url(path))
            .bearer_auth(&ruled.token);
        let reply = http::send(request.header("Accept", "text/event-stream")).await?;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text);
        assert_eq!(reply.json()["reason"], "policy_denied");
    }
    assert_eq!(ruled.fixture.backend.open_streams(), 0);
    Ok(())
}
