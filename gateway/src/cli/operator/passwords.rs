//! A password for a command: typed without an echo, piped in, or from a file. Never an argument,
//! which others on the machine could see.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;

use super::failed::Failed;
use gateway_oauth::identity::{LONGEST, Password, SHORTEST};

/// Where the password comes from.
#[derive(Debug, Args)]
pub(in crate::cli) struct PasswordSource {
    /// A file whose first line is the password. Without it the password is typed, or is the first
    /// line of standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// Reads a new password.
    pub(in crate::cli) fn read(&self) -> Result<String, Failed> {
        match &self.password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failed::usage(format!("{}: {error}", path.display())))?;
                new(text.lines().next().unwrap_or_default())
            }
            None => typed(),
        }
    }
}

/// A new password from the terminal, asked twice, or from standard input.
pub(in crate::cli) fn typed() -> Result<String, Failed> {
    let broken = |error: io::Error| Failed::usage(error.to_string());
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(broken)?;
        return new(line.trim_end_matches(['\r', '\n']));
    }
    let password = rpassword::prompt_password("Password: ").map_err(broken)?;
    let again = rpassword::prompt_password("Again: ").map_err(broken)?;
    if password == again {
        new(&password)
    } else {
        Err(Failed::usage("the two differ"))
    }
}

fn new(text: &str) -> Result<String, Failed> {
    match Password::new(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Failed::usage(format!(
            "a password has {SHORTEST} characters at least and {LONGEST} bytes at most"
        ))),
    }
}
