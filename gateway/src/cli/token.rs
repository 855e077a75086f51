//! `gateway token`: what a token says.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use biscuit_auth::UnverifiedBiscuit;
use clap::{Args, Subcommand};
use rand::rngs::OsRng;

use crate::access_token::{self, Tools};
use crate::cli::USAGE;
use crate::clock::Clock;
use crate::keys;
use crate::protocol::bearer::BearerToken;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print what a token says and whether it verifies here
    Inspect(Inspect),
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The token; standard input where it is missing, which keeps it out of the shell's history
    token: Option<String>,
    /// The folder of the signing keys, to verify the signature
    #[arg(long, value_name = "DIR")]
    keys_dir: Option<PathBuf>,
}

pub(super) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Inspect(inspect) => match inspect.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(sentence) => {
                eprintln!("error: {sentence}");
                ExitCode::from(USAGE)
            }
        },
    }
}

impl Inspect {
    fn print(&self) -> Result<(), String> {
        let text = match &self.token {
            Some(text) => text.clone(),
            None => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|error| error.to_string())?;
                text
            }
        };
        let text = text.trim().trim_start_matches("Bearer ").trim();
        let bearer = BearerToken::parse_token(text).ok_or("this is no bearer token")?;
        let biscuit = UnverifiedBiscuit::from_base64(bearer.as_str())
            .map_err(|error| format!("this is no Biscuit: {error}"))?;
        for index in 0..biscuit.block_count() {
            let source = biscuit
                .print_block_source(index)
                .map_err(|error| error.to_string())?;
            println!(
                "// block {index}{}",
                if index == 0 {
                    " (authority)"
                } else {
                    " (appended by a holder)"
                }
            );
            println!("{}", source.trim_end());
        }
        match biscuit.root_key_id() {
            Some(id) => println!("// signed with key {id}"),
            None => println!("// names no key"),
        }
        match &self.keys_dir {
            Some(folder) => self.verify(&bearer, folder),
            None => {
                println!("// not verified: give --keys-dir");
                Ok(())
            }
        }
    }

    fn verify(&self, bearer: &BearerToken, folder: &std::path::Path) -> Result<(), String> {
        if !folder.is_dir() {
            return Err(format!("{} is no folder", folder.display()));
        }
        let keys = keys::open(folder, &mut OsRng).map_err(|error| error.to_string())?;
        match access_token::verify(bearer, &keys.signing) {
            Err(error) => {
                println!("// verification: FAILED, {}", error.reason().sentence());
                println!("// what to do: {}", error.reason().remedy());
            }
            Ok(token) => {
                let claims = token.claims();
                let state = if token.is_expired(Clock.now()) {
                    "EXPIRED"
                } else {
                    "valid"
                };
                println!("// verification: {state} (revocation is known to the gateway only)");
                println!("// issued {}, expires {}", claims.issued, claims.expires);
                println!("// revocation id {}", token.id());
                match &claims.tools {
                    Tools::All => println!("// tools: all"),
                    Tools::Only(names) => println!(
                        "// tools: {}",
                        names.iter().cloned().collect::<Vec<_>>().join(", ")
                    ),
                }
            }
        }
        Ok(())
    }
}
