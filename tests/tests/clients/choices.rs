//! What the person answers on the consent page, as real clients meet it. Each is let in with the
//! preselected "Read only" and with "Everything", in front of a server that asks its clients for
//! roots, announces prompts, resources and tasks, and has tools of both kinds.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::desktop_client::{Answer, DesktopClient, Ended};
use tests::fake_llm::Model;
use tests::gateway::{Gateway, Owner, Setup};
use tests::program::workspace;
use tests::readme_tables;
use tests::server::{Launch, Server};

use crate::drive::{App, Done, PATIENCE, PLACES, Task, node, package, package_version, transport};

/// What the table says of a client that did all that was asked, with both answers.
const SHOWN: &str =
    "logs in, lists tools, calls one, goes on after a kill; with *Read only* and with *Everything*";

/// What a client calls, and what its result says.
pub(crate) const CALLED: (&str, &str) = ("get-sum", "is 42");
/// Between two calls: the server asks for roots 350 ms after the greeting, and whoever loses the
/// session by that has lost it then.
const PAUSE: Duration = Duration::from_millis(1500);
/// A tool of the same server that does not only read.
const WRITES: &str = "toggle-simulated-logging";

/// `/mcp` with each of the two answers; the outcome goes into the table.
pub(crate) async fn with_each_choice<A: App>() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let server = Server::start(|port, _| {
        Launch::npm("@modelcontextprotocol/server-everything/dist/index.js")
            .arg("streamableHttp")
            .env("PORT", &port.to_string())
    })
    .await?;
    let mut gateway = Gateway::start(Setup::default().backend(&server.url())).await?;
    let mut outcome = Ok(());
    for everything in [false, true] {
        if outcome.is_ok() {
            let tried = let_in::<A>(&mut gateway, everything).await;
            outcome = tried.with_context(|| {
                let log = gateway.log().join("\n");
                format!("everything: {everything}\n{log}\n{}", server.last_words())
            });
        }
    }
    let shown = outcome.is_ok().then_some(SHOWN);
    readme_tables::note(A::NAME, &A::version()?, &transport(false, &gateway), shown)?;
    outcome
}

async fn let_in<A: App>(gateway: &mut Gateway, everything: bool) -> Result<()> {
    let owner = Owner::alice();
    let mut desktop = A::desktop(&owner)?;
    if everything {
        desktop.answers(&owner, Answer::Everything)?;
    }
    let url = gateway.url("/mcp");
    let mut logins = 0;
    for again in [false, true] {
        if again {
            desktop.leave()?;
            gateway.crash_and_restart().await?;
        }
        let task = Task {
            desktop: &desktop,
            url: &url,
            sse: false,
            again,
        };
        let done = A::work(&task)
            .await
            .with_context(|| format!("again: {again}; its browser:\n{}", desktop.browser_log()))?;
        let offers = |tool: &str| done.tools.iter().any(|offered| offered == tool);
        anyhow::ensure!(offers(CALLED.0), "it lists {:?}", done.tools);
        anyhow::ensure!(
            offers(WRITES) == everything,
            "everything: {everything}, and it lists {:?}",
            done.tools
        );
        let twice = done.found.matches(CALLED.1).count() == 2;
        anyhow::ensure!(twice, "it was told {}", done.found);
        // Nor is anything refused that it does by itself.
        let log = gateway.log();
        let refused = log.iter().find(|line| line.contains(r#""status":403"#));
        anyhow::ensure!(refused.is_none(), "refused: {refused:?}");
        let opened = desktop.opened();
        if again {
            anyhow::ensure!(
                opened.len() == logins,
                "a login that was not due: {opened:?}"
            );
        }
        logins = opened.len();
        anyhow::ensure!(logins > 0, "nobody was asked to log in");
    }
    Ok(())
}

/// Run a driver of `tests/clients` in one of the Python environments.
async fn python(task: &Task<'_>, environment: &str, script: &str) -> Result<Done> {
    let tests = workspace().join("tests");
    let interpreter = tests.join(format!(".work/{environment}/bin/python"));
    let script = tests.join("clients").join(script).display().to_string();
    let folder = task.desktop.home().join("kept");
    std::fs::create_dir_all(&folder)?;
    let arguments = [&*script, task.url, &folder.display().to_string()];
    let ended = task.desktop.run(&interpreter, &arguments, PATIENCE).await?;
    reported(&ended)
}

/// What a driver says on its last line.
pub(crate) fn reported(ended: &Ended) -> Result<Done> {
    let line = ended.out.lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(line)
        .with_context(|| format!("{} {} {}", ended.code, ended.out, ended.errors))?;
    let tools = report["tools"].as_array().into_iter().flatten();
    Ok(Done {
        tools: tools
            .filter_map(|name| name.as_str().map(String::from))
            .collect(),
        found: report["found"].to_string(),
    })
}

/// The version that a folder of `tests/clients` pins.
fn pinned(folder: &str, package: &str) -> Result<String> {
    let pins = workspace().join(format!("tests/clients/{folder}/requirements.in"));
    let pins = std::fs::read_to_string(pins)?;
    let pin = pins
        .lines()
        .find_map(|line| line.strip_prefix(package)?.split_once("=="));
    Ok(pin
        .with_context(|| format!("{package} is not pinned"))?
        .1
        .trim()
        .to_owned())
}

/// Libraries on Python: a driver each, and the environment and package that it needs.
macro_rules! libraries {
    ($($app:ident: $name:literal, $environment:literal, $folder:literal, $package:literal, $script:literal;)*) => {$(
        struct $app;

        impl App for $app {
            const NAME: &'static str = $name;

            fn version() -> Result<String> {
                pinned($folder, $package)
            }

            async fn work(task: &Task<'_>) -> Result<Done> {
                python(task, $environment, $script).await
            }
        }
    )*};
}

libraries! {
    LangChain: "LangChain (langchain-mcp-adapters)", "agents", "agents", "langchain-mcp-adapters", "langchain_client.py";
    McpUse: "mcp-use", "agents", "agents", "mcp-use", "mcp_use_client.py";
    OpenAiAgents: "OpenAI Agents SDK", "agents", "agents", "openai-agents", "openai_agents_client.py";
    PydanticAi: "Pydantic AI", "agents", "agents", "pydantic-ai-slim", "pydantic_ai_client.py";
    PythonAsked: "Python SDK 1 with roots, sampling, elicitation", "python-v1", "python-v1", "mcp", "python_v1_asked.py";
}

/// The name that a client made of a tool's name, as the server has it.
fn done_by(model: &Model, prefix: &str, ended: &Ended) -> Result<Done> {
    let offered = model.offered();
    let results = model.results();
    anyhow::ensure!(
        results.len() == 2,
        "{results:?}; offered: {offered:?}; {ended:?}"
    );
    let tools = offered.iter().filter_map(|name| name.strip_prefix(prefix));
    Ok(Done {
        tools: tools.map(String::from).collect(),
        found: results.concat(),
    })
}

/// Vercel's AI SDK.
struct AiSdk;

impl App for AiSdk {
    const NAME: &'static str = "AI SDK (@ai-sdk/mcp)";

    fn version() -> Result<String> {
        package_version("@ai-sdk/mcp")
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let script = workspace().join("tests/clients/apps/ai_sdk.mjs");
        let script = script.display().to_string();
        let kept = task.desktop.home().join("kept.json").display().to_string();
        let arguments = [&*script, task.url, &kept];
        let ended = task.desktop.run(&node(), &arguments, PATIENCE).await?;
        reported(&ended)
    }
}

/// fast-agent, with its own model that calls the tool that it is told to. It prints the link to log
/// in at, and keeps tokens in the keyring of the person's desktop: here in one of plain text. Its
/// client id is the address of a document that cannot be fetched here.
struct FastAgent;

impl App for FastAgent {
    const NAME: &'static str = "fast-agent";

    fn version() -> Result<String> {
        pinned("fast-agent", "fast-agent-mcp")
    }

    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        let mut desktop = DesktopClient::new(owner)?.with(
            "PYTHON_KEYRING_BACKEND",
            "keyrings.alt.file.PlaintextKeyring",
        );
        // Its host vouches for it, so that the page offers it more.
        desktop.answers(owner, Answer::ReadOnly)?;
        Ok(desktop)
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let script = workspace().join("tests/clients/fast_agent_client.py");
        let clicking = workspace().join("tests/clients/clicking.py");
        let interpreter = workspace().join("tests/.work/fast-agent/bin/python");
        let (clicking, script) = (clicking.display().to_string(), script.display().to_string());
        let program = interpreter.display().to_string();
        let arguments = [&*clicking, &program, &script, task.url];
        // It waits ten seconds for a server, which a busy machine may need.
        let mut ended = task.desktop.run(&interpreter, &arguments, PATIENCE).await?;
        for _ in 0..2 {
            if ended.out.contains("Try increasing --timeout") {
                ended = task.desktop.run(&interpreter, &arguments, PATIENCE).await?;
            }
        }
        let id = "client_id=https%3A%2F%2Ffast-agent.ai%2Foauth%2Fclient-v3.json&";
        let opened = task.desktop.opened();
        anyhow::ensure!(
            opened.iter().all(|url| url.contains(id)),
            "its own id: {opened:?}"
        );
        reported(&ended)
    }
}

/// Gemini CLI, which offers roots to every server.
struct GeminiCli;

impl App for GeminiCli {
    const NAME: &'static str = "Gemini CLI";

    fn version() -> Result<String> {
        package_version("@google/gemini-cli")
    }

    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        let desktop = DesktopClient::new(owner)?;
        // Without a display it starts no browser.
        Ok(desktop
            .with("DISPLAY", ":0")
            .with("GEMINI_API_KEY", "none")
            .with("GEMINI_CLI_TRUST_WORKSPACE", "true"))
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let model = Model::asking_twice(CALLED.0, arguments(), PAUSE).await?;
        let server = json!({"httpUrl": task.url, "trust": true, "oauth": {"enabled": true}});
        let settings = json!({"mcpServers": {"docs": server}, "security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": false}, "general": {"enableAutoUpdate": false}});
        task.desktop
            .write(".gemini/settings.json", &settings.to_string())?;
        let script = package("@google/gemini-cli/bundle/gemini.js")
            .display()
            .to_string();
        let base = format!("GOOGLE_GEMINI_BASE_URL={}", model.url());
        let node = node().display().to_string();
        let arguments = [
            &*base,
            &node,
            &script,
            "--model",
            "gemini-2.5-flash",
            "--prompt",
            "What is 2 + 40?",
        ];
        // It asks whether it may open the browser.
        let ended = task
            .desktop
            .run_at_terminal_typing(Path::new("env"), &arguments, "y", PATIENCE)
            .await?;
        done_by(&model, "mcp_docs_", &ended)
    }
}

/// Qwen Code, which offers roots to every server. It starts a browser only where it runs at a
/// terminal.
struct QwenCode;

impl App for QwenCode {
    const NAME: &'static str = "Qwen Code";

    fn version() -> Result<String> {
        package_version("@qwen-code/qwen-code")
    }

    fn desktop(owner: &Owner) -> Result<DesktopClient> {
        let desktop = DesktopClient::new(owner)?;
        Ok(desktop
            .with("DISPLAY", ":0")
            .with("OPENAI_API_KEY", "none")
            .with("OPENAI_MODEL", "scripted"))
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let model = Model::asking_twice(CALLED.0, arguments(), PAUSE).await?;
        let server = json!({"httpUrl": task.url, "trust": true, "oauth": {"enabled": true}});
        let settings = json!({"mcpServers": {"docs": server}, "security": {"auth": {"selectedType": "openai"}},
            // Else the model has to search for a tool before it is offered.
            "tools": {"toolSearch": {"enabled": false}},
            "privacy": {"usageStatisticsEnabled": false}, "general": {"enableAutoUpdate": false, "disableAutoUpdate": true}});
        task.desktop
            .write(".qwen/settings.json", &settings.to_string())?;
        let script = package("@qwen-code/qwen-code/cli-entry.js")
            .display()
            .to_string();
        let base = format!("OPENAI_BASE_URL={}/v1", model.url());
        let node = node().display().to_string();
        let program = Path::new("env");
        if !task.again {
            let tokens = task.desktop.home().join(".qwen/mcp-oauth-tokens.json");
            let arguments = [&*base, &node, &script, "--prompt-interactive", "Hello."];
            task.desktop
                .at_terminal_until(program, &arguments, PATIENCE, || tokens.exists())
                .await?;
        }
        let arguments = [&*base, &node, &script, "--yolo", "What is 2 + 40?"];
        let ended = task.desktop.run(program, &arguments, PATIENCE).await?;
        done_by(&model, "mcp__docs__", &ended)
    }
}

/// rmcp, the Rust SDK: of the version that this workspace is built with.
struct Rmcp;

impl App for Rmcp {
    const NAME: &'static str = "rmcp (Rust SDK)";

    fn version() -> Result<String> {
        let lock = std::fs::read_to_string(workspace().join("Cargo.lock"))?;
        let (_, package) = lock
            .split_once("name = \"rmcp\"\nversion = \"")
            .context("rmcp is not locked")?;
        Ok(package.split('"').next().unwrap_or_default().to_owned())
    }

    async fn work(task: &Task<'_>) -> Result<Done> {
        let folder = task.desktop.home().display().to_string();
        let program = Path::new(env!("CARGO_BIN_EXE_rmcp-client"));
        let arguments = [task.url, &folder];
        let ended = task.desktop.run(program, &arguments, PATIENCE).await?;
        reported(&ended)
    }
}

/// Of [`CALLED`].
fn arguments() -> Value {
    json!({"a": 2, "b": 40})
}

macro_rules! choice_tests {
    ($($name:ident: $app:ident;)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<()> {
            with_each_choice::<$app>().await
        }
    )*};
}

choice_tests! {
    fast_agent_works_with_each_choice: FastAgent;
    gemini_cli_works_with_each_choice: GeminiCli;
    qwen_code_works_with_each_choice: QwenCode;
    rmcp_works_with_each_choice: Rmcp;
    the_ai_sdk_works_with_each_choice: AiSdk;
    langchain_works_with_each_choice: LangChain;
    mcp_use_works_with_each_choice: McpUse;
    openai_agents_works_with_each_choice: OpenAiAgents;
    pydantic_ai_works_with_each_choice: PydanticAi;
    the_python_sdk_v1_with_roots_works_with_each_choice: PythonAsked;
}
