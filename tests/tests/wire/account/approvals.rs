//! A tool that changed is approved again at `/account`.

use super::*;

#[tokio::test]
async fn a_changed_tool_is_approved_again_and_what_is_in_use_goes_on_everywhere() -> Result<()> {
    let fixture = Fixture::on(StoreKind::Redis).await?;
    let replica = fixture.replica(|setup| setup).await?;
    let gateway = &fixture.gateway;
    let client = fixture.client("Client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose("tools", "today"))
        .await?;
    // The app has a stream open on the older transport: its answers come over that.
    let mut legacy = LegacySession::open(&gateway.url("/sse"), &token).await?;
    let host = gateway.issuer().replace("http://", "");
    let at_replica = |body: Value| {
        let request = mcp::post(&replica.url("/mcp"), &token, &body);
        http::send(request.header("Host", host.clone()))
    };
    let look = call(4, "look", &json!({}));
    let list = message(5, "tools/list", &json!({}));
    assert_eq!(refusal(gateway, &token).await?, "");
    // The other one has just asked, and will believe for a while what it heard.
    let called = response(&at_replica(look.clone()).await?)?;
    assert!(called["result"]["isError"].is_null(), "{called}");

    fixture.backend.play(saying("Read something, and tell me"));
    a_moment().await;
    assert_eq!(listed(gateway, &token).await?, ["echo", "erase"]);
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
    let (mut browser, page) = at_account(gateway, &fixture.owner).await?;
    let words = page.words();
    for said in [
        "look has changed since you allowed it",
        "Read something, and tell me",
        "\"readOnlyHint\": true",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    // Looking approves nothing.
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");

    let form = page.form_with_button("Approve again")?;
    let done = browser.submit(&form).await?;
    assert_eq!(done.reply.status, 200, "{}", done.words());
    assert!(
        done.words().contains("“look” may be used again"),
        "{}",
        done.words()
    );
    assert!(
        !done.words().contains("has changed since"),
        "{}",
        done.words()
    );
    let approved = Instant::now();
    assert_eq!(refusal(gateway, &token).await?, "");
    assert_eq!(listed(gateway, &token).await?, ["echo", "look", "erase"]);
    let answer = legacy.request(&list).await?;
    assert_eq!(answer["result"]["tools"].as_array().map(Vec::len), Some(3));
    let answer = legacy.request(&look).await?;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    loop {
        let listed = response(&at_replica(list.clone()).await?)?;
        let called = response(&at_replica(look.clone()).await?)?;
        let all = listed["result"]["tools"].as_array().map(Vec::len) == Some(3);
        if all && called["result"]["isError"].is_null() {
            break;
        }
        // Patience, and less than a replica may believe what it knows.
        assert!(
            approved.elapsed() < Duration::from_secs(10),
            "{listed} {called}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Pressed twice it is done once.
    let again = browser.submit(&form).await?;
    assert!(
        again.words().contains("may be used again"),
        "{}",
        again.words()
    );

    // What was approved stands in place of what was allowed first.
    fixture.backend.play(scripted_mcp::answer);
    a_moment().await;
    assert_eq!(listed(gateway, &token).await?, ["echo", "erase"]);
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
    let page = browser.visit(&url(gateway, "/account")).await?;
    let back = press(&mut browser, &page, "Approve again").await?;
    assert_eq!(back.reply.status, 200, "{}", back.words());
    assert_eq!(refusal(gateway, &token).await?, "");
    // And the app can still be taken back as a whole.
    press(&mut browser, &back, "Revoke access").await?;
    assert_eq!(status(gateway, &token).await?, 401);
    Ok(())
}

#[tokio::test]
async fn what_changed_again_before_the_click_is_shown_and_not_approved() -> Result<()> {
    let fixture = Fixture::start().await?;
    let gateway = &fixture.gateway;
    let client = fixture.client("Client").await?;
    let token = client
        .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look"]))
        .await?;
    fixture.backend.play(saying("the second"));
    a_moment().await;
    let (mut browser, page) = at_account(gateway, &fixture.owner).await?;
    let form = page.form_with_button("Approve again")?;
    let spoiled = |name: &str, value: &str| {
        let mut form = form.clone();
        form.set(name, value);
        form
    };
    let seal = page.form_with_button("Revoke access")?;
    let seal = seal.value("seal").unwrap_or_default();
    for form in [
        spoiled("pin", "0101010101010101"),
        spoiled("tool", "erase"),
        spoiled("grant", "g_other"),
        spoiled("seal", ""),
        spoiled("seal", seal),
    ] {
        assert_eq!(browser.submit(&form).await?.reply.status, 403);
    }
    fixture.backend.play(saying("the third"));
    a_moment().await;
    let shown = browser.submit(&form).await?;
    assert_eq!(shown.reply.status, 409, "{}", shown.words());
    let words = shown.words();
    assert!(words.contains("Nothing was approved"), "{words}");
    assert!(
        words.contains("the third") && !words.contains("the second"),
        "{words}"
    );
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
    // A backend that can't be asked has nothing approved of it.
    let form = shown.form_with_button("Approve again")?;
    fixture.backend.play(|_| Answer::Full(500, vec![], vec![]));
    a_moment().await;
    let unknown = browser.submit(&form).await?;
    assert_eq!(unknown.reply.status, 503, "{}", unknown.words());
    assert!(
        unknown.words().contains("could not be asked"),
        "{}",
        unknown.words()
    );
    // One that withdrew the tool, neither.
    fixture
        .backend
        .play(|request| match request.json()["method"].as_str() {
            Some("tools/list") => {
                let list =
                    json!({"jsonrpc": "2.0", "id": request.json()["id"], "result": {"tools": []}});
                Answer::json(200, &list)
            }
            _ => scripted_mcp::answer(request),
        });
    a_moment().await;
    let gone = browser.submit(&form).await?;
    assert_eq!(gone.reply.status, 409, "{}", gone.words());
    for reason in ["tools_unknown", "tool_definition_changed"] {
        let is_told = |line: &String| {
            line.contains("account_refused") && line.contains(&format!("\"{reason}\""))
        };
        let told = |log: &[String]| log.iter().any(is_told).then_some(());
        gateway.eventually_logged(told).await.context(reason)?;
    }
    assert!(
        gone.words().contains("look is not offered any more"),
        "{}",
        gone.words()
    );
    assert_eq!(refusal(gateway, &token).await?, "tool_definition_changed");
    Ok(())
}

#[tokio::test]
async fn an_approval_outlives_a_crash_and_refreshed_tokens_carry_it() -> Result<()> {
    let mut fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[tokens]\nrefresh = true\n[audit]\nfile = \"audit.jsonl\"\n")
    })
    .await?;
    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let mut browser = Browser::default();
    let reply = client
        .connect_choosing(&mut browser, &request, &fixture.owner, |form| {
            form.choose_tools(&["look"])
        })
        .await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (token, refresh) = (
        text(&reply.json()["access_token"]),
        text(&reply.json()["refresh_token"]),
    );
    fixture.backend.play(saying("another"));
    a_moment().await;
    let page = browser.visit(&url(&fixture.gateway, "/account")).await?;
    let done = press(&mut browser, &page, "Approve again").await?;
    assert_eq!(done.reply.status, 200, "{}", done.words());
    fixture.gateway.crash_and_restart().await?;
    assert_eq!(refusal(&fixture.gateway, &token).await?, "");
    let reply = client.token(&client.refresh_request(&refresh)).await?;
    let fresh = text(&reply.json()["access_token"]);
    assert_eq!(refusal(&fixture.gateway, &fresh).await?, "");
    assert_eq!(listed(&fixture.gateway, &fresh).await?, ["look"]);
    // The refreshed token says so itself: the pin in it is the one that was approved.
    let audit = std::fs::read_to_string(fixture.gateway.folder().join("audit.jsonl"))?;
    let records = audit
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let approved: Vec<Value> = records
        .filter(|record: &Value| record["event"] == "consent" && record["name"] == "look")
        .collect();
    assert_eq!(approved.len(), 1, "{audit}");
    let detail = text(&approved[0]["detail"]);
    let pin = detail.rsplit(' ').next().unwrap_or_default();
    assert_eq!(pin.len(), 16, "{detail}");
    let inspect = |token: String| async move {
        let gateway = tests::program::binary("gateway");
        let (code, out, errors) =
            tests::program::run(&gateway, &["token", "inspect"], &token).await?;
        anyhow::ensure!(code == 0, "{errors}");
        Ok(out)
    };
    assert!(inspect(fresh).await?.contains(pin));
    assert!(!inspect(token).await?.contains(pin));
    Ok(())
}

#[tokio::test]
async fn an_approval_and_a_refresh_of_the_same_moment_both_count() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[tokens]\nrefresh = true\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let client = fixture.client("Client").await?;
    let mut answer = Value::Null;
    let (mut browser, _) = at_account(gateway, &fixture.owner).await?;
    let request = client.authorization();
    let reply = client
        .connect_choosing(&mut browser, &request, &fixture.owner, |form| {
            form.choose_tools(&["look"])
        })
        .await?;
    let first = reply.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut refresh = text(&first["refresh_token"]);
    for description in ["the second", "the third", "the fourth", "the fifth"] {
        fixture.backend.play(saying(description));
        a_moment().await;
        let page = browser.visit(&url(gateway, "/account")).await?;
        let form = page.form_with_button("Approve again")?;
        let fields = client.refresh_request(&refresh);
        let (approved, refreshed) = tokio::join!(browser.submit(&form), client.token(&fields));
        let (approved, refreshed) = (approved?, refreshed?);
        let words = approved.words();
        assert!(
            words.contains("may be used again"),
            "{description}: {words}"
        );
        assert_eq!(refreshed.status, 200, "{description}: {}", refreshed.text);
        answer = refreshed.json();
        refresh = text(&answer["refresh_token"]);
        // Whichever came first, the token of before and the one of now are good for it.
        for token in [&first["access_token"], &answer["access_token"]] {
            assert_eq!(refusal(gateway, &text(token)).await?, "", "{description}");
        }
    }
    // Nothing was taken for a theft, and revoking ends all of it.
    let page = browser.visit(&url(gateway, "/account")).await?;
    assert!(
        page.words().contains("unless it is used"),
        "{}",
        page.words()
    );
    press(&mut browser, &page, "Revoke access").await?;
    for token in [&first["access_token"], &answer["access_token"]] {
        assert_eq!(status(gateway, &text(token)).await?, 401);
    }
    let late = client.token(&client.refresh_request(&refresh)).await?;
    assert_eq!((late.status, late.error().as_str()), (400, "invalid_grant"));
    Ok(())
}
