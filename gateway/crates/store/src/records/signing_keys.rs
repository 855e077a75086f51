//! The public halves of the signing keys, so that two gateways with different keys notice each other; and when
//! each was first seen, so that replicas agree on when one takes over.

use super::access::Records;
use super::encoding::{decode_value, encode_value};
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::{Inserted, Listing};
use gateway_core::clock::Timestamp;

/// What the names begin with of the public halves, in the table that they share.
const UNDER: &str = "signing_key:";

/// How many of them are read at once.
const PAGE: usize = 100;

impl Key {
    /// Of the public half of a signing key.
    pub fn signing_key(id: u32) -> Self {
        Self::new(KeyKind::SigningKey, format!("{UNDER}{id}"))
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
        self.note(&key, value, now).await
    }

    /// The highest number that a signing key ever had; 0 where there was none.
    pub async fn last_signing_key(&self, now: Timestamp) -> Result<u32, StoreError> {
        let (mut after, mut last) = (UNDER.to_owned(), 0);
        loop {
            let listing = Listing::of(KeyKind::SigningKey.table(), Some(&after), PAGE);
            let read = self.store.list(listing, now).await?;
            let is_last = read.len() < PAGE;
            for (name, _) in read {
                let Some(number) = name.strip_prefix(UNDER) else {
                    return Ok(last);
                };
                last = last.max(number.parse().unwrap_or(0));
                after = name;
            }
            if is_last {
                return Ok(last);
            }
        }
    }

    /// When the signing key of this number was first seen: now, if nobody saw it before.
    pub async fn signing_key_first_seen(
        &self,
        id: u32,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let key = Key::signing_key_seen(id);
        let value = encode_value(&now);
        match self.store.insert(&key, &value, None, now).await? {
            Inserted::New => Ok(now),
            Inserted::Exists(seen) => decode_value(key.kind(), &seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Memory;

    #[tokio::test]
    async fn the_last_number_is_the_highest_that_a_key_ever_had() {
        let records = Records::new(Arc::new(Memory::new()));
        let now = Timestamp::from_secs(1000);
        assert_eq!(records.last_signing_key(now).await.unwrap(), 0);
        for number in 1..250 {
            let noted = records.note_signing_key(number, "a", now).await;
            assert!(noted.unwrap());
            records.signing_key_first_seen(number, now).await.unwrap();
        }
        assert_eq!(records.last_signing_key(now).await.unwrap(), 249);
    }
}
