//! Servers on Python: stdio servers behind the bridge of PyPI, FastMCP, and both versions of the
//! SDK with their guards against foreign names.

use anyhow::Result;
use serde_json::{Value, json};
use tests::http;
use tests::mcp::{self, LegacySession};
use tests::recorder::{Answer, Recorder};
use tests::sdk::Sdk::{PythonV1, PythonV2, TypeScriptV1, TypeScriptV2};
use tests::sdk::Transport::{Http, Sse};
use tests::server::{Launch, Lock, Server, sample};

use crate::front::{Front, discover, endpoint_is_at, greet, message, unchanged, watched};
use crate::manual::{TestedServer, tried};

/// A stdio server behind the bridge of PyPI.
fn bridged(port: u16, server: Launch) -> Launch {
    Launch::python(Lock::PythonV1, "mcp-proxy")
        .args(&["--pass-environment", "--port", &port.to_string(), "--"])
        .then(server)
}

tried!(TIME: the_time_comes_as_plain_json_and_over_sse,
    &[(Lock::PythonV1, "mcp-proxy"), (Lock::PythonV2, "mcp-server-time")],
    "Streamable HTTP, HTTP+SSE", "answers in plain JSON; both transports on one port");

#[tokio::test]
async fn the_time_comes_as_plain_json_and_over_sse() -> Result<()> {
    let server =
        Server::start(|port, _| bridged(port, Launch::python(Lock::PythonV2, "mcp-server-time")));
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let convert = (
            "convert_time",
            json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Kolkata"}),
        );
        for (sdk, transport, path) in [
            (PythonV1, Http, "/mcp"),
            (TypeScriptV2, Sse, "/sse"),
            (PythonV2, Sse, "/it/sse"),
        ] {
            let seen = front
                .call(sdk, transport, path, std::slice::from_ref(&convert))
                .await?;
            assert_eq!(seen.tools, ["convert_time", "get_current_time"]);
            let converted: Value = serde_json::from_str(seen.text(0))?;
            assert_eq!(converted["time_difference"], "+5.5h", "{converted}");
        }

        let token = front.token("/it/mcp").await?;
        let (direct, url) = (
            format!("{}/mcp", server.url()),
            front.gateway.url("/it/mcp"),
        );
        let greeted = unchanged(
            message(&direct, None, &mcp::initialize(), &[]),
            message(&url, Some(&token), &mcp::initialize(), &[]),
        );
        assert_eq!(greeted.await?.header("content-type"), "application/json");
        unchanged(discover(&direct, None), discover(&url, Some(&token))).await?;

        let token = front.token("/it/sse").await?;
        let mut session = LegacySession::open(&front.gateway.url("/it/sse"), &token).await?;
        endpoint_is_at(&session, &front, "/it/messages");
        greet(&mut session).await
    })
    .await
}

tried!(GIT: a_repository_is_read_and_committed_to,
    &[(Lock::PythonV1, "mcp-proxy"), (Lock::PythonV2, "mcp-server-git")],
    "Streamable HTTP, HTTP+SSE", "a tool that writes; its own processes under a nested server");

#[tokio::test]
async fn a_repository_is_read_and_committed_to() -> Result<()> {
    let server = Server::start(|port, folder| {
        let repository = folder.join("repository");
        let made = std::process::Command::new("git")
            .args(["init", "-q"])
            .arg(&repository)
            .status();
        assert!(made.is_ok_and(|status| status.success()), "git init");
        std::fs::write(repository.join("order.txt"), "12 rolls\n").expect("the folder is new");
        let git = Launch::python(Lock::PythonV2, "mcp-server-git")
            .args(&["--repository", &repository.display().to_string()])
            .env("GIT_AUTHOR_NAME", "A baker")
            .env("GIT_AUTHOR_EMAIL", "baker@bakery.example")
            .env("GIT_COMMITTER_NAME", "A baker")
            .env("GIT_COMMITTER_EMAIL", "baker@bakery.example");
        bridged(port, git)
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let at = server.folder().join("repository").display().to_string();
        let work = [
            ("git_add", json!({"repo_path": at, "files": ["order.txt"]})),
            (
                "git_commit",
                json!({"repo_path": at, "message": "Order rolls for Sunday"}),
            ),
        ];
        let seen = front.call(TypeScriptV1, Http, "/mcp", &work).await?;
        assert_eq!(seen.tools.len(), 12, "{:?}", seen.tools);
        assert!(seen.text(1).contains("committed"), "{}", seen.text(1));
        let look = [("git_log", json!({"repo_path": at, "max_count": 1}))];
        let seen = front.call(PythonV1, Sse, "/it/sse", &look).await?;
        let log = seen.results[0].to_string();
        assert!(
            log.contains("Order rolls for Sunday") && log.contains("A baker"),
            "{log}"
        );
        Ok(())
    })
    .await
}

tried!(FETCH: a_page_of_the_local_network_is_fetched,
    &[(Lock::PythonV1, "mcp-proxy"), (Lock::PythonV2, "mcp-server-fetch")],
    "Streamable HTTP, HTTP+SSE", "with `--allow-private-ips`, as the tried page is on loopback");

#[tokio::test]
async fn a_page_of_the_local_network_is_fetched() -> Result<()> {
    let page = Recorder::start(|request| {
        if request.path() == "/robots.txt" {
            return Answer::Full(404, Vec::new(), Vec::new());
        }
        let html = "<!doctype html><title>Bakery</title><body><article><h1>Opening hours</h1><p>Six until noon, closed on Mondays.</p></article>";
        let kind = ("Content-Type".into(), "text/html; charset=utf-8".into());
        Answer::Full(200, vec![kind], html.into())
    })
    .await?;
    let server = Server::start(|port, _| {
        let fetch = Launch::python(Lock::PythonV2, "mcp-server-fetch").arg("--allow-private-ips");
        bridged(port, fetch)
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let fetch = [("fetch", json!({"url": format!("{}/hours", page.url())}))];
        for (sdk, transport, path) in [(PythonV2, Http, "/it/mcp"), (TypeScriptV1, Sse, "/sse")] {
            let seen = front.call(sdk, transport, path, &fetch).await?;
            assert_eq!(seen.tools, ["fetch"]);
            assert!(
                seen.text(0).contains("closed on Mondays"),
                "{}",
                seen.text(0)
            );
        }
        let came = page.requests();
        assert!(came.iter().any(|request| request.path() == "/hours"));
        // Nothing of the login goes on to a third party.
        for request in came {
            assert!(request.header("authorization").is_none(), "{request:?}");
            assert!(request.header("x-forwarded-user").is_none(), "{request:?}");
        }
        Ok(())
    })
    .await
}

tried!(FASTMCP: fastmcp_is_followed_where_it_redirects,
    &[(Lock::PythonV2, "fastmcp")], "Streamable HTTP",
    "its 307 from `/mcp/` to an address of its own; both eras at one URL");

#[tokio::test]
async fn fastmcp_is_followed_where_it_redirects() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV2, "fastmcp")
            .args(&["run", &format!("{}:mcp", sample("fastmcp_bakery.py"))])
            .args(&[
                "--transport",
                "http",
                "--no-banner",
                "--port",
                &port.to_string(),
            ])
    });
    watched(server, async |server| {
        let slash = format!("{}/mcp/", server.url());
        let redirect = http::send(message(&slash, None, &mcp::initialize(), &[])).await?;
        assert_eq!(redirect.status, 307, "{redirect:?}");

        let front = Front::of_a_server_that_redirects(&server.url()).await?;
        let bake = ("bake", json!({"loaves": 1}));
        let recipe = ("recipe", json!({"name": "Rye loaf"}));
        for (baked, (sdk, path, revision)) in [
            (PythonV2, "/mcp", "2026-07-28"),
            (TypeScriptV2, "/it/mcp", "2026-07-28"),
            (TypeScriptV1, "/slash/mcp", "2025-11-25"),
            (TypeScriptV2, "/slash/mcp", "2026-07-28"),
        ]
        .into_iter()
        .enumerate()
        {
            let seen = front
                .call(sdk, Http, path, &[bake.clone(), recipe.clone()])
                .await?;
            assert_eq!(seen.protocol, revision, "{sdk:?} at {path}");
            assert_eq!(seen.tools, ["bake", "recipe"]);
            assert_eq!(seen.text(0), format!("{} loaves", baked + 1));
            assert!(seen.text(1).contains("starter"), "{}", seen.text(1));
        }
        let token = front.token("/slash/mcp").await?;
        let reply = mcp::send(&front.gateway.url("/slash/mcp"), &token, &mcp::initialize()).await?;
        assert_eq!(
            (reply.status, reply.header("location")),
            (200, ""),
            "{reply:?}"
        );

        let token = front.token("/mcp").await?;
        let discovered = unchanged(
            discover(&format!("{}/mcp", server.url()), None),
            discover(&front.gateway.url("/mcp"), Some(&token)),
        );
        assert_eq!(discovered.await?.status, 200);
        Ok(())
    })
    .await
}

/// What both versions of the Python SDK guard: foreign names and foreign origins, which never
/// reach them through the gateway.
async fn guarded(server: &Server, front: &Front) -> Result<()> {
    let (direct, url) = (format!("{}/mcp", server.url()), front.gateway.url("/mcp"));
    let hello = mcp::initialize();
    for (header, value, status) in [
        ("Host", "mcp.example.com", 421),
        ("Origin", "https://mcp.example.com", 403),
    ] {
        let refused = http::send(message(&direct, None, &hello, &[(header, value)])).await?;
        assert_eq!(refused.status, status, "it let in a foreign {header}");
    }
    let token = front.token("/mcp").await?;
    let own = front.gateway.origin();
    let here = own.trim_start_matches("http://").to_owned();
    for headers in [
        vec![("Host", "localhost")],
        vec![("Host", "gateway.localhost:8443")],
        vec![("Host", here.as_str()), ("Origin", own.as_str())],
        vec![("X-Forwarded-Host", "mcp.example.com")],
    ] {
        let reply = http::send(message(&url, Some(&token), &hello, &headers)).await?;
        assert_eq!(reply.status, 200, "{headers:?}: {reply:?}");
    }
    let foreign = [("Origin", "https://evil.example")];
    let refused = http::send(message(&url, Some(&token), &hello, &foreign)).await?;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(
        !refused.text.contains("Invalid Origin"),
        "that is the server's own refusal"
    );
    unchanged(discover(&direct, None), discover(&url, Some(&token))).await?;
    Ok(())
}

tried!(SDK_V2: the_python_sdk_2_never_sees_a_foreign_name,
    &[(Lock::PythonV2, "mcp")], "Streamable HTTP",
    "421 for a foreign Host, 403 for a foreign Origin; both eras at one URL");

#[tokio::test]
async fn the_python_sdk_2_never_sees_a_foreign_name() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV2, "python")
            .args(&[&sample("python_sdk_v2.py"), &port.to_string()])
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let calls = [
            ("recipe", json!({"name": "Flat bread"})),
            ("bake", json!({"loaves": 2})),
        ];
        for (baked, (sdk, path, revision)) in [
            (2, (TypeScriptV2, "/mcp", "2026-07-28")),
            (4, (PythonV1, "/it/mcp", "2025-11-25")),
        ] {
            let seen = front.call(sdk, Http, path, &calls).await?;
            assert_eq!(seen.protocol, revision);
            assert_eq!(seen.tools, ["bake", "recipe"]);
            assert!(seen.text(0).contains("yoghurt"), "{}", seen.text(0));
            assert_eq!(seen.text(1), format!("{baked} loaves"));
        }
        guarded(server, &front).await
    })
    .await
}

tried!(SDK_V1: the_python_sdk_1_never_sees_a_foreign_name,
    &[(Lock::PythonV1, "mcp")], "Streamable HTTP",
    "421 for a foreign Host, 403 for a foreign Origin, 307 from `/mcp/`, 406 without both media types in Accept");

#[tokio::test]
async fn the_python_sdk_1_never_sees_a_foreign_name() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV1, "python")
            .args(&[&sample("python_sdk_v1.py"), &port.to_string()])
    });
    watched(server, async |server| {
        let front = Front::of_a_server_that_redirects(&server.url()).await?;
        let bake = [("bake", json!({"loaves": 5}))];
        for (baked, (sdk, path)) in [
            (5, (PythonV2, "/mcp")),
            (10, (TypeScriptV1, "/it/mcp")),
            (15, (PythonV1, "/slash/mcp")),
        ] {
            let seen = front.call(sdk, Http, path, &bake).await?;
            assert_eq!(seen.tools, ["bake", "recipe"]);
            assert_eq!(seen.text(0), format!("{baked} loaves"));
        }
        guarded(server, &front).await?;

        let token = front.token("/mcp").await?;
        let (direct, url) = (format!("{}/mcp", server.url()), front.gateway.url("/mcp"));
        for accept in ["application/json", "text/event-stream", "text/html"] {
            let accept = [("Accept", accept)];
            let refused = unchanged(
                message(&direct, None, &mcp::initialize(), &accept),
                message(&url, Some(&token), &mcp::initialize(), &accept),
            );
            assert_eq!(refused.await?.status, 406, "{accept:?}");
        }
        Ok(())
    })
    .await
}

tried!(DOCUMENTS: search_and_fetch_on_fastmcp_work_over_sse,
    &[(Lock::PythonV2, "fastmcp")], "HTTP+SSE",
    "`search` and `fetch` as ChatGPT calls them; its message path `/messages/`");

#[tokio::test]
async fn search_and_fetch_on_fastmcp_work_over_sse() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV2, "fastmcp")
            .args(&["run", &format!("{}:mcp", sample("fastmcp_documents.py"))])
            .args(&[
                "--transport",
                "sse",
                "--no-banner",
                "--port",
                &port.to_string(),
            ])
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let calls = [
            ("search", json!({"query": "milk"})),
            ("fetch", json!({"id": "rolls"})),
        ];
        for (sdk, path) in [(PythonV2, "/sse"), (TypeScriptV1, "/it/sse")] {
            let seen = front.call(sdk, Sse, path, &calls).await?;
            assert_eq!(seen.tools, ["fetch", "search"]);
            let found: Value = serde_json::from_str(seen.text(0))?;
            assert_eq!(found["results"][0]["id"], "rolls", "{found}");
            let page: Value = serde_json::from_str(seen.text(1))?;
            assert!(
                page["text"]
                    .as_str()
                    .is_some_and(|text| text.contains("twelve rolls")),
                "{page}"
            );
            assert_eq!(seen.results[1]["structuredContent"], page);
        }
        for (path, messages) in [("/sse", "/messages"), ("/it/sse", "/it/messages")] {
            let token = front.token(path).await?;
            let mut session = LegacySession::open(&front.gateway.url(path), &token).await?;
            endpoint_is_at(&session, &front, messages);
            greet(&mut session).await?;
        }
        Ok(())
    })
    .await
}
