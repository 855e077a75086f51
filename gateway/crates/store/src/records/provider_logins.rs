//! Logins that were begun at an identity provider: each is taken once, by the answer that comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::{Record, decode, encode};
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::store::TakeOutcome;
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

/// What taking a login met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenLogin {
    /// This caller, and no other ever, has it.
    Fresh(ProviderLogin),
    /// It was taken before.
    Again,
    /// There is none, or it is too old.
    Unknown,
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
        let (key, value) = (Key::provider_login(state), encode(login));
        self.store.put(&key, &value, Some(now + LIFETIME)).await
    }

    /// Takes the login of a state.
    pub async fn take_provider_login(
        &self,
        state: &SecretHash,
        now: Timestamp,
    ) -> Result<TakenLogin, StoreError> {
        let key = Key::provider_login(state);
        Ok(match self.store.take(&key, now).await? {
            TakeOutcome::Fresh(bytes) => TakenLogin::Fresh(decode(key.kind(), &bytes)?),
            TakeOutcome::Again(_) => TakenLogin::Again,
            TakeOutcome::Unknown => TakenLogin::Unknown,
        })
    }
}
