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
    let differ = differing(arguments, passing, |setup, url| setup.backend(url)).await?;
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    Ok(())
}

/// What differs where the server is the one member of several at one address. The suite names tools and
/// prompts as the server does; here they have its name before their own, so that what calls one finds none.
async fn but_for_names_several_change_nothing(
    arguments: &[&str],
    passing: usize,
    named: &[&str],
) -> Result<()> {
    let together = |setup: Setup, url: &str| {
        let all = "[[backend]]\nname = \"all\"\npath = \"/\"\nmembers = [\"one\"]\n";
        setup.mounted("one", "/one", url).more(all)
    };
    let differ = differing(arguments, passing, together).await?;
    let is_named = |scenario: &&str| differ.iter().any(|differs| starts(differs, scenario));
    let missed: Vec<&str> = named.iter().copied().filter(|one| !is_named(one)).collect();
    let others: Vec<&String> = differ
        .iter()
        .filter(|differs| !named.iter().any(|scenario| starts(differs, scenario)))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(missed.is_empty(), "these are no exceptions: {missed:?}");
    Ok(())
}

/// Whether a difference is that of a scenario.
fn starts(differs: &str, scenario: &str) -> bool {
    differs.lines().next() == Some(scenario)
}

/// The scenarios in which both runs differ; at least `passing` checks have to pass.
async fn differing(
    arguments: &[&str],
    passing: usize,
    behind: impl FnOnce(Setup, &str) -> Setup,
) -> Result<Vec<String>> {
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
    let gateway = Gateway::start(behind(Setup::default(), &server.origin)).await?;
    let client = OAuthClient::register(&gateway.origin(), "Conformance").await?;
    let token = client.sign_in(&Owner::alice()).await?;
    let injector = Injector::start(gateway.address(), &token).await?;
    let (code, through) = run(&injector.url("/mcp"))
        .await
        .with_context(|| gateway.log().join("\n"))?;
    let differ = differences(&direct, &through);
    if differ.is_empty() {
        assert_eq!(code, direct_code, "the exit code");
    }
    Ok(differ)
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

#[tokio::test]
async fn several_conform_to_2025_11_25_as_their_one_member_but_for_names() -> Result<()> {
    but_for_names_several_change_nothing(&["--requirements", "2025-11-25"], 80, NAMED_2025).await
}

#[tokio::test]
async fn several_conform_to_2026_07_28_as_their_one_member_but_for_names() -> Result<()> {
    but_for_names_several_change_nothing(&["--requirements", "2026-07-28"], 160, NAMED_2026).await
}

/// The scenarios of 2025-11-25 that call a tool, look for one or get a prompt by the server's own name for it;
/// and those about a session of the server's own, which is the gateway's here, as it is before any server of
/// 2026-07-28.
const NAMED_2025: &[&str] = &[
    "server-completion-complete",
    "server-elicitation-sep1034-defaults",
    "server-elicitation-sep1330-enums",
    "server-json-schema-2020-12",
    "server-prompts-get-embedded-resource",
    "server-prompts-get-simple",
    "server-prompts-get-with-args",
    "server-prompts-get-with-image",
    "server-tools-call-audio",
    "server-tools-call-elicitation",
    "server-tools-call-embedded-resource",
    "server-tools-call-error",
    "server-tools-call-image",
    "server-tools-call-mixed-content",
    "server-tools-call-sampling",
    "server-tools-call-simple-text",
    "server-tools-call-with-logging",
    "server-tools-call-with-progress",
    "server-server-session-lifecycle",
    "server-server-sse-multiple-streams",
    "server-server-sse-polling",
];

/// Those of 2026-07-28.
const NAMED_2026: &[&str] = &[
    "server-completion-complete",
    "server-input-required-result-basic-elicitation",
    "server-input-required-result-basic-list-roots",
    "server-input-required-result-basic-sampling",
    "server-input-required-result-capability-check",
    "server-input-required-result-ignore-extra-params",
    "server-input-required-result-missing-input-response",
    "server-input-required-result-multi-round",
    "server-input-required-result-multiple-input-requests",
    "server-input-required-result-non-tool-request",
    "server-input-required-result-request-state",
    "server-input-required-result-result-type",
    "server-input-required-result-tampered-state",
    "server-json-schema-2020-12",
    "server-prompts-get-embedded-resource",
    "server-prompts-get-simple",
    "server-prompts-get-with-args",
    "server-prompts-get-with-image",
    "server-server-stateless",
    "server-tools-call-audio",
    "server-tools-call-embedded-resource",
    "server-tools-call-error",
    "server-tools-call-image",
    "server-tools-call-mixed-content",
    "server-tools-call-simple-text",
    "server-tools-call-with-progress",
];
