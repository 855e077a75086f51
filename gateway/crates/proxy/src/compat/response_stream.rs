//! Work that ends with whoever holds it.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use mcp_protocol::Message;

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
            _task: Some(Task::start(work(out))),
        }
    }

    /// One message that is there already.
    pub(super) fn one(message: Message) -> Self {
        let (out, messages) = mpsc::channel(1);
        // It is the first one, so there is room.
        let _ = out.try_send(message);
        Self {
            messages,
            _task: None,
        }
    }
}
