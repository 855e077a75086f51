//! Identifiers of requests.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A request id or a progress token (JSON-RPC 2.0 §4): a text or an integer, as MCP narrows it. Two are
/// equal when they mean the same, however they are spelled.
#[derive(Clone, Debug)]
pub enum Id {
    /// A text.
    Text(String),
    /// An integer.
    Number(i64),
    /// An integer above the signed range.
    Large(u64),
    /// What only a peer sends that does not keep to MCP, as it was sent: a number of another kind, or a
    /// text that has half of a surrogate pair. No message that was judged has one.
    Odd(Box<RawValue>),
}

impl Id {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A number.
    pub fn number(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Large(number), Self::Number)
    }

    /// What to look it up by: its JSON text.
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// The id that a JSON text is; `None` if it is neither a text nor a number.
    pub(crate) fn from_raw(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first()? {
            b'"' => Some(match serde_json::from_str(text) {
                Ok(text) => Self::Text(text),
                Err(_) => Self::Odd(raw.to_owned()),
            }),
            b'-' | b'0'..=b'9' => Some(match (text.parse(), text.parse()) {
                (Ok(number), _) => Self::Number(number),
                (_, Ok(number)) => Self::Large(number),
                _ => Self::Odd(raw.to_owned()),
            }),
            _ => None,
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Number(one), Self::Number(other)) => one == other,
            (Self::Large(one), Self::Large(other)) => one == other,
            (Self::Odd(_), Self::Odd(_)) => self.key() == other.key(),
            _ => false,
        }
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
        match self {
            Self::Text(text) => f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?),
            Self::Number(number) => number.fmt(f),
            Self::Large(number) => number.fmt(f),
            // 1.0 and 1.00 mean the same.
            Self::Odd(raw) => match serde_json::from_str::<serde_json::Value>(raw.get()) {
                Ok(value) => value.fmt(f),
                Err(_) => f.write_str(raw.get()),
            },
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Number(number) => number.serialize(serializer),
            Self::Large(number) => number.serialize(serializer),
            Self::Odd(raw) => raw.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(&raw).ok_or_else(|| serde::de::Error::custom("an id is a text or a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_equal_when_they_mean_the_same() {
        let id = |text: &str| serde_json::from_str::<Id>(text).unwrap();
        assert_eq!(id(r#""a""#), id(r#""\u0061""#));
        assert_ne!(id("1"), id(r#""1""#));
        assert_eq!(id("1"), Id::number(1));
        assert_eq!(id("18446744073709551615"), Id::number(u64::MAX));
        assert_eq!(id(r#""x""#), Id::text("x"));
        assert_eq!(id("1.50"), id("1.5"));
        assert!(serde_json::from_str::<Id>("null").is_err());
    }

    #[test]
    fn an_id_goes_back_as_it_was_sent() {
        for text in [
            "1",
            "-3",
            "18446744073709551615",
            r#""a\"b""#,
            "1.50",
            "1e400",
            "12345678901234567890123",
            r#""\ud800""#,
        ] {
            let id = serde_json::from_str::<Id>(text).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), text);
        }
    }
}
