//! The same over TLS: connections of HTTP/2 and HTTP/1.1 are handed over while calls run on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::BodyExt as _;
use hyper::Version;
use serde_json::json;
use tests::https::HttpsClient;
use tests::mcp::call;
use tests::scripted_mcp::MCP_STREAM;

use super::{PATIENCE, ends};
use crate::tls::{Secured, headers, open_stream, reads};

/// How long calls go on before and after an upgrade.
const REST: Duration = Duration::from_secs(2);

/// What one client met.
#[derive(Default)]
struct Met {
    answered: AtomicU64,
    /// Connections that were closed properly, after their last answer.
    closed: AtomicU64,
    is_over: AtomicBool,
}

/// Whether the server closed the connection in peace just before this request: it was not processed, and is
/// to be sent on another one (RFC 9113 section 6.8).
fn is_farewell(error: &anyhow::Error) -> bool {
    let error = error.chain().find_map(|it| it.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// Calls one after the other on one connection, and on the next one where the gateway has said that it closes
/// this one. Anything else is an error.
async fn calls(client: HttpsClient, version: Version, bearer: String, met: Arc<Met>) -> Result<()> {
    let mut connection = client.open(version).await?;
    let mut round = 1;
    while !met.is_over.load(Ordering::Relaxed) {
        if !connection.is_open().await {
            met.closed.fetch_add(1, Ordering::Relaxed);
            connection = client.open(version).await?;
        }
        let body = call(round, "echo", &json!({"round": round})).to_string();
        let answer = connection
            .send("POST", "/mcp", &headers(&bearer), &body)
            .await;
        if answer.as_ref().err().is_some_and(is_farewell) {
            continue;
        }
        let answer = answer.with_context(|| format!("call {round} over {version:?}"))?;
        let echoed = format!("round\\\":{round}}}");
        ensure!(
            answer.status == 200 && answer.text.contains(&echoed),
            "{version:?}: {answer:?}"
        );
        met.answered.fetch_add(1, Ordering::Relaxed);
        round += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_an_upgrade_over_tls_with_http_2_and_http_1_1() -> Result<()> {
    let mut secured = Secured::start("[timeouts]\nupgrade = \"3s\"\n").await?;
    let bearer = format!("Bearer {}", secured.token().await?);
    let mut running = tokio::task::JoinSet::new();
    let mut all = Vec::new();
    for version in [Version::HTTP_2, Version::HTTP_11] {
        for _ in 0..3 {
            let met = Arc::new(Met::default());
            all.push((version, Arc::clone(&met)));
            running.spawn(calls(secured.client()?, version, bearer.clone(), met));
        }
    }
    // A stream on a connection that is shared with calls.
    let mut shared = secured.client()?.open(Version::HTTP_2).await?;
    let mut stream = open_stream(&mut shared, &bearer).await?;
    secured.backend.await_streams(1, PATIENCE).await?;
    tokio::time::sleep(REST).await;
    let mut old = secured.gateway.upgrade().await?;
    secured.backend.push(MCP_STREAM, "data: {\"still\":1}\n\n");
    reads(&mut stream, "still").await?;
    tokio::time::sleep(REST).await;
    // It ends with its last word, and is not cut.
    let rest = tokio::time::timeout(PATIENCE, stream.collect()).await;
    let rest = rest.context("the stream goes on")?.context("it was cut")?;
    let rest = String::from_utf8(rest.to_bytes().to_vec())?;
    ensure!(rest.contains("retry:"), "{rest}");
    ends(&mut old).await?;
    for (_, met) in &all {
        met.is_over.store(true, Ordering::Relaxed);
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    for (version, met) in all {
        let answered = met.answered.load(Ordering::Relaxed);
        let closed = met.closed.load(Ordering::Relaxed);
        ensure!(answered > 20, "{version:?}: {answered} calls");
        assert_eq!(closed, 1, "{version:?}: how often a connection was closed");
    }
    Ok(())
}
