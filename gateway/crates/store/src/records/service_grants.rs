//! Which grant gives a service its tokens at present.

use super::access::Records;
use super::encoding::encode_value;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
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

    /// Keeps a new grant, and that it gives these tokens from now on instead of `seen`, which
    /// [`Records::service_grant`] found and which is good no more. The grant that gives them: another, if
    /// a request at the same time was first.
    pub async fn put_service_grant(
        &self,
        key: &ServiceGrantKey<'_>,
        seen: Option<&GrantId>,
        grant: Grant,
        now: Timestamp,
    ) -> Result<Grant, StoreError> {
        self.put_grant(&grant).await?;
        let (name, value) = (key.key(), encode_value(&grant.id));
        let (store, expires) = (&self.store, Some(grant.expires));
        let present = match store.insert(&name, &value, expires, now).await? {
            Inserted::New => return Ok(grant),
            Inserted::Exists(present) => present,
        };
        let other = match self.service_grant(key, now).await? {
            Some(other) if seen != Some(&other.id) => Some(other),
            _ => match store.replace(&name, &present, &value, expires, now).await {
                Err(StoreError::Conflict(_)) => self.service_grant(key, now).await?,
                replaced => return replaced.map(|()| grant),
            },
        };
        store.remove(&Key::grant(&grant.id)).await?;
        other.ok_or(StoreError::Conflict(KeyKind::ServiceGrant))
    }
}
