//! Answers of backends, good ones and games.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::support::{BackendStep, Rig, last_post, limits, post, read_all, read_until};

/// What a client gets where a backend says this, in pieces of this size, and closes.
async fn answer(says: &str, piece: usize) -> (String, String) {
    let pieces: Vec<Vec<u8>> = says.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
    let rig = Rig::new(limits(), move |_, _| {
        let mut does = Vec::new();
        for piece in &pieces {
            does.push(BackendStep::SaysBytes(piece.clone()));
            does.push(BackendStep::Waits(1));
        }
        does.push(BackendStep::Closes);
        does
    })
    .await;
    let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
    rig.ends("").await;
    let outcomes = rig.outcomes.lock().unwrap().join(", ");
    (answer, outcomes)
}

/// The body of an answer of chunks; `None` if its end is missing.
fn unchunked(answer: &str) -> Option<String> {
    let (_, mut rest) = answer.split_once("\r\n\r\n")?;
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return (after == "\r\n").then_some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[tokio::test]
async fn a_body_of_chunks_is_chunked_anew_and_one_without_end_too() {
    for piece in [1, 7, 1000] {
        let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nx-t: z\r\n\r\n";
        let (answer, outcome) = answer(chunks, piece).await;
        assert_eq!(
            unchunked(&answer).as_deref(),
            Some("hello world"),
            "{answer}"
        );
        assert!(!answer.contains("x-t") && outcome.contains("Done"));
    }
    let (answer, outcome) = answer("HTTP/1.0 200 OK\r\nx-a: b\r\n\r\nhello", 9).await;
    assert_eq!(unchunked(&answer).as_deref(), Some("hello"), "{answer}");
    assert!(outcome.contains("Done"));
}

#[tokio::test]
async fn a_broken_answer_is_never_complete() {
    for (says, status) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", "200"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
            "200",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "200",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
            "502",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
            "502",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "502"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n\r\n",
            "502",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
            "502",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-len", "502"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
            "502",
        ),
        ("not HTTP\r\n\r\n", "502"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "502"),
    ] {
        let (answer, outcome) = answer(says, 1000).await;
        if answer.is_empty() {
            panic!("{says:?}: nothing");
        }
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{says:?}: {answer}"
        );
        assert!(unchunked(&answer).is_none(), "{says:?}: {answer}");
        assert!(!outcome.contains("Done"), "{says:?}: {outcome}");
        if status == "200" {
            assert!(outcome.contains("Failed(Broken"), "{says:?}: {outcome}");
        }
    }
}

#[tokio::test]
async fn informational_answers_are_skipped() {
    let says = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    for piece in [1, 40, 1000] {
        let (answer, _) = answer(says, piece).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"),
            "{answer}"
        );
    }
    let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(300);
    let (broken, _) = answer(&many, 1000).await;
    assert!(broken.starts_with("HTTP/1.1 502"), "{broken}");
    let says = format!("{many}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    let (answer, _) = answer(&says, 1000).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn what_the_other_road_takes_is_taken_but_for_codings_beside_chunks() {
    let many = "x-a: b\r\n".repeat(250);
    for says in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{many}content-length: 2\r\n\r\nhi"),
        "HTTP/1.1 200 OK\r\nX-A :b\r\nX-C: d\r\n\te\r\ncontent-length : 2\r\n\r\nhi".to_owned(),
    ] {
        let (answer, outcome) = answer(&says, 1000).await;
        let ends = "content-length: 2\r\nconnection: close\r\n\r\nhi";
        assert!(answer.ends_with(ends), "{says:?}: {answer}");
        assert!(outcome.contains("Done"), "{says:?}: {outcome}");
    }
    let chunks = "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    for start in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n",
        "HTTP/1.0 200 OK\r\n",
    ] {
        let (answer, _) = answer(&format!("{start}{chunks}"), 1000).await;
        assert_eq!(unchunked(&answer).as_deref(), Some("hi"), "{answer}");
        assert!(!answer.contains("content-length"));
    }
    let coded = chunks.replacen("chunked", "gzip, chunked", 1);
    let (answer, _) = answer(&format!("HTTP/1.1 200 OK\r\n{coded}"), 1000).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

/// What the backend says behind an answer must not become the next one.
#[tokio::test]
async fn bytes_that_nobody_asked_for_answer_nobody() {
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    for (head, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "hi"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "hi\r\n0\r\n\r\n",
        ),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 40\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 40\r\n\r\n",
            "",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
    ] {
        for waits in [0, 20] {
            let rig = Rig::new(limits(), move |at, _| match at {
                // In one piece with it, or on its own once the connection is idle.
                0 if waits == 0 => vec![BackendStep::SaysBytes(
                    [head, smuggled].concat().into_bytes(),
                )],
                0 => vec![
                    BackendStep::Says(head),
                    BackendStep::Waits(waits),
                    BackendStep::Says(smuggled),
                ],
                _ => vec![BackendStep::Says(
                    "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood",
                )],
            })
            .await;
            let mut client = rig.connect();
            client
                .write_all(post("/mcp", "1").as_bytes())
                .await
                .unwrap();
            let first = read_until(
                &mut client,
                &format!(
                    "\r\n\r\n{}",
                    if body.starts_with("hi\r") {
                        "2\r\nhi\r\n0\r\n\r\n"
                    } else {
                        body
                    }
                ),
            )
            .await;
            assert!(!first.contains("evil"));
            sleep(Duration::from_millis(80)).await;
            client
                .write_all(last_post("/mcp", "2").as_bytes())
                .await
                .unwrap();
            let second = read_all(&mut client).await;
            assert!(second.ends_with("good"), "{head:?} {waits}: {second}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_body_has_none() {
    for (says, has_length) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
        ("HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", false),
        ("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", true),
    ] {
        let (answer, outcome) = answer(says, 1000).await;
        assert!(
            answer.ends_with("\r\n\r\n") && outcome.contains("Done"),
            "{answer}"
        );
        assert_eq!(answer.contains("content-length: 0"), has_length, "{answer}");
        assert!(!answer.contains("transfer-encoding"));
    }
}

#[tokio::test]
async fn an_answer_can_be_collected_and_judged() {
    let collected = |body: &'static str| async move {
        let says = format!(
            "HTTP/1.1 200 OK\r\nx-plan: collect\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        answer(&says, 30).await.0
    };
    let good = collected("hello").await;
    assert!(
        good.ends_with("content-length: 5\r\nconnection: close\r\n\r\nHELLO"),
        "{good}"
    );
    assert!(collected("bad").await.ends_with("unfit"));
    let long = Box::leak("x".repeat(101).into_boxed_str());
    assert!(
        collected(long)
            .await
            .ends_with("failed: the answer is too large")
    );
}

#[tokio::test]
async fn an_answer_can_be_replaced_or_asked_for_elsewhere_once() {
    let (replaced, _) = answer(
        "HTTP/1.1 200 OK\r\nx-plan: answer\r\ncontent-length: 2\r\n\r\nhi",
        1000,
    )
    .await;
    assert!(replaced.ends_with("instead") && !replaced.contains("x-plan"));
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nx-plan: resend\r\ncontent-length: 0\r\n\r\n";
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    for (second, ends) in [(good, "hi"), (moved, "failed: it redirects again")] {
        let rig = Rig::new(limits(), move |at, _| {
            vec![BackendStep::Says(if at == 0 { moved } else { second })]
        })
        .await;
        let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
        assert!(answer.ends_with(ends), "{answer}");
        assert!(
            rig.received()
                .iter()
                .any(|met| met.starts_with("POST /moved ") && met.ends_with("\r\n\r\nx"))
        );
    }
}

/// What a backend has refused without running it is sent again as it was, on another connection; or it is
/// answered.
#[tokio::test]
async fn a_request_that_was_refused_is_sent_once_more_where_that_is_decided() {
    let refused = "HTTP/1.1 401 Unauthorized\r\nx-plan: ask\r\nwww-authenticate: Bearer\r\n\
        content-length: 3\r\n\r\nwho";
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    for (path, ends, sent) in [("/mcp", "hi", 2), ("/never", "not again", 1)] {
        let rig = Rig::new(limits(), move |at, _| {
            vec![BackendStep::Says(if at == 0 { refused } else { good })]
        })
        .await;
        let answer = rig.all_of(last_post(path, "x").as_bytes()).await;
        assert!(answer.ends_with(ends), "{answer}");
        assert!(!answer.contains("www-authenticate"), "{answer}");
        let received = rig.received();
        let requests: Vec<_> = received
            .iter()
            .filter(|met| !met.starts_with('('))
            .collect();
        assert_eq!(requests.len(), sent, "{received:?}");
        assert!(
            requests.iter().all(|met| met.ends_with("\r\n\r\nx")),
            "{received:?}"
        );
        assert!(rig.outcomes.lock().unwrap().contains(&"asked".to_owned()));
    }
}

#[tokio::test]
async fn a_silent_backend_is_given_up() {
    let rig = Rig::new(limits(), |_, _| vec![BackendStep::Waits(60_000)]).await;
    let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
    assert!(
        answer.contains("too long for the head of the response"),
        "{answer}"
    );
    let rig = Rig::new(limits(), |_, _| {
        vec![
            BackendStep::Says("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"),
            BackendStep::Waits(60_000),
        ]
    })
    .await;
    let answer = rig.all_of(last_post("/mcp", "x").as_bytes()).await;
    assert!(answer.ends_with("hel"), "{answer}");
    rig.ends("TimedOut(\"the rest of the response\")").await;
}

#[tokio::test]
async fn a_large_answer_passes_as_it_is() {
    let body: String = (0..200_000)
        .map(|at| char::from(b'a' + (at % 26) as u8))
        .collect();
    for says in [
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
        format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
    ] {
        let (answer, _) = answer(&says, 50_000).await;
        let passed = if answer.contains("chunked") {
            unchunked(&answer).unwrap()
        } else {
            answer.split_once("\r\n\r\n").unwrap().1.to_owned()
        };
        assert!(passed == body);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_counted_and_then_cut_off() {
    let limits = gateway_lane::Limits {
        write_time: Duration::from_millis(600),
        ..limits()
    };
    let body = vec![b'x'; 2 * 1024 * 1024];
    for (path, outcome) in [("/mcp", "ClientGone"), ("/full", "Failed(Full)")] {
        let mut says =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        says.extend_from_slice(&body);
        let rig = Rig::new(limits.clone(), move |_, _| {
            vec![BackendStep::SaysBytes(says.clone())]
        })
        .await;
        let mut client = rig.connect();
        client.write_all(post(path, "x").as_bytes()).await.unwrap();
        rig.ends("held true").await;
        rig.ends(outcome).await;
        drop(client);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all() {
    let body = vec![b'x'; 1024 * 1024];
    let mut says =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    says.extend_from_slice(&body);
    let rig = Rig::new(limits(), move |_, _| {
        vec![BackendStep::SaysBytes(says.clone())]
    })
    .await;
    let mut client = rig.connect();
    client
        .write_all(last_post("/mcp", "x").as_bytes())
        .await
        .unwrap();
    rig.ends("held true").await;
    let answer = read_all(&mut client).await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), body.len());
    rig.ends("held false").await;
}
