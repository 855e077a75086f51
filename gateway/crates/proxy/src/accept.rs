//! The public listeners: each connection is taken, given a place or turned away, and answered in a
//! task of its own.
//!
//! Owns: taking connections, and what happens while none can be taken. Not: how many there may be
//! (`connection_limits`), nor what is answered. Pingora's own service would do, but for two things: where
//! the machine has no file left (ENFILE) it tries again at once, which takes a whole processor, and
//! what it sets up for a TLS handshake costs every connection 11 KB.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::sleep;

use super::connection_limits::LogThrottle;
use super::listener::{Listener, Port};
use gateway_core::open_files;
use gateway_core::reason::Reason;

/// How many connections the system keeps for us until they are taken.
const BACKLOG: u32 = 65_535;

/// The pause after a connection could not be taken for want of something that others must give
/// back. The client waits in the backlog meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the log says that no connection can be taken.
const PERIOD: Duration = Duration::from_secs(10);

/// An address that is still in use may be that of a process which is just ending.
const TRIES: usize = 30;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The sockets that listen, for a process that takes them over.
#[derive(Clone, Debug, Default)]
pub struct ListenSockets(Arc<Mutex<BTreeMap<SocketAddr, OwnedFd>>>);

impl ListenSockets {
    /// Notes one that listens at this address.
    ///
    /// # Errors
    ///
    /// No more files may be open.
    pub fn add(&self, address: SocketAddr, socket: &impl AsFd) -> io::Result<()> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        self.0.lock().insert(address, socket);
        Ok(())
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// No more files may be open.
    pub fn all(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let sockets = self.0.lock();
        let copied = sockets
            .iter()
            .map(|(address, socket)| Ok((*address, socket.try_clone()?)));
        copied.collect()
    }

    /// Lets go of all of them: while one is open here, it listens, whether or not somebody takes what
    /// comes.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// A socket that listens at this address, and does not block. One that is in use may be that of a process
/// which is just ending: it is tried for a while.
///
/// # Errors
///
/// The system's.
pub async fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    open(address).await?.into_std()
}

/// The public listeners as a service of Pingora's server.
pub struct PublicListeners {
    pub(super) listener: Arc<Listener>,
    pub(super) ports: Vec<(SocketAddr, Port)>,
    /// Sockets that are open at some of these addresses already.
    pub(super) open: BTreeMap<SocketAddr, std::net::TcpListener>,
    pub(super) sockets: ListenSockets,
}

#[async_trait]
impl Service for PublicListeners {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let mut listeners = tokio::task::JoinSet::new();
        for (address, port) in &self.ports {
            let listener = Arc::clone(&self.listener);
            let (address, port, shutdown) = (*address, port.clone(), shutdown.clone());
            let inherited = self.open.remove(&address);
            let sockets = self.sockets.clone();
            listeners.spawn(async move {
                let opened = match inherited {
                    Some(socket) => take_over(socket),
                    None => open(address).await,
                };
                let opened = opened.and_then(|socket| {
                    sockets.add(address, &socket)?;
                    Ok(socket)
                });
                match opened {
                    Ok(socket) => keep(socket, &listener, &port, shutdown).await,
                    Err(error) => {
                        log::error!(event = "listen_failed"; "can't listen on {address}: {error}");
                        // Without its listeners the gateway is of no use; whoever supervises it
                        // is to know.
                        std::process::exit(1);
                    }
                }
            });
        }
        let ended = async {
            while listeners.join_next().await.is_some() {}
            // Where another process has taken over, what was taken before is served on.
            let _ = shutdown.wait_for(|is_shut| *is_shut).await;
        };
        tokio::select! {
            () = self.listener.sweep() => {}
            () = ended => {}
        }
        self.listener.clean_up().await;
    }

    fn name(&self) -> &str {
        "public"
    }
}

/// A socket that listens already. To listen once more gives it the backlog that we want.
fn take_over(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    let socket = std::net::TcpStream::from(OwnedFd::from(socket));
    TcpSocket::from_std_stream(socket).listen(BACKLOG)
}

async fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let mut tries = 1;
    loop {
        let accepted = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        accepted.set_reuseaddr(true)?;
        match accepted.bind(address) {
            Ok(()) => return accepted.listen(BACKLOG),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                log::warn!(event = "listen_waits"; "{address} is in use; it is tried again");
                sleep(TRY_AGAIN).await;
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes connections until the shutdown, or until another process takes them.
async fn keep(socket: TcpListener, listener: &Listener, port: &Port, mut shutdown: ShutdownWatch) {
    let mut trouble = LogThrottle::default();
    loop {
        let taken = tokio::select! {
            taken = socket.accept() => taken,
            () = listener.taken_over() => return,
            changed = shutdown.changed() => {
                if changed.is_err() || *shutdown.borrow() {
                    return;
                }
                continue;
            }
        };
        match taken {
            Ok((accepted, peer)) => listener.take(port, accepted, peer, &shutdown),
            Err(error) => {
                if let Some(failed) = trouble.count(Instant::now(), PERIOD) {
                    say(&error, failed);
                }
                if is_lasting(&error) {
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether the next connection will most likely fail as this one did. What is wrong with one
/// connection alone (accept(2) gives its errors, too) says nothing about the next.
fn is_lasting(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

fn say(error: &io::Error, failed: u64) {
    let Some(limit) = open_files::limit_met(error) else {
        log::warn!(event = "accept_failed", failed = failed; "a connection can't be taken: {error}");
        return;
    };
    let reason = Reason::OpenFilesExhausted;
    log::error!(
        event = "accept_failed", reason = reason.code(), hint = reason.remedy(), limit = limit, failed = failed;
        "no connection can be taken: {}", reason.sentence()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_files_lasts_and_a_client_that_left_does_not() {
        for code in [23, 24, 12, 105] {
            assert!(is_lasting(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for code in [103, 104, 113] {
            assert!(!is_lasting(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
