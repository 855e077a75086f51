//! The resources that one session wants to hear about.

use crate::rpc_error::{RpcError, code};

/// A session subscribes to this many resources at most, by however many requests.
pub const MOST_SUBSCRIPTIONS: usize = 512;

/// What a session has subscribed to: each resource once, [`MOST_SUBSCRIPTIONS`] at most.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions(Vec<String>);

impl Subscriptions {
    /// Subscribes to a resource. Whether that is new; the refusal if there are too many already.
    pub fn add(&mut self, uri: &str) -> Result<bool, RpcError> {
        if self.0.iter().any(|known| known == uri) {
            return Ok(false);
        }
        if self.0.len() >= MOST_SUBSCRIPTIONS {
            return Err(Self::refusal());
        }
        self.0.push(uri.to_owned());
        Ok(true)
    }

    /// Subscribes to several, to all of them or to none.
    pub fn add_all(&mut self, uris: &[String]) -> Result<Vec<String>, RpcError> {
        let mut all = self.clone();
        let mut new = Vec::new();
        for uri in uris {
            if all.add(uri)? {
                new.push(uri.clone());
            }
        }
        *self = all;
        Ok(new)
    }

    /// Unsubscribes from a resource.
    pub fn remove(&mut self, uri: &str) {
        self.0.retain(|known| known != uri);
    }

    /// The resources.
    pub fn uris(&self) -> &[String] {
        &self.0
    }

    /// The refusal of one resource too many.
    pub fn refusal() -> RpcError {
        let sentence = format!("A session subscribes to {MOST_SUBSCRIPTIONS} resources at most");
        RpcError::new(code::INTERNAL, &sentence)
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
        // All or none.
        let two = ["test://a".to_owned(), "test://b".to_owned()];
        assert!(subscriptions.add_all(&two).is_err());
        assert_eq!(subscriptions.uris().len(), MOST_SUBSCRIPTIONS - 1);
        let one = ["test://a".to_owned(), "test://1".to_owned()];
        assert_eq!(subscriptions.add_all(&one).unwrap(), ["test://a"]);
        assert_eq!(subscriptions.uris().len(), MOST_SUBSCRIPTIONS);
    }
}
