//! Passwords of people and the passphrase of a backup: from a file, from the environment, typed without an
//! echo, or piped in. Never an argument, which others on the machine could see.

use std::env::VarError;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failed::Failed;
use gateway_oauth::identity::{LONGEST, Password, SHORTEST};

/// Where a backup's passphrase is looked for if no file is named.
const VARIABLE: &str = "GATEWAY_BACKUP_PASSPHRASE";
/// Whoever has the file may try as long as they like.
const SHORTEST_PASSPHRASE: usize = 12;

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
        let text = match &self.password_file {
            Some(path) => first_line(path)?,
            None => typed("Password: ", true)?,
        };
        checked(&text)?;
        Ok(text)
    }
}

/// A new password from the terminal, asked twice, or from standard input.
pub(in crate::cli) fn typed_password() -> Result<Password, Failed> {
    checked(&typed("Password: ", true)?)
}

fn checked(text: &str) -> Result<Password, Failed> {
    Password::new(text).ok_or_else(|| {
        Failed::usage(format!(
            "a password has {SHORTEST} characters at least and {LONGEST} bytes at most"
        ))
    })
}

/// Where the passphrase comes from.
#[derive(Debug, Args)]
pub(in crate::cli) struct PassphraseSource {
    /// A file whose first line is the passphrase. Without it: the environment variable
    /// GATEWAY_BACKUP_PASSPHRASE, else it is typed, or is the first line of standard input
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// One to encrypt with.
    pub(in crate::cli) fn new_one(&self) -> Result<String, Failed> {
        let passphrase = self.read(true)?;
        if passphrase.chars().count() < SHORTEST_PASSPHRASE {
            return Err(Failed::usage(format!(
                "a passphrase has {SHORTEST_PASSPHRASE} characters at least: whoever has the file may try as long as they like"
            )));
        }
        Ok(passphrase)
    }

    /// The one that something was encrypted with.
    pub(in crate::cli) fn known(&self) -> Result<String, Failed> {
        self.read(false)
    }

    fn read(&self, is_new: bool) -> Result<String, Failed> {
        if let Some(path) = &self.passphrase_file {
            return first_line(path);
        }
        match std::env::var(VARIABLE) {
            Ok(passphrase) if !passphrase.is_empty() => return Ok(passphrase),
            Err(VarError::NotUnicode(_)) => {
                return Err(Failed::usage(format!("{VARIABLE} is no text in UTF-8")));
            }
            Ok(_) | Err(VarError::NotPresent) => {}
        }
        let passphrase = typed("Passphrase of the backup: ", is_new)?;
        if passphrase.is_empty() && !io::stdin().is_terminal() {
            return Err(Failed::usage(format!(
                "there is no passphrase: name a file with --passphrase-file, or set {VARIABLE}"
            )));
        }
        Ok(passphrase)
    }
}

pub(in crate::cli) fn first_line(path: &Path) -> Result<String, Failed> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failed::usage(format!("{}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// From the terminal, asked twice if it `is_new`, or the first line of standard input.
fn typed(prompt: &str, is_new: bool) -> Result<String, Failed> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(Failed::usage)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let text = rpassword::prompt_password(prompt).map_err(Failed::usage)?;
    if is_new && text != rpassword::prompt_password("Again: ").map_err(Failed::usage)? {
        return Err(Failed::usage("the two differ"));
    }
    Ok(text)
}
