//! What backends say about themselves, in each of the three dialogues.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::scripted::{EVENTS, RecordedRequest, Scripted, response};
use super::*;
use gateway_upstream::{
    Account, AccountFuture, AccountSource, AccountUse, CatalogueError, NoAccount, ToolListing,
};
use mcp_protocol::RevisionFamily;

fn message_of(asked: &RecordedRequest) -> Value {
    serde_json::from_str(&asked.body).unwrap_or_default()
}

fn answer(lines: &str, body: &Value) -> Act {
    Act::Answer(response(
        200,
        &format!("Content-Type: application/json\r\n{lines}"),
        &body.to_string(),
    ))
}

/// `tools/list` in two pages.
fn list(message: &Value) -> Value {
    let page = match message["params"]["cursor"].as_str() {
        None => {
            json!({"nextCursor": "2", "tools": [{"name": "search", "title": "Search", "annotations": {"readOnlyHint": true}}]})
        }
        Some(_) => {
            json!({"tools": [{"name": "fetch", "description": "Fetches", "inputSchema": {}}]})
        }
    };
    json!({"jsonrpc": "2.0", "id": message["id"], "result": page})
}

fn hello(message: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": message["id"], "result": {
        "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "1.2"},
    }})
}

async fn listing(backend: &Scripted) -> Result<Arc<ToolListing>, CatalogueError> {
    let backend = Arc::new(backend_at("notes", "", backend.address));
    let catalogue = Catalogue::new(
        vec![backend],
        Arc::default(),
        IdentityHeaders::default(),
        PinKey::new(&TagKey::new([4; 32])),
    );
    catalogue.listing("notes", Some("alice")).await
}

fn assert_both_tools(listing: &ToolListing) {
    assert_eq!(
        (listing.name.as_str(), listing.version.as_str()),
        ("notes", "1.2")
    );
    let names: Vec<_> = listing
        .tools
        .iter()
        .map(|tool| tool.display_name())
        .collect();
    assert_eq!(names, ["Search", "fetch"]);
    assert_eq!(listing.tools[0].annotations.read_only_hint, Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_are_listed_in_a_session_that_is_ended_afterwards() {
    for as_events in [false, true] {
        let backend = Scripted::start(move |asked| {
            let message = message_of(asked);
            match message["method"].as_str() {
                Some("initialize") => answer("Mcp-Session-Id: s1\r\n", &hello(&message)),
                Some("tools/list") if as_events => Act::Stream(vec![
                    (0, EVENTS.to_owned()),
                    (
                        0,
                        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n"
                            .to_owned(),
                    ),
                    (
                        0,
                        format!("event: message\r\ndata: {}\r\n\r\n", list(&message)),
                    ),
                ]),
                Some("tools/list") => answer("", &list(&message)),
                _ => Act::Answer(response(202, "", "")),
            }
        })
        .await;
        assert_both_tools(&listing(&backend).await.unwrap());
        let asked = backend.asked();
        assert!(
            asked
                .iter()
                .skip(1)
                .all(|asked| asked.headers("mcp-session-id") == ["s1"])
        );
        assert!(
            asked
                .iter()
                .skip(1)
                .all(|asked| asked.headers("mcp-protocol-version") == ["2025-06-18"])
        );
        assert!(
            asked
                .iter()
                .all(|asked| asked.headers("x-forwarded-user") == ["alice"])
        );
        assert!(asked.last().unwrap().line().starts_with("DELETE /mcp "));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateless_backend_is_asked_as_it_wants() {
    let backend = Scripted::start(|asked| {
        let message = message_of(asked);
        let method = message["method"].as_str().unwrap_or_default();
        if asked.headers("mcp-protocol-version") != ["2026-07-28"] || asked.headers("mcp-method") != [method] {
            let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32022, "message": "unsupported"}});
            return Act::Answer(response(400, "Content-Type: application/json\r\n", &error.to_string()));
        }
        match method {
            "server/discover" => answer("", &json!({"jsonrpc": "2.0", "id": 1, "result": {
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "notes", "version": "1.2"}},
            }})),
            _ => answer("", &list(&message)),
        }
    })
    .await;
    assert_both_tools(&listing(&backend).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legacy_backend_answers_over_its_stream() {
    let (answers, inbox) = std::sync::mpsc::channel::<String>();
    let inbox = std::sync::Mutex::new(inbox);
    let backend = Scripted::start(move |asked| {
        if asked.line().starts_with("GET /sse ") {
            return Act::Stream(vec![
                (0, EVENTS.to_owned()),
                (0, "event: endpoint\ndata: /m?s=1\n\n".to_owned()),
            ]);
        }
        if !asked.line().starts_with("POST /m?s=1 ") {
            return Act::Answer(response(404, "", "not found"));
        }
        let message = message_of(asked);
        match message["method"].as_str() {
            Some("initialize") => answers.send(hello(&message).to_string()).unwrap(),
            Some("tools/list") => answers.send(list(&message).to_string()).unwrap(),
            _ => {}
        }
        Act::Answer(response(202, "", "Accepted"))
    })
    .await;
    // The stream of the scripted backend says only what it was told at its start, so the answers
    // are told to a second one that stands in for it.
    let relay = Arc::new(AtomicUsize::new(0));
    let inner = backend.address;
    let told = Arc::clone(&relay);
    let front = legacy_front(inner, move || {
        let next = inbox.lock().unwrap().try_recv().ok()?;
        told.fetch_add(1, Ordering::SeqCst);
        Some(next)
    })
    .await;
    let backend = Arc::new(backend_at("notes", "", front));
    let catalogue = Catalogue::new(
        vec![backend],
        Arc::default(),
        IdentityHeaders::default(),
        PinKey::new(&TagKey::new([4; 32])),
    );
    assert_both_tools(&catalogue.listing("notes", None).await.unwrap());
    assert_eq!(relay.load(Ordering::SeqCst), 3);
}

/// Passes connections on to `inner`, and on streams says what `next` gives.
async fn legacy_front(
    inner: SocketAddr,
    next: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let next = Arc::new(next);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let mut backend = tokio::net::TcpStream::connect(inner).await.unwrap();
                let mut first = vec![0; 4096];
                let count = client.read(&mut first).await.unwrap();
                backend.write_all(&first[..count]).await.unwrap();
                if !first.starts_with(b"GET /sse ") {
                    let _ = copy_bidirectional(&mut client, &mut backend).await;
                    return;
                }
                let mut preamble = vec![0; 4096];
                let mut said = 0;
                while !preamble[..said].ends_with(b"\n\n") {
                    said += backend.read(&mut preamble[said..]).await.unwrap();
                }
                client.write_all(&preamble[..said]).await.unwrap();
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    while let Some(message) = next() {
                        let event = format!("event: message\ndata: {message}\n\n");
                        if client.write_all(event.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_no_mcp_server_is_not_believed() {
    let backend = Scripted::start(|_| {
        Act::Answer(response(200, "Content-Type: text/html\r\n", "<h1>Hi</h1>"))
    })
    .await;
    assert!(matches!(
        listing(&backend).await,
        Err(CatalogueError::NotUnderstood(_))
    ));
    let backend = Scripted::start(|_| Act::Answer(response(401, "", ""))).await;
    assert_eq!(listing(&backend).await, Err(CatalogueError::Refused(401)));
    let backend = Scripted::start(|_| Act::Stream(Vec::new())).await;
    let started = tokio::time::Instant::now();
    let patience = Duration::from_secs(2);
    assert_eq!(
        listing(&backend).await,
        Err(CatalogueError::TooSlow(patience))
    );
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_believed_for_a_while() {
    let backend = Scripted::start(|asked| {
        let message = message_of(asked);
        match message["method"].as_str() {
            Some("initialize") => answer("", &hello(&message)),
            Some("tools/list") => answer("", &list(&message)),
            _ => Act::Answer(response(202, "", "")),
        }
    })
    .await;
    let place = Arc::new(backend_at("notes", "", backend.address));
    let catalogue = Catalogue::new(
        vec![place],
        Arc::default(),
        IdentityHeaders::default(),
        PinKey::new(&TagKey::new([4; 32])),
    );
    assert_eq!(
        catalogue
            .listing("notes", Some("alice"))
            .await
            .unwrap()
            .tools
            .len(),
        2
    );
    let before = backend.asked().len();
    assert_eq!(
        catalogue
            .listing("notes", Some("alice"))
            .await
            .unwrap()
            .tools
            .len(),
        2
    );
    assert_eq!(backend.asked().len(), before);
    catalogue.listing("notes", Some("bob")).await.unwrap();
    assert!(
        backend.asked().len() > before,
        "another person may see other tools"
    );
    assert_eq!(
        catalogue.listing("other", None).await,
        Err(CatalogueError::UnknownBackend)
    );
}

/// What the bridge answers while the process of a server does not run.
fn not_running(message: &Value) -> Act {
    let error = json!({"code": -32603, "message": "the server's process ended (exit code 9)"});
    answer(
        "",
        &json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bridge_is_believed_in_every_dialogue_that_a_process_does_not_run() {
    let bridge = Scripted::start(|asked| {
        let message = message_of(asked);
        match message["method"].as_str() {
            Some("initialize") => Act::Answer(response(400, "", "no sessions")),
            _ => not_running(&message),
        }
    })
    .await;
    let backend = Arc::new(Backend {
        is_on_stdio: true,
        ..backend_at("notes", "", bridge.address)
    });
    let catalogue = Catalogue::new(
        vec![backend],
        Arc::default(),
        IdentityHeaders::default(),
        PinKey::new(&TagKey::new([4; 32])),
    );
    let words = "the server's process ended (exit code 9)".to_owned();
    assert_eq!(
        catalogue.listing("notes", None).await,
        Err(CatalogueError::NotRunning(words))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_run_says_nothing_of_what_it_speaks() {
    let bridge = Scripted::start(|asked| {
        let message = message_of(asked);
        match message["method"].as_str() {
            Some("initialize") => not_running(&message),
            Some("server/discover") => {
                let result = json!({"supportedVersions": ["2026-07-28"]});
                answer(
                    "",
                    &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
                )
            }
            _ => Act::Answer(response(404, "", "not found")),
        }
    })
    .await;
    for (is_on_stdio, may_have_sessions) in [(true, true), (false, false)] {
        let backend = Arc::new(Backend {
            is_on_stdio,
            ..backend_at("notes", "", bridge.address)
        });
        let protocols = ProtocolSupport::for_backend(&backend, RevisionFamilies::NONE, false);
        let runtime = tokio::runtime::Handle::current();
        protocols.follow(backend, Arc::default(), &runtime);
        // The round is over once HTTP+SSE is known not to be spoken.
        while !protocols.families().has(RevisionFamily::Stateless)
            || protocols.supports(RevisionFamily::HttpSse)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            protocols.supports(RevisionFamily::Stateful),
            may_have_sessions
        );
    }
}

/// Says this of everybody.
#[derive(Debug)]
struct Everybody(Result<Option<Arc<Account>>, NoAccount>);

impl AccountSource for Everybody {
    fn account<'a>(
        &'a self,
        _backend: &'a str,
        _user: &'a str,
    ) -> AccountFuture<'a, Option<Arc<Account>>> {
        Box::pin(async { self.0.clone() })
    }

    fn refused<'a>(
        &'a self,
        _backend: &'a str,
        _user: &'a str,
        _account: &'a Arc<Account>,
        _sent: &'a http::HeaderValue,
    ) -> AccountFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// What can't be told is not taken for no account, not even where none is needed: the backend would be asked
/// as somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_finding_an_account_is_no_absence() {
    let backend = Scripted::start(|asked| answer("", &hello(&message_of(asked)))).await;
    let place = Backend {
        account: Some(AccountUse {
            header: http::header::AUTHORIZATION,
            is_optional: true,
        }),
        ..backend_at("notes", "", backend.address)
    };
    let fault = NoAccount::Unavailable(
        gateway_core::reason::Reason::StoreUnavailable,
        "the store is away".to_owned(),
    );
    let catalogue = Catalogue::new(
        vec![Arc::new(place)],
        Arc::default(),
        IdentityHeaders::default(),
        PinKey::new(&TagKey::new([4; 32])),
    )
    .with_accounts(Arc::new(Everybody(Err(fault.clone()))));
    let met = CatalogueError::NoAccount(fault);
    let listed = catalogue.listing("notes", Some("alice")).await;
    assert_eq!(listed.unwrap_err(), met);
    let shown = catalogue.listing_for_page("notes", Some("alice")).await;
    assert_eq!(shown.unwrap_err(), met);
    assert!(backend.asked().is_empty(), "in nobody's name");
}
