//! The protected endpoints over Streamable HTTP: the challenge, and what passes through.

mod challenge;

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http::{self, ask};
use tests::mcp::{self, call, initialize, response, send};
use tests::recorder::{Answer, Recorder, Step};
use tests::scripted_mcp::{self, SESSION};

#[tokio::test]
async fn a_call_reaches_the_backend_byte_for_byte_with_the_verified_user() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (client, token) = fixture.signed_in().await?;
    let body = "{\"jsonrpc\":\"2.0\", \"id\":7 ,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"n\":1.50,\"big\":123456789012345678901234567890,\"text\":\"marker \\u00e9 é\"}}}";
    let request = http::client()
        .post(fixture.url("/mcp?a=b%20c"))
        .bearer_auth(&token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .header("Mcp-Param-City", "=?base64?w6k=?=")
        .header("MCP-Protocol-Version", mcp::REVISION)
        .header("Last-Event-ID", "41")
        .header("Cookie", "session=secret")
        .header("Proxy-Authorization", "Basic secret")
        .header("X-Forwarded-User", "mallory")
        .header("X_Forwarded_User", "mallory")
        .header("x-forwarded-USER", "mallory")
        .header("X-Forwarded-Email", "mallory@example.com")
        .header("X-Forwarded-Client", "mallory")
        .header("X-Forwarded-Grant", "mallory")
        .header("X-Remote-User", "mallory")
        .header("Connection", "keep-alive, X-Drop-Me")
        .header("X-Drop-Me", "please")
        .header("TE", "trailers")
        .body(body);
    let reply = http::send(request).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let arrived = fixture.backend.marked("marker").pop().expect("it arrived");
    assert_eq!(String::from_utf8_lossy(&arrived.body), body);
    assert_eq!(arrived.target, "/mcp?a=b%20c");
    assert_eq!(
        arrived.header("host"),
        Some(fixture.backend.address.to_string().as_str())
    );
    assert_eq!(
        arrived.header_values("x-forwarded-user"),
        [fixture.owner.name.as_str()]
    );
    assert_eq!(
        arrived.header_values("x-forwarded-client"),
        [client.client_id.as_str()]
    );
    assert_eq!(arrived.header("mcp-param-city"), Some("=?base64?w6k=?="));
    assert_eq!(arrived.header("mcp-protocol-version"), Some(mcp::REVISION));
    assert_eq!(arrived.header("last-event-id"), Some("41"));
    for dropped in [
        "authorization",
        "cookie",
        "proxy-authorization",
        "origin",
        "x-drop-me",
        "te",
        "x_forwarded_user",
        "x-remote-user",
    ] {
        assert_eq!(
            arrived.header(dropped),
            None,
            "{dropped} reached the backend"
        );
    }
    let everything = format!("{:?}", arrived.headers);
    assert!(
        !everything.contains("mallory") && !everything.contains(&token),
        "{everything}"
    );
    Ok(())
}

#[tokio::test]
async fn every_answer_of_the_backend_comes_back_as_it_was() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for (status, body) in [
        (202, ""),
        (
            400,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32022,\"message\":\"Unsupported\",\"data\":{\"supported\":[\"2025-11-25\"]}}}",
        ),
        (
            404,
            "{\"jsonrpc\":\"2.0\",\"id\":1, \"error\":{\"code\":-32601,\"message\":\"no\"}}",
        ),
        (405, "Method Not Allowed"),
        (406, "{}"),
        (500, "oops"),
        (503, "{\"a\":1}"),
    ] {
        let text = body.to_owned();
        fixture.backend.play(move |_| {
            Answer::Full(
                status,
                vec![
                    ("Content-Type".into(), "application/json".into()),
                    ("X-Request-Id".into(), "of the backend".into()),
                ],
                text.clone().into_bytes(),
            )
        });
        let reply = send(&fixture.url("/mcp"), &token, &call(1, "echo", &json!({}))).await?;
        assert_eq!((reply.status, reply.text.as_str()), (status, body));
        assert_eq!(reply.header("x-request-id"), "of the backend");
    }
    Ok(())
}

#[tokio::test]
async fn a_backends_own_401_is_never_taken_for_ours() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    fixture.backend.play(|_| {
        Answer::Full(
            401,
            vec![("WWW-Authenticate".into(), "Bearer realm=\"backend\"".into())],
            b"{\"error\":\"invalid_token\"}".to_vec(),
        )
    });
    let reply = send(&fixture.url("/mcp"), &token, &call(1, "echo", &json!({}))).await?;
    assert_eq!(reply.status, 502, "{}", reply.text);
    assert!(reply.header("www-authenticate").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_backend_sets_no_cookie_and_no_security_header_on_the_login_origin() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let bad = [
        ("Set-Cookie", "__Host-session=stolen; Path=/"),
        ("Set-Cookie2", "a=b"),
        ("Strict-Transport-Security", "max-age=0"),
        ("Content-Security-Policy", "default-src *"),
        ("Clear-Site-Data", "\"*\""),
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Service-Worker-Allowed", "/"),
        ("Alt-Svc", "h3=\":443\""),
        ("Public-Key-Pins", "x"),
    ];
    fixture.backend.play(move |request| {
        let mut answer = Answer::json(200, &scripted_mcp::reply(&request.json()));
        for (name, value) in bad {
            answer = answer.with(name, value);
        }
        answer
    });
    let reply = send(&fixture.url("/mcp"), &token, &call(1, "echo", &json!({}))).await?;
    assert_eq!(reply.status, 200);
    for (name, value) in bad {
        assert!(
            !reply.header_values(name).contains(&value),
            "{name}: {value} reached the client"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_session_passes_through_all_three_methods() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let url = fixture.url("/mcp");
    let session = mcp::open_session(&url, &token).await?;
    let request = mcp::post(&url, &token, &call(2, "echo", &json!({"x": 1})))
        .header("Mcp-Session-Id", &session);
    assert_eq!(response(&http::send(request).await?)?["id"], 2);
    let delete = http::send(
        http::client()
            .delete(&url)
            .bearer_auth(&token)
            .header("Mcp-Session-Id", &session),
    )
    .await?;
    assert_eq!(delete.status, 200);
    let arrived = fixture.backend.requests();
    assert!(
        arrived
            .iter()
            .any(|r| r.method == "DELETE" && r.header("mcp-session-id") == Some(SESSION))
    );
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_a_stream_arrives_event_by_event() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    fixture.backend.play(|_| {
        let event =
            |n: u32| Step::Send(format!("id: {n}\nevent: message\ndata: {{\"n\":{n}}}\n\n"));
        Answer::events(vec![event(1), Step::Wait(Duration::from_secs(2)), event(2)])
    });
    let mut stream = tests::sse::EventStream::open(mcp::post(
        &fixture.url("/mcp"),
        &token,
        &call(1, "echo", &json!({})),
    ))
    .await?;
    assert_eq!(
        stream.event(Duration::from_secs(1)).await?.1,
        "{\"n\":1}",
        "the first event was held back"
    );
    assert!(stream.age() < Duration::from_millis(1500));
    assert_eq!(stream.header("x-accel-buffering"), "no");
    assert!(
        stream.header("cache-control").contains("no-"),
        "{}",
        stream.header("cache-control")
    );
    assert_eq!(stream.event(Duration::from_secs(5)).await?.1, "{\"n\":2}");
    assert!(stream.end(Duration::from_secs(2)).await?);
    Ok(())
}

#[tokio::test]
async fn a_web_page_of_an_unlisted_origin_is_refused_even_with_a_token() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        (fixture.gateway.issuer().as_str(), 200),
    ] {
        let reply = http::send(
            mcp::post(&fixture.url("/mcp"), &token, &initialize()).header("Origin", origin),
        )
        .await?;
        assert_eq!(reply.status, status, "{origin}: {}", reply.text);
    }
    Ok(())
}

#[tokio::test]
async fn a_backend_that_is_down_is_told_at_once_and_the_others_go_on() -> Result<()> {
    let alive = Recorder::start(scripted_mcp::answer).await?;
    let leaving = Recorder::start(scripted_mcp::answer).await?;
    let setup = Setup::default()
        .mounted("alive", "/alive", &alive.url())
        .mounted("gone", "/gone", &leaving.url());
    let gateway = Gateway::start(setup).await?;
    let client = tests::oauth::OAuthClient::register(&gateway.origin(), "Client").await?;
    let owner = tests::gateway::Owner::alice();
    let gone = client
        .sign_in_for(&owner, &gateway.url("/gone/mcp"))
        .await?;
    let good = client
        .sign_in_for(&owner, &gateway.url("/alive/mcp"))
        .await?;
    drop(leaving);
    let reply = send(
        &gateway.url("/gone/mcp"),
        &gone,
        &call(3, "echo", &json!({})),
    )
    .await?;
    assert!(
        [502, 504].contains(&reply.status),
        "{}: {}",
        reply.status,
        reply.text
    );
    assert!(reply.took < Duration::from_secs(6), "{:?}", reply.took);
    assert!(reply.json().is_object());
    assert!(reply.header("www-authenticate").is_empty());
    let reply = send(
        &gateway.url("/alive/mcp"),
        &good,
        &call(4, "echo", &json!({})),
    )
    .await?;
    assert_eq!(response(&reply)?["id"], 4);
    Ok(())
}

#[tokio::test]
async fn a_backend_that_breaks_off_is_never_taken_for_a_whole_answer() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let json_head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let cases: Vec<(&str, Answer)> = vec![
        ("reset before an answer", Answer::Reset),
        (
            "shorter than its length",
            Answer::Bytes(
                format!("{json_head}Content-Length: 100\r\n\r\n{{\"jsonrpc\":").into_bytes(),
            ),
        ),
        (
            "chunks without an end",
            Answer::Bytes(
                format!("{json_head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"a\":\r\n")
                    .into_bytes(),
            ),
        ),
        (
            "garbage chunk",
            Answer::Bytes(
                format!("{json_head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n").into_bytes(),
            ),
        ),
        (
            "no HTTP",
            Answer::Bytes(b"hello, this is not HTTP\r\n\r\n".to_vec()),
        ),
    ];
    for (what, answer) in cases {
        fixture.backend.play(move |_| answer.clone());
        let outcome = send(&fixture.url("/mcp"), &token, &call(1, "echo", &json!({}))).await;
        if let Ok(reply) = outcome {
            assert_ne!(
                reply.status, 200,
                "{what} was passed on as whole: {:?}",
                reply.text
            );
            assert!(
                (500..600).contains(&reply.status),
                "{what}: {}",
                reply.status
            );
        }
    }
    fixture.backend.play(scripted_mcp::answer);
    assert_eq!(
        send(&fixture.url("/mcp"), &token, &initialize())
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn no_call_is_ever_sent_twice() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    fixture.backend.play(|_| Answer::Reset);
    let _ = send(
        &fixture.url("/mcp"),
        &token,
        &call(1, "echo", &json!({"marker": "only-once"})),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fixture.backend.marked("only-once").len(), 1);
    Ok(())
}

#[tokio::test]
async fn each_backend_has_its_own_prefix_tokens_and_tools() -> Result<()> {
    let one = Recorder::start(scripted_mcp::answer).await?;
    let two = Recorder::start(scripted_mcp::answer).await?;
    let gateway = Gateway::start(Setup::default().mounted("one", "/one", &one.url()).mounted(
        "two",
        "/two",
        &two.url(),
    ))
    .await?;
    let client = tests::oauth::OAuthClient::register(&gateway.origin(), "Client").await?;
    let owner = tests::gateway::Owner::alice();
    let token = client.sign_in_for(&owner, &gateway.url("/one/mcp")).await?;
    let reply = send(
        &gateway.url("/one/mcp"),
        &token,
        &call(1, "echo", &json!({"marker": "first"})),
    )
    .await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(one.marked("first").len(), 1);
    assert_eq!(
        one.marked("first")[0].target,
        "/mcp",
        "the prefix is ours, not the backend's"
    );
    let reply = send(
        &gateway.url("/two/mcp"),
        &token,
        &call(1, "echo", &json!({"marker": "second"})),
    )
    .await?;
    assert_eq!(reply.status, 401, "a token for /one opened /two");
    assert!(two.marked("second").is_empty());
    for path in ["/mcp", "/one", "/one/mcp2", "/three/mcp"] {
        let reply = send(&gateway.url(path), &token, &initialize()).await?;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
    }
    Ok(())
}

#[tokio::test]
async fn a_redirect_of_the_backend_never_shows_its_own_address() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| setup).await?;
    let (_, token) = fixture.signed_in().await?;
    let address = fixture.backend.url();
    let target = format!("{address}/mcp/");
    fixture
        .backend
        .play(move |_| Answer::Full(307, vec![("Location".into(), target.clone())], vec![]));
    let reply = send(&fixture.url("/mcp"), &token, &initialize()).await?;
    assert!(
        !format!("{:?}{}", reply.headers, reply.text).contains(&address),
        "{:?}",
        reply.headers
    );
    Ok(())
}
