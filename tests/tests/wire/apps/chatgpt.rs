//! ChatGPT.

use std::time::Duration;

use anyhow::{Context, Result};
use tests::fixture::{Fixture, StoreKind};
use tests::http;
use tests::identity_provider::Person;
use tests::mcp;
use tests::oauth::{Authorization, Callback};
use tests::operator;
use tests::recorder::{Answer, Step};
use tests::scripted_mcp;

use super::{
    by_document, challenged, lists, modern, redeem_as_sent, server_metadata, sign_in, uses_tools,
    without_discovery,
};
use crate::providers::{BUTTON, DOMAIN, ProviderFixture};

const ID: &str = "https://chatgpt.com/oauth/client.json";
const REDIRECT: &str = "https://chatgpt.com/connector_platform_oauth_redirect";

/// As ChatGPT sends it: the origin as resource, whatever the metadata names, and no scope.
fn request(fixture: &Fixture) -> Authorization {
    let origin = format!("{}/", fixture.gateway.origin());
    let client = by_document(fixture, ID, REDIRECT);
    client.authorization_for(&origin).without("scope")
}

#[tokio::test]
async fn chatgpt_finds_what_its_stable_client_id_needs() -> Result<()> {
    let fixture = Fixture::start().await?;
    for path in ["/mcp", "/sse"] {
        let resource = challenged(&fixture, "POST", path).await?;
        assert_eq!(resource["resource"], fixture.url(path), "sent back exactly");
        let server = server_metadata(&fixture, &resource).await?;
        assert!(lists(&server, "code_challenge_methods_supported", "S256"));
        assert!(lists(
            &server,
            "token_endpoint_auth_methods_supported",
            "none"
        ));
        assert_eq!(server["client_id_metadata_document_supported"], true);
        assert_eq!(
            server["authorization_response_iss_parameter_supported"],
            true
        );
        assert!(server["revocation_endpoint"].is_string());
    }
    // It asks for these too; half an answer would be worse than none.
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/mcp",
    ] {
        for method in ["HEAD", "GET"] {
            let reply = http::ask(method, &fixture.url(path), &[]).await?;
            assert_eq!(reply.status, 404, "{method} {path}");
            assert!(
                reply.header("content-type").starts_with("application/json"),
                "{method} {path}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn chatgpt_connects_naming_the_origin_as_resource_and_calls_a_tool() -> Result<()> {
    let fixture = Fixture::start().await?;
    without_discovery(&fixture);
    let client = by_document(&fixture, ID, REDIRECT);
    let token = sign_in(&fixture, &client, &request(&fixture)).await?;
    // The newest revision first; the refusal is the backend's own, so that it falls back.
    let discover = modern(&fixture, &token, "server/discover").await?;
    assert_eq!(
        (discover.status, discover.text.as_str()),
        (400, super::TOO_OLD)
    );
    uses_tools(&fixture.url("/mcp"), &token).await
}

/// The same with a person of a company's provider, who has no password here.
#[tokio::test]
async fn chatgpt_connects_through_the_button_of_an_identity_provider() -> Result<()> {
    let world = ProviderFixture::start(StoreKind::Embedded, "rs256", DOMAIN, "").await?;
    let fixture = &world.fixture;
    without_discovery(fixture);
    let client = by_document(fixture, ID, REDIRECT);
    let asked = request(fixture);
    let mut bob = Person::default();
    let login = bob.here.visit(&asked.url()).await?;
    let consent = bob.log_in(&login, BUTTON, "bob").await?;
    assert!(consent.words().contains("ChatGPT"), "{}", consent.words());
    let answered = bob.here.answer(&consent, "Allow").await?;
    let url = answered.location().with_context(|| answered.words())?;
    assert!(url.as_str().starts_with(REDIRECT), "sent to {url}");
    let token = redeem_as_sent(fixture, &client, &asked, &Callback { url }).await?;
    assert_eq!(
        modern(fixture, &token, "server/discover").await?.status,
        400
    );
    uses_tools(&fixture.url("/mcp"), &token).await?;
    let seen = fixture.backend.requests();
    let seen = seen.last().context("the backend saw nothing")?;
    assert_eq!(seen.header("x-forwarded-user"), Some("bob@example.com"));
    // What was allowed ends with the person.
    operator::done(
        &fixture.gateway,
        &["users", "disable", "bob@example.com"],
        "",
    )
    .await?;
    let reply = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
    assert_eq!(reply.status, 401, "{}", reply.text);
    Ok(())
}

#[tokio::test]
async fn chatgpt_connects_with_an_id_for_each_connection() -> Result<()> {
    let fixture = Fixture::start().await?;
    let id = "https://chatgpt.com/oauth/Conn_ection-1/client.json";
    let redirect = "https://chatgpt.com/connector/oauth/Conn_ection-1";
    let client = by_document(&fixture, id, redirect);
    let token = sign_in(&fixture, &client, &client.authorization()).await?;
    uses_tools(&fixture.url("/mcp"), &token).await
}

#[tokio::test]
async fn chatgpt_sees_deny_with_state_and_issuer() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = by_document(&fixture, ID, REDIRECT);
    let mut browser = tests::browser::Browser::default();
    let callback = client
        .walk(&mut browser, &request(&fixture), &fixture.owner, "Deny")
        .await?;
    assert_eq!(
        callback.parameter("error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(callback.parameter("iss"), Some(fixture.gateway.issuer()));
    assert!(callback.parameter("state").is_some());
    Ok(())
}

#[tokio::test]
async fn two_token_requests_of_chatgpt_at_once_give_one_token_and_one_clear_error() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = by_document(&fixture, ID, REDIRECT);
    let request = request(&fixture);
    let code = client.allow(&request, &fixture.owner).await?.code();
    let (one, two) = tokio::join!(
        client.redeem(&code, &request.pkce.verifier),
        client.redeem(&code, &request.pkce.verifier)
    );
    let mut replies = [one?, two?];
    replies.sort_by_key(|reply| reply.status);
    assert_eq!(replies[0].status, 200, "{}", replies[0].text);
    assert_eq!(replies[1].status, 400, "{}", replies[1].text);
    assert_eq!(replies[1].error(), "invalid_grant");
    assert_eq!(replies[1].header("cache-control"), "no-store");
    // Connecting again mends it.
    let token = sign_in(&fixture, &client, &client.authorization()).await?;
    uses_tools(&fixture.url("/mcp"), &token).await
}

#[tokio::test]
async fn a_call_that_chatgpt_gave_up_is_given_up_and_its_retry_is_a_call_of_its_own() -> Result<()>
{
    let fixture = Fixture::start().await?;
    let client = by_document(&fixture, ID, REDIRECT);
    let token = sign_in(&fixture, &client, &request(&fixture)).await?;
    fixture
        .backend
        .play(|request| match request.method.as_str() {
            "POST" if request.json()["params"]["arguments"]["slow"] == true => {
                Answer::events(vec![
                    Step::Send(": begun\n\n".into()),
                    Step::Live("never".into()),
                ])
            }
            _ => scripted_mcp::answer(request),
        });
    // ChatGPT waits for a minute; the gateway cannot know how long.
    let slow = mcp::call(1, "look", &serde_json::json!({"slow": true}));
    let url = fixture.url("/mcp");
    let request = mcp::post(&url, &token, &slow);
    let waiting = tokio::spawn(http::send(request));
    fixture
        .backend
        .await_streams(1, Duration::from_secs(10))
        .await?;
    waiting.abort();
    fixture
        .backend
        .await_streams(0, Duration::from_secs(5))
        .await?;
    uses_tools(&url, &token).await
}

#[tokio::test]
async fn chatgpt_disconnects_by_revoking() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = by_document(&fixture, ID, REDIRECT);
    let token = sign_in(&fixture, &client, &request(&fixture)).await?;
    uses_tools(&fixture.url("/mcp"), &token).await?;
    assert_eq!(client.revoke(&token).await?.status, 200);
    let reply = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
    assert_eq!(reply.status, 401);
    assert!(
        reply
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    Ok(())
}
