//! `gateway doctor` in front of servers that are not our own: what is well is said to be well.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::program::{binary, free_port};
use tests::server::{Launch, Lock, Server, sample};
use tokio::process::Command;

use crate::front::{Front, watched};

/// The report on a path, with a login, without the minute of watching a quiet stream.
async fn examined(front: &Front, path: &str) -> Result<Value> {
    let password = front.gateway.folder().join("password");
    std::fs::write(&password, front.password())?;
    let ended = Command::new(binary("gateway"))
        .args(["doctor", &front.gateway.url(path), "--json", "--quick"])
        .args(["--login", "alice", "--password-file"])
        .arg(&password)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), ended).await??;
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&printed)
        .with_context(|| format!("{printed}{}", String::from_utf8_lossy(&output.stderr)))
}

/// What is said of every gateway that stands on loopback.
const ON_LOOPBACK: [&str; 2] = ["public-address", "https"];

/// Nothing is wrong at this path but that it stands on loopback, and these warnings.
async fn is_well(server: &Server, path: &str, but: &[&str]) -> Result<()> {
    let front = Front::start(&server.url()).await?;
    let report = examined(&front, path).await?;
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    anyhow::ensure!(checks.len() > 30, "{report:#}");
    let of = |verdict: &str| -> Vec<&Value> {
        let found = checks.iter().filter(|check| check["verdict"] == verdict);
        found.collect()
    };
    anyhow::ensure!(of("FAIL").is_empty(), "{path}: {:#?}", of("FAIL"));
    let warned: Vec<_> = of("WARN")
        .iter()
        .filter_map(|check| check["id"].as_str())
        .collect();
    let expected = [&ON_LOOPBACK, but].concat();
    anyhow::ensure!(warned == expected, "{path}: {:#?}", of("WARN"));
    Ok(())
}

#[tokio::test]
async fn the_doctor_finds_server_everything_well() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::npm("@modelcontextprotocol/server-everything/dist/index.js")
            .arg("streamableHttp")
            .env("PORT", &port.to_string())
    });
    watched(server, async |server| is_well(server, "/mcp", &[]).await).await
}

#[tokio::test]
async fn the_doctor_finds_a_memory_behind_a_bridge_well() -> Result<()> {
    let server = Server::start(|port, folder| {
        let file = folder.join("memory.jsonl").display().to_string();
        let memory = Launch::npm("@modelcontextprotocol/server-memory/dist/index.js")
            .env("MEMORY_FILE_PATH", &file);
        Launch::npm("mcp-proxy/dist/bin/mcp-proxy.mjs")
            .args(&["--host", "127.0.0.1", "--port", &port.to_string(), "--"])
            .then(memory)
    });
    watched(server, async |server| is_well(server, "/it/mcp", &[]).await).await
}

#[tokio::test]
async fn the_doctor_finds_the_typescript_sdk_well() -> Result<()> {
    let server =
        Server::start(|port, _| Launch::node_sample("ts_sdk_v2.mjs").arg(&port.to_string()));
    watched(server, async |server| {
        is_well(server, "/mcp", &["tool-annotations"]).await
    })
    .await
}

#[tokio::test]
async fn the_doctor_finds_the_python_sdk_well() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV2, "python")
            .args(&[&sample("python_sdk_v2.py"), &port.to_string()])
    });
    watched(server, async |server| {
        is_well(server, "/it/mcp", &["tool-annotations"]).await
    })
    .await
}

#[tokio::test]
async fn the_doctor_takes_no_tool_that_fetches_urls_for_one_of_documents() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV1, "mcp-proxy")
            .args(&["--pass-environment", "--port", &port.to_string(), "--"])
            .then(Launch::python(Lock::PythonV2, "mcp-server-fetch"))
    });
    let alone = ["search", "fetch"];
    watched(server, async |server| {
        is_well(server, "/it/sse", &alone).await
    })
    .await
}

#[tokio::test]
async fn the_doctor_finds_a_server_of_http_sse_alone_well() -> Result<()> {
    for path in ["/it/mcp", "/sse"] {
        let server = Server::start(|port, _| {
            let documents = format!("{}:mcp", sample("fastmcp_documents.py"));
            Launch::python(Lock::PythonV2, "fastmcp")
                .args(&["run", &documents, "--transport", "sse", "--no-banner"])
                .args(&["--port", &port.to_string()])
        });
        watched(server, async |server| is_well(server, path, &[]).await).await?;
    }
    Ok(())
}

/// The report on a server of another kind with an authorization server of its own, straight from it.
async fn foreign(url: &str) -> Result<Value> {
    let ended = Command::new(binary("gateway"))
        .args(["doctor", url, "--json", "--quick", "--no-browser"])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), ended).await??;
    let printed = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&printed)
        .with_context(|| format!("{printed}{}", String::from_utf8_lossy(&output.stderr)))?;
    anyhow::ensure!(report["server"] == "other", "{report:#}");
    for check in report["checks"].as_array().into_iter().flatten() {
        let next = check["next"].as_str().unwrap_or_default();
        anyhow::ensure!(!next.is_empty() && !next.contains("gateway"), "{check:#}");
    }
    Ok(report)
}

/// What is said of these checks, and what fails.
fn is_said(report: &Value, fails: &[&str], said: &[(&str, &str)]) -> Result<()> {
    let checks = report["checks"].as_array().context("a report has checks")?;
    let failed: Vec<&Value> = checks
        .iter()
        .filter(|check| check["verdict"] == "FAIL")
        .collect();
    let ids: Vec<_> = failed
        .iter()
        .filter_map(|check| check["id"].as_str())
        .collect();
    anyhow::ensure!(ids == fails, "{failed:#?}");
    for (id, verdict) in said {
        let check = checks.iter().find(|check| check["id"] == *id);
        let check = check.with_context(|| format!("{id} is not in the report"))?;
        anyhow::ensure!(check["verdict"] == *verdict, "{check:#}");
    }
    Ok(())
}

#[tokio::test]
async fn fastmcp_with_its_own_login_is_well_but_for_the_login_that_it_has_not() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV2, "python")
            .args(&[&sample("fastmcp_login.py"), &port.to_string()])
    });
    watched(server, async |server| {
        let report = foreign(&format!("{}/mcp", server.url())).await?;
        is_said(
            &report,
            &[],
            &[
                // The form with the path is there, and a header is all that a 401 needs.
                ("protected-resource-metadata-root", "PASS"),
                ("challenge", "PASS"),
                // Everybody gets in, and so did the doctor.
                ("login-page", "WARN"),
                ("token-response", "PASS"),
                ("tools-list", "PASS"),
                // Flags that stop no client.
                ("iss-flag", "WARN"),
                ("public-clients", "WARN"),
                ("offline-access", "WARN"),
                ("token-error", "WARN"),
                ("manifest", "SKIP"),
            ],
        )
    })
    .await
}

#[tokio::test]
async fn the_typescript_sdks_example_is_well_but_for_what_is_wrong_with_it() -> Result<()> {
    let authorization = free_port().to_string();
    let server = Server::start(|port, _| {
        let example = "@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js";
        Launch::npm(example)
            .arg("--oauth")
            .env("MCP_PORT", &port.to_string())
            .env("MCP_AUTH_PORT", &authorization)
    });
    watched(server, async |server| {
        let report = foreign(&format!("{}/mcp", server.url_by_name())).await?;
        is_said(
            &report,
            // A token or a code that is over gets 500: no client logs in again.
            &["challenge-invalid-token", "token-error"],
            &[
                // Its login is on the host that was typed, on another port.
                ("private-host", "PASS"),
                ("registration", "PASS"),
                ("protected-resource-metadata-root", "PASS"),
                ("login-page", "WARN"),
                ("token-response", "PASS"),
                ("tools-list", "PASS"),
            ],
        )
    })
    .await
}

#[tokio::test]
async fn the_python_sdk_with_a_login_page_is_well() -> Result<()> {
    let server = Server::start(|port, _| {
        Launch::python(Lock::PythonV1, "python")
            .args(&[&sample("python_sdk_login.py"), &port.to_string()])
    });
    watched(server, async |server| {
        let report = foreign(&format!("{}/mcp", server.url())).await?;
        is_said(
            &report,
            &[],
            &[
                ("login-page", "PASS"),
                ("login-page-cache", "PASS"),
                ("login-page-framing", "PASS"),
                ("challenge", "PASS"),
                ("challenge-invalid-token", "PASS"),
                ("token-error", "PASS"),
                ("registration-errors", "WARN"),
                ("loopback-port", "WARN"),
                ("token-response", "SKIP"),
            ],
        )
    })
    .await
}
