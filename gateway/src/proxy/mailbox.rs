//! Answers of the gateway's own for clients of the legacy transport, which read them on their event
//! stream and nowhere else. A stream has a mailbox from when its endpoint was announced until it
//! ends; another replica's streams have none here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Place;
use crate::access_token::Claims;

/// More answers than this wait for no stream.
const WAITING: usize = 64;

/// Backend, user, client, and where the backend takes the messages of the stream; for a stream that
/// the gateway holds, its name.
type Key = [String; 4];

#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    open: Mutex<HashMap<Key, mpsc::Sender<Value>>>,
}

/// The mailbox of one stream. Closed when dropped.
pub(super) struct Mailbox {
    mailboxes: Arc<Mailboxes>,
    key: Key,
    letters: mpsc::Receiver<Value>,
}

impl Mailboxes {
    /// Opens the mailbox of the stream whose messages the backend takes at `target`.
    pub(super) fn open(self: &Arc<Self>, place: &Place, claims: &Claims, target: &str) -> Mailbox {
        let key = key(place, claims, target);
        let (sender, letters) = mpsc::channel(WAITING);
        self.open.lock().insert(key.clone(), sender);
        Mailbox {
            mailboxes: Arc::clone(self),
            key,
            letters,
        }
    }

    /// Puts a message onto the stream that belongs to `target`. `false` if there is none here.
    pub(super) fn deliver(
        &self,
        place: &Place,
        claims: &Claims,
        target: &str,
        message: Value,
    ) -> bool {
        let open = self.open.lock();
        open.get(&key(place, claims, target))
            .is_some_and(|sender| sender.try_send(message).is_ok())
    }
}

impl Mailbox {
    /// The next message to put onto the stream; waits for ever where none can come.
    pub(super) async fn next(&mut self) -> Value {
        match self.letters.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.letters.close();
        let mut open = self.mailboxes.open.lock();
        // A later stream may have been given the same endpoint.
        if open.get(&self.key).is_some_and(mpsc::Sender::is_closed) {
            open.remove(&self.key);
        }
    }
}

fn key(place: &Place, claims: &Claims, target: &str) -> Key {
    [
        place.backend.mount.name.clone(),
        claims.user.as_str().to_owned(),
        claims.client.as_str().to_owned(),
        target.to_owned(),
    ]
}
