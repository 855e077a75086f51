//! The budget for bytes of unfinished requests: in all, for each address and for each grant.
//!
//! Owns: how much may be held. Not: what is held (`body`, `metered`, `filter`), nor the answer to
//! what is too much (`rejection`).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::peer;
use super::settings::InFlight;

/// What each request may hold beside the budget: about what its connection takes anyway. So the
/// small requests that nearly all are never wait for the large ones of others.
pub(super) const FREE: usize = 16 * 1024;

/// What an answer takes while its client does not: what was read of it, and the room to read more.
pub(super) const UNREAD: usize = 128 * 1024;

/// How long a client may take for one piece of an answer before that counts.
pub(super) const TAKEN: Duration = Duration::from_millis(100);

/// Holds grow in steps, so that the lock is taken once for many small pieces.
const STEP: usize = 16 * 1024;

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The whole: nobody in particular is at fault.
    All,
    /// What one address may hold.
    Address,
    /// What one grant may hold.
    Grant,
}

impl Full {
    /// The setting that sets the bound.
    pub(super) const fn setting(self) -> &'static str {
        match self {
            Self::All => "limits.in_flight",
            Self::Address => "limits.in_flight_per_address",
            Self::Grant => "limits.in_flight_per_grant",
        }
    }

    /// The status of the answer to what is too much.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::All => StatusCode::SERVICE_UNAVAILABLE,
            Self::Address | Self::Grant => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// What is held now.
#[derive(Debug)]
pub(super) struct Budget {
    most: InFlight,
    /// Their addresses have no account of their own.
    trusted_proxies: Vec<IpNet>,
    taken: Mutex<Reserved>,
}

#[derive(Debug, Default)]
struct Reserved {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    by_grant: HashMap<String, usize>,
}

impl Budget {
    /// Whatever is configured, one request of the largest size fits.
    pub(super) fn new(most: InFlight, largest: usize, trusted_proxies: &[IpNet]) -> Self {
        let largest = largest.saturating_add(STEP);
        Self {
            most: InFlight {
                all: most.all.max(largest),
                per_address: most.per_address.max(largest),
                per_grant: most.per_grant.max(largest),
            },
            trusted_proxies: trusted_proxies.to_vec(),
            taken: Mutex::default(),
        }
    }

    /// How many bytes are held now.
    pub(super) fn held(&self) -> usize {
        self.taken.lock().all
    }

    /// A hold of nothing yet, on the account of where it comes from, trusted proxies aside, and of
    /// its token's grant. An empty `grant` is nobody's.
    pub(super) fn hold(self: &Arc<Self>, address: Option<IpAddr>, grant: &str) -> Hold {
        let address = address.filter(|ip| !peer::is_trusted(*ip, &self.trusted_proxies));
        Hold {
            budget: Arc::clone(self),
            least: 0,
            address: address.map(peer::network),
            grant: (!grant.is_empty()).then(|| grant.to_owned()),
            bytes: 0,
        }
    }
}

/// Bytes that are held, given back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    budget: Arc<Budget>,
    /// So much may be held whatever the shares are, by whom holds nothing else.
    least: usize,
    address: Option<IpAddr>,
    grant: Option<String>,
    bytes: usize,
}

impl Hold {
    /// Another one of nothing yet, on the same account. Of `least` bytes it is refused only where
    /// something else is held.
    pub(super) fn another(&self, least: usize) -> Self {
        Self {
            budget: Arc::clone(&self.budget),
            least: least.saturating_add(STEP),
            address: self.address,
            grant: self.grant.clone(),
            bytes: 0,
        }
    }

    /// Makes sure that `bytes` may be held. What was taken before stays where more is refused.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = bytes.div_ceil(STEP) * STEP - self.bytes;
        let most = &self.budget.most;
        let mut taken = self.budget.taken.lock();
        let of = |counted: Option<&usize>| counted.copied().unwrap_or(0);
        if let Some(grant) = &self.grant
            && of(taken.by_grant.get(grant)) + more > most.per_grant.max(self.least)
        {
            return Err(Full::Grant);
        }
        if let Some(address) = &self.address
            && of(taken.by_address.get(address)) + more > most.per_address.max(self.least)
        {
            return Err(Full::Address);
        }
        if taken.all + more > most.all.max(self.least) {
            return Err(Full::All);
        }
        taken.all += more;
        if let Some(grant) = &self.grant {
            *taken.by_grant.entry(grant.clone()).or_default() += more;
        }
        if let Some(address) = self.address {
            *taken.by_address.entry(address).or_default() += more;
        }
        self.bytes += more;
        Ok(())
    }

    /// The same for what is held beyond what is free.
    pub(super) fn grow_beyond_free(&mut self, bytes: usize) -> Result<(), Full> {
        self.grow_to(bytes.saturating_sub(FREE))
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        let mut taken = self.budget.taken.lock();
        taken.all -= bytes;
        if let Some(grant) = &self.grant {
            give_back(&mut taken.by_grant, grant, bytes);
        }
        if let Some(address) = &self.address {
            give_back(&mut taken.by_address, address, bytes);
        }
    }

    /// Ties the hold to the bytes it is for: it ends with their last copy.
    pub(super) fn over(self, bytes: Bytes) -> Bytes {
        match self.bytes {
            0 => bytes,
            _ => Bytes::from_owner(Held { bytes, _hold: self }),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

fn give_back<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K, bytes: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count -= bytes;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

struct Held {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Arc<Budget> {
        let most = InFlight {
            all: 10 * STEP,
            per_address: 6 * STEP,
            per_grant: 4 * STEP,
        };
        Arc::new(Budget::new(most, STEP, &[]))
    }

    fn at(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    #[test]
    fn each_bound_is_met_by_whom_it_is_for() {
        let budget = budget();
        let mut first = budget.hold(at(1), "g1");
        assert_eq!(first.grow_to(4 * STEP), Ok(()));
        assert_eq!(first.grow_to(4 * STEP + 1), Err(Full::Grant));
        assert_eq!(budget.hold(at(2), "g1").grow_to(1), Err(Full::Grant));
        let mut second = budget.hold(at(1), "g2");
        assert_eq!(second.grow_to(2 * STEP), Ok(()));
        assert_eq!(second.grow_to(3 * STEP), Err(Full::Address));
        assert_eq!(budget.hold(at(1), "").grow_to(1), Err(Full::Address));
        let mut proxied = budget.hold(None, "");
        assert_eq!(proxied.grow_to(4 * STEP), Ok(()));
        assert_eq!(proxied.grow_to(5 * STEP), Err(Full::All));
        drop((first, second, proxied));
        let taken = budget.taken.lock();
        assert_eq!(taken.all, 0);
        assert!(taken.by_address.is_empty() && taken.by_grant.is_empty());
    }

    #[test]
    fn what_is_held_for_bytes_ends_with_their_last_copy() {
        let budget = budget();
        let mut hold = budget.hold(at(1), "g1");
        hold.grow_beyond_free(FREE + 1).unwrap();
        let bytes = hold.over(Bytes::from_static(b"body"));
        let copy = bytes.clone();
        drop(bytes);
        assert_eq!(budget.taken.lock().all, STEP);
        assert_eq!(&copy[..], b"body");
        drop(copy);
        assert_eq!(budget.taken.lock().all, 0);
    }

    #[test]
    fn one_large_answer_fits_beside_nothing_else_of_the_same_account() {
        let budget = budget();
        let account = budget.hold(at(1), "g1");
        let mut answer = account.another(8 * STEP);
        assert_eq!(answer.grow_to(8 * STEP), Ok(()));
        assert_eq!(
            account.another(8 * STEP).grow_to(2 * STEP),
            Err(Full::Grant)
        );
        assert_eq!(budget.hold(at(1), "g1").grow_to(1), Err(Full::Grant));
        assert_eq!(budget.hold(at(2), "g2").grow_to(2 * STEP), Ok(()));
    }

    #[test]
    fn one_request_of_the_largest_size_always_fits() {
        let most = InFlight {
            all: 1,
            per_address: 1,
            per_grant: 1,
        };
        let budget = Arc::new(Budget::new(most, 3 * STEP + 1, &[]));
        let mut hold = budget.hold(at(1), "g1");
        assert_eq!(hold.grow_to(3 * STEP + 1), Ok(()));
        assert_eq!(budget.hold(at(1), "g1").grow_to(1), Err(Full::Grant));
    }
}
