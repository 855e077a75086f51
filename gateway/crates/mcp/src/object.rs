//! JSON objects whose members keep their order and their text.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON object. What is not asked for is neither parsed nor changed.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Nothing in it yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads the text of an object. `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// A member as it was sent.
    pub fn raw(&self, name: &str) -> Option<&RawValue> {
        let mut members = self.iter();
        members.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// A member of a known kind; `None` if it is absent or of another.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// A member that is a text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.read(name)
    }

    /// A member that is an object.
    pub fn object(&self, name: &str) -> Option<Self> {
        self.read(name)
    }

    /// Whether there is a member of this name.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Sets a member, at its old place or at the end.
    pub fn set<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        let raw = to_raw_value(value).expect("what is set is texts, numbers and objects of them");
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = raw,
            None => self.0.push((name.to_owned(), raw)),
        }
    }

    /// The same object with one more member.
    #[must_use]
    pub fn with<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a member unless there is one.
    pub fn set_default<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if !self.has(name) {
            self.set(name, value);
        }
    }

    /// The same object without a member.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut object = self.clone();
        object.remove(name);
        object
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    /// Changes `name` as an object; it is left out when it ends up empty.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Self)) {
        let mut inner = self.object(name).unwrap_or_default();
        change(&mut inner);
        if inner.is_empty() {
            self.remove(name);
        } else {
            self.set(name, &inner);
        }
    }
}

/// Its JSON text.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    // The last of two wins, as it does for most readers.
                    object.remove(&name);
                    object.0.push((name, value));
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_digits_survive() {
        let text = r#"{"z":1.10,"a":{"y":1e400,"b":[12345678901234567890123]},"é":"\u00e9"}"#;
        let mut object = Object::parse(text).unwrap();
        assert_eq!(object.to_string(), text);
        object.set("z", "new");
        object.edit("a", |inner| {
            inner.remove("y");
        });
        object.edit("m", |_| {});
        assert_eq!(
            object.to_string(),
            r#"{"z":"new","a":{"b":[12345678901234567890123]},"é":"\u00e9"}"#
        );
    }

    #[test]
    fn only_an_object_is_an_object() {
        for text in ["[]", "1", "\"a\"", "null", "{", "{}x"] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
        assert!(Object::parse(" {} ").unwrap().is_empty());
    }
}
