//! Idle event streams: opens many at once, holds them, and asks what each costs the
//! program that relays them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::accounts;
use crate::wire;

/// Longer than a keep-alive interval, so that what the first keep-alive allocates is counted.
pub(crate) const HOLD: Duration = Duration::from_secs(20);
/// Opened and closed before the first measurement: what any stream needs once.
const FIRST: usize = 20;
/// Opened at the same time.
const TOGETHER: usize = 50;

/// Who relays the streams.
pub(crate) struct Relay<'a> {
    /// For the report.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What clients call it.
    pub(crate) host: String,
    /// Its process.
    pub(crate) id: u32,
    /// The token it wants.
    pub(crate) token: &'a str,
}

/// What holding the streams cost one relay.
#[derive(Debug)]
pub(crate) struct Held {
    /// Who.
    pub(crate) name: &'static str,
    /// Resident memory before, in bytes.
    pub(crate) before: u64,
    /// And while the streams are held, in bytes.
    pub(crate) during: u64,
    /// Streams that were open to the end.
    pub(crate) streams: usize,
    /// Streams on which a keep-alive came.
    pub(crate) kept_alive: usize,
}

impl Held {
    /// Resident memory for each stream, in bytes.
    pub(crate) fn each(&self) -> f64 {
        self.during.saturating_sub(self.before) as f64 / self.streams as f64
    }
}

/// Hold `count` streams through every relay at the same time.
pub(crate) async fn hold(relays: &[Relay<'_>], count: usize) -> Result<Vec<Held>> {
    let mut open = Vec::new();
    for relay in relays {
        drop(open_all(relay, FIRST).await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = accounts::memory(relay.id)?;
        open.push((relay, before, open_all(relay, count).await?));
    }
    tokio::time::sleep(HOLD).await;
    let mut held = Vec::new();
    for (relay, before, streams) in open {
        let during = accounts::memory(relay.id)?;
        let mut kept_alive = 0;
        for stream in &streams {
            kept_alive += usize::from(came_since(stream).with_context(|| relay.name)?);
        }
        held.push(Held {
            name: relay.name,
            before,
            during,
            streams: streams.len(),
            kept_alive,
        });
    }
    Ok(held)
}

/// Opens streams, and waits for the first event of each.
pub(crate) async fn open_all(relay: &Relay<'_>, count: usize) -> Result<Vec<TcpStream>> {
    let request = format!(
        "GET /mcp HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nAuthorization: Bearer {}\r\n\r\n",
        relay.host, relay.token
    );
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..TOGETHER.min(count - streams.len()) {
            opening.spawn(open(relay.address, request.clone()));
        }
        while let Some(stream) = opening.join_next().await {
            let stream = stream?;
            streams.push(
                stream.with_context(|| {
                    format!("stream {} through {}", streams.len() + 1, relay.name)
                })?,
            );
        }
    }
    Ok(streams)
}

/// Ask, and read until the first event or comment is there.
async fn open(address: SocketAddr, request: String) -> Result<TcpStream> {
    let opened = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(request.as_bytes()).await?;
        let mut held = Vec::new();
        loop {
            let read = socket.read_buf(&mut held).await?;
            ensure!(
                read > 0,
                "closed early: {:?}",
                String::from_utf8_lossy(&held)
            );
            let Some(head) = wire::head(&held)? else {
                continue;
            };
            ensure!(
                head.status == 200 && head.content_type.starts_with("text/event-stream"),
                "no event stream: {}",
                String::from_utf8_lossy(&held)
            );
            if memchr::memmem::find(&held[head.length..], b"\n\n").is_some() {
                return Ok(socket);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opened)
        .await
        .context("no stream within 20 s")?
}

/// Whether anything came on an open stream; an error when it has ended.
pub(crate) fn came_since(stream: &TcpStream) -> Result<bool> {
    let mut piece = [0u8; 4096];
    match stream.try_read(&mut piece) {
        Ok(0) => anyhow::bail!("a held stream was closed"),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}
