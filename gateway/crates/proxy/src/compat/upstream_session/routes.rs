//! Which of a session's messages is for whom.

use std::collections::{HashMap, VecDeque};

use mcp_protocol::{Id, Kind, Message};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::compat::response_stream::MessageSender;
use crate::compat::stateless_upstream::{MOST_RUNNING, too_many};
use gateway_upstream::Failure;

/// What was said to nobody in particular is kept up to here, for the first who listens.
const KEPT: usize = 32;

/// Who waits for what on one session.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    waiting: HashMap<String, Waiting>,
    listeners: Vec<MessageSender>,
    kept: VecDeque<Message>,
    count: u64,
}

#[derive(Debug)]
struct Waiting {
    out: MessageSender,
    token: Option<String>,
    /// Dropped when the response has come.
    _answered: oneshot::Sender<()>,
    order: u64,
}

impl Routes {
    /// Enters a request. The result ends when it is answered.
    pub(super) fn expect(
        &self,
        request: &Message,
        out: MessageSender,
    ) -> Result<oneshot::Receiver<()>, Failure> {
        let mut table = self.0.lock();
        let unusable = || Failure::Limit("The id is that of a request under way".to_owned());
        let key = request.id().ok_or_else(unusable)?.key();
        if table.waiting.contains_key(&key) {
            return Err(unusable());
        }
        if table.waiting.len() >= MOST_RUNNING {
            return Err(too_many());
        }
        let (answered, waits) = oneshot::channel();
        table.count += 1;
        let waiting = Waiting {
            out,
            token: request.progress_token().map(|token| token.key()),
            _answered: answered,
            order: table.count,
        };
        table.waiting.insert(key, waiting);
        Ok(waits)
    }

    /// Nobody waits for this request any more.
    pub(super) fn forget(&self, id: &Id) {
        self.0.lock().waiting.remove(&id.key());
    }

    /// Enters somebody who listens. What was kept goes out first.
    pub(super) fn listen(&self, out: MessageSender) {
        let mut table = self.0.lock();
        while let Some(message) = table.kept.pop_front() {
            // Its channel is new and has room for what was kept.
            let _ = out.try_send(message);
        }
        table.listeners.push(out);
    }

    /// Passes a message on; it must not wait, because others come behind it. Whoever has no room
    /// left reads too slowly and is let go. False when it was for listeners and none is left.
    pub(super) fn deliver(&self, message: Message) -> bool {
        let mut table = self.0.lock();
        if message.kind() == Kind::Response {
            if let Some(id) = message.id()
                && let Some(waiting) = table.waiting.remove(&id.key())
            {
                let _ = waiting.out.try_send(message);
            }
            return true;
        }
        if let Some(token) = message.progressed().map(|token| token.key())
            && message.method() == "notifications/progress"
        {
            let found = table
                .waiting
                .iter()
                .find(|(_, waiting)| waiting.token.as_ref() == Some(&token))
                .map(|(key, waiting)| (key.clone(), waiting.out.try_send(message).is_err()));
            if let Some((key, true)) = found {
                table.waiting.remove(&key);
            }
            return true;
        }
        table.listeners.retain(|out| !out.is_closed());
        // Most likely about what runs at the moment, although it does not say so.
        let is_about_a_call =
            message.kind() == Kind::Request || message.method() == "notifications/message";
        if table.listeners.is_empty() || is_about_a_call && !table.waiting.is_empty() {
            table.deliver_to_latest(message);
            return !table.listeners.is_empty();
        }
        if message.kind() == Kind::Request {
            // One must answer it.
            if table.listeners[0].try_send(message).is_err() {
                table.listeners.remove(0);
            }
        } else {
            table
                .listeners
                .retain(|out| out.try_send(message.clone()).is_ok());
        }
        true
    }

    /// Whether nobody waits or listens.
    pub(super) fn is_quiet(&self) -> bool {
        let mut table = self.0.lock();
        table.listeners.retain(|out| !out.is_closed());
        table.waiting.is_empty() && table.listeners.is_empty()
    }

    /// The session is over: nobody need wait any longer.
    pub(super) fn close(&self) {
        let mut table = self.0.lock();
        table.waiting.clear();
        table.listeners.clear();
    }
}

impl Table {
    /// The latest request is the likeliest to be what this is about. If there is none, it is kept.
    fn deliver_to_latest(&mut self, message: Message) {
        let latest = self.waiting.values().max_by_key(|waiting| waiting.order);
        match latest {
            Some(waiting) => drop(waiting.out.try_send(message)),
            None => {
                if self.kept.len() == KEPT {
                    self.kept.pop_front();
                }
                self.kept.push_back(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text).unwrap()
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressToken":"p"}}}"#;
    const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}"#;
    const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    const ASKS: &str = r#"{"jsonrpc":"2.0","id":"s1","method":"roots/list"}"#;

    fn next(messages: &mut mpsc::Receiver<Message>) -> Option<String> {
        messages.try_recv().ok().map(|message| message.to_string())
    }

    #[test]
    fn each_message_goes_where_it_belongs() {
        let routes = Routes::default();
        let (out, mut called) = mpsc::channel(8);
        let (listener, mut heard) = mpsc::channel(8);
        routes.deliver(message(CHANGED));
        let mut answered = routes.expect(&message(CALL), out.clone()).unwrap();
        assert!(routes.expect(&message(CALL), out).is_err());
        routes.listen(listener);
        routes.deliver(message(PROGRESS));
        routes.deliver(message(ASKS));
        assert!(answered.try_recv().is_err());
        routes.deliver(message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
        assert_eq!(next(&mut called).as_deref(), Some(PROGRESS));
        assert_eq!(next(&mut called).as_deref(), Some(ASKS));
        assert!(next(&mut called).unwrap().contains("result"));
        assert_eq!(next(&mut called), None);
        assert_eq!(next(&mut heard).as_deref(), Some(CHANGED));
        assert_eq!(next(&mut heard), None);
        routes.deliver(message(ASKS));
        assert_eq!(next(&mut heard).as_deref(), Some(ASKS));
        assert!(!routes.is_quiet());
        drop(heard);
        assert!(routes.is_quiet());
    }

    #[test]
    fn without_a_listener_a_question_goes_to_the_latest_call() {
        let routes = Routes::default();
        let (out, mut called) = mpsc::channel(1);
        let _answered = routes.expect(&message(CALL), out);
        routes.deliver(message(ASKS));
        // There is no room for more, and nobody waits for it.
        routes.deliver(message(ASKS));
        assert_eq!(next(&mut called).as_deref(), Some(ASKS));
        assert_eq!(next(&mut called), None);
        routes.close();
        assert!(routes.is_quiet());
    }
}
