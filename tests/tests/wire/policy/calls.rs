//! What a call is allowed by: the folder of its arguments, the hour, an approval, where it comes from.

use super::*;

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
        (&b"192.0.2.9"[..], true),
        (b"198.51.100.1", false),
        // What a client wrote itself stands further left, whatever it is.
        (b"192.0.2.9, 198.51.100.1", false),
        (b"\xff, 192.0.2.9", true),
        (b"::ffff:192.0.2.9", true),
    ] {
        let request = post(
            &ruled.fixture.url("/mcp"),
            &ruled.token,
            &call(1, "erase", &json!({})),
        );
        let forwarded = reqwest::header::HeaderValue::from_bytes(forwarded)?;
        let reply = http::send(request.header("X-Forwarded-For", &forwarded)).await?;
        let answer = response(&reply)?;
        assert_eq!(
            answer["result"]["isError"].is_null(),
            allowed,
            "{forwarded:?}: {answer}"
        );
    }
    Ok(())
}
