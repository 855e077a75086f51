//! Personal tokens: what a person makes for a program that has no browser. On the wire it is
//! `cupgw_`, 22 characters that name its grant, 22 that are its secret, 6 that seal both and 6 that
//! check all of it, in letters and digits alone: 62 characters that a double click takes whole and
//! that a scanner of leaked secrets finds by `cupgw_[0-9A-Za-z]{56}`.
//!
//! The check (CRC-32, which anybody can compute) tells a scanner, and a person who copied half of
//! one. The seal, by a key of this installation, tells this gateway that the text is one of its own
//! before anything is looked up: a stranger's invention costs the store nothing. What is stored is
//! the hash of the text, in the grant.
//!
//! Owns: its form. Not: what it stands for at a call (`access_token::stand_in`).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

use super::GrantId;
use crate::hex;
use crate::secret::{Secret, SecretHash, TagKey};
use crate::text_type::is_alphanumeric_or;

/// What every personal token begins with.
const PREFIX: &str = "cupgw_";

/// Digits of 128 bits, which is what a grant's name and a secret have each.
const LONG: usize = 22;

/// Digits of 32 bits, which is what seal and check have each.
const SHORT: usize = 6;

const LENGTH: usize = PREFIX.len() + 2 * LONG + 2 * SHORT;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a grant keeps of its personal token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// What the person calls it.
    pub name: String,
    /// Of its text.
    pub hash: SecretHash,
}

/// A text that has the form of a personal token, with a check that holds. Nothing else of it is
/// proven.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonalToken(String);

impl PersonalToken {
    /// The token of a seed, which must be random or derived from a secret: the same seed gives the same
    /// token.
    pub fn new(seed: [u8; 32], tags: &TagKey) -> Self {
        let (grant, secret) = seed.split_at(16);
        let mut text = PREFIX.to_owned();
        for half in [grant, secret] {
            let half = half.try_into().expect("a seed has two times 16 bytes");
            text += &digits(u128::from_be_bytes(half), LONG);
        }
        text += &seal(&text, tags);
        text += &check(&text);
        Self(text)
    }

    /// Whether a text means to be one, whatever else is wrong with it.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Whether one may stand somewhere in a text.
    pub fn may_stand_in(text: &str) -> bool {
        text.contains(PREFIX)
    }

    /// `None` for what has not the form of one, or was not copied whole.
    pub fn parse(text: &str) -> Option<Self> {
        let is_form = text.len() == LENGTH
            && text.starts_with(PREFIX)
            && is_alphanumeric_or(&text[PREFIX.len()..], b"");
        if !is_form {
            return None;
        }
        let (checked, written) = text.split_at(LENGTH - SHORT);
        (written == check(checked)).then(|| Self(text.to_owned()))
    }

    /// Those that stand anywhere in a text: in a URL, a file, a log.
    pub fn find_in(text: &str) -> impl Iterator<Item = Self> {
        text.match_indices(PREFIX)
            .filter_map(|(at, _)| Self::parse(text.get(at..at + LENGTH)?))
    }

    /// A text in which nothing is left of what may be one, whole or in part.
    pub fn masked(text: &str) -> Cow<'_, str> {
        let Some((before, first)) = text.split_once(PREFIX) else {
            return Cow::Borrowed(text);
        };
        let mut masked = before.to_owned();
        for after in first.split(PREFIX) {
            masked.push_str(PREFIX);
            masked.push('…');
            masked.push_str(after.trim_start_matches(|c: char| c.is_ascii_alphanumeric()));
        }
        Cow::Owned(masked)
    }

    /// The text to hand out. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The grant that it names.
    pub fn grant(&self) -> GrantId {
        GrantId::new(format!("g_{}", &self.0[PREFIX.len()..PREFIX.len() + LONG]))
    }

    /// What the grant keeps of it.
    pub fn hash(&self) -> SecretHash {
        self.secret().hash()
    }

    /// Whether it is the one of which a grant keeps this.
    pub fn is(&self, kept: &Personal) -> bool {
        kept.hash.matches(&self.secret())
    }

    /// Whether this installation made it, at whatever time.
    pub fn is_ours(&self, tags: &TagKey) -> bool {
        let (sealed, rest) = self.0.split_at(LENGTH - 2 * SHORT);
        let expected = seal(sealed, tags);
        let same = subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), &rest.as_bytes()[..SHORT]);
        bool::from(same)
    }

    /// Its name in logs and for revocation, as a Biscuit has one: 128 hexadecimal digits that give
    /// nothing of it away.
    pub fn id(&self) -> String {
        let digest = Sha512::new()
            .chain_update("name of ")
            .chain_update(&self.0)
            .finalize();
        hex::encode(digest)
    }

    fn secret(&self) -> Secret {
        Secret::presented(self.0.as_str())
    }
}

impl fmt::Debug for PersonalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonalToken({}…)", self.grant())
    }
}

fn seal(text: &str, tags: &TagKey) -> String {
    let [a, b, c, d, ..] = tags.derive("personal token").bytes(&[text.as_bytes()]);
    digits(u32::from_be_bytes([a, b, c, d]).into(), SHORT)
}

fn check(text: &str) -> String {
    digits(crc32fast::hash(text.as_bytes()).into(), SHORT)
}

/// A number in so many digits, the highest first.
fn digits(number: u128, count: usize) -> String {
    let mut digits = vec![DIGITS[0]; count];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(rest % 62).expect("a digit is less than 62")];
        rest /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> TagKey {
        TagKey::new([7; 32])
    }

    fn token(seed: u8) -> PersonalToken {
        PersonalToken::new([seed; 32], &tags())
    }

    #[test]
    fn it_is_62_letters_and_digits_of_which_none_may_be_another() {
        for seed in [0, 1, 0x7f, 0xff] {
            let token = token(seed);
            let text = token.reveal();
            assert_eq!(text.len(), 62, "{text}");
            assert_eq!(PersonalToken::parse(text), Some(token.clone()));
            assert!(token.is_ours(&tags()));
            for at in 0..text.len() {
                let mut changed = text.to_owned();
                let other = if &changed[at..=at] == "A" { "B" } else { "A" };
                changed.replace_range(at..=at, other);
                assert_eq!(PersonalToken::parse(&changed), None, "{at}");
            }
            for cut in 0..text.len() {
                assert_eq!(PersonalToken::parse(&text[..cut]), None);
            }
        }
        assert_eq!(
            PersonalToken::parse(&format!("{}0", token(1).reveal())),
            None
        );
        assert_eq!(PersonalToken::parse(&"é".repeat(31)), None);
    }

    #[test]
    fn one_that_another_installation_made_has_no_seal_of_ours() {
        let other = PersonalToken::new([1; 32], &TagKey::new([8; 32]));
        assert!(PersonalToken::parse(other.reveal()).is_some());
        assert!(!other.is_ours(&tags()));
    }

    #[test]
    fn what_is_kept_is_the_hash_and_what_is_printed_no_secret() {
        let (one, other) = (token(1), token(2));
        let kept = Personal {
            name: "ci".to_owned(),
            hash: one.hash(),
        };
        assert!(one.is(&kept) && !other.is(&kept));
        let secret = &one.reveal()[PREFIX.len() + LONG..];
        for shown in [format!("{one:?}"), one.id(), format!("{kept:?}")] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(one.id().len(), 128);
        assert_eq!(one.grant().as_str().len(), 24);
        assert_ne!(one.grant(), other.grant());
    }

    #[test]
    fn nothing_of_it_is_left_in_a_masked_text() {
        let token = token(1);
        let whole = token.reveal();
        for (text, masked) in [
            (whole.to_owned(), "cupgw_…"),
            (format!("a {} b", &whole[..40]), "a cupgw_… b"),
            (format!("{whole}-{whole}"), "cupgw_…-cupgw_…"),
            (format!("{whole}{whole}"), "cupgw_…cupgw_…"),
            ("c_1".to_owned(), "c_1"),
        ] {
            assert_eq!(PersonalToken::masked(&text), masked);
        }
    }

    #[test]
    fn it_is_found_wherever_it_stands() {
        let (one, other) = (token(1), token(2));
        let text = format!(
            "a={}&cupgw_no b\nAuthorization: Bearer {}, cupgw_",
            one.reveal(),
            other.reveal()
        );
        let found: Vec<_> = PersonalToken::find_in(&text).collect();
        assert_eq!(found, [one, other]);
        assert_eq!(
            PersonalToken::find_in("cupgw_ééééééééééééééééééééééééééééééééé").count(),
            0
        );
    }
}
