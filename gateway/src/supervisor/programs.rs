//! The processes of the programs beside us, started here or by the gateway before, and what it takes to
//! hand one over: a file that stands for the process (pidfd_open(2)), and its three pipes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Program;

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
            process: watched(self.process)?,
            input: self.input,
            output: Some(pipe::Receiver::from_owned_fd(self.output)?),
            errors: Some(pipe::Receiver::from_owned_fd(self.errors)?),
        }))
    }

    fn of(child: &Child, pipes: &Pipes) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let id = child.id().ok_or_else(gone)?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        let copy = |pipe: Option<&dyn AsFd>| pipe.ok_or_else(gone)?.as_fd().try_clone_to_owned();
        Ok(Self {
            id,
            process: pidfd_open(pid.ok_or_else(gone)?, PidfdFlags::empty())?,
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

#[expect(unsafe_code, reason = "a file that stands for a process is waited for")]
fn watched(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the file is owned, and neither replaced nor closed while it is waited for.
    Ok(unsafe { AsyncFd::register(process) }?)
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
        process: AsyncFd<OwnedFd>,
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
                // It can be read from once the process has ended.
                let ended = process.readable().await.map(|_| "unknown".to_owned());
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
                if timeout(patience, process.readable()).await.is_err() {
                    let _ = pidfd_send_signal(process.get_ref(), Signal::KILL);
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
                    process: process.get_ref().try_clone()?,
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
    running: Arc<Mutex<BTreeMap<String, (String, Adoptable)>>>,
    /// Those that another process goes on with, once one does.
    adopted: Arc<watch::Sender<Option<Vec<String>>>>,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            running: Arc::default(),
            adopted: Arc::new(watch::Sender::new(None)),
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
        let copied = running
            .iter()
            .map(|(name, (digest, program))| Ok((name.clone(), digest.clone(), program.copy()?)));
        copied.collect()
    }

    /// Another process goes on with these. The others end.
    pub fn release(&self, adopted: &[String]) {
        self.running.lock().clear();
        self.adopted.send_replace(Some(adopted.to_vec()));
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
            let entry = (program.digest(), adoptable);
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
