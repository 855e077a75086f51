//! How many requests that are kept for a while anybody may make: from one network, and in all.

use std::time::Duration;

use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_store::{CountKey, Records, StoreError};

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

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_store::Memory;
    use std::sync::Arc;

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
