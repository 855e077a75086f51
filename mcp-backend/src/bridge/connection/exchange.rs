//! One request and what the process says to it, as its sender reads it.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{Id, Message};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::bridge::connection::Connection;
use crate::bridge::failure::{End, Failure};

/// What happens to a request when nobody waits for its answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLeave {
    /// The process is told (2026-07-28: to leave is to cancel).
    Cancel,
    /// Nothing (until 2025-11-25: to leave is not to cancel).
    Forget,
}

/// What a server says about one request.
#[derive(Debug)]
pub enum ServerMessage {
    /// A notification, or a question of the server; the answer is still to come.
    Notice(Message),
    /// The answer. Nothing comes after it.
    Answer(Message),
}

impl ServerMessage {
    /// The message, whichever it is.
    pub fn into_message(self) -> Message {
        match self {
            Self::Notice(message) | Self::Answer(message) => message,
        }
    }
}

/// A request under way. Dropping it is leaving.
#[derive(Debug)]
pub struct Exchange {
    connection: Arc<Connection>,
    number: u64,
    id: Id,
    notices: Option<mpsc::Receiver<Message>>,
    answer: Option<oneshot::Receiver<Message>>,
    on_leave: OnLeave,
    patience: Duration,
}

impl Exchange {
    pub(crate) fn new(
        connection: Arc<Connection>,
        (number, id): (u64, Id),
        (notices, answer): (mpsc::Receiver<Message>, oneshot::Receiver<Message>),
        on_leave: OnLeave,
        patience: Duration,
    ) -> Self {
        Self {
            connection,
            number,
            id,
            notices: Some(notices),
            answer: Some(answer),
            on_leave,
            patience,
        }
    }

    /// The next thing that is heard; `None` after the answer. Can be dropped and asked again.
    pub async fn next(&mut self) -> Option<ServerMessage> {
        self.answer.as_ref()?;
        let heard = timeout(self.patience, self.hear()).await;
        let heard = heard.unwrap_or_else(|_| {
            self.connection
                .leave(self.number, OnLeave::Cancel, "timeout");
            ServerMessage::Answer(Failure::Silent(self.patience).response(&self.id))
        });
        if matches!(heard, ServerMessage::Answer(_)) {
            self.answer = None;
        }
        Some(heard)
    }

    /// The answer alone.
    pub async fn answer(&mut self) -> Message {
        self.notices = None;
        match self.next().await {
            Some(ServerMessage::Answer(message)) => message,
            _ => Failure::Ended(End::new("it was asked twice")).response(&self.id),
        }
    }

    async fn hear(&mut self) -> ServerMessage {
        if let Some(notices) = &mut self.notices {
            // All that came before the answer is read before it: the senders go together.
            if let Some(notice) = notices.recv().await {
                return ServerMessage::Notice(notice);
            }
            self.notices = None;
        }
        let answer = match &mut self.answer {
            Some(answer) => answer.await.ok(),
            None => None,
        };
        ServerMessage::Answer(answer.unwrap_or_else(|| {
            let how = self.connection.how_it_ended();
            let failure = Failure::Ended(how.unwrap_or_else(End::stopped));
            failure.response(&self.id)
        }))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.answer.take().is_some() {
            self.connection
                .leave(self.number, self.on_leave, "the client has left");
        }
    }
}
