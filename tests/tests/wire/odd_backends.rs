//! Backends and clients that say things in a way of their own, which the standards allow: letter case,
//! public names, the absolute form; and streams that name an endpoint twice.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp::{LegacySession, call};
use tests::oauth::OAuthClient;
use tests::raw::{exchange, request};
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::scripted_mcp::{self, SSE_STREAM, reply};
use tests::sse::EventStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// HTTP+SSE alone, with the stream's type spelled so and the endpoint named so.
fn legacy(kind: &'static str, endpoint: &'static str) -> impl Fn(&Recorded) -> Answer {
    move |request| match (request.method.as_str(), request.path()) {
        ("GET", "/sse") => Answer::Steps(
            200,
            vec![("Content-Type".into(), kind.into())],
            vec![
                Step::Send(format!("event: endpoint\ndata: {endpoint}\n\n")),
                Step::Live(SSE_STREAM.into()),
            ],
        ),
        ("POST", "/messages") => scripted_mcp::answer(request),
        _ => Answer::json(404, &json!({"error": "not found"})),
    }
}

#[tokio::test]
async fn a_legacy_backend_is_understood_however_it_spells_its_type_and_its_own_name() -> Result<()>
{
    for (kind, endpoint) in [
        ("Text/Event-Stream", "/messages?sessionId=1"),
        ("TEXT/EVENT-STREAM ;Charset=utf-8", "messages?sessionId=1"),
        (
            "text/event-stream",
            "https://tools.example.com/messages?sessionId=1",
        ),
        (
            "text/event-stream;charset=utf-8",
            "//tools.example.com:8443/messages?sessionId=1",
        ),
    ] {
        let backend = Recorder::start(legacy(kind, endpoint)).await?;
        let gateway = Gateway::start(Setup::default().backend(&backend.url())).await?;
        let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
        // The consent page lists its tools, or this would fail.
        let token = client.sign_in(&Owner::alice()).await?;
        let mut session = LegacySession::open(&gateway.url("/sse"), &token).await?;
        let answer = session.request(&call(7, "echo", &json!({"a": 1}))).await?;
        assert_eq!(answer["id"], 7, "{kind} {endpoint}: {answer}");
        assert!(
            !backend.marked("sessionId=1").is_empty(),
            "{kind} {endpoint}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn streamable_http_answers_are_streams_whatever_their_letters() -> Result<()> {
    for kind in ["Text/Event-Stream", "text/event-stream ; charset=UTF-8"] {
        let fixture = Fixture::start().await?;
        fixture.backend.play(move |request| {
            let message = request.json();
            if request.method != "POST" || message.get("id").is_none() {
                return scripted_mcp::answer(request);
            }
            let text = format!("event: message\ndata: {}\n\n", reply(&message));
            let kind = vec![("Content-Type".into(), kind.into())];
            Answer::Steps(200, kind, vec![Step::Send(text)])
        });
        let client = fixture.client("A test client").await?;
        let token = client
            .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["echo"]))
            .await?;
        let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"});
        let reply = tests::mcp::send(&fixture.url("/mcp"), &token, &list).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
        // What was not chosen is cut out, which takes reading it.
        assert!(
            reply.text.contains("echo") && !reply.text.contains("erase"),
            "{}",
            reply.text
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_later_endpoint_event_never_reaches_a_client_as_the_backend_wrote_it() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    for (later, is_passed) in [
        ("event: endpoint\ndata: http://evil.example/m?x=1\n\n", true),
        ("data: /m?x=1\nevent: endpoint\n\n", true),
        (
            "event: endpoint\nevent: message\ndata: http://evil.example/\n\n",
            false,
        ),
        ("event: Endpoint\ndata: http://evil.example/\n\n", false),
        (
            "data: a\u{2028}event: endpoint\u{2028}data: http://evil.example/\n\n",
            false,
        ),
    ] {
        fixture.backend.play(move |request| match request.path() {
            "/sse" => Answer::events(vec![
                Step::Send("event: endpoint\ndata: /messages?x=0\n\n".into()),
                Step::Send(later.into()),
                Step::Send(
                    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n".into(),
                ),
                Step::Wait(Duration::from_secs(20)),
            ]),
            _ => scripted_mcp::answer(request),
        });
        let get = http::client().get(fixture.url("/sse")).bearer_auth(&token);
        let mut stream = EventStream::open(get).await?;
        let (name, first) = stream.event(PATIENCE).await?;
        assert_eq!(name, "endpoint");
        let own = first
            .split("/messages?")
            .next()
            .unwrap_or_default()
            .to_owned();
        if !is_passed {
            assert!(!stream.end(PATIENCE).await?, "{later:?}");
            continue;
        }
        let (name, second) = stream.event(PATIENCE).await?;
        assert_eq!(name, "endpoint", "{later:?}");
        assert!(second.starts_with(&own) && second != first, "{second}");
        let (name, _) = stream.event(PATIENCE).await?;
        assert_eq!(name, "message");
    }
    Ok(())
}

#[tokio::test]
async fn the_absolute_form_is_served_for_this_gateway_alone() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let (port, issuer) = (fixture.gateway.port, fixture.gateway.issuer());
    let address = format!("127.0.0.1:{port}").parse()?;
    let headers = [
        ("Authorization", &*format!("Bearer {token}")),
        ("Content-Type", "application/json"),
    ];
    let body = call(1, "echo", &json!({})).to_string();
    for (target, host, expected) in [
        (
            format!("http://127.0.0.1:{port}/mcp"),
            format!("127.0.0.1:{port}"),
            200,
        ),
        (format!("{issuer}/mcp"), format!("127.0.0.1:{port}"), 200),
        // It would win over Host (RFC 9112 §3.2.2), but Pingora refuses the two that disagree.
        (
            format!("http://127.0.0.1:{port}/mcp"),
            "evil.example".into(),
            400,
        ),
        (
            "http://evil.example/mcp".into(),
            format!("127.0.0.1:{port}"),
            400,
        ),
        (
            format!("http://evil.example:{port}/mcp"),
            "evil.example".into(),
            400,
        ),
        (
            format!("http://x@127.0.0.1:{port}/mcp"),
            "127.0.0.1".into(),
            400,
        ),
        (
            format!("http://127.0.0.1:{port}/mcp#x"),
            "127.0.0.1".into(),
            400,
        ),
    ] {
        let bytes = request("POST", &target, &host, &headers, body.as_bytes());
        let answer = exchange(address, &bytes, PATIENCE).await?;
        assert_eq!(
            answer.status(),
            expected,
            "{target} {host}: {}",
            answer.text
        );
    }
    Ok(())
}

#[tokio::test]
async fn who_takes_anything_gets_an_answer_of_a_strict_server() -> Result<()> {
    let fixture = Fixture::start().await?;
    fixture.backend.play(|request| {
        let accept = request.header_values("accept").join(", ");
        let both = accept.contains("application/json") && accept.contains("text/event-stream");
        if request.method == "POST" && !both {
            return Answer::json(406, &json!({"error": accept}));
        }
        scripted_mcp::answer(request)
    });
    let (_, token) = fixture.signed_in().await?;
    let address = format!("127.0.0.1:{}", fixture.gateway.port).parse()?;
    let bearer = format!("Bearer {token}");
    let body = call(1, "echo", &json!({})).to_string();
    for (accept, expected) in [
        (None, 200),
        (Some("*/*"), 200),
        (Some("application/json, */*;q=0.5"), 200),
        (Some("text/event-stream,application/json"), 200),
        (Some("application/json"), 406),
    ] {
        let mut headers = vec![
            ("Authorization", &*bearer),
            ("Content-Type", "application/json"),
        ];
        headers.extend(accept.map(|accept| ("Accept", accept)));
        let bytes = request("POST", "/mcp", "localhost", &headers, body.as_bytes());
        let answer = exchange(address, &bytes, PATIENCE).await?;
        assert_eq!(answer.status(), expected, "{accept:?}: {}", answer.text);
    }
    Ok(())
}
