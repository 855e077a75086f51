//! Registered clients, and what a user allowed one last.

use super::access::Records;
use super::encoding::{Record, decode, encode};
use super::page::{Listed, Page};
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::Inserted;
use gateway_core::client::{Allowed, Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;

impl Record for Client {}

impl Record for Allowed {}

impl Key {
    /// Of a client's record.
    pub fn client(id: &ClientId) -> Self {
        Self::new(KeyKind::Client, id.as_str())
    }

    /// Of what a user allowed a client last.
    pub fn allowed(user: &UserId, client: &ClientId) -> Self {
        Self::new(KeyKind::Allowed, format!("allowed:{user}:{client}"))
    }
}

impl Records {
    /// A registered client.
    pub async fn client(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Client>, StoreError> {
        self.load(&Key::client(id), now).await
    }

    /// Registers a client unless one with its id is there; returns the one that is there now.
    pub async fn register_client(
        &self,
        client: &Client,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<Client, StoreError> {
        let (key, value) = (Key::client(&client.id), encode(client));
        let inserted = self.store.insert(&key, &value, Some(keep_until), now);
        match inserted.await? {
            Inserted::New => Ok(client.clone()),
            Inserted::Exists(bytes) => decode(key.kind(), &bytes),
        }
    }

    /// Keeps a client that is in use until a later time.
    pub async fn keep_client(
        &self,
        client: &Client,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.overwrite(&Key::client(&client.id), client, Some(until), now)
            .await
    }

    /// Keeps the stored record of a client, whatever it says, until a later time than it is kept until now.
    /// Not there: nothing is done.
    pub async fn extend_client(
        &self,
        id: &ClientId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.extend(&Key::client(id), until, now).await?;
        Ok(())
    }

    /// Forgets a client; `false` if there was none.
    pub async fn remove_client(&self, id: &ClientId) -> Result<bool, StoreError> {
        self.store.remove(&Key::client(id)).await
    }

    /// Up to `limit` stored clients after the client `after`: those that registered themselves, and
    /// what is remembered of those with a metadata document. Not those of the configuration.
    pub async fn clients(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Client>, StoreError> {
        let all = Listed::all(KeyKind::Client);
        self.page(&all, after, limit, now, |_| true).await
    }

    /// What a user allowed a client last, if that client can change.
    pub async fn allowed(
        &self,
        user: &UserId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Allowed>, StoreError> {
        self.load(&Key::allowed(user, client), now).await
    }

    /// Keeps what a user allows a client now.
    pub async fn put_allowed(
        &self,
        user: &UserId,
        client: &ClientId,
        allowed: &Allowed,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.overwrite(&Key::allowed(user, client), allowed, Some(keep_until), now)
            .await
    }
}
