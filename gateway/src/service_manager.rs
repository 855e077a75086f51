//! The service manager, which is systemd where there is one: the sockets that it opened before the
//! gateway started, and what it is told.
//!
//! Owns: the protocols of sd_listen_fds(3) and sd_notify(3). Not: what is done with the sockets.

mod notify;
mod sockets;

pub use self::notify::Notifier;
pub use self::sockets::Sockets;

/// What there is of a service manager; nothing, where the gateway was started by hand.
#[derive(Debug, Default)]
pub struct ServiceManager {
    /// Sockets that it opened for us.
    pub sockets: Sockets,
    /// How it is told.
    pub notifier: Notifier,
}

impl ServiceManager {
    /// Takes over what the environment of this process names. Once in a process: the sockets are owned
    /// from then on.
    ///
    /// # Errors
    ///
    /// What is wrong with what it names.
    pub fn from_environment() -> Result<Self, String> {
        Ok(Self {
            sockets: Sockets::from_environment()?,
            notifier: Notifier::from_environment()?,
        })
    }
}
