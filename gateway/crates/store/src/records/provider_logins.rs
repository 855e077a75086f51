//! Logins that were begun at an identity provider: each is taken once, by the answer that comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::{Records, SingleUse};
use super::encoding::Record;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::SecretHash;

/// How long a person may take at the provider.
const LIFETIME: Duration = Duration::from_secs(600);

/// A login that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderLogin {
    /// The name of the provider.
    pub provider: String,
    /// Of the cookie that names the browser it was begun in.
    pub browser: SecretHash,
    /// Where it leads.
    pub goal: KeptGoal,
    /// The person, logged in otherwise, who wants to log in with this account from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<UserId>,
}

/// Where a login leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptGoal {
    /// To the start page.
    Start,
    /// To the person's apps.
    Account,
    /// To `/authorize` with this raw query.
    Authorize(String),
    /// To the page of our own at this path.
    Page(String),
}

impl Record for ProviderLogin {}

/// What their names begin with, in the table that they share.
const LOGIN: &str = "provider/";

impl Key {
    /// Of a login, by the hash of its state.
    fn provider_login(state: &SecretHash) -> Self {
        Self::new(KeyKind::ProviderLogin, format!("{LOGIN}{}", state.as_str()))
    }
}

impl Records {
    /// Notes a login that begins, under the hash of its state.
    pub async fn begin_provider_login(
        &self,
        state: &SecretHash,
        login: &ProviderLogin,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.keep(&Key::provider_login(state), login, now + LIFETIME)
            .await
    }

    /// Takes the login of a state.
    pub async fn take_provider_login(
        &self,
        state: &SecretHash,
        now: Timestamp,
    ) -> Result<SingleUse<ProviderLogin>, StoreError> {
        self.take(&Key::provider_login(state), now).await
    }
}
