//! Without a good token there is a challenge, and nothing reaches the backend.

use super::*;

const PROTECTED: [&str; 5] = ["/mcp", "/mcp/", "/sse", "/sse/", "/messages"];

#[tokio::test]
async fn without_a_token_every_method_gets_the_challenge_and_nothing_reaches_the_backend()
-> Result<()> {
    let fixture = Fixture::start().await?;
    let issuer = fixture.gateway.issuer();
    let before = fixture.backend.requests().len();
    for path in PROTECTED {
        // Messages belong to the stream that announced their endpoint.
        let resource = if path == "/messages" { "/sse" } else { path };
        for method in [
            "GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "FROB",
        ] {
            let reply = ask(
                method,
                &fixture.url(path),
                &[("MCP-Protocol-Version", "2024-11-05")],
            )
            .await?;
            assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text);
            let challenge = reply.header("www-authenticate");
            assert!(
                challenge.starts_with("Bearer "),
                "{method} {path}: {challenge}"
            );
            assert!(
                challenge.contains(&format!(
                    "resource_metadata=\"{issuer}/.well-known/oauth-protected-resource{resource}\""
                )),
                "{method} {path}: {challenge}"
            );
            assert!(challenge.contains("scope=\"mcp\""), "{challenge}");
            assert!(
                !challenge.contains("error="),
                "an error although no token was sent: {challenge}"
            );
            if method != "HEAD" {
                assert!(
                    reply.header("content-type").starts_with("application/json"),
                    "{method} {path}"
                );
                assert!(reply.json().is_object());
            }
        }
    }
    assert_eq!(fixture.backend.requests().len(), before);
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_no_good_gets_invalid_token() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let before = fixture.backend.marked("tools/call").len();
    let mut flipped = token.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped)?;
    for (what, value) in [
        ("flipped", flipped.as_str()),
        ("truncated", &token[..token.len() - 4]),
        ("extended", &format!("{token}AAAA")),
        ("words", "not-a-token"),
        ("long", &"A".repeat(6000)),
        ("a JWT", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."),
    ] {
        let reply = send(&fixture.url("/mcp"), value, &call(1, "echo", &json!({}))).await?;
        assert_eq!(reply.status, 401, "{what}: {}", reply.text);
        assert!(
            reply
                .header("www-authenticate")
                .contains("error=\"invalid_token\""),
            "{what}: {}",
            reply.header("www-authenticate")
        );
        assert!(!reply.text.contains(value), "{what}: the token is echoed");
    }
    assert_eq!(fixture.backend.marked("tools/call").len(), before);
    Ok(())
}

#[tokio::test]
async fn the_authorization_header_has_one_meaning() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let body = initialize().to_string();
    for (value, status) in [
        (format!("Bearer {token}"), 200),
        (format!("bearer {token}"), 200),
        (format!("Basic {token}"), 401),
        (format!("Bearer{token}"), 401),
        ("Bearer".into(), 401),
        (format!("Bearer {token} {token}"), 401),
        (format!("Bearer {token},Bearer {token}"), 401),
        (token.clone(), 401),
    ] {
        let headers = [
            ("Authorization", value.as_str()),
            ("Accept", "application/json, text/event-stream"),
        ];
        let reply = http::post(
            &fixture.url("/mcp"),
            "application/json",
            body.clone(),
            &headers,
        )
        .await?;
        let shown = value.replace(&token, "TOKEN");
        assert!(
            reply.status == status || (status == 401 && reply.status == 400),
            "{shown}: {}",
            reply.status
        );
    }
    let twice = http::client()
        .post(fixture.url("/mcp"))
        .header("Authorization", format!("Bearer {token}"))
        .header("Authorization", "Bearer x")
        .header("Content-Type", "application/json")
        .body(body);
    let reply = http::send(twice).await?;
    assert!(
        [400, 401].contains(&reply.status),
        "two Authorization headers: {}",
        reply.status
    );
    Ok(())
}
