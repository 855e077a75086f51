//! `gateway token revoke`: one access token with all that was narrowed from it.

use clap::Args;

use super::Source;
use crate::cli::failed::Failed;
use crate::cli::operator::{Gateway, Printed};
use crate::operator_api::{RevokeToken, TokenToRevoke};

#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Its revocation id instead of the token, as `gateway token inspect` and the log print it
    #[arg(long, value_name = "HEX", conflicts_with_all = ["token", "token_file"])]
    id: Option<String>,
    #[command(flatten)]
    source: Source,
}

pub(super) fn revoke(gateway: &Gateway, asked: &Revoke) -> Result<Printed, Failed> {
    let done = gateway.post::<RevokeToken>(&match &asked.id {
        Some(id) => TokenToRevoke::Id(id.clone()),
        None => {
            let token = asked.source.read().map_err(Failed::usage)?;
            TokenToRevoke::Token(token.as_str().to_owned())
        }
    })?;
    let sentence = match &done.answer.grant {
        Some(grant) => format!("revoked the personal token of the grant {grant}"),
        None => {
            let short: String = done.answer.revoked.chars().take(16).collect();
            format!(
                "revoked the token {short}… and every token narrowed from it; its grant goes on"
            )
        }
    };
    Ok(Printed::sentence(done.body, sentence))
}
