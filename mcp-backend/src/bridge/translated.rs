//! A session in front of a server that speaks 2026-07-28 only.
//!
//! What the client said in `initialize` goes along with every request, what the server asks in an
//! `input_required` result becomes a question to the client and a retry, and the subscription that
//! the server wants stands for the stream that the client has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcp_protocol::to_stateful::Filter;
use mcp_protocol::to_stateless::{self, Hello, Outcome, Questions, Step};
use mcp_protocol::{INPUT_TIMEOUT, Id, Message, Object, RpcError, Subscriptions, code};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::exchange::{Exchange, Heard, OnLeave};
use super::failure::Failure;
use super::link::{Asking, Link};
use super::outbox::Outbox;
use super::server::{Open, Server};
use super::session::Taken;

/// What is heard of one request and not read yet.
const UNREAD: usize = 64;
/// How often a server may ask before it answers.
const MOST_ROUNDS: usize = 16;

/// The part of a session that only a stateless server makes necessary.
#[derive(Debug)]
pub struct Translated {
    hello: Hello,
    /// The result of `server/discover`.
    discovered: Object,
    outbox: Arc<Outbox>,
    owner: u64,
    numbers: AtomicU64,
    state: Mutex<State>,
    me: std::sync::Weak<Translated>,
}

#[derive(Debug, Default)]
struct State {
    level: Option<String>,
    updates: Subscriptions,
    /// Questions to the client, by our number.
    asked: HashMap<String, oneshot::Sender<Message>>,
    /// The subscription, and the process that it is at.
    listening: Option<(u32, AbortHandle)>,
}

impl Translated {
    /// From what both said: the client's `initialize`, the server's answer to `server/discover`.
    pub fn new(
        initialize: &Message,
        discovered: Object,
        outbox: Arc<Outbox>,
        owner: u64,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            hello: Hello::of(initialize),
            discovered,
            outbox,
            owner,
            numbers: AtomicU64::new(1),
            state: Mutex::default(),
            me: me.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of `initialize`.
    pub fn initialized(&self) -> Object {
        to_stateless::initialized(&self.discovered, &self.hello)
    }

    /// Takes a message of the client.
    pub async fn take(&self, server: &Arc<Server>, message: Message) -> Result<Taken, Failure> {
        let id = message.id().unwrap_or_else(|| Id::number(0));
        let done = |result: &Object| Ok(Taken::Known(Message::result(&id, result)));
        match to_stateless::step(&message) {
            Step::Initialize => done(&self.initialized()),
            Step::Answered => done(&Object::new()),
            Step::Level(level) => {
                self.lock().level = Some(level);
                done(&Object::new())
            }
            Step::Subscribe(uri) => {
                let added = self.lock().updates.add(&uri);
                match added {
                    Ok(true) => self.listen_anew(&server.open().await?),
                    Ok(false) => {}
                    Err(error) => return Ok(Taken::Known(Message::error(Some(&id), &error))),
                }
                done(&Object::new())
            }
            Step::Unsubscribe(uri) => {
                self.lock().updates.remove(&uri);
                self.listen_anew(&server.open().await?);
                done(&Object::new())
            }
            Step::Refused(error) => Ok(Taken::Known(Message::error(Some(&id), &error))),
            Step::Ignored => Ok(Taken::Noted),
            Step::Cancel(_) => {
                if let Some(open) = server.running() {
                    open.link.cancel(self.owner, message).await;
                }
                Ok(Taken::Noted)
            }
            Step::Answer(asked) => {
                let waits = self.lock().asked.remove(&asked.key());
                if let Some(waits) = waits {
                    let _ = waits.send(message);
                }
                Ok(Taken::Noted)
            }
            Step::Call => {
                let open = server.open().await?;
                self.listen(&open);
                let level = self.lock().level.clone();
                let request = to_stateless::request(message, &self.hello, level.as_deref());
                let asked = self.ask(&open.link, request.clone(), server).await?;
                let (told, heard) = mpsc::channel(UNREAD);
                if let Some(me) = self.me.upgrade() {
                    let server = Arc::clone(server);
                    tokio::spawn(async move {
                        me.follow(&server, &open.link, request, asked, told).await;
                    });
                }
                Ok(Taken::Told(heard))
            }
        }
    }

    async fn ask(
        &self,
        link: &Arc<Link>,
        request: Message,
        server: &Server,
    ) -> Result<Exchange, Failure> {
        let asking = Asking {
            owner: self.owner,
            on_leave: OnLeave::Forget,
            caller: None,
            patience: server.kit().silence,
        };
        link.ask(request, asking).await
    }

    /// Follows a request through all its rounds to its answer.
    async fn follow(
        &self,
        server: &Server,
        link: &Arc<Link>,
        request: Message,
        mut asked: Exchange,
        told: mpsc::Sender<Heard>,
    ) {
        let id = request.id().unwrap_or_else(|| Id::number(0));
        let fail = |text: &str| Message::error(Some(&id), &RpcError::new(code::INTERNAL, text));
        for _ in 0..MOST_ROUNDS {
            let answer = loop {
                match asked.next().await {
                    Some(Heard::Notice(notice)) => {
                        if let Some(notice) = to_stateless::notification(notice) {
                            let _ = told.send(Heard::Notice(notice)).await;
                        }
                    }
                    Some(Heard::Answer(answer)) => break answer,
                    None => return,
                }
            };
            let questions = match to_stateless::outcome(&id, &answer) {
                Outcome::Done(answer) => {
                    let _ = told.send(Heard::Answer(answer)).await;
                    return;
                }
                Outcome::Asks(questions) => questions,
            };
            let Some(answers) = self.ask_client(&questions, &told).await else {
                let answer = fail("The client did not answer what the server asked");
                let _ = told.send(Heard::Answer(answer)).await;
                return;
            };
            let retry = to_stateless::retry(request.clone(), &id, &questions, &answers);
            asked = match self.ask(link, retry, server).await {
                Ok(asked) => asked,
                Err(failure) => {
                    let _ = told.send(Heard::Answer(failure.response(Some(&id)))).await;
                    return;
                }
            };
        }
        let _ = told
            .send(Heard::Answer(fail("The server asks again and again")))
            .await;
    }

    /// Asks the client on the stream of its request. `None`: it refused, or did not answer.
    async fn ask_client(
        &self,
        questions: &Questions,
        told: &mpsc::Sender<Heard>,
    ) -> Option<Vec<(String, Object)>> {
        let mut waiting = Vec::new();
        for (name, method, params) in &questions.requests {
            let id = Id::number(self.numbers.fetch_add(1, Ordering::Relaxed));
            let (waits, answer) = oneshot::channel();
            self.lock().asked.insert(id.key(), waits);
            let question = Message::request(&id, method, params);
            told.send(Heard::Notice(question)).await.ok()?;
            waiting.push((name.clone(), id, answer));
        }
        let mut answers = Vec::new();
        for (name, id, answer) in waiting {
            let answer = timeout(INPUT_TIMEOUT, answer).await;
            self.lock().asked.remove(&id.key());
            answers.push((name, answer.ok()?.ok()?.outcome()?));
        }
        Some(answers)
    }

    /// Subscribes to what the server tells unasked, unless that is done at this process.
    pub fn listen(&self, open: &Open) {
        let is_done = matches!(&self.lock().listening, Some((pid, _)) if *pid == open.link.pid());
        if !is_done {
            self.listen_anew(open);
        }
    }

    fn listen_anew(&self, open: &Open) {
        let capabilities = self.discovered.object("capabilities").unwrap_or_default();
        let filter = Filter::everything(&capabilities, self.lock().updates.uris().to_vec());
        let id = Id::number(self.numbers.fetch_add(1, Ordering::Relaxed));
        let Some(request) = to_stateless::listen(&self.hello, &id, &filter) else {
            return;
        };
        let (outbox, link, owner) = (
            Arc::clone(&self.outbox),
            Arc::downgrade(&open.link),
            self.owner,
        );
        let task = tokio::spawn(async move {
            let asking = Asking {
                owner,
                on_leave: OnLeave::Cancel,
                caller: None,
                // Silence is what a subscription mostly is.
                patience: std::time::Duration::from_secs(365 * 24 * 60 * 60),
            };
            let Some(link) = link.upgrade() else { return };
            let Ok(mut exchange) = link.ask(request, asking).await else {
                return;
            };
            drop(link);
            while let Some(Heard::Notice(notice)) = exchange.next().await {
                if let Some(notice) = to_stateless::notification(notice) {
                    let _ = outbox.put(notice, std::time::Instant::now());
                }
            }
        });
        let before = self
            .lock()
            .listening
            .replace((open.link.pid(), task.abort_handle()));
        if let Some((_, before)) = before {
            before.abort();
        }
    }
}

impl Drop for Translated {
    fn drop(&mut self) {
        if let Some((_, task)) = self.lock().listening.take() {
            task.abort();
        }
    }
}
