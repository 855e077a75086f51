//! The operator's policy on the real binary: the worked examples of conf/policies, arguments of
//! every kind, lists, translated backends, and SIGHUP while streams stay open.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession, call, initialize, message, post, response, send};
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
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let lines: Vec<Value> = self
                .fixture
                .gateway
                .log()
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .filter(|line: &Value| line["event"] == event)
                .collect();
            if lines.len() >= count {
                return Ok(lines);
            }
            anyhow::ensure!(
                std::time::Instant::now() < deadline,
                "{} of {event}",
                lines.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The audit records of an event, as the program exports them.
    async fn audited(&self, event: &str) -> Result<Vec<Value>> {
        // Calls and refusals are on disk within 200 ms.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let config = self.fixture.gateway.folder().join("gateway.toml");
        let config = config.display().to_string();
        let words = ["audit", "export", "--config", &config, "--event", event];
        let (code, out, errors) = run(&binary("gateway"), &words, "").await?;
        anyhow::ensure!(code == 0, "{errors}");
        out.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
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
async fn an_app_may_read_one_folder() -> Result<()> {
    let mut ruled = Ruled::by("allow if true;").await?;
    // The client id is only known now: it is put in the place of the example's.
    ruled.answer(&call(1, "look", &json!({}))).await?;
    let sent = ruled.fixture.backend.requests();
    let last = sent.last().context("no request")?;
    let client = last.header("x-forwarded-client").unwrap_or_default();
    let policy = example("one-folder.biscuit")?.replace("our-editor", client);
    std::fs::write(ruled.file(), policy)?;
    ruled.hang_up().await?;
    ruled.logged("policy_reloaded", 1).await?;
    for path in ["/public/a", "/public/b/c.txt", "/public/"] {
        assert_eq!(
            ruled.refusal("read_file", &json!({"path": path})).await?,
            None,
            "{path}"
        );
    }
    for (path, reason) in [
        (json!("/secret"), "policy_denied"),
        (json!("/publicity"), "policy_denied"),
        (json!("public/a"), "policy_denied"),
        // A prefix in other letters is one for some file systems: that is not for us to judge.
        (json!("/Public/a"), "policy_failed"),
        (json!("/public/../secret"), "policy_failed"),
        (json!("/public/%2e%2e/secret"), "policy_failed"),
        (json!("/public\\..\\secret"), "policy_failed"),
        (json!("/public/\u{0}"), "policy_failed"),
        (json!(["/public/a"]), "policy_failed"),
        (json!({"a": "/public/a"}), "policy_failed"),
        (json!(7), "policy_failed"),
        (json!(null), "policy_failed"),
    ] {
        let refused = ruled.refusal("read_file", &json!({"path": path})).await?;
        assert_eq!(refused.as_deref(), Some(reason), "{path}");
    }
    let twins = json!({"path": {"a": "/public/a", "A": "/secret"}});
    let refused = ruled.refusal("read_file", &twins).await?;
    assert_eq!(refused.as_deref(), Some("policy_arguments_unclear"));
    let twins = json!({"path": "/public/a", "Path": "/secret"});
    let refused = ruled.refusal("read_file", &twins).await?;
    assert_eq!(refused.as_deref(), Some("policy_arguments_unclear"));
    assert_eq!(
        ruled.refusal("read_file", &json!({})).await?.as_deref(),
        Some("policy_denied")
    );
    assert_eq!(
        ruled
            .refusal("look", &json!({"path": "/public/a"}))
            .await?
            .as_deref(),
        Some("policy_denied")
    );
    // Another app is not limited.
    let other = ruled.fixture.client("Another app").await?;
    let other = other.sign_in(&ruled.fixture.owner).await?;
    let body = call(1, "read_file", &json!({"path": "/secret"}));
    let answer = response(&send(&ruled.fixture.url("/mcp"), &other, &body).await?)?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    Ok(())
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // the gateway's own time
async fn nothing_is_called_at_night_and_sessions_stay() -> Result<()> {
    let policy = example("not-at-night.biscuit")?;
    // Whatever the time is, one of the offsets makes it day and the other night.
    let secs = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let hour = i64::try_from(secs % 86_400 / 3600)?;
    let policy = policy.replace("$day != \"sunday\"", "$day != \"never\"");
    for (wanted, is_day) in [(12, true), (2, false)] {
        let offset = (wanted - hour + 36) % 24 - 12;
        let sign = if offset < 0 { '-' } else { '+' };
        let file_and_offset = format!(
            "utc_offset = \"{sign}{:02}:00\"\n{}",
            offset.abs(),
            ground("alice", "10.0.0.0/8")
        );
        let ruled = Ruled::with(&policy, &file_and_offset, |setup| setup).await?;
        let refused = ruled.refusal("look", &json!({})).await?;
        let expected = (!is_day).then(|| "policy_denied".to_owned());
        assert_eq!(refused, expected, "{offset}");
        mcp::open_session(&ruled.fixture.url("/mcp"), &ruled.token).await?;
        assert_eq!(
            ruled.listed().await?.len(),
            3,
            "what is only wrong now is listed"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_call_is_denied_by_its_arguments_whatever_kind_they_are_of() -> Result<()> {
    let ruled = Ruled::with(
        &example("arguments.biscuit")?,
        &ground("alice", "10.0.0.0/8"),
        |setup| setup,
    )
    .await?;
    for (tool, arguments) in [
        ("erase", json!({"recursive": false})),
        ("erase", json!({"name": "a"})),
        ("pay", json!({"amount": 100})),
        ("pay", json!({"amount": -1})),
        (
            "send_mail",
            json!({"to": ["a@example.com", "b@example.com"]}),
        ),
        ("look", json!({"recursive": true, "amount": 1000})),
    ] {
        assert_eq!(
            ruled.refusal(tool, &arguments).await?,
            None,
            "{tool} {arguments}"
        );
    }
    for (tool, arguments, reason) in [
        ("erase", json!({"recursive": true}), "policy_denied"),
        ("erase", json!({"recursive": "true"}), "policy_denied"),
        ("erase", json!({"recursive": 1}), "policy_denied"),
        ("erase", json!({"recursive": [true]}), "policy_denied"),
        (
            "erase",
            json!({"Recursive": true}),
            "policy_arguments_unclear",
        ),
        (
            "erase",
            json!({"recur\u{17f}ive": true}),
            "policy_arguments_unclear",
        ),
        ("pay", json!({"amount": 101}), "policy_denied"),
        ("pay", json!({"amount": "7"}), "policy_denied"),
        ("pay", json!({"amount": [7]}), "policy_denied"),
        ("pay", json!({"amount": {"amount": 7}}), "policy_denied"),
        ("pay", json!({"amount": null}), "policy_denied"),
        ("pay", json!({}), "policy_denied"),
        ("pay", json!({"amount": 7.5}), "policy_failed"),
        ("pay", json!({"amount": 1e300}), "policy_failed"),
        (
            "send_mail",
            json!({"to": ["a@example.com", "b@evil.example"]}),
            "policy_denied",
        ),
        (
            "send_mail",
            json!({"to": ["eve@evil.example, a@example.com"]}),
            "policy_denied",
        ),
        (
            "send_mail",
            json!({"to": ["a@example.com\n"]}),
            "policy_denied",
        ),
        ("send_mail", json!({"to": "a@example.com"}), "policy_failed"),
        (
            "send_mail",
            json!({"to": [["a@example.com"]]}),
            "policy_failed",
        ),
    ] {
        let refused = ruled.refusal(tool, &arguments).await?;
        assert_eq!(refused.as_deref(), Some(reason), "{tool} {arguments}");
    }
    // The same in texts that `serde_json` would not write.
    for (body, reason) in [
        (r#"{"amount":1e2}"#, None),
        (r#"{"amount":1.01e2}"#, Some("policy_denied")),
        (r#"{"am\u006funt":101}"#, Some("policy_denied")),
        (r#"{"amount":18446744073709551615}"#, Some("policy_failed")),
    ] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"pay","arguments":{body}}}}}"#
        );
        let reply =
            http::send(post(&ruled.fixture.url("/mcp"), &ruled.token, &json!({})).body(text))
                .await?;
        assert_eq!(
            response(&reply)?["result"]["_meta"]["reason"].as_str(),
            reason,
            "{body}"
        );
    }
    let twice = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pay","arguments":{"amount":1,"amount":101}}}"#;
    let reply =
        http::send(post(&ruled.fixture.url("/mcp"), &ruled.token, &json!({})).body(twice)).await?;
    assert_eq!(reply.status, 400);
    Ok(())
}

#[tokio::test]
async fn a_tool_that_needs_an_approval_runs_with_one() -> Result<()> {
    let keys = tempfile::tempdir()?;
    let key = keys.path().join("ops.key").display().to_string();
    let (code, public, errors) =
        run(&binary("gateway"), &["token", "approver-key", &key], "").await?;
    assert_eq!(code, 0, "{errors}");
    let public = public
        .split_whitespace()
        .find(|word| word.starts_with("ed25519/"))
        .context("no key")?;
    let ground = ground("alice", "127.0.0.0/8");
    let more = format!("{ground}[approvers]\nops = \"{public}\"\n");
    let ruled = Ruled::with(&example("approval.biscuit")?, &more, |setup| setup).await?;
    assert_eq!(
        ruled.refusal("deploy", &json!({})).await?.as_deref(),
        Some("policy_denied")
    );
    let words = [
        "token", "approve", "--key", &key, "--tool", "deploy", "--for", "2h",
    ];
    let (code, approved, errors) = run(&binary("gateway"), &words, &ruled.token).await?;
    assert_eq!(code, 0, "{errors}");
    let url = ruled.fixture.url("/mcp");
    let approved = approved.trim();
    let answer = response(&send(&url, approved, &call(1, "deploy", &json!({}))).await?)?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    assert_eq!(ruled.refusal("erase", &json!({})).await?, None);
    Ok(())
}

#[tokio::test]
async fn where_a_request_comes_from_counts() -> Result<()> {
    let policy = example("approval.biscuit")?;
    let key = "ed25519/d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let more = format!(
        "{}[approvers]\nops = \"{key}\"\n",
        ground("alice", "192.0.2.0/24")
    );
    let ruled = Ruled::with(&policy, &more, |setup| Setup {
        top: "trusted_proxies = [\"127.0.0.1\"]\n".to_owned(),
        ..setup
    })
    .await?;
    for (forwarded, allowed) in [
        ("192.0.2.9", true),
        ("198.51.100.1", false),
        // What a client wrote itself stands further left.
        ("192.0.2.9, 198.51.100.1", false),
        ("::ffff:192.0.2.9", true),
    ] {
        let request = post(
            &ruled.fixture.url("/mcp"),
            &ruled.token,
            &call(1, "erase", &json!({})),
        );
        let reply = http::send(request.header("X-Forwarded-For", forwarded)).await?;
        let answer = response(&reply)?;
        assert_eq!(
            answer["result"]["isError"].is_null(),
            allowed,
            "{forwarded}: {answer}"
        );
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

    let allowed = ruled.audited("call").await?;
    let of = |name: &str, outcome: &str| {
        let mut found = allowed.iter().filter(|record| record["outcome"] == outcome);
        found.any(|record| {
            record["name"] == name
                && record["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.ends_with("policy.biscuit:4"))
        })
    };
    assert!(of("echo", "allowed"), "{allowed:?}");
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
    let records = ruled.audited("call").await?;
    let record = records
        .iter()
        .find(|record| record["reason"] == "policy_denied")
        .context("no record")?;
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
async fn over_the_legacy_stream_calls_are_judged_and_lists_are_cut() -> Result<()> {
    let ruled = Ruled::by("allow if harmless(true);\nallow if tool(\"look\");\n").await?;
    let mut session = LegacySession::open(&ruled.fixture.url("/sse"), &ruled.token).await?;
    session.request(&initialize()).await?;
    let listed = session
        .request(&message(4, "tools/list", &json!({})))
        .await?;
    assert_eq!(names(&listed), ["look"]);
    let answer = session.request(&call(5, "erase", &json!({}))).await?;
    assert_eq!(answer["result"]["_meta"]["reason"], "policy_denied");
    let answer = session
        .request(&message(6, "resources/list", &json!({})))
        .await?;
    assert_eq!(answer["result"], json!({"resources": []}));
    let answer = session
        .request(&message(6, "prompts/get", &json!({"name": "x"})))
        .await?;
    assert_eq!(answer["error"]["code"], -32601);
    assert_eq!(ruled.calls(), 0);
    let answer = session.request(&call(7, "look", &json!({}))).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    Ok(())
}

/// The gateway holds the stream then, and takes no batches; those that it refuses are answered.
#[tokio::test]
async fn every_call_of_a_refused_batch_is_answered_over_a_translated_stream() -> Result<()> {
    let stateless = Recorder::start(scripted_revisions::stateless).await?;
    let url = stateless.url();
    let ruled = Ruled::with(
        "allow if harmless(true);\nallow if tool(\"look\");\n",
        "",
        |setup| setup.mounted("new", "/new", &url),
    )
    .await?;
    let client = ruled.fixture.client("Another").await?;
    let token = client
        .sign_in_for(&ruled.fixture.owner, &ruled.fixture.url("/new/sse"))
        .await?;
    let mut session = LegacySession::open(&ruled.fixture.url("/new/sse"), &token).await?;
    session.request(&initialize()).await?;
    let batch = json!([call(5, "erase", &json!({})), call(6, "erase", &json!({}))]);
    // Batches are of a revision that names itself in no header.
    let request = http::client().post(&session.endpoint).bearer_auth(&token);
    let request = request.header("Content-Type", "application/json");
    let reply = http::send(request.body(batch.to_string())).await?;
    assert_eq!(reply.status, 202, "{}", reply.text);
    for id in [5, 6] {
        let (_, data) = session.stream.event(PATIENCE).await?;
        let answer: Value = serde_json::from_str(&data)?;
        assert_eq!(answer["id"], id, "{answer}");
        let reason = &answer["result"]["_meta"]["reason"];
        assert_eq!(reason, "policy_denied", "{answer}");
    }
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
async fn a_first_policy_is_put_in_force_while_the_gateway_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| setup).await?;
    let (_, token) = fixture.signed_in().await?;
    let id = fixture.gateway.program().id().context("it has ended")?;
    let mut ruled = Ruled {
        fixture,
        token,
        folder,
    };
    ruled.hang_up().await?;
    ruled.logged("policy_absent", 1).await?;
    assert_eq!(ruled.refusal("erase", &json!({})).await?, None);
    std::fs::write(ruled.file(), "allow if harmless(true);\n")?;
    let config = ruled.fixture.gateway.folder().join("gateway.toml");
    let text = std::fs::read_to_string(&config)?;
    let policy = format!("{text}\n[policy]\nfile = \"{}\"\n", ruled.file().display());
    std::fs::write(&config, policy)?;
    ruled.hang_up().await?;
    ruled.logged("policy_reloaded", 1).await?;
    assert_eq!(
        ruled.refusal("erase", &json!({})).await?.as_deref(),
        Some("policy_denied")
    );
    assert_eq!(ruled.fixture.gateway.program().id(), Some(id));
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
async fn requests_without_sessions_are_judged_too() -> Result<()> {
    let stateless = Recorder::start(scripted_revisions::stateless).await?;
    let url = stateless.url();
    let ruled = Ruled::with(
        "allow if harmless(true);\nallow if tool(\"plain\"), protocol_version(\"2026-07-28\");\n",
        "",
        |setup| setup.mounted("new", "/new", &url),
    )
    .await?;
    let client = ruled.fixture.client("Another").await?;
    let url = ruled.fixture.url("/new/mcp");
    let token = client.sign_in_for(&ruled.fixture.owner, &url).await?;
    let ask = |method: &'static str, name: &'static str| {
        let params = json!({"name": name, "arguments": {}});
        let body = mcp::stateless_message(1, method, &params);
        let request = mcp::post_stateless(&url, &token, &body);
        async move { response(&http::send(request).await?) }
    };
    let listed = ask("tools/list", "").await?;
    assert_eq!(listed["result"]["tools"], json!([]), "{listed}");
    let answer = ask("tools/call", "erase").await?;
    assert_eq!(answer["result"]["_meta"]["reason"], "policy_denied");
    let answer = ask("subscriptions/listen", "").await?;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    let answer = ask("tools/call", "plain").await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    let reached = |request: &Recorded| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        text.contains("erase") || text.contains("subscriptions/listen")
    };
    assert!(!stateless.requests().iter().any(reached));
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

#[tokio::test]
async fn a_call_is_judged_before_it_is_translated() -> Result<()> {
    let old = Recorder::start(scripted_revisions::http_sse).await?;
    let url = old.url();
    let ruled = Ruled::with(
        "allow if harmless(true);\nallow if tool(\"look\");\n",
        "",
        |setup| {
            let more = "\n[[backend]]\nname = \"old\"\npath = \"/old\"\nurl = \"".to_owned()
                + &url
                + "\"\neras = [\"2024-11-05\"]\n";
            setup.more(&more)
        },
    )
    .await?;
    let client = ruled.fixture.client("Another").await?;
    let token = client
        .sign_in_for(&ruled.fixture.owner, &ruled.fixture.url("/old/mcp"))
        .await?;
    let url = ruled.fixture.url("/old/mcp");
    let session = mcp::open_session(&url, &token).await?;
    let ask = |body: Value| {
        let request = post(&url, &token, &body).header("Mcp-Session-Id", &session);
        async move { response(&http::send(request).await?) }
    };
    assert_eq!(
        names(&ask(message(5, "tools/list", &json!({}))).await?),
        ["look"]
    );
    let answer = ask(call(6, "erase", &json!({}))).await?;
    assert_eq!(
        answer["result"]["_meta"]["reason"], "policy_denied",
        "{answer}"
    );
    let answer = ask(call(7, "look", &json!({}))).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    let erased = |request: &Recorded| String::from_utf8_lossy(&request.body).contains("erase");
    assert!(!old.requests().iter().any(erased));
    Ok(())
}

#[tokio::test]
async fn a_new_policy_is_in_force_at_once_a_bad_one_never_and_streams_stay_open() -> Result<()> {
    let mut ruled = Ruled::by("allow if true;\n").await?;
    let request = http::client()
        .get(ruled.fixture.url("/mcp"))
        .bearer_auth(&ruled.token);
    let mut stream = EventStream::open(request.header("Accept", "text/event-stream")).await?;
    let mut legacy = LegacySession::open(&ruled.fixture.url("/sse"), &ruled.token).await?;
    legacy.request(&initialize()).await?;
    ruled.fixture.backend.await_streams(2, PATIENCE).await?;
    assert_eq!(ruled.refusal("erase", &json!({})).await?, None);

    std::fs::write(
        ruled.file(),
        "allow if harmless(true);\nallow if tool(\"look\");\n",
    )?;
    ruled.hang_up().await?;
    ruled.logged("policy_reloaded", 1).await?;
    assert_eq!(
        ruled.refusal("erase", &json!({})).await?.as_deref(),
        Some("policy_denied")
    );
    // A stream that was opened before shows what is allowed now.
    let listed = legacy
        .request(&message(4, "tools/list", &json!({})))
        .await?;
    assert_eq!(names(&listed), ["look"]);

    for bad in ["allow if tru;\n", "allow if tol(\"look\");\n", ""] {
        std::fs::write(ruled.file(), bad)?;
        let before = ruled.logged("policy_kept", 0).await?.len();
        ruled.hang_up().await?;
        ruled.logged("policy_kept", before + 1).await?;
        assert_eq!(
            ruled.refusal("erase", &json!({})).await?.as_deref(),
            Some("policy_denied")
        );
        assert_eq!(ruled.refusal("look", &json!({})).await?, None);
    }
    let faults = ruled.logged("policy_fault", 3).await?;
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(
        faults[1]["fault"].as_str().is_some_and(|fault| fault
            .ends_with("policy.biscuit:1:10: nothing states `tol`; did you mean `tool(NAME)`?")),
        "{faults:?}"
    );
    std::fs::remove_file(ruled.file())?;
    ruled.hang_up().await?;
    ruled.logged("policy_kept", 4).await?;
    assert_eq!(
        ruled.refusal("erase", &json!({})).await?.as_deref(),
        Some("policy_denied")
    );

    std::fs::write(ruled.file(), "allow if true;\n")?;
    ruled.hang_up().await?;
    ruled.logged("policy_reloaded", 2).await?;
    assert_eq!(ruled.refusal("erase", &json!({})).await?, None);

    // Both streams are those of the beginning.
    ruled.fixture.backend.push(
        scripted_mcp::MCP_STREAM,
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n",
    );
    let (_, data) = stream.event(PATIENCE).await?;
    assert!(data.contains("notifications/message"), "{data}");
    let answer = legacy.request(&call(9, "look", &json!({}))).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");

    let records = ruled.audited("operator").await?;
    let details: Vec<(&str, &str)> = records
        .iter()
        .map(|record| {
            (
                record["outcome"].as_str().unwrap_or_default(),
                record["detail"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(details.len(), 6, "{details:?}");
    assert_eq!(details[0], ("allowed", "policy reloaded: 2 statements"));
    assert!(
        details[1].0 == "refused" && details[1].1.contains("policy.biscuit:1:"),
        "{details:?}"
    );
    assert_eq!(details[5], ("allowed", "policy reloaded: 1 statements"));
    Ok(())
}

#[tokio::test]
async fn a_gateway_does_not_start_on_a_bad_policy_and_check_says_why() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (policy, config) = (
        folder.path().join("p.biscuit"),
        folder.path().join("gateway.toml"),
    );
    std::fs::write(
        &policy,
        "allow if harmless(true);\n  deny if grup(\"staff\");\nallow if group(\"staf\");\n",
    )?;
    let backend = "[[backend]]\nurl = \"http://127.0.0.1:9\"\n";
    let groups = "[[group]]\nname = \"staff\"\nusers = [\"alice\"]\n";
    std::fs::write(
        &config,
        format!(
            "[policy]\nfile = \"{}\"\n{groups}{backend}",
            policy.display()
        ),
    )?;
    let config = config.display().to_string();
    for command in ["check", "serve"] {
        let (code, _, errors) =
            run(&binary("gateway"), &[command, "--config", &config], "").await?;
        assert_eq!(code, 64, "{errors}");
        for expected in [
            "p.biscuit:2:11: nothing states `grup`; did you mean `group(NAME)`?",
            "p.biscuit:3:10: `group(\"staf\")` is never stated: \"staf\" is none of the configured groups; did you mean \"staff\"?",
        ] {
            assert!(errors.contains(expected), "{expected}\n{errors}");
        }
    }
    std::fs::write(&policy, "allow if group(\"staff\");")?;
    let (code, out, errors) = run(&binary("gateway"), &["check", "--config", &config], "").await?;
    assert_eq!(code, 0, "{errors}");
    assert!(
        out.contains("policy.file") && out.contains("p.biscuit"),
        "{out}"
    );
    Ok(())
}
