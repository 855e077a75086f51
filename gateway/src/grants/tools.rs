//! Which tools a grant allows, and in which definition: what a person saw is what is granted.
//!
//! A *pin* stands for one definition of a tool at the moment of consent. It is a keyed tag of 64
//! bits over the digest of the whole definition ([`Definition::digest`]): short, so that a token can
//! carry one a tool; keyed, so that a backend can't look for two definitions with one pin.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::amendment::Amended;
use crate::protocol::tool_definition::Definition;
use crate::reason::Reason;
use crate::secret::TagKey;

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
        let mut bytes = [0; Self::LENGTH];
        if text.len() != 2 * Self::LENGTH || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        let mut bytes = [0; Pin::LENGTH];
        bytes.copy_from_slice(&tag[..Pin::LENGTH]);
        Pin(bytes)
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
    /// These, each as it was defined when the person allowed it.
    Pinned(BTreeMap<String, Pin>),
}

/// How a tool stands at its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
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
    /// The person did not allow it.
    #[error("the tool was not allowed")]
    Never,
    /// It is no longer what the person allowed.
    #[error("the tool's definition changed since it was allowed")]
    Changed,
    /// Whether it is, can't be known now.
    #[error("the tool's definition is not known now")]
    Unknown,
}

impl NotAllowed {
    /// For the log.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Never => Reason::ToolNotAllowed,
            Self::Changed => Reason::ToolDefinitionChanged,
            Self::Unknown => Reason::ToolDefinitionUnknown,
        }
    }
}

impl Tools {
    /// What the chosen tools may take in a token, in bytes, so that it stays well under the 4 KiB
    /// that a bearer token may have: about 60 tools with names of 20 characters.
    const ROOM: usize = 2100;

    /// Whether every tool is allowed, also later ones.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether a tool of this name is allowed in some definition.
    pub fn contains(&self, tool: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(tool),
            Self::Pinned(pins) => pins.contains_key(tool),
        }
    }

    /// The allowed names, in order; none for [`Tools::All`].
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => Vec::new(),
            Self::Only(names) => names.iter().map(String::as_str).collect(),
            Self::Pinned(pins) => pins.keys().map(String::as_str).collect(),
        }
    }

    /// Their names for the log.
    pub fn in_words(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            _ => self.names().join(", "),
        }
    }

    /// The definition in which a tool is allowed, where that matters.
    pub fn pin(&self, tool: &str) -> Option<Pin> {
        match self {
            Self::Pinned(pins) => pins.get(tool).copied(),
            Self::All | Self::Only(_) => None,
        }
    }

    /// The definition in which a tool is allowed now, where that matters. What was never allowed is
    /// not amended.
    pub fn pin_amended(&self, tool: &str, amended: Option<&Amended>) -> Option<Pin> {
        let pin = self.pin(tool)?;
        Some(amended.and_then(|amended| amended.pin(tool)).unwrap_or(pin))
    }

    /// Whether a tool is allowed as it stands. `current` is asked only where it matters.
    pub fn admit(&self, tool: &str, current: impl FnOnce() -> Current) -> Result<(), NotAllowed> {
        self.admit_amended(tool, None, current)
    }

    /// The same, where the person has approved a later definition of some of them.
    pub fn admit_amended(
        &self,
        tool: &str,
        amended: Option<&Amended>,
        current: impl FnOnce() -> Current,
    ) -> Result<(), NotAllowed> {
        if !self.contains(tool) {
            return Err(NotAllowed::Never);
        }
        match self.pin_amended(tool, amended).map(|pin| (pin, current())) {
            None => Ok(()),
            Some((pin, Current::Defined(now))) if now == pin => Ok(()),
            Some((_, Current::Defined(_) | Current::Gone)) => Err(NotAllowed::Changed),
            Some((_, Current::Unknown)) => Err(NotAllowed::Unknown),
        }
    }

    /// The tools that are no longer as they were when they were allowed, for the person to see.
    /// `current` is what the backend offers now, such as `Offer::current`.
    pub fn changed(
        &self,
        amended: Option<&Amended>,
        current: impl Fn(&str) -> Current,
    ) -> Vec<&str> {
        let is_changed = |tool: &&str| {
            self.admit_amended(tool, amended, || current(tool)) == Err(NotAllowed::Changed)
        };
        self.names().into_iter().filter(is_changed).collect()
    }

    /// Whether a token can carry this choice.
    pub fn fit_a_token(&self) -> bool {
        let each = 7 + Pin::LENGTH;
        let size: usize = self.names().iter().map(|name| name.len() + each).sum();
        size <= Self::ROOM
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::grants::GrantId;
    use crate::grants::amendment::Amendment;

    fn definition(json: &str) -> Definition {
        Definition::read(json).unwrap()
    }

    fn pinned(names: &[&str]) -> Tools {
        let pins = names.iter().map(|name| ((*name).to_owned(), Pin([1; 8])));
        Tools::Pinned(pins.collect())
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

    #[test]
    fn a_tool_is_allowed_as_it_was_shown_and_in_no_other_form() {
        let tools = pinned(&["search"]);
        let admit = |tool: &str, current| tools.admit(tool, || current);
        assert_eq!(admit("search", Current::Defined(Pin([1; 8]))), Ok(()));
        assert_eq!(
            admit("search", Current::Defined(Pin([2; 8]))),
            Err(NotAllowed::Changed)
        );
        assert_eq!(admit("search", Current::Gone), Err(NotAllowed::Changed));
        assert_eq!(admit("search", Current::Unknown), Err(NotAllowed::Unknown));
        for other in ["Search", "search ", "search\0", "", "se\u{430}rch"] {
            assert_eq!(
                admit(other, Current::Defined(Pin([1; 8]))),
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
                pin: Pin([2; 8]),
                at: Timestamp::from_secs(1),
            };
            amended.take(amendment, Timestamp::from_secs(2));
        }
        let admit = |tool: &str, pin| {
            tools.admit_amended(tool, Some(&amended), || Current::Defined(Pin(pin)))
        };
        assert_eq!(admit("search", [2; 8]), Ok(()));
        assert_eq!(admit("search", [1; 8]), Err(NotAllowed::Changed));
        assert_eq!(admit("search", [3; 8]), Err(NotAllowed::Changed));
        // An amendment never adds a tool.
        assert_eq!(admit("erase", [2; 8]), Err(NotAllowed::Never));
        let never = || -> Current { unreachable!("nobody needs to know") };
        assert_eq!(
            Tools::All.admit_amended("erase", Some(&amended), never),
            Ok(())
        );
    }

    #[test]
    fn a_person_can_be_told_which_tools_changed() {
        let tools = pinned(&["a", "b", "c", "d"]);
        let current = |tool: &str| match tool {
            "a" => Current::Defined(Pin([1; 8])),
            "b" => Current::Defined(Pin([2; 8])),
            "c" => Current::Gone,
            _ => Current::Unknown,
        };
        assert_eq!(tools.changed(None, current), ["b", "c"]);
        assert!(Tools::All.changed(None, current).is_empty());
    }

    #[test]
    fn grants_without_pins_go_by_the_name() {
        let never = || -> Current { unreachable!("nobody needs to know") };
        let only = Tools::Only(BTreeSet::from(["search".to_owned()]));
        assert_eq!(only.admit("search", never), Ok(()));
        assert_eq!(only.admit("erase", never), Err(NotAllowed::Never));
        assert_eq!(Tools::All.admit("erase", never), Ok(()));
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

    #[test]
    fn a_choice_that_no_token_can_carry_is_known_beforehand() {
        let names: Vec<String> = (0..100).map(|n| format!("a_tool_of_some_{n:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(pinned(&names[..60]).fit_a_token());
        assert!(!pinned(&names).fit_a_token());
        assert!(Tools::All.fit_a_token());
    }
}
