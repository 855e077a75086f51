//! rmcp, the Rust SDK, as a client: it logs in where it has to, lists the tools, and calls `get-sum`
//! twice with a pause for what the server asks in between.
//!
//!     rmcp-client URL FOLDER
//!
//! What it holds is kept in the folder. The last line says what it saw.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use rmcp::ServiceExt as _;
use rmcp::handler::client::ClientHandler;
use rmcp::model::{CallToolRequestParams, ClientConfig, Implementation};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthError, AuthorizationManager, AuthorizationRequest, CredentialStore, OAuthState,
    StoredCredentials,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// Between the two calls.
const PAUSE: Duration = Duration::from_millis(1500);

/// Credentials in a file.
struct Kept(PathBuf);

#[async_trait]
impl CredentialStore for Kept {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        match std::fs::read(&self.0) {
            Ok(kept) => Ok(Some(serde_json::from_slice(&kept).map_err(unkept)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unkept(error)),
        }
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let kept = serde_json::to_vec(&credentials).map_err(unkept)?;
        std::fs::write(&self.0, kept).map_err(unkept)
    }

    async fn clear(&self) -> Result<(), AuthError> {
        std::fs::remove_file(&self.0).map_err(unkept)
    }
}

fn unkept(error: impl ToString) -> AuthError {
    AuthError::CredentialStoreError(error.to_string())
}

/// A client that offers roots, of which it has none.
struct Asked;

impl ClientHandler for Asked {
    fn get_info(&self) -> ClientConfig {
        let offers = serde_json::from_value(json!({"roots": {"listChanged": true}}));
        let offers = offers.expect("capabilities as the standard writes them");
        ClientConfig::new(offers, Implementation::new("rmcp-client", "1"))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (url, folder) = words.next().zip(words.next()).context("URL FOLDER")?;
    let mut manager = AuthorizationManager::new(&url).await?;
    manager.set_credential_store(Kept(Path::new(&folder).join("credentials.json")));
    if !manager.initialize_from_store().await? {
        manager = log_in(manager).await?;
    }
    let client = AuthClient::new(reqwest::Client::default(), manager);
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let transport = StreamableHttpClientTransport::with_client(client, config);
    let session = Asked.serve(transport).await?;
    let tools = session.list_all_tools().await?;
    let names: Vec<_> = tools.iter().map(|tool| tool.name.to_string()).collect();
    let mut found = Vec::new();
    for pause in [PAUSE, Duration::ZERO] {
        let arguments = json!({"a": 2, "b": 40}).as_object().cloned();
        let call = CallToolRequestParams::new("get-sum");
        let call = call.with_arguments(arguments.context("an object")?);
        found.push(session.call_tool(call).await?);
        tokio::time::sleep(pause).await;
    }
    session.cancel().await?;
    println!("{}", json!({"tools": names, "found": found}));
    Ok(())
}

/// Through the pages, in the person's browser.
async fn log_in(manager: AuthorizationManager) -> Result<AuthorizationManager> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let here = format!("http://{}", listener.local_addr()?);
    let mut state = OAuthState::Unauthorized(manager);
    let request = AuthorizationRequest::new(format!("{here}/callback")).with_client_name("rmcp");
    state.start_authorization(request).await?;
    let browser = std::env::var_os("BROWSER").context("a browser")?;
    let opened = Command::new(browser)
        .arg(state.get_authorization_url().await?)
        .status()?;
    anyhow::ensure!(opened.success(), "the browser: {opened}");
    let landed = redirected(&listener).await?;
    state
        .handle_callback_url(&format!("{here}{landed}"))
        .await?;
    state
        .into_authorization_manager()
        .context("it is authorized")
}

/// Where the browser comes back to.
async fn redirected(listener: &TcpListener) -> Result<String> {
    let (mut browser, _) = listener.accept().await?;
    let mut line = String::new();
    BufReader::new(&mut browser).read_line(&mut line).await?;
    browser
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await?;
    Ok(line.split(' ').nth(1).context("a request line")?.to_owned())
}
