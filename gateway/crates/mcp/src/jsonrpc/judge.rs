//! Judging: what makes a body one that has one reading, and how a refusal names the place.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::collect::Collected;
use super::members::{BatchSeed, Members, MembersSeed};
use super::stand_in::HALF;
use super::walk::{Any, Key, Keys, Scalar, ScalarValue, Text, deeper};
use super::{Body, Keep, PARAMS_KEYS, Refused, place};
use crate::canonical::pointer_token;
use crate::message::{Kind, Message, MessageFacts};
use crate::meta;

/// Of a pointer this many characters are told.
const LONGEST_POINTER: usize = 200;

/// How a message is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'k> {
    /// What was sent.
    pub(super) body: &'k Bytes,
    /// The same, or what stands in for it.
    pub(super) text: &'k str,
    pub(super) keep: Keep<'k>,
    /// Whether U+FFFD may stand for half of a surrogate pair.
    pub(super) halves: bool,
    /// Which message of a batch it is.
    pub(super) message: Option<usize>,
}

impl<'k> Reading<'k> {
    pub(super) const fn new(body: &'k Bytes, text: &'k str, keep: Keep<'k>) -> Self {
        Self {
            body,
            text,
            keep,
            halves: false,
            message: None,
        }
    }

    /// A text that somebody decides by: it has one reading.
    pub(super) fn whole<E: serde::de::Error>(&self, text: &str, pointer: &str) -> Result<(), E> {
        match text.chars().position(|c| c == HALF) {
            Some(at) if self.halves => Err(E::custom(self.half(at, pointer, ""))),
            _ => Ok(()),
        }
    }

    /// Which character has no reading, and why that matters.
    pub(super) fn half(&self, at: usize, pointer: &str, why: &str) -> String {
        let pointer = self.pointer(pointer);
        format!(
            "character {} of the text at {pointer} is half of a surrogate pair (RFC 8259 section 8.2), and access is decided by this text{why}",
            at + 1
        )
    }

    /// A key of the object at `object`, which is taken apart by its keys: it has one reading.
    pub(super) fn whole_key<E: serde::de::Error>(&self, key: &str, object: &str) -> Result<(), E> {
        let at = if self.halves {
            key.chars().position(|c| c == HALF)
        } else {
            None
        };
        let Some(at) = at else { return Ok(()) };
        let pointer = self.pointer(&format!("{object}{}", pointer_token(key)));
        Err(E::custom(format!(
            "character {} of the key {pointer} is half of a surrogate pair (RFC 8259 section 8.2), and messages are read by this key",
            at + 1
        )))
    }

    /// A place in the body, as it can be shown.
    fn pointer(&self, pointer: &str) -> String {
        let message = self.message.map(|message| format!("/{message}"));
        format!("{}{pointer}", message.unwrap_or_default())
            .chars()
            .map(|c| if c.is_control() { HALF } else { c })
            .take(LONGEST_POINTER)
            .collect()
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

pub(super) fn judge_text<'k>(
    text: &'k str,
    batches: bool,
    reading: Reading<'k>,
) -> Result<Body, Refused> {
    let start = text.trim_start_matches([' ', '\t', '\n', '\r']);
    let mut json = serde_json::Deserializer::from_str(text);
    let described = |error: serde_json::Error| Refused(describe(&error, ""));
    match start.as_bytes().first() {
        Some(b'{') => {
            let seed = MembersSeed(Some(reading));
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
        let members = reading.part(part, MembersSeed(Some(reading)))?;
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
fn judge_parts<'k>(members: &Members<'k>, reading: &Reading<'k>) -> Result<MessageFacts, Refused> {
    let mut judged = match members.params {
        Some(params) => reading.part(params, ParamsSeed(*reading))?,
        None => MessageFacts::default(),
    };
    if reading.keep != Keep::Nothing {
        judged.arguments.get_or_insert_default();
    }
    let is_empty = |pointer| IsEmpty {
        depth: 2,
        reading: *reading,
        pointer,
    };
    if let Some(result) = members.result {
        judged.carries_result = !reading.part(result, is_empty("/result"))?;
    }
    if let Some(error) = members.error {
        reading.part(error, is_empty("/error"))?;
    }
    Ok(judged)
}

/// serde_json's words name positions and kinds of tokens; those of ours name the rule. Neither
/// repeats what the client sent. `before`: what stands before the text that was read.
pub(super) fn describe(error: &serde_json::Error, before: &str) -> String {
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

struct ParamsSeed<'k>(Reading<'k>);

impl<'de> DeserializeSeed<'de> for ParamsSeed<'_> {
    type Value = MessageFacts;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<MessageFacts, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ParamsSeed<'_> {
    type Value = MessageFacts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params as an object")
    }

    /// `null` says what absence says.
    fn visit_unit<E>(self) -> Result<MessageFacts, E> {
        Ok(MessageFacts::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MessageFacts, A::Error> {
        let mut keys = Keys::named(PARAMS_KEYS);
        let mut params = MessageFacts::default();
        while let Some(Key(key)) = map.next_key()? {
            match key.as_ref() {
                "name" => params.name = map.next_value_seed(Text { depth: 3 })?,
                "uri" => params.uri = map.next_value_seed(Text { depth: 3 })?,
                "_meta" => params.version = map.next_value_seed(Meta(self.0))?,
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
            self.0.whole_key(&key, "/params")?;
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
struct Meta<'k>(Reading<'k>);

impl<'de> DeserializeSeed<'de> for Meta<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Meta<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_meta as an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::named(&[meta::VERSION]);
        let mut version = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == meta::VERSION {
                version = map.next_value_seed(Text { depth: 4 })?;
            } else {
                map.next_value_seed(Any { depth: 4 })?;
            }
            self.0.whole_key(&key, "/params/_meta")?;
            keys.note(key)?;
        }
        Ok(version)
    }
}

/// Any value, walked; whether it is an object without members but `_meta`.
struct IsEmpty<'k> {
    depth: usize,
    reading: Reading<'k>,
    pointer: &'static str,
}

impl<'de> DeserializeSeed<'de> for IsEmpty<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IsEmpty<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        Any { depth: self.depth }.visit_seq(seq).map(|()| false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let depth = deeper(self.depth)?;
        let mut keys = Keys::named(&[]);
        let mut empty = true;
        while let Some(Key(key)) = map.next_key()? {
            empty &= key == "_meta";
            map.next_value_seed(Any { depth })?;
            self.reading.whole_key(&key, self.pointer)?;
            keys.insert(key)?;
        }
        Ok(empty)
    }
}
