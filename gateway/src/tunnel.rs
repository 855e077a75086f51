//! `gateway serve --tunnel`: a program that is installed on this machine and gives it a public https URL.
//!
//! [`kind`] is what is known of each of them, and purely that: how it is started, in which of its lines
//! the URL stands, what it can't do. [`Tunnel`] starts it, waits for the URL, and looks after it.
//!
//! A tunnel that ends is started again. With the same URL everything goes on. With another one the
//! gateway ends and says so: everything that it gave out names the old one, and a gateway that nobody
//! reaches helps nobody.
//!
//! Owns: the program and its URL. Not: what is done with the URL (`cli::serve`).

pub mod kind;
pub mod probe;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::io::{AsyncRead, BufReader};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub use self::kind::TunnelKind;
use crate::program::{self, next_line, stopped};

/// How long a program may take until it prints its URL.
const START: Duration = Duration::from_secs(60);

/// The pause before it is started again, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many of its lines are kept for the error where it prints no URL.
const LAST_LINES: usize = 8;

/// How much of each of them is.
const LONGEST_LINE: usize = 300;

/// How much of its output is looked at in one piece: no URL stands in a longer line.
const PIECE: u64 = 4 * 1024;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// It would lead to where nobody listens.
    #[error(
        "--tunnel leads to 127.0.0.1 on this machine, and no address of `listen` is reached there: name one \
         such as 127.0.0.1:8080 or 0.0.0.0:8080, with a port other than 0, with `listen` or --listen"
    )]
    NotReached,
    /// None of the programs is there.
    #[error(
        "--tunnel needs one of cloudflared, ngrok and tailscale on the PATH, and there is none: install one \
         (cloudflared needs no account), or put a proxy with https in front and give --public-url"
    )]
    NoneInstalled,
    /// This one can't be started.
    #[error("--tunnel: {0} can't be started: {1}; install it, or name another with --tunnel=NAME")]
    NotStarted(&'static str, std::io::Error),
    /// It ended, or said nothing for too long.
    #[error("--tunnel: {name} {how} before it printed an https URL. {remedy}\n{lines}")]
    NoUrl {
        /// The program.
        name: &'static str,
        /// What it did.
        how: String,
        /// What usually helps.
        remedy: &'static str,
        /// What it printed last.
        lines: String,
    },
}

/// The port of the first of these addresses that is reached at 127.0.0.1, where tunnels lead.
///
/// # Errors
///
/// None of them is.
pub fn reached_port(listen: &[SocketAddr]) -> Result<u16, TunnelError> {
    let is_reached = |address: &&SocketAddr| {
        let ip = address.ip().to_canonical();
        let is_here = ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip.is_unspecified();
        // The port that the system gives is known only once we listen.
        is_here && address.port() != 0
    };
    let reached = listen.iter().find(is_reached);
    reached.map(SocketAddr::port).ok_or(TunnelError::NotReached)
}

/// A tunnel that is open.
#[derive(Debug)]
pub struct Tunnel {
    /// Which program it is.
    pub kind: TunnelKind,
    /// The https origin that it gives.
    pub url: String,
    child: Child,
    port: u16,
    lines: mpsc::Receiver<String>,
}

impl Tunnel {
    /// Opens one to this port of this machine.
    ///
    /// # Errors
    ///
    /// There is no program for it, or it gives no URL.
    pub async fn open(kind: Option<TunnelKind>, port: u16) -> Result<Self, TunnelError> {
        let kind = kind
            .or_else(TunnelKind::installed)
            .ok_or(TunnelError::NoneInstalled)?;
        let mut child = start(kind, port)?;
        let mut lines = follow(&mut child);
        let mut last = Vec::new();
        let reading = async {
            while let Some(line) = lines.recv().await {
                if let Some(url) = kind.url_in(&line) {
                    return Some(url);
                }
                last.push(line.chars().take(LONGEST_LINE).collect::<String>());
                if last.len() > LAST_LINES {
                    last.remove(0);
                }
            }
            None
        };
        let how = match timeout(START, reading).await {
            Ok(Some(url)) => {
                return Ok(Self {
                    kind,
                    url,
                    child,
                    port,
                    lines,
                });
            }
            Ok(None) => format!("ended ({})", program::outcome(&mut child).await),
            Err(_) => {
                end(child).await;
                format!("took longer than {} s", START.as_secs())
            }
        };
        Err(TunnelError::NoUrl {
            name: kind.name(),
            how,
            remedy: kind.remedy(),
            lines: last.join("\n"),
        })
    }

    /// Ends it, gently where it lets us: it tells its own server then.
    pub async fn close(self) {
        end(self.child).await;
    }

    /// Looks after it until `stop`. Where it comes back with another URL, or not at all, `is_lost` is set
    /// and the gateway is told to end.
    pub fn keep(
        self,
        runtime: &Handle,
        stop: watch::Receiver<bool>,
        is_lost: Arc<AtomicBool>,
    ) -> JoinHandle<()> {
        runtime.spawn(look_after(self, stop, is_lost))
    }
}

async fn look_after(mut tunnel: Tunnel, mut stop: watch::Receiver<bool>, is_lost: Arc<AtomicBool>) {
    let (kind, name) = (tunnel.kind, tunnel.kind.name());
    let mut pause = FIRST_PAUSE;
    loop {
        let status = tokio::select! {
            () = stopped(&mut stop) => {
                end(tunnel.child).await;
                return;
            }
            status = ended(&mut tunnel) => status,
        };
        log::error!(event = "tunnel_ended", tunnel = name, status = status, url = tunnel.url; "the tunnel ended: nobody reaches the gateway; it is started again");
        tunnel = loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = sleep(pause) => {}
            }
            let opened = tokio::select! {
                () = stopped(&mut stop) => return,
                opened = Tunnel::open(Some(kind), tunnel.port) => opened,
            };
            match opened {
                Ok(again) if again.url == tunnel.url => {
                    log::info!(event = "tunnel_back", tunnel = name, url = again.url; "the tunnel is back, with the same URL");
                    break again;
                }
                Ok(other) => {
                    log::error!(event = "tunnel_moved", tunnel = name, before = tunnel.url, url = other.url; "the tunnel came back with another URL, and everything that was given out names the old one: the gateway ends. Start it again, and connect the apps to the new URL");
                    is_lost.store(true, Ordering::Relaxed);
                    end(other.child).await;
                    // As an operator would: streams end properly.
                    let _ = kill_process(getpid(), Signal::TERM);
                    return;
                }
                Err(error) => {
                    log::error!(event = "tunnel_start_failed", tunnel = name, why = error.to_string(); "the tunnel can't be started again yet");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        };
        pause = FIRST_PAUSE;
    }
}

/// Waits until it ends. What it prints is for those who look closely.
async fn ended(tunnel: &mut Tunnel) -> String {
    let name = tunnel.kind.name();
    loop {
        tokio::select! {
            status = program::outcome(&mut tunnel.child) => return status,
            Some(line) = tunnel.lines.recv() => {
                log::debug!(event = "tunnel_output", tunnel = name; "{line}");
            }
        }
    }
}

fn start(kind: TunnelKind, port: u16) -> Result<Child, TunnelError> {
    program::command(kind.name())
        .args(kind.arguments(port))
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| TunnelError::NotStarted(kind.name(), error))
}

/// The lines of both of its outputs, until it closes them.
fn follow(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(64);
    read(child.stdout.take(), sender.clone());
    read(child.stderr.take(), sender);
    lines
}

fn read(output: Option<impl AsyncRead + Unpin + Send + 'static>, sender: mpsc::Sender<String>) {
    let Some(output) = output else { return };
    tokio::spawn(async move {
        let mut output = BufReader::new(output);
        while let Some(line) = next_line(&mut output, PIECE).await {
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
}

async fn end(child: Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok())
        && let Some(id) = rustix::process::Pid::from_raw(id)
    {
        let _ = kill_process(id, Signal::TERM);
    }
    program::end(child).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_leads_to_an_address_that_127_0_0_1_reaches() {
        for (listen, port) in [
            (&["127.0.0.1:8080"][..], Some(8080)),
            (&["0.0.0.0:80"], Some(80)),
            (&["[::]:80"], Some(80)),
            (&["[::ffff:127.0.0.1]:80"], Some(80)),
            (&["192.0.2.1:1", "[::1]:2", "127.0.0.1:3"], Some(3)),
            (&["192.0.2.1:80"], None),
            (&["[::1]:80"], None),
            (&["127.0.0.2:80"], None),
            (&["127.0.0.1:0"], None),
            (&[], None),
        ] {
            let addresses = listen.iter().map(|text| text.parse().unwrap());
            let found = reached_port(&addresses.collect::<Vec<_>>());
            assert_eq!(found.ok(), port, "{listen:?}");
        }
    }
}
