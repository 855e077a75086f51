//! A short conversation with a backend in MCP's own words, to learn who it is and what tools it
//! has: Streamable HTTP with a session, the stateless revision of 2026-07-28, or legacy HTTP+SSE.
//!
//! Owns: the three dialogues, and which of them a backend understands. Not: the connection, nor how
//! long an answer is believed (`catalogue`, `protocols`).

mod answer;
mod pages;
mod probe;
mod stream;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use serde_json::{Value, json};

pub(super) use self::probe::ProbeReport;

use self::answer::{Answer, result_text};
use self::pages::Pages;
use self::stream::Stream;

use super::account::Account;
use super::backend::Backend;
use super::catalogue_error::CatalogueError;
use super::connection::{Connections, Pooling};
use super::endpoint::endpoint_path;
use super::request::{Reached, Request, RequestError};
use super::tool::ToolListing;
use gateway_core::grants::PinKey;
use mcp_protocol::scan::Scan;
use mcp_protocol::{LATEST_STATEFUL, STATELESS, media_type, meta};

const LEGACY: &str = "2024-11-05";

/// How what the bridge says of itself begins.
const BRIDGE_ERROR: &str = "error -32603: ";

/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// Asks one backend on behalf of one person.
pub(super) struct McpClient<'a> {
    pub(super) connections: &'a Connections,
    pub(super) backend: &'a Backend,
    /// Says who asks, in the header that the backend knows; empty for the gateway itself.
    pub(super) identity: Vec<(HeaderName, HeaderValue)>,
    /// The account there in whose name it asks, where people call the backend with their own.
    pub(super) account: Option<&'a Account>,
    /// Makes the pins of its tools; `None` where tools are not asked for.
    pub(super) pins: Option<&'a PinKey>,
}

struct ServerInfo {
    name: String,
    version: String,
}

impl McpClient<'_> {
    /// Asks in every dialogue that the backend may understand, the most common one first.
    pub(super) async fn ask(&self) -> Result<ToolListing, CatalogueError> {
        let first = match self.ask_with_session().await {
            Err(CatalogueError::NotUnderstood(why)) => self.goes_on(why)?,
            answer => return answer,
        };
        match self.ask_stateless().await {
            Err(CatalogueError::NotUnderstood(why)) => drop(self.goes_on(why)?),
            answer => return answer,
        }
        match self.ask_legacy().await {
            Err(CatalogueError::NotUnderstood(_)) => Err(CatalogueError::NotUnderstood(first)),
            answer => answer,
        }
    }

    /// Why an answer was not understood, where the next dialogue is to be tried: not where the bridge
    /// says why there is no process, as it does in whatever it is asked.
    fn goes_on(&self, why: String) -> Result<String, CatalogueError> {
        match self.not_running(&why) {
            Some(words) => Err(CatalogueError::NotRunning(words.to_owned())),
            None => Ok(why),
        }
    }

    /// Why there is no process, if the bridge says so.
    fn not_running<'w>(&self, why: &'w str) -> Option<&'w str> {
        why.strip_prefix(BRIDGE_ERROR)
            .filter(|_| self.backend.is_on_stdio)
    }

    async fn ask_with_session(&self) -> Result<ToolListing, CatalogueError> {
        let hello = self
            .post(&self.backend.mcp_path, &[], &initialize(LATEST_STATEFUL), 1)
            .await?;
        let session = hello.session.clone();
        let hello = hello.result()?;
        let version = hello["protocolVersion"].as_str().unwrap_or(LATEST_STATEFUL);
        let mut headers = vec![(
            VERSION,
            HeaderValue::from_str(version).map_err(|_| garbled())?,
        )];
        headers.extend(session.map(|id| (SESSION, id)));
        let asked = self.list_in_session(&headers).await;
        if headers.len() > 1 {
            // Courtesy; a backend that knows no DELETE answers 405.
            let _ = self
                .request(Method::DELETE, &self.backend.mcp_path, &headers, None, 0)
                .await;
        }
        Ok(asked?.listing(server_info(&hello["serverInfo"])))
    }

    async fn list_in_session(
        &self,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Pages, CatalogueError> {
        let path = &self.backend.mcp_path;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.post(path, headers, &initialized, 0).await?;
        let mut pages = Pages::default();
        while let Some(id) = pages.next_id() {
            let answer = self
                .post(path, headers, &pages.request(json!({})), id)
                .await?;
            pages.add(&answer.text()?, self.pins)?;
        }
        Ok(pages)
    }

    async fn discover(&self) -> Result<Answer, CatalogueError> {
        let discover =
            json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": envelope()});
        let headers = stateless_headers("server/discover");
        self.post(&self.backend.mcp_path, &headers, &discover, 1)
            .await
    }

    async fn ask_stateless(&self) -> Result<ToolListing, CatalogueError> {
        let path = &self.backend.mcp_path;
        let discovered = self.discover().await?.result()?;
        let info = server_info(
            discovered
                .pointer("/_meta/io.modelcontextprotocol~1serverInfo")
                .unwrap_or(&discovered["serverInfo"]),
        );
        let mut pages = Pages::default();
        while let Some(id) = pages.next_id() {
            let body = pages.request(envelope());
            let headers = stateless_headers("tools/list");
            let answer = self.post(path, &headers, &body, id).await?;
            pages.add(&answer.text()?, self.pins)?;
        }
        Ok(pages.listing(info))
    }

    async fn ask_legacy(&self) -> Result<ToolListing, CatalogueError> {
        let mut stream = self.open_stream().await?;
        let endpoint = stream.wait(|event| event.name == "endpoint").await?;
        let path =
            endpoint_path(self.backend, &stream.target, &endpoint.data).ok_or_else(garbled)?;
        self.notify(&path, &initialize(LEGACY)).await?;
        let hello = stream.answer(1).await?;
        self.notify(
            &path,
            &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        )
        .await?;
        let mut pages = Pages::default();
        while let Some(id) = pages.next_id() {
            self.notify(&path, &pages.request(json!({}))).await?;
            let answer = result_text(&stream.message(id).await?)?;
            pages.add(&answer, self.pins)?;
        }
        stream.connection.abandon().await;
        Ok(pages.listing(server_info(&hello["serverInfo"])))
    }

    /// Posts a message of the legacy transport, whose answer comes over the stream.
    async fn notify(&self, path: &str, message: &Value) -> Result<(), CatalogueError> {
        let answer = self.post(path, &[], message, 0).await?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(CatalogueError::NotUnderstood(format!(
                "status {}",
                answer.status.as_u16()
            )))
        }
    }

    async fn open_stream(&self) -> Result<Stream, CatalogueError> {
        let path = &self.backend.sse_path;
        let mut reached = self.reach(&Method::GET, path, &[], None).await?;
        let response = reached.connection.read_head().await?;
        if response.status != StatusCode::OK {
            let status = response.status.as_u16();
            return Err(CatalogueError::NotUnderstood(format!("status {status}")));
        }
        if !media_type::is_event_stream(&response.headers) {
            return Err(garbled());
        }
        Ok(Stream::new(reached))
    }

    async fn post(
        &self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        message: &Value,
        id: u64,
    ) -> Result<Answer, CatalogueError> {
        let body = Bytes::from(message.to_string());
        self.request(Method::POST, path, headers, Some(body), id)
            .await
    }

    /// One request and the head of its answer, on a connection of its own: it may belong to the runtime
    /// of the start, which ends.
    async fn reach(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Bytes>,
    ) -> Result<Reached, CatalogueError> {
        let length = body.as_ref().map(Bytes::len);
        let request = Request {
            target: path,
            body,
            account: self.account,
            pooling: Pooling::Fresh,
            is_repeatable: false,
            follows_redirect: true,
            caller: None,
            deadline: None,
        };
        let head = |target: &str| self.head(method, target, headers, length);
        let reached = self.connections.request(self.backend, request, head).await;
        reached.map_err(|error| match error {
            RequestError::Failed(failure) => failure.into(),
            RequestError::Redirected(status) => {
                CatalogueError::NotUnderstood(format!("status {}", status.as_u16()))
            }
            RequestError::Unspeakable => garbled(),
        })
    }

    /// One request; `id` is the message that is waited for, 0 for none.
    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Bytes>,
        id: u64,
    ) -> Result<Answer, CatalogueError> {
        let mut reached = self.reach(&method, path, headers, body).await?;
        let response = reached.connection.read_head().await?;
        let status = response.status;
        let session = response.headers.get(&SESSION).cloned();
        let is_stream = media_type::is_event_stream(&response.headers);
        let message = if is_stream && id != 0 {
            let mut stream = Stream::new(reached);
            let message = stream.message(id).await?;
            stream.connection.abandon().await;
            Some(message)
        } else {
            let (mut connection, mut body) = (reached.connection, Vec::new());
            while let Some(chunk) = connection.read_body().await? {
                body.extend_from_slice(&chunk);
                if body.len() > LARGEST_ANSWER {
                    return Err(garbled());
                }
            }
            connection.abandon().await;
            std::str::from_utf8(&body).ok().and_then(answer::message)
        };
        Ok(Answer {
            status,
            session,
            message,
        })
    }

    /// `None` if a value of ours is no header value.
    fn head(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        length: Option<usize>,
    ) -> Option<RequestHeader> {
        let build = RequestHeader::build_no_case(method.clone(), path.as_bytes(), Some(8));
        let mut head = build.ok()?;
        let host = HeaderValue::from_str(&self.backend.host).ok()?;
        head.insert_header(HOST, host).ok()?;
        for (name, value) in self
            .backend
            .headers
            .iter()
            .chain(&self.identity)
            .chain(headers)
        {
            head.insert_header(name.clone(), value.clone()).ok()?;
        }
        if let Some((name, value)) = self.backend.account_line(self.account) {
            head.insert_header(name, value).ok()?;
        }
        if let Some(length) = length {
            let json = HeaderValue::from_static("application/json");
            head.insert_header(CONTENT_TYPE, json).ok()?;
            head.insert_header(CONTENT_LENGTH, HeaderValue::from(length))
                .ok()?;
        }
        let accept = match *method {
            Method::GET => "text/event-stream",
            _ => "application/json, text/event-stream",
        };
        head.insert_header(ACCEPT, HeaderValue::from_static(accept))
            .ok()?;
        Some(head)
    }
}

fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": client_info(),
    }})
}

/// What every request of 2026-07-28 says.
fn envelope() -> Value {
    json!({"_meta": {
        (meta::VERSION): STATELESS,
        (meta::CLIENT_INFO): client_info(),
        (meta::CLIENT_CAPABILITIES): {},
    }})
}

fn stateless_headers(method: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [
        (VERSION, HeaderValue::from_static(STATELESS)),
        (METHOD, HeaderValue::from_static(method)),
    ]
}

fn client_info() -> Value {
    json!({"name": "cupcake-gateway", "version": env!("CARGO_PKG_VERSION")})
}

fn server_info(value: &Value) -> ServerInfo {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    ServerInfo {
        name: text("name"),
        version: text("version"),
    }
}

/// The members of an object that can be read; the others are left out.
fn readable(text: &str) -> Value {
    let members = Scan::new(text, 0).members().unwrap_or_default();
    let read = |(key, place): (String, std::ops::Range<usize>)| {
        let value = serde_json::from_str(&text[place]).ok()?;
        Some((key, value))
    };
    Value::Object(members.into_iter().filter_map(read).collect())
}

fn garbled() -> CatalogueError {
    CatalogueError::NotUnderstood("the answer is not MCP".to_owned())
}
