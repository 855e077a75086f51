//! A person's session in a browser of the login pages: how long it lasts and what ends it.
//!
//! Not: the cookie that carries it (`oauth::browser`), where it is kept (`store`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::grants::UserId;
use crate::secret::{Secret, SecretHash};

/// How long a login lasts. Absolute: use does not extend it.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// What the store keeps under the hash of the session cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowserSession {
    /// Who logged in.
    pub user: UserId,
    /// That person's name.
    pub user_name: String,
    /// A fingerprint of what the person proved then: a new password ends it, and so does the
    /// operator.
    pub credential: SecretHash,
    /// When.
    pub started: Timestamp,
    /// When a new login is asked for.
    pub expires: Timestamp,
    /// The identity provider that the person came through, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The person's account there. Sessions that versions before 2026-12 opened don't say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ProviderAccount>,
    /// The credential id of the passkey that the person came with, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<String>,
}

/// What names an account at an identity provider for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAccount {
    /// Who the provider is.
    pub issuer: String,
    /// Who the person is there.
    pub subject: String,
}

impl BrowserSession {
    /// The session of a person who has just proved the password in `proven`, the credential of
    /// that person's record.
    pub fn begin(user: UserId, user_name: String, proven: &str, now: Timestamp) -> Self {
        Self {
            user,
            user_name,
            credential: credential(proven),
            started: now,
            expires: now + LIFETIME,
            provider: None,
            account: None,
            passkey: None,
        }
    }

    /// The same login, with what its person would prove now; it ends when it would have.
    #[must_use]
    pub fn renewed(&self, proven: &str) -> Self {
        Self {
            credential: credential(proven),
            ..self.clone()
        }
    }

    /// Whether it still stands for the person whose record has this id and credential.
    pub fn is_live(&self, user: &UserId, current: &str, now: Timestamp) -> bool {
        now < self.expires && self.user == *user && self.credential == credential(current)
    }
}

fn credential(text: &str) -> SecretHash {
    Secret::presented(text).hash()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_after_twelve_hours_and_with_a_new_password() {
        let now = Timestamp::from_secs(1_000);
        let alice = UserId::new("u_1");
        let session = BrowserSession::begin(alice.clone(), "alice".to_owned(), "$old", now);
        let last = session.expires - Duration::from_millis(1);
        assert!(session.is_live(&alice, "$old", last));
        assert!(!session.is_live(&alice, "$old", session.expires));
        assert!(!session.is_live(&alice, "$new", now));
        assert!(!session.is_live(&UserId::new("u_2"), "$old", now));
        let renewed = session.renewed("$new");
        assert!(renewed.is_live(&alice, "$new", last));
        assert!(!renewed.is_live(&alice, "$new", session.expires));
    }
}
