//! Walking JSON without keeping it: every key and value is looked at, none has two readings, and
//! only what a message is decided by is kept. What that is, `jsonrpc` knows.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::id::Id;

/// Containers may be nested this deep.
const DEPTH: usize = 64;

/// Objects up to this size are compared key by key; larger ones through a hash set.
const FEW: usize = 16;

/// A key, without a copy where it has no escapes.
pub(crate) struct Key<'de>(pub(crate) Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        json.deserialize_str(KeyVisitor)
    }
}

/// The keys of one object so far. A key that stands twice is refused: parsers differ in which of
/// the two they keep.
pub(crate) struct Keys<'de> {
    known: &'static [&'static str],
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    pub(crate) fn named(known: &'static [&'static str]) -> Self {
        Self {
            known,
            few: Vec::new(),
            many: HashSet::new(),
        }
    }

    pub(crate) fn note<E: serde::de::Error>(&mut self, key: Cow<'de, str>) -> Result<(), E> {
        if is_mistakable(&key, self.known) {
            return Err(E::custom(
                "a key resembles a known one but for case or folding",
            ));
        }
        self.insert(key)
    }

    pub(crate) fn insert<E: serde::de::Error>(&mut self, key: Cow<'de, str>) -> Result<(), E> {
        let fresh = if self.few.len() < FEW {
            let fresh = !self.few.contains(&key);
            self.few.push(key);
            fresh
        } else {
            !self.few.contains(&key) && self.many.insert(key)
        };
        if fresh {
            Ok(())
        } else {
            Err(E::custom("a key stands twice in one object"))
        }
    }
}

/// Whether some parser would take `key` for one of `known` though it is another text: because it
/// ignores case (Go), folds U+017F and U+212A, stops at NUL, or sets a prototype.
fn is_mistakable(key: &str, known: &[&str]) -> bool {
    if known.contains(&key) {
        return false;
    }
    if key == "__proto__" {
        return true;
    }
    let end = key.find('\0').unwrap_or(key.len());
    // Half of a surrogate pair is U+FFFD here; some readers drop it.
    let stem = &key[..end].replace('\u{fffd}', "");
    if end == key.len() && known.contains(&stem.as_str()) {
        return true;
    }
    let longest = known.iter().map(|name| name.len()).max().unwrap_or(0);
    // Folding shortens a text to a third at most (three bytes of U+212A become one).
    if stem.len() > longest * 3 {
        return false;
    }
    let folded = fold(stem);
    known.iter().any(|name| fold(name) == folded)
}

fn fold(text: &str) -> String {
    text.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// A value that must be a text to mean anything; another value is walked and means nothing.
pub(crate) struct Text {
    pub(crate) depth: usize,
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Any { depth: self.depth }.visit_seq(seq).map(|()| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Any { depth: self.depth }.visit_map(map).map(|()| None)
    }
}

/// A member that is no container.
pub(crate) struct Scalar;

#[derive(PartialEq)]
pub(crate) enum ScalarValue {
    Null,
    Text(String),
    Number(i64),
    Large(u64),
    Other,
}

impl ScalarValue {
    pub(crate) fn into_id(self) -> Option<Id> {
        match self {
            Self::Text(text) => Some(Id::Text(text)),
            Self::Number(number) => Some(Id::Number(number)),
            Self::Large(number) => Some(Id::Large(number)),
            Self::Null | Self::Other => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = ScalarValue;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<ScalarValue, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = ScalarValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or an integer")
    }

    fn visit_str<E>(self, text: &str) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<ScalarValue, E> {
        Ok(i64::try_from(number).map_or(ScalarValue::Large(number), ScalarValue::Number))
    }

    /// Fractions, and integers that no 64 bits hold: two parsers round them differently.
    fn visit_f64<E>(self, _: f64) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Other)
    }
}

/// Any value: walked to its end for depth, double keys and texts, and forgotten.
pub(crate) struct Any {
    pub(crate) depth: usize,
}

impl<'de> DeserializeSeed<'de> for Any {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = deeper(self.depth)?;
        while seq.next_element_seed(Any { depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = deeper(self.depth)?;
        let mut keys = Keys::named(&[]);
        while let Some(Key(key)) = map.next_key()? {
            map.next_value_seed(Any { depth })?;
            keys.insert(key)?;
        }
        Ok(())
    }
}

pub(crate) fn deeper<E: serde::de::Error>(depth: usize) -> Result<usize, E> {
    if depth > DEPTH {
        return Err(E::custom("containers are nested deeper than 64"));
    }
    Ok(depth + 1)
}
