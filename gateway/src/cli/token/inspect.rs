//! `gateway token inspect`

use std::path::PathBuf;

use biscuit_auth::{PublicKey, UnverifiedBiscuit};
use clap::Args;
use rand::rngs::OsRng;

use super::{parsed, standard_input};
use crate::cli::operator::things;
use crate::keys;
use gateway_core::access_token::{self, Approver, Tools, VerifiedBlock, VerifiedToken};
use gateway_core::clock::Clock;
use gateway_core::grants::personal::PersonalToken;
use gateway_core::protocol::bearer::BearerToken;

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// The token; standard input where it is missing, which keeps it out of the shell's history
    token: Option<String>,
    /// The folder of the signing keys, to verify the signature
    #[arg(long, value_name = "DIR")]
    keys_dir: Option<PathBuf>,
    /// The public key of an approver whose blocks count; give it once for each
    #[arg(long, value_name = "KEY", value_parser = approver)]
    approver: Vec<PublicKey>,
}

fn approver(text: &str) -> Result<PublicKey, String> {
    access_token::approver_key(text)
        .ok_or_else(|| "is no public key, such as ed25519/ and 64 hexadecimal digits".to_owned())
}

impl Inspect {
    /// It says nothing itself: what it stands for is with its grant.
    fn print_personal(&self, text: &str) -> Result<(), String> {
        let token = PersonalToken::parse(text)
            .ok_or("this is no personal token, or it was not copied whole")?;
        println!("// a personal token; `gateway grants show` says what it may do");
        println!("grant({:?});", token.grant().as_str());
        println!("// revocation id {}", token.id());
        let Some(folder) = &self.keys_dir else {
            println!("// give --keys-dir to learn whether this gateway made it");
            return Ok(());
        };
        let keys = keys::open(folder, &mut OsRng).map_err(|error| error.to_string())?;
        if !token.is_ours(&keys.tags) {
            return Err("another gateway made it".to_owned());
        }
        println!("// made by this gateway");
        Ok(())
    }

    pub(super) fn print(&self) -> Result<(), String> {
        let bearer = match &self.token {
            Some(text) => parsed(text),
            None => parsed(&standard_input()?),
        }?;
        if PersonalToken::is_meant(bearer.as_str()) {
            return self.print_personal(bearer.as_str());
        }
        let biscuit = UnverifiedBiscuit::from_base64(bearer.as_str())
            .map_err(|error| format!("this is no Biscuit: {error}"))?;
        let approvers = self.approvers();
        let judged = access_token::judged(&bearer, &approvers).ok();
        for index in 0..biscuit.block_count() {
            let source = biscuit
                .print_block_source(index)
                .map_err(|error| error.to_string())?;
            match index.checked_sub(1) {
                None => println!("// block 0 (authority)\n{}", source.trim_end()),
                Some(appended) => {
                    println!("// block {index} (appended)\n{}", source.trim_end());
                    print_judged(judged.as_ref().map(|judged| &judged[appended]));
                }
            }
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

    fn approvers(&self) -> Vec<Approver> {
        self.approver
            .iter()
            .map(|key| Approver {
                name: key.to_string(),
                key: *key,
            })
            .collect()
    }

    fn verify(&self, bearer: &BearerToken, folder: &std::path::Path) -> Result<(), String> {
        if !folder.is_dir() {
            return Err(format!("{} is no folder", folder.display()));
        }
        let keys = keys::open(folder, &mut OsRng).map_err(|error| error.to_string())?;
        let keys = keys.signing.with_approvers(self.approvers());
        match access_token::verify(bearer, &keys) {
            Err(error) => {
                println!("// verification: FAILED, {}", error.reason().sentence());
                println!("// what to do: {}", error.reason().remedy());
            }
            Ok(token) => print_verified(&token),
        }
        Ok(())
    }
}

fn print_judged(judged: Option<&VerifiedBlock>) {
    match judged {
        Some(VerifiedBlock::Attenuation(checks)) => {
            let conditions = things(checks.len() as u64, "condition", "conditions");
            println!("// narrows: {conditions}, all of which must hold");
        }
        Some(VerifiedBlock::Approvals(approvals)) => {
            for approval in approvals {
                println!(
                    "// approves {} until {}, signed by {}",
                    approval.tool, approval.until, approval.approver
                );
            }
        }
        Some(VerifiedBlock::Stranger(key)) => {
            println!("// signed by {key}: taken only where that is the key of an approver");
        }
        Some(VerifiedBlock::Refused) | None => {
            println!("// REFUSED: with this block the gateway takes the token for none of its own");
        }
    }
}

fn print_verified(token: &VerifiedToken) {
    let claims = token.claims();
    let state = if token.is_expired(Clock.now()) {
        "EXPIRED"
    } else {
        "valid"
    };
    println!("// verification: {state} (revocation is known to the gateway only)");
    println!("// issued {}, expires {}", claims.issued, claims.expires);
    if let Some(ends) = token.attenuation().ends() {
        println!("// narrowed to end {ends}");
    }
    for (index, id) in token.ids().iter().enumerate() {
        println!("// revocation id of block {index}: {id}");
    }
    match &claims.tools {
        Tools::All => println!("// tools granted: all"),
        Tools::Kept { digest, count } => println!(
            "// tools granted: {count}, which the gateway keeps with grant {} (digest {digest}); \
             `gateway grants show` names them",
            claims.grant
        ),
        tools => println!("// tools granted: {}", tools.names().join(", ")),
    }
}
