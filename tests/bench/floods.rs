//! Floods: what strangers' connections cost the gateway in memory, and what a good client feels of
//! them. Each flood meets a gateway that was just started; the good client is one connection that
//! asks again as soon as it is answered, before the flood and during it. Floods of HTTP/2 have a file of
//! their own (`http2_floods`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::accounts;
use crate::gateways::{Gateway, Setup};
use crate::http2_floods;
use crate::load::{self, Bounds};
use crate::placement::Placement;
use crate::programs;
use crate::wire::Call;

/// No flood may hold more for a thousand connections, in bytes.
const MOST_PER_THOUSAND: f64 = 64e6;
/// Nor more in all.
const MOST: u64 = 512_000_000;
/// How long the good client calls, before and during each flood.
pub(crate) const CALLING: Duration = Duration::from_secs(3);
/// Connections that are opened at the same time.
const TOGETHER: usize = 100;
/// What one address may open by default, and some less.
const EACH_ADDRESS: usize = 1900;
/// Grants in whose name the authenticated floods come.
const GRANTS: usize = 6;
/// The size of large answers, in bytes.
const LARGE: usize = 8 << 20;

/// What is sent on each connection.
struct Flood {
    name: &'static str,
    connections: usize,
    /// At once, on the connection of this number.
    first: Box<dyn Fn(usize) -> Vec<u8>>,
    /// Then, piece by piece, one each half a second.
    pieces: Vec<Vec<u8>>,
}

/// What a flood cost.
#[derive(Debug)]
pub(crate) struct Flooded {
    /// What was sent.
    pub(crate) name: String,
    /// On how many connections.
    pub(crate) connections: usize,
    /// How many of them were answered or closed while the flood lasted.
    pub(crate) answered: usize,
    /// Resident memory before, in bytes.
    pub(crate) before: u64,
    /// The most during it.
    pub(crate) during: u64,
    /// Five seconds after it.
    pub(crate) after: u64,
    /// Of the good client, in microseconds: median and 99th percentile, before and during.
    pub(crate) calm: (f64, f64),
    pub(crate) under: (f64, f64),
}

impl Flooded {
    /// Resident memory for a thousand connections, in bytes.
    pub(crate) fn per_thousand(&self) -> f64 {
        self.during.saturating_sub(self.before) as f64 * 1000.0 / self.connections as f64
    }

    /// How many times its calm 99th percentile the good client has during it.
    pub(crate) fn slower(&self) -> f64 {
        self.under.1 / self.calm.1
    }

    /// What is more than may be.
    pub(crate) fn misses(&self) -> Vec<&'static str> {
        let mut misses = Vec::new();
        // A flood of few connections is bounded by the whole.
        if self.per_thousand() > MOST_PER_THOUSAND
            && self.during.saturating_sub(self.before) > 64_000_000
        {
            misses.push("memory per thousand");
        }
        if self.during > MOST {
            misses.push("memory in all");
        }
        if self.slower() >= 2.0 {
            misses.push("p99");
        }
        misses
    }
}

/// Runs every flood whose name contains `only`.
pub(crate) async fn measure(
    folder: &Path,
    placement: &Placement,
    only: &str,
    connections: usize,
) -> Result<Vec<Flooded>> {
    let light = programs::light_backend(folder, placement.rest.as_deref()).await?;
    let proxies = placement.proxies.as_deref();
    let setup = |name| Setup::new(name, folder, proxies, 1, light.address);
    let mut gateway = Gateway::start(setup("gateway")).await?;
    let good = gateway.token("/").await?;
    let mut tokens = Vec::new();
    for _ in 0..GRANTS {
        tokens.push(gateway.token("/").await?);
    }
    let address = gateway.listening.address;
    let mut flooded = Vec::new();
    let all = floods(address, tokens, connections);
    for flood in all.iter().filter(|flood| flood.name.contains(only)) {
        gateway = gateway.restart().await?;
        let id = gateway.listening.id()?;
        let one = run(flood, address, id, &good).await;
        let one = one.with_context(|| flood.name)?;
        eprintln!("{one:?}");
        flooded.push(one);
    }
    gateway.listening.end().await;
    let setup = Setup {
        top: "h2c = true\n",
        ..setup("gateway-http2")
    };
    flooded.extend(http2_floods::measure(setup, placement, only).await?);
    light.end().await;
    Ok(flooded)
}

/// The table.
pub(crate) fn markdown(floods: &[Flooded]) -> String {
    let mut text = "| flood | connections | answered or closed | memory before | during | after | per 1,000 | good client p50, p99: calm | during | p99 against calm, to be < 2 | missed |\n|---|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for flooded in floods {
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let millis = |(p50, p99): (f64, f64)| format!("{:.2}, {:.2} ms", p50 / 1e3, p99 / 1e3);
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {:.1} MB | {} | {} | {:.2} × | {} |\n",
            flooded.name,
            flooded.connections,
            flooded.answered,
            megabytes(flooded.before),
            megabytes(flooded.during),
            megabytes(flooded.after),
            flooded.per_thousand() / 1e6,
            millis(flooded.calm),
            millis(flooded.under),
            flooded.slower(),
            flooded.misses().join(", "),
        );
    }
    text
}

fn floods(address: SocketAddr, tokens: Vec<String>, connections: usize) -> Vec<Flood> {
    let tokens = Arc::new(tokens);
    let of = |number: usize| {
        format!(
            "Authorization: Bearer {}\r\n",
            tokens[number % tokens.len()]
        )
    };
    let unfinished = move |path: &str, headers: &str, declared: usize, sent: usize| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{headers}Content-Length: {declared}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend(std::iter::repeat_n(b' ', sent));
        bytes
    };
    let head = |size: usize| {
        let mut head = format!("GET / HTTP/1.1\r\nHost: {address}\r\nX: ").into_bytes();
        head.extend(std::iter::repeat_n(b'a', size));
        head
    };
    let whole = move |headers: String, body: &str| {
        let mut bytes = unfinished("/mcp", &headers, body.len(), 0);
        bytes.extend_from_slice(body.as_bytes());
        bytes
    };
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let large = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"large","arguments":{{"bytes":{LARGE}}}}}}}"#
    );
    let flood = |name, connections, first: Box<dyn Fn(usize) -> Vec<u8>>| Flood {
        name,
        connections,
        first,
        pieces: Vec::new(),
    };
    let authorized = {
        let tokens = Arc::clone(&tokens);
        move |number: usize| {
            format!(
                "Authorization: Bearer {}\r\n",
                tokens[number % tokens.len()]
            )
        }
    };
    let each = |make: Box<dyn Fn(String) -> Vec<u8>>| -> Box<dyn Fn(usize) -> Vec<u8>> {
        let authorized = authorized.clone();
        Box::new(move |number| make(authorized(number)))
    };
    let (idle, half, heads) = (Vec::new(), b"GET / HTTP/1.1\r\n".to_vec(), head(31 * 1024));
    let door = 18_000;
    let large_heads = heads.clone();
    let quarter = [b"X: ".to_vec(), vec![b'a'; 4 * 1024], b"\r\n".to_vec()].concat();
    let one_grant = of(0);
    vec![
        flood(
            "idle connections",
            connections,
            Box::new(move |_| idle.clone()),
        ),
        flood("half a head", connections, Box::new(move |_| half.clone())),
        flood(
            "heads of 31 KiB",
            connections,
            Box::new(move |_| heads.clone()),
        ),
        Flood {
            name: "heads of 60 KB, slowly",
            connections,
            first: Box::new(|_| b"GET / HTTP/1.1\r\n".to_vec()),
            pieces: vec![quarter; 15],
        },
        flood(
            "kept alive after a call",
            connections,
            each(Box::new(move |token| whole(token, ping))),
        ),
        flood(
            "bodies at /token",
            connections,
            Box::new(move |_| unfinished("/token", "", 8 * 1024, 8 * 1024 - 1)),
        ),
        flood(
            "bodies at /register",
            connections,
            Box::new(move |_| unfinished("/register", "", 16 * 1024, 16 * 1024 - 1)),
        ),
        flood(
            "messages of 15 KiB",
            connections,
            each(Box::new(move |token| {
                unfinished("/mcp", &token, 16 * 1024, 15 * 1024)
            })),
        ),
        flood(
            "messages of 3.9 MB, one grant",
            300,
            Box::new(move |_| unfinished("/mcp", &one_grant, 3_900_000, 3_899_999)),
        ),
        flood(
            "messages of 3.9 MB, many grants",
            300,
            each(Box::new(move |token| {
                unfinished("/mcp", &token, 3_900_000, 3_899_999)
            })),
        ),
        flood(
            "large answers, not read",
            connections,
            each(Box::new(move |token| whole(token, &large))),
        ),
        flood(
            "streams",
            connections,
            each(Box::new(move |token| {
                format!("GET /mcp HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n{token}\r\n").into_bytes()
            })),
        ),
        flood("door: idle connections", door, Box::new(|_| Vec::new())),
        flood(
            "door: heads of 31 KiB",
            door,
            Box::new(move |_| large_heads.clone()),
        ),
        flood(
            "door: bodies at /register",
            door,
            Box::new(move |_| unfinished("/register", "", 16 * 1024, 16 * 1024 - 1)),
        ),
    ]
}

async fn run(flood: &Flood, address: SocketAddr, id: u32, good: &str) -> Result<Flooded> {
    let bearer = format!("Bearer {good}");
    let call = Call::search("/mcp", &address.to_string(), &[("Authorization", &bearer)]);
    let calm = calling(address, call.clone(), CALLING)?;
    let (calm, _) = follow(calm, id).await?;
    let before = accounts::memory(id)?;
    // Who comes when the door is full is turned away, so the good client is there before.
    let is_early = flood.name.starts_with("door");
    let early = is_early.then(|| calling(address, call.clone(), CALLING * 3));
    let (open, writing) = open(flood, address).await?;
    let calling = match early {
        Some(calling) => calling,
        None => calling(address, call, CALLING),
    }?;
    let (under, most) = follow(calling, id).await?;
    let most = most.max(accounts::memory(id)?);
    let held = writing.held(open).await;
    let answered = held.iter().filter(|socket| is_answered(socket)).count();
    drop(held);
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(Flooded {
        name: flood.name.to_owned(),
        connections: flood.connections,
        answered,
        before,
        during: most,
        after: accounts::memory(id)?,
        calm,
        under,
    })
}

pub(crate) type Latencies = std::thread::JoinHandle<Result<(f64, f64)>>;

/// A thread of its own, so that the flood's sockets do not wait before the good client's.
pub(crate) fn calling(address: SocketAddr, call: Call, time: Duration) -> Result<Latencies> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(std::thread::spawn(move || {
        let bounds = Bounds {
            connections: 1,
            time,
            calls: usize::MAX,
            rate: None,
        };
        let outcome = runtime.block_on(load::run(address, &call, bounds, || ()))?;
        Ok((outcome.percentile(0.5), outcome.percentile(0.99)))
    }))
}

/// Waits for the good client, and gives the most memory meanwhile.
pub(crate) async fn follow(calling: Latencies, id: u32) -> Result<((f64, f64), u64)> {
    let mut most = 0;
    while !calling.is_finished() {
        most = most.max(accounts::memory(id)?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let latencies = calling.join();
    let latencies = latencies.map_err(|_| anyhow::anyhow!("the good client panicked"))??;
    Ok((latencies, most))
}

/// Connections on which something is still sent.
struct Writing(JoinSet<TcpStream>);

impl Writing {
    /// All connections, once everything was sent.
    async fn held(mut self, mut open: Vec<TcpStream>) -> Vec<TcpStream> {
        while let Some(socket) = self.0.join_next().await {
            open.extend(socket);
        }
        open
    }
}

/// Opens every connection and sends what comes first.
async fn open(flood: &Flood, address: SocketAddr) -> Result<(Vec<TcpStream>, Writing)> {
    let together = Arc::new(Semaphore::new(TOGETHER));
    let mut opening = JoinSet::new();
    for number in 0..flood.connections {
        let permit = Arc::clone(&together).acquire_owned().await?;
        let bytes = (flood.first)(number);
        let source = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number / EACH_ADDRESS)?);
        opening.spawn(async move {
            let socket = TcpSocket::new_v4()?;
            // Little room on this side, so that it is the gateway that holds what is not read.
            socket.set_recv_buffer_size(4096)?;
            socket.bind((source, 0).into())?;
            let mut socket = socket.connect(address).await?;
            // What is refused may be closed before it is sent.
            let sending = socket.write_all(&bytes);
            let _ = tokio::time::timeout(Duration::from_secs(1), sending).await;
            drop(permit);
            anyhow::Ok(socket)
        });
    }
    let mut open = Vec::with_capacity(flood.connections);
    while let Some(socket) = opening.join_next().await {
        open.push(socket??);
    }
    let mut writing = JoinSet::new();
    if !flood.pieces.is_empty() {
        let pieces = Arc::new(flood.pieces.clone());
        for mut socket in open.drain(..) {
            let pieces = Arc::clone(&pieces);
            writing.spawn(async move {
                for piece in pieces.iter() {
                    let _ = socket.write_all(piece).await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                socket
            });
        }
    }
    Ok((open, Writing(writing)))
}

/// Whether anything came back, or the connection was closed.
fn is_answered(socket: &TcpStream) -> bool {
    let mut piece = [0u8; 64];
    !matches!(socket.try_read(&mut piece), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
