//! Revisions, and the eras they make.

use std::fmt;

/// The revisions that shake hands, oldest first.
pub const SESSION_REVISIONS: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The newest of them.
pub const LATEST_SESSIONS: &str = "2025-11-25";

/// The revision without sessions.
pub const STATELESS: &str = "2026-07-28";

/// Whether a revision is one that shakes hands.
pub fn is_session_revision(revision: &str) -> bool {
    SESSION_REVISIONS.contains(&revision)
}

/// How a peer speaks over HTTP: what it expects on which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// HTTP+SSE: one stream, and messages posted to the endpoint that it names.
    HttpSse,
    /// Streamable HTTP with sessions.
    Sessions,
    /// Streamable HTTP without them.
    Stateless,
}

impl Era {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::HttpSse, Self::Sessions, Self::Stateless];

    /// What it is called in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpSse => "2024-11-05",
            Self::Sessions => "2025",
            Self::Stateless => "2026-07-28",
        }
    }

    /// The era of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|era| era.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of eras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eras(u8);

impl Eras {
    /// No era: nothing is known.
    pub const NONE: Self = Self(0);

    /// As a number from 0 to 7, for an atomic.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with this number.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }

    /// Whether an era is in it.
    pub const fn has(self, era: Era) -> bool {
        self.0 & era.bit() != 0
    }

    /// Whether none is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with one more.
    #[must_use]
    pub const fn and(self, era: Era) -> Self {
        Self(self.0 | era.bit())
    }
}

impl FromIterator<Era> for Eras {
    fn from_iter<I: IntoIterator<Item = Era>>(eras: I) -> Self {
        eras.into_iter().fold(Self::NONE, Self::and)
    }
}

/// Their names, oldest first.
impl fmt::Display for Eras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Era::ALL
            .into_iter()
            .filter(|era| self.has(*era))
            .map(Era::name)
            .collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let eras: Eras = [Era::Stateless, Era::HttpSse].into_iter().collect();
        assert!(eras.has(Era::HttpSse) && eras.has(Era::Stateless) && !eras.has(Era::Sessions));
        assert_eq!(eras.to_string(), "2024-11-05, 2026-07-28");
        assert_eq!(Eras::from_bits(eras.bits()), eras);
        assert!(Eras::NONE.is_empty());
        for era in Era::ALL {
            assert_eq!(Era::named(era.name()), Some(era));
        }
        assert_eq!(Era::named("2025-11-25"), None);
    }
}
