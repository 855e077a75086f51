//! `gateway token revoke`: one access token with all that was narrowed from it.

use std::process::ExitCode;

use clap::Args;

use super::Source;
use crate::cli::failed::Failed;
use crate::cli::operator::{Common, Gateway, Printed, run as ask};
use crate::operator_api::{RevokeToken, TokenToRevoke};

#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Its revocation id instead of the token, as `gateway token inspect` and the log print it
    #[arg(long, value_name = "HEX", conflicts_with_all = ["token", "token_file"])]
    id: Option<String>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    common: Common,
}

impl Revoke {
    pub(in crate::cli) fn run(&self) -> Result<ExitCode, Failed> {
        ask(&self.common, |gateway| self.revoke(gateway))
    }

    fn revoke(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let done = gateway.post::<RevokeToken>(&match &self.id {
            Some(id) => TokenToRevoke::Id(id.clone()),
            None => {
                let token = self.source.read().map_err(Failed::usage)?;
                TokenToRevoke::Token(token.as_str().to_owned())
            }
        })?;
        if let Some(grant) = &done.answer.grant {
            let sentence = format!("revoked the personal token of the grant {grant}");
            return Ok(Printed::sentence(done.body, sentence));
        }
        let short: String = done.answer.revoked.chars().take(16).collect();
        let sentence = format!(
            "revoked the token {short}… and every token narrowed from it; its grant goes on"
        );
        Ok(Printed::sentence(done.body, sentence))
    }
}
