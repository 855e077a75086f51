//! Who has to wait before the next login: an address, an account or a known browser. Not: how many
//! wrong passwords are taken (`gateway-oauth`, `login_limit`).

use std::net::IpAddr;
use std::time::Duration;

use super::access::Records;
use crate::error::{Corrupt, StoreError};
use crate::key::{CountKey, Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::secret::SecretHash;

/// What wrong passwords are counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSubject(String);

impl LoginSubject {
    /// The network of whoever sent it.
    pub fn address(network: IpAddr) -> Self {
        Self(format!("login:address:{network}"))
    }

    /// The network of whoever types the codes of apps on other machines.
    pub fn user_codes(network: &str) -> Self {
        Self(format!("user-code:{network}"))
    }

    /// The account, by the hash of its name.
    pub fn account(name: &SecretHash) -> Self {
        Self(format!("login:account:{}", name.as_str()))
    }

    /// A browser that has logged in to the account before, by the hash of its nonce.
    pub fn device(nonce: &SecretHash) -> Self {
        Self(format!("login:device:{}", nonce.as_str()))
    }
}

impl Key {
    /// Of the lock on logins of a subject.
    pub fn login_lock(subject: &LoginSubject) -> Self {
        Self::new(KeyKind::LoginLock, subject.0.as_str())
    }
}

impl CountKey {
    /// Of wrong passwords.
    pub fn wrong_passwords(subject: &LoginSubject) -> Self {
        Self::new(subject.0.as_str())
    }
}

impl Records {
    /// Makes a subject wait until a moment, unless it waits already.
    pub async fn lock_logins(
        &self,
        subject: &LoginSubject,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let value = until.millis().to_be_bytes();
        self.store
            .insert(&Key::login_lock(subject), &value, Some(until), now)
            .await?;
        Ok(())
    }

    /// How long a subject has to wait, if it has to.
    pub async fn logins_locked_for(
        &self,
        subject: &LoginSubject,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        let key = Key::login_lock(subject);
        let Some(value) = self.store.get(&key, now).await? else {
            return Ok(None);
        };
        let bytes = value.try_into().map_err(|_| Corrupt::Record {
            kind: key.kind(),
            fault: "not the eight bytes of a time".to_owned(),
        })?;
        let wait = Timestamp::from_millis(u64::from_be_bytes(bytes)).since(now);
        Ok(Some(wait).filter(|wait| !wait.is_zero()))
    }
}
