//! Who wants to know what has changed in a process that several share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mcp_protocol::to_stateful::{self, Filter};
use mcp_protocol::{Id, Message};

use super::outbox::Outbox;

/// The clients of one process.
#[derive(Debug)]
pub struct Subscribers {
    is_one_caller: bool,
    all: Mutex<Vec<Subscriber>>,
}

#[derive(Debug)]
struct Subscriber {
    filter: Filter,
    /// The `subscriptions/listen` that it came with; a session has none.
    id: Option<Id>,
    outbox: Arc<Outbox>,
}

/// A subscription; it ends when this is dropped.
#[derive(Debug)]
pub struct Subscription {
    subscribers: Arc<Subscribers>,
    outbox: Arc<Outbox>,
}

impl Subscribers {
    /// Nobody yet. `is_one_caller`: all who use the process are one client of one person.
    pub fn new(is_one_caller: bool) -> Self {
        Self {
            is_one_caller,
            all: Mutex::default(),
        }
    }

    /// Whether all who use the process are one client of one person, so that what the process says
    /// of no request in particular can be told to whoever waits.
    pub fn is_one_caller(&self) -> bool {
        self.is_one_caller
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Subscribes.
    pub fn add(
        self: &Arc<Self>,
        filter: Filter,
        id: Option<Id>,
        outbox: Arc<Outbox>,
    ) -> Subscription {
        self.lock().push(Subscriber {
            filter,
            id,
            outbox: Arc::clone(&outbox),
        });
        Subscription {
            subscribers: Arc::clone(self),
            outbox,
        }
    }

    /// Whether anybody wants to know of updates of a resource.
    pub fn want_updates_of(&self, uri: &str) -> bool {
        self.lock()
            .iter()
            .any(|subscriber| subscriber.filter.updates.iter().any(|own| own == uri))
    }

    /// Tells those who want to know.
    pub fn tell(&self, notification: &Message) {
        for subscriber in self.lock().iter() {
            if !subscriber.filter.takes(notification) {
                continue;
            }
            let notification = match &subscriber.id {
                Some(id) => to_stateful::subscribed(notification.clone(), id),
                None => notification.clone(),
            };
            // Who does not read misses it.
            let _ = subscriber.outbox.put(notification, Instant::now());
        }
    }

    /// Ends the streams of those who subscribed by request: the process is gone, and they are to
    /// subscribe again.
    pub fn close(&self) {
        for subscriber in self
            .lock()
            .iter()
            .filter(|subscriber| subscriber.id.is_some())
        {
            subscriber.outbox.close();
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
