//! Links by which a person sets themselves up, or comes in again: each is good once. The operator makes
//! them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::{Record, decode, encode};
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
}

impl Key {
    /// Of a link, by the hash of its secret.
    fn rescue_link(secret: &SecretHash) -> Self {
        Self::new(KeyKind::RescueLink, format!("rescue/{}", secret.as_str()))
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
        let (key, value) = (Key::rescue_link(secret), encode(link));
        let until = now + RescueLink::LIFETIME;
        self.store.put(&key, &value, Some(until)).await
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
        let Some(seen) = self.store.get(&key, now).await? else {
            return Ok(TakenLink::Unknown);
        };
        let link: RescueLink = decode(key.kind(), &seen)?;
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
