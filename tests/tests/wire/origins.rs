//! Apps that run in a browser: what a page of another origin may read, and what it may call.

use anyhow::Result;
use reqwest::Method;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::Setup;
use tests::http::{self, Reply, ask};
use tests::mcp::{self, initialize};

const READABLE: &str = "access-control-allow-origin";

async fn call(fixture: &Fixture, token: &str, origin: &str) -> Result<Reply> {
    let request = mcp::post(&fixture.url("/mcp"), token, &initialize());
    http::send(request.header("Origin", origin)).await
}

async fn with_origins(origins: &str) -> Result<Fixture> {
    Fixture::with(StoreKind::Embedded, |setup| Setup {
        top: format!("allowed_origins = {origins}\n"),
        ..setup
    })
    .await
}

#[tokio::test]
async fn a_page_of_any_origin_learns_where_to_log_in() -> Result<()> {
    let fixture = Fixture::start().await?;
    for origin in ["https://app.example", "https://claude.ai", "null"] {
        for (path, method) in [
            ("/mcp", "POST"),
            ("/mcp", "GET"),
            ("/sse", "GET"),
            ("/mcp", "DELETE"),
        ] {
            let preflight = ask(
                "OPTIONS",
                &fixture.url(path),
                &[
                    ("Origin", origin),
                    ("Access-Control-Request-Method", method),
                    (
                        "Access-Control-Request-Headers",
                        "authorization,content-type,mcp-protocol-version,mcp-session-id",
                    ),
                ],
            )
            .await?;
            assert_eq!(preflight.status, 204, "{origin} {path}");
            assert!(
                ["*", origin].contains(&preflight.header(READABLE)),
                "{origin}"
            );
            let sendable = preflight
                .header("access-control-allow-headers")
                .to_lowercase();
            assert!(sendable.contains("authorization") && sendable.contains("mcp-session-id"));

            for token in ["", "Bearer nonsense"] {
                let mut request = http::client()
                    .request(Method::from_bytes(method.as_bytes())?, fixture.url(path))
                    .header("Origin", origin);
                if !token.is_empty() {
                    request = request.header("Authorization", token);
                }
                let reply = http::send(request).await?;
                assert_eq!(reply.status, 401, "{origin} {path}: {}", reply.text);
                assert!(["*", origin].contains(&reply.header(READABLE)), "{origin}");
                let exposed = reply.header("access-control-expose-headers").to_lowercase();
                assert!(exposed.contains("www-authenticate"), "{exposed}");
                assert!(
                    reply
                        .header("www-authenticate")
                        .contains("resource_metadata=")
                );
            }
        }
        for path in [
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/nowhere",
        ] {
            let reply = ask("GET", &fixture.url(path), &[("Origin", origin)]).await?;
            assert_eq!(reply.header(READABLE), "*", "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_well_known_apps_and_of_this_computer_may_call_by_default() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for origin in [
        "https://claude.ai",
        "https://chatgpt.com",
        "https://vscode.dev",
        "https://abc123.vscode-cdn.net",
        "http://localhost:6274",
        "http://127.0.0.1:3000",
        "http://[::1]:9999",
        &fixture.gateway.issuer(),
    ] {
        let reply = call(&fixture, &token, origin).await?;
        assert_eq!(reply.status, 200, "{origin}: {}", reply.text);
        assert_eq!(reply.header(READABLE), origin);
        assert!(
            reply
                .header("access-control-expose-headers")
                .contains("Mcp-Session-Id")
        );
    }
    for origin in [
        "https://evil.example",
        "null",
        "https://claude.ai.evil.example",
        "https://localhost.evil.example",
    ] {
        let reply = call(&fixture, &token, origin).await?;
        assert_eq!(reply.status, 403, "{origin}: {}", reply.text);
        assert_eq!(reply.header(READABLE), "*", "{origin} can't read why");
        assert!(reply.text.contains("allowed_origins"), "{}", reply.text);
    }
    Ok(())
}

#[tokio::test]
async fn the_list_of_origins_can_be_replaced_extended_and_emptied() -> Result<()> {
    let (own, claude) = ("https://app.example", "https://claude.ai");
    for (written, own_status, claude_status) in [
        ("[]", 403, 403),
        ("[\"none\"]", 403, 403),
        ("[\"https://app.example/\"]", 200, 403),
        ("[\"HTTPS://*.Example\", \"well-known\"]", 200, 200),
        ("[\"*\"]", 200, 200),
    ] {
        let fixture = with_origins(written).await?;
        let (_, token) = fixture.signed_in().await?;
        for (origin, status) in [(own, own_status), (claude, claude_status)] {
            let reply = call(&fixture, &token, origin).await?;
            assert_eq!(reply.status, status, "{written} {origin}: {}", reply.text);
        }
        let reply = call(&fixture, &token, &fixture.gateway.issuer()).await?;
        assert_eq!(reply.status, 200, "{written}: our own pages");
    }
    Ok(())
}

#[tokio::test]
async fn what_knows_a_person_by_a_cookie_stays_closed_to_pages_of_others() -> Result<()> {
    let fixture = Fixture::start().await?;
    for path in ["/authorize", "/login", "/account", "/consent", "/setup"] {
        for origin in ["https://evil.example", "https://claude.ai"] {
            let headers = [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
            ];
            let preflight = ask("OPTIONS", &fixture.url(path), &headers).await?;
            assert_eq!(preflight.header(READABLE), "", "{path}");
            let reply = ask("GET", &fixture.url(path), &[("Origin", origin)]).await?;
            assert_eq!(reply.header(READABLE), "", "{path}");
        }
    }
    Ok(())
}
