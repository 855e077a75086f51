//! Bytes in JSON: base64, as a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize as _, Deserializer, Serialize, Serializer, de};

/// Bytes that are written so.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Base64(#[serde(with = "crate::base64_bytes")] pub(crate) Vec<u8>);

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    STANDARD_NO_PAD.encode(bytes).serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    STANDARD_NO_PAD
        .decode(text.as_bytes())
        .map_err(de::Error::custom)
}
