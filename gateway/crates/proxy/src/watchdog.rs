//! What guards one request: its head has a deadline, and once it has a lifetime it is dropped for good
//! when its own loop can't end it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::lifetime::StreamLifetime;

tokio::task_local! {
    static WATCHDOG: Arc<RequestWatchdog>;
}

/// What the guard around a request knows about it.
#[derive(Debug, Default)]
pub(super) struct RequestWatchdog {
    head_read: Notify,
    lifetime: OnceLock<StreamLifetime>,
    lifetime_known: Notify,
}

impl RequestWatchdog {
    /// Runs what answers the request, so that [`RequestWatchdog::current`] finds its watchdog.
    pub(super) async fn during<F: Future>(self: Arc<Self>, answering: F) -> F::Output {
        WATCHDOG.scope(self, answering).await
    }

    /// The one of the request that this task answers.
    pub(super) fn current() -> Option<Arc<Self>> {
        WATCHDOG.try_with(Arc::clone).ok()
    }

    /// The head has been read: its deadline is met.
    pub(super) fn head_is_read(&self) {
        self.head_read.notify_one();
    }

    /// From now on the request lasts as long as the lifetime.
    pub(super) fn lifetime(&self, lifetime: StreamLifetime) {
        if self.lifetime.set(lifetime).is_ok() {
            self.lifetime_known.notify_one();
        }
    }

    /// Ends when the request has to be dropped.
    pub(super) async fn cut(&self, head_deadline: Duration) {
        tokio::select! {
            () = self.head_read.notified() => {}
            () = sleep(head_deadline) => return,
        }
        self.lifetime_known.notified().await;
        match self.lifetime.get() {
            Some(lifetime) => {
                let end = lifetime.overstayed().await;
                log::warn!(event = "request_cut", cause = end.as_str(); "a request that did not end by itself was cut off");
            }
            None => std::future::pending().await,
        }
    }
}
