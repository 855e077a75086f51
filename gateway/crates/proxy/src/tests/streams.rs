//! Event streams: how they flow, stay and end.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::client::Client;
use super::scripted::{EVENTS, json};
use super::*;

fn quiet() -> Act {
    Act::Stream(vec![(0, EVENTS.to_owned()), (0, "data: 1\n\n".to_owned())])
}

async fn open(world: &Fixture, path: &str) -> Client {
    let mut client = Client::connect(world.address).await;
    client
        .send(&world.request("GET", path, "Accept: text/event-stream\r\n", ""))
        .await;
    let (status, head) = client.head().await.unwrap();
    assert_eq!(status, 200, "{head}");
    assert!(
        head.to_ascii_lowercase().contains("x-accel-buffering: no"),
        "{head}"
    );
    client
}

/// For a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until so many requests are being answered.
async fn until_running(world: &Fixture, count: usize) {
    let started = Instant::now();
    while world.edge.drain().running() != count {
        assert!(started.elapsed() < PATIENCE, "not {count} run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_pass_at_once_and_silence_is_kept_alive_between_events_only() {
    let world = Fixture::new(|_| {
        Act::Stream(vec![
            (0, EVENTS.to_owned()),
            (0, "data: 1\n\n".to_owned()),
            (500, "data: half".to_owned()),
            (500, " and half\n\n".to_owned()),
            (400, String::new()),
        ])
    })
    .await;
    let mut client = open(&world, "/mcp").await;
    // Long before anything is sent to keep it alive.
    let first = client.until("data: 1\n\n").await;
    assert!(!first.contains("keepalive"), "{first}");
    client.until(": keepalive\n\n").await;
    client.until("data: half").await;
    let whole = client.until(" and half\n\n").await;
    let between = whole.split("data: half").nth(1).unwrap();
    assert!(!between.contains("keepalive"), "{whole}");
    assert_eq!(world.edge.streams().count_by_backend()["notes"], 1);
    drop(client);
    assert!(
        world.backend.all_closed_within(1000).await,
        "the backend was not told"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_backend_ends_is_complete_and_one_that_it_breaks_is_not() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    for (end, complete) in [("0\r\n\r\n", true), ("", false), ("9\r\ndata:", false)] {
        let bytes = format!("{chunked}{end}");
        let world = Fixture::new(move |_| Act::AnswerAndClose(bytes.clone())).await;
        let started = Instant::now();
        let reply = world.ask("POST", "/mcp", "", PING).await;
        assert_eq!((reply.status, reply.complete), (200, complete), "{end:?}");
        assert!(reply.body.starts_with("data: 1\n\n"));
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_ends_streams_of_the_grant_properly_and_leaves_others() {
    let world = Fixture::new(|_| quiet()).await;
    let mut mine = open(&world, "/mcp").await;
    let other = Claims {
        grant: GrantId::new("g_2"),
        ..world.claims()
    };
    let mut theirs = Client::connect(world.address).await;
    let lines = format!("Authorization: Bearer {}\r\n", world.mint(&other));
    theirs.send(&message("GET", "/mcp", &lines, "")).await;
    assert_eq!(theirs.head().await.unwrap().0, 200);
    mine.until("data: 1\n\n").await;
    let started = Instant::now();
    world.revoke("g_1").await;
    mine.until("\r\n0\r\n\r\n").await;
    // What is promised of a revocation.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let before = theirs.so_far().len();
    tokio::time::sleep(Duration::from_millis(400)).await;
    theirs.until("keepalive").await;
    assert!(theirs.so_far().len() > before);
    assert_eq!(world.edge.streams().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stopped_reading_is_cut_off_when_its_grant_is_revoked() {
    let flood = "data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\n".repeat(20_000);
    let world = Fixture::new(move |_| {
        let mut parts = vec![(0, EVENTS.to_owned())];
        parts.extend((0..20).map(|_| (0, flood.clone())));
        Act::Stream(parts)
    })
    .await;
    let mut client = Client::connect(world.address).await;
    client.send(&world.request("GET", "/mcp", "", "")).await;
    until_running(&world, 1).await;
    // Long enough that nothing more can be written to it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.edge.drain().running(), 1);
    world.revoke("g_1").await;
    let gone = async {
        while world.edge.drain().running() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), gone)
        .await
        .expect("cut off within 5 s");
    assert!(world.backend.all_closed_within(1000).await);
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_when_its_token_runs_out() {
    let world = Fixture::new(|_| quiet()).await;
    let now = Timestamp::from_secs(Clock.now().secs());
    // A few seconds left, leeway included.
    let claims = Claims {
        expires: now - Duration::from_secs(26),
        ..world.claims()
    };
    let mut client = Client::connect(world.address).await;
    client
        .send(&message(
            "GET",
            "/mcp",
            &format!("Authorization: Bearer {}\r\n", world.mint(&claims)),
            "",
        ))
        .await;
    assert_eq!(client.head().await.unwrap().0, 200);
    client.until("data: 1\n\n").await;
    client.until("\r\n0\r\n\r\n").await;
    assert!(world.backend.all_closed_within(1000).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_waiting_streams_with_a_hint_and_lets_calls_finish() {
    let world = Fixture::new(|asked| {
        if asked.body.contains("tools/call") {
            Act::Stream(vec![(
                1500,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                    .to_owned(),
            )])
        } else {
            quiet()
        }
    })
    .await;
    let mut stream = open(&world, "/mcp").await;
    stream.until("data: 1\n\n").await;
    let mut call = Client::connect(world.address).await;
    call.send(&world.request("POST", "/mcp", "", CALL)).await;
    until_running(&world, 2).await;
    let drain = world.edge.drain();
    let started = Instant::now();
    assert_eq!(drain.finish(3 * PATIENCE).await, 0);
    assert!(started.elapsed() < PATIENCE);
    let text = stream.until("\r\n0\r\n\r\n").await;
    assert!(text.contains("retry: 1000\n\n"), "{text}");
    assert_eq!(call.reply(false).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_edge_shuts_down_at_once() {
    let world = Fixture::new(|_| quiet()).await;
    let _idle = Client::connect(world.address).await;
    let started = Instant::now();
    assert_eq!(world.edge.drain().finish(3 * PATIENCE).await, 0);
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_legacy_transport_works_through_the_public_address() {
    let world = Fixture::new(|asked| match asked.line() {
        "GET /sse HTTP/1.1" => Act::Stream(vec![
            (0, EVENTS.to_owned()),
            (0, "event: endpo".to_owned()),
            (20, "int\r\ndata: /messages/?session_id=7\r\n\r".to_owned()),
            (20, "\nevent: message\r\ndata: {}\r\n\r\n".to_owned()),
        ]),
        "POST /messages/?session_id=7 HTTP/1.1" => {
            Act::Answer("HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted".to_owned())
        }
        _ => Act::Close,
    })
    .await;
    let mut client = open(&world, "/sse/").await;
    let text = client.until("event: message\r\ndata: {}\r\n\r\n").await;
    let start = text.find("event: endpoint\ndata: ").unwrap();
    let url = text[start + "event: endpoint\ndata: ".len()..]
        .split('\n')
        .next()
        .unwrap();
    let path = url.strip_prefix(ISSUER).unwrap();
    assert!(path.starts_with("/messages?session="), "{url}");
    let reply = world.ask("POST", path, "", PING).await;
    assert_eq!((reply.status, reply.body.as_str()), (202, "Accepted"));
    let other = Claims {
        user: UserId::new("u_2"),
        ..world.claims()
    };
    let lines = format!("Authorization: Bearer {}\r\n", world.mint(&other));
    assert_eq!(
        world.raw(&message("POST", path, &lines, PING)).await.status,
        404
    );
    assert_eq!(world.backend.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legacy_stream_that_is_none_is_502() {
    let world = Fixture::new(|_| json(PONG)).await;
    assert_eq!(world.ask("GET", "/sse", "", "").await.status, 502);
}
