//! Streams of events.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::support::{BackendStep, Rig, get, last_post, limits, post, read_all, read_until};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_stream_is_left_to_a_task_and_goes_on() {
    let rig = Rig::new(limits(), |_, _| {
        vec![
            BackendStep::Says(EVENTS),
            BackendStep::Waits(100),
            BackendStep::Says("9\r\ndata: 1\n\n\r\n"),
            BackendStep::Waits(100),
            BackendStep::Says("6\r\ndata: "),
            BackendStep::Waits(100),
            BackendStep::Says("\r\n3\r\n2\n\n\r\n0\r\n\r\n"),
        ]
    })
    .await;
    let mut client = rig.connect();
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "0\r\n\r\n").await;
    assert!(
        answer.contains("9\r\ndata: 1\n\n\r\n6\r\ndata: \r\n3\r\n2\n\n\r\n0\r\n\r\n"),
        "{answer}"
    );
    rig.ends("stream").await;
    rig.ends("Done").await;
    // The connection carries on behind it, both of them.
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    read_until(&mut client, "0\r\n\r\n").await;
    assert_eq!(
        rig.received()
            .iter()
            .filter(|met| *met == "(connected)")
            .count(),
        1
    );
}

#[tokio::test]
async fn the_answer_of_a_call_in_events_needs_no_task() {
    let rig = Rig::new(limits(), |_, _| {
        vec![
            BackendStep::Says(EVENTS),
            BackendStep::Says("9\r\ndata: 1\n\n\r\n"),
            BackendStep::Waits(50),
            BackendStep::Says("0\r\n\r\n"),
        ]
    })
    .await;
    let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
    assert!(
        answer.ends_with("9\r\ndata: 1\n\n\r\n0\r\n\r\n"),
        "{answer}"
    );
    assert!(!rig.outcomes.lock().unwrap().contains(&"stream".to_owned()));
}

#[tokio::test]
async fn silence_is_filled_between_events_only() {
    let rig = Rig::new(limits(), |_, _| {
        vec![
            BackendStep::Says(EVENTS),
            BackendStep::Waits(1100),
            BackendStep::Says("6\r\ndata: \r\n"),
            BackendStep::Waits(1100),
            BackendStep::Says("3\r\n1\n\n\r\n0\r\n\r\n"),
        ]
    })
    .await;
    let mut client = rig.connect();
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "0\r\n\r\n").await;
    let comment = "d\r\n: keepalive\n\n\r\n";
    assert!(answer.matches(comment).count() >= 1, "{answer}");
    assert!(
        answer.ends_with("6\r\ndata: \r\n3\r\n1\n\n\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_stream_that_is_ended_ends_properly_and_at_the_backend() {
    for (between, farewell) in [("data: 1\n\n", "7\r\n: bye\n\n\r\n"), ("data: 1\n", "")] {
        for (request, waits) in [
            (get("/mcp"), 100),
            (post("/mcp", "x"), 20),
            (post("/mcp", "x"), 600),
        ] {
            let says = format!("{EVENTS}{:x}\r\n{between}\r\n", between.len());
            let rig = Rig::new(limits(), move |_, _| {
                vec![
                    BackendStep::SaysBytes(says.clone().into_bytes()),
                    BackendStep::WatchesEnd,
                ]
            })
            .await;
            let mut client = rig.connect();
            client.write_all(request.as_bytes()).await.unwrap();
            let so_far = read_until(&mut client, &format!("{between}\r\n")).await;
            sleep(Duration::from_millis(waits)).await;
            rig.end.send(true).unwrap();
            let answer = so_far + &read_all(&mut client).await;
            assert!(
                answer.ends_with(&format!("{between}\r\n{farewell}0\r\n\r\n"))
                    || answer.ends_with(&format!(
                        "{between}\r\nd\r\n: keepalive\n\n\r\n{farewell}0\r\n\r\n"
                    )),
                "{answer}"
            );
            rig.notices("(ended)").await;
            rig.ends("Ended(\"revoked\")").await;
        }
    }
}

#[tokio::test]
async fn what_is_ended_before_its_head_is_written_is_an_answer_of_its_own() {
    let rig = Rig::new(limits(), |_, _| {
        vec![
            BackendStep::Says(EVENTS),
            BackendStep::Says("9\r\ndata: 1\n\n\r\n"),
            BackendStep::WatchesEnd,
        ]
    })
    .await;
    let date = "Thu, 01 Jan 1970 00:00:00 GMT";
    let first = format!("HTTP/1.1 403 Forbidden\r\ndate: {date}\r\ncontent-length: 2\r\n\r\nno");
    // The first answer fills what the client takes without reading: of the second no byte is written.
    let mut client = rig.connect_within(first.len());
    let requests = post("/refused", "") + &post("/mcp", "x");
    client.write_all(requests.as_bytes()).await.unwrap();
    rig.ends("held true").await;
    rig.end.send(true).unwrap();
    let answers = read_until(&mut client, "failed: revoked").await;
    let second = answers.strip_prefix(&first).unwrap();
    assert!(second.starts_with("HTTP/1.1 502 "), "{answers}");
}

#[tokio::test]
async fn judging_ends_with_the_exchange_and_with_its_client() {
    let collect = "HTTP/1.1 200 OK\r\nx-plan: collect\r\ncontent-length: 2\r\n\r\nhi";
    for (path, says) in [
        ("/slow-judge", collect.to_owned()),
        ("/filter", format!("{EVENTS}8\r\nslow: 1\n\r\n")),
    ] {
        for leaves in [false, true] {
            let says = says.clone();
            let rig = Rig::new(limits(), move |_, _| {
                vec![
                    BackendStep::SaysBytes(says.clone().into_bytes()),
                    BackendStep::WatchesEnd,
                ]
            })
            .await;
            let mut client = rig.connect();
            client.write_all(post(path, "x").as_bytes()).await.unwrap();
            rig.ends("judges").await;
            if leaves {
                drop(client);
                rig.ends("ClientGone").await;
            } else {
                rig.end.send(true).unwrap();
                read_until(&mut client, "failed: revoked").await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_at_the_backend() {
    for request in [get("/mcp"), post("/mcp", "x")] {
        let rig = Rig::new(limits(), |_, _| {
            vec![BackendStep::Says(EVENTS), BackendStep::WatchesEnd]
        })
        .await;
        let mut client = rig.connect();
        client.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut client, "\r\n\r\n").await;
        rig.ends("stream").await;
        drop(client);
        rig.notices("(ended)").await;
        rig.ends("ClientGone").await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_never_complete() {
    for (says, request) in [
        ("9\r\ndata: 1\n\n\r\n", get("/mcp")),
        ("9\r\ndata: 1\n\n\r\n", post("/mcp", "x")),
        ("9\r\ndata: 1\n\nXX", get("/mcp")),
        ("zz\r\n", get("/mcp")),
    ] {
        let rig = Rig::new(limits(), move |_, _| {
            vec![
                BackendStep::Says(EVENTS),
                BackendStep::Waits(50),
                BackendStep::Says(says),
                BackendStep::Waits(50),
                BackendStep::Closes,
            ]
        })
        .await;
        let answer = rig.all_of(request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"),
            "{answer}"
        );
        rig.ends("Failed(Broken").await;
    }
}

#[tokio::test]
async fn a_stream_without_framing_ends_with_its_connection() {
    let rig = Rig::new(limits(), |_, _| {
        vec![
            BackendStep::Says(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n",
            ),
            BackendStep::Waits(400),
            BackendStep::Says("data: 2\n\n"),
            BackendStep::Closes,
        ]
    })
    .await;
    let mut client = rig.connect();
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "0\r\n\r\n").await;
    assert!(
        answer.contains("data: 1\n\n") && answer.contains("data: 2\n\n"),
        "{answer}"
    );
    rig.ends("Done").await;
}

#[tokio::test]
async fn events_are_judged_where_they_must_be() {
    for (path, ends) in [
        ("/filter", "9\r\nDATA: 1\n\n\r\n"),
        (
            "/filter-proper",
            "9\r\nDATA: 1\n\n\r\nd\r\ndata: sorry\n\n\r\n0\r\n\r\n",
        ),
    ] {
        let rig = Rig::new(limits(), |_, _| {
            vec![
                BackendStep::Says(EVENTS),
                BackendStep::Says("9\r\ndata: 1\n\n\r\n"),
                BackendStep::Waits(100),
                BackendStep::Says("b\r\ndata: bad\n\n\r\n0\r\n\r\n"),
            ]
        })
        .await;
        for request in [get(path), post(path, "x")] {
            let answer = rig.all_of(request.as_bytes()).await;
            assert!(answer.ends_with(ends), "{path}: {answer}");
            rig.ends("bad events").await;
        }
    }
}

#[tokio::test]
async fn what_a_client_sends_during_a_stream_is_its_next_request() {
    let rig = Rig::new(limits(), |at, _| match at {
        0 => vec![
            BackendStep::Says(EVENTS),
            BackendStep::Waits(400),
            BackendStep::Says("0\r\n\r\n"),
        ],
        _ => vec![BackendStep::Says(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        )],
    })
    .await;
    let mut client = rig.connect();
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    client
        .write_all(last_post("/mcp", "x").as_bytes())
        .await
        .unwrap();
    let answer = read_all(&mut client).await;
    assert!(
        answer.contains("0\r\n\r\nHTTP/1.1 200 OK") && answer.ends_with("hi"),
        "{answer}"
    );
}
