//! Links by which a person sets themselves up, or comes in again: each is good once. The operator makes
//! them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::{Record, encode};
use super::users::User;
use crate::error::{StoreError, unless_conflict};
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::SecretHash;

/// Whom a link is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescueLink {
    /// Their id: whoever gets the name later is somebody else.
    pub user: UserId,
    /// Their login name.
    pub user_name: String,
    /// [`User::own_logins`] when the link was made; a link of earlier versions has none, and is good for
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretHash>,
    /// When somebody used it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Timestamp>,
}

/// What taking a link met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenLink {
    /// This caller, and no other ever, has it.
    Fresh(RescueLink),
    /// It was taken before.
    Again(RescueLink),
    /// There is none, or it is too old.
    Unknown,
}

impl Record for RescueLink {}

impl RescueLink {
    /// How long a link is good.
    pub const LIFETIME: Duration = Duration::from_secs(15 * 60);

    /// A new link for a person as they are now.
    pub fn new(user: &User) -> Self {
        Self {
            user: user.id.clone(),
            user_name: user.name.clone(),
            credential: Some(user.own_logins()),
            used: None,
        }
    }

    /// Whether the person is the one of the link, and logs in with what they did when it was made.
    pub fn fits(&self, user: &User) -> bool {
        self.user == user.id && self.credential.as_ref() == Some(&user.own_logins())
    }
}

/// What their names begin with, in the table that they share.
const LINK: &str = "rescue/";

impl Key {
    /// Of a link, by the hash of its secret.
    fn rescue_link(secret: &SecretHash) -> Self {
        Self::new(KeyKind::RescueLink, format!("{LINK}{}", secret.as_str()))
    }
}

impl Records {
    /// Keeps a link under the hash of its secret.
    pub async fn put_rescue_link(
        &self,
        secret: &SecretHash,
        link: &RescueLink,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let until = now + RescueLink::LIFETIME;
        self.keep(&Key::rescue_link(secret), link, until).await
    }

    /// A link, used or not, within its time.
    pub async fn rescue_link(
        &self,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<RescueLink>, StoreError> {
        self.load(&Key::rescue_link(secret), now).await
    }

    /// Uses a link up: exactly one caller ever gets it fresh.
    pub async fn take_rescue_link(
        &self,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<TakenLink, StoreError> {
        let key = Key::rescue_link(secret);
        let Some((link, seen)) = self.load_seen::<RescueLink>(&key, now).await? else {
            return Ok(TakenLink::Unknown);
        };
        if link.used.is_some() {
            return Ok(TakenLink::Again(link));
        }
        let used = RescueLink {
            used: Some(now),
            ..link.clone()
        };
        // That a used one was used is known for as long again.
        let (value, until) = (encode(&used), Some(now + RescueLink::LIFETIME));
        let replaced = self.store.replace(&key, &seen, &value, until, now).await;
        Ok(match unless_conflict(replaced)? {
            Some(()) => TakenLink::Fresh(link),
            None => TakenLink::Again(used),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::records::Passkey;
    use crate::records::encoding::decode;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn passkey(id: &str) -> Passkey {
        Passkey {
            id: id.to_owned(),
            name: "Phone".to_owned(),
            site: None,
            public_key: json!({}),
            counter: 1,
            backup_eligible: false,
            backed_up: false,
            added: NOW,
            last_used: None,
        }
    }

    #[test]
    fn a_link_is_for_one_person_with_what_they_log_in_with_when_it_is_made() {
        let alice = User::new(UserId::new("u_1"), "alice", "$argon2id$", NOW);
        let alice = alice.with_passkey(passkey("k"));
        let link = RescueLink::new(&alice);
        assert!(link.fits(&alice));
        let used = Passkey {
            counter: 7,
            last_used: Some(NOW),
            ..passkey("k")
        };
        let renamed = User {
            name: "Alice".to_owned(),
            ..alice.clone().with_passkey(used)
        };
        assert!(link.fits(&renamed), "a login changes nothing");
        let changed = [
            User {
                id: UserId::new("u_2"),
                ..alice.clone()
            },
            User {
                password_hash: "$argon2id$2".to_owned(),
                ..alice.clone()
            },
            User {
                sessions: "s".to_owned(),
                ..alice.clone()
            },
            alice.clone().with_passkey(passkey("l")),
            alice.clone().without_passkey("k"),
        ];
        for user in changed {
            assert!(!link.fits(&user), "{user:?}");
        }
    }

    #[test]
    fn a_link_of_an_earlier_version_is_read_and_good_for_nothing() {
        let kept = json!({"user": "u_1", "user_name": "alice"}).to_string();
        let link: RescueLink = decode(KeyKind::RescueLink, kept.as_bytes()).unwrap();
        let alice = User::new(UserId::new("u_1"), "alice", "", NOW);
        assert!(!link.fits(&alice));
    }
}
