//! Scopes: RFC 6749 §3.3.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The scope that every MCP endpoint asks for.
pub const MCP: &str = "mcp";

/// A scope parameter with a character that no scope has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scope has a character that no scope has")]
pub struct ScopeMalformed;

/// A set of scope tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(BTreeSet<String>);

impl Scope {
    /// The tokens of a space-separated list. Empty parts are skipped.
    pub fn parse(text: &str) -> Self {
        Self(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Everything that is served.
    pub fn supported() -> Self {
        Self::parse(MCP)
    }

    /// What a request may be granted: the supported part of what it asks for, or all where that
    /// leaves nothing. Clients ask for what they know from elsewhere (`openid`, `offline_access`);
    /// the answer says what was granted (RFC 6749 §3.3).
    pub fn grantable(requested: Option<&str>) -> Result<Self, ScopeMalformed> {
        let requested = requested.unwrap_or_default();
        let well_formed = requested
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
        if !well_formed {
            return Err(ScopeMalformed);
        }
        let granted = Self::parse(requested).intersection(&Self::supported());
        Ok(if granted.is_empty() {
            Self::supported()
        } else {
            granted
        })
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

    /// Whether every token is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The tokens, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
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
    fn unknown_scopes_are_dropped_and_none_means_the_default() {
        for requested in [
            None,
            Some(""),
            Some("mcp"),
            Some("openid mcp  email"),
            Some("admin"),
        ] {
            let granted = Scope::grantable(requested).unwrap();
            assert_eq!(granted.to_string(), "mcp", "{requested:?}");
        }
    }

    #[test]
    fn a_scope_has_only_the_characters_of_rfc_6749() {
        for malformed in ["mcp\"", "mcp\\", "mcp\t", "mcp\n", "é"] {
            assert_eq!(Scope::grantable(Some(malformed)), Err(ScopeMalformed));
        }
    }
}
