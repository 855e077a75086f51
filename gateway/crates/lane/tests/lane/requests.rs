//! Requests on their way to a backend, and their bounds.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::support::{BackendStep, Rig, SLOW, get, last_post, limits, post, read_all, read_until};

const OK: &str = "HTTP/1.1 200 OK\r\nx-a: b\r\nset-cookie: c\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_call_goes_to_the_backend_spelled_anew_and_its_answer_back() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let answer = rig.all_of(last_post("/mcp?a=b", "hello").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\ndate: "), "{answer}");
    let rest = "GMT\r\nx-a: b\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    assert!(answer.ends_with(rest), "{answer}");
    let request =
        "POST /mcp?a=b HTTP/1.1\r\nhost: backend\r\nx-sent: yes\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(rig.received(), ["(connected)", request]);
    rig.ends("Done").await;
}

#[tokio::test]
async fn a_connection_carries_many_requests_beside_one_to_the_backend() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let mut client = rig.connect();
    for _ in 0..5 {
        client
            .write_all(post("/mcp", "x").as_bytes())
            .await
            .unwrap();
        read_until(&mut client, "\r\n\r\nhi").await;
    }
    let connections = rig
        .received()
        .iter()
        .filter(|met| *met == "(connected)")
        .count();
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_order() {
    let rig = Rig::new(limits(), |at, _| {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{at}");
        vec![
            BackendStep::Waits(20),
            BackendStep::SaysBytes(answer.into_bytes()),
        ]
    })
    .await;
    let all: String = (0..20)
        .map(|at| post(&format!("/mcp/{at}"), "body"))
        .collect();
    let all = all + &last_post("/refused", "") + &post("/never", "");
    let mut client = rig.connect();
    client.write_all(all.as_bytes()).await.unwrap();
    let answers = read_all(&mut client).await;
    let bodies: Vec<_> = answers
        .split("\r\n\r\n")
        .skip(1)
        .map(|part| &part[..1])
        .collect();
    let expected: Vec<_> = (0..20).map(|at| at.to_string()[..1].to_owned()).collect();
    assert_eq!(bodies[..10], expected[..10]);
    assert!(answers.ends_with("no"), "{answers}");
    assert!(!rig.received().iter().any(|met| met.contains("/never")));
}

#[tokio::test]
async fn a_connection_ends_after_its_requests() {
    let limits = gateway_lane::Limits {
        requests: 3,
        ..limits()
    };
    let rig = Rig::new(limits, |_, _| vec![BackendStep::Says(OK)]).await;
    let answers = rig.all_of(post("/mcp", "x").repeat(5).as_bytes()).await;
    assert_eq!(answers.matches("200 OK").count(), 3);
    assert_eq!(answers.matches("connection: close").count(), 1);
}

#[tokio::test]
async fn what_is_slow_is_cut_off() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let begun = Instant::now();
    assert_eq!(rig.all_of(b"POST /mcp HTT").await, "");
    assert_eq!(rig.all_of(b"").await, "");
    let answer = rig.all_of(&post("/mcp", "hello").as_bytes()[..72]).await;
    assert!(
        answer.contains("failed: the body did not come in time"),
        "{answer}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));

    // Byte by byte is no better than nothing, for a first and for a later head.
    for before in ["", &post("/mcp", "x")] {
        let mut client = rig.connect();
        client.write_all(before.as_bytes()).await.unwrap();
        let begun = Instant::now();
        for byte in b"POST /mcp HTTP/1.1\r\nx: y" {
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let answers = read_all(&mut client).await;
        assert_eq!(answers.contains("200 OK"), !before.is_empty());
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    // Nobody of them has got to the backend but the one that was whole.
    assert_eq!(rig.received().len(), 2);
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let begun = Instant::now();
    let answer = rig.all_of(post("/mcp", "x").as_bytes()).await;
    assert!(answer.ends_with("hi") && begun.elapsed() >= Duration::from_millis(700));
}

#[tokio::test]
async fn a_stranger_is_answered_before_its_body_comes() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let mut client = rig.connect();
    let request = post("/stranger", "hello");
    let (head, body) = request.split_at(request.len() - 5);
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "who?").await;
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"));
    client
        .write_all((body.to_owned() + &post("/mcp", "x")).as_bytes())
        .await
        .unwrap();
    read_until(&mut client, "hi").await;
    assert!(rig.all_of(head.as_bytes()).await.ends_with("who?"));
}

#[tokio::test]
async fn a_body_may_be_large_up_to_its_bound() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let body = "x".repeat(64 * 1024);
    let mut client = rig.connect();
    let request = last_post("/mcp", &body);
    for piece in request.as_bytes().chunks(10_000) {
        client.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(read_all(&mut client).await.ends_with("hi"));
    assert!(rig.received()[1].ends_with(&body));
}

#[tokio::test]
async fn a_value_that_would_end_its_line_goes_nowhere() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let answer = rig.all_of(last_post("/spoiled", "x").as_bytes()).await;
    assert!(answer.contains("can't be put in a header"), "{answer}");
    assert!(!rig.received().iter().any(|met| met.contains("x-admin")));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_call_at_the_backend() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::WatchesEnd]).await;
    let mut client = rig.connect();
    client
        .write_all(post("/mcp", "x").as_bytes())
        .await
        .unwrap();
    rig.notices("POST /mcp").await;
    drop(client);
    // Long before the backend would be given up.
    let in_time = tokio::time::timeout(Duration::from_millis(900), rig.notices("(ended)"));
    assert!(in_time.await.is_ok());
    rig.ends("ClientGone").await;
}

#[tokio::test]
async fn an_exchange_that_is_ended_is_answered_and_ends_at_the_backend() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::WatchesEnd]).await;
    let mut client = rig.connect();
    client
        .write_all(last_post("/mcp", "x").as_bytes())
        .await
        .unwrap();
    rig.notices("POST /mcp").await;
    rig.end.send(true).unwrap();
    assert!(read_all(&mut client).await.ends_with("failed: revoked"));
    rig.notices("(ended)").await;
}

#[tokio::test]
async fn a_dead_connection_is_noticed_and_another_one_used() {
    let rig = Rig::new(limits(), |_, _| {
        vec![BackendStep::Says(OK), BackendStep::Closes]
    })
    .await;
    let mut client = rig.connect();
    for _ in 0..3 {
        client
            .write_all(post("/mcp", "x").as_bytes())
            .await
            .unwrap();
        read_until(&mut client, "hi").await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.received().len(), 6);
}

/// Answers the first request of all; what follows on the same connection it reads and drops.
fn drops_the_second(at: usize, _: &str) -> Vec<BackendStep> {
    match at {
        1 => vec![BackendStep::Closes],
        _ => vec![BackendStep::Says(OK)],
    }
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_sent_again_only_if_that_is_the_same() {
    for (path, ends) in [
        ("/repeat", "hi"),
        (
            "/mcp",
            "failed: the connection broke before an answer: unexpected end of file",
        ),
    ] {
        let rig = Rig::new(limits(), drops_the_second).await;
        let mut client = rig.connect();
        client.write_all(post(path, "x").as_bytes()).await.unwrap();
        read_until(&mut client, "hi").await;
        client
            .write_all(last_post(path, "x").as_bytes())
            .await
            .unwrap();
        let answer = read_all(&mut client).await;
        assert!(answer.ends_with(ends), "{path}: {answer}");
        let requests = rig
            .received()
            .iter()
            .filter(|met| met.starts_with("POST"))
            .count();
        assert_eq!(requests, if path == "/repeat" { 3 } else { 2 });
    }
}

#[tokio::test]
async fn a_new_connection_is_not_tried_twice() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Closes]).await;
    let answer = rig.all_of(last_post("/repeat", "x").as_bytes()).await;
    assert!(answer.contains("broke before an answer"), "{answer}");
    assert_eq!(rig.received().len(), 2);
}

#[tokio::test]
async fn an_idle_connection_to_a_backend_goes_to_whoever_needs_one() {
    let limits = gateway_lane::Limits {
        pinned_for: Duration::from_millis(100),
        ..limits()
    };
    let rig = Rig::new(limits, |_, _| vec![BackendStep::Says(OK)]).await;
    let mut first = rig.connect();
    first.write_all(post("/mcp", "x").as_bytes()).await.unwrap();
    read_until(&mut first, "hi").await;
    sleep(Duration::from_millis(300)).await;
    assert!(
        rig.all_of(last_post("/mcp", "x").as_bytes())
            .await
            .ends_with("hi")
    );
    assert_eq!(
        rig.received()
            .iter()
            .filter(|met| *met == "(connected)")
            .count(),
        1
    );
}

/// How many connections the backend has got.
fn connections(rig: &Rig) -> usize {
    let received = rig.received();
    received.iter().filter(|met| *met == "(connected)").count()
}

/// A body may take longer than backends leave a connection open.
#[tokio::test]
async fn a_connection_that_waited_for_too_long_beside_its_client_is_used_no_more() {
    let limits = gateway_lane::Limits {
        kept_for: Duration::from_secs(2),
        body_time: Duration::from_secs(60),
        ..limits()
    };
    let rig = Rig::new(limits, |_, _| vec![BackendStep::Says(OK)]).await;
    for (pause, expected) in [(0, 1), (4000, 2)] {
        let mut client = rig.connect();
        client
            .write_all(post("/mcp", "x").as_bytes())
            .await
            .unwrap();
        read_until(&mut client, "hi").await;
        let second = last_post("/mcp", "xy");
        let (head, rest) = second.as_bytes().split_at(second.len() - 1);
        client.write_all(head).await.unwrap();
        sleep(Duration::from_millis(pause)).await;
        client.write_all(rest).await.unwrap();
        assert!(read_all(&mut client).await.ends_with("hi"));
        assert_eq!(connections(&rig), expected, "{pause}");
    }
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_told() {
    // The port is nobody else's meanwhile, and nobody listens there.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = nobody.local_addr().unwrap();
    let rig = Rig::at(limits(), address);
    let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
    assert!(
        answer.contains("failed: can't connect: Connection refused (os error"),
        "{answer}"
    );
    // One that may just be starting is waited for; what it said last is told.
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    let rig = Rig::with_backend(limits(), address, |backend| {
        backend.connect_time = Duration::from_millis(300);
        backend.comes_up_until = Some(limit);
    });
    let begun = Instant::now();
    let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
    assert!(answer.contains("Connection refused (os error"), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_request_that_says_when_it_was_made_says_so_to_the_backend() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let request = last_post("/mcp", "x");
    let request = request.replacen("X-Sent: yes", &format!("Date: {date}"), 1);
    assert!(rig.all_of(request.as_bytes()).await.ends_with("hi"));
    assert!(rig.received()[1].contains(&format!("date: {date}\r\n")));
}

#[tokio::test]
async fn nothing_is_sent_for_a_client_that_is_gone() {
    for path in ["/mcp", "/slow-begin", "/slow-admit"] {
        let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
        let mut client = rig.connect();
        let begun = Instant::now();
        client.write_all(post(path, "x").as_bytes()).await.unwrap();
        drop(client);
        if path != "/slow-begin" {
            rig.ends("ClientGone").await;
            // Noticed at once, whatever is being decided.
            assert!(begun.elapsed() < SLOW, "{path}");
        }
        sleep(SLOW + Duration::from_millis(200)).await;
        assert!(rig.received().is_empty(), "{path}: {:?}", rig.received());
    }
}

#[tokio::test]
async fn a_connection_that_waits_ends_when_the_gateway_stops() {
    let patient = gateway_lane::Limits {
        idle: Duration::from_secs(60),
        head_time: Duration::from_secs(60),
        ..limits()
    };
    let rig = Rig::new(patient, |at, _| match at {
        0 => vec![BackendStep::Says(OK)],
        _ => vec![BackendStep::Waits(200), BackendStep::Says(OK)],
    })
    .await;
    let (mut idle, mut asks, mut begins) = (rig.connect(), rig.connect(), rig.connect());
    idle.write_all(post("/mcp", "x").as_bytes()).await.unwrap();
    read_until(&mut idle, "hi").await;
    asks.write_all(post("/mcp", "x").as_bytes()).await.unwrap();
    begins.write_all(b"POST /mcp HTTP/1.1\r\n").await.unwrap();
    rig.notices("(connected)").await;
    sleep(Duration::from_millis(50)).await;
    rig.drain.send(true).unwrap();
    assert_eq!(read_all(&mut idle).await, "");
    // What is asked is answered, as the last on its connection.
    assert!(read_all(&mut asks).await.ends_with("hi"));
    begins
        .write_all(b"Host: a\r\nContent-Length: 1\r\n\r\nx")
        .await
        .unwrap();
    let answer = read_all(&mut begins).await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("hi"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_to_a_backend_outlives_its_client() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    for _ in 0..3 {
        let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
        assert!(answer.ends_with("hi"));
    }
    let mut leaves = rig.connect();
    leaves
        .write_all(post("/mcp", "x").as_bytes())
        .await
        .unwrap();
    read_until(&mut leaves, "hi").await;
    drop(leaves);
    sleep(Duration::from_millis(50)).await;
    rig.all_of(last_post("/mcp", "x").as_bytes()).await;
    let connected = rig.received();
    let connected = connected.iter().filter(|met| *met == "(connected)");
    assert_eq!(connected.count(), 1);
}

#[tokio::test]
async fn a_request_without_body_has_no_length() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Says(OK)]).await;
    let mut client = rig.connect();
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    read_until(&mut client, "hi").await;
    assert_eq!(
        rig.received()[1],
        "GET /mcp HTTP/1.1\r\nhost: backend\r\n\r\n"
    );
}
