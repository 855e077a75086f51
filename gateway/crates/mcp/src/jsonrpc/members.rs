//! The members of a message, found in one walk over it.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::MESSAGE_KEYS;
use super::judge::Reading;
use super::walk::{Any, Key, Keys};

/// A batch may have this many messages.
const BATCH: usize = 100;

/// The members of a message that anything is known of.
#[derive(Clone, Copy, Default)]
pub(super) struct Members<'de> {
    pub(super) jsonrpc: Option<&'de RawValue>,
    pub(super) id: Option<&'de RawValue>,
    pub(super) method: Option<&'de RawValue>,
    pub(super) params: Option<&'de RawValue>,
    pub(super) result: Option<&'de RawValue>,
    pub(super) error: Option<&'de RawValue>,
}

/// Finds them. Of a message that is judged, by this reading, no member stands twice, and what is not known is
/// walked, too.
pub(super) struct MembersSeed<'k>(pub(super) Option<Reading<'k>>);

impl<'de> DeserializeSeed<'de> for MembersSeed<'_> {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MembersSeed<'_> {
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
                None if self.0.is_some() => map.next_value_seed(Any { depth: 2 })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
            if let Some(reading) = self.0 {
                reading.whole_key(&key, "")?;
                keys.note(key)?;
            }
        }
        Ok(members)
    }
}

pub(super) struct BatchSeed;

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
        if parts.is_empty() {
            Err(A::Error::custom("a batch is not empty"))
        } else {
            Ok(parts)
        }
    }
}
