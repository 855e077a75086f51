//! What holds for every request to a backend, whichever part of the gateway sends it: where a redirect
//! leads, what counts as an event stream, what is sent again, and what is never said to it. A client's
//! call, a translated one, the list of tools and the question what a backend speaks obey one rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession, call};
use tests::oauth::OAuthClient;
use tests::recorder::{Answer, Recorded, Recorder, Step};
use tests::{scripted_mcp, scripted_revisions};

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway in front of one scripted backend, with lines of its own about it.
struct BackendFixture {
    gateway: Gateway,
    backend: Recorder,
}

impl BackendFixture {
    async fn start(
        lines: &str,
        script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let backend = Recorder::start(script).await?;
        let setup = Setup {
            only_more: true,
            ..Setup::default()
        };
        let url = backend.url();
        let gateway = Gateway::start(setup.more(&format!(
            "[[backend]]\nname = \"main\"\npath = \"/\"\nurl = \"{url}\"\n{lines}\n"
        )))
        .await?;
        Ok(Self { gateway, backend })
    }

    /// Waits until the gateway has found out that this is what the backend speaks.
    async fn known(&self, families: &str) -> Result<()> {
        let wanted = format!("\"eras\":\"{families}\"");
        self.gateway.logged(&wanted).await?;
        Ok(())
    }

    async fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            let log = || self.gateway.log().join("\n");
            ensure!(Instant::now() < deadline, "never: {what}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Signs in for one tool, which only works where the consent page lists it.
    async fn choosing_echo(&self) -> Result<String> {
        let client = OAuthClient::register(&self.gateway.origin(), "A test client").await?;
        client
            .sign_in_choosing(&Owner::alice(), |form| form.choose_tools(&["echo"]))
            .await
    }

    async fn signed_in(&self) -> Result<String> {
        let client = OAuthClient::register(&self.gateway.origin(), "A test client").await?;
        client.sign_in(&Owner::alice()).await
    }

    /// A request of 2026-07-28.
    async fn modern(&self, token: &str, method: &str, params: &Value) -> Result<Reply> {
        let body = mcp::stateless_message(7, method, params);
        http::send(mcp::post_stateless(&self.gateway.url("/mcp"), token, &body)).await
    }
}

// --- redirects ----------------------------------------------------------------------------------

/// The same request, as if it had been sent to this path.
fn at(path: &str, request: &Recorded) -> Recorded {
    Recorded {
        target: path.to_owned(),
        ..request.clone()
    }
}

fn redirect(location: &str) -> Answer {
    Answer::Full(307, vec![("Location".into(), location.into())], vec![])
}

/// The list of tools took it relative to the path of the legacy stream, and found nothing there.
#[tokio::test]
async fn a_relative_redirect_leads_to_one_place_whoever_asks() -> Result<()> {
    let lines = "mcp_path = \"/v2/mcp\"\nsse_path = \"/old/sse\"";
    for location in ["?moved=1", "mcp?moved=1", "../v2/mcp?moved=1"] {
        let place = BackendFixture::start(lines, move |request| match &*request.target {
            "/v2/mcp" if request.method == "POST" => redirect(location),
            "/v2/mcp?moved=1" => scripted_mcp::answer(&at("/mcp", request)),
            _ => Answer::json(404, &json!({"error": "not found"})),
        })
        .await?;
        // Found out by probing, listed for the page, called as it is, and translated.
        place.known("2025").await?;
        let token = place.choosing_echo().await?;
        let mcp = place.gateway.url("/mcp");
        let reply = mcp::send(&mcp, &token, &call(1, "echo", &json!({"a": "plain"}))).await?;
        assert_eq!(reply.status, 200, "{location}: {}", reply.text);
        assert!(reply.text.contains("plain"), "{location}: {}", reply.text);
        let params = json!({"name": "echo", "arguments": {"a": "translated"}});
        let reply = place.modern(&token, "tools/call", &params).await?;
        assert_eq!(reply.status, 200, "{location}: {}", reply.text);
        assert!(reply.text.contains("translated"), "{}", reply.text);
        let strayed = |request: &Recorded| {
            !["/v2/mcp", "/v2/mcp?moved=1", "/old/sse"].contains(&&*request.target)
        };
        let strayed: Vec<_> = place
            .backend
            .requests()
            .into_iter()
            .filter(strayed)
            .collect();
        assert!(strayed.is_empty(), "{location}: {strayed:?}");
    }
    Ok(())
}

/// It was taken relative to the path that is configured, and messages went where nobody takes them.
#[tokio::test]
async fn the_endpoint_of_a_redirected_stream_is_relative_to_where_that_leads() -> Result<()> {
    let place = BackendFixture::start("eras = [\"2024-11-05\"]", |request| {
        match (&*request.method, &*request.target) {
            ("GET", "/sse") => redirect("/v2/stream?moved=1"),
            ("GET", "/v2/stream?moved=1") => Answer::events(vec![
                Step::Send("event: endpoint\ndata: messages?session=1\n\n".into()),
                Step::Live(scripted_mcp::SSE_STREAM.into()),
            ]),
            ("POST", "/v2/messages?session=1") if request.json().get("id").is_none() => {
                Answer::Full(202, vec![], vec![])
            }
            ("POST", "/v2/messages?session=1") => scripted_revisions::over_stream(&request.json()),
            _ => Answer::json(404, &json!({"error": "not found"})),
        }
    })
    .await?;
    // Listed for the page, called as it is, and translated.
    let token = place.choosing_echo().await?;
    let mut session = LegacySession::open(&place.gateway.url("/sse"), &token).await?;
    let answer = session
        .request(&call(2, "echo", &json!({"a": "plain"})))
        .await?;
    assert!(answer.to_string().contains("plain"), "{answer}");
    let params = json!({"name": "echo", "arguments": {"a": "translated"}});
    let reply = place.modern(&token, "tools/call", &params).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.text.contains("translated"), "{}", reply.text);
    Ok(())
}

/// The list of tools went there all the same, where only the scheme was another.
#[tokio::test]
async fn a_redirect_to_another_origin_is_followed_by_nobody() -> Result<()> {
    for origin in ["https://{host}", "http://localhost:1", "http://user@{host}"] {
        let place = BackendFixture::start("eras = [\"2025\"]", move |request| {
            let host = request.header("host").unwrap_or_default();
            match (&*request.method, &*request.target) {
                ("POST", "/mcp") => {
                    redirect(&format!("{}/mcp?moved=1", origin.replace("{host}", host)))
                }
                (_, "/mcp?moved=1") => scripted_mcp::answer(&at("/mcp", request)),
                _ => Answer::json(404, &json!({"error": "not found"})),
            }
        })
        .await?;
        // The last dialogue that the list of tools is tried in, when no other was understood.
        let has_tried_all = || {
            let requests = place.backend.requests();
            requests.iter().any(|request| request.target == "/sse")
        };
        place.eventually("GET /sse", has_tried_all).await?;
        assert!(place.backend.marked("moved=1").is_empty(), "{origin}");
    }
    Ok(())
}

/// A call followed it; finding out what the backend speaks, and listing its tools, did not.
#[tokio::test]
async fn the_stream_of_a_legacy_backend_may_have_moved_for_everybody() -> Result<()> {
    let place = BackendFixture::start("", |request| match request.path() {
        "/sse" => redirect("streams/"),
        "/streams/" => scripted_revisions::http_sse(&at("/sse", request)),
        _ => scripted_revisions::http_sse(request),
    })
    .await?;
    place.known("2024-11-05").await?;
    let token = place.choosing_echo().await?;
    let mut legacy = LegacySession::open(&place.gateway.url("/sse"), &token).await?;
    let answer = legacy
        .request(&call(3, "echo", &json!({"a": "as it is"})))
        .await?;
    assert!(answer.to_string().contains("as it is"), "{answer}");
    let params = json!({"name": "echo", "arguments": {"a": "translated"}});
    let reply = place.modern(&token, "tools/call", &params).await?;
    assert!(reply.text.contains("translated"), "{}", reply.text);
    Ok(())
}

// --- event streams ------------------------------------------------------------------------------

/// A page of a web site that answers everything was taken for the legacy transport.
#[tokio::test]
async fn a_page_is_no_event_stream_whatever_stands_in_it() -> Result<()> {
    for kind in ["text/html", "text/plain; x=text/event-stream", ""] {
        let place = BackendFixture::start("", move |request| match request.path() {
            "/sse" => Answer::Steps(
                200,
                vec![("Content-Type".into(), kind.into())],
                vec![Step::Send("event: endpoint\ndata: /messages\n\n".into())],
            ),
            _ => scripted_revisions::sessions(request),
        })
        .await?;
        place.known("2025").await?;
    }
    Ok(())
}

#[tokio::test]
async fn translated_answers_and_lists_are_streams_whatever_their_letters() -> Result<()> {
    for kind in ["Text/Event-Stream", " TEXT/event-stream ;charset=UTF-8"] {
        let place = BackendFixture::start("eras = [\"2026-07-28\"]", move |request| {
            match scripted_revisions::stateless(request) {
                Answer::Full(200, _, body) => {
                    let body = String::from_utf8_lossy(&body);
                    let event = format!("event: message\ndata: {body}\n\n");
                    let kind = vec![("Content-Type".into(), kind.into())];
                    Answer::Steps(200, kind, vec![Step::Send(event)])
                }
                other => other,
            }
        })
        .await?;
        let client = OAuthClient::register(&place.gateway.origin(), "A test client").await?;
        let token = client
            .sign_in_choosing(&Owner::alice(), |form| form.choose_tools(&["mirrored"]))
            .await?;
        let mcp = place.gateway.url("/mcp");
        let session = mcp::open_session(&mcp, &token).await?;
        let request = mcp::post(&mcp, &token, &call(2, "mirrored", &json!({"q": "x"})));
        let reply = http::send(request.header("Mcp-Session-Id", &session)).await?;
        let answer = mcp::response(&reply)?;
        assert!(
            answer["result"].to_string().contains('x'),
            "{kind}: {answer}"
        );
    }
    Ok(())
}

// --- what is sent again -------------------------------------------------------------------------

/// Its permit was that of a prompt, which may be read twice.
#[tokio::test]
async fn an_answer_to_a_question_is_never_sent_twice() -> Result<()> {
    let place = BackendFixture::start("eras = [\"2025\"]", |request| {
        let message = request.json();
        match (&*request.method, message["method"].as_str()) {
            ("POST", Some("prompts/get")) => {
                let asks = json!({"jsonrpc": "2.0", "id": 70, "method": "elicitation/create", "params": {"message": "Who?"}});
                Answer::events(vec![
                    Step::Send(format!("data: {asks}\n\n")),
                    Step::Live("prompt".into()),
                ])
            }
            ("POST", None) if message["id"] == 70 => Answer::Reset,
            _ => scripted_revisions::sessions(request),
        }
    })
    .await?;
    let token = place.signed_in().await?;
    let params = json!({"name": "greeting"});
    let reply = place.modern(&token, "prompts/get", &params).await?;
    let asked = mcp::response(&reply)?["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let retry = json!({
        "name": "greeting", "requestState": asked["requestState"],
        "inputResponses": {"question": {"action": "accept", "content": {"name": "Ada"}}},
    });
    let reply = place.modern(&token, "prompts/get", &retry).await?;
    assert!(reply.text.contains("error"), "{}", reply.text);
    let answers = place.backend.marked("Ada");
    assert_eq!(answers.len(), 1, "{answers:?}");
    Ok(())
}

/// Its permit was that of a call, which may not be made twice.
#[tokio::test]
async fn a_handshake_is_sent_again_whatever_call_it_is_for() -> Result<()> {
    let breaks = Arc::new(AtomicBool::new(false));
    let is_lost = Arc::new(AtomicBool::new(false));
    let (script_breaks, script_lost) = (Arc::clone(&breaks), Arc::clone(&is_lost));
    let place = BackendFixture::start("eras = [\"2025\"]", move |request| {
        let message = request.json();
        match message["method"].as_str() {
            Some("initialize") if script_breaks.swap(false, Ordering::SeqCst) => Answer::Reset,
            Some("initialize") => {
                script_lost.store(false, Ordering::SeqCst);
                scripted_revisions::sessions(request)
            }
            Some("tools/call") if script_lost.load(Ordering::SeqCst) => {
                Answer::json(404, &json!({"error": "no such session"}))
            }
            Some("tools/call") => Answer::Steps(
                200,
                vec![("Content-Type".into(), "application/json".into())],
                vec![
                    Step::Wait(Duration::from_millis(300)),
                    Step::Send(scripted_mcp::reply(&message).to_string()),
                ],
            ),
            _ => scripted_revisions::sessions(request),
        }
    })
    .await?;
    let token = place.signed_in().await?;
    let params = json!({"name": "echo", "arguments": {"a": 1}});
    let mut last = String::new();
    // A kept connection is closed after a few seconds; on a busy machine that may be too soon.
    for _ in 0..5 {
        // Several at once leave several connections.
        let (one, other, third) = tokio::join!(
            place.modern(&token, "tools/call", &params),
            place.modern(&token, "tools/call", &params),
            place.modern(&token, "tools/call", &params),
        );
        for reply in [one?, other?, third?] {
            assert!(reply.text.contains("complete"), "{}", reply.text);
        }
        is_lost.store(true, Ordering::SeqCst);
        breaks.store(true, Ordering::SeqCst);
        let reply = place.modern(&token, "tools/call", &params).await?;
        if reply.text.contains("complete") {
            return Ok(());
        }
        last = reply.text;
    }
    panic!("{last}");
}

// --- what is never said -------------------------------------------------------------------------

/// One family stood in the list twice; that of Remote-Groups and Remote-Email did not.
#[tokio::test]
async fn what_a_client_says_of_who_is_logged_in_never_reaches_a_backend() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let mut request = mcp::post(
        &fixture.url("/mcp"),
        &token,
        &call(5, "echo", &json!({"a": "arrived"})),
    );
    for name in [
        "Remote-User",
        "Remote-Groups",
        "Remote-Name",
        "Remote-Email",
        "remote_groups",
        "X-WebAuth-User",
        "X-WebAuth-Role",
        "X-Auth-Request-Email",
        "X-Authenticated-Groups",
        "X-Remote-Group",
        "X-Forwarded-Email",
        "Sec-Fetch-User",
        "Access-Control-Request-Method",
    ] {
        request = request.header(name, "mallory");
    }
    let reply = http::send(request.header("X-Custom", "passes")).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let arrived = fixture.backend.marked("arrived");
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].header("x-custom"), Some("passes"));
    let said: Vec<_> = arrived[0]
        .headers
        .iter()
        .filter(|(_, value)| value == "mallory")
        .collect();
    assert!(said.is_empty(), "{said:?}");
    Ok(())
}
