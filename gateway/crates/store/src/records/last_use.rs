//! When a grant was used last. A number of its own beside the grant's record, which belongs to
//! refreshing.

use std::net::IpAddr;

use super::access::Records;
use super::encoding::{decode_value, encode_value};
use crate::error::{StoreError, unless_conflict};
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
use gateway_core::clock::Timestamp;
use gateway_core::grants::GrantId;

impl Key {
    /// Of when a grant was used last.
    pub fn last_use(grant: &GrantId) -> Self {
        Self::new(KeyKind::LastUse, format!("last_use:{grant}"))
    }

    /// Of where a grant was used from.
    pub fn last_address(grant: &GrantId) -> Self {
        Self::new(KeyKind::LastAddress, format!("last_from:{grant}"))
    }
}

impl Records {
    /// Where a grant was used from when that was written down last, where it is noted.
    pub async fn last_address(
        &self,
        grant: &GrantId,
        now: Timestamp,
    ) -> Result<Option<IpAddr>, StoreError> {
        self.load_value(&Key::last_address(grant), now).await
    }

    /// Keeps where a grant was used from.
    pub(crate) async fn put_last_address(
        &self,
        grant: &GrantId,
        from: IpAddr,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, value) = (Key::last_address(grant), encode_value(&from));
        self.store.put(&key, &value, Some(keep_until)).await
    }

    /// When a grant was used last, to about ten minutes.
    pub async fn last_use(
        &self,
        grant: &GrantId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.load_value(&Key::last_use(grant), now).await
    }

    /// Keeps when a grant was used, unless a later use is kept.
    pub(crate) async fn put_last_use(
        &self,
        grant: &GrantId,
        at: Timestamp,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, value, until) = (Key::last_use(grant), encode_value(&at), Some(keep_until));
        let inserted = self.store.insert(&key, &value, until, now).await?;
        let Inserted::Exists(seen) = inserted else {
            return Ok(());
        };
        let earlier: Timestamp = decode_value(key.kind(), &seen)?;
        if earlier < at {
            let replaced = self.store.replace(&key, &seen, &value, until, now).await;
            // Beaten by another replica, whose use was at about this time.
            unless_conflict(replaced)?;
        }
        Ok(())
    }
}
