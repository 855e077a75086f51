//! `gateway users`: so far only the hash for an unattended set-up.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::{UNAVAILABLE, USAGE};
use crate::identity::{LONGEST, Password, Passwords, SHORTEST};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read a password from standard input and print its argon2id hash for owner.password_hash_file
    Hash,
}

pub(super) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Hash => hash(),
    }
}

fn hash() -> ExitCode {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("Password (it will be shown as you type; better: pipe it in): ");
    }
    let mut password = String::new();
    if let Err(error) = stdin.lock().read_line(&mut password) {
        return unavailable(&error);
    }
    let Some(password) = Password::new(password.trim_end_matches(['\r', '\n'])) else {
        eprintln!(
            "error: a password has {SHORTEST} characters at least and {LONGEST} bytes at most"
        );
        return ExitCode::from(USAGE);
    };
    let hashed = tokio::runtime::Builder::new_current_thread()
        .build()
        .map(|runtime| runtime.block_on(Passwords::default().hash(password)));
    match hashed {
        Ok(Ok(phc)) => {
            println!("{}", phc.as_str());
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => unavailable(&error),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(UNAVAILABLE)
}
