//! Programs that run beside the gateway: a backend whose configuration has a `command`.
//!
//! Each holds a pipe from the gateway as its standard input, so that it can end with the gateway
//! however that ends. What it prints goes to the log. A program that ends is started again. Where a new
//! gateway takes over, a program that it would start just the same goes on, and is its own from then on.

mod programs;

pub use self::programs::{Adoptable, Programs};

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use self::programs::Process;
use crate::program::{self, next_line, stopped};
use gateway_core::{hex, open_files};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
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

impl Program {
    /// A text that is the same for the same program, arguments and environment.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(&(&self.command, &self.environment));
        let text = text.expect("texts and lists of them");
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        hex::encode(digest)
    }
}

/// Starts a program, or goes on with one that runs, and keeps it running until `stop` turns true.
///
/// Returns when the first start was tried; a program that can't be started at all is an error.
pub async fn supervise(
    runtime: &Handle,
    program: Program,
    running: Option<Adoptable>,
    programs: &Programs,
    stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let failed = |error| format!("`{}`: {error}", program.command.join(" "));
    let process = running.map_or_else(|| start(&program), Adoptable::go_on);
    let process = process.map_err(failed)?;
    let keeping = keep_running(program, process, programs.clone(), stop);
    programs.keep(runtime.spawn(keeping));
    Ok(())
}

async fn keep_running(
    program: Program,
    first: Process,
    programs: Programs,
    mut stop: watch::Receiver<bool>,
) {
    let name = program.name.clone();
    let mut pause = FIRST_PAUSE;
    let mut process = Ok(first);
    loop {
        let started = Instant::now();
        match process {
            Ok(mut process) => {
                log::info!(event = "backend_started", backend = name, pid = process.id, adopted = process.is_adopted(); "backend started");
                programs.enter(&program, &process);
                let outputs = process.take_outputs();
                let relays: Vec<_> = outputs.map(|output| relay(&name, output)).collect();
                tokio::select! {
                    () = stopped(&mut stop) => {
                        programs.forget(&name);
                        process.end().await;
                        return;
                    }
                    is_adopted = programs.released(&name) => {
                        // What it prints is read by its new owner, or by nobody any more.
                        relays.iter().for_each(AbortHandle::abort);
                        if is_adopted {
                            process.let_go();
                        } else {
                            process.end().await;
                        }
                        return;
                    }
                    status = process.wait() => {
                        programs.forget(&name);
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
            _ = programs.released(&name) => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        process = start(&program);
    }
}

fn start(program: &Program) -> std::io::Result<Process> {
    let (command, arguments) = program
        .command
        .split_first()
        .ok_or_else(|| std::io::Error::other("the command is empty"))?;
    program::command(beside_us(command))
        .args(arguments)
        .envs(program.environment.iter().cloned())
        .stdin(Stdio::piped())
        .spawn()
        .and_then(Process::started)
}

/// A bare name is looked for beside the gateway's own file first, then in PATH.
fn beside_us(program: &str) -> PathBuf {
    let sibling = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(|folder| folder.join(program)))
        .filter(|path| !program.contains('/') && path.is_file());
    sibling.unwrap_or_else(|| Path::new(program).to_owned())
}

fn relay(name: &str, output: pipe::Receiver) -> AbortHandle {
    let name = name.to_owned();
    let relaying = tokio::spawn(async move {
        let mut output = BufReader::new(output);
        while let Some(line) = next_line(&mut output, LONGEST_LINE).await {
            let (level, said) = level_and_message(&line);
            log::log!(level, event = "backend_output", backend = name; "{said}");
        }
    });
    relaying.abort_handle()
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
    let parsed = ours.and_then(|line| Some((line.level.parse().ok()?, line.message)));
    parsed.unwrap_or_else(|| (log::Level::Debug, line.to_owned()))
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
