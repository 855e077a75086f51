//! HTTP/2 without TLS, as a proxy speaks it with what stands behind it.

use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::BodyExt as _;
use hyper::Version;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::frames::PREFACE;
use tests::https::HttpsConnection;
use tests::mcp::call;
use tests::raw;

use crate::tls::headers;

#[tokio::test]
async fn a_proxy_that_begins_with_http_2_has_it_beside_http_1_1() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| tests::gateway::Setup {
        top: "h2c = true\ntrusted_proxies = [\"127.0.0.1\"]\n".into(),
        ..setup
    })
    .await?;
    let (_, token) = fixture.signed_in().await?;
    let bearer = format!("Bearer {token}");
    let authority = format!("127.0.0.1:{}", fixture.gateway.port);
    let address = fixture.gateway.address();
    let mut two = HttpsConnection::plain(address, Version::HTTP_2, &authority).await?;
    let mut stream = two
        .begin(
            "GET",
            "/mcp",
            &[("Authorization", &bearer), ("Accept", "text/event-stream")],
            "",
        )
        .await?;
    assert_eq!(stream.status(), 200);
    fixture
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;
    for version in [Version::HTTP_2, Version::HTTP_11] {
        let mut connection = HttpsConnection::plain(address, version, &authority).await?;
        for round in 0..3 {
            let body = call(round, "echo", &json!({})).to_string();
            let answer = connection
                .send("POST", "/mcp", &headers(&bearer), &body)
                .await?;
            assert_eq!(answer.status, 200, "{version:?} {answer:?}");
            assert_eq!(connection.send("GET", "/login", &[], "").await?.status, 200);
        }
        let refused = connection
            .send("POST", "/mcp", &headers("Bearer x"), "{}")
            .await?;
        assert_eq!(refused.status, 401);
    }
    fixture.backend.push(
        tests::scripted_mcp::MCP_STREAM,
        "event: message\ndata: here\n\n",
    );
    let frame = tokio::time::timeout(Duration::from_secs(5), stream.body_mut().frame()).await?;
    let frame = frame.context("the stream ended")??;
    assert!(
        frame
            .data_ref()
            .is_some_and(|data| data.starts_with(b"event"))
    );
    // Whoever goes away has the stream at the backend ended.
    drop(stream);
    drop(two);
    fixture
        .backend
        .await_streams(0, Duration::from_secs(5))
        .await?;
    Ok(())
}

#[tokio::test]
async fn it_is_not_spoken_unless_it_is_configured_and_only_from_the_first_byte() -> Result<()> {
    let fixture = Fixture::start().await?;
    let patience = Duration::from_secs(3);
    let answer = raw::exchange(fixture.gateway.address(), PREFACE, patience).await?;
    assert!(matches!(answer.status(), 400 | 0 | 505), "{}", answer.text);
    let fixture = Fixture::with(StoreKind::Embedded, |setup| tests::gateway::Setup {
        top: "h2c = true\n".into(),
        ..setup
    })
    .await?;
    let mut bytes = b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec();
    bytes.extend(PREFACE);
    let answer = raw::exchange(fixture.gateway.address(), &bytes, patience).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    // No frame of settings.
    assert!(!answer.text.contains("\0\0"), "{:?}", answer.text);
    Ok(())
}
