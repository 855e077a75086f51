//! The certificate that replicas share: the account at the ACME server, the last good certificate, what
//! failed since, the challenge of the order that is under way, and whose order it is.
//!
//! Keys of the account and of the certificate are encrypted by whoever writes them. Not: when one is
//! ordered (the binary).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Records;
use super::encoding::Record;
use super::hashed::hashed;
use crate::error::{StoreError, unless_conflict};
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;

/// How long the answer to a challenge is kept: longer than any order takes.
const CHALLENGE: Duration = Duration::from_secs(15 * 60);

/// How long an order is somebody's who says nothing more of it.
pub const ORDER_LEASE: Duration = Duration::from_secs(60);

/// An account at an ACME server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// Key and address of the account, encrypted.
    pub credentials: String,
}

/// A certificate that was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCertificate {
    /// It and those that signed it, in PEM.
    pub chain: String,
    /// Its private key in PEM, encrypted.
    pub key: String,
    /// When it came.
    pub ordered: Timestamp,
}

/// Orders that failed since the last good certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOrders {
    /// How many did, one after the other.
    pub count: u32,
    /// When the last one did.
    pub last: Timestamp,
    /// Whether the ACME server could not be asked at all.
    pub is_away: bool,
    /// Why, for the operator.
    pub why: String,
}

/// An order that this caller alone has for a while.
#[derive(Debug)]
pub struct OrderLease {
    key: Key,
    seen: Vec<u8>,
    turn: u64,
    holder: String,
}

impl OrderLease {
    /// What the store has once it was extended again: nobody else writes this.
    fn next_value(&self) -> Vec<u8> {
        format!("{} {}", self.holder, self.turn + 1).into_bytes()
    }

    /// It was extended.
    fn advance(&mut self) {
        self.seen = self.next_value();
        self.turn += 1;
    }

    /// As its holder knows it whom the answer to what comes next does not reach.
    #[cfg(test)]
    pub(crate) fn unanswered(&self) -> Self {
        Self {
            key: self.key.clone(),
            seen: self.seen.clone(),
            turn: self.turn,
            holder: self.holder.clone(),
        }
    }
}

impl Record for AcmeAccount {}
impl Record for KeptCertificate {}
impl Record for FailedOrders {}

impl Key {
    fn acme_account(directory: &str) -> Self {
        Self::new(
            KeyKind::AcmeAccount,
            format!("acme_account:{}", hashed(directory)),
        )
    }

    fn certificate(name: &str) -> Self {
        Self::new(
            KeyKind::Certificate,
            format!("certificate:{}", hashed(name)),
        )
    }

    fn failed_orders(name: &str) -> Self {
        Self::new(
            KeyKind::FailedOrders,
            format!("failed_orders:{}", hashed(name)),
        )
    }

    fn order_lease(name: &str) -> Self {
        Self::new(KeyKind::OrderLease, format!("order_lease:{}", hashed(name)))
    }

    fn acme_challenge(token: &str) -> Self {
        Self::new(
            KeyKind::AcmeChallenge,
            format!("acme_challenge:{}", hashed(token)),
        )
    }
}

impl Records {
    /// The account at a directory.
    pub async fn acme_account(
        &self,
        directory: &str,
        now: Timestamp,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        self.load(&Key::acme_account(directory), now).await
    }

    /// Keeps the account at a directory, whatever was there.
    pub async fn keep_acme_account(
        &self,
        directory: &str,
        account: &AcmeAccount,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Key::acme_account(directory);
        self.overwrite(&key, account, None, now).await
    }

    /// The last good certificate for a name.
    pub async fn certificate(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<KeptCertificate>, StoreError> {
        self.load(&Key::certificate(name), now).await
    }

    /// Keeps a certificate for a name; what failed before is forgotten.
    pub async fn keep_certificate(
        &self,
        name: &str,
        certificate: &KeptCertificate,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Key::certificate(name);
        self.overwrite(&key, certificate, None, now).await?;
        self.store.remove(&Key::failed_orders(name)).await?;
        Ok(())
    }

    /// What failed since the last good certificate for a name.
    pub async fn failed_orders(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<FailedOrders>, StoreError> {
        self.load(&Key::failed_orders(name), now).await
    }

    /// Keeps what failed.
    pub async fn keep_failed_orders(
        &self,
        name: &str,
        failed: &FailedOrders,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Key::failed_orders(name);
        self.overwrite(&key, failed, None, now).await
    }

    /// Makes the order for a name this caller's for [`ORDER_LEASE`]; `None` while it is somebody else's.
    /// `holder` is nobody else's name.
    pub async fn take_order(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
    ) -> Result<Option<OrderLease>, StoreError> {
        let key = Key::order_lease(name);
        let seen = holder.as_bytes().to_vec();
        let until = Some(now + ORDER_LEASE);
        let is_taken = self.add(&key, &seen, until, now).await?;
        Ok(is_taken.then(|| OrderLease {
            key,
            seen,
            turn: 0,
            holder: holder.to_owned(),
        }))
    }

    /// Keeps the order this caller's for [`ORDER_LEASE`] from now on; `false` where it is so no more. After
    /// an error it may be asked again: what the store did before its answer was lost is this caller's, too.
    pub async fn hold_order(
        &self,
        lease: &mut OrderLease,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.extend_order(lease, now).await? {
            return Ok(true);
        }
        let found = self.store.get(&lease.key, now).await?;
        if found.is_none_or(|found| found != lease.next_value()) {
            return Ok(false);
        }
        lease.advance();
        self.extend_order(lease, now).await
    }

    async fn extend_order(
        &self,
        lease: &mut OrderLease,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (value, until) = (lease.next_value(), Some(now + ORDER_LEASE));
        let replaced = self
            .store
            .replace(&lease.key, &lease.seen, &value, until, now)
            .await;
        let is_held = unless_conflict(replaced)?.is_some();
        if is_held {
            lease.advance();
        }
        Ok(is_held)
    }

    /// Gives the order back, so that nobody waits for it.
    pub async fn give_order_back(
        &self,
        mut lease: OrderLease,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Only one that still is the caller's may be taken away.
        if self.hold_order(&mut lease, now).await? {
            self.store.remove(&lease.key).await?;
        }
        Ok(())
    }

    /// Keeps the answer to a challenge for as long as it may be asked for, on all replicas.
    pub async fn keep_acme_challenge(
        &self,
        token: &str,
        answer: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, until) = (Key::acme_challenge(token), Some(now + CHALLENGE));
        self.store.put(&key, answer.as_bytes(), until).await
    }

    /// The answer to a challenge.
    pub async fn acme_challenge(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let found = self.store.get(&Key::acme_challenge(token), now).await?;
        Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}
