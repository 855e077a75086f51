//! What a revocation names, and how that is written in the store's list.
//!
//! A grant or a token is named itself. Of a client or a user everything is revoked that was given
//! before a moment (*not before*), which needs no list of what there was. Of all tokens those are that were
//! given within a time, or signed with a key.

use std::fmt;

use serde::{Deserialize, Serialize};

use gateway_core::account::AccountId;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};

/// A position in the list of revocations; opaque outside of the store that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor(pub u64);

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
