//! Web pages that are clients themselves, in Chromium and from another origin than the gateway's: the
//! official SDKs' builds for browsers, bundled as pages are.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::gateway::Owner;
use tests::program::workspace;

use crate::choices::{reported, with_each_choice};
use crate::drive::{App, Done, PATIENCE, Task, node};

/// A page, the login in the same browser, and the page again.
async fn in_browser(task: &Task<'_>, page: &str) -> Result<Done> {
    let clients = workspace().join("tests/clients");
    let folder = task.desktop.home().join("kept");
    std::fs::create_dir_all(&folder)?;
    let owner = Owner::alice();
    let mut words = Vec::new();
    if !task.again {
        words.push(format!("OWNER_NAME={}", owner.name));
        words.push(format!("OWNER_PASSWORD={}", owner.password));
        words.extend(Some(task.desktop.answer().into()).filter(|word: &String| !word.is_empty()));
    }
    for file in [node(), clients.join("in_browser.mjs"), clients.join(page)] {
        words.push(file.display().to_string());
    }
    words.push(task.url.into());
    words.push(folder.display().to_string());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = task.desktop.run(Path::new("env"), &words, PATIENCE).await?;
    let done = reported(&ended)?;
    let line = ended.out.lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(line)?;
    anyhow::ensure!(report.get("error").is_none(), "{report}");
    if let Some(url) = report["login"].as_str() {
        task.desktop.was_opened(url)?;
    }
    Ok(done)
}

/// The version of an SDK that the tests pin.
fn pinned(package: &str) -> Result<String> {
    let pins = std::fs::read_to_string(workspace().join("tests/package.json"))?;
    let pins: Value = serde_json::from_str(&pins)?;
    let pin = pins["dependencies"][package].as_str();
    Ok(pin.context("it is not pinned")?.to_owned())
}

macro_rules! pages {
    ($($test:ident: $app:ident, $name:literal, $package:literal, $page:literal;)*) => {$(
        struct $app;

        impl App for $app {
            const NAME: &'static str = $name;

            fn version() -> Result<String> {
                pinned($package)
            }

            async fn work(task: &Task<'_>) -> Result<Done> {
                in_browser(task, $page).await
            }
        }

        #[tokio::test]
        async fn $test() -> Result<()> {
            with_each_choice::<$app>().await
        }
    )*};
}

pages! {
    a_page_with_the_typescript_sdk_v1_works_with_each_choice: TypeScriptV1,
        "TypeScript SDK 1 in a page of another origin, Chromium", "@modelcontextprotocol/sdk", "page_v1.mjs";
    a_page_with_the_typescript_sdk_v2_works_with_each_choice: TypeScriptV2,
        "TypeScript SDK 2 in a page of another origin, Chromium", "@modelcontextprotocol/client", "page_v2.mjs";
}
