//! Tool parameters that a stateless backend wants mirrored in headers. The client does not know of
//! them, so the gateway mirrors for it: once the backend has said which, in `tools/list`.

use std::sync::Arc;

use http::HeaderName;
use mcp_protocol::to_stateless::{self, ClientInitialize};
use mcp_protocol::{Id, Message, Mirrored, Object};
use quick_cache::sync::Cache;
use serde_json::Value;

use super::session_error::SessionError;
use super::stateless_upstream::ask;
use super::upstream_client::{More, UpstreamClient};
use gateway_core::account::AccountId;

/// How many tools are remembered.
const TOOLS: usize = 2048;

/// `tools/list` is followed up to this page.
const MOST_PAGES: usize = 50;

/// The member of `_meta` of the gateway's own question for tools. Whoever else says it gets the list that a
/// search finds its tools in.
pub(crate) const FULL_LIST: &str = "cupcake-gateway/fullList";

type Key = (String, String, Option<AccountId>, String);

/// What is known of tools, by backend, person, account there, and name.
#[derive(Debug)]
pub(super) struct ParamHeaders(Cache<Key, Arc<Mirrored>>);

impl Default for ParamHeaders {
    fn default() -> Self {
        Self(Cache::new(TOOLS))
    }
}

impl ParamHeaders {
    /// The headers for a call, as far as its tool is known.
    pub(super) fn headers(&self, upstream: &UpstreamClient, request: &Message) -> More {
        if request.method() != "tools/call" {
            return More::new();
        }
        let params = request.params();
        let known = params
            .text("name")
            .and_then(|name| self.0.get(&key(upstream, &name)));
        let Some(known) = known else {
            return More::new();
        };
        let arguments = params.object("arguments").unwrap_or_default();
        known
            .headers(&arguments)
            .into_iter()
            .filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value)))
            .collect()
    }

    /// Remembers what a page of `tools/list` says. Tools without such parameters, which are nearly
    /// all, cost nothing.
    pub(super) fn note(&self, upstream: &UpstreamClient, listed: &Message) {
        let Some(result) = listed.outcome() else {
            return;
        };
        let is_mirrored = result
            .raw("tools")
            .is_some_and(|tools| tools.get().contains("x-mcp-header"));
        if !is_mirrored {
            return;
        }
        let tools: Vec<Object> = result.read("tools").unwrap_or_default();
        for tool in tools {
            let schema: Value = tool.read("inputSchema").unwrap_or_default();
            if let (Some(name), Some(param_headers)) = (tool.text("name"), Mirrored::read(&schema))
                && !param_headers.is_empty()
            {
                self.0.insert(key(upstream, &name), Arc::new(param_headers));
            }
        }
    }

    /// Asks the backend for its tools: it refused a call whose headers are not what it wants
    /// (2026-07-28, Streamable HTTP, Client Behavior).
    pub(super) async fn learn(
        &self,
        upstream: &Arc<UpstreamClient>,
        hello: &ClientInitialize,
    ) -> Result<(), SessionError> {
        let mut params = full_list(Object::new());
        for _ in 0..MOST_PAGES {
            let list = Message::request(&Id::text("tools"), "tools/list", &params);
            let list = to_stateless::request(list, hello, None);
            // Boxed: it is asked for in the middle of asking.
            let listed = Box::pin(ask(upstream, self, &list, None)).await?;
            self.note(upstream, &listed);
            let cursor = listed.outcome().and_then(|page| page.text("nextCursor"));
            let Some(cursor) = cursor else { break };
            params = full_list(Object::new().with("cursor", &cursor));
        }
        Ok(())
    }
}

/// Asks for the tools themselves where a search for them is listed instead.
fn full_list(params: Object) -> Object {
    params.with("_meta", &Object::new().with(FULL_LIST, &true))
}

fn key(upstream: &UpstreamClient, tool: &str) -> Key {
    let token = upstream.token();
    let (backend, user) = (&upstream.backend.mount.name, token.claims().user.as_str());
    let account = token.account().cloned();
    (backend.clone(), user.to_owned(), account, tool.to_owned())
}
