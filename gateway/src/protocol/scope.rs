//! Scopes: RFC 6749 §3.3.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The scope that every MCP endpoint asks for.
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

    /// Everything that a resource knows.
    pub fn supported() -> Self {
        Self::parse(MCP)
    }

    /// Everything that an authorization request may ask for.
    pub fn advertised(refresh: bool) -> Self {
        let mut scope = Self::supported();
        if refresh {
            scope.0.insert(OFFLINE_ACCESS.to_owned());
        }
        scope
    }

    /// What a request may be granted: the supported part of what it asks for, or all where that
    /// leaves nothing for a resource. Clients ask for what they know from elsewhere (`openid`, or
    /// `offline_access` where nothing can be refreshed); the answer says what was granted
    /// (RFC 6749 §3.3).
    pub fn grantable(requested: Option<&str>, refresh: bool) -> Result<Self, ScopeMalformed> {
        let requested = Self::strictly(requested.unwrap_or_default())?;
        let mut granted = requested.intersection(&Self::advertised(refresh));
        if granted.for_resource().is_empty() {
            granted.0.extend(Self::supported().0);
        }
        Ok(granted)
    }

    /// The scope of an access token that a refresh request asks for: never more than this one, and
    /// all of it where nothing is asked for that is known here (RFC 6749 §6).
    pub fn narrowed(&self, requested: Option<&str>) -> Result<Self, NarrowError> {
        let known =
            Self::strictly(requested.unwrap_or_default())?.intersection(&Self::advertised(true));
        if !known.for_resource().is_subset(self) {
            return Err(NarrowError::Wider);
        }
        if known.for_resource().is_empty() {
            return Ok(self.clone());
        }
        Ok(known.intersection(self))
    }

    /// What an access token carries.
    #[must_use]
    pub fn for_resource(&self) -> Self {
        let tokens = self.0.iter().filter(|token| *token != OFFLINE_ACCESS);
        Self(tokens.cloned().collect())
    }

    fn strictly(text: &str) -> Result<Self, ScopeMalformed> {
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
            Some("offline_access"),
        ] {
            let granted = Scope::grantable(requested, false).unwrap();
            assert_eq!(granted.to_string(), "mcp", "{requested:?}");
        }
    }

    #[test]
    fn offline_access_is_granted_where_refresh_is_and_is_in_no_access_token() {
        for requested in [
            "offline_access",
            "mcp offline_access",
            "openid offline_access",
        ] {
            let granted = Scope::grantable(Some(requested), true).unwrap();
            assert_eq!(granted.to_string(), "mcp offline_access", "{requested}");
            assert_eq!(granted.for_resource().to_string(), "mcp");
        }
        let granted = Scope::grantable(Some("mcp"), true).unwrap();
        assert_eq!(granted.to_string(), "mcp");
    }

    #[test]
    fn a_scope_narrows_and_never_widens() {
        let granted = Scope::parse("mcp offline_access");
        for (requested, narrowed) in [
            (None, "mcp offline_access"),
            (Some(""), "mcp offline_access"),
            (Some("openid email"), "mcp offline_access"),
            (Some("offline_access"), "mcp offline_access"),
            (Some("mcp"), "mcp"),
            (Some("mcp offline_access openid"), "mcp offline_access"),
        ] {
            let scope = granted.narrowed(requested).unwrap();
            assert_eq!(scope.to_string(), narrowed, "{requested:?}");
        }
        let other = Scope::parse("other");
        assert_eq!(other.narrowed(Some("mcp")), Err(NarrowError::Wider));
        // Asked for anew, but never granted: no more than a wish.
        let plain = Scope::parse("mcp");
        let scope = plain.narrowed(Some("mcp offline_access")).unwrap();
        assert_eq!(scope, plain);
        assert_eq!(
            plain.narrowed(Some("m\"")),
            Err(NarrowError::Malformed(ScopeMalformed))
        );
    }

    #[test]
    fn a_scope_has_only_the_characters_of_rfc_6749() {
        for malformed in ["mcp\"", "mcp\\", "mcp\t", "mcp\n", "é"] {
            assert_eq!(Scope::grantable(Some(malformed), true), Err(ScopeMalformed));
        }
    }
}
