//! The conversation with one running process: every request under a number of ours, so that several
//! clients can't meet, and every answer back to who asked.
//!
//! Owns: what is pending, in both directions, and where a message of the process goes. Not: the
//! process (`child`), starting it again (`server`).

pub mod exchange;
pub mod outbox;
pub mod subscribers;

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcp_protocol::{Id, Kind, Message, Object, RpcError, code, meta, to_stateful};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::bridge::child::{CommandSpec, Running, not_started};
use crate::bridge::connection::exchange::{Exchange, OnLeave};
use crate::bridge::connection::outbox::Outbox;
use crate::bridge::connection::subscribers::Subscribers;
use crate::bridge::failure::{End, Failure};
use crate::bridge::pool::process_slots::ProcessSlot;

/// Notifications that wait for the reader of one answer.
const UNREAD: usize = 256;
/// A process that takes no line for this long does not read its input.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that has closed its output may take this long to end by itself.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// For whom a process runs.
#[derive(Clone, Debug)]
pub enum Audience {
    /// One session: whatever the process says is for it.
    Session(Arc<Outbox>),
    /// One client without sessions: what the process says belongs to one of its requests.
    Caller,
    /// Several clients: what changed goes to the sessions among them.
    Shared(Arc<Subscribers>),
}

/// A conversation with one process. The process ends when this is dropped.
#[derive(Debug)]
pub struct Connection {
    running: Running,
    audience: Audience,
    numbers: Arc<AtomicU64>,
    table: Mutex<Table>,
    name: String,
}

#[derive(Debug, Default)]
struct Table {
    /// Requests of clients that the process has not answered, by our number; the newest is last.
    pending: BTreeMap<u64, Pending>,
    /// Requests of the process that a client has not answered: our number, the id of the process.
    asked: HashMap<u64, Id>,
    /// How the process ended.
    ended: Option<End>,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    /// Whose it is: the number of a session, 0 without one.
    owner: u64,
    /// What its sender calls it.
    id: Id,
    method: String,
    progress: Option<Id>,
    /// Whether it asks for log messages (2026-07-28).
    wants_log: bool,
    notices: mpsc::Sender<Message>,
    answer: oneshot::Sender<Message>,
    since: Instant,
}

impl Pending {
    fn listens(&self) -> bool {
        self.method == LISTEN
    }
}

const LISTEN: &str = "subscriptions/listen";

/// How a request is asked.
#[derive(Debug)]
pub struct Asking {
    /// The number of the session, 0 without one.
    pub owner: u64,
    /// What happens when nobody waits for the answer any more.
    pub on_leave: OnLeave,
    /// Silence for this long is taken for no answer.
    pub patience: Duration,
}

impl Connection {
    /// Starts a process.
    ///
    /// # Errors
    /// There can be no process now.
    pub fn start(
        spec: &CommandSpec,
        audience: Audience,
        numbers: Arc<AtomicU64>,
        slot: ProcessSlot,
    ) -> Result<Arc<Self>, Failure> {
        let (running, mut lines) = spec
            .start(slot)
            .map_err(|error| Failure::NotStarted(not_started(&error)))?;
        let ended = running.ended();
        let connection = Arc::new(Self {
            running,
            audience,
            numbers,
            table: Mutex::default(),
            name: spec.name.clone(),
        });
        let weak = Arc::downgrade(&connection);
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                let Some(connection) = weak.upgrade() else {
                    return;
                };
                connection.take(&line);
            }
            let mut ended = pin!(ended);
            let how = match timeout(LAST_BREATH, &mut ended).await {
                Ok(how) => how,
                Err(_) => {
                    // Without its output a process is of no use.
                    if let Some(connection) = weak.upgrade() {
                        connection.running.stop();
                    }
                    ended.await
                }
            };
            if let Some(connection) = weak.upgrade() {
                connection.close(how);
            }
        });
        Ok(connection)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the process still runs, as far as is known.
    pub fn is_alive(&self) -> bool {
        self.lock().ended.is_none()
    }

    /// Whether somebody waits for an answer, other than to a subscription, which ends only when
    /// nobody is there any more.
    pub fn is_busy(&self) -> bool {
        let table = self.lock();
        table.pending.values().any(|pending| !pending.listens())
    }

    /// Whether a client without sessions has subscribed to something.
    pub fn is_listened_to(&self) -> bool {
        let table = self.lock();
        let mut pending = table.pending.values();
        pending.any(|pending| pending.owner == 0 && pending.listens())
    }

    /// Ends the process.
    pub fn stop(&self) {
        self.running.stop();
    }

    /// Waits for its end.
    pub fn ended(&self) -> impl Future<Output = End> + use<> {
        self.running.ended()
    }

    /// The number of the process, for the log.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Asks the process.
    ///
    /// # Errors
    /// The process has ended, or does not read.
    pub async fn ask(
        self: &Arc<Self>,
        request: Message,
        asking: Asking,
    ) -> Result<Exchange, Failure> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let ours = Id::number(number);
        let id = request.id().unwrap_or_else(|| ours.clone());
        let progress = request.progress_token();
        let (notices, notices_read) = mpsc::channel(UNREAD);
        let (answer, answer_read) = oneshot::channel();
        let pending = Pending {
            owner: asking.owner,
            id: id.clone(),
            method: request.method().to_owned(),
            progress: progress.clone(),
            wants_log: request.meta().has(meta::LOG_LEVEL),
            notices,
            answer,
            since: Instant::now(),
        };
        {
            let mut table = self.lock();
            if let Some(how) = &table.ended {
                return Err(Failure::Ended(how.clone()));
            }
            table.pending.insert(number, pending);
        }
        let exchange = Exchange::new(
            Arc::clone(self),
            (number, id),
            (notices_read, answer_read),
            asking.on_leave,
            asking.patience,
        );
        let mut request = request.with_id(&ours);
        if progress.is_some() {
            request = to_stateful::with_progress_token(request, &ours);
        }
        self.write(&request).await?;
        Ok(exchange)
    }

    /// Tells the process something.
    ///
    /// # Errors
    /// The process has ended, or does not read.
    pub async fn write(&self, message: &Message) -> Result<(), Failure> {
        if self.running.write(message.to_string(), PATIENCE).await {
            return Ok(());
        }
        Err(match &self.lock().ended {
            Some(how) => Failure::Ended(how.clone()),
            None => Failure::Deaf,
        })
    }

    /// Tells the process something if it reads.
    pub(crate) fn try_write(&self, message: &Message) {
        if !self.running.try_write(message.to_string()) {
            log::warn!(event = "process_does_not_read", server = self.name.as_str(), pid = self.pid(); "the process does not read its input");
        }
    }

    /// Passes a client's answer on to the process that asked. `false`: nothing like it was asked.
    pub async fn answer(&self, response: Message) -> bool {
        match self.take_asked(&response) {
            Some(id) => self.write(&response.with_id(&id)).await.is_ok(),
            None => false,
        }
    }

    /// What the process calls its question that went out under the id of this message.
    fn take_asked(&self, message: &Message) -> Option<Id> {
        self.lock().asked.remove(&number_of(message.id())?)
    }

    /// Passes a client's `notifications/cancelled` on, in the terms of the process.
    pub async fn cancel(&self, owner: u64, notification: Message) {
        let Some(id) = notification.cancelled() else {
            return;
        };
        let is_meant = |pending: &Pending| pending.owner == owner && pending.id == id;
        let number = self
            .lock()
            .pending
            .iter()
            .find_map(|(number, pending)| is_meant(pending).then_some(*number));
        if let Some(number) = number {
            let mut notification = notification;
            notification.edit_params(|params| params.set("requestId", &number));
            let _ = self.write(&notification).await;
        }
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn leave(&self, number: u64, on_leave: OnLeave, reason: &str) {
        if on_leave == OnLeave::Cancel && self.lock().pending.remove(&number).is_some() {
            self.try_write(&to_stateful::cancelled(&Id::number(number), reason));
        }
    }

    /// Gives up the answers that never came and that nobody has waited for since `before`.
    pub fn sweep(&self, before: Instant) {
        let mut given_up = Vec::new();
        self.lock().pending.retain(|number, pending| {
            let keep = !pending.answer.is_closed() || pending.since > before;
            if !keep {
                given_up.push(*number);
            }
            keep
        });
        for number in given_up {
            let id = Id::number(number);
            self.try_write(&to_stateful::cancelled(&id, "nobody waits for it"));
        }
    }

    fn close(&self, how: End) {
        let mut table = self.lock();
        table.ended = Some(how);
        // Those who wait see their channels close.
        table.pending.clear();
        table.asked.clear();
    }

    /// How the process ended, if it has.
    pub fn how_it_ended(&self) -> Option<End> {
        self.lock().ended.clone()
    }

    fn take(&self, line: &str) {
        let text = line.trim();
        let Ok(messages) = Message::parse_all(text) else {
            return self.complain(text);
        };
        for message in messages {
            match message.kind() {
                Kind::Response => self.answered(message),
                Kind::Notification => self.told(message),
                Kind::Request => self.asked(message),
            }
        }
    }

    /// Programs print greetings on stdout; what looks like a message may be a document.
    fn complain(&self, line: &str) {
        let shown = if line.starts_with(['{', '[']) {
            "(not shown)".to_owned()
        } else {
            line.chars().take(200).collect::<String>()
        };
        log::warn!(event = "process_line_no_message", server = self.name.as_str(), pid = self.pid(), bytes = line.len(); "the process wrote a line that is no message: {shown}");
    }

    fn answered(&self, response: Message) {
        let Some(number) = number_of(response.id()) else {
            // An error about something that could not be read.
            let code = response.failure().map_or(0, |error| error.code());
            log::warn!(event = "process_error", server = self.name.as_str(), pid = self.pid(), code = code; "the process reports an error that belongs to no request");
            return;
        };
        let Some(pending) = self.lock().pending.remove(&number) else {
            return;
        };
        let id = pending.id;
        let response = match (pending.method.as_str(), response.outcome()) {
            // The end of a subscription names it, in terms of ours.
            (LISTEN, Some(mut result)) => {
                result.edit("_meta", |meta| meta.set(meta::SUBSCRIPTION, &id));
                Message::result(&id, &result)
            }
            _ => response.with_id(&id),
        };
        // It may have left.
        let _ = pending.answer.send(response);
    }

    fn told(&self, mut notification: Message) {
        let method = notification.method();
        let subscription: Option<Id> = notification.meta().read(meta::SUBSCRIPTION);
        let about = match method {
            "notifications/progress" => number_of(notification.progressed()),
            _ => number_of(subscription),
        };
        if let Some(number) = about {
            let table = self.lock();
            let Some(pending) = table.pending.get(&number) else {
                return;
            };
            match (&pending.progress, method) {
                (Some(token), "notifications/progress") => {
                    notification.edit_params(|params| params.set(meta::PROGRESS_TOKEN, token));
                }
                (None, "notifications/progress") => return,
                _ => notification = to_stateful::subscribed(notification, &pending.id),
            }
            // A reader that is too slow misses some; the answer comes in any case.
            let _ = pending.notices.try_send(notification);
            return;
        }
        if method == "notifications/cancelled" {
            // The process takes a question back, in terms of its own.
            let id = notification.cancelled();
            let mut table = self.lock();
            let mut asked = table.asked.iter();
            let asked = asked.find(|(_, asked)| Some(*asked) == id.as_ref());
            let Some(number) = asked.map(|(number, _)| *number) else {
                return;
            };
            table.asked.remove(&number);
            notification.edit_params(|params| params.set("requestId", &number));
        }
        match &self.audience {
            Audience::Session(outbox) => self.tell_session(outbox, notification),
            // A log message names no request.
            Audience::Caller if notification.method() == "notifications/message" => {
                let _ = self.tell_newest(notification, |pending| pending.wants_log);
            }
            Audience::Caller => {}
            // Nor a session.
            Audience::Shared(subscribers) => subscribers.tell(&notification),
        }
    }

    /// A notification of no request. What is said during a call most likely belongs to it; what
    /// changed belongs to the session.
    fn tell_session(&self, outbox: &Outbox, notification: Message) {
        let is_change = notification.method().ends_with("changed")
            || notification.method() == "notifications/resources/updated";
        let left = if is_change && outbox.is_open() {
            Some(notification)
        } else {
            self.tell_newest(notification, |_| true)
        };
        if let Some(notification) = left
            && outbox.put(notification, Instant::now()).is_err()
        {
            log::warn!(event = "client_does_not_read", server = self.name.as_str(), pid = self.pid(); "a client does not read its stream; a notification is dropped");
        }
    }

    /// Gives a message to whoever waits for the newest answer; gives it back if nobody takes it.
    fn tell_newest(
        &self,
        mut message: Message,
        wants: impl Fn(&Pending) -> bool,
    ) -> Option<Message> {
        let table = self.lock();
        let newest_first = table.pending.values().rev();
        for pending in newest_first.filter(|pending| wants(pending)) {
            match pending.notices.try_send(message) {
                Ok(()) => return None,
                Err(error) => message = error.into_inner(),
            }
        }
        Some(message)
    }

    /// The process asks.
    fn asked(&self, request: Message) {
        let Some(theirs) = request.id() else { return };
        let Audience::Session(outbox) = &self.audience else {
            return self.try_write(&unasked(&theirs, &request, code::METHOD_NOT_FOUND));
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.lock().asked.insert(number, theirs);
        let request = request.with_id(&Id::number(number));
        let left = self.tell_newest(request, |_| true);
        if let Some(request) = left
            && let Err(request) = outbox.put(request, Instant::now())
        {
            self.refuse(*request);
        }
    }

    /// Tells the process that its question reaches nobody. The request is one that was to go out.
    pub fn refuse(&self, request: Message) {
        if let Some(theirs) = self.take_asked(&request) {
            self.try_write(&unasked(&theirs, &request, code::INTERNAL));
        }
    }
}

/// The answer to a question that reaches nobody: a refusal, but a sign of life can be given.
fn unasked(id: &Id, request: &Message, code: i64) -> Message {
    let sentence = match code {
        code::INTERNAL => "The client holds no stream to be asked on",
        _ => "No client can be asked this",
    };
    match request.method() {
        "ping" => Message::result(id, &Object::new()),
        _ => Message::error(Some(id), &RpcError::new(code, sentence)),
    }
}

fn number_of(id: Option<Id>) -> Option<u64> {
    id?.to_string().parse().ok()
}
