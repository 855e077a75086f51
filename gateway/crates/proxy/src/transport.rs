//! What carries a connection's bytes: its socket, or TLS on it. Both go the same roads.

use std::fmt;
use std::os::fd::AsRawFd;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// TLS on a client's socket. Boxed: it is many times as large as a socket, and moved about with it.
pub(super) type Encrypted = Box<TlsStream<TcpStream>>;

/// A connection's bytes, in the clear.
pub(super) trait Transport:
    AsyncRead + AsyncWrite + AsRawFd + fmt::Debug + Send + Sync + Unpin + 'static
{
    /// Whether it was agreed in a handshake what is spoken.
    const IS_ENCRYPTED: bool;
}

impl Transport for TcpStream {
    const IS_ENCRYPTED: bool = false;
}

impl Transport for Encrypted {
    const IS_ENCRYPTED: bool = true;
}
