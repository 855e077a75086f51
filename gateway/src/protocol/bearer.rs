//! Bearer tokens on the wire: RFC 6750 §2.1. Only the Authorization header carries one.

use std::fmt;

/// A token as presented: of the right characters and length, not yet verified.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// Takes `b64token` of RFC 6750 §2.1, at most 4 KiB.
    pub fn parse_token(text: &str) -> Option<Self> {
        let valid = !text.is_empty()
            && text.len() <= 4096
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The text. Never log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}
