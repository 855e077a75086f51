//! The public halves of the signing keys, so that two gateways with different keys notice each other.

use super::access::Records;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
use gateway_core::clock::Timestamp;

impl Key {
    /// Of the public half of a signing key.
    pub fn signing_key(id: u32) -> Self {
        Self::new(KeyKind::SigningKey, format!("signing_key:{id}"))
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
}
