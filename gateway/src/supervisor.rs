//! Programs that run beside the gateway: a backend whose configuration has a `command`.
//!
//! Each holds a pipe from the gateway as its standard input, so that it can end with the gateway
//! however that ends. What it prints goes to the log. A program that ends is started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a program may take to end by itself at shutdown.
const FAREWELL: Duration = Duration::from_secs(3);

/// Starts a program and keeps it running until `stop` turns true.
///
/// Returns when the first start was tried; a program that can't be started at all is an error.
pub async fn supervise(
    runtime: &Handle,
    name: String,
    command: Vec<String>,
    stop: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<()>, String> {
    let child = start(&command).map_err(|error| format!("`{}`: {error}", command.join(" ")))?;
    Ok(runtime.spawn(keep_running(name, command, child, stop)))
}

async fn keep_running(
    name: String,
    command: Vec<String>,
    first: Child,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = FIRST_PAUSE;
    let mut running = Some(first);
    loop {
        let child = match running.take() {
            Some(child) => Ok(child),
            None => start(&command),
        };
        let started = Instant::now();
        match child {
            Ok(mut child) => {
                log::info!(event = "backend_started", backend = name, pid = child.id().unwrap_or(0); "backend started");
                // Held here: waiting for a child closes the pipe that it holds itself.
                let pipe = child.stdin.take();
                relay(&name, child.stdout.take());
                relay(&name, child.stderr.take());
                tokio::select! {
                    () = stopped(&mut stop) => {
                        drop(pipe);
                        end(child).await;
                        return;
                    }
                    status = child.wait() => {
                        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                        log::warn!(event = "backend_ended", backend = name, status = status; "backend ended; it will be started again");
                    }
                }
            }
            Err(error) => {
                log::error!(event = "backend_start_failed", backend = name, error = error.to_string(); "backend could not be started");
            }
        }
        if started.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the gateway with it.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn start(command: &[String]) -> std::io::Result<Child> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| std::io::Error::other("the command is empty"))?;
    Command::new(beside_us(program))
        .args(arguments)
        // The gateway's own environment may hold its secrets.
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| !name.starts_with("GATEWAY")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// A bare name is looked for beside the gateway's own file first, then in PATH.
fn beside_us(program: &str) -> PathBuf {
    let sibling = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(|folder| folder.join(program)))
        .filter(|path| !program.contains('/') && path.is_file());
    sibling.unwrap_or_else(|| Path::new(program).to_owned())
}

async fn end(mut child: Child) {
    if timeout(FAREWELL, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn relay(name: &str, output: Option<impl AsyncRead + Unpin + Send + 'static>) {
    let Some(output) = output else { return };
    let name = name.to_owned();
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            log::debug!(event = "backend_output", backend = name; "{line}");
        }
    });
}
