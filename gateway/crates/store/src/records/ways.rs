//! The way to a person's record from what the person logs in with: an account at an identity provider,
//! a passkey. The record itself says whether it is still theirs; a way to somebody who does not have it
//! any more leads nowhere, and another person may have it.

use serde::{Deserialize, Serialize};

use super::access::{ATTEMPTS, Records};
use super::encoding::{Record, encode};
use super::users::User;
use crate::error::{StoreError, unless_conflict};
use crate::key::Key;
use crate::store::Inserted;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;

/// Where the person's record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    user: UserId,
    user_name: String,
}

impl Record for Owner {}

impl Records {
    /// The person to whom a way leads and who still `has` what it is the way from.
    pub(super) async fn way_to_user(
        &self,
        key: &Key,
        now: Timestamp,
        has: impl Fn(&User) -> bool + Send,
    ) -> Result<Option<User>, StoreError> {
        let Some(owner) = self.load::<Owner>(key, now).await? else {
            return Ok(None);
        };
        let user = self.user(&owner.user_name, now).await?;
        Ok(user.filter(|user| user.id == owner.user && has(user)))
    }

    /// Makes the way to a person whose record says already that they have it. `false`: somebody else
    /// does.
    pub(super) async fn make_way(
        &self,
        key: &Key,
        user: &User,
        now: Timestamp,
        has: impl Fn(&User) -> bool + Send + Sync,
    ) -> Result<bool, StoreError> {
        let owner = Owner {
            user: user.id.clone(),
            user_name: user.name.clone(),
        };
        let value = encode(&owner);
        for _ in 0..ATTEMPTS {
            let inserted = self.store.insert(key, &value, None, now).await?;
            let Inserted::Exists(seen) = inserted else {
                return Ok(true);
            };
            if let Some(owner) = self.way_to_user(key, now, &has).await? {
                return Ok(owner.id == user.id);
            }
            // Whoever had it does not any more.
            let replaced = self.store.replace(key, &seen, &value, None, now).await;
            if unless_conflict(replaced)?.is_some() {
                return Ok(true);
            }
        }
        Err(StoreError::Conflict(key.kind()))
    }

    /// Forgets a way, if it leads to this person.
    pub(super) async fn end_way(
        &self,
        key: &Key,
        user: &User,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let owner = self.load::<Owner>(key, now).await?;
        if owner.is_some_and(|owner| owner.user == user.id) {
            self.store.remove(key).await?;
        }
        Ok(())
    }
}
