//! Work that goes on to its end whoever waits for it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Work that one asks for and all who ask meanwhile wait for. Who leaves does not end it.
#[derive(Debug)]
pub struct Detached<T>(Mutex<Option<watch::Receiver<Option<T>>>>);

impl<T> Default for Detached<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone + Send + Sync + 'static> Detached<T> {
    /// What the work comes to: that which is under way, or else `work`, from now on. `None`: it was
    /// broken off, because the runtime ends.
    pub async fn join<W>(&self, work: impl FnOnce() -> W) -> Option<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut outcome = self.begin(work);
        outcome.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn begin<W>(&self, work: impl FnOnce() -> W) -> watch::Receiver<Option<T>>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = &*running
            && outcome.borrow().is_none()
            && outcome.has_changed().is_ok()
        {
            return outcome.clone();
        }
        let (done, outcome) = watch::channel(None);
        let work = work();
        tokio::spawn(async move {
            done.send_replace(Some(work.await));
        });
        *running = Some(outcome.clone());
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_leaves_does_not_end_the_work_and_who_comes_later_begins_anew() {
        let work = Arc::new(Detached::default());
        let slow = |outcome: u8| async move {
            sleep(Duration::from_secs(10)).await;
            outcome
        };
        let left = timeout(Duration::from_secs(6), work.join(|| slow(1))).await;
        assert!(left.is_err());
        let rest = timeout(Duration::from_secs(6), work.join(|| slow(2))).await;
        assert_eq!(rest, Ok(Some(1)), "it has gone on meanwhile");
        assert_eq!(work.join(|| slow(3)).await, Some(3));
    }
}
