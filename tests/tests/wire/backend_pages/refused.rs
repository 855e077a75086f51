//! Pages that are not shown: by the policy, the chosen tools, or for what they are.

use super::*;

#[tokio::test]
async fn the_policy_and_the_chosen_tools_hold_for_pages_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    let policy = r#"
        deny if tool("fetch"), argument("id", $id), $id.starts_with("private");
        allow if true;
    "#;
    std::fs::write(&file, policy)?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let fixture = scripted(|_| html("text"), &more).await?;
    let bob = add_bob(&fixture.gateway).await?;
    fixture.client("App").await?.sign_in(&bob).await?;
    let (mut browser, page) = opened(&fixture.gateway, "/pages/public-1", &bob).await?;
    assert_eq!(page.reply.status, 200, "{}", page.words());
    let page = browser
        .visit(&fixture.url("/pages/private-1").parse()?)
        .await?;
    assert!(
        page.reply.status == 403 && reason(&page),
        "{}",
        page.words()
    );

    // An app that was allowed other tools alone could not fetch it either.
    done(&fixture.gateway, &["grants", "revoke", "--user", "Bob"], "").await?;
    let client = fixture.client("Echo").await?;
    client
        .sign_in_choosing(&bob, |form| form.choose_tools(&["echo"]))
        .await?;
    let page = browser
        .visit(&fixture.url("/pages/public-1").parse()?)
        .await?;
    assert!(
        page.reply.status == 403 && reason(&page),
        "{}",
        page.words()
    );
    Ok(())
}

#[tokio::test]
async fn what_is_no_page_is_not_shown_and_says_why() -> Result<()> {
    let fixture = scripted(
        |request| {
            let typed = |kind: &str, body: Vec<u8>| {
                Answer::Full(200, vec![("Content-Type".into(), kind.into())], body)
            };
            match request
                .path()
                .strip_prefix("/documents/")
                .unwrap_or_default()
            {
                "large" => typed("text/plain", vec![b'x'; 4 * 1024 * 1024]),
                "too-large" => typed("text/plain", vec![b'x'; 4 * 1024 * 1024 + 1]),
                "endless" => Answer::Steps(
                    200,
                    vec![("Content-Type".into(), "text/html".into())],
                    (0..80).map(|_| Step::Send("y".repeat(64 * 1024))).collect(),
                ),
                "script" => typed("text/javascript", b"alert(1)".to_vec()),
                "svg" => typed("image/svg+xml", b"<svg/>".to_vec()),
                "json" => typed("application/json", b"{}".to_vec()),
                "utf-7" => typed("text/html; charset=utf-7", b"+ADw-script+AD4-".to_vec()),
                "gzip" => html("x").with("Content-Encoding", "gzip"),
                "redirect" => Answer::Full(302, vec![("Location".into(), "/mcp".into())], vec![]),
                "elsewhere" => {
                    Answer::Full(307, vec![("Location".into(), "/secret".into())], vec![])
                }
                "beside" => Answer::Full(
                    308,
                    vec![("Location".into(), "/documents/large".into())],
                    vec![],
                ),
                "gone" => Answer::Full(404, vec![], b"<script>1</script>".to_vec()),
                "broken" => Answer::Reset,
                _ => Answer::Full(500, vec![], b"<script>1</script>".to_vec()),
            }
        },
        "",
    )
    .await?;
    let (mut browser, page) = opened(&fixture.gateway, "/pages/large", &fixture.owner).await?;
    assert_eq!(page.reply.text.len(), 4 * 1024 * 1024, "to the last byte");
    for (name, status, code) in [
        ("too-large", 502, "backend_page_unfit"),
        ("endless", 502, "backend_page_unfit"),
        ("script", 502, "backend_page_unfit"),
        ("svg", 502, "backend_page_unfit"),
        ("json", 502, "backend_page_unfit"),
        ("gzip", 502, "backend_page_unfit"),
        ("redirect", 502, "upstream_failed"),
        ("elsewhere", 502, "upstream_failed"),
        ("beside", 502, "upstream_failed"),
        ("gone", 404, "not_found"),
        ("broken", 503, "upstream_failed"),
        ("fault", 502, "upstream_failed"),
    ] {
        let page = browser
            .visit(&fixture.url(&format!("/pages/{name}")).parse()?)
            .await?;
        assert_eq!(page.reply.status, status, "{name}: {}", page.words());
        assert!(page.words().contains(code), "{name}: {}", page.words());
        assert!(!page.reply.text.contains("<script"), "{name}");
    }
    let page = browser.visit(&fixture.url("/pages/utf-7").parse()?).await?;
    assert_eq!(
        page.reply.header("content-type"),
        "text/html; charset=utf-8"
    );
    Ok(())
}
