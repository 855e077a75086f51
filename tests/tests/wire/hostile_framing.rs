//! Requests whose end, host or path could be read in two ways: one request in, at
//! most one request out, and never one that was not authorised.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::mcp::{call, initialize, send};
use tests::raw::{exchange, request};

const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_second_request_hidden_in_a_body_never_arrives() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let host = format!("127.0.0.1:{}", fixture.gateway.port);
    let hidden =
        format!("POST /mcp?SMUGGLED HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
    let auth = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let good = call(1, "echo", &json!({})).to_string();
    let length = good.len();
    let start = format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}");
    let cases = [
        (
            "length and chunks",
            format!(
                "{start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "chunks and length",
            format!(
                "{start}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "two lengths",
            format!("{start}Content-Length: {length}\r\nContent-Length: 5\r\n\r\n{good}{hidden}"),
        ),
        (
            "a list of lengths",
            format!("{start}Content-Length: {length}, 5\r\n\r\n{good}{hidden}"),
        ),
        (
            "a signed length",
            format!("{start}Content-Length: +{length}\r\n\r\n{good}{hidden}"),
        ),
        (
            "a length in hexadecimal",
            format!("{start}Content-Length: 0x10\r\n\r\n{good}{hidden}"),
        ),
        (
            "an unknown coding",
            format!("{start}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunked twice",
            format!("{start}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a space before the colon",
            format!("{start}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a folded header",
            format!("{start}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "HTTP/1.0 with chunks",
            format!(
                "{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
                start.replace("HTTP/1.1", "HTTP/1.0")
            ),
        ),
        (
            "a bad chunk size",
            format!("{start}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}"),
        ),
        (
            "a bare LF",
            format!("{start}Transfer-Encoding: chunked\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "an upgrade",
            format!(
                "{start}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a GET with a body",
            format!(
                "GET /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
        ),
    ];
    for (what, bytes) in cases {
        let answer = exchange(fixture.gateway.address(), bytes.as_bytes(), PATIENCE).await?;
        let smuggled = fixture.backend.marked("SMUGGLED");
        assert!(smuggled.is_empty(), "{what}: {smuggled:?}\n{}", answer.text);
    }
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused_even_with_a_token() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let bearer = format!("Bearer {token}");
    let body = call(1, "echo", &json!({"marker": "FOREIGN"})).to_string();
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "user@127.0.0.1",
        "a b",
        "127.0.0.1, evil.example",
    ] {
        // With and without the Origin that a browser adds for a page that rebound its name to us.
        let origin = format!("http://{host}");
        for headers in [
            headers.to_vec(),
            [headers.as_slice(), &[("Origin", &origin)]].concat(),
        ] {
            let bytes = request("POST", "/mcp", host, &headers, body.as_bytes());
            let answer = exchange(fixture.gateway.address(), &bytes, PATIENCE).await?;
            let status = answer.status();
            assert!((400..500).contains(&status), "{host:?}: {}", answer.text);
        }
    }
    assert!(fixture.backend.marked("FOREIGN").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_path_with_two_readings_is_never_forwarded() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let bearer = format!("Bearer {token}");
    let host = format!("127.0.0.1:{}", fixture.gateway.port);
    let body = call(1, "echo", &json!({"marker": "TWOFOLD"})).to_string();
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    for path in [
        "//mcp",
        "/./mcp",
        "/x/../mcp",
        "/%2e/mcp",
        "/mcp/%2e%2e/mcp",
        "/mcp%2f",
        "/mcp%00",
        "/mcp;x=1",
        "/mcp\\",
        "/\\mcp",
        "/mcp%5c",
        "/%6dcp",
        "/mcp/..;/x",
        "/mcp#x",
        "mcp",
        "/MCP",
        "/mcp/extra",
        "/mcp%20",
        "/mcp\u{e9}",
        "@evil.example/mcp",
    ] {
        let answer = exchange(
            fixture.gateway.address(),
            &request("POST", path, &host, &headers, body.as_bytes()),
            PATIENCE,
        )
        .await?;
        assert!(
            [400, 404].contains(&answer.status()),
            "{path}: {} {}",
            answer.status(),
            answer.text.lines().next().unwrap_or_default()
        );
        assert!(
            fixture.backend.marked("TWOFOLD").is_empty(),
            "{path} reached the backend"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_and_hurts_nobody() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let host = format!("127.0.0.1:{}", fixture.gateway.port);
    let address = fixture.gateway.address();
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let head = format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\n");
            tokio::spawn(async move {
                exchange(address, head.as_bytes(), Duration::from_secs(35)).await
            })
        })
        .collect();
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200
    );
    for attempt in slow {
        let answer = attempt.await??;
        assert!(
            answer.closed,
            "a half header is still waited for after 35 s"
        );
    }
    Ok(())
}

#[tokio::test]
async fn too_much_header_is_refused() -> Result<()> {
    let fixture = Fixture::start().await?;
    let host = format!("127.0.0.1:{}", fixture.gateway.port);
    let long = "a".repeat(900_000);
    let answer = exchange(
        fixture.gateway.address(),
        &request("GET", "/mcp", &host, &[("X-Long", &long)], b""),
        PATIENCE,
    )
    .await?;
    assert!(
        (400..500).contains(&answer.status()) || answer.closed,
        "{}",
        answer.text.lines().next().unwrap_or_default()
    );
    let many: Vec<(String, String)> = (0..1000).map(|n| (format!("X-{n}"), "v".into())).collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let answer = exchange(
        fixture.gateway.address(),
        &request("GET", "/mcp", &host, &many, b""),
        PATIENCE,
    )
    .await?;
    assert!(
        (400..500).contains(&answer.status()) || answer.closed,
        "{}",
        answer.text.lines().next().unwrap_or_default()
    );
    Ok(())
}
