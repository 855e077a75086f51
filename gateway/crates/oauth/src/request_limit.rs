//! How many requests that are kept for a while anybody may make: from one network or /48, and in all.

use std::net::IpAddr;
use std::time::Duration;

use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_store::{CountKey, Records, StoreError};

/// So many times what one network may, the /48 of an IPv6 address may that many networks are in: whoever
/// rents one could else use up what all may.
const PER_SITE: u64 = 4;

/// A limit in a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLimit {
    /// From one network: a whole company may come from one address.
    pub(crate) per_network: u64,
    /// From all together: there are more networks than one machine has.
    pub(crate) in_all: u64,
    /// The window, which begins with its first request.
    pub(crate) window: Duration,
}

impl RequestLimit {
    /// Counts one request of a stranger: for the network of its address, which `from` makes a key of, for the
    /// /48 that an IPv6 network is in, and for all. What one of them refuses uses up nothing of the next.
    pub(crate) async fn count_from(
        &self,
        records: &Records,
        peer: IpAddr,
        from: fn(&str) -> CountKey,
        all: &CountKey,
        now: Timestamp,
    ) -> Result<Option<Reason>, StoreError> {
        let network = from(&network(peer));
        let Some(site) = site(peer) else {
            return self.count(records, &network, all, now).await;
        };
        if records.count(&network, self.window, now).await? > self.per_network {
            return Ok(Some(Reason::RateLimited));
        }
        let of_site = Self {
            per_network: self.per_network.saturating_mul(PER_SITE),
            ..*self
        };
        of_site.count(records, &from(&site), all, now).await
    }

    /// Counts one request. The reason, if it is one too many: [`Reason::RateLimited`] for its network's
    /// count, [`Reason::Overloaded`] for that of all.
    pub(crate) async fn count(
        &self,
        records: &Records,
        network: &CountKey,
        all: &CountKey,
        now: Timestamp,
    ) -> Result<Option<Reason>, StoreError> {
        if records.count(network, self.window, now).await? > self.per_network {
            return Ok(Some(Reason::RateLimited));
        }
        let count = records.count(all, self.window, now).await?;
        Ok((count > self.in_all).then_some(Reason::Overloaded))
    }
}

/// The /48 of an IPv6 address.
fn site(address: IpAddr) -> Option<String> {
    match address.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(format!("{a:x}:{b:x}:{c:x}::/48"))
        }
    }
}

/// What one sender holds: an IPv4 address, or the /64 of an IPv6 one.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_store::Memory;
    use std::sync::Arc;

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        let site = |text: &str| site(text.parse().unwrap());
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:ff::1"));
        assert_ne!(site("2001:db8:1:2::1"), site("2001:db8:2:2::1"));
        assert_eq!(site("::ffff:192.0.2.1"), None);
    }

    #[tokio::test]
    async fn whoever_has_a_48_uses_up_neither_what_all_may_nor_from_one_network_what_it_may() {
        type Of = fn(&str) -> CountKey;
        let now = Timestamp::from_secs(1_000_000);
        let limit = RequestLimit {
            per_network: 3,
            in_all: 20,
            window: Duration::from_secs(600),
        };
        let (one, whole) = (Some(Reason::RateLimited), Some(Reason::Overloaded));
        let keys: [(Of, CountKey); 3] = [
            (CountKey::registrations, CountKey::all_registrations()),
            (CountKey::provider_logins, CountKey::all_provider_logins()),
            (CountKey::device_requests, CountKey::all_device_requests()),
        ];
        for (from, all) in keys {
            let records = Records::new(Arc::new(Memory::default()));
            let count = async |address: &str| {
                let peer = address.parse().unwrap();
                let counted = limit.count_from(&records, peer, from, &all, now).await;
                counted.unwrap()
            };
            for sent in 0..100 {
                let expected = if sent < 3 { None } else { one };
                assert_eq!(count("2001:db8:1::1").await, expected, "{sent}");
            }
            for network in 1..100 {
                let expected = if network <= 9 { None } else { one };
                let address = format!("2001:db8:1:{network:x}::1");
                assert_eq!(count(&address).await, expected, "{network}");
            }
            for others in 0..9 {
                let expected = if others < 8 { None } else { whole };
                assert_eq!(count(&format!("192.0.2.{others}")).await, expected);
            }
        }
    }

    #[tokio::test]
    async fn a_network_and_all_of_them_have_limits_of_their_own() {
        let records = Records::new(Arc::new(Memory::default()));
        let now = Timestamp::from_secs(1_000_000);
        let limit = RequestLimit {
            per_network: 2,
            in_all: 3,
            window: Duration::from_secs(600),
        };
        let all = CountKey::all_provider_logins();
        let mut counted = Vec::new();
        for network in ["a", "a", "a", "b", "b"] {
            let key = CountKey::provider_logins(network);
            counted.push(limit.count(&records, &key, &all, now).await.unwrap());
        }
        // What one network sends beyond its own limit does not use up that of all.
        let (one, whole) = (Some(Reason::RateLimited), Some(Reason::Overloaded));
        assert_eq!(counted, [None, None, one, None, whole]);
        let later = now + limit.window;
        let key = CountKey::provider_logins("a");
        assert_eq!(
            limit.count(&records, &key, &all, later).await.unwrap(),
            None
        );
    }
}
