//! Servers on Node: the reference server on both transports, stdio servers behind the two bridges
//! of npm, a browser, and servers without sessions.

use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tests::http;
use tests::mcp::{self, LegacySession};
use tests::recorder::{Answer, Recorder};
use tests::sdk::Sdk::{PythonV1, PythonV2, TypeScriptV1, TypeScriptV2};
use tests::sdk::Transport::{Http, Sse};
use tests::server::{Launch, Lock, Server};
use tests::sse::{EventStream, SseItem};

use crate::front::{Front, asking, discover, endpoint_is_at, greet, message, unchanged, watched};
use crate::manual::{TestedServer, tried};

/// A revision-2025 message with a session.
fn in_session(
    url: &str,
    token: Option<&str>,
    session: &str,
    body: &Value,
) -> reqwest::RequestBuilder {
    message(url, token, body, &[("Mcp-Session-Id", session)])
}

tried!(EVERYTHING_HTTP: server_everything_streams_its_progress_as_it_comes,
    &[(Lock::Npm, "@modelcontextprotocol/server-everything")], "Streamable HTTP",
    "progress arrives as it is made; its 400 for a session that it forgot");

#[tokio::test]
async fn server_everything_streams_its_progress_as_it_comes() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::npm("@modelcontextprotocol/server-everything/dist/index.js")
            .arg("streamableHttp")
            .env("PORT", &port.to_string())
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let sum = ("get-sum", json!({"a": 2, "b": 40}));
        let long = (
            "trigger-long-running-operation",
            json!({"duration": 4, "steps": 2}),
        );
        for (sdk, path) in [(TypeScriptV1, "/mcp"), (PythonV2, "/it/mcp")] {
            let seen = front
                .call(sdk, Http, path, &[sum.clone(), long.clone()])
                .await?;
            assert_eq!(seen.tools.len(), 13, "{:?}", seen.tools);
            assert!(seen.text(0).contains("42"), "{}", seen.text(0));
            assert!(seen.text(1).contains("completed"), "{}", seen.text(1));
            let progress = seen.results[1]["progress"]
                .as_array()
                .expect("the driver gives it");
            let times: Vec<u64> = progress
                .iter()
                .filter_map(|step| step["after_ms"].as_u64())
                .collect();
            assert_eq!(times.len(), 2, "{sdk:?}: {progress:?}");
            assert!(times[1] - times[0] >= 1500, "{sdk:?}: held back: {times:?}");
        }

        let token = front.token("/mcp").await?;
        let url = front.gateway.url("/mcp");
        let session = mcp::open_session(&url, &token).await?;
        // It has a tool more for clients that are through with their greeting.
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let accepted = http::send(in_session(&url, Some(&token), &session, &ready)).await?;
        assert_eq!(accepted.status, 202);
        let list = mcp::message(1, "tools/list", &json!({}));
        let listed = http::send(in_session(&url, Some(&token), &session, &list)).await?;
        assert_eq!(listed.header("content-type"), "text/event-stream");
        assert_eq!(
            mcp::response(&listed)?["result"]["tools"]
                .as_array()
                .map(Vec::len),
            Some(13)
        );

        unchanged(
            discover(&format!("{}/mcp", server.url()), None),
            discover(&url, Some(&token)),
        )
        .await?;
        let only_json = [("Accept", "application/json")];
        let refused = unchanged(
            message(
                &format!("{}/mcp", server.url()),
                None,
                &mcp::initialize(),
                &only_json,
            ),
            message(&url, Some(&token), &mcp::initialize(), &only_json),
        );
        assert_eq!(refused.await?.status, 406);

        server.restart().await?;
        let forgotten = http::send(in_session(&url, Some(&token), &session, &list)).await?;
        assert_eq!(forgotten.status, 400, "{forgotten:?}");
        assert!(
            forgotten.text.contains("No valid session ID"),
            "{}",
            forgotten.text
        );
        Ok(())
    })
    .await
}

tried!(EVERYTHING_SSE: server_everything_is_reached_over_its_own_message_path,
    &[(Lock::Npm, "@modelcontextprotocol/server-everything")], "HTTP+SSE",
    "its message path `/message`, which it announces as if it stood at the root");

#[tokio::test]
async fn server_everything_is_reached_over_its_own_message_path() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::npm("@modelcontextprotocol/server-everything/dist/index.js")
            .arg("sse")
            .env("PORT", &port.to_string())
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let echo = ("echo", json!({"message": "späte Brötchen"}));
        for (sdk, path) in [(PythonV1, "/sse"), (TypeScriptV2, "/it/sse")] {
            let seen = front
                .call(sdk, Sse, path, std::slice::from_ref(&echo))
                .await?;
            assert_eq!(seen.tools.len(), 13, "{:?}", seen.tools);
            assert!(seen.text(0).contains("späte Brötchen"), "{}", seen.text(0));
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

tried!(FILESYSTEM: a_filesystem_is_written_and_read_through_supergateway,
    &[(Lock::Npm, "supergateway"), (Lock::Npm, "@modelcontextprotocol/server-filesystem")],
    "Streamable HTTP", "a tool that writes; 404 for a session that it forgot");

#[tokio::test]
async fn a_filesystem_is_written_and_read_through_supergateway() -> Result<()> {
    let server = Server::start(|port, folder| {
        let shared = folder.join("shared");
        std::fs::create_dir(&shared).expect("the folder is new");
        let files = Launch::npm("@modelcontextprotocol/server-filesystem/dist/index.js")
            .arg(&shared.display().to_string());
        Launch::npm("supergateway/dist/index.js")
            .arg("--stdio")
            .then_in_one(files)
            .args(&[
                "--outputTransport",
                "streamableHttp",
                "--stateful",
                "--healthEndpoint",
                "/healthz",
            ])
            .args(&["--port", &port.to_string()])
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let note = server.folder().join("shared/note.txt");
        let path = note.display().to_string();
        for (sdk, at, text) in [
            (TypeScriptV2, "/mcp", "rye"),
            (PythonV1, "/it/mcp", "Nußtorte"),
        ] {
            let write = ("write_file", json!({"path": path, "content": text}));
            let read = ("read_text_file", json!({"path": path}));
            let seen = front.call(sdk, Http, at, &[write, read]).await?;
            assert_eq!(seen.tools.len(), 14, "{:?}", seen.tools);
            assert_eq!(seen.text(1), text);
            assert_eq!(std::fs::read_to_string(&note)?, text);
        }

        let token = front.token("/it/mcp").await?;
        let url = front.gateway.url("/it/mcp");
        unchanged(
            discover(&format!("{}/mcp", server.url()), None),
            discover(&url, Some(&token)),
        )
        .await?;
        let session = mcp::open_session(&url, &token).await?;
        server.restart().await?;
        let list = mcp::message(1, "tools/list", &json!({}));
        let forgotten = http::send(in_session(&url, Some(&token), &session, &list)).await?;
        assert_eq!(forgotten.status, 404, "{forgotten:?}");
        assert_eq!(forgotten.json()["error"]["message"], "Session not found");
        Ok(())
    })
    .await
}

tried!(MEMORY: a_memory_is_shared_by_both_transports_on_one_port,
    &[(Lock::Npm, "mcp-proxy"), (Lock::Npm, "@modelcontextprotocol/server-memory")],
    "Streamable HTTP, HTTP+SSE", "both transports on one port; `/mcp/` without a handler");

#[tokio::test]
async fn a_memory_is_shared_by_both_transports_on_one_port() -> Result<()> {
    let server = Server::start(|port, folder| {
        let file = folder.join("memory.jsonl").display().to_string();
        let memory = Launch::npm("@modelcontextprotocol/server-memory/dist/index.js")
            .env("MEMORY_FILE_PATH", &file);
        Launch::npm("mcp-proxy/dist/bin/mcp-proxy.mjs")
            .args(&["--host", "127.0.0.1", "--port", &port.to_string(), "--"])
            .then(memory)
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let learn = |name: &str| {
            let entity =
                json!({"name": name, "entityType": "bread", "observations": ["has a crust"]});
            ("create_entities", json!({"entities": [entity]}))
        };
        let all = ("read_graph", json!({}));
        let seen = front
            .call(TypeScriptV2, Http, "/mcp", &[learn("rye"), all.clone()])
            .await?;
        assert_eq!(seen.protocol, "2026-07-28");
        assert_eq!(seen.tools.len(), 9, "{:?}", seen.tools);
        assert!(
            seen.results[1].to_string().contains("rye"),
            "{}",
            seen.results[1]
        );
        for (sdk, transport, path, name) in [
            (PythonV1, Sse, "/it/sse", "spelt"),
            (TypeScriptV1, Sse, "/sse", "oat"),
            (PythonV2, Http, "/it/mcp", "emmer"),
        ] {
            let seen = front
                .call(sdk, transport, path, &[learn(name), all.clone()])
                .await?;
            let graph = seen.results[1].to_string();
            assert!(graph.contains("rye") && graph.contains(name), "{graph}");
        }

        let token = front.token("/sse").await?;
        let session = LegacySession::open(&front.gateway.url("/sse"), &token).await?;
        endpoint_is_at(&session, &front, "/messages");
        let token = front.token("/mcp").await?;
        let discovered = unchanged(
            discover(&format!("{}/mcp", server.url()), None),
            discover(&front.gateway.url("/mcp"), Some(&token)),
        );
        assert_eq!(discovered.await?.status, 200);
        // What the client's path ends with is not the server's business.
        let reply = mcp::send(&front.gateway.url("/mcp/"), &token, &mcp::initialize()).await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        Ok(())
    })
    .await
}

tried!(THINKING: sequential_thinking_goes_on_over_sse_only,
    &[(Lock::Npm, "supergateway"), (Lock::Npm, "@modelcontextprotocol/server-sequential-thinking")],
    "HTTP+SSE", "a server without Streamable HTTP");

#[tokio::test]
async fn sequential_thinking_goes_on_over_sse_only() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::npm("supergateway/dist/index.js")
            .arg("--stdio")
            .then_in_one(Launch::npm(
                "@modelcontextprotocol/server-sequential-thinking/dist/index.js",
            ))
            .args(&["--port", &port.to_string()])
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let thought = |number: u64| {
            let thought = json!({"thought": "knead", "thoughtNumber": number, "totalThoughts": 2, "nextThoughtNeeded": number < 2});
            ("sequentialthinking", thought)
        };
        for (sdk, path) in [(TypeScriptV1, "/it/sse"), (PythonV2, "/sse")] {
            let seen = front.call(sdk, Sse, path, &[thought(1), thought(2)]).await?;
            assert_eq!(seen.tools, ["sequentialthinking"]);
            let last: Value = serde_json::from_str(seen.text(1))?;
            assert_eq!(last["thoughtNumber"], 2, "{last}");
            assert_eq!(last["nextThoughtNeeded"], false, "{last}");
        }
        Ok(())
    })
    .await
}

tried!(TYPESCRIPT_SDK: the_typescript_sdk_serves_both_eras_without_sessions,
    &[(Lock::Npm, "@modelcontextprotocol/server")], "Streamable HTTP",
    "GET and DELETE answered 405; both eras at one URL");

#[tokio::test]
async fn the_typescript_sdk_serves_both_eras_without_sessions() -> Result<()> {
    let server =
        Server::start(|port, _| Launch::node_sample("ts_sdk_v2.mjs").arg(&port.to_string()));
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let calls = [
            ("recipe", json!({"name": "Nut torte"})),
            ("bake", json!({"loaves": 3})),
        ];
        let mut shelf = 0;
        for (sdk, path, revision) in [
            (TypeScriptV2, "/mcp", "2026-07-28"),
            (PythonV2, "/it/mcp", "2026-07-28"),
            (TypeScriptV1, "/it/mcp", "2025-11-25"),
        ] {
            let seen = front.call(sdk, Http, path, &calls).await?;
            assert_eq!(seen.protocol, revision, "{sdk:?}");
            assert_eq!(seen.tools, ["bake", "recipe"]);
            assert!(seen.text(0).contains("Für Gäste"), "{}", seen.text(0));
            shelf += 3;
            assert_eq!(seen.text(1), format!("{shelf} loaves"));
        }

        let token = front.token("/mcp").await?;
        let (direct, url) = (format!("{}/mcp", server.url()), front.gateway.url("/mcp"));
        for method in [Method::GET, Method::DELETE] {
            let refused = unchanged(
                asking(method.clone(), &direct, None),
                asking(method, &url, Some(&token)),
            );
            let refused = refused.await?;
            assert_eq!((refused.status, refused.header("allow")), (405, "POST"));
        }
        let discovered = unchanged(discover(&direct, None), discover(&url, Some(&token))).await?;
        assert_eq!(
            discovered.json()["result"]["supportedVersions"],
            json!(["2026-07-28"])
        );
        Ok(())
    })
    .await
}

tried!(PLAYWRIGHT: a_browser_that_answers_to_one_name_only_opens_a_page,
    &[(Lock::Npm, "@playwright/mcp")], "Streamable HTTP, HTTP+SSE",
    "the Host of its configured URL: it answers 403 to any other than `localhost:PORT`");

#[tokio::test]
async fn a_browser_that_answers_to_one_name_only_opens_a_page() -> Result<()> {
    let page = Recorder::start(|_| {
        let html = "<!doctype html><title>Bakery</title><h1>Fresh rolls at six</h1>";
        let kind = ("Content-Type".into(), "text/html; charset=utf-8".into());
        Answer::Full(200, vec![kind], html.into())
    })
    .await?;
    let server = Server::start(|port, folder| {
        let output = folder.join("output").display().to_string();
        Launch::npm("@playwright/mcp/cli.js")
            .args(&[
                "--headless",
                "--isolated",
                "--no-sandbox",
                "--output-dir",
                &output,
            ])
            .args(&[
                "--executable-path",
                "/usr/bin/chromium",
                "--port",
                &port.to_string(),
            ])
    });
    watched(server, async |server| {
        let direct = format!("{}/mcp", server.url());
        let refused = http::send(message(&direct, None, &mcp::initialize(), &[])).await?;
        assert_eq!(refused.status, 403, "it let in a foreign name: {refused:?}");

        let front = Front::start(&server.url_by_name()).await?;
        let look = [
            ("browser_navigate", json!({"url": page.url()})),
            ("browser_snapshot", json!({})),
            ("browser_close", json!({})),
        ];
        for (sdk, transport, path) in [(TypeScriptV1, Http, "/mcp"), (PythonV1, Sse, "/it/sse")] {
            let seen = front.call(sdk, transport, path, &look).await?;
            assert!(seen.tools.len() >= 20, "{:?}", seen.tools);
            let snapshot = seen.results[1].to_string();
            assert!(snapshot.contains("Fresh rolls at six"), "{snapshot}");
        }
        Ok(())
    })
    .await
}

tried!(CONTEXT7: context7_lists_its_tools_and_says_that_it_is_offline,
    &[(Lock::Npm, "@upstash/context7-mcp")], "Streamable HTTP",
    "GET answered 405. Without the internet its tools are listed, and a call ends with its own error");

#[tokio::test]
async fn context7_lists_its_tools_and_says_that_it_is_offline() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::npm("@upstash/context7-mcp/dist/index.js")
            .args(&["--transport", "http", "--port", &port.to_string()])
            .env(
                "OTEL_EXPORTER_PROMETHEUS_PORT",
                &tests::program::free_port().to_string(),
            )
            // Nobody listens there: what it would ask is not asked.
            .env("CONTEXT7_API_URL", "http://127.0.0.1:9/api")
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        let ask = [(
            "resolve-library-id",
            json!({"libraryName": "bread", "query": "bread"}),
        )];
        for (sdk, path) in [(TypeScriptV2, "/mcp"), (PythonV1, "/it/mcp")] {
            let seen = front.call(sdk, Http, path, &ask).await?;
            assert_eq!(seen.tools, ["query-docs", "resolve-library-id"]);
            assert!(!seen.text(0).is_empty(), "{}", seen.results[0]);
        }
        let token = front.token("/mcp").await?;
        let (direct, url) = (format!("{}/mcp", server.url()), front.gateway.url("/mcp"));
        let refused = unchanged(
            asking(Method::GET, &direct, None),
            asking(Method::GET, &url, Some(&token)),
        );
        assert_eq!(refused.await?.status, 405);
        let discovered = unchanged(discover(&direct, None), discover(&url, Some(&token)));
        assert_eq!(discovered.await?.status, 200);
        Ok(())
    })
    .await
}

tried!(PDF: a_pdf_is_read_byte_by_byte_and_its_page_resource_comes_whole,
    &[(Lock::Npm, "@modelcontextprotocol/server-pdf")], "Streamable HTTP",
    "no sessions, yet a stream on GET; resources of some hundred KiB");

#[tokio::test]
async fn a_pdf_is_read_byte_by_byte_and_its_page_resource_comes_whole() -> Result<()> {
    let server = Server::start(|port, folder| {
        let file = folder.join("menu.pdf");
        std::fs::write(&file, "%PDF-1.4\n% no page at all\n%%EOF\n").expect("the folder is new");
        Launch::npm("@modelcontextprotocol/server-pdf/dist/index.js")
            .arg(&file.display().to_string())
            .env("PORT", &port.to_string())
    });
    watched(server, async |server| {
        let front = Front::start(&server.url()).await?;
        for (sdk, path) in [(PythonV1, "/mcp"), (TypeScriptV2, "/it/mcp")] {
            let seen = front
                .call(sdk, Http, path, &[("list_pdfs", json!({}))])
                .await?;
            assert!(
                seen.tools.contains(&"read_pdf_bytes".to_owned()),
                "{:?}",
                seen.tools
            );
            let list = seen.results[0].to_string();
            assert!(list.contains("menu.pdf"), "{list}");
        }

        let token = front.token("/mcp").await?;
        let (direct, url) = (format!("{}/mcp", server.url()), front.gateway.url("/mcp"));
        let list = mcp::message(1, "resources/list", &json!({}));
        let listed = mcp::response(&http::send(message(&url, Some(&token), &list, &[])).await?)?;
        let resources = listed["result"]["resources"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let page = resources.iter().find_map(|resource| {
            resource["uri"]
                .as_str()
                .filter(|uri| uri.starts_with("ui://"))
        });
        let read = mcp::message(2, "resources/read", &json!({"uri": page}));
        let whole = unchanged(
            message(&direct, None, &read, &[]),
            message(&url, Some(&token), &read, &[]),
        );
        let whole = whole.await?;
        assert!(whole.text.len() > 100_000, "{} bytes", whole.text.len());

        // No session, and still a stream for what the server may want to say: the gateway keeps
        // it open, and alive.
        let mut stream = EventStream::open(asking(Method::GET, &url, Some(&token))).await?;
        let quiet = stream.next(Duration::from_secs(1)).await;
        assert!(!matches!(quiet, Ok(SseItem::End(_))), "{quiet:?}");
        Ok(())
    })
    .await
}
