//! The registry of live event streams: who holds them, for metrics and the admin listener, and a
//! way to close one. What ends them otherwise is `lifetime`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::context::RequestContext;
use gateway_core::access_token::Claims;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};

/// One live stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// The backend's name.
    pub backend: String,
    /// Whose.
    pub user: UserId,
    /// That person's login name.
    pub user_name: String,
    /// By which client.
    pub client: ClientId,
    /// Under which grant.
    pub grant: GrantId,
    /// Since when.
    pub since: Timestamp,
}

impl StreamView {
    /// One that begins now, at the backend of this name.
    pub(super) fn new(backend: &str, claims: &Claims, since: Timestamp) -> Self {
        Self {
            backend: backend.to_owned(),
            user: claims.user.clone(),
            user_name: claims.user_name.clone(),
            client: claims.client.clone(),
            grant: claims.grant.clone(),
            since,
        }
    }
}

/// How many bits of a number count the streams of a process. The others are drawn once for each process, so
/// that a number tells a stream from those of other replicas, and a program that reads numbers as floating
/// point still has all of them.
const COUNTED: u32 = 28;
const DRAWN: u32 = 24;

/// The live streams of this process.
#[derive(Clone, Debug)]
pub struct Streams {
    next: Arc<AtomicU64>,
    live: Arc<Mutex<HashMap<u64, Live>>>,
}

impl Default for Streams {
    fn default() -> Self {
        // Never the lowest ones, which were those of earlier versions.
        let drawn = (rand::random::<u64>() >> (64 - DRAWN)).max(1);
        Self {
            next: Arc::new(AtomicU64::new(drawn << COUNTED)),
            live: Arc::default(),
        }
    }
}

#[derive(Debug)]
struct Live {
    view: StreamView,
    closing: CancellationToken,
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
            *counts.entry(stream.view.backend.clone()).or_default() += 1;
        }
        counts
    }

    /// All of them with their numbers, oldest first. A number is given once in the life of the
    /// process, and to no stream of another replica.
    pub fn list(&self) -> Vec<(u64, StreamView)> {
        let live = self.live.lock();
        let mut streams: Vec<_> = live
            .iter()
            .map(|(number, stream)| (*number, stream.view.clone()))
            .collect();
        drop(live);
        streams.sort_by_key(|(number, _)| *number);
        streams
    }

    /// Ends a stream properly, within seconds. `None` if there is none of this number. Its client
    /// may open another: the token is as good as before.
    pub fn close(&self, number: u64) -> Option<StreamView> {
        let live = self.live.lock();
        let stream = live.get(&number)?;
        stream.closing.cancel();
        Some(stream.view.clone())
    }

    /// Enters a stream for as long as the result lives.
    pub(super) fn hold(
        &self,
        view: StreamView,
        closing: &CancellationToken,
        context: &RequestContext,
    ) -> Held {
        context.becomes_stream();
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let closing = closing.clone();
        self.live.lock().insert(number, Live { view, closing });
        Held {
            number,
            live: Arc::clone(&self.live),
        }
    }
}

/// Keeps one stream in the registry.
#[derive(Debug)]
pub(super) struct Held {
    number: u64,
    live: Arc<Mutex<HashMap<u64, Live>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.live.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::Draining;

    #[test]
    fn a_stream_is_counted_for_as_long_as_it_is_held() {
        let streams = Streams::default();
        let view = |backend: &str, at| StreamView {
            backend: backend.to_owned(),
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            since: Timestamp::from_secs(at),
        };
        let closing = CancellationToken::new();
        let context = RequestContext::new(Draining::default().enter());
        let first = streams.hold(view("a", 2), &closing, &context);
        let second = streams.hold(view("b", 1), &CancellationToken::new(), &context);
        let numbers: Vec<u64> = streams.list().iter().map(|(number, _)| *number).collect();
        let [one, two] = numbers[..] else {
            panic!("{numbers:?}");
        };
        assert_eq!(two, one + 1);
        assert!(one > 1 << COUNTED && two < 1 << 53);
        assert!(streams.close(two + 1).is_none());
        assert_eq!(streams.close(one).unwrap().backend, "a");
        assert!(closing.is_cancelled());
        assert_eq!(streams.count_by_backend()["a"], 1);
        drop(first);
        drop(second);
        assert_eq!(streams.count(), 0);
    }
}
