//! What a revocation names, and how that is written in the store's list.
//!
//! A grant or a token is named itself. Of a client or a user everything is revoked that was given
//! before a moment (*not before*), which needs no list of what there was. Of all tokens those are that were
//! given within a time, or signed with a key.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::epoch::StoreEpoch;
use gateway_core::account::AccountId;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};
use gateway_core::hex;

/// A position in the list of revocations; opaque outside of the store that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Of the last entry before it.
    number: u64,
    /// A digest of all that was appended up to an entry, with the number of that one.
    digest: Option<(u64, Digest)>,
    /// What the digest has to be at a later entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected: Option<(u64, Digest)>,
    /// Whether it was another one there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    differs: bool,
}

/// SHA-1, which scripts of Redis can count. It tells whether two lists are the same one; nobody who could
/// gain by two that look alike can write to either.
type Digest = [u8; 20];

/// Where the list of revocations ends, and the epoch of the store that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListHead {
    /// The epoch.
    pub epoch: StoreEpoch,
    /// The end; `None` where asking costs as much as reading on.
    pub end: Option<Cursor>,
    /// How many follow it, as far as the store can tell.
    pub followers: u32,
}

/// An entry that was appended, as a store tells of it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub(crate) number: u64,
    /// As it stands in the list.
    pub(crate) entry: String,
    /// What it says.
    pub revocation: Revocation,
}

/// What a store told of its list of revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// What was appended, in order.
    pub appended: Vec<Appended>,
    /// Whether there may be more than that.
    pub look: bool,
}

impl Hint {
    /// No more than that there may be something.
    pub(crate) fn look() -> Self {
        Self {
            appended: Vec::new(),
            look: true,
        }
    }
}

impl Cursor {
    /// After the entry of this number.
    pub(crate) const fn at(number: u64) -> Self {
        Self {
            number,
            digest: None,
            expected: None,
            differs: false,
        }
    }

    /// The number of the last entry before it.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The same with a digest of everything up to an entry: its number, and 40 hexadecimal digits.
    pub(crate) fn with_digest(self, number: u64, digest: &str) -> Self {
        let digest = hex::decode(digest).and_then(|digest| digest.try_into().ok());
        let digest = digest.map(|digest| (number, digest));
        Self { digest, ..self }
    }

    /// Whether a digest tells what it is the position in.
    pub(crate) fn has_digest(&self) -> bool {
        self.digest.is_some_and(|(covers, _)| covers == self.number)
    }

    /// The place to read everything from, to come to `end` and know it.
    pub(crate) const fn from_the_start(end: &Self) -> Self {
        Self {
            digest: end.digest,
            ..Self::at(0)
        }
    }

    /// The same position, that will find out on the way to `end` whether the list is the one that it was
    /// read from ([`Cursor::differs`]).
    pub(crate) const fn toward(self, end: &Self) -> Self {
        Self {
            expected: end.digest,
            differs: false,
            ..self
        }
    }

    /// Whether what was read on stands in another list than what was read before.
    pub(crate) const fn differs(&self) -> bool {
        self.differs
    }

    /// The position after one more entry.
    pub(crate) fn after(self, number: u64, entry: &str) -> Self {
        let digest = match self.digest {
            Some((known, digest)) if known + 1 == number => Some((number, next(&digest, entry))),
            // What a digest covers already.
            Some((known, _)) if number <= known => self.digest,
            _ => None,
        };
        let differs = match (digest, self.expected) {
            (Some((at, one)), Some((expected_at, other))) if at == number && expected_at == at => {
                one != other
            }
            _ => self.differs,
        };
        Self {
            number,
            digest,
            differs,
            ..self
        }
    }

    /// The position after what was appended, if nothing is missing before it.
    pub(crate) fn following(self, appended: &Appended) -> Option<Self> {
        match appended.number {
            number if number == self.number + 1 => Some(self.after(number, &appended.entry)),
            number if number <= self.number => Some(self),
            _ => None,
        }
    }

    /// Where the last entries have been forgotten there is nothing to read of them.
    pub(crate) fn not_before(self, end: &Self) -> Self {
        Self {
            number: self.number.max(end.number),
            ..self
        }
    }

    /// Whether the list up to here is the very list up to `other`; `None` if that can't be told.
    pub(crate) fn is_same(&self, other: &Self) -> Option<bool> {
        if self.number != other.number {
            return Some(false);
        }
        match (self.digest, other.digest) {
            (Some((at, one)), Some((other_at, other))) if at == self.number && other_at == at => {
                Some(one == other)
            }
            _ => None,
        }
    }
}

/// As `revoke.lua` counts it.
fn next(digest: &Digest, entry: &str) -> Digest {
    let text = format!("{}\n{entry}", hex::encode(digest));
    let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let sum = ring::digest::digest(algorithm, text.as_bytes());
    sum.as_ref().try_into().expect("SHA-1 has 20 bytes")
}

/// Something was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What, as [`Revoked`] writes it.
    pub id: String,
    /// When the last token that it concerns ends; the entry may be forgotten then.
    pub expires: Timestamp,
}

/// Something that counts no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// A grant, with all that came of it.
    Grant(GrantId),
    /// A token by the revocation id of one of its blocks, with all that was narrowed from there.
    Token(String),
    /// What was given to a client before a moment.
    Client(ClientId, Timestamp),
    /// What a user gave before a moment.
    User(UserId, Timestamp),
    /// What anybody was given from one moment until before another: a store that was restored knows
    /// nothing of it. In whole seconds, as tokens tell their time.
    Given(Timestamp, Timestamp),
    /// What was signed with the signing key of this number.
    SigningKey(u32),
    /// A connection to an account at a backend, with its credentials.
    Account(AccountId),
}

impl Revoked {
    /// Reads what [`fmt::Display`] writes. Grants begin with `g_`, accounts with `a_`, and tokens are
    /// hexadecimal, so that none names a moment. What an earlier or later version wrote and this one can't read names nothing.
    pub fn parse(text: &str) -> Self {
        let moment = |rest: &str| -> Option<(Timestamp, String)> {
            let (before, id) = rest.split_once(':')?;
            let before = Timestamp::from_millis(before.parse().ok()?);
            Some((before, id.to_owned()))
        };
        let client = text.strip_prefix("client:").and_then(moment);
        let user = text.strip_prefix("user:").and_then(moment);
        if let Some(revoked) = given(text).or_else(|| signing_key(text)) {
            return revoked;
        }
        match (client, user) {
            (Some((before, id)), _) => Self::Client(ClientId::new(id), before),
            (_, Some((before, id))) => Self::User(UserId::new(id), before),
            _ if text.starts_with("a_") => Self::Account(AccountId::new(text)),
            _ if text.bytes().all(|b| b.is_ascii_hexdigit()) => Self::Token(text.to_owned()),
            _ => Self::Grant(GrantId::new(text)),
        }
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(id) => id.fmt(f),
            Self::Token(id) => id.fmt(f),
            Self::Account(id) => id.fmt(f),
            Self::Client(id, before) => write!(f, "client:{}:{id}", before.millis()),
            Self::User(id, before) => write!(f, "user:{}:{id}", before.millis()),
            Self::Given(from, until) => write!(f, "given:{}:{}", from.secs(), until.secs()),
            Self::SigningKey(number) => write!(f, "signing-key:{number}"),
        }
    }
}

fn given(text: &str) -> Option<Revoked> {
    let (from, until) = text.strip_prefix("given:")?.split_once(':')?;
    let moment = |text: &str| Some(Timestamp::from_secs(text.parse().ok()?));
    Some(Revoked::Given(moment(from)?, moment(until)?))
}

fn signing_key(text: &str) -> Option<Revoked> {
    let number = text.strip_prefix("signing-key:")?;
    Some(Revoked::SigningKey(number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_tells_whether_two_lists_are_the_same() {
        let start = "00".repeat(20);
        let cursor = Cursor::at(7).with_digest(7, &start);
        let entry = |number, text: &str| Appended {
            number,
            entry: text.to_owned(),
            revocation: Revocation {
                id: text.to_owned(),
                expires: Timestamp::from_secs(1),
            },
        };
        let on = cursor.following(&entry(8, "1:a")).unwrap();
        assert_eq!(on.is_same(&cursor.after(8, "1:a")), Some(true));
        assert_eq!(on.is_same(&cursor.after(8, "1:b")), Some(false));
        assert_eq!(on.is_same(&cursor), Some(false));
        assert_eq!(on.following(&entry(8, "1:a")), Some(on), "told twice");
        assert_eq!(on.following(&entry(10, "1:c")), None, "one is missing");
        // One that a version before wrote changes no digest.
        assert_eq!(on.after(10, "1:c").is_same(&Cursor::at(10)), None);
        assert_eq!(
            Cursor::at(9)
                .with_digest(8, &start)
                .is_same(&on.after(9, "")),
            None
        );
        // Read from the start, where the first and the last are forgotten.
        let end = Cursor::at(9).with_digest(9, &start);
        let read = Cursor::from_the_start(&end).after(5, "1:x").after(8, "1:y");
        assert_eq!(read.not_before(&end).is_same(&end), Some(true));
        // Read on in a list that is another one up to where it ended, and grew since.
        let ours = cursor.after(8, "1:a");
        let same = cursor.after(8, "1:a").after(9, "1:c");
        let other = cursor.after(8, "1:b").after(9, "1:c");
        for (end, differs) in [(same, false), (other, true)] {
            let read = ours.toward(&end).after(9, "1:c").after(10, "1:d");
            assert_eq!(read.differs(), differs);
            assert!(!read.toward(&end).differs());
        }
        let more = read.after(10, "1:z");
        assert_eq!(more.is_same(&end.after(10, "1:z")), Some(true));
        assert_eq!(Cursor::at(1).with_digest(1, "zz"), Cursor::at(1));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let at = Timestamp::from_millis(1_234_567);
        for revoked in [
            Revoked::Grant(GrantId::new("g_user-1:2")),
            Revoked::Token("00ff".repeat(32)),
            Revoked::Client(ClientId::new("https://app.example.com:8443/c"), at),
            Revoked::Client(ClientId::new("user:1:x"), at),
            Revoked::User(UserId::new("u_1"), at),
            Revoked::Given(Timestamp::from_secs(7), Timestamp::from_secs(9)),
            Revoked::SigningKey(2),
            Revoked::Account(AccountId::new("a_x-1")),
        ] {
            assert_eq!(Revoked::parse(&revoked.to_string()), revoked);
        }
    }
}
