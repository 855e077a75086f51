//! A client with sessions in front of a stateless server (2026-07-28): what was said once in
//! `initialize` is said again in every request, and the results lose what the client does not know.

mod older_result;

use serde_json::value::RawValue;

use crate::id::Id;
use crate::message::{Kind, Message};
use crate::meta;
use crate::object::Object;
use crate::revision::{LATEST_STATEFUL, STATELESS, is_stateful_revision};
use crate::rpc_error::{RpcError, code};
use crate::to_stateful::{Filter, unknown_peer};

/// What a client said in `initialize`, and what its session must remember of it.
#[derive(Clone, Debug)]
pub struct ClientInitialize {
    /// The revision that was agreed on.
    pub revision: String,
    /// What the client can do.
    pub capabilities: Object,
    /// Who it is.
    pub client_info: Option<Box<RawValue>>,
}

impl ClientInitialize {
    /// Reads an `initialize` request. The revision is the one it asks for if that is one with
    /// sessions, or else the newest of those (2025-11-25, Lifecycle, Version Negotiation).
    pub fn from_message(initialize: &Message) -> Self {
        let params = initialize.params();
        let asked = params.text("protocolVersion").unwrap_or_default();
        Self {
            revision: if is_stateful_revision(&asked) {
                asked
            } else {
                LATEST_STATEFUL.to_owned()
            },
            capabilities: params.object("capabilities").unwrap_or_default(),
            client_info: params.raw("clientInfo").map(ToOwned::to_owned),
        }
    }

    /// As it is written into a session id. Icons and the like are left out: a header has no room
    /// for them.
    pub fn object(&self) -> Object {
        let mut object = Object::new()
            .with("v", &self.revision)
            .with("c", &self.capabilities);
        if let Some(info) = &self.client_info {
            let whole = Object::parse(info.get()).unwrap_or_default();
            let mut brief = Object::new();
            for name in ["name", "title", "version"] {
                if let Some(value) = whole.raw(name) {
                    brief.set(name, value);
                }
            }
            object.set("i", &brief);
        }
        object
    }

    /// Reads what [`ClientInitialize::object`] wrote.
    pub fn read(object: &Object) -> Option<Self> {
        Some(Self {
            revision: object.text("v")?,
            capabilities: object.object("c")?,
            client_info: object.raw("i").map(ToOwned::to_owned),
        })
    }
}

/// What becomes of a message of a client with sessions.
#[derive(Clone, Debug)]
pub enum Step {
    /// The handshake: ask the server with [`discover`], answer with [`initialized`].
    Initialize,
    /// A request for the server, after [`request`].
    Call,
    /// It is answered at once, with an empty result: the server need not know.
    Answered,
    /// The client wants log messages from this level on.
    Level(String),
    /// The client wants to hear about a resource.
    Subscribe(String),
    /// The client no longer wants to hear about it.
    Unsubscribe(String),
    /// The client gives up on a request: its response stream is closed.
    Cancel(Id),
    /// The client answers a question, which had this id.
    Answer(Id),
    /// Nobody needs to know.
    Ignored,
    /// The client's fault.
    Refused(RpcError),
}

/// Judges a message of a client with sessions.
pub fn step(message: &Message) -> Step {
    let method = message.method();
    let params = message.params();
    let text = |name: &str, step: fn(String) -> Step| {
        params.text(name).map_or_else(
            || {
                let sentence = format!("params.{name} is missing or no text");
                Step::Refused(RpcError::new(code::INVALID_PARAMS, &sentence))
            },
            step,
        )
    };
    match (message.kind(), method) {
        (Kind::Response, _) => message.id().map_or(Step::Ignored, Step::Answer),
        (Kind::Notification, "notifications/cancelled") => {
            message.cancelled().map_or(Step::Ignored, Step::Cancel)
        }
        (Kind::Notification, _) => Step::Ignored,
        (_, "initialize") => Step::Initialize,
        (_, "ping") => Step::Answered,
        (_, "logging/setLevel") => text("level", Step::Level),
        (_, "resources/subscribe") => text("uri", Step::Subscribe),
        (_, "resources/unsubscribe") => text("uri", Step::Unsubscribe),
        _ => Step::Call,
    }
}

/// A request as the stateless server takes it.
#[must_use]
pub fn request(mut message: Message, hello: &ClientInitialize, level: Option<&str>) -> Message {
    message.edit_params(|params| {
        params.remove("task");
        params.edit("_meta", |meta| {
            meta.set(meta::VERSION, STATELESS);
            // Tasks are another thing there.
            meta.set(
                meta::CLIENT_CAPABILITIES,
                &hello.capabilities.without("tasks"),
            );
            if let Some(info) = &hello.client_info {
                meta.set(meta::CLIENT_INFO, info);
            }
            if let Some(level) = level {
                meta.set(meta::LOG_LEVEL, level);
            }
        });
    });
    message
}

/// The question that stands for the handshake.
pub fn discover(hello: &ClientInitialize, id: &Id) -> Message {
    let bare = Message::request(id, "server/discover", &Object::new());
    request(bare, hello, None)
}

/// The result of `initialize`, from that of `server/discover`.
pub fn initialized(discovered: &Object, hello: &ClientInitialize) -> Object {
    let meta = discovered.object("_meta").unwrap_or_default();
    let info = meta.raw(meta::SERVER_INFO);
    let info = info.or_else(|| discovered.raw("serverInfo"));
    // The handshake demands one.
    let unknown = unknown_peer();
    let capabilities = discovered.object("capabilities").unwrap_or_default();
    let mut result = Object::new()
        .with("protocolVersion", &hello.revision)
        .with("capabilities", &capabilities)
        .with("serverInfo", info.unwrap_or(&unknown));
    if let Some(instructions) = discovered.raw("instructions") {
        result.set("instructions", instructions);
    }
    result
}

/// The answer of a stateless server.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made"
)]
pub enum Outcome {
    /// The response for the client.
    Done(Message),
    /// The client is asked first; its answers go into a [`retry`].
    Asks(Questions),
}

/// What a stateless server asks before it can answer.
#[derive(Clone, Debug)]
pub struct Questions {
    /// By the server's own names for them: method and parameters.
    pub requests: Vec<(String, String, Object)>,
    state: Option<String>,
}

/// Reads the response of a stateless server to a request of this method.
pub fn outcome(id: &Id, method: &str, response: &Message) -> Outcome {
    if let Some(error) = response.failure() {
        return Outcome::Done(Message::error(Some(id), &error));
    }
    let fail = |sentence: &str| {
        let error = RpcError::new(code::INTERNAL, sentence);
        Outcome::Done(Message::error(Some(id), &error))
    };
    let Some(mut result) = response.outcome() else {
        return fail("The result is no object");
    };
    match result.text("resultType").as_deref() {
        None | Some("complete") => {
            older_result::cut(method, &mut result);
            Outcome::Done(Message::result(id, &result))
        }
        Some("input_required") => {
            let asked = result.object("inputRequests").unwrap_or_default();
            let state = result.text("requestState");
            if asked.is_empty() && state.is_none() {
                return fail("The server wants input and names none");
            }
            let requests = asked
                .iter()
                .filter_map(|(name, _)| {
                    let request = asked.object(name)?;
                    let params = request.object("params").unwrap_or_default();
                    Some((name.to_owned(), request.text("method")?, params))
                })
                .collect();
            Outcome::Asks(Questions { requests, state })
        }
        Some(_) => fail("The result is of a type that this revision does not know"),
    }
}

/// One of the server's questions as a client with sessions is asked it, under this id. 2025-11-25 insists
/// on an id for an address that is to be opened, which 2026-07-28 has no more: the question's own does.
pub fn question(id: &Id, method: &str, params: &Object) -> Message {
    let mut params = params.clone();
    if method == "elicitation/create" && params.text("mode").as_deref() == Some("url") {
        params.set_default("elicitationId", id);
    }
    Message::request(id, method, &params)
}

/// The request again, with the client's answers to `questions`. Both are in words of 2026-07-28.
#[must_use]
pub fn retry(
    mut original: Message,
    id: &Id,
    questions: &Questions,
    answers: &[(String, Object)],
) -> Message {
    original.edit_params(|params| {
        let mut responses = Object::new();
        for (name, answer) in answers {
            responses.set(name, answer);
        }
        params.remove("inputResponses");
        if !responses.is_empty() {
            params.set("inputResponses", &responses);
        }
        params.remove("requestState");
        if let Some(state) = &questions.state {
            params.set("requestState", state);
        }
    });
    original.with_id(id)
}

/// The subscription that stands for the stream on which a server with sessions speaks unasked.
/// `None` if this server never does.
pub fn listen(hello: &ClientInitialize, id: &Id, filter: &Filter) -> Option<Message> {
    if filter.is_empty() {
        return None;
    }
    let params = Object::new().with("notifications", &filter.object());
    let bare = Message::request(id, "subscriptions/listen", &params);
    Some(request(bare, hello, None))
}

/// A notification for the client. `None` for what only subscriptions have.
pub fn notification(mut message: Message) -> Option<Message> {
    if message.method() == "notifications/subscriptions/acknowledged" {
        return None;
    }
    message.edit_params(|params| {
        params.edit("_meta", |meta| {
            meta.remove(meta::SUBSCRIPTION);
        });
    });
    Some(message)
}

#[cfg(test)]
mod tests;
