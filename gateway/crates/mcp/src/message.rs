//! One JSON-RPC 2.0 message: the bytes that it came in, and what was read of them.
//!
//! A message of a client is judged (`jsonrpc`) before anybody decides by it; what a backend or the gateway
//! itself says is only parsed. Both are this type, and its bytes are never changed but by [`Message::with_id`]
//! and [`Message::edit`], after which they are read again.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::arguments::Arguments;
use crate::id::Id;
use crate::jsonrpc::{self, Body};
use crate::object::Object;
use crate::rpc_error::RpcError;

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
    pub(crate) text: Bytes,
    pub(crate) kind: Kind,
    pub(crate) id: Option<Id>,
    pub(crate) method: Option<String>,
    /// Where they stand in the text.
    pub(crate) params: Option<Range<usize>>,
    pub(crate) result: Option<Range<usize>>,
    pub(crate) error: Option<Range<usize>>,
    pub(crate) judged: MessageFacts,
}

/// What judging a message finds out besides: what anybody decides by. Nothing where it was not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageFacts {
    pub(crate) name: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) arguments: Option<Arguments>,
    pub(crate) carries_result: bool,
}

impl Message {
    /// Reads one message. Of a member that stands twice the last one counts.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        jsonrpc::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The same of a text that need not be copied.
    pub fn from_bytes(text: Bytes) -> Result<Self, Malformed> {
        jsonrpc::parse(text)
    }

    /// Reads one message, or those of an array, which 2025-03-26 has; an empty one is malformed.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Malformed> {
        match jsonrpc::parse_body(&Bytes::copy_from_slice(text.as_bytes()))? {
            Body::One(message) => Ok(vec![message]),
            Body::Batch(messages) if messages.is_empty() => Err(Malformed),
            Body::Batch(messages) => Ok(messages),
        }
    }

    /// Takes an object for a message.
    pub fn from_object(object: &Object) -> Result<Self, Malformed> {
        jsonrpc::parse(Bytes::from(object.to_string()))
    }

    fn built(object: &Object) -> Self {
        Self::from_object(object).expect("an object with method, result or error is a message")
    }

    /// A request.
    pub fn request(id: &Id, method: &str, params: &Object) -> Self {
        let object = Object::new()
            .with("jsonrpc", "2.0")
            .with("id", id)
            .with("method", method)
            .with("params", params);
        Self::built(&object)
    }

    /// A notification; `params` are left out when they are empty.
    pub fn notification(method: &str, params: &Object) -> Self {
        let mut object = Object::new().with("jsonrpc", "2.0").with("method", method);
        if !params.is_empty() {
            object.set("params", params);
        }
        Self::built(&object)
    }

    /// The response to a request that went well.
    pub fn result(id: &Id, result: &Object) -> Self {
        let object = Object::new()
            .with("jsonrpc", "2.0")
            .with("id", id)
            .with("result", result);
        Self::built(&object)
    }

    /// The response to a request that did not.
    pub fn error(id: Option<&Id>, error: &RpcError) -> Self {
        let mut object = Object::new().with("jsonrpc", "2.0");
        if let Some(id) = id {
            object.set("id", id);
        }
        Self::built(&object.with("error", &error.object()))
    }

    /// Its shape.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its bytes, as they were sent.
    pub const fn text(&self) -> &Bytes {
        &self.text
    }

    /// Its id; `None` for a notification, and for an error about an id that could not be read.
    pub fn id(&self) -> Option<Id> {
        self.id.clone()
    }

    /// The same message under another id.
    #[must_use]
    pub fn with_id(mut self, id: &Id) -> Self {
        self.edit(|message| message.set("id", id));
        self
    }

    /// Its method; empty for a response.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// Its parameters; empty where there are none.
    pub fn params(&self) -> Object {
        self.object(self.params.as_ref()).unwrap_or_default()
    }

    /// Changes its members, and says whether it did. What was judged of it stays: who decides by what is
    /// changed judges again. One that was not judged, and has a key that is no text (half of a surrogate
    /// pair), stays as it is.
    pub fn edit(&mut self, change: impl FnOnce(&mut Object)) -> bool {
        let Some(mut members) = self.object(Some(&(0..self.text.len()))) else {
            return false;
        };
        change(&mut members);
        let Ok(edited) = Self::from_object(&members) else {
            return false;
        };
        let judged = std::mem::take(&mut self.judged);
        *self = Self { judged, ..edited };
        true
    }

    /// Changes the parameters.
    pub fn edit_params(&mut self, change: impl FnOnce(&mut Object)) -> bool {
        self.edit(|message| message.edit("params", change))
    }

    /// All its members.
    pub fn members(&self) -> Object {
        self.object(Some(&(0..self.text.len()))).unwrap_or_default()
    }

    fn object(&self, place: Option<&Range<usize>>) -> Option<Object> {
        Object::parse(self.part(place)?)
    }

    fn part(&self, place: Option<&Range<usize>>) -> Option<&str> {
        std::str::from_utf8(&self.text[place?.clone()]).ok()
    }

    /// `params.name` of a judged message, if it is a text.
    pub fn name(&self) -> Option<&str> {
        self.judged.name.as_deref()
    }

    /// `params.uri` of a judged message, if it is a text.
    pub fn uri(&self) -> Option<&str> {
        self.judged.uri.as_deref()
    }

    /// The protocol version in `params._meta` of a judged message, if it is a text.
    pub fn version(&self) -> Option<&str> {
        self.judged.version.as_deref()
    }

    /// `params.arguments` by path, handed over; `None` where the judge was not asked to keep them.
    pub fn take_arguments(&mut self) -> Option<Arguments> {
        self.judged.arguments.take()
    }

    /// `params.arguments` as they were sent.
    pub fn arguments_text(&self) -> Option<&str> {
        jsonrpc::arguments_in(self.part(self.params.as_ref())?)
    }

    /// The text of `result`.
    pub fn result_text(&self) -> Option<&str> {
        self.part(self.result.as_ref())
    }

    /// The text of `error`.
    pub fn error_text(&self) -> Option<&str> {
        self.part(self.error.as_ref())
    }

    /// Whether a judged message has a `result` that says something: any but an object without members,
    /// `_meta` aside.
    pub const fn carries_result(&self) -> bool {
        self.judged.carries_result
    }

    /// `params._meta`; empty where there is none.
    pub fn meta(&self) -> Object {
        self.params().object("_meta").unwrap_or_default()
    }

    /// The token under which the sender wants progress notifications.
    pub fn progress_token(&self) -> Option<Id> {
        id_in(&self.meta(), crate::meta::PROGRESS_TOKEN)
    }

    /// The token that a progress notification is about.
    pub fn progressed(&self) -> Option<Id> {
        id_in(&self.params(), crate::meta::PROGRESS_TOKEN)
    }

    /// The request that a `notifications/cancelled` is about.
    pub fn cancelled(&self) -> Option<Id> {
        id_in(&self.params(), "requestId")
    }

    /// The result, if it is one.
    pub fn outcome(&self) -> Option<Object> {
        self.object(self.result.as_ref())
    }

    /// The error, if it is one.
    pub fn failure(&self) -> Option<RpcError> {
        self.object(self.error.as_ref()).map(RpcError::from)
    }

    /// Whether it says that something went wrong.
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }
}

fn id_in(object: &Object, name: &str) -> Option<Id> {
    Id::from_raw(object.raw(name)?)
}

/// Its JSON text, in one line: what carries messages line by line (stdio, event streams) needs that,
/// and a line break within JSON is never but white space.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::str::from_utf8(&self.text).map_err(|_| fmt::Error)?;
        if text.contains(['\n', '\r']) {
            return f.write_str(&text.replace(['\n', '\r'], " "));
        }
        f.write_str(text)
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
    fn an_array_is_its_messages() {
        let text = r#" [{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","id":7,"method":"b"}]"#;
        let all = Message::parse_all(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].id(), Some(Id::number(7)));
        assert_eq!(Message::parse_all(r#"{"method":"a"}"#).unwrap().len(), 1);
        for text in ["[]", "[1]", "[[]]", "", "1", "{}", r#"[{"method":"a"},{}]"#] {
            assert!(Message::parse_all(text).is_err(), "{text}");
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
}
