//! Who has to wait before the next login: an address, an account or a known browser. Not: how many
//! wrong passwords are taken (`gateway-oauth`, `login_limit`).

use std::net::IpAddr;
use std::time::Duration;

use super::access::Records;
use crate::error::{Corrupt, StoreError, unless_conflict};
use crate::key::{CountKey, Key, KeyKind};
use crate::store::{COUNT_SKEW, Inserted};
use gateway_core::clock::Timestamp;
use gateway_core::secret::SecretHash;

/// What wrong passwords are counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSubject(String);

impl LoginSubject {
    /// How long one may be made to wait. What a lock says beyond that stems from a clock that was ahead: it
    /// would keep people out until that clock's time.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

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
        let key = Key::login_lock(subject);
        let value = until.millis().to_be_bytes();
        let inserted = self.store.insert(&key, &value, Some(until), now).await?;
        if let Inserted::Exists(present) = inserted
            && wait(&key, &present, now)?.is_none()
        {
            let locked = self.store.replace(&key, &present, &value, Some(until), now);
            // Where somebody else was faster, it waits.
            unless_conflict(locked.await)?;
        }
        Ok(())
    }

    /// How long a subject has to wait, if it has to.
    pub async fn logins_locked_for(
        &self,
        subject: &LoginSubject,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        let key = Key::login_lock(subject);
        match self.store.get(&key, now).await? {
            Some(value) => wait(&key, &value, now),
            None => Ok(None),
        }
    }
}

/// How long a lock makes somebody wait, if it does.
fn wait(key: &Key, lock: &[u8], now: Timestamp) -> Result<Option<Duration>, StoreError> {
    let bytes = lock.try_into().map_err(|_| Corrupt::Record {
        kind: key.kind(),
        fault: "not the eight bytes of a time".to_owned(),
    })?;
    let wait = Timestamp::from_millis(u64::from_be_bytes(bytes)).since(now);
    let is_believable = wait <= LoginSubject::LONGEST_WAIT + COUNT_SKEW;
    Ok(Some(wait).filter(|wait| !wait.is_zero() && is_believable))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn a_lock_of_a_clock_that_was_ahead_keeps_nobody_out_and_one_of_now_takes_its_place() {
        let records = Records::new(Arc::new(Memory::new()));
        let subject = LoginSubject::user_codes("192.0.2.0");
        let now = Timestamp::from_secs(1_000_000);
        let (minute, ahead) = (Duration::from_secs(60), now + Duration::from_secs(9 * 3600));
        let wait = async |now| records.logins_locked_for(&subject, now).await.unwrap();
        let lock = async |until, now| records.lock_logins(&subject, until, now).await.unwrap();
        lock(ahead + 5 * minute, ahead).await;
        assert_eq!(wait(ahead).await, Some(5 * minute));
        assert_eq!(wait(now).await, None);
        lock(now + 5 * minute, now).await;
        assert_eq!(wait(now + minute).await, Some(4 * minute));
        // One that holds is not made longer.
        lock(now + 15 * minute, now + minute).await;
        assert_eq!(wait(now + minute).await, Some(4 * minute));
        assert_eq!(wait(now + 5 * minute).await, None);
        // The longest one holds, also for a replica whose clock is a little behind.
        let later = now + 5 * minute;
        lock(later + LoginSubject::LONGEST_WAIT, later).await;
        let behind = Duration::from_secs(5);
        let longest = LoginSubject::LONGEST_WAIT + behind;
        assert_eq!(wait(later - behind).await, Some(longest));
    }
}
