//! Questions of a server with sessions to a client without: sampling, elicitation and roots become
//! multi round-trip requests (2026-07-28).
//!
//! While the process waits for its answer, the client's request is answered with `input_required`,
//! and the call stays pending here. The client's retry brings the state back, which is 128 random
//! bits that only the process's own clients can find, and the answer; the process gets it and goes
//! on with the very call that it never left. Several questions come one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_protocol::to_stateful::{self, Passing};
use mcp_protocol::{CallIdentity, Id, Message, Object, RpcError, code};
use tokio::sync::{mpsc, oneshot};

use super::exchange::{Exchange, OnLeave};
use super::link::{Link, Pending, Way};
use crate::sse::SessionId;

/// Questions of one call that wait for their turn.
const MOST_WAITING: usize = 16;

/// What a client was asked, and what has happened since.
#[derive(Debug)]
pub(super) struct Question {
    state: String,
    /// The request of the process, with its id.
    asked: Message,
    waiting: VecDeque<Message>,
    /// The call itself may end meanwhile.
    pub(super) finished: Option<Message>,
    pub(super) since: Instant,
}

impl Question {
    fn new(asked: Message) -> Option<Self> {
        Some(Self {
            state: new_state()?,
            asked,
            waiting: VecDeque::new(),
            finished: None,
            since: Instant::now(),
        })
    }

    fn as_result(&self, id: &Id) -> Message {
        Message::result(id, &to_stateful::input_required(&self.asked, &self.state))
    }
}

fn new_state() -> Option<String> {
    SessionId::random().ok().map(|id| id.to_string())
}

impl Link {
    /// Asks the client whose call is most likely the cause: the newest that can be asked. Returns
    /// the refusal for the process if there is none.
    pub(super) fn ask_back(&self, request: Message, is_one_caller: bool) -> Option<Message> {
        let id = request.id()?;
        if request.method() == "ping" {
            return Some(Message::result(&id, &Object::new()));
        }
        let refusal = RpcError::new(code::METHOD_NOT_FOUND, "No client can be asked this now");
        let refusal = Some(Message::error(Some(&id), &refusal));
        if !is_one_caller {
            return refusal;
        }
        let mut table = self.lock();
        for pending in table.pending.values_mut().rev() {
            let Some(caller) = &pending.caller else {
                continue;
            };
            let Passing::Asks(asked) = to_stateful::pass(request.clone(), &pending.method, caller)
            else {
                continue;
            };
            if let Way::Parked(question) = &mut pending.way {
                if question.waiting.len() >= MOST_WAITING {
                    return refusal;
                }
                question.waiting.push_back(asked);
                return None;
            }
            let Some(question) = Question::new(asked) else {
                return refusal;
            };
            park(pending, question);
            return None;
        }
        refusal
    }

    /// Goes on with a call that a retry brings the answer for. `None`: there is no such call, or it
    /// is another request's.
    pub(super) fn resume(
        self: &Arc<Self>,
        retry: &Message,
        patience: Duration,
    ) -> Option<Exchange> {
        let state = to_stateful::request_state(retry)?;
        let id = retry.id()?;
        let retried = Some(CallIdentity::of(retry));
        let mut table = self.lock();
        let (number, pending) = table.pending.iter_mut().find(|(_, pending)| {
            matches!(&pending.way, Way::Parked(question) if question.state == state)
                && pending.identity == retried
        })?;
        let number = *number;
        let (notices, notices_read) = mpsc::channel(super::link::UNREAD);
        let (answer, answer_read) = oneshot::channel();
        let exchange = Exchange::new(
            Arc::clone(self),
            (number, id.clone()),
            (notices_read, answer_read),
            OnLeave::Cancel,
            patience,
        );
        pending.id = id.clone();
        pending.progress = retry.progress_token();
        let open = Way::Open { notices, answer };
        let Way::Parked(mut question) = std::mem::replace(&mut pending.way, open) else {
            return None;
        };
        let Some(response) = to_stateful::answer(retry, &question.asked) else {
            // It said nothing to the question: it is asked again.
            park(pending, question);
            return Some(exchange);
        };
        if let Some(next) = question.waiting.pop_front() {
            let next = Question {
                // Each question has a state of its own, unless there is no randomness just now.
                state: new_state().unwrap_or(question.state),
                asked: next,
                waiting: question.waiting,
                finished: question.finished,
                since: Instant::now(),
            };
            park(pending, next);
        } else if let Some(finished) = question.finished.take()
            && let Some(Pending {
                way: Way::Open { answer, .. },
                ..
            }) = table.pending.remove(&number)
        {
            let _ = answer.send(finished.with_id(&id));
        }
        drop(table);
        self.try_write(&response);
        Some(exchange)
    }
}

/// Answers the request with the question, and lets the call wait.
fn park(pending: &mut Pending, question: Question) {
    let result = question.as_result(&pending.id);
    if let Way::Open { answer, .. } = std::mem::replace(&mut pending.way, Way::Parked(question)) {
        let _ = answer.send(result);
    }
}
