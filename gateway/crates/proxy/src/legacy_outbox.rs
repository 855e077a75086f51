//! Answers of the gateway's own for clients of the legacy transport, which read them on their event
//! stream and nowhere else. A stream has an outbox from when its endpoint was announced until it
//! ends; another replica's streams have none here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;

use super::holder::Holder;

/// More answers than this wait for no stream.
const WAITING: usize = 64;

/// Backend, user, client, account there, and where the backend takes the messages of the stream; for a stream that
/// the gateway holds, its name.
type Key = [String; 5];

#[derive(Debug, Default)]
pub(super) struct LegacyOutboxes {
    open: Mutex<HashMap<Key, mpsc::Sender<Value>>>,
}

/// The outbox of one stream. Closed when dropped.
pub(super) struct LegacyOutbox {
    legacy_outboxes: Arc<LegacyOutboxes>,
    key: Key,
    letters: mpsc::Receiver<Value>,
}

impl LegacyOutboxes {
    /// Opens the outbox of the stream whose messages the backend takes at `target`.
    pub(super) fn open(self: &Arc<Self>, holder: Holder<'_>, target: &str) -> LegacyOutbox {
        let key = key(holder, target);
        let (sender, letters) = mpsc::channel(WAITING);
        self.open.lock().insert(key.clone(), sender);
        LegacyOutbox {
            legacy_outboxes: Arc::clone(self),
            key,
            letters,
        }
    }

    /// Puts a message onto the stream that belongs to `target`. `false` if there is none here.
    pub(super) fn deliver(&self, holder: Holder<'_>, target: &str, message: Value) -> bool {
        let open = self.open.lock();
        open.get(&key(holder, target))
            .is_some_and(|sender| sender.try_send(message).is_ok())
    }
}

impl LegacyOutbox {
    /// The next message to put onto the stream; waits for ever where none can come.
    pub(super) async fn next(&mut self) -> Value {
        match self.letters.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}

impl Drop for LegacyOutbox {
    fn drop(&mut self) {
        self.letters.close();
        let mut open = self.legacy_outboxes.open.lock();
        // A later stream may have been given the same endpoint.
        if open.get(&self.key).is_some_and(mpsc::Sender::is_closed) {
            open.remove(&self.key);
        }
    }
}

fn key(holder: Holder<'_>, target: &str) -> Key {
    [
        holder.mount.name.clone(),
        holder.claims.user.as_str().to_owned(),
        holder.claims.client.as_str().to_owned(),
        holder.account().to_owned(),
        target.to_owned(),
    ]
}
