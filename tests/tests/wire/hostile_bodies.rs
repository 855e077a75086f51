//! Bodies that a judge and a backend could read differently, or that are too much
//! (V-JDUP, V-BATCH, V-BIG). What is let through must be what was judged.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::http;
use tests::mcp::{initialize, send};
use tests::raw;

const LIMIT: usize = 4 * 1024 * 1024;

async fn post(
    fixture: &Fixture,
    token: &str,
    body: impl Into<reqwest::Body>,
    headers: &[(&str, &str)],
) -> Result<http::Reply> {
    let bearer = format!("Bearer {token}");
    let mut all = vec![
        ("Authorization", bearer.as_str()),
        ("Accept", "application/json, text/event-stream"),
    ];
    all.extend_from_slice(headers);
    http::post(&fixture.url("/mcp"), "application/json", body, &all).await
}

#[tokio::test]
async fn json_with_more_than_one_reading_is_refused_unforwarded() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let bodies = [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"params":{"name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"MARK","arguments":{},"arguments":{"a":1}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"MARK","arguments":{"a":1,"a":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"MARK","arguments":{"b":{"a":1,"\u0061":2}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call","params":{"name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"Params":{"name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","paramſ":{"name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","Name":"MARK"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","NAME":"MARK"}}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"name\\u0000\":\"MARK\"}}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"method\\u0000x\":\"MARK\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"meth\\u006fd\":\"tools/call\",\"method\":\"MARK\"}",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"__proto__":{"name":"MARK"}}}"#,
    ];
    for body in bodies {
        let reply = post(&fixture, &token, body, &[]).await?;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        assert!(reply.json().is_object());
    }
    assert!(
        fixture.backend.marked("MARK").is_empty(),
        "{:?}",
        fixture.backend.marked("MARK")
    );
    Ok(())
}

#[tokio::test]
async fn what_is_no_json_rpc_in_utf_8_is_refused_unforwarded() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"MARK\",\"params\":{}{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"MARK"}"#;
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        (
            "a BOM",
            [b"\xef\xbb\xbf".as_slice(), message.as_bytes()].concat(),
        ),
        (
            "UTF-16",
            message.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        (
            "Latin-1",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"MARK\",\"params\":{\"a\":\"\xe9\"}}"
                .to_vec(),
        ),
        ("two messages", format!("{message}{message}").into_bytes()),
        ("text after it", format!("{message} x").into_bytes()),
        ("a comment", format!("/* */{message}").into_bytes()),
        ("single quotes", message.replace('"', "'").into_bytes()),
        ("a trailing comma", message.replace('}', ",}").into_bytes()),
        (
            "NaN",
            message.replace("\"id\":1", "\"id\":NaN").into_bytes(),
        ),
        (
            "a lone surrogate",
            message.replace("MARK", "MARK\\ud800").into_bytes(),
        ),
        ("too deep", deep.into_bytes()),
        ("nothing", vec![]),
        ("a string", b"\"MARK\"".to_vec()),
        ("null", b"null".to_vec()),
        (
            "no method",
            br#"{"jsonrpc":"2.0","id":1,"x":"MARK"}"#.to_vec(),
        ),
        (
            "a method that is no string",
            br#"{"jsonrpc":"2.0","id":1,"method":["MARK"]}"#.to_vec(),
        ),
        (
            "an id that is an object",
            br#"{"jsonrpc":"2.0","id":{"a":1},"method":"MARK"}"#.to_vec(),
        ),
        (
            "another version",
            br#"{"jsonrpc":"1.0","id":1,"method":"MARK"}"#.to_vec(),
        ),
    ];
    for (what, body) in bodies {
        let reply = post(&fixture, &token, body, &[]).await?;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text);
    }
    assert!(fixture.backend.marked("MARK").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_compressed_body_is_415() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for coding in ["gzip", "br", "deflate", "zstd", "identity, gzip", "GZIP"] {
        let reply = post(
            &fixture,
            &token,
            b"\x1f\x8b\x08MARK".to_vec(),
            &[("Content-Encoding", coding)],
        )
        .await?;
        assert_eq!(reply.status, 415, "{coding}: {}", reply.text);
    }
    assert!(fixture.backend.marked("MARK").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_batch_is_refused_or_every_element_is_judged() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let one = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "MARK"}});
    let many: Vec<_> = (0..10_000).map(one).collect();
    for (what, body) in [
        ("two", json!([one(1), one(2)])),
        ("none", json!([])),
        ("nested", json!([[one(1)]])),
        ("ten thousand", json!(many)),
        ("the same id twice", json!([one(1), one(1)])),
        ("a number", json!([1])),
    ] {
        let reply = post(
            &fixture,
            &token,
            body.to_string(),
            &[("MCP-Protocol-Version", "2025-11-25")],
        )
        .await?;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text);
    }
    assert!(fixture.backend.marked("MARK").is_empty());
    Ok(())
}

#[tokio::test]
async fn the_limit_is_four_mebibytes_exactly() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"x": ""}}}).to_string();
    let sized = |length: usize| {
        frame.replace(
            "\"x\":\"\"",
            &format!("\"x\":\"{}\"", "a".repeat(length - frame.len())),
        )
    };
    let fits = sized(LIMIT);
    assert_eq!(fits.len(), LIMIT);
    let reply = post(&fixture, &token, fits, &[]).await?;
    assert_eq!(
        reply.status,
        200,
        "{}",
        &reply.text[..reply.text.len().min(200)]
    );
    let before = fixture.backend.requests().len();
    let reply = post(&fixture, &token, sized(LIMIT + 1), &[]).await;
    if let Ok(reply) = reply {
        assert_eq!(reply.status, 413, "{}", reply.text);
    }
    let chunks = sized(LIMIT + 1).into_bytes();
    let mut bytes = raw::request(
        "POST",
        "/mcp",
        &format!("127.0.0.1:{}", fixture.gateway.port),
        &[
            ("Authorization", &format!("Bearer {token}")),
            ("Content-Type", "application/json"),
            ("Transfer-Encoding", "chunked"),
        ],
        b"",
    );
    for piece in chunks.chunks(64 * 1024) {
        bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let answer = raw::exchange(fixture.gateway.address(), &bytes, Duration::from_secs(5)).await?;
    assert!(
        [413, 0].contains(&answer.status()),
        "chunked: {}",
        answer.text
    );
    let declared = raw::request(
        "POST",
        "/mcp",
        &format!("127.0.0.1:{}", fixture.gateway.port),
        &[
            ("Authorization", &format!("Bearer {token}")),
            ("Content-Type", "application/json"),
            ("Content-Length", "10000000000"),
        ],
        b"",
    );
    let answer =
        raw::exchange(fixture.gateway.address(), &declared, Duration::from_secs(5)).await?;
    assert_eq!(
        answer.status(),
        413,
        "ten gigabytes declared: {}",
        answer.text
    );
    assert_eq!(
        fixture.backend.requests().len(),
        before,
        "something too large reached the backend"
    );
    Ok(())
}

#[tokio::test]
async fn without_a_token_no_body_is_waited_for() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let host = format!("127.0.0.1:{}", fixture.gateway.port);
    let before = fixture.gateway.program().resident_memory()?;
    let head = raw::request(
        "POST",
        "/mcp",
        &host,
        &[
            ("Content-Type", "application/json"),
            ("Content-Length", "4000000"),
        ],
        b"",
    );
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let head = head.clone();
        let address = fixture.gateway.address();
        waiting.push(tokio::spawn(async move {
            raw::exchange(address, &head, Duration::from_secs(3)).await
        }));
    }
    for answer in waiting {
        let answer = answer.await??;
        assert_eq!(answer.status(), 401, "{}", answer.text);
    }
    let grown = fixture
        .gateway
        .program()
        .resident_memory()?
        .saturating_sub(before);
    assert!(
        grown < 64 * 1024 * 1024,
        "{grown} bytes more after 200 anonymous senders"
    );
    let (_, token) = fixture.signed_in().await?;
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200
    );
    Ok(())
}
