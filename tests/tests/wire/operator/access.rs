//! Who may give commands, and what they are told.

use super::*;

#[tokio::test]
async fn nobody_but_a_program_with_the_token_gets_in() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, given) = fixture.signed_in().await?;
    let url = fixture.gateway.admin_url("/v1/users/disable");
    let body = json!({ "name": fixture.owner.name }).to_string();
    let bearer = format!("Bearer {}", token(&fixture.gateway)?);
    let right = ("Authorization", bearer.as_str());
    let json = "application/json";
    let theirs = format!("Bearer {given}");
    let host = format!("rebound.example.com:{}", fixture.gateway.admin_port);
    let origin = fixture.gateway.admin_url("");
    let origin = origin.trim_end_matches('/');
    for (what, kind, headers, status) in [
        ("no token", json, vec![], 401),
        (
            "a wrong token",
            json,
            vec![("Authorization", "Bearer x")],
            401,
        ),
        (
            "an access token",
            json,
            vec![("Authorization", theirs.as_str())],
            401,
        ),
        ("a cookie", json, vec![("Cookie", bearer.as_str())], 401),
        ("its own origin", json, vec![right, ("Origin", origin)], 403),
        (
            "another origin",
            json,
            vec![right, ("Origin", "https://evil.example")],
            403,
        ),
        (
            "a host by name",
            json,
            vec![right, ("Host", host.as_str())],
            403,
        ),
        (
            "a form",
            "application/x-www-form-urlencoded",
            vec![right],
            415,
        ),
        ("plain text", "text/plain", vec![right], 415),
    ] {
        let reply = http::post(&url, kind, body.clone(), &headers).await?;
        assert_eq!(reply.status, status, "{what}: {}", reply.text);
        assert!(!reply.error().is_empty(), "{what}");
        let cors = reply.header("access-control-allow-origin");
        assert_eq!(cors, "", "{what}");
    }
    let reply = http::ask("GET", &url, &[right]).await?;
    assert_eq!(reply.status, 405, "a link must change nothing");
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(1024 * 1024));
    let reply = http::post(&url, json, huge, &[right]).await;
    assert!(reply.is_ok_and(|reply| reply.status == 413));
    for wrong in [
        "",
        "[]",
        "{\"name\":1}",
        "{\"name\":\"alice\",\"more\":1}",
        "null",
    ] {
        let reply = http::post(&url, json, wrong, &[right]).await?;
        assert_eq!(reply.status, 422, "{wrong}: {}", reply.text);
    }
    let reading = fixture.gateway.admin_url("/v1/users");
    assert_eq!(http::get(&reading).await?.status, 401);
    assert_eq!(
        http::get(&fixture.url("/v1/users")).await?.status,
        404,
        "in public"
    );
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            http::get(&fixture.gateway.admin_url(open)).await?.status,
            200
        );
    }
    assert_eq!(status(&fixture, &given).await?, 200, "nothing was done");
    let refused = audit(&fixture).await?;
    let refused: Vec<&Value> = refused
        .iter()
        .filter(|record| record["event"] == "operator")
        .collect();
    assert!(refused.len() >= 9, "{refused:?}");
    assert!(refused.iter().all(|record| record["outcome"] == "refused"));
    Ok(())
}

#[tokio::test]
async fn commands_say_what_is_wrong_by_sentence_and_exit_code() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let keys = fixture.gateway.folder().join("keys");
    let file = keys.join("admin.token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions());
    assert_eq!(mode & 0o777, 0o600);

    let right = std::fs::read_to_string(&file)?;
    std::fs::write(&file, "x".repeat(43))?;
    let refused = command(&fixture.gateway, &["grants", "ls"], "").await?;
    assert_eq!(refused.code, 77, "{refused:?}");
    assert!(refused.errors.contains("admin.token"), "{refused:?}");
    std::fs::rename(&file, keys.join("away"))?;
    let missing = command(&fixture.gateway, &["users", "ls"], "").await?;
    assert_eq!(missing.code, 77, "{missing:?}");
    std::fs::rename(keys.join("away"), &file)?;
    std::fs::write(&file, right)?;
    done(&fixture.gateway, &["users", "ls"], "").await?;

    fixture.gateway.program().kill().await?;
    let away = command(&fixture.gateway, &["grants", "ls"], "").await?;
    assert_eq!(away.code, 69, "{away:?}");
    assert!(away.errors.contains("Is it running"), "{away:?}");
    // A gateway that runs without a file, and its backend as words: no backend is asked for.
    let state = format!("file:{}/elsewhere", fixture.gateway.folder().display());
    let words = ["users", "ls", "--store", &state];
    let (code, _, errors) = run(&binary("gateway"), &words, "").await?;
    assert_eq!(code, 77, "{errors}");
    assert!(errors.contains("elsewhere/keys/admin.token"), "{errors}");
    let (code, _, errors) = run(&binary("gateway"), &["grants", "revoke"], "").await?;
    assert_eq!(code, 2, "{errors}");
    Ok(())
}

#[tokio::test]
async fn another_program_on_the_port_has_done_nothing() -> Result<()> {
    let fixture = Fixture::start().await?;
    for (status, body) in [
        (200, "ok"),
        (200, "{\"status\":\"success\"}"),
        (404, "404 page not found"),
    ] {
        let body = body.as_bytes().to_vec();
        let other = Recorder::start(move |_| Answer::Full(status, Vec::new(), body.clone()));
        let other = other.await?;
        let address = other.address.to_string();
        for words in [
            vec!["users", "disable", "bob"],
            vec!["users", "add", "bob"],
            vec!["users", "ls"],
            vec!["grants", "revoke", "g_1"],
            vec!["grants", "show", "g_1"],
            vec!["clients", "rm", "c_1"],
            vec!["streams", "close", "1"],
            vec!["token", "revoke", "--id", "00ff"],
        ] {
            let words = [&words[..], &["--admin-listen", &address]].concat();
            let told = command(&fixture.gateway, &words, &bob().password).await?;
            assert_eq!(told.code, 69, "{words:?} {told:?}");
            assert!(told.errors.contains("another program"), "{told:?}");
            assert_eq!(told.out, "", "{words:?}");
        }
    }
    Ok(())
}
