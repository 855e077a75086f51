//! JSON-RPC 2.0 messages, as far as translating needs to know them.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::object::Object;
use crate::rpc_error::RpcError;

/// A request id or a progress token: a text or a number, kept as it was sent. Two are equal when
/// they mean the same, however they are spelled.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(Box<RawValue>);

impl Id {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self(to_raw_value(text).expect("a text is JSON"))
    }

    /// A number.
    pub fn number(number: u64) -> Self {
        Self(to_raw_value(&number).expect("a number is JSON"))
    }

    /// What to look it up by.
    pub fn key(&self) -> String {
        match serde_json::from_str::<Value>(self.0.get()) {
            Ok(value) => value.to_string(),
            // Digits that fit no number.
            Err(_) => self.0.get().to_owned(),
        }
    }

    fn read(object: &Object, name: &str) -> Option<Self> {
        let raw = object.raw(name)?;
        let first = raw.get().bytes().next()?;
        (first == b'"' || first == b'-' || first.is_ascii_digit()).then(|| Self(raw.to_owned()))
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// Its JSON text.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

/// Which of the three shapes a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `result` or `error`.
    Response,
}

/// The text is no JSON-RPC message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON-RPC message")]
pub struct Malformed;

/// One message. Members that JSON-RPC does not know stay in it.
#[derive(Clone, Debug)]
pub struct Message {
    object: Object,
    kind: Kind,
}

impl Message {
    /// Reads one message.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Self::of(Object::parse(text).ok_or(Malformed)?)
    }

    /// Takes an object for a message.
    pub fn of(object: Object) -> Result<Self, Malformed> {
        let has_method = object.text("method").is_some();
        let kind = match (has_method, object.has("id")) {
            (true, true) if Id::read(&object, "id").is_some() => Kind::Request,
            (true, false) => Kind::Notification,
            (false, _) if object.has("result") || object.has("error") => Kind::Response,
            _ => return Err(Malformed),
        };
        Ok(Self { object, kind })
    }

    /// A request.
    pub fn request(id: &Id, method: &str, params: &Object) -> Self {
        let object = Object::new()
            .with("jsonrpc", "2.0")
            .with("id", id)
            .with("method", method)
            .with("params", params);
        Self {
            object,
            kind: Kind::Request,
        }
    }

    /// A notification; `params` are left out when they are empty.
    pub fn notification(method: &str, params: &Object) -> Self {
        let mut object = Object::new().with("jsonrpc", "2.0").with("method", method);
        if !params.is_empty() {
            object.set("params", params);
        }
        Self {
            object,
            kind: Kind::Notification,
        }
    }

    /// The response to a request that went well.
    pub fn result(id: &Id, result: &Object) -> Self {
        let object = Object::new()
            .with("jsonrpc", "2.0")
            .with("id", id)
            .with("result", result);
        Self {
            object,
            kind: Kind::Response,
        }
    }

    /// The response to a request that did not.
    pub fn error(id: Option<&Id>, error: &RpcError) -> Self {
        let mut object = Object::new().with("jsonrpc", "2.0");
        if let Some(id) = id {
            object.set("id", id);
        }
        Self {
            object: object.with("error", &error.object()),
            kind: Kind::Response,
        }
    }

    /// Its shape.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its id; `None` for a notification, and for an error about an id that could not be read.
    pub fn id(&self) -> Option<Id> {
        Id::read(&self.object, "id")
    }

    /// The same message under another id.
    #[must_use]
    pub fn with_id(mut self, id: &Id) -> Self {
        self.object.set("id", id);
        self
    }

    /// Its method; empty for a response.
    pub fn method(&self) -> String {
        self.object.text("method").unwrap_or_default()
    }

    /// Its parameters; empty where there are none.
    pub fn params(&self) -> Object {
        self.object.object("params").unwrap_or_default()
    }

    /// Changes the parameters.
    pub fn edit_params(&mut self, change: impl FnOnce(&mut Object)) {
        self.object.edit("params", change);
    }

    /// `params._meta`; empty where there is none.
    pub fn meta(&self) -> Object {
        self.params().object("_meta").unwrap_or_default()
    }

    /// The token under which the sender wants progress notifications.
    pub fn progress_token(&self) -> Option<Id> {
        Id::read(&self.meta(), crate::meta::PROGRESS_TOKEN)
    }

    /// The token that a progress notification is about.
    pub fn progressed(&self) -> Option<Id> {
        Id::read(&self.params(), crate::meta::PROGRESS_TOKEN)
    }

    /// The request that a `notifications/cancelled` is about.
    pub fn cancelled(&self) -> Option<Id> {
        Id::read(&self.params(), "requestId")
    }

    /// The result, if it is one.
    pub fn outcome(&self) -> Option<Object> {
        self.object.object("result")
    }

    /// The error, if it is one.
    pub fn failure(&self) -> Option<RpcError> {
        self.object.object("error").map(RpcError::from)
    }

    /// Whether it says that something went wrong.
    pub fn is_error(&self) -> bool {
        self.object.has("error")
    }
}

/// Its JSON text, in one line: what carries messages line by line (stdio, event streams) needs that,
/// and a line break within JSON is never but white space.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.object.to_string();
        match text.contains(['\n', '\r']) {
            true => f.write_str(&text.replace(['\n', '\r'], " ")),
            false => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_of_three_and_keeps_what_is_unknown() {
        for (text, kind) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#, Kind::Request),
            (
                r#"{"jsonrpc":"2.0","method":"a","x":1.0}"#,
                Kind::Notification,
            ),
            (r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, Kind::Response),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#,
                Kind::Response,
            ),
        ] {
            let message = Message::parse(text).unwrap();
            assert_eq!(message.kind(), kind);
            assert_eq!(message.to_string(), text);
        }
        for text in [
            "{}",
            "[]",
            r#"{"id":1}"#,
            r#"{"id":null,"method":"a"}"#,
            r#"{"id":{},"method":"a"}"#,
        ] {
            assert!(Message::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_is_one_line() {
        let pretty = "{\n  \"jsonrpc\": \"2.0\",\r\n  \"id\": 1, \"result\": {\n    \"a\": \"x\\ny\"\n  }\n}";
        let line = Message::parse(pretty).unwrap().to_string();
        assert!(!line.contains(['\n', '\r']), "{line}");
        assert_eq!(
            Message::parse(&line).unwrap().outcome().unwrap().text("a"),
            Some("x\ny".to_owned())
        );
    }

    #[test]
    fn ids_are_equal_when_they_mean_the_same() {
        let id = |text: &str| {
            Message::parse(&format!(r#"{{"id":{text},"method":"a"}}"#))
                .unwrap()
                .id()
                .unwrap()
        };
        assert_eq!(id(r#""a""#), id(r#""\u0061""#));
        assert_ne!(id("1"), id(r#""1""#));
        assert_eq!(id("1"), Id::number(1));
        assert_eq!(id(r#""x""#), Id::text("x"));
    }
}
