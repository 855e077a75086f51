//! How many wrong passwords are taken before an address or an account has to wait.
//!
//! Three counts, in the store, so that replicas share them and a restart does not forget them:
//! by the sender's address; by account, over all addresses; and by browsers that have logged in
//! to that account before. The last are exempt from the account's count: whoever floods an
//! account with guesses does not lock its person out of a browser that is known. Names that nobody
//! has are counted in the same way, so that counting tells nothing about them.

use std::net::IpAddr;
use std::time::Duration;

use gateway_core::clock::Timestamp;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{CountKey, LoginSubject, Records, StoreError};

const MINUTE: Duration = Duration::from_secs(60);

/// Ten wrong passwords of one address within five minutes; then it waits for five.
const ADDRESS: Limit = Limit {
    most: 10,
    window: MINUTE.saturating_mul(5),
};
/// A hundred for one account within 15 minutes; then unknown browsers wait for 15.
const ACCOUNT: Limit = Limit {
    most: 100,
    window: MINUTE.saturating_mul(15),
};
/// Ten of one known browser within 15 minutes; then it is a browser like any other for 15.
const DEVICE: Limit = Limit {
    most: 10,
    window: MINUTE.saturating_mul(15),
};

/// So many failures in a window, and then a wait as long.
pub(crate) struct Limit {
    pub(crate) most: u64,
    pub(crate) window: Duration,
}

/// What one attempt to log in is counted under.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    address: LoginSubject,
    account: Option<LoginSubject>,
    device: Option<LoginSubject>,
}

impl Attempt {
    /// An attempt from `peer` to log in under `name`, from a browser with the verified device
    /// nonce `device` of that account.
    pub(super) fn new(peer: IpAddr, name: &str, device: Option<&str>) -> Self {
        Self {
            address: LoginSubject::address(network(peer)),
            account: Some(LoginSubject::account(&digest(&name.to_lowercase()))),
            device: device.map(|nonce| LoginSubject::device(&digest(nonce))),
        }
    }

    /// An attempt from `peer` that names nobody, such as with a passkey.
    pub(super) fn without_name(peer: IpAddr) -> Self {
        Self {
            address: LoginSubject::address(network(peer)),
            account: None,
            device: None,
        }
    }

    /// How long this attempt has to wait, if it has to.
    pub(super) async fn wait(
        &self,
        records: &Records,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        let address = records.logins_locked_for(&self.address, now).await?;
        let known = match &self.device {
            Some(device) => records.logins_locked_for(device, now).await?.is_none(),
            None => false,
        };
        let account = match &self.account {
            Some(account) if !known => records.logins_locked_for(account, now).await?,
            _ => None,
        };
        Ok(address.max(account))
    }

    /// Counts a wrong password, or an answer of a passkey that was not taken.
    pub(super) async fn count_failure(
        &self,
        records: &Records,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        count(records, &self.address, &ADDRESS, now).await?;
        if let Some(account) = &self.account {
            count(records, account, &ACCOUNT, now).await?;
        }
        if let Some(device) = &self.device {
            count(records, device, &DEVICE, now).await?;
        }
        Ok(())
    }
}

/// Counts a failure of `subject`, which has to wait from the last on that the limit allows.
pub(crate) async fn count(
    records: &Records,
    subject: &LoginSubject,
    limit: &Limit,
    now: Timestamp,
) -> Result<(), StoreError> {
    debug_assert!(limit.window <= LoginSubject::LONGEST_WAIT);
    let key = CountKey::wrong_passwords(subject);
    if records.count(&key, limit.window, now).await? >= limit.most {
        // Not extended by later failures: those that were on their way when it fell.
        records
            .lock_logins(subject, now + limit.window, now)
            .await?;
    }
    Ok(())
}

/// What one sender has for itself: an IPv4 address, or an IPv6 network of 64 bits.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            std::net::Ipv6Addr::from(prefix).into()
        }
    }
}

/// A key of bounded length that does not repeat what was typed: it may have been a password.
fn digest(text: &str) -> SecretHash {
    Secret::presented(text).hash()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_store::Memory;
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn records() -> Records {
        Records::new(Arc::new(Memory::default()))
    }

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    async fn fail(records: &Records, attempt: &Attempt, times: usize) {
        for _ in 0..times {
            attempt.count_failure(records, NOW).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_address_waits_after_ten_wrong_passwords_and_others_do_not() {
        let records = records();
        let attempt = Attempt::new(from("192.0.2.1"), "alice", None);
        fail(&records, &attempt, 9).await;
        assert_eq!(attempt.wait(&records, NOW).await.unwrap(), None);
        fail(&records, &attempt, 1).await;
        let five_minutes = Duration::from_secs(300);
        assert_eq!(
            attempt.wait(&records, NOW).await.unwrap(),
            Some(five_minutes)
        );
        assert_eq!(
            attempt.wait(&records, NOW + five_minutes).await.unwrap(),
            None
        );
        let same_address = Attempt::new(from("::ffff:192.0.2.1"), "bob", None);
        assert!(same_address.wait(&records, NOW).await.unwrap().is_some());
        let elsewhere = Attempt::new(from("192.0.2.2"), "alice", None);
        assert_eq!(elsewhere.wait(&records, NOW).await.unwrap(), None);
    }

    #[tokio::test]
    async fn guesses_from_many_addresses_stop_but_not_a_known_browser() {
        let records = records();
        for host in 0..100 {
            let stranger = Attempt::new(from(&format!("198.51.100.{host}")), "Alice", None);
            fail(&records, &stranger, 1).await;
        }
        let stranger = Attempt::new(from("203.0.113.1"), "alice", None);
        let wait = stranger.wait(&records, NOW).await.unwrap().unwrap();
        assert_eq!(wait, Duration::from_secs(15 * 60));
        assert_eq!(stranger.wait(&records, NOW + wait).await.unwrap(), None);
        let known = Attempt::new(from("203.0.113.1"), "alice", Some("nonce"));
        assert_eq!(known.wait(&records, NOW).await.unwrap(), None);
        fail(
            &records,
            &Attempt::new(from("203.0.113.9"), "alice", Some("nonce")),
            10,
        )
        .await;
        assert!(known.wait(&records, NOW).await.unwrap().is_some());
        let other = Attempt::new(from("203.0.113.1"), "bob", None);
        assert_eq!(other.wait(&records, NOW).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_ipv6_sender_is_its_network() {
        let records = records();
        for host in 0..10 {
            let address = from(&format!("2001:db8:1:2::{host:x}"));
            fail(
                &records,
                &Attempt::new(address, &format!("u{host}"), None),
                1,
            )
            .await;
        }
        let neighbour = Attempt::new(from("2001:db8:1:2:ffff::1"), "z", None);
        assert!(neighbour.wait(&records, NOW).await.unwrap().is_some());
        let next = Attempt::new(from("2001:db8:1:3::1"), "z", None);
        assert_eq!(next.wait(&records, NOW).await.unwrap(), None);
    }
}
