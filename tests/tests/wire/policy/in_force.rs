//! When a policy is in force, and what a bad one does.

use super::*;

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

    let gateway = &ruled.fixture.gateway;
    let records = exported(gateway, "operator", |records| records.len() >= 6).await?;
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
