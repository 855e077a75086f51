//! `gateway keys`: the keys that sign access tokens, and the token of the operator's commands.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use rand::rngs::OsRng;

use super::{Asked, Gateway, Printed};
use crate::cli::failed::Failed;
use crate::keys;
use crate::operator_api::{
    ChangeAdminToken, KeysToRevoke, Limit, ListKeys, MakeKey, Nothing, PageQuery, RevokeKeys,
};

/// What other replicas take to see a new file in the folder, and some more.
const REPLICAS: Duration = Duration::from_secs(6);

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the keys that sign access tokens, and what each does
    Ls(Asked<()>),
    /// Make a new key for access tokens; tokens of the old one are good until they end
    Rotate(Asked<Rotate>),
    /// Refuse all that was signed with a key, at once and for good
    Revoke(Asked<KeysToRevoke>),
    /// Make a key in a file, for a keys folder that the gateway can't write to
    Create(Create),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    /// In an emergency: refuse all that earlier keys signed, at once. Apps with refresh tokens renew their
    /// access, the others connect again
    #[arg(long)]
    now: bool,
    /// The token that these commands show to the gateway, instead
    #[arg(long, conflicts_with = "now")]
    admin_token: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// The file, which must not be there: signing-N.key, with a number above all others
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(in crate::cli) fn run(command: &Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Ls(ls) => ls.run(|gateway, ()| list(gateway)),
        Command::Rotate(rotate) => rotate.run(|gateway, rotate| {
            if rotate.admin_token {
                let sentence = "the operator's commands show another token from now on: admin.token in the keys folder";
                gateway.done::<ChangeAdminToken>(&Nothing {}, sentence)
            } else {
                rotate.rotate(gateway)
            }
        }),
        Command::Revoke(revoke) => revoke.run(revoked),
        Command::Create(create) => create.create(),
    }
}

fn list(gateway: &Gateway) -> Result<Printed, Failed> {
    let page = gateway.get::<ListKeys>(&PageQuery {
        limit: Limit(Limit::MOST),
        after: None,
    })?;
    Ok(Printed::list(
        page.body,
        &page.answer.keys,
        &[
            ("KEY", |key| key.key.to_string()),
            ("STATE", |key| key.state.clone()),
            ("UNTIL", |key| key.until.clone().unwrap_or_default()),
            ("SINCE", |key| key.since.clone()),
            ("PUBLIC", |key| key.public.clone()),
        ],
    ))
}

impl Rotate {
    fn rotate(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let done = gateway.post::<MakeKey>(&Nothing {})?;
        let made = done.answer.made;
        if !self.now {
            let state = done.answer.keys.iter().find(|key| key.key == made);
            let when = match state.and_then(|key| key.until.as_deref()) {
                Some(until) => format!("from {until} on, when every replica knows it"),
                None => "from now on".to_owned(),
            };
            let sentence = format!(
                "made key {made}: it signs {when}. Tokens of the keys before are good until they end"
            );
            return Ok(Printed::sentence(done.body, sentence));
        }
        if done.answer.shared {
            eprintln!("made key {made}; waiting until all replicas know it");
            std::thread::sleep(REPLICAS);
        }
        let others = done.answer.keys.iter();
        let others = others.filter(|key| key.key != made && key.state != "revoked");
        let keys = others.map(|key| key.key).collect();
        revoked(gateway, &KeysToRevoke { keys })
    }
}

fn revoked(gateway: &Gateway, asked: &KeysToRevoke) -> Result<Printed, Failed> {
    let words: Vec<String> = asked.keys.iter().map(u32::to_string).collect();
    let done = gateway.post::<RevokeKeys>(asked)?;
    let signs = done.answer.keys.iter().find(|key| key.state == "signs");
    let signs = signs.map_or_else(String::new, |key| format!("; key {} signs", key.key));
    let sentence = format!(
        "all that was signed with key {} is refused{signs}",
        words.join(", ")
    );
    Ok(Printed::sentence(done.body, sentence))
}

impl Create {
    fn create(&self) -> Result<ExitCode, Failed> {
        if self.file.exists() {
            let file = self.file.display();
            let sentence = format!("{file} is there: nothing was changed");
            return Err(Failed::unknown(sentence));
        }
        let pair = keys::create_pair(&self.file, &mut OsRng).map_err(Failed::unavailable)?;
        println!("{}", pair.public().to_bytes_hex());
        Ok(ExitCode::SUCCESS)
    }
}
