//! The clients that are programs of their own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::desktop_client::{DesktopClient, Ended};
use tests::fake_llm::Model;
use tests::gateway::Owner;
use tests::program::workspace;
use tokio::sync::Mutex;

use crate::drive::{
    App, Done, PATIENCE, Task, before_and_after_a_kill, names, node, package, package_version,
};

/// What a client was told to search for, and what it prints of the answer.
pub(crate) fn query() -> Value {
    json!({"query": "gateway"})
}

/// The JSON that a command printed, whatever stands around it.
fn printed(ended: &Ended) -> Result<Value> {
    let start = ended.out.find(['{', '[']).unwrap_or(0);
    let mut values = serde_json::Deserializer::from_str(&ended.out[start..]).into_iter();
    values
        .next()
        .and_then(Result::ok)
        .with_context(|| format!("no JSON: {} {} {}", ended.code, ended.out, ended.errors))
}

/// mcp-remote: the bridge by which a client for local servers reaches a remote one.
struct McpRemote;

impl App for McpRemote {
    const NAME: &'static str = "mcp-remote";

    fn version() -> Result<String> {
        package_version("mcp-remote")
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let script = package("mcp-remote/dist/proxy.js").display().to_string();
        let mut proxy = task
            .desktop
            .converse(&node(), &[&script, task.url, "--allow-http"])?;
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}});
        proxy.ask("initialize", hello, PATIENCE).await?;
        proxy.tell("notifications/initialized").await?;
        let listed = proxy.ask("tools/list", json!({}), PATIENCE).await?;
        let call = json!({"name": "search", "arguments": query()});
        let found = proxy.ask("tools/call", call, PATIENCE).await?;
        Ok(Done {
            tools: names(&listed["tools"]),
            found: found.to_string(),
        })
    }
}

/// The MCP Inspector's command line. It listens on one port for the redirect.
struct Inspector;

static INSPECTOR: Mutex<()> = Mutex::const_new(());

impl App for Inspector {
    const NAME: &'static str = "MCP Inspector";

    fn version() -> Result<String> {
        package_version("@modelcontextprotocol/inspector")
    }

    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        Ok(DesktopClient::new(owner)?
            .with("MCP_AUTO_OPEN_ENABLED", "true")
            .with("MCP_INSPECTOR_SECRET_STORE", "file"))
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let _alone = INSPECTOR.lock().await;
        let script = package("@modelcontextprotocol/inspector/clients/launcher/build/index.js");
        let script = script.display().to_string();
        let transport = if task.sse { "sse" } else { "http" };
        let ask = async |more: &[&str]| {
            let mut arguments = vec![&*script, "--cli", task.url, "--transport", transport];
            arguments.extend(more);
            if task.again {
                arguments.push("--stored-auth-only");
            }
            printed(&task.desktop.run(&node(), &arguments, PATIENCE).await?)
        };
        let listed = ask(&["--method", "tools/list"]).await?;
        let found = ask(&[
            "--method",
            "tools/call",
            "--tool-name",
            "search",
            "--tool-arg",
            "query=gateway",
        ])
        .await?;
        if !task.sse {
            let modern = ask(&["--method", "tools/list", "--protocol-era", "modern"]).await?;
            anyhow::ensure!(
                names(&modern["tools"]) == names(&listed["tools"]),
                "by 2026-07-28: {modern}"
            );
        }
        Ok(Done {
            tools: names(&listed["tools"]),
            found: found.to_string(),
        })
    }
}

/// FastMCP's client, as a library with its tokens on disk and as a command that keeps none.
struct FastMcp;

impl App for FastMcp {
    const NAME: &'static str = "FastMCP client";

    fn version() -> Result<String> {
        let pins = workspace().join("tests/clients/fastmcp/requirements.in");
        let pins = std::fs::read_to_string(pins)?;
        Ok(pins
            .trim()
            .strip_prefix("fastmcp==")
            .context("not pinned")?
            .into())
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let environment = workspace().join("tests/.work/fastmcp/bin");
        let transport = if task.sse { "sse" } else { "http" };
        if !task.again {
            let arguments = [
                "list",
                task.url,
                "--auth",
                "oauth",
                "--json",
                "--transport",
                transport,
            ];
            let ended = task
                .desktop
                .run(&environment.join("fastmcp"), &arguments, PATIENCE)
                .await?;
            let listed = printed(&ended)?;
            anyhow::ensure!(
                names(&listed["tools"]).len() == 2,
                "the command lists {listed}"
            );
        }
        let script = workspace()
            .join("tests/clients/fastmcp_client.py")
            .display()
            .to_string();
        let tokens = task.desktop.home().join("tokens").display().to_string();
        let arguments = [&*script, task.url, transport, &tokens];
        let ended = task
            .desktop
            .run(&environment.join("python"), &arguments, PATIENCE)
            .await?;
        let line = ended.out.lines().last().unwrap_or_default();
        let report: Value = serde_json::from_str(line)
            .with_context(|| format!("{} {}", ended.out, ended.errors))?;
        let tools = report["tools"].as_array().into_iter().flatten();
        Ok(Done {
            tools: tools
                .filter_map(|name| name.as_str().map(String::from))
                .collect(),
            found: report["found"].to_string(),
        })
    }
}

/// mcporter.
struct Mcporter;

impl App for Mcporter {
    const NAME: &'static str = "mcporter";

    fn version() -> Result<String> {
        package_version("mcporter")
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let script = package("mcporter/dist/cli.js").display().to_string();
        let ask = async |more: &[&str]| {
            let mut arguments = vec![&*script, more[0], "--http-url", task.url, "--allow-http"];
            arguments.extend(&more[1..]);
            task.desktop.run(&node(), &arguments, PATIENCE).await
        };
        if !task.again {
            let ended = ask(&["auth"]).await?;
            anyhow::ensure!(ended.code == 0, "auth: {ended:?}");
        }
        let listed = printed(&ask(&["list", "--json"]).await?)?;
        let found = ask(&["call", "search", "query=gateway"]).await?;
        Ok(Done {
            tools: names(&listed["tools"]),
            found: found.out,
        })
    }
}

/// opencode. It listens on one port for the redirect.
struct Opencode;

static OPENCODE: Mutex<()> = Mutex::const_new(());

impl App for Opencode {
    const NAME: &'static str = "opencode";

    fn version() -> Result<String> {
        package_version("opencode-linux-x64")
    }

    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        // Its plugins would come from a registry: there is none to wait for.
        Ok(DesktopClient::new(owner)?
            .with("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1")
            .with("npm_config_offline", "true"))
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let _alone = OPENCODE.lock().await;
        let model = Model::start("docs_search", query()).await?;
        let provider = json!({"npm": "@ai-sdk/openai-compatible", "name": "scripted", "models": {"m": {"name": "m", "tool_call": true}},
            "options": {"baseURL": model.url(), "apiKey": "none"}});
        let config = json!({"autoupdate": false, "share": "disabled", "model": "scripted/m", "small_model": "scripted/m",
            "provider": {"scripted": provider}, "mcp": {"docs": {"type": "remote", "url": task.url, "enabled": true}}});
        task.desktop.write("opencode.json", &config.to_string())?;
        let program = package("opencode-linux-x64/bin/opencode");
        if !task.again {
            let ended = task
                .desktop
                .run_at_terminal(&program, &["mcp", "auth", "docs"], PATIENCE)
                .await?;
            anyhow::ensure!(ended.out.contains("successful"), "mcp auth: {ended:?}");
        }
        let ended = task
            .desktop
            .run(&program, &["run", "--pure", "search"], PATIENCE)
            .await?;
        done_by(&model, "docs_", &ended)
    }
}

/// What a client did for a model.
pub(crate) fn done_by(model: &Model, prefix: &str, ended: &Ended) -> Result<Done> {
    let offered = model.offered();
    let tools = offered.iter().filter_map(|name| name.strip_prefix(prefix));
    let results = model.results();
    anyhow::ensure!(
        !results.is_empty(),
        "no tool was called; offered: {offered:?}; {ended:?}"
    );
    Ok(Done {
        tools: tools.map(String::from).collect(),
        found: results.concat(),
    })
}

/// The program of Claude Code.
pub(crate) fn claude_code() -> PathBuf {
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    };
    package(&format!(
        "@anthropic-ai/claude-code-linux-{architecture}/claude"
    ))
}

/// The program of Codex.
pub(crate) fn codex() -> PathBuf {
    let target = if cfg!(target_arch = "aarch64") {
        ("arm64", "aarch64")
    } else {
        ("x64", "x86_64")
    };
    package(&format!(
        "@openai/codex-linux-{}/vendor/{}-unknown-linux-musl/bin/codex",
        target.0, target.1
    ))
}

/// Claude Code. Its client id is the address of a document that cannot be fetched here.
pub(crate) struct ClaudeCode;

impl App for ClaudeCode {
    const NAME: &'static str = "Claude Code";

    fn version() -> Result<String> {
        package_version("@anthropic-ai/claude-code")
    }

    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        Ok(DesktopClient::new(owner)?
            .with("ANTHROPIC_API_KEY", "sk-ant-none")
            .with("ENABLE_TOOL_SEARCH", "false")
            // Milliseconds, for a busy machine.
            .with("MCP_TIMEOUT", "60000"))
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let program = claude_code();
        let program: &Path = &program;
        if !task.again {
            let transport = if task.sse { "sse" } else { "http" };
            let add = ["mcp", "add", "--transport", transport, "docs", task.url];
            let ended = task.desktop.run(program, &add, PATIENCE).await?;
            anyhow::ensure!(ended.code == 0, "mcp add: {ended:?}");
            let ended = task
                .desktop
                .run_at_terminal(program, &["mcp", "login", "docs"], PATIENCE)
                .await?;
            anyhow::ensure!(ended.out.contains("Authenticated"), "mcp login: {ended:?}");
            let id = "client_id=https%3A%2F%2Fclaude.ai%2Foauth%2Fclaude-code-client-metadata&";
            let opened = task.desktop.opened();
            anyhow::ensure!(
                opened.iter().all(|url| url.contains(id)),
                "its own id: {opened:?}"
            );
        }
        let ended = task
            .desktop
            .run(program, &["mcp", "get", "docs"], PATIENCE)
            .await?;
        anyhow::ensure!(ended.out.contains("Connected"), "mcp get: {ended:?}");
        let model = Model::start("docs__search", query()).await?;
        let base = format!("ANTHROPIC_BASE_URL={}", model.url());
        let program = program.display().to_string();
        let arguments = [
            &*base,
            &program,
            "-p",
            "search",
            "--allowedTools",
            "mcp__docs__search",
        ];
        let ended = task
            .desktop
            .run(Path::new("env"), &arguments, PATIENCE)
            .await?;
        done_by(&model, "mcp__docs__", &ended)
    }
}

/// Codex, by way of the server that its editors' extensions talk to. Its client id is the address
/// of a document that cannot be fetched here.
pub(crate) struct Codex;

impl App for Codex {
    const NAME: &'static str = "Codex";

    fn version() -> Result<String> {
        package_version("@openai/codex")
    }

    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        let desktop = DesktopClient::new(owner)?;
        let folder = desktop.home().join("codex");
        std::fs::create_dir(&folder)?;
        Ok(desktop.with("CODEX_HOME", &folder.display().to_string()))
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let program = codex();
        if !task.again {
            let config = format!(
                "mcp_oauth_credentials_store = \"file\"\n[analytics]\nenabled = false\n[mcp_servers.docs]\nurl = \"{}\"\n",
                task.url
            );
            task.desktop.write("codex/config.toml", &config)?;
            let ended = task
                .desktop
                .run(&program, &["mcp", "login", "docs"], PATIENCE)
                .await?;
            anyhow::ensure!(ended.code == 0, "mcp login: {ended:?}");
            let id = "client_id=https%3A%2F%2Fchatgpt.com%2Foauth%2Fcodex%2Fclient.json&";
            let opened = task.desktop.opened();
            anyhow::ensure!(
                opened.iter().all(|url| url.contains(id)),
                "its own id: {opened:?}"
            );
        }
        let mut server = task.desktop.converse(&program, &["app-server"])?;
        let hello = json!({"clientInfo": {"name": "tests", "title": "tests", "version": "1"}});
        server.ask("initialize", hello, PATIENCE).await?;
        server.tell("initialized").await?;
        let status = server
            .ask("mcpServerStatus/list", json!({}), PATIENCE)
            .await?;
        let tools = status["data"][0]["tools"]
            .as_object()
            .with_context(|| status.to_string())?;
        let tools = tools.keys().cloned().collect();
        let thread = server
            .ask(
                "thread/start",
                json!({"cwd": task.desktop.home()}),
                PATIENCE,
            )
            .await?;
        let call = json!({"threadId": thread["thread"]["id"], "server": "docs", "tool": "search", "arguments": query()});
        let found = server.ask("mcpServer/tool/call", call, PATIENCE).await?;
        Ok(Done {
            tools,
            found: found.to_string(),
        })
    }
}

macro_rules! app_tests {
    ($($name:ident: $app:ident, $sse:literal;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            before_and_after_a_kill::<$app>($sse).await
        }
    )*};
}

app_tests! {
    mcp_remote_works_over_http: McpRemote, false;
    mcp_remote_works_over_sse: McpRemote, true;
    the_inspector_works_over_http: Inspector, false;
    the_inspector_works_over_sse: Inspector, true;
    fastmcp_works_over_http: FastMcp, false;
    fastmcp_works_over_sse: FastMcp, true;
    mcporter_works_over_http: Mcporter, false;
    opencode_works_over_http: Opencode, false;
    claude_code_works_over_http: ClaudeCode, false;
    claude_code_works_over_sse: ClaudeCode, true;
    codex_works_over_http: Codex, false;
}
