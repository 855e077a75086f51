//! Programs that run beside the gateway: a backend whose configuration has a `command`.
//!
//! Each holds a pipe from the gateway as its standard input, so that it can end with the gateway
//! however that ends. What it prints goes to the log. A program that ends is started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::program_output::next_line;
use gateway_core::open_files;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a program may take to end by itself at shutdown.
const FAREWELL: Duration = Duration::from_secs(3);
/// The longest line of its output that is logged in one piece.
const LONGEST_LINE: u64 = 64 * 1024;

/// A program to run beside us.
#[derive(Clone, Debug)]
pub struct Program {
    /// The name of its backend, for the log.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// What is added to its environment.
    pub environment: Vec<(String, String)>,
}

/// Starts a program and keeps it running until `stop` turns true.
///
/// Returns when the first start was tried; a program that can't be started at all is an error.
pub async fn supervise(
    runtime: &Handle,
    program: Program,
    stop: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<()>, String> {
    let child =
        start(&program).map_err(|error| format!("`{}`: {error}", program.command.join(" ")))?;
    Ok(runtime.spawn(keep_running(program, child, stop)))
}

async fn keep_running(program: Program, first: Child, mut stop: watch::Receiver<bool>) {
    let name = program.name.clone();
    let mut pause = FIRST_PAUSE;
    let mut running = Some(first);
    loop {
        let child = match running.take() {
            Some(child) => Ok(child),
            None => start(&program),
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
                log::error!(event = "backend_start_failed", backend = name, error = open_files::named(&error); "backend could not be started");
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

fn start(program: &Program) -> std::io::Result<Child> {
    let Program {
        command,
        environment,
        ..
    } = program;
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| std::io::Error::other("the command is empty"))?;
    Command::new(beside_us(program))
        .args(arguments)
        // The gateway's own environment may hold its secrets.
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| !name.starts_with("GATEWAY")))
        .envs(environment.iter().cloned())
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
        let mut output = BufReader::new(output);
        while let Some(line) = next_line(&mut output, LONGEST_LINE).await {
            let (level, said) = level_and_message(&line);
            log::log!(level, event = "backend_output", backend = name; "{said}");
        }
    });
}

/// The level and the message of a line: programs of ours log in JSON, as we do. What others print is
/// for those who look closely.
fn level_and_message(line: &str) -> (log::Level, String) {
    #[derive(serde::Deserialize)]
    struct Line {
        level: String,
        message: String,
    }
    let ours = serde_json::from_str::<Line>(line).ok();
    match ours.and_then(|line| Some((line.level.parse().ok()?, line.message))) {
        Some(parsed) => parsed,
        None => (log::Level::Debug, line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_of_ours_logs_keeps_its_level() {
        let line = r#"{"ts":"x","level":"warn","event":"process_stderr","message":"a \"b\""}"#;
        assert_eq!(
            level_and_message(line),
            (log::Level::Warn, "a \"b\"".to_owned())
        );
        for line in ["listening", "{}", r#"{"level":"loud","message":"a"}"#] {
            assert_eq!(
                level_and_message(line),
                (log::Level::Debug, line.to_owned())
            );
        }
    }
}
