//! How requests lie on a connection: their bodies, what has two readings, many of them, and slow ones.

use std::time::Duration;

use super::client::Client;
use super::requests::world;
use super::scripted::json;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunked_and_expected_bodies_are_read() {
    let world = world().await;
    let auth = format!(
        "Host: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        world.token()
    );
    let (first, second) = PING.split_at(9);
    let chunked = format!(
        "POST /mcp HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    assert_eq!(world.raw(&chunked).await.status, 200);
    let mut client = Client::connect(world.address).await;
    client
        .send(&format!(
            "POST /mcp HTTP/1.1\r\n{auth}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            PING.len()
        ))
        .await;
    assert_eq!(client.head().await.unwrap().0, 100);
    client.send(PING).await;
    assert_eq!(client.reply(false).await.unwrap().status, 200);
    let asked = world.backend.asked();
    assert_eq!(
        (asked.len(), asked[0].body.as_str(), asked[1].body.as_str()),
        (2, PING, PING)
    );
    assert_eq!(asked[0].headers("content-length"), [PING.len().to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_two_readings_are_refused() {
    let world = world().await;
    let auth = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        world.token()
    );
    let length = PING.len();
    for request in [
        format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("POST /mcp HTTP/1.1\r\n{auth}Content-Length: {length}\r\n\r\n{PING}"),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\nHost: x\r\n{auth}Content-Length: {length}\r\n\r\n{PING}"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{PING}"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{PING}"
        ),
        format!("POST /mcp HTTP/1.1\nHost: x\r\n{auth}Content-Length: {length}\r\n\r\n{PING}"),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}X: {}\r\nContent-Length: {length}\r\n\r\n{PING}",
            "a".repeat(33_000)
        ),
        format!("POST /%6dcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {length}\r\n\r\n{PING}"),
        format!(
            "POST /a/../mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {length}\r\n\r\n{PING}"
        ),
        format!(
            "POST http://evil.example/mcp HTTP/1.1\r\nHost: evil.example\r\n{auth}Content-Length: {length}\r\n\r\n{PING}"
        ),
    ] {
        // 431 says of a large head what is wrong with it.
        let status = world.raw(&request).await.status;
        assert!([400, 431].contains(&status), "{status} {request}");
    }
    assert!(world.backend.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_many_requests_and_pipelined_ones_do_no_harm() {
    let world = world().await;
    let mut client = Client::connect(world.address).await;
    let request = world.request("POST", "/mcp", "", PING);
    for _ in 0..3 {
        client.send(&request).await;
        assert_eq!(client.reply(false).await.unwrap().status, 200);
        client.send(&message("POST", "/mcp", "", PING)).await;
        let refused = client.reply(false).await.unwrap();
        // Kept is what HTTP/1.1 has where nothing else is said.
        assert_eq!(refused.status, 401);
        assert_ne!(refused.header("connection"), Some("close"));
        client.send(&message("GET", "/healthz", "", "")).await;
        assert_eq!(client.reply(false).await.unwrap().status, 200);
    }
    let mut client = Client::connect(world.address).await;
    client.send(&format!("{request}{request}")).await;
    assert_eq!(client.reply(false).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_is_cut_off_and_so_are_too_many_connections() {
    let world = Fixture::with(
        |_| json(PONG),
        |settings| settings.connections_per_address = 2,
    )
    .await;
    let mut slow = Client::connect(world.address).await;
    let started = tokio::time::Instant::now();
    for byte in "GET /healthz HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaa".chars() {
        slow.send(&byte.to_string()).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        if started.elapsed() > Duration::from_millis(900) {
            break;
        }
    }
    assert!(slow.reply(false).await.is_none());
    drop(slow);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _held = [
        Client::connect(world.address).await,
        Client::connect(world.address).await,
    ];
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut third = Client::connect(world.address).await;
    third.send(&message("GET", "/healthz", "", "")).await;
    let refused = third.reply(false).await.unwrap();
    assert_eq!(refused.status, 429);
}
