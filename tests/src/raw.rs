//! Bytes on a socket, for requests that no library would send, and their answers
//! read as they come.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response read to its end, or as far as it came.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// Everything that arrived.
    pub text: String,
    /// Whether the gateway closed the connection, rather than our patience ending.
    pub closed: bool,
}

impl RawAnswer {
    /// The status of the first response; 0 when none came.
    pub fn status(&self) -> u16 {
        self.text
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    }

    /// How many responses came.
    pub fn responses(&self) -> usize {
        self.text.matches("HTTP/1.1 ").count()
    }

    /// The first value of a header of the first response.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// Send `bytes`, then read until the gateway closes or is silent for `patience`.
pub async fn exchange(address: SocketAddr, bytes: &[u8], patience: Duration) -> Result<RawAnswer> {
    let mut socket = TcpStream::connect(address).await.context("connect")?;
    // The gateway may answer and close before it has read everything.
    let _ = socket.write_all(bytes).await;
    Ok(read_until_silent(&mut socket, patience).await)
}

/// Read what comes until the other side closes or is silent for `patience`.
pub async fn read_until_silent(socket: &mut TcpStream, patience: Duration) -> RawAnswer {
    let mut held = Vec::new();
    let mut piece = [0u8; 16 * 1024];
    let closed = loop {
        match tokio::time::timeout(patience, socket.read(&mut piece)).await {
            Ok(Ok(read)) if read > 0 => held.extend_from_slice(&piece[..read]),
            Ok(_) => break true,
            Err(_) => break false,
        }
    };
    RawAnswer {
        text: String::from_utf8_lossy(&held).into_owned(),
        closed,
    }
}

/// A request with `Connection: close`, ready to send.
pub fn request(
    method: &str,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty()
        && !headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("transfer-encoding")
                || name.eq_ignore_ascii_case("content-length")
        })
    {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
