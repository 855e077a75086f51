//! Which road a request goes, by the gateway's own count; and the switch that forces one.

use anyhow::{Context, Result, bail};
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::mcp::{call, open_session};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Got, PATIENCE, read_answer};

/// The gateway with this word for the road, whatever the whole run has.
pub(super) fn forced(word: &str) -> Vec<(String, String)> {
    vec![("GATEWAY_LANE".into(), word.into())]
}

/// How many requests went the lane so far.
pub(super) async fn on_lane(gateway: &Gateway) -> Result<u64> {
    let metrics = http::get(&gateway.admin_url("/metrics")).await?.text;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("gateway_lane_requests_total "));
    Ok(line.context("the count is missing")?.trim().parse()?)
}

/// The status that a request gets on a connection of its own.
async fn status(gateway: &Gateway, request: &str) -> Result<u16> {
    let mut socket = TcpStream::connect(gateway.address()).await?;
    socket.write_all(request.as_bytes()).await?;
    let is_head = request.starts_with("HEAD");
    let reading = read_answer(&mut socket, is_head);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    match read.context("no answer in time")? {
        Some((Got::Whole(status, ..), _)) => Ok(status),
        _ => bail!("no whole answer"),
    }
}

#[tokio::test]
async fn each_request_goes_the_road_that_is_said() -> Result<()> {
    for word in ["on", "off", ""] {
        let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
            environment: forced(word),
            ..setup
        })
        .await?;
        let (_, token) = fixture.signed_in().await?;
        let session = open_session(&fixture.url("/mcp"), &token).await?;
        let host = format!("Host: 127.0.0.1:{}", fixture.gateway.port);
        let who = format!("Authorization: Bearer {token}\r\nMcp-Session-Id: {session}");
        let kind = "Content-Type: application/json\r\nAccept: application/json, text/event-stream";
        let body = call(1, "echo", &json!({})).to_string();
        let large = call(1, "echo", &json!({"long": "x".repeat(70_000)})).to_string();
        let length = format!("Content-Length: {}", body.len());
        let post = |who: &str, framing: &str, body: &str| {
            format!("POST /mcp HTTP/1.1\r\n{host}\r\n{who}\r\n{kind}\r\n{framing}\r\n\r\n{body}")
        };
        let plain = post(&who, &length, &body);
        let bare = |line: &str| format!("{line} HTTP/1.1\r\n{host}\r\n{who}\r\n\r\n");
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let date = format!("{length}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT");
        for (what, request, is_plain, expected) in [
            ("a call", plain.clone(), true, 200),
            ("a call with its date", post(&who, &date, &body), true, 200),
            ("no token", post("X-A: b", &length, &body), true, 401),
            ("an end", bare("DELETE /mcp"), true, 200),
            ("HEAD", bare("HEAD /mcp"), false, 404),
            (
                "chunks",
                post(&who, "Transfer-Encoding: chunked", &chunked),
                false,
                200,
            ),
            (
                "a large body",
                post(&who, &format!("Content-Length: {}", large.len()), &large),
                false,
                200,
            ),
            (
                "HTTP/1.0",
                plain.replacen("HTTP/1.1", "HTTP/1.0", 1),
                false,
                200,
            ),
            (
                "Expect",
                post(&who, &format!("{length}\r\nExpect: 100-continue"), &body),
                false,
                200,
            ),
            (
                "metadata",
                bare("GET /.well-known/oauth-authorization-server"),
                false,
                200,
            ),
        ] {
            let before = on_lane(&fixture.gateway).await?;
            let status = status(&fixture.gateway, &request).await.context(what)?;
            assert_eq!(status, expected, "{what}");
            let went = on_lane(&fixture.gateway).await? - before;
            assert_eq!(went, u64::from(is_plain && word != "off"), "{word}: {what}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn another_word_for_the_road_is_refused_at_the_start() -> Result<()> {
    let setup = Setup {
        environment: forced("yes"),
        ..Setup::default()
    };
    let Err(error) = Gateway::start(setup.backend("http://127.0.0.1:9")).await else {
        bail!("it started");
    };
    let told = format!("{error:#}");
    assert!(told.contains("ended with 64"), "{told}");
    assert!(
        told.contains("GATEWAY_LANE is \"yes\": write off"),
        "{told}"
    );
    Ok(())
}
