//! Passkeys: whose each is. What is known of one stands in its person's record; here is only the way
//! there from a credential id, which is all that a browser brings.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Records;
use super::users::User;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::secret::Secret;

/// A public key credential that a person logs in with (W3C Web Authentication).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    /// The credential id, in base64url without padding.
    pub id: String,
    /// What its person calls it.
    pub name: String,
    /// The host that it was made for, as the RP id (Web Authentication §4); a passkey that earlier
    /// versions kept says nothing of it until it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The public key: a COSE key as the library that verifies with it writes it.
    pub public_key: Value,
    /// How often it has signed, by its own count; 0 where it does not count.
    pub counter: u32,
    /// Whether it may be on several devices of its person.
    pub backup_eligible: bool,
    /// Whether it is.
    pub backed_up: bool,
    /// When it was added.
    pub added: Timestamp,
    /// When somebody logged in with it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
}

impl Passkey {
    /// The most that one person has.
    pub const MOST: usize = 20;
    /// The most characters of its name.
    pub const LONGEST_NAME: usize = 60;

    /// Whether it is for this RP id. One that says nothing of it counts as if it were: nearly always it
    /// is, and else an update would take the last way in off people.
    pub fn is_of(&self, site: &str) -> bool {
        self.site.as_deref().is_none_or(|of| of == site)
    }

    /// Whether it is the same credential, whatever has been counted since.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.public_key == other.public_key
    }
}

impl User {
    /// The passkey with this credential id, if it is this person's.
    pub fn passkey(&self, id: &str) -> Option<&Passkey> {
        self.passkeys.iter().find(|passkey| passkey.id == id)
    }

    /// The same person with this passkey, in place of one with its credential id.
    #[must_use]
    pub fn with_passkey(mut self, passkey: Passkey) -> Self {
        let mut passkeys = self.passkeys.iter_mut();
        match passkeys.find(|other| other.id == passkey.id) {
            Some(other) => *other = passkey,
            None => self.passkeys.push(passkey),
        }
        self
    }

    /// The same person without the passkey of this credential id.
    #[must_use]
    pub fn without_passkey(mut self, id: &str) -> Self {
        self.passkeys.retain(|passkey| passkey.id != id);
        self
    }
}

impl Key {
    /// Of the way to the person of a passkey. Hashed: an authenticator chooses the id.
    pub(super) fn passkey(id: &str) -> Self {
        let hash = Secret::presented(id).hash();
        Self::new(KeyKind::Passkey, format!("passkey/{}", hash.as_str()))
    }
}

impl Records {
    /// The person whose passkey has this credential id, if there is one.
    pub async fn user_of_passkey(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        let has = |user: &User| user.passkey(id).is_some();
        self.way_to_user(&Key::passkey(id), now, has).await
    }

    /// Notes whose passkey this is; its person's record says so already. `false`: it is somebody
    /// else's.
    pub async fn add_passkey(
        &self,
        id: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let has = |user: &User| user.passkey(id).is_some();
        self.make_way(&Key::passkey(id), user, now, has).await
    }

    /// Forgets the way from a passkey that is no longer this person's.
    pub async fn forget_passkey(
        &self,
        id: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.end_way(&Key::passkey(id), user, now).await
    }
}
