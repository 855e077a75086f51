//! One server, as one session or one caller has it: its process is started when it is needed, said
//! hello to, started again when it has ended, and stopped when nobody needs it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use mcp_protocol::to_stateful::{self, Caller};
use mcp_protocol::{
    INPUT_TIMEOUT, Id, LATEST_STATEFUL, Message, Object, RpcError, STATELESS, Subscriptions, code,
    meta, to_stateless,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::child::CommandSpec;
use super::exchange::{Exchange, OnLeave};
use super::failure::{End, Failure};
use super::link::{Asking, Audience, Link};
use super::places::{Owner, Place, Places};
use super::pool::Pool;

/// A server that never heard of `server/discover` may keep silent about it.
const PROBE: Duration = Duration::from_secs(5);
/// The first start may take this many times as long as any other.
const FIRST_START: u32 = 5;
/// A process that lives this long was well.
const LONG_LIFE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A pause that is waited out instead of being reported.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// How long a place among the processes is waited for, once one was asked to end.
const MAKE_ROOM: Duration = Duration::from_secs(8);

/// What all servers of a bridge have in common.
#[derive(Debug)]
pub struct Kit {
    /// What to start.
    pub spec: CommandSpec,
    /// How long a start may take until the process has said hello.
    pub start: Duration,
    /// How long a process may be silent about a request.
    pub silence: Duration,
    /// Without use for this long a process is stopped.
    pub idle: Duration,
    /// How many processes there may be.
    pub places: Arc<Places>,
    /// What is known of the program.
    pub(super) known: Known,
}

/// What is known of the program: it is the same one each time.
#[derive(Debug, Default)]
pub struct Known {
    /// Which way of saying hello worked last.
    family: AtomicU8,
    /// Whether it has ever said hello.
    is_proven: AtomicBool,
    /// Held by the one that starts it while it never has: programs such as `npx` install what they
    /// run, and do that badly twice at a time. How the starts fared until then, whosever they were.
    first: tokio::sync::Mutex<Health>,
}

impl Kit {
    /// How long a start may take now. The first may have to install something.
    fn patience(&self) -> Duration {
        match self.known.is_proven.load(Ordering::Relaxed) {
            true => self.start,
            false => self.start * FIRST_START,
        }
    }
}

const KNOWN_SESSIONS: u8 = 1;
const KNOWN_STATELESS: u8 = 2;

/// What a process said when it was said hello to.
#[derive(Debug)]
pub enum Hello {
    /// The result of `initialize`, as it was sent and as it is understood.
    Sessions(Object, to_stateful::Server),
    /// The result of `server/discover`.
    Stateless(Object),
}

impl std::fmt::Display for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (info, revision) = match self {
            Self::Sessions(result, said) => (result.object("serverInfo"), said.revision.as_str()),
            Self::Stateless(result) => {
                let meta = result.object("_meta").unwrap_or_default();
                (meta.object(meta::SERVER_INFO), STATELESS)
            }
        };
        let info = info.unwrap_or_default();
        let part = |name: &str| info.text(name).unwrap_or_default();
        write!(f, "{} {} ({revision})", part("name"), part("version"))
    }
}

/// How a process is said hello to.
#[derive(Debug)]
pub enum Opening {
    /// With the `initialize` of the one client that it is for.
    OfClient(Message),
    /// With one of ours on behalf of this caller, after trying `server/discover`.
    OfCaller(Caller),
}

/// A process that was said hello to.
#[derive(Clone, Debug)]
pub struct Open {
    /// The conversation.
    pub link: Arc<Link>,
    /// What it said.
    pub hello: Arc<Hello>,
    /// The level of log messages that it was told.
    pub level: Arc<Level>,
}

/// A level of log messages, as it was told last.
#[derive(Debug, Default)]
pub struct Level(Mutex<String>);

impl Level {
    /// Takes note of another level. `false`: it is the same.
    pub fn change(&self, level: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = *told != level;
        level.clone_into(&mut told);
        is_other
    }
}

/// What a start comes to, once it has.
type Starting = watch::Receiver<Option<Result<Open, Failure>>>;

/// One server. Its process, if any, ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    kit: Arc<Kit>,
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
    beside: Mutex<Option<Starting>>,
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

impl Server {
    /// A server without a process yet.
    pub fn new(
        kit: Arc<Kit>,
        pool: Weak<Pool>,
        opening: Opening,
        audience: Audience,
        owner: Owner,
    ) -> Self {
        Self {
            kit,
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
            beside: Mutex::default(),
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
        let mut opened = self.begin_beside();
        let opened = opened.wait_for(Option::is_some).await;
        match opened.as_deref() {
            Ok(Some(opened)) => opened.clone(),
            _ => Err(Failure::Ended(End::stopped())),
        }
    }

    fn begin_beside(self: &Arc<Self>) -> Starting {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opening) = &*beside
            && opening.borrow().is_none()
            && opening.has_changed().is_ok()
        {
            return opening.clone();
        }
        let (done, opening) = watch::channel(None);
        let server = Arc::clone(self);
        tokio::spawn(async move {
            let opened = server.open().await;
            done.send_replace(Some(opened));
        });
        *beside = Some(opening.clone());
        opening
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whom it runs.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// What all servers have in common.
    pub fn kit(&self) -> &Kit {
        &self.kit
    }

    /// The process, if it runs.
    pub fn running(&self) -> Option<Open> {
        let open = self.now().open.clone();
        open.filter(|open| open.link.is_alive())
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
            return Err(Failure::Ended(End::of("the session has ended")));
        }
        let last = self.now().open.take();
        health.learn(last.and_then(|open| open.link.how_it_ended()));
        let mut first = match self.kit.known.is_proven.load(Ordering::Relaxed) {
            true => None,
            false => Some(self.kit.known.first.lock().await),
        };
        // A program that has never said hello fails whoever starts it: each new session of a client
        // must not be a reason to start it again at once.
        let health = first.as_deref_mut().unwrap_or(&mut *health);
        health.rest().await?;
        let place = self.place().await?;
        health.started = Some(Instant::now());
        let opened = self.start(place).await;
        match opened {
            Ok(open) => {
                if !self.kit.known.is_proven.swap(true, Ordering::Relaxed) {
                    *health = Health::default();
                }
                drop(first);
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
            return Err(Failure::Ended(End::of("the session has ended")));
        }
        now.open = Some(open.clone());
        Ok(std::mem::replace(&mut now.was_open, true))
    }

    async fn place(&self) -> Result<Place, Failure> {
        let places = &self.kit.places;
        let full = |crowd| Failure::Full(crowd, places.most(crowd));
        let crowd = match places.take(&self.owner) {
            Ok(place) => return Ok(place),
            Err(crowd) => crowd,
        };
        let pool = self.pool.upgrade();
        if !pool.is_some_and(|pool| pool.make_room(&self.owner, crowd)) {
            return Err(full(crowd));
        }
        places
            .take_within(&self.owner, MAKE_ROOM)
            .await
            .map_err(full)
    }

    async fn start(&self, place: Place) -> Result<Open, Failure> {
        let link = self.link(place)?;
        self.hello(&link).await.map_err(|failure| {
            // What ended can refuse nothing: its end is what is told.
            match (failure, link.how_it_ended()) {
                (Failure::Refused(_), Some(end)) => Failure::Ended(end),
                (failure, _) => failure,
            }
        })
    }

    fn link(&self, place: Place) -> Result<Arc<Link>, Failure> {
        Link::start(
            &self.kit.spec,
            self.audience.clone(),
            Arc::clone(&self.numbers),
            place,
        )
    }

    async fn hello(&self, link: &Arc<Link>) -> Result<Open, Failure> {
        let hello = match &self.opening {
            Opening::OfClient(initialize) => {
                within(self.kit.patience(), self.pass_hello(link, initialize)).await??
            }
            Opening::OfCaller(caller) => {
                let hello = within(self.kit.patience(), self.say_hello(link, caller)).await??;
                if matches!(hello, Hello::Sessions(..)) {
                    link.write(&to_stateful::initialized()).await?;
                }
                hello
            }
        };
        Ok(Open {
            link: Arc::clone(link),
            hello: Arc::new(hello),
            level: Arc::default(),
        })
    }

    /// Passes the client's own `initialize` on. A server that refuses it may be stateless.
    async fn pass_hello(&self, link: &Arc<Link>, initialize: &Message) -> Result<Hello, Failure> {
        let mut asked = self.ask(link, initialize.clone()).await?;
        let refused = match initialized(&mut asked).await {
            Err(Failure::Refused(error)) => error,
            hello => return hello,
        };
        let hello = to_stateless::Hello::of(initialize);
        let discover = to_stateless::discover(&hello, &Id::number(0));
        let mut probe = self.ask(link, discover).await?;
        match discovered(&probe.answer().await) {
            Some(Ok(hello)) => Ok(hello),
            _ => Err(Failure::Refused(refused)),
        }
    }

    /// Stateless first (2026-07-28, stdio, Backward Compatibility): a server of both revision families must not
    /// be tied to a session by us.
    async fn say_hello(&self, link: &Arc<Link>, caller: &Caller) -> Result<Hello, Failure> {
        let known = self.kit.known.family.load(Ordering::Relaxed);
        let mut probe = match known {
            KNOWN_SESSIONS => None,
            _ => Some(self.ask(link, discover(caller)).await?),
        };
        if let Some(probe) = &mut probe {
            let patience = if known == KNOWN_STATELESS {
                self.kit.start
            } else {
                PROBE
            };
            if let Ok(answer) = timeout(patience, probe.answer()).await
                && let Some(hello) = discovered(&answer)
            {
                self.kit
                    .known
                    .family
                    .store(KNOWN_STATELESS, Ordering::Relaxed);
                return hello;
            }
        }
        let initialize = to_stateful::initialize(caller, &Id::number(0), LATEST_STATEFUL);
        let mut asked = self.ask(link, initialize).await?;
        let (hello, known) = match &mut probe {
            Some(probe) => late(probe, &mut asked).await?,
            None => (initialized(&mut asked).await?, KNOWN_SESSIONS),
        };
        self.kit.known.family.store(known, Ordering::Relaxed);
        Ok(hello)
    }

    async fn ask(&self, link: &Arc<Link>, request: Message) -> Result<Exchange, Failure> {
        let asking = Asking {
            owner: u64::MAX,
            on_leave: OnLeave::Forget,
            caller: None,
            patience: self.kit.patience(),
        };
        link.ask(request, asking).await
    }

    /// Tells a new process what an earlier one of the same session was told.
    async fn tell_again(&self, open: &Open) {
        if matches!(*open.hello, Hello::Stateless(_)) {
            return;
        }
        let told: Vec<Message> = self
            .now()
            .told
            .iter()
            .map(|(_, told)| told.clone())
            .collect();
        let _ = open.link.write(&to_stateful::initialized()).await;
        for message in told {
            if let Ok(mut answer) = self.ask(&open.link, message).await {
                tokio::spawn(async move { answer.answer().await });
            }
        }
    }

    /// Remembers what a new process must be told, too. The refusal of a subscription too many.
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
            let told = now.told.iter().map(|(known, _)| known);
            let subscribed = told
                .chain([&subject])
                .filter_map(|known| known.strip_prefix("uri "));
            let (count, bytes) =
                subscribed.fold((0, 0), |(count, bytes), uri| (count + 1, bytes + uri.len()));
            Subscriptions::fit(count, bytes)?;
        }
        if method != "resources/unsubscribe" {
            now.told.push((subject, message.clone()));
        }
        Ok(())
    }

    /// Stops the process; it is started again when it is needed.
    pub fn rest(&self) {
        if let Some(open) = self.now().open.take() {
            open.link.stop();
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
        (!open.link.is_busy()).then_some(now.used)
    }

    /// Whether somebody holds a stream on which the process could say something.
    pub fn is_listened_to(&self) -> bool {
        match &self.audience {
            Audience::One(outbox) => outbox.is_open(),
            Audience::Many(subscribers) => {
                subscribers.any()
                    || self
                        .running()
                        .is_some_and(|open| open.link.is_listened_to())
            }
        }
    }

    /// What must be done from time to time.
    pub fn sweep(&self, now: Instant) {
        let open = self.now().open.clone();
        let Some(open) = open else { return };
        let before = now.checked_sub(self.kit.silence).unwrap_or(now);
        let questions_before = now.checked_sub(INPUT_TIMEOUT).unwrap_or(now);
        open.link.sweep(before, questions_before);
        if let Audience::One(outbox) = &self.audience {
            for question in outbox.unasked(now) {
                open.link.refuse(question);
            }
        }
        let is_idle = self
            .idle_since()
            .is_some_and(|since| now.duration_since(since) >= self.kit.idle);
        if is_idle && !self.is_listened_to() {
            log::info!(event = "process_idle", server = self.kit.spec.name.as_str(), pid = open.link.pid(); "the process has had no use for {} s and is stopped", self.kit.idle.as_secs());
            self.rest();
        }
    }

    /// When it was used last.
    pub fn used(&self) -> Instant {
        self.now().used
    }
}

impl Drop for Server {
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

async fn within<T>(patience: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(patience, work)
        .await
        .map_err(|_| Failure::NoHello(patience))
}

async fn initialized(asked: &mut Exchange) -> Result<Hello, Failure> {
    let answer = asked.answer().await;
    if let Some(error) = answer.failure() {
        return Err(Failure::Refused(error));
    }
    let result = answer.outcome().unwrap_or_default();
    let server = to_stateful::Server::of(&result).ok_or_else(|| {
        Failure::NotStarted("its answer to `initialize` names no protocol version".to_owned())
    })?;
    Ok(Hello::Sessions(result, server))
}

/// What a process is that was asked `server/discover` and, since it kept silent, `initialize`: it may
/// have been busy with its own start, and answer both. The second has tied one of both revision families to a
/// session, so that is what this process is; the next one is asked without haste.
async fn late(probe: &mut Exchange, asked: &mut Exchange) -> Result<(Hello, u8), Failure> {
    let stateless = tokio::select! {
        biased;
        hello = initialized(asked) => match hello {
            Ok(hello) => {
                let answer = probe.answer().now_or_never();
                let known = match answer.as_ref().and_then(discovered) {
                    Some(Ok(_)) => KNOWN_STATELESS,
                    _ => KNOWN_SESSIONS,
                };
                return Ok((hello, known));
            }
            Err(refused) => {
                let answer = timeout(PROBE, probe.answer()).await.ok();
                answer.as_ref().and_then(discovered).unwrap_or(Err(refused))
            }
        },
        answer = probe.answer() => match discovered(&answer) {
            None => return Ok((initialized(asked).await?, KNOWN_SESSIONS)),
            Some(stateless) => match timeout(PROBE, initialized(asked)).await {
                Ok(Ok(hello)) => return Ok((hello, KNOWN_STATELESS)),
                _ => stateless,
            },
        },
    };
    Ok((stateless?, KNOWN_STATELESS))
}

fn discover(caller: &Caller) -> Message {
    let meta = Object::new()
        .with(meta::VERSION, STATELESS)
        .with(meta::CLIENT_INFO, &caller.client_info())
        .with(meta::CLIENT_CAPABILITIES, &caller.capabilities);
    let params = Object::new().with("_meta", &meta);
    Message::request(&Id::number(0), "server/discover", &params)
}

/// What the answer to `server/discover` says of the server; `None` if it says that it knows no
/// such thing, which is for `initialize` to find out.
fn discovered(answer: &Message) -> Option<Result<Hello, Failure>> {
    if let Some(error) = answer.failure() {
        // A stateless server of another revision: `initialize` would be wrong, and so are we.
        let is_stateless = error.code() == code::UNSUPPORTED_VERSION;
        let speaks_sessions = error.data().is_some_and(|data| {
            let supported: Vec<String> = data.read("supported").unwrap_or_default();
            supported
                .iter()
                .any(|version| mcp_protocol::is_stateful_revision(version))
        });
        return (is_stateless && !speaks_sessions).then_some(Err(Failure::Refused(error)));
    }
    let result = answer.outcome()?;
    let versions: Vec<String> = result.read("supportedVersions")?;
    versions
        .iter()
        .any(|version| version == STATELESS)
        .then_some(Ok(Hello::Stateless(result)))
}
