//! Backends that are down, slow, rude or broken.

use std::time::Duration;

use super::client::Client;
use super::scripted::{RecordedRequest, json, response};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_down_is_502_at_once_and_the_others_go_on() {
    let world = Fixture::new(|_| json(PONG)).await;
    let claims = Claims {
        resource: Resource::from_token(format!("{ISSUER}/gone/mcp")),
        ..world.claims()
    };
    let lines = format!("Authorization: Bearer {}\r\n", world.mint(&claims));
    let reply = world.raw(&message("POST", "/gone/mcp", &lines, PING)).await;
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, &body["id"]), (502, &1.into()));
    assert_eq!(body["error"]["data"]["reason"], "upstream_unreachable");
    assert_eq!(world.ask("POST", "/mcp", "", PING).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_does_not_answer_is_504() {
    let world = Fixture::new(|_| Act::Stream(Vec::new())).await;
    let reply = world.ask("POST", "/mcp", "", PING).await;
    assert_eq!(reply.status, 504);
    assert!(reply.body.contains("upstream_timeout"));
    assert!(world.backend.all_closed_within(1000).await);
}

/// Serves one request a connection and closes at the second, as a keep-alive race does.
fn closing_race(asked: &RecordedRequest) -> Act {
    match asked.turn {
        0 => json(PONG),
        _ => Act::Close,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_kept_connection_costs_a_list_nothing_and_never_runs_a_tool_twice() {
    let world = Fixture::new(closing_race).await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for _ in 0..20 {
        assert_eq!(world.ask("POST", "/mcp", "", list).await.status, 200);
    }
    let before = world.backend.asked().len();
    let mut failed = 0;
    for _ in 0..20 {
        if world.ask("POST", "/mcp", "", CALL).await.status == 502 {
            failed += 1;
        }
    }
    // Each was sent once, answered or not.
    assert_eq!(world.backend.asked().len() - before, 20);
    assert!(failed > 0, "the race never happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_backend_closed_while_idle_is_never_used() {
    let world = Fixture::new(|_| {
        Act::AnswerAndClose(response(200, "Content-Type: application/json\r\n", PONG))
    })
    .await;
    for _ in 0..20 {
        assert_eq!(world.ask("POST", "/mcp", "", CALL).await.status, 200);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.backend.asked().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_are_used_again() {
    let world = Fixture::new(|_| json(PONG)).await;
    for _ in 0..10 {
        assert_eq!(world.ask("POST", "/mcp", "", CALL).await.status, 200);
    }
    // Pingora's pool may miss a connection that was given back this very moment.
    assert!(world.backend.accepted() < 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_answer_never_looks_complete() {
    let head = "Content-Type: application/json\r\n";
    let cut = [
        format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 100\r\n\r\n{{\"jsonrpc\""),
        format!(
            "HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\na\r\n{{\"jsonrpc\"\r\n"
        ),
        format!("HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\na\r\n{{\"json"),
        format!(
            "HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\na\r\n{{\"jsonrpc\"\r\nzz\r\n"
        ),
    ];
    for bytes in cut {
        let world = Fixture::new(move |_| Act::AnswerAndClose(bytes.clone())).await;
        let mut client = Client::connect(world.address).await;
        client.send(&world.request("POST", "/mcp", "", PING)).await;
        if let Some(reply) = client.reply(false).await {
            assert!(!reply.complete || reply.status == 502, "{reply:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_http_is_502() {
    for bytes in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let world = Fixture::new(move |_| Act::AnswerAndClose(bytes.to_owned())).await;
        assert_eq!(
            world.ask("POST", "/mcp", "", PING).await.status,
            502,
            "{bytes:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_backend_pass_byte_for_byte() {
    let body =
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"x","data":{"supported":[]}}}"#;
    for status in [400, 404, 405, 406, 409, 422, 500, 503] {
        let bytes = response(
            status,
            "Content-Type: application/json\r\nAllow: POST\r\n",
            body,
        );
        let world = Fixture::new(move |_| Act::Answer(bytes.clone())).await;
        let reply = world.ask("POST", "/mcp", "", PING).await;
        assert_eq!(
            (reply.status, reply.body.as_str(), reply.header("allow")),
            (status, body, Some("POST"))
        );
    }
    let world = Fixture::new(|_| {
        Act::Answer("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned())
    })
    .await;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let reply = world.ask("POST", "/mcp", "", note).await;
    assert_eq!((reply.status, reply.body.as_str()), (202, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backends_own_challenge_never_reaches_the_client() {
    for (status, lines) in [
        (401, ""),
        (401, "WWW-Authenticate: Bearer\r\n"),
        (403, "WWW-Authenticate: Basic\r\n"),
        (407, ""),
    ] {
        let bytes = response(status, lines, "{}");
        let world = Fixture::new(move |_| Act::Answer(bytes.clone())).await;
        let reply = world.ask("POST", "/mcp", "", PING).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (502, None)
        );
        assert!(reply.body.contains("upstream_refused_us"));
    }
    let bytes = response(403, "Content-Type: text/plain\r\n", "Invalid Host header");
    let world = Fixture::new(move |_| Act::Answer(bytes.clone())).await;
    let reply = world.ask("POST", "/mcp", "", PING).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (403, "Invalid Host header")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_within_the_backend_is_followed_once_and_no_other_is_shown() {
    let world = Fixture::new(|asked| match asked.line() {
        "POST /mcp HTTP/1.1" => Act::Answer(response(307, "Location: /mcp/\r\n", "")),
        "POST /mcp/ HTTP/1.1" => json(PONG),
        _ => Act::Close,
    })
    .await;
    let reply = world.ask("POST", "/mcp", "", CALL).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, PONG));
    assert_eq!(world.backend.asked()[1].body, CALL);
    for location in ["http://127.0.0.1:1/mcp/", "/mcp", "/other", ""] {
        let bytes = response(308, &format!("Location: {location}\r\n"), "");
        let world = Fixture::new(move |_| Act::Answer(bytes.clone())).await;
        let reply = world.ask("POST", "/mcp", "", PING).await;
        assert_eq!(
            (reply.status, reply.header("location")),
            (502, None),
            "{location}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_to_a_large_body_is_passed_on() {
    let world = Fixture::with(
        |_| {
            Act::Answer(response(
                413,
                "Content-Type: application/json\r\nConnection: close\r\n",
                "{}",
            ))
        },
        |settings| settings.request_body = 4 * 1024 * 1024,
    )
    .await;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#,
        "a".repeat(3_000_000)
    );
    assert_eq!(world.ask("POST", "/mcp", "", &body).await.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_ids_are_bound_to_user_client_and_backend() {
    let world = Fixture::new(|_| {
        Act::Answer(response(
            200,
            "Content-Type: application/json\r\nMcp-Session-Id: abc\r\n",
            PONG,
        ))
    })
    .await;
    let reply = world.ask("POST", "/mcp", "", PING).await;
    let bound = reply.header("mcp-session-id").unwrap().to_owned();
    assert!(bound.starts_with("abc~"), "{bound}");
    let lines = format!("Mcp-Session-Id: {bound}\r\n");
    assert_eq!(world.ask("POST", "/mcp", &lines, PING).await.status, 200);
    assert_eq!(world.backend.asked()[1].headers("mcp-session-id"), ["abc"]);
    let other = Claims {
        user: UserId::new("u_2"),
        ..world.claims()
    };
    for method in ["POST", "GET", "DELETE"] {
        let body = if method == "POST" { PING } else { "" };
        let auth = format!("Authorization: Bearer {}\r\n{lines}", world.mint(&other));
        assert_eq!(
            world
                .raw(&message(method, "/mcp", &auth, body))
                .await
                .status,
            404,
            "{method}"
        );
        assert_eq!(
            world
                .ask(method, "/mcp", "Mcp-Session-Id: abc\r\n", body)
                .await
                .status,
            404,
            "{method}"
        );
    }
    // 2026-07-28 knows no sessions: the header is dropped, whoever's it is.
    let modern = format!("{lines}MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: ping\r\n");
    assert_eq!(world.ask("POST", "/mcp", &modern, PING).await.status, 200);
    assert!(
        world.backend.asked()[2]
            .headers("mcp-session-id")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let world = Fixture::new(|_| Act::Stream(Vec::new())).await;
    let mut client = Client::connect(world.address).await;
    client.send(&world.request("POST", "/mcp", "", CALL)).await;
    while world.backend.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    assert!(world.backend.all_closed_within(1000).await);
    while world.edge.drain().running() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_stops_half_way_is_broken_off() {
    let world = Fixture::new(|_| {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
        Act::Stream(vec![(0, head.to_owned())])
    })
    .await;
    let reply = world.ask("POST", "/mcp", "", PING).await;
    assert_eq!((reply.status, reply.complete), (200, false));
    assert!(world.backend.all_closed_within(1000).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let world = Fixture::new(move |_| Act::Answer(chunked.to_owned())).await;
    let request = world
        .request("POST", "/mcp", "", PING)
        .replace("HTTP/1.1", "HTTP/1.0");
    let reply = world.raw(&request).await;
    assert_eq!(
        (reply.header("transfer-encoding"), reply.body.as_str()),
        (None, "{}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_reached_by_name_and_by_unix_socket() {
    let world = Fixture::new(|_| json(PONG)).await;
    for name in ["named", "socket"] {
        let claims = Claims {
            resource: Resource::from_token(format!("{ISSUER}/{name}/mcp")),
            ..world.claims()
        };
        let lines = format!("Authorization: Bearer {}\r\n", world.mint(&claims));
        for _ in 0..3 {
            let reply = world
                .raw(&message("POST", &format!("/{name}/mcp"), &lines, PING))
                .await;
            assert_eq!((reply.status, reply.body.as_str()), (200, PONG), "{name}");
        }
        let foreign = format!("Authorization: Bearer {}\r\n", world.token());
        assert_eq!(
            world
                .raw(&message("POST", &format!("/{name}/mcp"), &foreign, PING))
                .await
                .status,
            401
        );
    }
}

/// A backend that is told who calls by a token can't be while no key signs: that is ours to mend, and the
/// app's to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_that_signs_a_call_is_to_come_again() {
    let world = Fixture::new(|_| json(PONG)).await;
    let claims = Claims {
        resource: Resource::from_token(format!("{ISSUER}/named/mcp")),
        ..world.claims()
    };
    let lines = format!("Authorization: Bearer {}\r\n", world.mint(&claims));
    let request = message("POST", "/named/mcp", &lines, PING);
    assert_eq!(world.raw(&request).await.status, 200);
    world
        .keys
        .replace(Keys::in_states(BTreeMap::new(), &BTreeMap::new()));
    let reply = world.raw(&request).await;
    assert_eq!(reply.status, 503, "{}", reply.body);
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert!(reply.body.contains("signing_key_missing"), "{}", reply.body);
}
