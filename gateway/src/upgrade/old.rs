//! The process that serves: answers those that left before it, and hands over to a new one.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::OsRng;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::{Instant, sleep};

use super::container::ends_with_container;
use super::wire::Wire;
use super::{Hello, Me, Offer, OfferedProgram, Opening, PROTOCOL, ToNew, ToOld, VERSION, identity};
use crate::backup::held::HeldBackups;
use crate::process_file::ProcessFile;
use crate::service_manager::Notifier;
use crate::supervisor::Programs;
use gateway_core::secret;
use gateway_proxy::{Drain, ListenSockets};
use gateway_store::journal::{Journal, Leaving};
use gateway_store::neighbour::{self, LONGEST, Neighbour};
use gateway_store::{Movable, Store, StoreUrl};

/// For a line that needs no work at the other end.
const PATIENCE: Duration = Duration::from_secs(10);

/// From an offer until a new process takes it: it still looks whether it can serve.
const TAKING: Duration = Duration::from_secs(20);

/// From when it has the store until it serves: it opens it, and starts programs.
const SERVING: Duration = Duration::from_secs(30);

/// How long a process that failed may take to end by itself.
const ENDING: Duration = Duration::from_secs(10);

/// Between two tries to open the store again.
const REOPEN: Duration = Duration::from_millis(100);

/// How long that is tried.
const REOPENING: Duration = Duration::from_secs(20);

/// How long those are still answered that asked this process before they learned of another one.
const LINGER: Duration = Duration::from_secs(5);

/// Between two looks whether another gateway still has the socket.
const IN_USE: Duration = Duration::from_secs(5);

/// What a process ends with that can't serve (`EX_UNAVAILABLE` of sysexits.h).
const UNAVAILABLE: i32 = 69;

/// How many may ask at the same time.
const ASKING: usize = 256;

/// What one process hands over to the next.
pub struct Succession {
    /// Where the next one asks.
    pub socket: PathBuf,
    /// Which store it is.
    pub url: StoreUrl,
    /// The store, asked by those that left before.
    pub store: Arc<dyn Store>,
    /// The same, if only one process may have it open.
    pub movable: Option<Arc<Movable>>,
    /// The audit log.
    pub journal: Journal,
    /// What is held of the store for whoever fetches a backup.
    pub backups: HeldBackups,
    /// The sockets that listen.
    pub sockets: ListenSockets,
    /// What becomes of connections.
    pub drain: Drain,
    /// The programs beside us.
    pub programs: Programs,
    /// How the service manager is told.
    pub notifier: Notifier,
    /// What nobody else can go on with, if there is something.
    pub kept: Option<&'static str>,
    /// Where all of that runs.
    pub runtime: Handle,
}

/// How far a process is in its own life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The one before may serve on.
    Beginning,
    Serving,
    /// Another one serves.
    Left,
}

/// A name in the same folder, which is its owner's alone, that nobody guesses. No longer than the file's own:
/// the path of a socket has 107 bytes at most.
fn short_name_beside(path: &Path) -> PathBuf {
    let mut name = secret::identifier(".", &mut OsRng);
    name.truncate(9);
    path.with_file_name(name)
}

/// One that listens.
struct Successor {
    succession: Succession,
    standing: parking_lot::Mutex<Standing>,
    under_way: Mutex<()>,
    rebind: Notify,
}

/// A process that is asked.
#[must_use]
pub struct Listening(Option<Arc<Successor>>);

impl Listening {
    /// It is the one that serves, from now on.
    pub fn serves(&self) {
        if let Some(successor) = &self.0 {
            *successor.standing.lock() = Standing::Serving;
        }
    }
}

impl Succession {
    /// Listens for the next process from now on; `follows`: in place of one that is about to hand over to
    /// this. Where that can't be, the gateway serves all the same, and is not handed over.
    pub async fn listen(self, follows: bool) -> Listening {
        if matches!(self.url, StoreUrl::Memory) {
            return Listening(None);
        }
        let runtime = self.runtime.clone();
        let successor = Arc::new(Successor {
            succession: self,
            standing: parking_lot::Mutex::new(Standing::Beginning),
            under_way: Mutex::new(()),
            rebind: Notify::new(),
        });
        let asked = Listening(Some(Arc::clone(&successor)));
        let listening = runtime.spawn(async move {
            match successor.bind(follows).await {
                Ok(listener) => drop(tokio::spawn(successor.run(listener))),
                Err(error) => {
                    successor.warn(&error);
                    // A process that is just ending is there for a moment longer.
                    if error.kind() == io::ErrorKind::AddrInUse {
                        tokio::spawn(successor.bind_later());
                    }
                }
            }
        });
        // It is over in a moment, and did not panic.
        let _ = listening.await;
        asked
    }
}

impl Successor {
    fn standing(&self) -> Standing {
        *self.standing.lock()
    }

    fn warn(&self, error: &io::Error) {
        let socket = self.succession.socket.display().to_string();
        log::warn!(
            event = "upgrade_impossible", socket = socket.as_str(), cause = error.to_string().as_str(),
            hint = "the gateway serves, and can't be upgraded without a restart";
            "nobody can ask to take over"
        );
    }

    async fn bind_later(self: Arc<Self>) {
        loop {
            sleep(IN_USE).await;
            if let Ok(listener) = self.bind(false).await {
                return self.run(listener).await;
            }
        }
    }

    async fn bind(&self, follows: bool) -> io::Result<UnixListener> {
        let path = &self.succession.socket;
        if let Some(folder) = path.parent() {
            let mut folders = std::fs::DirBuilder::new();
            folders.recursive(true).mode(0o700).create(folder)?;
        }
        if !follows && UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another gateway uses the same state folder",
            ));
        }
        // Whole or not at all: whoever asks at this moment finds one of the two.
        let unfinished = short_name_beside(path);
        let listener = UnixListener::bind(&unfinished)?;
        let placed = std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&unfinished, path));
        placed.inspect_err(|_| drop(std::fs::remove_file(&unfinished)))?;
        Ok(listener)
    }

    async fn run(self: Arc<Self>, mut listener: UnixListener) {
        let places = Arc::new(Semaphore::new(ASKING));
        let gone = async {
            self.succession.drain.taken_over().await;
            sleep(LINGER).await;
        };
        let mut gone = std::pin::pin!(gone);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut gone => return,
                () = self.rebind.notified() => {
                    match self.bind(true).await {
                        Ok(bound) => listener = bound,
                        Err(error) => log::error!(event = "upgrade_impossible", cause = error.to_string().as_str(); "nobody can ask to take over any more"),
                    }
                    continue;
                }
            };
            let (Ok((stream, _)), Ok(place)) =
                (accepted, Arc::clone(&places).acquire_owned().await)
            else {
                sleep(REOPEN).await;
                continue;
            };
            let successor = Arc::clone(&self);
            tokio::spawn(async move {
                let _place = place;
                let longest = usize::try_from(LONGEST).unwrap_or(usize::MAX);
                successor.converse(Wire::new(stream, longest)).await;
            });
        }
    }

    async fn converse(&self, mut wire: Wire) {
        if !wire.is_ours() {
            log::warn!(event = "upgrade_refused"; "a process of another user asked to take over");
            return;
        }
        let Succession { store, journal, .. } = &self.succession;
        // Whoever left needs no answer.
        let _ = match wire.receive(PATIENCE).await {
            Ok(Opening::Ask(question)) => {
                let answer = neighbour::answer(question, store.as_ref(), journal).await;
                wire.send_bytes(&answer, &[]).await
            }
            // Whoever asks waits for one that serves.
            Ok(Opening::Who(_)) if self.standing() != Standing::Serving => Ok(()),
            Ok(Opening::Who(_)) => {
                let process = std::process::id();
                wire.send(&Me { process }).await
            }
            Ok(Opening::Hello(hello)) => {
                self.hand_over(wire, &hello).await;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let sentence = format!("version {VERSION} does not understand what it is asked");
                wire.send(&ToNew::Refused(sentence)).await
            }
            Err(error) => Err(error),
        };
    }

    /// Why this can't be handed over to whoever says so.
    fn refusal(&self, wire: &Wire, hello: &Hello) -> Option<String> {
        let here = identity(&self.succession.url);
        if !wire.is_same_user() {
            let user = rustix::process::geteuid().as_raw();
            return Some(format!(
                "the new process runs as another user, and would go on as that one: run this as the user of the \
                 running gateway, whose number is {user} (systemctl reload cupcake-gateway, or \
                 setpriv --reuid {user} --regid GROUP --clear-groups gateway upgrade …)"
            ));
        }
        match self.standing() {
            Standing::Serving => {}
            Standing::Beginning => {
                return Some("it is just taking over itself: ask again".to_owned());
            }
            Standing::Left => {
                return Some("another process has taken over from it: ask that one".to_owned());
            }
        }
        if ends_with_container(&self.succession.notifier) {
            return Some(
                "it is the first process of its container, or what that one waits for, and the container ends \
                 with it: restart the container, or run replicas"
                    .to_owned(),
            );
        }
        if hello.upgrade != PROTOCOL {
            return Some(format!(
                "it is version {VERSION} and hands over in the way {PROTOCOL}, and version {} takes over in the \
                 way {}: restart it",
                hello.version, hello.upgrade
            ));
        }
        if hello.store != here {
            return Some(format!(
                "its store is {here}, and the configuration of the new one names {}: a store is changed with a \
                 restart",
                hello.store
            ));
        }
        let kept = self.succession.kept?;
        Some(format!("it has {kept}, which ends with it: restart it"))
    }

    async fn hand_over(&self, mut wire: Wire, hello: &Hello) {
        let is_alone = self.under_way.try_lock();
        if let Some(sentence) = self.refusal(&wire, hello) {
            log::warn!(event = "upgrade_refused", version = hello.version.as_str(); "{sentence}");
            let _ = wire.send(&ToNew::Refused(sentence)).await;
            return;
        }
        let Ok(_alone) = is_alone else {
            let sentence = "another process is just taking over".to_owned();
            let _ = wire.send(&ToNew::Refused(sentence)).await;
            return;
        };
        log::info!(event = "upgrade_asked", version = hello.version.as_str(); "a new process wants to take over");
        if let Err(error) = self.offer(&mut wire).await {
            log::warn!(event = "upgrade_given_up", cause = error.to_string().as_str(); "the new process did not take over; this one serves on");
            return;
        }
        let leaving = match self.close().await {
            Ok(leaving) => leaving,
            Err(sentence) => {
                log::error!(event = "upgrade_failed", cause = sentence.as_str(); "this process serves on");
                let _ = wire.send(&ToNew::Refused(sentence)).await;
                return;
            }
        };
        let process = wire.process();
        let served = async {
            wire.send(&ToNew::Given).await?;
            match wire.receive(SERVING).await? {
                // One that has given up would leave nobody.
                _ if !wire.is_open() => Err(io::ErrorKind::UnexpectedEof.into()),
                ToOld::Serving { process, adopted } => Ok((process, adopted)),
                ToOld::Take => Err(io::Error::other("it said something else")),
            }
        };
        match served.await {
            Ok((process, adopted)) => {
                self.leave(process, &adopted, leaving);
                let _ = wire.send(&ToNew::Left).await;
                log::info!(event = "upgraded", version = hello.version.as_str(), successor = process; "process {process} has taken over");
            }
            Err(error) => {
                let cause = error.to_string();
                // It ends when it hears that, or nothing more.
                let sentence = "this process did not hear in time that the new one serves";
                let _ = wire.send(&ToNew::Refused(sentence.to_owned())).await;
                await_end(wire, process).await;
                self.open_again(leaving).await;
                log::error!(event = "upgrade_failed", cause = cause.as_str(), hint = "its own output says why"; "the new process did not come to serve; this one serves on");
            }
        }
    }

    /// Offers what there is, and waits until it is taken.
    async fn offer(&self, wire: &mut Wire) -> io::Result<()> {
        let Succession {
            sockets,
            programs,
            notifier,
            ..
        } = &self.succession;
        let sockets = sockets.all()?;
        let programs = programs.all()?;
        let offer = Offer {
            version: VERSION.to_owned(),
            process: std::process::id(),
            addresses: sockets.iter().map(|(address, _)| *address).collect(),
            programs: programs
                .iter()
                .map(|(backend, digest, program)| OfferedProgram {
                    backend: backend.clone(),
                    digest: digest.clone(),
                    process: program.id,
                })
                .collect(),
            notify: notifier.name(),
        };
        let mut files: Vec<BorrowedFd<'_>> = Vec::new();
        files.extend(sockets.iter().map(|(_, socket)| socket.as_fd()));
        for (_, _, program) in &programs {
            let of_program = [
                &program.process,
                &program.input,
                &program.output,
                &program.errors,
            ];
            files.extend(of_program.map(|file| file.as_fd()));
        }
        wire.send_with(&ToNew::Offer(offer), &files).await?;
        match wire.receive(TAKING).await? {
            ToOld::Take => Ok(()),
            ToOld::Serving { .. } => Err(io::Error::other("it said something else")),
        }
    }

    /// Closes what only one process may have open. Whoever needs it waits.
    async fn close(&self) -> Result<Leaving, String> {
        let journal = self.succession.journal.clone();
        let closed = tokio::task::spawn_blocking(move || journal.leave()).await;
        let leaving = closed
            .map_err(|error| error.to_string())?
            .map_err(|_| "its audit log could not be closed in time".to_owned())?;
        if let Some(movable) = &self.succession.movable {
            // The file stays open for as long as something of it is held.
            self.succession.backups.give_up();
            movable.close().await.map_err(|error| error.to_string())?;
        }
        Ok(leaving)
    }

    /// Another process serves from now on.
    fn leave(&self, process: u32, adopted: &[String], leaving: Leaving) {
        let succession = &self.succession;
        *self.standing.lock() = Standing::Left;
        succession.drain.take_no_more();
        succession.sockets.clear();
        let neighbour = Neighbour::at(succession.socket.clone());
        leaving.moved(&neighbour);
        if let Some(movable) = &succession.movable {
            movable.moved(neighbour);
        }
        succession.programs.release(adopted);
        succession.notifier.main_process(process);
    }

    /// Goes on as before. Without its store it would refuse everybody: it ends, so that it is started anew.
    async fn open_again(&self, leaving: Leaving) {
        let succession = &self.succession;
        self.rebind.notify_one();
        if let Some(movable) = &succession.movable {
            let begun = Instant::now();
            loop {
                let (url, runtime) = (succession.url.clone(), succession.runtime.clone());
                let opened =
                    tokio::task::spawn_blocking(move || gateway_store::open(&url, &runtime)).await;
                let error = match opened {
                    Ok(Ok(store)) => break movable.open(store),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                if begun.elapsed() > REOPENING {
                    log::error!(event = "store_away", cause = error.as_str(); "the store can't be opened again after an upgrade that failed; this process ends, to be started anew");
                    log::logger().flush();
                    std::process::exit(UNAVAILABLE);
                }
                sleep(REOPEN).await;
            }
        }
        drop(leaving);
    }
}

/// Waits until a process that failed has ended, which may have the store and the audit log open. One that does
/// not is killed.
async fn await_end(mut wire: Wire, process: Option<ProcessFile>) {
    let Some(process) = process else {
        // It can't be seen from here. What it holds is locked.
        let _ = wire.closes_within(ENDING).await;
        return;
    };
    if !process.ends_within(ENDING).await {
        log::warn!(event = "upgrade_killed"; "the new process failed, and does not end: it is killed");
        process.kill();
        let _ = process.ends_within(ENDING).await;
    }
}

impl std::fmt::Debug for Succession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Succession({})", Path::display(&self.socket))
    }
}
