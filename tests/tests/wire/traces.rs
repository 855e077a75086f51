//! Traces as a collector gets them: the spans of a request and how they hang together, by which names; what
//! is kept; and that nothing is in them that is not theirs.

mod collector;

use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Version;
use serde_json::{Value, json};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::https::HttpsConnection;
use tests::mcp::{call, initialize, post, send};
use tests::oauth::OAuthClient;
use tests::recorder::Recorder;
use tests::scripted_revisions;
use tests::sse::EventStream;
use tests::traces::{Collector, Span};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00f067aa0ba902b7";

/// `traceparent` of a span that is kept, or is not.
fn parent(trace: &str, is_kept: bool) -> String {
    format!("00-{trace}-{PARENT}-0{}", u8::from(is_kept))
}

/// A gateway whose requests go this road, and its collector.
async fn traced(lane: &str, traces: &str) -> Result<(Fixture, Collector)> {
    let collector = Collector::start().await?;
    let more = collector.configuration(traces);
    let fixture = Fixture::with(StoreKind::Embedded, |setup| Setup {
        environment: vec![("GATEWAY_LANE".into(), lane.into())],
        top: "h2c = true\n".into(),
        ..setup.more(&more)
    })
    .await?;
    Ok((fixture, collector))
}

/// The span of this trace that serves a request, and the one below it that asks a backend.
fn pair<'a>(spans: &'a [Span], trace: &str) -> Option<(&'a Span, &'a Span)> {
    let mut of_trace = spans.iter().filter(|span| span.text("trace") == trace);
    let server = of_trace.clone().find(|span| span.is_server())?;
    let client = of_trace.find(|span| {
        span.text("kind") == "SPAN_KIND_CLIENT" && span.text("parent") == server.text("span")
    })?;
    Some((server, client))
}

/// The fields of the first line of the log with this event and request id.
async fn line(gateway: &Gateway, event: &str, request_id: &Value) -> Result<Value> {
    let found = gateway.eventually_logged(|log| {
        let mut lines = log
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["event"] == event && line["request_id"] == *request_id)
    });
    found.await
}

async fn a_call_is_two_spans(lane: &str) -> Result<()> {
    let (fixture, collector) = traced(lane, "sample = 0").await?;
    let (_, token) = fixture.signed_in().await?;
    let mcp = fixture.url("/mcp");
    // The gateway knows by then which tools there are.
    send(&mcp, &token, &initialize()).await?;
    let request = post(
        &mcp,
        &token,
        &call(7, "echo", &json!({"secret": "hunter2"})),
    );
    let request = request
        .header("Traceparent", parent(TRACE, true))
        .header("Tracestate", "a=1,b=2");
    assert_eq!(http::send(request).await?.status, 200);
    let unlisted = post(&mcp, &token, &call(8, "hunter3", &json!({})));
    let unlisted = unlisted.header("Traceparent", parent(OTHER_TRACE, true));
    assert_eq!(http::send(unlisted).await?.status, 200);

    let spans = collector
        .until(|spans| pair(spans, TRACE).is_some() && pair(spans, OTHER_TRACE).is_some())
        .await?;
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let (server, client) = pair(&spans, TRACE).context("it was waited for")?;
    assert_eq!(server.text("parent"), PARENT);
    assert_eq!(server.text("state"), "a=1,b=2");
    assert_eq!(server.0["flags"], 0x301, "kept, of another process");
    assert_eq!(client.0["flags"], 0x101);
    assert_eq!(client.0["events"], json!(["gateway.response_head"]));
    for span in [server, client] {
        assert_eq!(span.text("name"), "tools/call echo");
        assert_eq!(span.text("status"), "STATUS_CODE_UNSET");
        for (name, expected) in [
            ("http.request.method", json!("POST")),
            ("http.response.status_code", json!(200)),
            ("mcp.method.name", json!("tools/call")),
            ("mcp.protocol.version", json!("2025-11-25")),
            ("gen_ai.tool.name", json!("echo")),
            ("gen_ai.operation.name", json!("execute_tool")),
            ("gateway.backend", json!("main")),
        ] {
            assert_eq!(*span.attribute(name), expected, "{name}: {span:?}");
        }
        assert!(
            span.0["start"].as_u64() < span.0["end"].as_u64(),
            "{span:?}"
        );
        assert_eq!(span.0["service"]["service.name"], "cupcake-gateway");
    }
    assert_eq!(*server.attribute("http.route"), "/mcp");
    assert_eq!(*server.attribute("gateway.outcome"), "done");
    assert_eq!(*server.attribute("network.protocol.version"), "1.1");
    assert_eq!(*client.attribute("server.address"), "127.0.0.1");
    let port = fixture.backend.address.port();
    assert_eq!(*client.attribute("server.port"), port);

    // The log leads to the trace, and the trace to the log.
    let logged = line(
        &fixture.gateway,
        "exchanged",
        server.attribute("gateway.request_id"),
    );
    let logged = logged.await.context("the line of the call")?;
    assert_eq!(logged["trace_id"], TRACE);

    // The backend's own spans hang below that of the gateway.
    let asked = fixture.backend.marked("hunter2");
    let told = format!("00-{TRACE}-{}-01", client.text("span"));
    assert_eq!(asked[0].header_values("traceparent"), [told]);
    assert_eq!(asked[0].header_values("tracestate"), ["a=1,b=2"]);

    // A tool that nobody lists has a name that might be anything.
    let (server, _) = pair(&spans, OTHER_TRACE).context("it was waited for")?;
    assert_eq!(server.text("name"), "tools/call other");
    for secret in ["hunter2", "hunter3", &token, "alice", "127.0.0.1:"] {
        let sent = collector.0.marked(secret);
        let sent = sent.iter().filter(|sent| !sent.headers.is_empty());
        let in_body = |body: &[u8]| String::from_utf8_lossy(body).contains(secret);
        let mut bodies = sent.map(|sent| sent.body.as_slice());
        assert!(!bodies.any(in_body), "{secret}");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_is_a_span_below_its_client_s_and_above_its_backend_s() -> Result<()> {
    a_call_is_two_spans("on").await
}

#[tokio::test]
async fn a_call_through_pingora_is_the_same_two_spans() -> Result<()> {
    a_call_is_two_spans("off").await
}

async fn everything_is_a_span(lane: &str) -> Result<()> {
    let (fixture, collector) = traced(lane, "sample = 1\nservice_name = \"Own name\"").await?;
    let (_, token) = fixture.signed_in().await?;
    let mcp = fixture.url("/mcp");
    assert_eq!(send(&mcp, "nonsense", &initialize()).await?.status, 401);
    assert_eq!(http::get(&fixture.url("/no/hunter2")).await?.status, 404);
    let made_up = tests::mcp::message(1, "hunter2/up", &json!({}));
    send(&mcp, &token, &made_up).await?;
    let request = http::client().get(&mcp).bearer_auth(&token);
    let request = request.header("Accept", "text/event-stream");
    let stream = EventStream::open(request).await?;
    fixture
        .backend
        .await_streams(1, Duration::from_secs(5))
        .await?;
    drop(stream);
    let authority = format!("127.0.0.1:{}", fixture.gateway.port);
    let address = fixture.gateway.address();
    let mut two = HttpsConnection::plain(address, Version::HTTP_2, &authority).await?;
    let bearer = format!("Bearer {token}");
    let body = call(1, "look", &json!({})).to_string();
    let headers = crate::tls::headers(&bearer);
    assert_eq!(two.send("POST", "/mcp", &headers, &body).await?.status, 200);

    let is = |span: &Span, name: &str, outcome: &str, reason: &str| {
        let reason = if reason.is_empty() {
            Value::Null
        } else {
            json!(reason)
        };
        span.is_server()
            && span.text("name") == name
            && *span.attribute("gateway.outcome") == outcome
            && *span.attribute("gateway.reason") == reason
    };
    let expected = [
        ("POST /mcp", "refused", "token_malformed"),
        ("GET", "refused", "not_found"),
        ("other", "done", ""),
        ("GET /mcp", "client_gone", ""),
        ("POST token", "done", ""),
        ("tools/call look", "done", ""),
    ];
    let spans = collector
        .until(|spans| {
            let has = |(name, outcome, reason): &(&str, &str, &str)| {
                spans.iter().any(|span| is(span, name, outcome, reason))
            };
            expected.iter().all(has)
        })
        .await?;
    let refused = spans
        .iter()
        .find(|span| is(span, "POST /mcp", "refused", "token_malformed"));
    let refused = refused.context("it was waited for")?;
    assert_eq!(*refused.attribute("http.response.status_code"), 401);
    // What a client does wrong is no error of the server.
    assert_eq!(refused.text("status"), "STATUS_CODE_UNSET");
    assert_eq!(refused.0["service"]["service.name"], "Own name");
    let request_id = refused.attribute("gateway.request_id");
    let logged = line(&fixture.gateway, "refused", request_id).await?;
    assert_eq!(logged["trace_id"], refused.text("trace"));
    let below = |server: &Span| {
        let is_below = |span: &&Span| span.text("parent") == server.text("span");
        spans.iter().filter(is_below).count()
    };
    assert_eq!(below(refused), 0, "no backend was asked");
    let looked = spans
        .iter()
        .find(|span| is(span, "tools/call look", "done", ""));
    let looked = looked.context("it was waited for")?;
    assert_eq!(*looked.attribute("network.protocol.version"), "2");
    assert_eq!((looked.text("parent"), below(looked)), ("", 1));
    let bodies = collector.requests().into_iter().map(|sent| sent.body);
    for body in bodies {
        assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
    }
    Ok(())
}

#[tokio::test]
async fn refusals_streams_pages_and_http_2_are_spans() -> Result<()> {
    everything_is_a_span("on").await
}

#[tokio::test]
async fn refusals_streams_pages_and_http_2_are_spans_through_pingora() -> Result<()> {
    everything_is_a_span("off").await
}

#[tokio::test]
async fn a_backend_that_fails_is_an_error_of_both_spans() -> Result<()> {
    let (fixture, collector) = traced("on", "sample = 1").await?;
    let (_, token) = fixture.signed_in().await?;
    fixture.backend.play(|_| tests::recorder::Answer::Reset);
    let request = post(&fixture.url("/mcp"), &token, &call(1, "echo", &json!({})));
    let request = request.header("Traceparent", parent(TRACE, true));
    assert_eq!(http::send(request).await?.status, 502);
    let spans = collector
        .until(|spans| pair(spans, TRACE).is_some())
        .await?;
    let (server, client) = pair(&spans, TRACE).context("it was waited for")?;
    for span in [server, client] {
        assert_eq!(span.text("status"), "STATUS_CODE_ERROR");
        assert_eq!(*span.attribute("error.type"), "upstream_failed");
    }
    assert_eq!(*server.attribute("http.response.status_code"), 502);
    assert_eq!(*client.attribute("http.response.status_code"), Value::Null);
    Ok(())
}

#[tokio::test]
async fn the_context_of_a_message_is_the_parent_and_that_of_its_transport_a_link() -> Result<()> {
    let (fixture, collector) = traced("on", "sample = 0").await?;
    let (_, token) = fixture.signed_in().await?;
    let mut body = call(1, "echo", &json!({}));
    body["params"]["_meta"] = json!({"traceparent": parent(TRACE, true), "tracestate": "m=1"});
    let request = post(&fixture.url("/mcp"), &token, &body);
    let request = request
        .header("Traceparent", parent(OTHER_TRACE, false))
        .header("Tracestate", "h=1");
    assert_eq!(http::send(request).await?.status, 200);
    let spans = collector
        .until(|spans| pair(spans, TRACE).is_some())
        .await?;
    let (server, client) = pair(&spans, TRACE).context("it was waited for")?;
    assert_eq!(server.text("parent"), PARENT);
    assert_eq!(server.0["links"], json!([[OTHER_TRACE, PARENT]]));
    let asked = fixture.backend.marked("m=1");
    let told = format!("00-{TRACE}-{}-01", client.text("span"));
    assert_eq!(asked[0].header_values("traceparent"), [told]);
    assert_eq!(asked[0].header_values("tracestate"), ["m=1"]);
    // The message itself is not touched.
    assert_eq!(asked[0].json(), body);
    Ok(())
}

#[tokio::test]
async fn only_who_has_a_token_decides_whether_a_trace_is_kept() -> Result<()> {
    let (fixture, collector) = traced("on", "sample = 0").await?;
    let (_, token) = fixture.signed_in().await?;
    let mcp = fixture.url("/mcp");
    let traced = |token: &str, trace: &str, is_kept: bool| {
        let request = post(&mcp, token, &call(1, "echo", &json!({})));
        request.header("Traceparent", parent(trace, is_kept))
    };
    let stranger = traced("nonsense", &"1".repeat(32), true);
    assert_eq!(http::send(stranger).await?.status, 401);
    for (trace, is_kept) in [("2".repeat(32), false), ("3".repeat(32), true)] {
        let reply = http::send(traced(&token, &trace, is_kept)).await?;
        assert_eq!(reply.status, 200);
    }
    // Without a context nothing is kept, and the backend told so; one that is none is none.
    for wrong in [None, Some("00-nonsense-01")] {
        let mut request = post(&mcp, &token, &call(1, "look", &json!({})));
        if let Some(wrong) = wrong {
            request = request.header("Traceparent", wrong);
        }
        assert_eq!(http::send(request).await?.status, 200);
    }
    let spans = collector.until(|spans| spans.len() == 2).await?;
    assert!(pair(&spans, &"3".repeat(32)).is_some(), "{spans:#?}");
    let asked = |marker: &str| fixture.backend.marked(marker);
    let as_it_came = parent(&"2".repeat(32), false);
    assert_eq!(
        asked(&"2".repeat(32))[0].header_values("traceparent"),
        [as_it_came]
    );
    let looks = asked("\"look\"");
    let looks = looks
        .iter()
        .filter(|asked| asked.json()["method"] == "tools/call");
    for asked in looks {
        let told = asked.header_values("traceparent");
        assert!(told.len() == 1 && told[0].ends_with("-00"), "{told:?}");
        assert_eq!(told[0].len(), 55, "{told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn with_ignore_parent_chance_alone_decides() -> Result<()> {
    let (fixture, collector) = traced("on", "sample = 1\nignore_parent = true").await?;
    let (_, token) = fixture.signed_in().await?;
    let request = post(&fixture.url("/mcp"), &token, &call(1, "echo", &json!({})));
    let request = request.header("Traceparent", parent(TRACE, false));
    assert_eq!(http::send(request).await?.status, 200);
    collector
        .until(|spans| pair(spans, TRACE).is_some())
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_translated_call_has_the_same_two_spans() -> Result<()> {
    let collector = Collector::start().await?;
    let backend = Recorder::start(scripted_revisions::stateless).await?;
    let setup = Setup {
        only_more: true,
        ..Setup::default()
    };
    let gateway = Gateway::start(setup.more(&format!(
        "[[backend]]\nname = \"main\"\npath = \"/\"\nurl = \"{}\"\neras = [\"2026-07-28\"]\n{}",
        backend.url(),
        collector.configuration("sample = 0")
    )))
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "A test client").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    let mcp = gateway.url("/mcp");
    let session = tests::mcp::open_session(&mcp, &token).await?;
    let request = post(&mcp, &token, &call(1, "mirrored", &json!({"q": "marked"})));
    let request = request
        .header("Mcp-Session-Id", session)
        .header("Traceparent", parent(TRACE, true))
        .header("Tracestate", "a=1");
    assert_eq!(http::send(request).await?.status, 200);
    let spans = collector
        .until(|spans| pair(spans, TRACE).is_some())
        .await?;
    let (server, client) = pair(&spans, TRACE).context("it was waited for")?;
    assert_eq!(server.text("name"), "tools/call mirrored");
    let told = format!("00-{TRACE}-{}-01", client.text("span"));
    let asked = backend.marked("\"marked\"");
    assert_eq!(asked[0].header_values("traceparent"), [told]);
    assert_eq!(asked[0].header_values("tracestate"), ["a=1"]);
    Ok(())
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced_and_contexts_pass() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let request = post(&fixture.url("/mcp"), &token, &call(1, "echo", &json!({})));
    let request = request
        .header("Traceparent", parent(TRACE, true))
        .header("Tracestate", "a=1");
    assert_eq!(http::send(request).await?.status, 200);
    let asked = fixture.backend.marked(TRACE);
    assert_eq!(asked[0].header("traceparent"), Some(&*parent(TRACE, true)));
    assert_eq!(asked[0].header("tracestate"), Some("a=1"));
    let log = fixture.gateway.log().join("\n");
    assert!(!log.contains("trace_id"), "{log}");
    Ok(())
}
