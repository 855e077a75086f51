//! A gateway in front of one server, at `/` and at `/it`, and the same question asked of
//! the server itself and through the gateway.

use std::future::Future;

use anyhow::{Context, Result};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http::{self, Reply};
use tests::mcp::{self, LegacySession};
use tests::oauth::OAuthClient;
use tests::sdk::{self, Sdk, Seen, Transport};
use tests::server::Server;
use tokio::sync::Semaphore;

/// Servers at once: each brings a runtime of its own, and they share two cores.
static PLACES: Semaphore = Semaphore::const_new(4);

/// The gateway.
pub(crate) struct Front {
    pub(crate) gateway: Gateway,
    owner: Owner,
}

impl Front {
    /// In front of `url`, at `/` and at `/it`.
    pub(crate) async fn start(url: &str) -> Result<Self> {
        Self::with(Setup::default().backend(url).mounted("it", "/it", url)).await
    }

    /// The same, and once more at `/slash`, where the backend's path is `/mcp/`.
    pub(crate) async fn of_a_server_that_redirects(url: &str) -> Result<Self> {
        let slash = format!(
            "[[backend]]\nname = \"slash\"\npath = \"/slash\"\nurl = \"{url}\"\nmcp_path = \"/mcp/\"\n"
        );
        Self::with(
            Setup::default()
                .backend(url)
                .mounted("it", "/it", url)
                .more(&slash),
        )
        .await
    }

    /// As it is set up.
    pub(crate) async fn with(setup: Setup) -> Result<Self> {
        Ok(Front {
            gateway: Gateway::start(setup).await?,
            owner: Owner::alice(),
        })
    }

    /// The owner's password.
    pub(crate) fn password(&self) -> &str {
        &self.owner.password
    }

    /// What an official SDK sees at a path, from the login on.
    pub(crate) async fn call(
        &self,
        sdk: Sdk,
        transport: Transport,
        path: &str,
        calls: &[(&str, Value)],
    ) -> Result<Seen> {
        let url = self.gateway.url(path);
        sdk::call(sdk, transport, &url, &self.owner, calls)
            .await
            .with_context(|| format!("{path}\n{}", self.gateway.log().join("\n")))
    }

    /// A token for the backend at a path.
    pub(crate) async fn token(&self, path: &str) -> Result<String> {
        let client = OAuthClient::register(&self.gateway.origin(), "On the wire").await?;
        client
            .sign_in_for(&self.owner, &self.gateway.url(path))
            .await
    }
}

/// Start the server when it is its turn, end it at the end of the test, and say what it said if
/// that fails.
pub(crate) async fn watched(
    server: impl Future<Output = Result<Server>>,
    test: impl AsyncFnOnce(&mut Server) -> Result<()>,
) -> Result<()> {
    let _place = PLACES.acquire().await?;
    let mut server = server.await?;
    let outcome = test(&mut server).await;
    let outcome = outcome.with_context(|| server.last_words());
    server.end();
    outcome
}

/// A request of the older revision with a session, or of the newer one without.
pub(crate) fn asking(method: Method, url: &str, token: Option<&str>) -> RequestBuilder {
    let request = http::client()
        .request(method, url)
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", mcp::REVISION);
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// A message with these headers instead of the usual ones.
pub(crate) fn message(
    url: &str,
    token: Option<&str>,
    body: &Value,
    headers: &[(&str, &str)],
) -> RequestBuilder {
    let mut all = reqwest::header::HeaderMap::new();
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().expect("a name of the test's own");
        all.insert(name, value.parse().expect("a value of the test's own"));
    }
    asking(Method::POST, url, token)
        .header("Content-Type", "application/json")
        .headers(all)
        .body(body.to_string())
}

/// `server/discover`, as a client of 2026-07-28 asks it.
pub(crate) fn discover(url: &str, token: Option<&str>) -> RequestBuilder {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "gateway-tests", "version": "1"},
    });
    let body = mcp::message(1, "server/discover", &json!({"_meta": meta}));
    message(
        url,
        token,
        &body,
        &[
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "server/discover"),
        ],
    )
}

/// An answer comes through the gateway as the server gave it: status, media type, bytes, and
/// which methods it allows.
pub(crate) async fn unchanged(direct: RequestBuilder, through: RequestBuilder) -> Result<Reply> {
    let (direct, through) = (http::send(direct).await?, http::send(through).await?);
    let told = |reply: &Reply| {
        (
            reply.status,
            reply.header("content-type").to_owned(),
            reply.header("allow").to_owned(),
            reply.text.clone(),
        )
    };
    anyhow::ensure!(
        told(&direct) == told(&through),
        "the server says\n{direct:?}\nand through the gateway\n{through:?}"
    );
    Ok(through)
}

/// Within a legacy session: the endpoint is the gateway's own, at this path, and the server's is
/// not to be seen in it.
pub(crate) fn endpoint_is_at(session: &LegacySession, front: &Front, path: &str) {
    let expected = front.gateway.url(&format!("{path}?"));
    let endpoint = &session.endpoint;
    assert!(endpoint.starts_with(&expected), "{endpoint}");
    assert!(
        !endpoint.to_lowercase().contains("sessionid="),
        "{endpoint}"
    );
    assert!(!endpoint.contains("session_id="), "{endpoint}");
}

/// `initialize`, then `notifications/initialized`, over a legacy session.
pub(crate) async fn greet(session: &mut LegacySession) -> Result<()> {
    let answer = session.request(&mcp::initialize()).await?;
    anyhow::ensure!(answer["result"].is_object(), "{answer}");
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let reply = session.post(&ready).await?;
    anyhow::ensure!(reply.status == 202, "{reply:?}");
    Ok(())
}
