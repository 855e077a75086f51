//! Whether the public listener takes connections: tried once, as a client would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection to ourselves may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// The public listener, seen from outside.
#[derive(Debug)]
pub struct FrontDoor {
    addresses: Vec<SocketAddr>,
    /// It stays open until the end of the process.
    is_open: AtomicBool,
}

impl FrontDoor {
    /// The door at these addresses.
    pub fn new(listen: &[SocketAddr]) -> Self {
        Self {
            addresses: listen.iter().copied().map(reachable).collect(),
            is_open: AtomicBool::new(false),
        }
    }

    /// Whether all of its addresses take connections.
    pub async fn is_open(&self) -> bool {
        if self.is_open.load(Ordering::Relaxed) {
            return true;
        }
        for address in &self.addresses {
            match timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {}
                _ => return false,
            }
        }
        self.is_open.store(true, Ordering::Relaxed);
        true
    }
}

/// Where an address that means all of them is reached from here.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_door_is_open_once_somebody_listens_and_stays_so() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let door = FrontDoor::new(&[SocketAddr::new(
            Ipv4Addr::UNSPECIFIED.into(),
            address.port(),
        )]);
        assert!(!door.is_open().await);
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        assert!(door.is_open().await);
        drop(listener);
        assert!(door.is_open().await);
    }
}
