//! Tells the service manager how it stands, as sd_notify(3) describes: a datagram to the socket that
//! `NOTIFY_SOCKET` names.

use std::ffi::{OsStr, OsString};
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Tells the service manager. Without one it tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    /// As `NOTIFY_SOCKET` has it.
    name: OsString,
    address: SocketAddr,
}

impl Notifier {
    /// The one of `NOTIFY_SOCKET`.
    ///
    /// # Errors
    ///
    /// It names no socket that could be told.
    pub fn from_environment() -> Result<Self, String> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        Self::named(&name).map_err(|error| {
            format!(
                "NOTIFY_SOCKET is {name:?}, which can't be told anything: {error}; it is set by systemd, \
                 so take it out of the environment where you start the gateway yourself"
            )
        })
    }

    /// The one of this name.
    ///
    /// # Errors
    ///
    /// It is the name of no socket.
    pub fn named(name: &OsStr) -> io::Result<Self> {
        let address = address(name)?;
        let name = name.to_owned();
        Ok(Self(Some(Arc::new(Manager { name, address }))))
    }

    /// Its name, for another process that is to tell it.
    pub fn name(&self) -> Option<String> {
        let manager = self.0.as_ref()?;
        manager.name.to_str().map(str::to_owned)
    }

    /// Whether anybody is told.
    pub const fn is_listened_to(&self) -> bool {
        self.0.is_some()
    }

    /// The gateway serves `public_url`.
    pub fn serving(&self, public_url: &str) {
        self.tell(&format!("READY=1\nSTATUS=serving {public_url}"));
    }

    /// What can be read anew is read anew, until [`reloaded`](Self::reloaded).
    pub fn reloading(&self) {
        let microseconds = monotonic();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// What was read anew is in force, or the old one is kept.
    pub fn reloaded(&self) {
        self.tell("READY=1");
    }

    /// Another process is the gateway from now on.
    pub fn main_process(&self, process: u32) {
        self.tell(&format!("MAINPID={process}"));
    }

    /// No more is begun, and what runs gets so long.
    pub fn stopping(&self, running: usize, longest: Duration) {
        self.tell(&stopping(running, longest));
    }

    fn tell(&self, message: &str) {
        let Some(manager) = &self.0 else {
            return;
        };
        let sent = UnixDatagram::unbound().and_then(|socket| {
            // Nobody waits for a service manager that does not listen.
            socket.set_nonblocking(true)?;
            socket.send_to_addr(message.as_bytes(), &manager.address)
        });
        if let Err(error) = sent {
            log::warn!(event = "notify_failed", error = error.to_string().as_str(); "the service manager can't be told how the gateway stands");
        }
    }
}

/// A path, or after `@` a name in the abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is neither a path nor a name after @",
        )),
    }
}

/// Microseconds of the clock that systemd compares with its own.
fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// With how long it may take, whatever `TimeoutStopSec=` says.
fn stopping(running: usize, longest: Duration) -> String {
    let microseconds = longest.as_micros();
    format!(
        "STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}\nSTATUS=stopping, {running} requests and streams are ended"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_a_name_of_the_abstract_namespace() {
        let path = address(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(
            path.as_pathname().unwrap().to_str(),
            Some("/run/systemd/notify")
        );
        let name = address(OsStr::new("@notify")).unwrap();
        assert_eq!(name.as_abstract_name(), Some(b"notify".as_slice()));
        for wrong in ["vsock:2:1234", "notify", ""] {
            assert!(address(OsStr::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stop_says_how_long_it_may_take() {
        assert_eq!(
            stopping(3, Duration::from_secs(15)),
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping, 3 requests and streams are ended"
        );
    }
}
