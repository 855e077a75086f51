//! The new process: asks the one that serves, and takes over from it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::net::UnixStream;

use super::wire::Wire;
use super::{Hello, Me, Offer, PROTOCOL, ToNew, ToOld, VERSION, Who, identity, socket_in};
use crate::config::Config;
use crate::process_file::ProcessFile;
use crate::supervisor::{Adoptable, Program};
use gateway_store::StoreUrl;

/// For an answer that needs no more than a look.
const PATIENCE: Duration = Duration::from_secs(10);

/// For one that waits until what is under way in the store is finished.
const CLOSING: Duration = Duration::from_secs(30);

/// For a process to end of which nothing is heard any more.
const ENDING: Duration = Duration::from_secs(2);

/// The longest line of an old process.
const LONGEST: usize = 1024 * 1024;

/// The process that serves, and is willing to hand over.
#[derive(Debug)]
pub struct Predecessor {
    wire: Wire,
    offer: Offer,
    listeners: BTreeMap<SocketAddr, TcpListener>,
    programs: BTreeMap<String, (String, Adoptable)>,
    adopted: Vec<String>,
    /// The process itself, as far as it can be seen from here.
    file: Option<ProcessFile>,
}

impl Predecessor {
    /// Asks the process that serves from the state folder of this configuration. It goes on serving.
    ///
    /// # Errors
    ///
    /// There is none, or it refuses: why, and what to do instead.
    pub async fn ask(config: &Config) -> anyhow::Result<Self> {
        ensure!(
            !matches!(config.store, StoreUrl::Memory),
            "a store in memory ends with its process and can't be handed over: restart the gateway"
        );
        let path = socket_in(&config.state);
        let stream = connect(&path).await?;
        let mut wire = Wire::new(stream, LONGEST);
        let file = wire.process();
        let hello = Hello {
            upgrade: PROTOCOL,
            version: VERSION.to_owned(),
            store: identity(&config.store),
        };
        wire.send(&hello).await.context("asking it")?;
        let answer = wire.receive(PATIENCE).await;
        let offer = match answer.context("the running gateway does not answer")? {
            ToNew::Offer(offer) => offer,
            other => return Err(refusal(other)),
        };
        let files = wire.take_files();
        let (listeners, programs) = sorted(&offer, files)
            .context("what the running gateway hands over can't be used: restart it")?;
        Ok(Self {
            wire,
            offer,
            listeners,
            programs,
            adopted: Vec::new(),
            file,
        })
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.offer.version
    }

    /// Its process id.
    pub const fn process(&self) -> u32 {
        self.offer.process
    }

    /// Where it told its service manager how it stands.
    pub fn notify(&self) -> Option<&str> {
        self.offer.notify.as_deref()
    }

    /// The sockets that listen at these addresses. The others are let go.
    pub fn listeners(&mut self, configured: &[SocketAddr]) -> Vec<(SocketAddr, TcpListener)> {
        let listeners = std::mem::take(&mut self.listeners).into_iter();
        listeners
            .filter(|(address, _)| configured.contains(address))
            .collect()
    }

    /// This program, if it runs there as it would be started here.
    pub fn adopt(&mut self, program: &Program) -> Option<Adoptable> {
        let (digest, _) = self.programs.get(&program.name)?;
        if *digest != program.digest() {
            return None;
        }
        let (_, adoptable) = self.programs.remove(&program.name)?;
        self.adopted.push(program.name.clone());
        Some(adoptable)
    }

    /// Has it close what only one process may have open. From then on somebody waits.
    ///
    /// # Errors
    ///
    /// It does not: it goes on serving.
    pub async fn take(&mut self) -> anyhow::Result<()> {
        self.wire.send(&ToOld::Take).await?;
        let answer = self.wire.receive(CLOSING).await;
        match answer.context("the running gateway did not let go of the store in time")? {
            ToNew::Given => Ok(()),
            other => Err(refusal(other)),
        }
    }

    /// Tells it that connections are served here. It has left when this returns, or has died: then nobody
    /// else serves.
    ///
    /// # Errors
    ///
    /// It serves on.
    pub async fn serving(mut self) -> anyhow::Result<()> {
        let serving = ToOld::Serving {
            process: std::process::id(),
            adopted: std::mem::take(&mut self.adopted),
        };
        let sent = self.wire.send(&serving).await;
        // What it said before it closed the connection can be read all the same.
        let answer = self.wire.receive(PATIENCE).await;
        match (answer, sent) {
            (Ok(ToNew::Left), Ok(())) => Ok(()),
            (Ok(ToNew::Refused(sentence)), _) => bail!("the old gateway serves on: {sentence}"),
            (Ok(_), _) => bail!("the old gateway answers something else"),
            (Err(error), _) if self.is_gone().await => {
                log::warn!(event = "predecessor_gone", cause = error.to_string().as_str(); "the old gateway ended before it handed over");
                Ok(())
            }
            (Err(error), _) => {
                bail!("the old gateway runs on, and does not say that it has left: {error}")
            }
        }
    }

    /// Whether the process has ended. One that can't be seen from here has, where nothing comes from it.
    async fn is_gone(&self) -> bool {
        match &self.file {
            Some(process) => process.ends_within(ENDING).await,
            None => !self.wire.is_open(),
        }
    }
}

/// What is said of an answer that is not the one that was waited for.
fn refusal(answer: ToNew) -> anyhow::Error {
    match answer {
        ToNew::Refused(sentence) => anyhow!("the running gateway does not hand over: {sentence}"),
        _ => anyhow!("the running gateway answers something else: restart it"),
    }
}

async fn connect(path: &Path) -> anyhow::Result<UnixStream> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let (connected, path) = (UnixStream::connect(path).await, path.display());
    connected.map_err(|error| match error.kind() {
        NotFound | ConnectionRefused => anyhow!(
            "no gateway listens at {path}: either none runs with this state folder, or it is of a version that \
             can't hand over; start it without --upgrade, or restart it"
        ),
        _ => anyhow::Error::new(error).context(format!("{path} can't be asked")),
    })
}

/// The process that serves from the gateway's socket, if one does.
pub async fn serves(socket: PathBuf) -> Option<u32> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let mut wire = Wire::new(stream, LONGEST);
    wire.send(&Who { who: () }).await.ok()?;
    let me: Me = wire.receive(PATIENCE).await.ok()?;
    Some(me.process)
}

type Sorted = (
    BTreeMap<SocketAddr, TcpListener>,
    BTreeMap<String, (String, Adoptable)>,
);

/// The files that came with an offer, each where it belongs.
fn sorted(offer: &Offer, files: Vec<OwnedFd>) -> anyhow::Result<Sorted> {
    let expected = offer.addresses.len() + 4 * offer.programs.len();
    ensure!(
        files.len() == expected,
        "{expected} files were to come, and {} did",
        files.len()
    );
    let mut files = files.into_iter();
    let mut next = || files.next().context("a file is missing");
    let mut listeners = BTreeMap::new();
    for address in &offer.addresses {
        let listener = TcpListener::from(next()?);
        listener.set_nonblocking(true)?;
        listeners.insert(*address, listener);
    }
    let mut programs = BTreeMap::new();
    for program in &offer.programs {
        let adoptable = Adoptable {
            id: program.process,
            process: next()?,
            input: next()?,
            output: next()?,
            errors: next()?,
        };
        let digest = program.digest.clone();
        programs.insert(program.backend.clone(), (digest, adoptable));
    }
    Ok((listeners, programs))
}
