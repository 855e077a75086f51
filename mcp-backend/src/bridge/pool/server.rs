//! One server, as one session or one caller has it: its process is started when it is needed, said
//! hello to, started again when it has ended, and stopped when nobody needs it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use mcp_protocol::{
    Message, RevisionFamilies, RevisionFamily, RpcError, Subscriptions, to_stateful,
};
use tokio::time::sleep;

use crate::bridge::child::CommandSpec;
use crate::bridge::connection::{Audience, Connection};
use crate::bridge::failure::{End, Failure};
use crate::bridge::pool::Pool;
use crate::bridge::pool::detached::Detached;
use crate::bridge::pool::handshake::{self, HandshakeResult, Opening};
use crate::bridge::pool::process_slots::{Owner, ProcessSlot, ProcessSlots};

/// The first start may take this many times as long as any other.
const FIRST_START: u32 = 5;
/// A process that lives this long was well.
const LONG_LIFE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A pause that is waited out instead of being reported.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// How long a place among the processes is waited for, once one was asked to end.
pub(crate) const MAKE_ROOM: Duration = Duration::from_secs(8);

/// What all servers of a bridge have in common.
#[derive(Debug)]
pub struct SharedConfig {
    /// What to start.
    pub spec: CommandSpec,
    /// How long a start may take until the process has said hello.
    pub start: Duration,
    /// How long a process may be silent about a request.
    pub silence: Duration,
    /// Without use for this long a process is stopped.
    pub idle: Duration,
    /// How many processes there may be.
    pub slots: Arc<ProcessSlots>,
    /// The revision families that the program is known to speak, as their bits.
    pub families: AtomicU8,
    /// Whether it has ever said hello.
    pub is_proven: AtomicBool,
    /// Whether a process by which is found out what the program speaks is asked to `initialize` first.
    pub initialize_first: AtomicBool,
}

impl SharedConfig {
    /// The revision families that the program is known to speak; it is the same one each time.
    pub(crate) fn families(&self) -> RevisionFamilies {
        RevisionFamilies::from_bits(self.families.load(Ordering::Relaxed))
    }

    /// It speaks this one.
    pub(crate) fn learn(&self, family: RevisionFamily) {
        let bits = RevisionFamilies::NONE.and(family).bits();
        self.families.fetch_or(bits, Ordering::Relaxed);
    }

    /// How long a start may take now. The first may have to install something.
    pub(crate) fn patience(&self) -> Duration {
        if self.is_proven.load(Ordering::Relaxed) {
            self.start
        } else {
            self.start * FIRST_START
        }
    }
}

/// A process that was said hello to.
#[derive(Clone, Debug)]
pub struct Open {
    /// The conversation.
    pub connection: Arc<Connection>,
    /// What it said.
    pub hello: Arc<HandshakeResult>,
}

/// One server. Its process, if any, ends when this is dropped.
#[derive(Debug)]
pub struct StdioServer {
    config: Arc<SharedConfig>,
    pool: Weak<Pool>,
    opening: Opening,
    audience: Audience,
    numbers: Arc<AtomicU64>,
    now: Mutex<Now>,
    /// Held by the one that starts a process.
    starting: tokio::sync::Mutex<Health>,
    /// For whom it is.
    owner: Owner,
    /// A start that goes on whoever waits for it.
    beside: Detached<Result<Open, Failure>>,
}

#[derive(Debug)]
struct Now {
    open: Option<Open>,
    used: Instant,
    retired: bool,
    /// Whether there was a process before.
    was_open: bool,
    /// What a new process must be told again: the log level, subscribed resources.
    told: Vec<(String, Message)>,
}

/// How the processes fared.
#[derive(Debug, Default)]
struct Health {
    short_lives: u32,
    started: Option<Instant>,
    ended: Option<(Instant, End)>,
}

impl StdioServer {
    /// A server without a process yet.
    pub fn new(
        config: Arc<SharedConfig>,
        pool: Weak<Pool>,
        opening: Opening,
        audience: Audience,
        owner: Owner,
    ) -> Self {
        Self {
            config,
            pool,
            opening,
            audience,
            // 0 is what the absence of a number looks like in too many places.
            numbers: Arc::new(AtomicU64::new(1)),
            now: Mutex::new(Now {
                open: None,
                used: Instant::now(),
                retired: false,
                was_open: false,
                told: Vec::new(),
            }),
            starting: tokio::sync::Mutex::default(),
            owner,
            beside: Detached::default(),
        }
    }

    /// For whom it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The process, started if it does not run. The start goes on to its end if the caller leaves
    /// before that: the next one finds what it came to.
    ///
    /// # Errors
    /// It can't be started, or does not say hello.
    pub async fn open_beside(self: &Arc<Self>) -> Result<Open, Failure> {
        if let Some(open) = self.running() {
            self.now().used = Instant::now();
            return Ok(open);
        }
        let server = Arc::clone(self);
        let open = || async move { server.open().await };
        let opened = self.beside.join(open).await;
        opened.unwrap_or_else(|| Err(Failure::Ended(End::stopped())))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whom it runs.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// What all servers have in common.
    pub fn config(&self) -> &SharedConfig {
        &self.config
    }

    /// The process, if it runs.
    pub fn running(&self) -> Option<Open> {
        let open = self.now().open.clone();
        open.filter(|open| open.connection.is_alive())
    }

    /// The process, started if it does not run.
    ///
    /// # Errors
    /// It can't be started, or does not say hello.
    pub async fn open(&self) -> Result<Open, Failure> {
        self.now().used = Instant::now();
        if let Some(open) = self.running() {
            return Ok(open);
        }
        let mut health = self.starting.lock().await;
        if let Some(open) = self.running() {
            return Ok(open);
        }
        if self.now().retired {
            return Err(Failure::Ended(End::new("the session has ended")));
        }
        let last = self.now().open.take();
        health.learn(last.and_then(|open| open.connection.how_it_ended()));
        health.rest().await?;
        let slot = self.slot().await?;
        health.started = Some(Instant::now());
        match self.start(slot).await {
            Ok(open) => {
                let was_open = self.keep(&open)?;
                if was_open && matches!(self.opening, Opening::OfClient(_)) {
                    self.tell_again(&open).await;
                }
                Ok(open)
            }
            Err(failure) => {
                if !matches!(failure, Failure::Refused(_)) {
                    health.learn(Some(failure.clone().end()));
                }
                Err(failure)
            }
        }
    }

    /// Takes a new process in. Whether there was one before.
    fn keep(&self, open: &Open) -> Result<bool, Failure> {
        let mut now = self.now();
        if now.retired {
            return Err(Failure::Ended(End::new("the session has ended")));
        }
        now.open = Some(open.clone());
        Ok(std::mem::replace(&mut now.was_open, true))
    }

    async fn slot(&self) -> Result<ProcessSlot, Failure> {
        let slots = &self.config.slots;
        let full = |scope| Failure::Full(scope, slots.most(scope));
        let scope = match slots.take(&self.owner) {
            Ok(slot) => return Ok(slot),
            Err(scope) => scope,
        };
        let pool = self.pool.upgrade();
        if !pool.is_some_and(|pool| pool.make_room(&self.owner, scope)) {
            return Err(full(scope));
        }
        let slot = slots.take_within(&self.owner, MAKE_ROOM).await;
        slot.map_err(full)
    }

    async fn start(&self, slot: ProcessSlot) -> Result<Open, Failure> {
        let (audience, numbers) = (self.audience.clone(), Arc::clone(&self.numbers));
        let connection = Connection::start(&self.config.spec, audience, numbers, slot)?;
        let hello = handshake::hello(&self.config, &connection, &self.opening).await?;
        Ok(Open {
            connection,
            hello: Arc::new(hello),
        })
    }

    /// Tells a new process what an earlier one of the same session was told.
    async fn tell_again(&self, open: &Open) {
        let told = self.now().told.clone();
        let _ = open.connection.write(&to_stateful::initialized()).await;
        for (_, message) in told {
            if let Ok(mut answer) = handshake::ask(&self.config, &open.connection, message).await {
                tokio::spawn(async move { answer.answer().await });
            }
        }
    }

    /// Remembers what a new process must be told, too.
    ///
    /// # Errors
    /// A subscription too many.
    pub fn remember(&self, message: &Message) -> Result<(), RpcError> {
        let (method, params) = (message.method().to_owned(), message.params());
        let uri = params.text("uri").unwrap_or_default();
        let subject = match method.as_str() {
            "logging/setLevel" => "level".to_owned(),
            "resources/subscribe" | "resources/unsubscribe" => format!("uri {uri}"),
            _ => return Ok(()),
        };
        let mut now = self.now();
        now.told.retain(|(known, _)| *known != subject);
        if method == "resources/subscribe" {
            let told = now.told.iter().map(|(known, _)| known).chain([&subject]);
            let uris = told.filter_map(|known| known.strip_prefix("uri "));
            Subscriptions::fit(uris.clone().count(), uris.map(str::len).sum())?;
        }
        if method != "resources/unsubscribe" {
            now.told.push((subject, message.clone()));
        }
        Ok(())
    }

    /// Stops the process; it is started again when it is needed.
    pub fn rest(&self) {
        if let Some(open) = self.now().open.take() {
            open.connection.stop();
        }
    }

    /// Stops the process for good.
    pub fn retire(&self) {
        self.now().retired = true;
        self.rest();
    }

    /// Since when nobody has used the process: `None` while there is none, or it has work to do.
    pub fn idle_since(&self) -> Option<Instant> {
        let now = self.now();
        let open = now.open.as_ref()?;
        (!open.connection.is_busy()).then_some(now.used)
    }

    /// Whether somebody holds a stream on which the process could say something.
    pub fn is_listened_to(&self) -> bool {
        match &self.audience {
            Audience::Session(outbox) => outbox.is_open(),
            Audience::Caller => self.has_listeners(),
            Audience::Shared(subscribers) => subscribers.any() || self.has_listeners(),
        }
    }

    /// Whether its process has work to do.
    pub fn is_busy(&self) -> bool {
        self.running().is_some_and(|open| open.connection.is_busy())
    }

    /// Whether a client without sessions has subscribed to something.
    fn has_listeners(&self) -> bool {
        let open = self.running();
        open.is_some_and(|open| open.connection.is_listened_to())
    }

    /// What must be done from time to time.
    pub fn sweep(&self, now: Instant) {
        let open = self.now().open.clone();
        let Some(open) = open else { return };
        let before = now.checked_sub(self.config.silence).unwrap_or(now);
        open.connection.sweep(before);
        if let Audience::Session(outbox) = &self.audience {
            for question in outbox.unasked(now) {
                open.connection.refuse(question);
            }
        }
        let since = self.idle_since();
        let is_idle = since.is_some_and(|since| now.duration_since(since) >= self.config.idle);
        if is_idle && !self.is_listened_to() {
            log::info!(event = "process_idle", server = self.config.spec.name.as_str(), pid = open.connection.pid(); "the process has had no use for {} s and is stopped", self.config.idle.as_secs());
            self.rest();
        }
    }

    /// When it was used last.
    pub fn used(&self) -> Instant {
        self.now().used
    }
}

impl Drop for StdioServer {
    fn drop(&mut self) {
        self.retire();
    }
}

impl Health {
    /// Takes note of the end of a process that was not asked to end.
    fn learn(&mut self, how: Option<End>) {
        let Some(how) = how.filter(|end| *end != End::stopped()) else {
            return;
        };
        let lived = self.started.take().map(|started| started.elapsed());
        match lived {
            Some(lived) if lived < LONG_LIFE => self.short_lives += 1,
            Some(_) => self.short_lives = 0,
            None => {}
        }
        self.ended = Some((Instant::now(), how));
    }

    /// Lets time pass before a process is started that has ended soon after its last starts.
    async fn rest(&self) -> Result<(), Failure> {
        let Some((ended, how)) = &self.ended else {
            return Ok(());
        };
        if self.short_lives == 0 {
            return Ok(());
        }
        let doubled = 2_u32.saturating_pow((self.short_lives - 1).min(16));
        let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
        let again = pause.saturating_sub(ended.elapsed());
        if again > SHORT_PAUSE {
            return Err(Failure::Resting {
                how: how.clone(),
                again,
            });
        }
        sleep(again).await;
        Ok(())
    }
}
