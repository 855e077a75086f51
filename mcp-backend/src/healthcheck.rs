//! `mcp-backend healthcheck`: asks a running server, for images that hold no HTTP client.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Each step must be done within this time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server at the address it listens on.
///
/// # Errors
/// It does not answer, or not that it is well.
pub fn ask(listen: SocketAddr) -> io::Result<()> {
    let address = reachable(listen);
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(
        connection,
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = [0; 12];
    connection.read_exact(&mut answer)?;
    match &answer {
        b"HTTP/1.1 200" => Ok(()),
        _ => Err(io::Error::other(format!(
            "the server answered {:?}",
            String::from_utf8_lossy(&answer)
        ))),
    }
}

/// "Any address" is one to listen on, not to connect to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_any_address_is_asked_on_loopback() {
        assert_eq!(
            reachable("0.0.0.0:9000".parse().unwrap()),
            "127.0.0.1:9000".parse().unwrap()
        );
        assert_eq!(
            reachable("[::]:9000".parse().unwrap()),
            "[::1]:9000".parse().unwrap()
        );
        assert_eq!(
            reachable("10.0.0.1:9000".parse().unwrap()),
            "10.0.0.1:9000".parse().unwrap()
        );
    }
}
