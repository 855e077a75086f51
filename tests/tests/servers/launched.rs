//! Servers that people start by one line, `npx -y …` or `uvx …`, behind the gateway's own bridge:
//! the consent page lists the tools that there are and ticks those that only read, and a client
//! lists and calls them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use scraper::{Html, Selector};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::mcp;
use tests::oauth::OAuthClient;
use tests::program::workspace;
use tests::sdk::Sdk::{PythonV1, PythonV2, TypeScriptV1, TypeScriptV2};
use tests::sdk::{self, Sdk, Seen, Transport};
use tests::server::{AS_OF, Lock};
use tokio::sync::{Mutex, Semaphore};

use crate::manual::{TestedServer, tried};

/// Servers at once: each brings a runtime of its own, and they share two cores.
static PLACES: Semaphore = Semaphore::const_new(2);

/// One download at a time.
static FETCHING: Mutex<()> = Mutex::const_new(());

/// For what is not there yet, on a busy machine.
const FETCH: Duration = Duration::from_secs(400);

/// A server, fetched, and the folder that it works in.
struct Launched {
    words: Vec<String>,
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Launched {
    /// `npx -y PACKAGE` or `uvx PACKAGE` with these arguments, `FOLDER` in them being its folder.
    async fn fetch(lock: Lock, package: &str, arguments: &[&str]) -> Result<Self> {
        Self::fetch_with(lock, package, &[], arguments).await
    }

    /// The same with options of `npx` or `uvx`.
    async fn fetch_with(
        lock: Lock,
        package: &str,
        options: &[&str],
        arguments: &[&str],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let work = workspace().join("tests/.work");
        let kept = work.join("launched");
        anyhow::ensure!(
            kept.exists(),
            "tests/run was not run: no {}",
            kept.display()
        );
        let here = folder.path().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let set = |name: &str, value: String| (name.to_owned(), value);
        let environment = vec![
            // The Node that all of them are content with.
            set("PATH", format!("{}:{path}", work.display())),
            set("HOME", here.clone()),
            set("npm_config_before", AS_OF.into()),
            set("npm_config_cache", kept.join("npm").display().to_string()),
            set("npm_config_prefer_offline", "true".into()),
            set("npm_config_update_notifier", "false".into()),
            set("UV_EXCLUDE_NEWER", AS_OF.into()),
            set("UV_CACHE_DIR", kept.join("uv").display().to_string()),
            set("UV_PYTHON_DOWNLOADS", "never".into()),
        ];
        let options = options.iter().map(ToString::to_string);
        // The same package and environment with a command that only ends.
        let (launcher, fetching) = match lock {
            Lock::Npx => ("npx".into(), vec!["-y", "--package", package, "true"]),
            _ => (
                work.join("uv/bin/uvx").display().to_string(),
                vec!["--from", package, "python", "-c", ""],
            ),
        };
        let mut words = vec![launcher];
        words.extend(options);
        let fetching = words[1..].iter().map(String::as_str).chain(fetching);
        run(&words[0], fetching, &environment, folder.path()).await?;
        if lock == Lock::Npx {
            words.push("-y".into());
        }
        words.push(package.into());
        words.extend(arguments.iter().map(|word| word.replace("FOLDER", &here)));
        Ok(Launched {
            words,
            environment,
            folder,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The gateway in front of it; the consent page shows its tools as they are; what an SDK sees.
    async fn serve(&self, sdk: Sdk, calls: &[(&str, Value)]) -> Result<Seen> {
        // What was fetched is there.
        let offline = ("UV_OFFLINE".to_owned(), "1".to_owned());
        let environment: Vec<String> = self
            .environment
            .iter()
            .chain([&offline])
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let backend = format!(
            "[[backend]]\nname = \"it\"\npath = \"/it\"\nstdio = {:?}\nenvironment = {environment:?}\nworking_directory = {:?}\n",
            self.words,
            self.folder.path().display().to_string(),
        );
        let gateway = Gateway::start(Setup::default().more(&backend)).await?;
        let served = serve(&gateway, sdk, calls).await;
        served.with_context(|| gateway.log().join("\n"))
    }
}

/// Run a command to its end.
async fn run(
    program: &str,
    arguments: impl Iterator<Item = &str>,
    environment: &[(String, String)],
    folder: &Path,
) -> Result<()> {
    let _alone = FETCHING.lock().await;
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .envs(environment.iter().cloned())
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(FETCH, command.output()).await;
    let output = output.context("it is not fetched in time")??;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

async fn serve(gateway: &Gateway, sdk: Sdk, calls: &[(&str, Value)]) -> Result<Seen> {
    let (url, owner) = (gateway.url("/it/mcp"), Owner::alice());
    let consent = Consent::read(gateway, &url).await?;
    let seen = sdk::call(sdk, Transport::Http, &url, &owner, calls).await?;
    let (all, readers) = listed(gateway, &url, "all").await?;
    assert_eq!(seen.tools.iter().cloned().collect::<BTreeSet<_>>(), all);
    assert_eq!(consent.tools, all, "the tools on the consent page");
    assert_eq!(consent.ticked, readers, "those that only read");
    if !readers.is_empty() {
        assert_eq!(listed(gateway, &url, "read").await?.0, readers);
    }
    Ok(seen)
}

/// The tools that a client lists whose person chose this, and which of them only read.
async fn listed(
    gateway: &Gateway,
    url: &str,
    choice: &str,
) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let client = OAuthClient::register(&gateway.origin(), "On the wire").await?;
    let request = client.authorization_for(url);
    let reply = client
        .connect_choosing(&mut Browser::default(), &request, &Owner::alice(), |form| {
            form.choose("tools", choice)
        })
        .await?;
    let reply = reply.json();
    let token = reply["access_token"].as_str().context("no token")?;
    let session = mcp::open_session(url, token).await?;
    let list = mcp::post(url, token, &mcp::message(1, "tools/list", &json!({})));
    let list = mcp::response(&http::send(list.header("Mcp-Session-Id", session)).await?)?;
    let tools = list["result"]["tools"].as_array().into_iter().flatten();
    let (mut all, mut readers) = (BTreeSet::new(), BTreeSet::new());
    for tool in tools {
        let name = tool["name"].as_str().context("a tool has a name")?;
        all.insert(name.to_owned());
        if tool["annotations"]["readOnlyHint"] == true {
            readers.insert(name.to_owned());
        }
    }
    Ok((all, readers))
}

/// What the consent page lists.
struct Consent {
    tools: BTreeSet<String>,
    ticked: BTreeSet<String>,
}

impl Consent {
    async fn read(gateway: &Gateway, url: &str) -> Result<Self> {
        let client = OAuthClient::register(&gateway.origin(), "A reader").await?;
        let (owner, mut browser) = (Owner::alice(), Browser::default());
        let login = browser.visit(&client.authorization_for(url).url()).await?;
        let mut page = browser.log_in(&login, &owner.name, &owner.password).await?;
        // A server that is still starting: the page goes on by itself.
        for _ in 0..60 {
            if !page.reply.text.contains(r#"http-equiv="refresh""#) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            page = browser.visit(&client.authorization_for(url).url()).await?;
        }
        let html = Html::parse_document(&page.reply.text);
        let boxes = Selector::parse("input[name=tool]").expect("a constant");
        let mut consent = Consent {
            tools: BTreeSet::new(),
            ticked: BTreeSet::new(),
        };
        for tool in html.select(&boxes) {
            let name = tool.attr("value").context("a box has a value")?.to_owned();
            if tool.attr("checked").is_some() {
                consent.ticked.insert(name.clone());
            }
            consent.tools.insert(name);
        }
        anyhow::ensure!(!consent.tools.is_empty(), "{}", page.words());
        Ok(consent)
    }
}

tried!(DBHUB: a_database_is_asked_through_dbhub,
    &[(Lock::Npx, "@bytebase/dbhub@1.4.0")], "stdio",
    "its sample database; a tool that may write beside one that only reads");

#[tokio::test]
async fn a_database_is_asked_through_dbhub() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let server = Launched::fetch(Lock::Npx, "@bytebase/dbhub@1.4.0", &["--demo"]).await?;
    let ask = ("execute_sql", json!({"sql": "SELECT 40 + 2 AS answer"}));
    let seen = server.serve(TypeScriptV2, &[ask]).await?;
    assert!(seen.text(0).contains("42"), "{seen:?}");
    Ok(())
}

tried!(DEVTOOLS: the_devtools_list_the_pages_of_a_browser,
    &[(Lock::Npx, "chrome-devtools-mcp@1.11.0")], "stdio",
    "a browser of its own under it, which ends with the session");

#[tokio::test]
async fn the_devtools_list_the_pages_of_a_browser() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let options = [
        "--headless",
        "--isolated",
        "--no-usage-statistics",
        "--executablePath",
        "/usr/bin/chromium",
        // Chromium refuses its sandbox to root, which CI is.
        "--chromeArg=--no-sandbox",
    ];
    let server = Launched::fetch(Lock::Npx, "chrome-devtools-mcp@1.11.0", &options).await?;
    let seen = server.serve(PythonV1, &[("list_pages", json!({}))]).await?;
    assert!(seen.text(0).contains("about:blank"), "{seen:?}");
    Ok(())
}

tried!(ESLINT: eslint_lints_a_file,
    &[(Lock::Npx, "@eslint/mcp@0.3.13")], "stdio",
    "no tool is marked as one that only reads: nothing is preselected but a choice by hand");

#[tokio::test]
async fn eslint_lints_a_file() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let server = Launched::fetch(Lock::Npx, "@eslint/mcp@0.3.13", &[]).await?;
    let rules = "export default [{ rules: { \"no-unused-vars\": \"error\" } }];\n";
    std::fs::write(server.path("eslint.config.mjs"), rules)?;
    let file = server.path("oven.js");
    std::fs::write(&file, "const degrees = 230;\n")?;
    let lint = ("lint-files", json!({"filePaths": [file]}));
    let seen = server.serve(TypeScriptV1, &[lint]).await?;
    let said = seen.results[0].to_string();
    assert!(said.contains("no-unused-vars"), "{said}");
    Ok(())
}

tried!(GIT: a_repository_is_made_and_read,
    &[(Lock::Npx, "@cyanheads/git-mcp-server@2.15.3")], "stdio",
    "28 tools, of which some only read; structured results");

#[tokio::test]
async fn a_repository_is_made_and_read() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let server = Launched::fetch(Lock::Npx, "@cyanheads/git-mcp-server@2.15.3", &[]).await?;
    let at = server.path("recipes");
    std::fs::create_dir(&at)?;
    let make = ("git_init", json!({"path": at}));
    let look = ("git_status", json!({"path": at}));
    let seen = server.serve(PythonV2, &[make, look]).await?;
    assert!(at.join(".git").is_dir());
    assert_ne!(seen.results[1]["isError"], true, "{seen:?}");
    Ok(())
}

tried!(TASKS: tasks_are_planned,
    &[(Lock::Npx, "@kazuph/mcp-taskmanager@1.1.1")], "stdio",
    "ten tools without a word on what they do to the data");

#[tokio::test]
async fn tasks_are_planned() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let server = Launched::fetch(Lock::Npx, "@kazuph/mcp-taskmanager@1.1.1", &[]).await?;
    let task = json!({"title": "Knead", "description": "Ten minutes"});
    let plan = json!({"originalRequest": "Bake", "tasks": [task]});
    let calls = [("request_planning", plan), ("list_requests", json!({}))];
    let seen = server.serve(TypeScriptV1, &calls).await?;
    assert!(seen.results[1].to_string().contains("Bake"), "{seen:?}");
    Ok(())
}

tried!(COMMANDS: a_command_is_run,
    &[(Lock::Npx, "mcp-server-commands@0.5.0")], "stdio",
    "speaks 2024-11-05; prompts beside its tool");

#[tokio::test]
async fn a_command_is_run() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let server = Launched::fetch(Lock::Npx, "mcp-server-commands@0.5.0", &[]).await?;
    let command = ("run_command", json!({"command": "expr 40 + 2"}));
    let seen = server.serve(TypeScriptV2, &[command]).await?;
    assert!(seen.results[0].to_string().contains("42"), "{seen:?}");
    Ok(())
}

tried!(EXCEL: a_workbook_is_written_and_read,
    &[(Lock::Uvx, "excel-mcp-server@2.2.2")], "stdio",
    "46 tools, so many that *Read only* names a few of them");

#[tokio::test]
async fn a_workbook_is_written_and_read() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let options = ["stdio", "--allow-dir", "FOLDER"];
    let server = Launched::fetch(Lock::Uvx, "excel-mcp-server@2.2.2", &options).await?;
    let path = server.path("orders.xlsx");
    let calls = [
        (
            "create_workbook",
            json!({"path": path, "sheets": ["Sunday"]}),
        ),
        ("describe_workbook", json!({"path": path})),
    ];
    let seen = server.serve(PythonV2, &calls).await?;
    assert!(path.exists());
    assert!(seen.results[1].to_string().contains("Sunday"), "{seen:?}");
    Ok(())
}

tried!(DUCKDB: duckdb_answers_a_query,
    &[(Lock::Uvx, "mcp-server-motherduck@1.1.0")], "stdio",
    "DuckDB in memory; prompts and resources beside its tools");

#[tokio::test]
async fn duckdb_answers_a_query() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let options = ["--db-path", ":memory:", "--read-write"];
    let server = Launched::fetch(Lock::Uvx, "mcp-server-motherduck@1.1.0", &options).await?;
    let ask = ("execute_query", json!({"sql": "SELECT 40 + 2 AS answer"}));
    let seen = server.serve(TypeScriptV1, &[ask]).await?;
    assert!(seen.results[0].to_string().contains("42"), "{seen:?}");
    Ok(())
}

tried!(SQLITE: sqlite_keeps_what_was_written,
    &[(Lock::Uvx, "mcp-server-sqlite@2025.4.25")], "stdio",
    "needs the Python SDK 1: `uvx --with 'mcp<2'`");

#[tokio::test]
async fn sqlite_keeps_what_was_written() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let database = ["--db-path", "FOLDER/orders.db"];
    let older = ["--with", "mcp<2"];
    let package = "mcp-server-sqlite@2025.4.25";
    let server = Launched::fetch_with(Lock::Uvx, package, &older, &database).await?;
    let calls = [
        (
            "create_table",
            json!({"query": "CREATE TABLE rolls (n INTEGER)"}),
        ),
        (
            "write_query",
            json!({"query": "INSERT INTO rolls VALUES (42)"}),
        ),
        ("read_query", json!({"query": "SELECT n FROM rolls"})),
    ];
    let seen = server.serve(PythonV1, &calls).await?;
    assert!(seen.text(2).contains("42"), "{seen:?}");
    Ok(())
}

tried!(CALCULATOR: a_sum_is_worked_out,
    &[(Lock::Uvx, "mcp-server-calculator@0.2.1")], "stdio",
    "one tool without a word on what it does to the data");

#[tokio::test]
async fn a_sum_is_worked_out() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let server = Launched::fetch(Lock::Uvx, "mcp-server-calculator@0.2.1", &[]).await?;
    let sum = ("calculate", json!({"expression": "40 + 2"}));
    let seen = server.serve(TypeScriptV2, &[sum]).await?;
    assert_eq!(seen.text(0), "42");
    Ok(())
}
