//! One client through its two phases: with its owner at the desk, and after a kill of
//! the gateway with nobody there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::desktop_client::DesktopClient;
use tests::gateway::{Gateway, Owner, Setup};
use tests::program::workspace;
use tests::readme_tables;
use tokio::sync::Semaphore;

/// How long one command of a client may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// What the table says of a client that did all that was asked.
pub(crate) const SHOWN: &str = "logs in, lists tools, calls one, goes on after a kill";

/// Clients at once: each brings a runtime of its own, and they share two cores.
pub(crate) static PLACES: Semaphore = Semaphore::const_new(3);

/// What a client is asked to do.
pub(crate) struct Task<'a> {
    /// Where it sits.
    pub(crate) desktop: &'a DesktopClient,
    /// The URL that its user types.
    pub(crate) url: &'a str,
    /// Whether that is the legacy SSE URL.
    pub(crate) sse: bool,
    /// Whether it has logged in before.
    pub(crate) again: bool,
}

/// What it did.
pub(crate) struct Done {
    /// The names of the tools that it listed.
    pub(crate) tools: Vec<String>,
    /// The result of `search`, as the client gave it.
    pub(crate) found: String,
}

/// A client that can be driven.
pub(crate) trait App {
    /// As in the table.
    const NAME: &'static str;
    /// Its version, from the lock file's package.
    fn version() -> Result<String>;
    /// A desk with what the client wants there.
    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        DesktopClient::new(owner)
    }

    /// Log in if it has to, list the tools, call one.
    async fn work(task: &Task<'_>) -> Result<Done>;
}

/// `/mcp` or `/sse`, through both phases; the outcome goes into the table.
pub(crate) async fn before_and_after_a_kill<A: App>(sse: bool) -> Result<()> {
    let _place = PLACES.acquire().await?;
    let mut gateway = Gateway::start(Setup::default()).await?;
    let outcome = both_phases::<A>(&mut gateway, sse)
        .await
        .with_context(|| gateway.log().join("\n"));
    let transport = transport(sse, &gateway);
    readme_tables::note(
        A::NAME,
        &A::version()?,
        &transport,
        outcome.is_ok().then_some(SHOWN),
    )?;
    outcome
}

async fn both_phases<A: App>(gateway: &mut Gateway, sse: bool) -> Result<()> {
    let desktop = A::desktop(&Owner::alice())?;
    let url = gateway.url(if sse { "/sse" } else { "/mcp" });
    let mut logins = 0;
    for again in [false, true] {
        if again {
            desktop.leave()?;
            gateway.crash_and_restart().await?;
        }
        let task = Task {
            desktop: &desktop,
            url: &url,
            sse,
            again,
        };
        let done = A::work(&task)
            .await
            .with_context(|| format!("again: {again}; its browser:\n{}", desktop.browser_log()))?;
        let mut tools = done.tools;
        tools.sort();
        anyhow::ensure!(tools == ["fetch", "search"], "it lists {tools:?}");
        anyhow::ensure!(
            done.found.contains("Cupcake Gateway"),
            "search gave {}",
            done.found
        );
        if again {
            let opened = desktop.opened();
            anyhow::ensure!(
                opened.len() == logins,
                "a login that was not due: {opened:?}"
            );
        } else {
            logins = desktop.opened().len();
            anyhow::ensure!(logins > 0, "nobody was asked to log in");
        }
    }
    Ok(())
}

/// The transport that was used, as the gateway's log tells it.
pub(crate) fn transport(sse: bool, gateway: &Gateway) -> String {
    if sse {
        return "HTTP+SSE".into();
    }
    let calls: Vec<String> = gateway
        .log()
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "exchanged" && event["status"] == 200)
        .filter_map(|event| event["call"].as_str().map(String::from))
        .collect();
    let families = [("initialize", "2025"), ("server/discover", "2026-07-28")];
    let spoken: Vec<&str> = families
        .iter()
        .filter(|(call, _)| calls.iter().any(|made| made == call))
        .map(|(_, family)| *family)
        .collect();
    format!("Streamable HTTP, {}", spoken.join(" and "))
}

/// A file of a pinned npm package.
pub(crate) fn package(path: &str) -> PathBuf {
    let path = workspace()
        .join("tests/clients/apps/node_modules")
        .join(path);
    assert!(
        path.exists(),
        "{} is missing: `tests/run` installs it",
        path.display()
    );
    path
}

/// The version of a pinned npm package.
pub(crate) fn package_version(name: &str) -> Result<String> {
    let manifest = std::fs::read_to_string(package(&format!("{name}/package.json")))?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    Ok(manifest["version"].as_str().context("no version")?.into())
}

/// The Node of the tests.
pub(crate) fn node() -> PathBuf {
    workspace().join("tests/.work/node")
}

/// The names in an array of tools.
pub(crate) fn names(tools: &Value) -> Vec<String> {
    let tools = tools.as_array().into_iter().flatten();
    tools
        .filter_map(|tool| tool["name"].as_str().map(String::from))
        .collect()
}
