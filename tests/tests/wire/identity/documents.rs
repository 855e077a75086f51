//! Clients that are known by the address of their own description.

use anyhow::Result;
use serde_json::json;
use tests::browser::Browser;
use tests::documents::{DocumentSite, document};
use tests::http;

use super::{at_consent, client, error, fixture, refused};

#[tokio::test]
async fn an_app_that_is_known_by_its_document_signs_in_and_its_host_is_named() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let id = site.put_client("/client.json", &["https://app.example.net/cb"]);
    let app = client(&fixture, &id, "https://app.example.net/cb");
    let (_, page) = at_consent(&fixture, &app.authorization()).await?;
    let words = page.words();
    for said in ["Documented App", "Verified: 127.0.0.1", "app.example.net"] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert!(!words.contains("Unverified"), "{words}");
    let token = app.sign_in(&fixture.owner).await?;
    let reply = http::send(tests::mcp::post(
        &fixture.url("/mcp"),
        &token,
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    ))
    .await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(site.asked("/client.json"), 1, "one fetch serves all of it");
    Ok(())
}

#[tokio::test]
async fn an_app_of_a_document_that_asks_from_another_machine_is_not_called_verified() -> Result<()>
{
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    let id = site.put_client("/client.json", &["https://app.example.net/cb"]);
    // Anybody can say so.
    let place = fixture.url("/device_authorization");
    let reply = http::post_form(&place, &[("client_id", id.as_str())]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let said = reply.json();
    let place = said["verification_uri_complete"].as_str().unwrap();
    let mut browser = Browser::default();
    let page = browser.visit(&place.parse()?).await?;
    let next = browser.submit(&page.form_with_button("Go on")?).await?;
    let login = browser.settle(next).await?;
    let owner = &fixture.owner;
    let page = browser.log_in(&login, &owner.name, &owner.password).await?;
    let words = page.words();
    for said in ["Documented App", "Not proved", "nobody can check that here"] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert!(!words.contains("Verified"), "{words}");
    let form = page.form_with_button("Allow")?;
    assert_eq!(form.value("tools"), Some("read"), "as an unverified app");
    Ok(())
}

#[tokio::test]
async fn a_document_that_changed_gets_a_consent_that_says_so_and_nothing_of_the_old_one()
-> Result<()> {
    let site = DocumentSite::start().await?;
    let mut fixture = fixture(&site, "").await?;
    let (old, new) = (
        "https://app.example.net/cb",
        "https://elsewhere.example.net/cb",
    );
    let id = site.put_client("/client.json", &[old]);
    let app = client(&fixture, &id, old);
    app.sign_in(&fixture.owner).await?;
    // Allowed again, unchanged: nothing to tell.
    let request = app.authorization();
    let (mut browser, page) = at_consent(&fixture, &request).await?;
    assert!(!page.words().contains("Changed since"), "{}", page.words());
    let last = browser.answer(&page, "Allow").await?;
    let code = last.location().unwrap();
    let code = code
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1;

    // The document changes; a restart forgets the copy that is kept for at least a minute.
    site.put_client("/client.json", &[old, new]);
    fixture.gateway.restart().await?;
    let reply = app.redeem(&code, &request.pkce.verifier).await?;
    assert_eq!(
        error(&reply),
        (400, "invalid_grant".into()),
        "{}",
        reply.text
    );
    fixture.gateway.logged("client_changed").await?;

    let changed = client(&fixture, &id, new);
    let (_, page) = at_consent(&fixture, &changed.authorization()).await?;
    let words = page.words();
    for said in ["Changed since you allowed it", "where it may send you"] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert!(!words.contains("how it proves who it is"), "{words}");
    // Once it was allowed as it is, it is no news any more.
    changed.sign_in(&fixture.owner).await?;
    let (_, page) = at_consent(&fixture, &changed.authorization()).await?;
    assert!(!page.words().contains("Changed since"), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn keys_that_appear_in_a_document_are_a_change_too() -> Result<()> {
    let site = DocumentSite::start().await?;
    let mut fixture = fixture(&site, "").await?;
    let callback = "https://app.example.net/cb";
    let id = site.put_client("/client.json", &[callback]);
    let app = client(&fixture, &id, callback);
    app.sign_in(&fixture.owner).await?;
    let mut keyed = document(&id, &[callback]);
    keyed["client_name"] = json!("Renamed App");
    keyed["token_endpoint_auth_methods_supported"] = json!(["none", "private_key_jwt"]);
    keyed["jwks_uri"] = json!(site.url("/keys.json"));
    site.put("/client.json", &keyed);
    fixture.gateway.restart().await?;
    let (_, page) = at_consent(&fixture, &app.authorization()).await?;
    let words = page.words();
    for said in [
        "Changed since",
        "Documented App",
        "its name and how it proves who it is",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert!(!words.contains("where it may send you"), "{words}");
    Ok(())
}

#[tokio::test]
async fn allow_is_about_the_document_that_the_page_showed() -> Result<()> {
    let site = DocumentSite::start().await?;
    let mut fixture = fixture(&site, "").await?;
    let callback = "https://app.example.net/cb";
    let id = site.put_client("/client.json", &[callback]);
    let app = client(&fixture, &id, callback);
    let (mut browser, page) = at_consent(&fixture, &app.authorization()).await?;
    site.put_client(
        "/client.json",
        &[callback, "https://elsewhere.example.net/cb"],
    );
    fixture.gateway.restart().await?;
    let answer = browser.answer(&page, "Allow").await?;
    assert_eq!(answer.reply.status, 403, "{}", answer.words());
    assert!(answer.location().is_none());
    fixture.gateway.logged("client_changed").await?;
    Ok(())
}

#[tokio::test]
async fn an_app_that_was_allowed_stays_known_while_its_site_is_down() -> Result<()> {
    let site = DocumentSite::start().await?;
    let mut fixture = fixture(&site, "").await?;
    let callback = "http://localhost/callback";
    let id = site.put_client("/client.json", &[callback]);
    let app = client(&fixture, &id, "http://localhost:4711/callback");
    app.sign_in(&fixture.owner).await?;
    site.answer("/client.json", tests::recorder::Answer::Reset);
    fixture.gateway.restart().await?;
    app.sign_in(&fixture.owner).await?;
    // What nobody ever allowed is unknown, and the page says why.
    let other = client(&fixture, &site.url("/other.json"), callback);
    let words = refused(&other.authorization()).await?;
    assert!(words.contains("could not be fetched"), "{words}");
    Ok(())
}

#[tokio::test]
async fn documents_can_be_switched_off_and_limited_to_hosts() -> Result<()> {
    let site = DocumentSite::start().await?;
    let callback = "https://app.example.net/cb";
    let id = site.put_client("/client.json", &[callback]);
    let flag = "client_id_metadata_document_supported";
    let metadata = "/.well-known/oauth-authorization-server";

    let on = fixture(&site, "").await?;
    assert_eq!(http::get(&on.url(metadata)).await?.json()[flag], true);
    drop(on);

    let off = fixture(&site, "[clients]\nmetadata_documents = false\n").await?;
    let reply = http::get(&off.url(metadata)).await?;
    assert!(reply.json().get(flag).is_none(), "{}", reply.text);
    refused(&client(&off, &id, callback).authorization()).await?;
    let known = "https://chatgpt.com/oauth/client.json";
    let chatgpt = "https://chatgpt.com/connector_platform_oauth_redirect";
    refused(&client(&off, known, chatgpt).authorization()).await?;
    drop(off);

    let limited = fixture(&site, "[clients]\nmetadata_hosts = [\"claude.ai\"]\n").await?;
    let words = refused(&client(&limited, &id, callback).authorization()).await?;
    assert!(
        words.contains("not one that the operator allows"),
        "{words}"
    );
    assert_eq!(site.asked("/client.json"), 0);
    Ok(())
}

/// This machine reaches none of their hosts: what is built in serves.
#[tokio::test]
async fn the_known_apps_can_start_while_their_documents_are_out_of_reach() -> Result<()> {
    let site = DocumentSite::start().await?;
    let fixture = fixture(&site, "").await?;
    for (id, callback, name) in [
        (
            "https://chatgpt.com/oauth/client.json",
            "https://chatgpt.com/connector_platform_oauth_redirect",
            "ChatGPT",
        ),
        (
            "https://chatgpt.com/oauth/aB3_-x/client.json",
            "https://chatgpt.com/connector/oauth/aB3_-x",
            "ChatGPT",
        ),
        (
            "https://chatgpt.com/oauth/codex/client.json",
            "http://127.0.0.1:50001/callback",
            "Codex",
        ),
        (
            "https://chatgpt.com/oauth/codex/aB3/client.json",
            "http://localhost:50001/callback/aB3",
            "Codex",
        ),
        (
            "https://claude.ai/oauth/mcp-oauth-client-metadata",
            "https://claude.ai/api/mcp/auth_callback",
            "Claude",
        ),
        (
            "https://claude.ai/oauth/claude-code-client-metadata",
            "http://localhost:50001/callback",
            "Claude Code",
        ),
        (
            "https://vscode.dev/oauth/client-metadata.json",
            "http://127.0.0.1:50001/",
            "Visual Studio Code",
        ),
        (
            "https://cursor.com/oauth/mcp-client.json",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "Cursor",
        ),
        (
            "https://zed.dev/oauth/client-metadata.json",
            "http://127.0.0.1:50001/callback",
            "Zed",
        ),
        (
            "https://opencode.ai/oauth/opencode/client.json",
            "http://127.0.0.1:50001/callback",
            "opencode",
        ),
    ] {
        let app = client(&fixture, id, callback);
        let (_, page) = at_consent(&fixture, &app.authorization()).await?;
        let words = page.words();
        let host = id.split('/').nth(2).unwrap_or_default();
        assert!(
            words.contains(name) && words.contains(&format!("Verified: {host}")),
            "{words}"
        );
    }
    let evil = client(
        &fixture,
        "https://zed.dev/oauth/client-metadata.json",
        "https://evil.example/cb",
    );
    refused(&evil.authorization()).await?;
    Ok(())
}
