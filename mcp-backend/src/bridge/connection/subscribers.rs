//! The sessions that share a process, and what each wants to know of changes in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mcp_protocol::Message;
use mcp_protocol::to_stateful::Filter;

use crate::bridge::connection::outbox::Outbox;

/// The clients of one process.
#[derive(Debug, Default)]
pub struct Subscribers(Mutex<Vec<Subscriber>>);

#[derive(Debug)]
struct Subscriber {
    filter: Filter,
    outbox: Arc<Outbox>,
}

/// A subscription; it ends when this is dropped.
#[derive(Debug)]
pub struct Subscription {
    subscribers: Arc<Subscribers>,
    outbox: Arc<Outbox>,
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Subscribes.
    pub fn add(self: &Arc<Self>, filter: Filter, outbox: Arc<Outbox>) -> Subscription {
        self.lock().push(Subscriber {
            filter,
            outbox: Arc::clone(&outbox),
        });
        Subscription {
            subscribers: Arc::clone(self),
            outbox,
        }
    }

    /// Whether anybody wants to know of updates of a resource.
    pub fn want_updates_of(&self, uri: &str) -> bool {
        let all = self.lock();
        let mut wanted = all.iter().flat_map(|subscriber| &subscriber.filter.updates);
        wanted.any(|wanted| wanted == uri)
    }

    /// Tells those who want to know.
    pub fn tell(&self, notification: &Message) {
        for subscriber in self.lock().iter() {
            if subscriber.filter.takes(notification) {
                // Who does not read misses it.
                let _ = subscriber.outbox.put(notification.clone(), Instant::now());
            }
        }
    }
}

impl Subscription {
    /// Changes which resources it is about.
    pub fn edit_updates(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut all = self.subscribers.lock();
        let own = all
            .iter_mut()
            .find(|subscriber| Arc::ptr_eq(&subscriber.outbox, &self.outbox));
        if let Some(own) = own {
            change(&mut own.filter.updates);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribers
            .lock()
            .retain(|subscriber| !Arc::ptr_eq(&subscriber.outbox, &self.outbox));
    }
}
