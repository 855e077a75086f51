//! The one reading of JSON-RPC 2.0 messages. What a client sends is judged, so that it has one reading
//! only: the bytes go on unchanged, so whatever two parsers could read differently is refused here, where
//! anybody decides by it. That is what lets the gateway's decision stand for the backend's. What JSON
//! allows and readers treat each in their way (half of a surrogate pair, numbers beyond all floats) passes
//! everywhere else. What a backend sends nobody decides by: it is parsed, and its last word counts.
//!
//! Owns: JSON's form, keys, and the three shapes of a message. Not: what methods mean (`calls`).

mod collect;
mod stand_in;
pub(crate) mod walk;

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use self::collect::Collected;
use self::stand_in::{HALF, stand_in};
use self::walk::{Any, IsEmpty, Key, Keys, Scalar, ScalarValue, Text};
use super::arguments::{Arguments, Paths};
use super::calls::META_VERSION;
use super::id::Id;
use super::message::{Judged, Kind, Malformed, Message};

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
#[derive(Clone, Debug)]
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

    /// The same, to be changed.
    pub fn messages_mut(&mut self) -> &mut [Message] {
        match self {
            Self::One(message) => std::slice::from_mut(message),
            Self::Batch(messages) => messages,
        }
    }

    /// Whether it is an array of messages.
    pub const fn is_batch(&self) -> bool {
        matches!(self, Self::Batch(_))
    }

    /// Its bytes, as its messages are now.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::One(message) => message.text().clone(),
            Self::Batch(messages) => {
                let texts: Vec<&[u8]> =
                    messages.iter().map(|message| &message.text()[..]).collect();
                Bytes::from([b"[", &texts.join(&b","[..])[..], b"]"].concat())
            }
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
pub fn judge(body: &Bytes, batches: bool) -> Result<Body, Refused> {
    judge_and_keep(body, batches, Keep::Nothing)
}

/// As [`judge`], in the same one reading, keeping what is asked for.
pub fn judge_and_keep(body: &Bytes, batches: bool, keep: Keep<'_>) -> Result<Body, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| Refused::because("the body is not UTF-8"))?;
    if text.starts_with('\u{feff}') {
        return Err(Refused::because(
            "the body begins with a byte-order mark, which JSON that is sent must not have (RFC 8259 section 8.1)",
        ));
    }
    judge_text(text, batches, Reading::new(body, text, keep)).or_else(|refused| {
        let copy = stand_in(text).ok_or(refused)?;
        let reading = Reading {
            halves: true,
            ..Reading::new(body, &copy, keep)
        };
        judge_text(&copy, batches, reading)
    })
}

/// Reads a message that nobody decides by.
pub(crate) fn parse(text: Bytes) -> Result<Message, Malformed> {
    let whole = std::str::from_utf8(&text).map_err(|_| Malformed)?;
    let mut json = serde_json::Deserializer::from_str(whole);
    let members = MembersSeed { is_judged: false }
        .deserialize(&mut json)
        .and_then(|members| json.end().map(|()| members))
        .map_err(|_| Malformed)?;
    let method = members
        .method
        .and_then(|raw| serde_json::from_str(raw.get()).ok());
    let id = members.id.and_then(Id::from_raw);
    let kind = match (&method, members.id, &id) {
        (Some(_), Some(_), Some(_)) => Kind::Request,
        (Some(_), None, _) => Kind::Notification,
        (None, ..) if members.result.is_some() || members.error.is_some() => Kind::Response,
        _ => return Err(Malformed),
    };
    let place = |raw: Option<&RawValue>| raw.map(|raw| place(whole, raw));
    let (params, result, error) = (
        place(members.params),
        place(members.result),
        place(members.error),
    );
    Ok(Message {
        kind,
        id,
        method,
        params,
        result,
        error,
        judged: Judged::default(),
        text,
    })
}

/// Reads a body that nobody decides by: a message, or an array of them.
pub fn parse_body(text: &Bytes) -> Result<Body, Malformed> {
    let start = text.trim_ascii_start();
    if start.first() != Some(&b'[') {
        return parse(text.clone()).map(Body::One);
    }
    let whole = std::str::from_utf8(text).map_err(|_| Malformed)?;
    let parts: Vec<&RawValue> = serde_json::from_str(whole).map_err(|_| Malformed)?;
    let messages = parts
        .iter()
        .map(|part| parse(text.slice(place(whole, part))));
    messages.collect::<Result<_, _>>().map(Body::Batch)
}

/// The text of `arguments` in that of `params`.
pub(crate) fn arguments_in(params: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let params: Params<'_> = serde_json::from_str(params).ok()?;
    params.arguments.map(RawValue::get)
}

/// Where a part of a text stands in it.
fn place(text: &str, part: &RawValue) -> std::ops::Range<usize> {
    let start = part.get().as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.get().len()
}

/// How a message is read.
#[derive(Clone, Copy, Debug)]
struct Reading<'k> {
    /// What was sent.
    body: &'k Bytes,
    /// The same, or what stands in for it.
    text: &'k str,
    keep: Keep<'k>,
    /// Whether U+FFFD may stand for half of a surrogate pair.
    halves: bool,
    /// Which message of a batch it is.
    message: Option<usize>,
}

impl<'k> Reading<'k> {
    const fn new(body: &'k Bytes, text: &'k str, keep: Keep<'k>) -> Self {
        Self {
            body,
            text,
            keep,
            halves: false,
            message: None,
        }
    }

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

    /// Reads a part of the body. An error is told with its place in the whole.
    fn part<S: DeserializeSeed<'k>>(
        &self,
        part: &'k RawValue,
        seed: S,
    ) -> Result<S::Value, Refused> {
        let mut json = serde_json::Deserializer::from_str(part.get());
        seed.deserialize(&mut json)
            .map_err(|error| Refused(describe(&error, &self.text[..place(self.text, part).start])))
    }

    /// A text, a number or nothing, that somebody decides by.
    fn scalar(&self, part: &'k RawValue, pointer: &str) -> Result<ScalarValue, Refused> {
        let value = self.part(part, Scalar)?;
        if let ScalarValue::Text(text) = &value {
            self.whole::<serde_json::Error>(text, pointer)
                .map_err(|error| self.refused(Some(part), &error.to_string()))?;
        }
        Ok(value)
    }

    /// A refusal because of a part; because of all of it, if there is none.
    fn refused(&self, part: Option<&RawValue>, why: &str) -> Refused {
        let end = part.map_or(self.text.len(), |part| place(self.text, part).end);
        let (line, column) = position(&self.text[..end]);
        Refused(format!("{why} (line {}, column {column})", line + 1))
    }
}

fn judge_text<'k>(text: &'k str, batches: bool, reading: Reading<'k>) -> Result<Body, Refused> {
    let start = text.trim_start_matches([' ', '\t', '\n', '\r']);
    let mut json = serde_json::Deserializer::from_str(text);
    let described = |error: serde_json::Error| Refused(describe(&error, ""));
    match start.as_bytes().first() {
        Some(b'{') => {
            let seed = MembersSeed { is_judged: true };
            let members = seed.deserialize(&mut json);
            let members = members.and_then(|members| json.end().map(|()| members));
            let message = judge_message(
                members.map_err(described)?,
                &reading,
                reading.body.clone(),
                text,
            );
            message.map(Body::One)
        }
        Some(b'[') if batches => {
            let parts = BatchSeed.deserialize(&mut json);
            let parts = parts.and_then(|parts| json.end().map(|()| parts));
            judge_batch(&parts.map_err(described)?, reading).map(Body::Batch)
        }
        Some(b'[') => Err(Refused::because(
            "message arrays are of protocol version 2025-03-26 only",
        )),
        _ => Err(Refused::because("the body is no JSON object")),
    }
}

fn judge_batch<'k>(parts: &[&'k RawValue], reading: Reading<'k>) -> Result<Vec<Message>, Refused> {
    let mut messages: Vec<Message> = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let reading = Reading {
            message: Some(at),
            ..reading
        };
        let members = reading.part(part, MembersSeed { is_judged: true })?;
        let text = reading.body.slice(place(reading.text, part));
        let message = judge_message(members, &reading, text, part.get())?;
        let repeated = message.kind == Kind::Request
            && messages
                .iter()
                .any(|other| other.kind == Kind::Request && other.id == message.id);
        if repeated {
            return Err(reading.refused(Some(part), "two requests of a batch share an id"));
        }
        messages.push(message);
    }
    Ok(messages)
}

/// `text`: that of the message; `read`: what stands in for it, in which its members are.
fn judge_message<'k>(
    members: Members<'k>,
    reading: &Reading<'k>,
    text: Bytes,
    read: &str,
) -> Result<Message, Refused> {
    let scalar = |part: Option<&'k RawValue>, pointer| {
        part.map(|part| reading.scalar(part, pointer)).transpose()
    };
    let is_2_0 = match members.jsonrpc {
        Some(version) if version.get() == "\"2.0\"" => true,
        version => scalar(version, "/jsonrpc")? == Some(ScalarValue::Text("2.0".to_owned())),
    };
    if !is_2_0 {
        return Err(reading.refused(members.jsonrpc, "jsonrpc is not \"2.0\""));
    }
    let (id, method) = (
        scalar(members.id, "/id")?,
        scalar(members.method, "/method")?,
    );
    let method = match method {
        None => None,
        Some(ScalarValue::Text(method)) if !method.is_empty() => Some(method),
        Some(_) => return Err(reading.refused(members.method, "method is no text")),
    };
    let id_is_null = id == Some(ScalarValue::Null);
    let id =
        match id {
            None => None,
            Some(ScalarValue::Null) if members.error.is_some() && method.is_none() => None,
            Some(value) => Some(value.into_id().ok_or_else(|| {
                reading.refused(members.id, "id is neither a text nor an integer")
            })?),
        };
    let kind = match (&method, members.result, members.error, members.params) {
        (Some(_), None, None, _) if id.is_some() => Kind::Request,
        (Some(_), None, None, _) => Kind::Notification,
        (None, Some(_), None, _) if id.is_some() => Kind::Response,
        (None, None, Some(_), _) if id.is_some() || id_is_null => Kind::Response,
        (None, None, Some(_), None) => Kind::Response,
        _ => {
            let why = "the message is not exactly a request, a notification or a response";
            return Err(reading.refused(None, why));
        }
    };
    if kind == Kind::Response && members.params.is_some() {
        return Err(reading.refused(members.params, "a response has no params"));
    }
    let place = |raw: Option<&RawValue>| raw.map(|raw| place(read, raw));
    Ok(Message {
        kind,
        id,
        method,
        params: place(members.params),
        result: place(members.result),
        error: place(members.error),
        judged: judge_parts(&members, reading)?,
        text,
    })
}

/// What stands in the parts of a message, each walked to its end.
fn judge_parts<'k>(members: &Members<'k>, reading: &Reading<'k>) -> Result<Judged, Refused> {
    let mut judged = match members.params {
        Some(params) => reading.part(params, ParamsSeed(*reading))?,
        None => Judged::default(),
    };
    if reading.keep != Keep::Nothing {
        judged.arguments.get_or_insert_default();
    }
    if let Some(result) = members.result {
        judged.carries_result = !reading.part(result, IsEmpty { depth: 2 })?;
    }
    if let Some(error) = members.error {
        reading.part(error, Any { depth: 2 })?;
    }
    Ok(judged)
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
            body: &Bytes::new(),
            text: json,
            keep: Keep::Arguments,
            halves,
            message: None,
        },
    };
    let arguments = all.deserialize(&mut deserializer);
    let arguments = arguments.and_then(|arguments| deserializer.end().map(|()| arguments));
    arguments.map_err(|error| Refused(describe(&error, "")))
}

/// serde_json's words name positions and kinds of tokens; those of ours name the rule. Neither
/// repeats what the client sent. `before`: what stands before the text that was read.
fn describe(error: &serde_json::Error, before: &str) -> String {
    let text = error.to_string();
    let ours = text.split(" at line ").next().unwrap_or_default();
    // "invalid type: string "…", expected …" carries the value.
    let ours = ours.find("expected ").map_or(ours, |at| &ours[at..]);
    let (lines, columns) = position(before);
    let column = match error.line() {
        1 => columns + error.column(),
        _ => error.column(),
    };
    format!("{ours} (line {}, column {column})", lines + error.line())
}

/// So many lines are over at the end of a text, and so many bytes of the next one.
fn position(text: &str) -> (usize, usize) {
    let last = text.rfind('\n').map_or(0, |at| at + 1);
    (text.matches('\n').count(), text.len() - last)
}

/// The members of a message that anything is known of.
#[derive(Clone, Copy, Default)]
struct Members<'de> {
    jsonrpc: Option<&'de RawValue>,
    id: Option<&'de RawValue>,
    method: Option<&'de RawValue>,
    params: Option<&'de RawValue>,
    result: Option<&'de RawValue>,
    error: Option<&'de RawValue>,
}

/// Finds them. Of a message that is judged no member stands twice, and what is not known is walked, too.
struct MembersSeed {
    is_judged: bool,
}

impl<'de> DeserializeSeed<'de> for MembersSeed {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MembersSeed {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::named(MESSAGE_KEYS);
        let mut members = Members::default();
        while let Some(Key(key)) = map.next_key()? {
            let place = match key.as_ref() {
                "jsonrpc" => Some(&mut members.jsonrpc),
                "id" => Some(&mut members.id),
                "method" => Some(&mut members.method),
                "params" => Some(&mut members.params),
                "result" => Some(&mut members.result),
                "error" => Some(&mut members.error),
                _ => None,
            };
            match place {
                Some(place) => *place = Some(map.next_value()?),
                None if self.is_judged => map.next_value_seed(Any { depth: 2 })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
            if self.is_judged {
                keys.note(key)?;
            }
        }
        Ok(members)
    }
}

struct BatchSeed;

impl<'de> DeserializeSeed<'de> for BatchSeed {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BatchSeed {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element()? {
            if parts.len() == BATCH {
                return Err(A::Error::custom("a batch has at most 100 messages"));
            }
            parts.push(part);
        }
        match parts.is_empty() {
            true => Err(A::Error::custom("a batch is not empty")),
            false => Ok(parts),
        }
    }
}

struct ParamsSeed<'k>(Reading<'k>);

impl<'de> DeserializeSeed<'de> for ParamsSeed<'_> {
    type Value = Judged;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Judged, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ParamsSeed<'_> {
    type Value = Judged;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params as an object")
    }

    /// `null` says what absence says.
    fn visit_unit<E>(self) -> Result<Judged, E> {
        Ok(Judged::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Judged, A::Error> {
        let mut keys = Keys::named(PARAMS_KEYS);
        let mut params = Judged::default();
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
