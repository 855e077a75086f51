//! Marks of things that may happen once. A mark has no content: its key says all.

use super::access::Records;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
use gateway_core::clock::Timestamp;
use gateway_core::grants::GrantId;

impl Key {
    /// Of the mark that a client assertion was used: `name` names it among all of all clients.
    pub fn used_assertion(name: &str) -> Self {
        Self::new(KeyKind::UsedAssertion, name)
    }

    /// Of the mark that a grant without a record was ended.
    pub fn ended_grant(id: &GrantId) -> Self {
        Self::new(KeyKind::EndedGrant, format!("ended/{id}"))
    }
}

impl Records {
    /// Marks something that may happen once; `true` for the first caller only.
    pub async fn once(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let inserted = self.store.insert(key, b"1", Some(until), now).await?;
        Ok(inserted == Inserted::New)
    }
}
