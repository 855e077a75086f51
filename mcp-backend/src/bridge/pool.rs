//! All servers of a bridge: one for each session, one for each caller without, or one for all.

pub mod detached;
pub mod handshake;
pub mod process_slots;
pub mod server;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use mcp_protocol::to_stateful::Caller;
use mcp_protocol::{RevisionFamilies, RevisionFamily};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bridge::connection::Audience;
use crate::bridge::failure::{End, Failure};
use crate::bridge::pool::detached::Detached;
use crate::bridge::pool::handshake::{HandshakeResult, Opening, PROBE};
use crate::bridge::pool::process_slots::{LimitScope, Owner};
use crate::bridge::pool::server::{MAKE_ROOM, Open, SharedConfig, StdioServer};
use crate::bridge::session::Session;

/// Sessions at once. Without a process a session is small.
const MOST_SESSIONS: usize = 4_096;
/// Sessions at once of one connection of an app.
const MOST_SESSIONS_EACH: usize = 512;
/// Callers without sessions that are remembered, in all and of one connection.
const MOST_CALLERS: usize = 1_024;
const MOST_CALLERS_EACH: usize = 64;
/// A session without any request this long is ended. Long, because a client that only waits is not
/// gone, and not every client starts again after a 404.
const IDLE_SESSION: Duration = Duration::from_secs(8 * 60 * 60);

/// Who gets a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sharing {
    /// Each session has one, and each person's each client without sessions.
    Session,
    /// All share one.
    Shared,
}

/// All servers.
#[derive(Debug)]
pub struct Pool {
    config: Arc<SharedConfig>,
    sharing: Sharing,
    keeps_lookout: bool,
    families: OnceLock<RevisionFamilies>,
    finding_out: Detached<Result<RevisionFamilies, Failure>>,
    me: Weak<Pool>,
    all: Mutex<PoolState>,
}

#[derive(Debug, Default)]
struct PoolState {
    sessions: HashMap<String, Arc<Session>>,
    callers: HashMap<String, Arc<StdioServer>>,
    /// The one that all share, or else the one for the gateway's own look.
    lookout: Option<Arc<StdioServer>>,
}

impl Pool {
    /// No servers yet. `keeps_lookout`: the process by which is found out what the program speaks goes
    /// on, for the gateway's own look.
    pub fn new(config: SharedConfig, sharing: Sharing, keeps_lookout: bool) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            config: Arc::new(config),
            sharing,
            keeps_lookout,
            families: OnceLock::new(),
            finding_out: Detached::default(),
            me: me.clone(),
            all: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all servers have in common.
    pub fn config(&self) -> &SharedConfig {
        &self.config
    }

    /// Who gets a process.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// The revision families that the program speaks, if that was found out already.
    pub fn known_families(&self) -> Option<RevisionFamilies> {
        self.families.get().copied()
    }

    /// The revision families that the program speaks. The first time a process is started to find out,
    /// and another one for what the first was not asked: one that was asked `server/discover` may refuse
    /// `initialize`, though the program knows both. It is found out to the end, whoever waits for it.
    ///
    /// # Errors
    /// It can't be started, or does not say hello.
    pub async fn families(&self) -> Result<RevisionFamilies, Failure> {
        if let Some(families) = self.known_families() {
            return Ok(families);
        }
        let stopped = || Err(Failure::Ended(End::stopped()));
        let Some(pool) = self.me.upgrade() else {
            return stopped();
        };
        let find_out = || async move { pool.find_out().await };
        let found = self.finding_out.join(find_out).await;
        found.unwrap_or_else(stopped)
    }

    async fn find_out(&self) -> Result<RevisionFamilies, Failure> {
        if let Some(families) = self.known_families() {
            return Ok(families);
        }
        let begun = Instant::now();
        let (first_request, opened) = self.open_first().await;
        let is_stateless = match opened {
            Ok(open) => matches!(*open.hello, HandshakeResult::Stateless(_)),
            // It refuses the bridge, in a way that tells what it speaks. It may know other clients.
            Err(Failure::Refused(_)) if !self.config.families().is_empty() => false,
            Err(failure) => return Err(failure),
        };
        let families = match (self.sharing, is_stateless) {
            // What one process for all speaks is what it was begun with.
            (Sharing::Shared, true) => RevisionFamilies::NONE.and(RevisionFamily::Stateless),
            (Sharing::Shared, false) => RevisionFamilies::NONE.and(RevisionFamily::Stateful),
            (Sharing::Session, _) => {
                let patience = begun.elapsed() * 2 + PROBE;
                if is_stateless {
                    self.try_session(patience).await;
                } else if first_request == FirstRequest::Initialize {
                    self.try_stateless(patience).await;
                }
                self.settle().await;
                self.config.families()
            }
        };
        log::info!(event = "families_known", server = self.config.spec.name.as_str(), families = families.to_string(); "what the server speaks is known: {families}");
        Ok(*self.families.get_or_init(|| families))
    }

    /// The process that finds out, and what it was asked first. Some programs, such as those made with
    /// older Rust SDKs, end at a first message that is not `initialize`, and are started again with it.
    /// Others had an accident, so that the two requests take turns until a process answers.
    async fn open_first(&self) -> (FirstRequest, Result<Open, Failure>) {
        let lookout = self.lookout();
        let initialize_first = &self.config.initialize_first;
        let first_request = if initialize_first.load(Ordering::Relaxed) {
            FirstRequest::Initialize
        } else {
            FirstRequest::Discover
        };
        let opened = lookout.open_beside().await;
        if is_put_off(&opened) {
            return (first_request, opened);
        }
        initialize_first.store(false, Ordering::Relaxed);
        let has_ended = matches!(&opened, Err(Failure::Ended(end)) if *end != End::stopped());
        let is_known = !self.config.families().is_empty();
        if first_request == FirstRequest::Initialize || !has_ended || is_known {
            return (first_request, opened);
        }
        log::info!(event = "initialize_first", server = self.config.spec.name.as_str(); "the process ended at `server/discover`; the next one is asked to `initialize` first");
        initialize_first.store(true, Ordering::Relaxed);
        let again = lookout.open_beside().await;
        initialize_first.store(is_put_off(&again), Ordering::Relaxed);
        (FirstRequest::Initialize, again)
    }

    /// Tries whether the program has sessions, too. Then it is looked at in one.
    async fn try_session(&self, patience: Duration) {
        let server = self.of_nobody(Opening::InSession);
        let opened = timeout(patience, server.open()).await;
        match opened.unwrap_or(Err(Failure::NoHello(patience))) {
            Ok(_) => {
                self.config.learn(RevisionFamily::Stateful);
                let before = self.lock().lookout.replace(server);
                if let Some(before) = before {
                    before.retire();
                }
            }
            Err(failure) => {
                log::info!(event = "no_sessions", server = self.config.spec.name.as_str(); "a second process was asked to `initialize`, and the server has no sessions: {}", failure.in_full());
            }
        }
    }

    /// Tries whether the program speaks 2026-07-28, too: that one process ended at `server/discover` may
    /// have been an accident, and what is found out holds for good.
    async fn try_stateless(&self, patience: Duration) {
        let server = self.of_nobody(Opening::OfCaller(handshake::nobody()));
        let opened = timeout(patience, server.open()).await;
        match opened.unwrap_or(Err(Failure::NoHello(patience))) {
            Ok(open) => {
                self.config.learn(RevisionFamily::Stateless);
                server.retire();
                let _ = timeout(MAKE_ROOM, open.connection.ended()).await;
            }
            Err(failure) => {
                log::info!(event = "only_sessions", server = self.config.spec.name.as_str(); "another process was asked `server/discover`, and the server has sessions alone: {}", failure.in_full());
            }
        }
    }

    /// Stops the process that found out, unless it is kept for the gateway's look. The next one is to
    /// find a place, and whatever a server has but once, free.
    async fn settle(&self) {
        let lookout = self.lookout();
        if !self.keeps_lookout
            && let Some(open) = lookout.running()
        {
            lookout.rest();
            let _ = timeout(MAKE_ROOM, open.connection.ended()).await;
        }
        if lookout.running().is_none() {
            let slots = &self.config.slots;
            drop(slots.take_within(&Owner::default(), MAKE_ROOM).await);
        }
    }

    /// A server of one session's own.
    pub fn server(&self, opening: Opening, audience: Audience, owner: Owner) -> Arc<StdioServer> {
        Arc::new(StdioServer::new(
            Arc::clone(&self.config),
            self.me.clone(),
            opening,
            audience,
            owner,
        ))
    }

    /// The server of a client without sessions.
    pub fn of_caller(&self, owner: &Owner, caller: Caller) -> Arc<StdioServer> {
        // The one that all share is the lookout, too.
        if self.sharing == Sharing::Shared {
            return self.lookout();
        }
        // Part of it, because a server behaves differently towards clients that can do different
        // things.
        let key = format!("{}\n{}", owner.user_and_client(), caller.identity());
        if let Some(server) = self.lock().callers.get(&key) {
            return Arc::clone(server);
        }
        let server = self.server(Opening::OfCaller(caller), Audience::Caller, owner.clone());
        let mut all = self.lock();
        let owners = all.callers.values().map(|server| server.owner());
        if let Some(scope) = crowded(owner, owners, MOST_CALLERS_EACH, MOST_CALLERS) {
            let idle = all
                .callers
                .iter()
                .filter(|(_, server)| server.owner().shares(owner, scope))
                .filter(|(_, server)| !server.is_listened_to())
                .filter(|(_, server)| !server.is_busy())
                .min_by_key(|(_, server)| server.used());
            if let Some(key) = idle.map(|(key, _)| key.clone()) {
                all.callers.remove(&key);
            }
        }
        Arc::clone(all.callers.entry(key).or_insert(server))
    }

    fn of_nobody(&self, opening: Opening) -> Arc<StdioServer> {
        let audience = Audience::Shared(Arc::default());
        self.server(opening, audience, Owner::default())
    }

    /// The server for the gateway's own look at what is offered: the one that all share, or one that
    /// nobody else uses. It is told of no capabilities of clients, since theirs differ.
    pub fn lookout(&self) -> Arc<StdioServer> {
        let mut all = self.lock();
        let lookout = &mut all.lookout;
        Arc::clone(lookout.get_or_insert_with(|| self.of_nobody(Opening::OfNobody)))
    }

    /// Starts a process without anybody waiting for it: the one that all are to share, or the one for
    /// the gateway's own look.
    pub async fn warm_up(self: Arc<Self>) {
        let name = self.config.spec.name.as_str();
        let opened = match self.families().await {
            Ok(_) => self.lookout().open_beside().await,
            Err(failure) => Err(failure),
        };
        match opened {
            Ok(open) => {
                log::info!(event = "server_answers", server = name; "the server answers: {}", open.hello)
            }
            // It answers, and may know other clients.
            Err(failure @ Failure::Refused(_)) if self.known_families().is_some() => {
                log::info!(event = "server_refuses_the_bridge", server = name; "{}, which says nothing about other clients", failure.in_full())
            }
            Err(failure) => {
                log::error!(event = "server_does_not_answer", server = name; "{}", failure.in_full())
            }
        }
    }

    /// Takes a session in; the longest unused one makes room. `false`: all are in use.
    pub fn admit(&self, session: Arc<Session>) -> bool {
        let mut all = self.lock();
        let mut ended = None;
        let owner = &session.owner;
        let owners = all.sessions.values().map(|other| &other.owner);
        if let Some(scope) = crowded(owner, owners, MOST_SESSIONS_EACH, MOST_SESSIONS) {
            let unused = all
                .sessions
                .values()
                .filter(|other| other.owner.shares(owner, scope))
                .filter(|session| !session.outbox.is_open())
                .min_by_key(|session| session.used())
                .map(|session| session.id.clone());
            let Some(unused) = unused else { return false };
            ended = all.sessions.remove(&unused);
        }
        all.sessions.insert(session.id.clone(), session);
        drop(all);
        if let Some(ended) = ended {
            ended.end();
        }
        true
    }

    /// A session, for whom it was opened.
    pub fn session(&self, id: &str, user_and_client: &str) -> Option<Arc<Session>> {
        let session = self.lock().sessions.get(id).cloned();
        session.filter(|session| session.owner.user_and_client() == user_and_client)
    }

    /// Ends a session.
    pub fn end(&self, id: &str) {
        let session = self.lock().sessions.remove(id);
        if let Some(session) = session {
            session.end();
        }
    }

    fn servers(&self) -> Vec<Arc<StdioServer>> {
        let all = self.lock();
        let sessions = all.sessions.values();
        let own = sessions.filter_map(|session| session.server.get());
        own.chain(all.callers.values())
            .chain(&all.lookout)
            .map(Arc::clone)
            .collect()
    }

    /// Stops the process that is missed the least, because `owner` needs another more: one of
    /// `scope`, which has all that it may have, that has nothing to do, the longest unused, best one
    /// that nobody listens to. `false`: all are busy.
    pub fn make_room(&self, owner: &Owner, scope: LimitScope) -> bool {
        let unused = self
            .servers()
            .into_iter()
            .filter(|server| scope == LimitScope::All || !server.owner().is_nobody())
            .filter(|server| server.owner().shares(owner, scope))
            .filter_map(|server| Some(((server.is_listened_to(), server.idle_since()?), server)))
            .min_by_key(|(rank, _)| *rank);
        let Some((_, server)) = unused else {
            return false;
        };
        log::info!(event = "process_makes_room", server = self.config.spec.name.as_str(); "a process without use is stopped: another is needed");
        server.rest();
        true
    }

    /// Does from time to time what must be done, until `ending`.
    pub async fn keep(self: Arc<Self>, ending: CancellationToken) {
        let pause =
            (self.config.idle / 4).clamp(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(pause) => self.sweep(Instant::now()),
            }
        }
    }

    fn sweep(&self, now: Instant) {
        for server in self.servers() {
            server.sweep(now);
        }
        let forgotten: Vec<String> = {
            let all = self.lock();
            let gone = all.sessions.values().filter(|session| {
                !session.outbox.is_open() && now.duration_since(session.used()) >= IDLE_SESSION
            });
            gone.map(|session| session.id.clone()).collect()
        };
        for id in forgotten {
            self.end(&id);
        }
    }

    /// Stops all processes.
    pub fn close(&self) {
        let all = std::mem::take(&mut *self.lock());
        for session in all.sessions.into_values() {
            session.end();
        }
        for server in all.callers.into_values().chain(all.lookout) {
            server.retire();
        }
    }
}

/// Where one more of this owner's would be too many: among those of one connection, or of all.
fn crowded<'a>(
    owner: &Owner,
    owners: impl Iterator<Item = &'a Owner> + Clone,
    most_each: usize,
    most: usize,
) -> Option<LimitScope> {
    let of_connection = |other: &&Owner| other.shares(owner, LimitScope::Grant);
    if !owner.is_nobody() && owners.clone().filter(of_connection).count() >= most_each {
        Some(LimitScope::Grant)
    } else {
        (owners.count() >= most).then_some(LimitScope::All)
    }
}

/// What the process that finds out is asked first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstRequest {
    Discover,
    Initialize,
}

/// Whether a start was only put off: no process was asked anything.
fn is_put_off(opened: &Result<Open, Failure>) -> bool {
    matches!(opened, Err(Failure::Resting { .. } | Failure::Full(..)))
}
