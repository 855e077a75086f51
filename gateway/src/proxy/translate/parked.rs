//! Calls of stateless clients that wait: the backend has asked something, the client was told so
//! and is to come back with the answer (2026-07-28, Multi Round-Trip Requests).

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use eras::Message;
use parking_lot::Mutex;
use rand::rngs::OsRng;
use tokio::time::sleep;

use super::links::Owner;
use super::stateless::{Underway, named};
use super::task::Task;
use crate::proxy::lifetime::StreamLifetime;
use crate::secret;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many calls wait, of one owner and of all.
const MOST_OWNED: usize = 8;
const MOST: usize = 1024;

struct Entry {
    underway: Underway,
    asked: Message,
    owner: Owner,
    _end: Task,
}

/// All of them, by the names in their `requestState`.
#[derive(Default)]
pub(super) struct Parked {
    table: Mutex<HashMap<String, Entry>>,
}

impl Parked {
    /// Keeps a call until it is taken, its lease ends or its time is over. Its name; `None` if too
    /// many wait already.
    pub(super) fn keep(
        self: &Arc<Self>,
        underway: Underway,
        asked: Message,
        owner: Owner,
        lifetime: StreamLifetime,
    ) -> Option<String> {
        let name = secret::identifier("", &mut OsRng);
        {
            let mut table = self.table.lock();
            let owned = table.values().filter(|entry| entry.owner == owner).count();
            if owned >= MOST_OWNED || table.len() >= MOST {
                return None;
            }
            let entry = Entry {
                underway,
                asked,
                owner,
                _end: Task::start(end(Arc::downgrade(self), name.clone(), lifetime)),
            };
            table.insert(name.clone(), entry);
        }
        Some(name)
    }

    /// Takes the call of this name, if `retry` is the same one again.
    pub(super) fn take(&self, name: &str, retry: &Message) -> Option<(Underway, Message)> {
        let mut table = self.table.lock();
        let underway = &table.get(name)?.underway;
        if underway.method != retry.method() || underway.name != named(retry) {
            return None;
        }
        let entry = table.remove(name)?;
        Some((entry.underway, entry.asked))
    }
}

async fn end(parked: Weak<Parked>, name: String, lifetime: StreamLifetime) {
    tokio::select! {
        () = sleep(PATIENCE) => {}
        _ = lifetime.ended() => {}
    }
    if let Some(parked) = parked.upgrade() {
        parked.table.lock().remove(&name);
    }
}
