//! Streams: the older transport, keep-alives, ends on either side, many at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{self, LegacySession, call, initialize};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorder, Step};
use tests::scripted_mcp::{self, MCP_STREAM, SSE_STREAM};
use tests::sse::{EventStream, SseItem};

#[tokio::test]
async fn the_older_transport_works_from_the_endpoint_event_to_the_answer() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for path in ["/sse", "/sse/"] {
        let mut session = LegacySession::open(&fixture.url(path), &token).await?;
        assert!(
            session.endpoint.starts_with(&fixture.url("/messages?")),
            "{}",
            session.endpoint
        );
        assert_eq!(session.stream.header("x-accel-buffering"), "no");
        let answer = session.request(&initialize()).await?;
        assert_eq!(answer["result"]["serverInfo"]["name"], "scripted");
        let answer = session
            .request(&call(2, "echo", &json!({"x": "y"})))
            .await?;
        assert!(
            answer["result"]["content"][0]["text"]
                .as_str()
                .is_some_and(|text| text.contains('y'))
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_endpoint_event_names_the_public_origin_and_prefix_whatever_the_backend_says()
-> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway =
        Gateway::start(Setup::default().mounted("notes", "/notes", &backend.url())).await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let token = client
        .sign_in_for(&Owner::alice(), &gateway.url("/notes/sse"))
        .await?;
    for announced in [
        "/messages?sessionId=s1".to_owned(),
        "/messages/?session_id=s1".to_owned(),
        "messages?sessionId=s1".to_owned(),
        format!("{}/messages?sessionId=s1", backend.url()),
        "/message?sessionId=s1".to_owned(),
    ] {
        let event = format!("event: endpoint\ndata: {announced}\n\n");
        backend.play(
            move |request| match (request.method.as_str(), request.path()) {
                ("GET", "/sse") => Answer::events(vec![
                    Step::Send(event.clone()),
                    Step::Live(SSE_STREAM.into()),
                ]),
                ("POST", _) => Answer::Full(202, vec![], vec![]),
                _ => Answer::Full(404, vec![], vec![]),
            },
        );
        let session = LegacySession::open(&gateway.url("/notes/sse"), &token).await?;
        assert!(
            session.endpoint.starts_with(&gateway.url("/notes/")),
            "{announced} became {}",
            session.endpoint
        );
        let body = call(1, "echo", &json!({"marker": announced}));
        let reply = session.post(&body).await?;
        assert_eq!(reply.status, 202, "{announced}: {}", reply.text);
        let arrived = backend.requests().pop().expect("it arrived");
        assert!(
            arrived.target.contains("s1"),
            "{announced} arrived at {}",
            arrived.target
        );
        assert!(
            !arrived.target.contains("/notes"),
            "{announced} arrived at {}",
            arrived.target
        );
    }
    Ok(())
}

#[tokio::test]
async fn silence_is_filled_with_comments_and_only_between_events() -> Result<()> {
    let backend = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(
        Setup::default()
            .backend(&backend.url())
            .more("[timeouts]\nkeepalive = \"1s\"\n"),
    )
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    backend.play(|request| match request.method.as_str() {
        // Half an event, a silence longer than the keep-alive, the other half.
        "GET" => Answer::events(vec![
            Step::Send("event: mess".into()),
            Step::Wait(Duration::from_millis(2500)),
            Step::Send("age\ndata: whole\n".into()),
            Step::Wait(Duration::from_millis(2500)),
            Step::Send("\n".into()),
            Step::Live(MCP_STREAM.into()),
        ]),
        _ => Answer::Full(202, vec![], vec![]),
    });
    let mut stream =
        EventStream::open(http::client().get(gateway.url("/mcp")).bearer_auth(&token)).await?;
    // A comment inside the event is an error of the reader; one before it cannot be told apart from a good one.
    let (name, data) = stream.event(Duration::from_secs(8)).await?;
    assert_eq!((name.as_str(), data.as_str()), ("message", "whole"));
    let mut comments = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        match stream.next(Duration::from_secs(3)).await? {
            SseItem::Comment(_) => comments += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        (3..=7).contains(&comments),
        "{comments} comments in 5 s of silence, one a second was asked"
    );
    backend.push(MCP_STREAM, "data: after\n\n");
    assert_eq!(stream.event(Duration::from_secs(2)).await?.1, "after");
    Ok(())
}

/// Slow on purpose; it waits beside the other tests.
#[tokio::test]
async fn a_stream_idle_for_three_minutes_stays_open_with_a_comment_every_15_seconds() -> Result<()>
{
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let mut session = LegacySession::open(&fixture.url("/sse"), &token).await?;
    let (start, mut last, mut comments) = (Instant::now(), Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(185) {
        match session.stream.next(Duration::from_secs(20)).await? {
            SseItem::Comment(_) => {
                comments += 1;
                assert!(
                    last.elapsed() < Duration::from_secs(18),
                    "{:?} of silence",
                    last.elapsed()
                );
                last = Instant::now();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        (11..=13).contains(&comments),
        "{comments} comments in three minutes"
    );
    let answer = session
        .request(&call(9, "echo", &json!({"after": "three minutes"})))
        .await?;
    assert_eq!(answer["id"], 9);
    Ok(())
}

#[tokio::test]
async fn when_the_client_goes_the_backend_is_told_at_once() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for path in ["/sse", "/mcp"] {
        let stream =
            EventStream::open(http::client().get(fixture.url(path)).bearer_auth(&token)).await?;
        fixture
            .backend
            .await_streams(1, Duration::from_secs(5))
            .await?;
        drop(stream);
        let gone = fixture.backend.await_streams(0, Duration::from_secs(10));
        gone.await.context(path)?;
    }
    Ok(())
}

#[tokio::test]
async fn when_the_backend_ends_or_breaks_a_stream_so_does_ours() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for (what, last, clean) in [("ended", None, true), ("broke off", Some(Step::Cut), false)] {
        let mut steps = vec![
            Step::Send("data: one\n\n".into()),
            Step::Wait(Duration::from_millis(300)),
        ];
        steps.extend(last);
        fixture.backend.play(move |_| Answer::events(steps.clone()));
        let mut stream =
            EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(&token)).await?;
        assert_eq!(stream.event(Duration::from_secs(2)).await?.1, "one");
        assert_eq!(
            stream.end(Duration::from_secs(2)).await?,
            clean,
            "the backend {what}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_post_to_the_sse_url_is_answered_by_the_backend() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let reply = mcp::send(&fixture.url("/sse"), &token, &initialize()).await?;
    assert!(
        [404, 405].contains(&reply.status),
        "{}: clients fall back on 404 or 405 only",
        reply.status
    );
    Ok(())
}

#[tokio::test]
async fn a_thousand_idle_streams_are_held_at_once() -> Result<()> {
    const STREAMS: usize = 1000;
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let client = http::client();
    let before = fixture.gateway.program().resident_memory()?;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(EventStream::open(client.get(fixture.url("/mcp")).bearer_auth(&token)).await?);
    }
    fixture
        .backend
        .await_streams(STREAMS, Duration::from_secs(20))
        .await?;
    let after = fixture.gateway.program().resident_memory()?;
    let each = after.saturating_sub(before) / STREAMS as u64;
    println!(
        "memory per idle authenticated stream: {:.1} KiB ({STREAMS} streams)",
        each as f64 / 1024.0
    );
    assert!(each < 256 * 1024, "{each} bytes a stream");
    // All of them live: one event reaches every one.
    fixture.backend.push(MCP_STREAM, "data: hello\n\n");
    for stream in &mut streams {
        assert_eq!(stream.event(Duration::from_secs(20)).await?.1, "hello");
    }
    drop(streams);
    fixture
        .backend
        .await_streams(0, Duration::from_secs(10))
        .await?;
    assert_eq!(
        mcp::send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn at_shutdown_streams_end_properly_and_the_process_goes() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(
            EventStream::open(http::client().get(fixture.url("/mcp")).bearer_auth(&token)).await?,
        );
    }
    fixture
        .backend
        .await_streams(20, Duration::from_secs(5))
        .await?;
    let start = Instant::now();
    let code = fixture
        .gateway
        .program()
        .terminate(Duration::from_secs(15))
        .await?;
    assert_eq!(code, 0);
    assert!(
        start.elapsed() < Duration::from_secs(13),
        "{:?}",
        start.elapsed()
    );
    for stream in &mut streams {
        assert!(
            stream.end(Duration::from_secs(1)).await?,
            "a stream was cut without its end"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_idle_gateway_stops_in_two_seconds() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let start = Instant::now();
    assert_eq!(
        fixture
            .gateway
            .program()
            .terminate(Duration::from_secs(10))
            .await?,
        0
    );
    // The two seconds are what is promised: nothing is waited for.
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}
