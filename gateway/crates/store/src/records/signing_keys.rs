//! The public halves of the signing keys, so that two gateways with different keys notice each other; and when
//! each was first seen, so that replicas agree on when one takes over.

use super::access::Records;
use super::encoding::{decode_value, encode_value};
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
use gateway_core::clock::Timestamp;

impl Key {
    /// Of the public half of a signing key.
    pub fn signing_key(id: u32) -> Self {
        Self::new(KeyKind::SigningKey, format!("signing_key:{id}"))
    }

    /// Of the moment when a signing key was first seen.
    fn signing_key_seen(id: u32) -> Self {
        Self::new(KeyKind::SigningKeySeen, format!("signing_key_seen:{id}"))
    }
}

impl Records {
    /// Notes the public half of the signing key of this number; `false` if another one is noted.
    pub async fn note_signing_key(
        &self,
        id: u32,
        public: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (key, value) = (Key::signing_key(id), public.as_bytes());
        match self.store.insert(&key, value, None, now).await? {
            Inserted::New => Ok(true),
            Inserted::Exists(noted) => Ok(noted == value),
        }
    }

    /// When the signing key of this number was first seen: now, if nobody saw it before.
    pub async fn signing_key_first_seen(
        &self,
        id: u32,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let key = Key::signing_key_seen(id);
        match self
            .store
            .insert(&key, &encode_value(&now), None, now)
            .await?
        {
            Inserted::New => Ok(now),
            Inserted::Exists(seen) => decode_value(key.kind(), &seen),
        }
    }
}
