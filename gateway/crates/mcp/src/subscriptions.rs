//! The resources that one session wants to hear about.

use std::collections::HashMap;

use crate::rpc_error::{RpcError, code};

/// A session subscribes to this many resources at once at most, by however many requests.
pub const MOST_SUBSCRIPTIONS: usize = 512;

/// The most that their URIs may be together, in bytes: all are kept.
pub const LONGEST_SUBSCRIPTIONS: usize = 128 * 1024;

/// What a session has subscribed to: each resource once, within [`MOST_SUBSCRIPTIONS`] and
/// [`LONGEST_SUBSCRIPTIONS`].
#[derive(Clone, Debug, Default)]
pub struct Subscriptions(Vec<String>);

impl Subscriptions {
    /// Subscribes to a resource. Whether that is new; the refusal if there are too many already.
    pub fn add(&mut self, uri: &str) -> Result<bool, RpcError> {
        if self.0.iter().any(|known| known == uri) {
            return Ok(false);
        }
        let bytes: usize = self.0.iter().map(String::len).sum();
        Self::fit(self.0.len() + 1, bytes + uri.len())?;
        self.0.push(uri.to_owned());
        Ok(true)
    }

    /// Unsubscribes from a resource.
    pub fn remove(&mut self, uri: &str) {
        self.0.retain(|known| known != uri);
    }

    /// The resources.
    pub fn uris(&self) -> &[String] {
        &self.0
    }

    /// Whether so many resources, whose URIs have so many bytes together, are not too much for one session.
    pub fn fit(count: usize, bytes: usize) -> Result<(), RpcError> {
        if count <= MOST_SUBSCRIPTIONS && bytes <= LONGEST_SUBSCRIPTIONS {
            return Ok(());
        }
        let sentence = format!(
            "A session subscribes to {MOST_SUBSCRIPTIONS} resources at most, whose URIs have {} KiB together",
            LONGEST_SUBSCRIPTIONS / 1024
        );
        Err(RpcError::new(code::INTERNAL, &sentence))
    }
}

/// What several streams over one session hold: a resource counts once, and for as long as one of them
/// holds it. Together they have as much room as one session.
#[derive(Debug, Default)]
pub struct SharedSubscriptions {
    holders: HashMap<String, usize>,
    bytes: usize,
}

impl SharedSubscriptions {
    /// Holds resources that differ from one another, all of them or none.
    pub fn hold(&mut self, uris: &[String]) -> Result<(), RpcError> {
        let new = || uris.iter().filter(|uri| !self.holders.contains_key(*uri));
        let bytes = self.bytes + new().map(String::len).sum::<usize>();
        Subscriptions::fit(self.holders.len() + new().count(), bytes)?;
        self.bytes = bytes;
        for uri in uris {
            *self.holders.entry(uri.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// Gives back what was held.
    pub fn release(&mut self, uris: &[String]) {
        for uri in uris {
            let Some(holders) = self.holders.get_mut(uri) else {
                continue;
            };
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(uri);
                self.bytes -= uri.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_subscribes_to_so_many_and_to_each_once() {
        let mut subscriptions = Subscriptions::default();
        for at in 0..MOST_SUBSCRIPTIONS {
            assert!(subscriptions.add(&format!("test://{at}")).unwrap());
        }
        let refused = subscriptions.add("test://more").unwrap_err();
        assert_eq!(refused.code(), code::INTERNAL);
        assert!(refused.object().text("message").unwrap().contains("512"));
        // What is there already is no more.
        assert!(!subscriptions.add("test://0").unwrap());
        subscriptions.remove("test://0");
        assert!(subscriptions.add("test://more").unwrap());
    }

    #[test]
    fn few_resources_with_long_names_are_too_much_as_well() {
        let mut subscriptions = Subscriptions::default();
        let long = |at: usize| format!("test://{at:05}/{}", "x".repeat(8 * 1024 - 13));
        for at in 0..16 {
            assert!(subscriptions.add(&long(at)).unwrap(), "{at}");
        }
        assert!(subscriptions.add("test://a").is_err());
        let mut shared = SharedSubscriptions::default();
        shared.hold(&(0..16).map(long).collect::<Vec<_>>()).unwrap();
        assert!(shared.hold(&["test://a".to_owned()]).is_err());
    }

    #[test]
    fn what_several_hold_counts_once_and_until_the_last_lets_go() {
        let named = |range: std::ops::Range<usize>| -> Vec<String> {
            range.map(|at| format!("test://{at}")).collect()
        };
        let mut shared = SharedSubscriptions::default();
        shared.hold(&named(0..500)).unwrap();
        shared.hold(&named(490..512)).unwrap();
        // All or none.
        assert!(shared.hold(&named(511..513)).is_err());
        shared.release(&named(0..500));
        let one_more = [named(0..490), named(600..601)].concat();
        assert!(shared.hold(&one_more).is_err());
        shared.hold(&named(0..490)).unwrap();
        shared.release(&named(0..490));
        shared.release(&named(490..512));
        shared.hold(&named(1000..1512)).unwrap();
    }
}
