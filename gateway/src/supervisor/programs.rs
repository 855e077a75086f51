//! The processes of the programs beside us, started here or by the gateway before, and what it takes to
//! hand one over: a file that stands for the process (pidfd_open(2)), and its three pipes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Program;
use crate::process_file::{ProcessFile, file_of};
use crate::program::{self, FAREWELL};

/// What another process needs to go on with a program.
#[derive(Debug)]
pub struct Adoptable {
    /// Its process id.
    pub id: u32,
    /// The process itself.
    pub process: OwnedFd,
    /// Where its standard input ends.
    pub input: OwnedFd,
    /// Where its standard output comes out.
    pub output: OwnedFd,
    /// Where its standard error comes out.
    pub errors: OwnedFd,
}

impl Adoptable {
    /// Goes on with it. Needs a runtime.
    pub(super) fn go_on(self) -> io::Result<Process> {
        let life = Life::Adopted(ProcessFile::new(self.process)?);
        Process::new(self.id, life, self.input, [self.output, self.errors])
    }

    fn copy(&self) -> io::Result<Self> {
        Ok(Self {
            id: self.id,
            process: self.process.try_clone()?,
            input: self.input.try_clone()?,
            output: self.output.try_clone()?,
            errors: self.errors.try_clone()?,
        })
    }
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: u32,
    life: Life,
    /// Held here: waiting for a child closes the pipe that it holds itself.
    input: OwnedFd,
    outputs: Option<[pipe::Receiver; 2]>,
}

#[derive(Debug)]
enum Life {
    Started(Child),
    Adopted(ProcessFile),
}

impl Process {
    fn new(id: u32, life: Life, input: OwnedFd, outputs: [OwnedFd; 2]) -> io::Result<Self> {
        let [output, errors] = outputs.map(pipe::Receiver::from_owned_fd);
        Ok(Self {
            id,
            life,
            input,
            outputs: Some([output?, errors?]),
        })
    }

    pub(super) fn started(mut child: Child) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let id = child.id().ok_or_else(gone)?;
        let input = child.stdin.take().ok_or_else(gone)?.into_owned_fd()?;
        let output = child.stdout.take().ok_or_else(gone)?.into_owned_fd()?;
        let errors = child.stderr.take().ok_or_else(gone)?.into_owned_fd()?;
        Self::new(id, Life::Started(child), input, [output, errors])
    }

    pub(super) const fn is_adopted(&self) -> bool {
        matches!(self.life, Life::Adopted(_))
    }

    pub(super) fn take_outputs(&mut self) -> impl Iterator<Item = pipe::Receiver> + use<> {
        self.outputs.take().into_iter().flatten()
    }

    /// Waits for its end, and says how it ended where that can be known: the parent alone learns it.
    pub(super) async fn wait(&mut self) -> String {
        match &mut self.life {
            Life::Started(child) => program::outcome(child).await,
            Life::Adopted(process) => {
                let ended = process.ended().await.map(|()| "unknown".to_owned());
                ended.unwrap_or_else(|error| error.to_string())
            }
        }
    }

    /// Closes its input, and kills it if it runs on for too long.
    pub(super) async fn end(self) {
        drop(self.input);
        match self.life {
            Life::Started(child) => program::end(child).await,
            Life::Adopted(process) => {
                if !process.ends_within(FAREWELL).await {
                    process.kill();
                }
            }
        }
    }

    /// Leaves it to another process, which holds its pipes.
    pub(super) fn let_go(self) {
        if let Life::Started(child) = self.life {
            // Dropped, it would be killed.
            std::mem::forget(child);
        }
    }

    fn to_adoptable(&self) -> io::Result<Adoptable> {
        let outputs = self.outputs.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let [output, errors] = outputs;
        Ok(Adoptable {
            id: self.id,
            process: match &self.life {
                Life::Started(_) => file_of(self.id)?,
                Life::Adopted(process) => process.try_clone()?,
            },
            input: self.input.try_clone()?,
            output: output.as_fd().try_clone_to_owned()?,
            errors: errors.as_fd().try_clone_to_owned()?,
        })
    }
}

/// The programs that run beside this process.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    /// Those that another process goes on with, once one does.
    adopted: Arc<watch::Sender<Option<Vec<String>>>>,
    /// Those who keep them running.
    keepers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

#[derive(Debug)]
struct Running {
    digest: String,
    program: Adoptable,
    /// Whether another process started it.
    is_adopted: bool,
}

impl Programs {
    /// Those that run, each with its backend and its digest.
    ///
    /// # Errors
    ///
    /// No more files may be open.
    pub fn all(&self) -> io::Result<Vec<(String, String, Adoptable)>> {
        let running = self.running.lock();
        let copied = running.iter().map(|(name, running)| {
            let program = running.program.copy()?;
            Ok((name.clone(), running.digest.clone(), program))
        });
        copied.collect()
    }

    /// Another process goes on with these. The others end.
    pub fn release(&self, adopted: &[String]) {
        self.running.lock().clear();
        self.adopted.send_replace(Some(adopted.to_vec()));
    }

    /// The process that they were adopted from goes on with those. The others end.
    pub fn give_back(&self) {
        let running = self.running.lock();
        let adopted = running.iter().filter(|(_, running)| running.is_adopted);
        let adopted: Vec<String> = adopted.map(|(name, _)| name.clone()).collect();
        drop(running);
        self.release(&adopted);
    }

    /// Notes who keeps a program running.
    pub(super) fn keep(&self, keeper: JoinHandle<()>) {
        self.keepers.lock().push(keeper);
    }

    /// Waits until all have ended that were told to, or are another process' own.
    pub async fn ended(&self) {
        let keepers = std::mem::take(&mut *self.keepers.lock());
        let ended = async {
            for keeper in keepers {
                // One that panicked has ended, too.
                let _ = keeper.await;
            }
        };
        // They end together, and are killed after the farewell.
        let _ = timeout(FAREWELL * 2, ended).await;
    }

    /// Waits until this process leaves; whether another one goes on with this program. Else nobody does.
    pub(super) async fn released(&self, name: &str) -> bool {
        let mut adopted = self.adopted.subscribe();
        // What sends it is held here, so that there is no error.
        let adopted = adopted.wait_for(Option::is_some).await;
        adopted.is_ok_and(|adopted| adopted.iter().flatten().any(|one| one == name))
    }

    pub(super) fn enter(&self, program: &Program, process: &Process) {
        // One that can't be handed over is started anew by the process that takes over.
        if let Ok(adoptable) = process.to_adoptable() {
            let entry = Running {
                digest: program.digest(),
                program: adoptable,
                is_adopted: process.is_adopted(),
            };
            self.running.lock().insert(program.name.clone(), entry);
        }
    }

    pub(super) fn forget(&self, name: &str) {
        self.running.lock().remove(name);
    }
}
