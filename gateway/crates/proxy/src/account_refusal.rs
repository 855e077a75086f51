//! What a client is told whose call can't be made with its person's own account at the backend: where
//! the person connects one.
//!
//! Within MCP, as for a refused call (`mcp_error`): the session goes on, so that the same call works
//! once an account is connected. A client that opens addresses for its person is asked to (URL-mode
//! elicitation: error -32042 in 2025-11-25, `input_required` in 2026-07-28); any other gets a result
//! with `isError`, which models read, and the address in one sentence. The handshake and lists are
//! answered by the gateway, for a server that has nothing but a way to connect: a client that got an
//! error there would give the server up. The address carries a random id and nothing else.
//!
//! Owns: the words and their form. Not: whether there is an account (`gateway-accounts`), nor what is
//! done when a backend doubts one (`account_doubt`).

use std::fmt;

use http::StatusCode;
use serde_json::{Value, json};

use super::mcp_error::{Delivery, answers, only};
use gateway_accounts::{AccountError, Link};
use gateway_core::reason::Reason;
use mcp_protocol::calls::Call;
use mcp_protocol::{Id, LATEST_STATEFUL, STATELESS, code};

/// The tool that stands for all others while there is no account: what it is for is all that can be done.
pub(super) const CONNECT_TOOL: &str = "gateway_connect_account";

/// The one question of an `input_required` result of the gateway's own. It is known again by its name
/// alone, which is therefore none that a backend would choose.
pub(super) const QUESTION: &str = "gateway_connect_account";

/// Why a person's account can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none, it is to be connected again, or nobody can say.
    Account(AccountError),
    /// It may not do what was asked: the backend wants a larger scope.
    Scope,
    /// It can: what was called stands for the backend's tools only while there is none.
    Connected,
}

/// A request that can't be made with its person's own account.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AccountRefusal {
    pub(super) why: Why,
    /// Where the person mends it, if they can.
    pub(super) link: Option<Link>,
    pub(super) asked: Asked,
}

/// The address is its person's alone, and in no log.
impl fmt::Debug for AccountRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRefusal")
            .field("why", &self.why)
            .field("backend", &self.asked.backend)
            .finish_non_exhaustive()
    }
}

/// What was asked, as far as the answer needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The backend's name.
    pub(super) backend: String,
    pub(super) calls: Vec<Call>,
    pub(super) is_batch: bool,
    /// Whether it is of 2026-07-28 or later.
    pub(super) is_stateless: bool,
    /// Whether the client has declared that it opens addresses for its person.
    pub(super) opens_urls: bool,
    /// The revision that `initialize` asks for, if it is one with sessions.
    pub(super) revision: Option<String>,
    /// The session that begins with the answer, if one does.
    pub(super) session: Option<String>,
    /// Whether it is for the endpoint of Streamable HTTP.
    pub(super) is_streamable: bool,
    pub(super) delivery: Delivery,
}

impl AccountRefusal {
    /// One without an address.
    pub(super) const fn new(why: Why, asked: Asked) -> Self {
        Self {
            why,
            link: None,
            asked,
        }
    }

    pub(super) fn reason(&self) -> Reason {
        match &self.why {
            Why::Account(error) => error.reason(),
            Why::Scope => Reason::AccountScope,
            Why::Connected => Reason::AccountConnected,
        }
    }

    /// After how many seconds it is worth to ask again, where waiting helps and nothing else.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match &self.why {
            Why::Account(AccountError::Unavailable { retry_after, .. }) => {
                Some(retry_after.as_secs().max(1))
            }
            _ => None,
        }
    }

    /// The id of the one request that waits for the answer, if it is one.
    pub(super) fn single_id(&self) -> Option<&Id> {
        only(&self.asked.calls)?.id.as_ref()
    }

    pub(super) fn status(&self) -> StatusCode {
        let calls = &self.asked.calls;
        if self.retry_after().is_some() {
            StatusCode::SERVICE_UNAVAILABLE
        } else if !calls.is_empty() && calls.iter().all(Call::is_unanswered) {
            StatusCode::ACCEPTED
        } else {
            match self.asked.delivery {
                // A stream, or the end of a session: a server need have neither.
                _ if calls.is_empty() && self.asked.is_streamable => StatusCode::METHOD_NOT_ALLOWED,
                Delivery::Stream => StatusCode::ACCEPTED,
                Delivery::Response | Delivery::Translated
                    if calls.iter().any(|call| call.id.is_some()) =>
                {
                    StatusCode::OK
                }
                Delivery::Response | Delivery::Translated | Delivery::NoStream => {
                    StatusCode::FORBIDDEN
                }
            }
        }
    }

    /// One sentence that says what to do, with the address.
    pub(super) fn sentence(&self) -> String {
        let backend = &self.asked.backend;
        let what = match &self.why {
            Why::Account(AccountError::NotConnected) => "is not connected",
            Why::Account(AccountError::ConnectAgain(_)) => "has to be connected again",
            Why::Account(AccountError::Unavailable { .. }) => return self.unavailable(),
            Why::Scope => "may not do this",
            Why::Connected => {
                return format!(
                    "Your account at {backend} is connected. {}",
                    self.reason().remedy()
                );
            }
        };
        match &self.link {
            Some(link) => format!(
                "Your account at {backend} {what}: open {} in a browser, connect it there, and try again.",
                link.url
            ),
            None => format!("{} {}", self.reason().sentence(), self.reason().remedy()),
        }
    }

    fn unavailable(&self) -> String {
        let seconds = self.retry_after().unwrap_or(1);
        format!("{} Try again in {seconds} s.", self.reason().sentence())
    }

    /// The answer within MCP; `None` where there is none to give.
    pub(super) fn answer(&self, request_id: &str) -> Option<Value> {
        let outcome = |call| self.outcome(call, request_id);
        let calls = self.asked.calls.iter();
        let waiting = calls.filter_map(|call| Some((call.id.as_ref()?, outcome(call))));
        answers(self.asked.is_batch, waiting)
    }

    /// The result of one call, or its error.
    fn outcome(&self, call: &Call, request_id: &str) -> Result<Value, Value> {
        let method = call.method.as_str();
        if let Some(mut result) = self.greeted(method) {
            if self.asked.is_stateless {
                result["resultType"] = json!("complete");
                if !matches!(method, "ping" | "logging/setLevel") {
                    result["ttlMs"] = json!(0);
                    result["cacheScope"] = json!("private");
                }
            }
            return Ok(result);
        }
        let sentence = self.sentence();
        if let Some(link) = self.link.as_ref().filter(|_| self.asked.opens_urls) {
            let message = self.invitation();
            let url = json!({"mode": "url", "url": link.url, "message": message});
            if !self.asked.is_stateless {
                let mut url = url;
                url["elicitationId"] = json!(link.id);
                let data = json!({"elicitations": [url]});
                let error =
                    json!({"code": code::URL_ELICITATION, "message": sentence, "data": data});
                return Err(error);
            }
            if mcp_protocol::to_stateful::may_ask_back(method) {
                let question = json!({"method": "elicitation/create", "params": url});
                let asked = json!({QUESTION: question});
                return Ok(json!({"resultType": "input_required", "inputRequests": asked}));
            }
        }
        let reason = self.reason().code();
        if call.tool().is_some() {
            let mut result = json!({
                "content": [{"type": "text", "text": sentence}],
                "isError": self.why != Why::Connected,
                "_meta": {"reason": reason, "request_id": request_id},
            });
            if self.asked.is_stateless {
                result["resultType"] = json!("complete");
            }
            return Ok(result);
        }
        let data = json!({"reason": reason, "request_id": request_id});
        Err(json!({"code": code::INVALID_REQUEST, "message": sentence, "data": data}))
    }

    /// What a person is asked, beside the address.
    fn invitation(&self) -> String {
        let backend = &self.asked.backend;
        match &self.why {
            Why::Scope => format!("Allow more for your account at {backend}."),
            Why::Connected => format!("Your account at {backend} is connected."),
            Why::Account(AccountError::ConnectAgain(_)) => {
                format!("Connect your account at {backend} again.")
            }
            Why::Account(_) => format!("Connect your account at {backend}."),
        }
    }

    /// What is answered in place of a backend that nobody in particular may ask.
    fn greeted(&self, method: &str) -> Option<Value> {
        let server = || json!({"name": self.asked.backend, "version": env!("CARGO_PKG_VERSION")});
        // It is told on a stream, which belongs to a session where there are any.
        let is_told = self.asked.is_stateless || self.asked.session.is_some();
        let capabilities = json!({"tools": {"listChanged": is_told}});
        Some(match method {
            "initialize" => json!({
                "protocolVersion": self.asked.revision.as_deref().unwrap_or(LATEST_STATEFUL),
                "capabilities": capabilities,
                "serverInfo": server(),
                "instructions": self.sentence(),
            }),
            "server/discover" => json!({
                "supportedVersions": [STATELESS],
                "capabilities": capabilities,
                "instructions": self.sentence(),
                "_meta": {(mcp_protocol::meta::SERVER_INFO): server()},
            }),
            "ping" | "logging/setLevel" => json!({}),
            "tools/list" => json!({"tools": [self.connect_tool()]}),
            "prompts/list" => json!({"prompts": []}),
            "resources/list" => json!({"resources": []}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "tasks/list" => json!({"tasks": []}),
            _ => return None,
        })
    }

    fn connect_tool(&self) -> Value {
        let backend = &self.asked.backend;
        json!({
            "name": CONNECT_TOOL,
            "title": format!("Connect your account at {backend}"),
            "description": format!("{} Its tools are there once it is: call this to get the address where the person connects it.", self.invitation()),
            "inputSchema": {"type": "object", "properties": {}},
            "annotations": {"readOnlyHint": true},
        })
    }
}

#[cfg(test)]
#[path = "account_refusal/tests.rs"]
mod tests;
