//! Work that ends with whoever holds it.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use mcp_protocol::Message;

use crate::account_refusal::AccountRefusal;

/// Where messages go that are for a client. Bounded: who reads slowly is waited for.
pub(super) type MessageSender = mpsc::Sender<Message>;

/// How many messages wait for a client.
pub(super) const WAITING: usize = 32;

/// A running task; dropping it ends it, and with it its connections.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    /// Starts it.
    pub(super) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Whether it is done.
    pub(super) fn is_done(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Messages for a client, and the task that makes them.
#[derive(Debug)]
pub(super) struct ResponseStream {
    pub(super) messages: mpsc::Receiver<Message>,
    /// Comes where the work ended without a response, for want of an account.
    refused: Option<oneshot::Receiver<Box<AccountRefusal>>>,
    /// By the client itself, which then expects no response.
    cancelled: Option<CancellationToken>,
    _task: Option<Task>,
}

impl ResponseStream {
    /// Of a task that is given the other end.
    pub(super) fn spawn<F>(work: impl FnOnce(MessageSender) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (out, messages) = mpsc::channel(WAITING);
        Self {
            messages,
            refused: None,
            cancelled: None,
            _task: Some(Task::start(work(out))),
        }
    }

    /// The same of a task that may end with a refusal in place of a response.
    pub(super) fn try_spawn<F>(work: impl FnOnce(MessageSender) -> F) -> Self
    where
        F: Future<Output = Result<(), Box<AccountRefusal>>> + Send + 'static,
    {
        let (out, messages) = mpsc::channel(WAITING);
        let (refuse, refused) = oneshot::channel();
        let work = work(out);
        let task = Task::start(async move {
            if let Err(refusal) = work.await {
                let _ = refuse.send(refusal);
            }
        });
        Self {
            messages,
            refused: Some(refused),
            cancelled: None,
            _task: Some(task),
        }
    }

    /// The same, of a task that ends with this.
    pub(super) fn until(mut self, cancelled: CancellationToken) -> Self {
        self.cancelled = Some(cancelled);
        self
    }

    /// Whether there was no response, once there are no more messages, because the client wanted none any
    /// more.
    pub(super) fn is_cancelled(&self) -> bool {
        let cancelled = self.cancelled.as_ref();
        cancelled.is_some_and(CancellationToken::is_cancelled)
    }

    /// Why there was no response, once there are no more messages; `None` where nothing was refused.
    pub(super) async fn refusal(&mut self) -> Option<Box<AccountRefusal>> {
        self.refused.take()?.await.ok()
    }

    /// One message that is there already.
    pub(super) fn one(message: Message) -> Self {
        let (out, messages) = mpsc::channel(1);
        // It is the first one, so there is room.
        let _ = out.try_send(message);
        Self {
            messages,
            refused: None,
            cancelled: None,
            _task: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_its_client_cancels_is_told_from_work_that_broke_off() {
        let cancelled = CancellationToken::new();
        let ends = cancelled.clone();
        let responses = ResponseStream::try_spawn(move |_out| async move {
            ends.cancelled().await;
            Ok(())
        });
        let mut responses = responses.until(cancelled.clone());
        assert!(!responses.is_cancelled());
        cancelled.cancel();
        assert!(responses.messages.recv().await.is_none());
        assert!(responses.refusal().await.is_none());
        assert!(responses.is_cancelled());

        let mut broken_off = ResponseStream::spawn(|_out| async {});
        assert!(broken_off.messages.recv().await.is_none());
        assert!(!broken_off.is_cancelled());
    }
}
