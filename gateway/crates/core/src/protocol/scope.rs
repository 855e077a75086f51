//! Scopes: RFC 6749 §3.3.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The scope that covers everything; where the configuration names no others, the only one.
pub const MCP: &str = "mcp";

/// What clients ask for that want refresh tokens (OpenID Connect Core §11). It is about the grant
/// and means nothing to a resource, so no access token carries it.
pub const OFFLINE_ACCESS: &str = "offline_access";

/// A scope parameter with a character that no scope has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scope has a character that no scope has")]
pub struct ScopeMalformed;

/// Why a scope can't be narrowed to what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NarrowError {
    /// No scope at all.
    #[error(transparent)]
    Malformed(#[from] ScopeMalformed),
    /// It asks for more than was granted (RFC 6749 §6).
    #[error("the scope is wider than what was granted")]
    Wider,
}

/// A set of scope tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(BTreeSet<String>);

impl Scope {
    /// The tokens of a space-separated list. Empty parts are skipped.
    pub fn parse(text: &str) -> Self {
        Self(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// What an access token carries.
    #[must_use]
    pub fn for_resource(&self) -> Self {
        let tokens = self.0.iter().filter(|token| *token != OFFLINE_ACCESS);
        Self(tokens.cloned().collect())
    }

    /// The same, for a text that must have no other characters than a scope has (RFC 6749 §3.3).
    pub fn strictly(text: &str) -> Result<Self, ScopeMalformed> {
        let well_formed = text
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
        if well_formed {
            Ok(Self::parse(text))
        } else {
            Err(ScopeMalformed)
        }
    }

    /// Whether a token is in the set.
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// The tokens in one of the sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The tokens, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// As it is written: nothing is copied where it has one token.
    pub fn spelled(&self) -> Cow<'_, str> {
        match self.0.first() {
            Some(only) if self.0.len() == 1 => Cow::Borrowed(only),
            _ => Cow::Owned(self.to_string()),
        }
    }
}

impl<S: Into<String>> FromIterator<S> for Scope {
    fn from_iter<I: IntoIterator<Item = S>>(tokens: I) -> Self {
        Self(tokens.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_access_is_in_no_access_token() {
        let granted = Scope::parse("mcp offline_access");
        assert_eq!(granted.for_resource().to_string(), "mcp");
    }

    #[test]
    fn a_scope_has_only_the_characters_of_rfc_6749() {
        for malformed in ["mcp\"", "mcp\\", "mcp\t", "mcp\n", "é"] {
            assert_eq!(Scope::strictly(malformed), Err(ScopeMalformed));
        }
    }
}
