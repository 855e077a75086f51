//! `params.arguments` walked as everything else is, and kept by path for whoever asks.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::judge::Reading;
use super::stand_in::HALF;
use super::walk::{Key, Keys, deeper};
use crate::arguments::{self, Arguments, Paths, Value};

/// The member `arguments`: an object, or nothing that is known.
pub(super) struct Collected<'k> {
    pub(super) depth: usize,
    /// Whose values are kept; `None`: all.
    pub(super) wanted: Option<&'k Paths>,
    pub(super) reading: Reading<'k>,
}

impl<'de> DeserializeSeed<'de> for Collected<'_> {
    type Value = Arguments;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Arguments, D::Error> {
        let mut into = Arguments::default();
        let mut path = String::new();
        let root = json.deserialize_any(Node {
            into: &mut into,
            path: &mut path,
            wanted: self.wanted,
            reading: self.reading,
            depth: self.depth,
        })?;
        if root == Root::Other {
            into.give_up();
        }
        Ok(into)
    }
}

/// What stands at a node, as far as the root must know.
#[derive(PartialEq, Eq)]
enum Root {
    ObjectOrNull,
    Other,
}

struct Node<'a> {
    into: &'a mut Arguments,
    path: &'a mut String,
    wanted: Option<&'a Paths>,
    reading: Reading<'a>,
    depth: usize,
}

impl Node<'_> {
    fn keep<E>(self, value: Value) -> Result<Root, E> {
        let kind = match value {
            Value::Null | Value::Object => Root::ObjectOrNull,
            _ => Root::Other,
        };
        if self.is_wanted() {
            self.into.push(self.path, value);
        }
        Ok(kind)
    }

    fn is_wanted(&self) -> bool {
        !self.path.is_empty() && self.wanted.is_none_or(|wanted| wanted.concern(self.path))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Root;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Root, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Root;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Root, E> {
        if self.is_wanted() && self.reading.halves {
            let pointer = arguments::pointer(self.path);
            let pointer = format!("/params/arguments{pointer}");
            self.reading.whole::<E>(text, &pointer)?;
        }
        if self.is_wanted() {
            self.keep(Value::Text(text.to_owned()))
        } else {
            Ok(Root::Other)
        }
    }

    fn visit_unit<E>(self) -> Result<Root, E> {
        self.keep(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Root, E> {
        self.keep(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Root, E> {
        self.keep(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Root, E> {
        self.keep(i64::try_from(number).map_or(Value::Number, Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Root, E> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && number.abs() < EXACT {
            #[allow(clippy::cast_possible_truncation)] // whole, and within 53 bits
            self.keep(Value::Whole(number as i64))
        } else {
            self.keep(Value::Number)
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Root, A::Error> {
        if self.is_wanted() {
            self.into.push(self.path, Value::Array);
        }
        let Self {
            into,
            path,
            wanted,
            reading,
            depth,
        } = self;
        let below = deeper(depth)?;
        let length = path.len();
        for index in 0.. {
            arguments::add_index(path, index);
            let node = Node {
                into: &mut *into,
                path: &mut *path,
                wanted,
                reading,
                depth: below,
            };
            let more = seq.next_element_seed(node)?.is_some();
            path.truncate(length);
            if !more {
                break;
            }
        }
        Ok(Root::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Root, A::Error> {
        if self.is_wanted() {
            self.into.push(self.path, Value::Object);
        }
        let Self {
            into,
            path,
            wanted,
            reading,
            depth,
        } = self;
        let below = deeper(depth)?;
        let mut keys = Keys::named(&[]);
        let length = path.len();
        while let Some(Key(key)) = map.next_key()? {
            if reading.halves && key.contains(HALF) {
                let mut whole = path.clone();
                arguments::add_key(&mut whole, &key);
                // Some readers drop what they can't read, others put U+FFFD there.
                let dropped = whole.replace(HALF, "");
                if wanted.is_none_or(|wanted| wanted.concern(&dropped) || wanted.concern(&whole)) {
                    let at = key.chars().position(|c| c == HALF).unwrap_or_default();
                    let pointer = format!("/params/arguments{}", arguments::pointer(path));
                    let why = format!(" (it is a key of {pointer})");
                    let pointer = format!("/params/arguments{}", arguments::pointer(&whole));
                    return Err(serde::de::Error::custom(reading.half(at, &pointer, &why)));
                }
            }
            // An empty key would share its path with the object that it stands in.
            if !arguments::add_key(path, &key) || key.is_empty() {
                into.give_up();
            }
            map.next_value_seed(Node {
                into: &mut *into,
                path: &mut *path,
                wanted,
                reading,
                depth: below,
            })?;
            path.truncate(length);
            keys.insert(key)?;
        }
        Ok(Root::ObjectOrNull)
    }
}
