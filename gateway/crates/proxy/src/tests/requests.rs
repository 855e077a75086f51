//! What a request must be like to reach a backend, and how those that are not are refused.

use std::time::Duration;

use super::scripted::json;
use super::*;
use gateway_core::reason::Reason;

pub(super) async fn world() -> Fixture {
    Fixture::new(|_| json(PONG)).await
}

fn reason(reply: &Reply) -> String {
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    body["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authenticated_call_reaches_the_backend_unchanged() {
    let world = world().await;
    let body = " {\"jsonrpc\": \"2.0\",\n\"id\":1,\"method\":\"ping\",\"x\":1.50} ";
    let reply = world
        .ask("POST", "/mcp", "MCP-Protocol-Version: 2025-11-25\r\n", body)
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, PONG));
    let asked = &world.backend.asked()[0];
    assert_eq!(asked.body, body);
    assert_eq!(asked.line(), "POST /mcp HTTP/1.1");
    assert_eq!(asked.headers("x-forwarded-user"), ["alice"]);
    assert_eq!(asked.headers("host"), [world.backend.address.to_string()]);
    assert_eq!(asked.headers("mcp-protocol-version"), ["2025-11-25"]);
    assert!(asked.headers("authorization").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_every_method_is_401_with_the_challenge_of_its_path() {
    let world = world().await;
    for method in [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW", "get",
    ] {
        for (path, metadata) in [
            ("/mcp", "/mcp"),
            ("/mcp/", "/mcp/"),
            ("/sse", "/sse"),
            ("/messages?session=x", "/sse"),
            ("/gone/mcp", "/gone/mcp"),
            ("/mcp?access_token=x", "/mcp"),
        ] {
            let body = if method == "POST" { PING } else { "" };
            let reply = world.raw(&message(method, path, "", body)).await;
            assert_eq!(reply.status, 401, "{method} {path}");
            let expected = format!(
                "Bearer resource_metadata=\"{ISSUER}/.well-known/oauth-protected-resource{metadata}\", scope=\"mcp\""
            );
            assert_eq!(
                reply.header("www-authenticate"),
                Some(expected.as_str()),
                "{method} {path}"
            );
            assert_eq!(reply.header("content-type"), Some("application/json"));
        }
    }
    let reply = world.raw(&message("POST", "/", "", PING)).await;
    let expected = format!(
        "Bearer resource_metadata=\"{ISSUER}/.well-known/oauth-protected-resource\", scope=\"mcp\""
    );
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, Some(expected.as_str()))
    );
    assert!(world.backend.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_count_is_401_with_its_reason() {
    let world = world().await;
    let claims = world.claims();
    let past = claims.issued - Duration::from_secs(7200);
    let tokens = [
        ("nonsense".to_owned(), Reason::TokenMalformed),
        ("a b".to_owned(), Reason::TokenMalformed),
        (
            mint(
                &claims,
                &Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap(),
            )
            .unwrap()
            .token,
            Reason::TokenBadSignature,
        ),
        (
            mint(
                &claims,
                &Keys::new(BTreeMap::from([(9, KeyPair::new())])).unwrap(),
            )
            .unwrap()
            .token,
            Reason::TokenKeyUnknown,
        ),
        (
            world.mint(&Claims {
                expires: claims.expires - Duration::from_secs(3631),
                ..claims.clone()
            }),
            Reason::TokenExpired,
        ),
        (
            world.mint(&Claims {
                resource: Resource::from_token(format!("{ISSUER}/gone/mcp")),
                ..claims.clone()
            }),
            Reason::TokenWrongAudience,
        ),
        (
            world.mint(&Claims {
                issued: past,
                ..claims.clone()
            }),
            Reason::TokenOlderThanStore,
        ),
    ];
    for (token, expected) in tokens {
        let reply = world
            .raw(&message(
                "POST",
                "/mcp",
                &format!("Authorization: Bearer {token}\r\n"),
                PING,
            ))
            .await;
        assert_eq!(
            (reply.status, reason(&reply)),
            (401, expected.code().to_owned())
        );
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer error=\"invalid_token\", error_description=\""),
            "{challenge}"
        );
    }
    let twice = format!(
        "Authorization: Bearer {0}\r\nAuthorization: Bearer {0}\r\n",
        world.token()
    );
    assert_eq!(
        world
            .raw(&message("POST", "/mcp", &twice, PING))
            .await
            .status,
        400
    );
    let basic = message("POST", "/mcp", "Authorization: Basic YTpi\r\n", PING);
    assert_eq!(reason(&world.raw(&basic).await), "token_missing");
    assert!(world.backend.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_scope_is_403() {
    let world = world().await;
    let claims = Claims {
        scope: Scope::parse("other"),
        ..world.claims()
    };
    let lines = format!("Authorization: Bearer {}\r\n", world.mint(&claims));
    let reply = world.raw(&message("POST", "/mcp", &lines, PING)).await;
    assert_eq!(reply.status, 403);
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(world.backend.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_was_not_allowed_is_refused_within_the_session() {
    let world = world().await;
    let claims = Claims {
        tools: only(&["fetch"]),
        ..world.claims()
    };
    let lines = format!("Authorization: Bearer {}\r\n", world.mint(&claims));
    let reply = world.raw(&message("POST", "/mcp", &lines, CALL)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("www-authenticate"), None);
    let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(answer["id"], 2);
    assert_eq!(answer["result"]["isError"], true);
    let challenge = answer["result"]["_meta"]["mcp/www_authenticate"][0].as_str();
    assert!(
        challenge
            .unwrap()
            .starts_with("Bearer error=\"insufficient_scope\""),
        "{challenge:?}"
    );
    assert!(world.backend.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_grant_is_refused_at_its_next_call() {
    let world = world().await;
    let request = world.request("POST", "/mcp", "", PING);
    assert_eq!(world.raw(&request).await.status, 200);
    world.revoke("g_1").await;
    for _ in 0..100 {
        if world.raw(&request).await.status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reason(&world.raw(&request).await), "grant_revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_origin_is_refused_and_an_allowed_one_may_read() {
    let world = world().await;
    for origin in [
        "https://evil.example",
        "null",
        "http://mcp.example.com",
        "https://mcp.example.com.evil",
        "",
    ] {
        let reply = world
            .ask("POST", "/mcp", &format!("Origin: {origin}\r\n"), PING)
            .await;
        assert_eq!(
            (reply.status, reason(&reply).as_str()),
            (403, "origin_not_allowed"),
            "{origin}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        let lines = format!("Origin: {origin}\r\n");
        let preflight = format!("{lines}Access-Control-Request-Method: POST\r\n");
        for (method, lines, status) in [("OPTIONS", &preflight, 204), ("POST", &lines, 401)] {
            let reply = world.raw(&message(method, "/mcp", lines, "")).await;
            assert_eq!(
                (reply.status, reply.header("access-control-allow-origin")),
                (status, Some("*")),
                "{origin}"
            );
        }
    }
    assert!(world.backend.asked().is_empty());
    for origin in ["https://inspector.example", ISSUER] {
        let lines = format!("Origin: {origin}\r\n");
        let reply = world.ask("POST", "/mcp", &lines, PING).await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (200, Some(origin))
        );
        let reply = world.raw(&message("POST", "/mcp", &lines, PING)).await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (401, Some(origin))
        );
        let preflight = format!(
            "{lines}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: mcp-param-q\r\n"
        );
        let reply = world.raw(&message("OPTIONS", "/sse", &preflight, "")).await;
        assert_eq!(reply.status, 204);
        assert!(
            reply
                .header("access-control-allow-headers")
                .unwrap()
                .ends_with(", mcp-param-q")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_one_plain_message_never_reaches_the_backend() {
    let world = world().await;
    let big = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#,
        "a".repeat(70_000)
    );
    for (lines, body, status) in [
        (
            "",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
            400,
        ),
        (
            "",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#,
            400,
        ),
        (
            "MCP-Protocol-Version: 2025-06-18\r\n",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            400,
        ),
        ("Content-Encoding: gzip\r\n", PING, 415),
        ("", &big, 413),
    ] {
        assert_eq!(
            world.ask("POST", "/mcp", lines, body).await.status,
            status,
            "{lines}"
        );
    }
    let auth = format!("Authorization: Bearer {}\r\n", world.token());
    for (request, status) in [
        (
            format!(
                "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
            415,
        ),
        (
            format!("POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: 2\r\n\r\n{{}}"),
            415,
        ),
        (
            format!(
                "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n{{}}"
            ),
            400,
        ),
        (
            format!(
                "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n{{}}"
            ),
            413,
        ),
        (
            format!("GET /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: 2\r\n\r\n{{}}"),
            400,
        ),
        (
            format!(
                "POST /mcp HTTP/1.1\r\nHost: x\r\n{auth}Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
            ),
            408,
        ),
    ] {
        assert_eq!(world.raw(&request).await.status, status, "{request}");
    }
    assert!(world.backend.asked().is_empty());
    let batch = world
        .ask(
            "POST",
            "/mcp",
            "",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        )
        .await;
    assert_eq!(batch.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_and_paths_that_are_not_served_are_said_so_after_the_token() {
    let world = world().await;
    for (method, path, status) in [
        ("PUT", "/mcp", 405),
        ("TRACE", "/mcp", 405),
        ("OPTIONS", "/mcp", 405),
        ("POST", "/sse", 404),
        ("DELETE", "/sse", 405),
        ("GET", "/messages", 405),
        ("POST", "/messages?session=x", 404),
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/mcp/.well-known/oauth-protected-resource", 404),
    ] {
        assert_eq!(
            world.ask(method, path, "", "").await.status,
            status,
            "{method} {path}"
        );
    }
    assert!(world.backend.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_2026_07_28_are_compared_with_the_body() {
    let world = world().await;
    let body = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"search"}}"#;
    let version = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n";
    let reply = world
        .ask(
            "POST",
            "/mcp",
            &format!("{version}Mcp-Name: fetch\r\n"),
            body,
        )
        .await;
    let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(
        (reply.status, &answer["error"]["code"], &answer["id"]),
        (400, &(-32020).into(), &5.into())
    );
    assert!(world.backend.asked().is_empty());
    let reply = world
        .ask(
            "POST",
            "/mcp",
            &format!("{version}Mcp-Name: search\r\n"),
            body,
        )
        .await;
    assert_eq!(reply.status, 200);
    let older = "MCP-Protocol-Version: 2025-11-25\r\nMcp-Method: tools/list\r\nMcp-Name: fetch\r\n";
    assert_eq!(world.ask("POST", "/mcp", older, body).await.status, 200);
}
