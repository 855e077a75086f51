//! What goes to a client outside of the answer to any of its requests: onto the stream that it holds
//! open for that, and into a short queue while it holds none.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcp_protocol::{Kind, Message};
use tokio::sync::mpsc;

/// Messages that wait for a slow reader of the stream.
const UNREAD: usize = 256;
/// Messages that wait for a stream; the oldest notification makes room.
const WAITING: usize = 64;
/// A question that finds no stream for this long is answered with an error.
pub const UNASKED: Duration = Duration::from_secs(30);

/// The way to one client.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    stream: Option<mpsc::Sender<Message>>,
    waiting: VecDeque<(Instant, Message)>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the stream; an earlier one ends. What waited comes first.
    pub fn open(&self) -> mpsc::Receiver<Message> {
        let (stream, messages) = mpsc::channel(UNREAD);
        let mut state = self.lock();
        for (_, message) in state.waiting.drain(..) {
            // There is room: fewer wait than a stream holds.
            let _ = stream.try_send(message);
        }
        state.stream = Some(stream);
        messages
    }

    /// Whether somebody reads.
    pub fn is_open(&self) -> bool {
        let state = self.lock();
        let stream = state.stream.as_ref();
        stream.is_some_and(|stream| !stream.is_closed())
    }

    /// Ends the stream.
    pub fn close(&self) {
        *self.lock() = State::default();
    }

    /// Sends a message or lets it wait. Gives it back if it can do neither: a reader that is too
    /// slow, or too many that wait.
    pub fn put(&self, message: Message, now: Instant) -> Result<(), Box<Message>> {
        let mut state = self.lock();
        let mut message = message;
        if let Some(stream) = &state.stream {
            match stream.try_send(message) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(message)) => return Err(Box::new(message)),
                Err(mpsc::error::TrySendError::Closed(back)) => message = back,
            }
            state.stream = None;
        }
        if state.waiting.len() >= WAITING {
            let oldest = state
                .waiting
                .iter()
                .position(|(_, message)| message.kind() == Kind::Notification);
            match oldest {
                Some(at) => drop(state.waiting.remove(at)),
                None => return Err(Box::new(message)),
            }
        }
        state.waiting.push_back((now, message));
        Ok(())
    }

    /// Takes the questions out that have waited too long.
    pub fn unasked(&self, now: Instant) -> Vec<Message> {
        let mut state = self.lock();
        let (late, waiting): (VecDeque<_>, VecDeque<_>) =
            state.waiting.drain(..).partition(|(since, message)| {
                message.kind() == Kind::Request && now.duration_since(*since) >= UNASKED
            });
        state.waiting = waiting;
        late.into_iter().map(|(_, message)| message).collect()
    }
}

#[cfg(test)]
mod tests {
    use mcp_protocol::{Id, Object};

    use super::*;

    fn notice(text: &str) -> Message {
        Message::notification(text, &Object::new())
    }

    #[tokio::test]
    async fn what_waited_comes_first_and_in_order() {
        let (outbox, now) = (Outbox::default(), Instant::now());
        outbox.put(notice("a"), now).unwrap();
        outbox.put(notice("b"), now).unwrap();
        let mut stream = outbox.open();
        outbox.put(notice("c"), now).unwrap();
        for expected in ["a", "b", "c"] {
            assert_eq!(stream.recv().await.unwrap().method(), expected);
        }
    }

    #[tokio::test]
    async fn a_second_stream_ends_the_first() {
        let outbox = Outbox::default();
        let mut first = outbox.open();
        let mut second = outbox.open();
        outbox.put(notice("a"), Instant::now()).unwrap();
        assert!(first.recv().await.is_none());
        assert_eq!(second.recv().await.unwrap().method(), "a");
    }

    #[test]
    fn the_queue_is_bounded_and_questions_do_not_wait_for_ever() {
        let (outbox, now) = (Outbox::default(), Instant::now());
        let question = Message::request(&Id::number(1), "roots/list", &Object::new());
        outbox.put(question, now).unwrap();
        for _ in 0..3 * WAITING {
            outbox.put(notice("a"), now).unwrap();
        }
        assert_eq!(outbox.lock().waiting.len(), WAITING);
        assert!(outbox.unasked(now).is_empty());
        assert_eq!(outbox.unasked(now + UNASKED).len(), 1);
        assert!(outbox.unasked(now + UNASKED).is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_not_waited_for() {
        let outbox = Outbox::default();
        let _stream = outbox.open();
        let refused = (0..2 * UNREAD)
            .filter(|_| outbox.put(notice("a"), Instant::now()).is_err())
            .count();
        assert_eq!(refused, UNREAD);
    }
}
