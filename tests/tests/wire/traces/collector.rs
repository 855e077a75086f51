//! A collector that is away, slow, or wants nothing: calls do not notice, what is lost is counted, and the
//! log says it once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::mcp::{call, send};
use tests::metrics::Scrape;
use tests::program::{binary, run};
use tests::recorder::Answer;
use tests::tls::{Certificates, TlsFront};
use tests::traces::{Collector, taken};
use tokio::task::JoinSet;

use super::traced;

const EXPORTED: &str = "gateway_trace_spans_exported_total";
const DROPPED: &str = "gateway_trace_spans_dropped_total";

/// The only line of the log with this event.
async fn only_line(gateway: &Gateway, event: &str) -> Result<String> {
    let event = format!("\"event\":\"{event}\"");
    let line = gateway.logged(&event).await?;
    let log = gateway.log();
    let lines = log.iter().filter(|line| line.contains(&event));
    assert_eq!(lines.count(), 1, "{log:?}");
    Ok(line)
}

/// So many requests of strangers, each of which is a span.
async fn strangers(fixture: &Fixture, count: usize) -> Result<()> {
    let mut running = JoinSet::new();
    let client = http::client();
    for _ in 0..8 {
        let (client, url) = (client.clone(), fixture.url("/no/such/place"));
        running.spawn(async move {
            for _ in 0..count / 8 {
                let status = client.get(&url).send().await?.status();
                ensure!(status == 404, "{status}");
            }
            Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_that_hangs_holds_no_call_up_and_no_more_than_a_queue_of_spans() -> Result<()> {
    let (fixture, collector) = traced("on", "sample = 1").await?;
    collector.0.play(|_| Answer::Silence);
    let (_, token) = fixture.signed_in().await?;
    strangers(&fixture, 3200).await?;
    let begun = Instant::now();
    let mcp = fixture.url("/mcp");
    assert_eq!(
        send(&mcp, &token, &call(1, "echo", &json!({})))
            .await?
            .status,
        200
    );
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    let reason = [("reason", "queue_full")];
    let scrape = Scrape::until(&fixture.gateway, |it| it.sum(DROPPED, &reason) > 0.0).await?;
    assert!(scrape.sum(DROPPED, &reason) > 500.0, "{}", scrape.counts());
    assert_eq!(scrape.sum(EXPORTED, &[]), 0.0);

    // It comes back: what was kept is sent, and the log says so, once.
    fixture.gateway.logged("\"traces_failing\"").await?;
    collector.0.play(|_| taken());
    fixture.gateway.logged("\"traces_sent_again\"").await?;
    Scrape::until(&fixture.gateway, |it| it.sum(EXPORTED, &[]) > 1000.0).await?;
    only_line(&fixture.gateway, "traces_failing").await?;
    only_line(&fixture.gateway, "traces_sent_again").await?;
    Ok(())
}

#[tokio::test]
async fn what_a_collector_refuses_is_dropped_and_counted() -> Result<()> {
    let (fixture, collector) = traced("on", "sample = 1").await?;
    collector.0.play(|_| Answer::Full(400, vec![], vec![]));
    strangers(&fixture, 8).await?;
    let begun = Instant::now();
    let failed = [("reason", "export_failed")];
    let holds = |it: &Scrape| it.sum(DROPPED, &failed) >= 8.0;
    Scrape::until(&fixture.gateway, holds).await?;
    // It is not sent again: that would not help.
    assert!(begun.elapsed() < Duration::from_secs(10));
    let warned = only_line(&fixture.gateway, "traces_failing").await?;
    assert!(warned.contains("400"), "{warned}");
    // `partial_success { rejected_spans: 1 }`
    collector
        .0
        .play(|_| Answer::Full(200, vec![], vec![0x0a, 0x02, 0x08, 0x01]));
    strangers(&fixture, 8).await?;
    let holds = |it: &Scrape| it.sum(DROPPED, &[("reason", "rejected")]) >= 1.0;
    let scrape = Scrape::until(&fixture.gateway, holds).await?;
    assert!(scrape.sum(EXPORTED, &[]) >= 7.0, "{}", scrape.counts());
    Ok(())
}

#[tokio::test]
async fn what_passes_is_sent_again() -> Result<()> {
    let (fixture, collector) = traced("on", "sample = 1").await?;
    let count = std::sync::atomic::AtomicUsize::new(0);
    collector.0.play(
        move |_| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Answer::Full(503, vec![("Retry-After".into(), "1".into())], vec![]),
            1 => Answer::Reset,
            _ => taken(),
        },
    );
    strangers(&fixture, 8).await?;
    let holds = |it: &Scrape| it.sum(EXPORTED, &[]) >= 8.0;
    let scrape = Scrape::until(&fixture.gateway, holds).await?;
    assert_eq!(scrape.sum(DROPPED, &[]), 0.0, "{}", scrape.counts());
    let bodies: Vec<Vec<u8>> = collector.requests().into_iter().map(|it| it.body).collect();
    assert!(bodies.len() >= 3 && bodies[0] == bodies[1] && bodies[1] == bodies[2]);
    Ok(())
}

#[tokio::test]
async fn a_shutdown_sends_what_is_left_and_waits_for_no_collector_that_hangs() -> Result<()> {
    let (mut fixture, collector) = traced("on", "sample = 1").await?;
    let (_, token) = fixture.signed_in().await?;
    let mcp = fixture.url("/mcp");
    assert_eq!(
        send(&mcp, &token, &call(1, "echo", &json!({})))
            .await?
            .status,
        200
    );
    fixture
        .gateway
        .program()
        .terminate(Duration::from_secs(20))
        .await?;
    let spans = collector.spans().await?;
    let is_call = |name: &str| name == "tools/call echo";
    let calls = spans.iter().filter(|span| is_call(span.text("name")));
    assert_eq!(calls.count(), 2, "{spans:#?}");

    let (mut fixture, collector) = traced("on", "sample = 1").await?;
    collector.0.play(|_| Answer::Silence);
    strangers(&fixture, 8).await?;
    let begun = Instant::now();
    fixture
        .gateway
        .program()
        .terminate(Duration::from_secs(20))
        .await?;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
    Ok(())
}

/// The authority that the environment names is trusted, and no other.
#[tokio::test]
async fn a_collector_behind_tls_is_known_by_its_certificate() -> Result<()> {
    let certificates = Certificates::make("IP:127.0.0.1", 30)?;
    let others = Certificates::make("IP:127.0.0.1", 30)?;
    let collector = Collector::start().await?;
    let front = TlsFront::start(&certificates).await?;
    front.front(collector.0.address);
    for (authority, is_trusted) in [(&certificates, true), (&others, false)] {
        let trusted = authority.authority().display().to_string();
        let url = front.origin();
        let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
            environment: vec![("SSL_CERT_FILE".into(), trusted)],
            ..setup.more(&format!("[traces]\nendpoint = \"{url}\"\nsample = 1\n"))
        })
        .await?;
        strangers(&fixture, 8).await?;
        if is_trusted {
            collector.until(|spans| spans.len() >= 8).await?;
            continue;
        }
        let before = collector.requests().len();
        let warned = fixture.gateway.logged("\"traces_failing\"").await?;
        assert!(warned.contains("certificate"), "{warned}");
        assert_eq!(collector.requests().len(), before);
    }
    Ok(())
}

#[tokio::test]
async fn headers_for_the_collector_come_from_a_file_and_are_never_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("headers");
    std::fs::write(&file, "X-Api-Key: hunter2\n\nX-Tenant: a\n")?;
    let file = file.display();
    let (fixture, collector) =
        traced("on", &format!("sample = 1\nheaders_file = \"{file}\"")).await?;
    strangers(&fixture, 8).await?;
    collector.until(|spans| spans.len() >= 8).await?;
    let sent = collector.requests();
    let sent = sent.first().context("it was waited for")?;
    assert_eq!(sent.header("x-api-key"), Some("hunter2"));
    assert_eq!(sent.header("x-tenant"), Some("a"));
    assert_eq!(sent.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(sent.target, "/v1/traces");
    let shown = [fixture.gateway.log(), fixture.gateway.printed()].concat();
    assert!(!shown.join("\n").contains("hunter2"));

    // What is wrong with a file is told without what is in it.
    std::fs::write(folder.path().join("headers"), "hunter2\n")?;
    for (traces, expected) in [
        (
            format!("endpoint = \"http://a\"\nheaders_file = \"{file}\""),
            "in line 1",
        ),
        (
            "endpoint = \"grpc://a:4317\"".to_owned(),
            "must be http:// or https://",
        ),
        (
            "endpoint = \"http://u:hunter2@a\"".to_owned(),
            "headers_file",
        ),
        (
            "endpoint = \"http://a\"\nsample = 1.5".to_owned(),
            "from 0 to 1",
        ),
        (
            "sample = 1".to_owned(),
            "name a collector in `traces.endpoint`",
        ),
    ] {
        let toml = format!("[traces]\n{traces}\n[[backend]]\nurl = \"http://127.0.0.1:9\"\n");
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, toml)?;
        let arguments = [
            "check".into(),
            "--config".into(),
            path.display().to_string(),
        ];
        let (code, out, errors) = run::<String>(&binary("gateway"), &arguments, "").await?;
        assert_eq!(code, 64, "{traces}: {out}{errors}");
        assert!(
            errors.contains(expected) || out.contains(expected),
            "{out}{errors}"
        );
        assert!(!(out + &errors).contains("hunter2"), "{traces}");
    }
    Ok(())
}
