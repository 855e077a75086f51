//! Sockets that were open before the gateway started, as sd_listen_fds(3) describes: numbers from 3 on,
//! as many as `LISTEN_FDS` says, for the process of `LISTEN_PID`, with the names of `LISTEN_FDNAMES`.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use rustix::net::sockopt::socket_acceptconn;

/// The number of the first one.
const FIRST: RawFd = 3;

/// More addresses than a configuration has.
const MOST: usize = 256;

/// The name of a socket that was given none.
const UNNAMED: &str = "unknown";

/// A socket that was open before.
#[derive(Debug)]
struct Socket {
    name: String,
    listener: TcpListener,
}

/// Those that are given to this process, each by the address at which it listens.
#[derive(Debug, Default)]
pub struct Sockets(BTreeMap<SocketAddr, Socket>);

impl Sockets {
    /// Takes over those that the environment names.
    ///
    /// # Errors
    ///
    /// The environment contradicts itself, or one of them takes no connections of TCP.
    pub fn from_environment() -> Result<Self, String> {
        let variable = |name| std::env::var(name).ok();
        let names = names(
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDS").as_deref(),
            variable("LISTEN_FDNAMES").as_deref(),
            std::process::id(),
        )?;
        let mut sockets = BTreeMap::new();
        for (number, name) in (FIRST..).zip(names) {
            let wrong = |sentence: &str| {
                format!(
                    "the socket `{name}` (file {number}) {sentence}; it is given in LISTEN_FDS, by a .socket unit of systemd"
                )
            };
            let (listener, address) = take_over(number)
                .map_err(|error| wrong(&format!("takes no connections of TCP: {error}")))?;
            let socket = Socket {
                name: name.clone(),
                listener,
            };
            if let Some(other) = sockets.insert(address, socket) {
                let sentence = format!("listens at {address}, as `{}` does", other.name);
                return Err(wrong(&sentence));
            }
        }
        Ok(Self(sockets))
    }

    /// Adds those that listened in the process that served before.
    pub fn inherit(&mut self, listeners: Vec<(SocketAddr, TcpListener)>) {
        for (address, listener) in listeners {
            let socket = Socket {
                name: "inherited".to_owned(),
                listener,
            };
            self.0.insert(address, socket);
        }
    }

    /// Whether one listens at this address.
    pub fn listens_at(&self, address: SocketAddr) -> bool {
        self.0.contains_key(&address)
    }

    /// Whether each listens at an address of the configuration, which are given with their keys. One
    /// that does not would take connections that nobody answers.
    ///
    /// # Errors
    ///
    /// The first one that does not, and where the configuration listens.
    pub fn check(&self, configured: &[(&str, SocketAddr)]) -> Result<(), String> {
        let stray = self
            .0
            .iter()
            .find(|(address, _)| configured.iter().all(|(_, known)| known != *address));
        let Some((address, Socket { name, listener })) = stray else {
            return Ok(());
        };
        let number = listener.as_raw_fd();
        let known: Vec<String> = configured
            .iter()
            .map(|(key, address)| format!("{address} (`{key}`)"))
            .collect();
        Err(format!(
            "the socket `{name}` (file {number}) that systemd opened listens at {address}, and the \
             configuration at {}: write one address into both, in `ListenStream=` of the .socket unit and \
             in the configuration",
            known.join(", ")
        ))
    }

    /// All of them.
    pub fn into_listeners(self) -> BTreeMap<SocketAddr, TcpListener> {
        let listeners = self.0.into_iter();
        listeners
            .map(|(address, socket)| (address, socket.listener))
            .collect()
    }
}

/// The name of each file that is given to the process `own`, in order.
fn names(
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
    own: u32,
) -> Result<Vec<String>, String> {
    let (Some(pid), Some(count)) = (pid, count) else {
        return Ok(Vec::new());
    };
    // They are for a process that started this one.
    if pid.parse() != Ok(own) {
        return Ok(Vec::new());
    }
    let count = count
        .parse::<usize>()
        .ok()
        .filter(|count| *count <= MOST)
        .ok_or_else(|| {
            format!("LISTEN_FDS is {count:?}, and is a number of sockets up to {MOST}")
        })?;
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return Ok(vec![UNNAMED.to_owned(); count]);
    };
    let names: Vec<String> = names.split(':').map(str::to_owned).collect();
    if names.len() != count {
        return Err(format!(
            "LISTEN_FDS is {count}, and LISTEN_FDNAMES has {} names",
            names.len()
        ));
    }
    Ok(names)
}

/// A listener of TCP under this number, and its address. Programs that we start do not get it.
#[expect(
    unsafe_code,
    reason = "a number that the environment gives becomes a file that is owned"
)]
fn take_over(number: RawFd) -> io::Result<(TcpListener, SocketAddr)> {
    // SAFETY: fcntl(2) takes any number, and fails for one that is no open file.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the file is open, as was just seen. By LISTEN_PID it was opened for this process, in which
    // nothing else knows of it, and this is called once for each number.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    if !socket_acceptconn(&file)? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "nobody can connect to it",
        ));
    }
    let listener = TcpListener::from(file);
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_for_the_process_that_is_named() {
        let of = |pid, count, given| names(pid, count, given, 7);
        assert_eq!(of(None, None, None), Ok(Vec::new()));
        assert_eq!(of(Some("8"), Some("2"), None), Ok(Vec::new()));
        assert_eq!(of(Some("x"), Some("2"), None), Ok(Vec::new()));
        assert_eq!(of(Some("7"), Some("0"), None), Ok(Vec::new()));
        let two = |one: &str, other: &str| Ok(vec![one.to_owned(), other.to_owned()]);
        assert_eq!(of(Some("7"), Some("2"), None), two("unknown", "unknown"));
        assert_eq!(
            of(Some("7"), Some("2"), Some("https:plain")),
            two("https", "plain")
        );
        for count in ["-1", "many", "", "257"] {
            assert!(of(Some("7"), Some(count), None).is_err(), "{count}");
        }
        assert!(of(Some("7"), Some("2"), Some("https")).is_err());
    }

    #[test]
    fn a_socket_at_an_address_that_is_not_configured_is_named_with_those_that_are() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket {
            name: "https".to_owned(),
            listener,
        };
        let sockets = Sockets(BTreeMap::from([(address, socket)]));
        let other = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(sockets.check(&[("listen", address)]), Ok(()));
        let sentence = sockets.check(&[("listen", other)]).unwrap_err();
        for part in [&address.to_string(), "`https`", "127.0.0.1:1", "`listen`"] {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
