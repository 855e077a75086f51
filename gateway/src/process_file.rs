//! A process by a file that stands for it (pidfd_open(2)): its number may become another's, the file may not.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

/// A process, whatever becomes of it.
#[derive(Debug)]
pub struct ProcessFile(AsyncFd<OwnedFd>);

impl ProcessFile {
    /// The process of this number, which is there at this moment. Needs a runtime.
    ///
    /// # Errors
    ///
    /// There is none, or no more files may be open.
    pub fn open(id: u32) -> io::Result<Self> {
        Self::new(file_of(id)?)
    }

    /// The process that this file stands for. Needs a runtime.
    ///
    /// # Errors
    ///
    /// It can't be waited for.
    #[expect(unsafe_code, reason = "a file that stands for a process is waited for")]
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        // SAFETY: the file is owned, and neither replaced nor closed while it is waited for.
        Ok(Self(unsafe { AsyncFd::register(file) }?))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// It can't be waited for.
    pub async fn ended(&self) -> io::Result<()> {
        // It can be read from then.
        self.0.readable().await.map(drop)
    }

    /// Whether it has ended, or does so soon enough.
    pub async fn ends_within(&self, patience: Duration) -> bool {
        timeout(patience, self.ended())
            .await
            .is_ok_and(|ended| ended.is_ok())
    }

    /// Kills it, if it is there.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(self.0.get_ref(), Signal::KILL);
    }

    /// Another file of the same process.
    ///
    /// # Errors
    ///
    /// No more files may be open.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.get_ref().try_clone()
    }
}

/// A file that stands for the process of this number.
///
/// # Errors
///
/// There is none, or no more files may be open.
pub fn file_of(id: u32) -> io::Result<OwnedFd> {
    let process = i32::try_from(id).ok().and_then(Pid::from_raw);
    let process = process.ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(process, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_waited_for_and_killed() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let process = ProcessFile::open(child.id()).unwrap();
        assert!(!process.ends_within(Duration::from_millis(20)).await);
        process.kill();
        assert!(process.ends_within(Duration::from_secs(10)).await);
        let _ = child.wait();
        assert!(ProcessFile::open(0).is_err());
    }
}
