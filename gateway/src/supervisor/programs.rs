//! The processes of the programs beside us, started here or by the gateway before, and what it takes to
//! hand one over: a file that stands for the process (pidfd_open(2)), and its three pipes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{FAREWELL, Program};
use crate::process_file::{ProcessFile, file_of};

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
        Ok(Process(Kind::Adopted {
            id: self.id,
            process: ProcessFile::new(self.process)?,
            input: self.input,
            output: Some(pipe::Receiver::from_owned_fd(self.output)?),
            errors: Some(pipe::Receiver::from_owned_fd(self.errors)?),
        }))
    }

    fn of(child: &Child, pipes: &Pipes) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let id = child.id().ok_or_else(gone)?;
        let copy = |pipe: Option<&dyn AsFd>| pipe.ok_or_else(gone)?.as_fd().try_clone_to_owned();
        Ok(Self {
            id,
            process: file_of(id)?,
            input: copy(pipes.input.as_ref().map(|pipe| pipe as &dyn AsFd))?,
            output: copy(pipes.output.as_ref().map(|pipe| pipe as &dyn AsFd))?,
            errors: copy(pipes.errors.as_ref().map(|pipe| pipe as &dyn AsFd))?,
        })
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

#[derive(Debug)]
struct Pipes {
    /// Held here: waiting for a child closes the pipe that it holds itself.
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Process(Kind);

#[derive(Debug)]
enum Kind {
    Started {
        child: Child,
        pipes: Pipes,
    },
    Adopted {
        id: u32,
        process: ProcessFile,
        input: OwnedFd,
        output: Option<pipe::Receiver>,
        errors: Option<pipe::Receiver>,
    },
}

type Output = Box<dyn tokio::io::AsyncRead + Unpin + Send>;

impl Process {
    pub(super) fn started(mut child: Child) -> Self {
        let pipes = Pipes {
            input: child.stdin.take(),
            output: child.stdout.take(),
            errors: child.stderr.take(),
        };
        Self(Kind::Started { child, pipes })
    }

    pub(super) fn id(&self) -> u32 {
        match &self.0 {
            Kind::Started { child, .. } => child.id().unwrap_or(0),
            Kind::Adopted { id, .. } => *id,
        }
    }

    pub(super) const fn is_adopted(&self) -> bool {
        matches!(self.0, Kind::Adopted { .. })
    }

    pub(super) fn take_output(&mut self) -> Option<Output> {
        match &mut self.0 {
            Kind::Started { pipes, .. } => Some(Box::new(pipes.output.take()?)),
            Kind::Adopted { output, .. } => Some(Box::new(output.take()?)),
        }
    }

    pub(super) fn take_errors(&mut self) -> Option<Output> {
        match &mut self.0 {
            Kind::Started { pipes, .. } => Some(Box::new(pipes.errors.take()?)),
            Kind::Adopted { errors, .. } => Some(Box::new(errors.take()?)),
        }
    }

    /// Waits for its end, and says how it ended where that can be known: the parent alone learns it.
    pub(super) async fn wait(&mut self) -> String {
        match &mut self.0 {
            Kind::Started { child, .. } => {
                let status = child.wait().await;
                status.map_or_else(
                    |error| error.to_string(),
                    |status: ExitStatus| status.to_string(),
                )
            }
            Kind::Adopted { process, .. } => {
                let ended = process.ended().await.map(|()| "unknown".to_owned());
                ended.unwrap_or_else(|error| error.to_string())
            }
        }
    }

    /// Closes its input, and kills it if it runs on for so long.
    pub(super) async fn end(self, patience: Duration) {
        match self.0 {
            Kind::Started { mut child, pipes } => {
                drop(pipes.input);
                if timeout(patience, child.wait()).await.is_err() {
                    let _ = child.kill().await;
                }
            }
            Kind::Adopted { process, input, .. } => {
                drop(input);
                if !process.ends_within(patience).await {
                    process.kill();
                }
            }
        }
    }

    /// Leaves it to another process, which holds its pipes.
    pub(super) fn let_go(self) {
        if let Kind::Started { child, .. } = self.0 {
            // Dropped, it would be killed.
            std::mem::forget(child);
        }
    }

    fn to_adoptable(&self) -> io::Result<Adoptable> {
        match &self.0 {
            Kind::Started { child, pipes } => Adoptable::of(child, pipes),
            Kind::Adopted {
                id,
                process,
                input,
                output,
                errors,
            } => {
                let gone = || io::Error::from(io::ErrorKind::NotFound);
                let copy = |pipe: &Option<pipe::Receiver>| {
                    pipe.as_ref().ok_or_else(gone)?.as_fd().try_clone_to_owned()
                };
                Ok(Adoptable {
                    id: *id,
                    process: process.try_clone()?,
                    input: input.try_clone()?,
                    output: copy(output)?,
                    errors: copy(errors)?,
                })
            }
        }
    }
}

/// What becomes of a program when the gateway leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Another process goes on with it.
    Adopted,
    /// Nobody does.
    Ended,
}

/// Waits until it is decided what becomes of one program.
pub(super) struct Released {
    adopted: watch::Receiver<Option<Vec<String>>>,
    name: String,
}

impl Released {
    pub(super) async fn asked(mut self) -> Release {
        let asked = self.adopted.wait_for(Option::is_some).await;
        let is_adopted = asked
            .map(|adopted| adopted.iter().flatten().any(|name| *name == self.name))
            .ok();
        match is_adopted {
            Some(true) => Release::Adopted,
            Some(false) => Release::Ended,
            None => std::future::pending().await,
        }
    }
}

/// The programs that run beside this process.
#[derive(Clone, Debug)]
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

impl Default for Programs {
    fn default() -> Self {
        Self {
            running: Arc::default(),
            adopted: Arc::new(watch::Sender::new(None)),
            keepers: Arc::default(),
        }
    }
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
            Ok((
                name.clone(),
                running.digest.clone(),
                running.program.copy()?,
            ))
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

    /// Runs what keeps a program running.
    pub(super) fn keep(
        &self,
        runtime: &Handle,
        keeping: impl Future<Output = ()> + Send + 'static,
    ) {
        self.keepers.lock().push(runtime.spawn(keeping));
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

    /// Ends once this process has left.
    pub(super) async fn left(&self) {
        let mut adopted = self.adopted.subscribe();
        let has_left = adopted.wait_for(Option::is_some).await.is_ok();
        if !has_left {
            std::future::pending().await
        }
    }

    pub(super) fn enter(&self, program: &Program, process: &Process) -> Released {
        // One that can't be handed over is started anew by the process that takes over.
        if let Ok(adoptable) = process.to_adoptable() {
            let entry = Running {
                digest: program.digest(),
                program: adoptable,
                is_adopted: process.is_adopted(),
            };
            self.running.lock().insert(program.name.clone(), entry);
        }
        Released {
            adopted: self.adopted.subscribe(),
            name: program.name.clone(),
        }
    }

    pub(super) fn forget(&self, name: &str) {
        self.running.lock().remove(name);
    }
}
