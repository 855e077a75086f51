//! The Model Context Protocol's own words: versions, methods, and what one call asks for. Revisions
//! 2024-11-05 to 2026-07-28.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::arguments::Arguments;
use super::id::Id;
use super::lenient::{fold, is_plain_name};
use super::message::{Kind, Message};
use super::object::Object;
use super::subscriptions::MOST_SUBSCRIPTIONS;

/// A protocol version as a request names it: a date, ordered as dates are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u8; 10]);

impl Version {
    /// Batches exist up to this one.
    pub const V2025_03_26: Self = Self(*b"2025-03-26");
    /// No sessions, headers that mirror the body.
    pub const V2026_07_28: Self = Self(*b"2026-07-28");

    /// Takes `YYYY-MM-DD`. Drafts and other names are no versions: nothing is known about them.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes: [u8; 10] = text.try_into().ok()?;
        let is_date = bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        is_date.then_some(Self(bytes))
    }
}

/// Whether a message array may be a batch under the `MCP-Protocol-Version` of the request. Batches
/// were part of 2025-03-26 only, whose clients send no such header.
pub fn takes_batches(header: Option<&[u8]>) -> bool {
    match header {
        None => true,
        Some(text) => Version::parse(text).is_some_and(|version| version <= Version::V2025_03_26),
    }
}

/// What one request to a backend asks for, as far as policy and retries need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The JSON-RPC method, or the empty text for a response of the client's.
    pub method: String,
    /// The tool, prompt or resource that it names.
    pub name: Option<String>,
    /// The id under which it waits for an answer.
    pub id: Option<Id>,
    /// Its arguments by path; `None` where nobody asked the judge to keep them.
    pub arguments: Option<Arguments>,
    /// For a response of the client's: whether it says anything, as the answer to `sampling` or
    /// `elicitation` does and the answer to `ping` does not.
    pub carries_result: bool,
    /// What else the gateway knows it to belong to: nothing that the message itself could claim.
    pub belongs_to: Option<Belonging>,
    /// The resources that a subscription names; empty where nobody asked for them
    /// ([`resources_of`]).
    pub resources: Vec<String>,
}

/// What a message that runs no tool belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// It answers a question that the backend asked in this session.
    Question,
    /// It is about a task or the user interface of this tool.
    Tool(String),
    /// It listens to nothing but changes of the list of tools.
    ToolChanges,
}

/// Methods that change nothing at the backend, so that they may be sent again after a connection
/// broke before the first byte of an answer.
const READ_ONLY: &[&str] = &[
    "initialize",
    "notifications/initialized",
    "ping",
    "server/discover",
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
];

/// The requests of MCP. Nothing else may be taken for one of them.
const METHODS: &[&str] = &[
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// What MCP names as notifications of a client.
const NOTIFICATIONS: &[&str] = &[
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
];

/// All methods that MCP names for what a client sends.
pub fn known_methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().chain(NOTIFICATIONS).copied()
}

impl Call {
    /// What a judged message asks for. Its arguments are handed over.
    pub fn from_message(message: &mut Message) -> Self {
        let name = match message.method() {
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => message.uri(),
            _ => message.name(),
        };
        Self {
            name: name.map(str::to_owned),
            method: message.method().to_owned(),
            id: message.id().filter(|_| message.kind() == Kind::Request),
            arguments: message.take_arguments(),
            carries_result: message.carries_result(),
            belongs_to: None,
            resources: Vec::new(),
        }
    }

    /// A request of this method, about nothing in particular.
    pub fn named(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            name: None,
            id: Some(Id::Number(0)),
            arguments: None,
            carries_result: false,
            belongs_to: None,
            resources: Vec::new(),
        }
    }

    /// Whether it is a response of the client's.
    pub const fn is_response(&self) -> bool {
        self.method.is_empty()
    }

    /// Whether nobody waits for an answer to it, nor is told of a refusal: a response, or what MCP
    /// names as a notification.
    pub fn is_unanswered(&self) -> bool {
        self.is_response() || self.id.is_none() && self.method.starts_with("notifications/")
    }

    /// Whether the backend has asked for it.
    pub fn is_asked_for(&self) -> bool {
        self.belongs_to == Some(Belonging::Question)
    }

    /// The tool that it runs, or whose task or user interface it is about.
    pub fn concerns(&self) -> Option<&str> {
        match (&self.belongs_to, self.tool()) {
            (Some(Belonging::Tool(tool)), None) => Some(tool),
            (_, tool) => tool,
        }
    }

    /// The tool that it runs.
    pub fn tool(&self) -> Option<&str> {
        match self.method.as_str() {
            "tools/call" => self.name.as_deref(),
            _ => None,
        }
    }

    /// Whether sending it twice is the same as sending it once.
    pub fn is_read_only(&self) -> bool {
        is_read_only(&self.method)
    }

    /// Whether its answer is a stream that stays open until somebody ends it.
    pub fn listens(&self) -> bool {
        self.method == "subscriptions/listen"
    }
}

/// Whether a message of this method may be sent twice: it is the same as sending it once. The method of
/// a response is empty.
pub fn is_read_only(method: &str) -> bool {
    READ_ONLY.contains(&method)
}

/// Why a message can't be what its method says. It is the method that says what a message does:
/// there are servers that do it without an id, too, and answer nobody. So what a policy asks about
/// is there whatever the form, and only what is a notification comes without an id.
///
/// `is_stateless`: the message is of 2026-07-28 or later, where no resource is subscribed to by a
/// method any more: whoever asks is told so by the server.
pub fn check_shape(message: &Message, is_stateless: bool) -> Result<(), &'static str> {
    let method = message.method();
    if method.is_empty() {
        return Ok(());
    }
    if !is_plain_name(method) {
        return Err("method has a control character, or a blank around it");
    }
    let is_known = |folded_method: &str| {
        let mut known = METHODS.iter();
        known.any(|known| known.eq_ignore_ascii_case(folded_method))
    };
    if !METHODS.contains(&method) && is_known(&fold(method)) {
        return Err("method resembles one of MCP but for case or characters that nobody sees");
    }
    let (name, uri) = (message.name(), message.uri());
    if !name.is_none_or(is_plain_name) || !uri.is_none_or(is_plain_name) {
        return Err("params.name or params.uri has a control character, or a blank around it");
    }
    if message.kind() == Kind::Notification && !is_notification(method) {
        return Err("a method that is no notification needs an id");
    }
    match method {
        "tools/call" | "prompts/get" if name.is_none() => Err("params.name is missing or no text"),
        "resources/read" if uri.is_none() => Err("params.uri is missing or no text"),
        "resources/subscribe" | "resources/unsubscribe" if uri.is_none() && !is_stateless => {
            Err("params.uri is missing or no text")
        }
        _ => Ok(()),
    }
}

/// The resources that a judged message subscribes to by `subscriptions/listen`, in their order: those
/// that any reader would find, whatever case it takes for the same.
pub fn resources_of(message: &Message) -> Result<Vec<String>, &'static str> {
    let mut found = Vec::new();
    if message.method() != "subscriptions/listen" {
        return Ok(found);
    }
    let alike = |object: &Object, name: &str| -> Vec<String> {
        let alike = object.iter().filter(|(key, _)| fold(key) == name);
        alike.map(|(_, value)| value.get().to_owned()).collect()
    };
    for filter in alike(&message.params(), "notifications") {
        if !filter.starts_with('{') {
            continue;
        }
        let filter = Object::parse(&filter)
            .ok_or("a key of params.notifications is half of a surrogate pair")?;
        for list in alike(&filter, "resourcesubscriptions") {
            if list == "null" {
                continue;
            }
            let uris: Vec<&RawValue> = serde_json::from_str(&list).map_err(|_| NO_LIST)?;
            for uri in uris {
                found.push(uri_of(uri)?);
            }
        }
    }
    // Others would not be granted anyway, and each is judged.
    if found.len() > MOST_SUBSCRIPTIONS {
        Err("params.notifications.resourceSubscriptions names more than 512 resources")
    } else {
        Ok(found)
    }
}

const NO_LIST: &str = "params.notifications.resourceSubscriptions is no list of URIs";

fn uri_of(uri: &RawValue) -> Result<String, &'static str> {
    if !uri.get().starts_with('"') {
        return Err(NO_LIST);
    }
    let uri: String = serde_json::from_str(uri.get()).map_err(
        |_| "a URI in params.notifications.resourceSubscriptions has half of a surrogate pair",
    )?;
    is_plain_name(&uri).then_some(uri).ok_or(NO_LIST)
}

/// Whether a method is that of a notification: those of MCP are `notifications/…`, those of its
/// extensions have that step within, and `$/…` are those of the protocol that MCP is modelled on.
fn is_notification(method: &str) -> bool {
    let (first, rest) = method.split_once('/').unwrap_or((method, ""));
    match first {
        "notifications" | "$" => !rest.is_empty(),
        _ => rest
            .split_once("notifications/")
            .is_some_and(|(before, name)| {
                (before.is_empty() || before.ends_with('/')) && !name.is_empty()
            }),
    }
}

/// The headers of 2026-07-28 that mirror the body, as they stand in the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct MirrorHeaders<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a [u8]>,
    /// `Mcp-Method`.
    pub method: Option<&'a [u8]>,
    /// `Mcp-Name`.
    pub name: Option<&'a [u8]>,
}

impl MirrorHeaders<'_> {
    /// Whether the request says that it is of a revision that demands these headers.
    pub fn are_binding(&self) -> bool {
        self.version.and_then(Version::parse) >= Some(Version::V2026_07_28)
    }

    /// Compares the headers with the body (2026-07-28, Streamable HTTP, Server Validation). The
    /// gateway decides on the body alone; this keeps others who trust the headers from being
    /// misled. Older revisions and requests without a version are not looked at.
    pub fn check(&self, message: &Message) -> Result<(), &'static str> {
        if !self.are_binding() || message.kind() == Kind::Response {
            return Ok(());
        }
        let method = message.method();
        match self.method {
            // What notifications must carry is not defined.
            None if message.kind() == Kind::Notification => {}
            None => return Err("the Mcp-Method header is missing"),
            Some(header) if header != method.as_bytes() => {
                return Err("the Mcp-Method header differs from the body's method");
            }
            Some(_) => {}
        }
        let named = match method {
            "tools/call" | "prompts/get" => message.name(),
            "resources/read" => message.uri(),
            _ => None,
        };
        match (named, self.name) {
            (Some(_), None) => return Err("the Mcp-Name header is missing"),
            (Some(_), Some(header)) if !header.iter().all(|b| matches!(b, b' '..=b'~' | b'\t')) => {
                return Err("the Mcp-Name header has characters that no header has");
            }
            (Some(name), Some(header)) => {
                let decoded =
                    decode_sentinel(header).ok_or("the Mcp-Name header can't be decoded")?;
                if decoded != name.as_bytes() {
                    return Err("the Mcp-Name header differs from the body's name");
                }
            }
            (None, _) => {}
        }
        match message.version() {
            Some(version) if Some(version.as_bytes()) != self.version => {
                Err("the MCP-Protocol-Version header differs from the version in _meta")
            }
            _ => Ok(()),
        }
    }
}

/// Values that are no plain ASCII travel as `=?base64?…?=`.
fn decode_sentinel(value: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    let inner = value.strip_prefix(b"=?base64?");
    match inner.and_then(|rest| rest.strip_suffix(b"?=")) {
        Some(encoded) => STANDARD.decode(encoded).ok().map(Into::into),
        None => Some(value.into()),
    }
}

#[cfg(test)]
mod tests;
