//! What passes beside tools between a backend and the client of a limited token: questions of the
//! backend and their answers, tasks, and what the backend says it can do.
//!
//! Questions and tasks go to the client under names of the gateway's own, bound to the person, the
//! client and, for a question, the session (`sessions`). What comes back under such a name belongs
//! to something that the backend really asked or began; anything else does not. Nothing is stored,
//! so replicas agree and nobody can fill anything.
//!
//! Owns: where such names stand in messages. Not: whether what they stand for is allowed
//! (`policy`).

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use mcp_protocol::jsonrpc::{self, Body};
use mcp_protocol::{Id, Message, Object};
use serde_json::value::RawValue;

use super::holder::Holder;
use super::mcp_error::only;
use super::request::McpBody;
use super::sessions::Sessions;
use super::tasks::TaskOwner;
use super::tool_list_filter::ToolListFilter;
use gateway_core::policy::{AccessToken, Coverage, Operation};
use mcp_protocol::calls::{Belonging, Call};
use mcp_protocol::tool_list;

/// The longest id of a question that is passed on, in bytes of JSON.
const LONGEST_ID: usize = 1024;

/// The member of `_meta` that names the task to which a message belongs (2025-11-25, Tasks).
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// What a capability is good for: a method that nobody needs who may not use this one.
const CAPABILITIES: &[(&str, &str)] = &[
    ("completions", "completion/complete"),
    ("logging", "logging/setLevel"),
    ("prompts", "prompts/get"),
];

/// Extensions that are about tools.
const EXTENSIONS_OF_TOOLS: &[&str] = &[
    "io.modelcontextprotocol/tasks",
    "io.modelcontextprotocol/ui",
];

/// A method of no revision: who may use it may use any.
const ANY_METHOD: &str = "x";

/// Whose names they are.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) sessions: &'a Sessions,
    pub(super) holder: Holder<'a>,
    /// The session, as the backend or the gateway itself names it; empty where there is none.
    pub(super) conversation: &'a str,
}

impl Names<'_> {
    /// Puts the backend's own names into a body of the client. What each call belongs to is written down
    /// with it.
    pub(super) fn restore(&self, body: &mut McpBody, calls: &mut [Call]) {
        let mut is_changed = false;
        for (message, call) in body.messages.messages_mut().iter_mut().zip(calls) {
            is_changed |= if call.is_response() {
                self.restore_question(message, call)
            } else {
                is_about_a_task(call) && self.restore_task(message, call)
            };
        }
        if is_changed {
            body.spell_again();
        }
    }

    /// Takes out of `subscriptions/listen` all that is not about tools or a task of one that is allowed,
    /// as a backend may grant less than what is asked for.
    pub(super) fn listen_to_tools(&self, body: &mut McpBody, call: &mut Call, token: &AccessToken) {
        let Body::One(message) = &mut body.messages else {
            return;
        };
        let params = message.params();
        let wanted = params.object("notifications").unwrap_or_default();
        let mut left = Object::new();
        if wanted.read("toolsListChanged") == Some(true) {
            left.set("toolsListChanged", &true);
        }
        let tasks = wanted.read::<Vec<String>>("taskIds").unwrap_or_default();
        let tasks: Vec<String> = tasks
            .iter()
            .filter_map(|id| self.sessions.unbind_task(id, self.holder))
            .filter(|(_, tool)| may_hear_of(token, tool))
            .map(|(id, _)| id)
            .collect();
        if !tasks.is_empty() {
            left.set("taskIds", &tasks);
        }
        let mut listening = Object::new();
        if let Some(meta) = params.raw("_meta") {
            listening.set("_meta", meta);
        }
        listening.set("notifications", &left);
        if message.edit(|message| message.set("params", &listening)) {
            call.belongs_to = Some(Belonging::ToolChanges);
            body.spell_again();
        }
    }

    /// The header that mirrors the name of a task, as the backend names it; `None` for any other.
    pub(super) fn restored_header(&self, presented: Option<&[u8]>) -> Option<HeaderValue> {
        let presented = std::str::from_utf8(presented?).ok()?;
        let (id, _) = self.sessions.unbind_task(presented, self.holder)?;
        let is_plain = id.bytes().all(|b| b.is_ascii_graphic());
        let spelled = if is_plain {
            id
        } else {
            format!("=?base64?{}?=", STANDARD.encode(id))
        };
        // It is printable ASCII, so it is a value.
        HeaderValue::from_str(&spelled).ok()
    }

    fn restore_question(&self, message: &mut Message, call: &mut Call) -> bool {
        let Some(Id::Text(presented)) = message.id() else {
            return false;
        };
        let asked = self
            .sessions
            .unbind_question(&presented, self.conversation, self.holder)
            .and_then(|id| RawValue::from_string(id).ok());
        let Some(id) = asked else { return false };
        let is_restored = message.edit(|message| {
            message.set("id", &id);
            self.restore_related(message, "result");
        });
        if is_restored {
            call.belongs_to = Some(Belonging::Question);
        }
        is_restored
    }

    fn restore_task(&self, message: &mut Message, call: &mut Call) -> bool {
        let presented = message.params().text("taskId");
        let task = presented.and_then(|id| self.sessions.unbind_task(&id, self.holder));
        let Some((id, tool)) = task else { return false };
        let is_restored = message.edit(|message| {
            message.edit("params", |params| params.set("taskId", &id));
            self.restore_related(message, "params");
        });
        if is_restored {
            call.belongs_to = Some(Belonging::Tool(tool));
        }
        is_restored
    }

    fn restore_related(&self, message: &mut Object, member: &str) {
        edit_related(message, member, |id| {
            let task = self.sessions.unbind_task(id, self.holder);
            task.map(|(id, _)| id)
        });
    }
}

/// Whether a token is for this tool. How the tool stands now decides when it is called.
fn may_hear_of(token: &AccessToken, tool: &str) -> bool {
    let reads_only = false;
    let operation = Operation::Tool {
        name: tool,
        reads_only,
    };
    let is_granted = token.tools().is_all() || token.pin(tool).is_some();
    is_granted
        && token.attenuation().allows_tool(tool, reads_only)
        && token.coverage(operation) == Coverage::Covered
}

/// What a message has in it whose names are changed: it is a request or notification, says what a server
/// can do, or names a task; or an escape may hide it.
static NAMED: LazyLock<AhoCorasick> = LazyLock::new(|| {
    tool_list::words(&[
        "\"method\"",
        "\"capabilities\"",
        "\"task\"",
        "\"taskid\"",
        "\\u",
    ])
});

impl ToolListFilter<'_> {
    /// A message or batch of the backend as the client of this token is to have it. `None`:
    /// unchanged.
    pub(super) fn named(&self, text: &str) -> Option<String> {
        if !NAMED.is_match(text) {
            return None;
        }
        let (mut messages, is_batch) = read(text)?;
        let mut is_changed = false;
        for message in &mut messages {
            is_changed |= self.name(message);
        }
        is_changed.then(|| written(&messages, is_batch))
    }

    fn name(&self, message: &mut Object) -> bool {
        match (message.text("method"), message.has("id")) {
            (Some(_), true) => self.name_question(message),
            (Some(method), false) if method == "notifications/cancelled" => {
                self.name_cancelled(message)
            }
            (Some(method), false) if self.token.is_restricted() => {
                self.name_told_task(&method, message)
            }
            (Some(_), false) => false,
            (None, _) if self.token.is_restricted() => {
                let is_cut = self.name_capabilities(message);
                self.name_tasks(message) || is_cut
            }
            (None, _) => false,
        }
    }

    fn question(&self, object: &Object, member: &str) -> Option<String> {
        let id = object.raw(member)?.get();
        let is_id = id.starts_with(['"', '-']) || id.starts_with(|c: char| c.is_ascii_digit());
        let (owner, sessions) = (self.owner(), self.dependencies.sessions);
        (is_id && id.len() <= LONGEST_ID)
            .then(|| sessions.bind_question(id, owner.conversation, owner.holder))
    }

    fn name_question(&self, message: &mut Object) -> bool {
        let Some(id) = self.question(message, "id") else {
            return false;
        };
        message.set("id", &id);
        match self.tool() {
            Some(tool) => self.name_related(message, "params", tool),
            None => edit_related(message, "params", |id| self.known_task(id)),
        };
        true
    }

    fn name_cancelled(&self, message: &mut Object) -> bool {
        let params = message.object("params").unwrap_or_default();
        let Some(id) = self.question(&params, "requestId") else {
            return false;
        };
        message.edit("params", |params| params.set("requestId", &id));
        true
    }

    /// The tool that the one request is about to which this exchange belongs.
    fn tool(&self) -> Option<&str> {
        only(self.calls)?.concerns()
    }

    /// The same of a message that comes on a stream.
    fn tool_of(&self, message: &Object) -> Option<String> {
        if let Some(tool) = self.tool() {
            return Some(tool.to_owned());
        }
        let id: Id = message.read("id").filter(|_| self.calls.is_empty())?;
        let tool = self.dependencies.tasks.answered(self.owner(), &id)?;
        Some(tool.to_string())
    }

    fn owner(&self) -> TaskOwner<'_> {
        TaskOwner {
            holder: Holder::new(self.token, &self.mounted.backend.mount),
            conversation: self.conversation,
        }
    }

    /// The client's name of a task whose tool is remembered.
    fn known_task(&self, id: &str) -> Option<String> {
        let tool = self.dependencies.tasks.tool(self.owner(), id)?;
        Some(self.task(id, &tool))
    }

    /// What the backend tells of a task unasked, or grants to hear about.
    fn name_told_task(&self, method: &str, message: &mut Object) -> bool {
        let Some(mut params) = message.object("params") else {
            return false;
        };
        match method {
            "notifications/tasks" | "notifications/tasks/status" => {
                let named = params.text("taskId").and_then(|id| self.known_task(&id));
                let Some(named) = named else { return false };
                params.set("taskId", &named);
            }
            "notifications/subscriptions/acknowledged" => {
                let mut granted = params.object("notifications").unwrap_or_default();
                let Some(ids) = granted.read::<Vec<String>>("taskIds") else {
                    return false;
                };
                let named: Vec<String> = ids
                    .into_iter()
                    .map(|id| self.known_task(&id).unwrap_or(id))
                    .collect();
                granted.set("taskIds", &named);
                params.set("notifications", &granted);
            }
            _ => return edit_related(message, "params", |id| self.known_task(id)),
        }
        message.set("params", &params);
        true
    }

    fn task(&self, id: &str, tool: &str) -> String {
        let (owner, sessions) = (self.owner(), self.dependencies.sessions);
        self.dependencies.tasks.began(owner, id, tool);
        sessions.bind_task(id, tool, owner.holder)
    }

    /// A task that a tool began, or that was asked about.
    fn name_tasks(&self, message: &mut Object) -> bool {
        let Some(tool) = self.tool_of(message) else {
            return false;
        };
        let tool = tool.as_str();
        let Some(mut result) = message.object("result") else {
            return false;
        };
        let mut is_changed = false;
        if let Some(id) = result.text("taskId") {
            result.set("taskId", &self.task(&id, tool));
            is_changed = true;
        }
        if let Some(mut task) = result.object("task")
            && let Some(id) = task.text("taskId")
        {
            task.set("taskId", &self.task(&id, tool));
            result.set("task", &task);
            is_changed = true;
        }
        if is_changed {
            message.set("result", &result);
        }
        self.name_related(message, "result", tool) || is_changed
    }

    fn name_related(&self, message: &mut Object, member: &str, tool: &str) -> bool {
        edit_related(message, member, |id| Some(self.task(id, tool)))
    }

    /// What the backend says it can do, in its answer to `initialize` or `server/discover`, without
    /// what this token can't.
    fn name_capabilities(&self, message: &mut Object) -> bool {
        let Some(mut result) = message.object("result") else {
            return false;
        };
        let is_hello = result.has("protocolVersion") || result.has("supportedVersions");
        let Some(mut capabilities) = result.object("capabilities").filter(|_| is_hello) else {
            return false;
        };
        let mut is_changed = false;
        for (capability, method) in CAPABILITIES {
            if !self.token.may_use(method) {
                is_changed |= capabilities.remove(capability).is_some();
            }
        }
        if !self.token.may_use("resources/read") && capabilities.has("resources") {
            if self.may_show_interfaces() {
                // They are read like any resource, and none of them is listed.
                capabilities.set("resources", &Object::new());
            } else {
                capabilities.remove("resources");
            }
            is_changed = true;
        }
        if !self.token.may_use("tasks/get") && capabilities.has("tasks") {
            capabilities.edit("tasks", |tasks| drop(tasks.remove("list")));
            is_changed = true;
        }
        if !self.token.may_use(ANY_METHOD) {
            is_changed |= capabilities.remove("experimental").is_some();
            if capabilities.has("extensions") {
                capabilities.edit("extensions", only_those_of_tools);
                is_changed = true;
            }
        }
        if is_changed {
            result.set("capabilities", &capabilities);
            message.set("result", &result);
        }
        is_changed
    }
}

fn only_those_of_tools(extensions: &mut Object) {
    let others: Vec<String> = extensions
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| !EXTENSIONS_OF_TOOLS.contains(&name.as_str()))
        .collect();
    for name in others {
        extensions.remove(&name);
    }
}

fn edit_related(
    message: &mut Object,
    member: &str,
    rename: impl FnOnce(&str) -> Option<String>,
) -> bool {
    let Some(mut outer) = message.object(member) else {
        return false;
    };
    let Some(mut meta) = outer.object("_meta") else {
        return false;
    };
    let Some(mut related) = meta.object(RELATED_TASK) else {
        return false;
    };
    let Some(id) = related.text("taskId").and_then(|id| rename(&id)) else {
        return false;
    };
    related.set("taskId", &id);
    meta.set(RELATED_TASK, &related);
    outer.set("_meta", &meta);
    message.set(member, &outer);
    true
}

/// Whether a request names a task.
fn is_about_a_task(call: &Call) -> bool {
    call.method.starts_with("tasks/")
}

/// The messages of a backend's text, and whether they stand in an array.
fn read(text: &str) -> Option<(Vec<Object>, bool)> {
    let body = jsonrpc::parse_body(&Bytes::copy_from_slice(text.as_bytes())).ok()?;
    let messages = body.messages().iter().map(Message::members);
    Some((messages.collect(), body.is_batch()))
}

fn written(messages: &[Object], is_batch: bool) -> String {
    let texts: Vec<String> = messages.iter().map(Object::to_string).collect();
    if is_batch {
        format!("[{}]", texts.join(","))
    } else {
        texts.concat()
    }
}
