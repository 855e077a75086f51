//! From what a person chose on the consent page to what is granted. Pure: what the page showed, what
//! the backend offers now and the choice go in.
//!
//! What was shown is what is granted: a tool that is not as it was shown is not granted, and the
//! person is asked again. An unverified app gets nothing that nobody saw.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Pin, Tools};

/// A tool as the consent page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedTool {
    /// Its name.
    pub name: String,
    /// Stands for its whole definition.
    pub pin: Pin,
    /// Whether it says that it changes nothing.
    pub reads_only: bool,
}

/// What was shown, as it travels with a form: short, and in characters that no form encodes. Empty
/// where nothing was known.
pub fn spell(shown: Option<&[PinnedTool]>) -> String {
    let Some(shown) = shown else {
        return String::new();
    };
    let mut bytes = vec![FORM];
    for tool in shown {
        let length =
            u16::try_from(tool.name.len()).expect("a page shows names of at most 128 bytes");
        bytes.push(u8::from(tool.reads_only));
        bytes.extend_from_slice(tool.pin.as_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(tool.name.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`spell`] wrote. `None` for anything else.
pub fn read(spelled: &str) -> Option<Option<Vec<PinnedTool>>> {
    if spelled.is_empty() {
        return Some(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(spelled).ok()?;
    let mut rest = bytes.strip_prefix(&[FORM])?;
    let mut shown = Vec::new();
    while let Some((flag, after)) = rest.split_first() {
        let (pin, after) = after.split_first_chunk::<{ Pin::LENGTH }>()?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let (name, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
        shown.push(PinnedTool {
            name: std::str::from_utf8(name).ok()?.to_owned(),
            pin: Pin::new(*pin),
            reads_only: *flag == 1,
        });
        rest = after;
    }
    Some(Some(shown))
}

/// The first byte: another version may write something else.
const FORM: u8 = 1;

/// What a person chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The shown tools that say that they change nothing.
    ReadOnly,
    /// All shown tools.
    Today,
    /// These of the shown tools.
    Chosen(BTreeSet<String>),
    /// Of several backends that are offered together, this of each: by what the names of its tools begin
    /// with.
    ByMember(BTreeMap<String, MemberChoice>),
    /// Every tool, also later ones, and everything else that the backend has.
    Everything,
}

impl Choice {
    /// What forms call it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ReadOnly => "read",
            Self::Today => "today",
            Self::Chosen(_) => "chosen",
            Self::ByMember(_) => "members",
            Self::Everything => "all",
        }
    }
}

/// What a person chose of one of several backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChoice {
    /// None of its tools.
    Nothing,
    /// Those shown tools that say that they change nothing.
    ReadOnly,
    /// All shown tools.
    Today,
}

impl MemberChoice {
    /// What forms call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::ReadOnly => "read",
            Self::Today => "today",
        }
    }

    /// The one that forms call so.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Nothing, Self::ReadOnly, Self::Today];
        all.into_iter().find(|choice| choice.as_str() == name)
    }

    const fn takes(self, tool: &PinnedTool) -> bool {
        match self {
            Self::Nothing => false,
            Self::ReadOnly => tool.reads_only,
            Self::Today => true,
        }
    }
}

/// Why nothing is granted yet: the page is shown again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// These chosen tools are no longer as they were shown.
    #[error("the backend changed {0:?}")]
    Changed(BTreeSet<String>),
    /// No tool is among the chosen ones.
    #[error("no tool was chosen")]
    Nothing,
    /// No grant can name so many.
    #[error("too many tools were chosen")]
    TooMany,
    /// What the backend offers is not known, or was not when the page was made.
    #[error("the tools of the backend are not known")]
    Unknown,
}

/// What is granted. `shown` and `live` are `None` where the backend could not be asked, when the page
/// was made and now. `is_verified`: somebody vouches for the app.
pub fn grant(
    choice: &Choice,
    shown: Option<&[PinnedTool]>,
    live: Option<&[PinnedTool]>,
    is_verified: bool,
) -> Result<Tools, NotGranted> {
    if *choice == Choice::Everything {
        return if shown.is_some() || is_verified {
            Ok(Tools::All)
        } else {
            Err(NotGranted::Unknown)
        };
    }
    let (Some(shown), Some(live)) = (shown, live) else {
        return Err(NotGranted::Unknown);
    };
    let live: BTreeMap<&str, Pin> = live
        .iter()
        .map(|tool| (tool.name.as_str(), tool.pin))
        .collect();
    let is_chosen = |tool: &&PinnedTool| match choice {
        Choice::ReadOnly => tool.reads_only,
        Choice::Chosen(names) => names.contains(&tool.name),
        Choice::ByMember(members) => members
            .iter()
            .any(|(start, choice)| tool.name.starts_with(start) && choice.takes(tool)),
        Choice::Today | Choice::Everything => true,
    };
    let chosen: Vec<&PinnedTool> = shown.iter().filter(is_chosen).collect();
    let is_changed = |tool: &&&PinnedTool| live.get(tool.name.as_str()) != Some(&tool.pin);
    let changed: BTreeSet<String> = chosen
        .iter()
        .filter(is_changed)
        .map(|tool| tool.name.clone())
        .collect();
    if !changed.is_empty() {
        return Err(NotGranted::Changed(changed));
    }
    if chosen.is_empty() {
        return Err(NotGranted::Nothing);
    }
    let pins = chosen.iter().map(|tool| (tool.name.clone(), tool.pin));
    let tools = Tools::Pinned(pins.collect());
    if tools.fit_a_grant() {
        Ok(tools)
    } else {
        Err(NotGranted::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, version: u8, reads_only: bool) -> PinnedTool {
        PinnedTool {
            name: name.to_owned(),
            pin: Pin::new([version; 8]),
            reads_only,
        }
    }

    fn offer() -> Vec<PinnedTool> {
        vec![
            tool("fetch", 1, true),
            tool("search", 1, true),
            tool("erase", 1, false),
        ]
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn granted(choice: &Choice, live: &[PinnedTool]) -> Result<Vec<String>, NotGranted> {
        let tools = grant(choice, Some(&offer()), Some(live), false)?;
        Ok(tools.names().into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn each_of_several_backends_has_its_own_choice() {
        let live = [
            tool("notes_search", 1, true),
            tool("notes_erase", 1, false),
            tool("mail_search", 1, true),
            tool("mail_send", 1, false),
            tool("maps_find", 1, true),
        ];
        let by_member = Choice::ByMember(BTreeMap::from([
            ("notes_".to_owned(), MemberChoice::Today),
            ("mail_".to_owned(), MemberChoice::ReadOnly),
            ("maps_".to_owned(), MemberChoice::Nothing),
        ]));
        let tools = grant(&by_member, Some(&live), Some(&live), false).unwrap();
        assert_eq!(
            tools.names(),
            ["mail_search", "notes_erase", "notes_search"]
        );
        let nothing = Choice::ByMember(BTreeMap::new());
        let refused = grant(&nothing, Some(&live), Some(&live), false);
        assert_eq!(refused, Err(NotGranted::Nothing));
    }

    #[test]
    fn what_is_chosen_is_granted_in_the_form_in_which_it_was_shown() {
        let live = offer();
        assert_eq!(
            granted(&Choice::ReadOnly, &live),
            Ok(vec!["fetch".into(), "search".into()])
        );
        assert_eq!(granted(&Choice::Today, &live).unwrap().len(), 3);
        assert_eq!(
            granted(&Choice::Chosen(names(&["erase", "not shown"])), &live),
            Ok(vec!["erase".into()])
        );
        let tools = grant(&Choice::Today, Some(&live), Some(&live), false).unwrap();
        assert_eq!(tools.pin("erase"), Some(Pin::new([1; 8])));
        assert_eq!(
            grant(&Choice::Everything, Some(&live), None, false),
            Ok(Tools::All)
        );
    }

    #[test]
    fn a_tool_that_changed_while_the_page_was_open_is_asked_about_again() {
        let mut live = offer();
        live[1] = tool("search", 2, true);
        let changed = Err(NotGranted::Changed(names(&["search"])));
        assert_eq!(granted(&Choice::ReadOnly, &live), changed);
        assert_eq!(granted(&Choice::Today, &live), changed);
        assert_eq!(granted(&Choice::Chosen(names(&["search"])), &live), changed);
        assert_eq!(
            granted(&Choice::Chosen(names(&["fetch"])), &live),
            Ok(vec!["fetch".into()])
        );
        // Withdrawn, or now called something else.
        live.remove(1);
        assert_eq!(granted(&Choice::ReadOnly, &live), changed);
    }

    #[test]
    fn what_came_after_the_page_was_made_is_not_granted() {
        let mut live = offer();
        live.push(tool("new", 1, true));
        let read = Ok(vec!["fetch".into(), "search".into()]);
        assert_eq!(granted(&Choice::ReadOnly, &live), read);
        assert_eq!(
            granted(&Choice::Chosen(names(&["new"])), &live),
            Err(NotGranted::Nothing)
        );
    }

    #[test]
    fn nothing_is_granted_unseen_to_an_app_that_nobody_vouches_for() {
        for choice in [
            Choice::ReadOnly,
            Choice::Today,
            Choice::Chosen(names(&["search"])),
        ] {
            for verified in [false, true] {
                let unknown = Err(NotGranted::Unknown);
                assert_eq!(grant(&choice, None, Some(&offer()), verified), unknown);
                assert_eq!(grant(&choice, Some(&offer()), None, verified), unknown);
            }
        }
        assert_eq!(
            grant(&Choice::Everything, None, Some(&offer()), false),
            Err(NotGranted::Unknown)
        );
        assert_eq!(grant(&Choice::Everything, None, None, true), Ok(Tools::All));
    }

    #[test]
    fn what_was_shown_is_read_as_it_was_written() {
        for shown in [
            vec![],
            offer(),
            vec![tool("é \"x\"", 7, false), tool("", 0, true)],
        ] {
            assert_eq!(read(&spell(Some(&shown))), Some(Some(shown)));
        }
        assert_eq!(read(&spell(None)), Some(None));
        let whole = spell(Some(&offer()));
        for cut in 1..whole.len() {
            assert_ne!(read(&whole[..cut]), Some(Some(offer())), "{cut}");
        }
        for odd in ["null", "[]", "AA", "!", "AQE"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn nothing_and_too_much_are_asked_about_again() {
        let nothing = Choice::Chosen(BTreeSet::new());
        assert_eq!(granted(&nothing, &offer()), Err(NotGranted::Nothing));
        let many: Vec<PinnedTool> = (0..=Tools::MOST)
            .map(|n| tool(&format!("a_tool_of_some_{n:05}"), 1, true))
            .collect();
        assert_eq!(
            grant(&Choice::Today, Some(&many), Some(&many), true),
            Err(NotGranted::TooMany)
        );
        let five_hundred = &many[..500];
        let granted = grant(
            &Choice::ReadOnly,
            Some(five_hundred),
            Some(five_hundred),
            false,
        );
        assert_eq!(granted.unwrap().names().len(), 500);
    }
}
