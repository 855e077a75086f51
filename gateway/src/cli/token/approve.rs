//! `gateway token approve`, and the key that it signs with.

use std::path::PathBuf;

use clap::Args;
use rand::rngs::OsRng;

use super::{End, Source};
use crate::keys;
use crate::keys::KeysError;
use gateway_core::access_token;

#[derive(Debug, Args)]
pub(in crate::cli) struct Approve {
    #[command(flatten)]
    source: Source,
    /// The approver's key, made by approver-key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A tool that is approved; give it once for each
    #[arg(long, value_name = "NAME", required = true)]
    tool: Vec<String>,
    #[command(flatten)]
    end: End,
}

impl Approve {
    pub(super) fn run(&self) -> Result<String, String> {
        let until = self
            .end
            .at()
            .ok_or("give --for or --until: an approval ends")?;
        let key = keys::read_pair(&self.key).map_err(|error| match error {
            KeysError::Io(path, error) => {
                format!(
                    "--key {}: {error}; `gateway token approver-key` makes one",
                    path.display()
                )
            }
            error => error.to_string(),
        })?;
        let token = self.source.read()?;
        access_token::approve(&token, &key, &self.tool, until).map_err(|error| error.to_string())
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ApproverKey {
    /// The file to write; it must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl ApproverKey {
    pub(super) fn run(&self) -> Result<String, String> {
        if self.file.exists() {
            return Err(format!("{} is there already", self.file.display()));
        }
        let pair = keys::create_pair(&self.file, &mut OsRng).map_err(|error| match error {
            KeysError::Io(path, error) => format!("{}: {error}; name another file", path.display()),
            error => error.to_string(),
        })?;
        Ok(pair.public().to_string())
    }
}
