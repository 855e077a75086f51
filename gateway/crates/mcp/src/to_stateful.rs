//! A stateless client (2026-07-28) in front of a server with sessions: what it sends becomes what
//! that server expects, and what the server says becomes what the client expects.

mod caller;
mod filter;

use serde_json::value::RawValue;

pub(crate) use self::caller::unknown_peer;
pub use self::caller::{Caller, Refused};
pub use self::filter::Filter;

use crate::id::Id;
use crate::message::Message;
use crate::meta;
use crate::object::Object;
use crate::revision::STATELESS;
use crate::rpc_error::{RpcError, code};

/// The methods whose results carry caching hints (2026-07-28, Caching).
const CACHEABLE: &[&str] = &[
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];

/// The methods that may be answered with `input_required` (2026-07-28, Multi Round-Trip Requests).
const MAY_ASK_BACK: &[&str] = &["tools/call", "prompts/get", "resources/read"];

/// The members that only a stateless request has.
const ENVELOPE: &[&str] = &[
    meta::VERSION,
    meta::CLIENT_INFO,
    meta::CLIENT_CAPABILITIES,
    meta::LOG_LEVEL,
];

/// Methods of the revisions with sessions that 2026-07-28 has not.
const GONE: &[&str] = &[
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];

/// Log levels of RFC 5424, the lowest first.
const LEVELS: &[&str] = &[
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Who a server says it is, from its answer to `initialize`.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The revision that it chose.
    pub revision: String,
    /// Its `serverInfo`, if it named one.
    pub info: Option<Box<RawValue>>,
    /// What it can do.
    pub capabilities: Object,
    /// Its advice to models.
    pub instructions: Option<Box<RawValue>>,
}

impl ServerInfo {
    /// Reads the result of `initialize`. `None` if it is none.
    pub fn from_initialized(initialized: &Object) -> Option<Self> {
        Some(Self {
            revision: initialized.text("protocolVersion")?,
            info: initialized.raw("serverInfo").map(ToOwned::to_owned),
            capabilities: initialized.object("capabilities").unwrap_or_default(),
            instructions: initialized.raw("instructions").map(ToOwned::to_owned),
        })
    }

    /// The answer to `server/discover`.
    pub fn discovered(&self) -> Object {
        let mut result = Object::new()
            .with("supportedVersions", &[STATELESS])
            // Those of 2025-11-25 are another thing than the extension of that name.
            .with("capabilities", &self.capabilities.without("tasks"));
        if let Some(instructions) = &self.instructions {
            result.set("instructions", instructions);
        }
        finish("server/discover", result, self)
    }
}

/// The handshake for a caller: the request, and the notification that follows its answer.
pub fn initialize(caller: &Caller, id: &Id, revision: &str) -> Message {
    // In words of 2025-11-25: tasks are another thing there.
    let capabilities = caller.capabilities.without("tasks");
    let params = Object::new()
        .with("protocolVersion", revision)
        .with("capabilities", &capabilities)
        .with("clientInfo", &caller.client_info());
    Message::request(id, "initialize", &params)
}

/// The end of the handshake.
pub fn initialized() -> Message {
    Message::notification("notifications/initialized", &Object::new())
}

/// A request in words of the revisions with sessions: the same without the members that only
/// 2026-07-28 has. The error if there is no such method in 2026-07-28.
pub fn request(mut message: Message) -> Result<Message, RpcError> {
    if GONE.contains(&message.method()) {
        return Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found"));
    }
    message.edit_params(|params| {
        params.remove("inputResponses");
        params.remove("requestState");
        params.edit("_meta", |meta| {
            for name in ENVELOPE {
                meta.remove(name);
            }
        });
    });
    Ok(message)
}

/// The same request with another progress token, so that those of several clients don't meet.
#[must_use]
pub fn with_progress_token(mut message: Message, token: &Id) -> Message {
    message.edit_params(|params| {
        params.edit("_meta", |inner| inner.set(meta::PROGRESS_TOKEN, token));
    });
    message
}

/// The response to the request `id` of the method `method`, from that of a server with sessions.
pub fn response(
    id: &Id,
    method: &str,
    response: &Message,
    server: &ServerInfo,
    caller: &Caller,
) -> Message {
    if let Some(error) = response.failure() {
        return match error_of(error, caller) {
            Ok(asked) => Message::result(id, &asked),
            Err(error) => Message::error(Some(id), &error),
        };
    }
    match response.outcome() {
        Some(result) => Message::result(id, &finish(method, result, server)),
        None => {
            let error = RpcError::new(code::INTERNAL, "The result is no object");
            Message::error(Some(id), &error)
        }
    }
}

/// Adds what every result of 2026-07-28 says: its type, how long it may be kept (not at all: the
/// server did not say), who answered.
fn finish(method: &str, mut result: Object, server: &ServerInfo) -> Object {
    result.set_default("resultType", "complete");
    if CACHEABLE.contains(&method) {
        result.set_default("ttlMs", &0);
        result.set_default("cacheScope", "private");
    }
    if let Some(info) = &server.info {
        result.edit("_meta", |meta| meta.set_default(meta::SERVER_INFO, info));
    }
    result
}

/// An error in codes of 2026-07-28; or, where a person must open a URL first, the result that asks
/// for it.
fn error_of(error: RpcError, caller: &Caller) -> Result<Object, RpcError> {
    match error.code() {
        code::RESOURCE_NOT_FOUND => Err(error.with_code(code::INVALID_PARAMS)),
        code::URL_ELICITATION if !caller.can("elicitation", "url") => {
            let needed =
                Object::new().with("elicitation", &Object::new().with("url", &Object::new()));
            let data = Object::new().with("requiredCapabilities", &needed);
            let error = RpcError::new(
                code::MISSING_CAPABILITY,
                "A URL must be opened first, which the client has not declared",
            );
            Err(error.with_data(&data))
        }
        code::URL_ELICITATION => {
            let asked = error.data().and_then(|data| data.read("elicitations"));
            let asked: Vec<Object> = asked.unwrap_or_default();
            if asked.is_empty() {
                return Err(error.with_code(code::INTERNAL));
            }
            let mut requests = Object::new();
            for (at, mut params) in asked.into_iter().enumerate() {
                params.remove("elicitationId");
                let request = Object::new()
                    .with("method", "elicitation/create")
                    .with("params", &params);
                requests.set(&format!("url-{at}"), &request);
            }
            Ok(Object::new()
                .with("resultType", "input_required")
                .with("inputRequests", &requests))
        }
        _ => Err(error),
    }
}

/// What becomes of a message of the server on the response stream of a request.
#[derive(Clone, Debug)]
pub enum Passing {
    /// It goes to the client.
    On(Message),
    /// It has no place in 2026-07-28.
    Dropped,
    /// The server asks the client something: the client gets it in an `input_required` result.
    Asks(Message),
    /// The server asks something that the client can't be asked: the server gets this response.
    Answered(Message),
}

/// Whether the answer to a request of this method may ask the client back (2026-07-28, Multi Round-Trip
/// Requests).
pub fn may_ask_back(method: &str) -> bool {
    MAY_ASK_BACK.contains(&method)
}

/// Judges a notification or a request of the server that belongs to the request `method` of
/// `caller`.
pub fn pass(message: Message, method: &str, caller: &Caller) -> Passing {
    let Some(id) = message.id() else {
        return match message.method() {
            "notifications/progress" => Passing::On(message),
            "notifications/message" if caller.wants(message.params().text("level")) => {
                Passing::On(message)
            }
            _ => Passing::Dropped,
        };
    };
    let capability = match message.method() {
        "ping" => return Passing::Answered(Message::result(&id, &Object::new())),
        "elicitation/create" => "elicitation",
        "sampling/createMessage" => "sampling",
        "roots/list" => "roots",
        _ => "",
    };
    if MAY_ASK_BACK.contains(&method) && caller.capabilities.has(capability) {
        return Passing::Asks(message);
    }
    let error = RpcError::new(code::METHOD_NOT_FOUND, "The client can't be asked this");
    Passing::Answered(Message::error(Some(&id), &error))
}

/// The result that asks the client what the server asked; `state` finds the waiting call again.
pub fn input_required(asked: &Message, state: &str) -> Object {
    let mut request = Object::new().with("method", asked.method());
    let mut params = asked.params();
    params.remove("elicitationId");
    if !params.is_empty() {
        request.set("params", &params);
    }
    Object::new()
        .with("resultType", "input_required")
        .with("inputRequests", &Object::new().with(KEY, &request))
        .with("requestState", state)
}

/// The one question of an `input_required` result.
const KEY: &str = "question";

/// What a retry says to the question `asked`: the response for the server. `None` if it says
/// nothing: the client is to be asked again.
pub fn answer(retry: &Message, asked: &Message) -> Option<Message> {
    let responses = retry.params().object("inputResponses")?;
    let result = responses.object(KEY)?;
    Some(Message::result(&asked.id()?, &result))
}

/// The state that a retry brings back.
pub fn request_state(message: &Message) -> Option<String> {
    message.params().text("requestState")
}

fn of_subscription(object: Object, subscription: &Id) -> Object {
    object.with(
        "_meta",
        &Object::new().with(meta::SUBSCRIPTION, subscription),
    )
}

/// The first message of a subscription: what of it is granted.
pub fn acknowledged(subscription: &Id, granted: &Filter) -> Message {
    let params =
        of_subscription(Object::new(), subscription).with("notifications", &granted.object());
    Message::notification("notifications/subscriptions/acknowledged", &params)
}

/// A notification as it goes out on a subscription.
#[must_use]
pub fn subscribed(mut notification: Message, subscription: &Id) -> Message {
    notification.edit_params(|params| {
        params.edit("_meta", |meta| meta.set(meta::SUBSCRIPTION, subscription));
    });
    notification
}

/// The last message of a subscription that the server ends by itself.
pub fn ended(subscription: &Id) -> Message {
    let result = Object::new().with("resultType", "complete");
    let result = of_subscription(result, subscription);
    Message::result(subscription, &result)
}

/// Tells a server with sessions that nobody waits for an answer any more.
pub fn cancelled(id: &Id, reason: &str) -> Message {
    let params = Object::new().with("requestId", id).with("reason", reason);
    Message::notification("notifications/cancelled", &params)
}

/// Whether what an answer of status 400 within a session said to the request `id` is about the session.
/// Servers are to answer 404 where they no longer know one, but some answer as if there had been none: to no
/// request, for they have read none. What is about the message has one of JSON-RPC's own codes.
pub fn is_about_session(id: &Id, said: Option<&Message>) -> bool {
    let is_about_message = |error: RpcError| (-32700..=-32600).contains(&error.code());
    said.is_none_or(|said| {
        said.id().as_ref() != Some(id) && !said.failure().is_some_and(is_about_message)
    })
}

#[cfg(test)]
mod tests;
