//! What ends an exchange from outside, asked only once it may have something to say.
//!
//! An exchange is woken by its sockets many times; what ends it wakes it once, if ever. Asking all that
//! may end it each time is a tenth of what a call costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use super::service::{End, Ending};

/// What ends an exchange, with a waker of its own.
pub(crate) struct WatchedEnding {
    ending: Ending,
    calls: Arc<Calls>,
    waker: Waker,
}

/// Whether it called, and who is told.
struct Calls {
    /// It has not been asked yet, or has called since.
    is_due: AtomicBool,
    task: Mutex<Waker>,
}

impl WatchedEnding {
    pub(crate) fn new(ending: Ending) -> Self {
        let calls = Arc::new(Calls {
            is_due: AtomicBool::new(true),
            task: Mutex::new(Waker::noop().clone()),
        });
        Self {
            ending,
            waker: Waker::from(Arc::clone(&calls)),
            calls,
        }
    }

    /// Whether the exchange has ended.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        // First, so that a call after the look is not lost. The task may be another one than before.
        self.calls.task.lock().clone_from(context.waker());
        if !self.calls.is_due.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        self.ending
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_due.store(true, Ordering::Release);
        let task = self.task.lock().clone();
        task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;
    use tokio::time::{Duration, timeout};

    use super::*;

    #[tokio::test]
    async fn an_ending_is_asked_once_and_then_when_it_calls() {
        let (asked, calls, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), 3);
        let ending = {
            let (asked, calls) = (Arc::clone(&asked), Arc::clone(&calls));
            async move {
                let mut notified = Box::pin(calls.notified());
                poll_fn(|context| {
                    if asked.fetch_add(1, Ordering::Relaxed) + 1 == ends {
                        return Poll::Ready(());
                    }
                    if notified.as_mut().poll(context).is_ready() {
                        notified = Box::pin(calls.notified());
                        let _ = notified.as_mut().poll(context);
                    }
                    Poll::Pending
                })
                .await;
                End {
                    cause: "test",
                    farewell: None,
                }
            }
        };
        let mut watched = WatchedEnding::new(Box::pin(ending));
        for _ in 0..5 {
            let polled = poll_fn(|context| Poll::Ready(watched.poll(context))).await;
            assert!(polled.is_pending());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        calls.notify_waiters();
        for _ in 0..5 {
            let polled = poll_fn(|context| Poll::Ready(watched.poll(context))).await;
            assert!(polled.is_pending());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        // Another task waits for it now, and is woken.
        let waiting = tokio::spawn(async move { poll_fn(|context| watched.poll(context)).await });
        tokio::task::yield_now().await;
        calls.notify_waiters();
        let ended = timeout(Duration::from_secs(10), waiting).await;
        assert_eq!(ended.unwrap().unwrap().cause, "test");
    }
}
