//! The one reading of JSON-RPC 2.0 messages. What a client sends is judged, so that it has one reading
//! only: the bytes go on unchanged, so whatever two parsers could read differently is refused here, where
//! anybody decides by it. That is what lets the gateway's decision stand for the backend's. What JSON
//! allows and readers treat each in their way (half of a surrogate pair, numbers beyond all floats) passes
//! everywhere else. By its keys every message is read, and so are its `params`, their `_meta`, its `result`
//! and `error`: no half is in those. What a backend sends nobody decides by: it is parsed, and its last word counts.
//!
//! Owns: JSON's form, keys, and the three shapes of a message. Not: what methods mean (`calls`).

mod collect;
mod judge;
mod members;
mod stand_in;
pub(crate) mod walk;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeSeed as _;
use serde_json::value::RawValue;

use self::collect::Collected;
use self::judge::{Reading, describe, judge_text};
use self::members::MembersSeed;
use self::stand_in::stand_in;
use super::arguments::{Arguments, Paths};
use super::id::Id;
use super::message::{Kind, Malformed, Message, MessageFacts};

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
#[expect(
    clippy::large_enum_variant,
    reason = "one message is the rule, and a box would be an allocation for each call"
)]
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
    let members = MembersSeed(None)
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
        judged: MessageFacts::default(),
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

#[cfg(test)]
mod tests;
