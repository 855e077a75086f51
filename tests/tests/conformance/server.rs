//! Server scenarios: what the suite finds through the gateway is what it finds without.

use std::time::Duration;

use anyhow::{Context, Result};
use tests::gateway::{Gateway, Owner, Setup};
use tests::injector::Injector;
use tests::oauth::OAuthClient;
use tests::program::{Program, free_port, workspace};

use crate::suite::{Suite, count, differences};

/// The server of tests/servers/everything.
struct Server {
    _program: Program,
    origin: String,
}

impl Server {
    async fn start() -> Result<Self> {
        let port = free_port();
        let python = workspace().join("tests/.work/python-v2/bin/python");
        anyhow::ensure!(
            python.exists(),
            "the Python SDK is missing: `tests/run` installs it"
        );
        let script = workspace().join("tests/servers/everything/server.py");
        let arguments = [
            script.display().to_string(),
            "--port".into(),
            port.to_string(),
        ];
        let program = Program::start(&python, &workspace(), &arguments, &[])?;
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                let origin = format!("http://127.0.0.1:{port}");
                return Ok(Server {
                    _program: program,
                    origin,
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the server does not listen\n{}", program.last_words())
    }
}

/// Both runs with these arguments; at least `passing` checks have to pass.
async fn the_gateway_changes_nothing(arguments: &[&str], passing: usize) -> Result<()> {
    let run = async |url: &str| {
        let mut words = vec!["server", "--url", url];
        words.extend(arguments);
        Suite::start(&words)?.end().await
    };
    let server = Server::start().await?;
    let (direct_code, direct) = run(&format!("{}/mcp", server.origin)).await?;
    assert_eq!(
        direct_code, 0,
        "the server itself does not conform: {direct:#?}"
    );
    let good = count(&direct, "SUCCESS");
    assert!(
        good >= passing,
        "{good} checks passed, {passing} were expected"
    );

    // A server that nobody has spoken to yet, as the first run had.
    let server = Server::start().await?;
    let gateway = Gateway::start(Setup::default().backend(&server.origin)).await?;
    let client = OAuthClient::register(&gateway.origin(), "Conformance").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    let injector = Injector::start(gateway.address(), &token).await?;
    let (code, through) = run(&injector.url("/mcp"))
        .await
        .with_context(|| gateway.log().join("\n"))?;
    let differ = differences(&direct, &through);
    assert!(
        differ.is_empty(),
        "{}\n{}",
        differ.join("\n"),
        gateway.log().join("\n")
    );
    assert_eq!(code, direct_code, "the exit code");
    Ok(())
}

#[tokio::test]
async fn a_server_conforms_to_2025_06_18_through_the_gateway_as_it_does_without() -> Result<()> {
    the_gateway_changes_nothing(&["--suite", "all", "--spec-version", "2025-06-18"], 50).await
}

#[tokio::test]
async fn a_server_conforms_to_2025_11_25_through_the_gateway_as_it_does_without() -> Result<()> {
    the_gateway_changes_nothing(&["--requirements", "2025-11-25"], 80).await
}

#[tokio::test]
async fn a_server_conforms_to_2026_07_28_through_the_gateway_as_it_does_without() -> Result<()> {
    the_gateway_changes_nothing(&["--requirements", "2026-07-28"], 160).await
}
