//! `gateway upgrade`: starts `gateway serve --upgrade`, waits until it serves, and leaves it. So the new
//! process is nobody's child but that of the service manager, which learns of its end.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::configuration::Configuration;
use crate::cli::failed::{Failed, UNAVAILABLE};
use crate::cli::runtime;
use crate::upgrade::{serves, socket_in};

/// For the new process to serve: longer than the two processes wait for each other, and less than systemd
/// waits for a reload (90 s).
const PATIENCE: Duration = Duration::from_secs(80);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What `gateway upgrade` is told.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    // Every problem is told before anything is started.
    let config = arguments.configuration.resolve()?;
    upgrade(&socket_in(&config.state))
        .map_err(|error| Failed::unavailable(format_args!("{error:#}")))
}

fn upgrade(socket: &std::path::Path) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    // The same words, for the command that serves.
    let words = std::env::args_os().skip(1);
    let words = words.skip_while(|word| word != "upgrade").skip(1);
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--upgrade"]).args(words);
    let mut new = command.stdin(Stdio::null()).spawn()?;
    let begun = Instant::now();
    loop {
        if let Some(status) = new.try_wait()? {
            // It has said why.
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            let code = code.filter(|code| *code != 0).unwrap_or(UNAVAILABLE);
            return Ok(ExitCode::from(code));
        }
        if runtime.block_on(serves(socket.to_owned())) == Some(new.id()) {
            return Ok(ExitCode::SUCCESS);
        }
        if begun.elapsed() > PATIENCE {
            let _ = new.kill();
            let _ = new.wait();
            let waited = PATIENCE.as_secs();
            match runtime.block_on(serves(socket.to_owned())) {
                Some(_) => anyhow::bail!(
                    "the new process did not serve within {waited} s; the old one serves on"
                ),
                None => anyhow::bail!(
                    "the new process did not serve within {waited} s, and the old one does not answer: look \
                     whether it serves, and start it if it does not"
                ),
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
