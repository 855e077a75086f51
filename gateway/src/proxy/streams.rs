//! The registry of live event streams: who holds them, for metrics and the admin listener. What
//! ends them is `endings`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::grants::{GrantId, UserId};

/// One live stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// The backend's name.
    pub backend: String,
    /// Whose.
    pub user: UserId,
    /// By which client.
    pub client: ClientId,
    /// Under which grant.
    pub grant: GrantId,
    /// Since when.
    pub since: Timestamp,
}

/// The live streams.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    next: Arc<AtomicU64>,
    live: Arc<Mutex<HashMap<u64, StreamView>>>,
}

impl Streams {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.live.lock().len()
    }

    /// How many there are, by backend.
    pub fn count_by_backend(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for stream in self.live.lock().values() {
            *counts.entry(stream.backend.clone()).or_default() += 1;
        }
        counts
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<StreamView> {
        let mut streams: Vec<_> = self.live.lock().values().cloned().collect();
        streams.sort_by_key(|stream| stream.since);
        streams
    }

    /// Enters a stream for as long as the result lives.
    pub(super) fn hold(&self, stream: StreamView) -> Held {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.live.lock().insert(id, stream);
        Held {
            id,
            live: Arc::clone(&self.live),
        }
    }
}

/// Keeps one stream in the registry.
#[derive(Debug)]
pub(super) struct Held {
    id: u64,
    live: Arc<Mutex<HashMap<u64, StreamView>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.live.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_counted_for_as_long_as_it_is_held() {
        let streams = Streams::default();
        let view = |backend: &str, at| StreamView {
            backend: backend.to_owned(),
            user: UserId::new("u_1"),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            since: Timestamp::from_secs(at),
        };
        let first = streams.hold(view("a", 2));
        let second = streams.hold(view("b", 1));
        assert_eq!(streams.list()[0].backend, "b");
        assert_eq!(streams.count_by_backend()["a"], 1);
        drop(first);
        drop(second);
        assert_eq!(streams.count(), 0);
    }
}
