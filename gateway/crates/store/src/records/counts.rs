//! Counts of events within a time. A count has no record: it is a number that the store adds to.

use std::time::Duration;

use super::access::Records;
use crate::error::StoreError;
use crate::key::CountKey;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};
use gateway_core::limits::{Draw, Drawn, Quota};

impl CountKey {
    /// Of new registrations from a network.
    pub fn registrations(network: &str) -> Self {
        Self::new(format!("registrations/{network}"))
    }

    /// Of all new registrations.
    pub fn all_registrations() -> Self {
        Self::new("registrations")
    }

    /// Of registrations from a network of what is registered already.
    pub fn repeated_registrations(network: &str) -> Self {
        Self::new(format!("registrations-again/{network}"))
    }

    /// Of logins that were begun at identity providers, from a network.
    pub fn provider_logins(network: &str) -> Self {
        Self::new(format!("provider-logins/{network}"))
    }

    /// Of all logins that were begun at identity providers.
    pub fn all_provider_logins() -> Self {
        Self::new("provider-logins")
    }

    /// Of accounts at backends that a person tried to connect.
    pub fn account_connections(user: &UserId) -> Self {
        Self::new(format!("account-connections/{user}"))
    }

    /// Of all of them.
    pub fn all_account_connections() -> Self {
        Self::new("account-connections")
    }

    /// Of a client's assertions.
    pub fn assertions(client: &ClientId) -> Self {
        Self::new(format!("assertions/{client}"))
    }

    /// Of revocations of attenuated tokens of a grant.
    pub fn attenuated_revocations(grant: &GrantId) -> Self {
        Self::new(format!("narrowed/{grant}"))
    }

    /// Of what somebody uses of one count of a limit.
    pub fn limit(limit: &str, meter: &str, subject: &str) -> Self {
        Self::new(format!("limit/{limit}/{meter}/{subject}"))
    }

    /// Of what is used with a narrowed token and what was made from it, by the id of the block that says so.
    pub fn narrowed_budget(block: &str, meter: &str) -> Self {
        Self::new(format!("budget/{block}/{meter}"))
    }

    /// Of the budgets that narrowed tokens of a grant brought along.
    pub fn narrowed_budgets(grant: &GrantId) -> Self {
        Self::new(format!("budgets/{grant}"))
    }

    /// Of the calls that a person has made in a day.
    pub fn calls_of(user: &UserId) -> Self {
        Self::new(format!("calls/{user}"))
    }
}

impl Records {
    /// Counts one event and returns how many there were in the current window, this one included.
    pub async fn count(
        &self,
        key: &CountKey,
        window: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.store.count(key, window, now).await
    }

    /// Draws from a quota of what is counted under a key.
    pub async fn draw(
        &self,
        key: &CountKey,
        quota: Quota,
        draw: Draw,
        now: Timestamp,
    ) -> Result<Drawn, StoreError> {
        self.store.draw(key, quota, draw, now).await
    }
}
