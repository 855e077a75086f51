//! Calls of stateless clients that wait: the backend has asked something, the client was told so
//! and is to come back with the answer (2026-07-28, Multi Round-Trip Requests).

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use mcp_protocol::{CallIdentity, INPUT_TIMEOUT, Message};
use parking_lot::Mutex;
use rand::rngs::OsRng;
use tokio::time::sleep;

use super::pending_call::{PendingCall, named};
use super::response_stream::Task;
use super::session_pool::Owner;
use crate::lifetime::StreamLifetime;
use gateway_core::secret;

/// How many calls wait, of one owner and of all.
const MOST_OWNED: usize = 8;
const MOST: usize = 1024;

struct Entry {
    pending: PendingCall,
    asked: Message,
    owner: Owner,
    _end: Task,
}

/// All of them, by the names in their `requestState`.
#[derive(Default)]
pub(super) struct SuspendedCalls {
    table: Mutex<HashMap<String, Entry>>,
}

impl SuspendedCalls {
    /// Keeps a call until it is taken, its lifetime ends or its time is over. Its name; `None` if too
    /// many wait already.
    pub(super) fn keep(
        self: &Arc<Self>,
        pending: PendingCall,
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
                pending,
                asked,
                owner,
                _end: Task::start(end(Arc::downgrade(self), name.clone(), lifetime)),
            };
            table.insert(name.clone(), entry);
        }
        Some(name)
    }

    /// Takes the call of this name to go on with it, if `retry` is the same one again. It was judged
    /// and recorded with its own parameters, so a retry with others does not move it.
    pub(super) fn resume(&self, name: &str, retry: &Message) -> Option<(PendingCall, Message)> {
        let retried = Some(CallIdentity::from_message(retry));
        self.take_if(name, |pending| pending.identity == retried)
    }

    /// Takes the call of this name to end it, because `retry` of the same tool, prompt or resource
    /// was refused.
    pub(super) fn give_up(&self, name: &str, retry: &Message) -> Option<(PendingCall, Message)> {
        self.take_if(name, |pending| {
            pending.method == retry.method() && pending.name == named(retry)
        })
    }

    fn take_if(
        &self,
        name: &str,
        is_wanted: impl FnOnce(&PendingCall) -> bool,
    ) -> Option<(PendingCall, Message)> {
        let mut table = self.table.lock();
        if !is_wanted(&table.get(name)?.pending) {
            return None;
        }
        let entry = table.remove(name)?;
        Some((entry.pending, entry.asked))
    }
}

async fn end(suspended_calls: Weak<SuspendedCalls>, name: String, lifetime: StreamLifetime) {
    tokio::select! {
        () = sleep(INPUT_TIMEOUT) => {}
        _ = lifetime.ended() => {}
    }
    if let Some(suspended_calls) = suspended_calls.upgrade() {
        suspended_calls.table.lock().remove(&name);
    }
}
