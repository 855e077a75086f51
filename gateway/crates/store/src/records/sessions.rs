//! Browser sessions of the login pages.

use super::access::Records;
use super::encoding::Record;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::secret::SecretHash;

impl Record for BrowserSession {}

impl Key {
    /// Of a session's record, by the hash of its cookie.
    pub fn session(hash: &SecretHash) -> Self {
        Self::new(KeyKind::Session, hash.as_str())
    }
}

impl Records {
    /// Opens a browser session under the hash of its cookie.
    pub async fn open_session(
        &self,
        hash: &SecretHash,
        session: &BrowserSession,
    ) -> Result<(), StoreError> {
        self.keep(&Key::session(hash), session, session.expires)
            .await
    }

    /// A browser session.
    pub async fn session(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<BrowserSession>, StoreError> {
        self.load(&Key::session(hash), now).await
    }

    /// Ends a browser session.
    pub async fn end_session(&self, hash: &SecretHash) -> Result<(), StoreError> {
        self.store.remove(&Key::session(hash)).await.map(drop)
    }
}
