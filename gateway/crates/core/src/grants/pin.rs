//! A *pin* stands for one definition of a tool at the moment of consent. It is a keyed tag of 64 bits
//! over the digest of the whole definition ([`Definition::digest`]): short, so that a token can carry
//! one a tool; keyed, so that a backend can't look for two definitions with one pin.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;
use crate::secret::TagKey;
use mcp_protocol::tool_definition::Definition;

/// Stands for one definition of a tool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pin([u8; Pin::LENGTH]);

impl Pin {
    /// Its length in bytes.
    pub const LENGTH: usize = 8;

    /// One that a token carries.
    pub const fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// Reads 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(hex::decode(text)?.try_into().ok()?))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no pin"))
    }
}

/// Makes pins. All replicas of an installation have the same key.
#[derive(Clone, Debug)]
pub struct PinKey(TagKey);

impl PinKey {
    /// From the installation's key for tags.
    pub fn new(tags: &TagKey) -> Self {
        Self(tags.derive("tool definition"))
    }

    /// The pin of a definition.
    pub fn pin(&self, definition: &Definition) -> Pin {
        let tag = self.0.bytes(&[&definition.digest()]);
        let (pin, _) = tag.split_first_chunk().expect("a tag is longer than a pin");
        Pin(*pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(json: &str) -> Definition {
        Definition::read(json).unwrap()
    }

    #[test]
    fn a_pin_stands_for_one_definition_at_one_installation() {
        let key = PinKey::new(&TagKey::new([1; 32]));
        let pin = key.pin(&definition(r#"{"name":"a","title":"b"}"#));
        assert_eq!(
            pin,
            key.pin(&definition(r#"{"title":"b", "name":"\u0061"}"#))
        );
        assert_ne!(pin, key.pin(&definition(r#"{"name":"a","title":"c"}"#)));
        let other = PinKey::new(&TagKey::new([2; 32]));
        assert_ne!(pin, other.pin(&definition(r#"{"name":"a","title":"b"}"#)));
        assert_eq!(Pin::parse(&pin.to_string()), Some(pin));
        for text in [
            "",
            "00",
            "000000000000000g",
            "+000000000000000",
            "00000000000000000",
        ] {
            assert_eq!(Pin::parse(text), None);
        }
    }
}
