//! Which tools a grant allows, and in which definition: what a user saw is what is granted.
//!
//! A choice of many tools does not fit a token: the token has its [digest](SetDigest), and the choice
//! itself stays with the grant's record, from where each replica reads it once (`store::granted`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::amendment::Amended;
use super::pin::Pin;
use crate::hex;
use crate::reason::Reason;

/// Stands for one choice of tools, with all its pins: SHA-256. No other choice has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetDigest([u8; SetDigest::LENGTH]);

impl SetDigest {
    /// Its length in bytes.
    pub const LENGTH: usize = 32;

    /// One that a token carries.
    pub const fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// In hexadecimal.
impl fmt::Display for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Which tools a grant allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tools {
    /// Every tool of the backend, also later ones, however they are defined.
    All,
    /// These, by name, however they are defined: what grants of version 0.1 say.
    Only(BTreeSet<String>),
    /// These, each as it was defined when the user allowed it.
    Pinned(BTreeMap<String, Pin>),
    /// What a token says of a choice that is too long for it: how many, and which. It allows nothing
    /// until the choice has been read from the grant's record. Never stored.
    #[serde(skip)]
    Kept {
        /// Which choice.
        digest: SetDigest,
        /// How many tools that are.
        count: u32,
    },
}

/// A choice of tools with what stands for it, computed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestedTools {
    tools: Tools,
    digest: SetDigest,
}

impl From<Tools> for DigestedTools {
    fn from(tools: Tools) -> Self {
        Self {
            digest: tools.digest(),
            tools,
        }
    }
}

impl DigestedTools {
    /// The choice.
    pub const fn tools(&self) -> &Tools {
        &self.tools
    }

    /// What stands for it.
    pub const fn digest(&self) -> SetDigest {
        self.digest
    }
}

/// How a tool stands at its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolState {
    /// It is listed in this definition.
    Defined(Pin),
    /// It is not listed.
    Gone,
    /// The backend could not be asked.
    Unknown,
}

/// Why a grant does not allow a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The user did not allow it.
    #[error("the tool was not allowed")]
    Never,
    /// It is no longer what the user allowed.
    #[error("the tool's definition changed since it was allowed")]
    Changed,
    /// Whether it is, can't be known now.
    #[error("the tool's definition is not known now")]
    Unknown,
    /// The backend lists two tools of its name.
    #[error("two tools of the backend have this name")]
    Doubled,
}

impl NotAllowed {
    /// For the log.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Never => Reason::ToolNotAllowed,
            Self::Changed => Reason::ToolDefinitionChanged,
            Self::Unknown => Reason::ToolDefinitionUnknown,
            Self::Doubled => Reason::ToolNameDoubled,
        }
    }
}

impl Tools {
    /// What the names of chosen tools and their pins may take in a token, in bytes, so that it stays
    /// under 1 KiB: about eight. More are kept with the grant.
    const ROOM: usize = 256;

    /// The most tools that one grant can name.
    pub const MOST: usize = 2000;

    /// The most that their names and pins may take in the grant's record, in bytes.
    pub const MOST_BYTES: usize = 256 * 1024;

    /// So many names are written out in a line of a log.
    const NAMED: usize = 20;

    /// Whether every tool is allowed, also later ones.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Those of the tools that have a name for one member of several, under that name. What is not known
    /// stays unknown.
    #[must_use]
    pub fn of_member<'n>(&'n self, own: impl Fn(&'n str) -> Option<&'n str>) -> Self {
        match self {
            Self::All | Self::Kept { .. } => self.clone(),
            Self::Only(names) => {
                let of = |name: &'n String| own(name).map(str::to_owned);
                Self::Only(names.iter().filter_map(of).collect())
            }
            Self::Pinned(pins) => {
                let of = |(name, pin): (&'n String, &Pin)| Some((own(name)?.to_owned(), *pin));
                Self::Pinned(pins.iter().filter_map(of).collect())
            }
        }
    }

    /// Whether a tool of this name is allowed in some definition.
    pub fn contains(&self, tool: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(tool),
            Self::Pinned(pins) => pins.contains_key(tool),
            Self::Kept { .. } => false,
        }
    }

    /// The allowed names, in order; none for [`Tools::All`], nor where they are not known.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All | Self::Kept { .. } => Vec::new(),
            Self::Only(names) => names.iter().map(String::as_str).collect(),
            Self::Pinned(pins) => pins.keys().map(String::as_str).collect(),
        }
    }

    /// How many are allowed; `None` for [`Tools::All`].
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Only(names) => Some(names.len()),
            Self::Pinned(pins) => Some(pins.len()),
            Self::Kept { count, .. } => usize::try_from(*count).ok(),
        }
    }

    /// Their names for the log, or the first of very many.
    pub fn in_words(&self) -> String {
        let names = match self {
            Self::All => return "all".to_owned(),
            Self::Kept { digest, count } => {
                return format!("{count}, kept with the grant (digest {digest})");
            }
            Self::Only(_) | Self::Pinned(_) => self.names(),
        };
        match names.len().checked_sub(Self::NAMED) {
            None | Some(0) => names.join(", "),
            Some(more) => {
                let (first, count) = (names[..Self::NAMED].join(", "), names.len());
                format!("{first} and {more} more, {count} in all")
            }
        }
    }

    /// The definition in which a tool is allowed, where that matters.
    pub fn pin(&self, tool: &str) -> Option<Pin> {
        match self {
            Self::Pinned(pins) => pins.get(tool).copied(),
            Self::All | Self::Only(_) | Self::Kept { .. } => None,
        }
    }

    /// The definition in which a tool is allowed now, where that matters. What was never allowed is
    /// not amended.
    pub fn pin_amended(&self, tool: &str, amended: Option<&Amended>) -> Option<Pin> {
        let pin = self.pin(tool)?;
        Some(amended.and_then(|amended| amended.pin(tool)).unwrap_or(pin))
    }

    /// Whether a tool is allowed as it stands, where the user may have approved a later definition of some
    /// of them. `current` is asked only where it matters.
    pub fn admit(
        &self,
        tool: &str,
        amended: Option<&Amended>,
        current: impl FnOnce() -> ToolState,
    ) -> Result<(), NotAllowed> {
        if !self.contains(tool) {
            return Err(NotAllowed::Never);
        }
        match self.pin_amended(tool, amended).map(|pin| (pin, current())) {
            None => Ok(()),
            Some((pin, ToolState::Defined(now))) if now == pin => Ok(()),
            Some((_, ToolState::Defined(_) | ToolState::Gone)) => Err(NotAllowed::Changed),
            Some((_, ToolState::Unknown)) => Err(NotAllowed::Unknown),
        }
    }

    /// The tools that are no longer as they were when they were allowed, for the user to see.
    /// `current` is what the backend offers now, such as `Offer::current`.
    pub fn changed(
        &self,
        amended: Option<&Amended>,
        current: impl Fn(&str) -> ToolState,
    ) -> Vec<&str> {
        let is_changed =
            |tool: &&str| self.admit(tool, amended, || current(tool)) == Err(NotAllowed::Changed);
        self.names().into_iter().filter(is_changed).collect()
    }

    /// Whether a token names these tools itself.
    pub fn fit_a_token(&self) -> bool {
        self.size(14 + Pin::LENGTH) <= Self::ROOM
    }

    /// Whether a grant can name so many.
    pub fn fit_a_grant(&self) -> bool {
        let is_few = self.count().is_none_or(|count| count <= Self::MOST);
        is_few && self.size(2 * Pin::LENGTH + 6) <= Self::MOST_BYTES
    }

    fn size(&self, each: usize) -> usize {
        self.names().iter().map(|name| name.len() + each).sum()
    }

    /// What stands for this choice. Names are preceded by their length, so that no two choices have
    /// one digest; what has no pins is another choice than what has.
    pub fn digest(&self) -> SetDigest {
        let mut digest = Sha256::new_with_prefix(b"granted tools\0");
        let name = |digest: &mut Sha256, name: &str| {
            digest.update((name.len() as u64).to_be_bytes());
            digest.update(name.as_bytes());
        };
        match self {
            Self::Kept { digest, .. } => return *digest,
            Self::All => name(&mut digest, "all"),
            Self::Only(names) => {
                name(&mut digest, "only");
                names.iter().for_each(|tool| name(&mut digest, tool));
            }
            Self::Pinned(pins) => {
                name(&mut digest, "pinned");
                for (tool, pin) in pins {
                    name(&mut digest, tool);
                    digest.update(pin.as_bytes());
                }
            }
        }
        SetDigest(digest.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::grants::GrantId;
    use crate::grants::amendment::Amendment;

    fn pinned(names: &[&str]) -> Tools {
        let pins = names
            .iter()
            .map(|name| ((*name).to_owned(), Pin::new([1; 8])));
        Tools::Pinned(pins.collect())
    }

    #[test]
    fn a_tool_is_allowed_as_it_was_shown_and_in_no_other_form() {
        let tools = pinned(&["search"]);
        let admit = |tool: &str, current| tools.admit(tool, None, || current);
        assert_eq!(
            admit("search", ToolState::Defined(Pin::new([1; 8]))),
            Ok(())
        );
        assert_eq!(
            admit("search", ToolState::Defined(Pin::new([2; 8]))),
            Err(NotAllowed::Changed)
        );
        assert_eq!(admit("search", ToolState::Gone), Err(NotAllowed::Changed));
        assert_eq!(
            admit("search", ToolState::Unknown),
            Err(NotAllowed::Unknown)
        );
        for other in ["Search", "search ", "search\0", "", "se\u{430}rch"] {
            assert_eq!(
                admit(other, ToolState::Defined(Pin::new([1; 8]))),
                Err(NotAllowed::Never)
            );
        }
    }

    #[test]
    fn what_was_approved_later_stands_in_place_of_what_was_allowed_first() {
        let tools = pinned(&["search"]);
        let mut amended = Amended::default();
        for tool in ["search", "erase"] {
            let amendment = Amendment {
                grant: GrantId::new("g_1"),
                tool: tool.to_owned(),
                pin: Pin::new([2; 8]),
                at: Timestamp::from_secs(1),
            };
            amended.take(amendment, Timestamp::from_secs(2));
        }
        let admit = |tool: &str, pin| {
            tools.admit(tool, Some(&amended), || ToolState::Defined(Pin::new(pin)))
        };
        assert_eq!(admit("search", [2; 8]), Ok(()));
        assert_eq!(admit("search", [1; 8]), Err(NotAllowed::Changed));
        assert_eq!(admit("search", [3; 8]), Err(NotAllowed::Changed));
        // An amendment never adds a tool.
        assert_eq!(admit("erase", [2; 8]), Err(NotAllowed::Never));
        let never = || -> ToolState { unreachable!("nobody needs to know") };
        assert_eq!(Tools::All.admit("erase", Some(&amended), never), Ok(()));
    }

    #[test]
    fn a_person_can_be_told_which_tools_changed() {
        let tools = pinned(&["a", "b", "c", "d"]);
        let current = |tool: &str| match tool {
            "a" => ToolState::Defined(Pin::new([1; 8])),
            "b" => ToolState::Defined(Pin::new([2; 8])),
            "c" => ToolState::Gone,
            _ => ToolState::Unknown,
        };
        assert_eq!(tools.changed(None, current), ["b", "c"]);
        assert!(Tools::All.changed(None, current).is_empty());
    }

    #[test]
    fn grants_without_pins_go_by_the_name() {
        let never = || -> ToolState { unreachable!("nobody needs to know") };
        let only = Tools::Only(BTreeSet::from(["search".to_owned()]));
        assert_eq!(only.admit("search", None, never), Ok(()));
        assert_eq!(only.admit("erase", None, never), Err(NotAllowed::Never));
        assert_eq!(Tools::All.admit("erase", None, never), Ok(()));
    }

    #[test]
    fn stored_grants_of_the_earlier_version_are_read() {
        for (json, tools) in [
            (r#""all""#, Tools::All),
            (
                r#"{"only":["search"]}"#,
                Tools::Only(BTreeSet::from(["search".to_owned()])),
            ),
            (
                r#"{"pinned":{"search":"0101010101010101"}}"#,
                pinned(&["search"]),
            ),
        ] {
            assert_eq!(serde_json::from_str::<Tools>(json).unwrap(), tools);
            assert_eq!(serde_json::to_string(&tools).unwrap(), json);
        }
    }

    fn many(count: usize, length: usize) -> Tools {
        let pins = (0..count).map(|n| (format!("{n:0length$}"), Pin::new([1; 8])));
        Tools::Pinned(pins.collect())
    }

    #[test]
    fn what_no_token_and_what_no_grant_can_name_is_known_beforehand() {
        assert!(many(7, 12).fit_a_token());
        assert!(!many(8, 12).fit_a_token());
        assert!(many(2000, 40).fit_a_grant());
        assert!(!many(2001, 4).fit_a_grant());
        assert!(!many(2000, 128).fit_a_grant());
        assert!(Tools::All.fit_a_token() && Tools::All.fit_a_grant());
    }

    #[test]
    fn a_digest_stands_for_one_choice_with_its_pins() {
        let only =
            |names: &[&str]| Tools::Only(names.iter().map(|name| (*name).to_owned()).collect());
        let pins = |pins: &[(&str, u8)]| {
            let pins = pins
                .iter()
                .map(|(name, pin)| ((*name).to_owned(), Pin::new([*pin; 8])));
            Tools::Pinned(pins.collect())
        };
        let choices = [
            Tools::All,
            only(&[]),
            only(&["a", "b"]),
            only(&["ab"]),
            only(&["all"]),
            pins(&[]),
            pins(&[("a", 1), ("b", 1)]),
            pins(&[("a", 1), ("b", 2)]),
            pins(&[("a", 1)]),
            pins(&[("ab", 1)]),
        ];
        let digests: BTreeSet<_> = choices.iter().map(Tools::digest).collect();
        assert_eq!(digests.len(), choices.len());
        let same = pins(&[("b", 2), ("a", 1)]);
        assert_eq!(same.digest(), pins(&[("a", 1), ("b", 2)]).digest());
    }

    #[test]
    fn what_was_not_read_yet_allows_nothing_and_is_never_stored() {
        let tools = Tools::Kept {
            digest: many(500, 20).digest(),
            count: 500,
        };
        assert!(!tools.is_all() && !tools.contains("00000000000000000001"));
        let current = || ToolState::Defined(Pin::new([1; 8]));
        let never = tools.admit("00000000000000000001", None, current);
        assert_eq!(never, Err(NotAllowed::Never));
        assert!(serde_json::to_string(&tools).is_err());
        assert!(serde_json::from_str::<Tools>(r#"{"kept":{}}"#).is_err());
    }

    #[test]
    fn a_line_of_the_log_names_the_first_of_many() {
        assert_eq!(many(2, 1).in_words(), "0, 1");
        let words = many(500, 4).in_words();
        assert!(words.ends_with("0019 and 480 more, 500 in all"), "{words}");
        assert_eq!(many(20, 4).in_words().matches(", ").count(), 19);
    }
}
