//! Marks of things that may happen once. A mark has no content: its key says all.

use std::time::Duration;

use super::access::Records;
use super::hashed::{hashed, hashed_together};
use super::identities::Identity;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::grants::GrantId;

/// How long one renewal keeps others away; longer than one can take.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(60);

const CLOCKS: Duration = Duration::from_secs(180);

/// No longer is the mark of a logout token kept, whatever it says of its end.
const LONGEST_LOGOUT: Duration = Duration::from_secs(24 * 3600);

impl Key {
    /// Of the mark that a client assertion was used: `name` names it among all of all clients.
    pub fn used_assertion(name: &str) -> Self {
        Self::new(KeyKind::UsedAssertion, name)
    }

    /// Of the mark that a provider's logout token was used.
    fn used_logout(issuer: &str, id: &str) -> Self {
        let both = hashed_together(issuer, id);
        Self::new(KeyKind::UsedAssertion, format!("logout:{both}"))
    }

    /// Of the mark that a provider's assertion for an app was exchanged.
    fn used_id_jag(issuer: &str, id: &str) -> Self {
        let both = hashed_together(issuer, id);
        Self::new(KeyKind::UsedAssertion, format!("id_jag:{both}"))
    }

    /// Of the mark that what a provider said at this moment is being renewed.
    fn renewal(identity: &Identity) -> Self {
        let (issuer, subject) = (hashed(&identity.issuer), hashed(&identity.subject));
        let confirmed = identity.confirmed.millis();
        let whole = hashed(&format!("{issuer} {subject} {confirmed}"));
        Self::new(KeyKind::UsedAssertion, format!("renewal:{whole}"))
    }

    /// Of the mark that a grant without a record was ended.
    pub fn ended_grant(id: &GrantId) -> Self {
        Self::new(KeyKind::EndedGrant, format!("ended/{id}"))
    }
}

impl Records {
    /// Whether a provider's logout token has done its work before.
    pub async fn was_logged_out(
        &self,
        issuer: &str,
        id: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mark = self.store.get(&Key::used_logout(issuer, id), now).await?;
        Ok(mark.is_some())
    }

    /// Notes that a provider's logout token has done its work, and `true` for the first caller only.
    pub async fn first_logout(
        &self,
        issuer: &str,
        id: &str,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // Later than any clock of a replica would believe it.
        let until = (ends + CLOCKS).min(now + LONGEST_LOGOUT);
        self.once(&Key::used_logout(issuer, id), until, now).await
    }

    /// Notes that a provider's assertion for an app is exchanged, and `true` for the first caller only.
    pub async fn first_id_jag(
        &self,
        issuer: &str,
        id: &str,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // Later than any clock of a replica would believe it.
        self.once(&Key::used_id_jag(issuer, id), ends + CLOCKS, now)
            .await
    }

    /// Whether the caller is the one who asks the provider anew what it said of somebody. Of all
    /// replicas one does in a while: providers take a refresh token once.
    pub async fn renews(&self, identity: &Identity, now: Timestamp) -> Result<bool, StoreError> {
        self.once(&Key::renewal(identity), now + BETWEEN_RENEWALS, now)
            .await
    }

    /// Marks something that may happen once; `true` for the first caller only.
    pub async fn once(
        &self,
        key: &Key,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.add(key, b"1", Some(until), now).await
    }
}
