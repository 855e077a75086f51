//! Several servers under one name each: what a tool or prompt of a member is called where all of them are
//! offered together, and whose a name is.
//!
//! A name is that of the member, a separator, and the member's own name for it. No member's name with the
//! separator begins another's, so that each name has one reading: `a_b_c` is never `b_c` of `a` and `c` of
//! `a_b` at once, whatever the members list.

mod lists;
mod search;
mod server;
mod uris;

pub use self::lists::{Listed, Page, asked};
pub use self::search::{CALL_TOOL, OWN_TOOLS, SEARCH_TOOLS, call_of, found, own_tools};
pub use self::server::{Described, discovered};
pub use self::uris::{Uris, Whose};

/// The longest separator, in bytes.
pub const LONGEST_SEPARATOR: usize = 4;

/// The longest name of a tool that clients take (2025-11-25 and 2026-07-28, Tools, Tool Names), in bytes.
pub const LONGEST_NAME: usize = 128;

/// The members of an aggregate, in order, and what stands between a member's name and a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    names: Vec<String>,
    separator: String,
}

/// Why names would not be those of one member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMembers {
    /// There is none.
    #[error("names no member")]
    Nobody,
    /// The separator is empty, too long, or has characters that no name of a tool has.
    #[error(
        "must be 1 to {LONGEST_SEPARATOR} of the characters of which names of tools are made: letters, digits, `_`, `-` and `.`"
    )]
    Separator,
    /// A member's name has characters that no name of a tool has.
    #[error(
        "`{0}` can't begin the name of a tool: a member is named with letters, digits, `_`, `-` and `.`"
    )]
    Name(String),
    /// Two have this name.
    #[error("names `{0}` twice")]
    Twice(String),
    /// A name of the second could be one of the first.
    #[error(
        "`{0}` and `{1}` can't be told apart: a tool of `{1}` could be one of `{0}`. Name one of them otherwise, or use another separator"
    )]
    Ambiguous(String, String),
}

impl Members {
    /// Members of these names.
    ///
    /// # Errors
    ///
    /// A name would have two readings, or be none that clients take.
    pub fn new(names: Vec<String>, separator: &str) -> Result<Self, NotMembers> {
        if names.is_empty() {
            return Err(NotMembers::Nobody);
        }
        if !is_plain(separator) || separator.len() > LONGEST_SEPARATOR {
            return Err(NotMembers::Separator);
        }
        if let Some(name) = names.iter().find(|name| !is_plain(name)) {
            return Err(NotMembers::Name(name.clone()));
        }
        let begins = |one: &str, other: &str| {
            format!("{other}{separator}").starts_with(&format!("{one}{separator}"))
        };
        for (at, one) in names.iter().enumerate() {
            for other in &names[at + 1..] {
                if one == other {
                    return Err(NotMembers::Twice(one.clone()));
                }
                if begins(one, other) {
                    return Err(NotMembers::Ambiguous(one.clone(), other.clone()));
                }
                if begins(other, one) {
                    return Err(NotMembers::Ambiguous(other.clone(), one.clone()));
                }
            }
        }
        let separator = separator.to_owned();
        Ok(Self { names, separator })
    }

    /// The names of the members, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The member of this name.
    pub fn position(&self, member: &str) -> Option<usize> {
        self.names.iter().position(|name| name == member)
    }

    /// What the member at this place calls `own` is called by all.
    ///
    /// # Panics
    ///
    /// There is no member at this place.
    pub fn shown(&self, member: usize, own: &str) -> String {
        let (name, separator) = (&self.names[member], &self.separator);
        format!("{name}{separator}{own}")
    }

    /// The same, unless that is longer than a name may be: then it is not offered.
    ///
    /// # Panics
    ///
    /// There is no member at this place.
    pub fn shown_if_fits(&self, member: usize, own: &str) -> Option<String> {
        let shown = self.shown(member, own);
        (shown.len() <= LONGEST_NAME).then_some(shown)
    }

    /// Whose a name is, and what that member calls it. `None`: it is nobody's, or longer than any that
    /// is shown.
    pub fn find<'n>(&self, shown: &'n str) -> Option<(usize, &'n str)> {
        if shown.len() > LONGEST_NAME {
            return None;
        }
        (0..self.names.len()).find_map(|member| Some((member, self.own(member, shown)?)))
    }

    /// What the member at this place calls what is shown under this name; `None` if it is not that
    /// member's.
    pub fn own<'n>(&self, member: usize, shown: &'n str) -> Option<&'n str> {
        let rest = shown.strip_prefix(self.names.get(member)?.as_str())?;
        let own = rest.strip_prefix(self.separator.as_str())?;
        (!own.is_empty()).then_some(own)
    }
}

/// Whether a text is made of what names of tools are made of.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn members(names: &[&str], separator: &str) -> Result<Members, NotMembers> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Members::new(names, separator)
    }

    #[test]
    fn a_name_leads_to_its_member_and_back() {
        let members = members(&["notes", "mail"], "_").unwrap();
        assert_eq!(members.shown(1, "send_now"), "mail_send_now");
        assert_eq!(members.find("mail_send_now"), Some((1, "send_now")));
        let longest = "x".repeat(LONGEST_NAME - "mail_".len());
        let shown = members.shown_if_fits(1, &longest).unwrap();
        assert_eq!(members.find(&shown), Some((1, longest.as_str())));
        assert_eq!(members.shown_if_fits(1, &format!("{longest}x")), None);
        for nobody in ["", "mail", "mail_", "Mail_send", "mails_send", "search"] {
            assert_eq!(members.find(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn names_with_two_readings_are_refused() {
        for (names, separator, first, second) in [
            (&["a", "a_b"][..], "_", "a", "a_b"),
            (&["x", "a_b", "a"], "_", "a", "a_b"),
            (&["a", "a__b"], "_", "a", "a__b"),
            (&["a-", "a"], "-", "a", "a-"),
        ] {
            let ambiguous = NotMembers::Ambiguous(first.to_owned(), second.to_owned());
            assert_eq!(members(names, separator), Err(ambiguous));
        }
        let twice = NotMembers::Twice("a".to_owned());
        assert_eq!(members(&["a", "a"], "_"), Err(twice));
        // Another separator tells them apart.
        assert!(members(&["a", "a_b"], ".").is_ok());
        assert!(members(&["a", "ab"], "_").is_ok());
    }

    #[test]
    fn what_no_tool_can_be_named_with_is_refused() {
        assert_eq!(members(&[], "_"), Err(NotMembers::Nobody));
        for separator in ["", " ", "/", "_____"] {
            assert_eq!(members(&["a"], separator), Err(NotMembers::Separator));
        }
        for name in ["", "my notes", "a/b", "é"] {
            let refused = Err(NotMembers::Name(name.to_owned()));
            assert_eq!(members(&[name], "_"), refused);
        }
    }

    /// Of few letters and the separators, so that names meet often.
    fn word(random: &mut StdRng) -> String {
        let length = random.gen_range(1..5);
        let letter = |_| *b"ab_-".choose(random).unwrap() as char;
        (0..length).map(letter).collect()
    }

    /// Whatever the members list, no two of their names are shown alike, and a name leads to one of them
    /// only if that is how it is shown.
    #[test]
    fn no_two_things_are_shown_under_one_name() {
        let mut random = StdRng::seed_from_u64(13);
        let mut taken = 0;
        for _ in 0..20_000 {
            let count = random.gen_range(1..4);
            let names = (0..count).map(|_| word(&mut random)).collect();
            let separator = *["_", "-", "__"].choose(&mut random).unwrap();
            let Ok(members) = Members::new(names, separator) else {
                continue;
            };
            taken += 1;
            let (one, other) = (word(&mut random), word(&mut random));
            for first in 0..count {
                let shown = members.shown(first, &one);
                assert_eq!(members.find(&shown), Some((first, one.as_str())));
                for second in 0..count {
                    let is_same = first == second && one == other;
                    assert_eq!(shown == members.shown(second, &other), is_same);
                }
            }
            let any = word(&mut random) + &word(&mut random);
            if let Some((member, own)) = members.find(&any) {
                assert_eq!(members.shown(member, own), any);
            }
        }
        assert!(taken > 2_000, "{taken}");
    }
}
