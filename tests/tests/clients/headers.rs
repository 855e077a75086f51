//! Clients that nobody logs in: with a personal token in a header, and as clients of the configuration that
//! get tokens for themselves. None of them may open a browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::desktop_client::DesktopClient;
use tests::fake_llm::Model;
use tests::gateway::{Gateway, Owner, Setup};
use tests::operator::done;
use tests::program::workspace;

use crate::apps::{claude_code, codex, done_by, query};
use crate::drive::{PATIENCE, PLACES, node, package};

/// A gateway, and the token that its operator made for these tools.
async fn with_token() -> Result<(Gateway, String)> {
    let gateway = Gateway::start(Setup::default()).await?;
    let create = [
        "token", "create", "--user", "alice", "--name", "tests", "--tool", "search",
    ];
    let token = done(&gateway, &create, "").await?.out.trim().to_owned();
    Ok((gateway, token))
}

fn quiet(desktop: &DesktopClient) -> Result<()> {
    let opened = desktop.opened();
    anyhow::ensure!(opened.is_empty(), "a browser was opened: {opened:?}");
    Ok(())
}

#[tokio::test]
async fn claude_code_calls_with_a_token_in_a_header() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let (gateway, token) = with_token().await?;
    let desktop = DesktopClient::new(&Owner::alice())?
        .with("ANTHROPIC_API_KEY", "sk-ant-none")
        .with("ENABLE_TOOL_SEARCH", "false")
        .with("MCP_TIMEOUT", "60000");
    let program = claude_code();
    let header = format!("Authorization: Bearer {token}");
    let url = gateway.url("/mcp");
    let add = [
        "mcp",
        "add",
        "--transport",
        "http",
        "docs",
        &url,
        "--header",
        &header,
    ];
    let ended = desktop.run(&program, &add, PATIENCE).await?;
    anyhow::ensure!(ended.code == 0, "mcp add: {ended:?}");
    let model = Model::start("docs__search", query()).await?;
    let base = format!("ANTHROPIC_BASE_URL={}", model.url());
    let program = program.display().to_string();
    let say = [
        &*base,
        &program,
        "-p",
        "search",
        "--allowedTools",
        "mcp__docs__search",
    ];
    let ended = desktop.run(Path::new("env"), &say, PATIENCE).await?;
    let done = done_by(&model, "mcp__docs__", &ended)?;
    assert_eq!(done.tools, ["search"]);
    assert!(done.found.contains("Cupcake Gateway"), "{}", done.found);
    quiet(&desktop)
}

#[tokio::test]
async fn codex_calls_with_a_token_of_a_variable() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let (gateway, token) = with_token().await?;
    let desktop = DesktopClient::new(&Owner::alice())?.with("MCP_TOKEN", &token);
    let folder = desktop.home().join("codex");
    std::fs::create_dir(&folder)?;
    let desktop = desktop.with("CODEX_HOME", &folder.display().to_string());
    let config = format!(
        "[analytics]\nenabled = false\n[mcp_servers.docs]\nurl = \"{}\"\nbearer_token_env_var = \"MCP_TOKEN\"\n",
        gateway.url("/mcp")
    );
    desktop.write("codex/config.toml", &config)?;
    let mut server = desktop.converse(&codex(), &["app-server"])?;
    let hello = json!({"clientInfo": {"name": "tests", "title": "tests", "version": "1"}});
    server.ask("initialize", hello, PATIENCE).await?;
    server.tell("initialized").await?;
    let thread = json!({"cwd": desktop.home()});
    let thread = server.ask("thread/start", thread, PATIENCE).await?;
    let call = json!({"threadId": thread["thread"]["id"], "server": "docs", "tool": "search", "arguments": query()});
    let found = server.ask("mcpServer/tool/call", call, PATIENCE).await?;
    assert!(found.to_string().contains("Cupcake Gateway"), "{found}");
    quiet(&desktop)
}

#[tokio::test]
async fn opencode_calls_with_a_token_in_its_headers() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let (gateway, token) = with_token().await?;
    let desktop = DesktopClient::new(&Owner::alice())?
        .with("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1")
        .with("npm_config_offline", "true");
    let model = Model::start("docs_search", query()).await?;
    let provider = json!({"npm": "@ai-sdk/openai-compatible", "name": "scripted", "models": {"m": {"name": "m", "tool_call": true}},
        "options": {"baseURL": model.url(), "apiKey": "none"}});
    let docs = json!({"type": "remote", "url": gateway.url("/mcp"), "enabled": true, "oauth": false,
        "headers": {"Authorization": format!("Bearer {token}")}});
    let config = json!({"autoupdate": false, "share": "disabled", "model": "scripted/m", "small_model": "scripted/m",
        "provider": {"scripted": provider}, "mcp": {"docs": docs}});
    desktop.write("opencode.json", &config.to_string())?;
    let program = package("opencode-linux-x64/bin/opencode");
    let say = ["run", "--pure", "search"];
    let ended = desktop.run(&program, &say, PATIENCE).await?;
    let done = done_by(&model, "docs_", &ended)?;
    assert!(done.found.contains("Cupcake Gateway"), "{}", done.found);
    quiet(&desktop)
}

#[tokio::test]
async fn mcporter_calls_with_a_token_in_its_headers() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let (gateway, token) = with_token().await?;
    let desktop = DesktopClient::new(&Owner::alice())?;
    let docs = json!({"baseUrl": gateway.url("/mcp"), "headers": {"Authorization": format!("Bearer {token}")}});
    let config = json!({"mcpServers": {"docs": docs}});
    desktop.write("mcporter.json", &config.to_string())?;
    let config = desktop.home().join("mcporter.json").display().to_string();
    let script = package("mcporter/dist/cli.js").display().to_string();
    let call = [
        &*script,
        "--config",
        &config,
        "call",
        "docs.search",
        "query=gateway",
    ];
    let ended = desktop.run(&node(), &call, PATIENCE).await?;
    assert!(ended.out.contains("Cupcake Gateway"), "{ended:?}");
    quiet(&desktop)
}

#[tokio::test]
async fn mcp_remote_shows_a_code_and_goes_on_once_a_person_allowed_it() -> Result<()> {
    let _place = PLACES.acquire().await?;
    let setup = Setup::default().more(
        "[[client]]\nid = \"headless\"\nname = \"Headless\"\nredirect_uris = [\"http://127.0.0.1/cb\"]\ngrants = [\"authorization_code\", \"device_code\"]\n",
    );
    let gateway = Gateway::start(setup).await?;
    let desktop = DesktopClient::new(&Owner::alice())?;
    let script = package("mcp-remote/dist/proxy.js").display().to_string();
    let url = gateway.url("/mcp");
    let arguments = [
        &*script,
        &url,
        "--allow-http",
        "--device-code",
        "--static-oauth-client-info",
        "{\"client_id\": \"headless\"}",
    ];
    let mut proxy = desktop.converse(&node(), &arguments)?;
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}});
    let work = async {
        proxy.ask("initialize", hello, PATIENCE).await?;
        proxy.tell("notifications/initialized").await?;
        let call = json!({"name": "search", "arguments": query()});
        proxy.ask("tools/call", call, PATIENCE).await
    };
    let person = async {
        let place = loop {
            let said = proxy_said(&desktop);
            let mut words = said.split_whitespace();
            if let Some(place) = words.find(|word| word.contains("/device?user_code=")) {
                break place.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let mut browser = Browser::default();
        let page = browser.visit(&place.parse()?).await?;
        let form = page.form_with_button("Go on")?;
        let next = browser.submit(&form).await?;
        let login = browser.settle(next).await?;
        let owner = Owner::alice();
        let consent = browser.log_in(&login, &owner.name, &owner.password).await?;
        browser.answer(&consent, "Allow").await
    };
    let (found, answered) = tokio::join!(work, tokio::time::timeout(PATIENCE, person));
    let page = answered.with_context(|| proxy_said(&desktop))??;
    assert!(page.words().contains("Go back"), "{}", page.words());
    let found = found.with_context(|| proxy_said(&desktop))?;
    assert!(found.to_string().contains("Cupcake Gateway"), "{found}");
    quiet(&desktop)
}

/// What a program that is spoken to wrote on standard error.
fn proxy_said(desktop: &DesktopClient) -> String {
    std::fs::read_to_string(desktop.errors()).unwrap_or_default()
}

/// A script of an SDK, to its end; what it reports.
async fn script(interpreter: &Path, file: &str, settings: &Value) -> Result<Value> {
    let script = workspace().join("tests/clients").join(file);
    anyhow::ensure!(
        interpreter.exists(),
        "{} is missing: `tests/run` installs it",
        interpreter.display()
    );
    let output = tokio::process::Command::new(interpreter)
        .arg(script)
        .arg(settings.to_string())
        .env("no_proxy", "*")
        .env("NO_PROXY", "*")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await??;
    let out = String::from_utf8_lossy(&output.stdout);
    let last = out.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .with_context(|| format!("{out}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Both SDKs by one of their ways to a token.
async fn both_sdks(settings: &Value, expected: &[&str]) -> Result<()> {
    let python = workspace().join("tests/.work/python-v2/bin/python");
    for (interpreter, file) in [(node(), "machine.mjs"), (python, "machine.py")] {
        let report = script(&interpreter, file, settings)
            .await
            .with_context(|| file.to_owned())?;
        assert_eq!(report["tools"], json!(expected), "{file}: {report}");
        let found = report["found"].as_str().unwrap_or_default();
        assert!(found.contains("Cupcake Gateway"), "{file}: {report}");
    }
    Ok(())
}

#[tokio::test]
async fn both_sdks_call_with_a_personal_token() -> Result<()> {
    let (gateway, token) = with_token().await?;
    let settings = json!({"url": gateway.url("/mcp"), "token": token});
    both_sdks(&settings, &["search"]).await
}

#[tokio::test]
async fn both_sdks_get_a_token_for_themselves_by_secret_and_by_key() -> Result<()> {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let folder = tempfile::tempdir()?;
    let (key, secret) = (folder.path().join("key.pem"), folder.path().join("secret"));
    let made = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ])
        .arg("-out")
        .arg(&key)
        .output()?;
    anyhow::ensure!(made.status.success(), "openssl: {made:?}");
    std::fs::write(&secret, SECRET)?;
    let jwk = "const k = require('crypto').createPublicKey(require('fs').readFileSync(process.argv[1])); console.log(JSON.stringify({keys: [{...k.export({format: 'jwk'}), alg: 'RS256', use: 'sig'}]}))";
    let jwks = Command::new(node()).arg("-e").arg(jwk).arg(&key).output()?;
    anyhow::ensure!(jwks.status.success(), "node: {jwks:?}");
    let jwks = String::from_utf8(jwks.stdout)?;
    let client = "acts_as = \"ci\"\ngrants = [\"client_credentials\"]\n";
    let setup = Setup::default().more(&format!(
        "[[service]]\nname = \"ci\"\n\
         [[client]]\nid = \"plain\"\n{client}method = \"client_secret_basic\"\nsecret_file = \"{}\"\n\
         [[client]]\nid = \"signing\"\n{client}method = \"private_key_jwt\"\njwks = '{}'\ntools = [\"search\"]\n",
        secret.display(),
        jwks.trim()
    ));
    let gateway = Gateway::start(setup).await?;
    let (url, issuer) = (gateway.url("/mcp"), gateway.issuer());
    let plain = json!({"url": url, "issuer": issuer, "client": "plain", "secret": SECRET});
    both_sdks(&plain, &["fetch", "search"]).await?;
    let pem = std::fs::read_to_string(&key)?;
    let signing = json!({"url": url, "issuer": issuer, "client": "signing", "key": pem});
    both_sdks(&signing, &["search"]).await
}
