//! How a backend checks, offline, who calls: the token of `backend[].token_header`, verified with
//! the Biscuit library and the keys of `/.well-known/biscuit-web-keys`. An example that the tests
//! run; `tests/narrowing/verify.py` is the same in Python.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use biscuit_auth::builder::{Algorithm, date, string};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, PublicKey, error};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The person's login name.
    pub user: String,
    /// The client identifier.
    pub client: String,
    /// The grant: what is revoked.
    pub grant: String,
}

/// The keys of the document, by `key_id`, in hexadecimal. Fetch it once, and again when a token
/// names a key that is not among them.
pub fn keys(document: &str) -> Result<HashMap<u32, String>> {
    let listed: Vec<serde_json::Value> = serde_json::from_str(document)?;
    listed
        .iter()
        .map(|key| {
            let id = key["key_id"].as_u64().context("no key_id")?;
            let bytes = key["key_bytes"].as_str().context("no key_bytes")?;
            Ok((u32::try_from(id)?, bytes.to_owned()))
        })
        .collect()
}

/// Who calls, if the header's token is the gateway's, for this backend, and not over.
pub fn who_calls(
    header: &str,
    keys: &HashMap<u32, String>,
    backend: &str,
    now: SystemTime,
) -> Result<Caller> {
    let token = Biscuit::from_base64(header, |id: Option<u32>| {
        let known = id.and_then(|id| keys.get(&id));
        let hex = known.ok_or(error::Format::UnknownPublicKey)?;
        PublicKey::from_bytes_hex(hex, Algorithm::Ed25519)
    })?;
    let limits = AuthorizerLimits {
        // The library's own limit of a millisecond refuses good tokens on a busy machine.
        max_time: Duration::from_secs(1),
        ..AuthorizerLimits::default()
    };
    let facts = [
        ("backend".to_owned(), string(backend)),
        ("now".to_owned(), date(&now)),
    ];
    let mut authorizer = AuthorizerBuilder::new()
        .set_limits(limits.clone())
        .code_with_params(
            // The audience is what an access token, which the client holds, does not have.
            "backend({backend}); time({now}); allow if audience({backend}), user($u);",
            facts.into(),
            HashMap::new(),
        )?
        .build(&token)?;
    authorizer.authorize()?;
    let said: Vec<(String, String, String)> = authorizer.query_with_limits(
        "said($n, $c, $g) <- user_name($n), client($c), grant($g)",
        limits,
    )?;
    let (user, client, grant) = said.into_iter().next().context("it names nobody")?;
    Ok(Caller {
        user,
        client,
        grant,
    })
}
