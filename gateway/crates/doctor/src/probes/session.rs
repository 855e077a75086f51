//! MCP calls with the token.

use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::examination::{Examination, Grant};
use crate::check::Check;
use crate::checks::mcp;
use crate::exchange::Exchange;
use crate::finding::Verdict;
use crate::http_client::Ask;
use crate::options::Login;

/// The revision of the handshake, and the stateless one.
const REVISION: &str = "2025-11-25";
const STATELESS: &str = "2026-07-28";

/// Something is found by one of these in almost every collection.
const QUERIES: &[&str] = &["cupcake", "the", "a", "2026"];

/// The origin of a page that nobody allowed.
const STRANGER: &str = "https://gateway-doctor.invalid";

/// What the streams need of the calls before.
pub(super) struct Session {
    pub(super) id: Option<String>,
    pub(super) revision: String,
}

impl Examination<'_> {
    /// Calls in the order of ChatGPT: the new handshake, the old one, the tools.
    pub(super) async fn use_token(&mut self, grant: &Grant) -> Session {
        let url = &self.target.mcp;
        let discovered = self.http.send(discover(url).bearer(&grant.token)).await;
        self.found(mcp::server_discover(&discovered, 1));

        let hello = post(url, &initialize_message(2)).bearer(&grant.token);
        let hello = self.http.send(hello).await;
        let welcome = mcp::initialize(&hello, 2);
        let welcomed = welcome.verdict != Verdict::Fail;
        self.found(welcome);
        let session = Session::from_initialize(&hello);
        if welcomed {
            self.list_tools(grant, &session).await;
        } else {
            self.found(Check::ToolsList.after(Check::Initialize));
        }
        self.be_refused(grant, &session).await;
        session
    }

    async fn list_tools(&mut self, grant: &Grant, session: &Session) {
        let url = &self.target.mcp;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.http.send(session.post(url, grant, &initialized)).await;

        let list = session.post(url, grant, &message(3, "tools/list", json!({})));
        let list = self.http.send(list).await;
        self.findings.extend(mcp::tools_list(&list, 3));
        let tools = mcp::tools(&list, 3);
        if !tools.is_empty() {
            self.search_and_fetch(grant, session, &tools).await;
        }
    }

    async fn search_and_fetch(&mut self, grant: &Grant, session: &Session, tools: &[Value]) {
        let url = &self.target.mcp;
        let (mut searched, mut first) = (None, None);
        if mcp::callable(tools, "search").is_some() {
            for (id, query) in (10..).zip(QUERIES) {
                let call = call(id, "search", json!({"query": query}));
                let exchange = self.http.send(session.post(url, grant, &call)).await;
                let payload = mcp::payload(&exchange, id).unwrap_or_default();
                first = payload["results"][0]["id"].as_str().map(str::to_owned);
                let nothing = payload["results"].as_array().is_some_and(Vec::is_empty);
                searched = Some((exchange, id));
                if !nothing {
                    break;
                }
            }
        }
        let seen = searched.as_ref().map(|(exchange, id)| (exchange, *id));
        self.found(mcp::search(tools, seen));
        let mut fetched = None;
        if let (Some(id), Some(_)) = (first, mcp::callable(tools, "fetch")) {
            let call = call(20, "fetch", json!({"id": id}));
            let exchange = self.http.send(session.post(url, grant, &call)).await;
            fetched = Some((exchange, 20));
        }
        let seen = fetched.as_ref().map(|(exchange, id)| (exchange, *id));
        self.found(mcp::fetch(tools, seen));
    }

    /// Calls that must not get through.
    async fn be_refused(&mut self, grant: &Grant, session: &Session) {
        let url = &self.target.mcp;
        let list = message(30, "tools/list", json!({}));
        if matches!(self.options.login, Login::Token(_)) {
            // It is somebody's, and whoever finds it in a log has it.
            let why = "a token that was given is not put into a URL";
            self.found(Check::QueryToken.skip(why));
        } else {
            let mut in_query = url.clone();
            in_query
                .query_pairs_mut()
                .append_pair("access_token", &grant.token);
            let exchange = self.http.send(post(&in_query, &list)).await;
            self.found(mcp::query_token(&exchange));
        }

        let foreign = session.post(url, grant, &list).with("origin", STRANGER);
        let exchange = self.http.send(foreign).await;
        self.found(mcp::origin(&exchange));

        let lost = session
            .post(url, grant, &list)
            .with("mcp-session-id", "gateway-doctor-no-session");
        let exchange = self.http.send(lost).await;
        self.found(mcp::session_unknown(&exchange));
    }

    /// Ends the session of Streamable HTTP. Courtesy: a server that knows none answers 405.
    pub(super) async fn close_session(&self, grant: &Grant, session: &Session) {
        if session.id.is_some() {
            let ask = session.ask(Ask::new(Method::DELETE, &self.target.mcp), grant);
            self.http.send(ask).await;
        }
    }
}

impl Session {
    fn from_initialize(hello: &Exchange) -> Self {
        let answer = hello.answer();
        let result = answer.and_then(|answer| mcp::response(answer, 2));
        let result = result.unwrap_or_default();
        let revision = result["result"]["protocolVersion"].as_str();
        let id = answer.and_then(|answer| answer.header("mcp-session-id"));
        Self {
            id: id.map(str::to_owned),
            revision: revision.unwrap_or(REVISION).to_owned(),
        }
    }

    /// With token, revision and session.
    pub(super) fn ask(&self, ask: Ask, grant: &Grant) -> Ask {
        let ask = ask
            .bearer(&grant.token)
            .with("mcp-protocol-version", &self.revision);
        match &self.id {
            Some(id) => ask.with("mcp-session-id", id),
            None => ask,
        }
    }

    fn post(&self, url: &Url, grant: &Grant, body: &Value) -> Ask {
        self.ask(post(url, body), grant)
    }
}

/// A message to a Streamable HTTP endpoint.
pub(super) fn post(url: &Url, body: &Value) -> Ask {
    Ask::json(url, body).with("accept", "application/json, text/event-stream")
}

pub(super) fn message(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    message(
        id,
        "tools/call",
        json!({"name": tool, "arguments": arguments}),
    )
}

pub(super) fn initialize_message(id: u64) -> Value {
    let params =
        json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client_info()});
    message(id, "initialize", params)
}

/// The first question of the stateless revision.
pub(super) fn discover(url: &Url) -> Ask {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": client_info(),
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    post(url, &message(1, "server/discover", json!({"_meta": meta})))
        .with("mcp-protocol-version", STATELESS)
        .with("mcp-method", "server/discover")
}

fn client_info() -> Value {
    json!({"name": "gateway-doctor", "version": env!("CARGO_PKG_VERSION")})
}
