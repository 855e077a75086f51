//! Which grant gives a service its tokens at present.

use super::access::Records;
use super::encoding::encode_value;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{Grant, GrantId, SetDigest};
use gateway_core::protocol::resource::Resource;
use gateway_core::protocol::scope::Scope;
use gateway_core::secret::Secret;

/// What a service's tokens are for: another scope is another grant.
#[derive(Clone, Copy, Debug)]
pub struct ServiceGrantKey<'a> {
    /// Who gets them.
    pub client: &'a ClientId,
    /// Where they are good.
    pub resource: &'a Resource,
    /// For what.
    pub scope: &'a Scope,
    /// Stands for the tools.
    pub tools: SetDigest,
}

impl ServiceGrantKey<'_> {
    /// Hashed: each part is as long as the operator likes.
    fn key(&self) -> Key {
        let Self {
            client,
            resource,
            scope,
            tools,
        } = self;
        let all = format!("{client}\n{}\n{scope}\n{tools}", resource.as_str());
        let hash = Secret::presented(all).hash();
        Key::new(KeyKind::ServiceGrant, format!("service:{}", hash.as_str()))
    }
}

impl Records {
    /// The grant that gave these tokens last, while it is there.
    pub async fn service_grant(
        &self,
        key: &ServiceGrantKey<'_>,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        match self.load_value::<GrantId>(&key.key(), now).await? {
            Some(id) => self.grant(&id, now).await,
            None => Ok(None),
        }
    }

    /// Keeps a new grant, and that it gives these tokens from now on.
    pub async fn put_service_grant(
        &self,
        key: &ServiceGrantKey<'_>,
        grant: &Grant,
    ) -> Result<(), StoreError> {
        self.put_grant(grant).await?;
        let (key, value) = (key.key(), encode_value(&grant.id));
        self.store.put(&key, &value, Some(grant.expires)).await
    }
}
