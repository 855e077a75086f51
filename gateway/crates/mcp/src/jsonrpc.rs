//! JSON-RPC 2.0 messages, judged so that they have one reading only. The bytes go on unchanged, so
//! whatever two parsers could read differently is refused here, where anybody decides by it: that is
//! what lets the gateway's decision stand for the backend's. What JSON allows and readers treat each
//! in their way (half of a surrogate pair, numbers beyond all floats) passes everywhere else.
//!
//! Owns: JSON's form, keys, and the three shapes of a message. Not: what methods mean (`mcp`).

mod collect;
mod stand_in;
pub(crate) mod walk;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use self::collect::Collected;
use self::stand_in::{HALF, stand_in};
use self::walk::{Any, IsEmpty, Key, Keys, Scalar, ScalarValue, Text};
use super::arguments::{Arguments, Paths};
use super::calls::META_VERSION;

/// Of a pointer this many characters are told.
const LONGEST_POINTER: usize = 200;

/// A batch may have this many messages.
const BATCH: usize = 100;

/// The members of a message, and those of its `params`, that anybody decides by.
pub(crate) const MESSAGE_KEYS: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS_KEYS: &[&str] = &[
    "name",
    "uri",
    "arguments",
    "_meta",
    "cursor",
    "task",
    "taskId",
];

/// Which of the three shapes a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `result` or `error`: an answer of the client to the server.
    Response,
}

/// A request identifier (JSON-RPC 2.0 §4): text or integer, as MCP narrows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// A text.
    Text(String),
    /// An integer.
    Number(i64),
    /// An integer above the signed range.
    Large(u64),
}

/// A judged message: the parts that anything is decided by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its shape.
    pub kind: Kind,
    /// Its identifier, where it has one.
    pub id: Option<Id>,
    /// Its method; `None` for a response.
    pub method: Option<String>,
    /// `params.name`, if it is a text.
    pub name: Option<String>,
    /// `params.uri`, if it is a text.
    pub uri: Option<String>,
    /// The protocol version in `params._meta`, if it is a text.
    pub version: Option<String>,
    /// `params.arguments` by path; `None` if the judge was not asked to keep them.
    pub arguments: Option<Arguments>,
    /// Whether it has a `result` that says something: any but an object without members, `_meta`
    /// aside.
    pub carries_result: bool,
}

/// Whether a judged message keeps its arguments. Keeping them costs, so only who decides by them
/// asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep<'a> {
    /// They are judged and forgotten.
    Nothing,
    /// They are judged and kept by path.
    Arguments,
    /// Those at these paths are kept.
    At(&'a Paths),
}

/// A judged body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// One message.
    One(Message),
    /// A batch (2025-03-26 only): 1 to 100 messages.
    Batch(Vec<Message>),
}

impl Body {
    /// The messages, in order.
    pub fn messages(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
        }
    }
}

/// Why a body is refused, in words for the client's developer. Nothing of the body is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Refused {
    fn because(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Judges a body. `batches`: whether the revision of the request knows message arrays.
pub fn judge(body: &[u8], batches: bool) -> Result<Body, Refused> {
    judge_and_keep(body, batches, Keep::Nothing)
}

/// As [`judge`], in the same one reading, keeping what is asked for.
pub fn judge_and_keep(body: &[u8], batches: bool, keep: Keep<'_>) -> Result<Body, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| Refused::because("the body is not UTF-8"))?;
    if text.starts_with('\u{feff}') {
        return Err(Refused::because(
            "the body begins with a byte-order mark, which JSON that is sent must not have (RFC 8259 section 8.1)",
        ));
    }
    let reading = |halves| Reading {
        keep,
        halves,
        message: None,
    };
    judge_text(text, batches, reading(false)).or_else(|refused| match stand_in(text) {
        Some(copy) => judge_text(&copy, batches, reading(true)),
        None => Err(refused),
    })
}

/// How a message is read.
#[derive(Clone, Copy, Debug)]
struct Reading<'k> {
    keep: Keep<'k>,
    /// Whether U+FFFD may stand for half of a surrogate pair.
    halves: bool,
    /// Which message of a batch it is.
    message: Option<usize>,
}

impl Reading<'_> {
    /// A text that somebody decides by: it has one reading.
    fn whole<E: serde::de::Error>(&self, text: &str, pointer: &str) -> Result<(), E> {
        match text.chars().position(|c| c == HALF) {
            Some(at) if self.halves => Err(E::custom(self.half(at, pointer, ""))),
            _ => Ok(()),
        }
    }

    /// Which character has no reading, and why that matters.
    fn half(&self, at: usize, pointer: &str, why: &str) -> String {
        let message = self.message.map(|message| format!("/{message}"));
        let pointer: String = format!("{}{pointer}", message.unwrap_or_default())
            .chars()
            .map(|c| if c.is_control() { HALF } else { c })
            .take(LONGEST_POINTER)
            .collect();
        format!(
            "character {} of the text at {pointer} is half of a surrogate pair (RFC 8259 section 8.2), and access is decided by this text{why}",
            at + 1
        )
    }
}

fn judge_text(text: &str, batches: bool, reading: Reading<'_>) -> Result<Body, Refused> {
    let mut json = serde_json::Deserializer::from_str(text);
    let top = match text
        .trim_start_matches([' ', '\t', '\n', '\r'])
        .as_bytes()
        .first()
    {
        Some(b'{') => MessageSeed(reading).deserialize(&mut json).map(Body::One),
        Some(b'[') if batches => BatchSeed(reading).deserialize(&mut json).map(Body::Batch),
        Some(b'[') => {
            return Err(Refused::because(
                "message arrays are of protocol version 2025-03-26 only",
            ));
        }
        _ => return Err(Refused::because("the body is no JSON object")),
    };
    let top = top.and_then(|top| json.end().map(|()| top));
    top.map_err(|error| Refused(describe(&error)))
}

/// The arguments of a call alone, as they would stand in `params.arguments`.
pub fn judge_arguments(json: &str) -> Result<Arguments, Refused> {
    judge_arguments_text(json, false).or_else(|refused| match stand_in(json) {
        Some(copy) => judge_arguments_text(&copy, true),
        None => Err(refused),
    })
}

fn judge_arguments_text(json: &str, halves: bool) -> Result<Arguments, Refused> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let all = Collected {
        depth: 3,
        wanted: None,
        reading: Reading {
            keep: Keep::Arguments,
            halves,
            message: None,
        },
    };
    let arguments = all.deserialize(&mut deserializer);
    let arguments = arguments.and_then(|arguments| deserializer.end().map(|()| arguments));
    arguments.map_err(|error| Refused(describe(&error)))
}

/// serde_json's words name positions and kinds of tokens; those of ours name the rule. Neither
/// repeats what the client sent.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let ours = text.split(" at line ").next().unwrap_or_default();
    // "invalid type: string "…", expected …" carries the value.
    let ours = ours.find("expected ").map_or(ours, |at| &ours[at..]);
    format!("{ours} (line {}, column {})", error.line(), error.column())
}

struct BatchSeed<'k>(Reading<'k>);

impl<'de> DeserializeSeed<'de> for BatchSeed<'_> {
    type Value = Vec<Message>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BatchSeed<'_> {
    type Value = Vec<Message>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut messages: Vec<Message> = Vec::new();
        while let Some(message) = seq.next_element_seed(MessageSeed(Reading {
            message: Some(messages.len()),
            ..self.0
        }))? {
            if messages.len() == BATCH {
                return Err(A::Error::custom("a batch has at most 100 messages"));
            }
            let repeated = message.kind == Kind::Request
                && messages
                    .iter()
                    .any(|other| other.kind == Kind::Request && other.id == message.id);
            if repeated {
                return Err(A::Error::custom("two requests of a batch share an id"));
            }
            messages.push(message);
        }
        if messages.is_empty() {
            return Err(A::Error::custom("a batch is not empty"));
        }
        Ok(messages)
    }
}

struct MessageSeed<'k>(Reading<'k>);

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = Message;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Message, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let mut keys = Keys::named(MESSAGE_KEYS);
        let (mut version, mut id, mut method) = (None, None, None);
        let mut params = Params::default();
        let (mut result, mut error, mut carries_result) = (false, false, false);
        while let Some(Key(key)) = map.next_key()? {
            match key.as_ref() {
                "jsonrpc" => version = Some(map.next_value_seed(Scalar)?),
                "id" => id = Some(map.next_value_seed(Scalar)?),
                "method" => method = Some(map.next_value_seed(Scalar)?),
                "params" => params = map.next_value_seed(ParamsSeed(self.0))?,
                "result" => {
                    carries_result = !map.next_value_seed(IsEmpty { depth: 2 })?;
                    result = true;
                }
                "error" => {
                    map.next_value_seed(Any { depth: 2 })?;
                    error = true;
                }
                _ => map.next_value_seed(Any { depth: 2 })?,
            }
            keys.note(key)?;
        }
        for (value, pointer) in [(&version, "/jsonrpc"), (&id, "/id"), (&method, "/method")] {
            if let Some(ScalarValue::Text(text)) = value {
                self.0.whole::<A::Error>(text, pointer)?;
            }
        }
        if version != Some(ScalarValue::Text("2.0".to_owned())) {
            return Err(A::Error::custom("jsonrpc is not \"2.0\""));
        }
        let method = match method {
            None => None,
            Some(ScalarValue::Text(method)) if !method.is_empty() => Some(method),
            Some(_) => return Err(A::Error::custom("method is no text")),
        };
        let id_is_null = id == Some(ScalarValue::Null);
        let id = match id {
            None => None,
            Some(ScalarValue::Null) if error && method.is_none() => None,
            Some(value) => Some(
                value
                    .into_id()
                    .ok_or_else(|| A::Error::custom("id is neither a text nor an integer"))?,
            ),
        };
        let kind = match (&method, result, error) {
            (Some(_), false, false) if id.is_some() => Kind::Request,
            (Some(_), false, false) => Kind::Notification,
            (None, true, false) if id.is_some() => Kind::Response,
            (None, false, true) if id.is_some() || id_is_null => Kind::Response,
            (None, false, true) if !params.present => Kind::Response,
            _ => {
                return Err(A::Error::custom(
                    "the message is not exactly a request, a notification or a response",
                ));
            }
        };
        if kind == Kind::Response && params.present {
            return Err(A::Error::custom("a response has no params"));
        }
        Ok(Message {
            kind,
            id,
            method,
            name: params.name,
            uri: params.uri,
            version: params.version,
            arguments: match self.0.keep {
                Keep::Nothing => None,
                Keep::Arguments | Keep::At(_) => Some(params.arguments.unwrap_or_default()),
            },
            carries_result,
        })
    }
}

#[derive(Default)]
struct Params {
    present: bool,
    name: Option<String>,
    uri: Option<String>,
    version: Option<String>,
    arguments: Option<Arguments>,
}

struct ParamsSeed<'k>(Reading<'k>);

impl<'de> DeserializeSeed<'de> for ParamsSeed<'_> {
    type Value = Params;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Params, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ParamsSeed<'_> {
    type Value = Params;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params as an object")
    }

    /// `null` says what absence says.
    fn visit_unit<E>(self) -> Result<Params, E> {
        Ok(Params {
            present: true,
            ..Params::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params, A::Error> {
        let mut keys = Keys::named(PARAMS_KEYS);
        let mut params = Params {
            present: true,
            ..Params::default()
        };
        while let Some(Key(key)) = map.next_key()? {
            match key.as_ref() {
                "name" => params.name = map.next_value_seed(Text { depth: 3 })?,
                "uri" => params.uri = map.next_value_seed(Text { depth: 3 })?,
                "_meta" => params.version = map.next_value_seed(Meta)?,
                "arguments" if self.0.keep != Keep::Nothing => {
                    let wanted = match self.0.keep {
                        Keep::At(paths) => Some(paths),
                        Keep::Nothing | Keep::Arguments => None,
                    };
                    let collected = Collected {
                        depth: 3,
                        wanted,
                        reading: self.0,
                    };
                    params.arguments = Some(map.next_value_seed(collected)?);
                }
                _ => map.next_value_seed(Any { depth: 3 })?,
            }
            keys.note(key)?;
        }
        for (text, pointer) in [
            (&params.name, "/params/name"),
            (&params.uri, "/params/uri"),
            (
                &params.version,
                "/params/_meta/io.modelcontextprotocol~1protocolVersion",
            ),
        ] {
            if let Some(text) = text {
                self.0.whole::<A::Error>(text, pointer)?;
            }
        }
        Ok(params)
    }
}

/// `_meta`: the protocol version, everything else walked.
struct Meta;

impl<'de> DeserializeSeed<'de> for Meta {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Meta {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_meta as an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::named(&[META_VERSION]);
        let mut version = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == META_VERSION {
                version = map.next_value_seed(Text { depth: 4 })?;
            } else {
                map.next_value_seed(Any { depth: 4 })?;
            }
            keys.note(key)?;
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests;
