//! The passphrase of a backup: from a file, from the environment, typed without an echo, or piped in. Never
//! an argument, which others on the machine could see.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;

use super::failed::Failed;

/// Where it is looked for if no file is named.
const VARIABLE: &str = "GATEWAY_BACKUP_PASSPHRASE";
/// Whoever has the file may try as long as they like.
const SHORTEST: usize = 12;

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
        if passphrase.chars().count() < SHORTEST {
            return Err(Failed::usage(format!(
                "a passphrase has {SHORTEST} characters at least: whoever has the file may try as long as they like"
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
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failed::usage(format!("{}: {error}", path.display())))?;
            return Ok(text.lines().next().unwrap_or_default().to_owned());
        }
        match std::env::var(VARIABLE) {
            Ok(passphrase) if !passphrase.is_empty() => Ok(passphrase),
            _ => typed(is_new),
        }
    }
}

fn typed(is_new: bool) -> Result<String, Failed> {
    let broken = |error: io::Error| Failed::usage(error.to_string());
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(broken)?;
        let line = line.trim_end_matches(['\r', '\n']);
        return if line.is_empty() {
            Err(Failed::usage(format!(
                "there is no passphrase: name a file with --passphrase-file, or set {VARIABLE}"
            )))
        } else {
            Ok(line.to_owned())
        };
    }
    let passphrase = rpassword::prompt_password("Passphrase of the backup: ").map_err(broken)?;
    if is_new {
        let again = rpassword::prompt_password("Again: ").map_err(broken)?;
        if passphrase != again {
            return Err(Failed::usage("the two differ"));
        }
    }
    Ok(passphrase)
}
