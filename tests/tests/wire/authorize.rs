//! `/authorize`: what is refused, where, and how.

use anyhow::Result;
use serde_json::json;
use tests::browser::{Browser, Page};
use tests::fixture::Fixture;
use tests::oauth::{Authorization, OAuthClient};
use url::Url;

/// Open a request as someone already logged in, and follow to a page or out of the gateway.
async fn open_logged_in(
    fixture: &Fixture,
    client: &OAuthClient,
    request: &Authorization,
) -> Result<Page> {
    let mut browser = Browser::default();
    let page = browser.visit(&client.authorization().url()).await?;
    browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    browser.visit(&request.url()).await
}

/// The query of a redirect to the client. Panics when the page is none.
fn refusal(client: &OAuthClient, page: &Page) -> (String, Option<String>, Option<String>) {
    let url = page
        .location()
        .unwrap_or_else(|| panic!("no redirect: {} {}", page.reply.status, page.words()));
    assert!(
        url.as_str().starts_with(&client.redirect_uri),
        "sent to {url}"
    );
    let one = |name: &str| {
        url.query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    assert_eq!(one("code"), None, "a code: {url}");
    (one("error").unwrap_or_default(), one("state"), one("iss"))
}

/// An error page: 400, HTML, no redirect, unframeable.
fn assert_error_page(page: &Page, what: &str) {
    assert_eq!(
        page.reply.status,
        400,
        "{what}: {:?} {}",
        page.reply.headers,
        page.words()
    );
    assert!(
        page.reply.header("content-type").starts_with("text/html"),
        "{what}"
    );
    assert!(page.reply.header("location").is_empty(), "{what}");
    assert!(
        page.reply
            .header("content-security-policy")
            .contains("frame-ancestors 'none'"),
        "{what}"
    );
    assert_eq!(page.reply.header("x-frame-options"), "DENY", "{what}");
}

#[tokio::test]
async fn a_code_comes_with_the_state_as_sent_and_the_issuer() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let request = client.authorization().with("state", "ä b+c&d=e%2f\"'<>");
    let callback = client.allow(&request, &fixture.owner).await?;
    assert_eq!(
        callback.parameter("state").as_deref(),
        Some("ä b+c&d=e%2f\"'<>")
    );
    assert_eq!(callback.parameter("iss"), Some(fixture.gateway.issuer()));
    assert!(callback.code().len() >= 22);
    Ok(())
}

#[tokio::test]
async fn state_scope_and_resource_may_be_missing() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let request = client
        .authorization()
        .without("state")
        .without("scope")
        .without("resource");
    let callback = client.allow(&request, &fixture.owner).await?;
    assert_eq!(callback.parameter("state"), None);
    let reply = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["scope"], "mcp");
    Ok(())
}

#[tokio::test]
async fn an_unknown_client_sees_a_page_and_nobody_is_redirected() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    for request in [
        client.authorization().with("client_id", "no-such-client"),
        client.authorization().with("client_id", ""),
        client.authorization().without("client_id"),
        client.authorization().with("client_id", &"x".repeat(5000)),
        client
            .authorization()
            .with("client_id", "https://example.com/client.json"),
    ] {
        let page = Browser::default().open(&request.url()).await?;
        assert_error_page(&page, &format!("{:?}", request.parameters));
    }
    Ok(())
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_registered_sees_a_page_and_nobody_is_redirected() -> Result<()>
{
    let fixture = Fixture::start().await?;
    let metadata = json!({"client_name": "Web", "redirect_uris": ["https://example.com/cb"]});
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    for uri in [
        "https://example.com/cb/",
        "https://example.com/cb?x=1",
        "https://example.com/CB",
        "https://EXAMPLE.com/cb",
        "https://example.com:443/cb",
        "https://example.com:8443/cb",
        "http://example.com/cb",
        "https://example.com/cb/../evil",
        "https://example.com/cb%2f..",
        "https://example.com@evil.example/cb",
        "https://example.com.evil.example/cb",
        "https://example.com/cb#x",
        "https://example.com\\@evil.example/cb",
        "javascript:alert(1)",
        "http://127.0.0.1:1/cb",
        "",
    ] {
        let page = Browser::default()
            .open(&client.authorization().with("redirect_uri", uri).url())
            .await?;
        assert_error_page(&page, uri);
    }
    Ok(())
}

#[tokio::test]
async fn a_loopback_redirect_uri_may_use_any_port_and_nothing_else_may_differ() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata = json!({"client_name": "Native", "redirect_uris": ["http://127.0.0.1/cb", "http://localhost:3000/cb", "http://[::1]/cb"]});
    let mut client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    for uri in [
        "http://127.0.0.1:40001/cb",
        "http://localhost:40002/cb",
        "http://[::1]:40003/cb",
    ] {
        client.redirect_uri = uri.into();
        client.sign_in(&fixture.owner).await?;
    }
    for uri in [
        "http://127.0.0.1:40001/other",
        "http://127.0.0.2:40001/cb",
        "https://127.0.0.1:40001/cb",
        "http://127.0.0.1:40001/cb?a=b",
        "http://localhost.:1/cb",
    ] {
        let page = Browser::default()
            .open(&client.authorization().with("redirect_uri", uri).url())
            .await?;
        assert_error_page(&page, uri);
    }
    Ok(())
}

#[tokio::test]
async fn pkce_with_s256_cannot_be_left_out_or_weakened() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let good = client.authorization();
    let verifier = good.pkce.verifier.clone();
    let requests = [
        (
            "no challenge",
            good.clone()
                .without("code_challenge")
                .without("code_challenge_method"),
        ),
        (
            "method without challenge",
            good.clone().without("code_challenge"),
        ),
        (
            "plain",
            good.clone()
                .with("code_challenge_method", "plain")
                .with("code_challenge", &verifier),
        ),
        (
            "no method means plain",
            good.clone()
                .without("code_challenge_method")
                .with("code_challenge", &verifier),
        ),
        (
            "s256 in lower case",
            good.clone().with("code_challenge_method", "s256"),
        ),
        (
            "unknown method",
            good.clone().with("code_challenge_method", "S512"),
        ),
        ("empty challenge", good.clone().with("code_challenge", "")),
        (
            "empty method",
            good.clone().with("code_challenge_method", ""),
        ),
        (
            "short challenge",
            good.clone().with("code_challenge", "abc"),
        ),
        (
            "long challenge",
            good.clone().with("code_challenge", &"a".repeat(129)),
        ),
        (
            "challenge with padding",
            good.clone()
                .with("code_challenge", &format!("{}=", good.pkce.challenge)),
        ),
        (
            "characters outside base64url",
            good.clone().with("code_challenge", &"+/".repeat(22)[..43]),
        ),
    ];
    for (what, request) in requests {
        let page = open_logged_in(&fixture, &client, &request).await?;
        let (error, state, iss) = refusal(&client, &page);
        assert_eq!(error, "invalid_request", "{what}");
        assert_eq!(state.as_deref(), Some("as it was sent: /?&=+%"), "{what}");
        assert_eq!(iss, Some(fixture.gateway.issuer()), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn only_the_code_flow_exists() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    for kind in [
        "token",
        "id_token",
        "code token",
        "code id_token",
        "none",
        "CODE",
    ] {
        let page = open_logged_in(
            &fixture,
            &client,
            &client.authorization().with("response_type", kind),
        )
        .await?;
        assert_eq!(
            refusal(&client, &page).0,
            "unsupported_response_type",
            "{kind}"
        );
    }
    for request in [
        client.authorization().without("response_type"),
        client.authorization().with("response_type", ""),
    ] {
        let page = open_logged_in(&fixture, &client, &request).await?;
        assert_eq!(refusal(&client, &page).0, "invalid_request");
    }
    Ok(())
}

#[tokio::test]
async fn a_parameter_sent_twice_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    for name in [
        "state",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "response_type",
    ] {
        let mut request = client.authorization();
        let again = request
            .parameters
            .iter()
            .find(|(key, _)| key == name)
            .expect("it is there")
            .clone();
        request.parameters.push(again);
        let page = open_logged_in(&fixture, &client, &request).await?;
        assert_eq!(refusal(&client, &page).0, "invalid_request", "{name}");
    }
    for (name, value) in [
        ("client_id", client.client_id.as_str()),
        ("redirect_uri", "https://evil.example/cb"),
        ("redirect_uri", client.redirect_uri.as_str()),
    ] {
        let mut request = client.authorization();
        request.parameters.push((name.into(), value.into()));
        assert_error_page(&Browser::default().open(&request.url()).await?, name);
    }
    Ok(())
}

#[tokio::test]
async fn unknown_parameters_and_scopes_do_not_stop_a_client() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let request = client
        .authorization()
        .with("scope", "openid email mcp offline_access")
        .with("prompt", "consent")
        .with("nonce", "n")
        .with("login_hint", "alice")
        .with("audience", "x")
        .with("id_token_hint", "y");
    let callback = client.allow(&request, &fixture.owner).await?;
    let reply = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    assert_eq!(reply.json()["scope"], "mcp");
    Ok(())
}

#[tokio::test]
async fn every_spelling_of_the_resource_that_clients_send_is_accepted() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let origin = fixture.gateway.issuer();
    let upper = origin.replacen("http://", "HTTP://", 1);
    for resource in [
        format!("{origin}/mcp"),
        format!("{origin}/mcp/"),
        format!("{origin}/sse"),
        format!("{origin}/messages"),
        origin.clone(),
        format!("{origin}/"),
        format!("{upper}/mcp"),
    ] {
        let token = client.sign_in_for(&fixture.owner, &resource).await?;
        let reply =
            tests::mcp::send(&fixture.url("/mcp"), &token, &tests::mcp::initialize()).await?;
        assert_eq!(reply.status, 200, "{resource}: {}", reply.text);
    }
    Ok(())
}

#[tokio::test]
async fn a_resource_that_is_not_ours_is_refused_as_invalid_target() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let origin = fixture.gateway.issuer();
    for resource in [
        "https://other.example/mcp".into(),
        format!("{origin}/other/mcp"),
        format!("{origin}/mcp2"),
        format!("{origin}/mcp#fragment"),
        "not a url".into(),
        format!("{origin}.evil.example/mcp"),
    ] {
        let page = open_logged_in(&fixture, &client, &client.authorization_for(&resource)).await?;
        assert_eq!(refusal(&client, &page).0, "invalid_target", "{resource}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_is_sent_to_a_registered_client_before_logging_in() -> Result<()> {
    let fixture = Fixture::start().await?;
    let metadata =
        json!({"client_name": "Phisher", "redirect_uris": ["https://evil.example/landing"]});
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    for request in [
        client.authorization().with("scope", "no-such-scope"),
        client.authorization().with("prompt", "none"),
        client.authorization().with("response_type", "token"),
        client.authorization().without("code_challenge"),
        client
            .authorization()
            .with("resource", "https://elsewhere.example/"),
        client.authorization(),
    ] {
        let page = Browser::default().visit(&request.url()).await?;
        assert!(page.location().is_none(), "sent to {:?}", page.location());
        assert!(
            page.password_form().is_ok(),
            "{:?}: no login form but {}",
            request.parameters,
            page.words()
        );
    }
    Ok(())
}

#[tokio::test]
async fn parameters_that_name_a_next_page_are_not_followed() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let evil = "https://evil.example/";
    for name in ["next", "return_to", "continue", "redirect", "url", "rd"] {
        for path in ["/login", "/authorize", "/", "/setup", "/account"] {
            let mut url = Url::parse(&fixture.url(path))?;
            url.query_pairs_mut().append_pair(name, evil);
            let page = Browser::default().visit(&url).await?;
            assert!(
                page.location().is_none(),
                "{url} leads to {:?}",
                page.location()
            );
        }
        let mut browser = Browser::default();
        let page = browser
            .visit(&client.authorization().with(name, evil).url())
            .await?;
        let mut form = page
            .password_form()?
            .filled(&fixture.owner.name, &fixture.owner.password);
        form.set(name, evil);
        let next = browser.submit(&form).await?;
        let next = browser.settle(next).await?;
        assert!(
            next.form_with_button("Allow").is_ok(),
            "{name}: {:?} {}",
            next.location(),
            next.words()
        );
    }
    Ok(())
}

#[tokio::test]
async fn opening_the_same_url_again_without_a_cookie_is_harmless() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Client").await?;
    let request = client.authorization();
    let mut browser = Browser::default();
    let page = browser.visit(&request.url()).await?;
    let preflight = Browser::default().open(&request.url()).await?;
    assert!(
        [200, 302, 303].contains(&preflight.reply.status),
        "{}",
        preflight.reply.status
    );
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    Browser::default().open(&request.url()).await?;
    let last = browser.answer(&page, "Allow").await?;
    assert!(
        last.location()
            .expect("a redirect")
            .query()
            .unwrap_or_default()
            .contains("code=")
    );
    Ok(())
}
