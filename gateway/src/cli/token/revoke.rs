//! `gateway token revoke`: one access token with all that was narrowed from it.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Source;
use crate::cli::operator::{Common, Failed, Gateway, Printed, run as ask};

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
    pub(in crate::cli) fn run(&self) -> ExitCode {
        ask(&self.common, |gateway| self.revoke(gateway))
    }

    fn revoke(&self, gateway: &Gateway) -> Result<Printed, Failed> {
        let what = match &self.id {
            Some(id) => json!({ "id": id }),
            None => {
                let token = self.source.read().map_err(Failed::usage)?;
                json!({ "token": token.as_str() })
            }
        };
        let body = gateway.post("/v1/tokens/revoke", &what, "revoked")?;
        let id = body["revoked"].as_str().unwrap_or_default();
        let short: String = id.chars().take(16).collect();
        let sentence = format!(
            "revoked the token {short}… and every token narrowed from it; its grant goes on"
        );
        Ok(Printed::sentence(body, sentence))
    }
}
