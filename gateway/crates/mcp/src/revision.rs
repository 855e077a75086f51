//! Revisions, and the revision families they make.

use std::fmt;

/// The revisions that shake hands, oldest first.
pub const STATEFUL_REVISIONS: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The newest of them.
pub const LATEST_STATEFUL: &str = "2025-11-25";

/// The revision without sessions.
pub const STATELESS: &str = "2026-07-28";

/// Whether a revision is one that shakes hands.
pub fn is_stateful_revision(revision: &str) -> bool {
    STATEFUL_REVISIONS.contains(&revision)
}

/// How a peer speaks over HTTP: what it expects on which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionFamily {
    /// HTTP+SSE: one stream, and messages posted to the endpoint that it names.
    HttpSse,
    /// Streamable HTTP with sessions.
    Stateful,
    /// Streamable HTTP without them.
    Stateless,
}

impl RevisionFamily {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::HttpSse, Self::Stateful, Self::Stateless];

    /// What it is called in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpSse => "2024-11-05",
            Self::Stateful => "2025",
            Self::Stateless => "2026-07-28",
        }
    }

    /// The revision family of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of revision families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionFamilies(u8);

impl RevisionFamilies {
    /// No revision family: nothing is known.
    pub const NONE: Self = Self(0);

    /// As a number from 0 to 7, for an atomic.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with this number.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }

    /// Whether a revision family is in it.
    pub const fn has(self, family: RevisionFamily) -> bool {
        self.0 & family.bit() != 0
    }

    /// Whether none is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with one more.
    #[must_use]
    pub const fn and(self, family: RevisionFamily) -> Self {
        Self(self.0 | family.bit())
    }
}

impl FromIterator<RevisionFamily> for RevisionFamilies {
    fn from_iter<I: IntoIterator<Item = RevisionFamily>>(families: I) -> Self {
        families.into_iter().fold(Self::NONE, Self::and)
    }
}

/// Their names, oldest first.
impl fmt::Display for RevisionFamilies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = RevisionFamily::ALL
            .into_iter()
            .filter(|family| self.has(*family))
            .map(RevisionFamily::name)
            .collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let families: RevisionFamilies = [RevisionFamily::Stateless, RevisionFamily::HttpSse]
            .into_iter()
            .collect();
        assert!(
            families.has(RevisionFamily::HttpSse)
                && families.has(RevisionFamily::Stateless)
                && !families.has(RevisionFamily::Stateful)
        );
        assert_eq!(families.to_string(), "2024-11-05, 2026-07-28");
        assert_eq!(RevisionFamilies::from_bits(families.bits()), families);
        assert!(RevisionFamilies::NONE.is_empty());
        for family in RevisionFamily::ALL {
            assert_eq!(RevisionFamily::named(family.name()), Some(family));
        }
        assert_eq!(RevisionFamily::named("2025-11-25"), None);
    }
}
