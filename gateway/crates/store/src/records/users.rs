//! Users: who may log in.

use serde::{Deserialize, Serialize};

use super::access::{ATTEMPTS, Records};
use super::encoding::{Record, decode, encode};
use super::identities::Identity;
use super::page::{Listed, Page, Readable};
use super::passkeys::Passkey;
use crate::error::{Corrupt, StoreError, unless_conflict};
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::{Secret, SecretHash};

/// Somebody who may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// The login name as its owner writes it.
    pub name: String,
    /// Argon2id, in the PHC string format; empty: the person has no password.
    pub password_hash: String,
    /// When the user was added.
    pub created: Timestamp,
    /// Why the user may not log in, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// Whether the configuration names this user as the owner.
    #[serde(default)]
    pub configured: bool,
    /// Whether this user runs the gateway: became the owner by the set-up, or was made one by the operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owner: bool,
    /// What browser sessions stand for besides the password: with another text they are over.
    #[serde(default)]
    pub sessions: String,
    /// The accounts at identity providers that this person logs in with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
    /// The apps that no identity provider's word gives anything any more: the person or the operator
    /// took it back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<ClientId>,
    /// The passkeys that this person logs in with, in the order in which they were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys: Vec<Passkey>,
}

/// Why a user may not log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disabled {
    /// The operator said so.
    ByOperator,
    /// The configuration named this user as the owner, and now names somebody else.
    FormerOwner,
}

impl User {
    /// A user who may log in.
    pub fn new(id: UserId, name: &str, password_hash: &str, created: Timestamp) -> Self {
        Self {
            id,
            name: name.to_owned(),
            password_hash: password_hash.to_owned(),
            created,
            disabled: None,
            configured: false,
            owner: false,
            sessions: String::new(),
            identities: Vec::new(),
            withheld: Vec::new(),
            passkeys: Vec::new(),
        }
    }

    /// Whether this user may see and do at `/admin` what the operator may.
    pub const fn is_owner(&self) -> bool {
        self.owner || self.configured
    }

    /// The hash of the password, if the person has one.
    pub fn password(&self) -> Option<&str> {
        Some(self.password_hash.as_str()).filter(|hash| !hash.is_empty())
    }

    /// The account of this subject of an issuer, if it is this person's.
    pub fn identity(&self, issuer: &str, subject: &str) -> Option<&Identity> {
        let mut identities = self.identities.iter();
        identities.find(|identity| identity.is(issuer, subject))
    }

    /// The same person with what a provider said last.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identities
            .retain(|other| !other.is(&identity.issuer, &identity.subject));
        self.identities.push(identity);
        self
    }

    /// The same person without this account.
    #[must_use]
    pub fn without_identity(mut self, issuer: &str, subject: &str) -> Self {
        self.identities.retain(|other| !other.is(issuer, subject));
        self
    }

    /// The same person, to whom no provider's word connects this app any more.
    #[must_use]
    pub fn with_withheld(mut self, client: &ClientId) -> Self {
        if !self.withholds(client) {
            self.withheld.push(client.clone());
        }
        self
    }

    /// The same person, to whom a provider's word may connect this app again.
    #[must_use]
    pub fn without_withheld(mut self, client: &ClientId) -> Self {
        self.withheld.retain(|other| other != client);
        self
    }

    /// Whether an identity provider's word gives this app nothing of the person.
    pub fn withholds(&self, client: &ClientId) -> bool {
        self.withheld.contains(client)
    }

    /// What a browser session of this user stands for.
    pub fn credential(&self) -> String {
        format!("{}{}", self.password_hash, self.sessions)
    }

    /// A fingerprint of what this gateway itself lets the user in by. It is another one after a password
    /// was set or removed, a passkey added or removed, or every browser logged out.
    pub fn own_logins(&self) -> SecretHash {
        // Neither a password's hash nor a credential id has a line break in it.
        let mut text = self.credential();
        for passkey in &self.passkeys {
            text.push('\n');
            text.push_str(&passkey.id);
        }
        Secret::presented(text).hash()
    }
}

impl Record for User {}

impl Key {
    /// Of a user's record, by login name in any case.
    pub fn user(name: &str) -> Self {
        Self::new(KeyKind::User, name.to_lowercase())
    }
}

impl Records {
    /// A user, by login name in any case.
    pub async fn user(&self, name: &str, now: Timestamp) -> Result<Option<User>, StoreError> {
        let key = Key::user(name);
        let found = self.load(&key, now).await?;
        if found.is_some() {
            *self.somebody.lock() = Some(key);
        }
        Ok(found)
    }

    /// Adds a user; `false` if the name is taken, also by a record that can't be read.
    pub async fn add_user(&self, user: &User, now: Timestamp) -> Result<bool, StoreError> {
        let (key, value) = (Key::user(&user.name), encode(user));
        self.add(&key, &value, None, now).await
    }

    /// Adds a user for the operator, whose word stands above a record of this name that can't be read: it
    /// is replaced. Not so one of a later version, which counts again when that runs again. `false` if
    /// the name is taken.
    pub async fn add_user_anew(&self, user: &User, now: Timestamp) -> Result<bool, StoreError> {
        let (key, value) = (Key::user(&user.name), encode(user));
        let seen = match self.store.insert(&key, &value, None, now).await {
            Ok(Inserted::New) => return Ok(true),
            Ok(Inserted::Exists(seen)) => seen,
            // What stands there is no record at all.
            Err(StoreError::Corrupt(Corrupt::Record { .. })) => {
                self.store.remove(&key).await?;
                return self.add_user(user, now).await;
            }
            Err(error) => return Err(error),
        };
        match decode::<User>(key.kind(), &seen) {
            Err(StoreError::Corrupt(Corrupt::Record { .. })) => {
                let replaced = self.store.replace(&key, &seen, &value, None, now).await;
                Ok(unless_conflict(replaced)?.is_some())
            }
            _ => Ok(false),
        }
    }

    /// Changes a user's record as it is at that moment. `None` if there is nobody of this name;
    /// [`StoreError::Conflict`] where others kept changing it.
    pub async fn change_user(
        &self,
        name: &str,
        now: Timestamp,
        change: impl Fn(User) -> User + Send,
    ) -> Result<Option<User>, StoreError> {
        let key = Key::user(name);
        for _ in 0..ATTEMPTS {
            let Some((user, seen)) = self.load_seen(&key, now).await? else {
                return Ok(None);
            };
            let user = change(user);
            let value = encode(&user);
            let replaced = self.store.replace(&key, &seen, &value, None, now).await;
            if unless_conflict(replaced)?.is_some() {
                return Ok(Some(user));
            }
        }
        Err(StoreError::Conflict(key.kind()))
    }

    /// The same of this very person, whoever has the name by now. `None` if they are not there any more.
    pub async fn change_person(
        &self,
        user: &User,
        now: Timestamp,
        change: impl Fn(User) -> User + Send,
    ) -> Result<Option<User>, StoreError> {
        let is_they = |present: &User| present.id == user.id;
        let change = move |present: User| {
            if is_they(&present) {
                change(present)
            } else {
                present
            }
        };
        let changed = self.change_user(&user.name, now, change).await?;
        Ok(changed.filter(is_they))
    }

    /// Removes a user, and then the ways to the record from accounts and passkeys. `false` if it is not
    /// there, or somebody else's by now.
    pub async fn remove_user(&self, user: &User, now: Timestamp) -> Result<bool, StoreError> {
        let key = Key::user(&user.name);
        let present: Option<User> = self.load(&key, now).await?;
        let Some(present) = present.filter(|present| present.id == user.id) else {
            return Ok(false);
        };
        self.store.remove(&key).await?;
        for identity in &present.identities {
            let way = Key::identity(&identity.issuer, &identity.subject);
            self.end_way(&way, &present, now).await?;
        }
        for passkey in &present.passkeys {
            self.forget_passkey(&passkey.id, &present, now).await?;
        }
        Ok(true)
    }

    /// Whether anybody may log in yet. Mostly whoever was looked for last is still there, which costs one
    /// question wherever their record is.
    pub async fn has_users(&self, now: Timestamp) -> Result<bool, StoreError> {
        let somebody = self.somebody.lock().clone();
        if let Some(key) = somebody
            && let Ok(Some(_)) = self.store.get(&key, now).await
        {
            return Ok(true);
        }
        self.store.holds_any(KeyKind::User.table(), now).await
    }

    /// Some user whose record can be read, if there is any: what hashing a password costs here.
    pub async fn any_user(&self, now: Timestamp) -> Result<Option<User>, StoreError> {
        let all = Listed::all(KeyKind::User);
        let first = self.page(&all, None, 1, now, |_| true).await?;
        Ok(first.entries.into_iter().next())
    }

    /// Every user.
    pub async fn all_users(&self, now: Timestamp) -> Result<Readable<User>, StoreError> {
        let all = Listed::all(KeyKind::User);
        self.readable(&all, now, |_| true).await
    }

    /// Up to `limit` users after the one with the login name `after`.
    pub async fn users(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<User>, StoreError> {
        let (all, after) = (Listed::all(KeyKind::User), after.map(str::to_lowercase));
        let page = self.page(&all, after.as_deref(), limit, now, |_| true);
        page.await
    }
}
